"""Functionals: what phonetics measures of a voice, frame by frame, and its statistics over the clip; nothing is learnt.

It needs no weights, and is what a model hears with where no pretrained encoder is on the machine.

References
----------
Eyben et al., "The Geneva minimalistic acoustic parameter set (GeMAPS) for voice research and affective computing", IEEE
Transactions on Affective Computing 7(2), 2016. Most of these measures stand there; the numbers are more, and others.
"""

import functools
from collections.abc import Callable
from itertools import pairwise

import numpy as np

from ser_lib.audio.encoders.base import HOP, SAMPLING_RATE
from ser_lib.audio.spectrum import centred_frames, mel_filters, stft

NAME = "functionals"
ABOUT = "Statistics of pitch, loudness, spectrum, voice quality and rhythm over the clip: not learnt, nothing to fetch."
LICENCE = "the project's"
CITATION = "Eyben et al., IEEE Transactions on Affective Computing 7(2), 2016"
WEIGHTS, VERSION = (), 1
"""The version is told with a model: another one has other numbers."""
SECONDS, HEARD = 30.0, "first"
"""Of a clip that is heard, at most, and which."""
_SIZES = {"spectrum": 120, "cepstrum": 39, "pitch": 17, "loudness": 14, "voice quality": 61, "rhythm": 55}
N_FEATURES = sum(_SIZES.values())
_ENDS = np.cumsum(list(_SIZES.values())).tolist()
GROUPS = {name: slice(end - size, end) for (name, size), end in zip(_SIZES.items(), _ENDS, strict=True)}
_FRAME = 512
"""Samples of a frame of the spectrum: 32 ms."""
_PITCH_FRAME = 1024
"""Samples of a frame of the pitch: 64 ms, four periods of the lowest voices."""
_FFT = 1296
"""Points of its Fourier transform: no lag that counts wraps around, and 1296 has no factor but 2 and 3."""
_LOWEST, _HIGHEST = 60.0, 500.0
"""Hz of a voice's pitch."""
_OCTAVE_COST = 0.03
"""Periodicity that a pitch must have more than one an octave higher (Boersma)."""
_PERIODIC = 0.5
"""Periodicity of a frame that is voiced."""
_SOUNDING = -35.0
"""dB below the loudest frame from which on a frame is not a pause."""
_FLOOR, _BAND_FLOOR = 60.0, 70.0
"""dB below the loudest frame, and the loudest band, that others are cut off at."""
_SMALLEST = 1e-10
_BANDS, _COEFFICIENTS = 40, 13
_MODULATION = (0.5, 1.5, 3.0, 5.0, 8.0, 12.0, 20.0)
"""Hz between whose neighbours the changes of loudness of eight groups of bands are measured."""


def open_encoder() -> Callable[[np.ndarray], np.ndarray]:
    """Function from a signal [shape=(n_samples,)] at 16 kHz to its functionals [shape=(N_FEATURES,)]; no weights."""
    return embed_signal


def embed_signal(signal: np.ndarray) -> np.ndarray:
    """Functionals [shape=(N_FEATURES,)], float32, of a mono signal at 16 kHz; its volume does not matter."""
    sound = signal[: int(SECONDS * SAMPLING_RATE)].astype(np.float64)
    sound = np.pad(sound - sound.mean(), (0, max(0, _FRAME - len(sound))))
    sound /= max(np.abs(sound).max(), _SMALLEST)
    power = np.abs(stft(sound, frame_length=_FRAME, hop_length=HOP).T.astype(np.complex128)) ** 2
    bands = _to_db(power @ _filters().T)
    bands = np.maximum(bands, bands.max() - _BAND_FLOOR)
    level = _to_db(power.sum(axis=1))
    level = np.maximum(level - level.max(), -_FLOOR)
    sounding = level > _SOUNDING
    pitch, periodicity = track_pitch(sound)
    voiced = (periodicity > _PERIODIC) & sounding
    heard = voiced if voiced.sum() >= 3 else sounding  # a whisper has no voiced frames
    parts = (
        *_spectrum(bands, sounding, heard),
        *_cepstrum(bands, sounding),
        *_pitch(pitch, heard),
        *_loudness(level, sounding),
        *_voice_quality(sound, power, periodicity, sounding, heard),
        *_rhythm(bands, sounding, heard),
    )
    return np.concatenate([np.atleast_1d(part) for part in parts]).astype(np.float32)


def track_pitch(sound: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pitch (Hz) and periodicity (0 to 1) of each frame, both [shape=(n_frames,)]: maxima of the autocorrelation.

    What repeats more slowly than the lowest pitch, such as hum, is taken for a voice at the highest.

    References
    ----------
    Boersma, "Accurate short-term analysis of the fundamental frequency and the harmonics-to-noise ratio of a sampled
    sound", Proceedings of the Institute of Phonetic Sciences 17, University of Amsterdam, 1993.
    """
    window = np.hanning(_PITCH_FRAME)
    shortest, longest = int(SAMPLING_RATE / _HIGHEST), int(SAMPLING_RATE / _LOWEST)
    correlation = _autocorrelation(centred_frames(sound, _PITCH_FRAME, HOP) * window)[:, : longest + 1]
    correlation /= np.maximum(correlation[:, :1], _SMALLEST) * _autocorrelation(window)[: longest + 1]
    lags = np.arange(shortest, longest)
    found = shortest + (correlation[:, lags] - _OCTAVE_COST * np.log2(lags / shortest)).argmax(axis=1)
    before, at, after = (np.take_along_axis(correlation, (found + step)[:, None], 1)[:, 0] for step in (-1, 0, 1))
    curve = before - 2 * at + after
    is_peak = curve < 0
    offset = np.where(is_peak, (before - after) / (2 * np.where(is_peak, curve, -1)), 0)  # top of a parabola
    return SAMPLING_RATE / (found + np.clip(offset, -1, 1)), np.clip(at, 0, 1)


def _autocorrelation(frames: np.ndarray) -> np.ndarray:
    """Autocorrelation of each frame over the last axis, relative to that of lag 0 for one frame alone."""
    power = np.abs(np.fft.rfft(frames, _FFT)) ** 2
    correlation = np.fft.irfft(power, _FFT)
    return correlation / correlation[0] if frames.ndim == 1 else correlation


def _to_db(power: np.ndarray) -> np.ndarray:
    return 10 * np.log10(np.maximum(power, _SMALLEST))


@functools.cache
def _filters() -> np.ndarray:
    return mel_filters(sampling_rate=SAMPLING_RATE, frame_length=_FRAME, n_mels=_BANDS, fmin=50.0, fmax=8000.0)


@functools.cache
def _cosines() -> np.ndarray:
    """Discrete cosine transform (type 2) [shape=(n_bands, n_coefficients)], without its first coefficient."""
    numbers = np.outer(np.arange(_BANDS) + 0.5, np.arange(1, _COEFFICIENTS + 1))
    return np.sqrt(2 / _BANDS) * np.cos(np.pi * numbers / _BANDS)


def _changes(values: np.ndarray, where: np.ndarray) -> np.ndarray:
    """Changes from frame to frame, into the frames that `where` marks; zeros where there are none."""
    changes = np.diff(values, axis=0)[where[1:]]
    return changes if len(changes) else np.zeros_like(values[:1])


def _spread(values: np.ndarray) -> np.ndarray:
    """Mean, deviation and five percentiles of numbers [shape=(n,)]."""
    return np.array([values.mean(), values.std(), *np.percentile(values, (10, 25, 50, 75, 90))])


def _slope(values: np.ndarray, at: np.ndarray) -> float:
    """Slope of the line through numbers (least squares); 0 where there are too few."""
    return float(np.polyfit(at, values, 1)[0]) if len(values) > 4 else 0.0


def _spectrum(bands: np.ndarray, sounding: np.ndarray, heard: np.ndarray) -> tuple[np.ndarray, ...]:
    """Of each mel band: mean level while voiced, relative to all bands, deviation, and deviation of its changes."""
    mean = bands[heard].mean(axis=0)
    return mean - mean.mean(), bands[sounding].std(axis=0), _changes(bands, sounding).std(axis=0)


def _cepstrum(bands: np.ndarray, sounding: np.ndarray) -> tuple[np.ndarray, ...]:
    """Of each cepstral coefficient: deviation, and how far it falls below and rises above its mean."""
    cepstrum = bands[sounding] @ _cosines()
    low, high = np.percentile(cepstrum - cepstrum.mean(axis=0), (10, 90), axis=0)
    return cepstrum.std(axis=0), low, high


def _pitch(pitch: np.ndarray, heard: np.ndarray) -> tuple[np.ndarray, ...]:
    """In semitones: height, range, how it falls over the clip, and in each stretch, and how it trembles."""
    tones = 12 * np.log2(pitch / 100)
    spread = _spread(tones[heard])
    stretches = [tones[start:end] for start, end in _stretches(heard) if end - start >= 5] or [np.zeros(5)]
    slopes = np.array([_slope(one, np.arange(len(one))) for one in stretches])
    ranges = np.array([np.ptp(one) for one in stretches])
    steps = np.clip(_changes(tones, heard & np.append(False, heard[:-1])), -3, 3)
    return (
        spread,
        np.array([spread[6] - spread[2], spread[5] - spread[3], _slope(tones[heard], np.flatnonzero(heard))]),
        np.array([slopes.mean(), slopes.std(), np.abs(slopes).mean(), ranges.mean(), ranges.max()]),
        np.array([np.abs(steps).mean(), steps.std()]),
    )


def _loudness(level: np.ndarray, sounding: np.ndarray) -> tuple[np.ndarray, ...]:
    """In dB below the loudest frame: how loudness spreads, rises and falls, and its course over the clip."""
    loud, changes = level[sounding], _changes(level, np.ones_like(sounding))
    first, _, last = (part.mean() if len(part) else loud.mean() for part in np.array_split(loud, 3))
    course = _slope(level, np.arange(len(level)) / len(level))
    return (
        _spread(loud),
        np.array([np.abs(changes).mean(), changes.std(), *np.percentile(changes, (5, 95)), course, first, last]),
    )


def _voice_quality(
    sound: np.ndarray, power: np.ndarray, periodicity: np.ndarray, sounding: np.ndarray, heard: np.ndarray
) -> list[np.ndarray]:
    """How periodic the voice is, and of nine measures of the spectrum's shape: mean and deviation, and percentiles."""
    hz = np.fft.rfftfreq(_FRAME, 1 / SAMPLING_RATE)
    share = power / np.maximum(power.sum(axis=1, keepdims=True), _SMALLEST)
    total = np.cumsum(share, axis=1)

    def level(low: float, high: float, summarize: Callable = np.mean) -> np.ndarray:
        return _to_db(summarize(power[:, (hz >= low) & (hz < high)], axis=1))

    change = np.sqrt((np.diff(np.sqrt(share), axis=0) ** 2).sum(axis=1))
    crossings = np.diff(np.signbit(centred_frames(sound, _FRAME, HOP)), axis=1)
    measures = (
        share @ hz,  # centroid (Hz)
        hz[np.minimum((total < 0.85).sum(axis=1), len(hz) - 1)],  # roll-off (Hz)
        _to_db(np.exp(np.log(np.maximum(power, _SMALLEST)).mean(axis=1))) - _to_db(power.mean(axis=1)),  # flatness (dB)
        np.append(0.0, change),  # flux
        level(1000, 5000, np.sum) - level(50, 1000, np.sum),  # alpha ratio (dB)
        level(2000, 5000, np.max) - level(0, 2000, np.max),  # Hammarberg index (dB)
        level(0, 250) - level(250, 500),  # slopes (dB)
        level(500, 1500) - level(1500, 4000),
        crossings.mean(axis=1),  # zero crossings for each sample
    )
    voiced = periodicity[heard]
    parts = [voiced.mean(), voiced.std(), *np.percentile(voiced, (10, 50, 90))]
    parts += [periodicity[sounding].mean(), periodicity[sounding].std()]
    for one in measures:
        parts += [one[heard].mean(), one[heard].std(), one[sounding].mean(), one[sounding].std()]
        parts += [*np.percentile(one[sounding], (10, 90))]
    return [np.array(parts)]


def _rhythm(bands: np.ndarray, sounding: np.ndarray, heard: np.ndarray) -> tuple[np.ndarray, ...]:
    """Length, pauses, how long and how many the voiced stretches are, and how fast bands grow louder and softer."""
    seconds = len(bands) * HOP / SAMPLING_RATE
    lengths = np.array([end - start for start, end in _stretches(heard)])
    of_stretches = np.log1p([lengths.mean(), lengths.std(), lengths.max()])
    times = np.array([np.log(seconds), sounding.mean(), heard.mean(), len(lengths) / seconds, *of_stretches])
    courses = bands.reshape(len(bands), 8, -1).mean(axis=2)
    courses = (courses - courses.mean(axis=0)) * np.hanning(len(courses) + 2)[1:-1, None]
    size = max(512, len(courses))
    spectrum = np.abs(np.fft.rfft(courses, size, axis=0)) ** 2 / len(courses)
    rates = np.fft.rfftfreq(size, HOP / SAMPLING_RATE)
    strengths = [
        np.log(spectrum[(rates >= low) & (rates < high)].mean(axis=0) + 1e-3) for low, high in pairwise(_MODULATION)
    ]
    return times, *strengths


def _stretches(marked: np.ndarray) -> np.ndarray:
    """First frame of each stretch of marked frames, and the one after its last [shape=(n, 2)]."""
    return np.flatnonzero(np.diff(np.concatenate([[0], marked.astype(int), [0]]))).reshape(-1, 2)
