import hashlib
import json
import lzma
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace

import nbformat
import pandas as pd
import papermill
import psutil
import pytest
import yaml

from ser_lib._cli.app import main
from ser_lib.core.errors import ParameterError, RunError
from ser_lib.core.labels import EMOTIONS
from ser_lib.params import Params, make_params
from ser_lib.records import notebook as notebooks
from ser_lib.records import run as runs
from ser_lib.records.manifest import _hider

REPO = Path(__file__).resolve().parent.parent
SER = [sys.executable, "-c", "from ser_lib._cli.app import main; main()"]
SMALL = {"LSTM_UNITS": 8, "DENSE_UNITS": 8, "EPOCHS": 2}


def make_root(folder):
    """Project root in a folder with a space and a letter beyond ASCII in its name."""
    for name in ("notebooks", "params"):
        ignored = shutil.ignore_patterns(".ipynb_checkpoints")
        shutil.copytree(REPO / name, folder / name, ignore=ignored)
    return folder


def type_parameter(root, stage, before, after):
    """Change the cell of parameters of a notebook, as somebody would who opens it."""
    path = root / "notebooks" / f"{stage}.ipynb"
    notebook = nbformat.read(path, 4)
    (cell,) = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])]
    assert before in cell.source
    cell.source = cell.source.replace(before, after)
    nbformat.write(notebook, path)


def start_ser(root, *arguments):
    environment = os.environ | {"SER_ROOT": str(root)}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([*SER, *map(str, arguments)], env=environment, cwd=root.parent, **pipes)


def ser(root, *arguments):
    """What `ser` prints, and its exit status."""
    with start_ser(root, *arguments) as process:
        stdout, stderr = process.communicate()
    return SimpleNamespace(status=process.returncode, stdout=stdout, stderr=stderr)


def set_all(values):
    return [argument for name, value in values.items() for argument in ("-p", f"{name}={value}")]


def manifest_of(record):
    return json.loads((record / "manifest.json").read_text())


def wait_for(condition, process):
    # as long as it takes: a busy machine is no fault
    while not (found := condition()):
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    return found


def texts_of(record):
    """Name and text of each file of a record, unpacked."""
    files = {path.name: path.read_bytes() for path in record.iterdir() if path.suffix != ".onnx"}
    return {name: (lzma.decompress(it) if name.endswith(".xz") else it).decode() for name, it in files.items()}


def shows_a_path(text):
    """The first path of this machine in `text`, without the pictures: base64 may hold anything."""
    text = re.sub(r"[A-Za-z0-9+/=]{200,}", "", text)
    folders = {str(Path.home()), tempfile.gettempdir(), sys.prefix, sys.base_prefix, str(REPO)}
    return next((folder for folder in folders if len(folder) > 1 and folder in text), None)


# One whole run


@pytest.fixture(scope="module")
def full(demo_folder, tmp_path_factory):
    """The five notebooks on the small demo corpus, after somebody has typed other parameters into them."""
    root = make_root(tmp_path_factory.mktemp("full") / "the próject")
    shutil.copytree(demo_folder, root / "data" / "demo")
    type_parameter(root, "01_preprocess", 'CORPORA: list[str] = ["DEMO"]', 'CORPORA: list[str] = ["OWN"]')
    type_parameter(root, "01_preprocess", '"data/demo"', '"my voices"')
    type_parameter(root, "03_train", "EPOCHS: int = 50", "EPOCHS: int = 1")
    type_parameter(root, "03_train", "MODEL: str =", "SEED: int = 3\nMODEL: str =")
    (root / "params" / "small.yaml").write_text(yaml.safe_dump(SMALL | {"EPOCHS": 9}))
    done = ser(root, "run", "params/demo.yaml", "--with", "params/small.yaml", "-p", "EPOCHS=2", "--name", "full")
    assert done.status == 0, done.stderr
    record = root / "reports" / "full"
    notebooks = [nbformat.read(record / f"{stage}.ipynb", 4) for stage in runs.STAGES]
    return SimpleNamespace(root=root, done=done, record=record, output=root / "artifacts" / "full", notebooks=notebooks)


def test_run_says_what_it_did(full):
    metrics = json.loads((full.record / "metrics.json").read_text())
    lines = full.done.stdout.splitlines()
    assert lines[0] == "Run full: DEMO in data/demo"
    stages = [line.split() for line in lines[1:11]]
    assert [words[0] for words in stages] == [stage for stage in runs.STAGES for _ in ("begun", "done")]
    assert all(words[1:] == ["..."] for words in stages[::2]) and all(words[2] == "s" for words in stages[1::2])
    accuracies = [f"{metrics[name]['accuracy']:.3f}" for name in ("validation", "test")]
    assert re.findall(r"accuracy (\d\.\d{3})", lines[11]) == accuracies
    assert lines[12].startswith("On the validation set the network's UAR, ")  # after so few epochs
    assert lines[13:] == ["The executed notebooks are in reports/full.", "Pages: 1 of 1 written, reports/index.html"]
    assert full.done.stderr == ""


def test_record_holds_notebooks_parameters_and_results(full):
    expected = {f"{stage}.ipynb" for stage in runs.STAGES}
    expected |= {"params.yaml", "manifest.json", "metrics.json", "test_predictions.csv.xz", "predictions.csv"}
    expected |= {"skipped.csv.xz", "split.csv.xz", "leakage.json", "history.json.xz", "bundle.json", "model.onnx"}
    expected |= {"model_card.md", "LICENCE.txt"}
    expected |= {"index.html"} | {f"{stage}.html" for stage in runs.STAGES}
    assert set(os.listdir(full.record)) == expected


def test_every_code_cell_ran_in_order(full):
    for notebook in full.notebooks:
        counts = [cell.execution_count for cell in notebook.cells if cell.cell_type == "code"]
        assert counts == list(range(1, len(counts) + 1))
        nbformat.validate(notebook)


def outputs(notebooks):
    return [output for notebook in notebooks for cell in notebook.cells for output in cell.get("outputs", [])]


def test_no_cell_shows_an_error_or_a_warning(full):
    for output in outputs(full.notebooks):
        assert output.output_type != "error"
        assert output.get("name") != "stderr", output.text
        assert "Warning" not in json.dumps(output.get("text", "") or output.data.get("text/plain", ""))


def test_every_notebook_shows_pictures_and_none_has_audio(full):
    for notebook in full.notebooks:
        kinds = {kind for output in outputs([notebook]) for kind in output.get("data", {})}
        assert "image/png" in kinds
    for text in texts_of(full.record).values():
        assert not re.search(r'"audio/|<audio|data:audio', text)


def test_progress_is_shown_to_the_end(full):
    texts = [str(output.get("data", {}).get("text/plain", "")) for output in outputs(full.notebooks)]
    assert any("112 of 112" in text for text in texts)
    assert any("2 of 2" in text for text in texts)


def test_notebooks_say_that_the_corpus_is_synthetic(full):
    for notebook in (full.notebooks[i] for i in (0, 3, 4)):
        assert any("SYNTHETIC" in output.get("text", "") for output in outputs([notebook]))


def test_record_is_small_and_shows_no_path_of_this_machine(full):
    assert sum(path.stat().st_size for path in full.record.iterdir() if path.suffix != ".html") < 2_000_000
    for name, text in texts_of(full.record).items():
        assert not shows_a_path(text), name


def test_parameters_are_recorded_all(full):
    recorded = yaml.safe_load((full.record / "params.yaml").read_text())
    assert list(recorded) == list(Params.model_fields)
    asked = SMALL | {"CORPORA": ["DEMO"], "DATASET_PATH": "data/demo", "OUTPUT_DIR": "artifacts/full"}
    assert {name: recorded[name] for name in asked} == asked
    assert recorded["HOP_LENGTH"] == 512


def injected_values(notebook):
    """Values of the cell that a run adds after that of the parameters."""
    (cell,) = [cell for cell in notebook.cells if "injected-parameters" in cell.metadata.get("tags", [])]
    values = {}
    exec(cell.source, values)
    return {name: value for name, value in values.items() if not name.startswith("__")}


def test_notebooks_are_given_every_parameter_that_they_declare(full):
    recorded, given = yaml.safe_load((full.record / "params.yaml").read_text()), {}
    for stage, notebook in zip(runs.STAGES, full.notebooks, strict=True):
        values = injected_values(notebook)
        assert list(values) == notebooks.declared_parameters(full.root / "notebooks" / f"{stage}.ipynb")
        given |= values
    assert given == recorded


def test_what_was_typed_into_the_notebooks_does_not_count(full):
    assert len(json.loads((full.output / "history.json").read_text())["loss"]) == 2
    assert set(pd.read_csv(full.output / "clips.csv")["corpus"]) == {"DEMO"}
    assert yaml.safe_load((full.record / "params.yaml").read_text())["EPOCHS"] == 2
    (typed,) = [cell for cell in full.notebooks[2].cells if "parameters" in cell.metadata.get("tags", [])]
    (injected,) = [cell for cell in full.notebooks[2].cells if "injected-parameters" in cell.metadata.get("tags", [])]
    assert "EPOCHS: int = 1 " in typed.source
    assert injected.source.startswith("# What this run used, whatever the cell above says\n")
    assert {"EPOCHS = 2", "SEED = 0"} <= set(injected.source.splitlines())


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def test_manifest_says_what_ran(full):
    manifest = manifest_of(full.record)
    assert (manifest["run"], manifest["state"], manifest["seed"]) == ("full", "done", 0)
    assert list(manifest["stages"]) == list(runs.STAGES)
    assert all(stage["seconds"] > 0 for stage in manifest["stages"].values())
    times = [manifest["started"]]
    times += [time for stage in manifest["stages"].values() for time in (stage["started"], stage["ended"])]
    assert [*times, manifest["ended"]] == sorted([*times, manifest["ended"]])


def test_manifest_says_with_what_it_ran(full):
    environment = manifest_of(full.record)["environment"]
    assert environment["python"] == platform.python_version()
    assert environment["cores"] == os.cpu_count()
    assert environment["cpu"]
    assert environment["packages"]["tensorflow"] == version("tensorflow")
    assert {"pytest", "numpy", "ser_lib"} <= set(environment["packages"])
    assert environment["ser_lib"] == version("ser_lib")
    assert (environment["commit"], environment["dirty"]) == (None, None)  # the test's project is no clone
    assert re.fullmatch("[0-9a-f]{64}", environment["library"])
    assert all(re.fullmatch("[0-9a-f]{64}", stage["notebook"]) for stage in manifest_of(full.record)["stages"].values())


def test_manifest_has_the_hash_of_every_file(full):
    stages = manifest_of(full.record)["stages"]
    hashes = {name: digest for stage in stages.values() for name, digest in stage["artifacts"].items()}
    kept = {"params.yaml", "figures", "kernels.log", ".lock", "notebook_params.json"}
    assert set(hashes) == set(os.listdir(full.output)) - kept
    for name in hashes:
        assert hashes[name] == sha256((full.output / name).read_bytes()), name


def test_manifest_has_the_corpus_by_content(full):
    lines = sorted(
        f"DEMO/{path.parent.name.partition('_')[0]}_{path.stem.partition('_')[2]} {sha256(path.read_bytes())}\n"
        for path in (full.root / "data" / "demo").glob("*/*.wav")
    )
    assert len(lines) == 112
    assert manifest_of(full.record)["corpus"] == {"clips": 112, "sha256": sha256("".join(lines).encode())}


def test_model_card_has_the_figures(full):
    card = (full.record / "model_card.md").read_text()
    test = json.loads((full.record / "metrics.json").read_text())["test"]
    assert f"| test | {test['n_clips']} | {test['accuracy']:.3f} | {test['uar']:.3f} | {test['loss']:.3f} |" in card
    assert "SYNTHETIC" in card and "112 clips were processed" in card and "(random 70/15/15," in card
    assert "What it must not be used for" in card
    assert "{" not in card


def headline(predicted):
    return f"unsure, perhaps {predicted['emotion']}" if predicted["unsure"] else predicted["emotion"]


def test_record_alone_predicts_elsewhere(full, tmp_path):
    copy = shutil.copytree(full.record, tmp_path / "another root" / "reports" / "copied")
    predicted = pd.read_csv(full.output / "predictions.csv").iloc[0]
    file = next((full.root / "data" / "demo").glob(f"*/{predicted['file']}"))
    done = ser(copy.parent.parent, "predict", file, "--run", "copied")
    assert done.stdout.startswith(f"{predicted['file']}: {headline(predicted)} ({predicted['confidence']:.1%})\n")


def test_kept_results_are_those_of_the_artifacts(full):
    for name in ("metrics.json", "predictions.csv", "bundle.json", "model.onnx"):
        assert (full.record / name).read_bytes() == (full.output / name).read_bytes()
    for name in ("split.csv", "test_predictions.csv"):
        assert lzma.decompress((full.record / f"{name}.xz").read_bytes()) == (full.output / name).read_bytes()


def test_artifacts_are_all_there(full):
    expected = {
        "processed_data.npz", "clips.csv", "skipped.csv", "split.csv", "leakage.json", "x_test.npy", "y_test.npy",
        "best_model.keras", "model.json", "model.onnx", "model.weights.h5", "history.json", "bundle.json",
        "LICENCE.txt", "metrics.json", "test_predictions.csv", "predictions.csv", "figures", "params.yaml",
        "kernels.log", "notebook_params.json",
    }  # fmt: skip
    assert {name for name in os.listdir(full.output) if not name.startswith(".")} == expected
    assert not list(full.output.glob(".partial*"))
    figures = list((full.output / "figures").iterdir())
    assert figures and all(path.read_bytes().startswith(b"\x89PNG") for path in figures)


def test_predicted_example_is_the_first_test_clip(full):
    tested = pd.read_csv(full.output / "test_predictions.csv").iloc[0]
    predicted = pd.read_csv(full.output / "predictions.csv").iloc[0]
    assert predicted["file"] == tested["clip"].removeprefix("DEMO/") + ".wav"
    stored = [tested[f"p_{emotion}"] for emotion in EMOTIONS]
    assert predicted.filter(like="p_").tolist() == pytest.approx(stored, abs=1e-6)  # stored with six digits


def test_predict_command_gives_the_same_answer_and_names_bad_files(full):
    predicted = pd.read_csv(full.output / "predictions.csv").iloc[0]
    file = next((full.root / "data" / "demo").glob(f"*/{predicted['file']}"))
    (full.root / "empty.wav").touch()
    done = ser(full.root, "predict", file, "--run", "full")
    assert done.status == 0
    assert done.stdout.startswith(f"{predicted['file']}: {headline(predicted)} ({predicted['confidence']:.1%})\n")
    done = ser(full.root, "predict", file, full.root / "empty.wav", "--run", "full")
    assert done.status == 1
    row = done.stdout.splitlines()[1]
    assert row.startswith(str(file)) and f"{headline(predicted)}  " in row and f"{predicted['confidence']:.1%}" in row
    warning, error = done.stderr.splitlines()
    assert warning.startswith("warning: this model has learnt from synthetic voices alone")
    assert error == f"error: {full.root / 'empty.wav'} cannot be used: the file is empty."


def test_name_that_is_taken_is_refused(full):
    before = manifest_of(full.record)
    done = ser(full.root, "run", "--name", "full")
    assert (done.status, done.stdout) == (1, "")
    assert done.stderr.startswith("error: Every run needs a name of its own; ")
    assert len(done.stderr.splitlines()) == 1
    assert manifest_of(full.record) == before


def test_resuming_a_run_that_is_done_repeats_nothing(full):
    before = {path.name: path.read_bytes() for path in full.record.glob("*.ipynb")}
    done = ser(full.root, "run", "--resume", "full")
    assert done.status == 0, done.stderr
    assert not re.search("|".join(runs.STAGES), done.stdout)
    assert {path.name: path.read_bytes() for path in full.record.glob("*.ipynb")} == before


# A run that stops twice and goes on


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    """A run whose corpus, in a folder outside the project, has no clips yet."""
    root = make_root(tmp_path_factory.mktemp("stopped") / "the próject")
    corpus = root.parent / "jürgen's corpora" / "TESS"
    corpus.mkdir(parents=True)
    changes = SMALL | {"DATASET_PATH": corpus, "N_JOBS": 1, "DENOISE": "false", "BATCH_SIZE": 4}
    changes |= {"TEST_FRACTION": 0.25, "VALIDATION_FRACTION": 0.25, "BASELINES": "false", "ROBUSTNESS": "false"}
    done = ser(root, "run", "params/tess.yaml", "--name", "broken", *set_all(changes))
    record = root / "reports" / "broken"
    shutil.copytree(record, root.parent / "record")  # as it is now
    return SimpleNamespace(
        root=root, corpus=corpus, done=done, live=record, record=root.parent / "record",
        output=root / "artifacts" / "broken",
    )  # fmt: skip


def test_corpus_without_clips_is_one_line(stopped):
    assert stopped.done.status == 1
    assert len(stopped.done.stderr.splitlines()) == 1
    assert stopped.done.stderr.startswith("error: 01_preprocess stopped: `DATASET_PATH` must hold clips of TESS;")
    assert "https://doi.org/10.5683/SP2/E8H2MF" in stopped.done.stderr
    assert "See reports/broken/01_preprocess.ipynb." in stopped.done.stderr


def test_failed_notebook_is_kept_with_its_error(stopped):
    assert set(os.listdir(stopped.record)) == {
        "params.yaml", "manifest.json", "01_preprocess.ipynb", "01_preprocess.html", "index.html",
    }  # fmt: skip
    notebook = nbformat.read(stopped.record / "01_preprocess.ipynb", 4)
    (error,) = [output for output in outputs([notebook]) if output.output_type == "error"]
    assert error.ename == "DatasetError"
    assert len(error.traceback) == 1  # one line, no traceback
    assert manifest_of(stopped.record)["state"] == "failed in 01_preprocess"
    assert manifest_of(stopped.record)["stages"] == {}


def test_folder_outside_the_project_is_not_shown(stopped):
    assert yaml.safe_load((stopped.record / "params.yaml").read_text())["DATASET_PATH"] == "TESS"
    for name, text in texts_of(stopped.record).items():
        assert not shows_a_path(text), name
        assert "jürgen" not in text and r"j\u00fcrgen" not in text, name


@pytest.fixture(scope="module")
def killed(stopped, make_corpus):
    """The same run, taken up with the corpus in its place; the kernel is killed while it trains."""
    make_corpus(stopped.corpus, words=("back", "bar", "base", "bath"), emotions=EMOTIONS)
    with start_ser(stopped.root, "run", "--resume", "broken") as process:
        wait_for(lambda: list(stopped.output.glob(".partial-*best_model.keras")), process)
        (kernel,) = [
            child for child in psutil.Process(process.pid).children(recursive=True)
            if any("ipykernel" in word for word in child.cmdline())
        ]  # fmt: skip
        kernel.kill()
        stdout, stderr = process.communicate(timeout=1200)
    shutil.copytree(stopped.live, stopped.root.parent / "record2")
    left = set(os.listdir(stopped.output))
    return SimpleNamespace(
        status=process.returncode, stdout=stdout, stderr=stderr, record=stopped.root.parent / "record2", left=left
    )


def test_killed_kernel_is_one_line(killed):
    assert killed.status == 1
    assert killed.stderr.splitlines() == [
        "error: 03_train stopped: its Python process died (killed, or out of memory). See artifacts/broken/kernels.log."
    ]
    assert manifest_of(killed.record)["state"] == "failed in 03_train"
    assert list(manifest_of(killed.record)["stages"]) == ["01_preprocess", "02_split"]


def test_killed_kernel_leaves_nothing_that_looks_whole(killed):
    assert not killed.left & {
        "best_model.keras",
        "model.onnx",
        "bundle.json",
        "model.json",
        "model.weights.h5",
        "history.json",
    }


@pytest.fixture(scope="module")
def resumed(stopped, killed):
    """The same run, taken up once more."""
    return ser(stopped.root, "run", "--resume", "broken")


def test_resumed_run_finishes_without_repeating_what_was_done(stopped, killed, resumed):
    assert resumed.status == 0, resumed.stderr
    named = re.findall(r"^  (\S+) +[\d.]+ s$", resumed.stdout, flags=re.MULTILINE)
    assert named == ["03_train", "04_evaluate", "05_predict"]
    before, after = manifest_of(killed.record), manifest_of(stopped.live)
    assert (after["state"], list(after["stages"])) == ("done", list(runs.STAGES))
    assert after["started"] == before["started"] == manifest_of(stopped.record)["started"]
    for stage in ("01_preprocess", "02_split"):
        assert after["stages"][stage] == before["stages"][stage]
        assert (stopped.live / f"{stage}.ipynb").read_bytes() == (killed.record / f"{stage}.ipynb").read_bytes()


def test_resumed_run_uses_its_own_parameters(stopped, resumed):
    assert len(json.loads((stopped.output / "history.json").read_text())["loss"]) == 2
    settings = json.loads((stopped.output / "bundle.json").read_text())["settings"]
    assert settings["denoise"] is False


def test_record_of_a_resumed_run_shows_no_path_either(stopped, resumed):
    assert {f"{stage}.ipynb" for stage in runs.STAGES} <= set(os.listdir(stopped.live))
    for name, text in texts_of(stopped.live).items():
        assert not shows_a_path(text), name
        assert "jürgen" not in text and r"j\u00fcrgen" not in text, name


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interrupted_run_says_so(full, number, status):
    name = f"interrupted-{status}"
    with start_ser(full.root, "run", "--name", name, *set_all(SMALL)) as process:
        manifest = full.root / "reports" / name / "manifest.json"
        wait_for(lambda: manifest.exists() and psutil.Process(process.pid).children(), process)
        children = psutil.Process(process.pid).children(recursive=True)
        time.sleep(1)
        process.send_signal(number)
        _, stderr = process.communicate(timeout=1200)
    assert process.returncode == status
    assert stderr == f"Interrupted. To go on: ser run --resume {name}\n"
    assert json.loads(manifest.read_text())["state"] == "interrupted in 01_preprocess"
    assert psutil.wait_procs(children, timeout=1200)[1] == []


@pytest.mark.parametrize(
    ("number", "passed_on", "status"),
    [("SIGINT", True, 130), ("SIGTERM", True, 143), ("SIGINT", False, 0), ("SIGTERM", False, 143)],
)
def test_exit_status_of_every_command_tells_the_signal(number, passed_on, status):
    # some commands end by themselves after Ctrl-C, with what they have
    code = f"""
import signal
from ser_lib._cli import app as cli
@cli.app.command()
def wait():
    try:
        signal.raise_signal(signal.{number})
    except KeyboardInterrupt:
        if {passed_on}:
            raise
cli.main()
"""
    done = subprocess.run([sys.executable, "-c", code, "wait"], capture_output=True, text=True, timeout=1200)
    assert done.returncode == status, done.stderr


def test_interrupt_that_a_library_swallows_comes_again():
    code = """
import signal, time
from ser_lib._cli import app as cli
cli.INTERRUPT_AGAIN = 0.2
signal.signal(signal.SIGINT, cli.interrupt)
try:
    signal.raise_signal(signal.SIGINT)
except KeyboardInterrupt:
    pass
try:
    time.sleep(30)
except KeyboardInterrupt:
    print("again")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=1200)
    assert done.stdout == "again\n"


# What is refused before anything is made


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-p", "EPOCH=3"], "`EPOCH` is not a parameter. Did you mean `EPOCHS`?"),
        (["-p", "EPOCHS=many"], "`EPOCHS` must be a valid integer. Got 'many'."),
        (["-p", "MODEL_H5_FILE=model.h5"], "`MODEL_H5_FILE` must end in .weights.h5. Got model.h5."),
        (["no/such.yaml"], "no/such.yaml"),
        (["--name", "../elsewhere"], "A run's name must be"),
        (["--resume", "nothing"], "A run to resume must have been started here"),
        (["-p", "CORPORA=[TESS]", "-p", "DATASET_PATH=data/TES"], "`DATASET_PATH` must be the folder of TESS; "),
        (["params/tess.yaml", "-p", "DATASET_PATH=data", "--seeds", "0,1"], "`DATASET_PATH` must be the folder of TES"),
        (["-p", "CORPORA=[TESS, EMODB]", "-p", "DATASET_PATH=."], "`DATASET_PATH` must be the folder of TESS; "),
    ],
)
def test_mistakes_are_one_line_and_make_nothing(project, monkeypatch, capsys, arguments, message):
    monkeypatch.setattr(sys, "argv", ["ser", "run", *arguments])
    with pytest.raises(SystemExit) as stop:
        main()
    stdout, stderr = capsys.readouterr()
    assert (stop.value.code, stdout) == (1, "")
    assert stderr.startswith("error: ") and message in stderr
    assert len(stderr.splitlines()) == 1
    assert sorted(os.listdir(project)) == ["notebooks", "params"]


@pytest.mark.parametrize("file", ["none.csv", "."])
def test_split_file_that_is_none_is_refused_before_anything_is_made(project, file):
    with pytest.raises(ParameterError, match=r"`SPLIT_FILE` must be a CSV file of clip and set\. There is none at "):
        runs.start_run({"SPLIT_FILE": file}, name="x")
    assert not (project / "reports" / "x").exists()


def test_unknown_corpus_is_refused_before_anything_is_made(project):
    with pytest.raises(
        ParameterError,
        match=r"`CORPORA` must name some of DEMO, TESS, RAVDESS, CREMA-D, SAVEE, EMODB, ASED, TUREV, OWN\. Got 'TES'",
    ):
        runs.start_run({"CORPORA": ["TES"]}, name="x")
    assert not (project / "reports").exists()


def test_new_run_has_folders_of_its_own(project):
    run = runs.start_run({"EPOCHS": 3}, name="mine")
    assert run.params == make_params({"EPOCHS": 3, "OUTPUT_DIR": "artifacts/mine"})
    assert runs.resume_run("mine") == run
    with pytest.raises(RunError, match="/mine is there already"):
        runs.start_run({}, name="mine")


def test_run_is_executed_by_one_process_at_a_time(project):
    run = runs.start_run({}, name="mine")
    with runs.hold(run), pytest.raises(RunError, match="Only one process at a time may execute the run mine"):
        runs.execute_run(run)


def test_each_notebook_declares_only_known_parameters_and_each_is_declared(project):
    declared = {
        name
        for stage in runs.STAGES
        for name in notebooks.declared_parameters(project / "notebooks" / f"{stage}.ipynb")
    }
    assert declared == set(Params.model_fields)


@pytest.mark.parametrize("name", ["pläne", "with space", "plain"])
def test_paths_are_hidden_however_they_are_written(tmp_path, monkeypatch, name):
    root = tmp_path / name
    monkeypatch.setenv("SER_ROOT", str(root))
    corpus = tmp_path / "andré" / "TESS"
    params = make_params({"DATASET_PATH": str(corpus)})
    places = [root / "ser_lib" / "x.py", root, corpus / "a.wav", Path.home() / "x", Path(sys.prefix) / "bin"]
    for text in map(str, places):
        for escaped in (text, json.dumps(text), json.dumps(text, ensure_ascii=False)):
            hidden = _hider(params)(f"see {escaped}: bad")
            assert not shows_a_path(hidden)
            assert "andr" not in hidden
            assert hidden.startswith("see ") and hidden.endswith(": bad")
    assert _hider(params)(f"{root}/reports/x") == "./reports/x"


@pytest.mark.parametrize("path", ["/usr/share/sounds/x.wav", "/dev/shm/x.wav", "/usr/lib/some where/x.wav"])
def test_other_folders_of_the_machine_are_hidden(tmp_path, monkeypatch, path):
    monkeypatch.setenv("SER_ROOT", str(tmp_path))
    for text in (path, f'"{path}"', f"file://{path}", f"root@vm:{path}"):
        hidden = _hider(make_params({}))(f"see {text}: bad")
        assert "/usr" not in hidden and "/dev" not in hidden
        assert "x.wav" in hidden


def test_other_text_is_left_alone(tmp_path, monkeypatch):
    monkeypatch.setenv("SER_ROOT", str(tmp_path))
    text = "accuracy 0.5, 3/4 of them; https://example.org/home"
    assert _hider(make_params({}))(text) == text


# By hand


def test_notebook_opened_too_early_says_which_to_run_first(project):
    notebook = project / "notebooks" / "03_train.ipynb"
    command = [sys.executable, "-m", "papermill", "--no-progress-bar", str(notebook), str(project / "out.ipynb")]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, timeout=1200)
    assert done.returncode != 0
    (error,) = [
        output for output in outputs([nbformat.read(project / "out.ipynb", 4)]) if output.output_type == "error"
    ]
    assert error.ename == "StageError"
    expected = "artifacts/interactive/processed_data.npz is not there yet. Run 01_preprocess first"
    assert error.evalue.startswith(expected)


def test_notebooks_share_the_output_folder_by_default(project):
    for stage in runs.STAGES:
        declared = papermill.inspect_notebook(str(project / "notebooks" / f"{stage}.ipynb"))
        assert declared["OUTPUT_DIR"]["default"] == '"artifacts/interactive"'
