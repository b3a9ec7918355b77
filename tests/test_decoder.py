"""Files that PyAV decodes: many channels, tiny frames, damage, and decoders that really die."""

import os
import re
import signal
import struct
import textwrap
import time

import av
import numpy as np
import psutil
import pytest
import soundfile
from test_audio import noise, sine
from test_records import call
from test_store import run_python

from ser_lib.audio import decode as decoder
from ser_lib.audio.decode import read_blocks
from ser_lib.audio.signal import load_audio, load_recording
from ser_lib.audio.sound_file import soundfile_blocks
from ser_lib.core.errors import AudioError, DamagedAudio
from ser_lib.model.bundle import load_bundle
from ser_lib.params import make_params
from ser_lib.preprocess import preprocess_data
from ser_lib.stream.timeline import predict_timeline, read_envelope, summary_text

RATE = 16000
RUN = "tess_robust_random_s0"
LAYOUTS = {1: "mono", 2: "stereo", 6: "5.1", 8: "7.1", 16: "hexadecagonal"}


def write(path, channels, codec, rate=RATE, **options):
    """Encode channels [shape=(n_samples, n_channels)] by PyAV; `options` are the container's."""
    layout = LAYOUTS.get(channels.shape[1], f"{channels.shape[1]} channels")
    with av.open(str(path), "w", options=options) as container:
        stream = container.add_stream(codec, rate=rate, layout=layout)
        for start in range(0, len(channels), 960):
            block = np.ascontiguousarray(channels[start : start + 960], dtype=np.float32).reshape(1, -1)
            frame = av.AudioFrame.from_ndarray(block, format="flt", layout=stream.layout)
            frame.sample_rate, frame.pts = rate, start
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def single_samples(path, n_samples=32_000):
    """Write a CAF of packets of one sample of 16 bits each."""
    samples = (8000 * np.sin(np.arange(n_samples) / 10)).astype("<i2").tobytes()
    desc = struct.pack(">d4sIIIII", RATE, b"lpcm", 2, 0, 1, 1, 16)
    sizes = struct.pack(">qqii", n_samples, n_samples, 0, 0) + b"\2" * n_samples
    chunks = [(b"desc", desc), (b"pakt", sizes), (b"data", bytes(4) + samples)]
    path.write_bytes(b"caff\0\1\0\0" + b"".join(name + struct.pack(">q", len(one)) + one for name, one in chunks))
    return path


def stereo_film(path):
    return write(path, np.stack([sine(300, 1, rate=RATE)] * 2, axis=1), "aac")


@pytest.fixture
def deadly(tmp_path, monkeypatch):
    """A decoder whose process dies of a real signal as soon as it opens a file called deadly."""
    code = """
        import os, signal, sys
        def kill(event, arguments):
            if event == "open" and "deadly" in str(arguments[0]):
                os.kill(os.getpid(), signal.SIGSEGV)
        if "ser_lib.audio.av_child" in sys.orig_argv:
            sys.addaudithook(kill)
    """
    (tmp_path / "hooks").mkdir()
    (tmp_path / "hooks" / "sitecustomize.py").write_text(textwrap.dedent(code))
    decoder._end_children()
    monkeypatch.syspath_prepend(tmp_path / "hooks")
    yield
    decoder._end_children()


@pytest.mark.parametrize(
    ("name", "codec", "n_channels"),
    [
        *(("a.m4a", "aac", n) for n in (1, 2, 6, 8, 16)),
        *(("a.webm", "libopus", n) for n in (1, 2, 6, 8)),
        *(("a.mka", "pcm_s16le", n) for n in (1, 2, 8, 9, 64)),
        *(("a.mka", "flac", n) for n in (2, 8)),
        *(("a.mov", "pcm_s16le", n) for n in (8, 33)),
        *(("a.caf", "alac", n) for n in (2, 6)),
    ],
)
def test_any_number_of_channels_is_averaged(tmp_path, name, codec, n_channels):
    rate = 48000
    signal = sine(440, 0.2, rate=rate)
    shares = np.linspace(1, 0.2, n_channels)
    signal_of_all = load_audio(write(tmp_path / name, signal[:, np.newaxis] * shares, codec, rate))
    assert signal_of_all[1] == rate
    heard = signal_of_all[0][2000:9000]
    lossless = codec not in ("aac", "libopus")
    level = 0.5 * shares.mean() / np.sqrt(2)
    # lossy codecs take the fourth of six or eight channels, the subwoofer's, for deep tones alone
    assert np.sqrt(np.mean(heard**2)) == pytest.approx(level, rel=0.01 if lossless else 0.3)
    if lossless:
        np.testing.assert_allclose(heard, signal[2000:9000] * shares.mean(), rtol=0, atol=2**-14)


def test_order_of_channels_of_a_files_own_is_read(tmp_path):
    channels = np.stack([noise(0.1, rate=RATE, seed=seed) for seed in range(8)], axis=1)
    path = write(tmp_path / "a.caf", channels, "pcm_s16le")  # PyAV writes FL+FR+FC+LFE+SL+SR+BL+BR
    blocks = [block for block, _ in decoder.decode(path, block=1 << 20)]
    np.testing.assert_allclose(np.concatenate(blocks), channels, rtol=0, atol=2**-14)


def test_frames_of_one_sample_are_as_many_samples(tmp_path):
    path = single_samples(tmp_path / "a.caf")
    with pytest.raises(soundfile.LibsndfileError):
        soundfile.info(path)
    blocks = [block for block, _ in read_blocks(path)]  # a block for each frame would be added up for each once more
    assert [len(block) for block in blocks] == [32_000]
    np.testing.assert_allclose(blocks[0][:, 0], 0.244 * np.sin(np.arange(32_000) / 10), rtol=0, atol=1e-3)


def test_crash_costs_one_file_and_the_next_has_a_new_decoder(tmp_path, deadly):
    good = stereo_film(tmp_path / "good.m4a")
    expected, _ = load_audio(good)
    stereo_film(tmp_path / "deadly.m4a")
    for _ in range(2):
        with pytest.raises(AudioError, match="the decoder crashed on this file"):
            load_audio(tmp_path / "deadly.m4a")
        np.testing.assert_array_equal(load_audio(good)[0], expected)


def test_damaged_mp3_is_decoded_without_a_word(tmp_path):
    path = tmp_path / "a.mp3"
    soundfile.write(path, noise(3, rate=RATE), RATE)
    content = bytearray(path.read_bytes())
    content[2000:9000:7] = np.random.default_rng(0).bytes(1000)
    path.write_bytes(content)
    read = "import soundfile, sys; print(len(soundfile.SoundFile(sys.argv[1]).read()))"
    own = "import sys; from ser_lib.audio import decode; print(sum(len(b) for b, _ in decode.read_blocks(sys.argv[1])))"
    chatty, silent = run_python(read, path), run_python(own, path)
    assert "Note: " in chatty.stderr  # it is a file of which libmpg123 prints something
    assert (silent.returncode, silent.stderr, silent.stdout) == (0, "", chatty.stdout)


def test_mp3_has_the_samples_of_soundfile(tmp_path):
    path = tmp_path / "a.mp3"
    soundfile.write(path, np.stack([noise(2, rate=RATE), sine(300, 2, rate=RATE)], axis=1), RATE)
    found = np.concatenate([block for block, _ in read_blocks(path)])
    np.testing.assert_array_equal(found, np.concatenate([block for block, _ in soundfile_blocks(path)]))
    np.testing.assert_allclose(found, soundfile.read(path)[0], atol=2e-7)  # it rounds by how much is asked for


def test_decoder_that_died_while_it_waited_costs_no_file(tmp_path):
    path = stereo_film(tmp_path / "a.m4a")
    load_audio(path)
    (child,) = decoder._idle[os.getpid()]
    child._process.send_signal(signal.SIGKILL)
    child._process.wait()
    assert len(load_audio(path)[0]) > RATE


def test_answers_stand_and_others_come_where_the_decoder_dies(tmp_path, deadly, monkeypatch, capsys):
    for name in ("a.m4a", "deadly.m4a", "b.m4a"):
        stereo_film(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    words = ("a.m4a", "deadly.m4a", "b.m4a", "--run", RUN)
    status, out, err = call(monkeypatch, capsys, "predict", *words, "--csv", "t.csv")
    assert status == 1
    assert err == "error: deadly.m4a cannot be used: the decoder crashed on this file.\n"
    head, *rows = out.split("\n\n")[0].splitlines()
    assert [row.split()[0] for row in rows] == ["a.m4a", "b.m4a"] and len({len(row) for row in (head, *rows)}) == 1
    lines = (tmp_path / "t.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in lines] == ["file", "a.m4a", "deadly.m4a", "b.m4a"]
    assert lines[2].endswith(f"deadly.m4a cannot be used: the decoder crashed on this file.,{RUN}")
    status, out, err = call(monkeypatch, capsys, "predict", *words, "--window", "0.5")
    assert status == 1 and "a.m4a\n" in out and "b.m4a\n" in out and "deadly.m4a cannot be used" in err


def test_run_names_the_clip_that_the_decoder_dies_of(root, deadly):
    for number in range(6):
        folder = root / "own" / ("happy" if number % 2 else "sad")
        folder.mkdir(parents=True, exist_ok=True)
        tone = np.stack([sine(200 + 50 * number, 0.5, rate=RATE)] * 2, axis=1)
        write(folder / f"{'deadly' if number == 3 else 'fine'}{number}.m4a", tone, "aac")
    params = make_params({"CORPORA": ["OWN"], "DATASET_PATH": str(root / "own"), "MAX_SKIPPED": 0.5, "N_JOBS": 1})
    data = preprocess_data(params)
    assert len(data.clips) == 5
    (left,) = data.skipped.itertuples()
    assert "deadly3.m4a" in left.file and left.reason == "the decoder crashed on this file"


def test_file_that_is_not_heard_to_its_end_leaves_the_next_one_alone(tmp_path):
    long = write(tmp_path / "long.m4a", np.stack([noise(60, rate=RATE)] * 2, axis=1), "aac")
    blocks = read_blocks(long)
    next(blocks)
    other = [len(block) for block, _ in read_blocks(stereo_film(tmp_path / "a.m4a"))]  # while the first one is open
    blocks.close()
    assert sum(other) >= RATE and len(decoder._idle[os.getpid()]) == 1
    assert sum(len(block) for block, _ in read_blocks(long)) >= 60 * RATE


def test_script_without_a_main_guard_decodes(tmp_path):
    path = stereo_film(tmp_path / "a.m4a")
    (tmp_path / "script.py").write_text(
        f"from ser_lib.audio.signal import load_audio\nprint(len(load_audio({str(path)!r})[0]))\n"
    )
    done = run_python("import runpy, sys; runpy.run_path(sys.argv[1], run_name='__main__')", tmp_path / "script.py")
    assert (done.returncode, done.stderr) == (0, "") and int(done.stdout) >= RATE


@pytest.mark.parametrize("end", ["sys.exit()", "os._exit(0)", "os.kill(os.getpid(), signal.SIGKILL)"])
def test_decoder_ends_with_its_parent(tmp_path, end):
    path = stereo_film(tmp_path / "a.m4a")
    code = f"""
import os, signal, sys
from ser_lib.audio import decode as decoder
list(decoder.decode(sys.argv[1], block=1000))
print(decoder._idle[os.getpid()][0]._process.pid, flush=True)
{end}
"""
    done = run_python(code, path)
    pid = int(done.stdout)
    for _ in range(600):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return
        if psutil.pid_exists(pid) and psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return  # nobody has asked yet how it ended
        time.sleep(0.05)
    pytest.fail("the decoder goes on")


def test_forked_process_has_a_decoder_of_its_own(tmp_path):
    path = stereo_film(tmp_path / "a.m4a")
    expected = len(load_audio(path)[0])
    code = """
import os, sys
from ser_lib.audio.signal import load_audio
load_audio(sys.argv[1])
child = os.fork()
size = len(load_audio(sys.argv[1])[0])
if child == 0:
    os._exit(0 if size == int(sys.argv[2]) else 1)
print(size, os.waitpid(child, 0)[1])
"""
    done = run_python(code, path, expected)
    assert done.stdout.split() == [str(expected), "0"], done.stderr


CUT = ("cut.m4a", "cut.aac", "cut.flac", "alac.m4a")


def damaged(folder, name, seconds=4.0, rate=48000):
    """Write a file whose last 7 bytes are cut off, and give the one that was whole."""
    signal = (0.4 * np.sin(np.cumsum(np.linspace(0.02, 0.1, round(seconds * rate))))).astype(np.float32)
    codec = {"cut.m4a": "aac", "cut.aac": "aac", "cut.flac": "flac", "alac.m4a": "alac"}[name]
    whole = write(
        folder / f"whole-{name}",
        signal[:, np.newaxis],
        codec,
        rate,
        **({"movflags": "faststart"} if name.endswith("m4a") else {}),
    )
    (folder / name).write_bytes(whole.read_bytes()[:-7])
    return folder / name, whole


@pytest.mark.parametrize("name", CUT)
def test_damaged_packet_costs_itself_alone(tmp_path, name):
    path, whole = damaged(tmp_path, name)
    expected, _ = load_audio(whole)
    heard = load_recording(path)
    assert 0 < len(expected) - len(heard.signal) <= 4608  # a packet of the largest kind
    np.testing.assert_array_equal(heard.signal, expected[: len(heard.signal)])
    assert heard.damaged_after == pytest.approx(len(heard.signal) / 48000, abs=0.1)
    with pytest.raises(DamagedAudio, match=r"the file is damaged after \d\.\d s"):  # no clip to learn from
        load_audio(path)


@pytest.mark.parametrize("name", ["hole.m4a", "hole.mp3", "hole.flac"])
def test_hole_in_the_middle_leaves_what_is_around_it(tmp_path, name):
    codec = {"m4a": "aac", "mp3": "libmp3lame", "flac": "flac"}[name[5:]]
    signal = noise(12, rate=RATE)
    content = bytearray(write(tmp_path / f"whole-{name}", signal[:, np.newaxis], codec).read_bytes())
    half, size = len(content) // 2, len(content) // 6
    content[half : half + size] = bytes(size)
    (tmp_path / name).write_bytes(content)
    heard = load_recording(tmp_path / name)
    assert heard.damaged_after == pytest.approx(6, abs=0.7)
    assert 8.5 < len(heard.signal) / RATE < 11.5  # of 12 s, two are gone


def test_timeline_of_a_damaged_file_goes_on_and_says_so(tmp_path, monkeypatch, capsys):
    path, _ = damaged(tmp_path, "cut.m4a", seconds=8.0)
    table = predict_timeline(path, load_bundle(f"reports/{RUN}"), window_seconds=2)
    assert table["end"].iloc[-1] == pytest.approx(8, abs=0.1)
    assert table.attrs["damaged_after"] == pytest.approx(8, abs=0.1)
    assert "The file is damaged after " in summary_text(table)
    assert read_envelope(path)[0][-1] == pytest.approx(8, abs=0.1)
    monkeypatch.chdir(tmp_path)
    status, out, err = call(monkeypatch, capsys, "predict", "cut.m4a", "--run", RUN, "--window", "2", "--csv", "t.csv")
    assert (status, err) == (0, "") and "what can be decoded was heard. Times after that may be early." in out
    head, *rows = (tmp_path / "t.csv").read_text().splitlines()
    assert head.endswith(",unlike,damaged_after,channels_differ,error,model") and len(rows) == len(table)


def test_answer_and_tables_say_where_a_file_is_damaged(tmp_path, monkeypatch, capsys):
    damaged(tmp_path, "cut.aac")
    monkeypatch.chdir(tmp_path)
    status, out, err = call(monkeypatch, capsys, "predict", "cut.aac", "--run", RUN, "--csv", "t.csv")
    assert (status, err) == (0, "") and "\nThe file is damaged after " in out
    head, row = (line.split(",") for line in (tmp_path / "t.csv").read_text().splitlines())
    assert 3.5 < float(dict(zip(reversed(head), reversed(row), strict=False))["damaged_after"]) < 4.1
    status, out, _ = call(monkeypatch, capsys, "listen", "--file", "cut.aac", "--run", RUN)
    assert status == 0 and re.search(r"^Of \d+ windows? of speech: ", out, re.MULTILINE)


def test_corpus_counts_a_damaged_clip_as_such(root):
    for number, emotion in enumerate(("happy", "sad", "happy", "sad")):
        (root / "own" / emotion).mkdir(parents=True, exist_ok=True)
        soundfile.write(root / "own" / emotion / f"{number}.wav", sine(300 + 20 * number, 0.6, rate=RATE), RATE)
    path, _ = damaged(root, "cut.m4a")
    path.rename(root / "own" / "sad" / "cut.m4a")
    params = make_params({"CORPORA": ["OWN"], "DATASET_PATH": str(root / "own"), "MAX_SKIPPED": 0.5, "N_JOBS": 1})
    data = preprocess_data(params)
    (left,) = data.skipped.itertuples()
    assert left.file.endswith("cut.m4a") and left.reason.startswith("the file is damaged after ")


@pytest.mark.parametrize(
    ("name", "codec"), [("a.m4a", "aac"), ("a.mov", "aac"), ("a.mka", "aac"), ("a.webm", "libopus"), ("a.flv", "aac")]
)
def test_tags_of_another_encoding_decide_nothing(tmp_path, name, codec):
    with av.open(str(tmp_path / name), "w") as container:
        stream = container.add_stream(codec, rate=48000, layout="mono")
        container.metadata["title"] = "Gruesse"
        frame = av.AudioFrame.from_ndarray(noise(0.2, rate=48000)[np.newaxis], format="flt", layout="mono")
        frame.sample_rate = 48000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    plain, _ = load_audio(tmp_path / name)
    content = (tmp_path / name).read_bytes()
    assert b"Gruesse" in content
    (tmp_path / name).write_bytes(content.replace(b"Gruesse", b"Gr\xfc\xdfe. "))
    with pytest.raises(UnicodeDecodeError):
        av.open(str(tmp_path / name)).close()
    np.testing.assert_array_equal(load_audio(tmp_path / name)[0], plain)


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "FLOAT"])
def test_wav_of_a_recorder_that_crashed_is_heard(tmp_path, subtype):
    soundfile.write(tmp_path / "a.wav", noise(0.5, rate=RATE), RATE, subtype=subtype)
    whole, _ = load_audio(tmp_path / "a.wav")
    content = bytearray((tmp_path / "a.wav").read_bytes())
    place = content.index(b"data")
    content[4:8] = content[place + 4 : place + 8] = bytes(4)
    (tmp_path / "b.wav").write_bytes(content)
    np.testing.assert_array_equal(load_audio(tmp_path / "b.wav")[0], whole)


def test_tags_behind_no_samples_are_no_samples(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.zeros(0), RATE)
    tags = b"LIST" + struct.pack("<I", 4004) + b"INFO" + bytes(range(200)) * 20
    (tmp_path / "a.wav").write_bytes((tmp_path / "a.wav").read_bytes() + tags)
    with pytest.raises(AudioError, match="the file holds no samples"):
        load_audio(tmp_path / "a.wav")


@pytest.mark.parametrize(("kind", "name"), [("<i2", "s16le"), (">i2", "s16be"), ("<f4", "f32le"), ("<i4", "s32le")])
@pytest.mark.parametrize("n_channels", [1, 2])
def test_samples_without_a_header_are_told(tess, tmp_path, kind, name, n_channels):
    signal, _ = soundfile.read(tess.file("OAF_happy/OAF_back_happy.wav"))
    full = 1 if kind == "<f4" else 2.0 ** (8 * np.dtype(kind).itemsize - 1) - 1
    channels = np.stack([signal * share for share in (1, 0.5)[:n_channels]], axis=1)
    (tmp_path / "raw.wav").write_bytes((channels * full).astype(kind).tobytes())
    with pytest.raises(AudioError, match=rf"no header, .* raw samples \({name}\)\. Give it one, .*ffmpeg -f {name} "):
        load_audio(tmp_path / "raw.wav")
