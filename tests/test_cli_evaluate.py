"""`ser evaluate` as a person gives it, with bundles of records that are part of the repository."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import matplotlib.image
import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score
from test_records import call

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
    assert f"Guessing gives a UAR of {1 / 7:.3f}" in done.out
    assert f"{test['uar']:.3f} [" in done.out and f"{test['confidence']:.3f}" in done.out
    assert (results["speakers"], results["known"]) == (2, {"speakers": None, "texts": None})
    assert done.out.splitlines()[-1].startswith(f"Model {model} has learnt from ")


def test_table_has_a_row_for_each_clip_as_predict_answers_it(voices, give):
    give("evaluate", voices / "mine", "--run", "robust", "--out", voices / "clips.csv")
    give("predict", voices / "mine", "--run", "robust", "--csv", voices / "said.csv")
    table, answers = pd.read_csv(voices / "clips.csv"), pd.read_csv(voices / "said.csv")
    answers.index = [file.removeprefix(f"{voices / 'mine'}/") for file in answers["file"]]
    assert set(table["corpus"]) == {"OWN"} and len(table) == len(answers)
    names = [f"{row.true}/{row.speaker}_{row.text}_{row.true}.wav" for row in table.itertuples()]
    answered_same = answers.loc[names, "emotion"].tolist()
    assert [shown_as(emotion) for emotion in table["predicted"]] == answered_same
    columns = [name for name in table if name.startswith("p_")]
    expected = answers.loc[names, [f"p_{shown_as(name.removeprefix('p_'))}" for name in columns]]
    np.testing.assert_allclose(table[columns].to_numpy(), expected.to_numpy(), atol=1e-5)


def test_what_clips_of_a_voice_bring_is_told_where_speakers_are_known(voices, give):
    mine = voices / "mine"
    done = give("evaluate", mine, "--run", "adapts", "--out", voices / "found.json")
    rows = json.loads((voices / "found.json").read_text())["adaptation"]
    labelled = [row for row in rows if row["labelled"]]
    assert [row["each"] for row in labelled] == [1, 2, 3, 5]
    # of each voice and emotion one clip is drawn, and the rest is tested
    assert labelled[0]["n_clips"] == len(list(mine.rglob("*.wav"))) - 2 * 7
    assert "With clips of each speaker's own" in done.out and "of each emotion" in done.out
    (mine / "clips.csv").unlink()
    done = give("evaluate", mine, "--corpus", "own", "--run", "adapts")
    assert "With clips" not in done.out and "-p SPEAKER_PATTERN" in done.out
    done = give("evaluate", mine, "--corpus", "own", "--run", "adapts", "-p", r"SPEAKER_PATTERN=^([^_]+)_")
    assert "With clips of each speaker's own" in done.out
    assert "SPEAKER_PATTERN" not in give("evaluate", mine, "--corpus", "own", "--run", "robust").out  # none is adapted


def test_corpus_is_known_by_its_files_or_by_name(voices, give, demo_folder, monkeypatch):
    monkeypatch.chdir(voices)
    shutil.copytree(demo_folder, voices / "data" / "demo")
    by_files = give("evaluate", "data/demo", "--run", "robust")
    assert by_files.status == 0 and "\nDEMO in data/demo " in by_files.out and by_files.err == ""
    assert give("evaluate", "Demo", "--run", "robust").out == by_files.out


def test_model_that_has_learnt_from_the_corpus_is_warned_of(voices, give, demo_folder):
    done = give("evaluate", demo_folder, "--run", "synthetic")
    assert done.status == 0
    assert done.err.splitlines()[-1].startswith("warning: synthetic has learnt from DEMO. Of clips and voices that it")


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
        (["nowhere"], "The folder of recordings must be there. nowhere is none."),
        (
            ["mine", "-p", "EPOCHS=3"],
            "takes LABEL_MAP, SPEAKER_PATTERN, SEED, BOOTSTRAP_SAMPLES, N_JOBS. Got `EPOCHS`.",
        ),
        (["mine", "--corpus", "NONE"], "The name of the corpus must be one of DEMO, TESS"),
        (["mine", "--corpus", "RAVDESS"], "must hold clips of RAVDESS"),
        (["mine", "--run", "nobody"], "There is no run and no folder 'nobody' with a model."),
        (["bored", "--corpus", "OWN", "-p", "LABEL_MAP={bored: bored}"], "bored has bored. `-p LABEL_MAP` says what"),
        (["broken", "--corpus", "OWN"], "No clip in broken can be used: happy/x.wav: the file cannot be decoded"),
    ],
)
def test_what_cannot_be_is_one_line(voices, give, write_wav, monkeypatch, words, said):
    write_wav(voices / "bored" / "bored" / "b.wav", 0.1 * np.sin(np.arange(16000) / 9), 16000)
    (voices / "broken" / "happy").mkdir(parents=True)
    (voices / "broken" / "happy" / "x.wav").write_bytes(b"RIFF")
    monkeypatch.chdir(voices)
    done = give("evaluate", *([] if "--run" in words else ["--run", "robust"]), *words)
    assert (done.status, done.out) == (1, "")
    assert done.err.startswith("error: ") and said in done.err and done.err.count("\n") == 1


@pytest.mark.parametrize(
    ("option", "said"),
    [
        (["--out", "a.txt"], "--out must end in .csv or .json"),
        (["--out", "mine.csv"], "an output must be a file. mine.csv is a folder."),
        (["--plot", "a.jpg"], "--plot makes a .png"),
    ],
)
def test_outputs_that_cannot_be_are_refused_before_anything_is_heard(voices, give, monkeypatch, option, said):
    (voices / "mine.csv").mkdir()
    monkeypatch.chdir(voices)
    done = give("evaluate", "mine", "--run", "robust", *option)
    assert done.status == 2 and done.out == "" and said in " ".join(done.err.split())
