"""Studies: runs that belong together, gathered in `reports/<study>/study.json`.

A study holds names of runs and nothing of their results, which stay in the runs' own records. Its table has a line
for each row and model (the network, and the simple models measured on the same split):

- UAR, accuracy and macro-F1 of the test set: mean ± sample standard deviation (n - 1) over the row's runs, all of one
  weight, folds as seeds; of a single run, its figure alone.
- UAR, 95 %: from the lowest lower to the highest upper bound of the runs' own bootstrap intervals. Bounds are not
  averaged and clips are not pooled: runs of several seeds test the same speakers, mostly on the same clips, so an
  interval of the mean would look surer than it is. This span is as wide as any one interval, or wider.
"""

import os
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, Field, StringConstraints, ValidationError

from ser_lib.core.errors import RunError, SerError
from ser_lib.core.foreign import fault_place, read_json
from ser_lib.core.io import write_text
from ser_lib.core.paths import shown
from ser_lib.records.manifest import DONE, MANIFEST_FILE, TRAINED, check_plain, now, reading
from ser_lib.records.record import (
    RUN_NAME,
    STUDY_FILE,
    Record,
    format_interval,
    manifest_or_state,
    record_folder,
    reports_folder,
)

TABLE_FILE = "table.md"
"""Name of a study's table as Markdown."""
HEADINGS = ("", "model", "runs", "UAR", "UAR, 95 %", "accuracy", "macro-F1")
"""Columns of a study's table."""
_Line = Annotated[str, StringConstraints(pattern=r"^[^|\x00-\x1f]{1,200}$")]
_Name = Annotated[str, StringConstraints(pattern=f"^{RUN_NAME.pattern}$")]
_HOW_TO_READ = (
    "Figures of the test set: mean ± sample standard deviation over the runs of a line. "
    "UAR, 95 %: lowest to highest bound of the runs' own intervals."
)


class Study(BaseModel):
    """Contents of `study.json`: which runs belong together, in which rows."""

    title: _Line
    made: _Line
    rows: dict[_Line, Annotated[list[_Name], Field(min_length=1)]] = Field(min_length=1)


@dataclass(frozen=True)
class StudyRecord:
    """A study, and the folder that it lies in."""

    folder: Path
    study: Study

    @property
    def name(self) -> str:
        """Name of the study: that of its folder."""
        return self.folder.name

    @property
    def made(self) -> str:
        """Day and minute (UTC) at which the study was begun, as people read it."""
        return self.study.made[:16].replace("T", " ")

    @cached_property
    def rows(self) -> dict[str, list[Record]]:
        """Records of each row; a run that has not begun has one without anything in it."""
        return {row: [_record(name) for name in names] for row, names in self.study.rows.items()}

    @property
    def runs(self) -> list[Record]:
        """Records of all rows, each once."""
        return list({record.name: record for records in self.rows.values() for record in records}.values())

    @property
    def n_done(self) -> int:
        """How many of the runs are done; of a sweep's trials, trained."""
        return sum(record.state in (DONE, TRAINED) for record in self.runs)

    @property
    def lines(self) -> list[tuple[str, ...]]:
        """The table: a line for each row and model, columns as in `HEADINGS`."""
        return [line for row, records in self.rows.items() for line in _row_lines(row, records)]

    @staticmethod
    def metric_value(record: Record, metric: str) -> float | None:
        """Metric of a run's network on its test set; None where the run has none, or is damaged."""
        return next((figures.get(metric) for figures in _models(record).values()), None)

    @property
    def notes(self) -> list[str]:
        """Sentences without which the table would mislead."""
        notes = [_HOW_TO_READ]
        normalized = [record.name for record in self.runs if _param(record, "NORMALIZE_PER_SPEAKER")]
        if normalized:
            which = "all runs" if len(normalized) == len(self.runs) else ", ".join(normalized)
            notes.append(
                f"Features are standardised with each speaker's own statistics (in {which}): "
                "the test speakers' audio was seen, without its labels."
            )
        missing = [f"{record.name} ({record.state})" for record in self.runs if record.state != DONE]
        return notes + ([f"Not done: {', '.join(missing)}."] if missing else [])


def _record(name: str) -> Record:
    return Record(record_folder(name), manifest_or_state(record_folder(name), missing="not begun"))


def _param(record: Record, name: str) -> Any:
    """Value of a parameter; None where a record cannot be read."""
    try:
        return record.params[name]
    except SerError:
        return None


def _models(record: Record) -> dict[str, dict[str, Any]]:
    """Metrics of the test set by model; none of a record that is damaged."""
    try:
        return record.models
    except SerError:
        return {}


def _row_lines(row: str, records: Sequence[Record]) -> list[tuple[str, ...]]:
    by_model: dict[str, list[dict[str, Any]]] = {}
    for record in records:
        for model, figures in _models(record).items():
            by_model.setdefault(model, []).append(figures)
    lines: list[tuple[str, ...]] = []
    for model, found in (by_model or {"": []}).items():
        count = str(len(found)) if len(found) == len(records) else f"{len(found)} of {len(records)}"
        uar, accuracy, macro_f1 = (mean_and_std(_all(found, name)) for name in ("uar", "accuracy", "macro_f1"))
        lines.append((row, model, count, uar, widest_interval(found, "uar"), accuracy, macro_f1))
    return lines


def _all(found: Iterable[Mapping[str, Any]], metric: str) -> list[float]:
    return [figures[metric] for figures in found if figures.get(metric) is not None]


def mean_and_std(values: Sequence[float]) -> str:
    """Mean ± sample standard deviation, as text; of one value the value, of none nothing."""
    if not values:
        return ""
    std = f" ± {statistics.stdev(values):.3f}" if len(values) > 1 else ""
    return f"{statistics.fmean(values):.3f}{std}"


def widest_interval(found: Iterable[Mapping[str, Any]], metric: str) -> str:
    """Lowest to highest bound of the intervals of a metric, as text; nothing where there are none."""
    intervals = [figures["intervals"][metric] for figures in found if metric in (figures.get("intervals") or {})]
    if not intervals:
        return ""
    return format_interval([min(low for low, _ in intervals), max(high for _, high in intervals)])


def to_markdown(record: StudyRecord) -> str:
    """Table and notes as Markdown."""
    return "\n\n".join([markdown_table([HEADINGS, *record.lines]), *record.notes]) + "\n"


def markdown_table(rows: Sequence[Sequence[str]]) -> str:
    """Rows, the first of which are the headings, in columns that are aligned in a terminal, too."""
    widths = [max(3, *map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in rows
    ]
    return "\n".join([lines[0], "| " + " | ".join("-" * width for width in widths) + " |", *lines[1:]])


def find_study(name: str) -> Study | None:
    """What a study of that name has so far; None if there is none yet.

    Raises
    ------
    RunError
        If a run has the name, or the study is damaged.
    """
    folder = record_folder(name)
    check_plain(folder)
    if any((folder / file).exists() for file in (MANIFEST_FILE, "params.yaml")):
        raise RunError(f"A study needs a name of its own; {shown(folder)} is a run. Choose another --name.")
    return read_study(folder).study if os.path.lexists(folder / STUDY_FILE) else None


def grown(before: Study | None, rows: Mapping[str, list[str]]) -> dict[str, list[str]]:
    """Rows of a study that has `rows` as well: what was in it stays, in its order."""
    there = before.rows if before else {}
    return {row: list(dict.fromkeys([*there.get(row, []), *rows.get(row, [])])) for row in {**there, **rows}}


def write_study(name: str, title: str, rows: Mapping[str, list[str]]) -> None:
    """Write `study.json`, to which runs may come and which loses none; one that has all of them stays as it is.

    Raises
    ------
    RunError
        If a run has the name, or there is a damaged study.
    """
    before = find_study(name)
    rows = grown(before, rows)
    if before is not None and before.rows == rows:
        return
    try:
        study = Study(title=title, made=before.made if before else now(), rows=rows)
    except ValidationError as error:
        place = fault_place(error)
        raise RunError(f"The study {name} cannot be written ({place} must be one line without |).") from None
    write_text(record_folder(name) / STUDY_FILE, study.model_dump_json(indent=1) + "\n", through_link=False)


def read_study(folder: Path) -> StudyRecord:
    """Read a study.

    Raises
    ------
    RunError
        If its file is missing or damaged, or its folder holds links.
    """
    path = folder / STUDY_FILE
    with reading(path, "study", "study"):
        return StudyRecord(folder, read_json(path, Study.model_validate_json))


def study_folders() -> list[Path]:
    """Folders of all studies in `reports/`, in the order of their names; one that holds a run is a run."""
    folders = [path for path in reports_folder().glob(f"*/{STUDY_FILE}") if RUN_NAME.fullmatch(path.parent.name)]
    return sorted(path.parent for path in folders if not (path.parent / MANIFEST_FILE).exists())


def write_table(name: str) -> str:
    """Write a study's table as Markdown into its folder, and return it."""
    record = read_study(record_folder(name))
    text = to_markdown(record)
    write_text(record.folder / TABLE_FILE, text, through_link=False)
    return text
