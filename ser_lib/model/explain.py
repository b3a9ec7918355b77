"""Which stretches of time and which features a prediction rests on: each is hidden in turn (occlusion).

What is hidden takes the mean of the training clips. If the log-odds of the emotion then fall, it spoke for the emotion;
if they rise, against it. This shows what the model used, not what makes speech sound like an emotion.

References
----------
Zeiler and Fergus, "Visualizing and understanding convolutional networks", ECCV 2014.
"""

from dataclasses import dataclass
from types import ModuleType

import numpy as np
from scipy.special import logit

from ser_lib.audio.features import band_edges
from ser_lib.audio.settings import AudioSettings
from ser_lib.audio.signal import trim_steps
from ser_lib.core.labels import shown_as
from ser_lib.model.bundle import Bundle

_SPAN_SECONDS, _MOST_SPANS = 0.2, 40
"""Length of a stretch of time that is hidden, and how many there are at most where each is heard anew by an encoder."""
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


def explain_answer(bundle: Bundle, signal: np.ndarray, sampling_rate: int, *, speaker: str | None = None) -> Occlusion:
    """Find what the answer for a mono signal [shape=(n_samples,)] rests on; see `Bundle.extract_features`.

    Of frames, parts are hidden by `occlude`. An encoder hears a whole clip before it gives one frame: for it, stretches
    of the trimmed signal are silenced, and layers of the embedding take the mean of the training clips.

    Raises
    ------
    AudioError
        If the signal cannot be used.
    """
    features, measures = bundle.extract_features(signal, sampling_rate, speaker=speaker)
    settings = bundle.info.settings
    if settings.encoder is None:
        return occlude(bundle, features, settings.sound_frames(measures.n_trimmed))
    from ser_lib.audio.encoders import embed, get_encoder, layers_of

    trimmed = trim_steps(signal, sampling_rate, settings)["trimmed"]
    spans = _sample_spans(len(trimmed), settings.sampling_rate, get_encoder(settings.encoder))
    hidden = []
    for start, end in spans:
        silenced = trimmed.copy()
        silenced[start:end] = 0
        embedding = embed(silenced, settings.sampling_rate, settings.encoder, tile=settings.tile)
        hidden.append(bundle.to_scale(embedding[np.newaxis], 1, speaker))
    layers = layers_of(settings.encoder)
    mean = np.array(bundle.info.novelty.mean, dtype=np.float32)
    for columns in layers.values():
        changed = features.copy()
        changed[:, columns] = mean[columns]
        hidden.append(changed)
    best, falls = _falls(bundle, features, np.array(hidden))
    return Occlusion(
        emotion=shown_as(bundle.info.emotions[best]),
        spans=[(start / settings.sampling_rate, end / settings.sampling_rate) for start, end in spans],
        by_time=falls[: len(spans)],
        groups=list(layers),
        by_group=falls[len(spans) :],
    )


def _sample_spans(n_samples: int, sampling_rate: int, encoder: ModuleType) -> list[tuple[int, int]]:
    """First sample of each stretch of time to hide, and the one after its last, in what an encoder hears."""
    n_heard = min(n_samples, round(encoder.SECONDS * sampling_rate))
    size = max(round(_SPAN_SECONDS * sampling_rate), -(-n_heard // _MOST_SPANS))
    first = n_samples - n_heard if encoder.HEARD == "last" else 0
    end = first + n_heard
    return [(start, min(start + size, end)) for start in range(first, end, size)]


def _falls(bundle: Bundle, features: np.ndarray, hidden: np.ndarray) -> tuple[int, np.ndarray]:
    """Most probable emotion's index, and by how much its log-odds fall (nats) with each clip of `hidden`.

    Parameters
    ----------
    bundle : Bundle
    features : np.ndarray [shape=(n_frames, n_features)]
    hidden : np.ndarray [shape=(n_parts, n_frames, n_features)]
        The same clip with a part of it hidden in each.
    """
    probabilities = bundle.probabilities(features[np.newaxis])[0]
    best = int(probabilities.argmax())
    others = np.append(probabilities[best], bundle.probabilities(hidden)[:, best])
    log_odds = logit(np.clip(others.astype(np.float64), _SMALLEST, 1 - _SMALLEST))
    return best, log_odds[0] - log_odds[1:]


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
    groups = _groups(bundle.info.features, settings)
    mean = np.array(bundle.info.novelty.mean[: features.shape[1]], dtype=np.float32)
    hidden = np.repeat(features[np.newaxis], len(firsts) + len(groups), axis=0)
    for number, first in enumerate(firsts):
        hidden[number, first : min(first + size, n_frames)] = mean
    for number, columns in enumerate(groups.values(), len(firsts)):
        hidden[number, :n_frames, columns] = mean[columns, np.newaxis]
    best, falls = _falls(bundle, features, hidden)
    return Occlusion(
        emotion=shown_as(bundle.info.emotions[best]),
        spans=[(first * seconds, min(first + size, n_frames) * seconds) for first in firsts.tolist()],
        by_time=falls[: len(firsts)],
        groups=list(groups),
        by_group=falls[len(firsts) :],
    )


def _groups(names: list[str], settings: AudioSettings) -> dict[str, np.ndarray]:
    """Columns that are hidden together: neighbouring bands of log-mel, by their frequencies, and others one by one."""
    columns = np.arange(len(names))
    if not names[0].startswith("logmel"):
        return {name: columns[index : index + 1] for index, name in enumerate(names)}
    edges = band_edges(settings)
    ends = np.concatenate([edges[:1], (edges[1:-2] + edges[2:-1]) / 2, edges[-1:]])  # neighbours are equal half way
    parts = np.array_split(columns, min(_MOST_GROUPS, len(names)))
    return {f"{ends[part[0]]:,.0f} to {ends[part[-1] + 1]:,.0f} Hz": part for part in parts}
