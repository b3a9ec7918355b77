import itertools
import warnings

import librosa
import noisereduce
import numpy as np
import pytest
import scipy.fft
import soundfile
import soxr
from test_audio import settings

from ser_lib.audio.features import analyse, analyse_trimmed, pool, process_audio_file, to_features
from ser_lib.audio.signal import finish_steps
from ser_lib.audio.spectrum import frame_levels, hann, mel_filters, stft
from ser_lib.core.errors import AudioError, ParameterError

RATE = 24414


def extract_features(signal, chosen):
    return to_features(analyse(signal, chosen), chosen)


def sine(frequency, n_samples=RATE, amplitude=0.5):
    return (amplitude * np.sin(2 * np.pi * frequency * np.arange(n_samples) / RATE + 0.3)).astype(np.float32)


@pytest.mark.parametrize(
    ("target_length", "hop_length", "n_frames"), [(24414, 512, 48), (5120, 512, 11), (511, 512, 1)]
)
@pytest.mark.parametrize("n_mfcc", [1, 13, 40])
@pytest.mark.filterwarnings("ignore:n_fft=2048 is too large for input signal:UserWarning")
def test_shape_is_frames_by_two_and_mfcc(target_length, hop_length, n_frames, n_mfcc):
    chosen = settings(target_length=target_length, hop_length=hop_length, n_mfcc=n_mfcc)
    features = extract_features(sine(440, target_length), chosen)
    assert (features.shape, features.dtype) == ((n_frames, 2 + n_mfcc), np.float32)
    assert chosen.n_frames == n_frames
    assert len(chosen.feature_names) == 2 + n_mfcc
    assert chosen.feature_names[:3] == ["rms", "zcr", "mfcc_1"]


@pytest.mark.parametrize("amplitude", [0.1, 0.5, 1.0])
def test_first_column_is_rms(amplitude):
    rms = extract_features(sine(1000, amplitude=amplitude), settings())[3:-3, 0]
    np.testing.assert_allclose(rms, amplitude / np.sqrt(2), rtol=2e-3)


@pytest.mark.parametrize("frequency", [200, 1000, 5000])
def test_second_column_is_the_zero_crossing_rate(frequency):
    zcr = extract_features(sine(frequency), settings())[3:-3, 1]
    np.testing.assert_allclose(zcr, 2 * frequency / RATE, rtol=0, atol=1.5 / 2048)


def test_other_columns_are_the_cosine_transform_of_log_mel_power():
    signal = sine(300) + 0.1 * np.random.default_rng(0).standard_normal(RATE).astype(np.float32)
    mel = librosa.feature.melspectrogram(y=signal, sr=RATE, n_fft=1024, hop_length=256)
    expected = scipy.fft.dct(librosa.power_to_db(mel), axis=0, type=2, norm="ortho")[:20].T
    features = extract_features(signal, settings(frame_length=1024, hop_length=256, n_mfcc=20))
    np.testing.assert_allclose(features[:, 2:], expected, rtol=0, atol=1e-3)


def test_other_columns_are_librosas_mfcc():
    signal = sine(300) + 0.1 * np.random.default_rng(0).standard_normal(RATE).astype(np.float32)
    expected = librosa.feature.mfcc(y=signal, sr=RATE, n_mfcc=13, n_fft=2048, hop_length=512)
    np.testing.assert_allclose(extract_features(signal, settings())[:, 2:], expected.T, rtol=0, atol=1e-4)


def test_louder_signal_moves_rms_and_the_first_coefficient_alone():
    signal = sine(300) + 0.1 * np.random.default_rng(0).standard_normal(RATE).astype(np.float32)
    features, louder = (extract_features(gain * signal, settings()) for gain in (np.float32(0.5), np.float32(1)))
    np.testing.assert_allclose(louder[:, 0], 2 * features[:, 0], rtol=1e-5)
    np.testing.assert_array_equal(louder[:, 1], features[:, 1])
    # each of the 128 mel bands gains 20 log10(2) dB: sqrt(128) times that in the constant term
    np.testing.assert_allclose(louder[:, 2] - features[:, 2], np.sqrt(128) * 20 * np.log10(2), rtol=1e-3)
    np.testing.assert_allclose(louder[:, 3:], features[:, 3:], rtol=0, atol=2e-2)


@pytest.mark.parametrize("clip", range(0, 2798, 280))
def test_features_of_real_clips_are_librosas(tess, clip):
    signal, _ = soundfile.read(tess.file(tess.names[clip]), dtype="float32")
    frames = {"frame_length": 2048, "hop_length": 512}
    expected = np.vstack(
        [
            librosa.feature.rms(y=signal, **frames),
            librosa.feature.zero_crossing_rate(signal, **frames),
            librosa.feature.mfcc(y=signal, sr=RATE, n_mfcc=13, n_fft=2048, hop_length=512),
        ]
    ).T
    features = extract_features(signal, settings(target_length=len(signal)))
    assert_close(features, expected)
    np.testing.assert_array_equal(features[:, 1], expected[:, 1].astype(np.float32))


@pytest.mark.parametrize("denoise", [True, False])
@pytest.mark.parametrize(("n_samples", "hop_length"), [(9000, 512), (9000, 2048), (12000, 512), (20000, 300)])
def test_clip_analysed_alone_has_the_features_of_the_padded_signal(n_samples, hop_length, denoise):
    rng = np.random.default_rng(0)
    trimmed = (sine(300, n_samples) + 0.1 * rng.standard_normal(n_samples)).astype(np.float32)
    trimmed[-1] = 0  # librosa repeats the last sample where there is no padding; silence ends in zero
    longest = settings(hop_length=hop_length, denoise=denoise, target_length=20000)
    alone = to_features(analyse_trimmed(trimmed, longest), longest)
    signal = finish_steps(trimmed, longest)["padded"]
    np.testing.assert_allclose(alone, extract_features(signal, longest), rtol=1e-5, atol=1e-4)


def assert_close(features, expected):
    """Within 1e-4 of the column's largest value: float32 rounds log-mel power of 80 dB to 1e-5."""
    largest = np.abs(expected).max(axis=0)
    assert (np.abs(features - expected).max(axis=0) <= 1e-4 * largest).all()


def by_hand(path, target_length, *, denoise):
    """The usual way: every step by its library, noise reduction by its own defaults after padding."""
    from pydub import AudioSegment, effects

    signal, rate = soundfile.read(path, dtype="float32")
    if rate != RATE:
        signal = soxr.resample(signal, rate, RATE)
    integers = np.clip(signal.astype(np.float64) * 2**31, -(2**31), 2**31 - 1).astype(np.int32)
    segment = AudioSegment(integers.tobytes(), frame_rate=RATE, sample_width=4, channels=1)
    segment = effects.normalize(segment, headroom=0)
    signal = (np.array(segment.get_array_of_samples()) / 2**31).astype(np.float32)
    signal, _ = librosa.effects.trim(signal, top_db=30, frame_length=2048, hop_length=512)
    signal = np.pad(signal, (0, max(0, target_length - len(signal))))[:target_length]
    if denoise:
        signal = noisereduce.reduce_noise(y=signal, sr=RATE)
    rms = librosa.feature.rms(y=signal, frame_length=2048, hop_length=512)[0]
    zcr = librosa.feature.zero_crossing_rate(signal, frame_length=2048, hop_length=512)[0]
    mfcc = librosa.feature.mfcc(y=signal, sr=RATE, n_mfcc=13, n_fft=2048, hop_length=512)
    return np.column_stack([rms, zcr, *mfcc])


@pytest.mark.parametrize("denoise", [True, False])
@pytest.mark.parametrize("target_length", [30000, 60000])
@pytest.mark.parametrize("name", ["OAF_happy/OAF_back_happy.wav", "OAF_Fear/OAF_food_fear.wav"])
def test_features_of_a_real_clip_are_those_made_by_hand(tess, name, target_length, denoise):
    path = tess.file(name)
    chosen = settings(target_length=target_length, denoise=denoise, denoise_reference=True)
    features = process_audio_file(path, chosen)
    assert features.shape == (1 + target_length // 512, 15)
    assert_close(features, by_hand(path, target_length, denoise=denoise))


def test_same_file_gives_the_same_bits(tess):
    path = tess.file("YAF_sad/YAF_bar_sad.wav")
    one, two = (process_audio_file(path, settings()) for _ in range(2))
    assert one.tobytes() == two.tobytes()


def test_unusable_file_is_refused(tmp_path):
    (tmp_path / "a.wav").write_text("no audio")
    with pytest.raises(AudioError, match="cannot be decoded"):
        process_audio_file(tmp_path / "a.wav", settings())


LOGMEL = {"features": "logmel", "n_mels": 40, "mel_fmin": 50.0, "mel_fmax": 8000.0, "frame_length": 1024}


def noisy_tone(seconds=1.0):
    n_samples = round(seconds * RATE)
    noise = np.random.default_rng(0).standard_normal(n_samples).astype(np.float32)
    return sine(300, n_samples) + np.float32(0.1) * noise


def librosas_log_mel(signal):
    mel = librosa.feature.melspectrogram(
        y=signal, sr=RATE, n_fft=1024, hop_length=512, n_mels=40, fmin=50.0, fmax=8000.0, pad_mode="constant"
    )
    return librosa.power_to_db(mel).T


def test_log_mel_is_librosas_less_the_clips_mean():
    signal = noisy_tone()
    expected = librosas_log_mel(signal)
    features = extract_features(signal, settings(**LOGMEL))
    assert (features.shape, features.dtype) == ((48, 40), np.float32)
    np.testing.assert_allclose(features, expected - expected.mean(), rtol=0, atol=1e-3)


def test_log_mel_does_not_change_with_the_level():
    chosen = settings(**LOGMEL)
    quiet, loud = (extract_features(np.float32(gain) * noisy_tone(), chosen) for gain in (0.01, 1))
    np.testing.assert_allclose(quiet, loud, rtol=0, atol=1e-3)


def test_padding_does_not_change_the_log_mel_of_the_clip():
    signal = noisy_tone(0.5)
    short, long = (
        extract_features(np.pad(signal, (0, size - len(signal))), settings(**LOGMEL, target_length=size))
        for size in (RATE, 3 * RATE)
    )
    np.testing.assert_allclose(long[: len(short)], short, rtol=0, atol=1e-4)
    np.testing.assert_array_equal(long[len(short) :], np.broadcast_to(short[-1], long[len(short) :].shape))


def test_cmn_takes_each_bands_mean_out_of_log_mel():
    signal = noisy_tone()
    expected = librosas_log_mel(signal)
    features = extract_features(signal, settings(**LOGMEL, cmn=True))
    np.testing.assert_allclose(features, expected - expected.mean(axis=0), rtol=0, atol=1e-3)


def test_cmn_takes_each_coefficients_mean_out_of_mfcc():
    signal = noisy_tone()
    plain, without = (extract_features(signal, settings(cmn=cmn)) for cmn in (False, True))
    np.testing.assert_array_equal(without[:, :2], plain[:, :2])
    np.testing.assert_allclose(without[:, 2:], plain[:, 2:] - plain[:, 2:].mean(axis=0), rtol=0, atol=2e-3)


def test_cmn_undoes_a_filter_that_does_not_change():
    # twice as loud in the upper half of the bands: 6 dB in each of them, which the mean over time has, too
    analysis = analyse(noisy_tone(), settings(**LOGMEL))
    filtered = analysis.copy()
    filtered[:, 22:] += 6
    one, two = (to_features(values, settings(**LOGMEL, cmn=True)) for values in (analysis, filtered))
    np.testing.assert_allclose(one, two, rtol=0, atol=1e-4)


def test_tile_fills_a_clip_with_repeats_of_it():
    signal = np.pad(noisy_tone(0.5), (0, RATE))
    long = LOGMEL | {"target_length": len(signal)}
    padded, tiled = (extract_features(signal, settings(**long, tile=tile)) for tile in (False, True))
    # frame 24 begins at sample 24 * 512 - 512 = 11,776 of 12,207, and frame 25 at 12,288
    np.testing.assert_array_equal(tiled, padded[np.arange(len(padded)) % 25])


def test_tiling_that_is_not_asked_for_changes_no_hash():
    assert "tile" not in settings().model_dump() and settings(tile=True).model_dump()["tile"] is True


def test_padding_does_not_change_the_log_mel_of_the_clip_with_cmn():
    signal = noisy_tone(0.5)
    short, long = (
        extract_features(np.pad(signal, (0, size - len(signal))), settings(**LOGMEL, cmn=True, target_length=size))
        for size in (RATE, 3 * RATE)
    )
    np.testing.assert_allclose(long[: len(short)], short, rtol=0, atol=1e-4)


def test_names_of_log_mel_are_its_bands():
    chosen = settings(**LOGMEL)
    assert chosen.feature_names == [f"logmel_{band}" for band in range(1, 41)]


def test_pooled_are_mean_deviation_and_deviation_of_the_change():
    signal, chosen = noisy_tone(0.5), settings(**LOGMEL)
    level = librosas_log_mel(signal)
    level = level - level.mean()
    by_hand = [
        [sum(band) / len(band) for band in level.T],
        [np.sqrt(sum((value - sum(band) / len(band)) ** 2 for value in band) / len(band)) for band in level.T],
        [np.std([b - a for a, b in itertools.pairwise(band)]) for band in level.T],
    ]
    unpadded = chosen.model_copy(update={"target_length": len(signal)})
    np.testing.assert_allclose(pool(analyse(signal, unpadded)), np.concatenate(by_hand), rtol=0, atol=2e-3)


def test_pooled_features_leave_padding_out():
    signal, chosen = noisy_tone(0.5), settings(**LOGMEL)
    padded = chosen.model_copy(update={"target_length": 3 * RATE})
    shorter = chosen.model_copy(update={"target_length": RATE})
    vectors = [pool(analyse(np.pad(signal, (0, size.target_length - len(signal))), size)) for size in (shorter, padded)]
    np.testing.assert_allclose(*vectors, rtol=0, atol=1e-4)


def test_pooling_a_single_frame_shows_no_change():
    vector = pool(analyse(noisy_tone(0.015), settings(**LOGMEL, target_length=366)))
    np.testing.assert_array_equal(vector[40:], 0)


@pytest.mark.parametrize(
    ("changes", "n_empty"),
    [
        # 1,024 samples at 24,414 Hz: frequencies every 23.8 Hz, so that 40 bands within 100 Hz hold at most 5 of them
        ({"features": "logmel", "mel_fmin": 500.0, "mel_fmax": 600.0}, r"\d+ of 40"),
        ({"features": "mfcc", "mel_fmin": 0.0, "mel_fmax": 1.0}, "40 of 40"),
    ],
)
def test_bands_without_a_frequency_are_refused(changes, n_empty):
    with pytest.raises(ParameterError, match=rf"they come every 23\.8 Hz\. Got {n_empty} bands without one\."):
        extract_features(noisy_tone(), settings(**(LOGMEL | changes)))


@pytest.mark.parametrize(("frame_length", "hop_length"), [(2048, 512), (400, 160), (64, 100)])
@pytest.mark.parametrize("n_samples", [1, 400, 30_001])
def test_spectra_and_levels_are_librosas_to_the_bit(n_samples, frame_length, hop_length):
    signal = np.random.default_rng(n_samples).standard_normal(n_samples).astype(np.float32)
    lengths = {"frame_length": frame_length, "hop_length": hop_length}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of a signal that is shorter than a frame
        spectra = librosa.stft(signal, n_fft=frame_length, hop_length=hop_length)
    levels = librosa.amplitude_to_db(librosa.feature.rms(y=signal, **lengths)[0], ref=np.max, top_db=None)
    assert np.array_equal(stft(signal, **lengths), spectra) and np.array_equal(frame_levels(signal, **lengths), levels)
    assert stft(signal, **lengths).dtype == spectra.dtype and frame_levels(signal, **lengths).dtype == levels.dtype
    assert np.array_equal(hann(frame_length), librosa.filters.get_window("hann", frame_length))


@pytest.mark.parametrize("n_mels", [1, 80, 512])
@pytest.mark.parametrize(("fmin", "fmax"), [(0.0, None), (1500.0, 4000.5), (50.0, 800.0)])
@pytest.mark.parametrize(("rate", "frame_length"), [(16000, 400), (24414, 2048), (192000, 64)])
def test_mel_filters_are_librosas_to_the_bit(rate, frame_length, n_mels, fmin, fmax):
    filters = mel_filters(sampling_rate=rate, frame_length=frame_length, n_mels=n_mels, fmin=fmin, fmax=fmax)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of empty filters
        expected = librosa.filters.mel(sr=rate, n_fft=frame_length, n_mels=n_mels, fmin=fmin, fmax=fmax)
    assert np.array_equal(filters, expected) and filters.dtype == expected.dtype
