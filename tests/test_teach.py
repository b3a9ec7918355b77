"""The panel of 05_predict that teaches a model a voice, with the stand-in of test_enrolment.py."""

import io
from dataclasses import replace
from types import SimpleNamespace

import pytest
import soundfile
from test_enrolment import RATE, hearing, sine

from ser_lib.model.enrolment import gather_clips, hear_clip, learn_voice
from ser_lib.model.voices import read_voice
from ser_lib.stream import panel as panels
from ser_lib.stream import teach


@pytest.fixture(scope="module")
def bundle():
    return hearing()


@pytest.fixture
def shown(root, bundle, monkeypatch):
    monkeypatch.setenv("JPY_SESSION_NAME", "05_predict.ipynb")
    for module in (panels, teach):
        monkeypatch.setattr(module, "display", lambda what: None)
    monkeypatch.setattr(panels, "tested_files", lambda params: [])
    panel = panels.show_panel(bundle, SimpleNamespace())
    return panel, teach.show_teacher(bundle, panel)


def wav(hz):
    stream = io.BytesIO()
    soundfile.write(stream, sine(hz), RATE, format="WAV")
    return stream.getvalue()


def test_panel_teaches_what_the_folder_would(shown, bundle, capsys):
    panel, teacher = shown
    assert teacher.task.value.startswith("1 of 6, neutral: “") and teacher.next.disabled
    for hz in (195, 205, 395, 405, 295, 305):
        teacher.recorder.recording = wav(hz)
        assert not teacher.next.disabled
        teacher.next.click()
    out = capsys.readouterr().out
    assert "Right of your 6 labelled clips" in out and "Adapted to me, from 6 labelled clips." in out
    heard = gather_clips(
        [hear_clip(sine(hz), RATE, bundle) for hz in (195, 205, 395, 405, 295, 305)], [0, 0, 1, 1, 2, 2]
    )
    expected = learn_voice("me", heard, bundle)
    assert read_voice("me", bundle).statistics.mean == pytest.approx(expected.statistics.mean, rel=1e-3)
    adapted, told = panel.adapted()  # the new voice is chosen
    assert told == "Adapted to me, from 6 labelled clips." and adapted.predict(sine(400), RATE).emotion == "happy"


def test_panel_goes_on_after_what_is_skipped_or_no_sound(shown, capsys):
    _, teacher = shown
    teacher.recorder.recording = b"no sound"
    assert "This cannot be used: " in capsys.readouterr().out and teacher.next.disabled
    for _ in range(6):
        teacher.skip.click()
    assert "Nothing was recorded." in capsys.readouterr().out
    assert teacher.task.value.startswith("1 of 6")


def test_headless_and_other_models_get_a_sentence(root, bundle, monkeypatch, capsys):
    monkeypatch.delenv("JPY_SESSION_NAME", raising=False)
    assert teach.show_teacher(bundle, None) is None
    assert capsys.readouterr().out == f"{teach.HEADLESS}\n"
    monkeypatch.setenv("JPY_SESSION_NAME", "05_predict.ipynb")
    monkeypatch.setattr(panels, "display", lambda what: None)
    monkeypatch.setattr(panels, "tested_files", lambda params: [])
    plain = replace(bundle, info=bundle.info.model_copy(update={"population": None}))
    assert teach.show_teacher(plain, panels.show_panel(plain, SimpleNamespace())) is None
    assert capsys.readouterr().out == f"{teach.NOT_THIS_MODEL}\n"
