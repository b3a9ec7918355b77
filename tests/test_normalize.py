import numpy as np
import pytest

from ser_lib.audio.normalize import Statistics, find_statistics, normalize, speaker_statistics
from ser_lib.core.errors import BundleError

SPEAKERS = np.array(["a", "b", "a"])


def test_statistics_by_hand_leave_padding_out():
    X = np.array([[[1.0, 5.0], [3.0, 5.0], [99, 99]], [[7, 1], [99, 99], [99, 99]], [[5, 5], [99, 99], [99, 99]]])
    known = speaker_statistics(X, np.array([2, 1, 1]), SPEAKERS)
    assert list(known) == ["a", "b"]
    np.testing.assert_array_equal(known["a"].mean, [3, 5])  # of 1, 3 and 5
    assert known["a"].std == [pytest.approx((8 / 3) ** 0.5), 1]  # a constant feature has the deviation 1
    assert (known["b"].mean, known["b"].std) == ([7, 1], [1, 1])


def test_normalised_features_have_no_mean_and_the_deviation_one():
    X = np.random.default_rng(0).normal(3, 4, (3, 50, 2)).astype(np.float32)
    known = speaker_statistics(X, np.array([50, 50, 50]), SPEAKERS)
    for speaker, statistics in known.items():
        frames = normalize(X[speaker == SPEAKERS], statistics).reshape(-1, 2)
        assert frames.dtype == np.float32
        np.testing.assert_allclose(frames.mean(axis=0), 0, atol=1e-6)
        np.testing.assert_allclose(frames.std(axis=0), 1, atol=1e-6)


KNOWN = {"a": Statistics(mean=[0, 2], std=[1, 1]), "b": Statistics(mean=[4, 4], std=[3, 1])}


def test_a_voice_never_met_takes_the_mean_of_all():
    typical = find_statistics(KNOWN, None)
    assert (typical.mean, typical.std) == ([2, 3], [2, 1])
    assert find_statistics(KNOWN, "b") is KNOWN["b"]


def test_an_unknown_speaker_is_refused():
    with pytest.raises(BundleError, match=r"must be one of those the model knows: a, b\. Got c\."):
        find_statistics(KNOWN, "c")
