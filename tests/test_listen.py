"""`ser listen`: windows of a stream, silence, the end, and a microphone that is a module of the test's own."""

import itertools
import os
import queue
import re
import signal
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import soundfile
from test_records import call
from test_store import run_python
from test_timeline import quiet, tone

from ser_lib.core.errors import AudioError, MicrophoneError
from ser_lib.model.bundle import Bundle, load_bundle
from ser_lib.stream import microphone as listening
from ser_lib.stream.microphone import Microphone, listen, microphone, recording
from ser_lib.stream.timeline import predict_timeline

RUN = Path(__file__).resolve().parent.parent / "reports" / "tess_robust_random_s0"
RATE = 16000
SHORT = {"window_seconds": 1, "hop_seconds": 0.5}


@pytest.fixture(scope="module")
def bundle():
    return load_bundle(RUN)


def hiss(seconds, rate, decibels):
    return (10 ** (decibels / 20) * np.random.default_rng(0).standard_normal(round(seconds * rate))).astype("float32")


def cut(samples, size):
    return [samples[start : start + size] for start in range(0, len(samples), size)]


def spoken(seconds=2.0, rate=RATE):
    """A phrase between silences, with a channel."""
    return np.concatenate([quiet(1, rate), tone(seconds, rate), quiet(4, rate)])[:, np.newaxis]


def assert_windows_are_slices(windows, samples, rate, bundle):
    for window in windows:
        if window.prediction is not None:
            part = samples[round(window.start * rate) : round(window.end * rate)]
            assert window.prediction == bundle.predict(part, rate)


# Windows


def test_windows_are_what_the_model_says_of_these_samples_whatever_the_blocks(bundle, write_wav, tmp_path):
    path = write_wav(tmp_path / "a.wav", np.concatenate([quiet(1, RATE), tone(3, RATE), tone(2.3, RATE, 330)]), RATE)
    samples = soundfile.read(path, dtype="float32", always_2d=True)[0]
    blocks, rate = recording(path)
    windows = list(listen(blocks, rate, bundle, **SHORT))
    assert [window.start for window in windows] == [number * 0.5 for number in range(12)]
    assert [window.end for window in windows] == [*(number * 0.5 + 1 for number in range(11)), 6.3]
    assert {window.state for window in windows[2:]} == {"speech"} and windows[0].prediction is None
    assert_windows_are_slices(windows, samples, rate, bundle)
    for size in (173, 1600, RATE, 3 * RATE + 1):
        assert list(listen(cut(samples, size), rate, bundle, **SHORT)) == windows


def test_default_window_is_what_the_model_hears_and_the_hop_a_second(bundle):
    seconds = bundle.info.settings.target_length / bundle.info.settings.sampling_rate
    windows = list(listen([tone(5, RATE)[:, np.newaxis]], RATE, bundle))
    assert [window.start for window in windows] == [0, 1, 2, 3]
    assert windows[0].end == pytest.approx(seconds, abs=1e-4)
    starts = [window.start for window in listen([tone(2, RATE)[:, np.newaxis]], RATE, bundle, window_seconds=1)]
    assert starts == [0, 0.5, 1]


def test_stereo_at_48_khz(bundle):
    stereo = np.stack([tone(3, 48000), 0.5 * tone(3, 48000, 300)], axis=1)
    windows = list(listen(cut(stereo, 4800), 48000, bundle, **SHORT))
    assert len(windows) == 5 and {window.state for window in windows} == {"speech"}
    assert_windows_are_slices(windows, stereo, 48000, bundle)


def test_stream_shorter_than_a_window_is_one_window(bundle):
    samples = tone(0.7, RATE)[:, np.newaxis]
    (window,) = listen(cut(samples, 1000), RATE, bundle)
    assert (window.start, window.end) == (0, 0.7)
    assert window.prediction == bundle.predict(samples, RATE)
    assert list(listen([], RATE, bundle)) == list(listen([samples[:0]], RATE, bundle)) == []


def test_a_window_comes_with_its_last_sample(bundle):
    taken = []

    def blocks():
        for block in cut(tone(3, RATE)[:, np.newaxis], RATE // 10):
            taken.append(len(block))
            yield block

    next(listen(blocks(), RATE, bundle, **SHORT))
    assert sum(taken) == RATE


@pytest.mark.parametrize("size", [1600, RATE, 10 * RATE])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_nan_is_told_after_the_windows_before_it(bundle, size, bad):
    samples = tone(4, RATE)[:, np.newaxis]
    samples[round(2.2 * RATE)] = bad
    ends = []
    with pytest.raises(AudioError, match="the samples hold NaN or infinity"):
        for window in listen(cut(samples, size), RATE, bundle, **SHORT):
            ends.append(window.end)
    assert ends == [1, 1.5, 2]


@pytest.mark.parametrize(
    ("blocks", "options", "reason"),
    [
        ([], {"window_seconds": 10}, "at most as long as what the model hears"),
        ([], {"hop_seconds": 0}, "a hop must be at least"),
        ([], {"hop_seconds": 4}, "at most a window"),
        ([], {"end_silence": 0}, "must be longer than 0 s, not 0 s"),
        ([], {"end_silence": float("nan")}, "must be longer than 0 s, not nan s"),
        ([], {"rate": 0}, "whole number above 0 Hz"),
        ([], {"rate": 100}, "speech needs a sampling rate of at least"),
        ([np.ones((9, 1), dtype=np.int16)], {}, "must be floating point"),
        (
            [np.ones((9, 2), dtype=np.float32), np.ones((9, 1), dtype=np.float32)],
            {},
            "must have 2 channels as the first",
        ),
    ],
)
def test_what_cannot_be_is_refused(bundle, blocks, options, reason):
    options = {"rate": RATE} | options
    with pytest.raises(AudioError, match=reason):
        list(listen(blocks, options.pop("rate"), bundle, **options))


# Silence


def test_it_ends_on_silence_after_speech_and_not_before(bundle):
    samples = np.concatenate([quiet(6, RATE), tone(1.5, RATE), quiet(9, RATE)])[:, np.newaxis]
    windows = list(listen(cut(samples, 1600), RATE, bundle, **SHORT, end_silence=3))
    states = [window.state for window in windows]
    assert states[:10] == ["silence"] * 10 and states[-5:] == ["silence"] * 5 and "speech" in states
    assert windows[-1].end == pytest.approx(7.5 + 3, abs=0.5)
    assert len(list(listen([samples[: 6 * RATE]], RATE, bundle, **SHORT, end_silence=3))) == 11  # nobody spoke


def test_what_is_far_below_the_loud_moments_is_silence_as_in_a_timeline(bundle, write_wav, tmp_path):
    samples = np.concatenate([hiss(3, RATE, -70), tone(3, RATE), hiss(3, RATE, -55)])
    path = write_wav(tmp_path / "a.wav", samples, RATE, subtype="FLOAT")
    windows = list(listen([samples[:, np.newaxis]], RATE, bundle, window_seconds=1, hop_seconds=1))
    expected = predict_timeline(path, bundle, window_seconds=1, hop_seconds=1, smooth=False)
    assert [window.state for window in windows] == expected["state"].tolist()
    assert [window.state for window in windows] == ["silence"] * 3 + ["speech"] * 3 + ["silence"] * 3


def test_a_few_words_after_a_long_wait_in_a_noisy_room_still_end(bundle):
    samples = np.concatenate([hiss(20, RATE, -55), tone(1, RATE), hiss(8, RATE, -55)])[:, np.newaxis]
    windows = list(listen([samples], RATE, bundle, window_seconds=1, hop_seconds=1))
    assert [window.state for window in windows[-5:]] == ["silence"] * 5
    assert windows[-1].end == 26


def test_channels_that_cancel_each_other_out_are_silence(bundle):
    one = tone(2, RATE)
    windows = list(listen([np.stack([one, -one], axis=1)], RATE, bundle, **SHORT))
    assert {window.state for window in windows} == {"silence"}


# The microphone


class PortAudioError(Exception):
    """As sounddevice has it."""


def sounddevice_of(blocks, rate=RATE, *, error=None, lost=(), at_end=lambda: None):
    """A module as sounddevice, whose microphone gives `blocks` as soon as it is started."""
    opened = []

    class InputStream:
        def __init__(self, **options):
            self.options, self.closed = options, False
            opened.append(self)

        def __enter__(self):
            memory = np.zeros_like(blocks[0]) if blocks else None
            for number, block in enumerate(blocks):
                memory[: len(block)] = block  # the same memory for each block, as PortAudio has it
                status = SimpleNamespace(input_overflow=number in lost)
                self.options["callback"](memory[: len(block)], len(block), None, status)
            at_end()
            return self

        def __exit__(self, *_):
            self.closed = True

    def query_devices(device, kind):
        assert kind == "input"
        if error is not None:
            raise error
        return {"name": "a toy", "default_samplerate": float(rate), "max_input_channels": blocks[0].shape[1]}

    return SimpleNamespace(
        InputStream=InputStream, query_devices=query_devices, PortAudioError=PortAudioError, opened=opened
    )


def test_microphone_gives_what_the_device_gives(monkeypatch):
    samples = np.random.default_rng(0).uniform(-1, 1, (48000, 2)).astype(np.float32)
    toy = sounddevice_of(cut(samples, 4800), 48000, lost={2, 5})
    monkeypatch.setitem(sys.modules, "sounddevice", toy)
    with microphone(device=3) as opened:
        blocks = list(itertools.islice(opened, 10))
        assert (opened.name, opened.sampling_rate, opened.n_lost) == ("a toy", 48000, 2)
    np.testing.assert_array_equal(np.concatenate(blocks), samples)
    (stream,) = toy.opened
    options = {name: stream.options[name] for name in ("samplerate", "blocksize", "device", "channels", "dtype")}
    assert list(options.values()) == [48000, 4800, 3, 2, "float32"]
    assert stream.closed


def test_samples_that_wait_too_long_are_lost_and_counted():
    opened = Microphone("a toy", RATE, _waiting=queue.Queue(2))
    for _ in range(5):
        opened.take(np.zeros((9, 1)), 9, None, SimpleNamespace(input_overflow=False))
    assert opened.n_lost == 3


def test_microphone_that_stops_is_told(monkeypatch):
    monkeypatch.setattr(listening, "_PATIENCE", 0.01)
    with pytest.raises(MicrophoneError, match=r"a toy has given none for 0\.01 s; see whether it is still plugged in"):
        next(iter(Microphone("a toy", RATE)))


# The command


@pytest.fixture
def listened(root, monkeypatch, capsys):
    """Give the command, and get its exit status and what it writes."""

    def listened(*words):
        words = ["listen", "--run", str(RUN), "--window", "1", "--hop", "0.5", *map(str, words)]
        return SimpleNamespace(**dict(zip(("status", "out", "err"), call(monkeypatch, capsys, *words), strict=True)))

    return listened


def test_command_plays_a_file_and_writes_its_windows(root, write_wav, bundle, listened):
    path = write_wav(root / "a.wav", spoken(), RATE)
    done = listened("--file", path, "--silence", 2, "--csv", root / "new" / "t.csv")
    assert (done.status, done.err) == (0, "")
    head, *lines = done.out.split("\n\n")[0].splitlines()
    assert head.split() == "start (s) end (s) emotion confidence".split()
    assert lines[0] == "      0.00      1.00  silence" and lines[-1] == "      4.00      5.00  silence"
    shares, limits = done.out.split("\n\n")[1:]
    assert (
        re.match(r"Of \d+ windows? of speech: ", shares)
        and "% are silence.\nUnlike what the model has learnt" in shares
    )
    assert "learnt from 2 speakers of TESS. " in limits
    table = pd.read_csv(root / "new" / "t.csv", keep_default_na=False)
    names = [*predict_timeline(path, bundle), "model"]
    assert list(table) == names and len(table) == len(lines)
    assert [line.split()[2] for line in lines] == [row.emotion or "silence" for row in table.itertuples()]
    done = listened("--file", path, "--csv", "-")
    assert done.out.startswith("start,end,state,") and len(done.out.splitlines()) == 14


def test_command_hears_the_microphone_until_it_is_quiet(monkeypatch, listened):
    samples = spoken()
    toy = sounddevice_of(cut(np.tile(samples, 2), 1600), lost={3})
    monkeypatch.setitem(sys.modules, "sounddevice", toy)
    done = listened("--silence", 2, "--device", "7")
    assert done.status == 0
    first, last = done.err.splitlines()
    assert first == "Listening to a toy at 16000 Hz. Ctrl-C ends it."
    assert last.startswith("warning: samples were lost once because ")
    assert toy.opened[0].closed and toy.opened[0].options["device"] == 7
    assert re.search(r"      4\.00      5\.00  silence\n\nOf \d+ windows? of speech: ", done.out)


def test_ctrl_c_while_it_waits_hears_what_has_come(monkeypatch, listened):
    def interrupted():
        yield from cut(spoken()[: round(2.2 * RATE)], 1600)
        raise KeyboardInterrupt

    monkeypatch.setattr(listening, "recording", lambda path, **_options: (interrupted(), RATE))
    done = listened("--file", "a.wav")
    assert (done.status, done.err) == (0, "")
    assert "      1.50      2.20  " in done.out and " of speech: " in done.out


def test_ctrl_c_while_it_predicts_sums_up(monkeypatch, listened, write_wav, root):
    predict, calls = Bundle.predict, []

    def interrupted(*arguments):
        calls.append(arguments)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return predict(*arguments)

    monkeypatch.setattr(Bundle, "predict", interrupted)
    done = listened("--file", write_wav(root / "a.wav", tone(9, RATE), RATE))
    assert (done.status, done.err) == (0, "")
    lines = done.out.splitlines()
    assert lines[2].startswith("      0.50      1.50  ") and re.match(r"Of \d+ windows? of speech: ", lines[4])


def test_ctrl_c_as_a_terminal_sends_it():
    code = "\n".join(
        [
            "import sys; sys.path.insert(0, sys.argv.pop()); import test_listen as t",
            "sys.modules['sounddevice'] = t.sounddevice_of(t.cut(t.spoken()[:35200], 1600), at_end=t.soon_ctrl_c)",
            "from ser_lib._cli.app import main; main()",
        ]
    )
    done = run_python(code, "listen", "--run", RUN, "--window", 1, Path(__file__).parent)
    assert (done.returncode, done.stderr) == (0, "Listening to a toy at 16000 Hz. Ctrl-C ends it.\n")
    assert "      0.00      1.00  " in done.stdout and " of speech: " in done.stdout


def soon_ctrl_c():
    """Send the signal when the process has most likely heard all and waits; in a prediction it must do as well."""
    import threading

    threading.Timer(2, os.kill, (os.getpid(), signal.SIGINT)).start()


def test_nothing_is_told_as_nothing(monkeypatch, listened):
    def interrupted():
        raise KeyboardInterrupt
        yield

    monkeypatch.setattr(listening, "recording", lambda path, **_options: (interrupted(), RATE))
    done = listened("--file", "a.wav")
    assert (done.status, done.out, done.err) == (0, "", "Nothing was heard.\n")


def test_silent_file_has_no_speech(root, write_wav, listened):
    done = listened("--file", write_wav(root / "a.wav", quiet(2, RATE), RATE))
    assert done.status == 0
    assert "No speech. Of all windows, 100% are silence." in done.out


def test_what_was_heard_before_an_error_is_summed_up(monkeypatch, listened):
    samples = spoken()
    samples[3 * RATE] = np.nan
    monkeypatch.setitem(sys.modules, "sounddevice", sounddevice_of(cut(samples, 1600)))
    done = listened()
    assert done.status == 1 and " of speech: " in done.out
    assert done.err.splitlines()[1:] == ["error: the microphone cannot be used: the samples hold NaN or infinity."]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--file", "gone.wav"], "error: gone.wav cannot be used: there is no such file.\n"),
        (["--file", "empty.wav"], "error: empty.wav cannot be used: the file holds no samples.\n"),
        (["--file", "."], "error: . cannot be used: this is a folder, not an audio file.\n"),
    ],
)
def test_file_that_cannot_be_heard_is_one_line(root, write_wav, monkeypatch, listened, words, message):
    write_wav(root / "empty.wav", np.zeros(0), RATE)
    monkeypatch.chdir(root)
    done = listened(*words)
    assert (done.status, done.out, done.err) == (1, "", message)


def test_file_and_device_together_are_refused(listened):
    done = listened("--file", "a.wav", "--device", "1")
    assert done.status == 2 and "do not go together" in done.err


def test_no_sounddevice_and_no_portaudio_say_what_to_install(monkeypatch, listened, tmp_path):
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    done = listened()
    assert (done.status, done.out) == (1, "")
    assert done.err == (
        "error: This needs more than a light installation: sounddevice is not installed. pip install 'ser_lib[mic]'\n"
    )
    monkeypatch.delitem(sys.modules, "sounddevice")
    (tmp_path / "sounddevice.py").write_text('raise OSError("PortAudio library not found")')
    monkeypatch.syspath_prepend(tmp_path)
    done = listened()
    assert (done.status, done.out) == (1, "")
    assert "(PortAudio library not found). Install it; " in done.err and len(done.err.splitlines()) == 1


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (PortAudioError("Error querying device -1"), "the system has none by default"),
        (ValueError("No input device matching 'x'"), "No input device matching 'x'"),
        (ValueError("Multiple input devices found for 'a':\n[1] ab\n[2] ac"), "Multiple input devices found for 'a'"),
    ],
)
def test_no_device_is_one_line(monkeypatch, listened, error, why):
    monkeypatch.setitem(sys.modules, "sounddevice", sounddevice_of([], error=error))
    done = listened()
    assert (done.status, done.out) == (1, "")
    assert done.err == (
        f"error: No microphone can be opened: {why}. Plug one in, or name another with --device; "
        f"`python -m sounddevice` lists those there are.\n"
    )
