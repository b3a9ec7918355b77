import hashlib

import numpy as np
import pytest
import soundfile

from ser_lib.audio import clips as work
from ser_lib.audio import degrade
from ser_lib.audio.features import process_audio_file
from ser_lib.audio.settings import AudioSettings
from ser_lib.audio.signal import load_audio
from ser_lib.core.cache import open_cache
from ser_lib.core.errors import AudioError
from ser_lib.params import VARIATIONS

RATE = 24414
SHA256 = hashlib.sha256(b"a clip").hexdigest()
SETTINGS = AudioSettings(
    sampling_rate=8000,
    frame_length=256,
    hop_length=128,
    features="mfcc",
    n_mfcc=5,
    n_mels=32,
    mel_fmin=0.0,
    normalize_per_speaker=False,
    trim_top_db=30.0,
    denoise=True,
    denoise_reference=False,
    target_length=8000,
)


def tones(*frequencies, rate=RATE, seconds=1.0, peak=0.5):
    t = np.arange(int(rate * seconds)) / rate
    signal = sum(np.sin(2 * np.pi * frequency * t) for frequency in frequencies)
    return (peak * signal / np.abs(signal).max()).astype(np.float32)


def under(condition, signal, rate=RATE, sha256=SHA256):
    return degrade.degrade(signal, rate, condition=condition, sha256=sha256)


def decibels(share):
    return 10 * np.log10(share)


def level(signal, rate, frequency):
    """Power (dB) of a signal at a frequency, over its middle."""
    middle = signal[len(signal) // 4 : 3 * len(signal) // 4].astype(np.float64)
    t = np.arange(len(middle)) / rate
    window = np.hanning(len(middle)) / np.hanning(len(middle)).sum()
    return decibels(np.abs((middle * window * np.exp(-2j * np.pi * frequency * t)).sum()) ** 2 + 1e-30)


@pytest.mark.parametrize("number", range(12))
def test_random_noise_lies_5_to_35_db_below_the_signal_between_white_and_pink(number):
    """Power by octaves: the same in each for pink noise, twice that of the octave below for white."""
    signal = tones(440, seconds=4)
    sha256 = hashlib.sha256(str(number).encode()).hexdigest()
    noisy, rate = under("noise", signal, sha256=sha256)
    assert (rate, noisy.dtype, noisy.shape) == (RATE, np.float32, signal.shape)
    noise = noisy.astype(np.float64) - signal
    snr = decibels(np.mean(np.square(signal, dtype=np.float64)) / np.mean(np.square(noise)))
    assert 5 <= snr <= 35
    power = np.abs(np.fft.rfft(noise)) ** 2
    octaves = [power[first : 2 * first].sum() for first in (1500, 3000, 6000, 12000, 24000)]
    slope = np.polyfit(range(5), np.log2(octaves), 1)[0]
    assert -0.1 <= slope <= 1.1
    np.testing.assert_array_equal(under("noise", signal, sha256=sha256)[0], noisy)


def test_random_noise_is_of_all_levels_and_colours():
    found = []
    for number in range(40):
        signal = tones(440)
        noise = under("noise", signal, sha256=f"{number:x}")[0].astype(np.float64) - signal
        power = np.abs(np.fft.rfft(noise)) ** 2
        low, high = power[100:1000].mean(), power[5000:].mean()
        found.append((decibels(np.mean(noise**2)), decibels(low / high)))
    levels, tilts = np.array(found).T
    assert np.ptp(levels) > 20 and tilts.min() < 3 and tilts.max() > 8


@pytest.mark.parametrize("number", range(12))
def test_random_band_begins_at_50_to_400_hz_and_ends_at_2500_to_7000_hz(number):
    """By a click, whose spectrum is flat: 3 dB below its highest level are the ends of a Butterworth band."""
    click = np.zeros(RATE, dtype=np.float32)
    click[RATE // 4] = 1
    narrow, rate = under("band", click, sha256=f"{number:x}")
    assert (rate, narrow.dtype, narrow.shape) == (RATE, np.float32, click.shape)
    levels = decibels(np.abs(np.fft.rfft(narrow.astype(np.float64))) ** 2)  # a value for each Hz
    inside = np.flatnonzero(levels > -3.02)
    assert 50 <= inside[0] <= 401 and 2499 <= inside[-1] <= 7001
    assert levels[inside[0] // 2] < -20 and levels[min(2 * inside[-1], RATE // 2)] < -20


def test_random_band_of_a_recording_at_a_low_rate_ends_where_that_does():
    tone = tones(1000, rate=4000)
    narrow, rate = under("band", tone, 4000)
    assert rate == 4000 and level(narrow, 4000, 1000) == pytest.approx(level(tone, 4000, 1000), abs=1)


def test_short_clip_is_no_piece():
    short = tones(300, 1000, rate=8000, seconds=2.5)
    np.testing.assert_array_equal(under("piece", short, 8000)[0], short)


@pytest.mark.parametrize("seconds", [2.51, 9.0])
def test_of_a_long_clip_a_random_piece_of_half_to_all_of_two_and_a_half_seconds_is_left(seconds):
    ramp = np.linspace(0.1, 0.9, round(seconds * 8000), dtype=np.float32)  # each value tells its place
    firsts, sizes = [], []
    for number in range(60):
        piece, rate = under("piece", ramp, 8000, sha256=f"{number:x}")
        first = int(np.searchsorted(ramp, piece[0]))
        np.testing.assert_array_equal(piece, ramp[first : first + len(piece)])
        firsts.append(first)
        sizes.append(len(piece))
    assert rate == 8000
    assert 10_000 <= min(sizes) < 11_000 and 19_000 < max(sizes) <= 20_000
    assert min(firsts) < 0.1 * len(ramp) and max(np.add(firsts, sizes)) > 0.9 * len(ramp)


def test_variations_are_those_that_a_parameter_may_name():
    assert tuple(degrade.VARIATIONS) == VARIATIONS


def test_conditions_are_the_ones_promised():
    assert list(degrade.CONDITIONS) == [
        "noise 20 dB", "noise 10 dB", "noise 0 dB", "gain +12 dB", "gain -12 dB", "telephone", "mp3 32 kbit/s",
    ]  # fmt: skip


@pytest.mark.parametrize("condition", degrade.CONDITIONS)
def test_same_clip_gives_the_same_samples(condition):
    once, rate = under(condition, tones(300, 1000))
    again, _ = under(condition, tones(300, 1000))
    assert once.dtype == np.float32 and once.ndim == 1 and rate in (8000, 24000, RATE)
    np.testing.assert_array_equal(once, again)


@pytest.mark.parametrize("snr", [20, 10, 0])
def test_noise_has_the_level_that_its_name_says(snr):
    signal = np.concatenate([np.zeros(5000, dtype=np.float32), tones(500, 900)])
    noisy, rate = under(f"noise {snr} dB", signal)
    noise = noisy.astype(np.float64) - signal
    assert rate == RATE
    assert decibels(np.mean(signal.astype(np.float64) ** 2) / np.mean(noise**2)) == pytest.approx(snr, abs=1e-3)


def test_noise_is_white_and_each_clip_has_its_own():
    signal = tones(500)
    noise = under("noise 0 dB", signal)[0] - signal
    power = np.abs(np.fft.rfft(noise)) ** 2
    quarters = [part.mean() for part in np.array_split(power, 4)]
    assert max(quarters) / min(quarters) < 1.2
    other = under("noise 0 dB", signal, sha256="0" * 64)[0] - signal
    assert abs(np.corrcoef(noise, other)[0, 1]) < 0.03


def test_gain_clips_like_a_recorder_of_16_bits():
    signal = np.array([0.1, 0.2, 0.5, -0.1, -0.5, 1 / 70000], dtype=np.float32)
    factor = 10 ** (12 / 20)  # 3.98
    louder, rate = under("gain +12 dB", signal)
    expected = np.array([0.1 * factor, 0.2 * factor, 1 - 2**-15, -0.1 * factor, -1, 2 / 2**15])
    np.testing.assert_allclose(louder, expected, atol=0.51 / 2**15)
    assert rate == RATE and louder.max() == np.float32(1 - 2**-15) and louder.min() == -1
    np.testing.assert_array_equal(louder * 2**15, np.rint(louder * 2**15))


def test_gain_down_rounds_and_keeps_the_shape():
    signal = tones(500)
    quieter, _ = under("gain -12 dB", signal)
    np.testing.assert_allclose(quieter, signal * 10 ** (-12 / 20), atol=0.51 / 2**15)


def test_telephone_leaves_its_band_and_nothing_else():
    inside, outside = (500, 1000, 2000, 3000), (60, 150, 3800)
    narrow, rate = under("telephone", tones(*inside, *outside))
    before = tones(*inside, *outside)
    assert rate == 8000 and len(narrow) == pytest.approx(8000, abs=1)
    for frequency in inside:
        assert level(narrow, 8000, frequency) == pytest.approx(level(before, RATE, frequency), abs=1)
    for frequency in outside:
        assert level(narrow, 8000, frequency) < level(before, RATE, frequency) - 20
    for edge in (300, 3400):  # half the power is left at the ends of the band
        narrow, _ = under("telephone", tones(edge))
        assert level(narrow, 8000, edge) - level(tones(edge), RATE, edge) == pytest.approx(-3, abs=0.5)


def test_telephone_does_not_fold_what_is_above_it():
    narrow, _ = under("telephone", tones(7000) + tones(1000))  # 7000 Hz would come back as 1000 Hz
    assert level(narrow, 8000, 1000) == pytest.approx(level(tones(1000), RATE, 1000), abs=0.5)


@pytest.mark.parametrize("rate", [8000, 24414, 44100, 96000])
def test_mp3_keeps_the_duration_and_the_sound(rate):
    signal = tones(300, 440, 700, rate=rate, seconds=1.3)
    decoded, mp3_rate = under("mp3 32 kbit/s", signal, rate)
    assert mp3_rate == {24414: 24000, 96000: 48000}.get(rate, rate)
    assert len(decoded) / mp3_rate == pytest.approx(1.3, abs=1152 / mp3_rate)  # a frame
    reference = tones(300, 440, 700, rate=mp3_rate, seconds=1.3)
    n = min(len(decoded), len(reference))
    assert np.corrcoef(decoded[:n], reference[:n])[0, 1] > 0.97


def test_mp3_loses_something():
    noise = np.random.default_rng(0).normal(0, 0.1, RATE).astype(np.float32)
    decoded, rate = under("mp3 32 kbit/s", noise)
    spectrum = np.abs(np.fft.rfft(decoded)) ** 2
    frequencies = np.fft.rfftfreq(len(decoded), 1 / rate)
    assert spectrum[frequencies > 11000].mean() < 0.01 * spectrum[frequencies < 4000].mean()


def test_what_is_gone_is_told():
    with pytest.raises(AudioError, match="nothing is left of it with gain -12 dB"):
        under("gain -12 dB", np.array([1e-4, -1e-4] * 50, dtype=np.float32))
    with pytest.raises(AudioError, match="nothing is left of it with telephone"):
        under("telephone", tones(10000, peak=0.01) * np.hanning(RATE).astype(np.float32))


@pytest.mark.parametrize("condition", degrade.CONDITIONS)
@pytest.mark.parametrize("n_samples", [1, 3, 40])
def test_a_clip_of_no_length_is_either_degraded_or_refused(condition, n_samples):
    try:
        degraded, _ = under(condition, np.full(n_samples, 0.5, dtype=np.float32))
        assert np.isfinite(degraded).all()
    except AudioError:
        pass


@pytest.fixture
def clip(tmp_path, write_wav):
    path = write_wav(tmp_path / "clip.wav", tones(300, 800) * np.hanning(RATE), RATE, subtype="PCM_16")
    return path, hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("condition", degrade.CONDITIONS)
def test_degraded_clip_goes_the_way_of_any_file(clip, tmp_path, condition):
    path, sha256 = clip
    found = work.degraded_features(path, sha256, SETTINGS, open_cache(), condition)
    degraded, rate = under(condition, *load_audio(path), sha256=sha256)
    soundfile.write(tmp_path / "degraded.wav", degraded, rate, subtype="FLOAT")
    np.testing.assert_array_equal(found, process_audio_file(tmp_path / "degraded.wav", SETTINGS))
    assert found.shape == (SETTINGS.n_frames, 7)


def test_second_time_nothing_is_decoded(clip, monkeypatch):
    path, sha256 = clip
    cache = open_cache()
    first = work.degraded_features(path, sha256, SETTINGS, cache, "telephone")
    assert work.degraded_key(sha256, SETTINGS, "telephone") in cache
    monkeypatch.setattr(work, "load_audio", None)
    np.testing.assert_array_equal(work.degraded_features(path, sha256, SETTINGS, cache, "telephone"), first)


def test_what_is_kept_is_named_by_all_that_decides_it(monkeypatch):
    key = work.degraded_key(SHA256, SETTINGS, "telephone")
    assert key != work.degraded_key(SHA256, SETTINGS, "noise 0 dB")
    assert key != work.degraded_key("0" * 64, SETTINGS, "telephone")
    for change in ({"sampling_rate": 16000}, {"denoise": False}, {"target_length": 4000}, {"n_mels": 64}):
        assert key != work.degraded_key(SHA256, SETTINGS.model_copy(update=change), "telephone")
    for change in ({"n_mfcc": 3}, {"features": "logmel"}):  # made from the same analysis
        assert key == work.degraded_key(SHA256, SETTINGS.model_copy(update=change), "telephone")
    monkeypatch.setattr(work, "DEGRADE_VERSION", 99)
    assert key != work.degraded_key(SHA256, SETTINGS, "telephone")


def test_file_that_cannot_be_used_is_a_result(tmp_path):
    found = work.degraded_features(tmp_path / "none.wav", SHA256, SETTINGS, open_cache(), "noise 0 dB")
    assert isinstance(found, AudioError)
