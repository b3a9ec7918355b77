import hashlib
import json
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import balanced_accuracy_score
from test_store import tiny_data

from ser_lib import evaluate, store
from ser_lib.audio import clips as work
from ser_lib.audio import degrade
from ser_lib.audio.features import process_audio_file
from ser_lib.audio.normalize import Statistics
from ser_lib.core import io
from ser_lib.core.cache import open_cache
from ser_lib.core.errors import AudioError, BundleError, RunError, StageError
from ser_lib.core.labels import EMOTIONS
from ser_lib.model.bundle import Bundle
from ser_lib.model.calibration import calibrate
from ser_lib.params import make_params
from ser_lib.records.record import Record
from ser_lib.scoring import metrics


def fixed_probabilities(X, n_classes=7):
    """Stand-in for a model: a softmax of the features of the first frames."""
    scores = np.exp(X.reshape(len(X), -1)[:, :n_classes] / 5)
    return (scores / scores.sum(axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture
def stage(project):
    """Tiny data, split six, one, one per emotion, and a model."""
    params, data = make_params({}), tiny_data()
    sets = np.array((["train"] * 6 + ["validation", "test"]) * 7)
    store.save_processed(params.processed_data_file, data)
    io.write_csv(params.output_dir / "split.csv", data.clips.assign(set=sets))
    io.write_array(params.output_dir / "x_test.npy", data.X[sets == "test"])
    io.write_array(params.output_dir / "y_test.npy", store.one_hot(data.y[sets == "test"]))
    split = (params.output_dir / store.SPLIT_FILE).read_bytes()
    split_sha256 = hashlib.sha256(split).hexdigest()
    info = SimpleNamespace(
        data_fingerprint=data.fingerprint,
        split_sha256=split_sha256,
        temperature=2.0,
        speakers={},
        emotions=list(EMOTIONS),
        left_out=None,
    )
    return SimpleNamespace(
        params=params, data=data, bundle=SimpleNamespace(probabilities=fixed_probabilities, info=info)
    )


def test_metrics_file_is_as_promised(stage):
    returned, _ = evaluate.evaluate_model(stage.bundle, stage.params)
    stored = json.loads((stage.params.output_dir / "metrics.json").read_text())
    assert stored == returned
    names = {"test", "validation", "temperature", "speakers", "texts", "known", "bootstrap", "emotions", "corpora"}
    assert set(stored) == names | {"coverage"}
    assert stored["emotions"] == list(EMOTIONS)
    figures = {name: pytest.approx(stored["test"][name]) for name in ("n_clips", "accuracy", "uar")}
    assert stored["corpora"] == {"DEMO": figures}
    for results in (stored["test"], stored["validation"]):
        assert 0 <= results["accuracy"] <= 1 and results["loss"] > 0
        assert list(results["per_class"]) == list(EMOTIONS)
        assert np.mean(list(results["per_class"].values())) == pytest.approx(results["accuracy"])  # one clip each
    assert stored["test"] != stored["validation"]


def test_predictions_file_is_as_promised(stage):
    evaluate.evaluate_model(stage.bundle, stage.params)
    table = pd.read_csv(stage.params.output_dir / "test_predictions.csv")
    columns = [f"p_{emotion}" for emotion in EMOTIONS]
    assert list(table) == ["clip", "corpus", "speaker", "text", "true", "predicted", *columns]
    assert table["clip"].tolist() == stage.data.clips["clip"].tolist()[7::8]
    assert table["true"].tolist() == list(EMOTIONS)
    expected = fixed_probabilities(stage.data.X[7::8])
    np.testing.assert_allclose(table[columns].to_numpy(), expected, atol=0.51e-6)
    assert table["predicted"].tolist() == [EMOTIONS[label] for label in expected.argmax(axis=1)]
    accuracy = json.loads((stage.params.output_dir / "metrics.json").read_text())["test"]["accuracy"]
    assert (table["true"] == table["predicted"]).mean() == pytest.approx(accuracy)


def test_labels_of_another_test_set_are_refused(stage):
    io.write_array(stage.params.output_dir / "y_test.npy", np.eye(7, dtype=np.float32)[::-1])
    with pytest.raises(BundleError, match=r"y_test\.npy.*Run 02_split again"):
        evaluate.evaluate_model(stage.bundle, stage.params)
    assert not (stage.params.output_dir / "metrics.json").exists()


def test_features_of_another_test_set_are_refused(stage):
    io.write_array(stage.params.output_dir / "x_test.npy", tiny_data(seed=2).X[7::8])
    with pytest.raises(BundleError, match=r"x_test\.npy.*Run 02_split again"):
        evaluate.evaluate_model(stage.bundle, stage.params)


@pytest.mark.parametrize("name", ["data_fingerprint", "split_sha256"])
def test_model_trained_on_other_features_or_another_split_is_refused(stage, name):
    setattr(stage.bundle.info, name, "0" * 64)
    with pytest.raises(BundleError, match="Run 03_train again"):
        evaluate.evaluate_model(stage.bundle, stage.params)
    assert not (stage.params.output_dir / "metrics.json").exists()


@pytest.mark.parametrize("name", ["processed_data.npz", "split.csv", "x_test.npy", "y_test.npy"])
def test_missing_file_is_named(stage, name):
    (stage.params.output_dir / name).unlink()
    with pytest.raises(StageError, match=rf"{name} is not there yet. Run 0[12]_\w+ first"):
        evaluate.evaluate_model(stage.bundle, stage.params)


def test_sets_have_intervals_and_both_calibration_errors(stage):
    results, _ = evaluate.evaluate_model(stage.bundle, stage.params)
    after = fixed_probabilities(stage.data.X[7::8])
    labels = np.arange(7)
    test = results["test"]
    assert test["ece"] == pytest.approx(metrics.ece(labels, after))
    assert test["ece_uncalibrated"] == pytest.approx(metrics.ece(labels, calibrate(after, 0.5)))
    assert results["coverage"] == {"test": metrics.coverage(labels, after)}
    for name in ("test", "validation"):
        assert set(results[name]["intervals"]) == {"accuracy", "uar", "macro_f1"}
        for headline, (low, high) in results[name]["intervals"].items():
            assert 0 <= low <= results[name][headline] <= high <= 1
    drawn = metrics.resample(labels, after.argmax(axis=1), labels, n_samples=2000, seed=0)
    assert test["intervals"]["uar"] == np.percentile(drawn["uar"], [2.5, 97.5]).tolist()


def test_who_was_tested_is_counted(stage):
    results, _ = evaluate.evaluate_model(stage.bundle, stage.params)
    assert (results["temperature"], results["speakers"], results["texts"]) == (2, 1, 1)
    assert results["known"] == {"speakers": 1, "texts": 1}
    assert results["bootstrap"] == {"cluster": "clip", "clusters": 7, "samples": 2000}


def test_speakers_and_texts_that_training_lacks_are_not_known():
    train = pd.DataFrame({"speaker": ["a", "b"], "text": ["x", "y"]})
    test = pd.DataFrame({"speaker": ["b", "b", "c", "c"], "text": ["x", "x", "z", "z"]})
    found = evaluate._describe(train, test, make_params({}))
    assert (found["speakers"], found["texts"], found["known"]) == (2, 2, {"speakers": 1, "texts": 1})
    assert found["bootstrap"]["cluster"] == "speaker and text" and found["bootstrap"]["clusters"] == 2


def test_seed_and_number_of_resamples_are_those_asked_for(stage):
    once, _ = evaluate.evaluate_model(stage.bundle, stage.params)
    again, _ = evaluate.evaluate_model(stage.bundle, stage.params)
    assert once == again
    other, _ = evaluate.evaluate_model(stage.bundle, make_params({"SEED": 5, "BOOTSTRAP_SAMPLES": 101}))
    assert other["bootstrap"]["samples"] == 101
    assert other["test"]["uar"] == once["test"]["uar"]


def test_calibration_before_and_after(stage):
    bins = evaluate.evaluate_calibration(stage.bundle, stage.params)
    after = fixed_probabilities(stage.data.X[7::8])
    for when, probabilities in (("after", after), ("before", calibrate(after, 0.5))):
        assert bins[when]["clips"].sum() == 7
        expected = probabilities.max(axis=1).mean()
        assert (bins[when]["clips"] * bins[when]["confidence"]).sum() / 7 == pytest.approx(expected)


# Baselines


def test_baselines_learn_from_the_training_set_alone(stage, monkeypatch):
    seen = []

    def predict(X_train, y_train, X_test):
        seen.append((X_train, y_train, X_test))
        return {"majority": np.zeros(len(X_test), dtype=int), "svm": np.tile(np.arange(7), 2)}

    monkeypatch.setattr(evaluate, "predict_baselines", predict)
    results, predictions = evaluate.evaluate_model(stage.bundle, stage.params)
    baselines = evaluate.evaluate_baselines(predictions, stage.params)
    training = np.flatnonzero(np.arange(56) % 8 < 6)
    ((X_train, y_train, X_test),) = seen
    np.testing.assert_array_equal(X_train, stage.data.pooled[training])
    np.testing.assert_array_equal(y_train, stage.data.y[training])
    np.testing.assert_array_equal(X_test, np.concatenate([stage.data.pooled[7::8], stage.data.pooled[6::8]]))
    assert (baselines["majority"]["uar"], baselines["svm"]["uar"]) == (pytest.approx(1 / 7), 1)
    assert (baselines["majority"]["validation_uar"], baselines["svm"]["validation_uar"]) == (pytest.approx(1 / 7), 1)
    assert baselines["svm"]["intervals"]["accuracy"] == [1, 1]
    stored = json.loads((stage.params.output_dir / "metrics.json").read_text())
    assert stored == results | {"baselines": baselines}


def test_lead_is_the_interval_of_the_difference_over_the_same_resamples(stage, monkeypatch):
    _, predictions = evaluate.evaluate_model(stage.bundle, stage.params)
    same = np.array([EMOTIONS.index(emotion) for emotion in predictions["predicted"]])
    given = {"same": np.tile(same, 2), "right": np.tile(np.arange(7), 2)}
    monkeypatch.setattr(evaluate, "predict_baselines", lambda *_: given)
    baselines = evaluate.evaluate_baselines(predictions, stage.params)
    assert baselines["same"]["lead"] == [0, 0]  # the same mistakes: no draw tells them apart
    drawn = metrics.resample(np.arange(7), same, np.arange(7), n_samples=2000, seed=0)["uar"]
    assert baselines["right"]["lead"] == np.percentile(drawn - 1, [2.5, 97.5]).tolist()


def test_real_baselines_fit_the_schema_of_records(stage):
    results, predictions = evaluate.evaluate_model(stage.bundle, stage.params)
    baselines = evaluate.evaluate_baselines(predictions, stage.params)
    record = Record(stage.params.output_dir, None)
    assert list(baselines) == ["majority", "linear", "svm"]
    assert json.loads(json.dumps(record.baselines)) == baselines
    assert json.loads(json.dumps(record.metrics)) == {name: results[name] for name in ("test", "validation")}
    assert set(record.evaluation) == set(results) | {"baselines"}
    assert record.robustness == {}


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("temperature",), 0),
        (("temperature",), None),
        (("speakers",), -1),
        (("known",), {"voices": 1}),
        (("bootstrap", "cluster"), "word"),
        (("test", "ece"), 1.5),
        (("test", "macro_f1"), float("nan")),
        (("test", "precision"), {"sad": -0.1}),
        (("test", "intervals", "uar"), [0.9, 0.1]),
        (("test", "intervals", "uar"), [0.1]),
        (("test", "intervals", "loss"), [0.1, 0.2]),
        (("test",), None),
        (("baselines", "svm", "lead"), "much"),
        (("baselines", "svm", "confusion_matrix"), [[1], [2]]),
        (("baselines", "svm", "confusion_matrix"), [[1, 2], [2, 3]]),
        (("emotions",), ["happy", "sad"]),
        (("emotions",), ["happy", "bored"]),
        (("corpora",), {"TESS": {"n_clips": 1, "accuracy": 2, "uar": 0}}),
        (("robustness",), {"telephone": {"accuracy": 2, "uar": 0.5, "unusable": 0}}),
        (("test", "uar"), "0.9"),
        (("anything",), 1),
    ],
)
def test_record_with_odd_metrics_is_damaged(stage, place, value):
    _, predictions = evaluate.evaluate_model(stage.bundle, stage.params)
    evaluate.evaluate_baselines(predictions, stage.params)
    path = stage.params.output_dir / "metrics.json"
    stored = json.loads(path.read_text())
    *above, last = place
    inner = stored
    for name in above:
        inner = inner[name]
    inner[last] = value
    path.write_text(json.dumps(stored))
    with pytest.raises(RunError, match=r"metrics\.json is damaged"):
        _ = Record(stage.params.output_dir, None).metrics


def test_what_is_not_asked_for_is_not_measured(stage):
    params = make_params({"BASELINES": False, "ROBUSTNESS": False})
    results, predictions = evaluate.evaluate_model(stage.bundle, params)
    assert evaluate.evaluate_baselines(predictions, params) == {}
    assert evaluate.evaluate_robustness(stage.bundle, params) == {}
    assert json.loads((params.output_dir / "metrics.json").read_text()) == results


# Worse recordings


@pytest.fixture
def recorded(root, make_corpus):
    """Two emotions, twelve real files, their split and a model."""
    from ser_lib.preprocess import preprocess_data

    make_corpus(root / "corpus", words=("back", "bar", "base"))
    params = make_params({"CORPORA": ["TESS"], "DATASET_PATH": "corpus", "N_JOBS": 1, "BOOTSTRAP_SAMPLES": 100})
    data = preprocess_data(params)
    sets = data.clips["text"].map({"back": "train", "bar": "validation", "base": "test"})
    io.write_csv(params.output_dir / "split.csv", data.clips[["clip"]].assign(set=sets))
    test = (sets == "test").to_numpy()
    io.write_array(params.output_dir / "x_test.npy", data.X[test])
    io.write_array(params.output_dir / "y_test.npy", np.eye(2, dtype=np.float32)[data.y[test] - 2])
    split_sha256 = io.file_hash(params.output_dir / "split.csv")
    info = SimpleNamespace(
        data_fingerprint=data.fingerprint, split_sha256=split_sha256, temperature=1.0, speakers={}, corpora=["TESS"],
        emotions=["sad", "angry"], left_out=None,
    )  # fmt: skip
    bundle = Bundle(info, lambda X: fixed_probabilities(X, 2))
    evaluate.evaluate_model(bundle, params)
    return SimpleNamespace(params=params, data=data, clips=data.clips[test], bundle=bundle, folder=root / "corpus")


def of_sad_and_angry(X):
    """Stand-in for a model: the louder half of what it is shown is angry, the rest sad."""
    loud = X[:, :, 0].max(axis=1)
    return np.where((loud > np.median(loud))[:, np.newaxis], np.eye(2)[1], np.eye(2)[0])


def test_every_condition_is_measured(recorded):
    seen = []
    bundle = Bundle(recorded.bundle.info, lambda X: seen.append(X) or of_sad_and_angry(X))
    robustness = evaluate.evaluate_robustness(bundle, recorded.params)
    assert list(robustness) == list(degrade.CONDITIONS)
    stored = json.loads((recorded.params.output_dir / "metrics.json").read_text())
    assert stored["robustness"] == robustness
    assert Record(recorded.params.output_dir, None).robustness == robustness
    y_true = store.to_labels(recorded.clips["emotion"], ["sad", "angry"])
    for X, (condition, values) in zip(seen, robustness.items(), strict=True):
        expected = [
            work.degraded_features(
                recorded.folder / row.file, row.sha256, recorded.data.settings, open_cache(), condition
            )
            for row in recorded.clips.itertuples()
        ]
        np.testing.assert_array_equal(X, expected)
        y_pred = of_sad_and_angry(X).argmax(axis=1)
        assert values["uar"] == pytest.approx(balanced_accuracy_score(y_true, y_pred))
        assert values == {"accuracy": pytest.approx((y_true == y_pred).mean()), "uar": values["uar"], "unusable": 0}


def test_without_degradation_the_features_are_those_of_the_test_set(recorded, monkeypatch):
    monkeypatch.setitem(degrade.CONDITIONS, "none", lambda signal, sampling_rate, rng: (signal, sampling_rate))
    monkeypatch.setattr(evaluate, "CONDITIONS", {"none": None})
    seen = []
    bundle = Bundle(recorded.bundle.info, lambda X: seen.append(X) or fixed_probabilities(X))
    found = evaluate.evaluate_robustness(bundle, recorded.params)["none"]
    np.testing.assert_array_equal(seen[0], np.load(recorded.params.output_dir / "x_test.npy"))
    row = recorded.clips.iloc[0]
    np.testing.assert_array_equal(seen[0][0], process_audio_file(recorded.folder / row.file, recorded.data.settings))
    stored = json.loads((recorded.params.output_dir / "metrics.json").read_text())
    assert (found["accuracy"], found["uar"]) == (stored["test"]["accuracy"], stored["test"]["uar"])


def test_features_are_normalised_by_their_speaker(recorded):
    n_features = len(recorded.data.settings.feature_names)
    speakers = {
        speaker: Statistics(mean=[mean] * n_features, std=[1.0] * n_features)
        for speaker, mean in (("OAF", 100.0), ("YAF", -100.0))
    }
    info = SimpleNamespace(**vars(recorded.bundle.info) | {"speakers": speakers})
    seen = []
    evaluate.evaluate_robustness(Bundle(info, lambda X: seen.append(X) or fixed_probabilities(X)), recorded.params)
    shifted = seen[0][:, :, 1].mean(axis=1)  # zero-crossing rate, within 0 and 1
    assert np.sign(shifted).tolist() == [-1 if speaker == "OAF" else 1 for speaker in recorded.clips["speaker"]]


def test_second_time_comes_from_the_cache_and_is_the_same(recorded, monkeypatch):
    once = evaluate.evaluate_robustness(recorded.bundle, recorded.params)
    monkeypatch.setattr(work, "load_audio", None)
    assert evaluate.evaluate_robustness(recorded.bundle, recorded.params) == once


def test_processes_give_what_one_gives(recorded, monkeypatch, tmp_path):
    once = evaluate.evaluate_robustness(recorded.bundle, recorded.params)
    monkeypatch.setenv("SER_CACHE", str(tmp_path / "empty"))
    two = recorded.params.model_copy(update={"N_JOBS": 2})
    assert evaluate.evaluate_robustness(recorded.bundle, two) == once


def test_clip_of_which_nothing_is_left_counts_as_a_mistake(recorded, monkeypatch):
    real = work.degraded_features
    (first, *_) = recorded.clips["sha256"]

    def degraded_features(path, sha256, *others):
        return AudioError("nothing is left of it") if sha256 == first else real(path, sha256, *others)

    monkeypatch.setattr(work, "degraded_features", degraded_features)
    y_true = store.to_labels(recorded.clips["emotion"], ["sad", "angry"])
    right = Bundle(recorded.bundle.info, lambda X: np.eye(2)[y_true[len(y_true) - len(X) :]])
    for values in evaluate.evaluate_robustness(right, recorded.params).values():
        assert values == {"accuracy": 0.75, "uar": 0.75, "unusable": 1}  # two clips of each of two emotions


def test_no_clip_left_is_no_error(recorded, monkeypatch):
    monkeypatch.setattr(work, "degraded_features", lambda *_: AudioError("nothing is left of it"))
    for values in evaluate.evaluate_robustness(recorded.bundle, recorded.params).values():
        assert values == {"accuracy": 0, "uar": 0, "unusable": 4}


@pytest.mark.parametrize(("state", "change"), [("is missing", "unlink"), ("has changed", "write_bytes")])
def test_file_that_is_not_as_it_was_is_named(recorded, state, change):
    path = recorded.folder / recorded.clips["file"].iloc[1]
    getattr(path, change)(*[b"other"] * (change == "write_bytes"))
    with pytest.raises(StageError, match=rf"{path.name} {state}\. Run 01_preprocess again") as caught:
        evaluate.evaluate_robustness(recorded.bundle, recorded.params)
    assert "\n" not in str(caught.value)


def test_robustness_of_a_model_of_another_split_is_refused(recorded):
    recorded.bundle.info.split_sha256 = "0" * 64
    with pytest.raises(BundleError, match="Run 03_train again"):
        evaluate.evaluate_robustness(recorded.bundle, recorded.params)
