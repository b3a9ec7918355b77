"""The files that pass from one notebook to the next: written whole or not at all, checked when read."""

import hashlib
import json
import os
import re
import secrets
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from pydantic import TypeAdapter

from ser_lib.audio.normalize import Statistics
from ser_lib.audio.settings import AudioSettings
from ser_lib.core.errors import StageError
from ser_lib.core.labels import EMOTIONS, all_labels, in_order
from ser_lib.params import Params, shown

if TYPE_CHECKING:  # pandas and json_tricks take longer to import than a prediction, which needs neither
    import pandas as pd

SETS = ("train", "validation", "test")
"""The three sets of a split."""
SPLIT_FILE = "split.csv"
"""Which clip is in which set; in `OUTPUT_DIR`."""
LEAKAGE_FILE = "leakage.json"
"""What the test and validation clips have in common with training clips; in `OUTPUT_DIR`."""
UNUSED = "unused"
"""What stands for a set in a split where a clip is in none."""
MODEL_CARD_FILE = "model_card.md"
"""What a model is for and what not; in a record."""
LICENCE_FILE = "LICENCE.txt"
BUNDLE_FILE = "bundle.json"
"""What a model was trained with; beside the model."""

_FORMULA = re.compile(r"'*[=+\-@\t\r]")
"""How a text begins that a spreadsheet computes, or one that was kept from it."""
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


def _followed(path: Path) -> Path:
    """Path without links; one that leads to itself stays."""
    return Path(os.path.realpath(path))


@contextmanager
def whole_file(path: Path, *, through_link: bool = True) -> Iterator[Path]:
    """Give a path to write to beside `path`; rename it to `path` at the end, remove it after an error.

    Parameters
    ----------
    path : Path
    through_link : bool
        Whether what a link names is written, as somebody who names an output means it. In a record, which may come
        from anywhere, the file takes the link's place.

    Raises
    ------
    StageError
        If the disk is full, the folder cannot be written to, or `path` is a device or a pipe.
    """
    path, partial = _followed(path) if through_link else _followed(path.parent) / path.name, None
    if path.exists() and not path.is_file() and not path.is_dir():
        raise StageError(f"{shown(path)} must be a file. It is a device or a pipe.")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".partial-{secrets.token_hex(4)}-{path.name}")
        partial.touch(exist_ok=False)  # with the rights that the user's umask leaves
        yield partial
        partial.replace(path)
    except OSError as error:
        raise StageError(f"{shown(path)} cannot be written ({error.strerror or error}). Nothing was changed.") from None
    finally:
        if partial is not None:
            partial.unlink(missing_ok=True)


def write_temporary(path: Path, content: bytes) -> None:
    """Write a file in a temporary folder.

    Raises
    ------
    StageError
        If it cannot be written; where such folders lie is for the user to say.
    """
    try:
        path.write_bytes(content)
    except OSError as error:
        raise StageError(
            f"The temporary file {path} cannot be written ({error.strerror or error}). TMPDIR names another folder."
        ) from None


def write_text(path: Path, text: str, *, through_link: bool = True) -> None:
    """Write a text file whole or not at all; `through_link` as of `whole_file`."""
    with whole_file(path, through_link=through_link) as partial:
        partial.write_text(text, encoding="utf-8")


def write_json(path: Path, content: dict) -> None:
    """Write plain values and arrays (as nested lists) as JSON, whole or not at all."""
    import json_tricks

    text = json_tricks.dumps(content, indent=2, primitives=True)
    write_text(path, text + "\n")


def read_json(path: Path) -> dict:
    """Read JSON with the standard library: json_tricks would import any module that a file names."""
    try:
        return json.loads(require(path, "a notebook before this one").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        raise StageError(f"{shown(path)} is damaged. Run the notebook that writes it again.") from None


def write_csv(path: Path, table: "pd.DataFrame") -> None:
    """Write a table without its index, whole or not at all; its text as `without_formulas` gives it."""
    with whole_file(path) as partial:
        without_formulas(table).to_csv(partial, index=False)


def without_formulas(table: "pd.DataFrame") -> "pd.DataFrame":
    """Table with an apostrophe before each text that a spreadsheet would compute: `=…`, `+…`, `-…`, `@…`, tab, return.

    Names of files and speakers come from anywhere. Numbers stay as they are, and `read_csv` takes the apostrophe away.
    """
    texts = [name for name, column in table.items() if column.dtype.kind == "O"]
    return table.assign(**{name: table[name].map(as_text) for name in texts})


def as_text(value: object) -> object:
    """Cell of a CSV file with an apostrophe before a text that a spreadsheet would compute."""
    return f"'{value}" if isinstance(value, str) and _FORMULA.match(value) else value


def read_csv(path: Path, **options: str) -> "pd.DataFrame":
    """Read a table of text as it was before `write_csv`; `options` for pandas.

    Raises
    ------
    ValueError
        If it is none.
    OSError
        If it cannot be read.
    """
    import pandas as pd

    table = pd.read_csv(path, dtype=str, keep_default_na=False, **options)
    return table.map(_as_it_was, na_action="ignore")  # a row may be short


def _as_it_was(text: str) -> str:
    return text[1:] if text.startswith("'") and _FORMULA.match(text) else text


def write_array(path: Path, array: np.ndarray) -> None:
    """Write one array (.npy), whole or not at all."""
    with whole_file(path) as partial, partial.open("wb") as file:
        np.save(file, array, allow_pickle=False)


def read_array(path: Path, notebook: str) -> np.ndarray:
    """Read one array (.npy) that `notebook` wrote."""
    try:
        return np.load(require(path, notebook), allow_pickle=False)
    except (ValueError, EOFError, OSError):
        raise StageError(f"{shown(path)} is damaged. Run {notebook} again.") from None


def require(path: Path, notebook: str) -> Path:
    """Return `path` if it is there.

    Raises
    ------
    StageError
        If it is missing: the message says which notebook makes it.
    """
    if not path.is_file():
        raise StageError(f"{shown(path)} is not there yet. Run {notebook} first, with the same OUTPUT_DIR.")
    return path


def file_hash(path: Path) -> str:
    """SHA-256 of a file, as hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def save_processed(path: Path, data: ProcessedData) -> None:
    """Write `data` as one npz file without pickled objects."""
    tables = {f"clips.{name}": _plain(column) for name, column in data.clips.items()}
    tables |= {f"skipped.{name}": _plain(column) for name, column in data.skipped.items()}
    with whole_file(path) as partial, partial.open("wb") as file:
        np.savez(
            file,
            X=data.X,
            y=data.y,
            pooled=data.pooled,
            target_length=data.settings.target_length,
            settings=data.settings.model_dump_json(),
            fingerprint=data.fingerprint,
            speakers=_SPEAKERS.dump_json(data.speakers).decode(),
            **tables,
        )


def _plain(column: "pd.Series") -> np.ndarray:
    """Array without objects: numbers as they are, everything else as fixed-width text."""
    return column.to_numpy() if column.dtype.kind in "if" else column.to_numpy(dtype=str)


def load_processed(path: Path) -> ProcessedData:
    """Read what `save_processed` wrote.

    Raises
    ------
    StageError
        If the file is missing or damaged.
    """
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
                settings=AudioSettings.model_validate_json(str(file["settings"])),
                fingerprint=str(file["fingerprint"]),
                speakers=_SPEAKERS.validate_json(str(file["speakers"])),
            )
    except (AttributeError, KeyError, ValueError, EOFError, OSError, RuntimeError, zipfile.BadZipFile):
        raise StageError(f"{shown(path)} is damaged. Run 01_preprocess again.") from None


def _table(file: np.lib.npyio.NpzFile, prefix: str) -> "pd.DataFrame":
    import pandas as pd

    return pd.DataFrame({name.removeprefix(prefix): file[name] for name in file.files if name.startswith(prefix)})


def load_split(params: Params, clips: "pd.DataFrame") -> np.ndarray:
    """Set of each clip (`train`, `validation` or `test`; `unused` for a clip in none), in the order of `clips`.

    Raises
    ------
    StageError
        If the split is missing or is one of other clips.
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
    """Place [shape=(n,)] of each emotion among `classes`; by default its label (`labels.all_labels`)."""
    classes = all_labels(emotions) if classes is None else classes
    return emotions.map({emotion: place for place, emotion in enumerate(classes)}).to_numpy(dtype=np.int64)
