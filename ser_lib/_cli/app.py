"""The `ser` command."""

import contextlib
import json
import signal
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from ser_lib import __version__
from ser_lib._cli.cluster import SchedulerOption, execute_all, use_scheduler
from ser_lib._cli.common import check_means, parameter_file, same_command, summarize
from ser_lib._cli.data import data_app
from ser_lib._cli.demo import demo
from ser_lib._cli.encoder import encoder_app
from ser_lib._cli.enrol import enrol
from ser_lib._cli.evaluate import evaluate
from ser_lib._cli.export import export
from ser_lib._cli.listen import listen
from ser_lib._cli.new import new
from ser_lib._cli.predict import predict
from ser_lib._cli.runs import runs_app
from ser_lib._cli.sweep import sweep
from ser_lib._cli.tables import print_table
from ser_lib.core.errors import DatasetError, RunError, SerError
from ser_lib.core.extras import name_extras
from ser_lib.core.paths import check_project, shown
from ser_lib.core.terminal import guard_terminal
from ser_lib.core.text import printable
from ser_lib.params import Params, read_values
from ser_lib.records.manifest import DONE

if TYPE_CHECKING:
    from distributed import Client

    from ser_lib.records.plan import Plan
    from ser_lib.records.run import Run

INTERRUPT_AGAIN = 20.0
"""Seconds after which an interrupt that did not end the process is sent once more."""
_terminated = threading.Event()
"""Set once SIGTERM has come."""


class _Commands(TyperGroup):
    def invoke(self, ctx: Any) -> object:
        try:
            return super().invoke(ctx)
        except typer.BadParameter as error:
            error.message = error.message.removeprefix("Value error, ")  # pydantic's, which checks choices for typer
            raise


app = typer.Typer(
    cls=_Commands,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.add_typer(data_app, name="data")
app.add_typer(encoder_app, name="encoder")


def _show_version(asked: bool) -> None:
    if asked:
        print(f"ser_lib {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Speech emotion recognition: five notebooks from wav files to a prediction."""


Override = Annotated[
    list[str] | None, typer.Option("-p", metavar="NAME=VALUE", help="Override a parameter, of all; can be repeated.")
]
More = Annotated[
    list[Path] | None,
    typer.Option("--with", metavar="FILE", help="Lay another file over each; can be repeated, a later one wins."),
]


@app.command()
def run(
    params: Annotated[
        list[Path] | None,
        typer.Argument(help="Parameter files, or names of params/, each a run.  [default: demo]"),
    ] = None,
    override: Override = None,
    more: More = None,
    name: Annotated[
        str | None,
        typer.Option(
            help="Name of the run; of several runs, what their names begin with.  [default: the file's name; "
            "with the time, unless there are seeds or folds]"
        ),
    ] = None,
    seeds: Annotated[
        str | None, typer.Option(metavar="0,1,2", help="A run for each seed, NAME_s0, NAME_s1 and so on.")
    ] = None,
    folds: Annotated[
        bool, typer.Option("--folds", help="A run for each fold of speakers, NAME_f0, NAME_f1 and so on.")
    ] = False,
    resume: Annotated[
        str | None, typer.Option(metavar="RUN", help="Go on after the last stage that succeeded.")
    ] = None,
    scheduler: SchedulerOption = None,
) -> None:
    """Execute the five notebooks and leave a record in reports/.

    Seeds and folds are gathered in a study, reports/NAME_study. The same command again goes on where it stopped.
    """
    check_means()
    from ser_lib.records import plan
    from ser_lib.records import run as runs

    if resume is not None:
        if params or override or more or name or seeds or folds:
            raise typer.BadParameter("--resume takes the run's own parameters: give it alone, or with --scheduler.")
        use_scheduler(scheduler)
        _execute(runs.resume_run(resume))
        return
    files = [parameter_file(one) for one in params or [Path("demo")]]
    asked = plan.plan_files(files, more or [], override or [], name=name, seeds=seeds, folds=folds)
    if len(asked.runs) == 1 and not asked.study:
        if use_scheduler(scheduler) is None:
            plan.check_data(asked.runs)
        _execute(runs.start_run(asked.runs[0].values, name=asked.runs[0].name))
    else:
        _execute_all(asked, can_repeat=bool(name or asked.study), scheduler=scheduler)


@app.command()
def protocol(
    params: Annotated[str, typer.Argument(help="Parameter file, or its name in params/ without .yaml.")],
    override: Override = None,
    more: More = None,
    name: Annotated[
        str | None, typer.Option(help="What the names of the runs begin with.  [default: the file's name]")
    ] = None,
    seeds: Annotated[str, typer.Option(metavar="0,1,2", help="Seeds of each split.")] = "0,1,2",
    scheduler: SchedulerOption = None,
) -> None:
    """Measure a model by how little training and test set share: at random, by text, by speaker.

    Whatever split the file names, each of these is run with each seed, as NAME_random_s0 and so on, and gathered
    in reports/NAME_protocol. The same command again goes on where it stopped.
    """
    check_means()
    from ser_lib.records import plan

    asked = plan.plan_protocol(parameter_file(params), more or [], override or [], name=name, seeds=seeds)
    _execute_all(asked, can_repeat=True, scheduler=scheduler)


def _execute(run: "Run") -> None:
    """Execute a run, say how it went, and bring the site up to date, whatever became of the run."""
    from ser_lib.records import site as report

    try:
        _execute_one(run)
    except KeyboardInterrupt:
        print(f"Interrupted. To go on: ser run --resume {run.name}", file=sys.stderr)
        raise
    except RunError:
        with contextlib.suppress(SerError):  # the run's own error is the one to report
            print(report.build_site(), flush=True)
        raise
    if run.params.CORPORA != ["DEMO"]:
        print(f"Its model: ser predict FILE --run {run.name}; for good: ser runs default {run.name}", flush=True)
    print(report.build_site(), flush=True)


def _execute_one(run: "Run", position: str = "") -> None:
    """Execute a run and say how it went; `position`: which of several it is."""
    from ser_lib.records import run as runs

    print(
        f"Run {run.name}{position}: {', '.join(run.params.all_corpora)} in {shown(run.params.DATASET_PATH)}", flush=True
    )
    if run.params.CORPORA == ["DEMO"] and not run.params.dataset_path.exists():
        print("There is nothing yet: the demo corpus is made there first.", flush=True)
    runs.execute_run(run)
    print(summarize(run.name), flush=True)


def _execute_all(asked: "Plan", *, can_repeat: bool, scheduler: str | None = None) -> None:
    """Execute several runs, each whatever became of the others, and show their study.

    `can_repeat`: the same command names the same runs, so that it goes on where it stopped.
    """
    from ser_lib.records import plan
    from ser_lib.records import site as report
    from ser_lib.records import study as studies
    from ser_lib.records.record import record_folder

    states = plan.check(asked.runs)  # what is refused, is refused before anything starts
    client = use_scheduler(scheduler)
    if client is None:  # workers see the corpora where they are
        plan.check_data([planned for planned in asked.runs if states[planned.name] != DONE])
    if asked.study:
        plan.check_study(asked)
        studies.write_study(asked.study, asked.title, asked.rows)
    failed = _execute_each(asked, states, can_repeat) if client is None else _execute_away(client, asked, states)
    if asked.study:
        print(f"\n{asked.title}\n\n{studies.write_table(asked.study)}")
        print(f"The study is in {shown(record_folder(asked.study))}.")
    print(report.build_site(), flush=True)
    if failed:
        advice = " The same command again takes them up." if can_repeat else ""
        print(f"Failed: {', '.join(failed)}.{advice}", file=sys.stderr)
        raise SystemExit(1)


def _execute_each(asked: "Plan", states: dict[str, str], can_repeat: bool) -> list[str]:
    """Execute runs one after the other; the names of those that failed."""
    from ser_lib.records import plan

    failed = []
    for number, planned in enumerate(asked.runs):
        try:
            if states[planned.name] == DONE:
                print(f"Run {planned.name} is done already.", flush=True)
            else:
                _execute_one(plan.begin(planned, states[planned.name]), f", {number + 1} of {len(asked.runs)}")
        except KeyboardInterrupt:
            rest = ", ".join(later.name for later in asked.runs[number + 1 :])
            again = f": ser run --resume {planned.name}" + (f"; not begun: {rest}" if rest else "")
            print(f"Interrupted. To go on{same_command() if can_repeat else again}", file=sys.stderr)
            raise
        except (SerError, OSError) as error:
            failed.append(planned.name)
            print(f"error: {_one_line(error)}", file=sys.stderr, flush=True)
    return failed


def _execute_away(client: "Client", asked: "Plan", states: dict[str, str]) -> list[str]:
    """Execute on workers those runs that are not done; the names of those that failed."""
    for planned in asked.runs:
        if states[planned.name] == DONE:
            print(f"Run {planned.name} is done already.", flush=True)
    try:
        return execute_all(client, [planned for planned in asked.runs if states[planned.name] != DONE])
    except KeyboardInterrupt:
        print(f"Interrupted. To go on{same_command()}", file=sys.stderr)
        raise


@app.command()
def report(
    every: Annotated[bool, typer.Option("--all", help="Write each page, also one that is up to date.")] = False,
) -> None:
    """Bring the pages of all runs up to date, and the tables in README.md and docs/; open reports/index.html."""
    check_project()
    from ser_lib.records.documents import write_documents
    from ser_lib.records.site import build_site

    site = build_site(every=every, light=True)
    print(site)
    for line in site.left_out:
        print(f"Left out: {line}", file=sys.stderr)
    for path in write_documents():
        print(f"Tables written: {shown(path)}")


@app.command()
def compare(
    names: Annotated[list[str], typer.Argument(metavar="RUN RUN...", help="Runs; each is compared with the first.")],
) -> None:
    """Compare runs: parameters, metrics, and who is right about which clip."""
    check_project()
    from ser_lib.records.compare import compare_runs
    from ser_lib.records.record import find_record
    from ser_lib.records.site import write_comparison_page

    comparison = compare_runs([find_record(name) for name in names])
    print(comparison)
    print(f"\nAs a page: {write_comparison_page(comparison, '-'.join(comparison.names))}")


@app.command()
def reproduce(
    run: Annotated[str, typer.Argument(help="Run whose record is to be repeated.")],
    override: Annotated[
        list[str] | None, typer.Option("-p", metavar="NAME=VALUE", help="Change a parameter, such as DATASET_PATH.")
    ] = None,
) -> None:
    """Run a record's parameters again and compare the new run with it; exit status 1 if they differ."""
    check_means()
    from ser_lib.records import run as runs
    from ser_lib.records.compare import compare_with, missing_clips, values_of
    from ser_lib.records.plan import Planned, check_data, run_name
    from ser_lib.records.record import find_record

    record = find_record(run)
    values = values_of(record) | read_values([], override or [])
    name = run_name(f"{record.name}-again", timed=True)
    try:
        check_data([Planned(name, values, record.name)])
        missing = missing_clips(record, values)
    except DatasetError as error:
        if "-p DATASET_PATH=" in str(error):
            raise
        raise DatasetError(f"{error} Where those of the record lie, -p DATASET_PATH=FOLDER says.") from None
    if missing:
        which = "1 clip of the record is" if len(missing) == 1 else f"{len(missing):,} clips of the record are"
        print(
            f"warning: {which} missing, such as {printable(missing[0])}, so the run cannot be the same.",
            file=sys.stderr,
        )
    again = runs.start_run(values, name=name)
    _execute(again)
    outcome = compare_with(record, find_record(again.name))
    print(*outcome.lines, sep="\n")
    raise SystemExit(0 if outcome.same else 1)


app.command()(sweep)
app.add_typer(runs_app, name="runs")
app.command()(new)
app.command()(predict)
app.command()(evaluate)
app.command()(demo)
app.command()(listen)
app.command()(enrol)
app.command()(export)


@app.command(name="params")
def list_params(
    markdown: Annotated[bool, typer.Option("--markdown", help="Print the table of docs/parameters.md.")] = False,
) -> None:
    """List every parameter with its default."""
    if markdown:
        from ser_lib.records.documents import parameter_table

        print(parameter_table())
        return
    fields = Params.model_fields.items()
    print_table([(name, json.dumps(field.default), field.description or "") for name, field in fields])


def main() -> None:
    """Run the command; a mistake of the user's is one line and exit status 1, a signal 128 and its number."""
    _terminated.clear()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, interrupt)
    guard_terminal()
    try:
        try:
            with name_extras():
                app()
        finally:
            sys.stdout.flush()  # a full disk is reported here, and not by Python at the end
    except (SerError, OSError) as error:
        print(f"error: {_one_line(error)}", file=sys.stderr)
        raise SystemExit(1) from None
    finally:
        if _terminated.is_set():  # a command ends as after Ctrl-C, but whoever asked it to end knows the difference
            raise SystemExit(128 + signal.SIGTERM)


def _one_line(error: SerError | OSError) -> str:
    if not isinstance(error, OSError):
        return printable(str(error))
    return printable((f"{shown(error.filename)}: " if error.filename else "") + (error.strerror or str(error)))


def interrupt(number: int, *_frame: object) -> None:
    """Raise KeyboardInterrupt, and once more if that gets lost: a library may swallow it while it is imported."""
    if number == signal.SIGTERM:
        _terminated.set()
    again = threading.Timer(INTERRUPT_AGAIN, signal.pthread_kill, (threading.main_thread().ident, signal.SIGINT))
    again.daemon = True
    again.start()
    raise KeyboardInterrupt
