import math

import numpy as np
import pytest
from scipy.special import softmax

from ser_lib.model.calibration import RANGE, calibrate, fit_temperature, match_confidence


def two_classes(confidence, *, right, wrong):
    """Labels and probabilities of clips of class 0, all taken for it or for class 1 with the same confidence."""
    sure = [confidence, 1 - confidence]
    return np.zeros(right + wrong, dtype=int), np.array([sure] * right + [sure[::-1]] * wrong)


def test_temperature_divides_the_logits():
    logits = np.random.default_rng(0).normal(0, 3, (20, 7))
    np.testing.assert_allclose(calibrate(softmax(logits, axis=1), 2.5), softmax(logits / 2.5, axis=1), rtol=1e-9)


def test_temperature_by_hand():
    np.testing.assert_allclose(calibrate(np.array([[0.8, 0.2]]), 0.5), [[16 / 17, 1 / 17]])  # 0.8² to 0.2²
    np.testing.assert_allclose(calibrate(np.array([[0.9, 0.1]]), 2), [[0.75, 0.25]])  # 3 to 1


def test_temperature_one_changes_nothing_and_the_reciprocal_takes_it_back():
    probabilities = softmax(np.random.default_rng(1).normal(0, 2, (20, 7)), axis=1)
    np.testing.assert_allclose(calibrate(probabilities, 1.0), probabilities, rtol=1e-12)
    np.testing.assert_allclose(calibrate(calibrate(probabilities, 3.0), 1 / 3.0), probabilities, rtol=1e-9)


@pytest.mark.parametrize("temperature", [0.05, 20.0])
def test_predictions_stay_and_rows_sum_to_one(temperature):
    probabilities = softmax(np.random.default_rng(2).normal(0, 2, (50, 7)), axis=1).astype(np.float32)
    calibrated = calibrate(probabilities, temperature)
    assert calibrated.dtype == np.float32
    np.testing.assert_array_equal(calibrated.argmax(axis=1), probabilities.argmax(axis=1))
    np.testing.assert_allclose(calibrated.sum(axis=1), 1, rtol=1e-6)


def test_probability_zero_is_no_trouble():
    assert np.isfinite(calibrate(np.array([[1.0, 0.0], [0.0, 1.0]]), 0.05)).all()
    assert math.isfinite(fit_temperature(np.array([1, 1]), np.array([[1.0, 0.0], [0.0, 1.0]])))


@pytest.mark.parametrize(("confidence", "right", "wrong"), [(0.99, 80, 20), (0.6, 90, 10), (0.9, 90, 10)])
def test_two_classes_get_the_temperature_that_the_formula_gives(confidence, right, wrong):
    # the best confidence is the mean of the targets; logit(p) / T = logit(mean)
    n = right + wrong
    mean = (right * (n + 1) + wrong) / (n * (n + 2))
    expected = math.log(confidence / (1 - confidence)) / math.log(mean / (1 - mean))
    found = fit_temperature(*two_classes(confidence, right=right, wrong=wrong))
    assert found == pytest.approx(expected, rel=1e-3)


def test_who_is_too_sure_is_cooled_and_who_is_too_modest_is_heated():
    assert fit_temperature(*two_classes(0.99, right=8, wrong=2)) > 1
    assert fit_temperature(*two_classes(0.55, right=9, wrong=1)) < 1


def test_no_mistakes_do_not_ask_for_certainty():
    # 20 of 20 right with 0.9: targets of 21/22 are what is aimed at
    expected = math.log(9) / math.log(21)
    assert fit_temperature(*two_classes(0.9, right=20, wrong=0)) == pytest.approx(expected, rel=1e-3)


def test_temperature_of_a_model_that_was_heated_is_found_again():
    rng = np.random.default_rng(3)
    logits = rng.normal(0, 2, (20_000, 7))
    labels = np.array([rng.choice(7, p=row) for row in softmax(logits, axis=1)])
    assert fit_temperature(labels, softmax(logits * 3, axis=1)) == pytest.approx(3, rel=0.05)


def test_temperature_stays_in_its_range():
    assert 0.04 < fit_temperature(np.array([1] * 50), np.tile([0.999, 0.001], (50, 1))) < 20.1


@pytest.mark.parametrize(("confidence", "right", "wrong"), [(0.99, 80, 20), (0.6, 90, 10), (0.9, 98, 0)])
def test_matched_confidence_of_two_classes_is_the_accuracy_that_the_formula_gives(confidence, right, wrong):
    accuracy = (right + 1) / (right + wrong + 2)  # and logit(confidence) / T = logit(accuracy)
    expected = math.log(confidence / (1 - confidence)) / math.log(accuracy / (1 - accuracy))
    labels, probabilities = two_classes(confidence, right=right, wrong=wrong)
    assert match_confidence(labels, probabilities, np.ones(len(labels))) == pytest.approx(expected, rel=1e-6)


def test_matched_confidence_is_the_accuracy_by_the_clips_weights():
    rng = np.random.default_rng(4)
    probabilities, labels = softmax(3 * rng.normal(size=(5000, 7)), axis=1), rng.integers(7, size=5000)
    labels[:2500] = probabilities[:2500].argmax(axis=1)
    weights = rng.uniform(1, 3, 5000)
    calibrated = calibrate(probabilities, match_confidence(labels, probabilities, weights))
    accuracy = np.average(probabilities.argmax(axis=1) == labels, weights=weights)
    assert np.average(calibrated.max(axis=1), weights=weights) == pytest.approx(accuracy, abs=1e-3)


def test_accuracy_that_no_temperature_reaches_gets_the_end_of_the_range():
    never_right = two_classes(0.6, right=0, wrong=20)
    assert match_confidence(*never_right, np.ones(20)) == RANGE[1]
    always_right = np.zeros(20, dtype=int), np.tile([0.5001, 0.4999], (20, 1))
    assert match_confidence(*always_right, np.ones(20)) == RANGE[0]


def test_temperature_by_weights_is_that_of_clips_repeated():
    rng = np.random.default_rng(0)
    probabilities, labels = softmax(3 * rng.normal(size=(60, 4)), axis=1), rng.integers(4, size=60)
    times = rng.integers(1, 4, size=60)
    weighted = match_confidence(labels, probabilities, times.astype(float))
    again = np.repeat(labels, times), np.repeat(probabilities, times, axis=0)
    repeated = match_confidence(*again, np.ones(len(again[0])))
    assert weighted == pytest.approx(repeated, rel=0.02)  # but for the clip that counts as right, and the one as wrong
