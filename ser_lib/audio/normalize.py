"""Features without their speaker's own mean and standard deviation (`NORMALIZE_PER_SPEAKER`).

This needs no labels, but it uses all audio of a speaker, in the test set too; whoever reports results with it must say
so. An unknown voice gets the mean of the known speakers' statistics.
"""

from collections.abc import Mapping

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from ser_lib.core.errors import BundleError
from ser_lib.core.packed import Numbers, to_numbers


class Statistics(BaseModel):
    """Mean and standard deviation of each feature, over frames with sound."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_by_name=True, serialize_by_alias=True)

    mean: Numbers
    std: Numbers = Field(validation_alias="deviation", serialization_alias="deviation")  # its name in files


def speaker_statistics(X: np.ndarray, n_frames: np.ndarray, speakers: np.ndarray) -> dict[str, Statistics]:
    """Statistics of every speaker.

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
        std = frames.std(axis=0)
        std = np.where(std > 0, std, 1.0)
        measured[str(speaker)] = Statistics(mean=to_numbers(frames.mean(axis=0)), std=to_numbers(std))
    return measured


def normalize(X: np.ndarray, statistics: Statistics) -> np.ndarray:
    """Features [shape=(..., n_features)], float32, less the mean, divided by the standard deviation."""
    return ((X - np.array(statistics.mean)) / np.array(statistics.std)).astype(np.float32)


def denormalize(X: np.ndarray, statistics: Statistics) -> np.ndarray:
    """The reverse of `normalize`."""
    return (X * np.array(statistics.std) + np.array(statistics.mean)).astype(np.float32)


def find_statistics(known: Mapping[str, Statistics], speaker: str | None) -> Statistics:
    """Statistics of a speaker, or the mean of all for None; BundleError if the speaker is not known."""
    if speaker is None:
        return Statistics(
            mean=np.mean([one.mean for one in known.values()], axis=0).tolist(),
            std=np.mean([one.std for one in known.values()], axis=0).tolist(),
        )
    if speaker not in known:
        raise BundleError(f"The speaker must be one of those the model knows: {', '.join(known)}. Got {speaker}.")
    return known[speaker]
