"""Any audio file → one mono signal at one rate → normalised, trimmed, denoised, of fixed length.

Signals are float32 in [-1, 1].
"""

import math
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soxr

from ser_lib.audio.channels import ChannelLevels, pick
from ser_lib.audio.decode import check_rate, despite_damage, read_blocks
from ser_lib.audio.settings import AudioSettings
from ser_lib.audio.spectrum import frame_levels, hann
from ser_lib.core.errors import AudioError, DamagedAudio

with warnings.catch_warnings():  # pydub warns of the ffmpeg program, which this project does without
    warnings.simplefilter("ignore")
    from pydub import AudioSegment, effects

_SILENT_PEAK = 2.0**-15
"""A signal that never exceeds one step of 16 bits is silence."""
_INT32_SCALE = 2.0**31
_MOST_SAMPLES = 100_000_000
"""Samples of a file that is taken as one clip: 35 minutes at 48 kHz, 400 MB."""
SHORT_SECONDS = 2.5
"""What is shorter may be heard repeated by an encoder, to which length tells clips and corpora apart."""
_BAND_FRAME, _BAND_DB = 1024, 60.0
_GATE_WINDOW, _GATE_HOP = 1024, 512
"""Window and hop (samples) of noise reduction."""


@dataclass(frozen=True)
class Recording:
    """What a file holds.

    Attributes
    ----------
    signal : np.ndarray [shape=(n_samples,)], float32
        Mean of its channels, or the one that was asked for.
    sampling_rate : int, Hz
    damaged_after : float or None
        Seconds after which something could not be decoded; None if all could.
    channels_differ : bool
        Whether its channels hold different sound (`channels.py`), so that their mean is no single speaker's.
    """

    signal: np.ndarray
    sampling_rate: int
    damaged_after: float | None = None
    channels_differ: bool = False


def load_audio(path: str | Path) -> tuple[np.ndarray, int]:
    """Decode an audio file and average its channels.

    Returns
    -------
    signal : np.ndarray [shape=(n_samples,)], float32
    sampling_rate : int, Hz

    Raises
    ------
    AudioError
        If the file is missing, damaged, empty, silent or too long, cannot be decoded, or holds NaN or infinity.
    """
    recording = load_recording(path)
    if recording.damaged_after is not None:
        raise DamagedAudio(recording.damaged_after)
    return recording.signal, recording.sampling_rate


def load_recording(path: str | Path, *, channel: str | None = None) -> Recording:
    """Decode an audio file, as far as it is intact, and average its channels or pick one (`channels.channel_names`).

    Raises
    ------
    AudioError
        As in `load_audio`, except for damage; or if there is no such channel.
    """
    damages: list[float] = []
    blocks, loudest, n_samples, rate, levels = [], 0.0, 0, 0, ChannelLevels()
    for channels, sampling_rate in despite_damage(read_blocks(path), damages.append):
        rate = sampling_rate
        heard = pick(channels, channel)
        levels.add(heard, rate)
        loudest = max(loudest, float(np.abs(heard).max(initial=0)))
        blocks.append(average(heard))
        n_samples += len(channels)
        most = _MOST_SAMPLES * min(1, rate / 48000)  # resampling makes more of a low rate's samples
        if n_samples > most:
            raise AudioError(
                f"the file is longer than {most / rate / 60:.0f} minutes; ser predict --window hears it piece by piece"
            )
    whole = np.concatenate(blocks) if blocks else np.zeros(0, dtype=np.float32)
    what = "the file" if channel is None else f"its {channel} channel"
    return Recording(_check_sound(whole, loudest, what), rate, next(iter(damages), None), levels.differ())


def to_mono(channels: np.ndarray) -> np.ndarray:
    """Average channels [shape=(n_samples, n_channels)] into a signal [shape=(n_samples,)], float32.

    Raises
    ------
    AudioError
        If there are no samples, or they are silent, NaN or infinite.
    """
    return _check_sound(average(channels), float(np.abs(channels).max(initial=0)))


def average(channels: np.ndarray) -> np.ndarray:
    """Mean of channels [shape=(n_samples, n_channels)], silent or not; AudioError if one holds NaN or infinity."""
    if not np.isfinite(channels).all():
        raise AudioError("the samples hold NaN or infinity")
    return channels.mean(axis=1, dtype=np.float64).astype(np.float32)


def _check_sound(signal: np.ndarray, loudest: float, what: str = "the file") -> np.ndarray:
    """Return a signal that is not silent; `loudest` is the largest amplitude of any channel."""
    if len(signal) == 0:
        raise AudioError(f"{what} holds no samples")
    if np.abs(signal).max() <= _SILENT_PEAK:
        raise AudioError(f"{what} is silent" if loudest <= _SILENT_PEAK else "its channels cancel each other out")
    if len(signal) > 1 and float(signal.max()) - float(signal.min()) <= _SILENT_PEAK:
        raise AudioError(f"{what} is silent: all of its samples have the same value")
    return signal


def resample(signal: np.ndarray, sampling_rate: int, *, target_rate: int) -> np.ndarray:
    """Resample from `sampling_rate` to `target_rate` (Hz) with soxr's high-quality filter."""
    if sampling_rate == target_rate:
        return signal
    return soxr.resample(signal, sampling_rate, target_rate)


def peak_level(signal: np.ndarray) -> float:
    """Level of the largest sample, in dB below full scale (dBFS)."""
    return 20 * float(np.log10(max(np.abs(signal).max(), _SILENT_PEAK)))


def bandwidth(signal: np.ndarray, sampling_rate: int) -> float:
    """Highest frequency (Hz) of a signal [shape=(n_samples,)] that is at most 60 dB below its strongest one.

    Found in the mean power spectrum over frames (Welch's method). Telephone speech ends at 3.4 to 4 kHz.

    References
    ----------
    Welch, "The use of fast Fourier transform for the estimation of power spectra", IEEE Transactions on Audio and
    Electroacoustics 15(2), 1967.
    """
    whole = fix_length(signal, target_length=max(len(signal), _BAND_FRAME))
    frames = np.lib.stride_tricks.sliding_window_view(whole, _BAND_FRAME)[:: _BAND_FRAME // 2]
    spectra = np.fft.rfft(frames * hann(_BAND_FRAME).astype(np.float32), axis=1)
    power = np.square(np.abs(spectra)).mean(axis=0)
    return float(np.flatnonzero(power >= power.max() / 10 ** (_BAND_DB / 10))[-1] * sampling_rate / _BAND_FRAME)


def normalize_volume(signal: np.ndarray, sampling_rate: int) -> np.ndarray:
    """Bring the peak to full scale with pydub (headroom 0 dB), as 32-bit integers: pydub misreads float bytes."""
    largest = np.abs(signal).max()
    integers = np.clip(signal.astype(np.float64) / max(1.0, largest) * _INT32_SCALE, -_INT32_SCALE, _INT32_SCALE - 1)
    segment = AudioSegment(integers.astype(np.int32).tobytes(), frame_rate=sampling_rate, sample_width=4, channels=1)
    normalized = effects.normalize(segment, headroom=0)
    return (np.frombuffer(normalized.raw_data, dtype=np.int32) / _INT32_SCALE).astype(np.float32)


def trim_silence(signal: np.ndarray, settings: AudioSettings) -> np.ndarray:
    """Cut off both ends what is more than `trim_top_db` dB below the loudest frame."""
    return signal[slice(*trim_bounds(signal, settings))]


def trim_bounds(signal: np.ndarray, settings: AudioSettings) -> tuple[int, int]:
    """First sample that `trim_silence` keeps, and the one after the last: those of `librosa.effects.trim`."""
    levels = frame_levels(signal, frame_length=settings.frame_length, hop_length=settings.hop_length)
    loud = np.flatnonzero(levels > -settings.trim_top_db)
    return int(loud[0]) * settings.hop_length, min(len(signal), (int(loud[-1]) + 1) * settings.hop_length)


def fix_length(signal: np.ndarray, *, target_length: int) -> np.ndarray:
    """Pad with zeros, or cut, at the end to `target_length` samples."""
    return np.pad(signal[:target_length], (0, max(0, target_length - len(signal))))


def repeat_short(signal: np.ndarray, sampling_rate: int) -> np.ndarray:
    """Repeat what is shorter than `SHORT_SECONDS` as a whole until it is not."""
    return np.tile(signal, math.ceil(SHORT_SECONDS * sampling_rate / max(1, len(signal))))


def reduce_noise(signal: np.ndarray, sampling_rate: int, *, reference: bool) -> np.ndarray:
    """Reduce noise by non-stationary spectral gating (noisereduce).

    With `reference`, by all of the library's defaults: windows of 1024 samples, 256 apart, and 30,000 zeros before
    and after the signal. Without, windows are 512 samples apart (at most 50 ms) and no zeros are added, which takes
    a fifth of the time; see `docs/speed.md` for the differences.

    References
    ----------
    Sainburg, Thielk and Gentner, "Finding, visualizing, and quantifying latent structure across diverse
    animal vocal repertoires", PLOS Computational Biology 16(10), 2020.
    """
    import noisereduce  # it imports much of SciPy, which stored features do not need

    if reference:
        return noisereduce.reduce_noise(y=signal, sr=sampling_rate).astype(np.float32)
    whole = fix_length(signal, target_length=max(len(signal), _GATE_WINDOW))
    hop = min(_GATE_HOP, sampling_rate // 20)
    reduced = noisereduce.reduce_noise(
        y=whole, sr=sampling_rate, n_fft=_GATE_WINDOW, hop_length=hop, padding=0, chunk_size=None
    )
    return reduced[: len(signal)].astype(np.float32)


def trim_steps(signal: np.ndarray, sampling_rate: int, settings: AudioSettings) -> dict[str, np.ndarray]:
    """Signals `decoded` (at its own rate), `resampled`, `normalised` and `trimmed`, in this order."""
    resampled = resample(signal, check_rate(sampling_rate), target_rate=settings.sampling_rate)
    if len(resampled) == 0:
        raise AudioError("the file is shorter than one sample at the common rate")
    normalized = normalize_volume(resampled, settings.sampling_rate)
    trimmed = trim_silence(normalized, settings)
    return {"decoded": signal, "resampled": resampled, "normalised": normalized, "trimmed": trimmed}


def finish_steps(trimmed: np.ndarray, settings: AudioSettings) -> dict[str, np.ndarray]:
    """Signals `denoised`, if the settings ask for it, and `padded` (to `target_length` samples).

    With `denoise_reference` padding comes first: the steps are then `padded` and `denoised`.

    Raises
    ------
    AudioError
        If noise reduction leaves NaN.
    """
    size = settings.n_samples
    if not settings.denoise:
        return {"padded": fix_length(trimmed, target_length=size)}
    if settings.denoise_reference:
        padded = fix_length(trimmed, target_length=size)
        denoised = reduce_noise(padded, settings.sampling_rate, reference=True)
        steps = {"padded": padded, "denoised": denoised}
    else:
        denoised = reduce_noise(trimmed[:size], settings.sampling_rate, reference=False)
        steps = {"denoised": denoised, "padded": fix_length(denoised, target_length=size)}
    if not np.isfinite(denoised).all():
        raise AudioError("noise reduction leaves NaN: the signal is silent for too long")
    return steps


def prepare_signal(signal: np.ndarray, sampling_rate: int, settings: AudioSettings) -> dict[str, np.ndarray]:
    """All steps from a decoded signal to the one that features are computed from; an encoder hears the trimmed one."""
    steps = trim_steps(signal, sampling_rate, settings)
    if settings.encoder is not None:
        return steps
    return steps | finish_steps(steps["trimmed"], settings)
