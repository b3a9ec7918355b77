"""What lies below a folder, found without opening what is no file or following what leads elsewhere.

A corpus may come from anybody: a pipe in it would be waited for, a device read for ever, and a link that leaves the
folder would carry another file's content into what is published of the corpus.
"""

import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

LEAVES = "it is a link that leads out of the folder; put what it leads to in its place"
SEARCHED = "it is a link to a folder that is searched already"


class Seen(NamedTuple):
    """A file or, where one cannot be searched, a folder."""

    path: Path
    reason: str = ""
    """Why it must not be opened; empty for a plain file."""
    is_folder: bool = False


def walk(folder: Path, *, leave: bool = False) -> Iterator[Seen]:
    """What lies below `folder` and is not hidden, nor in a hidden folder; each folder is searched once.

    Parameters
    ----------
    leave : bool
        Whether links may lead out of `folder`, which may itself be one.
    """
    root = None if leave else folder
    real, linked, searched = [folder], [], set()
    while real or linked:
        place = (real or linked).pop()  # links come last, so that what they lead to keeps its own path
        try:
            info = place.stat()
            if (info.st_dev, info.st_ino) in searched:
                yield Seen(place, SEARCHED, is_folder=True)
                continue
            searched.add((info.st_dev, info.st_ino))
            with os.scandir(place) as entries:
                kinds = {place / entry.name: _kind(entry) for entry in entries if not entry.name.startswith(".")}
        except OSError as error:
            yield Seen(place, error.strerror, is_folder=True)
            continue
        for path, (is_folder, is_link) in kinds.items():
            if not is_folder:
                yield Seen(path, why_not(path, root if is_link else None))
            elif is_link and leads_out(path, root):
                yield Seen(path, LEAVES, is_folder=True)
            else:
                (linked if is_link else real).append(path)


def _kind(entry: os.DirEntry) -> tuple[bool, bool]:
    """Whether it is a folder, and whether it is a link."""
    try:
        return entry.is_dir(), entry.is_symlink()
    except OSError:  # a link that leads to itself
        return False, True


def why_not(path: Path, root: Path | None) -> str:
    """Why a file must not be opened: it is none, or lies outside of the folder `root`; empty if it may."""
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError) as error:
        return getattr(error, "strerror", None) or str(error)
    if not stat.S_ISREG(mode):
        return os.strerror(errno.EISDIR) if stat.S_ISDIR(mode) else "this is not a file"
    return LEAVES if leads_out(path, root) else ""


def leads_out(path: Path, root: Path | None) -> bool:
    """Whether a link on the way from the folder `root` to `path` leads out of it; never where there is no `root`."""
    return root is not None and not path.resolve().is_relative_to(root.resolve())
