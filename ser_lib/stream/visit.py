"""What the page of `ser demo` says and does, as HTML and without its layout, which is `page.py`'s."""

import base64
import contextlib
import html
import io
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from ser_lib.audio.signal import Recording
from ser_lib.core.errors import AudioError, SerError
from ser_lib.core.text import printable
from ser_lib.model.bundle import Bundle
from ser_lib.model.enrolment import gained_counts, gained_title, verdict
from ser_lib.model.prediction import UNSURE_BELOW
from ser_lib.model.voices import Gained, Voice, adapt_bundle, enrolled_voices, kept_text, read_voice, save_voice
from ser_lib.stream.explained import explain_file, explain_signal
from ser_lib.stream.teach import Lesson, new_lesson

Models = Mapping[str, Callable[[], tuple[Bundle, str]]]
"""Name of a model → a function that gives it, and a line on its limits."""


class Desk:
    """Answers what a visitor asks; one desk serves all visitors.

    Parameters
    ----------
    models : Mapping
        See `Models`.
    keep_voices : bool
        Whether voices are read from the folder of voices, and written there; else each visitor has their own, until
        they leave.
    unsure_below : float
        Confidence below which an answer is called unsure.
    """

    def __init__(self, models: Models, *, keep_voices: bool, unsure_below: float = UNSURE_BELOW) -> None:
        self.models, self.keep_voices, self._unsure_below = models, keep_voices, unsure_below
        self._warm: set[str] = set()
        self._at_work = threading.Lock()

    def bundle(self, model: str) -> Bundle:
        """Model of a name."""
        return self.models[model]()[0]

    def warm_up(self, model: str) -> None:
        """Answer a second of noise, once: what that imports takes seconds, for which the first visitor would wait."""
        if model in self._warm:
            return
        self._warm.add(model)
        bundle = self.bundle(model)
        rate = bundle.info.settings.sampling_rate
        signal = np.random.default_rng(0).uniform(-0.5, 0.5, rate).astype(np.float32)
        with self._at_work, contextlib.suppress(SerError):  # which the first visitor is told
            explain_signal(Recording(signal, rate, None, False), "noise", bundle)

    def end(self, seconds: float) -> None:
        """Begin nothing any more, and wait so long at most (s) for what was begun.

        A process that ends while a thread of it computes outside of Python may be aborted.
        """
        self._at_work.acquire(timeout=seconds)

    def limits(self, model: str) -> str:
        """What the model says of itself, in a line, or why it cannot be opened."""
        try:
            return self.models[model]()[1]
        except SerError as error:
            return printable(str(error))

    def lesson(self, model: str) -> Lesson:
        """Sentences that teach the model a voice."""
        return new_lesson(self.bundle(model))

    def voices(self, model: str, taught: list[Voice]) -> list[str]:
        """Names of the voices that the model was taught; `taught` are this visitor's, for any model."""
        bundle = self.bundle(model)
        if self.keep_voices:
            return enrolled_voices(bundle)
        return sorted({voice.name for voice in taught if voice.onnx_sha256 == bundle.info.onnx_sha256})

    def answer(
        self,
        model: str,
        name: str,
        taught: list[Voice],
        path: str,
        *,
        on_progress: Callable[[float], None] = lambda fraction: None,
    ) -> tuple[str, dict[str, float], str]:
        """Answer for a file and a voice of `voices`, or none if `name` is empty.

        Returns
        -------
        told : str
            What is said of it, or why there is no answer.
        probabilities : dict
            Emotion to probability; empty without an answer, and for a long recording.
        pictures : str
        """
        try:
            bundle, lines = self._adapted(model, name, taught)
            with self._at_work:
                found = explain_file(Path(path), bundle, unsure_below=self._unsure_below, on_progress=on_progress)
                pictures = "".join(_figure_html(what, figure) for what, figure in found.pictures.items())
        except SerError as error:
            return tell(str(error)), {}, ""
        return tell(*found.lines, *lines, headline=found.headline), found.probabilities, pictures

    def _adapted(self, model: str, name: str, taught: list[Voice]) -> tuple[Bundle, list[str]]:
        """Bundle for a voice, and a sentence on it."""
        bundle = self.bundle(model)
        if not name:
            return bundle, []
        own = {voice.name: voice for voice in taught if voice.onnx_sha256 == bundle.info.onnx_sha256}
        voice = read_voice(name, bundle) if self.keep_voices else own[name]
        return adapt_bundle(bundle, voice), [voice.told]

    def hear(self, model: str, lesson: Lesson, path: str) -> str:
        """Hear a sentence of a lesson, and say so, or why that cannot be done."""
        try:
            bundle = self.bundle(model)
            with self._at_work:
                seconds = lesson.hear(Path(path), bundle)
        except (AudioError, OSError) as error:
            return tell(f"This recording cannot be used: {error}. Record it again.")
        except SerError as error:  # an encoder is missing
            return tell(str(error))
        return tell(f"Heard, {seconds:.1f} s. Record it again to replace it.")

    def learn(self, model: str, lesson: Lesson, name: str) -> tuple[Voice, str]:
        """Learn the voice of a lesson, and say what that brought.

        Raises
        ------
        ParameterError
            If the name cannot be used, or too little was recorded.
        """
        bundle = self.bundle(model)
        with self._at_work:
            voice = lesson.learn(name, bundle)
        lines = [f"{voice.told} Answers on this page now use it."]
        lines += [kept_text(save_voice(voice))] if self.keep_voices else ["It is forgotten when you leave this page."]
        table = "" if voice.gained is None else _table(voice.gained)
        return voice, tell(*verdict(voice, bundle), *lines, before=table)


def task_html(lesson: Lesson) -> str:
    """Sentence that a lesson asks for."""
    task = lesson.tasks[lesson.number]
    number = f"Sentence {lesson.number + 1} of {len(lesson.tasks)}, say it <b>{html.escape(task.emotion)}</b>:"
    return f"<p>{number}</p><p class='headline'>“{html.escape(task.sentence)}”</p>"


def tell(*lines: str, headline: str = "", before: str = "") -> str:
    """Plain text as HTML: a headline and lines; `before` them stands what is HTML already."""
    first = f"<p class='headline'>{html.escape(headline)}</p>" if headline else ""
    rest = "".join(f"<p>{html.escape(line)}</p>" for line in lines if line)
    return f"<div role='status'>{first}{before}{rest}</div>"


def _table(gained: Gained) -> str:
    rows = "".join(
        f"<tr><td>{what}</td><td>{count} of {gained.n_clips}</td><td>{count / gained.n_clips:.0%}</td></tr>"
        for what, count in gained_counts(gained).items()
    )
    return f"<p>{gained_title(gained)}:</p><table>{rows}</table>"


def _figure_html(what: str, figure: Figure) -> str:
    stream = io.BytesIO()
    figure.savefig(stream, format="png")
    content = base64.b64encode(stream.getvalue()).decode()
    told = html.escape(what)
    return f"<figure><img src='data:image/png;base64,{content}' alt='{told}'><figcaption>{told}</figcaption></figure>"
