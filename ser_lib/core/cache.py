"""Arrays that are kept from run to run, in an SQLite file in the user's cache folder.

An entry is named by a hash of all that decides it, so it never goes stale; entries that are not used any more are
removed, least recently used first. Each array is stored with its SHA-256, so that a damaged one is computed again.
Nothing here can make a run fail: where the file cannot be used, nothing is kept.
"""

import atexit
import contextlib
import hashlib
import io
import json
import os
import sqlite3
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import platformdirs

from ser_lib.core.errors import ParameterError
from ser_lib.core.paths import from_here

_PATIENCE = 30.0
"""Seconds to wait for another process that writes, once in a process."""
_STALE = 3600.0
"""Seconds after which a use is noted again: noting is writing."""
_PREPARE = (
    "PRAGMA auto_vacuum = INCREMENTAL",
    "PRAGMA journal_mode = WAL",
    "CREATE TABLE IF NOT EXISTS entries (key TEXT PRIMARY KEY, used REAL NOT NULL, size INTEGER NOT NULL, "
    "sha256 BLOB NOT NULL, array BLOB NOT NULL)",
)

_T = TypeVar("_T")


def key_of(**parts: object) -> str:
    """Name of the entry that `parts` (plain values) decide."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class Cache:
    """Entries in a folder.

    Attributes
    ----------
    folder : Path
    limit : int
        Bytes that `shrink` leaves at most.
    """

    folder: Path
    limit: int

    def __contains__(self, key: str) -> bool:
        """Whether there is an entry; it may still be damaged."""
        return bool(self._do("SELECT 1 FROM entries WHERE key = ?", key))

    def read(self, key: str) -> np.ndarray | None:
        """Array of an entry, which counts as used now; None if it is missing or damaged."""
        rows = self._do("SELECT used, sha256, array FROM entries WHERE key = ?", key)
        if not rows:
            return None
        used, digest, content = rows[0]
        try:
            if hashlib.sha256(content).digest() != digest:
                raise ValueError("damaged")
            array = np.load(io.BytesIO(content), allow_pickle=False)
            stale = abs(time.time() - used) > _STALE
        except (ValueError, TypeError, EOFError):
            self._do("DELETE FROM entries WHERE key = ?", key)
            return None
        if stale:
            self._do("UPDATE entries SET used = ? WHERE key = ?", time.time(), key)
        return array

    def write(self, key: str, array: np.ndarray) -> None:
        """Keep an array; silently nothing if there is no space or no permission."""
        stream = io.BytesIO()
        np.save(stream, array, allow_pickle=False)
        content = stream.getvalue()
        entry = (key, time.time(), len(content), hashlib.sha256(content).digest(), content)
        self._do("INSERT OR REPLACE INTO entries VALUES (?, ?, ?, ?, ?)", *entry)

    def shrink(self) -> None:
        """Remove the least recently used entries until `limit` is met, and free their space."""
        entries = self._do("SELECT CAST(size AS INTEGER), key FROM entries ORDER BY used, key")
        size = sum(entry[0] for entry in entries)
        for bytes_of_it, key in entries:
            if size <= self.limit:
                break
            self._do("DELETE FROM entries WHERE key = ?", key)
            size -= bytes_of_it
        self._try(lambda connection: connection.executescript("PRAGMA incremental_vacuum"))  # execute(): one page

    def problem(self) -> str | None:
        """Say in a sentence why nothing will be kept; None if the file can be written. Nobody is waited for."""
        path = self._path
        try:
            _make_room(path)
            with contextlib.closing(sqlite3.connect(path, timeout=0, isolation_level=None)) as connection:
                connection.execute("BEGIN IMMEDIATE")
                connection.execute("PRAGMA schema_version")
        except sqlite3.OperationalError as error:
            reason = str(error)
        except OSError as error:
            reason = error.strerror or str(error)
        except sqlite3.Error:
            return f"The cache {path} is damaged: it is made anew, and all clips are computed again."
        else:
            return None
        return f"The cache {path} cannot be used ({reason}): clips are computed again. SER_CACHE names another folder."

    @property
    def _path(self) -> Path:
        return self.folder / "clips.sqlite"

    def _do(self, statement: str, *values: object) -> list[tuple]:
        """Rows of a statement; none if the file cannot be used."""
        return self._try(lambda connection: connection.execute(statement, values).fetchall()) or []

    def _try(self, action: Callable[[sqlite3.Connection], _T]) -> _T | None:
        """What `action` returns; None if the file cannot be used. A damaged file is deleted."""
        path = self._path
        try:
            return action(_connection(path))
        except (sqlite3.OperationalError, OSError) as error:  # locked, full, read-only, no folder
            if getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY:
                _stop_waiting()
        except sqlite3.Error:
            with contextlib.suppress(sqlite3.Error):
                _close(path)
            for name in (path.name, f"{path.name}-wal", f"{path.name}-shm"):
                with contextlib.suppress(OSError):
                    path.with_name(name).unlink(missing_ok=True)
        return None


_connections: dict[Path, sqlite3.Connection] = {}
_waited = threading.Event()
"""Set once this process has waited in vain."""


def _stop_waiting() -> None:
    """Wait no more in this process: as many clips as there are would each wait their time."""
    for connection in _connections.values():
        connection.execute("PRAGMA busy_timeout = 0")
    if not _waited.is_set():
        _waited.set()
        print(
            f"Another process has been writing to the cache for {_PATIENCE:.0f} s: what it keeps locked is not waited "
            "for again, and some of the work will not be kept.",
            file=sys.stderr,
        )


def _connection(path: Path) -> sqlite3.Connection:
    """Connection of this process, opened once."""
    if path not in _connections:
        _make_room(path)
        patience = 0 if _waited.is_set() else _PATIENCE
        connection = sqlite3.connect(path, timeout=patience, isolation_level=None, check_same_thread=False)
        try:
            connection.execute("PRAGMA synchronous = OFF")  # a power cut may damage the file, a killed process does not
            made = connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'entries'").fetchall()
            for statement in () if made else _PREPARE:  # they wait for whoever writes, where reading need not
                connection.execute(statement)
        except sqlite3.Error:
            connection.close()
            raise
        _connections[path] = connection
    return _connections[path]


def _make_room(path: Path) -> None:
    """Make the folder of the file, or fail where something else has its place: a pipe would be waited for."""
    if path.exists() and not path.is_file():
        raise OSError("it is no file")
    path.parent.mkdir(parents=True, exist_ok=True)


def _close(path: Path) -> None:
    if path in _connections:
        _connections.pop(path).close()


@atexit.register
def _close_all() -> None:
    for path in list(_connections):
        _close(path)


def open_cache() -> Cache:
    """Cache in `$SER_CACHE`, or in the user's cache folder, of at most `$SER_CACHE_GB` (4) gigabytes."""
    folder = os.environ.get("SER_CACHE") or platformdirs.user_cache_path("ser_lib")
    text = os.environ.get("SER_CACHE_GB") or "4"
    try:
        limit = float(text)
    except ValueError:
        limit = -1.0
    if not 0 <= limit < float("inf"):
        raise ParameterError(f"`SER_CACHE_GB` must be a number of gigabytes, 0 or more. Got {text!r}.")
    return Cache(from_here(folder), int(limit * 1e9))
