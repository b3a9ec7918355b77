"""Which files may hold sound: what their names say and, where these say nothing, their first bytes."""

import functools
import mimetypes
from collections import Counter
from collections.abc import Iterable
from pathlib import Path, PurePath

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
"""Bytes that tell whether a file is text: more than the header of a SPHERE file, which is text before the sound."""
_SHOWN_KINDS = 8


def named_audio(path: PurePath) -> bool:
    """Tell whether the suffix is one of sound."""
    return path.suffix.lower() in AUDIO or (_kind(path) in ("audio", "video") and not _named_other(path))


def may_be_audio(path: Path, *, look: bool = True) -> bool:
    """Tell whether a file is worth being decoded: it is not plainly something else; `look`: whether to open it."""
    if named_audio(path):
        return True
    return not _named_other(path) and not (look and path.is_file() and _is_text(path))


def format_kinds(paths: Iterable[PurePath]) -> str:
    """Count files by their suffixes, the most frequent first: `2 .txt, 1 .jpg`."""
    counts = Counter(suffix_of(path) for path in paths).most_common()
    told = [f"{count:,} {suffix}" for suffix, count in counts[:_SHOWN_KINDS]]
    rest = sum(count for _, count in counts[_SHOWN_KINDS:])
    return ", ".join([*told, f"{rest:,} of other kinds"] if rest else told)


def suffix_of(path: PurePath) -> str:
    """Suffix in small letters, as it is told."""
    return path.suffix.lower() or "without a suffix"


def _named_other(path: PurePath) -> bool:
    return path.suffix.lower() in _OTHER or _kind(path) == "other"


@functools.lru_cache
def _types() -> mimetypes.MimeTypes:
    return mimetypes.MimeTypes()  # those of Python, whatever tables the machine has


def _kind(path: PurePath) -> str:
    """`audio`, `video`, `other`, or nothing where the name does not tell."""
    if path.suffix.lower() in ("", ".bin"):
        return ""
    guessed, compressed = _types().guess_type(f"x{path.suffix.lower()}")
    if guessed is None and compressed is None:
        return ""
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
