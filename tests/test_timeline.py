"""Long recordings: windows, silence, smoothing, and that a window is answered as the clip in it alone."""

import io
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import soundfile
import soxr
from test_records import call

from ser_lib.audio import sound_file
from ser_lib.core.errors import AudioError
from ser_lib.model.bundle import load_bundle
from ser_lib.predict import predict_emotion_from_file
from ser_lib.stream import timeline

REPO = Path(__file__).resolve().parent.parent
RUN = REPO / "reports" / "tess_robust_random_s0"


@pytest.fixture(scope="module")
def bundle():
    return load_bundle(RUN)


def tone(seconds, rate, frequency=220.0):
    t = np.arange(round(seconds * rate)) / rate
    return (0.3 * np.sin(2 * np.pi * frequency * t * (1 + 0.05 * np.sin(7 * t))) * np.hanning(len(t))).astype("float32")


def quiet(seconds, rate):
    return np.zeros(round(seconds * rate), dtype=np.float32)


def test_windows_cover_the_recording_and_overlap(bundle, write_wav, tmp_path):
    path = write_wav(tmp_path / "a.wav", tone(10, 16000), 16000)
    table = timeline.predict_timeline(path, bundle, window_seconds=2, hop_seconds=0.5)
    assert table["start"].tolist() == pytest.approx(np.arange(17) * 0.5, abs=1e-4)  # the last begins at 8 s
    assert table["end"].tolist() == pytest.approx(np.arange(17) * 0.5 + 2, abs=1e-4)
    assert set(table["state"]) == {"speech"}
    shares = table.filter(like="p_").to_numpy()
    np.testing.assert_allclose(shares.sum(axis=1), 1, atol=1e-5)
    assert table["confidence"].tolist() == pytest.approx(shares.max(axis=1).tolist())


def test_default_window_is_what_the_model_hears(bundle, write_wav, tmp_path):
    seconds = bundle.info.settings.target_length / bundle.info.settings.sampling_rate
    table = timeline.predict_timeline(write_wav(tmp_path / "a.wav", tone(9, 16000), 16000), bundle)
    assert (table["end"] - table["start"]).max() == pytest.approx(seconds, abs=1e-4)
    assert np.diff(table["start"]).tolist() == pytest.approx([seconds / 2] * (len(table) - 1), abs=1e-3)
    assert table["end"].iloc[-1] == pytest.approx(9, abs=1e-3)


@pytest.mark.parametrize("rate", [8000, 24414, 44100])
def test_clip_between_silences_is_answered_as_it_is_alone(bundle, write_wav, tmp_path, rate):
    clip = tone(1.2, rate)
    alone = predict_emotion_from_file(write_wav(tmp_path / "alone.wav", clip, rate), bundle)
    recording = np.concatenate([quiet(4, rate), clip, quiet(4, rate)])
    path = write_wav(tmp_path / "long.wav", recording, rate)
    table = timeline.predict_timeline(path, bundle, window_seconds=2.5, hop_seconds=0.5, smooth=False)
    whole = table[(table["start"] <= 4) & (table["end"] >= 5.2)]
    assert len(whole) >= 2
    # resampling a long recording and a clip alone differs at the clip's ends
    for _, row in whole.iterrows():
        assert row["emotion"] == alone.emotion
        assert row["confidence"] == pytest.approx(alone.confidence, abs=0.1)
    apart = table[(table["end"] <= 4) | (table["start"] >= 5.2)]
    assert set(apart["state"]) == {"silence"} and set(apart["emotion"]) == {""}
    assert apart.filter(like="p_").isna().all(axis=None)


def test_what_is_far_below_the_loud_moments_is_silence(bundle, write_wav, tmp_path):
    rng = np.random.default_rng(0)
    hiss = (10 ** (-60 / 20) * rng.standard_normal(16000 * 4)).astype(np.float32)
    path = write_wav(tmp_path / "a.wav", np.concatenate([hiss, tone(4, 16000), hiss]), 16000, subtype="FLOAT")
    table = timeline.predict_timeline(path, bundle, window_seconds=2, hop_seconds=2)
    assert table["state"].tolist() == ["silence", "silence", "speech", "speech", "silence", "silence"]
    shares = timeline.summarize(table)
    assert shares.pop("silence") == pytest.approx(4 / 6)
    assert sum(shares.values()) == pytest.approx(1)


def test_blocks_do_not_change_a_number(bundle, write_wav, tmp_path, monkeypatch):
    path = write_wav(tmp_path / "a.wav", np.concatenate([tone(7, 44100), tone(5, 44100, 330)]), 44100)
    at_once = timeline.predict_timeline(path, bundle)
    monkeypatch.setattr(sound_file, "BLOCK", 10_000)
    monkeypatch.setattr(timeline, "_BATCH", 3)
    pd.testing.assert_frame_equal(timeline.predict_timeline(path, bundle), at_once, rtol=1e-3, atol=1e-4)


def test_smoothing_weighs_neighbours_of_speech_one_two_one():
    gap = [np.nan, np.nan]
    shares = np.array([[1.0, 0.0], [0.0, 1.0], [0.4, 0.6], gap, [0.5, 0.5]])
    by_hand = [[2 / 3, 1 / 3], [(1 + 0.4) / 4, (2 + 0.6) / 4], [0.8 / 3, (1 + 1.2) / 3], gap, [0.5, 0.5]]
    np.testing.assert_allclose(timeline._smooth(shares), by_hand)


def test_recording_shorter_than_a_window_is_one_window(bundle, write_wav, tmp_path):
    path = write_wav(tmp_path / "a.wav", tone(1, 16000), 16000)
    (row,) = timeline.predict_timeline(path, bundle).itertuples()
    assert (row.start, row.end) == (0, pytest.approx(1, abs=1e-3))
    assert row.emotion == predict_emotion_from_file(path, bundle).emotion


WINDOW = "a window must be at least 0.01 s long, and at most as long as what the model hears (2.95 s), not "
HOP = "a hop must be at least 0.01 s, and at most a window "


@pytest.mark.parametrize(
    ("window", "hop", "message"),
    [
        (0, None, f"{WINDOW}0 s"),
        (0, 0, f"{WINDOW}0 s"),
        (10, None, f"{WINDOW}10 s"),
        (-1, None, f"{WINDOW}-1 s"),
        (float("nan"), None, f"{WINDOW}nan s"),
        (1, 2, f"{HOP}(1 s), not 2 s"),
        (1, 0, f"{HOP}(1 s), not 0 s"),
        (None, 60, f"{HOP}(2.95 s), not 60 s"),
    ],
)
def test_windows_that_the_model_cannot_hear_are_refused(bundle, write_wav, tmp_path, window, hop, message):
    path = write_wav(tmp_path / "a.wav", tone(1, 16000), 16000)
    with pytest.raises(AudioError) as error:
        timeline.predict_timeline(path, bundle, window_seconds=window, hop_seconds=hop)
    assert str(error.value) == message


@pytest.mark.parametrize(("window", "samples"), [(0.01, (160, 160)), (0.015, (240, 160)), (1, (16000, 8000))])
def test_hop_is_half_a_window_and_never_below_its_limit(bundle, window, samples):
    assert timeline.window_and_hop(bundle, 16000, window, None) == samples


def test_windows_of_an_encoders_model_are_what_it_hears_and_has_learnt_from():
    learnt_from_six_corpora = load_bundle(REPO / "reports" / "voices_random_s0")
    longest = json.loads((REPO / "reports" / "voices_random_s0" / "bundle.json").read_text())["typical"]["seconds"][1]
    window, hop = timeline.window_and_hop(learnt_from_six_corpora, 16000, None, None)
    assert (window, hop) == (round(16000 * longest), round(8000 * longest)) and longest < 8
    assert timeline.window_and_hop(learnt_from_six_corpora, 16000, 8, None) == (128000, 64000)
    with pytest.raises(AudioError, match=r"\(8\.00 s\), not 8\.5 s"):
        timeline.window_and_hop(learnt_from_six_corpora, 16000, 8.5, None)


def test_bad_recordings_are_told(bundle, write_wav, tmp_path):
    silent = write_wav(tmp_path / "silent.wav", quiet(5, 16000), 16000)
    nan = write_wav(tmp_path / "nan.wav", np.array([0.1, np.nan] * 9000), 16000, subtype="FLOAT")
    (tmp_path / "text.wav").write_text("hello")
    reasons = {silent: "silent", nan: "NaN", tmp_path / "text.wav": "cannot be decoded", tmp_path / "no.wav": "no such"}
    for path, reason in reasons.items():
        with pytest.raises(AudioError, match=reason):
            timeline.predict_timeline(path, bundle)


def test_other_formats_go_the_same_way(bundle, tmp_path):
    from test_audio import encode

    signal = soxr.resample(np.concatenate([tone(3, 16000), quiet(2, 16000), tone(3, 16000)]), 16000, 48000)
    path = encode(tmp_path / "a.m4a", signal.astype(np.float32), 48000, "aac")
    table = timeline.predict_timeline(path, bundle)
    assert table["end"].iloc[-1] == pytest.approx(8, abs=0.1)


def test_command_prints_a_timeline_and_writes_it(root, write_wav, monkeypatch, capsys):
    path = write_wav(root / "a.wav", np.concatenate([tone(4, 16000), quiet(4, 16000)]), 16000)
    words = ["predict", str(path), "--run", str(RUN), "--window", "2", "--hop", "1"]
    status, out, err = call(monkeypatch, capsys, *words, "--csv", str(root / "t.csv"))
    assert (status, err) == (0, "")
    lines = out.splitlines()
    assert lines[0] == str(path) and lines[2].startswith("      0.00      2.00  ") and "silence" in lines[8]
    assert "Of all windows, " in lines[9] and "learnt from 2 speakers of TESS. " in lines[-1]
    table = pd.read_csv(root / "t.csv")
    assert list(table)[:6] == ["file", "start", "end", "state", "emotion", "confidence"]
    assert len(table) == 7 and set(table["model"]) == {str(RUN)}
    status, out, err = call(monkeypatch, capsys, *words, str(root / "gone.wav"), "--csv", "-")
    assert (status, err) == (1, f"error: {root / 'gone.wav'} cannot be used: there is no such file.\n")
    assert out.startswith("file,start,end,state,")


def test_command_takes_standard_input_and_draws(root, write_wav, monkeypatch, capsys):
    content = write_wav(root / "a.wav", np.concatenate([tone(4, 16000), quiet(4, 16000)]), 16000).read_bytes()
    words = ["--run", str(RUN), "--window", "2", "--plot", str(root / "t.png")]
    status, plain, _ = call(monkeypatch, capsys, "predict", str(root / "a.wav"), *words)
    assert status == 0 and (root / "t.png").read_bytes().startswith(b"\x89PNG")
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(content)))
    status, piped, err = call(monkeypatch, capsys, "predict", "-", *words)
    assert (status, err) == (0, "") and piped.startswith("standard input\n")
    assert piped.splitlines()[1:] == plain.splitlines()[1:]


def test_envelope_is_the_largest_amplitude_of_each_twentieth_of_a_second(write_wav, tmp_path):
    signal = np.zeros(16000)
    signal[4000], signal[12000] = -0.75, 0.5
    times, peaks = timeline.read_envelope(write_wav(tmp_path / "a.wav", signal, 16000))
    assert len(times) == len(peaks) == 20 and times[0] == 0.025
    assert dict(zip(times[peaks > 0].round(3), peaks[peaks > 0], strict=True)) == {0.275: 0.75, 0.775: 0.5}


def test_envelope_of_a_channel_is_of_that_alone(write_wav, tmp_path):
    signal = np.zeros((16000, 2))
    signal[4000, 0], signal[12000, 1] = 0.75, 0.5
    path = write_wav(tmp_path / "a.wav", signal, 16000)
    peaks = {one: timeline.read_envelope(path, one)[1] for one in (None, "left", "right")}
    assert {one: list(found[found > 0]) for one, found in peaks.items()} == {
        None: [0.375, 0.25], "left": [0.75], "right": [0.5],
    }  # fmt: skip


def test_windows_unlike_training_are_counted():
    table = pd.DataFrame(
        {"state": ["speech", "speech", "silence", "speech"], "emotion": ["sad", "sad", "", "angry"],
         "confidence": [0.9, 0.6, np.nan, 0.5], "unlike": ["band, sound", "sound", "", ""]}
    )  # fmt: skip
    assert timeline.summary_text(table) == (
        "Of 3 windows of speech: sad 67%, angry 33%. Of all windows, 25% are silence.\n"
        "Unlike what the model has learnt from are 2 windows of speech (sound 2, band 1)."
    )


def test_unsure_windows_count_for_no_emotion():
    table = pd.DataFrame(
        {"state": ["speech", "speech", "silence", "speech", "speech"], "emotion": ["sad", "sad", "", "angry", "sad"],
         "confidence": [0.9, 0.49, np.nan, 0.3, 0.4], "unlike": ""}
    )  # fmt: skip
    assert timeline.summarize(table) == {"sad": 1 / 4, "unsure": 3 / 4, "silence": 1 / 5}
    assert timeline.summarize(table, unsure_below=0.4) == {"sad": 3 / 4, "unsure": 1 / 4, "silence": 1 / 5}
    one = table[3:4]
    assert timeline.summary_text(one) == "Of 1 window of speech: unsure 100%. Of all windows, 0% are silence."


@pytest.mark.parametrize("names", [("bad", "good"), ("good", "bad"), ("bad",)])
def test_file_that_fails_has_a_row_with_the_error(root, write_wav, monkeypatch, capsys, names):
    write_wav(root / "good.wav", tone(4, 16000), 16000)
    (root / "bad.wav").write_text("hello")
    files = [str(root / f"{name}.wav") for name in names]
    words = ["predict", *files, "--run", str(RUN), "--window", "2", "--hop", "2", "--csv", str(root / "t.csv")]
    status, _, err = call(monkeypatch, capsys, *words)
    table = pd.read_csv(root / "t.csv", keep_default_na=False)
    assert status == 1 and list(dict.fromkeys(table["file"])) == files
    (bad,) = table[table["file"] == str(root / "bad.wav")].to_dict("records")
    assert f"error: {bad.pop('error')}\n" == err
    assert (bad.pop("file"), bad.pop("model")) == (str(root / "bad.wav"), str(RUN)) and set(bad.values()) == {""}
    assert set(table["error"][table["file"] != str(root / "bad.wav")]) <= {""}


@pytest.mark.parametrize("run", ["tess_robust_random_s0", "tess_random_s0"])
def test_recording_of_known_clips_has_their_emotions(tess, tmp_path, run):
    """Test clips of the run with silences between: windows that hold one whole say what the model says of it alone."""
    folder = REPO / "reports" / run
    bundle = load_bundle(folder)
    rate = bundle.info.settings.sampling_rate
    tested = pd.read_csv(folder / "test_predictions.csv.xz").groupby("true").head(2)
    files = {Path(name).stem.lower(): name for name in tess.names}
    parts, clips, at = [quiet(4, rate)], [], 4.0
    for row in tested.itertuples():
        speaker, text, _ = row.clip.removeprefix("TESS/").split("_")
        signal, own = soundfile.read(tess.file(files[f"{speaker}_{text}_{row.true}".lower()]), dtype="float32")
        assert own == rate
        seconds = len(signal) / rate
        clips.append(SimpleNamespace(start=at, end=at + seconds, true=row.true, predicted=row.predicted))
        parts += [signal, quiet(4, rate)]
        at += seconds + 4
    soundfile.write(tmp_path / "long.wav", np.concatenate(parts), rate)
    shown = {"fear": "fearful", "ps": "surprised"}
    table = timeline.predict_timeline(tmp_path / "long.wav", bundle, hop_seconds=0.25, smooth=False)
    checked = 0
    for clip in clips:
        whole = table[(table["start"] <= clip.start) & (table["end"] >= clip.end)]
        if clip.true == clip.predicted:
            assert set(whole["emotion"]) == {shown.get(clip.true, clip.true)}, clip
            checked += len(whole)
    assert checked > 20
