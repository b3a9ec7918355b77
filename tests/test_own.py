"""A folder of one's own, as its owner meets it: what nobody has told stays unknown, no file vanishes, any emotion."""

import csv
import json
import unicodedata
import wave

import numpy as np
import pytest
import soundfile

from ser_lib.core.errors import ParameterError
from ser_lib.core.labels import EMOTIONS
from ser_lib.corpora.audio_files import find_files, format_left_out, may_be_audio
from ser_lib.corpora.clips import find_clips, find_corpora
from ser_lib.corpora.files.registry import REGISTRIES
from ser_lib.corpora.left_out import format_reasons
from ser_lib.params import make_params
from ser_lib.preprocess import preprocess_data
from ser_lib.records.plan import find_speakers
from ser_lib.records.schema import LEAKAGE, METRICS
from ser_lib.scoring import metrics, summary
from ser_lib.scoring.leakage import describe_leakage, leakage, leakage_table
from ser_lib.split import split_data
from ser_lib.store import in_order, load_sets

RATE = 16000
SMALL = {"CORPORA": ["OWN"], "DATASET_PATH": "voices", "N_JOBS": 1, "SAMPLING_RATE": RATE, "DENOISE": False}


@pytest.fixture
def voices(root):
    # what writes noises, each another one, and a clips.csv
    rng = np.random.default_rng(3)

    def write(*files, text=None):
        for file in files:
            path = root / "voices" / file
            path.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(path, 0.3 * rng.standard_normal(RATE // 8), RATE, format=None if path.suffix else "WAV")
        if text is not None:
            (root / "voices" / "clips.csv").write_text(text, encoding="utf-8")
        return root / "voices"

    return write


def many(*emotions, n=10):
    return [f"{emotion}/{number}.wav" for emotion in emotions for number in range(n)]


def params_of(**changes):
    return make_params(SMALL | changes)


# Speakers and texts that nobody has told


def test_nobody_is_told_of_speakers_and_texts_that_nobody_knows(root, voices):
    voices(*many("happy", "sad"))
    params = params_of()
    data = preprocess_data(params)
    table = split_data(data, params)
    assert summary.clip_table(data.clips).to_dict("index") == {
        "unknown": {"happy": 10, "sad": 10, "all": 20},
        "all": {"happy": 10, "sad": 10, "all": 20},
    }
    sets = summary.set_table(table)
    assert set(sets["speakers"]) == set(sets["texts"]) == {"unknown"}
    stored = json.loads((params.output_dir / "leakage.json").read_text())
    assert stored["test"]["speaker"] is None and stored["test"]["text"] is None
    assert LEAKAGE.validate_python(stored)["test"].speaker is None
    assert leakage_table(stored).loc["test", ["same speaker", "same text"]].tolist() == ["unknown", "unknown"]
    said = describe_leakage(stored)
    assert "0 (0.0%) share the very recording with a training clip." in said
    assert "voices that the model may or may not know and texts that it may or may not know" in said
    assert said.endswith("Unknown: speakers and texts; clips.csv can name them.")


@pytest.mark.parametrize(
    ("changes", "thing"),
    [
        ({"SPLIT": "text"}, "text"),
        ({"SPLIT": "folds"}, "speaker"),
        ({"SPLIT": "speaker", "TEST_SPEAKERS": ["me"]}, "speaker"),
        ({"SPLIT": "speaker_text", "TEST_SPEAKERS": ["me"]}, "speaker"),
        ({"SPLIT": "speaker", "SPLIT_FILE": "given.csv"}, "speaker"),
    ],
)
def test_splits_that_need_them_are_refused_and_say_how_to_give_them(root, voices, changes, thing):
    voices(*many("happy", "sad"))
    data = preprocess_data(params_of())
    split_data(data, params_of()).to_csv(root / "given.csv", index=False)
    with pytest.raises(ParameterError) as caught:
        split_data(data, params_of(**changes))
    also = " or by SPEAKER_PATTERN" if thing == "speaker" else ""
    assert str(caught.value) == (
        f"`SPLIT: {changes['SPLIT']}` needs the {thing} of every clip. That of 20 of 20 is unknown, such as "
        f"OWN/happy/0.wav_happy. Give it in the column {thing} of clips.csv{also} (docs/corpora.md shows how), or do "
        f"without `SPLIT: {changes['SPLIT']}`."
    )


def test_normalising_per_speaker_needs_speakers(voices):
    voices(*many("happy", "sad"))
    with pytest.raises(ParameterError, match=r"`NORMALIZE_PER_SPEAKER` needs the speaker of every clip\. That of 20"):
        preprocess_data(params_of(NORMALIZE_PER_SPEAKER=True))
    with pytest.raises(ParameterError, match="`--folds` needs the speaker"):
        find_speakers(params_of())


def test_what_a_table_tells_of_some_counts_for_them_alone(voices):
    lines = ["path,emotion,speaker,text"]
    files = many("happy", "sad")
    for number, file in enumerate(files):
        who, what = ("", "") if number % 4 == 0 else ("anna" if number % 2 else "ben", f"word {number % 5}")
        lines.append(f"{file},{file.partition('/')[0]},{who},{what}")
    voices(*files, text="\n".join(lines))
    params = params_of()
    data = preprocess_data(params)
    table = data.clips.assign(set=split_data(data, params)["set"].to_numpy())
    test, train = table[table["set"] == "test"], table[table["set"] == "train"]
    found = leakage(table)["test"]["speaker"]
    told = test[test["speaker"] != ""]
    assert found == {
        "clips": int(told["speaker"].isin(train.loc[train["speaker"] != "", "speaker"]).sum()),
        "share": 1.0,
        "unknown": int((test["speaker"] == "").sum()),
        "unknown_in_training": int((train["speaker"] == "").sum()),
    }
    with pytest.raises(ParameterError, match=r"needs the text of every clip\. That of 5 of 20 is unknown"):
        split_data(data, params_of(SPLIT="text"))


def test_unknown_ones_are_neither_equal_nor_different():
    import pandas as pd

    rows = [("", "x", "1", "train"), ("a", "x", "2", "train"), ("", "", "3", "test"), ("b", "x", "4", "test"),
            ("", "y", "5", "validation")]  # fmt: skip
    found = leakage(pd.DataFrame(rows, columns=["speaker", "text", "sha256", "set"]))
    assert found["test"]["speaker"] == {"clips": 0, "share": 0.0, "unknown": 1, "unknown_in_training": 1}
    assert found["test"]["text"] == {"clips": 1, "share": 1.0, "unknown": 1, "unknown_in_training": 0}
    assert found["validation"]["speaker"] is None
    assert found["validation"]["text"] == {"clips": 0, "share": 0.0}
    assert leakage_table(found).loc["test", "same text"] == "1 (100.0% of 1 that are known)"
    said = describe_leakage(found)
    assert "voices that the model may or may not know and texts that it knows, as far as is known." in said
    assert "Of 1 test clips and 1 training clips the speaker is unknown." in said


def test_bootstrap_keeps_only_known_pairs_together():
    clusters, kind = metrics.choose_clusters(["a", "a", "", "", "b", "b"], ["x", "x", "x", "x", "y", "y"])
    assert kind == "speaker and text"
    assert clusters[0] == clusters[1] and clusters[4] == clusters[5]
    assert len({clusters[0], *clusters[2:4], clusters[4]}) == 4
    clusters, kind = metrics.choose_clusters(["", "", ""], ["x", "x", "x"])
    assert (clusters.tolist(), kind) == ([0, 1, 2], "clip")


def test_scope_of_unknown_voices():
    results = {
        "speakers": None, "texts": None, "known": {"speakers": None, "texts": None},
        "unknown": {"speakers": 30, "texts": 30}, "bootstrap": {"cluster": "clip", "clusters": 6, "samples": 100},
    }  # fmt: skip
    said = summary.describe_scope(results)
    assert "Who speaks in it is unknown: the intervals say nothing of other voices." in said
    assert said.endswith("How many of its speakers and texts training has met is unknown.")
    METRICS.validate_python(results)


def test_texts_that_are_not_told_are_no_mistakes_of_one_text():
    import pandas as pd

    table = pd.DataFrame({"text": ["", "", "a"], "true": ["sad"] * 3, "predicted": ["sad", "ps", "ps"]})
    assert summary.describe_texts(table) == "1 of 1 texts have a mistake. The text of 2 of 3 test clips is unknown."
    assert summary.accuracy_table(table, "text")["text"].tolist() == ["a", "unknown"]


# No class vanishes


def test_every_file_that_may_be_audio_is_tried_and_the_others_are_counted(tmp_path):
    for file in ("happy/1.wav", "sad/1.wav", "angry/1.caf", "angry/2.xyz"):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_bytes(file.encode() + b"\0\1\2")
    for number in range(300):
        (tmp_path / "happy" / f"{number}.JPG").write_bytes(bytes([number % 256]))
    (tmp_path / "README").write_text("Who reads this?\n")
    (tmp_path / "sad" / "1.lab").write_text("0 1 säd\n", encoding="utf-8")
    (tmp_path / ".hidden").write_bytes(b"x")
    clips, skipped = find_clips("OWN", tmp_path)
    assert sorted(clip.file for clip in clips) == ["angry/1.caf", "angry/2.xyz", "happy/1.wav", "sad/1.wav"]
    assert {left.reason: left.files for left in skipped} == {
        "not audio (.jpg)": 300, "not audio (without a suffix)": 1, "not audio (.lab)": 1,
    }  # fmt: skip
    assert not any(left.fault for left in skipped)


def test_class_in_another_format_is_learnt_and_what_is_no_clip_is_no_fault(root, voices):
    folder = voices(*many("happy", "sad", n=8))
    for number in range(8):
        soundfile.write(folder / f"sad/{number}.caf", np.sin(np.arange(2000) * (number + 9) / 99), RATE, format="CAF")
        (folder / "happy" / f"{number}.peaks").write_bytes(bytes(range(256)))  # no sound, whatever it is
    data = preprocess_data(params_of())
    assert data.clips["emotion"].value_counts().to_dict() == {"sad": 16, "happy": 8}
    with (root / "artifacts/interactive/skipped.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 8 and all(row["file"].endswith(".peaks") and row["files"] == "1" for row in rows)


def test_what_lies_beside_a_named_corpus_is_counted(tmp_path):
    for name in ("OAF_back_angry.wav", "OAF_back_sad.mp3", "notes.txt"):
        (tmp_path / name).write_bytes(name.encode())
    (clip,), skipped = find_clips("TESS", tmp_path)
    assert clip.file == "OAF_back_angry.wav"
    assert [(left.reason, left.fault) for left in skipped] == [
        ("audio, but TESS is .wav files (.mp3)", False),
        ("not audio (.txt)", False),
    ]


NAMED = ".caf .mov .mkv .au .spx .ac3 .wv .w64 .snd .3gpp .sph .m4b .mka .avi .WAV .m4a .webm".split()


@pytest.mark.parametrize("suffix", [*NAMED, ".ts", ".dat", ""])
def test_folder_means_every_file_that_a_name_means(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    path.write_bytes(b"NIST_1A\n   1024\n" + b" " * 1008 + bytes(4000))
    assert find_files(str(tmp_path)) == ([path], [])
    assert find_files(f"{tmp_path}/*") == ([path], [])


@pytest.mark.parametrize("name", "a.txt a.jpg a.tar.gz a.zip a.docx a.py a.ipynb a.m3u8 a.npz a.pdf Thumbs.db".split())
def test_what_is_plainly_something_else_is_left_out(tmp_path, name):
    (tmp_path / name).write_bytes(bytes(range(256)))
    assert not may_be_audio(tmp_path / name)


def test_left_out_is_told_in_a_line(tmp_path):
    with wave.open(str(tmp_path / "a.wav"), "wb") as file:
        file.setparams((1, 2, RATE, 0, "NONE", ""))
    for name in ("a.txt", "b.txt", "c.jpg", ".hidden.jpg"):
        (tmp_path / name).write_text("x")
    (path,), left_out = find_files(str(tmp_path))
    assert path.name == "a.wav"
    assert format_left_out(left_out) == "3 files left out: 2 .txt, 1 .jpg"


# Emotions of one's own


def test_label_map_adds_emotions_after_the_seven_by_the_alphabet(root, voices):
    voices(*many("low/kitchen", "high", "happy", "So Bored"))
    params = params_of(LABEL_MAP={"low": "low", "high": "high", "so_bored": "boredom"})
    data = preprocess_data(params)
    labels = dict(zip(data.clips["emotion"], data.y.tolist(), strict=True))
    assert labels == {"happy": 1, "boredom": 7, "high": 8, "low": 9}
    split_data(data, params)
    _, sets = load_sets(params)
    X, y, clips = sets["test"]
    classes = ["happy", "boredom", "high", "low"]
    assert in_order(data.clips["emotion"]) == list(summary.clip_table(data.clips))[:-1] == classes
    assert y.shape == (len(X), 4)
    assert [classes[place] for place in y.argmax(axis=1)] == clips["emotion"].tolist()


def test_unknown_emotion_says_how_to_add_it(voices):
    folder = voices("happy/1.wav", "tired/1.wav")
    _, (left,) = find_clips("OWN", folder)
    assert left.reason.endswith("LABEL_MAP can map it to one of them, or add it: LABEL_MAP: {'tired': 'tired'}")


def test_each_unknown_emotion_is_named_with_its_own_count(voices):
    folder = voices("happy/1.wav", "high/1.wav", "high/2.wav", "low/1.wav")
    _, skipped = find_clips("OWN", folder)
    told = format_reasons(skipped)
    assert told.startswith("high/1.wav and 2 more: unknown emotions 'high' (2), 'low' (1); known: neutral, happy, ")
    assert told.count("known: ") == 1


def test_faults_are_told_before_what_is_no_audio(voices):
    folder = voices("happy/1.wav", "tired/1.wav")
    for name in ("a.txt", "b.txt", "c.jpg"):
        (folder / name).write_text("none")
    _, skipped = find_clips("OWN", folder)
    told = format_reasons(skipped)
    assert told.startswith("tired/1.wav: unknown emotion 'tired'; known: ") and told.endswith(" and 2 more: not audio")


@pytest.mark.parametrize(("in_table", "on_disk"), [("NFC", "NFD"), ("NFD", "NFC")])
def test_table_names_files_whichever_way_their_accents_are_spelt(tmp_path, in_table, on_disk):
    file = unicodedata.normalize(on_disk, "colère/été.wav")
    (tmp_path / file).parent.mkdir()
    (tmp_path / file).write_bytes(b"x")
    lines = ["path,emotion", f"{unicodedata.normalize(in_table, 'colère/été.wav')},angry", "é/è.wav,sad"]
    (tmp_path / "clips.csv").write_text("\n".join(lines), encoding="utf-8")
    (clip,), (left,) = find_clips("OWN", tmp_path)
    assert (clip.file, left.file) == (file, "é/è.wav")


def test_seven_are_not_added_once_more_by_another_word(voices):
    folder = voices("happy/1.wav", "glad/1.wav")
    with pytest.raises(ParameterError, match=r"emotions by its own name, here happy\. Got 'joy'"):
        find_corpora({"OWN": folder}, {"glad": "joy"})


def test_real_names_of_emodb_with_boredom_are_seven_classes(tmp_path):
    with (REGISTRIES / "EMODB.csv").open(newline="") as file:
        names = [row["file"] for row in csv.DictReader(file)]
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(name.encode())
    clips, skipped = find_corpora({"EMODB": tmp_path}, {"boredom": "boredom"})
    assert skipped == [] and len(clips) == 535
    assert in_order(clip.emotion for clip in clips) == [*EMOTIONS[:6], "boredom"]
    assert sum(clip.emotion == "boredom" for clip in clips) == 81


@pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning:keras")
def test_added_emotions_and_unknown_voices_go_all_the_way(root, voices):
    from ser_lib import plots
    from ser_lib.evaluate import evaluate_baselines, evaluate_model, evaluate_robustness
    from ser_lib.model.bundle import load_bundle
    from ser_lib.predict import predict_emotion_from_file
    from ser_lib.records.limits import limits
    from ser_lib.records.pages import shared_with_training
    from ser_lib.records.record import Record
    from ser_lib.train import train_model

    folder = voices(*many("low", "high", "surprise", n=8))
    small = {"BOOTSTRAP_SAMPLES": 100, "LSTM_UNITS": 2, "DENSE_UNITS": 2, "EPOCHS": 1, "N_MFCC": 4}
    params = params_of(LABEL_MAP={"low": "low", "high": "high"}, TEST_FRACTION=0.25, **small)
    split = split_data(preprocess_data(params), params)
    train_model(params)
    bundle = load_bundle(params.output_dir)
    classes = ["ps", "high", "low"]
    assert bundle.info.emotions == classes
    results, predictions = evaluate_model(bundle, params)
    assert (results["speakers"], results["known"]) == (None, {"speakers": None, "texts": None})
    assert results["bootstrap"]["cluster"] == "clip"
    assert np.array(results["test"]["confusion_matrix"]).sum(axis=1).tolist() == [2, 2, 2]
    assert all(len(one["confusion_matrix"]) == 3 for one in evaluate_baselines(predictions, params).values())
    for values in evaluate_robustness(bundle, params).values():
        assert values["unusable"] == 0
    labels = summary.class_table(results["test"], emotions=classes)["emotion"]
    assert set(labels) == {"surprised", "high", "low"}
    ax = plots.plot_confusion_matrix(results["test"]["confusion_matrix"], emotions=classes)
    assert [text.get_text() for text in ax.get_yticklabels()] == ["surprised", "high", "low"]
    assert [text.get_text() for text in plots.plot_split(split).get_xticklabels()] == ["surprised", "high", "low"]
    assert summary.accuracy_table(predictions, "speaker")["speaker"].tolist() == ["unknown"]
    record = Record(params.output_dir, None)
    assert record.emotions == classes
    assert "may or may not know" in shared_with_training(record)
    assert list(predict_emotion_from_file(folder / "low/0.wav", bundle).probabilities) == ["surprised", "high", "low"]
    assert "learnt from an unknown number of speakers of OWN. " in limits(str(params.output_dir), bundle)
