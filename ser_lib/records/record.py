"""Records of runs: what lies in `reports/<run>/`, read back; wherever the record was made."""

import io
import os
import re
import shutil
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter

from ser_lib.core.errors import ParameterError, RunError
from ser_lib.core.foreign import parse_json, read_json
from ser_lib.core.io import read_csv
from ser_lib.core.labels import EMOTIONS
from ser_lib.core.locks import is_locked
from ser_lib.core.paths import from_here, project_root, resolve, shown
from ser_lib.params import Params, read_values
from ser_lib.records.manifest import Manifest, check_plain, read_manifest
from ser_lib.records.packing import read_packed
from ser_lib.records.schema import HISTORY, LEAKAGE, METRICS, NOTE, Note
from ser_lib.store import HISTORY_FILE, LEAKAGE_FILE, MANIFEST_FILE, PREDICTIONS_FILE, SETS, SPLIT_FILE, UNUSED

if TYPE_CHECKING:
    import pandas as pd

STUDY_FILE = "study.json"
"""Name of a study's file in its folder."""
NOTE_FILE = "note.json"
"""Name of a note's file in the record of its run."""
RUN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
"""What a run may be called."""
OWN = ("OUTPUT_DIR", "PROCESSED_DATA_FILE")
"""Parameters that say where a run's own files go."""
DEFAULT_OF_THE_TIME = {"DENOISE_REFERENCE": True, "BASELINES": False, "ROBUSTNESS": False, "UNSURE_BELOW": 0.0}
"""What runs did before a parameter was there, where that is not its default today."""
_SHOWN = {
    "bilstm": "BiLSTM",
    "cnn": "CNN",
    "cnn_large": "large CNN",
    "mfcc": "MFCC",
    "logmel": "log-mel",
    "linear": "one layer",
}


def reports_folder() -> Path:
    """Folder of all records and of the site."""
    return project_root() / "reports"


def record_folder(run: str, home: str = "") -> Path:
    """Folder of a run's record; `home`: the folder that `reports/` is in, from the project's root."""
    return project_root() / home / "reports" / run


def scratch_folder(run: str, home: str = "") -> Path:
    """Folder of what a run does not record: its parameters with their real paths, and by default its files."""
    return project_root() / home / "artifacts" / run


@dataclass(frozen=True)
class Record:
    """One run's record. What a run that stopped does not have is None or empty."""

    folder: Path
    manifest: Manifest

    @property
    def name(self) -> str:
        """Name of the run: that of its folder."""
        return self.folder.name

    @property
    def started(self) -> str:
        """Day and minute (UTC) at which the run began, as people read it."""
        return self.manifest.started[:16].replace("T", " ")

    @cached_property
    def plain(self) -> Path:
        """The folder, once it is known to hold plain files alone: what is read, is read from here.

        Raises
        ------
        RunError
            If it does not.
        """
        check_plain(self.folder)
        return self.folder

    @cached_property
    def params(self) -> dict[str, Any]:
        """Parameters, as the record shows them; one that an older record lacks is what the run did without it."""
        try:
            values = read_values([self.plain / "params.yaml"])
        except ParameterError:
            values = {}
        if not values:
            raise RunError(f"A record must have its params.yaml. {shown(self.folder)} has none that can be read.")
        return complete(values)

    @cached_property
    def metrics(self) -> dict[str, dict]:
        """`metrics.json`: set → metric → value."""
        return {name: values for name, values in self.evaluation.items() if name in ("test", "validation")}

    @cached_property
    def baselines(self) -> dict[str, dict]:
        """`metrics.json`: baseline → metric → value, on the test set."""
        return self.evaluation.get("baselines", {})

    @cached_property
    def robustness(self) -> dict[str, dict]:
        """`metrics.json`: condition → metric → value, on the test set."""
        return self.evaluation.get("robustness", {})

    @cached_property
    def evaluation(self) -> dict[str, Any]:
        """All of `metrics.json`: the sets, and what `evaluate_model` says of them together."""
        stored = self._json("metrics.json", METRICS)
        return stored.model_dump(exclude_none=True, exclude_unset=True) if stored else {}

    @cached_property
    def history(self) -> dict[str, list[float]]:
        """`history.json`: quantity → value of each epoch."""
        return self._json(HISTORY_FILE, HISTORY)

    @cached_property
    def leakage(self) -> dict[str, dict]:
        """`leakage.json`: set → what its clips have in common with training clips; empty in older records."""
        stored = self._json(LEAKAGE_FILE, LEAKAGE)
        return {name: values.model_dump(exclude_unset=True) for name, values in stored.items()}

    @cached_property
    def note(self) -> Note:
        """`note.json`: what people noted of the run, and its tags."""
        return self._json(NOTE_FILE, NOTE, remove="it") or Note()

    @cached_property
    def predictions(self) -> "pd.DataFrame | None":
        """`test_predictions.csv`."""
        return self._table(PREDICTIONS_FILE, ["clip", "true", "predicted"])

    @cached_property
    def sets(self) -> "pd.DataFrame | None":
        """`split.csv`: each clip and its set."""
        return self._table(SPLIT_FILE, ["clip", "set"])

    @cached_property
    def sizes(self) -> str:
        """Clips of each set by `split.csv`, in words; empty without that file."""
        if self.sets is None:
            return ""
        train, validation, test, unused = ((self.sets["set"] == name).sum() for name in (*SETS, UNUSED))
        why = " (second copies of a recording, or left out by the split)" if unused else ""
        return f"{train} clips for training, {validation} for validation, {test} for the test; unused: {unused}{why}"

    def metric_value(self, metric: str, name: str = "test") -> float | None:
        """Value of a metric for one of the sets; None where the run did not come to it."""
        values = self.metrics.get(name, {})
        if metric == "uar" and "uar" not in values and values.get("per_class"):  # records made before it was stored
            return statistics.fmean(values["per_class"].values())
        return values.get(metric)

    @property
    def changed(self) -> dict[str, Any]:
        """Parameters that differ from today's defaults, without the data and the names of files and folders."""
        data = ("CORPORA", "TEST_CORPORA", "DATASET_PATH")
        return {name: value for name, value in self.changed_or_data.items() if name not in data}

    @property
    def changed_or_data(self) -> dict[str, Any]:
        """Parameters that differ from today's defaults, without where the run's own files go."""
        defaults = Params().model_dump()
        return {name: value for name, value in self.params.items() if name not in OWN and value != defaults.get(name)}

    @property
    def split(self) -> str:
        """The split, in words; where clips or texts are drawn, with the shares of training, validation and test."""
        params = self.params
        if params["SPLIT_FILE"] is not None:
            return f"from {Path(params['SPLIT_FILE']).name}"
        if params["SPLIT"] == "corpus":
            return f"test corpora {', '.join(params['TEST_CORPORA'])}"
        if params["SPLIT"] == "folds":
            number = f"fold {params['FOLD']}"
            return number + (f" of {params['N_FOLDS']}" if params["N_FOLDS"] else ", one speaker each")
        if params["SPLIT"] in ("speaker", "speaker_text"):
            names = params["TEST_SPEAKERS"]
            texts = ", text-disjoint" if params["SPLIT"] == "speaker_text" else ""
            return f"test speaker{'s' if len(names) > 1 else ''} {', '.join(names)}{texts}"
        test, validation = params["TEST_FRACTION"], params["VALIDATION_FRACTION"]
        shares = f"{1 - test - validation:.0%}/{validation:.0%}/{test:.0%}".replace("%", "")
        return f"{'text-disjoint' if params['SPLIT'] == 'text' else params['SPLIT']} {shares}"

    @property
    def corpora(self) -> str:
        """The corpora, in words: `TESS`, or `TESS → EMODB` where others are tested on."""
        return " → ".join(", ".join(self.params[name]) for name in ("CORPORA", "TEST_CORPORA") if self.params[name])

    @property
    def emotions(self) -> list[str]:
        """Emotions that the model knows; those of a record made before they were stored are all seven."""
        return self.evaluation.get("emotions", list(EMOTIONS))

    @property
    def model(self) -> str:
        """The network and what it sees, in words."""
        values = [self.params["MODEL"], self.params["ENCODER"] or self.params["FEATURES"]]
        return " on ".join(_SHOWN.get(str(value), str(value)) for value in values)

    @property
    def models(self) -> dict[str, dict[str, Any]]:
        """Metrics of the test set by model: the network's first, then those of the baselines; empty without any."""
        if "test" not in self.metrics:
            return {}
        return {self.model: self.metrics["test"] | {"uar": self.metric_value("uar")}} | self.baselines

    @property
    def state(self) -> str:
        """State of the run; one that says that it runs, while no process holds it, was interrupted."""
        state = self.manifest.state
        if not state.startswith(("started", "running", "finished")) or is_held(self.output_dir):
            return state
        return f"interrupted in {state.split()[-1]}" if " " in state else "interrupted"

    @property
    def output_dir(self) -> Path:
        """`OUTPUT_DIR` of the run, if it was made here."""
        return resolve(private_values(self.name).get("OUTPUT_DIR", self.params["OUTPUT_DIR"]))

    def _json(self, name: str, shape: TypeAdapter, remove: str = "the run") -> Any:
        path = self.plain / name
        try:
            if not os.path.lexists(path):
                packed = read_packed(self.plain, name)
                return {} if packed is None else parse_json(packed, shape.validate_json)
            return read_json(path, shape.validate_json)
        except FileNotFoundError:
            return {}
        except (OSError, ValueError):
            raise _damaged(path, remove) from None

    def _table(self, name: str, columns: list[str]) -> "pd.DataFrame | None":
        try:
            content = read_packed(self.plain, name)
            return None if content is None else read_csv(io.BytesIO(content))[columns]
        except (ValueError, KeyError):
            raise _damaged(self.folder / name) from None


def complete(values: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters of a recorded run; what was no parameter yet is what the run did without it."""
    return Params().model_dump() | DEFAULT_OF_THE_TIME | dict(values)


def _damaged(path: Path, remove: str = "the run") -> RunError:
    return RunError(f"{shown(path)} is damaged. Restore it, or remove {remove}.")


def private_values(run: str) -> dict[str, Any]:
    """Parameters with their real paths, of a run that was made here; empty for others."""
    path = scratch_folder(run) / "params.yaml"
    return read_values([path]) if RUN_NAME.fullmatch(run) and path.is_file() else {}


def is_held(folder: Path) -> bool:
    """Tell whether a process executes a run whose `OUTPUT_DIR` is `folder`."""
    return is_locked(folder / ".lock")


def find_record(run: str) -> Record:
    """Record of the run `run`, or in the folder `run`.

    Raises
    ------
    RunError
        If there is none, or its manifest is damaged.
    """
    folder = record_folder(run)
    if not RUN_NAME.fullmatch(run) or not folder.is_dir():
        folder = Path(os.path.realpath(from_here(run)))
    if not folder.is_dir():
        raise RunError(f"There is no record of a run {run!r} in reports/. `ser runs` lists them.")
    if (folder / STUDY_FILE).is_file() and not (folder / MANIFEST_FILE).exists():
        raise RunError(f"{run} is a study, which gathers runs; name one of its runs. `ser runs` lists them.")
    return Record(folder, read_manifest(folder))


def list_records() -> list[Record]:
    """Every record in `reports/`, the newest first; what is damaged counts as one that stopped.

    A record without a manifest is that of a run which was stopped before its first notebook.
    """
    folders = [path for path in reports_folder().glob("*") if path.is_dir() and RUN_NAME.fullmatch(path.name)]
    return sorted(
        (
            Record(folder, manifest_or_state(folder, missing="started"))
            for folder in folders
            if any(os.path.lexists(folder / name) for name in ("params.yaml", MANIFEST_FILE))
        ),
        key=lambda record: (record.manifest.started, record.name),
        reverse=True,
    )


def manifest_or_state(folder: Path, *, missing: str) -> Manifest:
    """Manifest of a record; where it is missing or damaged, one that says so as the state."""
    state = "damaged"
    try:
        check_plain(folder)
        if os.path.lexists(folder / MANIFEST_FILE):
            return read_manifest(folder)
        state = missing
    except RunError:
        pass
    return Manifest(run=folder.name, state=state, started="")


def check_record(folder: Path) -> None:
    """Refuse a folder of `reports/` that holds links or special files; folders elsewhere are the user's own.

    Raises
    ------
    RunError
    """
    if folder.parent.resolve() == reports_folder().resolve():
        check_plain(folder)


def remove_run(run: str) -> None:
    """Remove a run's record and its folder in `artifacts/`; an `OUTPUT_DIR` elsewhere stays.

    Raises
    ------
    RunError
        If there is no such run, it is being executed, or its folders cannot be removed.
    """
    folders = run_folders(run)
    output_dir = output_elsewhere(run)
    if any(is_held(folder) for folder in [*folders, output_dir] if folder):
        raise RunError(f"A run must have ended before it is removed. {run} is being executed.")
    for folder in folders:
        try:
            folder.unlink() if folder.is_symlink() else shutil.rmtree(folder)
        except OSError as error:
            raise RunError(f"{shown(error.filename)} cannot be removed: {error.strerror}.") from None


def output_elsewhere(run: str) -> Path | None:
    """`OUTPUT_DIR` of a run that was made here, if it is not the run's own folder."""
    values = private_values(run)
    folder = resolve(values["OUTPUT_DIR"]) if "OUTPUT_DIR" in values else None
    return None if folder == scratch_folder(run) else folder


def run_folders(run: str) -> list[Path]:
    """Folders of a run: its record and its artifacts, as far as they are there.

    Raises
    ------
    RunError
        If there is neither.
    """
    places = [record_folder(run), scratch_folder(run)] if RUN_NAME.fullmatch(run) else []
    folders = [folder for folder in places if folder.is_dir() or folder.is_symlink()]
    if not folders:
        raise RunError(f"There is no run {run!r}. `ser runs` lists them.")
    return folders


def format_value(value: float | None, digits: int = 3) -> str:
    """A value with this many decimal places; an empty text for none."""
    return "" if value is None else f"{value:.{digits}f}"


def format_interval(interval: Sequence[float]) -> str:
    """Show the two ends of an interval."""
    return " to ".join(format_value(end) for end in interval)
