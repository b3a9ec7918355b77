"""The list of a corpus's files as its authors distribute them, and which file in a folder is which of these."""

import csv
from collections.abc import Collection, Hashable
from dataclasses import dataclass
from pathlib import Path, PurePath
from types import ModuleType
from typing import NamedTuple

from ser_lib.core.errors import DatasetError
from ser_lib.core.io import file_hash
from ser_lib.core.progress import progress_bar
from ser_lib.corpora import CORPORA, suffixes
from ser_lib.corpora.audio_files import AUDIO, SEARCHED, walk

REGISTRIES = Path(__file__).parents[1] / "registries"
"""Folder of the lists, one for each corpus whose files are known."""


class Entry(NamedTuple):
    """What is known of one file."""

    bytes: int
    sha256: str


@dataclass(frozen=True)
class Found:
    """A file below a folder."""

    file: str  # its path below the folder
    name: str | None  # which file of the corpus's list it should be, by its name
    sha256: str  # empty if it cannot be read
    right: bool  # whether it is what the list says, to the last bit
    reason: str = ""  # why it must not be opened


def named_corpus(name: str) -> ModuleType:
    """Corpus `name`, in capitals or not.

    Raises
    ------
    DatasetError
        If there is none.
    """
    if corpus := find_corpus(name):
        return corpus
    raise DatasetError(f"The name of the corpus must be one of {', '.join(CORPORA)}. Got {name!r}.")


def find_corpus(name: str) -> ModuleType | None:
    """Corpus `name`, in capitals or not; None if there is none."""
    return next((corpus for known, corpus in CORPORA.items() if known.upper() == name.upper()), None)


def read_registry(corpus: ModuleType) -> dict[str, Entry]:
    """Files of the corpus by name; empty if no list of them is known."""
    path = REGISTRIES / f"{corpus.NAME}.csv"
    if not path.is_file():
        return {}
    with path.open(newline="", encoding="utf-8") as file:
        return {row["file"]: Entry(int(row["bytes"]), row["sha256"]) for row in csv.DictReader(file)}


def identity(corpus: ModuleType, path: PurePath) -> Hashable:
    """What makes two files the same clip: what the name says, or the name itself; folders may differ."""
    if hasattr(corpus, "read_table"):
        return path.as_posix()
    try:
        return corpus.read_name(path)
    except ValueError:
        return path.name.lower()


def audio_below(folder: Path, corpus: ModuleType | None = None) -> dict[str, str]:
    """Path below `folder` of what looks like audio, hidden files left out, the least nested first.

    With each goes why it must not be opened, empty if it may; so do folders that cannot be searched.
    """
    wanted = AUDIO | set(suffixes(corpus) if corpus else ())  # a wav file may have become another
    found = [one for one in walk(folder) if one.is_folder or one.path.suffix.lower() in wanted]
    found = sorted(found, key=lambda one: (len(one.path.parts), one.path))
    return {one.path.relative_to(folder).as_posix(): one.reason for one in found if one.reason != SEARCHED}


def names_of(corpus: ModuleType, entries: dict[str, Entry], files: Collection[str]) -> list[str | None]:
    """For each file, which one of the list it should be."""
    known = {identity(corpus, PurePath(name)): name for name in entries}
    return [known.get(identity(corpus, PurePath(file))) for file in files]


def scan(corpus: ModuleType, folder: Path, entries: dict[str, Entry]) -> list[Found]:
    """Hash every audio file below `folder` and compare it with the list."""
    files = audio_below(folder, corpus)
    found = []
    with progress_bar(len(files), "Checking", "files", leave=False) as bar:
        for (file, reason), name in zip(files.items(), names_of(corpus, entries, files), strict=True):
            try:
                digest = "" if reason else file_hash(folder / file)
            except OSError as error:
                digest, reason = "", error.strerror or str(error)
            right = name is not None and digest == entries[name].sha256
            found.append(Found(file, name, digest, right, reason))
            bar.update(1)
    return found
