"""Buttons in a notebook: choose, upload or record a file, hear it, and see what the model makes of it.

They are shown where somebody can press them. A notebook that runs headless shows nothing of them, so that a record
holds neither widgets nor sound.
"""

import io
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import anywidget
import ipywidgets as widgets
import numpy as np
import traitlets
from IPython.display import Audio, Image, clear_output, display
from matplotlib.figure import Figure

from ser_lib import plots
from ser_lib.audio.signal import load_recording, prepare_signal, trim_bounds
from ser_lib.core.errors import SerError, StageError
from ser_lib.core.io import write_temporary
from ser_lib.core.paths import locate
from ser_lib.core.text import printable
from ser_lib.model.bundle import Bundle
from ser_lib.model.explain import explain_answer
from ser_lib.model.prediction import UNSURE_BELOW
from ser_lib.model.voices import adapt_bundle, enrolled_voices, read_voice
from ser_lib.params import Params
from ser_lib.stream.examples import tested_files
from ser_lib.stream.sound import is_interactive
from ser_lib.stream.timeline import predict_timeline, read_envelope, summary_text

_LONG = 2.0
"""Times the length that the model hears from which on a recording gets a timeline."""
_LONGEST_PLAYED = 600
"""Seconds of sound that a page is given to play."""


class Recorder(anywidget.AnyWidget):
    """A button that records from the browser's microphone; `recording` holds the bytes of the last recording."""

    _esm = Path(__file__).parent / "static" / "recorder.js"
    recording = traitlets.Bytes().tag(sync=True, from_json=lambda value, widget: bytes(value))  # it is a view


class Panel(widgets.VBox):
    """Buttons in rows, and a choice of the enrolled voices that a model can be adapted to."""

    def __init__(self, bundle: Bundle, rows: list[widgets.Widget], output: widgets.Output) -> None:
        self._bundle, self._voice = bundle, widgets.Dropdown(description="Voice")
        self.offer("")
        super().__init__([*rows, self._voice, output])

    def offer(self, name: str) -> None:
        """Offer all voices that are enrolled by now, and choose one; nobody's is an empty name."""
        self._voice.options = [("not enrolled", ""), *((name, name) for name in enrolled_voices(self._bundle))]
        self._voice.value = name

    def adapted(self) -> tuple[Bundle, str]:
        """Bundle for the voice that is chosen, and a sentence on it; BundleError if its file is damaged."""
        if not self._voice.value:
            return self._bundle, ""
        voice = read_voice(self._voice.value, self._bundle)
        return adapt_bundle(self._bundle, voice), voice.told


def is_long(seconds: float, bundle: Bundle) -> bool:
    """Whether a recording is long enough for a timeline."""
    settings = bundle.info.settings
    return seconds > _LONG * settings.n_samples / settings.sampling_rate


def show_panel(bundle: Bundle, params: Params, *, unsure_below: float = UNSURE_BELOW) -> Panel | None:
    """Show buttons to choose a test clip of `params` or any path, upload a file, or record; nothing headless."""
    if not is_interactive():
        return None
    try:
        names = {path.name: path for path in tested_files(params)}
    except StageError:  # a bundle from elsewhere has no test clips here
        names = {}
    if "google.colab" in sys.modules:
        from google.colab import output as colab_output

        colab_output.enable_custom_widget_manager()  # for widgets that are not Colab's own
    path = widgets.Combobox(placeholder="path of a file, or an example", options=list(names), ensure_option=False)
    go, upload = widgets.Button(description="Predict"), widgets.FileUpload(description="Upload", multiple=False)
    recorder, output = Recorder(), widgets.Output()
    one_at_a_time = threading.Lock()  # Jupyter may call for each button in a thread of its own

    def show(file: str | Path) -> None:
        with one_at_a_time, output:
            clear_output(wait=True)
            try:
                adapted, told = box.adapted()
                show_answer(locate(file), adapted, unsure_below=unsure_below)
                print(told, end="\n" if told else "")
            except SerError as error:
                print(printable(f"{Path(file).name} cannot be used: {error}"))

    def show_content(content: bytes, name: str) -> None:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / (Path(name).name[-100:] or "file")  # a browser may give any name
            write_temporary(file, content)
            show(file)

    def show_upload(change: dict) -> None:
        for one in change["new"]:
            show_content(bytes(one["content"]), one["name"])

    go.on_click(lambda _: show(names.get(path.value, path.value)))
    upload.observe(show_upload, "value")
    recorder.observe(lambda change: show_content(change["new"], "recording"), "recording")
    box = Panel(bundle, [widgets.HBox([path, go]), widgets.HBox([upload, recorder])], output)
    display(box)
    return box


def show_answer(path: Path, bundle: Bundle, *, unsure_below: float = UNSURE_BELOW) -> None:
    """Show a file's sound, its prediction, what the model gets and what the prediction rests on; or its timeline.

    AudioError if it cannot be used.
    """
    envelope = read_envelope(path)
    if is_long(envelope[0][-1], bundle):
        if envelope[0][-1] <= _LONGEST_PLAYED:
            heard = load_recording(path)
            _play(heard.signal, heard.sampling_rate)
        timeline = predict_timeline(path, bundle)
        with _picture(10, 4.6) as figure:
            plots.plot_timeline(timeline, envelope, title=f"{printable(path.name)} over time", figure=figure)
        print(summary_text(timeline, unsure_below=unsure_below))
        return
    settings = bundle.info.settings
    heard = load_recording(path)
    signal, sampling_rate = heard.signal, heard.sampling_rate
    _play(signal, sampling_rate)
    prediction = bundle.answer(path.name, signal, sampling_rate, unsure_below=unsure_below)
    print(replace(prediction, damaged_after=heard.damaged_after, channels_differ=heard.channels_differ))
    with _picture(7, 2.8) as figure:
        plots.plot_probabilities(prediction.probabilities, ax=figure.subplots())
    features, _ = bundle.extract_features(signal, sampling_rate)
    steps = prepare_signal(signal, sampling_rate, settings)
    normalised, bounds = steps["normalised"], trim_bounds(steps["normalised"], settings)
    with _picture(10, 1.8) as figure:
        title = "What is heard; grey is trimmed off"
        plots.plot_trimming(normalised, settings.sampling_rate, bounds, title=title, ax=figure.subplots())
    with _picture(10, 4.6) as figure:
        plots.plot_features(features, settings, figure=figure)
    occlusion = explain_answer(bundle, signal, sampling_rate)
    with _picture(10, 6.4) as figure:
        title = f"Evidence for {occlusion.emotion}"
        plots.plot_occlusion(list(steps.values())[-1], occlusion, settings, title=title, figure=figure)


@contextmanager
def _picture(width: float, height: float) -> Iterator[Figure]:
    """Give a figure (inches) to draw in, and show it.

    Not by pyplot: it has one list of open figures, which callbacks in several threads take from each other.
    """
    figure, stream = Figure(figsize=(width, height), layout="constrained"), io.BytesIO()
    yield figure
    figure.savefig(stream, format="png")
    display(Image(stream.getvalue()))


def _play(signal: np.ndarray, sampling_rate: int) -> None:
    display(Audio(signal, rate=sampling_rate))
