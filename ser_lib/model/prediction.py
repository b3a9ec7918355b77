"""What a model predicts for one file or signal."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from ser_lib.core.errors import BundleError
from ser_lib.core.labels import shown_as
from ser_lib.core.text import printable
from ser_lib.params import Params

UNSURE_BELOW: float = Params.model_fields["UNSURE_BELOW"].default
"""Confidence below which a prediction is unsure, unless another is asked for."""
DIFFERENT_CHANNELS = (
    "Its channels hold different sound, and their mean was heard; --channel each hears them one by one, in Python "
    "one column of the signal does."
)


def damage_note(seconds: float) -> str:
    """Sentence about a prediction that rests on a part of a file."""
    return f"The file is damaged after {seconds:.1f} s; what can be decoded was heard."


@dataclass(frozen=True)
class Prediction:
    """What the model predicts for one file.

    Attributes
    ----------
    file : str
        Name of the file.
    emotion : str
        Most probable emotion, by its display word (`fearful`, `surprised`).
    confidence : float
        Its probability, 0 to 1.
    probabilities : dict
        Emotion to probability, in label order.
    unsure : bool
        Whether the confidence is below the threshold.
    novelty : tuple
        In what the clip differs from the training clips, each in a phrase.
    damaged_after : float or None
        Seconds after which something of the file could not be decoded; the prediction is of the rest.
    channels_differ : bool
        Whether the file's channels hold different sound, so that the prediction, of their mean, is no single speaker's.
    """

    file: str
    emotion: str
    confidence: float
    probabilities: dict[str, float]
    unsure: bool = False
    novelty: tuple[str, ...] = ()
    damaged_after: float | None = None
    channels_differ: bool = False

    @property
    def notes(self) -> list[str]:
        """What to know of the file before its prediction is believed, each in a sentence."""
        notes = [] if self.damaged_after is None else [damage_note(self.damaged_after)]
        return notes + [DIFFERENT_CHANNELS] * self.channels_differ

    @property
    def headline(self) -> str:
        """Emotion as it is reported; an unsure one with "perhaps"."""
        return f"unsure, perhaps {self.emotion}" if self.unsure else self.emotion

    def __str__(self) -> str:
        """Emotion and confidences as aligned lines, the most probable emotion first; then novelty and notes."""
        ranked = sorted(self.probabilities.items(), key=lambda item: -item[1])
        lines = [f"{printable(self.file)}: {self.headline} ({self.confidence:.1%})"]
        lines += [f"  {emotion:<10} {probability:7.2%}" for emotion, probability in ranked]
        if self.novelty:
            lines.append("Unlike what the model has learnt from, so its answer means little:")
        return "\n".join([*lines, *(f"  {phrase}" for phrase in self.novelty), *self.notes])


def to_prediction(
    file: str,
    probabilities: np.ndarray,
    emotions: Sequence[str],
    *,
    unsure_below: float = 0.0,
    novelty: tuple[str, ...] = (),
) -> Prediction:
    """Name the probabilities [shape=(n_classes,)] that a model of `emotions` gives for one file.

    BundleError if they are NaN.
    """
    if not np.isfinite(probabilities).all():
        raise BundleError(
            "A model must give probabilities. This one gives NaN: it is damaged, or was not trained well."
        )
    named = {
        shown_as(emotion): float(probability) for emotion, probability in zip(emotions, probabilities, strict=True)
    }
    emotion = max(named, key=named.__getitem__)
    return Prediction(file, emotion, named[emotion], named, named[emotion] < unsure_below, novelty)


@dataclass(frozen=True)
class Answer:
    """The outcome for one file: a prediction, or the reason why there is none.

    Attributes
    ----------
    file : str
        Path as it was given, or as found below the folder that was given.
    prediction : Prediction or None
    reason : str
        What is wrong with the file, as a sentence; empty if there is a prediction.
    channel : str
        The channel that was asked for; empty for all.
    """

    file: str
    prediction: Prediction | None
    reason: str = ""
    channel: str = ""

    def as_dict(self) -> dict:
        """Plain values: file, channel if one was asked for, and the prediction or the error."""
        named = {"file": printable(self.file)} | ({"channel": self.channel} if self.channel else {})
        if self.prediction is None:
            return named | {"error": self.reason}
        one = self.prediction
        return named | {
            "emotion": one.emotion,
            "confidence": one.confidence,
            "unsure": one.unsure,
            "unlike": list(one.novelty),
            "damaged_after": one.damaged_after,
            "channels_differ": one.channels_differ,
            "probabilities": one.probabilities,
        }


def answer_columns(emotions: Iterable[str], *, channel: bool = False) -> list[str]:
    """Columns of a table of answers, for a model's emotions by their display words."""
    first = ["file", "channel"] if channel else ["file"]
    last = ["unlike", "damaged_after", "channels_differ", "error"]
    return [*first, "emotion", "confidence", "unsure", *(f"p_{emotion}" for emotion in emotions), *last]


def answer_row(answer: Answer) -> dict:
    """Value of each column of `answer_columns` that an answer has."""
    values = answer.as_dict()
    probabilities = values.pop("probabilities", {})
    if "unlike" in values:
        values["unlike"] = "; ".join(values["unlike"])
    return values | {f"p_{emotion}": value for emotion, value in probabilities.items()}
