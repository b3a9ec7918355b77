"""Decoded signal → the same signal as through a worse microphone, line or file format.

Each degradation is a function (signal [shape=(n_samples,)] float32, sampling_rate in Hz, rng) → (signal,
sampling_rate).
"""

import functools
import io
from collections.abc import Callable

import numpy as np

from ser_lib.audio.signal import SHORT_SECONDS, resample
from ser_lib.core.errors import AudioError

DEGRADE_VERSION = 1
"""Raised whenever a condition would give other samples."""
Degradation = Callable[[np.ndarray, int, np.random.Generator], tuple[np.ndarray, int]]

_TELEPHONE_RATE = 8000
_TELEPHONE_BAND = (300, 3400)
"""Hz; lower and upper end."""
_TELEPHONE_ORDER = 8
_MP3_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)
"""Sampling rates (Hz) that MP3 knows."""
_FULL_SCALE = 2.0**15
_NOISE_SNR, _NOISE_SLOPE = (5.0, 35.0), (0.0, 1.0)
"""dB that random noise is below the signal; power of the frequency by which its power falls: 0 white, 1 pink."""
_BAND_LOWER, _BAND_UPPER, _BAND_ORDER = (50.0, 400.0), (2500.0, 7000.0), 4
"""Hz; ranges of the ends of a random band."""


def add_noise(
    signal: np.ndarray, sampling_rate: int, rng: np.random.Generator, *, snr: float
) -> tuple[np.ndarray, int]:
    """Add white noise `snr` dB below the signal, both measured over the whole clip; nothing is clipped."""
    return _mix(signal, rng.standard_normal(len(signal)), snr), sampling_rate


def add_random_noise(signal: np.ndarray, sampling_rate: int, rng: np.random.Generator) -> tuple[np.ndarray, int]:
    """Add noise of a random colour, between white and pink, at random 5 to 35 dB below the signal."""
    snr, slope = rng.uniform(*_NOISE_SNR), rng.uniform(*_NOISE_SLOPE)
    spectrum = np.fft.rfft(rng.standard_normal(len(signal)))
    spectrum[1:] /= np.arange(1, len(spectrum)) ** (slope / 2)
    return _mix(signal, np.fft.irfft(spectrum, len(signal)), snr), sampling_rate


def limit_band(signal: np.ndarray, sampling_rate: int, rng: np.random.Generator) -> tuple[np.ndarray, int]:
    """Keep what a small microphone or a line carries: a band that begins at 50 to 400 Hz and ends at 2.5 to 7 kHz."""
    lower, upper = (np.exp(rng.uniform(*np.log(ends))) for ends in (_BAND_LOWER, _BAND_UPPER))
    upper = min(upper, 0.9 * sampling_rate / 2)
    return _keep_band(signal, sampling_rate, (lower, upper), _BAND_ORDER), sampling_rate


def cut_piece(signal: np.ndarray, sampling_rate: int, rng: np.random.Generator) -> tuple[np.ndarray, int]:
    """Leave a random piece of 1.25 to 2.5 s of what is longer."""
    longest = SHORT_SECONDS * sampling_rate
    if len(signal) <= longest:
        return signal, sampling_rate
    size = round(longest * rng.uniform(0.5, 1.0))
    first = int(rng.integers(len(signal) - size + 1))
    return signal[first : first + size], sampling_rate


def _mix(signal: np.ndarray, noise: np.ndarray, snr: float) -> np.ndarray:
    """Sum, float32, of a signal and of noise that is brought to `snr` dB below it."""
    power = np.mean(np.square(signal, dtype=np.float64)) / 10 ** (snr / 10)
    return (signal + noise * np.sqrt(power / np.mean(np.square(noise)))).astype(np.float32)


def change_gain(
    signal: np.ndarray, sampling_rate: int, rng: np.random.Generator, *, gain: float
) -> tuple[np.ndarray, int]:
    """Amplify by `gain` dB before a 16-bit recorder, which rounds and clips at full scale."""
    steps = np.rint(signal.astype(np.float64) * 10 ** (gain / 20) * _FULL_SCALE)
    return (np.clip(steps, -_FULL_SCALE, _FULL_SCALE - 1) / _FULL_SCALE).astype(np.float32), sampling_rate


def telephone(signal: np.ndarray, sampling_rate: int, rng: np.random.Generator) -> tuple[np.ndarray, int]:
    """Keep what an 8 kHz telephone line carries: 300 to 3400 Hz."""
    narrow = _resample(signal, sampling_rate, _TELEPHONE_RATE)
    return _keep_band(narrow, _TELEPHONE_RATE, _TELEPHONE_BAND, _TELEPHONE_ORDER), _TELEPHONE_RATE


def _keep_band(signal: np.ndarray, sampling_rate: int, ends: tuple[float, float], order: int) -> np.ndarray:
    """Signal, float32, in a band between two frequencies (Hz), by a Butterworth filter."""
    from scipy.signal import butter, sosfilt

    band = butter(order, ends, "bandpass", fs=sampling_rate, output="sos")
    return sosfilt(band, signal.astype(np.float64)).astype(np.float32)


def mp3(signal: np.ndarray, sampling_rate: int, rng: np.random.Generator, *, bit_rate: int) -> tuple[np.ndarray, int]:
    """Encode as MP3 at `bit_rate` bit/s, at the nearest sampling rate that MP3 has, and decode."""
    import av

    rate = min(_MP3_RATES, key=lambda known: abs(known - sampling_rate))
    samples = _resample(signal, sampling_rate, rate)
    file = io.BytesIO()
    with av.open(file, "w", format="mp3") as container:
        stream = container.add_stream("libmp3lame", rate=rate, layout="mono")
        stream.bit_rate = bit_rate
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples)[np.newaxis], format="fltp", layout="mono")
        frame.sample_rate = rate
        for packet in (*stream.encode(frame), *stream.encode(None)):
            container.mux(packet)
    file.seek(0)
    with av.open(file, "r") as encoded:
        return np.concatenate([frame.to_ndarray()[0] for frame in encoded.decode(audio=0)]), rate


def _resample(signal: np.ndarray, sampling_rate: int, target_rate: int) -> np.ndarray:
    samples = resample(signal, sampling_rate, target_rate=target_rate)
    if len(samples) == 0:
        raise AudioError(f"it is shorter than one sample at {target_rate} Hz")
    return samples


CONDITIONS: dict[str, Degradation] = {
    "noise 20 dB": functools.partial(add_noise, snr=20),
    "noise 10 dB": functools.partial(add_noise, snr=10),
    "noise 0 dB": functools.partial(add_noise, snr=0),
    "gain +12 dB": functools.partial(change_gain, gain=12),
    "gain -12 dB": functools.partial(change_gain, gain=-12),
    "telephone": telephone,
    "mp3 32 kbit/s": functools.partial(mp3, bit_rate=32_000),
}
"""Name of a condition → what it does to a signal."""
VARIATIONS: dict[str, Degradation] = {"noise": add_random_noise, "band": limit_band, "piece": cut_piece}
"""Of `AUGMENT`, for encoders: name → what it does to the signal of a training clip."""
OF_TRIMMED = ("piece",)
"""Variations of the trimmed signal, and not of the decoded one."""


def degrade(signal: np.ndarray, sampling_rate: int, *, condition: str, sha256: str) -> tuple[np.ndarray, int]:
    """Signal under a condition or variation; its noise depends only on the SHA-256 of the clip's file.

    Raises
    ------
    AudioError
        If nothing is left of the signal.
    """
    rng = np.random.default_rng(int(sha256, 16))
    degraded, rate = (CONDITIONS | VARIATIONS)[condition](signal, sampling_rate, rng)
    if np.abs(degraded).max(initial=0) <= 1 / _FULL_SCALE:
        raise AudioError(f"nothing is left of it with {condition}")
    return degraded, rate
