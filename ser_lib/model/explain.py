"""Which stretches of time and which features a prediction rests on: each is hidden in turn (occlusion).

What is hidden takes the mean of the training clips. If the log-odds of the emotion then fall, it spoke for the emotion;
if they rise, against it. This shows what the model used, not what makes speech sound like an emotion.

References
----------
Zeiler and Fergus, "Visualizing and understanding convolutional networks", ECCV 2014.
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import logit

from ser_lib.core.labels import shown_as
from ser_lib.model.bundle import Bundle

_SPAN_SECONDS = 0.2
_MOST_GROUPS = 8
"""Groups that the bands of log-mel are hidden in."""
_SMALLEST = 1e-7
"""Distance from 0 and 1 that a probability has at least, for its log-odds."""


@dataclass(frozen=True)
class Occlusion:
    """How much evidence for an emotion is lost when something is hidden.

    Attributes
    ----------
    emotion : str
        Its display word.
    spans : list
        Start and end (s) of each stretch of time.
    by_time : np.ndarray [shape=(n_spans,)]
        Fall of the log-odds (nats) when it is hidden.
    groups : list
        Name of each group of features.
    by_group : np.ndarray [shape=(n_groups,)]
        Fall of the log-odds (nats) when it is hidden.
    """

    emotion: str
    spans: list[tuple[float, float]]
    by_time: np.ndarray
    groups: list[str]
    by_group: np.ndarray


def occlude(bundle: Bundle, features: np.ndarray, n_frames: int) -> Occlusion:
    """Hide parts of a clip, one at a time, and measure the effect on the most probable emotion.

    Parameters
    ----------
    bundle : Bundle
    features : np.ndarray [shape=(n_frames, n_features)]
        From `Bundle.extract_features`.
    n_frames : int
        Frames with sound; the others are padding, and stay.
    """
    settings = bundle.info.settings
    seconds = settings.hop_length / settings.sampling_rate
    size = max(1, round(_SPAN_SECONDS / seconds))
    firsts = np.arange(0, n_frames, size)
    groups = _groups(bundle.info.features)
    mean = np.array(bundle.info.novelty.mean[: features.shape[1]], dtype=np.float32)
    hidden = np.repeat(features[np.newaxis], len(firsts) + len(groups), axis=0)
    for number, first in enumerate(firsts):
        hidden[number, first : min(first + size, n_frames)] = mean
    for number, columns in enumerate(groups.values(), len(firsts)):
        hidden[number, :n_frames, columns] = mean[columns, np.newaxis]
    probabilities = bundle.probabilities(features[np.newaxis])[0]
    best = int(probabilities.argmax())
    others = np.append(probabilities[best], bundle.probabilities(hidden)[:, best])
    log_odds = logit(np.clip(others.astype(np.float64), _SMALLEST, 1 - _SMALLEST))
    falls = log_odds[0] - log_odds[1:]
    return Occlusion(
        emotion=shown_as(bundle.info.emotions[best]),
        spans=[(first * seconds, min(first + size, n_frames) * seconds) for first in firsts.tolist()],
        by_time=falls[: len(firsts)],
        groups=list(groups),
        by_group=falls[len(firsts) :],
    )


def _groups(names: list[str]) -> dict[str, np.ndarray]:
    """Columns that are hidden together: neighbouring bands of log-mel, others one by one."""
    columns = np.arange(len(names))
    if not names[0].startswith("logmel"):
        return {name: columns[index : index + 1] for index, name in enumerate(names)}
    parts = np.array_split(columns, min(_MOST_GROUPS, len(names)))
    return {f"mel bands {part[0] + 1} to {part[-1] + 1}": part for part in parts}
