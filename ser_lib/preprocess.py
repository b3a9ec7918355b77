"""Corpus → features of every clip. The work behind 01_preprocess."""

import hashlib
import json
from dataclasses import asdict, replace
from pathlib import Path, PurePath
from typing import Any

import numpy as np
import pandas as pd

from ser_lib.audio import clips as work
from ser_lib.audio.clips import each
from ser_lib.audio.encoders import check_weights, weights_sha256
from ser_lib.audio.features import Measures
from ser_lib.audio.normalize import normalize, speaker_statistics
from ser_lib.audio.settings import AudioSettings
from ser_lib.audio.twins import find_recordings
from ser_lib.core.cache import Cache, open_cache
from ser_lib.core.errors import AudioError, DatasetError, StageError
from ser_lib.core.io import write_csv
from ser_lib.corpora.audio_files import named_audio
from ser_lib.corpora.clips import Clip, check_known, find_corpora
from ser_lib.corpora.left_out import Skipped, format_reasons
from ser_lib.params import Params
from ser_lib.store import SKIPPED_FILE, ProcessedData, keep_params, load_processed, save_processed, to_labels


def preprocess_data(params: Params) -> ProcessedData:
    """Process the corpus, or load it again if its contents and the settings are those of last time.

    Of clips that are processed, what does not depend on the changed settings is taken from the cache
    (`ser_lib/core/cache.py`). Writes `PROCESSED_DATA_FILE`, and into `OUTPUT_DIR` the tables `clips.csv` and
    `skipped.csv`.

    Raises
    ------
    DatasetError
        If the corpus is missing or empty, or more than `MAX_SKIPPED` of its clips cannot be used.
    EncoderError
        If the weights of `ENCODER` are not on this machine, or damaged.
    ParameterError
        If `NORMALIZE_PER_SPEAKER` is asked for, and the speakers of some clips are unknown.

    Examples
    --------
    >>> from ser_lib import load_params, preprocess_data
    >>> params = load_params("params/demo.yaml", overrides=["OUTPUT_DIR=artifacts/example", "EPOCHS=1"])
    >>> data = preprocess_data(params)
    >>> data.X.shape == (len(data.clips), data.settings.n_frames, len(data.settings.feature_names))
    True
    """
    settings = params.audio_settings
    if settings.encoder is not None:
        check_weights(settings.encoder)
    clips, left_out = find_corpora(params.corpus_folders, params.LABEL_MAP, params.SPEAKER_PATTERN)
    if params.NORMALIZE_PER_SPEAKER:
        check_known(pd.DataFrame(clips), ["speaker"], "`NORMALIZE_PER_SPEAKER`")
    fingerprint = _fingerprint(clips, settings)
    stored = _load_again(params, clips, fingerprint)
    data = stored or process_clips(clips, settings, params.dataset_path, n_jobs=params.N_JOBS, fingerprint=fingerprint)
    failed = data.skipped.assign(files=1)
    skipped = pd.concat([_skipped_table(left_out), failed], ignore_index=True)
    write_csv(params.output_dir / SKIPPED_FILE, skipped)
    unusable = [Skipped(row.file, row.reason) for row in failed.itertuples() if named_audio(PurePath(row.file))]
    _check_skipped([*(left for left in left_out if left.fault), *unusable], len(data.clips), params.MAX_SKIPPED)
    if data.clips.empty:
        raise DatasetError(f"No clip can be used. The first: {data.skipped.file[0]}: {data.skipped.reason[0]}.")
    if stored is not None:
        print("Loaded again: the corpus and the settings are those of last time.")
    else:
        save_processed(params.processed_data_file, data)
        n_copies = data.clips["recording"].duplicated().sum() if "recording" in data.clips else 0
        if n_copies:
            print(f"{n_copies:,} clips hold the same recording as another, in another format or cut otherwise.")
    write_csv(params.output_dir / "clips.csv", data.clips)
    keep_params("01_preprocess", params)
    return replace(data, skipped=skipped)


def _fingerprint(clips: list[Clip], settings: AudioSettings) -> str:
    weights = {} if settings.encoder is None else {"weights": weights_sha256(settings.encoder)}
    key = weights | {
        "version": work.PIPELINE_VERSION,
        "libraries": work.library_versions(),
        "settings": settings.model_dump(),
        "clips": [(clip.clip, clip.speaker, clip.emotion, clip.text, clip.sha256) for clip in clips],
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


def process_clips(
    clips: list[Clip], settings: AudioSettings, folder: Path, *, n_jobs: int, fingerprint: str = ""
) -> ProcessedData:
    """Features of the clips below `folder` that can be used, on all cores; what is cached is not computed again.

    The longest after trimming sets the target length, if none is given.
    """
    cache = open_cache()
    paths = [folder / clip.file for clip in clips]
    tasks = [(path, clip.sha256, settings, cache) for path, clip in zip(paths, clips, strict=True)]
    keys = [work.measures_key(clip.sha256, settings) for clip in clips]
    measured = list(each(work.measure, tasks, keys, cache, n_jobs, "Processing"))
    usable = {number: measures for number, measures in enumerate(measured) if not isinstance(measures, AudioError)}
    longest = max((measures.n_trimmed for measures in usable.values()), default=1)
    settings = settings.model_copy(update={"target_length": settings.target_length or longest})

    trimmed = [
        (paths[number], clips[number].sha256, settings, cache, measures.n_trimmed)
        for number, measures in usable.items()
    ]
    all_keys = [work.features_keys(sha256, settings, n_samples) for _, sha256, _, _, n_samples in trimmed]
    X = np.empty((len(usable), settings.n_frames, len(settings.feature_names)), dtype=np.float32)
    rows: list[dict[str, Any]] = []
    pooled: list[np.ndarray] = []
    results = each(work.features, trimmed, all_keys, cache, n_jobs, "Collecting")
    for (number, measures), result in zip(usable.items(), results, strict=True):
        if isinstance(result, AudioError):
            measured[number] = result
        else:
            X[len(rows)], vector = result
            pooled.append(vector)
            rows.append(asdict(clips[number]) | _measures(measures, settings.sampling_rate))
    cache.shrink()
    unusable = [
        Skipped(clip.file, str(one)) for clip, one in zip(clips, measured, strict=True) if isinstance(one, AudioError)
    ]
    table = pd.DataFrame(rows, columns=None if rows else ["clip", "emotion"])
    if len(rows) > 1:
        table = _with_recordings(table, np.array(pooled), folder, settings, cache)
    data = ProcessedData(
        X=X[: len(rows)],
        y=to_labels(table["emotion"]),
        pooled=np.array(pooled, dtype=np.float32),
        clips=table,
        skipped=_skipped_table(unusable).drop(columns="files"),
        settings=settings,
        fingerprint=fingerprint,
    )
    return _normalize_speakers(data) if rows and settings.normalize_per_speaker else data


def _with_recordings(
    table: pd.DataFrame, pooled: np.ndarray, folder: Path, settings: AudioSettings, cache: Cache
) -> pd.DataFrame:
    """Add the column recording, which is equal where two clips hold the same recording, if any do."""
    paths, seconds = [folder / file for file in table["file"]], table["trimmed_seconds"].to_numpy()
    key = work.recordings_key(list(table["sha256"]), settings)
    first = cache.read(key)
    if first is None:
        first = find_recordings(pooled, seconds, paths, settings)
        cache.write(key, first)
    copies = first != np.arange(len(first))
    if not copies.any():
        return table
    return table.assign(recording=table["sha256"].to_numpy(dtype=str)[first])


def _normalize_speakers(data: ProcessedData) -> ProcessedData:
    """Standardise the features, and the pooled ones, with each speaker's own mean and standard deviation."""
    settings, speakers = data.settings, data.clips["speaker"].to_numpy(dtype=str)
    n_sound = np.array(settings.sound_frames_of(data.clips["trimmed_seconds"]))
    known = speaker_statistics(data.X, n_sound, speakers)
    pooled, ones = data.pooled[:, np.newaxis], np.ones(len(speakers), dtype=np.int64)
    known_pooled = speaker_statistics(pooled, ones, speakers)
    for speaker, statistics in known.items():
        rows = speakers == speaker
        data.X[rows] = normalize(data.X[rows], statistics)
        data.pooled[rows] = normalize(data.pooled[rows], known_pooled[speaker])
    return replace(data, speakers=known)


def _measures(measures: Measures, common_rate: int) -> dict[str, float]:
    return {
        "sampling_rate": measures.sampling_rate,
        "seconds": measures.n_samples / measures.sampling_rate,
        "trimmed_seconds": measures.n_trimmed / common_rate,
        "peak_dbfs": measures.peak_dbfs,
        "bandwidth_hz": measures.bandwidth_hz,
    }


def _skipped_table(skipped: list[Skipped]) -> pd.DataFrame:
    rows = [(left.file, left.reason, left.files) for left in skipped]
    table = pd.DataFrame(rows, columns=["file", "reason", "files"])
    return table.astype({"file": str, "reason": str, "files": np.int64})


def _check_skipped(faults: list[Skipped], n_usable: int, max_skipped: float) -> None:
    fraction = len(faults) / (len(faults) + n_usable)
    if fraction > max_skipped:
        raise DatasetError(
            f"At most {max_skipped:.1%} of the clips may be unusable (`MAX_SKIPPED`). "
            f"Got {len(faults)} of {len(faults) + n_usable} ({fraction:.1%}): {format_reasons(faults)}; skipped.csv "
            f"names them all. Repair them, or raise MAX_SKIPPED."
        )
