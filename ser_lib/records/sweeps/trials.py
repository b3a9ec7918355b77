"""The trials of a sweep, in rounds: Optuna says what to try, runs try it, Optuna hears what came of them.

Here a round is one trial; with workers of Dask it is as many as can work at a time.

A trial is a run of 01_preprocess to 03_train with a light record, `NAME_t0`, `NAME_t1` and so on. It never comes to
04_evaluate, so a sweep measures nothing on the test set; `ser run --resume` of a trial does. Each trial's sampler has
a seed of its own, made of `SEED` and the trial's number: a sweep that stopped and went on tries what one that did not
stop would have tried.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ser_lib.core.errors import ParameterError, RunError, SerError
from ser_lib.params import make_params
from ser_lib.records import plan
from ser_lib.records import run as runs
from ser_lib.records.light import plan_slimming, slim
from ser_lib.records.manifest import TRAINED
from ser_lib.records.record import find_record, record_folder, scratch_folder
from ser_lib.records.study import find_study, write_study
from ser_lib.records.sweeps.objective import DIRECTIONS, SHOWN, check_objective, validation_figures
from ser_lib.records.sweeps.space import Space, read_space
from ser_lib.records.sweeps.storage import ERROR, FIGURES, RUN, completed, load_optuna, note_about, open_study

if TYPE_CHECKING:
    import optuna

ROW = "trials"
"""Row of the study that the trials are in."""
GIVE_UP = 5
"""So many trials that fail in a row fail for a reason that those after them would share."""
Figures = Mapping[str, float]
"""Of the validation set, as `validation_figures` has them."""
Execute = Callable[[Sequence[plan.Planned]], Iterable[tuple[plan.Planned, Figures | Exception]]]
"""Executes the trials of a round, and gives each as it ends: its figures, or why it failed."""


@dataclass(frozen=True)
class Sweep:
    """What is to be tried, and what decides which trial was best."""

    name: str
    """What the names of the trials begin with."""
    title: str
    values: Mapping[str, Any]
    space: Space
    objective: str

    @property
    def study(self) -> str:
        """Name of the study that gathers the trials."""
        return f"{self.name}_sweep"

    @property
    def folder(self) -> Path:
        """Folder of that study."""
        return record_folder(self.study)

    def trial_name(self, number: int) -> str:
        """Name of a trial's run."""
        return f"{self.name}_t{number}"

    def trial_values(self, keys: Mapping[str, Any]) -> dict[str, Any]:
        """Parameters of a trial, of what Optuna chose."""
        return {**self.values, **{name: self.space[name].to_value(key) for name, key in keys.items()}}


def plan_sweep(
    file: Path,
    more: Sequence[Path],
    overrides: Sequence[str],
    space: Path,
    *,
    objective: str = "uar",
    name: str | None = None,
) -> Sweep:
    """Read what a sweep is about, and check all of it; nothing is made yet.

    Parameters
    ----------
    file, more, overrides
        Parameters that all trials have, as `plan.plan_files` reads them.
    space : Path
        What is varied.
    objective : str
        Figure of the validation set that decides.
    name : str, optional
        What the names of the trials begin with. None: the names of both files.

    Raises
    ------
    ParameterError
        If a file, an override or the objective is refused.
    RunError
        If the name is, or there is a run called like the study.
    """
    figure = check_objective(objective)
    (values,) = plan.read_files([file], more, overrides)
    read = read_space(space, values)
    for override in overrides:
        if (given := override.partition("=")[0]) in read:
            raise ParameterError(f"The space gives each trial a `{given}` of its own. Leave out -p {given}.")
    if "OUTPUT_DIR" in values:
        raise ParameterError("`OUTPUT_DIR` must be left out of a sweep: each trial has artifacts/<trial>.")
    begin = plan.begin_name(file, values, is_study=True)
    name = name or plan.run_name(f"{begin}_{space.stem}")
    title = f"{begin}: {len(read)} parameters of {plan.run_name(space.stem)}, chosen by validation {SHOWN[figure]}"
    sweep = Sweep(name, title, values, read, figure)
    runs.make_run(values, name=sweep.trial_name(0))
    find_study(sweep.study)
    return sweep


def execute_here(planned: Sequence[plan.Planned]) -> Iterator[tuple[plan.Planned, Figures | Exception]]:
    """Execute trials in this process, one after the other."""
    for one in planned:
        try:
            yield one, execute_trial(one)
        except (SerError, OSError) as error:
            yield one, error


def run_sweep(
    sweep: Sweep,
    n_trials: int,
    *,
    keep: bool = False,
    show: Callable[[str], None] = lambda line: None,
    execute: Execute = execute_here,
    at_once: int = 1,
) -> "optuna.Study":
    """Go on with a sweep until it has had `n_trials` trials, whether they succeeded or not.

    Trial 0 is the experiment as it is, if the space holds it. One that fails is told, and counts.

    Parameters
    ----------
    sweep : Sweep
    n_trials : int
        Trials in all, those that were there before included.
    keep : bool
        Keep each trial's notebooks, model and files; by default the record of the first has its notebooks, the others
        have none, and `artifacts/` has the files of the best.
    show : callable
        Is called with a line for each thing to tell.
    execute : callable
        What executes the trials of a round.
    at_once : int
        Trials of a round. What is tried next depends on it, and on nothing else of how the trials are executed.

    Raises
    ------
    RunError
        If the sweep is about something else than the one of that name, another process is at it, or `GIVE_UP` trials
        in a row fail.
    """
    load_optuna()
    with runs.hold_folder(scratch_folder(sweep.study), f"work at the sweep {sweep.study}"):
        study = open_study(sweep.folder, DIRECTIONS[sweep.objective])
        note_about(study, sweep.values, sweep.space, sweep.objective)
        _enqueue_as_it_is(study, sweep)
        failed = 0
        while trials := _next_round(study, sweep, n_trials, at_once):
            n_done = len(_finished(study))
            counts = [f"{n_done + n} of {n_trials}" for n in range(1, len(trials) + 1)]
            planned = [_plan(sweep, trial, count, show) for trial, count in zip(trials, counts, strict=True)]
            by_name = {one.name: trial for one, trial in zip(planned, trials, strict=True)}
            for one, outcome in execute(planned):
                is_good = _tell(study, sweep, by_name[one.name], outcome, keep=keep, show=show)
                failed = 0 if is_good else failed + 1
            if failed >= GIVE_UP:
                raise RunError(
                    f"{failed} trials in a row failed, as those after them would; the sweep {sweep.study} was stopped. "
                    "Mend what the last one names, and give the same command again."
                )
    return study


def _enqueue_as_it_is(study: "optuna.Study", sweep: Sweep) -> None:
    """Let trial 0 be the experiment as its file has it, so that the others have something to be better than."""
    if study.trials:
        return
    own = make_params(sweep.values).model_dump()
    study.enqueue_trial({name: one.to_key(own[name]) for name, one in sweep.space.items() if one.holds(own[name])})


def _next_round(study: "optuna.Study", sweep: Sweep, n_trials: int, at_once: int) -> list["optuna.Trial"]:
    """The trials that a process which stopped was at, and new ones; none when there were enough."""
    optuna = load_optuna()
    state = optuna.trial.TrialState
    stopped = []
    for one in study.get_trials(deepcopy=False, states=(state.RUNNING,)):
        if one.params.keys() == sweep.space.keys():
            stopped.append(optuna.trial.Trial(study, one._trial_id))
        else:
            study.tell(one.number, state=state.FAIL)
    n_left = max(0, n_trials - len(_finished(study)))
    trials = stopped[:n_left]
    while len(trials) < min(at_once, n_left):
        trials.append(_ask(study, sweep))
    return trials


def _finished(study: "optuna.Study") -> list["optuna.trial.FrozenTrial"]:
    return [one for one in study.get_trials(deepcopy=False) if one.state.is_finished()]


def _ask(study: "optuna.Study", sweep: Sweep) -> "optuna.Trial":
    number = len([one for one in study.get_trials(deepcopy=False) if one.state.name != "WAITING"])
    seed = np.random.SeedSequence([make_params(sweep.values).SEED, number]).generate_state(1)[0]
    study.sampler = load_optuna().samplers.TPESampler(seed=int(seed), constant_liar=True)
    return study.ask({name: one.distribution() for name, one in sweep.space.items()})


def _plan(sweep: Sweep, trial: "optuna.Trial", count: str, show: Callable[[str], None]) -> plan.Planned:
    """Say what a trial tries, and write it into the study."""
    name = sweep.trial_name(trial.number)
    show(f"Trial {name}, {count}: {describe(trial.params)}")
    trial.set_user_attr(RUN, name)
    write_study(sweep.study, sweep.title, {ROW: [name]})
    return plan.Planned(name, sweep.trial_values(trial.params), ROW)


def _tell(
    study: "optuna.Study",
    sweep: Sweep,
    trial: "optuna.Trial",
    outcome: Figures | Exception,
    *,
    keep: bool,
    show: Callable[[str], None],
) -> bool:
    """Tell Optuna what came of a trial; say whether it succeeded."""
    name = sweep.trial_name(trial.number)
    if isinstance(outcome, Exception):
        trial.set_user_attr(ERROR, str(outcome))
        study.tell(trial, state=load_optuna().trial.TrialState.FAIL)
        show(f"  {name} failed: {outcome}")
        return False
    trial.set_user_attr(FIGURES, dict(outcome))
    study.tell(trial, outcome[sweep.objective])
    best = study.best_trial
    told = f"validation {SHOWN[sweep.objective]} {outcome[sweep.objective]:.4f}"
    show(f"  {name}: {told}; the best so far: {best.value:.4f}, trial {best.number}")
    if not keep:
        _make_light(study, trial)
    return True


def describe(params: Mapping[str, Any]) -> str:
    """Parameters of a trial in a line; numbers with four digits that count."""
    return ", ".join(f"{name} {show_value(value)}" for name, value in params.items())


def show_value(value: Any) -> str:
    """A parameter's value, a broken number with four digits that count."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def execute_trial(planned: plan.Planned) -> Figures:
    """Execute a trial's notebooks up to its model, or take them up, and measure it on the validation set."""
    run = plan.begin(planned, plan.check([planned])[planned.name])
    runs.execute_run(run, runs.TRAINING)
    return validation_figures(run.params)


def _make_light(study: "optuna.Study", trial: "optuna.Trial") -> None:
    """Make a trial's record light, and remove the files of every trial that is not the best.

    The first keeps its notebooks: they are how all trials went, but for the parameters.
    """
    for one in plan_slimming([trial.user_attrs[RUN]]):
        slim(one if trial.number else replace(one, notebooks=[]))
    for other in completed(study):
        if other.number != study.best_trial.number:
            _remove_files(other.user_attrs[RUN])


def _remove_files(name: str) -> None:
    """Remove what a trial wrote into its own `OUTPUT_DIR`; one that was measured meanwhile is a run like any other."""
    if not (scratch_folder(name) / "params.yaml").is_file() or find_record(name).state != TRAINED:
        return
    run = runs.resume_run(name)
    for path in (path for stage in runs.TRAINING for path in run.outputs(stage)):
        if path.parent == run.params.output_dir:
            path.unlink(missing_ok=True)
