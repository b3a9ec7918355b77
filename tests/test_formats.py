"""Every format that a person may bring and PyAV encodes: lossless ones are answered as their wav is."""

import importlib.util

import av
import conftest
import numpy as np
import pytest
import soundfile
from av.codec.codec import UnknownCodecError
from test_audio import best_correlation
from test_project import REPO

from ser_lib.audio.signal import load_audio
from ser_lib.model.bundle import load_bundle
from ser_lib.predict import predict_emotion_from_file

_spec = importlib.util.spec_from_file_location("compression", REPO / "benchmarks" / "compression.py")
compression = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(compression)

RATE = 16000
LOSSLESS = {"FLAC", "ALAC (m4a)"}
NARROW = {"AMR 12.2 kbit/s", "G.711 µ-law 64 kbit/s (wav)"}
LOSSY = [name for name in compression.FORMATS if name not in LOSSLESS]


@pytest.fixture(scope="module")
def bundle():
    return load_bundle(REPO / "reports" / "demo")


@pytest.fixture(scope="module")
def clip(demo_folder, tmp_path_factory):
    """A phrase in 16 bits, as a recorder gives it, and its file."""
    signal, rate = load_audio(next(iter(sorted(demo_folder.glob("*/ESA_*_happy.wav")))))
    path = tmp_path_factory.mktemp("clip") / "phrase.wav"
    soundfile.write(path, signal, rate, subtype="PCM_16")
    return *load_audio(path), path


def encoded(folder, clip, name):
    return compression.encode(folder / "phrase", clip[0], clip[1], compression.FORMATS[name])


@pytest.mark.parametrize(
    ("container", "subtype", "ending"),
    [
        *(("WAV", subtype, "wav") for subtype in ("PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE")),
        ("WAVEX", "PCM_16", "wav"),
        ("RF64", "PCM_24", "wav"),
        ("W64", "PCM_16", "w64"),
        ("AIFF", "PCM_16", "aiff"),
        ("AIFF", "PCM_24", "wav"),
        ("AU", "PCM_16", "au"),
        ("CAF", "PCM_16", "caf"),
        ("FLAC", "PCM_16", "flac"),
    ],
)
@pytest.mark.parametrize("n_channels", [1, 2])
def test_lossless_files_of_soundfile_are_answered_as_the_wav_is(
    bundle, clip, tmp_path, container, subtype, ending, n_channels
):
    path = tmp_path / f"phrase.{ending}"
    soundfile.write(path, np.stack([clip[0]] * n_channels, axis=1), clip[1], subtype=subtype, format=container)
    expected = predict_emotion_from_file(clip[2], bundle).probabilities
    given = predict_emotion_from_file(path, bundle).probabilities
    assert list(given.values()) == pytest.approx(list(expected.values()), abs=0.001)


@pytest.mark.parametrize("container", ["AIFF", "FLAC", "W64"])
@pytest.mark.parametrize("n_channels", [1, 2, 6])
@pytest.mark.parametrize("rate", [8000, 22050, 96000])
def test_lossless_files_are_answered_as_the_wav_at_any_rate(bundle, clip, tmp_path, container, n_channels, rate):
    signal = compression.soxr.resample(clip[0], clip[1], rate)
    channels = np.outer(0.9 * signal / np.abs(signal).max(), 1 / np.arange(1, n_channels + 1))  # no two are the same
    # as integers, for libsndfile rounds floating point for flac in another way than for wav
    channels = np.round(32767 * channels).astype(np.int16)
    answers = []
    for written in ("WAV", container):
        path = tmp_path / f"phrase.{written.lower()}"
        soundfile.write(path, channels, rate, subtype="PCM_16", format=written)
        answers.append(list(predict_emotion_from_file(path, bundle).probabilities.values()))
    assert answers[1] == pytest.approx(answers[0], abs=0.001)


@pytest.mark.parametrize("name", sorted(LOSSLESS))
def test_lossless_codecs_are_answered_as_the_wav_is(bundle, clip, tmp_path, name):
    path = encoded(tmp_path, clip, name)
    expected = predict_emotion_from_file(clip[2], bundle).probabilities
    given = predict_emotion_from_file(path, bundle).probabilities
    assert list(given.values()) == pytest.approx(list(expected.values()), abs=0.001)


def test_eight_bits_lose_what_is_below_a_step(bundle, clip, tmp_path):
    soundfile.write(tmp_path / "phrase.wav", clip[0], clip[1], subtype="PCM_U8")
    decoded, rate = load_audio(tmp_path / "phrase.wav")
    assert rate == clip[1] and np.abs(decoded - clip[0]).max() <= 2**-7


@pytest.mark.parametrize("name", LOSSY)
def test_lossy_codecs_keep_duration_and_shape(clip, tmp_path, name):
    signal, rate, _ = clip
    decoded, own_rate = load_audio(encoded(tmp_path, clip, name))
    form = compression.FORMATS[name]
    assert own_rate == (form.rate or rate)
    assert len(decoded) / own_rate == pytest.approx(len(signal) / rate, abs=0.1)  # blocks and delays of the codecs
    reference = compression.soxr.resample(signal, rate, own_rate)
    assert best_correlation(decoded, reference) > (0.8 if name in NARROW else 0.95)


@pytest.mark.parametrize("n_channels", [1, 2])
@pytest.mark.parametrize("rate", [8000, 16000, 48000])
@pytest.mark.parametrize("name", ["FLAC", "AAC 64 kbit/s (m4a)", "MP3 64 kbit/s"])
def test_rates_and_channels_are_read(clip, tmp_path, name, rate, n_channels):
    form = compression.FORMATS[name]._replace(rate=rate, bit_rate=None)
    channels = np.stack([clip[0]] * n_channels, axis=1)
    decoded, own_rate = load_audio(compression.encode(tmp_path / "phrase", channels, clip[1], form))
    assert own_rate == rate
    reference = compression.soxr.resample(clip[0], clip[1], rate)
    assert best_correlation(decoded, reference) > 0.9  # MP3 at 8 kHz keeps least


def test_sound_of_a_film_is_heard(clip, tmp_path):
    t, signal = np.arange(10), np.ascontiguousarray(clip[0][np.newaxis])
    with av.open(str(tmp_path / "film.mp4"), "w") as container:
        film = container.add_stream("mpeg4", rate=10, width=16, height=16, pix_fmt="yuv420p")
        sound = container.add_stream("aac", rate=clip[1], layout="mono")
        for shade in t:
            picture = np.full((16, 16, 3), 20 * shade, np.uint8)
            container.mux(film.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        frame = av.AudioFrame.from_ndarray(signal, format="fltp", layout="mono")
        frame.sample_rate = clip[1]
        container.mux(sound.encode(frame))
        container.mux(film.encode(None))
        container.mux(sound.encode(None))
    decoded, _ = load_audio(tmp_path / "film.mp4")
    assert best_correlation(decoded, clip[0]) > 0.95


@pytest.mark.parametrize("name", sorted(NARROW))
def test_narrow_bands_are_named(bundle, clip, tmp_path, name):
    answer = predict_emotion_from_file(encoded(tmp_path, clip, name), bundle)
    assert any(phrase.startswith("band: nothing above ") for phrase in answer.novelty)
    assert not any(phrase.startswith("band") for phrase in predict_emotion_from_file(clip[2], bundle).novelty)


# A PyAV without a codec: of a system, whose FFmpeg may have been built without it


@pytest.mark.parametrize("name", ["nonsense", "flac"])  # which no FFmpeg has, and which each has
def test_unknown_codec_is_a_failure_where_no_codec_is_lacking(name):
    outcome = conftest.pytest_pyfunc_call(None)
    next(outcome)
    with pytest.raises(UnknownCodecError, match=name):
        outcome.throw(UnknownCodecError(name))


def test_codec_that_this_machine_lacks_is_a_skip_by_name(monkeypatch):
    def without_flac(name, mode):
        if (name, mode) == ("flac", "w"):
            raise UnknownCodecError(name)

    monkeypatch.setattr(av, "Codec", without_flac)
    outcome = conftest.pytest_pyfunc_call(None)
    next(outcome)
    with pytest.raises(pytest.skip.Exception, match=r"^this PyAV has no encoder flac$"):
        outcome.throw(UnknownCodecError("flac"))


def test_codecs_that_may_be_lacking_are_those_that_something_encodes_with():
    used = {form.codec for form in compression.FORMATS.values()} - {"VORBIS"} | {"mpeg4", "libmp3lame"}
    assert used <= conftest.ENCODERS
