"""`ser evaluate` as a person gives it, with bundles of records that are part of the repository."""

import errno
import hashlib
import io
import json
import lzma
import shutil
from pathlib import Path
from types import SimpleNamespace

import matplotlib.image
import numpy as np
import pandas as pd
import pytest
import soundfile
from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score
from test_records import call

from ser_lib._cli import evaluate as cli_evaluate
from ser_lib.core.labels import shown_as

REPO = Path(__file__).resolve().parent.parent
MODELS = {"adapts": "voices_functionals_random_s0", "robust": "tess_robust_random_s0", "synthetic": "demo"}


@pytest.fixture
def models(root):
    for name, record in MODELS.items():
        shutil.copytree(REPO / "reports" / record, root / "reports" / name)
    return root


@pytest.fixture
def voices(models, demo_folder):
    """A few clips of the demo corpus, in folders named by emotion, and a table that names speakers and texts."""
    rows = []
    for file in sorted(demo_folder.rglob("*.wav"))[::2]:
        speaker, text, emotion = file.stem.split("_")
        path = models / "mine" / emotion / file.name
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, path)
        rows.append((f"{emotion}/{file.name}", emotion, speaker, text))
    table = pd.DataFrame(rows, columns=["path", "emotion", "speaker", "text"])
    table.to_csv(models / "mine" / "clips.csv", index=False)
    return models


@pytest.fixture
def give(monkeypatch, capsys):
    def give(*words):
        status, out, err = call(monkeypatch, capsys, *map(str, words))
        return SimpleNamespace(status=status, out=out, err=err)

    return give


@pytest.mark.parametrize("model", MODELS)
def test_figures_are_those_of_the_answers_that_predict_gives(voices, give, model):
    mine, found, said = voices / "mine", voices / "found.json", voices / "said.csv"
    done = give("evaluate", mine, "--run", model, "--out", found)
    assert done.status == 0
    assert give("predict", mine, "--run", model, "--csv", said).status == 0
    answers, results = pd.read_csv(said), json.loads(found.read_text())
    truth = [shown_as(Path(file).parent.name) for file in answers["file"]]
    test = results["test"]
    assert test["n_clips"] == len(answers) == len(list(mine.rglob("*.wav")))
    assert test["accuracy"] == pytest.approx(accuracy_score(truth, answers["emotion"]))
    assert test["uar"] == pytest.approx(balanced_accuracy_score(truth, answers["emotion"]))
    assert test["macro_f1"] == pytest.approx(f1_score(truth, answers["emotion"], average="macro"))
    assert test["confidence"] == pytest.approx(answers["confidence"].mean(), abs=1e-6)
    assert results["unlike"] == answers["unlike"].notna().sum()
    assert f"Guessing among these 7 emotions gives a UAR of {1 / 7:.3f}" in done.out
    assert f"{test['uar']:.3f} [" in done.out and f"{test['confidence']:.3f}" in done.out
    assert (results["speakers"], results["model"], results["corpus"]) == (2, model, "OWN")
    assert done.out.splitlines()[-1].startswith(f"Model {model} has learnt from ")


def test_table_has_a_row_for_each_clip_as_predict_answers_it(voices, give):
    mine = voices / "mine"
    give("evaluate", mine, "--run", "robust", "--out", voices / "clips.csv")
    give("predict", mine, "--run", "robust", "--csv", voices / "said.csv")
    table, answers = pd.read_csv(voices / "clips.csv"), pd.read_csv(voices / "said.csv")
    answers.index = [file.removeprefix(f"{mine}/") for file in answers["file"]]
    assert sorted(table["file"]) == sorted(answers.index)
    answers = answers.loc[table["file"]]
    assert table["predicted"].tolist() == answers["emotion"].tolist()
    assert table["true"].tolist() == [shown_as(file.split("/")[0]) for file in table["file"]]
    assert table["speaker"].tolist() == [Path(file).name.split("_")[0] for file in table["file"]]
    columns = [name for name in answers if name.startswith("p_")]
    np.testing.assert_allclose(table[["confidence", *columns]], answers[["confidence", *columns]], atol=1e-5)
    assert table["unlike"].fillna("").tolist() == answers["unlike"].fillna("").tolist()


def test_what_clips_of_a_voice_bring_is_told_where_speakers_are_known(voices, give):
    mine = voices / "mine"
    done = give("evaluate", mine, "--run", "adapts", "--out", voices / "found.json")
    rows = json.loads((voices / "found.json").read_text())["adaptation"]
    labelled = [row for row in rows if row["labelled"]]
    assert [row["each"] for row in labelled] == [1, 2, 3]  # a voice has four clips of an emotion
    assert [row["each"] for row in rows if row["clips"] == "any"] == [5, 10]  # and 28 in all
    # of each voice and emotion one clip is drawn, and the rest is tested
    assert labelled[0]["n_clips"] == len(list(mine.rglob("*.wav"))) - 2 * 7
    assert "With clips of each voice" in done.out and "of each emotion" in done.out
    (mine / "clips.csv").unlink()
    done = give("evaluate", mine, "--corpus", "own", "--run", "adapts")
    assert "With clips of" not in done.out and "-p SPEAKER_PATTERN" in done.out
    done = give("evaluate", mine, "--corpus", "own", "--run", "adapts", "-p", r"SPEAKER_PATTERN=^([^_]+)_")
    assert "With clips of each voice" in done.out
    assert "SPEAKER_PATTERN" not in give("evaluate", mine, "--corpus", "own", "--run", "robust").out  # none is adapted


def test_corpus_is_known_by_its_files_or_by_name(voices, give, demo_folder, monkeypatch):
    monkeypatch.chdir(voices)
    shutil.copytree(demo_folder, voices / "data" / "demo")
    by_files = give("evaluate", "data/demo", "--run", "robust")
    assert by_files.status == 0 and "data/demo (DEMO)" in by_files.out and by_files.err == ""
    assert give("evaluate", "Demo", "--run", "robust").out == by_files.out


def test_what_a_model_has_learnt_from_is_left_out(voices, give, demo_folder):
    done = give("evaluate", demo_folder, "--run", "synthetic", "--out", voices / "t.csv")
    assert done.status == 0 and ": not in the model's test set." in done.err
    assert done.err.splitlines()[-1].startswith("warning: synthetic has learnt from other recordings of DEMO, so")
    split = lzma.decompress((voices / "reports" / "synthetic" / "split.csv.xz").read_bytes())
    split = pd.read_csv(io.BytesIO(split), keep_default_na=False).set_index("clip")["set"]
    there = {f"DEMO/{file.stem}" for file in demo_folder.rglob("*.wav")}
    tested = set(pd.read_csv(voices / "t.csv")["clip"])
    assert tested == {clip for clip in there if split.get(clip) not in ("train", "validation")}
    assert tested < there
    # the split leaves copies of training clips out of all sets
    record = voices / "reports" / "synthetic"
    table = pd.read_csv(io.BytesIO(lzma.decompress((record / "split.csv.xz").read_bytes())), keep_default_na=False)
    copy = min(tested)
    table.loc[table["clip"] == copy, "set"] = "unused"
    (record / "split.csv.xz").unlink()
    table.to_csv(record / "split.csv", index=False)
    bundle = json.loads((record / "bundle.json").read_text())
    bundle["split_sha256"] = hashlib.sha256((record / "split.csv").read_bytes()).hexdigest()
    (record / "bundle.json").write_text(json.dumps(bundle))
    assert give("evaluate", demo_folder, "--run", "synthetic", "--out", voices / "t.csv").status == 0
    assert set(pd.read_csv(voices / "t.csv")["clip"]) == tested - {copy}
    whole = demo_folder.parent / "learnt"
    for file in demo_folder.rglob("*.wav"):
        if split.get(f"DEMO/{file.stem}") == "train":
            (whole / file.parent.name).mkdir(parents=True, exist_ok=True)
            shutil.copy(file, whole / file.parent.name)
    done = give("evaluate", whole, "--run", "synthetic")
    assert done.status == 1 and "Nothing in learnt can be tested: " in done.err


def test_copies_of_a_recording_are_tested_once(voices, give):
    mine = voices / "mine"
    (mine / "clips.csv").unlink()
    once = give("evaluate", mine, "--corpus", "OWN", "--run", "robust")
    for file in sorted((mine / "happy").glob("*.wav")):
        signal, rate = soundfile.read(file, dtype="int16")
        soundfile.write(file.with_suffix(".flac"), signal, rate)
    n_copies = len(list(mine.rglob("*.flac")))
    twice = give("evaluate", mine, "--corpus", "OWN", "--run", "robust")
    assert n_copies > 1 and twice.out == once.out
    assert twice.err.startswith(f"{n_copies} files left out: ") and "the same recording as another" in twice.err


def test_copies_of_which_nobody_knows_the_emotion_are_left_out(voices, give):
    mine = voices / "mine"
    (mine / "clips.csv").unlink()
    first = sorted((mine / "angry").glob("*.wav"))[0]
    signal, rate = soundfile.read(first, dtype="int16")
    soundfile.write(mine / "sad" / "x.flac", signal, rate)
    done = give("evaluate", mine, "--corpus", "OWN", "--run", "robust", "--out", voices / "t.csv")
    assert done.err.startswith("2 files left out: ") and "the same recording, with another emotion" in done.err
    tested = pd.read_csv(voices / "t.csv")["file"].tolist()
    assert "sad/x.flac" not in tested and f"angry/{first.name}" not in tested and len(tested) > 50


def test_exported_model_cannot_tell_what_it_has_learnt_from(voices, give, demo_folder):
    assert give("export", "synthetic", voices / "m.zip").status == 0
    done = give("evaluate", demo_folder, "--run", voices / "m.zip", "--out", voices / "f.json")
    assert done.status == 0 and "left out" not in done.err
    warning = json.loads((voices / "f.json").read_text())["warning"]
    assert done.err.endswith(f"warning: {warning}\n") and warning.endswith("the figures are too good.")
    for output in ("--run", voices / "m.json"), ("--run", voices / "reports" / "synthetic"):
        shutil.copy(voices / "m.zip", voices / "m.json")
        target = voices / "m.json" if output[1].suffix else output[1] / "bundle.json"
        before = target.read_bytes()
        assert give("evaluate", demo_folder, *output, "--out", target).status == 2
        assert target.read_bytes() == before


def test_recordings_of_ones_own_that_may_have_trained_a_model_are_warned_of(voices, give):
    record = voices / "reports" / "robust"
    bundle = json.loads((record / "bundle.json").read_text())
    (record / "bundle.json").write_text(json.dumps(bundle | {"corpora": ["OWN:mine"]}))
    done = give("evaluate", voices / "mine", "--run", "robust")
    assert done.err.startswith("warning: robust has learnt from recordings of OWN, perhaps from these")


def test_clips_that_a_run_made_here_has_learnt_from_are_left_out(voices, give):
    mine, record = voices / "mine", voices / "reports" / "robust"
    files = sorted(one.relative_to(mine).as_posix() for one in mine.rglob("*.wav"))
    (mine / "clips.csv").unlink()
    assert give("evaluate", mine, "--corpus", "own", "--run", "robust", "--out", voices / "t.csv").status == 0
    clips = pd.read_csv(voices / "t.csv")["clip"].tolist()
    table = pd.DataFrame({"clip": clips, "corpus": "OWN", "speaker": "", "set": ["train", "test"] * (len(clips) // 2)})
    (record / "split.csv.xz").unlink()
    table.to_csv(record / "split.csv", index=False)
    bundle = json.loads((record / "bundle.json").read_text())
    bundle |= {"corpora": ["OWN"], "split_sha256": hashlib.sha256((record / "split.csv").read_bytes()).hexdigest()}
    (record / "bundle.json").write_text(json.dumps(bundle))
    private = voices / "artifacts" / "robust" / "params.yaml"
    private.parent.mkdir(parents=True, exist_ok=True)
    private.write_text(f"DATASET_PATH: {json.dumps(str(mine))}\nOUTPUT_DIR: artifacts/robust\n")
    done = give("evaluate", mine, "--corpus", "own", "--run", "robust", "--out", voices / "t.csv")
    assert pd.read_csv(voices / "t.csv")["clip"].tolist() == clips[1::2] and len(files) == len(clips)
    assert "other recordings of OWN" in done.err
    shutil.copytree(mine, voices / "others")  # files of the same names elsewhere may be anything
    done = give("evaluate", voices / "others", "--corpus", "own", "--run", "robust", "--out", voices / "t.csv")
    assert pd.read_csv(voices / "t.csv")["clip"].tolist() == clips and "perhaps from these" in done.err


def test_speakers_that_are_known_in_part_are_told(voices, give):
    table = pd.read_csv(voices / "mine" / "clips.csv")
    table["speaker"] = [one if one == "ESA" else "" for one in table["speaker"]]
    table.to_csv(voices / "mine" / "clips.csv", index=False)
    done = give("evaluate", voices / "mine", "--run", "adapts")
    n_unknown = (table["speaker"] == "").sum()
    assert 0 < n_unknown < len(table)
    assert f"It has one speaker and {n_unknown} clips of unknown ones: the intervals" in done.out
    assert "With clips of" not in done.out and "the column speaker" in done.out
    row = int((table["speaker"] != "").argmax())
    table.iloc[[row, row + 1]].assign(speaker=["ESA", ""]).to_csv(voices / "mine" / "clips.csv", index=False)
    assert "and 1 clip of unknown ones" in give("evaluate", voices / "mine", "--run", "adapts").out


def test_small_folders_are_evaluated_without_what_they_are_too_small_for(voices, give):
    mine = voices / "mine"
    table = pd.read_csv(mine / "clips.csv")
    table.groupby(["speaker", "emotion"]).head(1).to_csv(mine / "clips.csv", index=False)
    done = give("evaluate", mine, "--run", "adapts")
    assert done.status == 0 and "of each emotion" not in done.out
    table.head(1).to_csv(mine / "clips.csv", index=False)
    done = give("evaluate", mine, "--run", "adapts")
    assert done.status == 0 and "There is one emotion alone" in done.out and "With clips of" not in done.out


def test_files_are_written_before_anything_is_told(voices, give, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(cli_evaluate, "print_table", full)
    done = give("evaluate", voices / "mine", "--run", "robust", "--out", voices / "f.json", "--plot", voices / "c.png")
    assert (done.status, done.err) == (1, "error: No space left on device\n")
    assert json.loads((voices / "f.json").read_text())["left_out"] == [] and (voices / "c.png").is_file()


def test_picture_is_of_the_confusion_matrix(voices, give):
    assert give("evaluate", voices / "mine", "--run", "robust", "--plot", voices / "c.png").status == 0
    picture = matplotlib.image.imread(voices / "c.png")
    assert min(picture.shape[:2]) > 200 and picture[..., :3].std() > 0.05


def test_what_cannot_be_evaluated_is_left_out_and_told(voices, give, write_wav):
    mine = voices / "mine"
    (mine / "clips.csv").unlink()
    n_clips = len(list(mine.rglob("*.wav")))
    (mine / "happy" / "x.wav").write_bytes(b"RIFF")
    write_wav(mine / "bored" / "b.wav", 0.1 * np.sin(np.arange(16000) / 9), 16000)
    done = give("evaluate", mine, "--run", "robust", "--corpus", "OWN", "--out", voices / "t.csv")
    assert done.status == 0 and done.err.startswith("2 files left out: ")
    assert "bored/b.wav: unknown emotion 'bored'" in done.err and "happy/x.wav: the file cannot be decoded" in done.err
    assert len(pd.read_csv(voices / "t.csv")) == n_clips
    done = give("evaluate", mine, "--run", "robust", "--corpus", "OWN", "-p", "LABEL_MAP={bored: bored}")
    assert "bored/b.wav: the model does not know bored" in done.err
    done = give("evaluate", mine, "--run", "robust", "--corpus", "OWN", "-p", "LABEL_MAP={bored: neutral}")
    assert "bored" not in done.err and f"{n_clips + 1} " in done.out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nowhere"], "Recordings must lie in a folder, or be a corpus of data/. nowhere is neither."),
        (["crema-d"], "There is no data/CREMA-D yet. `ser data list` says how to get CREMA-D."),
        (["empty"], "A folder of recordings must hold some. There is none in empty."),
        (
            ["mine", "-p", "EPOCHS=3"],
            "takes LABEL_MAP, SPEAKER_PATTERN, SEED, BOOTSTRAP_SAMPLES, N_JOBS. Got `EPOCHS`.",
        ),
        (["mine", "--corpus", "NONE"], "The name of the corpus must be one of DEMO, TESS"),
        (["mine", "--corpus", "RAVDESS"], "The folder must hold clips of RAVDESS; in "),
        (["mine", "--corpus", "TESS"], " --corpus says which corpus it is."),
        (["mine", "--run", "nobody"], "There is no run and no folder 'nobody' with a model."),
        (["bored", "--corpus", "OWN", "-p", "LABEL_MAP={bored: bored}"], "bored has bored. `-p LABEL_MAP` says what"),
        (["broken", "--corpus", "OWN"], "Nothing in broken can be tested: happy/x.wav: the file cannot be decoded"),
    ],
)
def test_what_cannot_be_is_one_line(voices, give, write_wav, monkeypatch, words, said):
    write_wav(voices / "bored" / "bored" / "b.wav", 0.1 * np.sin(np.arange(16000) / 9), 16000)
    (voices / "broken" / "happy").mkdir(parents=True)
    (voices / "empty").mkdir()
    (voices / "broken" / "happy" / "x.wav").write_bytes(b"RIFF")
    monkeypatch.chdir(voices)
    done = give("evaluate", *([] if "--run" in words else ["--run", "robust"]), *words)
    assert (done.status, done.out) == (1, "")
    assert done.err.startswith("error: ") and said in done.err and done.err.count("\n") == 1


def test_place_that_cannot_be_written_to_is_told_before_anything_is_heard(voices, give, monkeypatch):
    def refuse(**_):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr("tempfile.TemporaryFile", refuse)
    monkeypatch.setattr("ser_lib.preprocess.process_clips", None)
    for command in ("evaluate", "predict"):
        done = give(command, voices / "mine", "--run", "robust", "--out", voices / "new" / "a.csv")
        said = " ".join(done.err.split())
        assert done.status == 2 and done.out == "" and "must be where it can be written" in said
        assert "a.csv: Read-only file system." in said and "so far" not in said


@pytest.mark.parametrize(
    ("option", "said"),
    [
        (["--out", "a.txt"], "--out must end in .csv or .json"),
        (["--out", "mine.csv"], "an output must be a file. mine.csv is a folder."),
        (["--out", "mine/clips.csv"], "each output must be a file of its own. mine/clips.csv would be overwritten."),
        (["--out", "link.csv"], "each output must be a file of its own. link.csv would be overwritten."),
        (["--plot", "a.jpg"], "--plot makes a .png"),
    ],
)
def test_outputs_that_cannot_be_are_refused_before_anything_is_heard(voices, give, monkeypatch, option, said):
    (voices / "mine.csv").mkdir()
    (voices / "link.csv").symlink_to(next((voices / "mine").rglob("*.wav")))
    monkeypatch.chdir(voices)
    done = give("evaluate", "mine", "--run", "robust", *option)
    assert done.status == 2 and done.out == "" and said in " ".join(done.err.split())
