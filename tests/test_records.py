import fcntl
import json
import os
import shutil
import sys

import pandas as pd
import pytest
import yaml

from ser_lib._cli import app as cli
from ser_lib.core.errors import RunError
from ser_lib.core.labels import EMOTIONS
from ser_lib.params import make_params
from ser_lib.records import record as records
from ser_lib.records.study import write_study

STAGES = ("01_preprocess", "02_split", "03_train", "04_evaluate", "05_predict")


def metrics_of(predicted, true):
    """Metrics by hand: one set of clips, `predicted` and `true` as emotions."""
    pairs = list(zip(predicted, true, strict=True))
    recalls = {
        emotion: sum(p == t == emotion for p, t in pairs) / true.count(emotion)
        for emotion in EMOTIONS if emotion in true
    }  # fmt: skip
    matrix = [[sum((t, p) == (row, column) for p, t in pairs) for column in EMOTIONS] for row in EMOTIONS]
    return {
        "n_clips": len(true),
        "accuracy": sum(p == t for p, t in pairs) / len(true),
        "uar": sum(recalls.values()) / len(recalls),
        "loss": 0.5,
        "per_class": recalls,
        "confusion_matrix": matrix,
    }


def write_record(root, name, *, predicted=None, started="2026-05-01T10:00:00+00:00", state="done", **values):
    """A record as a run leaves it, with test clips of two emotions."""
    folder = root / "reports" / name
    folder.mkdir(parents=True)
    params = make_params({"OUTPUT_DIR": f"artifacts/{name}", "CORPORA": ["TESS"], "DATASET_PATH": "data/TESS"} | values)
    (folder / "params.yaml").write_text(yaml.safe_dump(params.model_dump()))
    true = ["sad"] * 4 + ["angry"] * 4
    predicted = predicted or true
    results = metrics_of(predicted, true)
    (folder / "metrics.json").write_text(json.dumps({"test": results, "validation": results}))
    history = {"loss": [1.0, 0.5], "accuracy": [0.5, 0.8], "val_loss": [1.1, 0.6], "val_accuracy": [0.4, 0.7]}
    (folder / "history.json").write_text(json.dumps(history))
    clips = [f"TESS/OAF_{word}_{emotion}" for word, emotion in zip("abcdabcd", true, strict=True)]
    table = pd.DataFrame({"clip": clips, "true": true, "predicted": predicted})
    table.to_csv(folder / "test_predictions.csv", index=False)
    manifest = {
        "run": name, "state": state, "started": started, "seed": params.SEED, "corpus": {"clips": 40, "sha256": "c0"},
        "stages": {
            "01_preprocess": {"seconds": 2.5, "artifacts": {"processed_data.npz": "f0"}},
            "02_split": {"seconds": 0.5, "artifacts": {"split.csv": "s0"}},
            "03_train": {"seconds": 7, "artifacts": {"best_model.keras": "b0", "model.weights.h5": "w0"}},
        },
        "environment": {"python": "3.11.7", "cpu": "A", "packages": {"numpy": "2.0"}},
    }  # fmt: skip
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def write_full_record(root, name, *, low=0.5, high=1.0, share=0.0, **values):
    """A record of today with everything that is measured: UAR 0.75, its baselines 0.5 (majority) and 0.625 (svm)."""
    folder = write_record(root, name, predicted=["sad"] * 6 + ["angry"] * 2, **values)
    intervals = {metric: [low, high] for metric in ("accuracy", "uar", "macro_f1")}
    stored = json.loads((folder / "metrics.json").read_text())
    for of_set in ("test", "validation"):
        stored[of_set] |= {"macro_f1": 11 / 15, "ece": 0.125, "ece_uncalibrated": 0.25, "intervals": intervals}
    for baseline, right in (("majority", 4), ("svm", 5)):
        predicted = ["sad"] * (12 - right) + ["angry"] * (right - 4)
        of_baseline = metrics_of(predicted[:8], ["sad"] * 4 + ["angry"] * 4)
        del of_baseline["loss"]
        of_baseline |= {"macro_f1": 0.375, "intervals": intervals, "lead": [-0.125, 0.375]}
        stored.setdefault("baselines", {})[baseline] = of_baseline
    stored |= {"temperature": 1.5, "robustness": {"noise 0 dB": {"accuracy": 0.25, "uar": 0.375, "unusable": 1}}}
    (folder / "metrics.json").write_text(json.dumps(stored))
    shared = {"clips": int(8 * share), "share": share}
    found = {"clips": 8, "speaker": shared, "text": {"clips": 8, "share": 1.0}, "audio": {"clips": 0, "share": 0.0}}
    (folder / "leakage.json").write_text(json.dumps({"test": found, "validation": found}))
    return folder


def test_record_is_read(root):
    write_record(root, "one", SEED=3, EPOCHS=5)
    record = records.find_record("one")
    assert (record.name, record.state, record.split) == ("one", "done", "random 70/15/15")
    assert record.changed == {"SEED": 3, "EPOCHS": 5}
    of_data = {"CORPORA": ["TESS"], "DATASET_PATH": "data/TESS"}
    assert record.changed_or_data == of_data | {"SEED": 3, "EPOCHS": 5}
    assert (record.metric_value("accuracy"), record.metric_value("loss", "validation")) == (1.0, 0.5)
    assert len(record.predictions) == 8
    assert record.manifest.seconds == 10


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({}, "random 70/15/15"),
        ({"TEST_FRACTION": 0.2, "VALIDATION_FRACTION": 0.1}, "random 70/10/20"),
        ({"SPLIT": "text"}, "text-disjoint 70/15/15"),
        ({"SPLIT": "speaker", "TEST_SPEAKERS": ["YAF"]}, "test speaker YAF"),
        ({"SPLIT": "speaker", "TEST_SPEAKERS": ["OAF", "YAF"]}, "test speakers OAF, YAF"),
        ({"SPLIT": "speaker_text", "TEST_SPEAKERS": ["YAF"]}, "test speaker YAF, text-disjoint"),
        ({"SPLIT": "folds", "N_FOLDS": 10, "FOLD": 2}, "fold 2 of 10"),
        ({"SPLIT": "folds", "FOLD": 2}, "fold 2, one speaker each"),
        ({"SPLIT_FILE": "some/folder/my_split.csv"}, "from my_split.csv"),
    ],
)
def test_every_split_has_words(root, values, words):
    write_record(root, "one", **values)
    assert records.find_record("one").split == words


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({}, "BiLSTM on MFCC"),
        ({"FEATURES": "logmel"}, "BiLSTM on log-mel"),
        ({"FEATURES": "logmel", "MODEL": "cnn", "POOLING": "mean_max"}, "CNN on log-mel"),
    ],
)
def test_every_model_has_words(root, values, words):
    write_record(root, "one", **values)
    assert records.find_record("one").model == words


def test_older_record_has_the_split_and_the_model_of_its_time(root):
    folder = write_record(root, "one")
    values = yaml.safe_load((folder / "params.yaml").read_text())
    for name in ("SPLIT", "TEST_SPEAKERS", "N_FOLDS", "FOLD", "SPLIT_FILE", "MODEL", "FEATURES"):
        del values[name]
    (folder / "params.yaml").write_text(yaml.safe_dump(values))
    record = records.find_record("one")
    assert (record.split, record.model) == ("random 70/15/15", "BiLSTM on MFCC")
    assert (record.baselines, record.robustness, record.leakage) == ({}, {}, {})


def test_figures_of_all_models_have_the_networks_first(root):
    record = records.find_record(str(write_full_record(root, "one")))
    assert list(record.models) == ["BiLSTM on MFCC", "majority", "svm"]
    assert [figures["uar"] for figures in record.models.values()] == [0.75, 0.5, 0.625]


@pytest.mark.parametrize("content", ["[]", "{", '{"test": {"clips": -1}}', '{"other": {}}', '{"test": null}'])
def test_damaged_leakage_is_one_clear_error(root, content):
    folder = write_record(root, "one")
    (folder / "leakage.json").write_text(content)
    with pytest.raises(RunError, match=r"leakage\.json is damaged"):
        _ = records.find_record("one").leakage


def test_record_is_read_in_any_folder(root, tmp_path_factory):
    folder = write_record(root, "one")
    elsewhere = shutil.copytree(folder, tmp_path_factory.mktemp("else where") / "copy")
    record = records.find_record(str(elsewhere))
    assert (record.name, record.metric_value("uar")) == ("copy", 1.0)


def test_uar_of_an_older_record_is_the_mean_recall(root):
    folder = write_record(root, "one", predicted=["sad"] * 6 + ["angry"] * 2)
    metrics = json.loads((folder / "metrics.json").read_text())
    del metrics["test"]["uar"]
    (folder / "metrics.json").write_text(json.dumps(metrics))
    assert records.find_record("one").metric_value("uar") == pytest.approx((1 + 0.5) / 2)


SETS_OF_30 = ["train"] * 20 + ["validation"] * 5 + ["test"] * 5


@pytest.mark.parametrize(
    ("sets", "words"),
    [
        (SETS_OF_30, "20 clips for training, 5 for validation, 5 for the test; unused: 0"),
        (SETS_OF_30 + ["unused"] * 2,
         "20 clips for training, 5 for validation, 5 for the test; "
         "unused: 2 (second copies of a recording, or left out by the split)"),
    ],
)  # fmt: skip
def test_sets_of_a_split_are_counted(root, sets, words):
    folder = write_record(root, "one")
    assert records.find_record("one").sizes == ""
    pd.DataFrame({"clip": range(len(sets)), "set": sets}).to_csv(folder / "split.csv", index=False)
    assert records.find_record("one").sizes == words


def test_unknown_run_is_refused(root):
    with pytest.raises(RunError, match=r"There is no record of a run 'nothing'"):
        records.find_record("nothing")
    write_study("many", "two of them", {"row": ["one", "two"]})
    with pytest.raises(RunError, match=r"many is a study, which gathers runs; name one of its runs"):
        records.find_record("many")


def test_records_are_listed_newest_first_whatever_their_state(root):
    write_record(root, "old", started="2026-01-01T00:00:00+00:00")
    write_record(root, "new", started="2026-03-01T00:00:00+00:00", state="failed in 03_train")
    (write_record(root, "torn") / "manifest.json").write_text("{")
    (write_record(root, "begun") / "manifest.json").unlink()
    listed = records.list_records()
    assert [record.name for record in listed] == ["new", "old", "torn", "begun"]
    assert [record.state for record in listed] == ["failed in 03_train", "done", "damaged", "interrupted"]


@pytest.mark.parametrize("state", ["running 03_train", "finished 03_train"])
def test_run_that_no_process_holds_was_interrupted(root, state):
    write_record(root, "one", state=state)
    record = records.find_record("one")
    assert record.state == "interrupted in 03_train"
    record.output_dir.mkdir(parents=True)
    with (record.output_dir / ".lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        assert record.state == state
    assert record.state == "interrupted in 03_train"


def call(monkeypatch, capsys, *arguments):
    monkeypatch.setattr(sys, "argv", ["ser", *arguments])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    stdout, stderr = capsys.readouterr()
    return stop.value.code, stdout, stderr


def test_runs_command_lists_in_columns(root, monkeypatch, capsys):
    write_record(root, "a-long-name", started="2026-02-01T10:11:12+00:00")
    write_record(root, "b", state="failed in 03_train")
    status, stdout, _ = call(monkeypatch, capsys, "runs")
    assert status == 0
    assert stdout == (
        "run          state               started (UTC)     test accuracy  test UAR\n"
        "b            failed in 03_train  2026-05-01 10:00  1.000          1.000\n"
        "a-long-name  done                2026-02-01 10:11  1.000          1.000\n"
    )


def test_removing_asks_and_removes_record_and_artifacts(root, monkeypatch, capsys):
    write_record(root, "one")
    write_record(root, "two")
    (root / "artifacts" / "one").mkdir(parents=True)
    monkeypatch.setattr("typer.confirm", lambda question: question != "Remove reports/one and artifacts/one?")
    assert call(monkeypatch, capsys, "runs", "rm", "one")[0] == 1
    assert (root / "reports" / "one").is_dir() and (root / "artifacts" / "one").is_dir()
    status, stdout, _ = call(monkeypatch, capsys, "runs", "rm", "one", "--yes")
    assert (status, stdout) == (0, "Removed reports/one and artifacts/one.\n")
    assert sorted(os.listdir(root / "reports")) == [".pages.json", "index.html", "two"]
    assert os.listdir(root / "artifacts") == []


@pytest.mark.parametrize("name", ["nothing", "..", "../reports", "/tmp", ""])
def test_only_runs_are_removed(root, name):
    write_record(root, "one")
    with pytest.raises(RunError, match="There is no run"):
        records.remove_run(name)
    assert (root / "reports" / "one").is_dir()


def test_output_dir_elsewhere_is_looked_after(root, tmp_path_factory, monkeypatch, capsys):
    write_record(root, "one", state="running 03_train", OUTPUT_DIR="out")  # as the record shows a folder elsewhere
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (root / "artifacts" / "one").mkdir(parents=True)
    (root / "artifacts" / "one" / "params.yaml").write_text(yaml.safe_dump({"OUTPUT_DIR": str(elsewhere)}))
    with (elsewhere / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert records.find_record("one").state == "running 03_train"
        with pytest.raises(RunError, match="being executed"):
            records.remove_run("one")
    assert records.find_record("one").state == "interrupted in 03_train"
    _, shown, _ = call(monkeypatch, capsys, "runs", "rm", "one", "--yes")
    assert shown.endswith(f" {elsewhere.name} stays.\n")
    assert elsewhere.is_dir()


def test_link_to_a_record_is_removed_and_the_record_stays(root):
    write_record(root, "one")
    (root / "reports" / "link").symlink_to("one")
    records.remove_run("link")
    assert [path.name for path in (root / "reports").iterdir()] == ["one"]


@pytest.mark.parametrize("name", ["-dash", "a b", "b<b>"])
def test_folder_with_a_name_that_no_run_can_have_is_no_record(root, name):
    write_record(root, "one")
    write_record(root, name)
    assert [record.name for record in records.list_records()] == ["one"]


@pytest.mark.parametrize("content", ["", "a,b\n1,2\n", b"\xff\xfe"])
def test_damaged_predictions_are_one_clear_error(root, content):
    folder = write_record(root, "one")
    (folder / "test_predictions.csv").write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(RunError, match=r"test_predictions\.csv is damaged"):
        _ = records.find_record("one").predictions


def test_run_that_is_executed_is_not_removed(root):
    folder = write_record(root, "one")
    (root / "artifacts" / "one").mkdir(parents=True)
    with (root / "artifacts" / "one" / ".lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        with pytest.raises(RunError, match="one is being executed"):
            records.remove_run("one")
    assert folder.is_dir()


DEEP = "[" * 100_000
BOMB = "a: &a [x, x]\n" + "".join(f"b{number}: &b{number} [*a, *a]\n" for number in range(5))


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("manifest.json", DEEP, "is damaged (no JSON)"),
        ("manifest.json", '{"state": "done", "state": "done"', "is damaged (no JSON)"),
        ("manifest.json", '{"run": "one", "run": "one", "state": "done", "started": ""}', "(run is there twice)"),
        ("manifest.json", '{"run": "one", "state": "do\\nne", "started": ""}', "is damaged (state)"),
        ("manifest.json", '{"run": "one", "state": "done", "started": "", "seed": ' + 5000 * "9" + "}", "is damaged ("),
        ("manifest.json", " " * 11_000_000, "is damaged (it must have at most 10,000,000 bytes)"),
        ("manifest.json", "\0", "is damaged (no JSON)"),
        ("manifest.json", b"\xff\xfe{", "is damaged (no JSON)"),
        ("params.yaml", f"EPOCHS: {DEEP}", "has none that can be read"),
        ("params.yaml", BOMB, "has none that can be read"),
        ("params.yaml", "EPOCHS: 9" + 5000 * "9", "has none that can be read"),
        ("params.yaml", "EPOCHS: 010", "has none that can be read"),
        ("params.yaml", "\0", "has none that can be read"),
        ("metrics.json", DEEP, "metrics.json is damaged"),
        ("metrics.json", '{"temperature": 1.0, "temperature": 2.0}', "metrics.json is damaged"),
        ("metrics.json", " " * 11_000_000, "metrics.json is damaged"),
        ("metrics.json", None, "metrics.json is damaged"),
    ],
    ids=lambda value: str(value)[:30].replace("\0", "NUL"),
)  # fmt: skip
def test_hostile_record_is_one_line(root, monkeypatch, capsys, name, content, said):
    folder = write_record(root, "one")
    write_record(root, "two")
    (folder / name).unlink()
    if content is None:
        (folder / name).mkdir()
    else:
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    status, _, stderr = call(monkeypatch, capsys, "compare", "one", "two")
    assert status == 1 and said in stderr
    assert stderr.startswith("error: ") and stderr.count("\n") == 1 and len(stderr) < 300


@pytest.mark.parametrize("name", ["manifest.json", "metrics.json", "history.json", "params.yaml", "study.json"])
def test_pipe_in_a_record_is_not_waited_for(root, monkeypatch, capsys, name):
    folder = write_record(root, "one")
    if name == "study.json":
        write_study("many", "two of them", {"row": ["one", "two"]})
        folder = root / "reports" / "many"
    (folder / name).unlink()
    os.mkfifo(folder / name)
    assert call(monkeypatch, capsys, "report")[0] == 0
    assert call(monkeypatch, capsys, "runs")[0] == 0


@pytest.mark.parametrize(
    "words",
    [
        ("data", "check", "{path}"),
        ("data", "get", "demo", "--to", "{path}/demo"),
        ("compare", "{path}", "one"),
        ("run", "{path}"),
        ("run", "--with", "{path}"),
        ("listen", "--file", "{path}", "--run", "{path}"),
        ("predict", "{path}", "--run", "{path}"),
        ("enrol", "{path}", "--run", "{path}"),
        ("runs", "rm", "{path}"),
    ],
    ids=" ".join,
)
@pytest.mark.parametrize("path", ["~nobody_of_that_name/x", "loop", "n" * 300])
def test_path_that_leads_nowhere_is_one_line(root, monkeypatch, capsys, words, path):
    write_record(root, "one")
    monkeypatch.chdir(root)
    (root / "loop").symlink_to("loop")
    status, _, stderr = call(monkeypatch, capsys, *(word.format(path=path) for word in words))
    assert status in (1, 2)
    assert stderr.count("\n") == 1 and stderr.startswith("error: ") and len(stderr) < 700
