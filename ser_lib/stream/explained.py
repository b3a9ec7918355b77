"""A file, its answer, and pictures of what the model heard and what the answer rests on; or its timeline."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from matplotlib.figure import Figure

from ser_lib import plots
from ser_lib.audio.signal import Recording, load_recording, prepare_signal, trim_bounds
from ser_lib.core.errors import AudioError, unusable
from ser_lib.core.text import printable
from ser_lib.model.bundle import Bundle
from ser_lib.model.explain import explain_answer
from ser_lib.model.prediction import UNSURE_BELOW, Prediction
from ser_lib.stream.timeline import predict_timeline, read_envelope, summary_text

_LONG = 2.0
"""Times the length that the model hears from which on a recording gets a timeline."""
_WIDTH = 5.0
"""Inches of a picture: its letters can be read on a telephone, too."""


@dataclass(frozen=True)
class Explained:
    """What there is to show of a file.

    Attributes
    ----------
    headline : str
        The answer in a few words.
    lines : list
        What to know of it, each a sentence.
    probabilities : dict
        Emotion to probability; empty for a long recording.
    pictures : dict
        What each shows, in a sentence → figure.
    """

    headline: str
    lines: list[str]
    probabilities: dict[str, float] = field(default_factory=dict)
    pictures: dict[str, Figure] = field(default_factory=dict)


def is_long(seconds: float, bundle: Bundle) -> bool:
    """Whether a recording is long enough for a timeline."""
    settings = bundle.info.settings
    return seconds > _LONG * settings.n_samples / settings.sampling_rate


def explain_file(
    path: Path,
    bundle: Bundle,
    *,
    unsure_below: float = UNSURE_BELOW,
    on_progress: Callable[[float], None] = lambda fraction: None,
) -> Explained:
    """Answer a file and draw what the answer rests on; of a long one, draw the emotions over time.

    `on_progress` is called with the fraction of a long recording that has been heard.

    Raises
    ------
    AudioError
        If the file cannot be used; the message names it and the reason.
    """
    try:
        envelope = read_envelope(path)
        seconds = float(envelope[0][-1])
        if is_long(seconds, bundle):
            timeline = predict_timeline(path, bundle, on_progress=lambda heard: on_progress(min(1, heard / seconds)))
            lines = summary_text(timeline, unsure_below=unsure_below).splitlines()
            figure = _figure(3.8)
            plots.plot_timeline(timeline, envelope, figure=figure)
            return Explained("Emotions over time", lines, pictures={"How probable each emotion is over time.": figure})
        return explain_signal(load_recording(path), path.name, bundle, unsure_below=unsure_below)
    except (AudioError, OSError) as error:
        raise AudioError(printable(unusable(path.name, error))) from None


def explain_signal(heard: Recording, name: str, bundle: Bundle, *, unsure_below: float = UNSURE_BELOW) -> Explained:
    """Answer what was heard of the file of a name; AudioError, whose message is the reason, if it cannot be used."""
    signal, rate, settings = heard.signal, heard.sampling_rate, bundle.info.settings
    answer = bundle.answer_recording(name, heard, unsure_below=unsure_below)
    steps = prepare_signal(signal, rate, settings)
    waveform, evidence = _figure(1.4), _figure(5.0)
    bounds = trim_bounds(steps["normalised"], settings)
    plots.plot_trimming(steps["normalised"], settings.sampling_rate, bounds, ax=waveform.subplots())
    occlusion = explain_answer(bundle, signal, rate)
    plots.plot_occlusion(list(steps.values())[-1], occlusion, settings, figure=evidence)
    pictures = {
        "The recording at full volume. What is grey is trimmed off.": waveform,
        f"What the answer rests on. Each stretch of time, and each group of features, was hidden in turn: a long bar "
        f"is evidence for {occlusion.emotion}, one below zero evidence against it. It tells what the model used, "
        f"which need not be what people listen to.": evidence,
    }
    return Explained(f"{answer.headline} ({answer.confidence:.0%})", notes_on(answer), answer.probabilities, pictures)


def notes_on(answer: Prediction) -> list[str]:
    """What to know before an answer is believed, each a sentence."""
    unlike = [f"Unlike what the model has learnt from, so its answer means little: {'; '.join(answer.novelty)}."]
    return [*(unlike if answer.novelty else []), *answer.notes]


def _figure(height: float) -> Figure:
    """Figure of a height (inches); not of pyplot, whose list of open figures threads take from each other."""
    return Figure(figsize=(_WIDTH, height), layout="constrained", dpi=150)
