"""The files that pass from one notebook to the next: written whole or not at all, checked when read.

Parameters pass too: in a run they are the run's. By hand, each is decided once, by the notebook that declares it; each
stage writes down what it was given, and later notebooks take it from there.
"""

import difflib
import json
import os
import re
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import TypeAdapter, ValidationError

from ser_lib.audio.normalize import Statistics
from ser_lib.audio.settings import AudioSettings, StoredSettings
from ser_lib.core.errors import ParameterError, StageError
from ser_lib.core.io import read_csv, whole_file, write_text
from ser_lib.core.labels import EMOTIONS, all_labels, in_order
from ser_lib.core.paths import shown
from ser_lib.params import Params, make_params, unknown_parameter

if TYPE_CHECKING:  # pandas and json_tricks take longer to import than a prediction, which needs neither
    import pandas as pd

SETS = ("train", "validation", "test")
"""The three sets of a split."""
SPLIT_FILE = "split.csv"
"""Which clip is in which set; in `OUTPUT_DIR`."""
LEAKAGE_FILE = "leakage.json"
"""What the test and validation clips have in common with training clips; in `OUTPUT_DIR`."""
PREDICTIONS_FILE = "test_predictions.csv"
"""What the model says of each test clip; in `OUTPUT_DIR`."""
HISTORY_FILE = "history.json"
"""Loss, accuracy and learning rate of each epoch; in `OUTPUT_DIR`."""
SKIPPED_FILE = "skipped.csv"
"""Files that are no clips of the run, and why."""
UNUSED = "unused"
"""What stands for a set in a split where a clip is in none."""
MODEL_CARD_FILE = "model_card.md"
"""What a model is for and what not; in a record."""
LICENCE_FILE = "LICENCE.txt"
BUNDLE_FILE = "bundle.json"
"""What a model was trained with; beside the model."""
MANIFEST_FILE = "manifest.json"
"""What ran, with what; in a record."""

RUN_VARIABLE = "SER_RUN_PARAMS"
"""Environment variable: the file with the parameters of the run that a kernel belongs to."""
HANDOVER_FILE = "notebook_params.json"
"""What each notebook decided; in `OUTPUT_DIR`."""
_DECIDED = TypeAdapter(dict[str, dict[str, Any]])
_SETTINGS = TypeAdapter(StoredSettings)
_SPEAKERS = TypeAdapter(dict[str, Statistics])


@dataclass(frozen=True)
class ProcessedData:
    """What preprocessing makes of a corpus.

    Attributes
    ----------
    X : np.ndarray [shape=(n_clips, n_frames, n_features)], float32
    y : np.ndarray [shape=(n_clips,)], int64
        Labels.
    pooled : np.ndarray [shape=(n_clips, 3 * n_mels)], float32
        One vector for each clip (`features.pool`), for the models that the network is compared with.
    clips : pd.DataFrame
        One row per clip: clip (id), corpus, speaker, emotion, text, file (below `DATASET_PATH`), sha256 of the
        file, sampling_rate (Hz), seconds and trimmed_seconds (before and after trimming), peak_dbfs and bandwidth_hz.
        Where clips hold the same recording, also recording: the sha256 of the first that holds it.
    skipped : pd.DataFrame
        One row per file left out, or per kind of files that are no audio: file, reason, and how many files.
    settings : AudioSettings
        With the target length (samples) that was used.
    fingerprint : str
        SHA-256 over the contents of the corpus and the settings asked for.
    speakers : dict
        With `NORMALIZE_PER_SPEAKER`, what each speaker's features were normalised by; empty without.
    """

    X: np.ndarray
    y: np.ndarray
    pooled: np.ndarray
    clips: "pd.DataFrame"
    skipped: "pd.DataFrame"
    settings: AudioSettings
    fingerprint: str
    speakers: dict[str, Statistics] = field(default_factory=dict)


def read_json(path: Path) -> dict:
    """Read JSON with the standard library: json_tricks would import any module that a file names."""
    try:
        return json.loads(require(path, "a notebook before this one").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        raise StageError(f"{shown(path)} is damaged. Run the notebook that writes it again.") from None


def read_array(path: Path) -> np.ndarray:
    """Read one array (.npy) that 02_split wrote."""
    try:
        return np.load(require(path, "02_split"), allow_pickle=False)
    except (ValueError, EOFError, OSError):
        raise StageError(f"{shown(path)} is damaged. Run 02_split again.") from None


def require(path: Path, notebook: str) -> Path:
    """Return `path` if it is there; otherwise StageError, which names the notebook that writes it."""
    if not path.is_file():
        raise StageError(f"{shown(path)} is not there yet. Run {notebook} first, with the same OUTPUT_DIR.")
    return path


def save_processed(path: Path, data: ProcessedData) -> None:
    """Write `data` as one npz file without pickled objects."""
    tables: dict[str, Any] = {f"clips.{name}": _plain(column) for name, column in data.clips.items()}
    tables |= {f"skipped.{name}": _plain(column) for name, column in data.skipped.items()}
    with whole_file(path) as partial, partial.open("wb") as file:
        np.savez(
            file,
            X=data.X,
            y=data.y,
            pooled=data.pooled,
            target_length=data.settings.n_samples,
            settings=data.settings.model_dump_json(),
            fingerprint=data.fingerprint,
            speakers=_SPEAKERS.dump_json(data.speakers).decode(),
            **tables,
        )


def _plain(column: "pd.Series") -> np.ndarray:
    """Array without objects: numbers as they are, everything else as fixed-width text."""
    return column.to_numpy() if column.dtype.kind in "if" else column.to_numpy(dtype=str)


def load_processed(path: Path) -> ProcessedData:
    """Read what `save_processed` wrote; StageError if it is missing or damaged."""
    require(path, "01_preprocess")
    try:
        with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            if file.zip.testzip() is not None:  # a damaged name would drop a column without a word
                raise zipfile.BadZipFile
            return ProcessedData(
                X=file["X"],
                y=file["y"],
                pooled=file["pooled"],
                clips=_table(file, "clips."),
                skipped=_table(file, "skipped."),
                settings=_SETTINGS.validate_json(str(file["settings"])),
                fingerprint=str(file["fingerprint"]),
                speakers=_SPEAKERS.validate_json(str(file["speakers"])),
            )
    except (AttributeError, KeyError, ValueError, EOFError, OSError, RuntimeError, zipfile.BadZipFile):
        raise StageError(f"{shown(path)} is damaged. Run 01_preprocess again.") from None


def _table(file: np.lib.npyio.NpzFile, prefix: str) -> "pd.DataFrame":
    import pandas as pd

    return pd.DataFrame({name.removeprefix(prefix): file[name] for name in file.files if name.startswith(prefix)})


def load_split(params: Params, clips: "pd.DataFrame") -> np.ndarray:
    """Set of each of `clips`: `train`, `validation`, `test` or `unused`.

    StageError if the split is missing or belongs to other clips.
    """
    path = require(params.output_dir / SPLIT_FILE, "02_split")
    try:
        split = read_csv(path)
        fits = split["clip"].tolist() == clips["clip"].tolist() and set(split["set"]) - {UNUSED} == set(SETS)
    except (ValueError, KeyError):
        fits = False
    if not fits:
        raise StageError(f"{shown(path)} does not belong to these processed data. Run 02_split again.")
    return split["set"].to_numpy(dtype=str)


def load_sets(params: Params) -> tuple[ProcessedData, dict[str, tuple[np.ndarray, np.ndarray, "pd.DataFrame"]]]:
    """Read the processed data and divide them by the split.

    Returns
    -------
    data : ProcessedData
    sets : dict
        For each of `SETS`: features [shape=(n, n_frames, n_features)], one-hot labels [shape=(n, n_classes)] over the
        emotions of the training set, and clips.
    """
    data = load_processed(params.processed_data_file)
    split = load_split(params, data.clips)
    classes = in_order(data.clips["emotion"][split == "train"])
    sets = {}
    for name in SETS:
        clips = data.clips[split == name].reset_index(drop=True)
        sets[name] = (data.X[split == name], one_hot(to_labels(clips["emotion"], classes), len(classes)), clips)
    return data, sets


def one_hot(labels: np.ndarray, n_classes: int = len(EMOTIONS)) -> np.ndarray:
    """One-hot rows [shape=(n, n_classes)], float32, of integer labels [shape=(n,)]."""
    return np.eye(n_classes, dtype=np.float32)[labels]


def to_labels(emotions: "pd.Series", classes: Sequence[str] | None = None) -> np.ndarray:
    """Index [shape=(n,)] of each emotion in `classes`; by default its label (`labels.all_labels`)."""
    classes = all_labels(emotions) if classes is None else classes
    return emotions.map({emotion: index for index, emotion in enumerate(classes)}).to_numpy(dtype=np.int64)


def notebook_params(namespace: Mapping[str, Any], *, stage: str = "") -> Params:
    """Parameters of a notebook: its variables (`globals()`) that are fields of `Params`.

    What the notebook `stage` does not set comes from the notebooks before it, or is the default. In a run, the run's
    parameters count whatever a notebook says, so that its record is true.

    Raises
    ------
    ParameterError
        If a value has the wrong type or range, or a variable in capitals is nearly called like a parameter.
    StageError
        If what earlier notebooks decided is damaged or contradictory.
    """
    if RUN_VARIABLE in os.environ:
        return Params.model_validate_json(Path(os.environ[RUN_VARIABLE]).read_bytes())
    if misspelt := next((name for name, value in namespace.items() if _is_misspelt(name, value)), None):
        raise ParameterError(unknown_parameter(misspelt))
    own = {name: namespace[name] for name in Params.model_fields if name in namespace}
    folder = make_params({name: value for name, value in own.items() if name == "OUTPUT_DIR"})
    try:
        return make_params(_before(stage, _read_decided(folder)) | own)
    except ParameterError as error:
        if own.keys() & re.findall(r"`([A-Z0-9_]+)", str(error)):
            raise
        raise StageError(f"The notebooks before this one do not fit together: {error} Run them again.") from None


def _is_misspelt(name: str, value: Any) -> bool:
    """Whether a variable is meant to be a parameter and is none; others in capitals, such as SEEDS, may be anything."""
    if name in Params.model_fields or not re.fullmatch("[A-Z][A-Z0-9_]{2,}", name):
        return False
    near = difflib.get_close_matches(name, Params.model_fields, n=1, cutoff=0.85)
    several = isinstance(value, list | tuple | dict) and near == [name.removesuffix("S")]
    return bool(near) and not several


def keep_params(stage: str, params: Params) -> None:
    """Write down what the notebook `stage` decided beyond those before it, for those after it."""
    try:
        decided = _read_decided(params)
    except StageError:
        decided = {}
    before = _before(stage, decided)
    given = params.model_dump(mode="json", include=params.model_fields_set - {"OUTPUT_DIR"})
    own = {name: value for name, value in given.items() if name not in before or before[name] != value}
    write_text(params.output_dir / HANDOVER_FILE, json.dumps(decided | {stage: own}, indent=1) + "\n")


def _read_decided(params: Params) -> dict[str, dict[str, Any]]:
    path = params.output_dir / HANDOVER_FILE
    try:
        return _DECIDED.validate_json(path.read_bytes()) if path.is_file() else {}
    except ValidationError:
        raise StageError(f"{shown(path)} is damaged. Run 01_preprocess again.") from None


def _before(stage: str, decided: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """What the notebooks before `stage` decided; a later one may change what an earlier one set."""
    values: dict[str, Any] = {}
    for name in sorted(decided):
        values |= decided[name] if name < stage else {}
    return values
