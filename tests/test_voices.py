"""Enrolled voices: `ser enrol`, and `ser predict --speaker`."""

import json
import re
import shutil
from dataclasses import replace

import numpy as np
import pytest
from test_project import REPO
from test_records import call

from ser_lib._cli.common import load_speaker
from ser_lib.audio.normalize import Statistics
from ser_lib.audio.signal import load_audio
from ser_lib.core.errors import BundleError, ParameterError
from ser_lib.model.bundle import load_bundle
from ser_lib.model.enrolment import gather_clips, hear_clip
from ser_lib.model.enrolment import measure_voice as measure_clips
from ser_lib.model.voices import Voice, save_voice, with_voice

RATE = 24414


@pytest.fixture(scope="module")
def bundle():
    return load_bundle(REPO / "reports" / "demo")


@pytest.fixture(scope="module")
def clips(demo_folder):
    return [load_audio(file) for file in sorted(demo_folder.glob("*/ESB_*.wav"))[:24]]


def measure_voice(clips, bundle):
    return measure_clips(gather_clips(hear_clip(*clip, bundle) for clip in clips), bundle)


def saved(name, statistics, bundle):
    sha256 = bundle.info.onnx_sha256
    return save_voice(Voice(name=name, onnx_sha256=sha256, n_clips=20, statistics=statistics))


def frames_of(bundle, clips):
    found = []
    for signal, rate in clips:
        features, measures = bundle.extract_features(signal, rate)
        found.append(features[: bundle.info.settings.sound_frames(measures.n_trimmed)].astype(np.float64))
    return np.concatenate(found)


def test_statistics_are_those_of_all_frames_with_sound(bundle, clips):
    frames = frames_of(bundle, clips)
    voice = measure_voice(clips, bundle)
    np.testing.assert_allclose(voice.mean, frames.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(voice.std, frames.std(axis=0), rtol=1e-5)


def test_an_enrolled_voice_comes_to_the_scale_of_the_training_clips(bundle, clips):
    enrolled = replace(bundle, voice=measure_voice(clips, bundle))
    frames, expected = frames_of(enrolled, clips), bundle.info.novelty.statistics
    np.testing.assert_allclose(frames.mean(axis=0), expected.mean, atol=1e-3, rtol=1e-4)
    np.testing.assert_allclose(frames.std(axis=0), expected.std, rtol=1e-4)


def test_padding_is_that_of_any_clip(bundle, clips):
    signal, rate = clips[0]
    enrolled = replace(bundle, voice=measure_voice(clips, bundle))
    (plain, measures), (scaled, _) = bundle.extract_features(signal, rate), enrolled.extract_features(signal, rate)
    n_sound = bundle.info.settings.sound_frames(measures.n_trimmed)
    assert n_sound < len(plain)
    np.testing.assert_array_equal(scaled[n_sound:], plain[n_sound:])
    assert (scaled[:n_sound] != plain[:n_sound]).any()


def test_model_that_takes_speakers_out_takes_out_an_enrolled_one(bundle, clips):
    known = {"ESA": Statistics(mean=[0.0] * 15, std=[1.0] * 15)}
    settings = bundle.info.settings.model_copy(update={"normalize_per_speaker": True})
    normalising = replace(bundle, info=bundle.info.model_copy(update={"speakers": known, "settings": settings}))
    frames = frames_of(replace(normalising, voice=measure_voice(clips, normalising)), clips)
    np.testing.assert_allclose(frames.mean(axis=0), 0, atol=1e-4)
    np.testing.assert_allclose(frames.std(axis=0), 1, rtol=1e-4)
    told = load_speaker(normalising, "ESA")[1:]
    assert told == ("ESA", "Normalised as ESA, whose voice the model has learnt from.\n")


@pytest.fixture
def enrolling(root, demo_folder):
    shutil.copytree(REPO / "reports" / "demo", root / "reports" / "one", ignore=shutil.ignore_patterns("*.ipynb"))
    (root / "me").mkdir()
    for file in sorted(demo_folder.glob("*/ESB_*.wav"))[:22]:
        shutil.copy(file, root / "me")
    return root


def test_enrolled_speaker_is_predicted_as_the_voice_says(enrolling, monkeypatch, capsys, bundle):
    file = next((enrolling / "me").iterdir())
    (enrolling / "me" / "empty.wav").touch()
    status, out, err = call(monkeypatch, capsys, "enrol", str(enrolling / "me"), "--run", "one")
    assert status == 0 and err.startswith("warning: this model has learnt from synthetic voices")
    left_out, told, where = out.splitlines()
    assert left_out == "empty.wav is left out: the file is empty."
    assert told == "me is enrolled with 22 clips: ser predict FILE --speaker me --run one"
    assert where.startswith("data/voices/me/")
    expected = with_voice(bundle, "me").predict(*load_audio(file))
    assert expected.probabilities != bundle.predict(*load_audio(file)).probabilities
    options = ["--run", "one", "--speaker", "me", "--json", "-"]
    status, out, _ = call(monkeypatch, capsys, "predict", str(file), *options)
    assert status == 0 and json.loads(out)[0]["probabilities"] == expected.probabilities
    status, out, _ = call(monkeypatch, capsys, "predict", str(file), "--run", "one", "--speaker", "me", "--hop", "0.5")
    assert status == 0 and re.search(r"^Of \d+ windows? of speech: ", out, re.MULTILINE)


def test_missing_folder_is_told_as_that(enrolling, monkeypatch, capsys):
    status, out, err = call(monkeypatch, capsys, "enrol", "none", "--run", "one")
    said = [line for line in err.splitlines() if not line.startswith("warning")]
    assert (status, out) == (1, "")
    assert said == [
        "error: A voice is learnt from a folder of clips. There is no none: name the folder that has yours."
    ]
    assert not (enrolling / "data" / "voices").exists()


def test_too_few_clips_are_refused(enrolling, monkeypatch, capsys):
    for file in sorted((enrolling / "me").iterdir())[:3]:
        file.write_bytes(b"")
    with pytest.raises(ParameterError, match=r"at least 20 clips\. .*me has 19 that can be used\. .*the file is empty"):
        from ser_lib._cli.enrol import enrol

        enrol(str(enrolling / "me"), run="one")
    assert not (enrolling / "data").exists()


def test_speaker_who_is_not_enrolled_is_one_line(enrolling, bundle, monkeypatch, capsys):
    saved("her", Statistics(mean=[0.0] * 15, std=[1.0] * 15), bundle)
    with pytest.raises(
        BundleError, match=r"ser enrol FOLDER --name me, with the same --run\. Enrolled for it are her\. Got me\."
    ):
        with_voice(bundle, "me")
    with pytest.raises(ParameterError, match=r"must be at most 100 of the letters.* Got '\.\./x'"):
        with_voice(bundle, "../x")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", "is damaged"),
        (b'{"name": "her", "onnx_sha256": "", "n_clips": 20, "statistics": {"mean": [1], "deviation": [1]}}', "fit"),
    ],
)
def test_damaged_voice_is_one_line(root, bundle, content, message):
    path = saved("her", Statistics(mean=[0.0] * 15, std=[1.0] * 15), bundle)
    path.write_bytes(content)
    with pytest.raises(BundleError, match=message):
        with_voice(bundle, "her")


@pytest.mark.parametrize("deviation", [0.0, -1.0, float("nan"), float("inf")])
def test_voice_of_no_deviation_is_refused(root, bundle, deviation):
    saved("her", Statistics(mean=[0.0] * 15, std=[deviation] * 15), bundle)
    with pytest.raises(BundleError, match=r"does not fit|is damaged"):
        with_voice(bundle, "her")
