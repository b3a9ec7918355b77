"""Novelty detection: in what a new clip differs from the training clips.

Measured are a clip's length, level and bandwidth, and the distance of its features from those of the training clips:
the root mean square of z-scores, over the mean of each feature, its standard deviation, and the standard deviation of
its change from frame to frame; of an embedding, over its numbers alone. What 99 of 100 validation clips stay within is
no novelty.
"""

from typing import TYPE_CHECKING

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from ser_lib.audio.normalize import Statistics
from ser_lib.audio.settings import AudioSettings
from ser_lib.core.packed import Numbers, to_numbers

if TYPE_CHECKING:
    import pandas as pd

    from ser_lib.audio.features import Measures

_PERCENTILE = 99
"""Percentile of the clips that is the upper bound; 100 minus it is the lower one."""
_LENGTH_FACTOR = 1.5
"""Factor by which a clip may exceed the bounds of length."""
_LEVEL_MARGIN = 10.0
"""dB by which a clip may be below the lowest level."""
_BAND_FRACTION = 0.8
"""Fraction of the usual band that a clip must fill."""
_SMALLEST_STD = 0.01
"""Least standard deviation between clips, as a fraction of that within clips."""


class NoveltyModel(BaseModel):
    """Statistics of the training clips, and the bounds of what is no novelty."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, validate_by_name=True, serialize_by_alias=True)

    seconds: tuple[float, float]
    """Shortest and longest, trimmed."""
    peak_dbfs: float
    """Quietest."""
    bandwidth_hz: float = Field(ge=0)
    """Narrowest."""
    mean: Numbers
    """Of each value of `summarize_features`, and its standard deviation."""
    std: Numbers = Field(validation_alias="deviation", serialization_alias="deviation")
    distance: float = Field(ge=0)
    """Of the validation clips, the farthest."""

    @property
    def statistics(self) -> Statistics:
        """Statistics of each feature over the frames of all training clips, each clip counting equally."""
        means, within, _ = np.split(np.array(self.mean), 3)
        of_means, of_within, _ = np.split(np.array(self.std), 3)
        std = np.sqrt(of_means**2 + within**2 + of_within**2)
        return Statistics(mean=means.tolist(), std=std.tolist())

    def statistics_of(self, settings: AudioSettings) -> Statistics:
        """`statistics`; of embeddings, those over the training clips."""
        return self.statistics if settings.encoder is None else Statistics(mean=self.mean, std=self.std)

    def distance_of(self, summaries: np.ndarray) -> np.ndarray:
        """Distances [shape=(...,)] from the training clips; `summaries` [shape=(..., 3 * n_features)]."""
        scores = (summaries - np.array(self.mean)) / np.array(self.std)
        return np.sqrt(np.square(scores).mean(axis=-1))

    def distance_from(self, features: np.ndarray, n_sound: int, settings: AudioSettings) -> float:
        """Distance of a clip [shape=(n_frames, n_features)], with sound in its first `n_sound` frames.

        Above `distance`, a clip sounds unlike the training clips; length, level and band are other matters.
        """
        return float(self.distance_of(_summary(features, n_sound, settings)))

    def find_novelty(self, measures: "Measures", features: np.ndarray, settings: AudioSettings) -> tuple[str, ...]:
        """In what a clip differs from the training clips, each in a phrase; empty if in nothing.

        Parameters
        ----------
        measures : Measures
        features : np.ndarray [shape=(n_frames, n_features)]
            As the model takes them.
        settings : AudioSettings
            Of the model; what is above its `mel_fmax` does not count.
        """
        found = []
        seconds, (shortest, longest) = measures.n_trimmed / settings.sampling_rate, self.seconds
        if not shortest / _LENGTH_FACTOR <= seconds <= longest * _LENGTH_FACTOR:
            which, most = heard_of(settings)
            cut = f"; the {which} {most:.1f} s are heard" if seconds > most else ""
            found.append(
                f"length: {seconds:.2g} s of sound, and training clips have {shortest:.1f} to {longest:.1f} s{cut}"
            )
        if measures.peak_dbfs < self.peak_dbfs - _LEVEL_MARGIN:
            least = round(self.peak_dbfs)  # no minus before a 0
            found.append(f"level: a peak of {measures.peak_dbfs:.0f} dBFS, and training clips have {least} or more")
        reach = min(self.bandwidth_hz, _highest_frequency(settings))
        if measures.bandwidth_hz < _BAND_FRACTION * reach:
            found.append(
                f"band: nothing above {measures.bandwidth_hz / 1000:.1f} kHz, and training clips reach "
                f"{reach / 1000:.1f} kHz"
            )
        distance = self.distance_from(features, settings.sound_frames(measures.n_trimmed), settings)
        if distance > self.distance:
            here, usual = _told_apart(distance, self.distance)
            found.append(
                f"sound: {here} standard deviations from the mean of the training clips; {_PERCENTILE} of 100 "
                f"validation clips are within {usual}"
            )
        return tuple(found)


def _told_apart(larger: float, smaller: float) -> tuple[str, str]:
    """Two numbers with one decimal, or with as many as it takes for them to differ."""
    texts = ((f"{larger:.{digits}f}", f"{smaller:.{digits}f}") for digits in range(1, 9))
    return next((pair for pair in texts if pair[0] != pair[1]), (f"{larger!r}", f"{smaller!r}"))


def heard_of(settings: AudioSettings) -> tuple[str, float]:
    """Which end of a long clip a model hears, and how many seconds of it."""
    if settings.encoder is None:
        return "first", settings.n_samples / settings.sampling_rate
    from ser_lib.audio.encoders import get_encoder

    encoder = get_encoder(settings.encoder)
    return encoder.HEARD, encoder.SECONDS


def _highest_frequency(settings: AudioSettings) -> float:
    """Hz above which a model hears nothing."""
    if settings.encoder is None:
        return settings.mel_fmax or settings.sampling_rate / 2
    from ser_lib.audio.encoders import SAMPLING_RATE

    return min(settings.sampling_rate, SAMPLING_RATE) / 2


def novelty_kinds(novelty: tuple[str, ...]) -> str:
    """Kinds of what `find_novelty` gives: `length`, `level`, `band`, `sound`."""
    return ", ".join(phrase.partition(":")[0] for phrase in novelty)


def summarize_features(features: np.ndarray, n_frames: int) -> np.ndarray:
    """Summarise a clip over its first `n_frames` frames, those with sound.

    Returns
    -------
    np.ndarray [shape=(3 * n_features,)], float64
        Mean and standard deviation of each feature, and the standard deviation of its change from frame to frame.
    """
    sound = features[:n_frames].astype(np.float64)
    change = np.diff(sound, axis=0) if len(sound) > 1 else np.zeros_like(sound)
    return np.concatenate([sound.mean(axis=0), sound.std(axis=0), change.std(axis=0)])


def _summary(features: np.ndarray, n_frames: int, settings: AudioSettings) -> np.ndarray:
    """`summarize_features`; of an embedding, which has one frame and no variation in time, its numbers."""
    return summarize_features(features, n_frames)[: summary_size(settings)]


def summary_size(settings: AudioSettings) -> int:
    """Numbers that a clip is summarised in."""
    return settings.n_features * (3 if settings.encoder is None else 1)


def fit_novelty_model(X: np.ndarray, clips: "pd.DataFrame", sets: np.ndarray, settings: AudioSettings) -> NoveltyModel:
    """Fit the model to the training clips, and its distance to the validation clips.

    Parameters
    ----------
    X : np.ndarray [shape=(n_clips, n_frames, n_features)]
    clips : pd.DataFrame
        With trimmed_seconds, peak_dbfs and bandwidth_hz of each.
    sets : np.ndarray [shape=(n_clips,)]
        Set of each.
    settings : AudioSettings
    """
    n_sound = settings.sound_frames_of(clips["trimmed_seconds"])
    summaries = {
        name: np.array([_summary(X[row], n_sound[row], settings) for row in np.flatnonzero(sets == name)])
        for name in ("train", "validation")
    }
    smallest = _smallest_std(summaries["train"], X.shape[2])
    learnt = clips[sets == "train"]
    model = NoveltyModel(
        seconds=tuple(np.percentile(learnt["trimmed_seconds"], [100 - _PERCENTILE, _PERCENTILE]).tolist()),
        peak_dbfs=float(np.percentile(learnt["peak_dbfs"], 100 - _PERCENTILE)),
        bandwidth_hz=float(np.percentile(learnt["bandwidth_hz"], 100 - _PERCENTILE)),
        mean=to_numbers(summaries["train"].mean(axis=0)),
        std=to_numbers(np.maximum(summaries["train"].std(axis=0), smallest)),
        distance=0.0,
    )
    farthest = np.percentile(model.distance_of(summaries["validation"]), _PERCENTILE)
    return model.model_copy(update={"distance": float(farthest)})


def _smallest_std(summaries: np.ndarray, n_features: int) -> np.ndarray:
    """Least standard deviation of each number of the summaries."""
    if summaries.shape[1] == n_features:
        return np.full(n_features, _SMALLEST_STD * summaries.std(axis=0).mean() or 1.0)
    within = np.tile(summaries[:, n_features : 2 * n_features].mean(axis=0), 3)
    return np.where(within > 0, _SMALLEST_STD * within, 1.0)
