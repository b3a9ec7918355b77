"""What a sweep found: its trials in a table, the best first, and what to do next; for the terminal and the page."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ser_lib.records.manifest import DONE
from ser_lib.records.record import Record, format_interval, format_value, manifest_or_state, record_folder
from ser_lib.records.study import markdown_table
from ser_lib.records.sweeps.objective import DIRECTIONS, SHOWN
from ser_lib.records.sweeps.storage import ABOUT, ERROR, FIGURES, RUN, completed, load_optuna, read_study
from ser_lib.records.sweeps.trials import show_value

if TYPE_CHECKING:
    import optuna

NEAR_THE_END = 0.1
"""Part of a range, at either end, in which the best value may mean that the range ends too early."""
LITTLE = 0.02
"""Importance below which a parameter hardly matters."""
EVALUATOR = {"seed": 0}
"""Options of what measures importance: without a seed, it says something else each time."""
_BEST_SHOWN = 5
"""Trials that are shown, at most."""
_FEWEST = 5
"""Trials below which nothing is said about importance."""


@dataclass(frozen=True)
class SweepRecord:
    """A sweep as its journal has it."""

    study: "optuna.Study"

    @property
    def objective(self) -> str:
        """Figure of the validation set that decides."""
        return self.study.user_attrs[ABOUT]["objective"]

    @property
    def shown_objective(self) -> str:
        """The same, as people call it."""
        return f"validation {SHOWN[self.objective]}"

    @property
    def space(self) -> dict[str, str]:
        """What each parameter might be."""
        return self.study.user_attrs[ABOUT]["space"]

    @cached_property
    def trials(self) -> list["optuna.trial.FrozenTrial"]:
        """Trials that succeeded, the best first; of equals the earliest."""
        sign = -1 if DIRECTIONS[self.objective] == "maximize" else 1
        return sorted(completed(self.study), key=lambda trial: (sign * (trial.value or 0.0), trial.number))

    @cached_property
    def failed(self) -> list["optuna.trial.FrozenTrial"]:
        """Trials that failed."""
        return self.study.get_trials(deepcopy=False, states=(load_optuna().trial.TrialState.FAIL,))

    @property
    def errors(self) -> list[str]:
        """A line for each trial that failed: its number and why."""
        return [f"trial {one.number}: {one.user_attrs.get(ERROR, 'it was cut off')}" for one in self.failed]

    @property
    def headings(self) -> tuple[str, ...]:
        """Columns of the table."""
        return ("trial", *(f"validation {name}" for name in SHOWN.values()), *self.space)

    def lines(self, n: int | None = None) -> list[tuple[str, ...]]:
        """The table: a line for each of the `n` best trials."""
        return [self._line(trial) for trial in self.trials[:n]]

    def _line(self, trial: "optuna.trial.FrozenTrial") -> tuple[str, ...]:
        figures = [format_value(trial.user_attrs.get(FIGURES, {}).get(name)) for name in SHOWN]
        return (str(trial.number), *figures, *(show_value(trial.params.get(name, "")) for name in self.space))

    @property
    def n_clips(self) -> int:
        """Clips of the validation set."""
        return self.trials[0].user_attrs[FIGURES]["n_clips"]

    @cached_property
    def importance(self) -> dict[str, float]:
        """How much of the variance of the objective each parameter explains (fANOVA); empty of too few trials."""
        optuna = load_optuna()
        if len(self.trials) < _FEWEST or len({trial.value for trial in self.trials}) == 1:
            return {}
        evaluator = optuna.importance.FanovaImportanceEvaluator(**EVALUATOR)
        return optuna.importance.get_param_importances(self.study, evaluator=evaluator)

    @property
    def notes(self) -> list[str]:
        """What to make of the best trial, in sentences."""
        if not self.trials:
            return ["No trial succeeded."]
        best = self.trials[0]
        as_it_is = next((one for one in self.trials if one.number == 0), None)
        notes = [
            f"The validation set has {self.n_clips} clips: one more or less that is right is {1 / self.n_clips:.3f}."
        ]
        if as_it_is is not None and best.number != 0:
            notes.insert(
                0, f"{self.shown_objective}: {best.value:.4f} in trial {best.number}, {as_it_is.value:.4f} in trial 0."
            )
        notes.append("The best of many is partly luck, so its validation figure promises too much; the test set tells.")
        return notes

    @property
    def advice(self) -> list[str]:
        """What to try next, a line each: ranges that may end too early, parameters that hardly matter."""
        if not self.trials:
            return []
        best, found = self.trials[0], []
        for name, distribution in best.distributions.items():
            if (end := _near_the_end(best.params[name], distribution)) is not None:
                found.append(f"{name}: the best value lies at an end of its range ({show_value(end)}); widen it.")
        little = [name for name, share in self.importance.items() if share < LITTLE]
        found += [f"{', '.join(little)}: hardly mattered here; leave out what you need not vary."] if little else []
        return found

    @property
    def measured(self) -> list[tuple[str, ...]]:
        """Trials that went on to the test set: number, run, UAR, 95 % interval and accuracy."""
        found: list[tuple[str, ...]] = []
        for trial in self.trials:
            record = run_record(trial)
            if record.state == DONE and record.metrics.get("test"):
                interval = (record.metrics["test"].get("intervals") or {}).get("uar")
                found.append(
                    (
                        str(trial.number),
                        record.name,
                        format_value(record.metric_value("uar")),
                        format_interval(interval) if interval else "",
                        format_value(record.metric_value("accuracy")),
                    )
                )
        return found


def run_record(trial: "optuna.trial.FrozenTrial") -> Record:
    """Record of a trial's run."""
    folder = record_folder(trial.user_attrs[RUN])
    return Record(folder, manifest_or_state(folder, missing="not begun"))


def _near_the_end(value: Any, distribution: Any) -> float | None:
    """End of a range that a value is near; None if it is not, or the parameter has choices."""
    import math

    if not hasattr(distribution, "low"):
        return None
    scale = math.log if distribution.log else float
    low, high, at = (scale(number) for number in (distribution.low, distribution.high, value))
    share = (at - low) / (high - low)
    return distribution.low if share < NEAR_THE_END else distribution.high if share > 1 - NEAR_THE_END else None


def read_sweep(folder: Path) -> SweepRecord:
    """Read a sweep from the folder of its study.

    Raises
    ------
    RunError
        If its journal is missing or damaged, or Optuna is missing.
    """
    return SweepRecord(read_study(folder))


def to_text(sweep: SweepRecord) -> str:
    """The best trials, what to make of them, and the command that measures the best one once on the test set."""
    parts: Sequence[str] = [
        f"The best of {len(sweep.trials)} trials by {sweep.shown_objective}:",
        markdown_table([sweep.headings, *sweep.lines(_BEST_SHOWN)]),
        "\n".join(sweep.notes),
    ]
    if sweep.errors:
        parts = [*parts, "Failed:\n" + "\n".join(f"- {line}" for line in sweep.errors)]
    if sweep.advice:
        parts = [*parts, "To try next:\n" + "\n".join(f"- {line}" for line in sweep.advice)]
    return "\n\n".join([*parts, next_step(sweep)])


def next_step(sweep: SweepRecord) -> str:
    """The command that measures the best trial on the test set, or what that gave."""
    if not sweep.trials:
        return ""
    best = sweep.trials[0]
    for number, _, uar, interval, _ in sweep.measured:
        if number == str(best.number):
            return f"Trial {number} was measured on the test set: UAR {uar} ({interval})."
    return f"Measure the best one on the test set, once: ser run --resume {best.user_attrs[RUN]}"
