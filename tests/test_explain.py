"""Occlusion, of models whose answer rests on what we know."""

import itertools
from types import SimpleNamespace

import librosa
import numpy as np
import pytest

from ser_lib.model.explain import _sample_spans, occlude

NAMES = ["rms", "zcr", "mfcc_1"]


def bundle_of(logit, names=NAMES, mean=0.0):
    """A model of two emotions: the log-odds of sad are `logit` of the features."""

    def probabilities(X):
        p = 1 / (1 + np.exp(-np.array([logit(x) for x in X], dtype=float)))
        return np.stack([1 - p, p], axis=1).astype(np.float32)

    settings = SimpleNamespace(hop_length=160, sampling_rate=16000, n_mels=len(names), mel_fmin=0.0, mel_fmax=8000.0)
    novelty = SimpleNamespace(mean=[mean] * 3 * len(names))
    info = SimpleNamespace(features=names, emotions=["neutral", "sad"], settings=settings, novelty=novelty)
    return SimpleNamespace(info=info, probabilities=probabilities)


def test_time_that_speaks_for_an_emotion_is_found():
    features = np.zeros((100, 3), dtype=np.float32)
    features[50:, 1] = 0.1  # 0.1 for each of the frames from 0.5 s on: log-odds of 5
    found = occlude(bundle_of(lambda x: x[:, 1].sum()), features, 100)
    assert found.emotion == "sad"
    assert found.spans == [(pytest.approx(0.2 * n), pytest.approx(0.2 * n + 0.2)) for n in range(5)]
    np.testing.assert_allclose(found.by_time, [0, 0, 1, 2, 2], atol=1e-4)
    assert found.groups == NAMES
    np.testing.assert_allclose(found.by_group, [0, 5, 0], atol=1e-4)


def test_what_speaks_against_it_is_negative_and_padding_stays():
    features = np.zeros((30, 3), dtype=np.float32)
    features[:20, 0], features[:20, 2], features[20:] = 0.3, -0.1, 0.05
    # log-odds: 20 * 0.3 - 20 * 0.1 + 10 * (0.05 + 0.05) = 5
    found = occlude(bundle_of(lambda x: x[:, 0].sum() + x[:, 2].sum()), features, 20)
    np.testing.assert_allclose(found.by_group, [6, 0, -2], atol=1e-4)
    np.testing.assert_allclose(found.by_time, [4], atol=1e-4)
    assert found.spans == [(0, pytest.approx(0.2))]


def test_hidden_means_typical():
    features = np.ones((20, 3), dtype=np.float32)
    found = occlude(bundle_of(lambda x: x[:, 0].mean(), mean=1.0), features, 20)
    np.testing.assert_allclose([*found.by_time, *found.by_group], 0, atol=1e-6)


def test_bands_are_hidden_in_groups():
    names = [f"logmel_{band + 1}" for band in range(20)]
    features = np.zeros((20, 20), dtype=np.float32)
    features[:, 7] = 0.1
    found = occlude(bundle_of(lambda x: x[:, 7].sum(), names), features, 20)
    # where the triangles of two bands meet that have their corners at these frequencies
    corners = librosa.mel_frequencies(22, fmin=0, fmax=8000)
    ends = [0, *((corners[last] + corners[last + 1]) / 2 for last in (3, 6, 9, 12, 14, 16, 18)), 8000]
    assert found.groups == [f"{low:,.0f} to {high:,.0f} Hz" for low, high in itertools.pairwise(ends)]
    assert int(found.by_group.argmax()) == 2  # bands 7 to 9
    assert np.count_nonzero(np.abs(found.by_group) > 1e-5) == 1


def test_certain_answers_are_finite():
    features = np.ones((20, 3), dtype=np.float32)
    found = occlude(bundle_of(lambda x: 1000 * x[:, 0].mean()), features, 20)
    assert np.isfinite([*found.by_time, *found.by_group]).all()


def test_a_long_clip_is_hidden_in_forty_stretches_at_most():
    encoder = SimpleNamespace(SECONDS=30.0, HEARD="first")
    spans = _sample_spans(100 * 16000, 16000, encoder)
    assert len(spans) == 40 and spans[0] == (0, 12000) and spans[-1] == (39 * 12000, 30 * 16000)
    assert _sample_spans(16000, 16000, encoder)[:2] == [(0, 3200), (3200, 6400)]  # a fifth of a second
