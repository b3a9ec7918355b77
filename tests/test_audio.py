import struct
import wave

import av
import librosa
import noisereduce
import numpy as np
import pytest
import soundfile

from ser_lib.audio import signal as audio
from ser_lib.audio import sound_file
from ser_lib.audio.settings import AudioSettings
from ser_lib.core.errors import AudioError, unusable

RATE = 24414


def settings(**changes):
    values = {"sampling_rate": RATE, "frame_length": 2048, "hop_length": 512, "n_mfcc": 13, "trim_top_db": 30.0}
    values |= {"features": "mfcc", "n_mels": 128, "mel_fmin": 0.0, "normalize_per_speaker": False}
    return AudioSettings(**(values | {"denoise": True, "denoise_reference": False, "target_length": RATE} | changes))


def sine(frequency, seconds, *, rate=RATE, amplitude=0.5):
    return (amplitude * np.sin(2 * np.pi * frequency * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def noise(seconds, *, rate=RATE, amplitude=0.3, seed=0):
    return (amplitude * np.random.default_rng(seed).uniform(-1, 1, round(seconds * rate))).astype(np.float32)


def encode(path, signal, rate, codec):
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate, layout="mono")
        for start in range(0, len(signal), 960):
            frame = av.AudioFrame.from_ndarray(signal[np.newaxis, start : start + 960], format="flt", layout="mono")
            frame.sample_rate, frame.pts = rate, start
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def best_correlation(one, two):
    size = len(one) + len(two)
    products = np.fft.irfft(np.fft.rfft(one, size) * np.conj(np.fft.rfft(two, size)), size)
    return products.max() / np.sqrt((one**2).sum() * (two**2).sum())


@pytest.mark.parametrize(
    ("subtype", "step"),
    [
        ("PCM_U8", 2**-7),
        ("PCM_16", 2**-15),
        ("PCM_24", 2**-23),
        ("PCM_32", 2**-23),
        ("FLOAT", 2**-24),
        ("DOUBLE", 2**-24),
    ],
)
def test_wav_is_decoded_within_one_step(tmp_path, write_wav, subtype, step):
    signal = noise(0.05, amplitude=0.9)
    decoded, rate = audio.load_audio(write_wav(tmp_path / "a.wav", signal, 16000, subtype=subtype))
    assert (rate, decoded.dtype, decoded.shape) == (16000, np.float32, signal.shape)
    np.testing.assert_allclose(decoded, signal, rtol=0, atol=step)


def test_sixteen_bits_are_a_share_of_full_scale(tmp_path):
    with wave.open(str(tmp_path / "a.wav"), "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", ""))
        file.writeframes(struct.pack("<5h", 0, 16384, -16384, 32767, -32768))
    decoded, rate = audio.load_audio(tmp_path / "a.wav")
    assert rate == 8000
    assert decoded.tolist() == [0, 0.5, -0.5, 32767 / 32768, -1]


@pytest.mark.parametrize("n_channels", [2, 3])
def test_channels_are_averaged(tmp_path, write_wav, n_channels):
    channels = np.stack([noise(0.05, seed=seed) for seed in range(n_channels)], axis=1)
    decoded, _ = audio.load_audio(write_wav(tmp_path / "a.wav", channels, subtype="FLOAT"))
    np.testing.assert_allclose(decoded, channels.sum(axis=1) / n_channels, rtol=0, atol=1e-6)


def test_average_of_huge_samples_does_not_overflow(tmp_path, write_wav):
    huge = np.array([3e38, -3e38, 3e38], np.float32)
    decoded, _ = audio.load_audio(write_wav(tmp_path / "a.wav", np.stack([huge, huge], axis=1), subtype="FLOAT"))
    np.testing.assert_allclose(decoded, huge, rtol=1e-6)


@pytest.mark.parametrize(("name", "container"), [("aiff.wav", "AIFF"), ("a.flac", "FLAC"), ("flac.wav", "FLAC")])
def test_content_decides_not_the_ending(tmp_path, write_wav, name, container):
    signal = noise(0.1)
    path = write_wav(tmp_path / name, signal, 22050, format=container, subtype="PCM_16")
    decoded, rate = audio.load_audio(path)
    assert rate == 22050
    np.testing.assert_allclose(decoded, signal, rtol=0, atol=2**-15)


@pytest.mark.parametrize(("name", "codec"), [("a.m4a", "aac"), ("a.webm", "libopus"), ("m4a.wav", "aac")])
def test_other_formats_are_decoded_without_a_program(tmp_path, name, codec):
    # a sweep, so that only the right alignment correlates
    t = np.arange(48000) / 48000
    signal = (0.5 * np.sin(2 * np.pi * (200 + 600 * t) * t)).astype(np.float32)
    path = encode(tmp_path / ("a.m4a" if codec == "aac" else name), signal, 48000, codec).rename(tmp_path / name)
    with pytest.raises(soundfile.LibsndfileError):
        soundfile.read(path)
    decoded, rate = audio.load_audio(path)
    assert rate == 48000
    assert decoded.dtype == np.float32
    assert abs(len(decoded) - 48000) <= 2 * 1024  # codecs work in blocks
    assert best_correlation(decoded, signal) > 0.99
    assert np.sqrt(np.mean(decoded**2)) == pytest.approx(0.5 / np.sqrt(2), rel=0.05)


@pytest.mark.parametrize(
    ("content", "name", "reason"),
    [
        (b"", "empty.wav", "the file is empty"),
        (b"this is no audio\n" * 20, "text.wav", "cannot be decoded"),
        (b"this is no audio\n" * 20, "text.m4a", "cannot be decoded"),
        (b"this is no audio\n" * 20, "headless.raw", "cannot be decoded|no audio track"),
        (bytes(4096), "zeros.wav", "cannot be decoded"),
    ],
)
def test_what_is_no_audio_is_refused(tmp_path, content, name, reason):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(AudioError, match=reason):
        audio.load_audio(tmp_path / name)


def test_film_without_sound_is_refused(tmp_path):
    with av.open(str(tmp_path / "film.mp4"), "w") as container:
        stream = container.add_stream("mpeg4", rate=5, width=16, height=16, pix_fmt="yuv420p")
        for _ in range(3):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((16, 16, 3), np.uint8), format="rgb24")))
        container.mux(stream.encode(None))
    with pytest.raises(AudioError, match="the file has no audio track"):
        audio.load_audio(tmp_path / "film.mp4")


@pytest.mark.parametrize("kept", [1, 4, 12, 20, 35])
def test_truncated_header_is_refused(tmp_path, write_wav, kept):
    path = write_wav(tmp_path / "a.wav", noise(0.1))
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(AudioError, match="cannot be decoded"):
        audio.load_audio(path)


def test_missing_file_and_folder_are_refused(tmp_path):
    with pytest.raises(AudioError, match="no such file"):
        audio.load_audio(tmp_path / "none.wav")
    with pytest.raises(AudioError, match="a folder, not an audio file"):
        audio.load_audio(tmp_path)


def test_unreadable_file_is_refused(tmp_path, write_wav, monkeypatch):
    def refuse(*_args, **_options):
        raise PermissionError(13, "Permission denied")

    path = write_wav(tmp_path / "a.wav", noise(0.1))
    monkeypatch.setattr(soundfile, "SoundFile", refuse)
    with pytest.raises(AudioError, match="may not be read"):
        audio.load_audio(path)


def one_bad(value):
    signal = noise(0.1)
    signal[700] = value
    return signal


@pytest.mark.parametrize(
    ("samples", "reason"),
    [
        (np.zeros(0), "holds no samples"),
        (np.zeros(5000), "is silent"),
        (np.full(5000, 2.0**-15), "is silent"),
        (np.stack([noise(0.1), -noise(0.1)], axis=1), "cancel each other out"),
        (one_bad(np.nan), "NaN or infinity"),
        (one_bad(np.inf), "NaN or infinity"),
        (one_bad(-np.inf), "NaN or infinity"),
    ],
    ids=["none", "zeros", "last-bit", "opposite-channels", "nan", "inf", "minus-inf"],
)
def test_unusable_samples_are_refused(tmp_path, write_wav, samples, reason):
    with pytest.raises(AudioError, match=reason):
        audio.load_audio(write_wav(tmp_path / "a.wav", samples.astype(np.float32), subtype="FLOAT"))


@pytest.mark.parametrize("rate", [8000, 16000, 44100, 48000, 96000])
def test_resampled_sine_is_the_sine_at_the_new_rate(rate):
    resampled = audio.resample(sine(1000, 0.5, rate=rate), rate, target_rate=RATE)
    assert resampled.dtype == np.float32
    assert abs(len(resampled) - 0.5 * RATE) <= 1
    expected = 0.5 * np.sin(2 * np.pi * 1000 * np.arange(len(resampled)) / RATE)
    np.testing.assert_allclose(resampled[1000:-1000], expected[1000:-1000], rtol=0, atol=1e-4)


def test_resampling_leaves_no_alias():
    resampled = audio.resample(sine(18000, 0.5, rate=48000), 48000, target_rate=RATE)
    assert np.abs(resampled[1000:-1000]).max() < 1e-4


def test_same_rate_leaves_the_samples():
    signal = noise(0.1)
    np.testing.assert_array_equal(audio.resample(signal, RATE, target_rate=RATE), signal)


@pytest.mark.parametrize("peak", [4e-5, 1e-3, 0.25, 1.0, 3.0, 1e6])
@pytest.mark.parametrize("sign", [1, -1])
def test_normalised_peak_is_full_scale_and_the_rest_in_proportion(peak, sign):
    signal = noise(0.2)
    signal *= np.float32(sign * peak) / signal[np.abs(signal).argmax()]
    normalized = audio.normalize_volume(signal, RATE)
    assert normalized.dtype == np.float32
    assert np.abs(normalized).max() == pytest.approx(1, abs=1e-5)
    np.testing.assert_allclose(normalized, signal / peak, rtol=0, atol=2e-5)


def faint_and(*signals):
    return np.concatenate(signals) + noise(sum(map(len, signals)) / RATE, amplitude=1e-4)


@pytest.mark.parametrize("top_db", [10.0, 30.0])
@pytest.mark.parametrize(("frame_length", "hop_length"), [(2048, 512), (1024, 300)])
def test_trimming_is_librosas(top_db, frame_length, hop_length):
    signal = faint_and(np.zeros(4000, "f4"), sine(300, 0.2, amplitude=0.1), sine(300, 0.3), np.zeros(3000, "f4"))
    chosen = settings(trim_top_db=top_db, frame_length=frame_length, hop_length=hop_length)
    expected, _ = librosa.effects.trim(signal, top_db=top_db, frame_length=frame_length, hop_length=hop_length)
    np.testing.assert_array_equal(audio.trim_silence(signal, chosen), expected)


def test_trimming_cuts_silence_around_a_tone_and_nothing_else():
    signal = faint_and(np.zeros(20000, "f4"), sine(300, 1), np.zeros(15000, "f4"))
    trimmed = audio.trim_silence(signal, settings())
    assert RATE <= len(trimmed) <= RATE + 2 * 2048
    start = np.abs(signal - trimmed[0]).argmin()
    assert 20000 - 2048 <= start <= 20000
    np.testing.assert_array_equal(signal[start : start + len(trimmed)], trimmed)


@pytest.mark.parametrize(("top_db", "kept"), [(10.0, 1), (30.0, 2)])
def test_top_db_decides_what_is_silence(top_db, kept):
    signal = faint_and(sine(300, 1, amplitude=0.05), sine(300, 1, amplitude=0.5))  # 20 dB apart
    trimmed = audio.trim_silence(signal, settings(trim_top_db=top_db))
    assert len(trimmed) == pytest.approx(kept * RATE, abs=2048)


@pytest.mark.parametrize(
    ("target_length", "expected"), [(5, [1, 2, 3, 0, 0]), (3, [1, 2, 3]), (2, [1, 2]), (4, [1, 2, 3, 0])]
)
def test_length_is_fixed_at_the_end(target_length, expected):
    fixed = audio.fix_length(np.array([1, 2, 3], dtype=np.float32), target_length=target_length)
    assert fixed.tolist() == expected
    assert fixed.dtype == np.float32


def test_reference_noise_reduction_has_noisereduces_defaults():
    signal = faint_and(sine(400, 0.5), noise(0.2, amplitude=0.05), np.zeros(6000, "f4"))
    reduced = audio.reduce_noise(signal, RATE, reference=True)
    np.testing.assert_array_equal(reduced, noisereduce.reduce_noise(y=signal, sr=RATE))
    assert (reduced.dtype, reduced.shape) == (np.float32, signal.shape)
    assert np.isfinite(reduced).all()


@pytest.mark.parametrize(("rate", "hop"), [(RATE, 512), (8000, 400), (5120, 256)])
def test_noise_reduction_is_noisereduces_without_zeros_around(rate, hop):
    signal = faint_and(sine(400, 0.5, rate=rate), noise(0.2, rate=rate, amplitude=0.05))
    reduced = audio.reduce_noise(signal, rate, reference=False)
    np.testing.assert_array_equal(
        reduced, noisereduce.reduce_noise(y=signal, sr=rate, padding=0, n_fft=1024, hop_length=hop)
    )
    assert (reduced.dtype, reduced.shape) == (np.float32, signal.shape)
    assert np.isfinite(reduced).all()


@pytest.mark.parametrize("n_samples", [1, 100, 1023, 1024])
def test_noise_reduction_takes_signals_shorter_than_its_window(n_samples):
    reduced = audio.reduce_noise(noise(n_samples / RATE), RATE, reference=False)
    assert reduced.shape == (n_samples,)
    assert np.isfinite(reduced).all()


def test_noise_reduction_of_a_long_signal_has_no_seams():
    signal = sine(1000, 30) + noise(30, amplitude=0.02)
    one_piece, in_chunks = (
        noisereduce.reduce_noise(y=signal, sr=RATE, padding=0, hop_length=512, chunk_size=size)
        for size in (len(signal), 600_000)
    )
    assert not np.allclose(one_piece, in_chunks, atol=1e-3)  # else the test shows nothing
    np.testing.assert_array_equal(audio.reduce_noise(signal, RATE, reference=False), one_piece)


@pytest.mark.parametrize("reference", [True, False])
def test_noise_is_reduced(reference):
    signal = np.concatenate([np.zeros(RATE, "f4"), sine(1000, 0.5)]) + noise(1.5, amplitude=0.02)
    reduced = audio.reduce_noise(signal, RATE, reference=reference)[4000 : RATE - 4000]
    assert np.std(reduced) < 0.5 * np.std(signal[4000 : RATE - 4000])


@pytest.mark.parametrize("reference", [True, False])
def test_steps_come_in_order_and_each_works_on_the_one_before(reference):
    signal = np.concatenate([np.zeros(9600, "f4"), sine(440, 0.4, rate=48000)]) + noise(0.6, rate=48000, amplitude=1e-4)
    chosen = settings(target_length=12000, denoise_reference=reference)
    steps = audio.prepare_signal(signal, 48000, chosen)
    last = ["padded", "denoised"] if reference else ["denoised", "padded"]
    assert list(steps) == ["decoded", "resampled", "normalised", "trimmed", *last]
    np.testing.assert_array_equal(steps["decoded"], signal)
    assert len(steps["resampled"]) == len(steps["normalised"]) == pytest.approx(0.6 * RATE, abs=1)
    np.testing.assert_allclose(
        steps["normalised"], steps["resampled"] / np.abs(steps["resampled"]).max(), rtol=0, atol=1e-5
    )
    trimmed, _ = librosa.effects.trim(steps["normalised"], top_db=30, frame_length=2048, hop_length=512)
    np.testing.assert_array_equal(steps["trimmed"], trimmed)
    assert len(trimmed) < 12000
    rest = np.zeros(12000 - len(trimmed))
    if reference:
        np.testing.assert_array_equal(steps["padded"], np.append(trimmed, rest))
        np.testing.assert_array_equal(steps["denoised"], noisereduce.reduce_noise(y=steps["padded"], sr=RATE))
    else:
        np.testing.assert_array_equal(
            steps["denoised"], noisereduce.reduce_noise(y=trimmed, sr=RATE, padding=0, hop_length=512)
        )
        np.testing.assert_array_equal(steps["padded"], np.append(steps["denoised"], rest))


def test_without_noise_reduction_the_padded_signal_is_the_last():
    steps = audio.prepare_signal(noise(0.5), RATE, settings(denoise=False, target_length=5000))
    assert list(steps)[-1] == "padded"
    assert len(steps["padded"]) == 5000
    np.testing.assert_array_equal(steps["padded"], steps["trimmed"][:5000])


@pytest.mark.filterwarnings("ignore:invalid value encountered in divide:RuntimeWarning")
def test_long_silence_is_an_error_in_the_reference_and_silence_without():
    with pytest.raises(AudioError, match="NaN"):
        audio.finish_steps(sine(440, 0.2), settings(target_length=1_300_000, denoise_reference=True))
    interrupted = np.concatenate([sine(440, 0.2), np.zeros(1_300_000, "f4"), sine(440, 0.2)])
    reduced = audio.finish_steps(interrupted, settings(target_length=len(interrupted)))["padded"]
    assert np.isfinite(reduced).all()
    assert np.abs(reduced[100_000:-100_000]).max() < 1e-6


def test_fewer_samples_than_one_at_the_new_rate_are_refused():
    with pytest.raises(AudioError):
        audio.prepare_signal(np.full(1, 0.5, dtype=np.float32), 192000, settings())


def test_real_clip_at_96_khz_comes_to_the_common_rate(tess):
    path = tess.file("OAF_Fear/OAF_food_fear.wav")
    with wave.open(str(path)) as file:
        assert file.getframerate() == 96000
        expected = file.getnframes() * RATE / 96000
    steps = audio.trim_steps(*audio.load_audio(path), settings())
    assert len(steps["resampled"]) == pytest.approx(expected, abs=1)
    assert len(steps["trimmed"]) < 3 * RATE


@pytest.mark.parametrize("name", ["YAF_angry/YAF_germ_angry.wav", "YAF_fear/YAF_neat_fear.wav"])
def test_real_aiff_in_wav_is_decoded(tess, name):
    path = tess.file(name)
    assert path.read_bytes()[:4] == b"FORM"
    with av.open(str(path), format="aiff") as container:
        rate = container.streams.audio[0].rate
        samples = np.concatenate([frame.to_ndarray() for frame in container.decode(audio=0)], axis=1)
    decoded, decoded_rate = audio.load_audio(path)
    assert (decoded_rate, samples.dtype) == (rate, np.int16)
    np.testing.assert_array_equal(decoded, samples[0] / np.float32(2**15))


def test_header_that_claims_gigabytes_takes_what_there_is(tmp_path):
    signal = noise(0.5, rate=16000)
    for name in ("a.wav", "a.flac"):
        soundfile.write(tmp_path / name, signal, 16000)
    wav, flac = (bytearray((tmp_path / name).read_bytes()) for name in ("a.wav", "a.flac"))
    wav[4:8] = wav[40:44] = struct.pack("<I", 0xFFFFFF00)  # sizes of the file and of its samples
    flac[21] |= 0x0F  # 36 bits of STREAMINFO: how many samples there are
    flac[22:26] = b"\xff\xff\xff\xff"
    for name, content in (("a.wav", wav), ("a.flac", flac)):
        whole, _ = audio.load_audio(tmp_path / name)
        (tmp_path / f"b{name}").write_bytes(content)
        claimed, rate = audio.load_audio(tmp_path / f"b{name}")
        assert rate == 16000
        np.testing.assert_array_equal(claimed, whole)


def test_file_is_the_same_in_blocks(tmp_path, monkeypatch):
    for name in ("a.wav", "a.flac", "a.ogg", "a.mp3"):
        soundfile.write(tmp_path / name, noise(1, rate=44100), 44100)
        whole, _ = soundfile.read(tmp_path / name, dtype="float32")
        monkeypatch.setattr(sound_file, "BLOCK", 1000)
        rounding = 1e-7 if name == "a.mp3" else 0  # mpg123 rounds by where a block begins
        np.testing.assert_allclose(audio.load_audio(tmp_path / name)[0], whole, rtol=0, atol=rounding)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (AudioError("the file is empty"), "the file is empty"),
        (PermissionError(13, "Permission denied", "/home/somebody/a.wav"), "Permission denied"),  # told by its own name
        (OSError("read of closed file"), "read of closed file"),
    ],
)
def test_file_that_cannot_be_used_is_named_with_the_reason(error, reason):
    assert unusable("a.wav", error) == f"a.wav cannot be used: {reason}."
