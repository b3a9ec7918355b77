"""Decoded signal → the same signal as through a worse microphone, line or file format.

Each degradation is a function (signal [shape=(n_samples,)] float32, sampling_rate in Hz, rng) → (signal,
sampling_rate).
"""

import functools
import io
from collections.abc import Callable

import numpy as np

from ser_lib.audio.signal import resample
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


def add_noise(
    signal: np.ndarray, sampling_rate: int, rng: np.random.Generator, *, snr: float
) -> tuple[np.ndarray, int]:
    """Add white noise `snr` dB below the signal, both measured over the whole clip; nothing is clipped."""
    noise = rng.standard_normal(len(signal))
    power = np.mean(np.square(signal, dtype=np.float64)) / 10 ** (snr / 10)
    noise *= np.sqrt(power / np.mean(np.square(noise)))
    return (signal + noise).astype(np.float32), sampling_rate


def change_gain(
    signal: np.ndarray, sampling_rate: int, rng: np.random.Generator, *, gain: float
) -> tuple[np.ndarray, int]:
    """Amplify by `gain` dB before a 16-bit recorder, which rounds and clips at full scale."""
    steps = np.rint(signal.astype(np.float64) * 10 ** (gain / 20) * _FULL_SCALE)
    return (np.clip(steps, -_FULL_SCALE, _FULL_SCALE - 1) / _FULL_SCALE).astype(np.float32), sampling_rate


def telephone(signal: np.ndarray, sampling_rate: int, rng: np.random.Generator) -> tuple[np.ndarray, int]:
    """Keep what an 8 kHz telephone line carries: 300 to 3400 Hz."""
    from scipy.signal import butter, sosfilt

    narrow = _resample(signal, sampling_rate, _TELEPHONE_RATE)
    band = butter(_TELEPHONE_ORDER, _TELEPHONE_BAND, "bandpass", fs=_TELEPHONE_RATE, output="sos")
    return sosfilt(band, narrow.astype(np.float64)).astype(np.float32), _TELEPHONE_RATE


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


def degrade(signal: np.ndarray, sampling_rate: int, *, condition: str, sha256: str) -> tuple[np.ndarray, int]:
    """Signal under a condition; its noise depends only on the SHA-256 of the clip's file.

    Raises
    ------
    AudioError
        If nothing is left of the signal.
    """
    rng = np.random.default_rng(int(sha256, 16))
    degraded, rate = CONDITIONS[condition](signal, sampling_rate, rng)
    if np.abs(degraded).max(initial=0) <= 1 / _FULL_SCALE:
        raise AudioError(f"nothing is left of it with {condition}")
    return degraded, rate
