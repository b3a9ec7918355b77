import json
import re
from collections import Counter
from pathlib import Path, PurePath

import matplotlib.pyplot as plt
import nbformat
import numpy as np
import pandas as pd
import pytest
import yaml

from ser_lib.audio.settings import AudioSettings
from ser_lib.core.errors import DatasetError, ParameterError, SerError, StageError
from ser_lib.core.labels import EMOTIONS
from ser_lib.params import make_params
from ser_lib.scoring.leakage import describe_leakage, leakage, leakage_table
from ser_lib.split import assign_sets, read_split_file, split_data
from ser_lib.store import ProcessedData, load_sets, load_split, save_processed

NOTEBOOK = Path(__file__).resolve().parent.parent / "notebooks" / "02_split.ipynb"
TESS_COUNTS = [400, 400, 399, 399, 400, 400, 400]
SETTINGS = AudioSettings(
    sampling_rate=24414,
    frame_length=64,
    hop_length=64,
    features="mfcc",
    n_mfcc=1,
    n_mels=128,
    mel_fmin=0.0,
    trim_top_db=30.0,
    denoise=False,
    normalize_per_speaker=False,
    denoise_reference=False,
    target_length=64,
)


def labels_of(counts, seed=0):
    return np.random.default_rng(seed).permutation(np.repeat(np.arange(len(counts)), counts))


def split(labels, *, validation=0.15, test=0.15, seed=0):
    clips = pd.DataFrame(
        {"emotion": [EMOTIONS[label] for label in labels], "sha256": np.arange(len(labels)).astype(str)}
    )
    return assign_sets(clips, make_params({"TEST_FRACTION": test, "VALIDATION_FRACTION": validation, "SEED": seed}))


def processed(labels):
    names = [f"TESS/OAF_{number:03}_{EMOTIONS[label]}" for number, label in enumerate(labels)]
    clips = pd.DataFrame({"clip": names, "corpus": "TESS", "speaker": "OAF", "emotion": [EMOTIONS[i] for i in labels]})
    clips["text"] = [f"{number:03}" for number in range(len(labels))]
    clips["sha256"] = clips["text"]
    X = np.arange(len(labels) * 2 * 3, dtype=np.float32).reshape(-1, 2, 3)
    return ProcessedData(X, labels, X[:, 0], clips, pd.DataFrame(columns=["file", "reason"], dtype=str), SETTINGS, "f")


@pytest.fixture
def params(tmp_path):
    return make_params({"OUTPUT_DIR": str(tmp_path / "out"), "SEED": 3})


def test_shares_are_70_15_15():
    sets = split(labels_of(TESS_COUNTS))
    assert len(sets) == 2798
    assert set(sets) == {"train", "validation", "test"}
    for name, share in {"train": 0.7, "validation": 0.15, "test": 0.15}.items():
        assert (sets == name).sum() == pytest.approx(share * 2798, abs=1)


def test_every_emotion_has_its_share_of_every_set_within_a_clip():
    labels = labels_of(TESS_COUNTS)
    sets = split(labels)
    for label, count in enumerate(TESS_COUNTS):
        for name, share in {"train": 0.7, "validation": 0.15, "test": 0.15}.items():
            assert abs(((sets == name) & (labels == label)).sum() - share * count) <= 1, (name, label)


@pytest.mark.parametrize(("validation", "test"), [(0.2, 0.1), (0.1, 0.3), (0.25, 0.25)])
def test_other_shares(validation, test):
    sets = split(labels_of([100] * 7), validation=validation, test=test)
    assert (sets == "validation").sum() == pytest.approx(700 * validation, abs=1)
    assert (sets == "test").sum() == pytest.approx(700 * test, abs=1)


def test_seed_decides_the_split():
    labels = labels_of([20] * 7)
    np.testing.assert_array_equal(split(labels, seed=1), split(labels, seed=1))
    assert (split(labels, seed=1) != split(labels, seed=2)).any()


@pytest.mark.parametrize("fewest", [1, 2, 3])
def test_too_few_clips_of_an_emotion_are_named(fewest):
    with pytest.raises(DatasetError, match=f"Got {fewest} of disgust") as caught:
        split(labels_of([50, 50, 50, 50, 50, fewest, 50]))
    assert "\n" not in str(caught.value)


def test_too_few_clips_altogether_are_refused():
    with pytest.raises(DatasetError, match="Got 2 of neutral"):
        split(labels_of([2] * 7))


@pytest.mark.parametrize("seed", range(20))
def test_as_many_clips_as_the_message_asks_for_are_enough(seed):
    # 14 = 2 / 0.15 rounded up, the number in the message
    with pytest.raises(DatasetError, match="which 14 clips are sure to give"):
        split(labels_of([2] * 7))
    counts = np.random.default_rng(seed).choice([14, 15, 16, 100, 400], 7)
    labels = labels_of(counts, seed)
    sets = split(labels, seed=seed)
    assert all(set(labels[sets == name]) == set(range(7)) for name in ("train", "validation", "test"))


def test_split_is_written_as_it_is_returned(params):
    data = processed(labels_of([20] * 7))
    table = split_data(data, params)
    written = pd.read_csv(params.output_dir / "split.csv", dtype=str)
    pd.testing.assert_frame_equal(written, table.astype(str), check_dtype=False)
    assert list(written.columns) == ["clip", "corpus", "speaker", "text", "emotion", "set"]
    assert written["clip"].tolist() == data.clips["clip"].tolist()
    assert written["clip"].is_unique
    assert written["set"].tolist() == split(data.y, seed=3).tolist()


def test_test_set_is_saved_as_rows_of_x_and_one_hot_labels(params):
    data = processed(labels_of([20] * 7))
    chosen = np.flatnonzero(split_data(data, params)["set"] == "test")
    x_test, y_test = np.load(params.output_dir / "x_test.npy"), np.load(params.output_dir / "y_test.npy")
    assert len(chosen) == 21
    assert (x_test.dtype, y_test.dtype) == (np.float32, np.float32)
    np.testing.assert_array_equal(x_test, [data.X[i] for i in chosen])
    by_hand = [[1.0 if column == data.y[i] else 0.0 for column in range(7)] for i in chosen]
    assert y_test.tolist() == by_hand


def test_sets_are_disjoint_and_complete_when_loaded(params):
    data = processed(labels_of([20] * 7))
    save_processed(params.processed_data_file, data)
    split_data(data, params)
    loaded = {name: load_sets(params)[1][name] for name in ("train", "validation", "test")}
    clips = [clip for _, _, table in loaded.values() for clip in table["clip"]]
    assert sorted(clips) == sorted(data.clips["clip"])
    for X, y, table in loaded.values():
        rows = [data.clips["clip"].tolist().index(clip) for clip in table["clip"]]
        np.testing.assert_array_equal(X, data.X[rows])
        np.testing.assert_array_equal(y.argmax(axis=1), data.y[rows])
        assert (y.sum(axis=1) == 1).all()


def test_loaded_split_is_the_one_written(params):
    data = processed(labels_of([20] * 7))
    table = split_data(data, params)
    assert load_split(params, data.clips).tolist() == table["set"].tolist()


def test_split_of_other_clips_is_refused(params):
    data = processed(labels_of([20] * 7))
    split_data(data, params)
    clips = data.clips
    renamed = clips.assign(clip=clips["clip"].where(clips.index != 5, "TESS/other"))
    for others in (clips.iloc[:-1], clips.iloc[::-1], renamed):
        with pytest.raises(StageError, match="Run 02_split again"):
            load_split(params, others)


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: "",
        lambda text: "clip\n",
        lambda text: text[: len(text) // 2],
        lambda text: text.replace(",test\n", ",exam\n"),
        lambda text: text.replace(",set\n", ",sat\n"),
        lambda text: text + "a,b,c,d,e,f,g,h\n",
    ],
    ids=["empty", "no-clips", "half", "unknown-set", "no-set", "long-row"],
)
def test_damaged_split_is_refused(params, damage):
    data = processed(labels_of([20] * 7))
    split_data(data, params)
    file = params.output_dir / "split.csv"
    file.write_text(damage(file.read_text()))
    with pytest.raises(StageError, match="Run 02_split again"):
        load_split(params, data.clips)


def test_missing_split_says_which_notebook_to_run(params):
    with pytest.raises(StageError, match=r"split\.csv is not there yet\. Run 02_split first"):
        load_split(params, processed(labels_of([20] * 7)).clips)


# What SPLIT promises, on the names of the real corpora


def table_of(rows):
    """Clips of (speaker, text, emotion), each a recording of its own."""
    table = pd.DataFrame(rows, columns=["speaker", "text", "emotion"])
    table["clip"] = "C/" + table["speaker"] + "_" + table["text"] + "_" + table["emotion"]
    table["sha256"] = [f"{number:064x}" for number in range(len(table))]
    return table.assign(corpus="C")


def crossed(speakers, texts, emotions=EMOTIONS):
    return table_of([(speaker, text, emotion) for speaker in speakers for text in texts for emotion in emotions])


@pytest.fixture(scope="module")
def tess_clips(tess):
    parts = [PurePath(name).stem.split("_") for name in tess.names]
    return table_of([("OAF" if speaker == "OA" else speaker, text, emotion) for speaker, text, emotion in parts])


@pytest.fixture(scope="module")
def emodb_clips(emodb_names):
    letters = {"W": "angry", "E": "disgust", "A": "fear", "F": "happy", "T": "sad", "N": "neutral"}
    stems = [PurePath(name).stem for name in emodb_names]
    stems = [stem for stem in stems if stem[5] in letters]
    return table_of([(stem[:2], stem[2:5], letters[stem[5]]) for stem in stems])


def sets_of(clips, **values):
    return assign_sets(clips, make_params(values))


def values_in(clips, sets, name, column):
    return set(clips.loc[sets == name, column])


DISJOINT = {
    "text": {"SPLIT": "text"},
    "OAF-YAF": {"SPLIT": "speaker", "TEST_SPEAKERS": ["YAF"]},
    "YAF-OAF": {"SPLIT": "speaker", "TEST_SPEAKERS": ["OAF"]},
    "speaker_text": {"SPLIT": "speaker_text", "TEST_SPEAKERS": ["YAF"]},
    "fold-0": {"SPLIT": "folds"},
    "fold-1": {"SPLIT": "folds", "FOLD": 1},
    "fold-1-of-2": {"SPLIT": "folds", "N_FOLDS": 2, "FOLD": 1},
}
each_disjoint = pytest.mark.parametrize("values", DISJOINT.values(), ids=list(DISJOINT))


@pytest.mark.parametrize("seed", [0, 1])
@each_disjoint
def test_tess_keeps_apart_what_was_promised(tess_clips, values, seed):
    sets = sets_of(tess_clips, SEED=seed, **values)
    speakers, texts = (
        {name: values_in(tess_clips, sets, name, column) for name in ("train", "validation", "test")}
        for column in ("speaker", "text")
    )
    if values["SPLIT"] != "text":
        assert len(speakers["train"]) == len(speakers["test"]) == 1
        assert speakers["train"] == speakers["validation"] != speakers["test"]
    if values["SPLIT"] in ("text", "speaker_text"):
        assert not texts["test"] & (texts["train"] | texts["validation"])
    assert not texts["validation"] & texts["train"]  # TESS has texts enough
    for name in ("train", "validation", "test"):
        assert values_in(tess_clips, sets, name, "emotion") == set(EMOTIONS)


@each_disjoint
def test_same_seed_same_sets_and_another_seed_others(tess_clips, values):
    sets = sets_of(tess_clips, SEED=5, **values)
    np.testing.assert_array_equal(sets_of(tess_clips, SEED=5, **values), sets)
    assert (sets_of(tess_clips, SEED=6, **values) != sets).any()


@each_disjoint
def test_the_index_of_the_clips_is_no_matter(tess_clips, values):
    shuffled = tess_clips.set_index(np.arange(len(tess_clips))[::-1])
    np.testing.assert_array_equal(sets_of(shuffled, **values), sets_of(tess_clips, **values))


@pytest.mark.parametrize("record", ["demo", "tess_random_s0"])
def test_random_split_is_that_of_the_records(record):
    recorded = NOTEBOOK.parent.parent / "reports" / record
    if not (recorded / "split.csv.xz").is_file():
        pytest.skip(f"no record: reports/{record} is missing")
    table = pd.read_csv(recorded / "split.csv.xz", dtype=str, keep_default_na=False)
    seed = yaml.safe_load((recorded / "params.yaml").read_text())["SEED"]
    assert sets_of(table.assign(sha256=table["clip"]), SEED=seed).tolist() == table["set"].tolist()


@pytest.mark.parametrize(("test", "validation", "n_test", "n_validation"), [(0.15, 0.15, 30, 30), (0.3, 0.1, 60, 20)])
def test_text_split_shares_the_words_of_tess(tess_clips, test, validation, n_test, n_validation):
    sets = sets_of(tess_clips, SPLIT="text", TEST_FRACTION=test, VALIDATION_FRACTION=validation)
    counts = {name: len(values_in(tess_clips, sets, name, "text")) for name in ("train", "validation", "test")}
    assert counts == {"train": 200 - n_test - n_validation, "validation": n_validation, "test": n_test}
    for emotion in EMOTIONS:  # two of the 2,800 are missing
        of_test = ((sets == "test") & (tess_clips["emotion"] == emotion)).sum()
        assert 2 * n_test - 1 <= of_test <= 2 * n_test


def test_speaker_split_tests_the_whole_speaker_and_holds_out_words_of_the_other(tess_clips):
    sets = sets_of(tess_clips, SPLIT="speaker", TEST_SPEAKERS=["YAF"])
    assert ((sets == "test") == (tess_clips["speaker"] == "YAF")).all()
    assert Counter(sets)["test"] == 1399
    assert len(values_in(tess_clips, sets, "validation", "text")) == 30  # 15 % of 200
    assert 209 <= Counter(sets)["validation"] <= 210
    assert "unused" not in sets


def test_speaker_text_leaves_out_what_fits_no_set(tess_clips):
    sets = sets_of(tess_clips, SPLIT="speaker_text", TEST_SPEAKERS=["YAF"])
    test_texts = values_in(tess_clips, sets, "test", "text")
    assert len(test_texts) == 30
    one_of_two = (tess_clips["speaker"] == "YAF") != tess_clips["text"].isin(test_texts)
    assert ((sets == "unused") == one_of_two).all()
    # 170 words of OAF are left, of which 15 % are 25.5
    assert len(values_in(tess_clips, sets, "validation", "text")) in (25, 26)


def test_folds_without_a_number_leave_one_speaker_out_in_alphabetical_order():
    clips = crossed("cab", ["t1", "t2", "t3"])
    for fold, speaker in enumerate("abc"):
        sets = sets_of(clips, SPLIT="folds", FOLD=fold)
        assert ((sets == "test") == (clips["speaker"] == speaker)).all()


@pytest.mark.parametrize("n_folds", [2, 3, 5, 10])
def test_each_speaker_is_tested_in_one_fold(emodb_clips, n_folds):
    tested = []
    for fold in range(n_folds):
        sets = sets_of(emodb_clips, SPLIT="folds", N_FOLDS=n_folds, FOLD=fold, SEED=fold)
        speakers = values_in(emodb_clips, sets, "test", "speaker")
        assert not speakers & values_in(emodb_clips, sets, "train", "speaker")
        assert not speakers & values_in(emodb_clips, sets, "validation", "speaker")
        tested += speakers
    assert sorted(tested) == ["03", "08", "09", "10", "11", "12", "13", "14", "15", "16"]


@pytest.mark.parametrize("fold", range(10))
def test_with_ten_texts_validation_is_random_with_every_emotion_at_its_share(emodb_clips, fold):
    sets = sets_of(emodb_clips, SPLIT="folds", FOLD=fold)
    rest = sets != "test"
    assert len(values_in(emodb_clips, sets, "train", "text")) == 10
    for emotion in set(emodb_clips["emotion"]):
        of_emotion = (emodb_clips["emotion"] == emotion) & rest
        assert abs((of_emotion & (sets == "validation")).sum() - 0.15 * of_emotion.sum()) <= 1


@pytest.mark.parametrize(("n_texts", "apart"), [(19, False), (20, True)])
def test_validation_has_words_of_its_own_from_20_on(n_texts, apart):
    clips = crossed("ab", [f"t{number:02}" for number in range(n_texts)])
    sets = sets_of(clips, SPLIT="speaker", TEST_SPEAKERS=["b"])
    train, validation = (values_in(clips, sets, name, "text") for name in ("train", "validation"))
    assert (not train & validation) == apart


def test_emotion_said_once_is_no_obstacle_to_a_speaker_split():
    clips = table_of([("a", f"t{n}", "sad") for n in range(6)] + [("a", "t0", "fear"), ("b", "t0", "sad")])
    clips = pd.concat([clips, table_of([("a", f"t{n}", "happy") for n in range(6)])], ignore_index=True)
    clips["sha256"] = clips["clip"]
    sets = sets_of(clips, SPLIT="speaker", TEST_SPEAKERS=["b"])
    assert Counter(sets) == {"train": 11, "validation": 2, "test": 1}  # 15 % of 13 are 1.95


# Identical recordings


@pytest.mark.parametrize("values", [{}, *DISJOINT.values()], ids=["random", *DISJOINT])
def test_identical_recordings_are_never_in_two_sets(tess_clips, values):
    rng = np.random.default_rng(1)
    copies = tess_clips.copy()
    copies["sha256"] = [f"{number:x}" for number in rng.integers(0, 1500, len(copies))]  # most are there twice
    sets = sets_of(copies, **values)
    placed = copies["sha256"][sets != "unused"]
    assert placed.is_unique
    if values.get("SPLIT") != "speaker_text":
        assert len(placed) == copies["sha256"].nunique()


# Splits that the corpus does not allow


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"SPLIT": "speaker", "TEST_SPEAKERS": ["c"]}, "must name speakers of the corpus: a, b. Got 'c'."),
        ({"SPLIT": "speaker_text", "TEST_SPEAKERS": ["a", "B"]}, "must name speakers of the corpus: a, b. Got 'B'."),
        ({"SPLIT": "speaker", "TEST_SPEAKERS": ["a", "b"]}, "`TEST_SPEAKERS` must leave a speaker to train on."),
        ({"SPLIT": "folds", "FOLD": 2}, "`FOLD` must be below the number of folds (2). Got 2."),
        ({"SPLIT": "folds", "N_FOLDS": 3}, "Got 3 folds of 2 speakers."),
        ({"SPLIT": "text"}, "`SPLIT: text` needs texts of its own for each set. Got 2"),
    ],
)
def test_split_that_the_corpus_does_not_allow_is_refused(values, message):
    with pytest.raises(SerError) as caught:
        sets_of(crossed("ab", ["t1", "t2"]), **values)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("asked", "shown"),
    [("ASED_17", "corpus: ASED/17, "), ("oaf", "TESS/OAF"), ("@", "ASED/00, ASED/01, ASED/02, ASED/03, ASED/04 and ")],
)
def test_of_many_speakers_those_are_named_that_are_like_the_one_asked_for(asked, shown):
    known = [*(f"ASED/{number:02}" for number in range(60)), "TESS/OAF"]
    with pytest.raises(ParameterError) as caught:
        sets_of(crossed(known, ["t1"]), SPLIT="speaker", TEST_SPEAKERS=[asked])
    assert shown in str(caught.value) and len(str(caught.value)) < 150
    assert re.search(r"and \d\d others\. Got '", str(caught.value))


def test_folds_of_one_speaker_are_refused():
    with pytest.raises(ParameterError, match=r"needs at least two speakers.* Got 1 fold of 1 speaker"):
        sets_of(crossed("a", ["t1", "t2"]), SPLIT="folds")


def test_speaker_text_with_one_text_leaves_nothing_to_learn_from():
    with pytest.raises(DatasetError, match=r"must leave two clips to learn from.*speakers and texts\. Got 0"):
        sets_of(crossed("ab", ["t1"]), SPLIT="speaker_text", TEST_SPEAKERS=["b"])


def data_of(clips):
    labels = clips["emotion"].map({emotion: label for label, emotion in enumerate(EMOTIONS)}).to_numpy()
    return ProcessedData(**vars(processed(labels)) | {"clips": clips})


def refused(clips, params, **values):
    with pytest.raises(SerError) as caught:
        split_data(data_of(clips), make_params({"OUTPUT_DIR": params.OUTPUT_DIR} | values))
    assert "\n" not in str(caught.value)
    assert not params.output_dir.exists()
    return str(caught.value)


def test_test_corpus_of_copies_alone_is_refused(params):
    known = crossed("a", "xyz", ["sad", "happy"]).assign(corpus="TESS")
    copies = known.assign(clip="z" + known["clip"], corpus="OWN:copies")
    clips = pd.concat([known, copies], ignore_index=True)
    values = {"SPLIT": "corpus", "CORPORA": ["TESS"], "TEST_CORPORA": ["OWN:copies"]}
    assert refused(clips, params, **values).startswith("The test set must hold clips. Got none: those that would be in")


def test_emotion_that_training_lacks_is_refused(params):
    clips = pd.concat([crossed("a", "xyz", ["sad", "happy"]), crossed("b", "xyz", ["sad", "fear", "ps"])])
    clips = clips.reset_index(drop=True).assign(sha256=lambda table: table["clip"])
    message = refused(clips, params, SPLIT="speaker", TEST_SPEAKERS=["b"])
    assert message.startswith("The training set must hold every emotion of the test set. Got none of fear, ps.")


def test_training_on_one_emotion_is_refused(params):
    clips = pd.concat([crossed("a", "xyz", ["sad"]), crossed("b", "xyz", ["sad", "fear"])])
    clips = clips.reset_index(drop=True).assign(sha256=lambda table: table["clip"])
    message = refused(clips, params, SPLIT="speaker", TEST_SPEAKERS=["b"])
    assert message.startswith("The training set must hold at least two emotions. Got sad alone.")


def test_emotion_that_the_test_speaker_lacks_is_no_fault(params):
    clips = pd.concat([crossed("a", "xyzuv", ["sad", "fear", "ps"]), crossed("b", "xyz", ["sad"])])
    clips = clips.reset_index(drop=True).assign(sha256=lambda table: table["clip"])
    values = {"OUTPUT_DIR": params.OUTPUT_DIR, "SPLIT": "speaker", "TEST_SPEAKERS": ["b"]}
    table = split_data(data_of(clips), make_params(values))
    assert set(table.loc[table["set"] == "test", "emotion"]) == {"sad"}


def test_unused_clips_are_in_no_set_that_is_loaded(params):
    data = data_of(crossed("ab", [f"t{number}" for number in range(10)]))
    values = {"OUTPUT_DIR": params.OUTPUT_DIR, "SPLIT": "speaker_text", "TEST_SPEAKERS": ["b"], "TEST_FRACTION": 0.3}
    params = make_params(values)
    save_processed(params.processed_data_file, data)
    table = split_data(data, params)
    assert Counter(table["set"])["unused"] == 7 * (3 + 7)
    assert load_split(params, data.clips).tolist() == table["set"].tolist()
    loaded = load_sets(params)[1]
    assert list(loaded) == ["train", "validation", "test"]
    assert len(loaded["test"][0]) == len(np.load(params.output_dir / "x_test.npy")) == 7 * 3
    assert sum(len(X) for X, _, _ in loaded.values()) == 140 - 70


# The parameters of the split


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"SPLIT": "speaker"},
            "`TEST_SPEAKERS` must name the speakers of the test set with `SPLIT: speaker`. Got none.",
        ),
        ({"SPLIT": "speaker_text"}, "`TEST_SPEAKERS` must name the speakers"),
        ({"TEST_SPEAKERS": ["OAF"]}, "`TEST_SPEAKERS` needs `SPLIT` to be speaker or speaker_text. Got random."),
        ({"SPLIT": "folds", "TEST_SPEAKERS": ["OAF"]}, "`TEST_SPEAKERS` needs `SPLIT` to be speaker or speaker_text."),
        ({"FOLD": 1}, "`N_FOLDS` and `FOLD` need `SPLIT` to be folds, or must be null and 0. Got random."),
        (
            {"SPLIT": "text", "N_FOLDS": 2},
            "`N_FOLDS` and `FOLD` need `SPLIT` to be folds, or must be null and 0. Got text.",
        ),
        ({"SPLIT": "folds", "N_FOLDS": 5, "FOLD": 5}, "`FOLD` must be below `N_FOLDS` (5). Got 5."),
        ({"SPLIT": "Random"}, "`SPLIT` must be"),
        ({"SPLIT": "speaker", "TEST_SPEAKERS": [3]}, "`TEST_SPEAKERS` must be a valid string. Got 3."),
        ({"N_FOLDS": 1}, "`N_FOLDS` must be greater than or equal to 2. Got 1."),
    ],
)
def test_parameters_that_say_nothing_together_are_refused(values, message):
    with pytest.raises(ParameterError) as caught:
        make_params(values)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_split_file_may_say_who_the_test_speakers_are():
    assert make_params({"SPLIT": "speaker", "SPLIT_FILE": "split.csv"}).TEST_SPEAKERS == []


# Splits of others


@pytest.fixture
def six(tmp_path):
    """Two speakers with texts x, y and z, sad and happy; a way to write a split file; and to split by it."""
    clips = crossed("ab", "xyz", ["sad", "happy"])

    class Six:
        table = clips
        file = tmp_path / "theirs.csv"

        def write(self, sets, **columns):
            named = [clip for clip in clips["clip"] if sets.get(clip.removeprefix("C/"))]
            rows = pd.DataFrame({"clip": named, "set": [sets[clip.removeprefix("C/")] for clip in named]})
            rows.assign(**columns).to_csv(self.file, index=False)

        def split(self, **values):
            values |= {"OUTPUT_DIR": str(tmp_path / "out"), "SPLIT_FILE": str(self.file)}
            return split_data(data_of(clips), make_params(values))

    return Six()


def by_rule(rule):
    return {
        f"{speaker}_{text}_{emotion}": rule(speaker, text) for speaker in "ab" for text in "xyz"
        for emotion in ("sad", "happy")
    }  # fmt: skip


BY_TEXT = by_rule(lambda speaker, text: {"x": "train", "y": "validation", "z": "test"}[text])
BY_SPEAKER = by_rule(lambda speaker, text: "test" if speaker == "b" else {"z": "validation"}.get(text, "train"))
BY_BOTH = by_rule(lambda speaker, text: {"ax": "train", "ay": "validation", "bz": "test"}.get(speaker + text))


def test_split_file_is_followed(six):
    six.write(BY_TEXT, fold=3, speaker="someone else")
    table = six.split()
    assert dict(zip(table["clip"].str.removeprefix("C/"), table["set"], strict=True)) == BY_TEXT
    assert set(table["speaker"]) == {"a", "b"}


def test_clips_that_the_file_does_not_name_are_left_out(six):
    six.write(BY_BOTH)
    table = six.split()
    assert Counter(table["set"]) == {"unused": 6, "train": 2, "validation": 2, "test": 2}


def test_order_of_rows_is_no_matter_and_a_byte_order_mark_none(six):
    six.write(BY_TEXT)
    header, *rows = six.file.read_text().splitlines()
    six.file.write_text("\n".join([header, *rows[::-1]]), encoding="utf-8-sig")
    table = six.split()
    assert dict(zip(table["clip"].str.removeprefix("C/"), table["set"], strict=True)) == BY_TEXT


def test_split_of_a_run_is_a_split_file(six, tmp_path):
    six.write(BY_BOTH)
    table = six.split()
    assert read_split_file(str(tmp_path / "out" / "split.csv"), six.table).tolist() == table["set"].tolist()


@pytest.mark.parametrize(
    ("sets", "keeps"),
    [
        (BY_TEXT, {"random", "text"}),
        (BY_SPEAKER, {"random", "speaker", "folds"}),
        (BY_BOTH, {"random", "text", "speaker", "speaker_text", "folds"}),
    ],
    ids=["by text", "by speaker", "by both"],
)
@pytest.mark.parametrize("name", ["random", "text", "speaker", "speaker_text", "folds"])
def test_split_file_must_keep_what_split_promises(six, tmp_path, sets, keeps, name):
    six.write(sets)
    if name in keeps:
        assert set(six.split(SPLIT=name)["set"]) >= {"train", "validation", "test"}
        return
    with pytest.raises(DatasetError, match=rf"^`SPLIT: {name}` promises that no (speaker|text) of the") as caught:
        six.split(SPLIT=name)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_broken_promise_is_told_with_counts_and_a_clip(six):
    six.write(BY_TEXT | {"a_z_sad": "train"})
    with pytest.raises(DatasetError) as caught:
        six.split(SPLIT="text")
    # of the test clips a_z_happy, b_z_sad and b_z_happy, all share z
    assert str(caught.value) == (
        "`SPLIT: text` promises that no text of the test set is in train or validation. Got 3 of 3 clips that share "
        "one, such as C/a_z_happy. Correct SPLIT_FILE, or set SPLIT to random, which only shows what is shared."
    )


def test_text_of_a_validation_clip_in_training_breaks_a_text_split(six):
    six.write(BY_TEXT | {"a_y_sad": "train"})
    with pytest.raises(DatasetError, match=r"no text of the validation set is in train\. Got 3 of 3"):
        six.split(SPLIT="text")


@pytest.mark.parametrize(("split_by", "sets"), [("text", BY_TEXT), ("speaker", BY_SPEAKER), ("folds", BY_SPEAKER)])
def test_identical_recordings_break_any_promise_but_are_shown_at_random(six, split_by, sets):
    first = next(clip for clip, name in sets.items() if name == "train")
    last = [clip for clip, name in sets.items() if name == "test"][-1]
    six.table.loc[six.table["clip"].isin([f"C/{first}", f"C/{last}"]), "sha256"] = "same"
    six.write(sets)
    with pytest.raises(DatasetError, match=f"no audio of the test set .* Got 1 of . clips .* C/{last}"):
        six.split(SPLIT=split_by)
    table = six.split()
    assert leakage(six.table.assign(set=table["set"]))["test"]["audio"]["clips"] == 1


def test_test_speakers_beside_a_file_must_be_its_own(six):
    six.write(BY_SPEAKER)
    assert len(six.split(SPLIT="speaker", TEST_SPEAKERS=["b"])) == 12
    with pytest.raises(ParameterError, match=r"must be of `TEST_SPEAKERS` \(a\)\. Got b\."):
        six.split(SPLIT="speaker", TEST_SPEAKERS=["a"])


HEADER, FIRST = "clip,set\n", "C/a_x_sad,train\n"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "must be a CSV file. Got No columns"),
        (b"\xff\xfe\x00", "must be a CSV file. Got 'utf-8' codec"),
        (HEADER + FIRST + "a,b,c,d\n", "must be a CSV file. Got Error tokenizing"),
        ("clip;set\nC/a_x_sad;train\n", "must have the columns clip and set. Got 'clip;set'"),
        ("file,set\nC/a_x_sad,train\n", "must have the columns clip and set. Got 'file', 'set'"),
        (HEADER, "must have clips in each of train, validation, test. Got none in train"),
        (HEADER + FIRST + "C/a_y_sad,test\n", "Got none in validation"),
        (HEADER + FIRST + "C/a_y_sad,exam\n", "(or unused). Got 'exam'"),
        (HEADER + FIRST + "C/a_y_sad,\n", "(or unused). Got ''"),
        (HEADER + FIRST + "C/a_y_sad,Test\n", "Got 'Test'"),
        (HEADER + FIRST + FIRST, "must name a clip once. Got C/a_x_sad twice"),
        (HEADER + FIRST + "C/a_x_sad,test\n", "must name a clip once. Got C/a_x_sad twice"),
        (HEADER + FIRST + "nan,test\n", "(clips.csv lists them). Got 'nan'"),
        (HEADER + FIRST + "C/no,test\nC/none,test\n", "(clips.csv lists them). Got 'C/no' and 1 more"),
        (HEADER + '"C/a\nx",test\n', "Got 'C/a\\nx'"),
        ('clip,"se\nt"\n', "must have the columns clip and set. Got 'clip', 'se\\nt'"),
    ],
)
def test_split_file_that_is_wrong_is_refused(six, content, reason):
    six.file.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ParameterError) as caught:
        six.split()
    assert str(caught.value).startswith("`SPLIT_FILE` must ")
    assert reason in str(caught.value)
    assert str(caught.value).endswith("in theirs.csv. Correct the file.")
    assert str(caught.value).isprintable()


def test_split_file_that_is_missing_or_a_folder_is_refused(six):
    with pytest.raises(ParameterError, match=r"must be a CSV file\. Got No such file or directory in theirs\.csv"):
        six.split()
    six.file.mkdir()
    with pytest.raises(ParameterError, match=r"must be a CSV file\. Got Is a directory in theirs\.csv"):
        six.split()


def test_split_file_lies_below_the_project(six, root):
    six.write(BY_TEXT)
    (root / "splits").mkdir()
    six.file.rename(root / "splits" / "theirs.csv")
    assert len(read_split_file("splits/theirs.csv", six.table)) == 12


# Leakage


def test_leakage_counted_by_hand(six):
    rows = [
        ("a", "x", "1", "train"), ("a", "y", "2", "train"),
        ("b", "z", "3", "validation"), ("b", "x", "2", "validation"),
        ("a", "z", "4", "test"), ("b", "x", "5", "test"), ("c", "x", "1", "test"), ("c", "w", "3", "test"),
        ("a", "x", "5", "unused"),
    ]  # fmt: skip
    found = leakage(pd.DataFrame(rows, columns=["speaker", "text", "sha256", "set"]))
    assert found == {
        "test": {
            "clips": 4,
            "speaker": {"clips": 1, "share": 0.25},
            "text": {"clips": 2, "share": 0.5},
            "audio": {"clips": 1, "share": 0.25},
        },
        "validation": {
            "clips": 2,
            "speaker": {"clips": 0, "share": 0.0},
            "text": {"clips": 1, "share": 0.5},
            "audio": {"clips": 1, "share": 0.5},
        },
    }
    shown = leakage_table(found)
    assert shown.loc["test"].to_dict() == {
        "clips": "4", "same speaker": "1 (25.0%)", "same text": "2 (50.0%)", "same audio": "1 (25.0%)"
    }  # fmt: skip
    assert list(shown.index) == ["test", "validation"]
    assert describe_leakage(found) == (
        "Of 4 test clips, 1 (25.0%) share the speaker, 2 (50.0%) the text and 1 (25.0%) the very recording with a "
        "training clip. The test figures speak of voices that the model knows in part and texts that it knows in part. "
        "Some are training clips, be it in another format: their share is known by heart."
    )


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({}, "voices that the model knows and texts that it knows."),
        (DISJOINT["text"], "voices that the model knows and texts that it has never heard."),
        (DISJOINT["OAF-YAF"], "voices that the model has never heard and texts that it knows in part."),
        (DISJOINT["speaker_text"], "voices that the model has never heard and texts that it has never heard."),
    ],
    ids=["random", "text", "speaker", "speaker_text"],
)
def test_sentence_says_what_the_split_of_tess_tests(tess_clips, values, sentence):
    assert describe_leakage(leakage(tess_clips.assign(set=sets_of(tess_clips, **values)))).endswith(sentence)


def test_leakage_is_stored_beside_the_split(params):
    data = processed(labels_of([20] * 7))
    table = split_data(data, params)
    stored = json.loads((params.output_dir / "leakage.json").read_text())
    assert stored == leakage(data.clips.assign(set=table["set"]))
    # one speaker, 140 texts and recordings
    assert stored["test"]["speaker"] == {"clips": 21, "share": 1.0}
    assert stored["test"]["text"] == stored["test"]["audio"] == {"clips": 0, "share": 0.0}


# The notebook


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({}, "split by random"),
        ({"SPLIT": "text"}, "split by text"),
        ({"SPLIT": "speaker", "TEST_SPEAKERS": ["b"]}, "voices that the model has never heard and texts that it knows"),
        ({"SPLIT": "speaker_text", "TEST_SPEAKERS": ["b"]}, "never heard and texts that it has never heard."),
        ({"SPLIT": "folds", "N_FOLDS": 2, "FOLD": 1}, "split by folds"),
        ({"SPLIT_FILE": "theirs.csv"}, "split by theirs.csv"),
    ],
    ids=["random", "text", "speaker", "speaker_text", "folds", "file"],
)
def test_notebook_shows_every_split(root, capsys, values, said):
    clips = crossed("ab", [f"t{number:02}" for number in range(20)])
    save_processed(make_params({}).processed_data_file, data_of(clips.assign(file=clips["clip"])))
    clips.assign(set=["train", "train", "validation", "test"] * 70)[["clip", "set"]].to_csv(
        root / "theirs.csv", index=False
    )
    variables = {}
    for cell in nbformat.read(NOTEBOOK, 4).cells:
        if cell.cell_type == "code" and "colab" not in cell.metadata.get("tags", []):
            exec(cell.source, variables)
            variables |= values if "parameters" in cell.metadata.get("tags", []) else {}
    plt.close("all")
    output = capsys.readouterr().out
    assert "280 clips" in output and said in output
    assert json.loads((root / "artifacts/interactive/leakage.json").read_text()) == variables["found"]
    assert variables["sizes"]["clips"].sum() == 280
