"""What a light installation leaves out, and the one line that says how to add it.

`pip install ser_lib` brings what predictions need. `pyproject.toml` gathers the rest in extras.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec

from ser_lib.core.errors import ExtraError

EXTRAS = {
    "demo": ("gradio", "starlette"),
    "train": ("espeakng_loader", "json_tricks", "keras", "pooch", "requests", "sklearn", "tensorflow", "tf2onnx"),
    "notebooks": (
        "ipykernel",
        "IPython",
        "jinja2",
        "jupyter_client",
        "markupsafe",
        "mistune",
        "nbclient",
        "nbconvert",
        "nbformat",
        "nh3",
        "papermill",
        "PIL",
        "plotly",
        "traitlets",
    ),
    "cluster": ("dask", "distributed"),
    "mic": ("sounddevice",),
    "parquet": ("pyarrow",),
    "sweep": ("optuna",),
}
"""Extra → what is imported of its packages, or of those that they bring."""
OF_RUNS = ("train", "notebooks")
"""Extras without which there is no run."""


@contextmanager
def name_extras() -> Iterator[None]:
    """Let an import that fails for want of an extra end in one line.

    Raises
    ------
    ExtraError
        If a module is missing that an extra brings.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        extra = next((extra for extra, modules in EXTRAS.items() if missing in modules), None)
        if isinstance(error, ExtraError) or extra is None:
            raise
        raise _missing([missing], [extra]) from None


def check_extras(*extras: str) -> None:
    """Raise `ExtraError` before anything begins for which a module of these extras is missing."""
    missing = {extra: [module for module in EXTRAS[extra] if find_spec(module) is None] for extra in extras}
    names = [name for modules in missing.values() for name in modules]
    if names:
        raise _missing(names, [extra for extra in extras if missing[extra]])


def _missing(modules: list[str], extras: list[str]) -> ExtraError:
    which = f"{', '.join(modules)} {'is' if len(modules) == 1 else 'are'} not installed"
    return ExtraError(f"This needs more than a light installation: {which}. pip install 'ser_lib[{','.join(extras)}]'")
