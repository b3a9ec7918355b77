"""`ser predict` as a person gives it, with the bundle of a record that is part of the repository."""

import io
import json
import lzma
import shutil
import signal
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import soundfile
import wcwidth
from conftest import needs_workers
from joblib.externals.loky.reusable_executor import _ReusablePoolExecutor as Executor
from test_records import call
from test_store import run_python

from ser_lib import predict as predict_module
from ser_lib._cli import predict as cli_predict
from ser_lib.audio.normalize import Statistics
from ser_lib.core import workers as workers_module
from ser_lib.core.errors import AudioError
from ser_lib.core.text import printable
from ser_lib.corpora.audio_files import find_files
from ser_lib.model.bundle import Bundle, load_bundle
from ser_lib.model.voices import Voice, save_voice
from ser_lib.predict import predict_emotion_from_file
from ser_lib.records.limits import limits

RECORDED = cli_predict.Path(__file__).resolve().parent.parent / "reports"
RATE = 16000
LAST = ["unlike", "damaged_after", "channels_differ", "error", "model"]


@pytest.fixture
def voices(root, write_wav):
    """Two records, one that has heard people, and three files that are no speech, one below a folder."""
    for name, record in (("people", "tess_robust_random_s0"), ("synthetic", "demo")):
        shutil.copytree(RECORDED / record, root / "reports" / name)
    t = np.arange(RATE) / RATE
    for number, name in enumerate(("b c.wav", "a.wav", "deeper/ä😀.flac")):
        tone = np.sin(2 * np.pi * 200 * (number + 1) * t * (1 + 0.1 * np.sin(9 * t)))
        write_wav(root / "in" / name, 0.3 * tone * np.hanning(RATE), RATE)
    (root / "in" / "notes.txt").write_text("no audio")
    return root


@pytest.fixture
def predicted(monkeypatch, capsys):
    """Give the command, and get its exit status and what it writes."""

    def predict(*words):
        status, out, err = call(monkeypatch, capsys, "predict", *map(str, words))
        return SimpleNamespace(status=status, out=out, err=err)

    return predict


def test_folder_is_a_table_of_its_audio_files(voices, predicted):
    done = predicted(voices / "in", "--run", "people")
    assert (done.status, done.err) == (0, "1 file left out: 1 .txt\n")
    head, *rows = done.out.split("\n\n")[0].splitlines()
    assert head.split() == "file emotion confidence neutral happy sad angry fearful disgust surprised".split()
    assert (
        len({wcwidth.wcswidth(row) for row in (head, *rows)}) == 1 and len(rows) == 3
    )  # aligned; the text file is none
    assert all(str(voices / "in" / name) in done.out for name in ("a.wav", "b c.wav", "deeper"))
    assert "Model people has learnt from 2 speakers of TESS. " in done.out.splitlines()[-1]


def test_files_that_may_be_of_one_voice_are_followed_by_what_would_help(voices, predicted, write_wav):
    shutil.copytree(RECORDED / "voices_functionals_random_s0", voices / "reports" / "adapts")
    for number in range(5):
        write_wav(voices / "my voice" / f"{number}.wav", 0.3 * np.sin(0.01 * (number + 5) * np.arange(RATE)), RATE)
    mine = voices / "my voice"
    done = predicted(mine, "--run", "adapts")
    assert done.out.splitlines()[-1].endswith(f"ser enrol '{mine}' --name NAME --run adapts, then --speaker NAME.")
    assert "ser enrol FOLDER --name" in predicted(*mine.iterdir(), "--run", "adapts").out
    assert "enrol" not in predicted(*sorted(mine.iterdir())[:4], "--run", "adapts").out  # too few
    assert "enrol" not in predicted(mine, "--run", "people").out  # cannot be adapted by them
    info = load_bundle(voices / "reports" / "adapts").info
    known = Statistics(mean=info.population.mean, std=info.population.within)
    save_voice(Voice(name="me", onnx_sha256=info.onnx_sha256, n_clips=5, statistics=known))
    assert "enrol" not in predicted(mine, "--run", "adapts", "--speaker", "me").out


def test_file_that_is_given_twice_is_answered_once(voices, predicted, monkeypatch):
    monkeypatch.chdir(voices)
    done = predicted("in/a.wav", "./in/a.wav", "in/deeper", "in/../in/a.wav", "--run", "people", "--csv", "t.csv")
    assert (done.status, done.err) == (0, "note: in/a.wav was given more than once, and answered once.\n")
    assert pd.read_csv("t.csv")["file"].tolist() == ["in/a.wav", str(Path("in/deeper/ä😀.flac"))]
    done = predicted("in", "in/*.wav", "in/a.wav", "--run", "people")
    assert done.err.splitlines()[1:] == ["note: in/a.wav and 1 more were given more than once, and answered once."]


def test_demo_model_is_used_with_a_warning(voices, predicted):
    done = predicted(voices / "in" / "a.wav", "--run", "synthetic")
    assert done.status == 0
    assert done.err == "warning: this model has learnt from synthetic voices alone; it has never heard a person.\n"


def test_one_bad_file_does_not_stop_the_rest(voices, predicted):
    (voices / "in" / "x.wav").write_bytes(b"RIFF")
    done = predicted(voices / "in", voices / "nowhere.wav", "--run", "people", "--csv", voices / "t.csv")
    assert done.status == 1
    assert done.err.splitlines() == [
        "1 file left out: 1 .txt",
        f"error: {voices / 'in' / 'x.wav'} cannot be used: the file cannot be decoded as audio.",
        f"error: {voices / 'nowhere.wav'} cannot be used: there is no such file.",
    ]
    table = pd.read_csv(voices / "t.csv")
    assert len(table) == 5 and table["error"].notna().sum() == 2
    assert table["emotion"].isna().tolist() == table["error"].notna().tolist()


def test_tables_hold_what_each_file_alone_gives(voices, predicted):
    bundle = load_bundle(voices / "reports" / "people")
    alone = predict_emotion_from_file(voices / "in" / "a.wav", bundle)
    done = predicted(voices / "in" / "a.wav", voices / "in" / "b c.wav", "--run", "people", "--csv", "-")
    table = pd.read_csv(io.StringIO(done.out))
    shares = [f"p_{emotion}" for emotion in alone.probabilities]
    assert list(table["model"]) == ["people", "people"]
    assert list(table) == ["file", "emotion", "confidence", "unsure", *shares, *LAST]
    assert table.loc[0, "unlike"] == "; ".join(alone.novelty) and table.loc[0, "unsure"] == alone.unsure
    assert table.loc[0, "emotion"] == alone.emotion
    assert table.loc[0].filter(like="p_").tolist() == pytest.approx(list(alone.probabilities.values()))
    done = predicted(voices / "in" / "a.wav", "--run", "people", "--json", "-")
    (one,) = json.loads(done.out)
    assert one == {
        "file": str(voices / "in" / "a.wav"),
        "emotion": alone.emotion,
        "confidence": alone.confidence,
        "unsure": alone.unsure,
        "unlike": list(alone.novelty),
        "damaged_after": None,
        "channels_differ": False,
        "probabilities": alone.probabilities,
        "model": "people",
    }


@pytest.mark.parametrize(("rate", "n_channels"), [(16000, 1), (44100, 2), (8000, 3)])
def test_signal_gives_what_its_file_gives(voices, write_wav, rate, n_channels):
    bundle = load_bundle(voices / "reports" / "people")
    rng = np.random.default_rng(rate)
    signal = (0.2 * rng.standard_normal((rate, n_channels)) * np.hanning(rate)[:, np.newaxis]).astype(np.float32)
    path = write_wav(voices / "x.wav", signal, rate, subtype="FLOAT")
    of_file = predict_emotion_from_file(path, bundle)
    of_signal = bundle.predict(signal[:, 0] if n_channels == 1 else signal, rate)
    assert of_signal.probabilities == of_file.probabilities


@pytest.mark.parametrize(
    ("signal", "rate", "reason"),
    [
        (np.ones(100, dtype=np.int16), RATE, "must be floating point, .* Got int16 of shape"),
        (np.ones((2, 2, 2)), RATE, r"Got float64 of shape \(2, 2, 2\)"),
        (np.zeros(0), RATE, "no samples"),
        (np.zeros(100), RATE, "silent"),
        (np.array([0.1, np.nan]), RATE, "NaN"),
        (np.arange(100.0), 0, "whole number above 0 Hz. Got 0"),
        (np.arange(100.0), float("nan"), "whole number above 0 Hz. Got nan"),
        (np.arange(100.0), float("inf"), "whole number above 0 Hz. Got inf"),
        (np.arange(100.0), "16000", "whole number above 0 Hz. Got '16000'"),
        (np.arange(100.0), None, "whole number above 0 Hz. Got None"),
        (np.arange(100.0), True, "whole number above 0 Hz. Got True"),
        (np.zeros((100, 0)), RATE, r"Got float64 of shape \(100, 0\)"),
        (np.full(100, 1e300), RATE, "infinity"),
        ([[1.0], [1.0, 2.0]], RATE, "rows of different lengths"),
    ],
)
def test_signal_that_cannot_be_used_is_one_line(voices, signal, rate, reason):
    with pytest.raises(AudioError, match=reason):
        load_bundle(voices / "reports" / "people").predict(signal, rate)


@pytest.mark.parametrize("to", ["t.csv", "-"])
@pytest.mark.parametrize("words", [(), ("--window", "0.5")])
def test_name_of_a_file_is_no_formula(voices, predicted, monkeypatch, to, words):
    monkeypatch.chdir(voices / "in")
    Path("a.wav").rename("=HYPERLINK(1).wav")
    done = predicted("=HYPERLINK(1).wav", "--run", "people", "--csv", to, *words)
    text = done.out if to == "-" else Path(to).read_text()
    assert text.splitlines()[1].startswith("'=HYPERLINK(1).wav,")


def test_standard_input_is_a_file_like_any(voices, predicted, monkeypatch):
    content = (voices / "in" / "a.wav").read_bytes()
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(content)))
    piped = predicted("-", "--run", "people")
    plain = predicted(voices / "in" / "a.wav", "--run", "people")
    assert piped.out.splitlines()[0].startswith("standard input: ")
    assert piped.out.splitlines()[1:] == plain.out.splitlines()[1:]


def test_standard_input_is_read_once(predicted):
    done = predicted("-", "-")
    assert done.status == 2
    assert "give - once" in done.err


def test_many_files_have_a_bar_on_standard_error(voices, predicted):
    files = [voices / f"{number}.wav" for number in range(cli_predict.MANY)]
    for file in files:
        shutil.copy(voices / "in" / "a.wav", file)
    done = predicted(*files, "--run", "people", "--csv", "-")
    assert len(done.out.splitlines()) == 1 + len(files)


def test_both_tables_on_standard_output_are_refused(voices, predicted):
    done = predicted(voices / "in" / "a.wav", "--csv", "-", "--json", "-")
    assert done.status == 2
    assert "cannot both be standard output" in done.err


@pytest.mark.parametrize(
    ("path", "names"),
    [
        ("in", ["a.wav", "b c.wav", "ä😀.flac"]),
        ("in/*.wav", ["a.wav", "b c.wav"]),
        ("i*/deep*", ["ä😀.flac"]),
        ("in/*", ["a.wav", "b c.wav", "ä😀.flac"]),  # neither the text nor the hidden file
        ("in/no*", ["notes.txt"]),  # nothing else fits
        ("in/**.wav", ["a.wav", "b c.wav"]),
        ("in/**/*.flac", ["ä😀.flac"]),
        ("in/a.wav", ["a.wav"]),
        ("in/q*.wav", ["q*.wav"]),  # fits nothing: stands for itself, and is told as missing
        ("gone.wav", ["gone.wav"]),
    ],
)
def test_paths_folders_and_patterns_mean_files(voices, monkeypatch, path, names):
    shutil.copy(voices / "in" / "a.wav", voices / "in" / ".hidden.wav")
    monkeypatch.chdir(voices)
    assert [file.name for file in find_files(path)[0]] == names
    assert [file.name for file in find_files(str(voices / path))[0]] == names


def test_file_named_like_a_pattern_is_itself(root, write_wav):
    write_wav(root / "a[1].wav", np.ones(100), RATE)
    write_wav(root / "a1.wav", np.ones(100), RATE)
    assert find_files(str(root / "a[1].wav")) == ([root / "a[1].wav"], [])


@pytest.mark.parametrize(("text", "shown"), [("a b-ü😀", "a b-ü😀"), ("a\nb", "a\\nb"), ("a\udcffb", "a\\udcffb")])
def test_names_are_shown_as_a_terminal_can(text, shown):
    assert printable(text) == shown


def test_path_that_no_file_can_have_is_told_as_missing(voices, predicted):
    done = predicted("a" * 5000 + ".wav", "~nobody_of_that_name/a.wav", voices / "in" / "a.wav", "--run", "people")
    assert done.status == 1
    assert "File name too long" in done.err and "no such file" in done.err
    assert "a.wav" in done.out


@pytest.mark.parametrize("options", [(), ("--window", "1")])
def test_name_that_is_not_utf_8_is_a_name(voices, predicted, options):
    name = b"x\xff.wav".decode(errors="surrogateescape")
    try:
        shutil.copy(voices / "in" / "a.wav", voices / "in" / name)
    except OSError:
        pytest.skip("this disk takes no such name")
    done = predicted(voices / "in", "--run", "people", *options)
    assert (done.status, done.err) == (0, "1 file left out: 1 .txt\n")
    assert "a.wav" in done.out and "x\\udcff.wav" in done.out


def test_terminal_without_such_letters_gets_escapes(voices):
    file = voices / "in" / "deeper" / "ä😀.flac"
    plain = {"SER_ROOT": str(voices), "PYTHONIOENCODING": "ascii"}
    code = f"import sys; sys.argv = ['ser', 'predict', '--run', 'people', {str(file)!r}, *sys.argv[1:]]\n"
    code += "from ser_lib._cli.app import main; main()"
    done = run_python(code, **plain)
    assert done.returncode == 0 and done.stdout.startswith("\\xe4\\U0001f600.flac: "), done.stderr
    done = run_python(code, "--json", "-", **plain)
    assert json.loads(done.stdout)[0]["file"] == str(file)


def test_number_of_speakers_is_that_of_the_split(voices):
    folder = shutil.copytree(RECORDED / "tess_oaf_yaf_s0", voices / "reports" / "one")
    split = json.loads((folder / "manifest.json").read_text())["stages"]["02_split"]["artifacts"]["split.csv"]
    info = load_bundle(RECORDED / "tess_robust_random_s0").info.model_copy(update={"split_sha256": split})
    bundle = Bundle(info, probabilities=None)  # a light record has none
    assert "learnt from 1 speaker of TESS. " in limits("one", bundle)  # the other one is for testing
    (folder / "split.csv").write_bytes(lzma.decompress((folder / "split.csv.xz").read_bytes()))
    (folder / "split.csv.xz").unlink()
    assert "learnt from 1 speaker of TESS. " in limits("one", bundle)
    (folder / "split.csv").write_text("of another run")
    assert "learnt from TESS. " in limits("one", bundle)


def test_unsure_and_unlike_are_told(voices, predicted):
    done = predicted(voices / "in" / "a.wav", "--run", "people", "--unsure-below", "1")
    assert done.out.startswith("a.wav: unsure, perhaps ")
    assert "Unlike what the model has learnt from, so its answer means little:" in done.out
    done = predicted(voices / "in", "--run", "people", "--unsure-below", "0")
    assert "unsure, perhaps" not in done.out
    assert "Unlike what the model has learnt from, so their answers mean little:" in done.out
    assert predicted(voices / "in" / "a.wav", "--unsure-below", "2").status == 2


def test_picture_of_what_an_answer_rests_on(voices, predicted):
    picture = voices / "pictures" / "why.png"
    assert predicted(voices / "in" / "a.wav", "--run", "people", "--plot", picture).status == 0
    assert picture.read_bytes().startswith(b"\x89PNG")
    for words in ((voices / "in", "--plot", picture), (voices / "in" / "a.wav", "--plot", "why.jpg")):
        done = predicted(*words, "--run", "people")
        assert done.status == 2 and "--plot makes a " in done.err


def test_long_recording_is_told_of_windows(voices, predicted, write_wav):
    tone = np.sin(2 * np.pi * 200 * np.arange(20 * RATE) / RATE)
    done = predicted(write_wav(voices / "long.wav", tone, RATE), "--run", "people")
    assert "length: 20 s of sound, and training clips have " in done.out
    assert "; the first 3.0 s are heard" in done.out or "; the first 2.9 s are heard" in done.out
    assert "For recordings longer than a phrase: --window 2.9" in done.out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("a.wav", "--csv", "a.wav"), "a.wav would be overwritten"),
        (("a.wav", "--json", "./a.wav"), "a.wav would be overwritten"),
        (("a.wav", "--csv", "t.csv", "--json", "t.csv"), "each output must be a file of its own"),
        (("a.wav", "--csv", "."), "is a folder"),
        (("",), "a path is empty"),
        (("a.wav", "b c.wav", "--window", "10"), "a window must be at least 0.01 s long, and at most as long as"),
        (("a.wav", "--out", "t.xyz"), "--out must end in .csv, .parquet or .json, which says what "),
        (("a.wav", "--out", "t.csv", "--csv", "u.csv"), "--csv and an --out of its kind cannot both be given"),
        (("a.wav", "--out", "t.json", "--json", "u.json"), "--json and an --out of its kind cannot both be given"),
        (("a.wav", "--window", "1", "--json", "t.json"), "--json does not go with"),
    ],
)
def test_what_cannot_be_is_told_before_anything_is_lost(voices, predicted, monkeypatch, words, message):
    monkeypatch.chdir(voices / "in")
    before = (voices / "in" / "a.wav").read_bytes()
    done = predicted(*words, "--run", "people")
    assert (done.status, done.out) == (2, "") and message in " ".join(done.err.split())
    assert (voices / "in" / "a.wav").read_bytes() == before
    assert sorted(path.name for path in (voices / "in").iterdir()) == ["a.wav", "b c.wav", "deeper", "notes.txt"]


def test_hidden_folders_are_left_out(voices, predicted):
    (voices / "in" / ".hidden").mkdir()
    shutil.copy(voices / "in" / "a.wav", voices / "in" / ".hidden" / "h.wav")
    assert "h.wav" not in predicted(voices / "in", "--run", "people").out


@pytest.fixture
def conversation(tess, voices):
    """A call: one actress, angry, on the left, the other one, neutral, on the right, as they take turns."""
    ends = ("YAF_back_angry.wav", "OAF_back_neutral.wav")
    parts = [soundfile.read(tess.file(next(name for name in tess.names if name.endswith(end)))) for end in ends]
    (left, rate), (right, _) = parts
    channels = np.stack([np.append(left, 0 * right), np.append(0 * left, right)], axis=1)
    for name, one in (("call", channels), ("left", channels[:, 0]), ("right", channels[:, 1])):
        soundfile.write(voices / f"{name}.wav", one, rate)
    return voices / "call.wav"


def test_two_people_on_two_channels_are_told_and_heard_apart(conversation, predicted):
    folder = conversation.parent
    done = predicted(conversation, "--run", "people")
    assert "\nIts channels hold different sound, and their mean was heard; --channel each hears them" in done.out
    done = predicted(conversation, "--run", "people", "--channel", "each", "--csv", "-")
    table = pd.read_csv(io.StringIO(done.out)).set_index("channel")
    alone = pd.read_csv(
        io.StringIO(predicted(folder / "left.wav", folder / "right.wav", "--run", "people", "--csv", "-").out)
    )
    assert table.index.tolist() == ["left", "right"] and table["emotion"].tolist() == ["angry", "neutral"]
    assert table["confidence"].tolist() == pytest.approx(alone["confidence"].tolist())
    assert not table["channels_differ"].any()
    done = predicted(conversation, "--run", "people", "--channel", "right")
    assert done.out.startswith("call.wav: neutral (") and "Its channels" not in done.out
    done = predicted(conversation, "--run", "people", "--channel", "each", "--window", "2", "--csv", folder / "t.csv")
    assert done.status == 0 and f"{conversation} (left)\n" in done.out and f"{conversation} (right)\n" in done.out
    assert set(pd.read_csv(folder / "t.csv")["channel"]) == {"left", "right"}
    assert load_bundle(folder / "reports" / "people").predict(*soundfile.read(conversation)).channels_differ


def test_ordinary_stereo_is_one_sound(tess, tmp_path, voices):
    signal, rate = soundfile.read(tess.file("OAF_happy/OAF_back_happy.wav"))
    noise = np.random.default_rng(0).standard_normal((len(signal), 2))
    late = np.append(np.zeros(rate // 50), signal)[: len(signal)]
    ordinary = {
        "twice the same": np.stack([signal, signal], axis=1),
        "from one side": np.stack([signal, 0.2 * signal], axis=1),
        "later and quieter": np.stack([signal, 0.5 * late], axis=1),
        "hiss of each": np.stack([signal, signal], axis=1) + 0.005 * noise,
        "one side silent": np.stack([signal, 0 * signal], axis=1),
        "one side a hiss": np.stack([signal, 0 * signal], axis=1) + 0.005 * noise,
        "nothing but hiss": noise / 10,
    }
    bundle = load_bundle(voices / "reports" / "people")
    for what, channels in ordinary.items():
        assert not bundle.predict(channels, rate).channels_differ, what


def test_channel_that_is_not_there_is_told(voices, predicted):
    done = predicted(voices / "in" / "a.wav", "--run", "people", "--channel", "right")
    assert done.status == 1
    assert done.err == (
        f"error: {voices / 'in' / 'a.wav'} cannot be used: it has a single channel, so none is right; ask for it "
        "without a channel.\n"
    )
    done = predicted(voices / "in" / "a.wav", "--run", "people", "--channel", "each")
    assert done.status == 0 and len(done.out.split("\n\n")[0].splitlines()) == 2  # one row: there is one sound
    assert predicted(voices / "in" / "a.wav", "--run", "people", "--channel", "middle").status == 2


@pytest.mark.parametrize(
    ("option", "choices"), [("--channel", "'left', 'right', 'each'"), ("--backend", "'onnx', 'keras'")]
)
def test_value_that_is_none_of_the_choices_is_told_plainly(root, monkeypatch, capsys, option, choices):
    status, out, err = call(monkeypatch, capsys, "predict", "a.wav", option, "middle")
    assert (status, out) == (2, "")
    assert err.splitlines()[-1] == f"Error: Invalid value for '{option}': 'middle' is not one of {choices}."


def test_silent_channel_is_named(conversation, predicted, write_wav):
    rate = RATE
    tone = 0.3 * np.sin(np.arange(rate) / 9) * np.hanning(rate)
    write_wav(conversation.parent / "half.wav", np.stack([tone, 0 * tone], axis=1), rate)
    done = predicted(conversation.parent / "half.wav", "--run", "people", "--channel", "each")
    named = conversation.parent / "half.wav"
    assert done.status == 1 and done.err == f"error: {named} cannot be used: its right channel is silent.\n"


@pytest.mark.parametrize("shape", [(2, RATE), (6, 100)])
def test_transposed_array_is_refused(voices, shape):
    with pytest.raises(
        AudioError, match=rf"more samples than channels.* Got shape \({shape[0]}, {shape[1]}\): .*signal\.T"
    ):
        load_bundle(voices / "reports" / "people").predict(np.ones(shape, dtype=np.float32) / 2, RATE)


def test_each_answer_is_there_before_the_next_file_is_opened(voices, predicted, monkeypatch, capsys):
    seen = []
    original = predict_module.answer_file

    def look(path, *arguments, **options):
        part = voices / "t.csv.part"
        seen.append((capsys.readouterr().out, part.read_text().splitlines()))
        return original(path, *arguments, **options)

    monkeypatch.setattr(predict_module, "answer_file", look)
    files = [voices / "in" / "a.wav", voices / "in" / "b c.wav"]
    done = predicted(*files, "--run", "people", "--csv", voices / "t.csv")
    (before, head), (between, rows) = seen
    assert before == "" and len(head) == 1
    assert str(files[0]) in between and str(files[1]) not in between and rows[1].startswith(str(files[0]))
    assert str(files[1]) in done.out
    assert len((voices / "t.csv").read_text().splitlines()) == 3 and not (voices / "t.csv.part").exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_answers_outlive_the_command(voices, number):
    code = f"""
import os, sys
from ser_lib import predict
from ser_lib._cli import app as cli
original, asked = predict.answer_file, []
def answer(path, *arguments, **options):
    asked.append(path)
    if len(asked) == 3:
        os.kill(os.getpid(), {int(number)})
    return original(path, *arguments, **options)
predict.answer_file = answer
sys.argv = ["ser", "predict", *sys.argv[1:], "--run", "people", "--csv", "t.csv", "--json", "t.json"]
os.chdir({str(voices)!r})
cli.main()
"""
    done = run_python(code, "in", SER_ROOT=str(voices))
    assert done.returncode != 0 and not (voices / "t.csv").exists()
    assert len((voices / "t.csv.part").read_text().splitlines()) == 3
    assert (voices / "t.json.part").read_text().count('"emotion"') == 2
    assert len(done.stdout.splitlines()) == 3
    if number == signal.SIGTERM:
        assert "The predictions so far are in " in done.stderr


def stopped_after(n_files, monkeypatch):
    """Let the command be interrupted when it opens the file after so many."""
    original, asked = predict_module.answer_file, []

    def answer(path, *arguments, **options):
        asked.append(Path(path).name)
        if len(asked) > n_files:
            raise KeyboardInterrupt
        return original(path, *arguments, **options)

    monkeypatch.setattr(predict_module, "answer_file", answer)
    return asked


def test_stopped_command_goes_on(voices, predicted, monkeypatch):
    (voices / "in" / "c.wav").write_bytes(b"RIFF")
    words = (voices / "in", "--run", "people", "--out")
    assert predicted(*words, voices / "whole.csv").status == 1
    with monkeypatch.context() as patched:
        stopped_after(3, patched)
        assert predicted(*words, voices / "t.csv").status == 130
    part = voices / "t.csv.part"
    with part.open("a") as file:
        file.write(f"{voices / 'in'}/deep")
    other = predicted(*words, voices / "t.csv", "--resume", "--unsure-below", "0.3")
    assert other.status == 1 and other.err.splitlines()[-1].startswith(
        "error: --resume goes on with the same model and"
    )
    with monkeypatch.context() as patched:
        asked = stopped_after(9, patched)
        done = predicted(*words, voices / "t.csv", "--resume")
    assert (done.status, asked) == (1, ["ä😀.flac"])  # 1: one of those before had failed
    assert (voices / "t.csv").read_bytes() == (voices / "whole.csv").read_bytes()
    assert not [*voices.glob("t.csv.*")]
    again = predicted(*words, voices / "t.csv", "--resume")
    assert again.status == 1 and "error: --resume goes on with a table that is not complete. t.csv is. " in again.err
    assert predicted(voices / "in", "--resume").status == 2


def test_files_come_folder_by_folder_also_after_a_stop_in_another_order(root, predicted, monkeypatch):
    shutil.copytree(RECORDED / "tess_robust_random_s0", root / "reports" / "people")
    names = ["z.wav", "DC/a01.wav", "DC/a02.wav", "JE/a01.wav", "JE/a02.wav", "JE/more/a00.wav"]
    for name in names:
        (root / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (root / "in" / name).write_bytes(b"RIFF")
    monkeypatch.chdir(root)
    words = ("--run", "people", "--out")
    assert predicted("in", *words, "t.csv").status == 1
    assert pd.read_csv("t.csv")["file"].tolist() == [str(Path("in", name)) for name in names]
    assert predicted("i*", *words, "u.csv").status == 1
    assert Path("u.csv").read_bytes() == Path("t.csv").read_bytes()
    by_name = [str(Path("in", name)) for name in ("JE/more/a00.wav", "DC/a01.wav", "JE/a01.wav")]
    with monkeypatch.context() as patched:
        stopped_after(3, patched)
        assert predicted(*by_name, "in", *words, "v.csv").status == 130
    assert predicted("in", *words, "v.csv", "--resume").status == 1
    rest = [str(Path("in", name)) for name in ("z.wav", "DC/a02.wav", "JE/a02.wav")]
    assert pd.read_csv("v.csv")["file"].tolist() == [*by_name, *rest]


def test_file_of_which_a_channel_is_missing_is_redone(conversation, predicted, monkeypatch):
    words = (conversation, "--run", "people", "--channel", "each", "--csv")
    assert predicted(*words, conversation.parent / "whole.csv").status == 0
    with monkeypatch.context() as patched:
        stopped_after(1, patched)
        assert predicted(*words, conversation.parent / "t.csv").status == 130
    assert predicted(*words, conversation.parent / "t.csv", "--resume").status == 0
    assert (conversation.parent / "t.csv").read_bytes() == (conversation.parent / "whole.csv").read_bytes()


def test_file_given_twice_is_answered_once(voices, predicted):
    paths = (voices / "in" / "a.wav", voices / "in", voices / "in" / "deeper" / ".." / "a.wav")
    done = predicted(*paths, "--run", "people", "--csv", "-")
    assert [Path(name).name for name in pd.read_csv(io.StringIO(done.out))["file"]] == ["a.wav", "b c.wav", "ä😀.flac"]


@needs_workers
def test_workers_give_what_one_process_gives_in_order(voices, predicted, monkeypatch):
    monkeypatch.setattr(workers_module, "FEW", 2)
    monkeypatch.setattr(predict_module, "BATCH", 1)
    (voices / "in" / "b.wav").write_bytes(b"RIFF")
    n_files = 30
    for number in range(3, n_files):
        shutil.copy(voices / "in" / "a.wav", voices / "in" / f"{number}.wav")
    words = (voices / "in", "--run", "people", "--out")
    assert predicted(*words, voices / "one.csv", "--jobs", 1).status == 1
    answer = predict_module._answer_here
    monkeypatch.setattr(predict_module, "_answer_here", lambda *given: time.sleep(0.3) or answer(*given))
    asked = []
    submit = Executor.submit
    monkeypatch.setattr(Executor, "submit", lambda pool, *task: asked.append(task[0]) or submit(pool, *task))
    assert predicted(*words, voices / "two.csv", "--jobs", 2).status == 1
    assert (voices / "one.csv").read_bytes() == (voices / "two.csv").read_bytes()
    assert (voices / "two.csv").read_text().count("\n") == n_files + 2
    assert asked.count(predict_module.answer_batch) > 0  # this process did not answer them all


def test_table_is_parquet_by_its_name(voices, predicted):
    parquet = pytest.importorskip("pyarrow.parquet")
    (voices / "in" / "=x.wav").write_bytes(b"RIFF")
    words = (voices / "in", "--run", "people", "--out")
    assert predicted(*words, voices / "t.csv").status == predicted(*words, voices / "t.parquet").status == 1
    rows, expected = parquet.read_table(voices / "t.parquet").to_pylist(), pd.read_csv(voices / "t.csv")
    assert [row["confidence"] or 0 for row in rows] == expected["confidence"].fillna(0).tolist()
    assert {type(row["unsure"]) for row in rows} == {bool, type(None)} and not [*voices.glob("t.parquet.*")]
    assert sorted(Path(row["file"]).name for row in rows if row["error"]) == ["=x.wav"]


def test_parquet_without_pyarrow_is_told_first(voices, predicted, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    done = predicted(voices / "in", "--run", "none", "--out", voices / "t.parquet")
    assert done.status == 1 and done.err.endswith("pyarrow is not installed. pip install 'ser_lib[parquet]'\n")


@pytest.mark.parametrize("words", [("--out", "t.txt"), ("--out", "t.csv", "--csv", "u.csv"), ("--jobs", "0")])
def test_outputs_and_jobs_that_cannot_be_are_told(voices, predicted, words):
    assert predicted(voices / "in", "--run", "people", *words).status == 2


def test_bundle_is_shown_in_a_line_without_its_statistics():
    bundle = load_bundle(RECORDED / "tess_robust_random_s0")
    emotions = "neutral, happy, sad, angry, fear, disgust, ps"
    assert repr(bundle) == f"<Bundle of TESS: {emotions}; 94 frames of 64 features (logmel)>"
    assert "deviation" not in repr(bundle.info)
