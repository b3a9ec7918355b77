import json
import os
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import nbformat
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

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

PIP = """
import json, os, sys
limits = open(sys.argv[sys.argv.index("--constraint") + 1]).read().split()
with open("pip.txt", "a") as file:
    file.write(json.dumps([sys.argv[1:], limits]) + "\\n")
if os.environ.get("REFUSED", "none") in limits:
    sys.exit("ERROR: conflicting dependencies")
"""
"""A pip that installs nothing and writes down what it was asked; a constraint that is `REFUSED` makes it fail."""
PINS = REPO / "tests" / "data" / "colab-pins.txt"
"""Packages of Colab."""


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


def asked_of_pip(machine):
    """For each call of pip, its arguments and its constraints."""
    return [json.loads(line) for line in (machine.content / "pip.txt").read_text().splitlines()]


def test_cell_clones_installs_and_links_results_to_drive(machine):
    done = machine(IN_COLAB + "print(colab.project_root())")
    assert done.returncode == 0, done.stderr
    clone, drive = machine.content / "ser_lib", machine.content / "drive" / "MyDrive" / "ser_lib"
    assert (clone / "notebooks" / "00_tour.ipynb").is_file()
    ((asked, limits),) = asked_of_pip(machine)
    assert asked[:3] == ["install", "--quiet", "--disable-pip-version-check"] and asked[3] == "--constraint"
    assert asked[5:] == ["--editable", f"{clone}[train,notebooks]"]  # loose bounds, no lock
    for name in ("numpy", "pandas", "protobuf", "tensorflow"):
        assert f"{name}=={metadata.version(name)}" in limits
    assert not [line for line in limits if line.startswith("ser-lib")]
    for name in ("artifacts", "data"):
        (clone / name / "kept.txt").write_text("kept")
        assert (drive / name / "kept.txt").read_text() == "kept"
    lines = done.stdout.splitlines()
    assert lines[0] == "Installed: nothing. Nothing that was here was changed."
    assert lines[1] == "mounted drive"
    assert "on your Drive" in lines[2]
    assert lines[3] == str(clone)  # the library that is used now is the clone's


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


def test_cell_needs_nothing_that_is_not_installed_yet():
    code = "import sys; import ser_lib.core.colab; print(*{name.partition('.')[0] for name in sys.modules})"
    loaded = subprocess.run([sys.executable, "-S", "-c", code], cwd=REPO, capture_output=True, text=True, check=True)
    assert set(loaded.stdout.split()) - set(sys.stdlib_module_names) == {"ser_lib", "__main__"}


def test_where_not_all_can_stay_what_is_loaded_or_limited_stays(machine):
    free = f"pytest=={metadata.version('pytest')}"
    done = machine(IN_COLAB.replace("import google", "import yaml, google", 1), REFUSED=free)
    assert done.returncode == 0, done.stderr
    (_, everything), (_, some) = asked_of_pip(machine)
    assert free in everything and set(some) < set(everything)
    assert {f"{name}=={metadata.version(name)}" for name in ("pyyaml", "protobuf")} <= set(some)
    assert free not in some and f"matplotlib=={metadata.version('matplotlib')}" not in some


def test_packages_that_others_limit_are_those_of_their_metadata():
    limited, upper = set(), {"<", "<=", "==", "~=", "==="}
    for one in metadata.distributions():
        for line in map(Requirement, one.requires or []):
            if "extra" not in str(line.marker) and upper & {limit.operator for limit in line.specifier}:
                limited.add(canonicalize_name(line.name))
    installed = {canonicalize_name(one.metadata["Name"]) for one in metadata.distributions()}
    code = f"import json; from ser_lib.core import colab; print(json.dumps(sorted(colab._needed({installed!r}))))"
    found = subprocess.run([sys.executable, "-c", code], cwd=REPO, capture_output=True, text=True, check=True)
    beside = {"ser-lib", "setuptools"}  # which every process here has loaded
    assert set(json.loads(found.stdout)) - beside == limited & installed - beside


def test_failed_installation_is_one_line(machine):
    done = machine(IN_COLAB, REFUSED=f"protobuf=={metadata.version('protobuf')}")
    assert done.returncode != 0
    assert done.stderr.splitlines()[-1].endswith("pip failed: ERROR: conflicting dependencies")


def test_changed_packages_are_named():
    before, after = {"numpy": "2.1.3", "protobuf": "5.29.6", "six": "1.17"}, {"numpy": "2.1.3", "protobuf": "7.36"}
    said = colab._describe(before, after | {"onnx": "1.23"})
    assert said == "Installed: onnx 1.23. Changed: protobuf 5.29.6 → 7.36, six 1.17 → none."


@pytest.mark.slow
def test_everything_is_there_beside_colabs_packages_as_they_are(tmp_path):
    pins = dict(line.split("==") for line in PINS.read_text().splitlines() if not line.startswith("#"))
    assert {name: pins[name] for name in ("tensorflow", "keras", "numpy", "protobuf", "ipython")} == {
        "tensorflow": "2.20.0", "keras": "3.13.2", "numpy": "2.1.3", "protobuf": "5.29.6", "ipython": "7.34.0",
    }  # fmt: skip
    command = [sys.executable, "-m", "uv", "pip", "compile", "--quiet", "--no-header", "--no-annotate"]
    options = ["--python-version", "3.13", "--constraints", str(PINS), "--extra", "train", "--extra", "notebooks"]
    found = subprocess.run(
        [*command, *options, str(REPO / "pyproject.toml")], capture_output=True, text=True, cwd=tmp_path
    )
    if "error sending request" in found.stderr or "dns error" in found.stderr:
        pytest.skip(f"no package index: {found.stderr.strip().splitlines()[0]}")
    assert found.returncode == 0, found.stderr
    chosen = dict(line.split(" ;")[0].split("==") for line in found.stdout.splitlines())
    assert {"tensorflow", "keras", "onnx", "papermill"} <= chosen.keys()
    assert all(pins.get(name, version) == version for name, version in chosen.items())


def test_declining_drive_is_fine(machine):
    done = machine(IN_COLAB + "print('going on')", DRIVE="declined")
    assert done.returncode == 0, done.stderr
    _, said, going_on = done.stdout.splitlines()
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
