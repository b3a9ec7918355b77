"""Which audio files a path means: itself, those below a folder, or what fits a pattern."""

import glob
import re
from pathlib import Path

from ser_lib.corpora.kinds import format_kinds, may_be_audio

_PATTERN = re.compile(r"[*?\[]")


def find_files(path: str) -> tuple[list[Path], list[Path]]:
    """Files that a path means: itself, the audio files below a folder, or what fits a pattern, in order.

    Where a folder or a pattern is asked for, hidden files do not count, and what is plainly something else than audio
    is left out. A path that means nothing stands for itself, so that it is told as missing.

    Returns
    -------
    files : list of Path
    left_out : list of Path
    """
    try:
        own = Path(path).expanduser()
        if own.is_dir():
            files, left_out = _below(own)
            return files or [own], left_out
        if own.exists() or not _PATTERN.search(path):
            return [own], []
    except (OSError, RuntimeError):  # a name that is too long, a home that is not there
        return [Path(path)], []
    return _fitting(own)


def _below(folder: Path) -> tuple[list[Path], list[Path]]:
    from ser_lib.corpora import get_corpus, sort_files  # single files do without
    from ser_lib.corpora.walk import SEARCHED

    audio, others = sort_files(get_corpus("OWN"), folder, leave=True)
    return [one.path for one in audio if one.reason != SEARCHED], [one.path for one in others]


def _fitting(pattern: Path) -> tuple[list[Path], list[Path]]:
    names = glob.glob(str(pattern), recursive=True)  # noqa: PTH207 - Path.glob takes hidden files, and fails for **.wav
    found = [Path(name) for name in sorted(names)]
    files = [one for one in found if not one.is_dir()]
    audio, left_out = [one for one in files if may_be_audio(one)], [one for one in files if not may_be_audio(one)]
    for folder in (one for one in found if one.is_dir()):
        more, others = _below(folder)
        audio, left_out = audio + more, left_out + others
    if not audio:
        return files or [pattern], []  # nothing else fits
    return list(dict.fromkeys(audio)), list(dict.fromkeys(left_out))


def format_left_out(left_out: list[Path]) -> str:
    """Say in a line how many files were left out, and of what kinds."""
    return f"{len(left_out):,} file{'' if len(left_out) == 1 else 's'} left out: {format_kinds(left_out)}"
