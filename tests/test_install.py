"""The wheel: what it carries, that it predicts beside no clone, and the projects that `ser new` makes."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tomllib
import urllib.request
import zipfile
from pathlib import Path

import numpy as np
import pytest

from ser_lib._cli.new import new
from ser_lib.core.errors import ExtraError, RunError
from ser_lib.core.extras import EXTRAS, check_extras, name_extras
from ser_lib.core.paths import project_root
from ser_lib.records.project import make_project

REPO = Path(__file__).resolve().parent.parent
UV = [sys.executable, "-m", "uv"]
LIGHT = """
import sys
from ser_lib.core.extras import EXTRAS
brought = {"PIL", "sklearn", "pooch", "requests"}  # by packages of a light installation
sys.modules |= dict.fromkeys({name for names in EXTRAS.values() for name in names} - brought)
from ser_lib._cli.app import main
main()
"""
"""`ser` where no extra is installed."""


def joined():
    """The default model, its fallback, and the model whose fallback it is."""
    first, second, *_ = json.loads((REPO / "reports" / "models.json").read_text())["models"]
    assert second["fallback"] == first["run"]
    return [first["run"], first["fallback"], second["run"]]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel, built of a copy of what git knows."""
    clone, to = tmp_path_factory.mktemp("clone"), tmp_path_factory.mktemp("wheel")
    shutil.copytree(REPO / "ser_lib", clone / "ser_lib", ignore=shutil.ignore_patterns("__pycache__"))
    runs = joined()
    for name in ("notebooks", "params", *(f"reports/{run}" for run in runs)):
        shutil.copytree(REPO / name, clone / name, ignore=shutil.ignore_patterns(".ipynb_checkpoints"))
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE", "reports/models.json"):
        shutil.copyfile(REPO / name, clone / name)
    options = ("--wheel", "--no-build-isolation", "--offline", "--python", sys.executable, "--out-dir", str(to))
    done = subprocess.run([*UV, "build", *options, str(clone)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return next(to.glob("*.whl"))


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """The wheel's files, in a folder of their own, as an installer leaves them."""
    folder = tmp_path_factory.mktemp("site-packages")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


@pytest.fixture
def light(installed, tmp_path):
    """Run the installed `ser` in an empty folder, without the extras and without encoders."""
    here = tmp_path / "empty"
    here.mkdir()
    changes = {
        "PYTHONPATH": str(installed),
        "SER_ENCODERS": str(tmp_path / "none"),
        "XDG_DATA_HOME": str(tmp_path / "x"),
    }
    environment = {name: value for name, value in os.environ.items() if name != "SER_ROOT"} | changes

    def ser(*words):
        return subprocess.run(
            [sys.executable, "-c", LIGHT, *words], cwd=here, env=environment, capture_output=True, text=True
        )

    ser.here = here
    return ser


def test_wheel_carries_the_default_model_and_those_joined_to_it_as_they_are_recorded(wheel):
    with zipfile.ZipFile(wheel) as archive:
        carried = {
            name.partition("/_shipped/")[2]: archive.read(name) for name in archive.namelist() if "_shipped" in name
        }
    runs = joined()
    assert {name.split("/")[1] for name in carried if name.startswith("reports/")} == {*runs, "models.json"}
    for run in runs:
        assert {"bundle.json", "model.onnx", "LICENCE.txt"} <= {
            Path(name).name for name in carried if f"/{run}/" in name
        }
    for folder in ("notebooks", "params"):
        assert {name for name in carried if name.startswith(folder)} == {
            f"{folder}/{path.name}" for path in (REPO / folder).iterdir() if path.suffix in (".ipynb", ".yaml")
        }
    assert all(content == (REPO / name).read_bytes() for name, content in carried.items())


def test_installed_wheel_predicts_in_an_empty_folder(light, installed, write_wav):
    write_wav(light.here / "a.wav", np.sin(np.arange(16000) / 9) / 3, 16000)
    before = sorted(installed.rglob("*.json"))
    done = light("predict", "a.wav")
    assert done.returncode == 0, done.stderr
    fallback = json.loads((REPO / "reports" / "models.json").read_text())["models"][0]["fallback"]
    assert f"Model {fallback} has " in done.stdout
    assert "ser encoder get smart-turn brings it" in done.stderr
    assert [path.name for path in light.here.iterdir()] == ["a.wav"]
    assert sorted(installed.rglob("*.json")) == before


@pytest.mark.parametrize("words", [("run",), ("runs",), ("report",), ("protocol", "tess"), ("data", "get", "TESS")])
def test_without_a_project_one_line_names_ser_new(light, words):
    done = light(*words)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.count("\n") == 1 and done.stderr.startswith("error: This needs a project")
    assert "ser new FOLDER" in done.stderr
    assert list(light.here.iterdir()) == []


def test_light_installation_makes_a_project_and_names_what_a_run_needs(light):
    done = light("new", "mine")
    assert done.returncode == 0, done.stderr
    assert "cd mine && make all" in done.stdout
    names = {path.relative_to(light.here / "mine").as_posix() for path in (light.here / "mine").iterdir()}
    assert names == {".gitignore", ".ser-project", "Makefile", "README.md", "notebooks", "params", "reports"}
    shutil.move(light.here / "mine" / ".ser-project", light.here)  # so that this folder is the project
    done = light("run")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.count("\n") == 1 and done.stderr.endswith("pip install 'ser_lib[train,notebooks]'\n")
    assert "tensorflow" in done.stderr and "papermill" in done.stderr


def test_project_of_ones_own_is_found_from_the_folders_in_it(tmp_path, monkeypatch):
    monkeypatch.delenv("SER_ROOT", raising=False)
    make_project(tmp_path / "mine")
    monkeypatch.chdir(tmp_path / "mine" / "notebooks")
    assert project_root() == tmp_path / "mine"
    monkeypatch.chdir(tmp_path)
    assert project_root() == REPO


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_project_is_made_in_no_folder_with_something_in_it(tmp_path, kind):
    place = tmp_path / "mine"
    if kind == "file":
        place.touch()
    else:
        make_project(place)
        (place / "params" / "demo.yaml").write_text("EPOCHS: 3\n")
    with pytest.raises(
        RunError, match=r"^A project must be made in a new folder, or an empty one\. .*(a file|not empty)\.$"
    ):
        make_project(place)
    assert kind == "file" or (place / "params" / "demo.yaml").read_text() == "EPOCHS: 3\n"


def test_extras_are_those_of_the_project_table():
    names = {"sklearn": "scikit-learn", "PIL": "pillow", "markupsafe": "jinja2", "espeakng_loader": "espeakng-loader"}
    names["starlette"] = "gradio"
    jupyter = ("ipykernel", "IPython", "jupyter_client", "nbclient", "nbconvert", "nbformat", "traitlets")
    names |= dict.fromkeys(jupyter, "jupyter")
    table = tomllib.loads((REPO / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for extra, modules in EXTRAS.items():
        assert {names.get(module, module) for module in modules} == {line.split(">=")[0] for line in table[extra]}


def test_missing_extra_is_one_line_and_another_missing_module_is_not(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    with (
        pytest.raises(ExtraError, match=r"tensorflow is not installed\. pip install 'ser_lib\[train\]'$"),
        name_extras(),
    ):
        import tensorflow  # noqa: F401
    with pytest.raises(ModuleNotFoundError, match="no_such_module") as caught, name_extras():
        import no_such_module  # noqa: F401
    assert not isinstance(caught.value, ExtraError)
    check_extras("notebooks")


@pytest.mark.slow
def test_wheel_works_in_an_empty_environment(wheel, tmp_path, write_wav):
    """Installed by the lock with the extras, `ser demo`, `ser new` and `make all`."""
    home = tmp_path / "env"
    python = home / "bin" / "python"
    subprocess.run([*UV, "venv", "--quiet", "--python", sys.executable, str(home)], check=True)
    install = [
        *UV,
        "pip",
        "install",
        "--quiet",
        "--python",
        str(python),
        "--constraints",
        str(REPO / "requirements.lock"),
    ]
    done = subprocess.run([*install, str(wheel)], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"no package index: {done.stderr.strip().splitlines()[-1]}")
    ser = home / "bin" / "ser"
    environment = {name: value for name, value in os.environ.items() if name not in ("SER_ROOT", "PYTHONPATH")}
    run = {"cwd": tmp_path, "capture_output": True, "text": True}
    write_wav(tmp_path / "a.wav", np.sin(np.arange(16000) / 9) / 3, 16000)
    done = subprocess.run([ser, "predict", "a.wav"], env=environment, **run)
    assert done.returncode == 0, done.stderr
    subprocess.run([*install, f"ser_lib[demo] @ {wheel.as_uri()}"], check=True)
    command, options = [ser, "demo", "--no-browser"], {"cwd": tmp_path, "env": environment, "text": True}
    with subprocess.Popen(command, stdout=subprocess.PIPE, **options) as page:
        try:
            address = re.search(r"http://127\.0\.0\.1:\d+/", page.stdout.readline())[0]
            with urllib.request.urlopen(address) as answered:
                assert b"Which emotion does the model hear?" in answered.read()
        finally:
            page.send_signal(signal.SIGINT)
    assert page.returncode == 0
    subprocess.run([*install, f"ser_lib[train,notebooks] @ {wheel.as_uri()}"], check=True)
    environment["PATH"] = f"{ser.parent}{os.pathsep}{environment['PATH']}"
    done = subprocess.run("ser new mine && cd mine && make all", shell=True, env=environment, **run)
    assert done.returncode == 0, done.stderr + done.stdout
    assert "Done: validation accuracy" in done.stdout
    assert (tmp_path / "mine" / "reports" / "index.html").is_file()


def test_project_and_command_in_folders_with_a_space_are_made_by_the_line_that_is_shown(tmp_path, monkeypatch, capsys):
    fake = tmp_path / "an environment" / "ser"
    fake.parent.mkdir()
    fake.write_text('#!/bin/sh\necho called "$@"\n')
    fake.chmod(0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [str(fake)])
    new(Path("my course"))
    line = capsys.readouterr().out.partition("To see it work: ")[2]
    alone = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL")}
    done = subprocess.run(line, shell=True, capture_output=True, text=True, env=alone)  # also below `make test`
    assert (done.stdout, done.stderr) == ("called run params/demo.yaml\n", "")
