"""Which pages are up to date: what each was made from, and each as it was written, noted in `reports/.pages.json`.

The note lies beside the records and not in them, since a record may come with pages of its own. Files are told by
size, time of modification and time of change. No copy keeps the last one, and whatever touches a file renews it: a
record that is replaced by another with the sizes and dates of the first is noticed, and so is a page that was edited.
"""

import functools
import hashlib
import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from ser_lib.core.io import write_text
from ser_lib.records.record import reports_folder

_LIBRARIES = ("bleach", "jinja2", "matplotlib", "mistune", "nbconvert")
_NOTES = TypeAdapter(dict[str, tuple[str, str]])


class Pages:
    """Notes on pages: what they were made from, and their files as they were written."""

    def __init__(self, noted: dict[str, tuple[str, str]]) -> None:
        self._before, self.noted = noted, {}

    def is_fresh(self, page: Path, made_from: str) -> bool:
        """Tell whether a page is the one that was written, from the same as now; then it stays noted."""
        now = (made_from, looks_of([page]))
        if self._before.get(_name(page)) != now:
            return False
        self.noted[_name(page)] = now
        return True

    def note(self, page: Path, made_from: str) -> None:
        """Note a page that has just been written."""
        self.noted[_name(page)] = (made_from, looks_of([page]))


@contextmanager
def noted_pages(*, every: bool = False) -> Iterator[Pages]:
    """Give the notes, and write them at the end; `every`: as if there were none, so that each page is written."""
    path = reports_folder() / ".pages.json"
    pages = Pages({} if every else _read(path))
    try:
        yield pages
    finally:
        content = {"": (_maker(), ""), **dict(sorted(pages.noted.items()))}
        write_text(path, json.dumps(content, indent=1) + "\n", through_link=False)


def _read(path: Path) -> dict[str, tuple[str, str]]:
    """Notes of the same code and libraries; none where there are none, or damaged ones: pages are then written anew."""
    if path.is_symlink() or not path.is_file():
        return {}
    try:
        noted = _NOTES.validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return {}
    return noted if noted.pop("", ("", ""))[0] == _maker() else {}


def looks_of(files: Iterable[Path], *more: object) -> str:
    """Digest of how files look from outside, and of `more` plain values."""
    looks: list[object] = list(more)
    for file in sorted(files):
        try:
            status = file.lstat()
        except OSError:
            looks.append([file.name])
        else:
            looks.append([file.name, status.st_size, status.st_mtime_ns, status.st_ctime_ns])
    return hashlib.sha256(json.dumps(looks).encode()).hexdigest()


@functools.cache
def _maker() -> str:
    """Digest of what makes the pages: this package's code and templates, and the libraries."""
    package = Path(__file__).parent.parent
    sources = sorted(file for kind in ("*.py", "templates/**/*.*") for file in package.rglob(kind))
    digests = [hashlib.sha256(file.read_bytes()).hexdigest() for file in sources]
    return hashlib.sha256(json.dumps([digests, [version(name) for name in _LIBRARIES]]).encode()).hexdigest()


def _name(page: Path) -> str:
    return f"{page.parent.name}/{page.name}"
