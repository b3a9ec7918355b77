"""The examples in the docstrings, run in a project that has the demo corpus and its record."""

import doctest
import importlib
import shutil
import subprocess
import sys

import matplotlib
import pytest
from conftest import REPO

import ser_lib

pytestmark = pytest.mark.filterwarnings(
    "ignore:__array__ implementation doesn't accept a copy:DeprecationWarning:keras"
)
MODULES = ("params", "audio.features", "scoring.metrics", "plots.results", "model.bundle", "predict")
STAGES = ("preprocess", "split", "train", "evaluate")


@pytest.fixture(scope="module")
def example_project(tmp_path_factory, demo_folder):
    root = tmp_path_factory.mktemp("examples")
    for name in ("params", "reports/demo"):
        shutil.copytree(REPO / name, root / name)
    shutil.copytree(demo_folder, root / "data" / "demo")
    matplotlib.use("agg")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SER_ROOT", str(root))
        patch.chdir(root)
        yield root


@pytest.mark.parametrize("name", [*MODULES, *STAGES])  # each stage builds on the files of the one before
def test_examples(example_project, name):
    module = importlib.import_module(f"ser_lib.{name}")
    assert doctest.testmod(module, optionflags=doctest.NORMALIZE_WHITESPACE).failed == 0


def examples_of(function):
    return doctest.DocTestFinder(recurse=False).find(function, function.__name__)


@pytest.mark.parametrize("name", [name for name in ser_lib.__all__ if name != "__version__"])
def test_public_functions_have_an_example(name):
    assert any(test.examples for test in examples_of(getattr(ser_lib, name)))


@pytest.mark.slow
def test_api_pages_are_built(tmp_path):
    done = subprocess.run([sys.executable, REPO / "docs" / "api.py", tmp_path], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    page = (tmp_path / "ser_lib.html").read_text()
    assert [name for name in ser_lib.__all__ if f'id="{name}"' not in page] == []
    assert "Examples" in (tmp_path / "ser_lib" / "scoring" / "metrics.html").read_text()
