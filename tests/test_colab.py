import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from ser_lib.core import colab

REPO = Path(__file__).resolve().parent.parent

STAND_IN = """
import os
from pathlib import Path
from types import ModuleType
import sys


def _mount(place):
    if os.environ.get("DRIVE") == "declined":
        raise ValueError("mount failed")
    (Path(place) / "MyDrive").mkdir(parents=True, exist_ok=True)
    print("mounted", Path(place).relative_to(Path.cwd()))


def _upload():
    if os.environ.get("UPLOAD") == "nothing":
        return {}
    Path("voice.wav").write_bytes(b"sound")
    return {"voice.wav": b"sound"}


drive, files = ModuleType("google.colab.drive"), ModuleType("google.colab.files")
drive.mount, files.upload = _mount, _upload
sys.modules |= {"google.colab.drive": drive, "google.colab.files": files}
"""
"""google.colab, as far as the notebooks use it."""

PIP = "import json, sys\nwith open('pip.txt', 'a') as file:\n    file.write(json.dumps(sys.argv[1:]) + '\\n')\n"
"""A pip that installs nothing and writes down what it was asked."""


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """Address of a bare repository with the library as it stands here."""
    work = tmp_path_factory.mktemp("repository")
    for name in ("ser_lib", "notebooks", "params"):
        ignored = shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints")
        shutil.copytree(REPO / name, work / "ser_lib" / name, ignore=ignored)
    shutil.copy(REPO / "pyproject.toml", work / "ser_lib")
    git = ["git", "-C", str(work / "ser_lib"), "-c", "user.name=Test", "-c", "user.email=test@example.org"]
    for command in (["init", "--quiet"], ["add", "--all"], ["commit", "--quiet", "--no-verify", "-m", "All"]):
        subprocess.run([*git, *command], check=True)
    bare = ["git", "clone", "--quiet", "--bare", str(work / "ser_lib"), str(work / "bare.git")]
    subprocess.run(bare, check=True)
    return (work / "bare.git").as_uri()


@pytest.fixture
def machine(tmp_path, address):
    """Run a cell on a machine like Colab's: a function of its code and environment."""
    stand_ins = tmp_path / "stand-ins"
    (stand_ins / "google" / "colab").mkdir(parents=True)
    (stand_ins / "google" / "__init__.py").touch()
    (stand_ins / "google" / "colab" / "__init__.py").write_text(STAND_IN)
    (stand_ins / "pip").mkdir()
    (stand_ins / "pip" / "__init__.py").touch()
    (stand_ins / "pip" / "__main__.py").write_text(PIP)
    content = tmp_path / "content"
    content.mkdir()

    def run(code, *, cwd=content, **changes):
        environment = os.environ | {"PYTHONPATH": str(stand_ins), "SER_REPOSITORY": address} | changes
        environment.pop("SER_ROOT", None)
        command = [sys.executable, "-c", code]
        return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)

    run.content = content
    return run


IN_COLAB = "import google.colab\n" + colab.first_cell("") + "\n"


def test_cell_clones_installs_and_links_results_to_drive(machine):
    done = machine(IN_COLAB + "print(colab.project_root())")
    assert done.returncode == 0, done.stderr
    clone, drive = machine.content / "ser_lib", machine.content / "drive" / "MyDrive" / "ser_lib"
    assert (clone / "notebooks" / "00_tour.ipynb").is_file()
    asked = [json.loads(line) for line in (machine.content / "pip.txt").read_text().splitlines()]
    assert asked == [["install", "--quiet", "-e", "ser_lib[train,notebooks]"]]  # loose bounds, no lock
    for name in ("artifacts", "data"):
        (clone / name / "kept.txt").write_text("kept")
        assert (drive / name / "kept.txt").read_text() == "kept"
    lines = done.stdout.splitlines()
    assert lines[0] == "mounted drive"
    assert "on your Drive" in lines[1]
    assert lines[2] == str(clone)  # the library that is used now is the clone's


def test_cell_can_be_run_again(machine):
    machine(IN_COLAB)
    (machine.content / "ser_lib" / "artifacts" / "kept.txt").write_text("kept")
    done = machine(IN_COLAB)
    assert done.returncode == 0, done.stderr
    assert (machine.content / "ser_lib" / "artifacts" / "kept.txt").read_text() == "kept"


def test_results_of_an_earlier_machine_are_found_on_drive(machine):
    on_drive = machine.content / "drive" / "MyDrive" / "ser_lib" / "artifacts" / "interactive"
    on_drive.mkdir(parents=True)
    (on_drive / "split.csv").write_text("earlier")
    assert machine(IN_COLAB).returncode == 0
    assert (machine.content / "ser_lib" / "artifacts" / "interactive" / "split.csv").read_text() == "earlier"


def test_declining_drive_is_fine(machine):
    done = machine(IN_COLAB + "print('going on')", DRIVE="declined")
    assert done.returncode == 0, done.stderr
    said, going_on = done.stdout.splitlines()
    assert said.startswith("Drive is not used (mount failed)")
    assert going_on == "going on"
    assert (machine.content / "ser_lib" / "ser_lib").is_dir()
    assert not (machine.content / "ser_lib" / "artifacts").exists()


def test_nothing_happens_anywhere_else(machine):
    done = machine(colab.first_cell())
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert os.listdir(machine.content) == []


def test_nothing_happens_in_the_notebooks_that_the_tour_runs(machine):
    # Colab's own kernels load google.colab too; the runner starts them in the clone.
    machine(IN_COLAB)
    clone = machine.content / "ser_lib"
    before = sorted(path.name for path in clone.iterdir())
    done = machine(IN_COLAB, cwd=clone)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert sorted(path.name for path in clone.iterdir()) == before


def test_failed_clone_stops(machine):
    done = machine(IN_COLAB, SER_REPOSITORY="file:///nowhere.git")
    assert done.returncode != 0
    assert not (machine.content / "pip.txt").exists()


@pytest.mark.parametrize(("choice", "expected"), [("a file", "voice.wav"), ("nothing", "None")])
def test_uploaded_file_is_found(machine, choice, expected):
    code = (
        "import google.colab\nfrom ser_lib.core import colab\n"
        "path = colab.upload_file()\nprint(colab.in_colab(), path and path.is_absolute() and path.name)"
    )
    assert machine(code, UPLOAD=choice).stdout.split() == ["True", expected]


@pytest.mark.parametrize(
    ("remote", "address"),
    [
        ("https://github.com/me/ser_lib.git", "https://github.com/me/ser_lib"),
        ("https://me:secret@example.org/group/ser/", "https://example.org/group/ser"),
        ("git@github.com:me/ser_lib.git", "https://github.com/me/ser_lib"),
        ("ssh://git@example.org:2222/me/ser.git", "https://example.org/me/ser"),
        ("/home/me/ser_lib", ""),
        ("file:///home/me/ser_lib.git", ""),
        (None, ""),
    ],
)
def test_address_is_that_of_the_clone(root, remote, address):
    git = ["git", "-C", str(root)]
    subprocess.run([*git, "init", "--quiet"], check=True)
    if remote:
        subprocess.run([*git, "remote", "add", "origin", remote], check=True)
    assert colab.repository() == address
    assert f'or "{address}" or input(' in colab.first_cell()


def test_cell_asks_where_no_address_is_known(machine, address):
    code = IN_COLAB.replace("input(", "(lambda asked: (print(asked), ADDRESS)[1])(")
    done = machine(f"ADDRESS = {address!r}\n{code}", SER_REPOSITORY="")
    assert done.stdout.startswith("Address of the repository to clone: \n") and done.returncode == 0


def test_cells_are_written_into_every_notebook(project, monkeypatch):
    monkeypatch.setattr(colab, "repository", lambda: "https://example.org/ser")
    colab.write_first_cells()
    for path in sorted((project / "notebooks").glob("*.ipynb")):
        before, after = (nbformat.read(folder / path.name, 4) for folder in (REPO / "notebooks", project / "notebooks"))
        changed = [new.source for old, new in zip(before.cells, after.cells, strict=True) if old != new]
        assert changed == [colab.first_cell()]
        assert "https://example.org/ser" in changed[0]
