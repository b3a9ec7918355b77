"""What a model makes of one file or signal."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ser_lib.errors import BundleError
from ser_lib.labels import shown_as
from ser_lib.params import Params, printable

UNSURE_BELOW: float = Params.model_fields["UNSURE_BELOW"].default
"""Confidence below which a prediction is unsure, unless another is asked for."""


@dataclass(frozen=True)
class Prediction:
    """What the model makes of one file.

    Attributes
    ----------
    file : str
        Name of the file.
    emotion : str
        Most probable emotion, as people read it (`fearful`, `surprised`).
    confidence : float
        Its probability, 0 to 1.
    probabilities : dict
        Emotion to probability, in the order of the labels.
    unsure : bool
        Whether the confidence is below what was asked for.
    unlike : tuple
        What of the clip is unlike the training clips, each in a phrase.
    """

    file: str
    emotion: str
    confidence: float
    probabilities: dict[str, float]
    unsure: bool = False
    unlike: tuple[str, ...] = ()

    @property
    def headline(self) -> str:
        """Emotion as it is told: an unsure one as a perhaps."""
        return f"unsure, perhaps {self.emotion}" if self.unsure else self.emotion

    def __str__(self) -> str:
        """Emotion and confidences as aligned lines, the most probable emotion first; then what is unlike training."""
        ranked = sorted(self.probabilities.items(), key=lambda item: -item[1])
        lines = [f"{printable(self.file)}: {self.headline} ({self.confidence:.1%})"]
        lines += [f"  {emotion:<10} {probability:7.2%}" for emotion, probability in ranked]
        if self.unlike:
            lines.append("Unlike what the model has learnt from, so its answer means little:")
        return "\n".join([*lines, *(f"  {phrase}" for phrase in self.unlike)])


def to_prediction(
    file: str,
    probabilities: np.ndarray,
    emotions: Sequence[str],
    *,
    unsure_below: float = 0.0,
    unlike: tuple[str, ...] = (),
) -> Prediction:
    """Name the probabilities [shape=(n_classes,)] that a model of `emotions` gives for one file.

    Raises
    ------
    BundleError
        If they are NaN.
    """
    if not np.isfinite(probabilities).all():
        raise BundleError(
            "A model must give probabilities. This one gives NaN: it is damaged, or was not trained well."
        )
    named = {
        shown_as(emotion): float(probability) for emotion, probability in zip(emotions, probabilities, strict=True)
    }
    emotion = max(named, key=named.get)
    return Prediction(file, emotion, named[emotion], named, named[emotion] < unsure_below, unlike)
