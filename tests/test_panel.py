"""Buttons in 05_predict: shown where somebody can press them, and what they do."""

import io
import sys
import threading
from datetime import UTC, datetime
from types import SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
import pytest
import soundfile
from IPython.display import Image
from PIL import Image as Picture
from test_project import REPO

from ser_lib.model.bundle import load_bundle
from ser_lib.params import make_params
from ser_lib.stream import panel

RATE = 24414


@pytest.fixture(scope="module")
def bundle():
    return load_bundle(REPO / "reports" / "demo")


@pytest.fixture
def displayed(monkeypatch):
    """What is displayed, with the thread that does it."""
    found = []
    monkeypatch.setattr(panel, "display", lambda shown: found.append((threading.current_thread().name, shown)))
    return found


@pytest.fixture
def box(root, bundle, monkeypatch, displayed):
    monkeypatch.setenv("JPY_SESSION_NAME", "05_predict.ipynb")
    return panel.show_panel(bundle, make_params({}))


def parts(box):
    (path, go), (upload, recorder), output = box.children[0].children, box.children[1].children, box.children[-1]
    return SimpleNamespace(path=path, go=go, upload=upload, recorder=recorder, output=output)


def wav(seconds=1.0):
    t = np.arange(round(seconds * RATE)) / RATE
    stream = io.BytesIO()
    soundfile.write(stream, 0.3 * np.sin(2 * np.pi * 200 * t * (1 + 0.1 * np.sin(9 * t))), RATE, format="WAV")
    return stream.getvalue()


def said(capsys):
    """Lines of what is shown, without the sign that clears what was there before."""
    return capsys.readouterr().out.replace("\x1b[2K\r", "").splitlines()


def uploaded(name, content):
    """What the browser sends for one file."""
    when = datetime.now(UTC)
    return ({"name": name, "type": "", "size": len(content), "content": memoryview(content), "last_modified": when},)


def test_headless_shows_nothing(bundle, monkeypatch, root, capsys):
    monkeypatch.delenv("JPY_SESSION_NAME", raising=False)
    monkeypatch.setattr(panel, "widgets", None)
    monkeypatch.setattr(panel, "display", None)
    assert panel.show_panel(bundle, make_params({})) is None
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("place", ["jupyter", "colab", "vs code"])
def test_somebody_can_press_buttons(monkeypatch, place):
    monkeypatch.delenv("JPY_SESSION_NAME", raising=False)
    assert not panel.is_interactive()
    if place == "jupyter":
        monkeypatch.setenv("JPY_SESSION_NAME", "x.ipynb")
    elif place == "colab":
        monkeypatch.setitem(sys.modules, "google.colab", SimpleNamespace())
    else:
        shell = SimpleNamespace(user_ns={"__vsc_ipynb_file__": "x.ipynb"})
        monkeypatch.setattr("IPython.get_ipython", lambda: shell)
    assert panel.is_interactive()


def test_upload_and_recording_are_answered_as_their_file(box, bundle, tmp_path, capsys):
    (tmp_path / "mine.wav").write_bytes(wav())
    expected = bundle.predict(*soundfile.read(tmp_path / "mine.wav", dtype="float32"))
    first = f"mine.wav: {expected.headline} ({expected.confidence:.1%})"
    part = parts(box)
    part.upload.value = uploaded("mine.wav", wav())
    assert said(capsys)[0] == first
    part.recorder.set_state({"recording": memoryview(wav())})  # as the browser sends it
    assert said(capsys)[0] == first.replace("mine.wav", "recording")
    part.path.value = str(tmp_path / "mine.wav")
    part.go.click()
    assert said(capsys)[0] == first


def pixels_of(shown):
    return np.asarray(Picture.open(io.BytesIO(shown.data)).convert("L"))


@pytest.mark.parametrize(("seconds", "pictures"), [(1.0, 4), (8, 1)])
def test_pictures_are_drawn_without_what_other_threads_share(bundle, displayed, tmp_path, seconds, pictures):
    (tmp_path / "mine.wav").write_bytes(wav(seconds))
    plt.close("all")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plt, "figure", None)  # pyplot would have to make one
        panel.show_answer(tmp_path / "mine.wav", bundle)
    assert plt.get_fignums() == []
    shown = [one for _, one in displayed if isinstance(one, Image)]
    assert len(shown) == pictures
    assert all(pixels_of(one).std() > 10 for one in shown)  # none is blank


def test_presses_at_once_are_answered_one_after_the_other(box, tmp_path, displayed, capsys):
    """JupyterLab hands each message of a widget to a thread of its own."""
    (tmp_path / "mine.wav").write_bytes(wav())
    part = parts(box)
    part.path.value = str(tmp_path / "mine.wav")
    displayed.clear()
    presses = [threading.Thread(target=part.go.click, name=f"press {number}") for number in range(3)]
    for press in presses:
        press.start()
    for press in presses:
        press.join()
    names = [name for name, _ in displayed]
    assert len(names) == 3 * 5  # sound and four pictures
    assert [names[5 * number] for number in range(3) for _ in range(5)] == names
    assert set(names) == {press.name for press in presses}


def test_long_recording_has_a_timeline(box, capsys):
    parts(box).recorder.recording = wav(8)
    assert said(capsys)[0].startswith("Of 10 windows of speech: ")


@pytest.mark.parametrize("content", [b"", b"no sound at all"])
def test_what_is_no_audio_is_one_line(box, capsys, content):
    parts(box).upload.value = uploaded("../a\nb.wav", content)
    (line,) = said(capsys)
    assert line.startswith("a\\nb.wav cannot be used: ")
