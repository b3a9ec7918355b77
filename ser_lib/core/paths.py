"""Paths relative to the project or to the current folder, and how messages show them."""

import os
from pathlib import Path

from ser_lib.core.errors import ParameterError


def project_root() -> Path:
    """Folder that relative paths start from: `$SER_ROOT`, or the clone that ser_lib was installed from."""
    return Path(os.environ.get("SER_ROOT") or Path(__file__).resolve().parents[2]).resolve()


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
