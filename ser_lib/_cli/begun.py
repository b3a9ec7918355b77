"""A table of answers that a stopped command has begun, for `ser predict --resume`."""

import csv
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ser_lib._cli.answers import note_path, unfinished_path
from ser_lib.core.errors import StageError
from ser_lib.core.paths import from_here, shown

_LARGEST_NOTE = 10_000


@dataclass(frozen=True)
class Before:
    """What a table holds already.

    Attributes
    ----------
    size : int
        Bytes of its whole rows; none of a table that is new.
    files : frozenset
        Files that need not be answered again, as the table names them.
    n_failed : int
        Rows without an answer.
    """

    size: int = 0
    files: frozenset[str] = frozenset()
    n_failed: int = 0


def begin_table(where: str, columns: list[str], options: dict[str, Any], *, whole: bool) -> Before:
    """Read what a stopped command has written of a table; nothing, where none has.

    A half-written row does not count; nor, unless `whole`, the last file, some of whose rows may be missing.

    Raises
    ------
    StageError
        If the table is complete, or was begun with another model or other options.
    """
    path = from_here(where)
    part = unfinished_path(path)
    if not part.exists():
        if path.exists():
            raise StageError(
                f"--resume goes on with a table that is not complete. {shown(path)} is. Leave it out to begin anew."
            )
        return Before()
    if _noted(note_path(path)) != options:
        raise _other(part)
    return _read(part, columns, whole=whole)


def _other(part: Path) -> StageError:
    return StageError(
        f"--resume goes on with the same model and options. {shown(part)} was begun with others. Give those, or leave "
        f"--resume out to begin anew."
    )


def _noted(note: Path) -> Any:
    """Options that were noted; None if they cannot be read."""
    try:
        with note.open("rb") as file:
            return json.loads(file.read(_LARGEST_NOTE))
    except (OSError, ValueError, RecursionError):
        return None


def _read(part: Path, columns: list[str], *, whole: bool) -> Before:
    """Whole rows of a table; no cell holds a line break."""
    files: dict[str, int] = {}
    size = n_failed = failed_of_last = 0
    with part.open("rb") as table:
        head = table.readline()
        if not head.endswith(b"\n"):
            return Before()
        if _cells(head) != columns:
            raise _other(part)
        size = len(head)
        for line in table:
            cells = _cells(line)
            if not line.endswith(b"\n") or len(cells) != len(columns):
                break
            if cells[0] not in files:
                files[cells[0]], failed_of_last = size, 0
            failed = bool(cells[columns.index("error")])
            n_failed, failed_of_last, size = n_failed + failed, failed_of_last + failed, size + len(line)
    if files and not whole:
        _, size = files.popitem()
        n_failed -= failed_of_last
    return Before(size, frozenset(files), n_failed)


def _cells(line: bytes) -> list[str]:
    try:
        return next(csv.reader([line.decode("utf-8", "replace")]), [])
    except csv.Error:
        return []
