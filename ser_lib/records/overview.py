"""All runs at a glance: the columns and rows of the first page's table, and what its scripts compare and draw.

A column has a key, by which the page's search box names it (`uar>0.7`, `EPOCHS=30`), and for each run a value: a
number, a text or none. Parameters are columns where they differ between runs; those that the columns of corpus, split
and model tell already are compared and drawn, but have no column in the table.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from ser_lib.records.record import OWN, Record, format_value
from ser_lib.records.study import StudyRecord

_TOLD = (
    *("CORPORA", "TEST_CORPORA", "DATASET_PATH", "MODEL", "FEATURES", "ENCODER", "SPLIT", "SPLIT_FILE"),
    *("TEST_FRACTION", "VALIDATION_FRACTION", "TEST_SPEAKERS", "N_FOLDS", "FOLD"),
)
"""Parameters that corpus, split and model tell in words."""
_DIGITS = 5
"""Significant digits of a learning curve's points, which a picture cannot show more of."""


@dataclass(frozen=True)
class Column:
    """A column of the table, or a figure that is compared and drawn alone.

    Attributes
    ----------
    key, label : str
    place : str
        In the table always, where it differs between the runs that are shown, or not at all.
    metric : tuple of str, optional
        Of what is measured, and shown with three decimal places: its name in `metrics.json`, and the set.
    better : str
        Which end of a metric is the better one.
    number : bool
        Whether it is aligned as numbers are.
    choice : bool
        Whether the page offers its values to choose from.
    """

    key: str
    label: str
    place: Literal["always", "differs", "nowhere"] = "always"
    metric: tuple[str, str] | None = None
    better: Literal["", "high", "low"] = ""
    number: bool = False
    choice: bool = False


_METRICS: tuple[tuple[str, str, Literal["high", "low"]], ...] = (
    ("uar", "UAR", "high"),
    ("accuracy", "accuracy", "high"),
    ("macro_f1", "macro-F1", "high"),
    ("loss", "loss", "low"),
    ("ece", "calibration error", "low"),
)
_IN_TABLE = ("uar", "accuracy", "validation_uar")


def _figures(of_set: str, prefix: str = "") -> list[Column]:
    """A column for each metric of a set."""
    return [
        Column(
            key=f"{prefix}{name}",
            label=f"{of_set} {label}",
            place="always" if f"{prefix}{name}" in _IN_TABLE else "nowhere",
            metric=(name, of_set),
            better=better,
            number=True,
        )
        for name, label, better in _METRICS
    ]


_FIRST = (
    Column("state", "state", "differs", choice=True),
    *_figures("test"),
    *_figures("validation", "validation_"),
    Column("corpus", "corpus", choice=True),
    Column("split", "split"),
    Column("model", "model", choice=True),
    Column("tags", "tags", "differs", choice=True),
    Column("note", "note", "differs"),
)
_LAST = (Column("started", "started (UTC)"), Column("seconds", "seconds", number=True))


@dataclass(frozen=True)
class Row:
    """A run in the table: its values by the columns' keys, and the study that gathers it."""

    record: Record
    values: dict[str, Any]
    study: str | None

    def shown(self, column: Column) -> str:
        """Value as a cell of the table has it."""
        value = self.values[column.key]
        if column.metric:
            return format_value(value)
        return "" if value is None else str(value)


@dataclass(frozen=True)
class Overview:
    """The table: its columns, and its rows, the newest first but those of a study together."""

    columns: list[Column]
    groups: list[tuple[StudyRecord | None, list[Row]]]

    @property
    def rows(self) -> list[Row]:
        """Rows of all groups."""
        return [row for _, rows in self.groups for row in rows]

    @property
    def in_table(self) -> list[Column]:
        """Columns of the table."""
        return [column for column in self.columns if column.place != "nowhere"]

    @property
    def choices(self) -> dict[str, list[str]]:
        """Key of a column whose values can be chosen from → those values, where there are several."""
        found = {column.key: sorted(self._parts(column)) for column in self.columns if column.choice}
        return {key: values for key, values in found.items() if len(values) > 1 or (key == "tags" and values)}

    def _parts(self, column: Column) -> set[str]:
        """Values of a column, those of tags one by one."""
        values = {row.values[column.key] for row in self.rows} - {None, ""}
        return {part for value in values for part in (value.split(", ") if column.key == "tags" else [value])}

    @property
    def data(self) -> dict[str, Any]:
        """What the page's scripts read: columns, and of each run its values, study and learning curves."""
        runs = {
            row.record.name: {"values": row.values, "study": row.study, "history": _rounded(row.record.history)}
            for row in self.rows
        }
        return {"columns": [asdict(column) for column in self.columns], "runs": runs}


def overview(records: Sequence[Record], studies: Iterable[StudyRecord]) -> Overview:
    """Gather what the first page shows; a run that several studies gather is shown with the first of them.

    Raises
    ------
    RunError
        If a record is damaged.
    """
    studies = list(studies)
    of_run = {name: study for study in reversed(studies) for names in study.study.rows.values() for name in names}
    differing = _differing(records)
    groups: dict[str, tuple[StudyRecord | None, list[Row]]] = {study.name: (study, []) for study in studies}
    newest: dict[str, None] = {}
    for record in records:
        study = of_run.get(record.name)
        row = Row(record, values_of(record, differing), study.name if study else None)
        key = study.name if study else f"run {record.name}"  # a study's name has no space
        groups.setdefault(key, (None, []))[1].append(row)
        newest[key] = None
    params = [
        Column(name, name, "nowhere" if name in _TOLD else "differs", number=_all_numbers(records, name))
        for name in differing
    ]
    without_runs = [key for key in groups if key not in newest]
    return Overview([*_FIRST, *params, *_LAST], [groups[key] for key in [*newest, *without_runs]])


def values_of(record: Record, params: Iterable[str]) -> dict[str, Any]:
    """Value of each column for a run; `params` are those that are columns."""
    return {
        "state": record.state,
        **{figure.key: _finite(record.metric_value(*figure.metric)) for figure in _FIRST if figure.metric},
        "corpus": record.corpora,
        "split": record.split,
        "model": record.model,
        "tags": ", ".join(record.note.tags),
        "note": record.note.note,
        **{name: _plain(record.params.get(name)) for name in params},
        "started": record.started,
        "seconds": round(record.manifest.seconds),
    }


def _differing(records: Iterable[Record]) -> list[str]:
    """Parameters that differ between runs, in the order in which they are known."""
    found: dict[str, set[int | float | str]] = {}
    for record in records:
        for name, value in record.params.items():
            found.setdefault(name, set()).add(_plain(value))
    return [name for name, values in found.items() if len(values) > 1 and name not in OWN]


def _all_numbers(records: Iterable[Record], name: str) -> bool:
    values = [_plain(record.params.get(name)) for record in records]
    return all(isinstance(value, int | float) or value == "none" for value in values)


def _plain(value: Any) -> int | float | str:
    """A parameter as a number or as a text that people read; a list is its parts."""
    if value is None or isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return ", ".join(str(_plain(part)) for part in value) or "none"
    if isinstance(value, dict):
        return ", ".join(f"{name}: {_plain(part)}" for name, part in value.items()) or "none"
    return value if isinstance(value, int | float) and math.isfinite(value) else str(value)


def _finite(value: float | None) -> float | None:
    """The value, or None for one that JSON has no number for, as after a training that diverged."""
    return value if value is not None and math.isfinite(value) else None


def _rounded(history: dict[str, list[float]]) -> dict[str, list[float | None]]:
    return {
        quantity: [_finite(float(f"{value:.{_DIGITS}g}")) for value in values] for quantity, values in history.items()
    }
