"""A folder of your own: sub-folders named by emotion, or a table `clips.csv`. `docs/corpora.md` shows both."""

import csv
import functools
import os
import re
import unicodedata
from collections.abc import Callable, Collection, Sequence
from pathlib import Path, PurePath

from ser_lib.core.errors import DatasetError
from ser_lib.core.labels import EMOTIONS as SEVEN
from ser_lib.corpora.audio_files import may_be_audio as is_audio  # noqa: F401 - a part of what a corpus is
from ser_lib.corpora.audio_files import why_not
from ser_lib.corpora.base import UNKNOWN, Name

NAME = "OWN"
ABOUT = "A folder of your own recordings."
LICENCE, CITATION, LANGUAGE = "your own", "none, it is your own", "any"
N_SPEAKERS = HOURS = None
TABLE = "clips.csv"
_REQUIRED = ("path", "emotion")
WHERE = "Put recordings into folders named by emotion, or list them in a clips.csv; docs/corpora.md shows both."
EMOTIONS = {emotion: emotion for emotion in SEVEN} | {
    "happiness": "happy", "joy": "happy", "sadness": "sad", "anger": "angry", "fearful": "fear", "afraid": "fear",
    "disgusted": "disgust", "surprise": "ps", "surprised": "ps", "pleasant_surprise": "ps", "pleasant_surprised": "ps",
}  # fmt: skip


def read_name(path: PurePath, more: Collection[str] = ()) -> Name:
    """Read the folders of a path, such as `happy/kitchen/1.m4a`: the innermost that names an emotion, if one does.

    No folder says who speaks and what.

    Parameters
    ----------
    path : PurePath
    more : collection of str
        Words that name emotions as well: those of `LABEL_MAP`.

    Raises
    ------
    ValueError
        If the file lies in no folder; the message is the reason.
    """
    folders = [_word(part) for part in reversed(path.parts[:-1])]
    if not folders:
        raise ValueError("no folder names its emotion: move it into one, such as happy, or write a clips.csv")
    emotion = next((word for word in folders if word in EMOTIONS or word in more), folders[0])
    return Name(UNKNOWN, emotion, UNKNOWN, path.as_posix())


def emotion_of(folder: str, more: Collection[str] = ()) -> str | None:
    """Emotion that the name of a folder means, or None; `more`: words that name emotions as well."""
    word = _word(folder)
    return EMOTIONS.get(word, word if word in more else None)


def read_table(folder: Path) -> dict[str, Name] | None:
    """Path below `folder` → what `clips.csv` says of it; None if there is no such table.

    Names of columns are in small letters. Empty lines and columns without a name say nothing.

    Raises
    ------
    DatasetError
        If it is no table that gives each of some files below `folder` an emotion.
    """
    table = folder / TABLE
    if not table.exists():
        return None
    lines = _read_lines(table)
    columns = [name.lower() for name in lines[0][1]] if lines else []
    if any(columns.count(name) != 1 for name in _REQUIRED):
        got = f"`{','.join(columns)}`" if columns else "nothing"
        raise _error(table, 1, f"name the columns {' and '.join(_REQUIRED)} once each, with commas between", got)
    names: dict[str, Name] = {}
    spelt = functools.cache(_spelt)
    for number, cells in lines[1:]:
        file, name = _read_row(table, number, columns, cells)
        file = _as_there(folder, file, spelt)
        if file in names:
            raise _error(table, number, "name a file that no line before it names", f"`{file}`")
        names[file] = name
    if not names:
        raise _error(table, 2, "name a file", "nothing")
    return names


def _read_row(table: Path, number: int, columns: Sequence[str], cells: Sequence[str]) -> tuple[str, Name]:
    if any(cells[len(columns) :]):
        raise _error(table, number, "have no more cells than columns", f"{len(cells)} of {len(columns)}")
    row = dict.fromkeys(columns, "") | dict(zip(columns, cells, strict=False))
    for column in _REQUIRED:
        if not row[column]:
            raise _error(table, number, f"fill in the column {column}", f"nothing for `{row['path']}`")
    file = PurePath(row["path"].replace("\\", "/"))
    if file.anchor or ".." in file.parts:
        raise _error(table, number, "name a file below the table's folder by its path from there", f"`{row['path']}`")
    speaker, emotion, text = (" ".join(row.get(column, UNKNOWN).split()) for column in ("speaker", "emotion", "text"))
    return file.as_posix(), Name(speaker, _word(emotion), text, file.as_posix())


def _as_there(folder: Path, file: str, spelt: Callable[[Path], dict[str, str]]) -> str:
    """A path below `folder` as the disk spells it: é may be one character in a table, and two in a file's name."""
    path = folder
    for part in PurePath(file).parts:
        is_there = part.isascii() or os.path.lexists(path / part)
        path /= part if is_there else spelt(path).get(_composed(part), part)
    return path.relative_to(folder).as_posix()


def _spelt(folder: Path) -> dict[str, str]:
    """Names in a folder by their composed form; none if it cannot be read."""
    try:
        return {_composed(path.name): path.name for path in folder.iterdir()}
    except OSError:
        return {}


def _composed(text: str) -> str:
    return unicodedata.normalize("NFC", text)


def _word(text: str) -> str:
    return "_".join(re.findall(r"[^\s_-]+", _composed(text).lower()))


def _read_lines(table: Path) -> list[tuple[int, list[str]]]:
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


def _error(table: Path, number: int, rule: str, got: str) -> DatasetError:
    return DatasetError(f"Line {number} of {table} must {rule}. Got {got}. Correct that line.")
