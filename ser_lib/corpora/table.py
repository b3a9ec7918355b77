"""A table of clips: a CSV beside the recordings, with a line for each, of which one cell is the file's path."""

import csv
from collections.abc import Sequence
from pathlib import Path, PurePath

from ser_lib.core.errors import DatasetError
from ser_lib.corpora.walk import why_not


def read_rows(table: Path, columns: Sequence[str]) -> dict[str, dict[str, str]]:
    """Path of each file below the table's folder, as POSIX writes it, → its line: column → cell.

    Names of columns are in small letters. Empty lines and columns without a name say nothing.

    Parameters
    ----------
    columns : sequence of str
        Columns that must be there beside `path`, with something in every line; there may be others.

    Raises
    ------
    DatasetError
        If it is no such table, or names a file twice or one that does not lie below its folder.
    """
    wanted = ("path", *columns)
    lines = _read(table)
    names = [name.lower() for name in lines[0][1]] if lines else []
    if any(names.count(name) != 1 for name in wanted):
        got = f"`{','.join(names)}`" if names else "nothing"
        raise _error(table, 1, f"name the columns {' and '.join(wanted)} once each, with commas between", got)
    rows: dict[str, dict[str, str]] = {}
    for number, cells in lines[1:]:
        if any(cells[len(names) :]):
            raise _error(table, number, "have no more cells than columns", f"{len(cells)} of {len(names)}")
        row = dict.fromkeys(names, "") | dict(zip(names, cells, strict=False))
        for name in wanted:
            if not row[name]:
                raise _error(table, number, f"fill in the column {name}", f"nothing for `{row['path']}`")
        file = _below(table, number, row["path"])
        if file in rows:
            raise _error(table, number, "name a file that no line before it names", f"`{file}`")
        rows[file] = {name: " ".join(cell.split()) for name, cell in row.items()}
    if not rows:
        raise _error(table, 2, "name a file", "nothing")
    return rows


def _read(table: Path) -> list[tuple[int, list[str]]]:
    """Number and cells of each line that is not empty."""
    reason = why_not(table, table.parent)
    if reason:
        raise DatasetError(f"{table} must be a file that can be read. It cannot: {reason}.")
    try:
        with table.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file, strict=True)
            lines = [(reader.line_num, [cell.strip() for cell in cells]) for cells in reader]
    except (csv.Error, UnicodeError) as error:
        raise DatasetError(f"{table} must be a CSV in UTF-8. It is none: {error}. Save it as one.") from None
    except OSError as error:
        raise DatasetError(f"{table} must be a file that can be read. It cannot: {error.strerror}.") from None
    return [(number, cells) for number, cells in lines if any(cells)]


def _below(table: Path, number: int, path: str) -> str:
    file = PurePath(path.replace("\\", "/"))
    if file.anchor or ".." in file.parts:
        raise _error(table, number, "name a file below the table's folder by its path from there", f"`{path}`")
    return file.as_posix()


def _error(table: Path, number: int, rule: str, got: str) -> DatasetError:
    return DatasetError(f"Line {number} of {table} must {rule}. Got {got}. Correct that line.")
