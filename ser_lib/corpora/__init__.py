"""The corpora: which files belong to one, and what a file's name says.

A corpus is a module with

- `NAME`, and for people `ABOUT` (one sentence), `LICENCE`, `CITATION`, `LANGUAGE`, `N_SPEAKERS`, `HOURS`, and `WHERE`
  (how to get it and what to set then);
- `EMOTIONS`: its own word for an emotion → one of the seven, or None for what has no counterpart among them
  (`LABEL_MAP` may map that to one of them, or make it an emotion of its own);
- `read_name(path)`: what a path below the corpus's folder says (`base.Name`), or a ValueError with the reason;
- where nearly all files have one, `SAMPLING_RATE` (Hz), by which a check knows those that were resampled;
- where the whole corpus can be fetched, `DOWNLOAD` (`base.Archive`, `base.FilesOf` or `base.Dataset`);
- where it is not wav files, `SUFFIXES`, or `is_audio(path)`; where a table says more than names do,
  `read_table(folder)`;
- where the project makes the files itself, `make(folder)`.

Its list of files, if one is known, is `registries/NAME.csv`. `docs/corpora.md` shows how to add a corpus.
"""

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from ser_lib.core.errors import DatasetError, ParameterError
from ser_lib.core.labels import EMOTIONS
from ser_lib.corpora import crema_d, demo, emodb, own, ravdess, savee, tess
from ser_lib.corpora.base import UNKNOWN, Name, NotUsedError
from ser_lib.corpora.kinds import named_audio, suffix_of
from ser_lib.corpora.walk import SEARCHED, Seen, walk, why_not

if TYPE_CHECKING:
    import pandas as pd

CORPORA: dict[str, ModuleType] = {module.NAME: module for module in (demo, tess, ravdess, crema_d, savee, emodb, own)}

_TOLD_REASONS = 3
"""Kinds of reasons that a message gives an example of."""

LabelMap = Mapping[str, str | None]


@dataclass(frozen=True)
class Clip:
    """One recording: where it lies, what its name says, and the SHA-256 of the file.

    `speaker` and `text` are empty where nobody has told.
    """

    clip: str
    corpus: str
    speaker: str
    emotion: str
    text: str
    file: str
    sha256: str


@dataclass(frozen=True)
class Skipped:
    """A file or folder that is left out.

    A second copy, an emotion that is none of the seven, or what a corpus holds beside what is used, is no `fault`. Of
    files that are no audio, one stands for all of its kind, which are so many `files`.
    """

    file: str
    reason: str
    fault: bool = True
    files: int = 1


def get_corpus(name: str) -> ModuleType:
    """Module of the corpus `name`.

    Raises
    ------
    ParameterError
        If there is no such corpus.
    """
    if name not in CORPORA:
        raise ParameterError(f"`CORPORA` must name some of {', '.join(CORPORA)}. Got {name!r}.")
    return CORPORA[name]


def check_label_map(names: Sequence[str], label_map: LabelMap) -> None:
    """Refuse a map that names an emotion which none of the corpora has, or adds one of the seven by another word.

    Raises
    ------
    ParameterError
        If there is no such corpus or emotion.
    """
    modules = [get_corpus(name) for name in names]
    for emotion in label_map.values():
        if emotion not in EMOTIONS and own.EMOTIONS.get(emotion):
            raise ParameterError(
                f"`LABEL_MAP` must call each of the seven emotions by its own name, here {own.EMOTIONS[emotion]}. "
                f"Got {emotion!r}."
            )
    if any(hasattr(module, "read_table") for module in modules):
        return  # its emotions are what its owner calls them
    known = {emotion for module in modules for emotion in module.EMOTIONS}
    unknown = [emotion for emotion in label_map if emotion not in known]
    if unknown:
        raise ParameterError(
            f"`LABEL_MAP` must map emotions of {', '.join(names)}: {', '.join(sorted(known))}. Got {unknown[0]!r}."
        )


def find_corpora(folders: Mapping[str, Path], label_map: LabelMap) -> tuple[list[Clip], list[Skipped]]:
    """Find the clips of one corpus or of several, each content once.

    With several, speakers and texts carry their corpus's name (`TESS/OAF`), and `file` begins with the folder's name.

    Parameters
    ----------
    folders : mapping
        Name → folder of each corpus.
    label_map : mapping
        Emotions of the corpora → one of the seven or a new one, or None to leave them out; other than the corpora's
        own maps say.

    Raises
    ------
    DatasetError
        If a folder is missing or holds no clip of its corpus.
    ParameterError
        If there is no such corpus, or `label_map` names an emotion that none of them has.
    """
    check_label_map(list(folders), label_map)
    found = {name: find_clips(name, folder, label_map) for name, folder in folders.items()}
    if len(found) == 1:
        return next(iter(found.values()))
    clips: dict[str, Clip] = {}
    skipped = []
    for name, (own_clips, own_skipped) in found.items():
        place = folders[name].name
        skipped += [replace(one, file=f"{place}/{one.file}") for one in own_skipped]
        for clip in own_clips:
            file = f"{place}/{clip.file}"
            if clip.sha256 in clips:
                skipped.append(Skipped(file, f"same content as {clips[clip.sha256].file}", fault=False))
            else:
                whose, what = _within(name, clip.speaker), _within(name, clip.text)
                clips[clip.sha256] = replace(clip, file=file, speaker=whose, text=what)
    return sorted(clips.values(), key=lambda clip: clip.clip), skipped


def check_known(clips: "pd.DataFrame", things: Sequence[str], what: str) -> None:
    """Refuse clips whose speaker or text is unknown, where `what` needs it.

    Parameters
    ----------
    clips : pd.DataFrame
    things : sequence of str
        `speaker`, `text`: what is needed.
    what : str
        Parameter or command that needs it, as the message names it.

    Raises
    ------
    ParameterError
    """
    for thing in things:
        untold = clips["clip"][clips[thing] == ""]
        if len(untold):
            raise ParameterError(
                f"{what} needs the {thing} of every clip. That of {len(untold)} of {len(clips)} is unknown, such as "
                f"{untold.iloc[0]}. Give it in the column {thing} of clips.csv (docs/corpora.md shows how), or do "
                f"without {what}."
            )


def find_clips(name: str, folder: Path, label_map: LabelMap | None = None) -> tuple[list[Clip], list[Skipped]]:
    """Find the clips of the corpus `name` wherever they lie below `folder`, each content once.

    Clips are in the order of their ids, so neither the folders' names nor the file system's order matter.

    Raises
    ------
    DatasetError
        If the folder is missing or holds no clip of the corpus.
    """
    corpus = get_corpus(name)
    if not folder.is_dir():
        if folder.exists() or not hasattr(corpus, "make"):
            raise DatasetError(f"`DATASET_PATH` must be the folder of {name}; {folder} is none. {corpus.WHERE}")
        corpus.make(folder)
    names = corpus.read_table(folder) if hasattr(corpus, "read_table") else None
    seen, others = sort_files(corpus, folder)
    if names is not None:
        listed = {folder / file for file in names} | {folder / own.TABLE}
        others = [one for one in (*seen, *others) if one.path not in listed and not one.is_folder]
        seen = [Seen(path, why_not(path, folder)) for path in (folder / file for file in names)]
    clips: dict[str, Clip] = {}
    first_with: dict[str, str] = {}
    skipped = []
    for path, reason, _ in seen:
        file = path.relative_to(folder).as_posix()
        if file != _printable(file):
            skipped.append(Skipped(_printable(file), "its name holds characters that cannot be printed"))
            continue
        if reason:
            skipped.append(Skipped(file, reason, fault=reason != SEARCHED))
            continue
        try:
            said = _read_name(corpus, path.relative_to(folder), label_map or {}) if names is None else names[file]
            emotion = _counterpart(said, corpus, label_map or {})
            with path.open("rb") as content:
                digest = hashlib.file_digest(content, "sha256").hexdigest()
        except (ValueError, OSError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            skipped.append(Skipped(file, reason, fault=not isinstance(error, NotUsedError)))
            continue
        clip = _clip_id(name, said)
        if digest in first_with:
            skipped.append(Skipped(file, f"same content as {first_with[digest]}", fault=False))
        elif emotion is None:
            first_with[digest] = file
            reason = f"{said.emotion} has no counterpart among the seven emotions"
            skipped.append(Skipped(file, reason, fault=False))
        elif clip in clips:
            skipped.append(Skipped(file, f"another recording of the clip in {clips[clip].file}"))
        else:
            clips[clip] = Clip(clip, name, said.speaker, emotion, said.text, file, digest)
            first_with[digest] = file
    skipped += _left_out(corpus, folder, others, is_listed=names is not None)
    if not clips:
        found = (
            f"none of its {sum(one.files for one in skipped)} files is one ({format_reasons(skipped)})"
            if skipped
            else f"it has no {' or '.join(ending[1:] for ending in suffixes(corpus))} files"
        )
        raise DatasetError(f"`DATASET_PATH` must hold clips of {name}; in {folder} {found}. {corpus.WHERE}")
    return sorted(clips.values(), key=lambda clip: clip.clip), skipped


def _clip_id(corpus: str, said: Name) -> str:
    parts = (said.text, said.emotion, said.take) if said.text else (said.take, said.emotion)
    return f"{corpus}/{'_'.join(filter(None, (said.speaker, *parts)))}"


def _within(corpus: str, name: str) -> str:
    """Name of a speaker or a text among several corpora."""
    return f"{corpus}/{name}" if name else UNKNOWN


def _read_name(corpus: ModuleType, path: Path, label_map: LabelMap) -> Name:
    """What a path says; where folders name the emotions, those of `label_map` count as well."""
    return corpus.read_name(path, label_map) if corpus is own else corpus.read_name(path)


def _counterpart(said: Name, corpus: ModuleType, label_map: LabelMap) -> str | None:
    """Which emotion the corpus's own word stands for; None where it is left out.

    Raises
    ------
    ValueError
        If nothing says so.
    """
    for known in (label_map, corpus.EMOTIONS):
        if said.emotion in known:
            return known[said.emotion]
    names = ", ".join(dict.fromkeys([*EMOTIONS, *corpus.EMOTIONS]))
    raise ValueError(
        f"unknown emotion {said.emotion!r}; known: {names}. LABEL_MAP can map it to one of them, or add it: "
        f"LABEL_MAP: {{{said.emotion!r}: {said.emotion!r}}}"
    )


def format_reasons(skipped: Sequence[Skipped]) -> str:
    """The most frequent kinds of reasons for which files are left out: one file, how many more, and its reason.

    Of one kind are reasons that differ in numbers and paths alone.
    """
    kinds: dict[str, list[Skipped]] = {}
    for one in skipped:
        kinds.setdefault(re.sub(r"\S*[\d/]\S*", "", one.reason), []).append(one)
    counted = [(some[0], sum(one.files for one in some)) for some in kinds.values()]
    most = sorted(counted, key=lambda counts: counts[1], reverse=True)
    told = [
        f"{first.file}{f' and {count - 1:,} more' if count > 1 else ''}: {first.reason}"
        for first, count in most[:_TOLD_REASONS]
    ]
    rest = sum(count for _, count in most[_TOLD_REASONS:])
    return "; ".join([*told, f"{rest:,} for other reasons"] if rest else told)


def suffixes(corpus: ModuleType) -> tuple[str, ...]:
    """Endings of the corpus's audio files, in small letters."""
    return getattr(corpus, "SUFFIXES", (".wav",))


def audio_files(corpus: ModuleType, folder: Path) -> Iterator[Path]:
    """Audio files below `folder`, hidden ones left out, in the order of their names; links may lead anywhere."""
    return (one.path for one in sort_files(corpus, folder, leave=True)[0] if one.reason != SEARCHED)


def sort_files(corpus: ModuleType, folder: Path, *, leave: bool = False) -> tuple[list[Seen], list[Seen]]:
    """Tell what lies below `folder` apart, hidden files left out, each in the order of names; `leave`: see `walk`.

    Returns
    -------
    audio : list of Seen
        What may be clips, and folders that cannot be searched.
    others : list of Seen
    """
    found = sorted(walk(folder, leave=leave), key=lambda one: (one.path.name, len(one.path.parts), one.path))
    audio, others = [], []
    for one in found:
        (audio if one.is_folder or _is_audio(corpus, one) else others).append(one)
    return audio, others


def _is_audio(corpus: ModuleType, one: Seen) -> bool:
    if not hasattr(corpus, "is_audio"):
        return one.path.suffix.lower() in suffixes(corpus)
    return corpus.is_audio(one.path, look=not one.reason)


def _left_out(corpus: ModuleType, folder: Path, others: Sequence[Seen], *, is_listed: bool) -> list[Skipped]:
    """What lies beside the clips, one file for all of a kind; `is_listed`: whether a table names the clips."""
    kinds: dict[str, list[str]] = {}
    for one in others:
        if named_audio(one.path) and is_listed:
            reason = "audio that clips.csv does not list"
        elif named_audio(one.path):
            reason = f"audio, but {corpus.NAME} is {' and '.join(suffixes(corpus))} files"
        else:
            reason = "not audio"
        file = _printable(one.path.relative_to(folder).as_posix())
        kinds.setdefault(f"{reason} ({suffix_of(one.path)})", []).append(file)
    return [Skipped(files[0], reason, fault=False, files=len(files)) for reason, files in kinds.items()]


def _printable(file: str) -> str:
    is_plain = file.isprintable() and file == file.encode("utf-8", "replace").decode()
    return file if is_plain else ascii(file)[1:-1]
