"""Which code this process runs, and on what: what must be the same on every machine that works on a result."""

import functools
import hashlib
import platform
import re
import subprocess
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

from ser_lib.core.extras import OF_RUNS

_LIBRARY = Path(__file__).resolve().parent.parent


def git(folder: Path, *call: str) -> str | None:
    """What git prints; None where it fails, or is not installed."""
    try:
        command = ["git", "--no-optional-locks", "-C", str(folder), *call]  # killed, it leaves no lock behind
        return subprocess.run(command, capture_output=True, encoding="utf-8", check=True).stdout
    except (OSError, UnicodeDecodeError, subprocess.CalledProcessError):
        return None


def library_hash() -> str:
    """SHA-256 over the names and contents of the library's modules."""
    digest = hashlib.sha256()
    for path in sorted(_LIBRARY.rglob("*.py")):
        content = path.read_bytes()
        digest.update(f"{path.relative_to(_LIBRARY).as_posix()} {len(content)}\n".encode() + content)
    return digest.hexdigest()


@functools.cache
def identity() -> Mapping[str, str]:
    """What of this process decides results, by name: commit, modules, notebooks, lock, Python and packages."""
    return {
        "commit": (git(_LIBRARY, "rev-parse", "HEAD") or "none").strip(),
        "ser_lib": library_hash(),
        "lock": _lock_hash(),
        "Python": platform.python_version(),
        **_packages(),
    }


def _lock_hash() -> str:
    lock = _LIBRARY.parent / "requirements.lock"
    return hashlib.sha256(lock.read_bytes()).hexdigest() if lock.is_file() else "none"


def _packages() -> dict[str, str]:
    """Installed version of each package that the library asks for itself, for predictions and for runs."""
    asked = [re.match(r"[\w.-]+", line) for line in requires("ser_lib") or [] if _of_runs(line)]
    found = {}
    for name in [one[0] for one in asked if one]:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue  # needed by another Python only
    return found


def _of_runs(requirement: str) -> bool:
    extra = re.search(r"extra == ['\"](\w+)", requirement)
    return extra is None or extra[1] in OF_RUNS


@functools.cache
def fingerprint() -> str:
    """One line for `identity`."""
    return hashlib.sha256(repr(sorted(identity().items())).encode()).hexdigest()


def first_difference(theirs: Mapping[str, str], ours: Mapping[str, str]) -> str:
    """Say in which thing another process differs from this one; empty if in none."""
    for name in [*ours, *(set(theirs) - set(ours))]:
        one, other = theirs.get(name, "none"), ours.get(name, "none")
        if one != other:
            return f"{name} {one[:12]}, here {other[:12]}"
    return ""
