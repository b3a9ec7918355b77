import numpy as np
import pytest

from ser_lib.model.augment import augment
from ser_lib.params import AUGMENTATIONS

SHAPE = (6, 40, 32)


def spectrograms(seed=0):
    return np.random.default_rng(seed).standard_normal(SHAPE).astype(np.float32)


def ramp(axis):
    """A spectrogram that grows by one from place to place on an axis: positions can be read off its values."""
    along = np.arange(SHAPE[axis], dtype=np.float32)
    return np.broadcast_to(along[:, None] if axis == 1 else along, SHAPE).copy()


def varied(X, *names, seed=0):
    return augment(X, list(names), np.random.default_rng(seed))


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_each_keeps_shape_and_type_and_changes_the_clips(name, monkeypatch):
    monkeypatch.setattr("ser_lib.model.augment._IN_ROOMS", 1)
    X = spectrograms()
    given = X.copy()
    result = varied(X, name)
    assert (result.shape, result.dtype) == (SHAPE, np.float32)
    np.testing.assert_array_equal(X, given)  # what it was given stays as it was
    assert all(not np.array_equal(before, after) for before, after in zip(X, result, strict=True))


def test_nothing_is_changed_without_a_name():
    np.testing.assert_array_equal(varied(spectrograms()), spectrograms())


def test_same_random_numbers_give_the_same_clips_and_others_others():
    results = [varied(spectrograms(), *AUGMENTATIONS, seed=seed) for seed in (3, 3, 4)]
    np.testing.assert_array_equal(results[0], results[1])
    assert not np.array_equal(results[0], results[2])


def test_clips_are_varied_each_in_its_own_way():
    result = varied(np.broadcast_to(spectrograms()[0], SHAPE).copy(), "tilt")
    assert len({clip.tobytes() for clip in result}) == len(result)


def test_mask_hides_whole_bands_and_frames_and_leaves_the_rest():
    X = spectrograms() + 10
    for seed in range(20):
        result = varied(X, "mask", seed=seed)
        hidden = result == 0
        for clip, mask in enumerate(hidden):
            bands, frames = mask.all(axis=0), mask.all(axis=1)
            np.testing.assert_array_equal(mask, bands[np.newaxis] | frames[:, np.newaxis])
            np.testing.assert_array_equal(result[clip][~mask], X[clip][~mask])
            # two masks of each kind, of at most 15 % of 32 bands and 12 % of 40 frames
            assert bands.sum() <= 2 * 4
            assert frames.sum() <= 2 * 4
    assert hidden.any()


def test_gain_adds_one_level_to_a_clip():
    difference = varied(spectrograms(), "gain") - spectrograms()
    level = difference[:, :1, :1]
    np.testing.assert_allclose(difference, np.broadcast_to(level, SHAPE), atol=1e-5)
    assert np.abs(level).max() <= 6


def test_levels_follow_the_unit_of_the_features():
    tenth = augment(spectrograms(), ["gain", "tilt"], np.random.default_rng(0), decibel=0.1) - spectrograms()
    np.testing.assert_allclose(10 * tenth, varied(spectrograms(), "gain", "tilt") - spectrograms(), atol=1e-5)


def test_tilt_adds_a_slope_that_leaves_the_middle():
    difference = varied(spectrograms(), "tilt") - spectrograms()
    np.testing.assert_allclose(difference, -difference[:, :, ::-1], atol=1e-5)
    steps = np.diff(difference, axis=2)
    np.testing.assert_allclose(steps, np.broadcast_to(steps[:, :1, :1], steps.shape), atol=1e-5)
    assert np.abs(difference).max() <= 6


def test_shift_moves_all_bands_alike():
    positions = varied(ramp(2), "shift")[:, 0]
    moved = positions - np.arange(32)
    inside = (positions > 0) & (positions < 31)
    for clip in range(len(positions)):
        np.testing.assert_allclose(moved[clip][inside[clip]], moved[clip][16], atol=1e-4)
    assert 0 < np.abs(moved[:, 16]).max() <= 0.05 * 32


def test_warp_scales_the_bands_by_at_most_an_eighth():
    positions = varied(ramp(2), "warp")[:, 0]
    scales = positions[:, 20] / 20
    assert np.abs(scales - 1).max() <= 0.12
    np.testing.assert_allclose(positions[:, 10], 10 * scales, atol=1e-4)


def test_position_moves_the_clip_in_time():
    positions = varied(ramp(1), "position")[:, :, 0]
    moved = positions[:, 20] - 20
    assert 0 < np.abs(moved).max() <= 0.12 * 40
    np.testing.assert_allclose(positions[:, 25] - 25, moved, atol=1e-4)
    assert positions.min() == 0 and positions.max() == 39  # beyond its ends the clip's first and last frame go on


def test_stretch_changes_the_speed_by_at_most_a_fifth():
    speeds = varied(ramp(1), "stretch")[:, 20, 0] / 20
    assert 1 / 1.2 - 1e-6 <= speeds.min() < 1 < speeds.max() <= 1.2 + 1e-6


def test_tiled_clip_comes_in_where_it_goes_out():
    X = ramp(1)
    result = augment(X, ["position"], np.random.default_rng(0), tiled=True)[:, :, 0]
    steps = np.diff(result, axis=1)
    assert (np.isclose(steps, 1, atol=1e-4).sum(axis=1) >= 38).all()  # at one place of 39 it begins again
    assert np.abs(result[:, 0] - X[:, 0, 0]).max() > 0.12 * 40


def test_noise_adds_its_power_to_the_bands(monkeypatch):
    for name, value in (("_IN_ROOMS", 1), ("_NOISE", (0, 0)), ("_COLOUR", 0), ("_FLICKER", 0)):
        monkeypatch.setattr(f"ser_lib.model.augment.{name}", value)
    X = np.where(np.arange(40) % 2, 10, -10)[np.newaxis, :, np.newaxis] * np.ones(SHAPE, dtype=np.float32)
    # to 10 dB and -10 dB comes noise of 0 dB: 10 + 1 and 0.1 + 1 in power, a ratio of 10, around a new mean
    np.testing.assert_allclose(varied(X, "noise"), X / 2, atol=1e-4)


@pytest.mark.parametrize("name", ["noise", "echo"])
def test_rooms_come_to_two_fifths_of_the_clips(name):
    X = np.random.default_rng(0).standard_normal((2000, 4, 2)).astype(np.float32)
    changed = (varied(X, name) != X).any(axis=(1, 2))
    assert changed.mean() == pytest.approx(0.4, abs=0.05)  # 4.5 deviations of a fraction of 2,000


def test_echo_dies_away_after_a_sound(monkeypatch):
    for name, value in (("_IN_ROOMS", 1), ("_ECHO", (0, 0)), ("_GOES_ON", (0.5, 0.5))):
        monkeypatch.setattr(f"ser_lib.model.augment.{name}", value)
    X = np.full(SHAPE, -200, dtype=np.float32)
    X[:, 5] = 0
    result = varied(X, "echo")
    # half of the power goes on from frame to frame
    np.testing.assert_allclose(np.diff(result[:, 5:20], axis=1), 10 * np.log10(0.5), atol=1e-3)
    np.testing.assert_allclose(result[:, 0] - result[:, 5], -200, atol=1e-3)


def test_a_single_frame_or_band_is_no_trouble():
    X = np.ones((2, 1, 1), dtype=np.float32)
    assert varied(X, *AUGMENTATIONS).shape == X.shape
