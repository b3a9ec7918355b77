"""The clips of a corpus: which files are clips, what is said in them and by whom, and why others are left out."""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path, PurePath
from types import ModuleType
from typing import TYPE_CHECKING

from ser_lib.core.errors import DatasetError, ParameterError
from ser_lib.core.io import file_hash
from ser_lib.core.labels import EMOTIONS
from ser_lib.core.patterns import find_groups
from ser_lib.core.text import quoted
from ser_lib.corpora import get_corpus, own, suffixes
from ser_lib.corpora.audio_files import SEARCHED, Seen, named_audio, sort_files, suffix_of, why_not
from ser_lib.corpora.base import UNKNOWN, Name, NotUsedError
from ser_lib.corpora.left_out import NO_AUDIO, Skipped, format_reasons

if TYPE_CHECKING:
    import pandas as pd

_SHOWN_FOLDERS = 8
_FEW_SPEAKERS, _NEAREST = 10, 5
"""Speakers that a message names all; of more, how many."""
_ALSO_BY = {"speaker": " or by SPEAKER_PATTERN"}

LabelMap = Mapping[str, str | None]


@dataclass(frozen=True)
class Clip:
    """One recording: where it lies, what its name says, and the SHA-256 of the file.

    `speaker` and `text` are empty where they are unknown.
    """

    clip: str
    corpus: str
    speaker: str
    emotion: str
    text: str
    file: str
    sha256: str


def check_label_map(names: Sequence[str], label_map: LabelMap) -> None:
    """Refuse a map that names an emotion which none of the corpora has, or adds one of the seven by another word.

    Raises
    ------
    ParameterError
        If there is no such corpus or emotion.
    """
    modules = [get_corpus(name) for name in names]
    for emotion in filter(None, label_map.values()):
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


def find_corpora(
    folders: Mapping[str, Path], label_map: LabelMap, speaker_pattern: str | None = None
) -> tuple[list[Clip], list[Skipped]]:
    """Find the clips of one corpus or of several, each content once, and under two emotions that are used not at all.

    With several, speakers and texts carry their corpus's name (`TESS/OAF`), and `file` begins with the folder's name;
    that of `OWN:FOLDER` always does.

    Parameters
    ----------
    folders : mapping
        Name → folder of each corpus.
    label_map : mapping
        Emotions of the corpora → one of the seven or a new one, or None to leave them out; other than the corpora's
        own maps say.
    speaker_pattern : str, optional
        See `find_clips`.

    Raises
    ------
    DatasetError
        If a folder is missing or holds no clip of its corpus, or all of several have two emotions.
    ParameterError
        If there is no such corpus, or `label_map` names an emotion that none of them has; or as `find_clips`.
    """
    check_label_map(list(folders), label_map)
    found = {name: find_clips(name, folder, label_map, speaker_pattern) for name, folder in folders.items()}
    if len(found) == 1 and not any(":" in name for name in found):
        return next(iter(found.values()))
    within = _within if len(found) > 1 else lambda name, one: one
    clips: dict[str, Clip] = {}
    disputed: set[str] = set()
    skipped = []
    for name, (own_clips, own_skipped) in found.items():
        parent = folders[name].name
        skipped += [replace(one, file=f"{parent}/{one.file}") for one in own_skipped]
        for clip in own_clips:
            file = f"{parent}/{clip.file}"
            if (first := clips.get(clip.sha256)) is not None:
                if differs := clip.emotion != first.emotion:
                    disputed.add(clip.sha256)
                skipped.append(_same_content(file, first.file, differs=differs))
            else:
                whose, what = within(name, clip.speaker), within(name, clip.text)
                clips[clip.sha256] = replace(clip, file=file, speaker=whose, text=what)
    skipped += [_disputed(clips.pop(sha256).file) for sha256 in sorted(disputed)]
    if not clips:
        raise DatasetError(f"Recordings must have one emotion. Those of {', '.join(folders)} have several.")
    return sorted(clips.values(), key=lambda clip: clip.clip), skipped


def _same_content(file: str, first: str, *, differs: bool) -> Skipped:
    return Skipped(file, f"same content as {first}{', with another emotion' if differs else ''}", fault=False)


def _disputed(file: str) -> Skipped:
    return Skipped(file, "another file of the same content has another emotion", fault=False)


def check_known(clips: "pd.DataFrame", things: Sequence[str], what: str) -> None:
    """Refuse clips of unknown speaker or text (`things`), where the parameter or command `what` needs these.

    Raises
    ------
    ParameterError
        If one of `things` is unknown of a clip.
    """
    for thing in things:
        unknown = clips["clip"][clips[thing] == ""]
        if len(unknown):
            raise ParameterError(
                f"{what} needs the {thing} of every clip. That of {len(unknown)} of {len(clips)} is unknown, such as "
                f"{unknown.iloc[0]}. Give it in the column {thing} of clips.csv{_ALSO_BY.get(thing, '')} "
                f"(docs/corpora.md shows how), or do without {what}."
            )


def check_test_speakers(asked: Sequence[str], known: Sequence[str]) -> None:
    """Refuse `TEST_SPEAKERS` (`asked`) of which one is not among those of the corpus, or that are all of these.

    Raises
    ------
    ParameterError
        If so.
    """
    unknown = [speaker for speaker in asked if speaker not in known]
    if unknown:
        raise ParameterError(
            f"`TEST_SPEAKERS` must name speakers of the corpus: {_like(unknown[0], known)}. Got {unknown[0]!r}."
        )
    if set(asked) == set(known):
        raise ParameterError(
            f"`TEST_SPEAKERS` must leave a speaker to train on. Got all of the corpus: {_like('', known)}."
        )


def _like(speaker: str, known: Sequence[str]) -> str:
    """Names of all speakers or, of many, those most like `speaker` and how many there are."""
    if len(known) <= _FEW_SPEAKERS:
        return ", ".join(known)
    small = {name.lower(): name for name in known}
    near = difflib.get_close_matches(speaker.lower(), small, n=_NEAREST, cutoff=0.3)
    shown = [small[name] for name in near] or known[:_NEAREST]
    return f"{', '.join(shown)} and {len(known) - len(shown):,} others"


def check_folder(name: str, folder: Path) -> None:
    """Refuse a folder that is none, unless the corpus `name` is one that is made where it is missing.

    Raises
    ------
    DatasetError
        If the folder is missing.
    """
    corpus = get_corpus(name)
    if ":" in name and not folder.is_dir():
        raise DatasetError(f"`DATASET_PATH` must hold the folder {folder.name} of {name}. {_folders_of(folder.parent)}")
    if not folder.is_dir() and (folder.exists() or not hasattr(corpus, "make")):
        raise DatasetError(f"`DATASET_PATH` must be the folder of {name}; {folder} is none. {corpus.WHERE}")


def _folders_of(parent: Path) -> str:
    """Say which folders there are, the first of them if they are many."""
    try:
        names = sorted(_printable(one.name) for one in parent.iterdir() if one.is_dir() and one.name[0] != ".")
    except OSError:
        return f"{parent} is no folder."
    more = f" and {len(names) - _SHOWN_FOLDERS:,} more" if len(names) > _SHOWN_FOLDERS else ""
    return f"{parent} holds {', '.join(names[:_SHOWN_FOLDERS]) or 'no folder'}{more}."


def find_clips(
    name: str, folder: Path, label_map: LabelMap | None = None, speaker_pattern: str | None = None
) -> tuple[list[Clip], list[Skipped]]:
    """Find the clips of the corpus `name` wherever they lie below `folder`, each content once, if its emotion is known.

    Clips are in the order of their ids, so neither the folders' names nor the file system's order matter.

    Parameters
    ----------
    name : str
    folder : Path
    label_map : mapping, optional
        As in `find_corpora`.
    speaker_pattern : str, optional
        Regular expression whose one group is the speaker in the name of a file of one's own, where no table names
        speakers; with a slash in it, in the path below `folder`.

    Raises
    ------
    DatasetError
        If the folder is missing or holds no clip of the corpus.
    ParameterError
        If there is no such corpus, or the pattern is found in no name or takes too long.
    """
    clips, skipped = list_clips(name, folder, label_map, speaker_pattern)
    if not clips:
        raise DatasetError(
            f"`DATASET_PATH` must hold clips of {name}; in {folder} {found_instead(name, skipped)}. "
            f"{get_corpus(name).WHERE}"
        )
    return clips, skipped


def list_clips(
    name: str, folder: Path, label_map: LabelMap | None = None, speaker_pattern: str | None = None
) -> tuple[list[Clip], list[Skipped]]:
    """Do what `find_clips` does, but let a folder be without clips."""
    corpus = get_corpus(name)
    check_folder(name, folder)
    if not folder.is_dir():
        corpus.make(folder)
    names, files, others = _list_files(corpus, folder)
    speakers: dict[str, str] = {}
    if corpus is own and names is None and speaker_pattern is not None:
        speakers = _speakers(name, [one.path.relative_to(folder).as_posix() for one in files], speaker_pattern)
    clips: dict[str, Clip] = {}
    first_with: dict[str, tuple[str, str | None]] = {}
    disputed: set[str] = set()
    skipped = []
    for one in files:
        file = one.path.relative_to(folder).as_posix()
        try:
            parsed = _read_name(corpus, one, file, names, speakers, label_map or {})
            emotion = _counterpart(parsed, corpus, label_map or {})
            sha256 = file_hash(one.path)
        except (ValueError, OSError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            skipped.append(Skipped(_printable(file), reason, fault=not isinstance(error, NotUsedError)))
            continue
        clip = _clip_id(name, parsed)
        first, first_emotion = first_with.get(sha256, (None, None))
        if first is not None:
            if differs := emotion != first_emotion:
                disputed.add(sha256)
            skipped.append(_same_content(file, first, differs=differs))
        elif emotion is None:
            first_with[sha256] = (file, None)
            reason = f"{parsed.emotion} has no counterpart among the seven emotions"
            skipped.append(Skipped(file, reason, fault=False))
        elif clip in clips:
            skipped.append(Skipped(file, f"another recording of the clip in {clips[clip].file}"))
        else:
            first_with[sha256] = (file, emotion)
            clips[clip] = Clip(clip, name, parsed.speaker, emotion, parsed.text, file, sha256)
    for doubtful in [clip for clip in clips.values() if clip.sha256 in disputed]:
        del clips[doubtful.clip]
        skipped.append(_disputed(doubtful.file))
    skipped += _left_out(corpus, folder, others, is_listed=names is not None)
    return sorted(clips.values(), key=lambda clip: clip.clip), skipped


def _list_files(corpus: ModuleType, folder: Path) -> tuple[dict[str, Name] | None, list[Seen], list[Seen]]:
    """What a table says of files (None without one), the files that may be clips, and what lies beside them."""
    names = corpus.read_table(folder) if hasattr(corpus, "read_table") else None
    files, others = sort_files(folder, partial(_is_audio, corpus))
    if names is None:
        return None, files, others
    listed = [folder / file for file in names]
    known = {*listed, folder / own.TABLE}
    others = [one for one in (*files, *others) if one.path not in known and not one.is_folder]
    return names, [Seen(path, why_not(path, folder)) for path in listed], others


def _is_audio(corpus: ModuleType, one: Seen) -> bool:
    if hasattr(corpus, "is_audio"):
        return corpus.is_audio(one.path, look=not one.reason)
    return one.path.suffix.lower() in suffixes(corpus)


def _speakers(name: str, files: Sequence[str], pattern: str) -> dict[str, str]:
    """Speaker of each file by its name or, where the pattern has a slash, its path below the folder."""
    texts = files if "/" in pattern else [PurePath(file).name for file in files]
    found = [" ".join(speaker.split()) for speaker in find_groups("SPEAKER_PATTERN", pattern, texts)]
    if files and not any(found):
        raise ParameterError(
            f"`SPEAKER_PATTERN` must be found in names of {name}; it is in none of {len(files):,}, such as "
            f"{_printable(texts[0])}. Got {quoted(pattern)}."
        )
    return dict(zip(files, found, strict=True))


def _read_name(
    corpus: ModuleType,
    one: Seen,
    file: str,
    names: Mapping[str, Name] | None,
    speakers: Mapping[str, str],
    label_map: LabelMap,
) -> Name:
    """What a file's path below the folder says, or else the table; where folders name emotions, `label_map`'s too."""
    if file != _printable(file):
        raise ValueError("its name holds characters that cannot be printed")
    if one.reason:
        raise (NotUsedError if one.reason == SEARCHED else ValueError)(one.reason)
    if names is not None:
        return names[file]
    if corpus is own:
        return own.read_name(PurePath(file), label_map)._replace(speaker=speakers.get(file, UNKNOWN))
    return corpus.read_name(PurePath(file))


def _counterpart(parsed: Name, corpus: ModuleType, label_map: LabelMap) -> str | None:
    """Which emotion the corpus's own word stands for; None where it is left out.

    Raises
    ------
    ValueError
        If nothing says so.
    """
    for known in (label_map, corpus.EMOTIONS):
        if parsed.emotion in known:
            return known[parsed.emotion]
    names = ", ".join(dict.fromkeys([*EMOTIONS, *corpus.EMOTIONS]))
    raise ValueError(
        f"unknown emotion {parsed.emotion!r}; known: {names}. LABEL_MAP can map it to one of them, or add it: "
        f"LABEL_MAP: {{{parsed.emotion!r}: {parsed.emotion!r}}}"
    )


def _clip_id(corpus: str, parsed: Name) -> str:
    parts = (parsed.text, parsed.emotion, parsed.take) if parsed.text else (parsed.take, parsed.emotion)
    return f"{corpus}/{'_'.join(filter(None, (parsed.speaker, *parts)))}"


def _within(corpus: str, name: str) -> str:
    """Name of a speaker or a text among several corpora."""
    return f"{corpus}/{name}" if name else UNKNOWN


def _left_out(corpus: ModuleType, folder: Path, others: Sequence[Seen], *, is_listed: bool) -> list[Skipped]:
    """What lies beside the clips, one file for all of a kind; `is_listed`: whether a table names the clips."""
    kinds: dict[str, list[str]] = {}
    for one in others:
        if named_audio(one.path) and is_listed:
            reason = "audio that clips.csv does not list"
        elif named_audio(one.path):
            reason = f"audio, but {corpus.NAME} is {' and '.join(suffixes(corpus))} files"
        else:
            reason = NO_AUDIO
        file = _printable(one.path.relative_to(folder).as_posix())
        kinds.setdefault(f"{reason} ({suffix_of(one.path)})", []).append(file)
    return [Skipped(files[0], reason, fault=False, files=len(files)) for reason, files in kinds.items()]


def found_instead(name: str, skipped: Sequence[Skipped]) -> str:
    """What a folder holds that has no clip of the corpus `name`."""
    if not skipped:
        return f"it has no {' or '.join(ending[1:] for ending in suffixes(get_corpus(name)))} files"
    n_files = sum(one.files for one in skipped)
    return f"none of its {n_files} files is one ({format_reasons(skipped)})"


def _printable(file: str) -> str:
    is_plain = file.isprintable() and file == file.encode("utf-8", "replace").decode()
    return file if is_plain else ascii(file)[1:-1]
