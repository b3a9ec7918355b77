"""Samples whose header is missing, or was never finished."""

from pathlib import Path

import numpy as np

_BYTES = 1 << 20
"""Of a file's beginning that are looked at."""
_FEWEST = 1000
"""Samples that tell something."""
_SMOOTH = 0.6
"""Correlation of neighbouring samples from which on numbers are a sound; speech at 8 kHz has about 0.85."""
_ENCODINGS = {"s16le": "<i2", "s16be": ">i2", "f32le": "<f4", "s32le": "<i4"}
"""Raw encodings, as ffmpeg calls them and as numpy does."""


def is_unfinished(path: Path) -> bool:
    """Tell whether a wav says that it has no samples though it has: its recorder ended before it wrote how many."""
    with path.open("rb") as file:
        start = file.read(_BYTES)
    place = start.find(b"data" + bytes(4))
    first = start[place + 8 : place + 12]
    another_chunk = first.isascii() and first.decode("ascii").isprintable()  # LIST, say, in a file that has none
    return start[:4] == b"RIFF" and place > 0 and len(first) == 4 and not another_chunk


def describe_raw(path: Path) -> str:
    """What to do about a file that is a sound without a header; empty for any other that is no sound."""
    with path.open("rb") as file:
        start = file.read(_BYTES)
    # one channel, or else two: samples of 32 bits are two of 16, of which every second one is like its neighbours
    tries = [(name, np.dtype(kind), lag) for lag in (1, 2) for name, kind in _ENCODINGS.items()]
    name = next((name for name, kind, lag in tries if _smoothness(start, kind, lag) > _SMOOTH), None)
    if name is None or start.isascii():  # text may be smooth
        return ""
    return (
        f"it has no header, and its bytes look like raw samples ({name}). Give it one, with its sampling rate and "
        f"channels: ffmpeg -f {name} -ar RATE -ac CHANNELS -i RAW NEW.wav"
    )


def _smoothness(content: bytes, kind: np.dtype, lag: int) -> float:
    with np.errstate(invalid="ignore"):  # what is no sound may be any number
        samples = np.frombuffer(content[: len(content) // kind.itemsize * kind.itemsize], dtype=kind).astype(np.float64)
    if len(samples) < _FEWEST or not np.abs(samples).max() <= 2.0**31:  # NaN neither
        return 0.0
    return _correlation(samples, lag)


def _correlation(samples: np.ndarray, lag: int) -> float:
    early, late = samples[:-lag] - samples[:-lag].mean(), samples[lag:] - samples[lag:].mean()
    power = np.sqrt((early**2).sum() * (late**2).sum())
    return float((early * late).sum() / power) if power > 0 else 0.0
