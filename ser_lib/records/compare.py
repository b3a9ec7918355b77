"""Runs side by side: the parameters that differ, the metrics, and who is right about which clip.

References
----------
McNemar, "Note on the sampling error of the difference between correlated proportions or percentages",
Psychometrika 12(2), 1947. Exact form: the clips that one run alone gets right follow a binomial distribution
with the share one half if both runs are equally good.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
from scipy.stats import binomtest

from ser_lib.core.errors import RunError
from ser_lib.records.record import Record, figure_text

_METRICS = ("accuracy", "uar", "macro_f1", "loss")
_SHOWN = {"uar": "UAR", "macro_f1": "macro-F1"}
_OWN = ("OUTPUT_DIR", "PROCESSED_DATA_FILE")


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
    return Comparison(names, tables, notes)


def _parameter_table(records: Sequence[Record]) -> pd.DataFrame:
    names = dict.fromkeys(name for record in records for name in record.params)
    shown = {name: [_text(record.params.get(name, "")) for record in records] for name in names}
    rows = {name: values for name, values in shown.items() if name not in _OWN and len(set(values)) > 1}
    return pd.DataFrame.from_dict(rows, orient="index", columns=[record.name for record in records])


def _text(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _metric_table(records: Sequence[Record]) -> pd.DataFrame:
    rows = {}
    for name in ("test", "validation"):
        for metric in _METRICS:
            values = [record.figure(metric, name) for record in records]
            if values == [None] * len(values):  # of records made before it was measured
                continue
            differences = [_signed(value, values[0]) for value in values[1:]]
            rows[f"{name} {_SHOWN.get(metric, metric)}"] = [*(figure_text(value, 4) for value in values), *differences]
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


def mcnemar_exact(only_1: int, only_2: int) -> float:
    """Two-sided p value of McNemar's exact test.

    Parameters
    ----------
    only_1, only_2 : int
        Clips that only the one run, or only the other, gets right.
    """
    discordant = only_1 + only_2
    return 1.0 if discordant == 0 else float(binomtest(only_1, discordant, 0.5).pvalue)
