import json
import shutil

import nbformat
import papermill
import pytest
from test_runs import type_parameter

from ser_lib.core.errors import ParameterError, StageError
from ser_lib.params import make_params
from ser_lib.records import run as runs
from ser_lib.store import RUN_VARIABLE, keep_params, notebook_params

OUT = {"OUTPUT_DIR": "out"}


def notebook(stage, **values):
    """Do what a notebook does: take its parameters, and write down what it decided."""
    params = notebook_params(OUT | values, stage=stage)
    keep_params(stage, params)
    return params


def test_parameters_are_the_capital_variables():
    namespace = {"EPOCHS": 7, "N_MFCC": 5, "np": object(), "epochs": "x", "EMOTIONS": ("a",)}
    assert notebook_params(namespace) == make_params({"EPOCHS": 7, "N_MFCC": 5})
    with pytest.raises(ParameterError, match="`EPOCHS` must be a valid integer"):
        notebook_params({"EPOCHS": True})


@pytest.mark.parametrize(("wrong", "meant"), [("EPOCH", "EPOCHS"), ("TRIM_TOPDB", "TRIM_TOP_DB"), ("SPLITT", "SPLIT")])
def test_misspelt_parameter_is_refused_and_other_capitals_are_not(wrong, meant):
    with pytest.raises(ParameterError) as caught:
        notebook_params({meant: make_params({}).model_dump()[meant], wrong: 5})  # papermill adds to what stands there
    assert str(caught.value) == f"`{wrong}` is not a parameter. Did you mean `{meant}`?"
    assert notebook_params({"FOLDER": "x", "SETS": 1, "X": 2, "MFCC": 3, "SEEDS": [0, 1]}) == make_params({})


def test_later_notebooks_take_what_earlier_ones_decided(root):
    notebook("01_preprocess", CORPORA=["OWN"], FEATURES="logmel", LABEL_MAP={"calm": None})
    notebook("02_split", SPLIT="speaker", TEST_SPEAKERS=["a"])
    found = notebook("03_train", MODEL="cnn", POOLING="attention", AUGMENT=["mask"])
    decided = {"CORPORA": ["OWN"], "FEATURES": "logmel", "LABEL_MAP": {"calm": None}, "SPLIT": "speaker"}
    decided |= {"TEST_SPEAKERS": ["a"], "MODEL": "cnn", "POOLING": "attention", "AUGMENT": ["mask"]}
    assert found == make_params(OUT | decided)
    assert notebook_params(OUT, stage="04_evaluate") == found
    assert notebook_params(OUT, stage="02_split") == make_params(
        OUT | {name: decided[name] for name in list(decided)[:3]}
    )


def test_a_corpus_that_was_moved_is_told_by_the_first_notebook_alone(root):
    notebook("01_preprocess", DATASET_PATH="here")
    notebook("02_split", SEED=5)
    notebook("03_train")
    notebook("01_preprocess", DATASET_PATH="there")
    found = notebook_params(OUT, stage="04_evaluate")
    assert (found.DATASET_PATH, found.SEED) == ("there", 5)


def test_a_later_notebook_may_decide_again_for_itself_and_those_after_it(root):
    notebook("01_preprocess", SEED=1, N_JOBS=1)
    notebook("02_split", SEED=2)
    assert notebook_params(OUT, stage="02_split").SEED == 1
    assert notebook_params(OUT, stage="03_train").SEED == 2
    assert notebook_params(OUT | {"SEED": 3}, stage="03_train").SEED == 3


def test_without_earlier_notebooks_there_are_defaults(root):
    assert notebook_params(OUT, stage="05_predict") == make_params(OUT)


def test_other_folders_have_other_parameters(root):
    notebook("01_preprocess", SEED=1)
    assert notebook_params({"OUTPUT_DIR": "other"}, stage="02_split") == make_params({"OUTPUT_DIR": "other"})
    shutil.copytree(root / "out", root / "moved")
    assert notebook_params({"OUTPUT_DIR": "moved"}, stage="02_split").OUTPUT_DIR == "moved"


def test_what_does_not_fit_together_is_told_with_what_to_do(root):
    notebook("01_preprocess", FEATURES="logmel")
    notebook("03_train", MODEL="cnn", POOLING="attention")
    notebook("01_preprocess", FEATURES="mfcc")
    with pytest.raises(
        StageError, match=r"notebooks before this one do not fit together: `MODEL: cnn`.*Run them again\.$"
    ):
        notebook_params(OUT, stage="04_evaluate")
    with pytest.raises(ParameterError, match="`N_MFCC` must be at most"):
        notebook_params(OUT | {"N_MFCC": 100, "N_MELS": 20}, stage="02_split")


@pytest.mark.parametrize("content", ["", "{", "[]", '{"01_preprocess": 3}', "\xff"])
def test_damaged_file_is_told_and_made_again(root, content):
    notebook("01_preprocess", SEED=1)
    (root / "out" / "notebook_params.json").write_text(content, encoding="latin-1")
    with pytest.raises(StageError, match=r"out/notebook_params\.json is damaged\. Run 01_preprocess again\."):
        notebook_params(OUT, stage="02_split")
    keep_params("01_preprocess", make_params(OUT | {"SEED": 2}))
    assert notebook_params(OUT, stage="02_split").SEED == 2


def test_in_a_run_the_run_decides(root, monkeypatch):
    notebook("01_preprocess", SEED=1)
    params = make_params({"SEED": 4, "LEARNING_RATE": 1e-5, "LABEL_MAP": {"calm": None}, "OUTPUT_DIR": "run"})
    (root / "run.json").write_text(params.model_dump_json())
    monkeypatch.setenv(RUN_VARIABLE, str(root / "run.json"))
    assert notebook_params(OUT | {"SEED": 9, "EPOCHS": "x"}, stage="02_split") == params


def in_one_kernel(folder):
    """The five notebooks as one, so that libraries are imported once; before each, the kernel forgets all names."""
    together = nbformat.v4.new_notebook()
    for stage in runs.STAGES:
        notebook = nbformat.read(folder / f"{stage}.ipynb", 4)
        together.metadata = notebook.metadata
        together.cells += [nbformat.v4.new_code_cell("%reset -f")]
        together.cells += [cell for cell in notebook.cells if cell.cell_type == "code"]
    for number, cell in enumerate(together.cells):
        cell.id = str(number)
    nbformat.write(together, folder / "together.ipynb")
    return folder / "together.ipynb"


def test_five_notebooks_on_a_folder_of_ones_own_need_it_told_once(project, make_corpus):
    tones = make_corpus(project / "tones", words=("a", "b", "c", "d"), emotions=("happy", "sad"))
    for number, path in enumerate(sorted(tones.rglob("*.wav"))):
        target = project / "my voices" / path.stem.rpartition("_")[2] / f"{number}.wav"
        target.parent.mkdir(parents=True, exist_ok=True)
        path.replace(target)
    type_parameter(project, "01_preprocess", '["DEMO"]', '["OWN"]')
    type_parameter(project, "01_preprocess", '"data/demo"', '"my voices"')
    type_parameter(project, "01_preprocess", "N_JOBS: int = -1", "N_JOBS: int = 1")
    type_parameter(project, "03_train", "EPOCHS: int = 50", "EPOCHS: int = 1")
    notebook = in_one_kernel(project / "notebooks")
    papermill.execute_notebook(notebook, project / "out.ipynb", progress_bar=False, cwd=project, start_timeout=300)
    output = project / "artifacts" / "interactive"
    assert json.loads((output / "bundle.json").read_text())["corpora"] == ["OWN"]
    assert set(json.loads((output / "metrics.json").read_text())) >= {"test", "robustness"}
    assert (output / "predictions.csv").read_text().splitlines()[1].partition(".wav")[0].isdecimal()
