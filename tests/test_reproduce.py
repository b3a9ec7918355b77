import json
import shutil
from pathlib import Path

import pytest
import yaml
from test_records import call, write_record

from ser_lib.core.errors import RunError
from ser_lib.records.compare import compare_runs, compare_with, environment_differences, missing_clips, values_of
from ser_lib.records.manifest import Environment
from ser_lib.records.record import find_record

REPO = Path(__file__).resolve().parent.parent


def edit(root, name, change):
    path = root / "reports" / name / "manifest.json"
    manifest = json.loads(path.read_text())
    change(manifest)
    path.write_text(json.dumps(manifest))


def outcome(root, change=lambda manifest: None, **options):
    write_record(root, "old")
    write_record(root, "new", **options)
    edit(root, "new", change)
    return compare_with(find_record("old"), find_record("new"))


def test_same_hashes_and_metrics_are_identical(root):
    result = outcome(root)
    assert (result.same, result.lines) == (True, ["identical: corpus, features, split, weights and metrics"])


def artifact(stage, name):
    return lambda manifest: manifest["stages"][stage]["artifacts"].update({name: "zz"})


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda manifest: manifest["corpus"].update(clips=41), "corpus"),
        (artifact("01_preprocess", "processed_data.npz"), "features"),
        (artifact("02_split", "split.csv"), "split"),
        (artifact("03_train", "best_model.keras"), "weights of the best model"),
        (artifact("03_train", "model.weights.h5"), "weights of the final model"),
        (lambda manifest: manifest["stages"].pop("03_train"), "weights of the best model"),
    ],
)
def test_first_difference_is_named(root, change, what):
    result = outcome(root, change)
    assert not result.same
    assert result.lines[0] == f"different, first in the {what}"
    assert result.lines[-1] == "environment: the same"


def test_other_metrics_with_the_same_weights_are_a_difference(root):
    result = outcome(root, predicted=["angry"] + ["sad"] * 3 + ["angry"] * 4)
    assert result.lines[0] == "different, first in the metrics"
    assert "test accuracy: 1.0000, now 0.8750" in result.lines


def test_changed_seed_is_told_first(root):
    result = outcome(root, artifact("02_split", "split.csv"), SEED=1)
    assert result.lines[:2] == ["parameter SEED: 0, now 1", "different, first in the split"]


def test_an_edited_notebook_is_told(root):
    def ran(hash_, edited):
        return lambda manifest: manifest["stages"]["03_train"].update(notebook=hash_, edited=edited)

    def change(manifest):
        artifact("03_train", "best_model.keras")(manifest)
        ran("1" * 64, None)(manifest)  # without a commit

    write_record(root, "old")
    edit(root, "old", ran("0" * 64, []))
    write_record(root, "new")
    edit(root, "new", change)
    assert "code: another notebook 03_train" in compare_with(find_record("old"), find_record("new")).lines
    told = compare_runs([find_record("old"), find_record("new")]).notes[-1]
    assert told == "old and new ran notebooks with other code: 03_train."
    edit(root, "new", ran("1" * 64, ["notebooks/03_train.ipynb"]))
    assert "code: another notebook 03_train" in compare_with(find_record("old"), find_record("new")).lines
    for edited in ([], ["ser_lib/train.py"]):  # that of another commit
        edit(root, "new", ran("1" * 64, edited))
        assert not any("code" in line for line in compare_with(find_record("old"), find_record("new")).lines)


def test_a_record_is_told_to_need_its_recordings(root, monkeypatch, capsys):
    for folder in ("notebooks", "params"):
        shutil.copytree(REPO / folder, root / folder)
    write_record(root, "old", CORPORA=["OWN"], DATASET_PATH="mine")
    status, _, stderr = call(monkeypatch, capsys, "reproduce", "old")
    assert (status, len(stderr.splitlines())) == (1, 1)
    assert stderr.endswith("Where those of the record lie, -p DATASET_PATH=FOLDER says.\n")


def test_clips_of_a_record_that_are_missing_are_told(root):
    folder = write_record(root, "old", CORPORA=["OWN"], DATASET_PATH="mine")
    (folder / "split.csv").write_text("clip,set\nOWN/sad/a.wav_sad,train\nOWN/sad/b.wav_sad,test\n")
    values = values_of(find_record("old"))
    assert missing_clips(find_record("old"), values) == []  # what is not there at all is refused elsewhere
    (root / "mine" / "sad").mkdir(parents=True)
    for name in ("b.wav", "c.wav"):
        (root / "mine" / "sad" / name).write_bytes(name.encode())
    assert missing_clips(find_record("old"), values) == ["OWN/sad/a.wav_sad"]
    (folder / "split.csv").write_text("clip\n")
    with pytest.raises(RunError, match=r"split\.csv is damaged"):
        missing_clips(find_record("old"), values)


def other_processor(manifest):
    manifest["environment"]["cpu"] = "B"
    manifest["stages"]["03_train"]["artifacts"]["best_model.keras"] = "zz"


def other_lock(manifest):
    manifest["environment"]["packages"]["numpy"] = "2.1"
    manifest["stages"]["03_train"]["artifacts"]["best_model.keras"] = "zz"


def test_other_packages_are_told_first_and_held_to_the_tolerance(root):
    result = outcome(root, other_lock)
    assert result.same
    assert result.lines[0] == "not the same packages: sums may be rounded otherwise, so bits may differ"


def test_record_without_a_metric_is_not_close(root):
    write_record(root, "old")
    path = root / "reports" / "old" / "metrics.json"
    path.write_text(json.dumps({"test": json.loads(path.read_text())["test"]}))
    write_record(root, "new")
    edit(root, "new", other_processor)
    result = compare_with(find_record("old"), find_record("new"))
    assert not result.same
    assert "validation accuracy: , now 1.0000" in result.lines


def test_another_processor_is_told_first_and_held_to_the_tolerance(root):
    result = outcome(root, other_processor)
    assert result.same
    assert result.lines[0].startswith("not the same kind of processor: ")
    assert "environment: cpu: A, now B" in result.lines
    assert result.lines[-1].startswith("within the tolerance: accuracy and UAR ± 0.02")


def test_another_processor_excuses_no_large_difference(root):
    result = outcome(root, other_processor, predicted=["angry"] + ["sad"] * 3 + ["angry"] * 4)
    assert not result.same
    assert result.lines[-1].startswith("not within the tolerance")


def test_another_processor_excuses_no_other_corpus(root):
    def change(manifest):
        other_processor(manifest)
        manifest["corpus"]["sha256"] = "c1"

    assert not outcome(root, change).same


def test_environments_differ_by_name():
    old = Environment(python="3.11.7", cores=2, packages={"numpy": "2.0", "av": "1"})
    new = Environment(python="3.13.0", cores=2, packages={"numpy": "2.1", "soxr": "3"})
    assert environment_differences(old, new) == [
        "python: 3.11.7, now 3.13.0", "av: 1, now none", "numpy: 2.0, now 2.1", "soxr: none, now 3",
    ]  # fmt: skip


def test_record_is_repeated_with_its_own_folders_where_it_was_made(root):
    write_record(root, "old", EPOCHS=3)
    assert values_of(find_record("old"))["DATASET_PATH"] == "data/TESS"
    private = root / "artifacts" / "old" / "params.yaml"
    private.parent.mkdir(parents=True)
    private.write_text(yaml.safe_dump({"DATASET_PATH": "/elsewhere/TESS", "EPOCHS": 99}))
    values = values_of(find_record("old"))
    assert (values["DATASET_PATH"], values["EPOCHS"]) == ("/elsewhere/TESS", 3)
    assert "OUTPUT_DIR" not in values


def test_run_that_did_not_end_is_not_repeated(root):
    write_record(root, "old", state="failed in 03_train")
    with pytest.raises(RunError, match="old is failed in 03_train"):
        values_of(find_record("old"))
