"""A folder of your own: sub-folders named by emotion, or a table `clips.csv`. `docs/corpora.md` shows both."""

import re
import unicodedata
from collections.abc import Collection
from pathlib import Path, PurePath

from ser_lib.core.labels import EMOTIONS as SEVEN
from ser_lib.corpora.base import UNKNOWN, Name
from ser_lib.corpora.kinds import may_be_audio as is_audio  # noqa: F401 - a part of what a corpus is
from ser_lib.corpora.table import read_rows

NAME = "OWN"
ABOUT = "A folder of your own recordings."
LICENCE, CITATION, LANGUAGE = "your own", "none, it is your own", "any"
N_SPEAKERS = HOURS = None
TABLE = "clips.csv"
WHERE = "Put recordings into folders named by emotion, or list them in a clips.csv; docs/corpora.md shows both."
EMOTIONS = {emotion: emotion for emotion in SEVEN} | {
    "happiness": "happy", "joy": "happy", "sadness": "sad", "anger": "angry", "fearful": "fear", "afraid": "fear",
    "disgusted": "disgust", "surprise": "ps", "surprised": "ps", "pleasant_surprise": "ps", "pleasant_surprised": "ps",
}  # fmt: skip


def read_name(path: PurePath, more: Collection[str] = ()) -> Name:
    """Read the folders of a path, such as `happy/kitchen/1.m4a`: the innermost that names an emotion, if one does.

    Who speaks and what is said, no folder tells.

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


def read_table(folder: Path) -> dict[str, Name] | None:
    """Path below `folder` → what `clips.csv` says of it; None if there is no such table.

    Raises
    ------
    DatasetError
        If it is no table that gives each of some files below `folder` an emotion.
    """
    table = folder / TABLE
    return {file: _name(file, row) for file, row in read_rows(table, ["emotion"]).items()} if table.exists() else None


def _name(file: str, row: dict[str, str]) -> Name:
    return Name(row.get("speaker", UNKNOWN), _word(row["emotion"]), row.get("text", UNKNOWN), file)


def _word(text: str) -> str:
    return "_".join(re.findall(r"[^\s_-]+", unicodedata.normalize("NFC", text).lower()))
