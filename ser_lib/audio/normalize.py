"""Features → features without their speaker's own mean and deviation (`NORMALIZE_PER_SPEAKER`).

It needs no labels, but it sees all audio of a speaker, of those in the test set too; whoever reports figures with it
must say so. A voice that was not met takes the mean of the known speakers' statistics.
"""

from collections.abc import Mapping

import numpy as np
from pydantic import BaseModel, ConfigDict

from ser_lib.core.errors import BundleError


class Statistics(BaseModel):
    """Mean and standard deviation of each feature, over frames with sound."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    mean: list[float]
    deviation: list[float]


def speaker_statistics(X: np.ndarray, n_frames: np.ndarray, speakers: np.ndarray) -> dict[str, Statistics]:
    """Measure every speaker.

    Parameters
    ----------
    X : np.ndarray [shape=(n_clips, n_frames, n_features)]
    n_frames : np.ndarray [shape=(n_clips,)]
        Frames with sound at the beginning of each clip; the others are padding.
    speakers : np.ndarray [shape=(n_clips,)]
    """
    measured = {}
    for speaker in sorted(set(speakers)):
        rows = np.flatnonzero(speakers == speaker)
        frames = np.concatenate([X[row, : n_frames[row]] for row in rows]).astype(np.float64)
        deviation = frames.std(axis=0)
        measured[str(speaker)] = Statistics(
            mean=frames.mean(axis=0).tolist(), deviation=np.where(deviation > 0, deviation, 1.0).tolist()
        )
    return measured


def normalize(X: np.ndarray, statistics: Statistics) -> np.ndarray:
    """Features [shape=(..., n_features)], float32, less the mean, over the deviation."""
    return ((X - np.array(statistics.mean)) / np.array(statistics.deviation)).astype(np.float32)


def restore(X: np.ndarray, statistics: Statistics) -> np.ndarray:
    """Features that have this mean and deviation once more: the reverse of `normalize`."""
    return (X * np.array(statistics.deviation) + np.array(statistics.mean)).astype(np.float32)


def find_statistics(known: Mapping[str, Statistics], speaker: str | None) -> Statistics:
    """Statistics of a known speaker, or for None the mean of all.

    Raises
    ------
    BundleError
        If the speaker is not known.
    """
    if speaker is None:
        return Statistics(
            mean=np.mean([one.mean for one in known.values()], axis=0).tolist(),
            deviation=np.mean([one.deviation for one in known.values()], axis=0).tolist(),
        )
    if speaker not in known:
        raise BundleError(f"The speaker must be one of those the model knows: {', '.join(known)}. Got {speaker}.")
    return known[speaker]
