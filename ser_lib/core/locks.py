"""Locks of open files: a process holds one until it closes the file, or ends, however that is."""

import os
from pathlib import Path
from typing import IO

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

_FAR = 1 << 30
"""Where Windows locks a byte: beyond what is in the file, since nobody else could read that."""


def lock(file: IO | int, *, shared: bool = False) -> None:
    """Lock an open file, or one by its number.

    Parameters
    ----------
    file : file or int
    shared : bool
        Whether others may hold it as well, as long as all do it in this way; Windows knows no such locks.

    Raises
    ------
    BlockingIOError
        If another process holds it.
    """
    number = file if isinstance(file, int) else file.fileno()
    if fcntl is None:
        _lock_byte(number)
    else:
        fcntl.flock(number, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)


def is_locked(path: Path) -> bool:
    """Tell whether a process holds the file at `path`, which is not made where it is missing."""
    try:
        number = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))  # of a foreign record it may be a pipe
    except OSError:
        return False
    try:
        lock(number, shared=True)
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        os.close(number)
    return False


def _lock_byte(number: int) -> None:
    import msvcrt

    os.lseek(number, _FAR, os.SEEK_SET)
    try:
        msvcrt.locking(number, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
    except PermissionError as error:
        raise BlockingIOError(error.errno, error.strerror) from None
    finally:
        os.lseek(number, 0, os.SEEK_SET)
