import numpy as np
import pytest
from test_cli_predict import call

from ser_lib.audio import encoders
from ser_lib.audio.encoders import embed, functionals, has_weights, layers_of, weights_sha256
from ser_lib.audio.encoders.base import HOP, SAMPLING_RATE
from ser_lib.audio.encoders.functionals import embed_signal, track_pitch
from ser_lib.audio.settings import EMBEDDING_SIZES, AudioSettings

RATE = SAMPLING_RATE


def voice(hz, seconds=1.0):
    """Ten harmonics, each weaker than the one before, of a pitch that may change [shape=(n_samples,)]."""
    phase = 2 * np.pi * np.cumsum(np.broadcast_to(hz, int(seconds * RATE))) / RATE
    return sum(np.sin(number * phase) / number for number in range(1, 11)).astype(np.float32) / 4


def glide(first, last, seconds=1.0):
    """A voice whose pitch rises evenly in semitones."""
    return voice(np.geomspace(first, last, int(seconds * RATE)), seconds)


def noise(seconds=2.0):
    return np.random.default_rng(0).standard_normal(int(seconds * RATE)).astype(np.float32) / 10


def group(signal, name):
    return embed_signal(signal)[functionals.GROUPS[name]]


@pytest.mark.parametrize("hz", [80.0, 117.0, 220.0, 411.0])
def test_pitch_of_a_voice_is_found(hz):
    pitch, periodicity = track_pitch(voice(hz))
    inner = slice(5, -5)  # away from where the clip begins and ends
    np.testing.assert_allclose(pitch[inner], hz, rtol=0.005)
    assert periodicity[inner].min() > 0.95


def test_pitch_agrees_with_librosa():
    import librosa

    signal = glide(120, 300, 2.0) + noise() / 10
    expected = librosa.yin(signal, fmin=60, fmax=500, sr=RATE, frame_length=1024, hop_length=HOP)
    pitch, _ = track_pitch(signal)
    inner = slice(10, -10)
    np.testing.assert_allclose(pitch[inner], expected[inner], rtol=0.02)


def test_noise_has_no_pitch():
    assert np.median(track_pitch(noise())[1]) < 0.5


def test_glide_of_an_octave_in_a_second_is_twelve_semitones():
    numbers = group(glide(200, 400), "pitch")
    mean, _, low, _, middle, _, high, wide, _, slope, stretch_slope = numbers[:11]
    assert mean == pytest.approx(12 * np.log2(np.sqrt(200 * 400) / 100), abs=0.3)
    assert middle == pytest.approx(mean, abs=0.3)
    assert wide == pytest.approx(high - low) == pytest.approx(0.8 * 12, abs=0.5)  # from the 10th to the 90th percentile
    assert slope == pytest.approx(12 * HOP / RATE, rel=0.03) == pytest.approx(stretch_slope, rel=0.03)
    assert numbers[15] == pytest.approx(12 * HOP / RATE, rel=0.1)  # how it trembles: each step is a hundredth of it


def test_pauses_and_voiced_stretches_are_counted():
    pause = np.zeros(RATE // 2, dtype=np.float32)
    signal = np.concatenate([voice(150, 0.5), pause, voice(150, 0.5), pause])  # 2 s, half of it sounds
    seconds, sounding, voiced, rate, length, _, longest = group(signal, "rhythm")[:7]
    assert np.exp(seconds) == pytest.approx(2, rel=0.01)
    assert sounding == pytest.approx(0.5, abs=0.05) and voiced == pytest.approx(0.5, abs=0.05)
    assert rate == pytest.approx(1, abs=0.01)  # two stretches in two seconds
    assert np.expm1(length) == pytest.approx(50, abs=6) and longest == pytest.approx(length, abs=0.05)


@pytest.mark.parametrize(("hz", "number"), [(1.0, 0), (2.2, 1), (4.0, 2), (6.5, 3), (10.0, 4), (16.0, 5)])
def test_rhythm_is_strongest_where_the_loudness_changes(hz, number):
    signal = noise() * (1 + 0.9 * np.sin(2 * np.pi * hz * np.arange(2 * RATE) / RATE)).astype(np.float32)
    strengths = group(signal, "rhythm")[7:].reshape(6, 8).mean(axis=1)
    assert strengths.argmax() == number


def test_loudness_that_falls_is_measured_in_decibels():
    signal = noise() * np.geomspace(1, 0.1, 2 * RATE).astype(np.float32)  # by 20 dB over the clip
    *_, course, first, last = group(signal, "loudness")
    assert course == pytest.approx(-20, abs=1.5)
    assert first - last == pytest.approx(20 * 2 / 3, abs=1.5)


def test_shape_of_the_spectrum_agrees_with_librosa():
    import librosa

    signal = noise() + voice(180, 2.0)
    sound = signal.astype(np.float64) - signal.mean(dtype=np.float64)
    sound /= np.abs(sound).max()
    power = np.abs(librosa.stft(sound, n_fft=512, hop_length=HOP, pad_mode="constant")) ** 2
    measures = group(signal, "voice quality")[7:].reshape(9, 6)
    for number, expected in (
        (0, librosa.feature.spectral_centroid(S=power, sr=RATE)),
        (1, librosa.feature.spectral_rolloff(S=power, sr=RATE, roll_percent=0.85)),
        (2, 10 * np.log10(librosa.feature.spectral_flatness(S=power, power=1))),
    ):
        assert measures[number, 2:4] == pytest.approx([expected.mean(), expected.std()], rel=0.01)


def test_cepstrum_is_the_cosine_transform():
    import scipy.fft

    bands = np.random.default_rng(0).random((5, 40))
    expected = scipy.fft.dct(bands, norm="ortho")[:, 1:14]
    np.testing.assert_allclose(bands @ functionals._cosines(), expected)


def test_volume_does_not_matter():
    signal = voice(200) + noise(1.0)
    np.testing.assert_allclose(embed_signal(signal / 50), embed_signal(signal), rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize(
    "signal",
    [
        np.zeros(RATE, dtype=np.float32),
        np.ones(1, dtype=np.float32),
        np.ones(RATE, dtype=np.float32),
        np.eye(1, RATE, 7, dtype=np.float32)[0],
        noise(0.01),
        noise(40.0),
        voice(100, 0.1),
    ],
    ids=["silence", "sample", "constant", "click", "short", "long", "syllable"],
)
def test_any_clip_has_functionals(signal):
    given = embed_signal(signal)
    assert given.shape == (functionals.N_FEATURES,) and given.dtype == np.float32 and np.isfinite(given).all()


def test_of_a_long_clip_the_beginning_is_heard():
    signal = noise(40.0)
    np.testing.assert_array_equal(embed_signal(signal), embed_signal(signal[: int(functionals.SECONDS * RATE)]))


def test_functionals_need_no_weights(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("SER_ENCODERS", str(tmp_path / "none"))
    assert has_weights("functionals")
    encoders.check_weights("functionals")
    np.testing.assert_array_equal(embed(noise(), RATE, "functionals"), embed_signal(noise()))
    assert EMBEDDING_SIZES["functionals"] == functionals.N_FEATURES
    columns = [column for one in layers_of("functionals").values() for column in range(one.start, one.stop)]
    assert columns == [*range(functionals.N_FEATURES)]
    assert call(monkeypatch, capsys, "encoder", "get", "functionals") == (0, "functionals needs no weights.\n", "")
    status, _, err = call(monkeypatch, capsys, "encoder", "get", "functionals", "--from", "x")
    assert (status, err) == (1, "error: `--from` needs an encoder that has weights. functionals has none.\n")


def test_numbers_are_those_of_this_version():
    """Where this fails, features in caches and models are of other numbers: raise `VERSION` and train again."""
    given = embed_signal(glide(110, 240, 1.5) + noise(1.5) / 20)
    means = [given[columns].mean() for columns in functionals.GROUPS.values()]
    assert functionals.VERSION == 1
    assert means == pytest.approx([2.20, 2.52, 5.83, 0.02, 57.95, -0.71], rel=0.01, abs=0.01)


def test_another_version_is_another_encoder(monkeypatch):
    before = weights_sha256("functionals")
    monkeypatch.setattr(functionals, "VERSION", functionals.VERSION + 1)
    assert weights_sha256("functionals") != before


def test_groups_of_unequal_size_are_told_and_drawn():
    import matplotlib.pyplot as plt

    from ser_lib.plots.clips import plot_embedding
    from ser_lib.scoring.summary import feature_table

    X = np.random.default_rng(0).normal(3, 2, (400, 1, functionals.N_FEATURES)).astype(np.float32)
    settings = AudioSettings(features="encoder", encoder="functionals", denoise=False, target_length=RATE)
    table = feature_table(X, settings)
    assert list(table.index) == list(functionals.GROUPS)
    np.testing.assert_allclose(table[["mean", "std"]], [[3, 2]] * len(table), atol=0.1)
    ax = plot_embedding(X[0, 0], "functionals")
    drawn = ax.images[0].get_array()
    assert [int(np.isfinite(line).sum()) for line in np.ma.filled(drawn, np.nan)] == [120, 39, 17, 14, 61, 55]
    plt.close(ax.figure)
