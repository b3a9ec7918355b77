"""The page of `ser demo`: what it answers, and in a browser, with Chromium's stand-in for a microphone."""

import base64
import gc
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.request
import warnings
from contextlib import contextmanager
from types import SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
import pytest
import soundfile
from test_enrolment import RATE, hearing, sine
from test_project import REPO
from test_records import call
from test_runs import SER

from ser_lib._cli import demo as command
from ser_lib.core.errors import AudioError, BundleError
from ser_lib.model.bundle import load_bundle
from ser_lib.model.voices import enrolled_voices
from ser_lib.stream import inline
from ser_lib.stream.explained import explain_file
from ser_lib.stream.sound import is_interactive
from ser_lib.stream.teach import new_lesson
from ser_lib.stream.visit import Desk, tell

SAID = (195, 205, 395, 405, 295, 305)


@pytest.fixture(scope="module")
def demo():
    return load_bundle(REPO / "reports" / "demo")


@pytest.fixture
def wav(tmp_path):
    def write(name="mine.wav", seconds=1.0):
        t = np.arange(round(seconds * RATE)) / RATE
        soundfile.write(tmp_path / name, 0.3 * np.sin(2 * np.pi * 200 * t * (1 + 0.1 * np.sin(9 * t))), RATE)
        return tmp_path / name

    return write


def plain(text):
    """HTML as lines of text."""
    return [line for line in re.sub(r"<[^>]+>", "\n", text).split("\n") if line]


def test_file_is_answered_as_by_the_bundle_with_pictures(demo, wav):
    expected = demo.predict(*soundfile.read(wav(), dtype="float32"))
    plt.close("all")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plt, "figure", None)  # threads would share pyplot's figures
        found = explain_file(wav(), demo)
    assert found.headline == f"{expected.headline} ({expected.confidence:.0%})"
    assert found.probabilities == expected.probabilities
    assert [one for one in found.lines if one.startswith("Unlike")] and expected.novelty[0] in found.lines[0]
    waveform, evidence = found.pictures.values()
    assert len(waveform.axes[0].patches) == 2  # what is trimmed off at both ends
    assert f"evidence for {expected.emotion}" in list(found.pictures)[1] and len(evidence.axes) == 4


def test_confidence_below_the_threshold_is_unsure(demo, wav):
    assert explain_file(wav(), demo, unsure_below=1.0).headline.startswith("unsure, perhaps ")


def test_long_recording_has_a_timeline_and_tells_how_far_it_is(demo, wav):
    heard = []
    found = explain_file(wav(seconds=8), demo, on_progress=heard.append)
    assert found.lines[0].startswith("Of 10 windows of speech: ") and found.probabilities == {}
    (figure,) = found.pictures.values()
    assert figure.axes[1].get_xlabel().startswith("time (s)")
    assert heard == sorted(heard) and heard[-1] == 1


@pytest.mark.parametrize("content", [b"", b"no sound at all"])
def test_what_is_no_audio_is_one_line(demo, tmp_path, content):
    desk = Desk({"demo": lambda: (demo, "")}, keep_voices=True)
    (tmp_path / "<b>a\nb.wav").write_bytes(content)
    told, probabilities, pictures = desk.answer("demo", "", [], str(tmp_path / "<b>a\nb.wav"))
    assert plain(told)[0].startswith("&lt;b&gt;a\\nb.wav cannot be used: ") and len(plain(told)) == 1
    assert (probabilities, pictures) == ({}, "")
    assert plain(desk.answer("demo", "", [], str(tmp_path / "none.wav"))[0]) == [
        "none.wav cannot be used: there is no such file."
    ]


def test_text_cannot_be_html():
    assert tell("<script>", headline="<b>") == (
        "<div role='status'><p class='headline'>&lt;b&gt;</p><p>&lt;script&gt;</p></div>"
    )


def learn(desk, tmp_path, name="me"):
    lesson = new_lesson(desk.bundle("one"))
    for hz in SAID:
        soundfile.write(tmp_path / "said.wav", sine(hz), RATE)
        assert plain(desk.hear("one", lesson, str(tmp_path / "said.wav")))[0].startswith("Heard, 0.5 s.")
        lesson.go_on()
    return desk.learn("one", lesson, name)


def test_voice_is_kept_as_by_ser_enrol_and_answers_tell_it(root, tmp_path):
    bundle = hearing()
    desk = Desk({"one": lambda: (bundle, "limits")}, keep_voices=True)
    voice, told = learn(desk, tmp_path)
    assert enrolled_voices(bundle) == desk.voices("one", []) == ["me"]
    lines = plain(told)
    counts = voice.gained
    assert f"{counts.before} of 6" in lines and f"{counts.labels} of 6" in lines
    assert any(line.startswith("data/voices/me/") and "no sound" in line for line in lines)
    soundfile.write(tmp_path / "400.wav", sine(400), RATE)
    adapted, _, _ = desk.answer("one", "me", [], str(tmp_path / "400.wav"))
    assert plain(adapted)[0].startswith("happy (") and plain(adapted)[-1] == "Adapted to me, from 6 labelled clips."
    assert not plain(desk.answer("one", "", [], str(tmp_path / "400.wav"))[0])[0].startswith("happy (")


def test_desk_waits_for_what_it_computes_and_says_what_cannot_be_opened(demo, monkeypatch):
    begun, going_on = threading.Event(), threading.Event()

    def wait(*_, **__):
        begun.set()
        going_on.wait()
        raise AudioError("x cannot be used.")

    def open_none():
        raise BundleError("It is\ndamaged.")

    monkeypatch.setattr("ser_lib.stream.visit.explain_file", wait)
    desk = Desk({"demo": lambda: (demo, ""), "none": open_none}, keep_voices=True)
    assert desk.limits("none") == "It is\\ndamaged."
    answering = threading.Thread(target=desk.answer, args=("demo", "", [], "x"))
    answering.start()
    begun.wait()
    started = time.monotonic()
    desk.end(0.05)
    assert time.monotonic() - started >= 0.05 and answering.is_alive()
    going_on.set()
    desk.end(60)
    answering.join(10)
    assert not answering.is_alive()


def test_on_a_page_for_others_a_voice_is_the_visitors_alone(root, tmp_path):
    bundle = hearing()
    desk = Desk({"one": lambda: (bundle, "limits")}, keep_voices=False)
    voice, told = learn(desk, tmp_path)
    assert "forgotten when you leave" in told
    assert enrolled_voices(bundle) == [] and not (root / "data").exists()
    assert desk.voices("one", [voice]) == ["me"] and desk.voices("one", []) == []
    soundfile.write(tmp_path / "400.wav", sine(400), RATE)
    assert plain(desk.answer("one", "me", [voice], str(tmp_path / "400.wav"))[0])[0].startswith("happy (")


def test_recording_that_is_none_is_said_and_not_heard(root, tmp_path):
    desk = Desk({"one": lambda: (hearing(), "")}, keep_voices=True)
    (tmp_path / "said.wav").write_bytes(b"no sound")
    lesson = desk.lesson("one")
    assert plain(desk.hear("one", lesson, str(tmp_path / "said.wav"))) == [
        "This recording cannot be used: the file cannot be decoded as audio. Record it again."
    ]
    assert lesson.heard == {}


@pytest.mark.parametrize("place", ["jupyter", "colab", "vs code"])
def test_somebody_can_use_a_page(monkeypatch, place):
    monkeypatch.delenv("JPY_SESSION_NAME", raising=False)
    assert not is_interactive()
    if place == "jupyter":
        monkeypatch.setenv("JPY_SESSION_NAME", "x.ipynb")
    elif place == "colab":
        monkeypatch.setitem(sys.modules, "google.colab", SimpleNamespace())
    else:
        shell = SimpleNamespace(user_ns={"__vsc_ipynb_file__": "x.ipynb"})
        monkeypatch.setattr("IPython.get_ipython", lambda: shell)
    assert is_interactive()


def test_headless_and_without_gradio_a_notebook_gets_a_sentence(demo, monkeypatch, capsys):
    monkeypatch.delenv("JPY_SESSION_NAME", raising=False)
    monkeypatch.setitem(sys.modules, "gradio", None)
    monkeypatch.delitem(sys.modules, "ser_lib.stream.page", raising=False)
    assert inline.show_page(demo, "") is None
    assert capsys.readouterr().out == f"{inline.HEADLESS}\n"
    monkeypatch.setenv("JPY_SESSION_NAME", "05_predict.ipynb")
    assert inline.show_page(demo, "") is None
    assert capsys.readouterr().out.endswith("gradio is not installed. pip install 'ser_lib[demo]'\n")


DROP = """
([content, name]) => {
    const bytes = Uint8Array.from(atob(content), (letter) => letter.charCodeAt(0));
    const dropped = new DataTransfer();
    dropped.items.add(new File([bytes], name, {type: "audio/wav"}));
    return dropped;
}
"""


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    """Chromium whose microphone plays a file."""
    api = pytest.importorskip("playwright.sync_api", reason="no Playwright: it is among the tools of development")
    played = tmp_path_factory.mktemp("microphone") / "voice.wav"
    t = np.arange(3 * RATE) / RATE
    soundfile.write(played, 0.3 * np.sin(2 * np.pi * 200 * t) * (1 + np.sin(20 * t)) / 2, RATE)
    options = ("use-fake-ui-for-media-stream", "use-fake-device-for-media-stream", "no-sandbox")
    arguments = [*(f"--{option}" for option in options), f"--use-file-for-fake-audio-capture={played}"]
    with api.sync_playwright() as playwright:
        try:
            own = shutil.which("chromium")  # the system's, or Playwright's
            browser = playwright.chromium.launch(executable_path=own, args=arguments)
        except api.Error as error:
            pytest.skip(f"no Chromium, which `playwright install chromium` brings: {str(error).splitlines()[0]}")
        yield browser
        browser.close()


@pytest.fixture
def served(root):
    """Address of a page with the stand-in and a model that takes no labels, which this process serves."""
    with warnings_of_others():
        from ser_lib.stream.page import make_page, serve, stop

        models = {"one": lambda: (hearing(), "It has heard sines."), "demo": lambda: (demo_bundle(), "Of the demo.")}
        page = make_page(models, keep_voices=True)
        yield serve(page)
        stop(page)
        del page, models
        gc.collect()  # what Gradio leaves open is closed here, where its warnings are not heard


@pytest.fixture
def refused_by_gradio(monkeypatch):
    """Gradio finds that its own server is not there, as on a machine that is too busy to answer within 3 s."""
    pytest.importorskip("gradio")
    with warnings_of_others():
        from gradio import networking

    monkeypatch.setattr(networking, "url_ok", lambda url: False)


@pytest.mark.filterwarnings("ignore")
def test_page_of_a_busy_machine_is_served_and_not_public(loopback, refused_by_gradio, served):
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(served) as answered:
        assert answered.status == 200 and b"Which emotion does the model hear?" in answered.read()
    assert served.startswith("http://127.0.0.1:")


@contextmanager
def warnings_of_others():
    """What Gradio and its server bring of warnings is not this project's."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def demo_bundle():
    return load_bundle(REPO / "reports" / "demo")


def drop(page, content):
    """Drop a file on the first field for sound, as from a file manager."""
    dropped = page.evaluate_handle(DROP, [base64.b64encode(content).decode(), "dropped.wav"])
    page.get_by_label("Drop an audio file here to upload").first.dispatch_event("drop", {"dataTransfer": dropped})


def record(page, sound, seconds=1.5):
    sound.get_by_role("button", name="Record", exact=True).click()
    page.wait_for_timeout(1000 * seconds)
    sound.get_by_role("button", name="Stop", exact=True).click()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("width", [400, 1400])
def test_page_in_a_browser(served, chromium, tmp_path, width):
    bundle = hearing()
    context = chromium.new_context(viewport={"width": width, "height": 900}, permissions=["microphone"])
    page, asked, failed = context.new_page(), set(), []
    page.on("request", lambda request: asked.add(request.url))
    page.on("pageerror", lambda error: failed.append(str(error)))
    page.goto(served)
    page.get_by_text("It has heard sines.").wait_for(timeout=60000)
    told = page.locator(".told").first
    headline = page.locator(".told .headline").first

    soundfile.write(tmp_path / "400.wav", sine(400), RATE)
    content = (tmp_path / "400.wav").read_bytes()
    expected = bundle.predict(*soundfile.read(tmp_path / "400.wav", dtype="float32"))
    assert expected.emotion == "sad"
    drop(page, content)
    headline.wait_for(timeout=60000)
    assert headline.inner_text() == f"{expected.headline} ({expected.confidence:.0%})"
    assert page.locator(".shown img").count() == 2
    page.screenshot(path=tmp_path / f"dropped-{width}.png", full_page=True)

    page.get_by_label("Clear").first.click()
    headline.wait_for(state="detached")
    page.get_by_label("Record audio").first.click()
    record(page, page)
    headline.wait_for(timeout=60000)

    page.get_by_role("tab", name="Teach it your voice").click()
    lesson = page.get_by_role("tabpanel").last
    for number, hz in enumerate(SAID, 1):
        lesson.get_by_text(f"Sentence {number} of 6").wait_for()
        if number == 1:
            record(page, lesson)
        else:
            if number == 2:
                lesson.get_by_label("Upload file").click()
            soundfile.write(tmp_path / "said.wav", sine(hz), RATE)
            lesson.locator("input[type=file]").set_input_files(tmp_path / "said.wav")
        lesson.get_by_text("Heard, ").wait_for()
        lesson.get_by_role("button", name="Learn my voice" if number == 6 else "Next").click()
    lesson.get_by_text("Right of your 6 labelled clips").wait_for()
    page.screenshot(path=tmp_path / f"taught-{width}.png", full_page=True)
    assert enrolled_voices(bundle) == ["me"]
    page.get_by_role("tab", name="Try it").click()
    told.get_by_text("Adapted to me, from").wait_for()
    page.screenshot(path=tmp_path / f"adapted-{width}.png", full_page=True)

    page.get_by_label("Model").click()
    page.get_by_role("option", name="demo").click()
    page.get_by_text("Of the demo.").wait_for()
    page.get_by_role("tab", name="Teach it your voice").click()
    page.get_by_text("cannot be taught a voice").wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert failed == []
    assert {url for url in asked if not url.startswith((served, "blob:", "data:"))} == set()
    context.close()


@pytest.mark.slow
def test_command_serves_the_page_until_it_is_interrupted(tmp_path, monkeypatch):
    environment = os.environ | {"SER_ROOT": str(REPO), "TMPDIR": str(tmp_path)}
    command = [*SER, "demo", "--run", "demo", "--no-browser"]
    with subprocess.Popen(command, env=environment, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as process:
        line = process.stdout.readline()
        try:
            with urllib.request.urlopen(re.search(r"http://127\.0\.0\.1:\d+/", line)[0]) as answered:
                page, policy = answered.read(), answered.headers["Content-Security-Policy"]
        finally:
            process.send_signal(signal.SIGINT)
    assert line.endswith("Nothing leaves this machine.\n") and process.returncode == 0
    assert b"Which emotion does the model hear?" in page and policy.startswith("default-src 'self' ")
    assert [path for path in tmp_path.iterdir() if path.name.startswith("ser_lib-")] == []


def test_command_warns_where_others_are_let_in_and_keeps_no_voices(root, monkeypatch, capsys):
    made = {}
    page = SimpleNamespace(
        make_page=lambda models, **options: made.update(models=[*models], **options),
        serve=lambda page, **options: made.update(options) or "http://0.0.0.0:8000/",
        stop=lambda page: made.update(stopped=True),
    )
    monkeypatch.setitem(sys.modules, "ser_lib.stream.page", page)
    monkeypatch.setattr(command, "check_extras", lambda *names: None)
    monkeypatch.setattr(command.threading, "Event", lambda: SimpleNamespace(wait=interrupted))
    for record in ("demo", "tess_robust_random_s0"):
        shutil.copytree(REPO / "reports" / record, root / "reports" / record)
    listed = {"models": [{"run": "demo"}, {"run": "tess_robust_random_s0", "about": "robust"}, {"run": "gone"}]}
    (root / "reports" / "models.json").write_text(json.dumps(listed))
    code, out, err = call(monkeypatch, capsys, "demo", "--host", "0.0.0.0", "--port", "8000")
    assert code == 0 and out == "The page is at http://0.0.0.0:8000/ until Ctrl-C.\n"
    assert err.startswith("warning: whoever reaches 0.0.0.0 ") and "not kept" in err
    assert made == {
        "models": ["demo", "tess_robust_random_s0: robust"], "keep_voices": False, "stopped": True,
        "host": "0.0.0.0", "port": 8000,
    }  # fmt: skip
    code, out, err = call(monkeypatch, capsys, "demo", "--host", "127.0.0.1", "--no-browser", "--run", "nothing")
    assert code == 1 and err.count("\n") == 1


def interrupted():
    raise KeyboardInterrupt
