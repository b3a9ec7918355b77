"""Random variations of log-mel spectrograms, for training only.

Each takes spectrograms [shape=(n_clips, n_frames, n_mels)] in dB above their clip's mean, and returns the same shape.
They imitate what varies between voices and rooms and leaves the emotion unchanged.

References
----------
Park et al., "SpecAugment: a simple data augmentation method for automatic speech recognition", Interspeech 2019 (mask).
Jaitly and Hinton, "Vocal tract length perturbation (VTLP) improves speech recognition", ICML workshop on deep learning
for audio, speech and language, 2013 (warp).
"""

from collections.abc import Callable

import numpy as np

_MASKS, _MASKED_BANDS, _MASKED_FRAMES = 2, 0.15, 0.12
"""Masks of each kind in a clip, and the largest fraction of the bands or frames that one hides."""
_WARP, _SHIFT, _STRETCH, _POSITION = 0.12, 0.05, 0.2, 0.12
"""Largest change of scale, and largest move as a fraction of the axis."""
_TILT, _GAIN = 6.0, 6.0
"""dB, from the middle to either end of the bands; dB."""
_NOISE, _COLOUR, _KNOTS, _FLICKER = (-40.0, 5.0), 4.0, 5, 2.0
"""dB, range of a noise's level; of its spectrum, dB, deviation at so many knots; dB, deviation from frame to frame."""
_ECHO, _GOES_ON = (-40.0, -5.0), (0.1, 0.65)
"""dB, range of an echo's level; fraction of it that is there a frame later."""
_PER_DECIBEL = np.float32(np.log(10) / 10)
"""Natural logarithm of a power, for each dB."""
_IN_ROOMS = 0.4
"""Fraction of the clips that noise comes to, and echo."""


def augment(
    X: np.ndarray, names: list[str], rng: np.random.Generator, *, decibel: float = 1.0, tiled: bool = False
) -> np.ndarray:
    """Vary every clip at random in each way that is named.

    Parameters
    ----------
    X : np.ndarray [shape=(n_clips, n_frames, n_mels)]
    names : list
        Of `params.AUGMENTATIONS`.
    rng : np.random.Generator
    decibel : float
        What a dB is in units of `X`: less than 1 where features are normalised per speaker.
    tiled : bool
        Whether clips are filled with repeats of themselves: then what moves out at one end comes in at the other, and a
        clip may begin anywhere.
    """
    size = (len(X), 1)
    n_frames, n_mels = X.shape[1:]
    scale = 1 + _WARP * rng.uniform(-1, 1, size) * ("warp" in names)
    move = n_mels * _SHIFT * rng.uniform(-1, 1, size) * ("shift" in names)
    speed = (1 + _STRETCH) ** (rng.uniform(-1, 1, size) * ("stretch" in names))
    start = n_frames * (0.5 if tiled else _POSITION) * rng.uniform(-1, 1, size) * ("position" in names)
    if {"stretch", "position"} & set(names):
        places = (np.arange(n_frames) - start) * speed
        X = _resample_axis(X, places % (n_frames - 1) if tiled and n_frames > 1 else places, axis=1)
    if {"warp", "shift"} & set(names):
        X = _resample_axis(X, np.arange(n_mels) * scale + move, axis=2)
    slope = np.linspace(-1, 1, n_mels) * (_TILT * decibel * rng.uniform(-1, 1, size) * ("tilt" in names))
    level = _GAIN * decibel * rng.uniform(-1, 1, size) * ("gain" in names)
    X = X + (slope + level)[:, np.newaxis].astype(np.float32)
    if "echo" in names:
        _vary_some(X, _with_echo, rng, np.float32(decibel))
    if "noise" in names:
        _vary_some(X, _with_noise, rng, np.float32(decibel))
    if "mask" in names:
        for _ in range(_MASKS):
            X[_stretch_of(n_frames, _MASKED_FRAMES, len(X), rng)] = 0
            X.swapaxes(1, 2)[_stretch_of(n_mels, _MASKED_BANDS, len(X), rng)] = 0
    return X


def _vary_some(
    X: np.ndarray,
    vary: Callable[[np.ndarray, np.random.Generator], np.ndarray],
    rng: np.random.Generator,
    decibel: np.float32,
) -> None:
    """Replace some of the clips by what `vary` makes of them."""
    rows = np.flatnonzero(rng.random(len(X)) < _IN_ROOMS)
    X[rows] = vary(X[rows] / decibel, rng) * decibel


def _with_noise(X: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Add the power of noise to dB above each band's mean: of a random level and smooth spectrum in relation to it."""
    knots = rng.normal(0, _COLOUR, (len(X), _KNOTS)) + rng.uniform(*_NOISE, (len(X), 1))
    along = np.linspace(0, _KNOTS - 1, X.shape[2])
    spectrum = _resample_axis(knots[:, np.newaxis], np.broadcast_to(along, (len(X), len(along))), axis=2)
    noise = spectrum.astype(np.float32) + np.float32(_FLICKER) * rng.standard_normal(X.shape, dtype=np.float32)
    return _without_means(np.logaddexp(X * _PER_DECIBEL, noise * _PER_DECIBEL) / _PER_DECIBEL)


def _with_echo(X: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Add the power of earlier frames, which dies away, to dB above each band's mean."""
    goes_on = rng.uniform(*_GOES_ON, (len(X), 1)).astype(np.float32)
    level = (10 ** (rng.uniform(*_ECHO, (len(X), 1)) / 10)).astype(np.float32)
    power = np.exp(X * _PER_DECIBEL)
    heard, echo = power.copy(), np.zeros_like(power[:, 0])
    for frame in range(1, X.shape[1]):
        echo = goes_on * (echo + power[:, frame - 1])
        heard[:, frame] += level * echo
    return _without_means(np.log(heard) / _PER_DECIBEL)


def _without_means(X: np.ndarray) -> np.ndarray:
    """Levels above each band's mean over the clip."""
    return X - X.mean(axis=1, keepdims=True)


def _resample_axis(X: np.ndarray, positions: np.ndarray, *, axis: int) -> np.ndarray:
    """Values at `positions` [shape=(n_clips, n)] along an axis, interpolated linearly and clipped at the ends."""
    last = X.shape[axis] - 1
    positions = np.clip(positions, 0, last)
    below = np.minimum(positions.astype(np.int64), last - 1) if last else np.zeros_like(positions, dtype=np.int64)
    fraction = (positions - below).astype(np.float32)
    below, fraction = (np.expand_dims(part, 3 - axis) for part in (below, fraction))
    above = np.minimum(below + 1, last)
    return np.take_along_axis(X, below, axis) * (1 - fraction) + np.take_along_axis(X, above, axis) * fraction


def _stretch_of(length: int, fraction: float, n_clips: int, rng: np.random.Generator) -> np.ndarray:
    """Mask [shape=(n_clips, length)] of a random stretch of at most `fraction` of `length` in each clip."""
    size = rng.integers(0, int(fraction * length) + 1, (n_clips, 1))
    first = rng.integers(0, length - size + 1)
    indices = np.arange(length)
    return (indices >= first) & (indices < first + size)
