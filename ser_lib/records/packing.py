"""Files that a record keeps as xz; gzip, which earlier records have, and plain ones are read, too."""

import gzip
import lzma
import zlib
from pathlib import Path

from ser_lib.core.io import whole_file
from ser_lib.store import HISTORY_FILE, PREDICTIONS_FILE, SKIPPED_FILE, SPLIT_FILE

COMPRESSED = (SKIPPED_FILE, SPLIT_FILE, PREDICTIONS_FILE, HISTORY_FILE)
"""Files that a record keeps as `<name>.xz`; before, as `<name>.gz`, and up to format 4 as they are."""
PACKED = (".xz", ".gz")
"""What may follow such a file's name in a record."""
_LARGEST = 200_000_000  # bytes that a compressed one may hold; a million clips take half of it
_HOW = [{"id": lzma.FILTER_LZMA2, "preset": 6 | lzma.PRESET_EXTREME, "lc": 0, "pb": 0}]
"""For text full of numbers, in which the place of a byte and the one before it tell nothing of it: 1.5 % smaller."""
_UNPACKING = 2**27  # bytes of memory that unpacking may take beside the content; a hostile header asks for gigabytes


def read_packed(folder: Path, name: str) -> bytes | None:
    """Content of a file in a record, be it compressed or not; None where there is neither.

    Raises
    ------
    ValueError
        If it cannot be unpacked, or holds more than any such file.
    """
    if (folder / name).is_file():
        return (folder / name).read_bytes()
    packed = next((path for suffix in PACKED if (path := folder / f"{name}{suffix}").is_file()), None)
    if packed is None:
        return None
    try:
        content = _unpack(packed)
    except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
        raise ValueError(str(error)) from None
    if len(content) > _LARGEST:
        raise ValueError(f"it holds more than {_LARGEST:,} bytes")
    return content


def _unpack(packed: Path) -> bytes:
    """Content of a compressed file, up to one byte more than it may hold."""
    if packed.suffix == ".gz":
        with gzip.open(packed) as file:
            return file.read(_LARGEST + 1)
    unpacking = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_UNPACKING)
    content = unpacking.decompress(packed.read_bytes(), _LARGEST + 1)
    if not unpacking.eof and len(content) <= _LARGEST:
        raise EOFError("it is cut off")
    return content


def compress(file: Path, folder: Path) -> None:
    """Keep a file in a record as `<name>.xz`, a third smaller than gzip makes it, and nothing else of that name."""
    content = lzma.compress(file.read_bytes(), check=lzma.CHECK_CRC32, filters=_HOW)
    with whole_file(folder / f"{file.name}.xz", through_link=False) as partial:
        partial.write_bytes(content)
    for suffix in ("", ".gz"):
        (folder / f"{file.name}{suffix}").unlink(missing_ok=True)
