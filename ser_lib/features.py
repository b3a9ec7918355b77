"""Signal → features: RMS, zero-crossing rate and MFCC of every frame."""

from pathlib import Path

import librosa
import numpy as np
from threadpoolctl import threadpool_limits

from ser_lib.audio import finish_steps, load_trimmed
from ser_lib.settings import AudioSettings


def extract_features(signal: np.ndarray, settings: AudioSettings) -> np.ndarray:
    """Features of every frame, computed by librosa with its centred framing.

    Parameters
    ----------
    signal : np.ndarray [shape=(target_length,)]
        Samples at `settings.sampling_rate` Hz.
    settings : AudioSettings
        Frame length, hop length and number of coefficients.

    Returns
    -------
    np.ndarray [shape=(n_frames, 2 + n_mfcc)], float32
        Columns: RMS (share of full scale), zero-crossing rate (share of the frame's samples), MFCC.
    """
    frames = {"frame_length": settings.frame_length, "hop_length": settings.hop_length}
    rms = librosa.feature.rms(y=signal, **frames)
    zcr = librosa.feature.zero_crossing_rate(signal, **frames)
    # With more threads the last bits of the mel spectrum change, and a worker has fewer than a notebook.
    with threadpool_limits(1, user_api="blas"):
        mfcc = librosa.feature.mfcc(
            y=signal,
            sr=settings.sampling_rate,
            n_mfcc=settings.n_mfcc,
            n_fft=settings.frame_length,
            hop_length=settings.hop_length,
        )
    return np.vstack([rms, zcr, mfcc]).T.astype(np.float32)


def process_audio_file(path: str | Path, settings: AudioSettings) -> np.ndarray:
    """Features of an audio file: the one way there is, for training and for prediction.

    Returns
    -------
    np.ndarray [shape=(n_frames, 2 + n_mfcc)], float32

    Raises
    ------
    AudioError
        If the file cannot be used; the message is the reason.
    """
    trimmed = load_trimmed(path, settings)
    *_, final = finish_steps(trimmed, settings).values()
    return extract_features(final, settings)
