import numpy as np
import pytest

from ser_lib.scoring.baselines import BASELINES, predict_baselines


@pytest.fixture
def clouds():
    """Three emotions (0, 3, 6) around corners of a triangle, the second one most frequent; columns in other units."""
    rng = np.random.default_rng(0)
    y = np.repeat([0, 3, 6], [20, 30, 20])
    centres = {0: (0, 0), 3: (4, 0), 6: (0, 4)}
    X = np.array([centres[label] for label in y]) + rng.normal(0, 0.5, (len(y), 2))
    return (X * [1, 1000]).astype(np.float32), y


def test_separate_emotions_are_told_apart_and_the_majority_is_one(clouds):
    X, y = clouds
    centres = np.array([[0, 0], [4, 0], [0, 4000]], dtype=np.float32)
    predicted = predict_baselines(X, y, centres)
    assert tuple(predicted) == BASELINES
    assert predicted["majority"].tolist() == [3, 3, 3]
    assert predicted["linear"].tolist() == [0, 3, 6]
    assert predicted["svm"].tolist() == [0, 3, 6]


def test_a_ring_is_too_much_for_the_linear_one_alone():
    angles = np.linspace(0, 2 * np.pi, 60, endpoint=False)
    ring = np.column_stack([np.cos(angles), np.sin(angles)])
    X, y = np.concatenate([0.2 * ring, 2 * ring]), np.repeat([0, 1], 60)
    predicted = predict_baselines(X, y, X)
    assert (predicted["svm"] == y).all()
    assert (predicted["linear"] == y).mean() < 0.7


def test_column_without_variation_is_no_trouble(clouds):
    X, y = clouds
    constant = np.column_stack([X, np.full(len(X), 7, dtype=np.float32)])
    np.testing.assert_array_equal(predict_baselines(constant, y, constant)["svm"], predict_baselines(X, y, X)["svm"])


def test_same_clips_give_the_same_labels(clouds):
    X, y = clouds
    once, again = predict_baselines(X, y, X), predict_baselines(X, y, X)
    assert all((once[name] == again[name]).all() for name in BASELINES)
