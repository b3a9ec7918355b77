import json
import lzma
import os
import shutil
import subprocess
from pathlib import Path

import nbformat
import pytest

from ser_lib.core import identity
from ser_lib.core.errors import RunError
from ser_lib.records import run as runs
from ser_lib.records import sources
from ser_lib.records.manifest import Manifest, Stage, read_manifest

REPO = Path(__file__).resolve().parent.parent
DEMO = REPO / "reports" / "demo"


def git(folder, *arguments):
    identity = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
    command = ["git", "-C", str(folder), *identity, *arguments]
    subprocess.run(command, capture_output=True, check=True)


@pytest.fixture
def clone(project, monkeypatch):
    """A clone of the project whose every notebook is that of its commit."""
    library = project / "ser_lib"
    library.mkdir()
    for name in ("__init__.py", "train.py"):
        (library / name).write_text("x = 1\n")
    monkeypatch.setattr(sources, "_LIBRARY", library)
    monkeypatch.setattr(identity, "_LIBRARY", library)
    git(project, "init", "-q")
    git(project, "add", "-A")
    git(project, "commit", "-qm", "x")
    return project


def change(clone, old, new, *, stage="03_train"):
    path = clone / "notebooks" / f"{stage}.ipynb"
    notebook = nbformat.read(path, 4)
    (cell,) = [cell for cell in notebook.cells if cell.cell_type == "code" and old in cell.source]
    cell.source = cell.source.replace(old, new)
    nbformat.write(notebook, path)


def test_a_fresh_clone_has_nothing_to_tell(clone):
    assert [sources.edited(stage) for stage in runs.STAGES] == [[]] * 5


def test_what_changes_nothing_is_not_told(clone):
    path = clone / "notebooks" / "03_train.ipynb"
    given = sources.notebook_hash("03_train")
    change(clone, "EPOCHS: int = 50  # passes through the training set, at most", "EPOCHS = 1")
    change(clone, "SCHEDULE: str", "SAMPLING_RATE = 8000\nSCHEDULE: str")
    notebook = nbformat.read(path, 4)
    notebook.metadata["kernelspec"] = {"name": "other", "display_name": "other"}
    notebook.cells[0].source = "# My title"
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.execution_count = 3
            cell.outputs = [nbformat.v4.new_output("stream", text="x")]
            cell.source += "  \n\n"
    notebook.cells.append(nbformat.v4.new_code_cell(""))
    path.write_text(json.dumps(notebook, indent=3))
    assert sources.edited("03_train") == []
    assert sources.notebook_hash("03_train") == given
    change(clone, "best = best_epoch(history, params)", "best = best_epoch( history, params )  # of all")
    assert sources.edited("03_train") == []


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("train_model(params, ", "train_model(params.model_copy(update={'EPOCHS': 1}), "),
        ("import pandas as pd", "import pandas as pd\n!pip list"),
        ("EPOCHS: int = 50", "EPOCHS: int = print(5)"),
        ("EPOCHS: int = 50", "from ser_lib import train\nEPOCHS: int = 50"),
        ("model.summary(line_length=90, print_fn=print)", ""),
    ],
)
def test_other_code_of_a_notebook_is_told(clone, old, new):
    given = sources.notebook_hash("04_evaluate")
    change(clone, old, new)
    assert sources.edited("03_train") == ["notebooks/03_train.ipynb"]
    assert sources.edited("04_evaluate") == []
    assert sources.notebook_hash("04_evaluate") == given


def test_modules_that_no_commit_has_are_told(clone):
    given = identity.library_hash()
    (clone / "ser_lib" / "train.py").write_text("x = 2\n")
    (clone / "ser_lib" / "new.py").write_text("x = 3\n")
    (clone / "ser_lib" / "notes.txt").write_text("no code")
    assert sources.edited("01_preprocess") == ["ser_lib/train.py", "ser_lib/new.py"]
    assert identity.library_hash() != given


def test_looking_writes_nothing_into_the_users_repository(clone):
    # `git status` writes the index anew where a file only looks changed; killed meanwhile, its lock stops every commit
    os.utime(clone / "ser_lib" / "train.py", (1, 1))
    index = (clone / ".git" / "index").read_bytes()
    assert sources.edited("03_train") == []
    assert (clone / ".git" / "index").read_bytes() == index


def test_without_git_nothing_is_known(project, monkeypatch):
    monkeypatch.setattr(sources, "_LIBRARY", project)
    assert sources.edited("01_preprocess") is None
    assert len(sources.notebook_hash("01_preprocess")) == 64


def test_without_git_notebooks_are_held_against_those_of_the_library(project, monkeypatch):
    monkeypatch.setattr(sources, "_LIBRARY", project)
    change(project, "train_model(params, ", "train_model(params.model_copy(update={'EPOCHS': 1}), ")
    assert [sources.edited(stage) for stage in ("01_preprocess", "03_train")] == [None, ["notebooks/03_train.ipynb"]]


@pytest.mark.parametrize("content", ["", "{}", '{"cells": [{}]}', "[1]"])
def test_what_is_no_notebook_is_one_line(clone, content):
    (clone / "notebooks" / "02_split.ipynb").write_text(content)
    for tell in (sources.edited, sources.notebook_hash):
        with pytest.raises(RunError, match=r"notebooks/02_split\.ipynb cannot be read as a notebook\. Restore it: git"):
            tell("02_split")


@pytest.fixture
def quick(monkeypatch):
    """Runs whose notebooks only leave the results of the demo's record."""

    def execute(stage, params, *, scratch, record):
        params.output_dir.mkdir(parents=True, exist_ok=True)
        (record / f"{stage}.ipynb").write_text("{}")
        for path in runs.Run(record.name, params).outputs(stage):
            if (DEMO / path.name).is_file():
                shutil.copyfile(DEMO / path.name, path)
            elif (DEMO / f"{path.name}.xz").is_file():
                path.write_bytes(lzma.decompress((DEMO / f"{path.name}.xz").read_bytes()))
            else:
                path.write_text("clip,sha256\na,b\n" if path.name == "clips.csv" else "x")

    monkeypatch.setattr(runs, "execute_notebook", execute)


def test_a_changed_notebook_is_told_by_terminal_record_and_card(clone, quick, capsys):
    change(clone, "train_model(params, ", "train_model(params.model_copy(update={'EPOCHS': 1}), ")
    run = runs.start_run({}, name="mine")
    runs.execute_run(run)
    told = capsys.readouterr().err
    assert told == "warning: edited code, as the record says: notebooks/03_train.ipynb\n"
    stages = read_manifest(run.record).stages
    assert {name: stage.edited for name, stage in stages.items() if stage.edited} == {
        "03_train": ["notebooks/03_train.ipynb"]
    }
    sentence = "Some of the code that ran had been edited: notebooks/03_train.ipynb."
    assert sentence in (run.record / "model_card.md").read_text()


def test_a_fresh_clone_says_nothing(clone, quick, capsys):
    change(clone, "EPOCHS: int = 50", "EPOCHS: int = 1")
    run = runs.start_run({}, name="mine")
    runs.execute_run(run)
    assert capsys.readouterr().err == ""
    assert read_manifest(run.record).code == ""
    assert "commit" not in (run.record / "model_card.md").read_text()


def test_record_says_where_no_commit_tells():
    stage = Stage(seconds=1, notebook="00")
    manifest = Manifest(run="x", state="done", started="", stages={"01_preprocess": stage})
    assert manifest.code == "No commit tells which code ran; manifest.json has its hashes."
    assert Manifest(run="x", state="done", started="", stages={"01_preprocess": Stage(seconds=1)}).code == ""
    stage = Stage(seconds=1, notebook="00", edited=["notebooks/03_train.ipynb"])
    manifest = Manifest(run="x", state="done", started="", stages={"03_train": stage})
    assert manifest.code == "Some of the code that ran had been edited: notebooks/03_train.ipynb."
