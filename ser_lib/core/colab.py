"""Colab: the first cell of every notebook, results on Drive, and a file from the user's computer.

The cell clones the repository that git's remote `origin` names where the notebooks are made: `make notebooks`
(`python -m ser_lib.core.colab`) writes it into every notebook. Where there was none, the cell asks.
"""

import re
import shutil
import sys
from pathlib import Path

from ser_lib.core.identity import git
from ser_lib.core.paths import project_root
from ser_lib.core.quick import without_grammar

with without_grammar():
    import nbformat

_REMOTE = re.compile(r"(?:(?:https?|ssh)://(?:[^/@]*@)?|[\w.-]+@)([\w.-]+)(?::\d+)?[:/](.+?)(?:\.git)?/?")
"""Host and path of a repository on another machine, without the name or password that an address may hold."""
TAG = "colab"
"""Tag of the cell in each notebook."""

_CELL = """\
# In Colab, fetch and install the project and keep results on Drive; anywhere else, do nothing.
import os
import subprocess
import sys

if "google.colab" in sys.modules and not os.path.isfile("pyproject.toml"):
    address = os.environ.get("SER_REPOSITORY") or "{repository}" or input("Address of the repository to clone: ")
    if not os.path.isdir("ser_lib"):
        subprocess.run(["git", "clone", "--quiet", "--depth", "1", address, "ser_lib"], check=True)
    subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", "-e", "ser_lib[train,notebooks]"], check=True)
    sys.path.insert(0, os.path.abspath("ser_lib"))

    from ser_lib.core import colab

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


def keep_on_drive(mount_point: Path | None = None) -> bool:
    """Mount Drive and put `artifacts` and `data` there, since every Colab notebook has a machine of its own.

    Returns whether it worked. Declining is fine: everything then stays on this machine, and is lost with it.
    """
    from google.colab import drive

    mount_point = mount_point or Path.cwd() / "drive"
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
    """Write `first_cell()` into the tagged cell of every notebook of the project."""
    source = first_cell()
    for path in sorted((project_root() / "notebooks").glob("*.ipynb")):
        notebook = nbformat.read(path, as_version=4)
        for cell in notebook.cells:
            if TAG in cell.metadata.get("tags", []):
                cell.source = source
        nbformat.write(notebook, path)


if __name__ == "__main__":
    write_first_cells()
