import json
import math

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import balanced_accuracy_score, f1_score, precision_score

from ser_lib.scoring import metrics

# Six clips, three classes. Most probable: 0 1 1 2 2 0, so four of six are right.
Y_TRUE = np.array([0, 0, 1, 2, 2, 2])
PROBABILITIES = np.array(
    [[0.5, 0.25, 0.25], [0.2, 0.6, 0.2], [0.1, 0.8, 0.1], [0.1, 0.1, 0.8], [0.2, 0.3, 0.5], [0.4, 0.4, 0.2]]
)
Y_PRED = PROBABILITIES.argmax(axis=1)


def test_accuracy_by_hand():
    assert metrics.accuracy(Y_TRUE, Y_PRED) == pytest.approx(4 / 6)


def test_loss_by_hand_in_nats():
    expected = -sum(map(math.log, [0.5, 0.2, 0.8, 0.8, 0.5, 0.2])) / 6
    assert metrics.loss(Y_TRUE, PROBABILITIES) == pytest.approx(expected)


def test_loss_of_certainty_and_of_a_guess():
    sure = np.eye(7)
    assert metrics.loss(np.arange(7), sure) == pytest.approx(0, abs=1e-9)
    assert metrics.loss(np.arange(7), np.full((7, 7), 1 / 7)) == pytest.approx(math.log(7))
    assert math.isfinite(metrics.loss(np.array([0]), np.array([[0.0, 1.0]])))


def test_loss_of_a_single_class_counts_the_absent_ones():
    assert metrics.loss(np.array([1, 1]), np.array([[0.5, 0.5], [0.75, 0.25]])) == pytest.approx(math.log(8) / 2)


def test_recall_per_class_by_hand():
    recalls = metrics.recall_per_class(Y_TRUE, Y_PRED)
    assert recalls == pytest.approx({"neutral": 1 / 2, "happy": 1, "sad": 2 / 3})
    assert list(recalls) == ["neutral", "happy", "sad"]


def test_uar_is_the_mean_of_the_recalls():
    assert metrics.uar(Y_TRUE, Y_PRED) == pytest.approx((1 / 2 + 1 + 2 / 3) / 3)
    assert metrics.uar(Y_TRUE, Y_PRED) == pytest.approx(balanced_accuracy_score(Y_TRUE, PROBABILITIES.argmax(axis=1)))


def test_class_without_clips_is_left_out():
    assert metrics.recall_per_class(Y_TRUE[:2], Y_PRED[:2]) == {"neutral": 0.5}


def test_confusion_matrix_by_hand_has_true_emotions_in_rows():
    assert metrics.confusion_matrix(Y_TRUE, Y_PRED, n_classes=3).tolist() == [[1, 1, 0], [0, 1, 0], [1, 0, 2]]


def test_evaluate_gives_plain_values():
    results = metrics.evaluate(Y_TRUE, PROBABILITIES)
    assert json.loads(json.dumps(results)) == results
    expected = {"n_clips", "accuracy", "uar", "loss", "per_class", "confusion_matrix", "macro_f1", "precision", "ece"}
    assert set(results) == expected
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
        metrics.evaluate(np.array(labels, dtype=int), probabilities)


def test_class_that_is_predicted_and_has_no_clip_does_not_count():
    y_true, y_pred = np.array([0, 0, 1]), np.array([0, 2, 1])
    assert metrics.uar(y_true, y_pred) == pytest.approx((1 / 2 + 1) / 2)
    assert metrics.macro_f1(y_true, y_pred) == pytest.approx((2 / 3 + 1) / 2)  # neutral: 2·1 / (2 + 1)
    assert set(metrics.precision_per_class(y_true, y_pred)) == {"neutral", "happy"}


def test_macro_f1_by_hand():
    # neutral: 2·1 / (2 true + 2 predicted), happy: 2·1 / (1 + 2), sad: 2·2 / (3 + 2)
    assert metrics.macro_f1(Y_TRUE, Y_PRED) == pytest.approx((1 / 2 + 2 / 3 + 4 / 5) / 3)


def test_precision_per_class_by_hand():
    assert metrics.precision_per_class(Y_TRUE, Y_PRED) == pytest.approx({"neutral": 1 / 2, "happy": 1 / 2, "sad": 1})


def test_precision_of_what_was_never_predicted_is_zero():
    assert metrics.precision_per_class(np.array([0, 1]), np.array([0, 0])) == {"neutral": 0.5, "happy": 0}


@pytest.mark.parametrize("seed", range(5))
def test_headlines_are_those_of_scikit_learn(seed):
    rng = np.random.default_rng(seed)
    y_true, y_pred = rng.choice([0, 2, 3, 6], 40), rng.integers(0, 7, 40)
    labels = np.unique(y_true)
    results = metrics.evaluate_labels(y_true, y_pred)
    expected = f1_score(y_true, y_pred, labels=labels, average="macro", zero_division=0)
    assert results["macro_f1"] == metrics.macro_f1(y_true, y_pred) == pytest.approx(expected)
    recalls = [np.mean(y_pred[y_true == label] == label) for label in labels]
    assert results["uar"] == metrics.uar(y_true, y_pred) == pytest.approx(np.mean(recalls))
    assert results["accuracy"] == metrics.accuracy(y_true, y_pred) == pytest.approx(np.mean(y_true == y_pred))
    precisions = precision_score(y_true, y_pred, labels=labels, average=None, zero_division=0)
    assert list(results["precision"].values()) == pytest.approx(list(precisions))


def test_ece_by_hand():
    # bins of 1/15: 0.9 in (13/15, 14/15] twice, once right; 0.7 in (10/15, 11/15], right; 0.55 in (8/15, 9/15], wrong
    probabilities = np.array([[0.9, 0.1], [0.1, 0.9], [0.7, 0.3], [0.45, 0.55]])
    y_true = np.array([0, 0, 0, 0])
    assert metrics.ece(y_true, probabilities) == pytest.approx((2 * abs(0.9 - 0.5) + abs(0.7 - 1) + 0.55) / 4)


def test_coverage_by_hand():
    probabilities = np.array([[0.9, 0.1], [0.2, 0.8], [0.5, 0.5], [0.4, 0.6]])
    curve = metrics.coverage(np.array([0, 1, 0, 0]), probabilities)  # all right but the last
    assert curve["threshold"] == pytest.approx(np.arange(19) / 20)  # nothing is answered at 0.95
    places = [0, 10, 11, 13, 18]  # 0, 0.5, 0.55, 0.65, 0.9
    assert [curve["answered"][one] for one in places] == [1, 1, 0.75, 0.5, 0.25]
    assert [curve["accuracy"][one] for one in places] == pytest.approx([3 / 4, 3 / 4, 2 / 3, 1, 1])


def test_in_the_mean_coverage_each_set_counts_equally():
    small = {"threshold": [0.0, 0.05], "answered": [1.0, 0.5], "accuracy": [0.5, 1.0]}
    large = {"threshold": [0.0], "answered": [1.0], "accuracy": [0.25]}
    mean = metrics.mean_coverage([small, large])
    assert mean == {"threshold": [0.0, 0.05], "answered": [1.0, 0.25], "accuracy": [0.375, 1.0]}


def test_calibration_bins_by_hand():
    probabilities = np.array([[0.9, 0.1], [0.12, 0.88], [0.7, 0.3], [0.0, 1.0]])
    bins = metrics.calibration_bins(np.array([0, 0, 0, 1]), probabilities)
    assert bins["clips"].tolist() == [0] * 10 + [1, 0, 0, 2, 1]
    assert bins["confidence"][[10, 13, 14]] == pytest.approx([0.7, 0.89, 1])
    assert bins["accuracy"][[10, 13, 14]].tolist() == [1, 0.5, 1]


def test_confidence_on_an_edge_is_in_the_lower_bin():
    assert metrics.calibration_bins(np.array([0]), np.array([[0.6, 0.4]]))["clips"].argmax() == 8  # 9 / 15
    assert metrics.calibration_bins(np.array([0]), np.array([[0.61, 0.39]]))["clips"].argmax() == 9


def test_whoever_is_as_right_as_sure_has_no_calibration_error():
    probabilities = np.tile([0.75, 0.25], (4, 1))
    assert metrics.ece(np.array([0, 0, 0, 1]), probabilities) == pytest.approx(0)
    assert metrics.ece(np.array([1, 1, 1, 1]), np.tile([1.0, 0.0], (4, 1))) == 1


def test_clips_of_one_speaker_and_text_are_drawn_together():
    clusters, kind = metrics.choose_clusters(["a", "a", "b", "a", "b"], ["x", "y", "x", "x", "x"])
    assert (clusters.tolist(), kind) == ([0, 1, 2, 0, 2], "speaker and text")


@pytest.mark.parametrize("texts", [["x", "y", "z"], ["x", "x", "y"], ["x", "x", "x"]])
def test_clips_are_drawn_where_fewer_than_two_clusters_have_several(texts):
    clusters, kind = metrics.choose_clusters(["a", "a", "a"], texts)
    assert (clusters.tolist(), kind) == ([0, 1, 2], "clip")


def test_speaker_and_text_are_not_run_together():
    clusters, _ = metrics.choose_clusters(["ab", "ab", "a", "a"], ["c", "c", "bc", "bc"])
    assert clusters.tolist() == [0, 0, 1, 1]


def resampled(y_true, y_pred, clusters=None, *, n_samples=2000, seed=0):
    clusters = np.arange(len(y_true)) if clusters is None else clusters
    return metrics.resample(np.array(y_true), np.array(y_pred), clusters, n_samples=n_samples, seed=seed)


def test_all_right_leaves_no_doubt_and_neither_does_all_wrong():
    right = resampled([0, 1, 2, 3], [0, 1, 2, 3])
    wrong = resampled([0, 1, 2, 3], [1, 2, 3, 0])
    for name in metrics.HEADLINES:
        assert metrics.interval(right[name]) == [1, 1]
        assert metrics.interval(wrong[name]) == [0, 0]


def test_interval_of_accuracy_is_that_of_the_binomial_distribution():
    y_true, y_pred = np.zeros(200, dtype=int), np.repeat([0, 1], [140, 60])
    low, high = metrics.interval(resampled(y_true, y_pred, n_samples=20_000)["accuracy"])
    expected = stats.binom.ppf([0.025, 0.975], 200, 0.7) / 200
    assert [low, high] == pytest.approx(expected, abs=0.0051)  # one clip of 200


def test_clusters_widen_the_interval_as_their_size_says():
    # ten clusters of twenty clips, each all right or all wrong: ten draws in truth
    y_true, clusters = np.zeros(200, dtype=int), np.repeat(np.arange(10), 20)
    y_pred = np.where(clusters < 7, 0, 1)
    low, high = metrics.interval(resampled(y_true, y_pred, clusters, n_samples=20_000)["accuracy"])
    assert [low, high] == pytest.approx(stats.binom.ppf([0.025, 0.975], 10, 0.7) / 10)


def test_resamples_are_those_of_clusters_drawn_one_by_one():
    rng = np.random.default_rng(1)
    y_true, y_pred, clusters = rng.integers(0, 3, 30), rng.integers(0, 3, 30), np.arange(30) // 3
    found = resampled(y_true, y_pred, clusters, n_samples=50, seed=4)
    weights = np.random.default_rng(4).multinomial(10, np.full(10, 0.1), size=50)
    for number, drawn in enumerate(weights):
        clips = np.concatenate([np.flatnonzero(clusters == c) for c in range(10) for _ in range(drawn[c])])
        assert found["accuracy"][number] == pytest.approx(np.mean(y_true[clips] == y_pred[clips]))
        assert found["uar"][number] == pytest.approx(balanced_accuracy_score(y_true[clips], y_pred[clips]))
        labels = np.unique(y_true[clips])
        expected = f1_score(y_true[clips], y_pred[clips], labels=labels, average="macro", zero_division=0)
        assert found["macro_f1"][number] == pytest.approx(expected)


def test_resamples_depend_on_the_seed_alone(monkeypatch):
    y_true, y_pred = np.arange(40) % 4, np.arange(40) % 3
    once = resampled(y_true, y_pred, n_samples=300)
    assert all((resampled(y_true, y_pred, n_samples=300)[name] == once[name]).all() for name in once)
    assert (resampled(y_true, y_pred, n_samples=300, seed=1)["uar"] != once["uar"]).any()
    monkeypatch.setattr(metrics, "_CHUNK", 40 * 7)  # in pieces that do not come out even
    assert all((resampled(y_true, y_pred, n_samples=300)[name] == once[name]).all() for name in once)
