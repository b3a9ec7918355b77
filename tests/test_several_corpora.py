"""Several corpora in one run, corpora to test on, and fewer emotions than seven."""

import json

import numpy as np
import pytest

from ser_lib.core.errors import DatasetError, ParameterError
from ser_lib.params import make_params
from ser_lib.preprocess import preprocess_data
from ser_lib.split import split_data
from ser_lib.store import load_sets

pytestmark = pytest.mark.filterwarnings(
    "ignore:__array__ implementation doesn't accept a copy:DeprecationWarning:keras"
)
RATE = 16000
SMALL = {"N_JOBS": 1, "BOOTSTRAP_SAMPLES": 100, "LSTM_UNITS": 2, "DENSE_UNITS": 2, "EPOCHS": 1, "ROBUSTNESS": False}


@pytest.fixture
def two(root, make_corpus, write_wav):
    """TESS with four emotions, two speakers and two words; EMO-DB with three, one of them boredom, and two speakers."""
    make_corpus(root / "data" / "TESS", words=("back", "bar", "base"), emotions=("neutral", "sad", "angry", "ps"))
    rng = np.random.default_rng(1)
    for name in ("03a01Wa", "03a01Ta", "03a02La", "08a01Wa", "08a01Ta", "08a02La", "08a02Lb", "08a02Fa"):
        write_wav(root / "data" / "EMODB" / "wav" / f"{name}.wav", 0.3 * rng.standard_normal(RATE // 2), RATE)
    return root


def params_of(**changes):
    return make_params({"CORPORA": ["TESS", "EMODB"], "DATASET_PATH": "data"} | SMALL | changes)


def test_speakers_texts_and_files_of_two_corpora_are_told_apart(two):
    params = params_of()
    clips = preprocess_data(params).clips
    assert set(clips["speaker"]) == {"TESS/OAF", "TESS/YAF", "EMODB/03", "EMODB/08"}
    assert set(clips["text"]) == {"TESS/back", "TESS/bar", "TESS/base", "EMODB/a01", "EMODB/a02"}
    assert clips["clip"].is_monotonic_increasing and clips["clip"].str.split("/").str[0].eq(clips["corpus"]).all()
    assert all((two / "data" / file).is_file() for file in clips["file"])
    assert len(clips) == 24 + 5  # of EMO-DB, three of boredom are left out


def test_one_corpus_has_plain_names(two):
    params = params_of(CORPORA=["TESS"], DATASET_PATH="data/TESS")
    assert set(preprocess_data(params).clips["speaker"]) == {"OAF", "YAF"}


def test_label_map_changes_the_counts_and_what_is_stored(two, capsys):
    def counts(**changes):
        data = preprocess_data(params_of(**changes))
        of_emodb = data.clips["corpus"] == "EMODB"
        return data.clips["emotion"][of_emodb].value_counts().to_dict(), len(data.skipped)

    assert counts() == ({"angry": 2, "sad": 2, "happy": 1}, 3)
    assert counts(LABEL_MAP={"boredom": "sad"}) == ({"sad": 5, "angry": 2, "happy": 1}, 0)
    assert counts(LABEL_MAP={"boredom": "neutral", "happy": None}) == ({"neutral": 3, "angry": 2, "sad": 2}, 1)
    assert "Loaded again" not in capsys.readouterr().out
    assert counts(LABEL_MAP={"boredom": "neutral", "happy": None})[1] == 1
    assert "Loaded again" in capsys.readouterr().out


def test_label_map_of_an_emotion_that_no_corpus_has_is_refused(two):
    with pytest.raises(ParameterError, match=r"`LABEL_MAP` must map emotions of TESS, EMODB: .*Got 'calm'\."):
        preprocess_data(params_of(LABEL_MAP={"calm": "neutral"}))


def test_missing_folder_of_one_corpus_is_named(two):
    (two / "data" / "EMODB").rename(two / "data" / "elsewhere")
    with pytest.raises(DatasetError, match=r"must be the folder of EMODB"):
        preprocess_data(params_of())


def test_test_corpora_are_the_test_set_and_unlearnt_emotions_are_unused(two):
    params = params_of(CORPORA=["TESS"], TEST_CORPORA=["EMODB"], SPLIT="corpus", VALIDATION_FRACTION=0.2)
    table = split_data(preprocess_data(params), params)
    by_set = dict(iter(table.groupby("set")))
    assert set(by_set["test"]["corpus"]) == {"EMODB"} and len(by_set["test"]) == 4
    assert by_set["unused"]["emotion"].tolist() == ["happy"]  # TESS, as it is here, has none
    assert set(by_set["train"]["corpus"]) == set(by_set["validation"]["corpus"]) == {"TESS"}
    leakage = json.loads((params.output_dir / "leakage.json").read_text())
    assert [leakage["test"][thing]["clips"] for thing in ("speaker", "text", "audio")] == [0, 0, 0]
    _, sets = load_sets(params)
    assert {name: y.shape[1] for name, (_, y, _) in sets.items()} == dict.fromkeys(sets, 4)
    y_test = np.load(params.output_dir / params.Y_TEST_FILE)
    # neutral, sad, angry, ps: the columns of the training set's emotions; EMO-DB has two angry clips and two sad ones
    assert y_test.sum(axis=0).tolist() == [0, 2, 2, 0]


def test_split_file_that_mixes_the_corpora_is_refused(two):
    params = params_of(CORPORA=["TESS"], TEST_CORPORA=["EMODB"], SPLIT="corpus", SPLIT_FILE="mine.csv")
    data = preprocess_data(params)
    sets = np.where(data.clips["speaker"] == "TESS/YAF", "test", "train").astype("<U10")
    sets[data.clips["text"] == "TESS/back"] = "validation"
    data.clips.assign(set=sets)[["clip", "set"]].to_csv(two / "mine.csv", index=False)
    with pytest.raises(ParameterError, match=r"must be of `TEST_CORPORA` \(EMODB\)\. Got TESS\."):
        split_data(data, params)
    mixed = params_of(SPLIT="corpus", SPLIT_FILE="mine.csv")
    with pytest.raises(DatasetError, match=r"`SPLIT: corpus` promises that no corpus of the test set is in train"):
        split_data(data, mixed)


def test_test_corpora_without_their_split_are_refused(two):
    params = params_of(CORPORA=["TESS"], TEST_CORPORA=["EMODB"])
    with pytest.raises(ParameterError, match=r"`TEST_CORPORA` needs `SPLIT: corpus`"):
        split_data(preprocess_data(params), params)


def test_four_emotions_work_from_the_split_to_a_prediction(two):
    from ser_lib.evaluate import evaluate_baselines, evaluate_model
    from ser_lib.model.bundle import load_bundle
    from ser_lib.predict import predict_emotion_from_file
    from ser_lib.records.record import Record
    from ser_lib.train import train_model

    params = params_of(CORPORA=["TESS"], TEST_CORPORA=["EMODB"], SPLIT="corpus", VALIDATION_FRACTION=0.2)
    data = preprocess_data(params)
    split_data(data, params)
    model, _ = train_model(params)
    assert model.output_shape == (None, 4)
    bundle = load_bundle(params.output_dir)
    assert bundle.info.emotions == ["neutral", "sad", "angry", "ps"]
    assert bundle.info.corpora == ["TESS"]
    metrics, predictions = evaluate_model(bundle, params)
    baselines = evaluate_baselines(predictions, params)
    assert metrics["emotions"] == bundle.info.emotions
    assert set(metrics["corpora"]) == {"EMODB"}
    for values in (metrics["test"], metrics["validation"], *baselines.values()):
        assert np.array(values["confusion_matrix"]).shape == (4, 4)
    # rows are true emotions: two sad and two angry clips of EMO-DB
    assert np.array(metrics["test"]["confusion_matrix"]).sum(axis=1).tolist() == [0, 2, 2, 0]
    assert set(metrics["test"]["per_class"]) == {"sad", "angry"}
    assert [name for name in predictions if name.startswith("p_")] == ["p_neutral", "p_sad", "p_angry", "p_ps"]
    assert Record(params.output_dir, None).evaluation["emotions"] == bundle.info.emotions
    said = predict_emotion_from_file(two / "data" / "EMODB" / "wav" / "03a01Wa.wav", bundle)
    assert list(said.probabilities) == ["neutral", "sad", "angry", "surprised"]
    assert sum(said.probabilities.values()) == pytest.approx(1, abs=1e-5)


def test_a_folder_of_ones_own_in_mixed_formats_needs_two_parameters(root, write_wav):
    import soundfile
    from test_audio import encode

    from ser_lib.evaluate import evaluate_model
    from ser_lib.model.bundle import load_bundle
    from ser_lib.predict import predict_emotion_from_file
    from ser_lib.train import train_model

    rng, formats = np.random.default_rng(3), ("wav", "flac", "mp3", "ogg", "m4a")
    for emotion in ("Happy", "sadness", "ANGRY"):
        for number in range(10):
            signal = (0.3 * rng.standard_normal(22050 + 1000 * number)).astype(np.float32)
            path = root / "my voices" / emotion / f"take {number}.{formats[number % 5]}"
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.suffix == ".m4a":
                encode(path, signal, 44100, "aac")
            else:
                soundfile.write(path, np.stack([signal, signal], axis=1) if number % 2 else signal, 44100)
    params = make_params({"CORPORA": ["OWN"], "DATASET_PATH": "my voices"} | SMALL)
    data = preprocess_data(params)
    assert data.skipped.empty and data.clips["emotion"].value_counts().to_dict() == dict.fromkeys(
        ("happy", "sad", "angry"), 10
    )
    split_data(data, params)
    train_model(params)
    bundle = load_bundle(params.output_dir)
    metrics, _ = evaluate_model(bundle, params)
    assert metrics["emotions"] == ["happy", "sad", "angry"]
    for file in data.clips["file"][:5]:
        said = predict_emotion_from_file(root / "my voices" / file, bundle)
        assert list(said.probabilities) == ["happy", "sad", "angry"]
