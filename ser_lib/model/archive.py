"""A run's bundle as one zip file, and safely back."""

import hashlib
import struct
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from ser_lib.core.errors import BundleError, SerError
from ser_lib.core.foreign import ForeignError, plain_members, read_member
from ser_lib.core.io import whole_file, write_temporary
from ser_lib.core.paths import shown
from ser_lib.store import BUNDLE_FILE, LICENCE_FILE, MODEL_CARD_FILE

CHECKSUMS_FILE = "SHA256SUMS"
"""Member that names every other one with its hash, as `sha256sum --check` reads it."""
LARGEST = 200_000_000
"""Bytes that the members of a bundle may have together; the largest model of this project has a hundredth of it."""
_MOST_MEMBERS = 6
"""Description, checksums, licences, model card and a model of each kind."""
_END = struct.Struct("<4s4H2LH")
"""Last bytes of a zip file: mark, disks, members here and in all, the directory's size and place, a comment's size."""
_LARGEST_DIRECTORY = 10_000
"""Bytes that the list of the members may have."""
_LONG_AGO = (1980, 1, 1, 0, 0, 0)
"""Time of every member: the same bundle is the same bytes."""


def export_bundle(parts: dict[str, Path], path: Path, *, force: bool = False) -> None:
    """Write the files `parts` (name → where it lies) and their checksums into a zip file, whole or not at all.

    Raises
    ------
    BundleError
        If the file exists already and `force` is not given.
    StageError
        If it cannot be written.
    """
    if path.exists() and not force:
        raise BundleError(f"{shown(path)} is there already. Choose another name, or add --force.")
    contents = {name: file.read_bytes() for name, file in parts.items()}
    sums = [f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in contents.items()]
    contents[CHECKSUMS_FILE] = "".join(sums).encode()
    with whole_file(path) as partial, zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in contents.items():
            member = zipfile.ZipInfo(name, _LONG_AGO)
            member.compress_type, member.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
            archive.writestr(member, content)


@contextmanager
def unpacked(path: Path) -> Iterator[Path]:
    """Give a temporary folder with the bundle from a zip file, each member checked by its checksum.

    Raises
    ------
    BundleError
        If it is not a bundle, holds anything but files with plain names, is too large, or a checksum is wrong.
    """
    with TemporaryDirectory() as name:
        _refuse_large(path)
        try:
            with zipfile.ZipFile(path) as archive:
                _unpack(archive, path, Path(name))
        except (zipfile.BadZipFile, zipfile.LargeZipFile, OSError, EOFError, RuntimeError, ValueError) as error:
            raise BundleError(f"{shown(path)} must be an exported bundle. It cannot be read: {error}.") from None
        except Exception as error:  # zlib and others of what packs files
            raise error if isinstance(error, SerError) else _damaged(path, str(error)) from None
        yield Path(name)


def _unpack(archive: zipfile.ZipFile, path: Path, folder: Path) -> None:
    try:
        members, names = plain_members(archive, LARGEST), archive.namelist()
    except ForeignError as error:
        raise _damaged(path, str(error)) from None
    plain = all(name and name == Path(name).name and "\\" not in name and name not in (".", "..") for name in names)
    if not plain or len(set(names)) != len(names):
        raise _damaged(path, "its members must be files with plain names, each once")
    texts = {BUNDLE_FILE, CHECKSUMS_FILE, LICENCE_FILE, MODEL_CARD_FILE}
    models = sorted(Path(name).suffix for name in set(names) - texts)
    if models not in ([], [".onnx"], [".keras"], [".keras", ".onnx"]):
        raise _damaged(path, "it must hold what belongs to a bundle, and no more")
    if not {BUNDLE_FILE, CHECKSUMS_FILE} <= set(names):
        raise _damaged(path, f"it must hold {BUNDLE_FILE} and {CHECKSUMS_FILE}")
    contents = {member.filename: read_member(archive, member) for member in members}
    lines = contents.pop(CHECKSUMS_FILE).decode().splitlines()
    sums = {name: sha256 for sha256, name in (line.split("  ", 1) for line in lines)}
    for name, content in contents.items():
        if hashlib.sha256(content).hexdigest() != sums.get(name):
            raise _damaged(path, f"{name} is not what {CHECKSUMS_FILE} says")
        write_temporary(folder / name, content)


def _refuse_large(path: Path) -> None:
    """Refuse by size and last bytes what cannot be a bundle, before zipfile reads a list of any length."""
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - 20 - _END.size))
        tail = file.read()
    if size > LARGEST:
        raise _damaged(path, f"it must have at most {LARGEST:,} bytes, and has {size:,}")
    if len(tail) < _END.size or not tail[-_END.size :].startswith(b"PK\5\6"):
        raise BundleError(f"{shown(path)} must be an exported bundle. It cannot be read: File is not a zip file.")
    _, _, _, _, members, directory, _, _ = _END.unpack(tail[-_END.size :])
    if members > _MOST_MEMBERS or directory > _LARGEST_DIRECTORY or tail.startswith(b"PK\6\7"):
        raise _damaged(path, f"it must hold at most {_MOST_MEMBERS} members")


def _damaged(path: Path, why: str) -> BundleError:
    return BundleError(f"{shown(path)} is no exported bundle, or is damaged: {why}.")
