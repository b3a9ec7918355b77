"""What notebooks play, where somebody is there to listen, and which clips they choose for it."""

import io
import re
from base64 import b64decode

import numpy as np
import pandas as pd
import pytest
import soundfile

from ser_lib.store import RUN_VARIABLE
from ser_lib.stream import sound
from ser_lib.stream.examples import choose_contrast, closest_pair

TONE = np.sin(np.arange(800) / 9).astype(np.float32)


@pytest.fixture
def shown(monkeypatch):
    found = []
    monkeypatch.setattr(sound, "display", lambda one: found.append(one.data))
    return found


@pytest.fixture
def listener(monkeypatch):
    monkeypatch.delenv(RUN_VARIABLE, raising=False)
    monkeypatch.setenv("JPY_SESSION_NAME", "x.ipynb")


def sounds_of(page):
    return [soundfile.read(io.BytesIO(b64decode(one))) for one in re.findall(r'data:audio/wav;base64,([^"]+)"', page)]


def test_sounds_are_played_beside_their_names(listener, shown):
    sound.play({"<b>": (TONE, 8000), "quiet": (TONE / 10, 16000)})
    (page,) = shown
    assert "&lt;b&gt;" in page and "<b>" not in page
    (one, rate), (quiet, other_rate) = sounds_of(page)
    assert (rate, other_rate) == (8000, 16000)
    np.testing.assert_allclose(one, TONE / np.abs(TONE).max(), atol=1e-4)
    np.testing.assert_allclose(quiet, one, atol=1e-4)  # full volume


def test_files_are_played_and_a_missing_one_is_named(listener, shown, tmp_path, write_wav):
    sound.play_files({"mistake 1": write_wav(tmp_path / "a.wav", TONE, 8000), "mistake 2": tmp_path / "b.wav"})
    (page,) = shown
    assert len(sounds_of(page)) == 1
    assert "b.wav cannot be played: " in page


@pytest.mark.parametrize("place", ["headless", "run"])
def test_nothing_is_played_where_nobody_listens(monkeypatch, shown, place, tmp_path):
    monkeypatch.delenv("JPY_SESSION_NAME", raising=False)
    if place == "run":  # Colab's kernels are Colab's in a run, too
        monkeypatch.setitem(sound.sys.modules, "google.colab", None)
        assert sound.is_interactive()
        monkeypatch.setenv(RUN_VARIABLE, str(tmp_path / "params.json"))
    sound.play({"tone": (TONE, 8000)})
    sound.play_files({"file": tmp_path / "a.wav"})
    assert shown == []


def table(*rows):
    return pd.DataFrame([dict(zip(("emotion", "speaker", "text"), row.split("/"), strict=True)) for row in rows])


@pytest.mark.parametrize(
    ("rows", "chosen"),
    [
        (["angry/a/x", "neutral/b/x", "angry/b/y", "neutral/a/y", "neutral/b/y"], [4, 2]),  # one voice and one text
        (["angry/a/x", "neutral/b/y", "neutral/a/z"], [2, 0]),  # one voice
        (["angry/a/x", "neutral/b/y", "neutral/b/x"], [2, 0]),  # one text
        (["angry//", "neutral//"], [1, 0]),  # what is unknown is not the same
        (["sad/a/x", "happy/b/x", "happy/a/x"], [2, 0]),  # of other emotions, the first two
    ],
)
def test_clips_beside_each_other_differ_in_emotion_and_in_little_else(rows, chosen):
    assert choose_contrast(table(*rows)).index.tolist() == chosen


def test_unknown_texts_do_not_make_a_pair():
    ones, others = table("sad//", "sad/a/"), table("sad//", "sad/a/x")
    assert closest_pair(ones, others).index.tolist() == [1, 1]
    assert closest_pair(ones, others[:0]).index.tolist() == [0]
