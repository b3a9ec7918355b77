import numpy as np
import pandas as pd
import pytest

from ser_lib.errors import DatasetError, StageError
from ser_lib.labels import EMOTIONS
from ser_lib.params import make_params
from ser_lib.settings import AudioSettings
from ser_lib.split import split_clips, split_data
from ser_lib.store import ProcessedData, load_sets, load_split, save_processed

TESS_COUNTS = [400, 400, 399, 399, 400, 400, 400]
SETTINGS = AudioSettings(
    sampling_rate=24414,
    frame_length=64,
    hop_length=16,
    features="mfcc",
    n_mfcc=1,
    n_mels=128,
    mel_fmin=0.0,
    trim_top_db=30.0,
    denoise=False,
    normalize_per_speaker=False,
    denoise_reference=False,
    target_length=16,
)


def labels_of(counts, seed=0):
    return np.random.default_rng(seed).permutation(np.repeat(np.arange(len(counts)), counts))


def split(labels, *, validation=0.15, test=0.15, seed=0):
    return split_clips(labels, validation_fraction=validation, test_fraction=test, seed=seed)


def processed(labels):
    names = [f"TESS/OAF_{number:03}_{EMOTIONS[label]}" for number, label in enumerate(labels)]
    clips = pd.DataFrame({"clip": names, "corpus": "TESS", "speaker": "OAF", "emotion": [EMOTIONS[i] for i in labels]})
    clips["text"] = [f"{number:03}" for number in range(len(labels))]
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
