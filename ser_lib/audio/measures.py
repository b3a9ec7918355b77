"""What is measured of a clip beside its features."""

from typing import NamedTuple

import numpy as np

from ser_lib.audio.settings import AudioSettings


class Measures(NamedTuple):
    """What is measured of a clip beside its features."""

    sampling_rate: int
    """Hz, of the file."""
    n_samples: int
    """Of the file."""
    n_trimmed: int
    """Samples that trimming leaves, at the common rate."""
    peak_dbfs: float
    """Level of the largest sample, before it was brought to full scale."""
    bandwidth_hz: float
    """Of what trimming leaves."""


def measure_steps(steps: dict[str, np.ndarray], sampling_rate: int, settings: AudioSettings) -> Measures:
    """Measures of a signal from what `audio.trim_steps` made of it; `sampling_rate` (Hz) is its own."""
    from ser_lib.audio.signal import bandwidth, peak_level  # librosa, which stored features do not need

    decoded, trimmed = steps["decoded"], steps["trimmed"]
    band = bandwidth(trimmed, settings.sampling_rate)
    return Measures(sampling_rate, len(decoded), len(trimmed), peak_level(decoded), band)
