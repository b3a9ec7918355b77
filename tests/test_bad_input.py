"""What `ser predict` makes of everything that people give it by mistake or by malice.

`python tests/test_bad_input.py` writes the table of `docs/bad-input.md` from the cases below.
"""

import json
import os
import shutil
import struct
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
from test_records import call
from test_store import run_python

from ser_lib.core.text import printable

REPO = Path(__file__).resolve().parent.parent
PAGE = REPO / "docs" / "bad-input.md"
RATE = 16000
LONGEST = 10
"""Seconds that a file may take."""
ANSWERED = "an answer"
DAMAGED = "an answer that names the second from which on it is damaged"
DIFFERENT = "an answer that says that its channels differ"
NOTES = {ANSWERED: "", DAMAGED: "The file is damaged after ", DIFFERENT: "Its channels hold different sound"}
"""What an answer of each kind tells of the file."""


def voice(seconds=1.0, rate=RATE):
    t = np.arange(round(seconds * rate)) / rate
    return (0.3 * np.sin(2 * np.pi * 200 * t * (1 + 0.1 * np.sin(9 * t))) * np.hanning(len(t))).astype(np.float32)


def wav(samples, rate=RATE, subtype="PCM_16"):
    """Write samples; the case gives the name."""

    def write(path):
        with path.open("wb") as file:  # soundfile itself takes no name that is not UTF-8
            soundfile.write(file, samples, rate, subtype=subtype, format="WAV")

    return write


def content(data):
    return lambda path: path.write_bytes(data)


def truncated(path):
    wav(voice())(path)
    path.write_bytes(path.read_bytes()[:30])


def broken_off(path):
    wav(voice())(path)
    path.write_bytes(path.read_bytes()[:20_001])  # in the middle of a sample


def claiming_gigabytes(path):
    wav(voice())(path)
    data = bytearray(path.read_bytes())
    data[4:8] = data[40:44] = struct.pack("<I", 0xFFFFFF00)
    path.write_bytes(data)


def one_bad(value):
    samples = voice()
    samples[700] = value
    return wav(samples, subtype="FLOAT")


def film_without_sound(path):
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("mpeg4", rate=5, width=16, height=16, pix_fmt="yuv420p")
        for _ in range(3):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((16, 16, 3), np.uint8), format="rgb24")))
        container.mux(stream.encode(None))


def listed(text):
    """Write a list of other files, with one beside it that can be heard."""

    def write(path):
        wav(voice())(path.with_name("part.wav"))
        with av.open(str(path.with_name("part.ts")), "w", format="mpegts") as container:
            stream = container.add_stream("aac", rate=RATE, layout="mono")
            frame = av.AudioFrame.from_ndarray(voice()[np.newaxis], format="fltp", layout="mono")
            frame.sample_rate = RATE
            container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
        path.write_text(text)

    return write


def by_av(codec, channels, **options):
    """Encode channels [shape=(n_samples, n_channels)]."""

    def write(path):
        layout = {1: "mono", 8: "7.1"}[channels.shape[1]]
        with av.open(str(path), "w", options=options) as container:
            container.metadata["title"] = "Gruesse"
            stream = container.add_stream(codec, rate=48000, layout=layout)
            for start in range(0, len(channels), 960):
                block = np.ascontiguousarray(channels[start : start + 960]).reshape(1, -1)
                frame = av.AudioFrame.from_ndarray(block, format="flt", layout=layout)
                frame.sample_rate, frame.pts = 48000, start
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))

    return write


def changed(write, change):
    """Write a file, and change its bytes."""

    def write_changed(path):
        write(path)
        path.write_bytes(change(path.read_bytes()))

    return write_changed


def without_sizes(data):
    place = data.index(b"data")
    return data[:4] + bytes(4) + data[8 : place + 4] + bytes(4) + data[place + 8 :]


def hole(data):
    half, size = len(data) // 2, len(data) // 8
    return data[:half] + bytes(size) + data[half + size :]


def single_samples(path):
    """Write a CAF of 32,000 packets of one sample each."""
    n_samples = 32_000
    desc = struct.pack(">d4sIIIII", RATE, b"lpcm", 2, 0, 1, 1, 16)
    sizes = struct.pack(">qqii", n_samples, n_samples, 0, 0) + b"\2" * n_samples
    samples = bytes(4) + (32767 * voice(n_samples / RATE)).astype("<i2").tobytes()
    chunks = [(b"desc", desc), (b"pakt", sizes), (b"data", samples)]
    path.write_bytes(b"caff\0\1\0\0" + b"".join(name + struct.pack(">q", len(one)) + one for name, one in chunks))


def clipped(path):
    wav(np.clip(20 * voice(), -1, 1))(path)


def wav_as(container):
    def write(path):
        soundfile.write(path, voice(), RATE, format=container)

    return write


FINE = voice(1, 48000)[:, np.newaxis]
TURNS = np.stack([np.append(voice(), 0 * voice()), np.append(0 * voice(), voice())], axis=1)
NOISE = np.random.default_rng(0).integers(0, 256, 20_000, dtype=np.uint8).tobytes()
CASES = {
    "an empty file": ("empty.wav", content(b""), "the file is empty"),
    "a header that ends too early": ("cut.wav", truncated, "the file cannot be decoded as audio"),
    "sound that breaks off": ("broken.wav", broken_off, ANSWERED),
    "random bytes": ("random.wav", content(NOISE), "the file cannot be decoded as audio"),
    "random bytes called MP3": ("random.mp3", content(NOISE), "the file cannot be decoded as audio"),
    "text called wav": ("text.wav", content(b"no sound\n" * 99), "the file cannot be decoded as audio"),
    "a header that claims gigabytes": ("huge.wav", claiming_gigabytes, ANSWERED),
    "no samples": ("none.wav", wav(voice()[:0]), "the file holds no samples"),
    "one sample": ("one.wav", wav(np.array([0.5])), ANSWERED),
    "nothing but zeros": ("zeros.wav", wav(np.zeros(RATE)), "the file is silent"),
    "a constant": ("dc.wav", wav(np.full(RATE, 0.3)), "the file is silent: all of its samples have the same value"),
    "channels that cancel out": (
        "phase.wav", wav(np.stack([voice(), -voice()], axis=1)), "its channels cancel each other out",
    ),
    "a sample that is NaN": ("nan.wav", one_bad(np.nan), "the samples hold NaN or infinity"),
    "a sample that is infinite": ("inf.wav", one_bad(np.inf), "the samples hold NaN or infinity"),
    "an m4a that breaks off, its index in front": (
        "broken.m4a", changed(by_av("aac", FINE, movflags="faststart"), lambda data: data[:-7]), DAMAGED,
    ),
    "a flac that breaks off": ("broken.flac", changed(wav_as("FLAC"), lambda data: data[:-7]), DAMAGED),
    "an m4a with a hole of zeros": ("hole.m4a", changed(by_av("aac", FINE, movflags="faststart"), hole), DAMAGED),
    "a wav whose recorder crashed before it wrote its size": (
        "crashed.wav", changed(wav(voice()), without_sizes), ANSWERED,
    ),
    "samples without a header": (
        "raw.wav", content((32767 * voice()).astype("<i2").tobytes()),
        "it has no header, and its bytes look like raw samples (s16le). Give it one, with its sampling rate and "
        "channels: ffmpeg -f s16le -ar RATE -ac CHANNELS -i RAW NEW.wav",
    ),
    "a title that is not UTF-8": (
        "title.m4a", changed(by_av("aac", FINE), lambda data: data.replace(b"Gruesse", b"Gr\xfc\xdfe. ")), ANSWERED,
    ),
    "sound in packets of one sample": ("tiny.caf", single_samples, ANSWERED),
    "a speaker on each channel, by turns": ("call.wav", wav(TURNS), DIFFERENT),
    "clipped sound": ("clipped.wav", clipped, ANSWERED),
    "a sampling rate of 1 Hz": (
        "1hz.wav", wav(voice(), 1), "speech needs a sampling rate of at least 1000 Hz, and this has 1 Hz",
    ),
    "a sampling rate of 768 kHz": ("768khz.wav", wav(voice(1, 768_000), 768_000), ANSWERED),
    "8 channels (7.1) of AAC": ("7.1.m4a", by_av("aac", np.tile(FINE, 8)), ANSWERED),
    "8 channels (7.1) of Opus": ("7.1.webm", by_av("libopus", np.tile(FINE, 8)), ANSWERED),
    "64 channels": ("64.wav", wav(np.tile(voice()[:, np.newaxis], 64)), ANSWERED),
    "10 ms of sound": ("10ms.wav", wav(voice(0.01)), ANSWERED),
    "36 minutes at 1 kHz": (
        "long.wav", wav(np.tile(voice(1, 1000), 36 * 60), 1000, "PCM_U8"),
        "the file is longer than 35 minutes; ser predict --window hears it piece by piece",
    ),
    "a playlist of a broadcast": (
        "live.m3u8", listed("#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:1,\npart.ts\n"),
        "the file cannot be decoded as audio",
    ),
    "a list of other files": (
        "list.wav", listed("ffconcat version 1.0\nfile part.wav\n"), "the file cannot be decoded as audio",
    ),
    "a film without sound": ("film.mp4", film_without_sound, "the file has no audio track"),
    "a folder without audio": ("folder", lambda path: path.mkdir(), "this is a folder, not an audio file"),
    "a link to nowhere": ("link.wav", lambda path: path.symlink_to("nowhere.wav"), "there is no such file"),
    "a pipe (FIFO)": ("pipe.wav", os.mkfifo, "this is not a file"),
    "a name with spaces": ("my  voice .wav", wav(voice()), ANSWERED),
    "a name with a line break": ("my\nvoice.wav", wav(voice()), ANSWERED),
    "a name with an emoji": ("😀.wav", wav(voice()), ANSWERED),
    "a name that begins with a dash": ("-r.wav", wav(voice()), ANSWERED),
    "a name that is not UTF-8": (os.fsdecode(b"\xff.wav"), wav(voice()), ANSWERED),
}  # fmt: skip


def line(name, reason):
    return f"error: {printable(name)} cannot be used: {reason}."


def table():
    """The page: each case with what it gets."""
    gets = {
        case: expected if expected in NOTES else f"`{line(name, expected)}`"
        for case, (name, _, expected) in CASES.items()
    }
    rows = [f"| {case} | {got} |" for case, got in gets.items()]
    return "\n".join(
        [
            "# What bad input gets",
            "",
            "`ser predict` answers a file, or names it with the reason on standard error; then the exit status is 1",
            f"and the other files are answered all the same. Each of these takes less than {LONGEST} seconds.",
            "The table is written by `python tests/test_bad_input.py`, from the cases that the tests try.",
            "",
            "| given | gets |",
            "| --- | --- |",
            *rows,
            "",
            "An answer for something that is no speech comes with a warning where it is unlike the training clips:",
            "[`prediction.md`](prediction.md) tells how that is found.",
            "",
        ]
    )


PREDICT = """
import contextlib, faulthandler, io, json, os, signal, sys
from ser_lib._cli.app import main

def predict(path):
    folder, name = os.path.split(path)
    os.chdir(folder)  # a dash is to be the first letter of the word
    sys.argv = ["ser", "predict", "--run", "demo", "--", name]
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            status = main() or 0
        except SystemExit as end:
            status = end.code or 0
    return status, out.getvalue(), err.getvalue()

longest, good, *paths = sys.argv[1:]
predict(good)  # imports are no file's time
for path in paths:
    signal.setitimer(signal.ITIMER_PROF, float(longest))  # of this process's own time, not of a busy machine's
    faulthandler.dump_traceback_later(60 * float(longest), exit=True)  # it waits for something
    print(json.dumps(predict(path)), flush=True)
"""


@pytest.fixture
def here(root, monkeypatch):
    shutil.copytree(REPO / "reports" / "demo", root / "reports" / "demo", ignore=shutil.ignore_patterns("*.ipynb"))
    monkeypatch.chdir(root)
    return root


@pytest.fixture(scope="module")
def answers(tmp_path_factory):
    """Case → exit status, standard output and error of `ser predict`; and what libraries wrote past Python.

    All in one process, which takes seconds to start; a watchdog ends it if a file takes too long.
    """
    root = tmp_path_factory.mktemp("bad")
    shutil.copytree(REPO / "reports" / "demo", root / "reports" / "demo", ignore=shutil.ignore_patterns("*.ipynb"))
    paths = {}
    for case, (name, make, _) in CASES.items():
        paths[case] = root / case / name  # a folder each, so that what one case needs is not in another's
        paths[case].parent.mkdir()
        try:
            make(paths[case])
        except OSError:  # a disk that takes no such name
            del paths[case]
    wav(voice())(root / "good.wav")
    files = [str(path) for path in (root / "good.wav", *paths.values())]
    done = run_python(PREDICT, str(LONGEST), *files, SER_ROOT=str(root))
    assert done.returncode == 0, f"{list(paths)[len(done.stdout.splitlines())]}: {done.stderr}"
    return dict(zip(paths, map(json.loads, done.stdout.splitlines()), strict=True)), done.stderr


@pytest.mark.parametrize("case", CASES)
def test_bad_input_gets_an_answer_or_one_line_in_time(answers, case):
    found, _ = answers
    if case not in found:
        pytest.skip("this disk takes no such name")
    status, out, err = found[case]
    name, _, expected = CASES[case]
    warning, *errors = err.splitlines()
    assert warning.startswith("warning: this model has learnt from synthetic voices alone")
    if expected in NOTES:
        assert (status, errors) == (0, [])
        assert out.startswith(f"{printable(name)}: ")
        assert NOTES[expected] in out and ("damaged" in out) == (expected == DAMAGED)
    else:
        assert (status, errors) == (1, [line(name, expected)])


def test_nothing_else_is_printed(answers):
    assert answers[1] == ""


def test_page_says_what_the_tests_try():
    assert PAGE.read_text(encoding="utf-8") == table()


def test_the_bad_are_named_and_the_good_answered(here, monkeypatch, capsys):
    for case in ("a name with a line break", "a name that begins with a dash", "an empty file"):
        name, make, _ = CASES[case]
        make(here / name)
    files = ("my\nvoice.wav", "-r.wav", "empty.wav")
    status, out, err = call(monkeypatch, capsys, "predict", "--run", "demo", "--", *files)
    assert status == 1
    assert out.splitlines()[1].startswith("my\\nvoice.wav") and out.splitlines()[2].startswith("-r.wav")
    assert err.splitlines()[1] == line("empty.wav", "the file is empty")


if __name__ == "__main__":
    PAGE.write_text(table(), encoding="utf-8")
    print(f"Wrote {PAGE.relative_to(REPO)}.")
