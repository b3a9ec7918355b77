"""Paths relative to the project or to the current folder, and how messages show them."""

import os
from pathlib import Path

from ser_lib.core.errors import ParameterError, RunError

PROJECT_FILE = ".ser-project"
"""File that makes a folder a project of one's own; `ser new` writes it."""
_PACKAGE = Path(__file__).resolve().parents[1]
_CARRIED = _PACKAGE / "_shipped"
"""What a wheel carries of the clone it was built from; not there in a clone."""


def shipped_root() -> Path:
    """Folder of what came with the library, in `notebooks`, `params` and `reports`: the clone's, or the wheel's."""
    return _CARRIED if _CARRIED.is_dir() else _PACKAGE.parent


def project_root() -> Path:
    """Folder that relative paths start from.

    It is `$SER_ROOT`, or else the nearest folder from the current one upwards that `ser new` made, or else the clone
    that ser_lib was installed from. An installed wheel has no clone: it is the current folder then, and no project.
    """
    return _project() or Path.cwd()


def has_project() -> bool:
    """Whether there is a project, and not just the current folder."""
    return _project() is not None


def check_project() -> None:
    """Raise `RunError` where there is no project; nothing belongs into the folder of an installed package."""
    if not has_project():
        raise RunError(
            "This needs a project, with notebooks and params, and neither this folder nor one above it is one. "
            "ser new FOLDER makes one."
        )


def _project() -> Path | None:
    if named := os.environ.get("SER_ROOT"):
        return Path(named).resolve()
    return _own_project() or (None if _CARRIED.is_dir() else _PACKAGE.parent)


def _own_project() -> Path | None:
    try:
        here = Path.cwd()
    except OSError:  # it was removed
        return None
    return next((folder for folder in (here, *here.parents) if (folder / PROJECT_FILE).is_file()), None)


def resolve(path: str | Path) -> Path:
    """Absolute path of `path`, relative ones taken from the project's root."""
    return project_root() / _from_home(path)


def from_here(path: str | Path) -> Path:
    """Absolute path of a command's argument, relative ones taken from the current folder."""
    return _from_home(path).absolute()


def _from_home(path: str | Path) -> Path:
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise ParameterError(f"{path} starts with a user that this machine does not know.") from None


def locate(path: str | Path) -> Path:
    """Absolute path; a relative one is looked for in the current folder, then in the project.

    Parameters are always relative to the project (`resolve`), so that they mean the same wherever a run is started.
    """
    here = Path(path).absolute()  # a name may begin with ~ and be no user's
    try:
        return here if here.exists() else resolve(path)
    except ParameterError:
        return here


def shown(path: str | Path) -> str:
    """`path` as messages and records show it: relative to the project's root, or its name alone outside of it."""
    path = resolve(path)
    return str(path.relative_to(project_root())) if path.is_relative_to(project_root()) else path.name
