"""The page of `ser demo` in a notebook, where somebody can use it.

A notebook that runs headless shows a sentence instead, so that a record holds neither a page nor sound, and a run does
not need Gradio.
"""

from typing import TYPE_CHECKING

from ser_lib.core.errors import ExtraError
from ser_lib.core.extras import name_extras
from ser_lib.model.bundle import Bundle
from ser_lib.model.prediction import UNSURE_BELOW
from ser_lib.stream.sound import is_interactive

if TYPE_CHECKING:
    import gradio as gr

HEADLESS = "In Jupyter and Colab, a page to try the model opens here; in a terminal, ser demo opens it."
_CALLED = "the one of this notebook"


def show_page(bundle: Bundle, limits: str, *, unsure_below: float = UNSURE_BELOW) -> "gr.Blocks | None":
    """Show the page for one model and a line on its limits; where that is impossible, a sentence instead."""
    if not is_interactive():
        print(HEADLESS)
        return None
    try:
        with name_extras():
            from ser_lib.stream.page import make_page, serve
    except ExtraError as error:
        print(error)
        return None
    page = make_page({_CALLED: lambda: (bundle, limits)}, keep_voices=True, unsure_below=unsure_below)
    serve(page, inline=True, height=900)
    return page
