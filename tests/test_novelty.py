"""What is new to a model: expected values by hand, by scipy.signal, and from real recordings."""

import importlib.util

import numpy as np
import pandas as pd
import pytest
import scipy.signal
from test_project import REPO

from ser_lib.audio.degrade import degrade
from ser_lib.audio.features import Measures
from ser_lib.audio.settings import AudioSettings
from ser_lib.audio.signal import bandwidth, load_audio, peak_level
from ser_lib.core.errors import AudioError
from ser_lib.model.bundle import load_bundle
from ser_lib.model.novelty import NoveltyModel, fit_novelty_model, novelty_kinds, summarize_features

RATE = 16000
SETTINGS = AudioSettings(
    sampling_rate=RATE, frame_length=512, hop_length=160, features="mfcc", n_mfcc=1, n_mels=8, mel_fmin=0.0,
    mel_fmax=None, trim_top_db=30.0, denoise=False, denoise_reference=False, normalize_per_speaker=False,
    target_length=1600,
)  # fmt: skip


def sine(frequency, level=0.0, seconds=1.0, rate=RATE):
    return (10 ** (level / 20) * np.sin(2 * np.pi * frequency * np.arange(round(seconds * rate)) / rate)).astype("f4")


@pytest.mark.parametrize(("level", "expected"), [(-50, 5000), (-70, 1000)])
def test_band_ends_60_db_below_the_strongest_frequency(level, expected):
    step = RATE / 1024  # a tone shows in three lines of the spectrum, by the window
    assert abs(bandwidth(sine(1000) + sine(5000, level), RATE) - expected) <= 3 * step


@pytest.mark.parametrize("cutoff", [1000, 3400, 6000])
def test_band_of_filtered_noise_is_welchs(cutoff):
    noise = np.random.default_rng(0).standard_normal(RATE)
    signal = scipy.signal.sosfilt(scipy.signal.butter(8, cutoff, fs=RATE, output="sos"), noise).astype("f4")
    frequencies, power = scipy.signal.welch(signal, RATE, nperseg=1024, detrend=False)
    expected = frequencies[np.flatnonzero(power >= power.max() / 1e6)[-1]]
    assert abs(bandwidth(signal, RATE) - expected) <= RATE / 1024
    assert bandwidth(signal * np.float32(1e-3), RATE) == bandwidth(signal, RATE)  # whatever its level


@pytest.mark.parametrize("n_samples", [1, 100, 1023])
def test_short_signals_have_a_band(n_samples):
    assert 0 <= bandwidth(np.ones(n_samples, dtype=np.float32), RATE) <= RATE / 2


@pytest.mark.parametrize(("peak", "expected"), [(1.0, 0.0), (0.5, -6.0206), (0.1, -20.0), (-0.1, -20.0)])
def test_level_is_that_of_the_largest_sample(peak, expected):
    assert peak_level(np.array([0.0, peak, 0.01], dtype=np.float32)) == pytest.approx(expected, abs=1e-3)


def test_summary_is_mean_deviation_and_deviation_of_change_by_hand():
    features = np.array([[0, 1], [2, 1], [4, 4], [99, 99]], dtype=np.float32)  # the last frame is padding
    expected = [2, 2, np.sqrt(8 / 3), np.sqrt(2), 0, 1.5]
    np.testing.assert_allclose(summarize_features(features, 3), expected)
    np.testing.assert_allclose(summarize_features(features, 1), [0, 1, 0, 0, 0, 0])


def typical(**values):
    common = {"seconds": (1.0, 2.0), "peak_dbfs": -20.0, "bandwidth_hz": 8000.0}
    vectors = {"mean": [0.0] * 9, "deviation": [1.0] * 9, "distance": 2.0}
    return NoveltyModel(**common | vectors | values)


def measures(**values):
    return Measures(RATE, RATE, **{"n_trimmed": RATE, "peak_dbfs": -10.0, "bandwidth_hz": 8000.0} | values)


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({}, ""),
        ({"n_trimmed": round(0.67 * RATE)}, ""),  # 1.5 times shorter
        ({"n_trimmed": round(0.66 * RATE)}, "length"),
        ({"n_trimmed": 3 * RATE}, ""),
        ({"n_trimmed": round(3.01 * RATE)}, "length"),
        ({"peak_dbfs": -30.0}, ""),
        ({"peak_dbfs": -30.1}, "level"),
        ({"peak_dbfs": 0.0}, ""),
        ({"bandwidth_hz": 6400.0}, ""),
        ({"bandwidth_hz": 6399.0}, "band"),
        ({"bandwidth_hz": 3400.0, "peak_dbfs": -50.0}, "level, band"),
    ],
)
def test_each_measure_has_its_bounds(changed, expected):
    still = np.zeros((11, 3), dtype=np.float32)
    assert novelty_kinds(typical().find_novelty(measures(**changed), still, SETTINGS)) == expected


def test_distance_is_the_root_mean_square_of_z_scores():
    # means of 6, and no change: scores (6, 6, 6, 0, 0, 0, 0, 0, 0), whose root mean square is 6 / sqrt(3)
    steady = np.full((11, 3), 6, dtype=np.float32)
    assert typical().distance_of(summarize_features(steady, 11)) == pytest.approx(6 / np.sqrt(3))
    (phrase,) = typical().find_novelty(measures(), steady, SETTINGS)
    unlike = (
        "sound: {} standard deviations from the mean of the training clips; 99 of 100 validation clips are within {}"
    )
    assert phrase == unlike.format("3.5", "2.0")
    (phrase,) = typical(distance=3.45).find_novelty(measures(), steady, SETTINGS)  # 3.464, which rounds to the same
    assert phrase == unlike.format("3.46", "3.45")
    assert typical(distance=3.5).find_novelty(measures(), steady, SETTINGS) == ()


def test_band_counts_as_far_as_the_model_hears():
    narrow = measures(bandwidth_hz=3400.0)
    still = np.zeros((11, 3), dtype=np.float32)
    assert novelty_kinds(typical().find_novelty(narrow, still, SETTINGS)) == "band"
    assert typical().find_novelty(narrow, still, SETTINGS.model_copy(update={"mel_fmax": 4000.0})) == ()


def test_typical_is_learnt_from_training_and_its_distance_from_validation():
    rng = np.random.default_rng(0)
    X = rng.normal(3, 2, (60, 11, 3)).astype(np.float32)
    X[:, :, 2] = 7  # a feature that never changes
    sets = np.array(["train"] * 30 + ["validation"] * 20 + ["test"] * 10)
    clips = pd.DataFrame(
        {
            "trimmed_seconds": rng.uniform(0.05, 0.2, 60),
            "peak_dbfs": rng.uniform(-30, 0, 60),
            "bandwidth_hz": rng.uniform(4000, 8000, 60),
        }
    )
    learnt = fit_novelty_model(X, clips, sets, SETTINGS)
    n_sound = np.minimum(1 + (clips["trimmed_seconds"] * RATE).round().astype(int) // 160, 11)
    rows = [X[i, : n_sound[i], :2].astype(float) for i in range(50)]
    values = np.array([[*x.mean(0), *x.std(0), *np.diff(x, axis=0).std(0)] for x in rows])
    scores = (values[30:] - values[:30].mean(axis=0)) / values[:30].std(axis=0)
    expected = np.sqrt((scores**2).sum(axis=1) / 9)  # the unchanging feature adds three zeros
    assert learnt.distance == pytest.approx(np.percentile(expected, 99))
    assert learnt.seconds == pytest.approx(np.percentile(clips["trimmed_seconds"][:30], [1, 99]).tolist())
    assert learnt.bandwidth_hz == pytest.approx(np.percentile(clips["bandwidth_hz"][:30], 1))
    assert learnt.peak_dbfs == pytest.approx(np.percentile(clips["peak_dbfs"][:30], 1))
    frames = np.concatenate(rows[:30])
    np.testing.assert_allclose(learnt.statistics.mean[:2], frames.mean(axis=0), atol=0.3)
    np.testing.assert_allclose(learnt.statistics.std[:2], frames.std(axis=0), rtol=0.1)


_spec = importlib.util.spec_from_file_location("benchmark", REPO / "benchmarks" / "novelty.py")
benchmark = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(benchmark)


@pytest.mark.parametrize("run", ["tess_random_s0", "tess_robust_random_s0"])
def test_real_models_tell_noise_music_and_telephones_from_test_clips(tess, run):
    folder = REPO / "reports" / run
    bundle = load_bundle(folder)
    split = pd.read_csv(folder / "split.csv.xz", dtype=str)
    clips = split[split["set"] == "test"]["clip"].iloc[::7].str.removeprefix("TESS/")
    names = {name.rpartition("/")[2].removesuffix(".wav"): name for name in tess.names}
    known = [load_audio(tess.file(names[clip])) for clip in clips if clip in names]
    assert len(known) > 40

    def fraction_named(signals):
        return np.mean([bool(bundle.predict(signal, rate).novelty) for signal, rate in signals])

    assert fraction_named(known) <= 0.05
    assert fraction_named([benchmark.noise(number) for number in range(20)]) >= 0.9
    assert fraction_named([benchmark.music(number) for number in range(30)]) >= 0.9
    assert fraction_named([degrade(*one, condition="telephone", sha256="0") for one in known[:30]]) >= 0.9


def test_signal_of_another_length_is_named(tess):
    bundle = load_bundle(REPO / "reports" / "tess_random_s0")
    one = load_audio(tess.file(tess.names[0]))
    long = np.tile(one[0], 4)
    assert "length" in novelty_kinds(bundle.predict(long, one[1]).novelty)
    assert "level" in novelty_kinds(bundle.predict(one[0] / 1000, one[1]).novelty)
    with pytest.raises(AudioError):
        bundle.predict(np.zeros(100), RATE)
