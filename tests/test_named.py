"""Which model predicts where none is named."""

import json
import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from test_records import call, write_record

from ser_lib.audio import encoders
from ser_lib.audio.encoders import weights_paths
from ser_lib.audio.settings import EMBEDDING_SIZES
from ser_lib.core.errors import RunError
from ser_lib.model.bundle import Bundle
from ser_lib.model.bundle_info import read_bundle_info
from ser_lib.records import models as named
from ser_lib.records.limits import limits

RECORDED = Path(__file__).resolve().parent.parent / "reports"


def write_model(root, name, **values):
    """A record that has a description of a model, which is all that choosing one looks at."""
    folder = write_record(root, name, **values)
    (folder / "bundle.json").write_text("{}")
    (folder / "model.onnx").touch()
    return folder


def listed(root):
    return json.loads((root / "reports" / "models.json").read_text())


def test_project_has_a_default_that_predicts():
    (first, *_) = json.loads((RECORDED / "models.json").read_text())["models"]
    assert first == {"run": "voices_random_s0", "fallback": "voices_functionals_random_s0"}
    assert all((RECORDED / run / "bundle.json").is_file() for run in first.values())


def test_newer_run_does_not_become_the_default(root, write_wav, monkeypatch, capsys):
    for name, record in (("people", "tess_robust_random_s0"), ("synthetic", "demo")):
        shutil.copytree(RECORDED / record, root / "reports" / name)
    named.set_default("people")
    write_model(root, "demo-of-two-epochs", started="2099-01-01T00:00:00+00:00", CORPORA=["OWN"], EPOCHS=2)
    file = write_wav(root / "a.wav", np.sin(np.arange(16000) / 9) / 3, 16000)
    status, out, err = call(monkeypatch, capsys, "predict", str(file))
    assert (status, err) == (0, "") and "Model people has " in out
    status, out, _ = call(monkeypatch, capsys, "listen", "--file", str(file), "--silence", "100")
    assert status in (0, None) and "Model people has " in out
    status, out, _ = call(monkeypatch, capsys, "export", str(root / "one.zip"))
    assert (status, out) == (0, "one.zip holds bundle.json, LICENCE.txt, model_card.md, model.onnx.\n")


@pytest.mark.parametrize(
    "words", [("predict", "a.wav"), ("listen", "--file", "a.wav"), ("enrol", "a"), ("export", "a.zip")]
)
def test_without_a_default_it_is_said_how_to_get_one(root, monkeypatch, capsys, words):
    write_model(root, "one")
    status, out, err = call(monkeypatch, capsys, *words)
    assert (status, out) == (1, "")
    assert err == "error: No model is the default. Name one with --run RUN, or set the default: ser runs default RUN\n"


@pytest.mark.parametrize("words", [(), ("tess_random_s0",), ("a", "b", "c.zip")])
def test_export_takes_a_run_and_a_zip_file_or_that_alone(root, monkeypatch, capsys, words):
    assert call(monkeypatch, capsys, "export", *words)[0] == 2


def test_run_is_made_the_default_and_marked(root, monkeypatch, capsys):
    write_model(root, "a")
    write_model(root, "b", started="2026-01-01T10:00:00+00:00")
    assert call(monkeypatch, capsys, "runs", "default", "b")[:2] == (0, "b is the default now: ser predict FILE\n")
    assert named.default_run() == "b"
    lines = call(monkeypatch, capsys, "runs")[1].splitlines()
    assert [line.split()[0] for line in lines if line.endswith("  default")] == ["b"]
    named.set_default("a")
    assert listed(root) == {"models": [{"run": "a"}]}  # of b nothing is said but its name


def test_default_is_told(root, monkeypatch, capsys):
    write_model(root, "a")
    status, out, err = call(monkeypatch, capsys, "runs", "default")
    assert (status, out) == (1, "") and err.startswith("error: No model is the default.")
    named.set_default("a")
    told = call(monkeypatch, capsys, "runs", "default")
    assert told == (0, "a is the default, by reports/models.json.\n", "")
    assert listed(root) == {"models": [{"run": "a"}]}


def test_what_another_version_says_of_a_model_is_kept(root):
    for name in "ab":
        write_model(root, name)
    stored = {"models": [{"run": "a", "keep": ["model.onnx"]}, {"run": "b", "note": 3}], "version": 2}
    (root / "reports" / "models.json").write_text(json.dumps(stored))
    named.set_default("b")
    assert listed(root) == {"models": stored["models"][::-1], "version": 2}


def test_what_is_known_of_other_models_is_kept(root):
    for name in "abcd":
        write_model(root, name)
    strangers = {"run": "other", "speakers": 10, "accuracy": 0.25}
    others = [{"run": "b", "strangers": strangers}, {"run": "c", "fallback": "d"}]
    (root / "reports" / "models.json").write_text(json.dumps({"models": [*others, {"run": "d"}]}))
    named.set_default("a")
    assert listed(root) == {"models": [{"run": "a"}, *others]}


def test_default_that_is_gone_is_told(root, monkeypatch, capsys):
    write_model(root, "a")
    named.set_default("a")
    out = call(monkeypatch, capsys, "runs", "rm", "a", "--yes")[1]
    assert "a was the default model: ser runs default RUN names another.\n" in out
    with pytest.raises(RunError, match=r"reports/models\.json names a as the default, and there is no run"):
        named.default_run()


@pytest.mark.parametrize("run", ["none", "../a", "/tmp", ""])
def test_only_a_run_of_the_project_can_be_the_default(root, run):
    write_model(root, "a")
    with pytest.raises(RunError, match=r"The default must be a run in reports/\. There is none called"):
        named.set_default(run)


def test_run_without_a_model_cannot_be_the_default(root):
    write_record(root, "a")
    with pytest.raises(RunError, match=r"The default must be a run that has trained\. a has no bundle\.json"):
        named.set_default("a")


@pytest.mark.parametrize(
    ("content", "place"),
    [
        *((text, "no JSON") for text in (b"", b"{", b"\xff")),
        (b"[]", "no JSON"),
        (b"{}", "models"),
        (b'{"models": []}', "models"),
        (b'{"models": [{}]}', "models.0.run"),
        (b'{"models": [{"run": 3}]}', "models.0.run"),
        (b'{"models": [{"run": "../../etc"}]}', "models.0.run"),
    ],
)
def test_damaged_list_is_one_line(root, monkeypatch, capsys, content, place):
    write_model(root, "a")
    (root / "reports" / "models.json").write_bytes(content)
    status, _, err = call(monkeypatch, capsys, "predict", "a.wav")
    assert status == 1 and err.startswith(f"error: reports/models.json is damaged ({place}). Restore it, or remove it")
    assert len(err.splitlines()) == 1
    status, out, err = call(monkeypatch, capsys, "runs")
    assert status == 0 and "a  " in out


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: path.symlink_to("/dev/zero")])
def test_list_that_is_no_plain_file_is_one_line(root, make):
    write_model(root, "a")
    make(root / "reports" / "models.json")
    with pytest.raises(RunError, match=r"reports/models\.json must be a plain file"):
        named.set_default("a")


def test_without_its_encoder_another_model_answers_and_it_is_said(root, write_wav, monkeypatch, capsys):
    monkeypatch.setenv("SER_ENCODERS", str(root / "no-encoders"))
    for name, record in (("heard", "voices_random_s0"), ("plain", "tess_robust_random_s0")):
        shutil.copytree(RECORDED / record, root / "reports" / name)
    left_out = json.loads((root / "reports" / "heard" / "bundle.json").read_text())["left_out"]
    accuracy = np.mean([one["accuracy"] for one in left_out])
    models = {"models": [{"run": "heard", "fallback": "plain"}]}
    (root / "reports" / "models.json").write_text(json.dumps(models))
    file = str(write_wav(root / "a.wav", np.sin(np.arange(16000) / 9) / 3, 16000))
    status, out, err = call(monkeypatch, capsys, "predict", file)
    assert status == 0 and "Model plain has " in out
    assert "How right it is about other voices is not known here." in out
    assert err == (
        "note: heard, the default model, needs the encoder smart-turn, which is not on this machine: plain answers, "
        f"which is right less often. Of voices that heard never heard, {10 * accuracy:.0f} of 10 answers were right "
        f"({accuracy:.0%}). ser encoder get smart-turn brings it.\n"
    )
    weights_paths("smart-turn")[0].parent.mkdir(parents=True, exist_ok=True)
    weights_paths("smart-turn")[0].write_bytes(b"half of it")
    assert "smart-turn, which is damaged: plain answers" in call(monkeypatch, capsys, "predict", file)[2]
    weights_paths("smart-turn")[0].unlink()
    status, out, err = call(monkeypatch, capsys, "predict", file, "--run", "heard")
    assert status == 1 and "The encoder smart-turn is not on this machine." in err
    models["models"][0].pop("fallback")
    (root / "reports" / "models.json").write_text(json.dumps(models))
    assert call(monkeypatch, capsys, "predict", file)[0] == 1


def test_voice_for_the_fallback_is_said_to_be_for_it_alone(root, demo_folder, monkeypatch, capsys):
    monkeypatch.setenv("SER_ENCODERS", str(root / "no-encoders"))
    for name, record in (("heard", "voices_random_s0"), ("plain", "voices_functionals_random_s0")):
        shutil.copytree(RECORDED / record, root / "reports" / name)
    (root / "reports" / "models.json").write_text(json.dumps({"models": [{"run": "heard", "fallback": "plain"}]}))
    (root / "me").mkdir()
    for file in sorted(demo_folder.glob("*/ESB_*.wav"))[:5]:
        shutil.copy(file, root / "me")
    alone = "note: this is for plain alone. The default model needs me enrolled again.\n"
    status, _, err = call(monkeypatch, capsys, "enrol", str(root / "me"))
    assert status == 0 and err.endswith(alone)
    status, _, err = call(monkeypatch, capsys, "enrol", str(root / "me"), "--run", "plain")
    assert status == 0 and alone not in err


def test_fallback_of_a_fallback_answers_where_both_their_encoders_are_missing(root, write_wav, monkeypatch, capsys):
    for name, record in (
        ("two", "voices_both_random_s0"),
        ("one", "voices_random_s0"),
        ("none", "voices_functionals_random_s0"),
    ):
        shutil.copytree(RECORDED / record, root / "reports" / name)
    chain = [{"run": "two", "fallback": "one"}, {"run": "one", "fallback": "none"}, {"run": "none", "fallback": "two"}]
    (root / "reports" / "models.json").write_text(json.dumps({"models": chain}))
    file = str(write_wav(root / "a.wav", np.sin(np.arange(16000) / 9) / 3, 16000))
    monkeypatch.setattr(
        encoders, "_opened", lambda name, paths: lambda signal: np.ones(EMBEDDING_SIZES[name], np.float32)
    )
    here = set()
    monkeypatch.setattr(encoders, "has_weights", lambda name: name in here)
    needs = "note: two, the default model, needs the encoder smart-turn+whisper-base, which is "
    for arrived, answers in (("functionals", "none"), ("smart-turn", "one"), ("smart-turn+whisper-base", "two")):
        here.add(arrived)
        status, out, err = call(monkeypatch, capsys, "predict", file)
        assert status == 0 and f"Model {answers} has " in out
        assert err == "" if answers == "two" else err.startswith(needs) and f": {answers} answers, " in err


def test_limits_tell_of_strangers_what_the_list_of_models_says(root):
    strangers = {"run": "other", "speakers": 10, "accuracy": 0.229}
    models = {"models": [{"run": "known", "strangers": strangers}, {"run": "default"}]}
    (root / "reports").mkdir(exist_ok=True)
    (root / "reports" / "models.json").write_text(json.dumps(models))
    info = SimpleNamespace(onnx_sha256="0" * 64, corpora=["TESS"], left_out=None, split_sha256="")
    bundle = SimpleNamespace(info=info)
    assert "Of 10 speakers whom a model like it never heard, 2 of 10 answers were right (23%). Do" in limits(
        "known", bundle
    )
    assert "is not known here" in limits("default", bundle)
    (root / "reports" / "models.json").write_text("{")
    assert "is not known here" in limits("known", bundle)


def test_list_of_models_says_of_strangers_what_the_records_say():
    said = {one.run: one.strangers for one in named.named_models() if one.strangers}
    assert set(said) == {"tess_random_s0", "tess_robust_random_s0"}
    for strangers in said.values():
        table = pd.read_csv(RECORDED / strangers.run / "test_predictions.csv.xz")
        assert strangers.accuracy == pytest.approx((table["true"] == table["predicted"]).mean(), abs=0.0005)
        assert strangers.speakers == table["speaker"].nunique()
        assert not set(table["speaker"]) & {"TESS/OAF", "TESS/YAF", "OAF", "YAF"}


def test_limits_tell_what_was_right_of_voices_that_training_left_out():
    run = "tess_oaf_yaf_s0"
    table = pd.read_csv(next((RECORDED / run).glob("test_predictions.csv*")))
    right = (table["true"] == table["predicted"]).mean()
    stages = json.loads((RECORDED / run / "manifest.json").read_text())["stages"]
    info = SimpleNamespace(
        onnx_sha256=stages["03_train"]["artifacts"]["model.onnx"], corpora=["TESS"], left_out=None, split_sha256=""
    )
    told = limits(run, SimpleNamespace(info=info))
    assert told == (
        f"Model {run} has learnt from TESS. Of 1 speaker that it never heard, {10 * right:.0f} of 10 "
        f"answers were right ({right:.0%}). Do not judge people by it."
    )
    info.onnx_sha256 = "0" * 64  # of another model, nobody has measured it
    assert "How right it is about other voices is not known here." in limits(run, SimpleNamespace(info=info))


def test_limits_name_the_speakers_and_each_corpus():
    folder = RECORDED / "voices_random_s0"
    split = pd.read_csv(folder / "split.csv.xz", dtype=str)
    n_speakers = len(split[split["set"] == "train"][["corpus", "speaker"]].drop_duplicates())
    told = limits(folder.name, Bundle(read_bundle_info(folder), probabilities=None))
    assert told.startswith(
        f"Model voices_random_s0 has learnt from {n_speakers} speakers of ASED, EMODB, RAVDESS, SAVEE, TESS and TUREV. "
        "Of voices that it never heard, "
    )
    assert told.endswith(" of 10 answers were right (48%). Do not judge people by it.")


@pytest.mark.parametrize(
    ("speakers", "told"),
    [
        ({("A", "x"), ("B", "x"), ("B", "")}, "2 speakers and an unknown number of others of A and B. "),
        ({("A", ""), ("B", "")}, "an unknown number of speakers of A and B. "),
        (set(), "A and B. "),
    ],
)
def test_limits_tell_which_speakers_are_unknown(monkeypatch, speakers, told):
    monkeypatch.setattr("ser_lib.records.limits._speakers", lambda *_: speakers)
    monkeypatch.setattr("ser_lib.records.limits._tested", lambda *_: "")
    info = SimpleNamespace(corpora=["A", "B"], left_out=None)
    assert limits("one", SimpleNamespace(info=info)) == (
        f"Model one has learnt from {told}How right it is about other voices is not known here. "
        "Do not judge people by it."
    )


def test_default_keeps_its_fallback(root):
    for name in ("heard", "plain"):
        write_model(root, name)
    (root / "reports" / "models.json").write_text(
        json.dumps({"models": [{"run": "plain", "about": "x"}, {"run": "heard", "fallback": "plain"}]})
    )
    named.set_default("heard")
    assert listed(root)["models"][0] == {"run": "heard", "fallback": "plain"}
    assert named.fallback_run("heard") == "plain" and named.fallback_run("plain") is None
