"""The command `ser demo`."""

import contextlib
import functools
import os
import sys
import threading
import webbrowser
from typing import TYPE_CHECKING, Annotated

import typer

from ser_lib._cli.common import RunOption, bundle_folder, which_run
from ser_lib.core.cluster import is_loopback
from ser_lib.core.extras import check_extras

if TYPE_CHECKING:
    from ser_lib.model.bundle import Bundle


def demo(
    run: RunOption = None,
    host: Annotated[str, typer.Option(help="Address to listen at; 0.0.0.0 lets other machines in.")] = "127.0.0.1",
    port: Annotated[
        int | None,
        typer.Option(min=1, max=65535, help="Port to listen at.  [default: the first free from 7860 on]"),
    ] = None,
    browser: Annotated[bool, typer.Option(help="Open the page in the browser.")] = True,
) -> None:
    """Open a page on this machine: record or drop a file, see its answer, and teach a model your voice.

    It ends with Ctrl-C. Recordings are deleted then, and nothing leaves this machine.
    """
    check_extras("demo")
    models = {called: functools.cache(functools.partial(_open, name)) for called, name in _models(run).items()}
    next(iter(models.values()))()  # what is wrong with it is said before a page opens
    from ser_lib.stream.page import make_page, serve, stop

    is_own = is_loopback(host)
    if not is_own:
        print(
            f"warning: whoever reaches {host} can use the page, and what they record comes to this machine. Voices are "
            f"not kept. Browsers give a page their microphone over https, and without it on this machine alone.",
            file=sys.stderr,
        )
    page = make_page(models, keep_voices=is_own)
    address = serve(page, host=host, port=port)
    with contextlib.suppress(KeyboardInterrupt):  # the usual end
        print(f"The page is at {address} until Ctrl-C.{' Nothing leaves this machine.' if is_own else ''}", flush=True)
        if browser and is_own and _has_screen():
            webbrowser.open(address)
        threading.Event().wait()
    stop(page)


def _models(run: str | None) -> dict[str, str]:
    """Models to choose from, as they are called → run: the one that is asked for first, then those that are named.

    Of those, a light record has no model here.
    """
    from ser_lib.records.models import has_model, model_folder, named_models

    first, named = which_run(run), named_models()
    abouts = {one.run: (one.model_extra or {}).get("about", "") for one in named if has_model(model_folder(one.run))}
    runs = [first, *(name for name in abouts if name != first)]
    return {f"{name}: {about}" if (about := abouts.get(name)) else name: name for name in runs}


def _open(run: str) -> tuple["Bundle", str]:
    """Model of a run, and a line on its limits."""
    from ser_lib.model.bundle import load_bundle
    from ser_lib.records.limits import limits

    bundle = load_bundle(bundle_folder(run, "onnx"))
    return bundle, limits(run, bundle)


def _has_screen() -> bool:
    """Whether a browser would not open in the terminal."""
    return sys.platform != "linux" or bool({"DISPLAY", "WAYLAND_DISPLAY"} & os.environ.keys())
