"""What a prediction needs of librosa, to the bit, without importing it: that takes three seconds, and this none.

librosa compiles functions by numba while it is imported, and imports much of SciPy. The tests hold each function here
to librosa's own.
"""

import functools

import numpy as np

_AMIN = 1e-5
"""Amplitude that levels in dB begin at."""
_LINEAR_STEP, _LINEAR_END = 200.0 / 3, 1000.0
"""Hz in a mel below 1 kHz, and where the scale becomes logarithmic."""
_LOG_STEP = np.log(6.4) / 27.0


@functools.lru_cache(maxsize=8)
def hann(size: int) -> np.ndarray:
    """Hann window [shape=(size,)], float64, for spectra: `librosa.filters.get_window("hann", size)`."""
    return (0.5 + 0.5 * np.cos(np.linspace(-np.pi, np.pi, size + 1)))[:-1]


def centred_frames(signal: np.ndarray, frame_length: int, hop_length: int) -> np.ndarray:
    """View [shape=(n_frames, frame_length)] of a signal with silence before and after it, as librosa frames it."""
    padded = np.pad(signal, frame_length // 2)
    return np.lib.stride_tricks.sliding_window_view(padded, frame_length)[::hop_length]


def frame_levels(signal: np.ndarray, *, frame_length: int, hop_length: int) -> np.ndarray:
    """RMS level of each frame [shape=(n_frames,)], in dB relative to the loudest.

    `librosa.amplitude_to_db(librosa.feature.rms(y=signal, …), ref=np.max, top_db=None)`.
    """
    frames = centred_frames(signal, frame_length, hop_length).T
    rms = np.sqrt(np.mean(np.square(frames, dtype=np.float32), axis=0))
    levels = 10.0 * np.log10(np.maximum(_AMIN**2, np.square(rms)))
    return levels - 10.0 * np.log10(np.maximum(_AMIN**2, rms.max() ** 2))


def stft(signal: np.ndarray, *, frame_length: int, hop_length: int) -> np.ndarray:
    """Short-time Fourier transform [shape=(frame_length / 2 + 1, n_frames)], complex64: `librosa.stft`."""
    frames = hann(frame_length) * centred_frames(signal, frame_length, hop_length)
    return np.fft.rfft(frames, axis=1).astype(np.complex64).T


def mel_filters(*, sampling_rate: int, frame_length: int, n_mels: int, fmin: float, fmax: float | None) -> np.ndarray:
    """Mel filters [shape=(n_mels, frame_length / 2 + 1)], float32, by Slaney: `librosa.filters.mel`.

    References
    ----------
    Slaney, "Auditory toolbox, version 2", Technical Report 1998-010, Interval Research Corporation, 1998.
    """
    edges = mel_edges(sampling_rate=sampling_rate, n_mels=n_mels, fmin=fmin, fmax=fmax)
    ramps = np.subtract.outer(edges, np.fft.rfftfreq(frame_length, 1 / sampling_rate))
    widths = np.diff(edges)[:, np.newaxis]
    triangles = np.minimum(-ramps[:-2] / widths[:-1], ramps[2:] / widths[1:])
    filters = np.maximum(0, triangles).astype(np.float32)
    filters *= (2.0 / (edges[2:] - edges[:-2]))[:, np.newaxis]
    return filters


def mel_edges(*, sampling_rate: int, n_mels: int, fmin: float, fmax: float | None) -> np.ndarray:
    """Frequencies [shape=(n_mels + 2,)] (Hz): band `k` rises from the `k`-th to the next and falls to the one after.

    `librosa.mel_frequencies(n_mels + 2, …)`.
    """
    lowest, highest = _to_mel(np.array([fmin, sampling_rate / 2 if fmax is None else fmax]))
    return _to_hz(np.linspace(lowest, highest, n_mels + 2))


def _to_mel(hz: np.ndarray) -> np.ndarray:
    above = _LINEAR_END / _LINEAR_STEP + np.log(np.maximum(hz, _LINEAR_END) / _LINEAR_END) / _LOG_STEP
    return np.where(hz >= _LINEAR_END, above, hz / _LINEAR_STEP)


def _to_hz(mel: np.ndarray) -> np.ndarray:
    first = _LINEAR_END / _LINEAR_STEP
    above = _LINEAR_END * np.exp(_LOG_STEP * (np.maximum(mel, first) - first))
    return np.where(mel >= first, above, _LINEAR_STEP * mel)
