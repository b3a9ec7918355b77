"""The command `ser sweep`."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from ser_lib._cli.cluster import SchedulerOption, trials_away, use_scheduler
from ser_lib._cli.common import check_means, parameter_file, same_command
from ser_lib.core.paths import shown


def sweep(
    params: Annotated[Path, typer.Argument(help="Parameter file: what all trials have in common.")],
    space: Annotated[
        Path, typer.Option("--space", metavar="FILE", help="What to vary, as params/sweeps/lstm.yaml says it.")
    ],
    trials: Annotated[int, typer.Option("--trials", min=1, help="Trials in all, those that are there included.")] = 30,
    objective: Annotated[
        str, typer.Option(help="Figure of the validation set to choose by: uar, accuracy, macro_f1 or loss.")
    ] = "uar",
    override: Annotated[
        list[str] | None, typer.Option("-p", metavar="NAME=VALUE", help="Override a parameter, of all trials.")
    ] = None,
    more: Annotated[
        list[Path] | None, typer.Option("--with", metavar="FILE", help="Lay another parameter file over the first.")
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="What the names of the trials begin with.  [default: the names of the files]")
    ] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Keep the notebooks, model and files of every trial.")] = False,
    scheduler: SchedulerOption = None,
) -> None:
    """Try other parameters, chosen by Optuna, and say which were best on the validation set.

    Each trial is a run that ends with its model (NAME_t0, NAME_t1 and so on); none is measured on the test set.
    reports/NAME_sweep gathers them. The same command again goes on where it stopped.
    """
    check_means()
    from ser_lib.records import site as report
    from ser_lib.records.sweeps import trials as work
    from ser_lib.records.sweeps.results import read_sweep, to_text

    asked = work.plan_sweep(parameter_file(params), more or [], override or [], space, objective=objective, name=name)
    client = use_scheduler(scheduler)
    print(f"Sweep {asked.study}: {asked.title}", flush=True)
    try:
        if client is None:
            work.run_sweep(asked, trials, keep=keep, show=_show)
        else:
            at_once = sum(client.nthreads().values())
            with trials_away(client) as execute:
                work.run_sweep(asked, trials, keep=keep, show=_show, execute=execute, at_once=at_once)
    except KeyboardInterrupt:
        print(f"Interrupted. To go on{same_command()}", file=sys.stderr)
        raise
    print(f"\n{to_text(read_sweep(asked.folder))}\n\nThe sweep is in {shown(asked.folder)}.")
    print(report.build_site(), flush=True)


def _show(line: str) -> None:
    print(line, flush=True)
