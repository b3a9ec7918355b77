"""Which audio files a path means: itself, those below a folder, or what fits a pattern."""

import glob
import re
from pathlib import Path

_PATTERN = re.compile(r"[*?\[]")


def find_files(path: str) -> list[Path]:
    """Files that a path means: itself, the audio files below a folder, or what fits a pattern, in order.

    Hidden files are left out where a folder or a pattern is asked for, and files of other kinds beside audio files. A
    path that means nothing stands for itself, so that it is told as missing.
    """
    try:
        own = Path(path).expanduser()
        if own.is_dir():
            return _audio_below(own) or [own]
        if own.exists() or not _PATTERN.search(path):
            return [own]
    except (OSError, RuntimeError):  # a name that is too long, a home that is not there
        return [Path(path)]
    names = glob.glob(str(own), recursive=True)  # noqa: PTH207 - Path.glob takes hidden files, and fails for **.wav
    found = [Path(name) for name in sorted(names)]
    folders = [file for one in found if one.is_dir() for file in _audio_below(one)]
    files = [one for one in found if not one.is_dir()]
    return list(dict.fromkeys(_audio(files + folders) or files)) or [own]


def _audio_below(folder: Path) -> list[Path]:
    from ser_lib.corpora import audio_files, get_corpus  # single files do without

    return list(audio_files(get_corpus("OWN"), folder))


def _audio(files: list[Path]) -> list[Path]:
    from ser_lib.corpora.own import SUFFIXES

    return [file for file in files if file.suffix.lower() in SUFFIXES]
