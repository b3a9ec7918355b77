"""Runs side by side, and a record's run again: what differs, and who is right about which clip.

References
----------
McNemar, "Note on the sampling error of the difference between correlated proportions or percentages",
Psychometrika 12(2), 1947. Exact form: the clips that one run alone gets right follow a binomial distribution
with the share one half if both runs are equally good.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from scipy.stats import binomtest

from ser_lib.core.errors import RunError
from ser_lib.core.text import printable
from ser_lib.corpora.clips import find_corpora
from ser_lib.params import make_params
from ser_lib.records.manifest import DONE, PATH_PARAMETERS, Environment
from ser_lib.records.record import OWN, Record, format_value, private_values
from ser_lib.store import PREDICTIONS_FILE, SPLIT_FILE

_METRICS = ("accuracy", "uar", "macro_f1", "loss")
_SHOWN = {"uar": "UAR", "macro_f1": "macro-F1"}
TOLERANCE = 0.02
"""Largest difference of accuracy and UAR that counts as the same on another processor or with other packages."""
_ORDER = (
    ("features", "PROCESSED_DATA_FILE"),
    ("split", SPLIT_FILE),
    ("weights of the best model", "MODEL_WEIGHTS_FILE"),
    ("weights of the final model", "MODEL_H5_FILE"),
    ("model as ONNX", "MODEL_ONNX_FILE"),
    ("predictions", PREDICTIONS_FILE),
)


@dataclass(frozen=True)
class Comparison:
    """Tables to show, by title, and sentences about them."""

    names: list[str]
    tables: dict[str, pd.DataFrame]
    notes: list[str]

    def __str__(self) -> str:
        """Tables and sentences as text."""
        blocks = [f"{title}\n{table.to_string() if len(table) else '  none'}" for title, table in self.tables.items()]
        return "\n\n".join([*blocks, *self.notes])


def compare_runs(records: Sequence[Record]) -> Comparison:
    """Compare the first record with each of the others.

    Raises
    ------
    RunError
        If there are fewer than two, or one of them has no metrics.
    """
    names = [record.name for record in records]
    if len(set(names)) < 2 or len(set(names)) < len(names):
        raise RunError(f"A comparison needs at least two different runs. Got {', '.join(names) or 'none'}.")
    for record in records:
        if not record.metrics:
            raise RunError(f"Only runs with metrics can be compared; {record.name} is {record.state}.")
    tables = {"Parameters that differ": _parameter_table(records), "Metrics": _metric_table(records)}
    notes = [_who_is_right(records[0], other) for other in records[1:]]
    notes += [
        f"{records[0].name} and {other.name} ran notebooks with other code: {', '.join(stages)}."
        for other in records[1:]
        if (stages := _other_notebooks(records[0], other))
    ]
    return Comparison(names, tables, notes)


def _parameter_table(records: Sequence[Record]) -> pd.DataFrame:
    names = dict.fromkeys(name for record in records for name in record.params)
    shown = {name: [_text(record.params.get(name, "")) for record in records] for name in names}
    rows = {name: values for name, values in shown.items() if name not in OWN and len(set(values)) > 1}
    return pd.DataFrame.from_dict(rows, orient="index", columns=[record.name for record in records])


def _text(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _metric_table(records: Sequence[Record]) -> pd.DataFrame:
    rows = {}
    for name in ("test", "validation"):
        for metric in _METRICS:
            values = [record.metric_value(metric, name) for record in records]
            if values == [None] * len(values):  # of records made before it was measured
                continue
            differences = [_signed(value, values[0]) for value in values[1:]]
            rows[f"{name} {_SHOWN.get(metric, metric)}"] = [*(format_value(value, 4) for value in values), *differences]
    columns = [record.name for record in records]
    columns += [f"{record.name} − {records[0].name}" for record in records[1:]]
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns)


def _signed(value: float | None, base: float | None) -> str:
    return "" if value is None or base is None else f"{value - base:+.4f}"


def _who_is_right(one: Record, two: Record) -> str:
    """Sentence on the clips that one run gets right and the other does not."""
    pair = f"{one.name} and {two.name}"
    if one.predictions is None or two.predictions is None:
        return f"{pair}: not compared clip by clip, for one has no predictions."
    both = one.predictions.merge(two.predictions, on="clip", suffixes=("_1", "_2"))
    if not len(both) == len(one.predictions) == len(two.predictions) or (both.true_1 != both.true_2).any():
        return f"{pair}: not compared clip by clip, for their test sets differ."
    right_1, right_2 = both.predicted_1 == both.true_1, both.predicted_2 == both.true_2
    only_1, only_2 = int((right_1 & ~right_2).sum()), int((right_2 & ~right_1).sum())
    return (
        f"Of {len(both)} test clips, {one.name} alone is right about {only_1}, {two.name} alone about {only_2}; "
        f"McNemar's exact test: p = {mcnemar_exact(only_1, only_2):.3g}."
    )


def _other_notebooks(one: Record, two: Record) -> list[str]:
    """Stages whose notebooks have other code, unless it is known to be that of the runs' commits."""
    both = [name for name in one.manifest.stages if name in two.manifest.stages]
    ran = {name: [record.manifest.stages[name] for record in (one, two)] for name in both}
    return [
        name
        for name, (was, now) in ran.items()
        if was.notebook and now.notebook and was.notebook != now.notebook
        if any(stage.edited is None or f"notebooks/{name}.ipynb" in stage.edited for stage in (was, now))
    ]


def mcnemar_exact(only_1: int, only_2: int) -> float:
    """Two-sided p value of McNemar's exact test.

    Parameters
    ----------
    only_1, only_2 : int
        Clips that only the one run, or only the other, gets right.
    """
    discordant = only_1 + only_2
    return 1.0 if discordant == 0 else float(binomtest(only_1, discordant, 0.5).pvalue)


_NEWER = ("model as ONNX", "predictions")
"""What the manifest of an old record may not tell."""


@dataclass(frozen=True)
class Outcome:
    """Whether a run repeats a record, and the lines that say so."""

    same: bool
    lines: list[str]


def values_of(record: Record) -> dict[str, Any]:
    """Parameters to run a record again with.

    Folders outside of the project are not in a record; where the run was made here, its own are taken.

    Raises
    ------
    RunError
        If the record is not one of a run that is done.
    """
    if record.state != DONE:
        raise RunError(f"Only a run that is done can be reproduced; {record.name} is {record.state}.")
    private = private_values(record.name)
    values = record.params | {name: private[name] for name in PATH_PARAMETERS if name in private}
    del values["OUTPUT_DIR"]
    return values


def missing_clips(record: Record, values: Mapping[str, Any]) -> list[str]:
    """Clips of a record that are not where `values` say that its recordings lie, as far as it keeps its split."""
    params = make_params(record.params | {name: values[name] for name in PATH_PARAMETERS if name in values})
    if record.sets is None or not all(folder.is_dir() for folder in params.corpus_folders.values()):
        return []
    found, _ = find_corpora(params.corpus_folders, params.LABEL_MAP, params.SPEAKER_PATTERN)
    return sorted(set(record.sets["clip"]) - {clip.clip for clip in found})


def compare_with(old: Record, new: Record) -> Outcome:
    """Compare a run with the record that it repeats: identical, or where they differ first."""
    parameters = _parameter_lines(old.params, new.params)
    difference = _first_difference(old, new)
    if difference is None:
        return Outcome(True, [*parameters, "identical: corpus, features, split, weights and metrics"])
    lines = [*parameters, f"different, first in the {difference}", *_metric_lines(old, new)]
    lines += [f"code: another notebook {stage}" for stage in _other_notebooks(old, new)]
    environment = environment_differences(old.manifest.environment, new.manifest.environment)
    lines += [f"environment: {line}" for line in environment] or ["environment: the same"]
    others = _other_kinds(old.manifest.environment, new.manifest.environment)
    if not others:
        return Outcome(False, lines)
    lines.insert(0, f"not the same {' or '.join(others)}: sums may be rounded otherwise, so bits may differ")
    close = difference not in ("corpus", "split") and not parameters and _is_close(old, new)
    verdict = "within" if close else "not within"
    return Outcome(
        close, [*lines, f"{verdict} the tolerance: accuracy and UAR ± {TOLERANCE} on the same corpus and split"]
    )


def _other_kinds(old: Environment, new: Environment) -> list[str]:
    """What differs of that on which the same bits depend."""
    kinds = {"kind of processor": "cpu", "Python": "python", "packages": "packages"}
    return [kind for kind, part in kinds.items() if getattr(old, part) != getattr(new, part)]


def environment_differences(old: Environment, new: Environment) -> list[str]:
    """One line for each part of the environment that differs."""
    parts = ("ser_lib", "commit", "dirty", "python", "platform", "cpu", "cores")
    pairs = [(part, getattr(old, part), getattr(new, part)) for part in parts]
    names = sorted(old.packages.keys() | new.packages.keys())
    pairs += [(name, old.packages.get(name), new.packages.get(name)) for name in names]
    return [f"{name}: {_shown(was)}, now {_shown(now)}" for name, was, now in pairs if was != now]


def _shown(value: object) -> str:
    return "none" if value is None else printable(str(value))


def _parameter_lines(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    names = [name for name in old if name not in PATH_PARAMETERS and old[name] != new.get(name)]
    return [f"parameter {name}: {old[name]}, now {new.get(name)}" for name in names]


def _first_difference(old: Record, new: Record) -> str | None:
    if old.manifest.corpus != new.manifest.corpus:
        return "corpus"
    for what, file in _ORDER:
        one, two = (
            record.manifest.artifacts.get(record.params.get(file, file).rpartition("/")[2]) for record in (old, new)
        )
        if one is None and what in _NEWER:
            continue
        if one is None or one != two:
            return what
    return None if old.metrics == new.metrics else "metrics"


def _metric_lines(old: Record, new: Record) -> list[str]:
    return [
        f"{name} {metric}: {format_value(old.metric_value(metric, name), 4)}, "
        f"now {format_value(new.metric_value(metric, name), 4)}"
        for name in ("test", "validation")
        for metric in ("accuracy", "uar", "loss")
    ]


def _is_close(old: Record, new: Record) -> bool:
    pairs = [
        (old.metric_value(metric, name), new.metric_value(metric, name))
        for name in ("test", "validation")
        for metric in ("accuracy", "uar")
    ]
    return all(one is not None and other is not None and abs(one - other) <= TOLERANCE for one, other in pairs)
