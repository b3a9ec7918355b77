"""Audio files: those below a folder or that a pattern fits, found without opening or following anything else.

A corpus may come from anybody: a pipe in it would be waited for, a device read for ever, and a link that leaves the
folder would carry another file's content into what is published of the corpus. Whether a file may hold sound is decided
by its name and, where that says nothing, by its first bytes.
"""

import errno
import functools
import glob
import mimetypes
import os
import re
import stat
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path, PurePath
from typing import NamedTuple

AUDIO = frozenset(
    ".wav .wave .bwf .rf64 .w64 .flac .ogg .oga .opus .spx .mp1 .mp2 .mp3 .mpa .m4a .m4b .aac .adts .ac3 .eac3 .dts "
    ".aif .aiff .aifc .caf .au .snd .sph .nist .voc .amr .awb .gsm .qcp .wma .wv .ape .tta .tak .shn .dsf .ra .mka "
    ".3gp .3gpp .3g2 .3gpp2 .mp4 .m4v .mov .qt .mkv .webm .avi .wmv .asf .flv .f4v .mpg .mpeg .vob .ogv .mts .m2ts "
    ".mxf .rm".split()
)
"""Suffixes of files that hold sound, films among them."""
_OTHER = frozenset(
    ".md .rst .log .json .jsonl .yaml .yml .toml .ini .cfg .rtf .docx .xlsx .pptx .odt .ods .odp .pages .epub "
    ".textgrid .webp .jp2 .psd .raw .cr2 .nef .dng .xcf .7z .rar .zst .lz4 .lzma .iso .dmg .jar .whl .deb .rpm .apk "
    ".cab .ipynb .pkl .pickle .npy .npz .mat .pt .pth .onnx .keras .hdf5 .parquet .feather .db .sqlite .sqlite3 "
    ".lnk .url .torrent .ttf .otf .woff .woff2 .ass .pls .mid .midi .part .tmp .crdownload .pkf .pek .peak .sfk "
    ".asd .reapeaks .aup .aup3".split()
)
"""Suffixes of what holds none, where the standard library does not know them: text, pictures, archives, data, and what
sound editors leave beside a recording."""
_HEAD = 4096
"""Bytes that decide whether a file is text: more than the header of a SPHERE file, which is text before the sound."""
_SHOWN_KINDS = 8
_PATTERN = re.compile(r"[*?\[]")
LEAVES = "it is a link that leads out of the folder; put what it leads to in its place"
SEARCHED = "it is a link to a folder that is searched already"


class Seen(NamedTuple):
    """A file or, where one cannot be searched, a folder."""

    path: Path
    reason: str = ""
    """Why it must not be opened; empty for a plain file."""
    is_folder: bool = False


def walk(folder: Path, *, leave: bool = False) -> Iterator[Seen]:
    """What lies below `folder` and is not hidden, nor in a hidden folder; each folder is searched once.

    Parameters
    ----------
    leave : bool
        Whether links may lead out of `folder`, which may itself be one.
    """
    root = None if leave else folder
    real, linked = [folder], list[Path]()
    searched: set[tuple[int, int]] = set()
    while real or linked:
        here = (real or linked).pop()  # links come last, so that what they lead to keeps its own path
        try:
            info = here.stat()
            if (info.st_dev, info.st_ino) in searched:
                yield Seen(here, SEARCHED, is_folder=True)
                continue
            searched.add((info.st_dev, info.st_ino))
            with os.scandir(here) as entries:
                kinds = {
                    here / entry.name: _folder_or_link(entry) for entry in entries if not entry.name.startswith(".")
                }
        except OSError as error:
            yield Seen(here, error.strerror or str(error), is_folder=True)
            continue
        for path, (is_folder, is_link) in kinds.items():
            if not is_folder:
                yield Seen(path, why_not(path, root if is_link else None))
            elif is_link and leads_out(path, root):
                yield Seen(path, LEAVES, is_folder=True)
            else:
                (linked if is_link else real).append(path)


def _folder_or_link(entry: os.DirEntry) -> tuple[bool, bool]:
    """Whether it is a folder, and whether it is a link."""
    try:
        return entry.is_dir(), entry.is_symlink()
    except OSError:  # a link that leads to itself
        return False, True


def why_not(path: Path, root: Path | None) -> str:
    """Why a file must not be opened: it is none, or lies outside of the folder `root`; empty if it may."""
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError) as error:
        return getattr(error, "strerror", None) or str(error)
    if not stat.S_ISREG(mode):
        return os.strerror(errno.EISDIR) if stat.S_ISDIR(mode) else "this is not a file"
    return LEAVES if leads_out(path, root) else ""


def leads_out(path: Path, root: Path | None) -> bool:
    """Whether a link on the way from the folder `root` to `path` leads out of it; never where there is no `root`."""
    return root is not None and not path.resolve().is_relative_to(root.resolve())


def sort_files(folder: Path, is_audio: Callable[[Seen], bool], *, leave: bool = False) -> tuple[list[Seen], list[Seen]]:
    """Audio files (and folders that cannot be searched) and other files below `folder`, each in the order of names."""
    found = sorted(walk(folder, leave=leave), key=lambda one: (one.path.name, len(one.path.parts), one.path))
    audio: list[Seen] = []
    others: list[Seen] = []
    for one in found:
        (audio if one.is_folder or is_audio(one) else others).append(one)
    return audio, others


def find_files(path: str) -> tuple[list[Path], list[Path]]:
    """Files that a path means: itself, the audio files below a folder, or what fits a pattern, in order.

    Where a folder or a pattern is asked for, hidden files do not count, and what is plainly something else than audio
    is left out. A path that means nothing stands for itself, so that it is reported as missing.

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
    audio, others = sort_files(folder, lambda one: may_be_audio(one.path, look=not one.reason), leave=True)
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
    """Count files that were left out by their suffixes, the most frequent first: `3 files left out: 2 .txt, 1 .jpg`."""
    counts = Counter(suffix_of(path) for path in left_out).most_common()
    kinds = [f"{count:,} {suffix}" for suffix, count in counts[:_SHOWN_KINDS]]
    rest = sum(count for _, count in counts[_SHOWN_KINDS:])
    kinds += [f"{rest:,} of other kinds"] if rest else []
    return f"{len(left_out):,} file{'' if len(left_out) == 1 else 's'} left out: {', '.join(kinds)}"


def named_audio(path: PurePath) -> bool:
    """Tell whether the suffix is one of sound."""
    return path.suffix.lower() in AUDIO or (_kind(path) in ("audio", "video") and not _named_other(path))


def may_be_audio(path: Path, *, look: bool = True) -> bool:
    """Tell whether a file is worth being decoded: it is not plainly something else; `look`: whether to open it."""
    if named_audio(path):
        return True
    return not _named_other(path) and not (look and path.is_file() and _is_text(path))


def suffix_of(path: PurePath) -> str:
    """Suffix in small letters, as messages show it."""
    return path.suffix.lower() or "without a suffix"


def _named_other(path: PurePath) -> bool:
    return path.suffix.lower() in _OTHER or _kind(path) == "other"


@functools.lru_cache
def _types() -> mimetypes.MimeTypes:
    return mimetypes.MimeTypes()  # those of Python, whatever tables the machine has


def _kind(path: PurePath) -> str:
    """`audio`, `video`, `other`, or nothing where the name does not show it."""
    if path.suffix.lower() in ("", ".bin"):
        return ""
    guessed, compressed = _types().guess_type(f"x{path.suffix.lower()}")
    if guessed is None:
        return "other" if compressed else ""
    kind = "other" if compressed else guessed.partition("/")[0]
    return kind if kind in ("audio", "video") else "other"


def _is_text(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD)
    except OSError:
        return False
    try:
        text = head.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        if error.start < len(head) - 3:  # not a letter that the head cuts in two
            return False
        text = head[: error.start].decode("utf-8-sig")
    return bool(text) and all(letter.isprintable() or letter in "\t\n\r\f" for letter in text)
