"""A project of one's own, beside no clone: `ser new` makes it from what came with the library."""

import shutil
from pathlib import Path

from ser_lib import __version__
from ser_lib.core.errors import RunError
from ser_lib.core.paths import PROJECT_FILE, from_here, shipped_root
from ser_lib.records.models import MODELS_FILE

_TEMPLATES = Path(__file__).resolve().parent / "templates" / "project"
_HIDDEN = {"gitignore": ".gitignore"}
"""Templates whose name in a project begins with a dot, which a wheel would leave out."""
_CARRIED = ("notebooks/*.ipynb", "params/*.yaml", f"reports/{MODELS_FILE}")


def make_project(folder: str | Path) -> Path:
    """Make a project in a folder that is not there yet, or empty, and return its path.

    It holds the notebooks, the parameter files, the list of models, a Makefile, a README and a `.gitignore`. The models
    that are listed stay with the library.

    Raises
    ------
    RunError
        If there is something in the folder, or it is a file.
    """
    path = from_here(folder)
    if path.is_file() or (path.is_dir() and any(path.iterdir())):
        what = "a file" if path.is_file() else "not empty"
        raise RunError(f"A project must be made in a new folder, or an empty one. {folder} is {what}.")
    path.mkdir(parents=True, exist_ok=True)
    origin = shipped_root()
    for source in sorted(one for pattern in _CARRIED for one in origin.glob(pattern)):
        _copy(source, path / source.relative_to(origin))
    for source in sorted(_TEMPLATES.iterdir()):
        _copy(source, path / _HIDDEN.get(source.name, source.name))
    (path / PROJECT_FILE).write_text(f"made by ser_lib {__version__}\n", encoding="utf-8")
    return path


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(exist_ok=True)
    shutil.copyfile(source, target)  # without the rights of an installed file, which may be read-only
