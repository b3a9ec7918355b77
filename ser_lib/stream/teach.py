"""Buttons in a notebook that teach a model somebody's voice: two sentences of each emotion, one after the other.

What is kept of a recording is what the model hears of it, and no sound.
"""

import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

import ipywidgets as widgets
import numpy as np
from IPython.display import clear_output, display

from ser_lib.audio.signal import load_audio
from ser_lib.core.errors import SerError
from ser_lib.core.io import write_temporary
from ser_lib.core.labels import shown_as
from ser_lib.core.text import printable
from ser_lib.model.bundle import Bundle
from ser_lib.model.enrolment import enrolment_text, gather_clips, hear_clip, learn_voice
from ser_lib.model.voices import check_name, save_voice
from ser_lib.stream.panel import Panel, Recorder
from ser_lib.stream.sound import is_interactive

SENTENCES = ("The keys are on the kitchen table.", "I will be there on Monday.")
"""What is said in each emotion; it should mean none."""
HEADLESS = "In Jupyter, buttons here teach the model a voice; in a terminal, ser enrol FOLDER does the same."
NOT_THIS_MODEL = "This model cannot be taught a voice by a few clips: that takes one trained with ADAPT_TO_SPEAKER."


class Teacher(widgets.VBox):
    """A panel that asks for sentences, and enrols the speaker after the last one.

    Parameters
    ----------
    bundle : Bundle
        Of a model that was trained with `ADAPT_TO_SPEAKER`.
    on_enrolled : callable
        Is called with the speaker's name.
    """

    def __init__(self, bundle: Bundle, on_enrolled: Callable[[str], None]) -> None:
        self._bundle, self._on_enrolled = bundle, on_enrolled
        self._tasks = [(label, text) for label in range(len(bundle.info.emotions)) for text in SENTENCES]
        self._heard: dict[int, tuple[np.ndarray, int]] = {}
        self._one_at_a_time = threading.Lock()  # Jupyter may call for each button in a thread of its own
        self.name, self.task, self.output = widgets.Text("me", description="Name"), widgets.Label(), widgets.Output()
        self.recorder, self.next, self.skip = Recorder(), widgets.Button(), widgets.Button(description="Skip")
        self._ask(0)
        self.recorder.observe(lambda change: self._do(self._hear, change["new"]), "recording")
        self.next.on_click(lambda _: self._do(self._go_on))
        self.skip.on_click(lambda _: self._do(self._go_on, skipped=True))
        buttons = widgets.HBox([self.recorder, self.next, self.skip])
        super().__init__([widgets.HTML("<b>Teach it your voice</b>"), self.name, self.task, buttons, self.output])

    def _ask(self, number: int) -> None:
        self._number = number
        label, text = self._tasks[number]
        emotion = shown_as(self._bundle.info.emotions[label])
        self.task.value = f"{number + 1} of {len(self._tasks)}, {emotion}: “{text}”"
        self.next.disabled = True
        self.next.description = "Enrol" if number == len(self._tasks) - 1 else "Next"

    def _do(self, action: Callable[..., None], *values: bytes, **options: bool) -> None:
        with self._one_at_a_time, self.output:
            clear_output(wait=True)
            try:
                action(*values, **options)
            except SerError as error:
                print(printable(f"This cannot be used: {error}"))

    def _hear(self, content: bytes) -> None:
        with tempfile.TemporaryDirectory() as folder:
            write_temporary(Path(folder) / "recording", content)
            signal, sampling_rate = load_audio(Path(folder) / "recording")
        self._heard[self._number] = hear_clip(signal, sampling_rate, self._bundle)
        self.next.disabled = False
        print(f"Heard, {len(signal) / sampling_rate:.1f} s. Record it again to replace it.")

    def _go_on(self, *, skipped: bool = False) -> None:
        name = check_name(self.name.value)
        if skipped:
            self._heard.pop(self._number, None)
        if self._number + 1 < len(self._tasks):
            self._ask(self._number + 1)
            return
        heard, self._heard = self._heard, {}
        self._ask(0)
        if not heard:
            print("Nothing was recorded.")
            return
        labels = [self._tasks[number][0] for number in heard]
        voice = learn_voice(name, gather_clips(heard.values(), labels), self._bundle)
        save_voice(voice)
        self._on_enrolled(name)
        print(f"{enrolment_text(voice, self._bundle)}\n{voice.told} Choose it above as Voice.")


def show_teacher(bundle: Bundle, panel: Panel | None = None) -> Teacher | None:
    """Show buttons that teach the model a voice, which `panel` then offers; headless, a sentence instead."""
    if panel is None or not is_interactive():
        print(HEADLESS)
        return None
    if bundle.info.population is None:
        print(NOT_THIS_MODEL)
        return None
    teacher = Teacher(bundle, panel.offer)
    display(teacher)
    return teacher
