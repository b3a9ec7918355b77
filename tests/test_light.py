import gzip
import hashlib
import json
import lzma
import os
import re
import shutil

import pytest
from test_records import STAGES, call, write_full_record, write_record

from ser_lib._cli.common import bundle_folder
from ser_lib.core.errors import RunError, StageError
from ser_lib.model.bundle import load_bundle
from ser_lib.records import models, packing
from ser_lib.records.compare import compare_runs, compare_with, values_of
from ser_lib.records.light import plan_slimming, slim
from ser_lib.records.packing import compress
from ser_lib.records.record import find_record
from ser_lib.records.site import build_site
from ser_lib.records.study import write_study

MODEL = b"a model" * 1000
WITH_MODEL = ("bundle.json", "LICENCE.txt", "model_card.md")
TABLE = b"clip,set\nTESS/OAF_a_sad,train\nTESS/OAF_b_sad,test\n"


def write_heavy_record(root, name, **values):
    """A record as a run leaves it, with notebooks, a model and tables that are not compressed."""
    folder = write_full_record(root, name, **values)
    for stage in STAGES:
        (folder / f"{stage}.ipynb").write_text('{"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}')
    (folder / "model.onnx").write_bytes(MODEL)
    for name in WITH_MODEL:
        (folder / name).write_text("{}")
    (folder / "split.csv").write_bytes(TABLE)
    manifest = json.loads((folder / "manifest.json").read_text())
    stages = manifest["stages"] | {stage: {"seconds": 1} for stage in STAGES[3:]}
    stages["03_train"]["artifacts"]["model.onnx"] = hashlib.sha256(MODEL).hexdigest()
    (folder / "manifest.json").write_text(json.dumps(manifest | {"stages": stages}))
    return folder


@pytest.fixture
def reports(root):
    for name in ("a_s0", "a_s1", "b_s0", "b_s1", "alone"):
        write_heavy_record(root, name)
    write_study("ab", "two rows", {"a": ["a_s0", "a_s1"], "b": ["b_s0", "b_s1"]})
    models.set_default("b_s1")
    return root / "reports"


def held(folder):
    return {path.suffix for path in folder.iterdir()} & {".ipynb", ".onnx", ".csv", ".xz"}


def test_named_models_keep_notebooks_and_model_and_runs_of_no_study_their_notebooks(reports, monkeypatch, capsys):
    status, out, _ = call(monkeypatch, capsys, "runs", "slim", "--all", "--yes")
    assert status == 0
    assert {name: held(reports / name) for name in ("a_s0", "a_s1", "b_s0", "b_s1", "alone")} == {
        "a_s0": {".xz"},
        "a_s1": {".xz"},
        "b_s0": {".xz"},
        "b_s1": {".ipynb", ".onnx", ".xz"},
        "alone": {".ipynb", ".xz"},
    }
    lines = out.splitlines()
    assert {
        "a_s1: 5 notebooks, model.onnx, bundle.json, LICENCE.txt, model_card.md",
        "b_s1: nothing left out, tables compressed",
    } < set(lines)
    assert "alone: model.onnx, bundle.json, LICENCE.txt, model_card.md" in lines
    assert lines[-2] == "Left 0.0 MB out of 5 records. To make it again: ser reproduce RUN"
    assert call(monkeypatch, capsys, "runs", "slim", "--all")[1] == "Nothing to leave out.\n"


@pytest.mark.parametrize("joined", [[{"run": "b_s1", "fallback": "a_s0"}, {"run": "a_s0"}],
                                    [{"run": "b_s1"}, {"run": "a_s0", "fallback": "b_s1"}]])  # fmt: skip
def test_model_that_a_fallback_joins_to_the_default_goes_without_its_notebooks(reports, joined):
    (reports / "models.json").write_text(json.dumps({"models": joined}))
    for one in plan_slimming(["b_s1", "a_s0", "a_s1"]):
        slim(one)
    assert [held(reports / name) for name in ("b_s1", "a_s0", "a_s1")] == [
        {".ipynb", ".onnx", ".xz"},
        {".onnx", ".xz"},
        {".xz"},
    ]


def test_only_what_is_named_becomes_light_and_after_asking(reports, monkeypatch, capsys):
    assert call(monkeypatch, capsys, "runs", "slim")[0] == 2
    assert call(monkeypatch, capsys, "runs", "slim", "a_s1", "--all")[0] == 2
    before = sorted(os.listdir(reports / "a_s1"))
    monkeypatch.setattr("typer.confirm", lambda question: False)
    assert call(monkeypatch, capsys, "runs", "slim", "a_s1")[0] == 1
    assert sorted(os.listdir(reports / "a_s1")) == before
    monkeypatch.setattr("typer.confirm", lambda question: question == "Leave 0.0 MB out of 1 record?")
    assert call(monkeypatch, capsys, "runs", "slim", "a_s1")[0] == 0
    assert held(reports / "a_s1") == {".xz"}
    assert ".onnx" in held(reports / "a_s0")


def test_record_that_is_light_says_the_same_as_before(reports):
    before = find_record("a_s1")
    told = [before.sizes, before.predictions.to_dict(), before.models, before.params, before.history]
    slim(plan_slimming(["a_s1"])[0])
    after = find_record("a_s1")
    assert [after.sizes, after.predictions.to_dict(), after.models, after.params, after.history] == told
    assert (reports / "a_s1" / "history.json.xz").is_file() and after.history["loss"]
    assert after.manifest.artifacts == before.manifest.artifacts
    assert after.manifest.left_out == sorted([*(f"{stage}.ipynb" for stage in STAGES), *WITH_MODEL, "model.onnx"])
    assert "McNemar's exact test: p = 1." in compare_runs([find_record("a_s0"), after]).notes[0]
    assert compare_with(after, find_record("a_s0")).same and values_of(after)["EPOCHS"] == 50


@pytest.mark.parametrize("change", [b"another model", None])
def test_model_that_the_manifest_does_not_tell_stays(reports, change):
    if change:
        (reports / "a_s1" / "model.onnx").write_bytes(change)
    else:
        manifest = json.loads((reports / "a_s1" / "manifest.json").read_text())
        del manifest["stages"]["03_train"]
        (reports / "a_s1" / "manifest.json").write_text(json.dumps(manifest))
    (one,) = plan_slimming(["a_s1"])
    assert one.models == []


def test_run_that_is_not_done_stays_as_it_is(reports, tmp_path):
    write_record(reports.parent, "broken", state="failed in 03_train")
    with pytest.raises(RunError, match=r"Only a run in reports/ that is done can be made light\. broken is failed in"):
        plan_slimming(["broken"])
    shutil.copytree(reports / "alone", tmp_path / "elsewhere")
    with pytest.raises(RunError, match="Only a run in reports/"):
        plan_slimming([str(tmp_path / "elsewhere")])
    assert "broken" not in [one.record.name for one in plan_slimming()]


def test_without_a_study_that_can_be_read_nothing_goes(reports):
    (reports / "ab" / "study.json").write_text("{")
    with pytest.raises(RunError, match=r"study\.json is damaged"):
        plan_slimming()


def test_compressed_table_is_the_same_bytes_each_time(tmp_path):
    for number in range(2):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "split.csv").write_bytes(TABLE)
        os.utime(folder / "split.csv", (number * 1e6, number * 1e6))
        compress(folder / "split.csv", folder)
        assert os.listdir(folder) == ["split.csv.xz"]
    one, two = ((tmp_path / str(number) / "split.csv.xz").read_bytes() for number in range(2))
    assert one == two and lzma.decompress(one) == TABLE


@pytest.mark.parametrize(("suffix", "pack"), [("xz", lzma.compress), ("gz", gzip.compress)])
def test_compressed_table_reads_as_the_plain_one(root, suffix, pack):
    folder = write_record(root, "one")
    table = folder / "test_predictions.csv"
    plain = find_record("one").predictions
    (folder / f"test_predictions.csv.{suffix}").write_bytes(pack(table.read_bytes()))
    table.unlink()
    assert find_record("one").predictions.equals(plain)


@pytest.mark.parametrize(("suffix", "pack"), [("xz", lzma.compress), ("gz", gzip.compress)])
@pytest.mark.parametrize("damage", ["empty", "text", "cut", "other"])
def test_damaged_compressed_table_is_one_clear_error(root, damage, suffix, pack):
    content = {"empty": b"", "text": b"not packed", "cut": pack(TABLE)[:-9], "other": pack(b"a,b\n1,2\n")}[damage]
    folder = write_record(root, "one")
    (folder / "test_predictions.csv").unlink()
    (folder / f"test_predictions.csv.{suffix}").write_bytes(content)
    with pytest.raises(RunError, match=r"test_predictions\.csv is damaged"):
        _ = find_record("one").predictions


@pytest.mark.parametrize("content", [b'{"loss": [1.0], "loss": [2.0]}', b'{"loss": [' + b" " * 10**7 + b"1.0]}"])
def test_packed_history_is_refused_where_a_plain_one_is(root, content):
    folder = write_record(root, "one")
    (folder / "history.json").write_bytes(content)
    with pytest.raises(RunError, match=r"history\.json is damaged"):
        _ = find_record("one").history
    packing.compress(folder / "history.json", folder)
    with pytest.raises(RunError, match=r"history\.json is damaged"):
        _ = find_record("one").history


@pytest.mark.parametrize(("suffix", "pack"), [("xz", lzma.compress), ("gz", gzip.compress)])
def test_table_that_unpacks_without_end_is_refused(root, monkeypatch, suffix, pack):
    folder = write_record(root, "one")
    monkeypatch.setattr(packing, "_LARGEST", 10**6)
    (folder / f"split.csv.{suffix}").write_bytes(pack(b"set\n" + b"test\n" * 10**6))
    with pytest.raises(RunError, match=r"split\.csv is damaged"):
        _ = find_record("one").sizes


def test_table_whose_unpacking_asks_for_gigabytes_is_refused(root):
    folder = write_record(root, "one")
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 0, "dict_size": 2**28}]  # by its header alone; it holds a few bytes
    (folder / "split.csv.xz").write_bytes(lzma.compress(b"set\ntest\n", filters=filters))
    with pytest.raises(RunError, match=r"split\.csv is damaged"):
        _ = find_record("one").sizes


# What misses something says which command brings it


def test_model_that_was_left_out_is_told_with_what_brings_it(reports, monkeypatch, capsys):
    slim(plan_slimming(["a_s1"])[0])
    (reports.parent / "a.wav").touch()
    told = "The record of a_s1 has left its model out. To train it again: ser reproduce a_s1\n"
    for words in (("predict", str(reports.parent / "a.wav"), "--run", "a_s1"), ("export", "a_s1", "x.zip")):
        assert call(monkeypatch, capsys, *words) == (1, "", f"error: {told}")
    assert call(monkeypatch, capsys, "runs", "default", "a_s1")[2].endswith(told)
    with pytest.raises(RunError, match=r"Runs: a_s0, alone, b_s0, b_s1\."):
        bundle_folder("none", "onnx")


def test_model_that_was_removed_by_hand_is_told_with_what_brings_it(reports, monkeypatch, capsys):
    (reports / "a_s1" / "model.onnx").unlink()
    (reports.parent / "a.wav").touch()
    told = "The record of a_s1 has left its model out. To train it again: ser reproduce a_s1\n"
    words = ("predict", str(reports.parent / "a.wav"), "--run", "a_s1")
    assert call(monkeypatch, capsys, *words) == (1, "", f"error: {told}")
    assert call(monkeypatch, capsys, "runs", "default", "a_s1")[2].endswith(told)


def test_model_that_is_still_in_artifacts_predicts(reports):
    slim(plan_slimming(["a_s1"])[0])
    output = reports.parent / "artifacts" / "a_s1"
    output.mkdir(parents=True)
    (output / "params.yaml").write_text("OUTPUT_DIR: artifacts/a_s1\n")
    (output / "bundle.json").write_text("{}")
    assert bundle_folder("a_s1", "onnx") == output


@pytest.mark.parametrize("missing", ["model.onnx", "bundle.json"])
def test_bundle_of_a_light_record_is_told_in_python(format4, root, missing):
    folder = shutil.copytree(format4, root / "reports" / "demo")
    (folder / missing).unlink()
    with pytest.raises(StageError, match=rf"demo/{missing} is not part of the record\. .*: ser reproduce demo$"):
        load_bundle(folder)


def test_description_that_an_earlier_version_kept_goes_too(reports):
    slim(plan_slimming(["a_s1"])[0])
    (reports / "a_s1" / "bundle.json").write_text("{}")
    (one,) = plan_slimming(["a_s1"])
    assert (one.notebooks, one.models, one.tables) == ([], [reports / "a_s1" / "bundle.json"], [])
    slim(one)
    assert plan_slimming(["a_s1"]) == []


def test_keras_model_that_no_record_keeps_is_told_with_what_to_do(format4, root):
    folder = shutil.copytree(format4, root / "reports" / "demo")
    with pytest.raises(StageError) as caught:
        load_bundle(folder, backend="keras")
    assert str(caught.value) == (
        "The record of demo keeps its ONNX model, which predicts without --backend keras, and not its Keras model. "
        "ser reproduce demo trains that again; predict by --run and the new run's name."
    )


def test_page_of_a_light_record_says_what_was_left_out(reports, monkeypatch, capsys):
    build_site()
    assert (reports / "a_s1" / "01_preprocess.html").is_file()
    call(monkeypatch, capsys, "runs", "slim", "a_s1", "--yes")
    page = (reports / "a_s1" / "index.html").read_text()
    assert "<p>Left out of this record, to keep it light: 01_preprocess.ipynb, 02_split.ipynb, " in page
    assert "<code>ser reproduce a_s1</code> makes them again.</p>" in page
    assert "01_preprocess.html" not in page and not list((reports / "a_s1").glob("0*.html"))
    assert "Left out of this record" not in (reports / "a_s0" / "index.html").read_text()


def test_light_records_of_a_clone_get_their_pages_by_ser_report(reports, monkeypatch, capsys):
    for planned in plan_slimming(["a_s0", "a_s1", "b_s0"]):
        slim(planned)
    write_study("light", "light runs alone", {"a": ["a_s0", "a_s1"]})
    status, out, _ = call(monkeypatch, capsys, "runs", "note", "alone", "first")
    assert status == 0
    assert out.endswith("Pages: 3 of 7 written, reports/index.html; `ser report` writes 4 of light records\n")
    written = {page.parent.name for page in reports.glob("*/index.html")}
    assert written == {"alone", "b_s1", "ab"}  # `ab` gathers a run that is not light
    first = (reports / "index.html").read_text()
    assert set(re.findall(r'<a href="(\w+)/index.html"', first)) == written
    assert set(re.findall(r'<span class="name"[^>]*>([\w<>]+)</span>', first)) == {
        name.replace("_", "_<wbr>") for name in ("a_s0", "a_s1", "b_s0", "light")
    }
    assert "<code>ser report</code> writes them" in first

    assert call(monkeypatch, capsys, "report")[1].startswith("Pages: 5 of 7 written, reports/index.html\n")
    first = (reports / "index.html").read_text()
    assert len(re.findall(r'<a href="\w+/index.html"', first)) == 7
    assert "have no page yet" not in first

    call(monkeypatch, capsys, "runs", "note", "a_s0", "second")
    assert "second" in (reports / "a_s0" / "index.html").read_text()  # which is kept up to date from now on


def test_page_of_a_notebook_begins_without_the_cell_of_colab(reports):
    cell = {"cell_type": "code", "id": "c", "source": "import somewhere_else", "outputs": [], "execution_count": 1}
    cells = [cell | {"metadata": {"tags": ["colab"]}}, cell | {"metadata": {}, "source": "print(1)", "id": "d"}]
    notebook = {"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    (reports / "alone" / "01_preprocess.ipynb").write_text(json.dumps(notebook))
    build_site()
    page = (reports / "alone" / "01_preprocess.html").read_text()
    assert "somewhere_else" not in page and "print" in page
