"""Unpack the files of a corpus from a zip file, each whole and checked, and nothing else."""

import hashlib
import zipfile
import zlib
from collections.abc import Callable, Hashable
from pathlib import Path, PurePath, PurePosixPath

from ser_lib.core.errors import DatasetError
from ser_lib.core.foreign import ForeignError, plain_members, read_member
from ser_lib.corpora.files.registry import Entry

_SLACK = 1 << 20
"""Bytes that an archive may hold beyond twice what the corpus's files take."""
_DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError)
"""What zipfile raises for an archive that is damaged, encrypted or compressed in a way that it does not know."""


def most_bytes(entries: dict[str, Entry]) -> int:
    """Size (bytes) beyond which an archive of these files is none, packed or unpacked."""
    return 2 * sum(entry.bytes for entry in entries.values()) + _SLACK


def unpack(
    archive: Path,
    folder: Path,
    targets: dict[str, str],
    entries: dict[str, Entry],
    identity: Callable[[PurePath], Hashable],
) -> None:
    """Unpack the files that `targets` (name in the corpus's list → path below `folder`) names.

    Nothing is unpacked from an archive with a member that would leave the folder, or far larger than the corpus.
    `identity` gives what makes two paths the same clip.

    Raises
    ------
    DatasetError
        If the archive is none, is damaged or dangerous, or a file in it is missing or another. What is right is
        unpacked nevertheless.
    """
    try:
        with zipfile.ZipFile(archive) as file:
            members = plain_members(file, most_bytes(entries))
            wrong = [_unpack_one(file, *task, folder) for task in _tasks(members, targets, entries, identity)]
    except ForeignError as error:
        raise DatasetError(f"The archive cannot be used: {error}. Nothing was unpacked.") from None
    except _DAMAGE as error:
        raise DatasetError(f"The archive must be a whole zip file; it is not: {error}. Fetch it again.") from None
    wrong = [text for text in wrong if text]
    if wrong:
        more = f" And {len(wrong) - 1:,} more are wrong or missing." if len(wrong) > 1 else ""
        raise DatasetError(f"{wrong[0]}{more} What is right is unpacked.")


def _tasks(
    members: list[zipfile.ZipInfo],
    targets: dict[str, str],
    entries: dict[str, Entry],
    identity: Callable[[PurePath], Hashable],
) -> list[tuple[str, zipfile.ZipInfo | None, str, Entry]]:
    """Name, member (None if the archive has none), target and entry of each file that is wanted."""

    def kind(path: PurePosixPath) -> tuple:
        return identity(path), path.suffix.lower()

    paths = [(PurePosixPath(member.filename.replace("\\", "/")), member) for member in members]
    by_kind = {kind(path): member for path, member in paths if not path.name.startswith(".")}
    by_path = {str(path): member for path, member in paths}
    return [
        (name, by_path.get(name) or by_kind.get(kind(PurePosixPath(name))), target, entries[name])
        for name, target in targets.items()
    ]


def _unpack_one(
    file: zipfile.ZipFile, name: str, member: zipfile.ZipInfo | None, target: str, entry: Entry, folder: Path
) -> str:
    """Unpack one file if it is right; otherwise say what is wrong with it."""
    if member is None:
        return f"{name} is not in the archive."
    if member.file_size != entry.bytes:
        return f"{name} is not what it should be: expected {entry.bytes:,} bytes, got {member.file_size:,}."
    content = read_member(file, member)
    digest = hashlib.sha256(content).hexdigest()
    if digest != entry.sha256:
        return f"{name} is not what it should be: expected SHA-256 {entry.sha256}, got {digest}."
    path = folder / target
    part = path.with_name(f".{path.name}.part")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        part.write_bytes(content)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return ""
