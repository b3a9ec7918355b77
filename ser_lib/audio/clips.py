"""What is done to one clip, what of it is cached, and all clips in parallel.

Cached are a clip's measures, its analysis, from which features of any number of coefficients are made in no time, and
its embedding. None of them depends on the other clips: see `features.stands_alone`.
"""

import contextlib
import functools
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from joblib import Parallel, delayed

from ser_lib.audio.degrade import DEGRADE_VERSION, OF_TRIMMED, degrade
from ser_lib.audio.encoders import weights_sha256
from ser_lib.audio.features import Measures, SignalChain, pool, stands_alone, to_features
from ser_lib.audio.settings import AudioSettings
from ser_lib.audio.signal import SHORT_SECONDS, load_audio
from ser_lib.core.cache import Cache, key_of, open_cache
from ser_lib.core.cluster import scheduler_address
from ser_lib.core.errors import AudioError, StageError
from ser_lib.core.io import file_hash
from ser_lib.core.workers import end_with, keep_memory

if TYPE_CHECKING:  # workers do not need it
    import pandas as pd

PIPELINE_VERSION = 4
"""Raised whenever the same file and settings would give other features or measures."""
_LIBRARIES = ("av", "librosa", "noisereduce", "numpy", "pydub", "scipy", "soundfile", "soxr")
_MEASURES_DEPEND_ON = {"sampling_rate", "frame_length", "hop_length", "trim_top_db"}
_ANALYSIS_DEPENDS_ON = {*_MEASURES_DEPEND_ON, "n_mels", "mel_fmin", "mel_fmax", "denoise", "denoise_reference"}
_EMBEDDING_VERSION = 2
"""Raised whenever an encoder would hear something else with the same weights."""
_BATCH = 16
"""Clips per task of a worker."""
_SHRINK_EVERY = 2000
"""Clips after which the cache is brought back to its limit."""
Result = TypeVar("Result")


@functools.cache
def library_versions() -> dict[str, str]:
    """Versions of the libraries that decide the features."""
    return {name: version(name) for name in _LIBRARIES}


def measures_key(sha256: str, settings: AudioSettings) -> str:
    """Cache key of a clip's measures."""
    return _key("measures", sha256, settings.model_dump(include=_MEASURES_DEPEND_ON))


def analysis_key(sha256: str, settings: AudioSettings, n_samples: int) -> str:
    """Cache key of the analysis of a clip that has `n_samples` samples after trimming."""
    values = settings.model_dump(include=_ANALYSIS_DEPENDS_ON)
    if not stands_alone(n_samples, settings):
        values["target_length"] = settings.target_length
    return _key("analysis", sha256, values)


def embedding_key(sha256: str, settings: AudioSettings, condition: str = "") -> str:
    """Cache key of a clip's embedding, of the clip itself or under a condition or variation of `degrade.py`."""
    values = settings.model_dump(include=_MEASURES_DEPEND_ON) | {
        "weights": weights_sha256(settings.encoder),
        "n_features": settings.n_features,  # as pooled
        "version": _EMBEDDING_VERSION,
    }
    if settings.tile:
        values["tile"] = f"mean with repeats to {SHORT_SECONDS} s"
    return _key(f"embedding {condition} {DEGRADE_VERSION}" if condition else "embedding", sha256, values)


def features_keys(sha256: str, settings: AudioSettings, n_samples: int) -> list[str]:
    """Cache keys of all that `features` needs of a clip that has `n_samples` samples after trimming."""
    keys = [analysis_key(sha256, settings, n_samples)]
    return keys if settings.encoder is None else [*keys, embedding_key(sha256, settings)]


def degraded_key(sha256: str, settings: AudioSettings, condition: str) -> str:
    """Cache key of the analysis, or embedding, of a clip under a condition of `degrade.CONDITIONS`."""
    if settings.encoder is not None:
        return embedding_key(sha256, settings, condition)
    values = settings.model_dump(include={*_ANALYSIS_DEPENDS_ON, "target_length"})
    return _key(f"{condition} {DEGRADE_VERSION}", sha256, values)


def recordings_key(sha256s: Sequence[str], settings: AudioSettings) -> str:
    """Cache key of which of some clips hold the same recording."""
    values = settings.model_dump(include={*_ANALYSIS_DEPENDS_ON, "target_length"})
    return _key("recordings", " ".join(sha256s), values)


def _key(step: str, sha256: str, settings: dict) -> str:
    return key_of(step=step, version=PIPELINE_VERSION, libraries=library_versions(), settings=settings, clip=sha256)


def measure(path: Path, sha256: str, settings: AudioSettings, cache: Cache) -> Measures | AudioError:
    """Measures of a file; its embedding, and an analysis that needs no target length, are cached in passing."""

    def measure_file() -> np.ndarray:
        chain = SignalChain(*load_audio(path), settings)
        if stands_alone(chain.measures.n_trimmed, settings):
            with contextlib.suppress(AudioError):  # reported when features are asked for
                cache.write(analysis_key(sha256, settings, chain.measures.n_trimmed), chain.analysis)
        if settings.encoder is not None:
            cache.write(embedding_key(sha256, settings), chain.embedding)
        return np.array(chain.measures)

    measures = _get_or_compute(cache, measures_key(sha256, settings), measure_file)
    if isinstance(measures, AudioError):
        return measures
    rate, n_samples, n_trimmed, peak, band = measures.tolist()
    return Measures(int(rate), int(n_samples), int(n_trimmed), peak, band)


def features(
    path: Path, sha256: str, settings: AudioSettings, cache: Cache, n_samples: int
) -> tuple[np.ndarray, np.ndarray] | AudioError:
    """Features [shape=(n_frames, n_features)], and pooled ones, of a file of `n_samples` samples after trimming."""
    key = analysis_key(sha256, settings, n_samples)
    analysis = _get_or_compute(cache, key, lambda: SignalChain(*load_audio(path), settings).analysis)
    if isinstance(analysis, AudioError):
        return analysis
    if settings.encoder is None:
        return to_features(analysis, settings), pool(analysis)
    key = embedding_key(sha256, settings)
    embedding = _get_or_compute(cache, key, lambda: SignalChain(*load_audio(path), settings).embedding)
    return embedding if isinstance(embedding, AudioError) else (embedding[np.newaxis], pool(analysis))


def degraded_features(
    path: Path, sha256: str, settings: AudioSettings, cache: Cache, condition: str
) -> np.ndarray | AudioError:
    """Features [shape=(n_frames, n_features)] of a file under a condition or variation of `degrade.py`."""

    def hear_degraded() -> np.ndarray:
        signal, rate = load_audio(path)
        if condition in OF_TRIMMED:
            signal, rate = SignalChain(signal, rate, settings).trimmed, settings.sampling_rate
        degraded = degrade(signal, rate, condition=condition, sha256=sha256)
        chain = SignalChain(*degraded, settings)
        return chain.analysis if settings.encoder is None else chain.embedding

    heard = _get_or_compute(cache, degraded_key(sha256, settings, condition), hear_degraded)
    if isinstance(heard, AudioError):
        return heard
    return to_features(heard, settings) if settings.encoder is None else heard[np.newaxis]


def hear_again(
    clips: "pd.DataFrame",
    folder: Path,
    settings: AudioSettings,
    conditions: Iterable[str],
    n_jobs: int,
    what: str,
    instead: str,
) -> Iterator[np.ndarray | AudioError]:
    """What `degraded_features` gives for every clip (with file and sha256) below `folder`, condition by condition.

    Raises
    ------
    StageError
        If a clip is not there as it was processed; says what could be done `instead` of bringing it back.
    """
    for clip in clips.itertuples():
        path = folder / clip.file
        if not path.is_file() or file_hash(path) != clip.sha256:
            state = "has changed" if path.is_file() else "is missing"
            raise StageError(
                f"`DATASET_PATH` must hold the clips as they were processed: {clip.file} {state}. "
                f"Run 01_preprocess again, with the folder that holds them, or {instead}."
            )
    cache = open_cache()
    rows = [(folder / clip.file, clip.sha256) for clip in clips.itertuples()]
    tasks = [(*row, settings, cache, condition) for condition in conditions for row in rows]
    keys = [degraded_key(sha256, settings, condition) for _, sha256, settings, _, condition in tasks]
    yield from each(degraded_features, tasks, keys, cache, n_jobs, what)
    cache.shrink()


def _get_or_compute(cache: Cache, key: str, compute: Callable[[], np.ndarray]) -> np.ndarray | AudioError:
    """Cached array, computed if missing; the error if the clip cannot be used."""
    array = cache.read(key)
    if array is None:
        keep_memory()
        try:
            array = compute()
        except AudioError as error:
            return error
        cache.write(key, array)
    return array


def each(
    function: Callable[..., Result],
    tasks: Sequence[tuple],
    keys: Sequence[str | Sequence[str]],
    cache: Cache,
    n_jobs: int,
    what: str,
) -> Iterator[Result]:
    """Results of `function(*task)` for every task, in order; an `AudioError` is a result as well.

    What is cached under the task's key, or all of its keys, is read here, the rest is computed in parallel: on all
    cores or, if there is a Dask scheduler (`core/cluster.py`), on its workers.
    """
    from ser_lib.core.progress import progress_bar  # IPython, which workers do not need

    known = [all(one in cache for one in ([key] if isinstance(key, str) else key)) for key in keys]
    missing = [task for task, is_known in zip(tasks, known, strict=True) if not is_known]
    computed = iter(_compute(function, missing, cache, n_jobs))
    with progress_bar(len(tasks), what, "clips") as bar:
        for number, (task, is_known) in enumerate(zip(tasks, known, strict=True), start=1):
            yield function(*task) if is_known else next(computed)
            bar.update(1)
            if number % _SHRINK_EVERY == 0:
                cache.shrink()


def _compute(function: Callable[..., Result], tasks: Sequence[tuple], cache: Cache, n_jobs: int) -> Iterable[Result]:
    """Results on the cores of this machine or, where there is a scheduler, on its workers; few tasks are done here."""
    if len(tasks) > _BATCH and scheduler_address() is not None:
        from ser_lib.core.away import compute

        return compute(function, tasks, _BATCH, cache)
    n_workers = n_jobs if len(tasks) > _BATCH else 1
    workers = Parallel(
        n_workers, batch_size=_BATCH, return_as="generator", initializer=end_with, initargs=(os.getpid(),)
    )
    return workers(delayed(function)(*task) for task in tasks)
