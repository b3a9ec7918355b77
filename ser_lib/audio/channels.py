"""The channels of a recording: their names, one of them alone, and whether they hold different sound.

Channels differ if at least two of them have moments of their own: frames of 100 ms in which the level of one is at
least 6 dB above that of every other, and each a twentieth of the frames with sound. So it is in a call with a speaker
on each channel. In ordinary stereo all channels rise and fall together: a voice at the side is louder on one of them
throughout, and a distant microphone gets the same a little later. The level of one channel above the others is what
tells who speaks into which of several microphones (Wrigley et al.).

Of 118 pairs of clips of TESS, one on each channel, all are found if one follows the other, also if one is 20 dB quieter
and each is heard on the other channel; 19 of 20 if both speak at once. Of 120 clips none is found on two channels that
differ by 20 ms and 12 dB, by noise 20 dB below, by a room's echo, or of which one is silent.

References
----------
Wrigley, Brown, Wan and Renals, "Speech and crosstalk detection in multichannel audio", IEEE Transactions on Speech and
Audio Processing 13(1), 2005.
"""

import numpy as np

from ser_lib.core.errors import AudioError

EACH = "each"
"""What stands for all channels of a file, one by one."""
_FRAMES_PER_SECOND = 10
_ABOVE_DB = 6.0
"""A channel owns a frame in which its level is this far above all others'."""
_OWN = 0.05
"""Fraction of the frames with sound that the channel with the second most must own."""
_HEARD_DB = 30.0
"""dB below the 95th percentile of the frames' levels at which a frame is silence."""
_FLOOR = 1e-10
_MOST_CHANNELS = 64
"""Channels that a file may have."""


def channel_names(n_channels: int) -> list[str]:
    """Names of the channels of a recording: left and right, or numbers if there are not two."""
    return ["left", "right"] if n_channels == 2 else [str(number) for number in range(1, n_channels + 1)]


def pick(channels: np.ndarray, name: str | None) -> np.ndarray:
    """Pick one channel [shape=(n_samples, 1)] of channels [shape=(n_samples, n_channels)], or for None all.

    Left and right are the first two, however many there are; AudioError if there is no such channel.
    """
    if name is None:
        return channels
    n_channels = channels.shape[1]
    number = {"left": 1, "right": 2}.get(name) or (int(name) if name.isdecimal() else 0)
    if n_channels == 1 and name in ("left", "right"):
        raise AudioError(f"it has a single channel, so none is {name}; ask for it without a channel")
    if not 1 <= number <= n_channels:
        raise AudioError(f"it has no channel {name!r}, but {', '.join(channel_names(n_channels))}")
    return channels[:, number - 1 : number]


class ChannelLevels:
    """Levels of the channels of a recording that comes in blocks."""

    def __init__(self) -> None:
        self._rest: np.ndarray | None = None
        self._powers: list[np.ndarray] = []

    def add(self, channels: np.ndarray, sampling_rate: int) -> None:
        """Add the next block [shape=(n_samples, n_channels)]."""
        if channels.shape[1] < 2:
            return
        size = max(1, sampling_rate // _FRAMES_PER_SECOND)
        joined = channels if self._rest is None else np.concatenate([self._rest, channels])
        n_frames = len(joined) // size
        frames = joined[: n_frames * size].reshape(n_frames, size, channels.shape[1])
        self._powers.append(np.einsum("fsc,fsc->fc", frames, frames, dtype=np.float64) / size)
        self._rest = joined[n_frames * size :].copy()

    def differ(self) -> bool:
        """Whether the channels so far hold different sound."""
        powers = np.concatenate(self._powers) if self._powers else np.zeros((0, 1))
        if len(powers) == 0 or not np.isfinite(powers).all():
            return False
        levels = 10 * np.log10(np.maximum(powers, _FLOOR))
        loudest = levels.max(axis=1)
        heard = levels[loudest > np.percentile(loudest, 95) - _HEARD_DB]
        highest = np.sort(heard, axis=1)
        own = highest[:, -1] - highest[:, -2] >= _ABOVE_DB
        fractions = np.bincount(heard.argmax(axis=1)[own], minlength=levels.shape[1]) / len(heard)
        return bool(np.sort(fractions)[-2] >= _OWN)


def to_channels(signal: np.ndarray, *, part: bool = False) -> np.ndarray:
    """Channels [shape=(n_samples, n_channels)], float32, of a signal for `Bundle.predict`.

    A signal with more channels than samples is refused as a transposed one; a `part`, which may be short, only if it
    has more channels than any file.
    """
    try:
        signal = np.asarray(signal)
    except ValueError:  # lists of different lengths
        raise AudioError("A signal must be an array of numbers. Got rows of different lengths.") from None
    if signal.dtype.kind != "f" or signal.ndim not in (1, 2) or 0 in signal.shape[1:]:
        raise AudioError(
            f"A signal must be floating point, of shape (n_samples,) or (n_samples, n_channels), with full scale "
            f"at 1. Got {signal.dtype} of shape {signal.shape}."
        )
    if signal.ndim == 2 and 0 < len(signal) < signal.shape[1] and (signal.shape[1] > _MOST_CHANNELS or not part):
        raise AudioError(
            f"A signal must have more samples than channels, as (n_samples, n_channels). Got shape {signal.shape}: "
            f"give its transpose, signal.T."
        )
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, and is refused as that
        return signal.astype(np.float32).reshape(len(signal), -1 if signal.size else 1)


def to_rate(sampling_rate: float) -> int:
    """Sampling rate (Hz) as an integer; AudioError if it is not one."""
    try:
        if not isinstance(sampling_rate, bool) and int(sampling_rate) == sampling_rate >= 1:
            return int(sampling_rate)
    except (TypeError, ValueError, OverflowError):  # None, text, NaN, infinity
        pass
    raise AudioError(f"The sampling rate must be a whole number above 0 Hz. Got {sampling_rate!r}.")
