import hashlib
import json
import math
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import balanced_accuracy_score
from test_store import tiny_data

from ser_lib import evaluate, store
from ser_lib.errors import BundleError, StageError
from ser_lib.labels import EMOTIONS
from ser_lib.params import make_params

# Six clips, three classes. Most probable: 0 1 1 2 2 0, so four of six are right.
Y_TRUE = np.array([0, 0, 1, 2, 2, 2])
PROBABILITIES = np.array(
    [[0.5, 0.25, 0.25], [0.2, 0.6, 0.2], [0.1, 0.8, 0.1], [0.1, 0.1, 0.8], [0.2, 0.3, 0.5], [0.4, 0.4, 0.2]]
)


def test_accuracy_by_hand():
    assert evaluate.accuracy(Y_TRUE, PROBABILITIES) == pytest.approx(4 / 6)


def test_loss_by_hand_in_nats():
    expected = -sum(map(math.log, [0.5, 0.2, 0.8, 0.8, 0.5, 0.2])) / 6
    assert evaluate.loss(Y_TRUE, PROBABILITIES) == pytest.approx(expected)


def test_loss_of_certainty_and_of_a_guess():
    sure = np.eye(7)
    assert evaluate.loss(np.arange(7), sure) == pytest.approx(0, abs=1e-9)
    assert evaluate.loss(np.arange(7), np.full((7, 7), 1 / 7)) == pytest.approx(math.log(7))
    assert math.isfinite(evaluate.loss(np.array([0]), np.array([[0.0, 1.0]])))


def test_loss_of_a_single_class_counts_the_absent_ones():
    assert evaluate.loss(np.array([1, 1]), np.array([[0.5, 0.5], [0.75, 0.25]])) == pytest.approx(math.log(8) / 2)


def test_accuracy_per_class_by_hand():
    recalls = evaluate.accuracy_per_class(Y_TRUE, PROBABILITIES)
    assert recalls == pytest.approx({"neutral": 1 / 2, "happy": 1, "sad": 2 / 3})
    assert list(recalls) == ["neutral", "happy", "sad"]


def test_uar_is_the_mean_of_the_recalls():
    assert evaluate.uar(Y_TRUE, PROBABILITIES) == pytest.approx((1 / 2 + 1 + 2 / 3) / 3)
    assert evaluate.uar(Y_TRUE, PROBABILITIES) == pytest.approx(
        balanced_accuracy_score(Y_TRUE, PROBABILITIES.argmax(axis=1))
    )


def test_class_without_clips_is_left_out():
    assert evaluate.accuracy_per_class(Y_TRUE[:2], PROBABILITIES[:2]) == {"neutral": 0.5}


def test_confusion_matrix_by_hand_has_true_emotions_in_rows():
    assert evaluate.confusion_matrix(Y_TRUE, PROBABILITIES).tolist() == [[1, 1, 0], [0, 1, 0], [1, 0, 2]]


def test_evaluate_gives_plain_values():
    results = evaluate.evaluate(Y_TRUE, PROBABILITIES)
    assert json.loads(json.dumps(results)) == results
    assert set(results) == {"n_clips", "accuracy", "uar", "loss", "per_class", "confusion_matrix"}
    assert results["n_clips"] == 6


@pytest.mark.parametrize(
    ("labels", "probabilities", "message"),
    [
        ([], np.zeros((0, 3)), "at least one clip"),
        ([0, 1], np.full((3, 3), 1 / 3), "Each of the 2 labels"),
        ([0, 1], np.full(2, 0.5), "Each of the 2 labels"),
        ([0, 3], np.full((2, 3), 1 / 3), "Labels must be 0 to 2. Got 0 to 3"),
        ([-1, 0], np.full((2, 3), 1 / 3), "Labels must be 0 to 2. Got -1 to 0"),
    ],
)
def test_what_cannot_be_compared_is_refused(labels, probabilities, message):
    with pytest.raises(ValueError, match=message):
        evaluate.evaluate(np.array(labels, dtype=int), probabilities)


def fixed_probabilities(X):
    """Stand-in for a model: a softmax of the features of the first frames."""
    scores = np.exp(X.reshape(len(X), -1)[:, :7] / 5)
    return (scores / scores.sum(axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture
def stage(project):
    """Tiny data, split six, one, one per emotion, and a model."""
    params, data = make_params({}), tiny_data()
    sets = np.array((["train"] * 6 + ["validation", "test"]) * 7)
    store.save_processed(params.processed_data_file, data)
    store.write_csv(params.output_dir / "split.csv", data.clips.assign(set=sets))
    store.write_array(params.output_dir / "x_test.npy", data.X[sets == "test"])
    store.write_array(params.output_dir / "y_test.npy", store.one_hot(data.y[sets == "test"]))
    split = (params.output_dir / store.SPLIT_FILE).read_bytes()
    info = SimpleNamespace(data_fingerprint=data.fingerprint, split_sha256=hashlib.sha256(split).hexdigest())
    return SimpleNamespace(
        params=params, data=data, bundle=SimpleNamespace(probabilities=fixed_probabilities, info=info)
    )


def test_metrics_file_is_as_promised(stage):
    returned, _ = evaluate.evaluate_model(stage.bundle, stage.params)
    stored = json.loads((stage.params.output_dir / "metrics.json").read_text())
    assert stored == returned
    assert set(stored) == {"test", "validation"}
    for results in stored.values():
        assert 0 <= results["accuracy"] <= 1 and results["loss"] > 0
        assert list(results["per_class"]) == list(EMOTIONS)
        assert np.mean(list(results["per_class"].values())) == pytest.approx(results["accuracy"])  # one clip each
    assert stored["test"] != stored["validation"]


def test_predictions_file_is_as_promised(stage):
    evaluate.evaluate_model(stage.bundle, stage.params)
    table = pd.read_csv(stage.params.output_dir / "test_predictions.csv")
    columns = [f"p_{emotion}" for emotion in EMOTIONS]
    assert list(table) == ["clip", "speaker", "text", "true", "predicted", *columns]
    assert table["clip"].tolist() == stage.data.clips["clip"].tolist()[7::8]
    assert table["true"].tolist() == list(EMOTIONS)
    expected = fixed_probabilities(stage.data.X[7::8])
    np.testing.assert_allclose(table[columns].to_numpy(), expected, atol=0.51e-6)
    assert table["predicted"].tolist() == [EMOTIONS[label] for label in expected.argmax(axis=1)]
    accuracy = json.loads((stage.params.output_dir / "metrics.json").read_text())["test"]["accuracy"]
    assert (table["true"] == table["predicted"]).mean() == pytest.approx(accuracy)


def test_labels_of_another_test_set_are_refused(stage):
    store.write_array(stage.params.output_dir / "y_test.npy", np.eye(7, dtype=np.float32)[::-1])
    with pytest.raises(BundleError, match=r"y_test\.npy.*Run 02_split again"):
        evaluate.evaluate_model(stage.bundle, stage.params)
    assert not (stage.params.output_dir / "metrics.json").exists()


def test_features_of_another_test_set_are_refused(stage):
    store.write_array(stage.params.output_dir / "x_test.npy", tiny_data(seed=2).X[7::8])
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
