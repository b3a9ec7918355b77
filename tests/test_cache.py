import contextlib
import hashlib
import io
import os
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import platformdirs
import pytest

from ser_lib.core.cache import Cache, _close, _connection, key_of, open_cache
from ser_lib.core.errors import ParameterError


@pytest.fixture
def cache(tmp_path):
    return Cache(tmp_path / "cache", limit=10**9)


def query(cache, statement, *values):
    with contextlib.closing(sqlite3.connect(cache.folder / "clips.sqlite", isolation_level=None)) as connection:
        return connection.execute(statement, values).fetchall()


KEY = key_of(step="a", clip="b")
ARRAY = np.arange(12, dtype=np.float32).reshape(3, 4)


def test_what_is_written_is_read(cache):
    assert KEY not in cache
    assert cache.read(KEY) is None
    cache.write(KEY, ARRAY)
    assert KEY in cache
    read = cache.read(KEY)
    assert read.dtype == np.float32
    np.testing.assert_array_equal(read, ARRAY)
    cache.write(KEY, ARRAY + 1)
    np.testing.assert_array_equal(cache.read(KEY), ARRAY + 1)


def test_key_is_of_every_part_and_of_no_order():
    keys = {key_of(), key_of(a=1), key_of(a=2), key_of(a="1"), key_of(b=1), key_of(a=1, b=1), key_of(a=[1, 1])}
    assert len(keys) == 7
    assert key_of(a=1, b=2) == key_of(b=2, a=1)


def change_array(cache, change):
    [(content,)] = query(cache, "SELECT array FROM entries")
    query(cache, "UPDATE entries SET array = ?", change(bytearray(content)))


@pytest.mark.parametrize("position", [0, 40, 150, -1])
def test_one_changed_byte_is_noticed(cache, position):
    def change(content):
        content[position] ^= 1
        return content

    cache.write(KEY, ARRAY)
    change_array(cache, change)
    assert KEY in cache
    assert cache.read(KEY) is None
    assert KEY not in cache


@pytest.mark.parametrize("size", [0, 10, 128, 150])
def test_cut_entry_is_noticed(cache, size):
    cache.write(KEY, ARRAY)
    change_array(cache, lambda content: content[:size])
    assert cache.read(KEY) is None


def test_entry_with_pickled_objects_is_not_loaded(cache):
    stream = io.BytesIO()
    np.save(stream, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    cache.write(KEY, ARRAY)
    content = stream.getvalue()
    query(cache, "UPDATE entries SET array = ?, sha256 = ?", content, hashlib.sha256(content).digest())
    assert cache.read(KEY) is None


@pytest.mark.parametrize("damage", [lambda raw: b"no database" * 500, lambda raw: raw[:100] + bytes(len(raw) - 100)])
def test_damaged_file_is_thrown_away_and_made_again(cache, damage):
    cache.write(KEY, ARRAY)
    path = cache.folder / "clips.sqlite"
    _close(path)
    path.write_bytes(damage(path.read_bytes()))
    assert cache.read(KEY) is None
    cache.write(KEY, ARRAY)
    np.testing.assert_array_equal(cache.read(KEY), ARRAY)


def test_folder_that_cannot_be_used_keeps_nothing_and_fails_nothing(tmp_path):
    (tmp_path / "file").write_text("precious")
    cache = Cache(tmp_path / "file", limit=0)
    cache.write(KEY, ARRAY)
    assert KEY not in cache
    assert cache.read(KEY) is None
    cache.shrink()
    assert (tmp_path / "file").read_text() == "precious"


@pytest.fixture
def lock(cache, monkeypatch):
    # another process's open write transaction
    monkeypatch.setattr("ser_lib.core.cache._PATIENCE", 0.01)
    monkeypatch.setattr("ser_lib.core.cache._waited", threading.Event())
    Cache(cache.folder, limit=0).write("first", ARRAY)
    _close(cache.folder / "clips.sqlite")
    with contextlib.closing(sqlite3.connect(cache.folder / "clips.sqlite", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield other


def test_another_process_that_writes_is_waited_for_once(cache, lock, capsys):
    for number in range(20):
        cache.write(key_of(number=number), ARRAY)
    cache.shrink()
    assert _connection(cache.folder / "clips.sqlite").execute("PRAGMA busy_timeout").fetchall() == [(0,)]
    stderr = capsys.readouterr().err
    assert stderr.startswith("Another process has been writing to the cache for ") and len(stderr.splitlines()) == 1
    np.testing.assert_array_equal(cache.read("first"), ARRAY)
    lock.execute("COMMIT")
    cache.write(KEY, ARRAY)
    assert KEY in cache and key_of(number=0) not in cache


def test_cache_that_is_locked_as_it_is_opened_is_waited_for_once(cache, lock, capsys):
    lock.execute("COMMIT")
    lock.execute("PRAGMA journal_mode = DELETE")
    lock.execute("BEGIN EXCLUSIVE")
    for number in range(20):
        cache.write(key_of(number=number), ARRAY)
        assert cache.read("first") is None
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_what_keeps_a_cache_from_being_used_is_told(cache, lock, tmp_path):
    assert "cannot be used (database is locked)" in cache.problem()
    lock.execute("COMMIT")
    assert cache.problem() is None
    lock.execute("BEGIN IMMEDIATE")  # nothing of ours holds it
    (tmp_path / "file").write_text("x")
    assert "(Not a directory)" in Cache(tmp_path / "file" / "folder", 1).problem()
    other = Cache(tmp_path / "other", 1)
    other.folder.mkdir()
    (other.folder / "clips.sqlite").write_bytes(b"no database" * 500)
    assert "is damaged: it is made anew" in other.problem()


def test_damaged_file_that_cannot_be_removed_fails_nothing(cache, monkeypatch):
    def refuse(path, **_options):
        raise PermissionError(13, "Permission denied", str(path))

    cache.folder.mkdir()
    (cache.folder / "clips.sqlite").write_bytes(b"no database" * 500)
    monkeypatch.setattr(Path, "unlink", refuse)
    for _ in range(2):
        cache.write(KEY, ARRAY)
        assert cache.read(KEY) is None
        cache.shrink()
    assert (cache.folder / "clips.sqlite").read_bytes() == b"no database" * 500


@pytest.mark.parametrize("column", ["used", "size", "sha256", "array"])
@pytest.mark.parametrize("value", ["text", b"bytes", 1e300])
def test_entry_with_a_value_of_another_kind_fails_nothing(cache, column, value):
    cache.write(KEY, ARRAY)
    query(cache, f"UPDATE entries SET {column} = ?", value)
    cache.read(KEY)
    cache.shrink()
    cache.write(KEY, ARRAY)
    np.testing.assert_array_equal(cache.read(KEY), ARRAY)


def test_pipe_for_a_cache_keeps_nothing(cache):
    cache.folder.mkdir()
    os.mkfifo(cache.folder / "clips.sqlite")
    cache.write(KEY, ARRAY)
    assert cache.read(KEY) is None


def test_least_recently_used_goes_first(cache):
    keys = [key_of(number=number) for number in range(4)]
    for age, key in enumerate(keys):
        cache.write(key, ARRAY)
        query(cache, "UPDATE entries SET used = ? WHERE key = ?", 1000 + age, key)
    cache.read(keys[0])  # the oldest, but used again
    size = 128 + ARRAY.nbytes  # numpy's header and the values
    Cache(cache.folder, limit=2 * size).shrink()
    assert [key in cache for key in keys] == [True, False, False, True]
    Cache(cache.folder, limit=2 * size).shrink()
    assert sum(key in cache for key in keys) == 2
    Cache(cache.folder, limit=0).shrink()
    assert not any(key in cache for key in keys)


def test_room_is_given_back(cache):
    for number in range(50):
        cache.write(key_of(number=number), np.zeros(10_000))
    Cache(cache.folder, limit=0).shrink()
    query(cache, "PRAGMA wal_checkpoint(TRUNCATE)")
    assert (cache.folder / "clips.sqlite").stat().st_size < 100_000


WRITER = """
import sys
import numpy as np
from pathlib import Path
from ser_lib.core.cache import Cache, key_of
cache = Cache(Path(sys.argv[1]), 10**9)
for number in range(int(sys.argv[2])):
    key = key_of(number=number % 50)
    cache.write(key, np.full(50_000, number % 50, dtype=np.float64))
    stored = cache.read(key)
    assert stored is not None and (stored == number % 50).all()
"""


def start_writer(folder, count):
    return subprocess.Popen([sys.executable, "-c", WRITER, str(folder), str(count)])


def test_two_processes_at_once_read_what_they_wrote(tmp_path):
    writers = [start_writer(tmp_path, 300) for _ in range(2)]
    assert [writer.wait() for writer in writers] == [0, 0]
    cache = Cache(tmp_path, 10**9)
    assert all((cache.read(key_of(number=number)) == number).all() for number in range(50))


def test_process_killed_while_it_writes_leaves_whole_entries(tmp_path):
    writer = start_writer(tmp_path, 10**6)
    cache = Cache(tmp_path, 10**9)
    while sum(key_of(number=number) in cache for number in range(50)) < 30 and writer.poll() is None:
        time.sleep(0.05)
    writer.kill()
    writer.wait()
    found = [number for number in range(50) if key_of(number=number) in cache]
    assert len(found) >= 25
    assert all((cache.read(key_of(number=number)) == number).all() for number in found)


def test_place_and_limit_come_from_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("SER_CACHE", str(tmp_path))
    monkeypatch.setenv("SER_CACHE_GB", "0.5")
    assert open_cache() == Cache(tmp_path, 500_000_000)
    monkeypatch.delenv("SER_CACHE")
    monkeypatch.delenv("SER_CACHE_GB")
    assert open_cache() == Cache(platformdirs.user_cache_path("ser_lib"), 4_000_000_000)


@pytest.mark.parametrize("text", ["-1", "nan", "inf", "four"])
def test_limit_that_is_no_size_is_refused(monkeypatch, text):
    monkeypatch.setenv("SER_CACHE_GB", text)
    with pytest.raises(ParameterError, match=f"`SER_CACHE_GB` must be a number of gigabytes, 0 or more. Got '{text}'"):
        open_cache()
