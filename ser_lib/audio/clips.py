"""What is done to one clip, and what of it is kept in the cache: the work of parallel processes.

Kept are a clip's measures, and its analysis, from which features of any number of coefficients are made in no time.
Neither depends on the other clips: see `features.stands_alone`.
"""

import contextlib
import ctypes
import functools
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path

import numpy as np

from ser_lib.audio.degrade import DEGRADE_VERSION, degrade
from ser_lib.audio.features import analyse_trimmed, pool, stands_alone, to_features
from ser_lib.audio.measures import Measures, measure_steps
from ser_lib.audio.settings import AudioSettings
from ser_lib.audio.signal import load_audio, load_trimmed, trim_steps
from ser_lib.core.cache import Cache, key_of
from ser_lib.core.errors import AudioError

PIPELINE_VERSION = 4
"""Raised whenever the same file and settings would give other features or measures."""
_LIBRARIES = ("av", "librosa", "noisereduce", "numpy", "pydub", "scipy", "soundfile", "soxr")
_MEASURES_DEPEND_ON = {"sampling_rate", "frame_length", "hop_length", "trim_top_db"}
_ANALYSIS_DEPENDS_ON = {*_MEASURES_DEPEND_ON, "n_mels", "mel_fmin", "mel_fmax", "denoise", "denoise_reference"}
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
"""Names of options in glibc's malloc.h."""


@functools.cache
def library_versions() -> dict[str, str]:
    """Versions of the libraries that decide the features."""
    return {name: version(name) for name in _LIBRARIES}


def measures_key(sha256: str, settings: AudioSettings) -> str:
    """Name in the cache of a clip's measures."""
    return _key("measures", sha256, settings.model_dump(include=_MEASURES_DEPEND_ON))


def analysis_key(sha256: str, settings: AudioSettings, n_samples: int) -> str:
    """Name in the cache of the analysis of a clip that has `n_samples` samples after trimming."""
    values = settings.model_dump(include=_ANALYSIS_DEPENDS_ON)
    if not stands_alone(n_samples, settings):
        values["target_length"] = settings.target_length
    return _key("analysis", sha256, values)


def degraded_key(sha256: str, settings: AudioSettings, condition: str) -> str:
    """Name in the cache of the analysis of a clip under a condition of `degrade.CONDITIONS`."""
    values = settings.model_dump(include={*_ANALYSIS_DEPENDS_ON, "target_length"})
    return _key(f"{condition} {DEGRADE_VERSION}", sha256, values)


def recordings_key(sha256s: Sequence[str], settings: AudioSettings) -> str:
    """Name in the cache of which of some clips hold the same recording."""
    values = settings.model_dump(include={*_ANALYSIS_DEPENDS_ON, "target_length"})
    return _key("recordings", " ".join(sha256s), values)


def _key(step: str, sha256: str, settings: dict) -> str:
    return key_of(step=step, version=PIPELINE_VERSION, libraries=library_versions(), settings=settings, clip=sha256)


def measure(path: Path, sha256: str, settings: AudioSettings, cache: Cache) -> Measures | AudioError:
    """Measures of a file.

    Where the analysis needs no target length, it is made and kept in passing: the file is decoded already.
    """
    key = measures_key(sha256, settings)
    measures = cache.read(key)
    if measures is None:
        _keep_memory()
        try:
            signal, sampling_rate = load_audio(path)
            steps = trim_steps(signal, sampling_rate, settings)
        except AudioError as error:
            return error
        trimmed = steps["trimmed"]
        measures = np.array(measure_steps(steps, sampling_rate, settings))
        cache.write(key, measures)
        if stands_alone(len(trimmed), settings):
            with contextlib.suppress(AudioError):  # told when features are asked for
                cache.write(analysis_key(sha256, settings, len(trimmed)), analyse_trimmed(trimmed, settings))
    rate, n_samples, n_trimmed, peak, band = measures.tolist()
    return Measures(int(rate), int(n_samples), int(n_trimmed), peak, band)


def features(
    path: Path, sha256: str, settings: AudioSettings, cache: Cache, n_samples: int
) -> tuple[np.ndarray, np.ndarray] | AudioError:
    """Features [shape=(n_frames, n_features)], and pooled ones, of a file of `n_samples` samples after trimming."""
    key = analysis_key(sha256, settings, n_samples)
    analysis = _kept(cache, key, lambda: analyse_trimmed(load_trimmed(path, settings), settings))
    return analysis if isinstance(analysis, AudioError) else (to_features(analysis, settings), pool(analysis))


def degraded_features(
    path: Path, sha256: str, settings: AudioSettings, cache: Cache, condition: str
) -> np.ndarray | AudioError:
    """Features [shape=(n_frames, n_features)] of a file under a condition of `degrade.CONDITIONS`."""

    def analyse_degraded() -> np.ndarray:
        degraded = degrade(*load_audio(path), condition=condition, sha256=sha256)
        return analyse_trimmed(trim_steps(*degraded, settings)["trimmed"], settings)

    analysis = _kept(cache, degraded_key(sha256, settings, condition), analyse_degraded)
    return analysis if isinstance(analysis, AudioError) else to_features(analysis, settings)


def _kept(cache: Cache, key: str, make: Callable[[], np.ndarray]) -> np.ndarray | AudioError:
    """Entry of the cache, made and kept where it is missing; the error where the clip cannot be used."""
    analysis = cache.read(key)
    if analysis is None:
        _keep_memory()
        try:
            analysis = make()
        except AudioError as error:
            return error
        cache.write(key, analysis)
    return analysis


@functools.cache
def _keep_memory() -> None:
    """Let this process keep the memory that it frees: noise reduction takes megabytes anew for every clip.

    Half of its time would go into clearing fresh pages. glibc knows how to; other C libraries are left alone.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return
    for option, size in ((_M_TRIM_THRESHOLD, 2**30), (_M_MMAP_THRESHOLD, 2**25)):
        mallopt(option, size)
