"""Tell whether a folder is the corpus that it should be: every file there, whole, unaltered, and once.

Every file is hashed. Only those that are not what the corpus's list says are decoded, to find out what became of them.
"""

import contextlib
import hashlib
from collections import Counter
from collections.abc import Hashable
from dataclasses import dataclass
from pathlib import Path, PurePath
from types import ModuleType
from typing import NamedTuple

import numpy as np
import soundfile

from ser_lib.core.errors import AudioError, DatasetError
from ser_lib.core.labels import shown_as
from ser_lib.core.paths import shown
from ser_lib.core.text import printable
from ser_lib.corpora import CORPORA
from ser_lib.corpora.audio_files import why_not
from ser_lib.corpora.base import Name
from ser_lib.corpora.files.registry import (
    Entry,
    Found,
    audio_below,
    find_corpus,
    identity,
    named_corpus,
    read_registry,
    scan,
)

KINDS = ("missing", "extra", "duplicated", "resampled", "re-encoded", "truncated", "altered", "unusable")
"""What may be wrong with a file. `altered` is what no other word fits, `unusable` what holds no sound to use."""
_WAVES = {("WAV", "PCM_16"), ("WAVEX", "PCM_16")}
"""What nearly all files of the corpora with a list are."""
_UNKNOWN_SIZE = 0xFFFFFFFF
"""What a program writes as the size of a wav file that it cannot go back in."""
_SHOWN_FILES = 20


class Problem(NamedTuple):
    """One file with which something is wrong: one of `KINDS`, the file, and what there is to say about it."""

    kind: str
    file: str
    text: str = ""


@dataclass(frozen=True)
class Report:
    """What a folder holds."""

    corpus: str
    folder: Path
    n_listed: int  # files in the corpus's list; 0 if none is known
    n_right: int  # files of the list that are there as the list says
    n_found: int  # audio files in the folder
    clips: list[Name]  # what the names say, each clip once
    problems: list[Problem]  # in the order of `KINDS` and names

    @property
    def is_whole(self) -> bool:
        """Whether every file is there, whole and unaltered; files beside them change nothing about that."""
        return all(problem.kind == "extra" for problem in self.problems)


class _Audio(NamedTuple):
    """What decoding a file gives: a hash of its samples and how many, or why there are none."""

    digest: str = ""
    length: int = 0
    reason: str = ""


def check_folder(folder: Path, name: str | None = None) -> Report:
    """Check what lies below `folder`; without `name`, the corpus is the one whose names most of the files follow.

    Raises
    ------
    DatasetError
        If the folder is missing or holds no audio, or there is no such corpus.
    """
    if not folder.is_dir():
        raise DatasetError(f"The folder to check must be there. {shown(folder)} is none.")
    corpus = named_corpus(name) if name else guess_corpus(folder)
    entries = read_registry(corpus)
    found = scan(corpus, folder, entries)
    table = corpus.read_table(folder) if hasattr(corpus, "read_table") else None
    if not found and table is None:
        raise DatasetError(f"The folder to check must hold audio files. {shown(folder)} has none.")
    clips = _clips(corpus, found)
    problems = [Problem("missing", name) for name in entries if name not in clips]
    problems += _examine(corpus, folder, entries, found, clips)
    there = {one.file for one in found}
    absent = {file: why_not(folder / file, folder) for file in table or () if file not in there}
    problems += [Problem("missing", file, f"clips.csv names it: {reason}") for file, reason in absent.items() if reason]
    return Report(
        corpus=corpus.NAME,
        folder=folder,
        n_listed=len(entries),
        n_right=len({one.name for one in found if one.right}),
        n_found=len(found),
        clips=_names(corpus, list(clips.values()))
        if table is None
        else [name for file, name in table.items() if not absent.get(file)],
        problems=sorted(problems, key=lambda problem: (KINDS.index(problem.kind), problem.file)),
    )


def guess_corpus(folder: Path) -> ModuleType:
    """Corpus whose names most of the files below `folder` follow; a folder of one's own if they follow none.

    Raises
    ------
    DatasetError
        If the names do not show which it is, or there are several.
    """
    several = sorted(path.name for path in folder.glob("*") if path.is_dir() and find_corpus(path.name))
    if len(several) > 1:
        raise DatasetError(
            f"The folder must hold one corpus; {shown(folder)} holds {', '.join(several)}. Name one of them, such as "
            f"{shown(folder / several[0])}."
        )
    files = [PurePath(file) for file in audio_below(folder)]
    own = [corpus for corpus in CORPORA.values() if hasattr(corpus, "read_table")]
    best, most = None, 0
    for corpus in CORPORA.values():
        follow = 0 if corpus in own else sum(isinstance(identity(corpus, file), Name) for file in files)
        if follow > most:
            best, most = corpus, follow
    if own and files and 2 * most < len(files):
        best = own[0]
    if best is None:
        raise DatasetError(
            f"The names of the files must tell the corpus; those in {shown(folder)} follow none. Add --corpus NAME."
        )
    return best


def _key(corpus: ModuleType, one: Found) -> Hashable:
    return one.name or identity(corpus, PurePath(one.file))


def _clips(corpus: ModuleType, found: list[Found]) -> dict[Hashable, Found]:
    """The file that stands for each clip: the right one, or else the first."""
    clips: dict[Hashable, Found] = {}
    for one in sorted(found, key=lambda one: not one.right):
        clips.setdefault(_key(corpus, one), one)
    return clips


def _names(corpus: ModuleType, clips: list[Found]) -> list[Name]:
    """What the names of the clips' files say, as far as they follow the corpus's rule."""
    names = []
    for one in clips:
        with contextlib.suppress(ValueError):
            names.append(corpus.read_name(PurePath(one.name or one.file)))
    return names


def _examine(
    corpus: ModuleType, folder: Path, entries: dict[str, Entry], found: list[Found], clips: dict[Hashable, Found]
) -> list[Problem]:
    """What is wrong with the files that are there."""
    standing = set(clips.values())
    suspects = [one for one in found if not (one.right and one in standing)]
    decoded = {one.file: _Audio(reason=one.reason) if one.reason else _decode(folder / one.file) for one in suspects}
    firsts = _right_contents(folder, found, suspects, standing, {audio.length for audio in decoded.values()})
    names = {entry.sha256: name for name, entry in entries.items()}
    problems = []
    for one in suspects:
        audio, twin, same = decoded[one.file], None, ""
        for content, what in ((one.sha256, "the same bytes"), (audio.digest, "the same audio")):
            if content and twin is None and content in firsts:
                twin, same = firsts[content], what
            firsts.setdefault(content, one)
        if one not in standing:
            first = clips[_key(corpus, one)]
            detail = f" and holds {same}" if twin is first else ""
            problems.append(Problem("duplicated", one.file, f"is the same clip as {first.file}{detail}"))
        elif twin is not None and not _listed_twins(entries, one, twin):
            problems.append(Problem("duplicated", one.file, f"holds {same} as {twin.file}"))
        elif one.reason and one.name is not None:
            problems.append(Problem("unusable", one.file, one.reason))
        elif one.sha256 in names:
            problems.append(Problem("altered" if one.name else "extra", one.file, f"is {names[one.sha256]} by content"))
        elif one.name is not None:
            problems.append(_explain(folder / one.file, one.file, audio, entries[one.name], corpus))
        elif entries:
            problems.append(Problem("extra", one.file, audio.reason))
        elif audio.reason:
            problems.append(Problem("unusable", one.file, audio.reason))
    return problems


def _decode(path: Path) -> _Audio:
    from ser_lib.audio.signal import load_audio  # only needed where something is wrong

    try:
        signal, _ = load_audio(path)
    except AudioError as error:
        return _Audio(reason=str(error))
    except UnicodeError:
        return _Audio(reason="its name holds characters that cannot be printed")
    return _Audio(hashlib.sha256((signal + np.float32(0)).tobytes()).hexdigest(), len(signal))  # -0 is 0


def _right_contents(
    folder: Path, found: list[Found], suspects: list[Found], standing: set[Found], lengths: set[int]
) -> dict[str, Found]:
    """Content → right file, by the hash of the file, and by that of its samples if a suspect is as long (samples)."""
    right = [one for one in found if one.right and one in standing]
    contents = {one.sha256: one for one in right}
    for one in right if suspects else ():
        try:
            as_long = soundfile.info(folder / one.file).frames in lengths
        except (soundfile.LibsndfileError, UnicodeError):
            continue
        if as_long:
            audio = _decode(folder / one.file)
            contents |= {audio.digest: one} if audio.digest else {}
    return contents


def _listed_twins(entries: dict[str, Entry], one: Found, other: Found) -> bool:
    """Whether the corpus itself holds the two recordings twice, as some do."""
    return one.name is not None and other.name is not None and entries[one.name].sha256 == entries[other.name].sha256


def _explain(path: Path, file: str, audio: _Audio, entry: Entry, corpus: ModuleType) -> Problem:
    """What became of a file that is not the one in the list."""
    size = path.stat().st_size if path.is_file() else 0
    announced = _announced_bytes(path)
    if path.is_file() and size < entry.bytes and size < announced:
        return Problem("truncated", file, f"has {size:,} of {announced:,} bytes")
    if audio.reason:
        return Problem("unusable", file, audio.reason)
    what: tuple[str, ...] = (path.suffix[1:].upper(),)
    sampling_rate = None
    with contextlib.suppress(soundfile.LibsndfileError):  # then PyAV has decoded it
        info = soundfile.info(path)
        what, sampling_rate = (info.format, info.subtype), info.samplerate
    expected = getattr(corpus, "SAMPLING_RATE", None)
    if expected and sampling_rate and sampling_rate != expected:
        return Problem("resampled", file, f"has {sampling_rate} Hz, the corpus {expected} Hz")
    if expected and what not in _WAVES:
        return Problem("re-encoded", file, f"is {' '.join(what)}, the corpus WAV PCM_16")
    return Problem("altered", file, f"has {size:,} bytes, the original {entry.bytes:,}, and another SHA-256")


def _announced_bytes(path: Path) -> int:
    """Size that the header of a wav or AIFF file gives (bytes), 0 in other files, more than there is without header."""
    try:
        with path.open("rb") as file:
            head = file.read(12)
    except OSError:
        return 0
    if len(head) < 12:
        return 12
    size = int.from_bytes(head[4:8], "big" if head[:4] == b"FORM" else "little")
    return size + 8 if head[:4] in (b"RIFF", b"FORM") and size != _UNKNOWN_SIZE else 0


def verdict(report: Report) -> str:
    """One line: whether all is right, or how much of what is not."""
    where = f"{report.corpus} in {shown(report.folder)}"
    counts = Counter(problem.kind for problem in report.problems)
    wrong = ", ".join(f"{counts[kind]:,} {kind}" for kind in KINDS if counts[kind])
    if report.n_listed:
        if report.is_whole:
            return f"{where}: all {report.n_listed:,} files are there, whole and unaltered{wrong and f'; {wrong}'}."
        return f"{where}: {wrong}; {report.n_right:,} of {report.n_listed:,} files are whole and unaltered."
    if not wrong:
        return f"{where}: {report.n_found:,} files, all of them audio and none twice. No list of its files is known."
    return f"{where}: {wrong}, of {report.n_found:,} files. No list of its files is known."


def describe(report: Report, *, every: bool = False) -> str:
    """What is wrong, file by file (the first 20 of a kind unless `every`), and the table by speaker and emotion."""
    parts = []
    for kind in KINDS:
        problems = [problem for problem in report.problems if problem.kind == kind]
        if problems:
            some = problems if every else problems[:_SHOWN_FILES]
            lines = [f"{kind} ({len(problems):,})"]
            lines += [f"  {printable(one.file)} {printable(one.text)}".rstrip() for one in some]
            lines += (
                [f"  and {len(problems) - len(some):,} more; --all names them"] if len(some) < len(problems) else []
            )
            parts.append("\n".join(lines))
    if report.clips:
        parts.append(_table(report.clips))
    if unknown := sorted({name.emotion for name in report.clips} - set(named_corpus(report.corpus).EMOTIONS)):
        words = printable(", ".join(unknown))
        parts.append(f"Unknown emotions: {words}. A run leaves their clips out unless LABEL_MAP says what they are.")
    return "\n\n".join(parts)


def _table(clips: list[Name]) -> str:
    import pandas as pd

    speakers = pd.Series([name.speaker or "unknown" for name in clips], name="speaker")
    emotions = pd.Series([shown_as(name.emotion) for name in clips], name="emotion")
    table = pd.crosstab(speakers, emotions, margins=True, margins_name="all")
    return table.rename_axis(index=None, columns="clips").to_string()
