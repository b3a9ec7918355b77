"""Colab: the first cell of every notebook, installing there, results on Drive, and a file from the user's computer.

The cell runs this module before anything is installed: what it imports is the standard library's, or comes later. It
clones the repository that git's remote `origin` names where the notebooks are made: `make notebooks`
(`python -m ser_lib.core.colab`) writes it into every notebook. Where there was none, the cell asks.
"""

import importlib
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

from ser_lib.core.errors import InstallError
from ser_lib.core.identity import git
from ser_lib.core.paths import project_root

_REMOTE = re.compile(r"(?:(?:https?|ssh)://(?:[^/@]*@)?|[\w.-]+@)([\w.-]+)(?::\d+)?[:/](.+?)(?:\.git)?/?")
"""Host and path of a repository on another machine, without the name or password that an address may hold."""
TAG = "colab"
"""Tag of the cell in each notebook."""
_COLLAPSED = {"cellView": "form", "jupyter": {"source_hidden": True}}
"""Metadata by which Colab, and JupyterLab and Notebook, show a cell collapsed."""
_EXTRAS = "train,notebooks"
_VERSION = re.compile(r"\d+(\.\d+)*((a|b|rc)\d+)?(\.post\d+)?(\.dev\d+)?(\+[\w.]+)?")
"""Versions that pip takes in a constraint; a system's own packages may have others."""
_LIMIT = re.compile(r"([\w.-]+)(?:\[.*?\])?\s*\(?[^;]*(?:<|==|~=)")
"""Requirement that sets a package's version an upper limit."""

_CELL = """\
# @title In Colab, fetch and install the project and keep results on Drive; anywhere else, do nothing.
import os
import subprocess
import sys

if "google.colab" in sys.modules and not os.path.isfile("pyproject.toml"):
    address = os.environ.get("SER_REPOSITORY") or "{repository}" or input("Address of the repository to clone: ")
    if not os.path.isdir("ser_lib"):
        subprocess.run(["git", "clone", "--quiet", "--depth", "1", address, "ser_lib"], check=True)
    sys.path.insert(0, os.path.abspath("ser_lib"))

    from ser_lib.core import colab

    colab.install()
    colab.keep_on_drive()"""


def repository() -> str:
    """Address of the project's repository, by git's remote `origin`; empty where there is none on another machine."""
    root = project_root()
    if git(root, "rev-parse", "--show-prefix") != "\n":  # no clone of its own
        return ""
    found = _REMOTE.fullmatch((git(root, "remote", "get-url", "origin") or "").strip())
    return f"https://{found[1]}/{found[2]}" if found else ""


def first_cell(address: str | None = None) -> str:
    """Source of the cell that every notebook begins with; `address` of the repository, by default `repository()`."""
    return _CELL.format(repository=repository() if address is None else address)


def install() -> None:
    """Install what the project needs beside what is there, and say what was added and what was changed.

    Every package that is there keeps its version. Where that is impossible, those do that are loaded or that another
    package limits, as TensorFlow limits protobuf: a kernel that has one half of an old version and one of a new breaks.

    Raises
    ------
    InstallError
        If that is impossible, too, or no package index is reached.
    """
    before = _versions()
    for held in (before, _needed(before)):
        done = _pip_install(f"{name}=={before[name]}" for name in sorted(held) if _VERSION.fullmatch(before[name]))
        if done.returncode == 0:
            break
    else:
        reason = (done.stderr.strip().splitlines() or ["pip says nothing."])[-1]
        raise InstallError(f"The project's packages must be installed beside Colab's own. pip failed: {reason}")
    importlib.invalidate_caches()
    print(_describe(before, _versions()))


def _versions() -> dict[str, str]:
    """Version of each package that is installed, without the project itself; of several, that which is imported."""
    found: dict[str, str] = {}
    for one in metadata.distributions():
        if one.metadata["Name"]:
            found.setdefault(_canonical(one.metadata["Name"]), one.version)
    found.pop("ser-lib", None)
    return found


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _needed(installed: Iterable[str]) -> set[str]:
    """Packages that this process has loaded, and those to whose version another package sets a limit."""
    loaded = {module.partition(".")[0] for module in sys.modules}
    owners = [name for module, names in metadata.packages_distributions().items() if module in loaded for name in names]
    lines = [line for one in metadata.distributions() for line in one.requires or [] if "extra ==" not in line]
    limited = [match[1] for match in map(_LIMIT.match, lines) if match]
    return {_canonical(name) for name in [*owners, *limited]} & set(installed)


def _pip_install(constraints: Iterable[str]) -> subprocess.CompletedProcess:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "constraints.txt"
        file.write_text("\n".join(constraints), encoding="utf-8")
        options = ["--quiet", "--disable-pip-version-check", "--constraint", str(file)]
        command = [sys.executable, "-m", "pip", "install", *options, "--editable", f"{project_root()}[{_EXTRAS}]"]
        return subprocess.run(command, capture_output=True, text=True)


def _describe(before: dict[str, str], after: dict[str, str]) -> str:
    added = [f"{name} {after[name]}" for name in sorted(after.keys() - before.keys())]
    changed = [f"{name} {old} → {after.get(name, 'none')}" for name, old in before.items() if after.get(name) != old]
    what = f"Changed: {', '.join(changed)}." if changed else "Nothing that was here was changed."
    return f"Installed: {', '.join(added) or 'nothing'}. {what}"


def keep_on_drive() -> bool:
    """Mount Drive and put `artifacts` and `data` there, since every Colab notebook has a machine of its own.

    Returns whether it worked. Declining is fine: everything then stays on this machine, and is lost with it.
    """
    from google.colab import drive

    mount_point = Path.cwd() / "drive"
    try:
        drive.mount(str(mount_point))
        for name in ("artifacts", "data"):
            _link(project_root() / name, mount_point / "MyDrive" / "ser_lib" / name)
    except Exception as error:  # Colab raises different kinds when Drive is declined
        print(f"Drive is not used ({error}). Results stay on this machine and go with it.")
        return False
    print("Results go to ser_lib/artifacts on your Drive; a corpus in ser_lib/data there is found.")
    return True


def _link(folder: Path, on_drive: Path) -> None:
    on_drive.mkdir(parents=True, exist_ok=True)
    if folder.is_symlink():
        return
    if folder.is_dir():  # from before Drive was mounted
        shutil.copytree(folder, on_drive, dirs_exist_ok=True)
        shutil.rmtree(folder)
    folder.symlink_to(on_drive)


def keep_record(record: Path) -> None:
    """Copy a run's record to Drive, where artifacts are there; anywhere else, do nothing."""
    artifacts = project_root() / "artifacts"
    if artifacts.is_symlink():
        shutil.copytree(record, artifacts.resolve().parent / "reports" / record.name, dirs_exist_ok=True)


def in_colab() -> bool:
    """Whether this is Colab."""
    return "google.colab" in sys.modules


def upload_file() -> Path | None:
    """Ask for a file from the user's computer; None if none is chosen."""
    from google.colab import files

    uploaded = files.upload()
    return Path(next(iter(uploaded))).resolve() if uploaded else None


def write_first_cells() -> None:
    """Write `first_cell()` into the tagged cell of every notebook of the project; collapse it, and the parameters."""
    from ser_lib.core.quick import without_grammar

    with without_grammar():
        import nbformat
    source = first_cell()
    for path in sorted((project_root() / "notebooks").glob("*.ipynb")):
        notebook = nbformat.read(path, as_version=4)
        for cell in notebook.cells:
            tags = cell.metadata.get("tags", [])
            if TAG in tags:
                cell.source = source
            if TAG in tags or "parameters" in tags:
                cell.metadata.update(_COLLAPSED)
        nbformat.write(notebook, path)


if __name__ == "__main__":
    write_first_cells()
