"""Corpus → features of every clip. The work behind 01_preprocess."""

import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
from joblib import Parallel, delayed

from ser_lib.audio import load_audio, trim_steps
from ser_lib.corpora import Clip, Skipped, find_clips
from ser_lib.errors import AudioError, DatasetError, StageError
from ser_lib.features import process_audio_file
from ser_lib.params import Params
from ser_lib.progress import progress_bar
from ser_lib.settings import AudioSettings
from ser_lib.store import ProcessedData, load_processed, save_processed, to_labels, write_csv

PIPELINE_VERSION = 1
"""Raised whenever the same file and settings would give other features."""


def preprocess_data(params: Params) -> ProcessedData:
    """Process the corpus, or load it again if its contents and the settings are those of last time.

    Writes `PROCESSED_DATA_FILE`, and into `OUTPUT_DIR` the tables `clips.csv` and `skipped.csv`.

    Raises
    ------
    DatasetError
        If the corpus is missing or empty, or more than `MAX_SKIPPED` of its clips cannot be used.
    """
    settings = AudioSettings.from_params(params)
    clips, left_out = find_clips(params.CORPORA[0], params.dataset_path)
    fingerprint = _fingerprint(clips, settings)
    data = _load_again(params, clips, fingerprint)
    usable, unusable = (data.clips, data.skipped) if data else _measure_all(clips, settings, params)
    skipped = pd.concat([_skipped_table(left_out), unusable], ignore_index=True)
    write_csv(params.output_dir / "skipped.csv", skipped)
    _check_skipped(skipped, sum(left.duplicate for left in left_out), len(usable), params.MAX_SKIPPED)
    if usable.empty:
        raise DatasetError(f"No clip can be used. The first: {unusable.file[0]}: {unusable.reason[0]}.")
    if data is not None:
        print("Loaded again: the corpus and the settings are those of last time.")
    else:
        X, settings = _extract_all(usable, settings, params)
        data = ProcessedData(X, to_labels(usable["emotion"]), usable, unusable, settings, fingerprint)
        save_processed(params.processed_data_file, data)
    write_csv(params.output_dir / "clips.csv", data.clips)
    return replace(data, skipped=skipped)


def _fingerprint(clips: list[Clip], settings: AudioSettings) -> str:
    key = {
        "version": PIPELINE_VERSION,
        "libraries": {name: version(name) for name in ("librosa", "noisereduce", "pydub", "soxr")},
        "settings": settings.model_dump(),
        "clips": [(clip.clip, clip.sha256) for clip in clips],
    }
    return hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()


def _load_again(params: Params, clips: list[Clip], fingerprint: str) -> ProcessedData | None:
    """Stored data of exactly these clips and settings, with today's file names; None if there are none."""
    try:
        data = load_processed(params.processed_data_file)
    except StageError:
        return None
    if data.fingerprint != fingerprint:
        return None
    files = {clip.clip: clip.file for clip in clips}
    known = set(data.clips["clip"])
    return replace(
        data,
        clips=data.clips.assign(file=data.clips["clip"].map(files)),
        skipped=data.skipped.assign(file=[file for clip, file in files.items() if clip not in known]),
    )


def _measure_all(clips: list[Clip], settings: AudioSettings, params: Params) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Table of the usable clips with their lengths, and of the files that cannot be used."""
    paths = [params.dataset_path / clip.file for clip in clips]
    measured = list(zip(clips, _in_parallel(_measure, paths, settings, params.N_JOBS, "Measuring"), strict=True))
    usable = [asdict(clip) | lengths for clip, lengths in measured if not isinstance(lengths, AudioError)]
    unusable = [Skipped(clip.file, str(error)) for clip, error in measured if isinstance(error, AudioError)]
    return pd.DataFrame(usable), _skipped_table(unusable)


def _extract_all(usable: pd.DataFrame, settings: AudioSettings, params: Params) -> tuple[np.ndarray, AudioSettings]:
    """Features [shape=(n_clips, n_frames, n_features)] and the settings with the target length that was used."""
    if settings.target_length is None:
        longest = round(usable["trimmed_seconds"].max() * settings.sampling_rate)
        settings = settings.model_copy(update={"target_length": longest})
    paths = [params.dataset_path / file for file in usable["file"]]
    features = _in_parallel(_features, paths, settings, params.N_JOBS, "Extracting features")
    for path, result in zip(paths, features, strict=True):
        if isinstance(result, AudioError):
            raise DatasetError(f"{path.name} can be decoded but not processed: {result}. Mend or remove it.")
    return np.stack(features), settings


def _in_parallel(function: Callable, paths: list[Path], settings: AudioSettings, n_jobs: int, what: str) -> list:
    """Results of `function(path, settings)` for every path, in order; an `AudioError` is a result as well."""
    jobs = (delayed(function)(path, settings) for path in paths)
    results = Parallel(n_jobs=n_jobs, batch_size=16, return_as="generator")(jobs)
    with progress_bar(len(paths), what, "clips") as bar:
        return list(_counted(results, bar.update))


def _counted(results: Iterable, count: Callable[[int], None]) -> Iterable:
    for result in results:
        count(1)
        yield result


def _measure(path: Path, settings: AudioSettings) -> dict | AudioError:
    """Lengths of a file before and after trimming."""
    try:
        signal, sampling_rate = load_audio(path)
        trimmed = trim_steps(signal, sampling_rate, settings)["trimmed"]
    except AudioError as error:
        return error
    return {
        "sampling_rate": sampling_rate,
        "seconds": len(signal) / sampling_rate,
        "trimmed_seconds": len(trimmed) / settings.sampling_rate,
    }


def _features(path: Path, settings: AudioSettings) -> np.ndarray | AudioError:
    try:
        return process_audio_file(path, settings)
    except AudioError as error:
        return error


def _skipped_table(skipped: list[Skipped]) -> pd.DataFrame:
    rows = [(left.file, left.reason) for left in skipped]
    return pd.DataFrame(rows, columns=["file", "reason"], dtype=str)


def _check_skipped(skipped: pd.DataFrame, n_duplicates: int, n_usable: int, max_skipped: float) -> None:
    faults = len(skipped) - n_duplicates
    share = faults / (faults + n_usable)
    if share > max_skipped:
        named = "; ".join(f"{row.file}: {row.reason}" for row in skipped.head(3).itertuples())
        raise DatasetError(
            f"At most {max_skipped:.1%} of the clips may be unusable (`MAX_SKIPPED`). "
            f"Got {faults} of {faults + n_usable} ({share:.1%}): {named}; skipped.csv names them all. "
            f"Mend them, or raise MAX_SKIPPED."
        )
