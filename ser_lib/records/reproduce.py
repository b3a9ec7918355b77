"""A record's run again, and the new one held against the old."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ser_lib.core.errors import RunError
from ser_lib.core.text import printable
from ser_lib.records.manifest import DONE, Environment
from ser_lib.records.record import Record, figure_text, private_values
from ser_lib.records.redact import PATH_PARAMETERS
from ser_lib.store import SPLIT_FILE

TOLERANCE = 0.02
"""Largest difference of accuracy and UAR that counts as the same on another processor or with other packages."""
_ORDER = (
    ("features", "PROCESSED_DATA_FILE"),
    ("split", SPLIT_FILE),
    ("weights of the best model", "MODEL_WEIGHTS_FILE"),
    ("weights of the final model", "MODEL_H5_FILE"),
)


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


def hold_against(old: Record, new: Record) -> Outcome:
    """Compare a run with the record that it repeats: identical, or where they differ first."""
    parameters = _parameter_lines(old.params, new.params)
    difference = _first_difference(old, new)
    if difference is None:
        return Outcome(True, [*parameters, "identical: corpus, features, split, weights and metrics"])
    lines = [*parameters, f"different, first in the {difference}", *_metric_lines(old, new)]
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
        if one is None or one != two:
            return what
    return None if old.metrics == new.metrics else "metrics"


def _metric_lines(old: Record, new: Record) -> list[str]:
    return [
        f"{name} {metric}: {figure_text(old.figure(metric, name), 4)}, now {figure_text(new.figure(metric, name), 4)}"
        for name in ("test", "validation")
        for metric in ("accuracy", "uar", "loss")
    ]


def _is_close(old: Record, new: Record) -> bool:
    pairs = [
        (old.figure(metric, name), new.figure(metric, name))
        for name in ("test", "validation")
        for metric in ("accuracy", "uar")
    ]
    return all(None not in pair and abs(pair[0] - pair[1]) <= TOLERANCE for pair in pairs)
