"""What stands in the way of systems that are unlike Linux: imports, locks, names of files."""

import sys
from types import SimpleNamespace

import pytest
from test_store import run_python

from ser_lib.core import locks

ABSENT = ("fcntl", "resource", "pwd", "grp", "termios", "tty", "pty", "syslog", "readline", "curses", "posix")
"""Modules that Windows does not have."""
NOT_IN_OS = set(
    "dup dup2 fork forkpty getuid geteuid getpgid killpg mkfifo setsid nice uname sched_getaffinity register_at_fork "
    "O_NONBLOCK O_NOFOLLOW O_CLOEXEC statvfs chown".split()
)
"""What `os` lacks there, or might."""
IMPORT_ALL = f"""
import builtins, importlib, os, pkgutil, types
import ser_lib

real, poor = builtins.__import__, types.ModuleType("os")
poor.__dict__.update({{name: value for name, value in vars(os).items() if name not in {NOT_IN_OS}}})

def without(name, globals=None, locals=None, fromlist=(), level=0):
    if globals is not None and str(globals.get("__name__")).startswith("ser_lib"):
        if name in {ABSENT}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
        if name == "os":
            return poor
    return real(name, globals, locals, fromlist, level)

builtins.__import__ = without
for module in pkgutil.walk_packages(ser_lib.__path__, "ser_lib."):
    importlib.import_module(module.name)
    print(module.name)
"""


def test_every_module_is_imported_without_what_windows_lacks():
    done = run_python(IMPORT_ALL)
    assert done.returncode == 0, done.stderr
    names = done.stdout.split()
    assert {"ser_lib.records.run", "ser_lib.model.network", "ser_lib.audio.av_child"} <= set(names) and len(names) > 120


def test_lock_holds_one_and_lets_it_go(tmp_path):
    path = tmp_path / "a"
    assert not locks.is_locked(path) and not path.exists()
    with path.open("a") as one, path.open("a") as other:
        locks.lock(one)
        assert locks.is_locked(path)
        with pytest.raises(BlockingIOError):
            locks.lock(other)
    assert not locks.is_locked(path)


def test_lock_without_fcntl_is_a_byte_that_nobody_reads(tmp_path, monkeypatch):
    held = []

    def locking(number, mode, n_bytes):
        # as Python's documentation has it: LK_NBLCK raises where it cannot
        if held:
            raise PermissionError(13, "Permission denied")
        held.append((mode, n_bytes, locks.os.lseek(number, 0, locks.os.SEEK_CUR)))

    monkeypatch.setattr(locks, "fcntl", None)
    monkeypatch.setitem(sys.modules, "msvcrt", SimpleNamespace(locking=locking, LK_NBLCK=2, LK_LOCK=1))
    with (tmp_path / "a").open("w") as one:
        locks.lock(one)
        with pytest.raises(BlockingIOError):
            locks.lock(one)
        assert locks.is_locked(tmp_path / "a")
        one.write("x")
    assert held == [(2, 1, 1 << 30)] and (tmp_path / "a").read_text() == "x"
