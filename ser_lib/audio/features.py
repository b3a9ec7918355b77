"""Signal → features: RMS, zero-crossing rate and MFCC of every frame, the log-mel spectrogram, or an embedding.

The values are librosa's. One framing of the signal serves all of them, where librosa frames it each time,
and the mel filters, which are nearly empty, are kept sparse; `docs/speed.md` has the measurements.
"""

import functools
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ser_lib.audio.settings import AudioSettings
from ser_lib.audio.signal import bandwidth, finish_steps, load_audio, peak_level, trim_steps
from ser_lib.audio.spectrum import hann, mel_edges, mel_filters
from ser_lib.core.errors import ParameterError
from ser_lib.core.paths import locate

if TYPE_CHECKING:
    import scipy.sparse

_SMALLEST_POWER = 1e-10
_DYNAMIC_RANGE = 80.0
"""dB below the clip's loudest band that a band is cut off at; with the one above, librosa's defaults."""


def analyse(signal: np.ndarray, settings: AudioSettings) -> np.ndarray:
    """Analyse a signal in librosa's centred frames, apart from the number of coefficients.

    Parameters
    ----------
    signal : np.ndarray [shape=(target_length,)], float32
        Samples at `settings.sampling_rate` Hz.
    settings : AudioSettings

    Returns
    -------
    np.ndarray [shape=(n_frames, 2 + n_mels)], float32
        Columns: RMS (fraction of full scale), zero-crossing rate (fraction of the frame's samples), and power in each
        mel band in dB, at most 80 dB below the loudest.

    Raises
    ------
    ParameterError
        If mel bands hold no frequency of the spectrum.

    Examples
    --------
    >>> import numpy as np
    >>> from ser_lib.audio.features import analyse
    >>> from ser_lib.audio.settings import AudioSettings
    >>> tone = np.sin(2 * np.pi * 1000 * np.arange(24414, dtype=np.float32) / 24414)
    >>> rms, zcr = analyse(tone, AudioSettings(target_length=24414))[24, :2]
    >>> round(float(rms), 3), round(float(zcr), 3)  # 1 / sqrt(2) of full scale; two crossings in each of 1,000 periods
    (0.707, 0.082)
    """
    import scipy.fft  # half a second, which an encoder's clip does not need

    frames = _frames(np.pad(signal, settings.frame_length // 2), settings)
    mean_power = np.einsum("ij,ij->i", frames, frames) / np.float32(settings.frame_length)
    spectrum = scipy.fft.rfft(frames * _window(settings.frame_length), axis=1)
    power = spectrum.real**2 + spectrum.imag**2
    mel = (_filters_of(settings) @ power.T).T
    decibels = 10 * np.log10(np.maximum(mel, _SMALLEST_POWER))
    log_mel = np.maximum(decibels, decibels.max() - _DYNAMIC_RANGE)
    return np.column_stack([np.sqrt(mean_power), _zero_crossing_rate(signal, settings), log_mel])


def _frames(padded: np.ndarray, settings: AudioSettings) -> np.ndarray:
    """View [shape=(n_frames, frame_length)] of a padded signal."""
    windows = np.lib.stride_tricks.sliding_window_view(padded, settings.frame_length)
    return windows[:: settings.hop_length]


def _zero_crossing_rate(signal: np.ndarray, settings: AudioSettings) -> np.ndarray:
    """Zero-crossing rate of each frame, as librosa computes it, from one running sum over the signal.

    The first and the last sample are repeated before and after the signal, samples within 1e-10 of zero count as
    zero, and zero counts as positive.
    """
    negative = np.pad(signal, settings.frame_length // 2, mode="edge") < -_SMALLEST_POWER
    crossings = np.cumsum(np.concatenate([[False], negative[1:] != negative[:-1]]))
    first = np.arange(1 + len(signal) // settings.hop_length) * settings.hop_length
    count = crossings[first + settings.frame_length - 1] - crossings[first]
    return (count / settings.frame_length).astype(np.float32)


@functools.lru_cache(maxsize=8)
def _window(frame_length: int) -> np.ndarray:
    return hann(frame_length).astype(np.float32)


def _filters_of(settings: AudioSettings) -> "scipy.sparse.csr_array":
    """Mel filters for some settings; they do not depend on the target length, which differs between clips."""
    most_empty = 0 if settings.features == "logmel" else settings.n_mels - 1
    rate, frame_length, n_mels = settings.sampling_rate, settings.frame_length, settings.n_mels
    return _mel_filters(rate, frame_length, n_mels, settings.mel_fmin, settings.mel_fmax, most_empty)


def band_edges(settings: AudioSettings) -> np.ndarray:
    """Frequencies [shape=(n_mels + 2,)] (Hz) that mel bands rise from and fall to; between the ends, their centres."""
    rate, n_mels = settings.sampling_rate, settings.n_mels
    return mel_edges(sampling_rate=rate, n_mels=n_mels, fmin=settings.mel_fmin, fmax=settings.mel_fmax)


@functools.lru_cache(maxsize=8)
def _mel_filters(
    sampling_rate: int, frame_length: int, n_mels: int, fmin: float, fmax: float | None, most_empty: int
) -> "scipy.sparse.csr_array":
    """Mel filters, of which at most `most_empty` may hold no frequency."""
    import scipy.sparse

    filters = mel_filters(sampling_rate=sampling_rate, frame_length=frame_length, n_mels=n_mels, fmin=fmin, fmax=fmax)
    n_empty = int((filters.max(axis=1) == 0).sum())
    if n_empty > most_empty:
        raise ParameterError(
            f"Each band of `N_MELS` between `MEL_FMIN` and `MEL_FMAX` must hold a frequency of the spectrum; they come "
            f"every {sampling_rate / frame_length:.1f} Hz. Got {n_empty} of {n_mels} bands "
            f"without one. Lower N_MELS, widen the range, or raise FRAME_LENGTH."
        )
    return scipy.sparse.csr_array(filters)


def to_features(analysis: np.ndarray, settings: AudioSettings) -> np.ndarray:
    """Features [shape=(n_frames, n_features)], float32, from an analysis of any number of frames.

    Columns for `mfcc`: RMS (fraction of full scale), zero-crossing rate (fraction of the frame's samples), MFCC.
    For `logmel`: power in each mel band in dB above the clip's mean; with `cmn`, above the band's.
    Missing frames are padding and repeat the last one; with `tile`, the frames with sound come again from the first.
    """
    rows = np.minimum(np.arange(settings.n_frames), len(analysis) - 1)
    if settings.tile:
        rows = np.arange(settings.n_frames) % (1 + np.flatnonzero(analysis[:, 0] > 0)[-1])
    log_mel = _without_band_means(analysis) if settings.cmn else analysis[:, 2:]
    if settings.features == "logmel":
        return (log_mel if settings.cmn else _level_log_mel(analysis))[rows]
    import scipy.fft

    cepstrum = scipy.fft.dct(log_mel, axis=1, type=2, norm="ortho")
    return np.column_stack([analysis[:, :2], cepstrum[:, : settings.n_mfcc]])[rows]


def _level_log_mel(analysis: np.ndarray) -> np.ndarray:
    """Log-mel power [shape=(n_frames, n_mels)] in dB above the clip's mean over bands and frames with sound."""
    log_mel = analysis[:, 2:]
    return log_mel - log_mel[analysis[:, 0] > 0].mean()


def _without_band_means(analysis: np.ndarray) -> np.ndarray:
    """Log-mel power [shape=(n_frames, n_mels)] in dB above each band's mean over frames with sound.

    For MFCC, which are linear in it, this is cepstral mean normalisation: it removes what a room, a microphone or a
    telephone line adds to the whole clip, and the voice's mean spectrum too.

    References
    ----------
    Atal, "Effectiveness of linear prediction characteristics of the speech wave for automatic speaker identification
    and verification", Journal of the Acoustical Society of America 55(6), 1974.
    """
    log_mel = analysis[:, 2:]
    return log_mel - log_mel[analysis[:, 0] > 0].mean(axis=0)


def pool(analysis: np.ndarray) -> np.ndarray:
    """Summarise the frames with sound of an analysis, for models that take one vector per clip.

    Returns
    -------
    np.ndarray [shape=(3 * n_mels,)], float32
        Of each band of the log-mel spectrogram (dB above the clip's mean): mean, standard deviation, and standard
        deviation of the difference between successive frames (dB).
    """
    log_mel = _level_log_mel(analysis)[analysis[:, 0] > 0]
    change = np.diff(log_mel, axis=0) if len(log_mel) > 1 else np.zeros_like(log_mel)
    return np.concatenate([log_mel.mean(axis=0), log_mel.std(axis=0), change.std(axis=0)])


def stands_alone(n_samples: int, settings: AudioSettings) -> bool:
    """Whether the analysis of a trimmed clip of `n_samples` samples is the same for every target length.

    It is not where the clip is cut, or padded before its noise is reduced.
    """
    padded_first = settings.denoise and settings.denoise_reference
    return not padded_first and (settings.target_length is None or n_samples <= settings.target_length)


def analyse_trimmed(trimmed: np.ndarray, settings: AudioSettings) -> np.ndarray:
    """Apply the remaining steps and `analyse` to a trimmed signal.

    If it stands alone, frames go on until one holds nothing but padding; otherwise to the target length.
    """
    if stands_alone(len(trimmed), settings):
        size = len(trimmed) + settings.frame_length + settings.hop_length
        settings = settings.model_copy(update={"target_length": size})
    *_, final = finish_steps(trimmed, settings).values()
    return analyse(final, settings)


class Measures(NamedTuple):
    """What is measured of a clip beside its features."""

    sampling_rate: int
    """Hz, of the file."""
    n_samples: int
    """Of the file."""
    n_trimmed: int
    """Samples that trimming leaves, at the common rate."""
    peak_dbfs: float
    """Level of the largest sample, before it was brought to full scale."""
    bandwidth_hz: float
    """Of what trimming leaves."""


class SignalChain:
    """The one chain from a signal to features, for training and for prediction.

    Each step is taken once, when it is asked for; training keeps `measures` and `analysis` in its cache.

    Parameters
    ----------
    signal : np.ndarray [shape=(n_samples,)], float32
        Mono.
    sampling_rate : int, Hz
    settings : AudioSettings

    Raises
    ------
    AudioError
        If the signal cannot be used; the message is the reason. `analysis` and `features` may raise it, too.

    Examples
    --------
    >>> import numpy as np
    >>> from ser_lib.audio.features import SignalChain
    >>> from ser_lib.audio.settings import AudioSettings
    >>> tone = 0.5 * np.sin(2 * np.pi * 220 * np.arange(16000, dtype=np.float32) / 16000)
    >>> SignalChain(tone, 16000, AudioSettings(target_length=24414, features="logmel")).features.shape
    (48, 128)
    """

    def __init__(self, signal: np.ndarray, sampling_rate: int, settings: AudioSettings) -> None:
        self.settings = settings
        self._steps = trim_steps(signal, sampling_rate, settings)
        self.trimmed = self._steps["trimmed"]
        """Signal [shape=(n_samples,)] at `settings.sampling_rate` that features are made of."""
        self._sampling_rate = sampling_rate

    @functools.cached_property
    def measures(self) -> Measures:
        """What is measured beside the features."""
        decoded, trimmed = self._steps["decoded"], self.trimmed
        band = bandwidth(trimmed, self.settings.sampling_rate)
        return Measures(self._sampling_rate, len(decoded), len(trimmed), peak_level(decoded), band)

    @functools.cached_property
    def analysis(self) -> np.ndarray:
        """What `analyse_trimmed` gives."""
        return analyse_trimmed(self.trimmed, self.settings)

    @functools.cached_property
    def embedding(self) -> np.ndarray:
        """What `encoders.embed` makes of the trimmed signal."""
        from ser_lib.audio.encoders import embed

        assert self.settings.encoder is not None  # `features` says so
        return embed(self.trimmed, self.settings.sampling_rate, self.settings.encoder, tile=self.settings.tile)

    @property
    def features(self) -> np.ndarray:
        """Features [shape=(n_frames, n_features)], float32: the embedding, or what `to_features` describes."""
        if self.settings.encoder is not None:
            return self.embedding[np.newaxis]
        return to_features(self.analysis, self.settings)


def process_audio_file(path: str | Path, settings: AudioSettings) -> np.ndarray:
    """Features of an audio file: `SignalChain`, of the mean of its channels.

    A relative path is looked for in the current folder, then in the project.

    Returns
    -------
    np.ndarray [shape=(n_frames, n_features)], float32

    Raises
    ------
    AudioError
        If the file cannot be used; the message is the reason.

    Examples
    --------
    >>> import numpy as np
    >>> import soundfile
    >>> from ser_lib import process_audio_file
    >>> from ser_lib.audio.settings import AudioSettings
    >>> soundfile.write("tone.wav", 0.5 * np.sin(2 * np.pi * 220 * np.arange(16000) / 16000), 16000)
    >>> process_audio_file("tone.wav", AudioSettings(target_length=24414)).shape
    (48, 15)
    """
    return SignalChain(*load_audio(locate(path)), settings).features
