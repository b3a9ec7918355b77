"""The corpora: which files belong to one, and what a file's name says.

A corpus is a module with `NAME`, `ABOUT` (one sentence for people), `LICENCE`, `WHERE` (how to get it),
`read_name(stem)` (speaker, emotion, text and, where a text is said more than once, which time) and, where the
project can make the files itself, `make(folder)`.
"""

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from ser_lib.corpora import demo, emodb, tess
from ser_lib.errors import DatasetError, NoCounterpartError, ParameterError

CORPORA: dict[str, ModuleType] = {module.NAME: module for module in (demo, tess, emodb)}


@dataclass(frozen=True)
class Clip:
    """One recording: where it lies, what its name says, and the SHA-256 of the file."""

    clip: str
    corpus: str
    speaker: str
    emotion: str
    text: str
    file: str
    sha256: str


@dataclass(frozen=True)
class Skipped:
    """A file that is left out; a second copy, or an emotion that is none of the seven, is no `fault` of the corpus."""

    file: str
    reason: str
    fault: bool = True


def get_corpus(name: str) -> ModuleType:
    """Module of the corpus `name`.

    Raises
    ------
    ParameterError
        If there is no such corpus.
    """
    if name not in CORPORA:
        raise ParameterError(f"`CORPORA` must name one of {', '.join(CORPORA)}. Got {name!r}.")
    return CORPORA[name]


def find_clips(name: str, folder: Path) -> tuple[list[Clip], list[Skipped]]:
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
    clips: dict[str, Clip] = {}
    first_with: dict[str, str] = {}
    skipped = []
    for path in _wav_files(folder):
        file = path.relative_to(folder).as_posix()
        if not file.isprintable() or file != file.encode("utf-8", "replace").decode():
            skipped.append(Skipped(ascii(file)[1:-1], "its name holds characters that cannot be printed"))
            continue
        try:
            speaker, emotion, text, *take = corpus.read_name(path.stem)
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
        except (ValueError, OSError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            skipped.append(Skipped(file, reason, fault=not isinstance(error, NoCounterpartError)))
            continue
        clip = f"{name}/{'_'.join([speaker, text, emotion, *take])}"
        if digest in first_with:
            skipped.append(Skipped(file, f"same content as {first_with[digest]}", fault=False))
        elif clip in clips:
            skipped.append(Skipped(file, f"another recording of the clip in {clips[clip].file}"))
        else:
            clips[clip] = Clip(clip, name, speaker, emotion, text, file, digest)
            first_with[digest] = file
    if not clips:
        found = (
            f"none of its {len(skipped)} wav files is one ({skipped[0].file}: {skipped[0].reason})"
            if skipped
            else "it has no wav files"
        )
        raise DatasetError(f"`DATASET_PATH` must hold clips of {name}; in {folder} {found}. {corpus.WHERE}")
    return sorted(clips.values(), key=lambda clip: clip.clip), skipped


def _wav_files(folder: Path) -> Iterator[Path]:
    paths = (Path(parent, file) for parent, _, files in os.walk(folder, followlinks=True) for file in files)
    wanted = (path for path in paths if path.suffix.lower() == ".wav" and not path.name.startswith("."))
    return iter(sorted(wanted, key=lambda path: (path.name, len(path.parts), path)))
