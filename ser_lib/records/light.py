"""Light records: what a record may do without, since `ser reproduce` makes it again.

Every record keeps its parameters, results, tables and hashes. The runs that `reports/models.json` names keep their
model, with its description, licence and card, and their notebooks, but those that a fallback joins to the default do
not: theirs say the same. A run that no study gathers keeps its notebooks, too.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ser_lib.core.errors import RunError
from ser_lib.core.io import file_hash
from ser_lib.records.manifest import DONE, TRAINED, write_manifest
from ser_lib.records.models import named_models
from ser_lib.records.packing import COMPRESSED, compress
from ser_lib.records.record import Record, find_record, list_records, record_folder
from ser_lib.records.study import read_study, study_folders
from ser_lib.store import BUNDLE_FILE, LICENCE_FILE, MODEL_CARD_FILE

_ENDED = (DONE, TRAINED)
"""States of runs that came to the end they were to come to."""


@dataclass(frozen=True)
class Slimming:
    """What is to go from a record: files that are left out, and tables that are compressed."""

    record: Record
    notebooks: list[Path]
    models: list[Path]
    tables: list[Path]

    def __str__(self) -> str:
        """One line."""
        parts = [f"{len(self.notebooks)} notebook{'s' * (len(self.notebooks) > 1)}"] if self.notebooks else []
        parts += [path.name for path in self.models]
        return f"{self.record.name}: {', '.join(parts) or 'nothing left out, tables compressed'}"

    @property
    def size(self) -> int:
        """Bytes of the files that are left out."""
        return sum(path.stat().st_size for path in [*self.notebooks, *self.models])


def plan_slimming(runs: Iterable[str] | None = None) -> list[Slimming]:
    """What can go from the records of `runs`, or of all that have ended; those that are light already are not in it.

    Raises
    ------
    RunError
        If one of them is not in `reports/`, or not done: what it has is all that tells why.
    """
    records = [one for one in list_records() if one.state in _ENDED] if runs is None else [_find(run) for run in runs]
    rows = [names for folder in study_folders() for names in read_study(folder).study.rows.values()]
    gathered, models = {name for names in rows for name in names}, named_models()
    named = {model.run for model in models}
    joined = {run for model in models if model.fallback for run in (model.run, model.fallback)}
    read = named - joined | {model.run for model in models[:1]}
    planned = [
        _plan(one, keeps_notebooks=one.name in read or one.name not in gathered, keeps_model=one.name in named)
        for one in records
    ]
    return [one for one in planned if one.notebooks or one.models or one.tables]


def _find(run: str) -> Record:
    record = find_record(run)
    if record.folder != record_folder(record.name) or record.state not in _ENDED:
        raise RunError(f"Only a run in reports/ that is done can be made light. {run} is {record.state}.")
    return record


def _plan(record: Record, *, keeps_notebooks: bool, keeps_model: bool) -> Slimming:
    folder, artifacts = record.plain, record.manifest.artifacts
    notebooks = [folder / f"{stage}.ipynb" for stage in record.manifest.stages if not keeps_notebooks]
    onnx = folder / record.params["MODEL_ONNX_FILE"]
    # a model goes only where the manifest tells one that is made again from another, and what is said of it
    goes = artifacts.get(onnx.name) == file_hash(onnx) if onnx.is_file() else onnx.name in record.manifest.left_out
    with_model = [folder / name for name in (BUNDLE_FILE, LICENCE_FILE, MODEL_CARD_FILE)]
    models = [onnx, *with_model] if goes and not keeps_model else []
    tables = [folder / name for name in COMPRESSED]
    return Slimming(record, *([path for path in paths if path.is_file()] for paths in (notebooks, models, tables)))


def slim(one: Slimming) -> None:
    """Make a record light; its manifest names what is left out before anything goes."""
    manifest, files = one.record.manifest, [*one.notebooks, *one.models]
    manifest.left_out = sorted({*manifest.left_out, *(path.name for path in files)})
    write_manifest(one.record.folder, manifest)
    for table in one.tables:
        compress(table, one.record.folder)
    for path in files:
        path.unlink()
    for notebook in one.notebooks:
        notebook.with_suffix(".html").unlink(missing_ok=True)
