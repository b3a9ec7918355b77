"""Tables of a record, which it keeps as xz; gzip, which earlier records have, and plain ones are read, too."""

import gzip
import lzma
import zlib
from pathlib import Path

from ser_lib.core.io import whole_file
from ser_lib.store import PREDICTIONS_FILE, SKIPPED_FILE, SPLIT_FILE

COMPRESSED = (SKIPPED_FILE, SPLIT_FILE, PREDICTIONS_FILE)
"""Tables that a record keeps as `<name>.xz`; before, as `<name>.gz`, and up to format 4 as they are."""
PACKED = (".xz", ".gz")
"""What may follow a table's name in a record."""
_LARGEST_TABLE = 200_000_000  # bytes that a compressed one may hold; a million clips take half of it
_UNPACKING = 2**27  # bytes of memory that unpacking may take beside the table; a hostile header asks for gigabytes


def read_table(folder: Path, name: str) -> bytes | None:
    """Content of a table in a record, be it compressed or not; None where there is neither.

    Raises
    ------
    ValueError
        If it cannot be unpacked, or holds more than any table.
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
    if len(content) > _LARGEST_TABLE:
        raise ValueError(f"it holds more than {_LARGEST_TABLE:,} bytes")
    return content


def _unpack(packed: Path) -> bytes:
    """Content of a compressed table, up to one byte more than a table may hold."""
    if packed.suffix == ".gz":
        with gzip.open(packed) as file:
            return file.read(_LARGEST_TABLE + 1)
    unpacking = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_UNPACKING)
    content = unpacking.decompress(packed.read_bytes(), _LARGEST_TABLE + 1)
    if not unpacking.eof and len(content) <= _LARGEST_TABLE:
        raise EOFError("it is cut off")
    return content


def compress(table: Path, folder: Path) -> None:
    """Keep a table in a record as `<name>.xz`, a third smaller than gzip makes it, and nothing else of that name."""
    content = lzma.compress(table.read_bytes(), check=lzma.CHECK_CRC32, preset=6 | lzma.PRESET_EXTREME)
    with whole_file(folder / f"{table.name}.xz", through_link=False) as partial:
        partial.write_bytes(content)
    for suffix in ("", ".gz"):
        (folder / f"{table.name}{suffix}").unlink(missing_ok=True)
