"""A folder for what a kernel needs only while it runs; of processes that were killed, the next one removes it."""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_PREFIX = "ser-"
_LOCK = "held.lock"
"""File that a process locks while it uses its folder: the lock goes with the process, however it ends."""


@contextmanager
def private_folder() -> Iterator[Path]:
    """Give a folder of its own in the temporary folder, which nobody else may read; remove it at the end."""
    remove_leftovers()
    with tempfile.TemporaryDirectory(prefix=_PREFIX, ignore_cleanup_errors=True) as name:
        new = Path(name) / "new"
        with new.open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            new.rename(Path(name) / _LOCK)  # so it is never there without being held
            yield Path(name)


def remove_leftovers() -> None:
    """Remove the folders of processes of this user that were killed."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        if _is_left(folder):
            shutil.rmtree(folder, ignore_errors=True)


def _is_left(folder: Path) -> bool:
    try:
        if folder.is_symlink() or folder.stat().st_uid != os.getuid():
            return False
        with (folder / _LOCK).open("r") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
