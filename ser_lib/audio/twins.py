"""Clips that hold the same recording in whatever format: as wav and as flac, as mp3, quieter, or slightly cut.

In two stages: clips of similar length and similar summaries (`features.pool`) are candidates; two of them are twins if
their waveforms match at some lag. Codecs preserve the waveform of speech, and nobody says a word twice with the same
one. `docs/design.md` has the measurements.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import librosa
import numpy as np
import scipy.fft
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from ser_lib.audio.settings import AudioSettings
from ser_lib.audio.signal import load_audio, resample
from ser_lib.core.errors import AudioError

_BAND = (300.0, 3400.0)
"""Hz that are compared: those of a telephone, which every codec keeps."""
_RATE = 8000
_ALIKE = 1.2
"""Largest difference between the summaries of twins: root mean square over the bands (dB)."""
_NEIGHBOURS = 3
"""Most similar clips that each is compared with."""
_CUT = 0.3
"""Largest difference in length (s)."""
_MATCH = 0.6
"""Smallest correlation of two waveforms of the same recording."""
_LONGEST = 60
"""Seconds of a recording that are compared."""
_BLOCK = 512
"""Clips that are compared with all others at a time."""


def find_recordings(
    pooled: np.ndarray, seconds: np.ndarray, paths: Sequence[Path], settings: AudioSettings
) -> np.ndarray:
    """Find the clips that hold the same recording.

    Parameters
    ----------
    pooled : np.ndarray [shape=(n_clips, 3 * n_mels)]
        `features.pool` of each clip.
    seconds : np.ndarray [shape=(n_clips,)]
        Lengths after trimming (s).
    paths : sequence of Path
    settings : AudioSettings

    Returns
    -------
    np.ndarray [shape=(n_clips,)]
        For each clip the index of the first one that holds its recording, which may be itself.
    """
    waves: dict[int, np.ndarray] = {}
    twins = []
    for pair in _alike(_in_band(pooled, settings), seconds):
        for number in pair:
            waves[number] = waves[number] if number in waves else _wave(paths[number])
        if match(*(waves[number] for number in pair)) >= _MATCH:
            twins.append(pair)
    rows, columns = np.array(twins, dtype=int).reshape(-1, 2).T
    graph = coo_array((np.ones(len(rows)), (rows, columns)), shape=(len(paths), len(paths)))
    _, groups = connected_components(graph, directed=False)
    _, first = np.unique(groups, return_index=True)
    return first[groups]


def _in_band(pooled: np.ndarray, settings: AudioSettings) -> np.ndarray:
    """Summaries [shape=(n_clips, n)] of the bands that are compared, in dB above the clip's mean over these."""
    highest = settings.mel_fmax or settings.sampling_rate / 2
    centres = librosa.mel_frequencies(settings.n_mels + 2, fmin=settings.mel_fmin, fmax=highest)[1:-1]
    inside = (centres >= _BAND[0]) & (centres <= _BAND[1])
    mean, std, change = (part[:, inside].astype(np.float64) for part in np.split(pooled, 3, axis=1))
    return np.hstack([mean - mean.mean(axis=1, keepdims=True) if inside.any() else mean, std, change])


def _alike(summaries: np.ndarray, seconds: np.ndarray) -> Iterator[tuple[int, int]]:
    """Pairs of clips with similar summaries and lengths, each pair once, the first clip before the second."""
    squares = np.square(summaries).sum(axis=1)
    found: set[tuple[int, int]] = set()
    for start in range(0, len(summaries), _BLOCK):
        block = slice(start, start + _BLOCK)
        distances = squares[block, np.newaxis] + squares - 2 * summaries[block] @ summaries.T
        distances[np.abs(seconds[block, np.newaxis] - seconds) > _CUT] = np.inf
        np.fill_diagonal(distances[:, start:], np.inf)
        nearest = np.argpartition(distances, min(_NEIGHBOURS, len(summaries)) - 1, axis=1)[:, :_NEIGHBOURS]
        close = np.take_along_axis(distances, nearest, axis=1) <= summaries.shape[1] * _ALIKE**2
        rows, columns = np.nonzero(close)
        pairs = ((int(row) + start, int(nearest[row, column])) for row, column in zip(rows, columns, strict=True))
        found |= {(min(pair), max(pair)) for pair in pairs}
    return iter(sorted(found))


def _wave(path: Path) -> np.ndarray:
    """Waveform at 8 kHz in the band that is compared, high frequencies raised as in speech; empty if there is none."""
    try:
        signal, sampling_rate = load_audio(path)
    except AudioError:  # it has gone since
        return np.zeros(0)
    signal = resample(signal[: _LONGEST * sampling_rate], sampling_rate, target_rate=_RATE).astype(np.float64)
    n_samples = scipy.fft.next_fast_len(len(signal) + _RATE // 10, real=True)
    spectrum = scipy.fft.rfft(signal - signal.mean(), n_samples)
    frequencies = scipy.fft.rfftfreq(n_samples, 1 / _RATE)
    inside = (frequencies >= _BAND[0]) & (frequencies <= _BAND[1])
    return scipy.fft.irfft(spectrum * np.where(inside, np.sqrt(frequencies), 0), n_samples)


def match(one: np.ndarray, other: np.ndarray) -> float:
    """Largest correlation (0 to 1) of two waveforms [shape=(n_samples,)] over all lags."""
    loudness = np.sqrt((one @ one) * (other @ other))
    if loudness == 0:
        return 0.0
    n_samples = scipy.fft.next_fast_len(len(one) + len(other), real=True)
    product = scipy.fft.rfft(one, n_samples) * np.conj(scipy.fft.rfft(other, n_samples))
    return float(np.abs(scipy.fft.irfft(product, n_samples)).max() / loudness)
