"""The commands `ser runs`, `ser runs default`, `ser runs note`, `ser runs slim` and `ser runs rm`."""

from typing import Annotated

import typer

from ser_lib._cli.tables import print_table
from ser_lib.core.errors import SerError
from ser_lib.core.paths import check_project, shown

runs_app = typer.Typer(
    help="List runs, newest first; note something of one, remove one, make records light, or name the default.",
    invoke_without_command=True,
)


@runs_app.callback()
def list_runs(context: typer.Context) -> None:
    """List runs, newest first."""
    from ser_lib.records.models import is_default
    from ser_lib.records.record import format_value, list_records

    if context.invoked_subcommand is not None:
        return
    check_project()
    rows = []
    for record in list_records():
        mark = "default" if is_default(record.name) else ""
        try:
            figures = [format_value(record.metric_value(metric)) for metric in ("accuracy", "uar")]
            tags = ", ".join(record.note.tags)
            rows.append((record.name, record.state, record.started, *figures, mark, tags))
        except (SerError, TypeError, ValueError):
            rows.append((record.name, "damaged", record.started, "", "", mark, ""))
    heads = ("run", "state", "started (UTC)", "test accuracy", "test UAR", "", "tags")
    n_shown = len(heads) if any(row[-1] for row in rows) else len(heads) - 1
    print_table([row[:n_shown] for row in [heads, *rows]])


@runs_app.command(name="default")
def set_default(
    run: Annotated[
        str | None, typer.Argument(help="Run in reports/ whose model predicts from now on.  [default: show which does]")
    ] = None,
) -> None:
    """Make a run's model the one that predicts where none is named, or show which one it is."""
    from ser_lib.records.models import default_run, models_file, set_default

    if run is None:
        print(f"{default_run()} is the default, by {shown(models_file())}.")
        return
    check_project()
    set_default(run)
    print(f"{run} is the default now: ser predict FILE")


@runs_app.command(name="note")
def note_run(
    run: Annotated[str, typer.Argument(help="Name of the run.")],
    text: Annotated[
        str | None, typer.Argument(help="The note, in place of an earlier one; '' for none.  [default: show it]")
    ] = None,
    tag: Annotated[list[str] | None, typer.Option(help="Add a tag; may be given several times.")] = None,
    untag: Annotated[list[str] | None, typer.Option(help="Remove a tag; may be given several times.")] = None,
) -> None:
    """Note something of a run, in a sentence or by tags; both stay in its record, and the pages show them."""
    from ser_lib.records.notes import change_note
    from ser_lib.records.site import build_site

    check_project()
    note = change_note(run, text, add=tag or [], remove=untag or [])
    print(f"note: {note.note or 'none'}\ntags: {', '.join(note.tags) or 'none'}")
    if text is not None or tag or untag:
        print(build_site())


@runs_app.command()
def slim(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[RUN...]", help="Runs whose records become light.")
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="All runs that are done.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Leave notebooks and models out of records, after asking; `ser reproduce RUN` makes them again.

    The default and every other run that reports/models.json names keep both, and a run that no study gathers keeps
    its notebooks. Tables are compressed.
    """
    from ser_lib.records.light import plan_slimming
    from ser_lib.records.light import slim as slim_record
    from ser_lib.records.site import build_site

    check_project()
    if bool(names) == every:
        raise typer.BadParameter("name runs, or all of them with --all.")
    planned = plan_slimming(names)
    if not planned:
        print("Nothing to leave out.")
        return
    size = sum(one.size for one in planned) / 1e6
    records = f"{len(planned)} record{'s' * (len(planned) != 1)}"
    print(*planned, sep="\n")
    if not yes and not typer.confirm(f"Leave {size:.1f} MB out of {records}?"):
        raise SystemExit(1)
    for one in planned:
        slim_record(one)
    print(f"Left {size:.1f} MB out of {records}. To make it again: ser reproduce RUN")
    print(build_site())


@runs_app.command(name="rm")
def remove(
    run: Annotated[str, typer.Argument(help="Name of the run.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Remove a run's record and artifacts, after asking."""
    from ser_lib.records.models import is_default
    from ser_lib.records.record import output_elsewhere, remove_run, run_folders
    from ser_lib.records.site import build_site

    check_project()
    folders = " and ".join(shown(folder) for folder in run_folders(run))
    elsewhere = output_elsewhere(run)
    if not yes and not typer.confirm(f"Remove {folders}?"):
        raise SystemExit(1)
    remove_run(run)
    print(f"Removed {folders}." + (f" {shown(elsewhere)} stays." if elsewhere else ""))
    if is_default(run):
        print(f"{run} was the default model: ser runs default RUN names another.")
    build_site()
