"""What `ser predict` makes of everything that people give it by mistake or by malice.

`python tests/test_bad_input.py` writes the table of `docs/bad-input.md` from the cases below.
"""

import os
import struct
import sys
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile

REPO = Path(__file__).resolve().parent.parent
PAGE = REPO / "docs" / "bad-input.md"
RATE = 16000
LONGEST = 10
"""Seconds that a file may take."""
ANSWERED = "an answer"


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


def clipped(path):
    wav(np.clip(20 * voice(), -1, 1))(path)


NOISE = np.random.default_rng(0).integers(0, 256, 20_000, dtype=np.uint8).tobytes()
CASES = {
    "an empty file": ("empty.wav", content(b""), "the file is empty"),
    "a header that ends too early": ("cut.wav", truncated, "the file cannot be decoded as audio"),
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
    "clipped sound": ("clipped.wav", clipped, ANSWERED),
    "a sampling rate of 1 Hz": (
        "1hz.wav", wav(voice(), 1), "speech needs a sampling rate of at least 1000 Hz, and this has 1 Hz",
    ),
    "a sampling rate of 768 kHz": ("768khz.wav", wav(voice(1, 768_000), 768_000), ANSWERED),
    "64 channels": ("64.wav", wav(np.tile(voice()[:, np.newaxis], 64)), ANSWERED),
    "10 ms of sound": ("10ms.wav", wav(voice(0.01)), ANSWERED),
    "a film without sound": ("film.mp4", film_without_sound, "the file has no audio track"),
    "a folder without audio": ("folder", lambda path: path.mkdir(), "this is not a file"),
    "a link to nowhere": ("link.wav", lambda path: path.symlink_to("nowhere.wav"), "there is no such file"),
    "a pipe (FIFO)": ("pipe.wav", os.mkfifo, "this is not a file"),
    "a name with spaces": ("my  voice .wav", wav(voice()), ANSWERED),
    "a name with a line break": ("my\nvoice.wav", wav(voice()), ANSWERED),
    "a name with an emoji": ("😀.wav", wav(voice()), ANSWERED),
    "a name that begins with a dash": ("-r.wav", wav(voice()), ANSWERED),
    "a name that is not UTF-8": (os.fsdecode(b"\xff.wav"), wav(voice()), ANSWERED),
}  # fmt: skip


def table():
    """The page: each case with what it gets."""
    gets = {
        case: expected if expected is ANSWERED else f"error: {expected}" for case, (_, _, expected) in CASES.items()
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


@pytest.fixture(scope="module")
def answers(tmp_path_factory):
    """Every case in one call, as a person would give a folder full of them; case → answer, and the seconds it took."""
    import shutil

    from test_store import run_python

    root = tmp_path_factory.mktemp("bad")
    shutil.copytree(REPO / "reports" / "demo", root / "reports" / "demo", ignore=shutil.ignore_patterns("*.ipynb"))
    (root / "in").mkdir()
    paths = {}
    for case, (name, make, _) in CASES.items():
        paths[case] = root / "in" / name
        try:
            make(paths[case])
        except OSError:  # a disk that takes no such name
            del paths[case]
    code = """
import json, os, sys, time
from ser_lib import load_bundle
from ser_lib.predict import answer_file
from pathlib import Path
bundle = load_bundle("reports/demo")
for name in sys.argv[1:]:
    begun = time.perf_counter()
    answer = answer_file(Path(name), bundle)
    print(json.dumps([answer.reason, answer.prediction is not None, time.perf_counter() - begun]), flush=True)
"""
    done = run_python(code, *map(str, paths.values()), SER_ROOT=str(root))
    assert done.returncode == 0, done.stderr
    import json

    return dict(zip(paths, map(json.loads, done.stdout.splitlines()), strict=True)), done.stderr


@pytest.mark.parametrize("case", CASES)
def test_bad_input_gets_an_answer_or_one_line_in_time(answers, case):
    found, _ = answers
    if case not in found:
        pytest.skip("this disk takes no such name")
    reason, answered, seconds = found[case]
    expected = CASES[case][2]
    assert seconds < LONGEST
    assert answered is (expected is ANSWERED)
    if expected is not ANSWERED:
        assert reason.endswith(f" cannot be used: {expected}.") and "\n" not in reason


def test_nothing_else_is_printed(answers):
    notes = [line for line in answers[1].splitlines() if not line.startswith("Note: ")]  # libmpg123's, of the MP3
    assert notes == []


def test_page_says_what_the_tests_try():
    assert PAGE.read_text(encoding="utf-8") == table()


def test_command_line_names_the_bad_and_answers_the_good(root, monkeypatch, capsys):
    import shutil

    from test_records import call

    shutil.copytree(REPO / "reports" / "demo", root / "reports" / "demo", ignore=shutil.ignore_patterns("*.ipynb"))
    for case in ("a name with a line break", "a name that begins with a dash", "an empty file"):
        name, make, _ = CASES[case]
        make(root / name)
    monkeypatch.chdir(root)
    files = ("my\nvoice.wav", "-r.wav", "empty.wav")
    status, out, err = call(monkeypatch, capsys, "predict", "--run", "demo", "--", *files)
    assert status == 1
    assert out.splitlines()[1].startswith("my\\nvoice.wav") and out.splitlines()[2].startswith("-r.wav")
    assert err.splitlines()[1] == "error: empty.wav cannot be used: the file is empty."


if __name__ == "__main__":
    PAGE.write_text(table(), encoding="utf-8")
    sys.exit(print(f"Wrote {PAGE.relative_to(REPO)}."))
