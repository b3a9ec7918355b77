"""The `ser` command."""

import contextlib
import json
import re
import signal
import sys
import threading
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ser_lib.errors import RunError, SerError
from ser_lib.params import Params, read_values, resolve, shown
from ser_lib.settings import Backend
from ser_lib.store import BUNDLE_FILE

if TYPE_CHECKING:
    from ser_lib.runs import Run

INTERRUPT_AGAIN = 20.0
"""Seconds after which an interrupt that did not end the process is sent once more."""
app = typer.Typer(
    help="Speech emotion recognition: five notebooks from wav files to a prediction.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


@app.command()
def run(
    params: Annotated[
        list[Path] | None, typer.Argument(help="Parameter files; a later one wins.  [default: params/demo.yaml]")
    ] = None,
    override: Annotated[
        list[str] | None, typer.Option("-p", metavar="NAME=VALUE", help="Override a parameter; can be repeated.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="Name of the run.  [default: the file's name and the time]")] = None,
    resume: Annotated[
        str | None, typer.Option(metavar="RUN", help="Go on after the last stage that succeeded.")
    ] = None,
) -> None:
    """Execute the five notebooks and leave a record in reports/."""
    from ser_lib import runs  # papermill takes a second to import

    if resume is not None:
        if params or override or name:
            raise typer.BadParameter("--resume takes the run's own parameters: give it alone.")
        _execute(runs.resume_run(resume))
    else:
        files = [path if path.exists() else resolve(path) for path in params or [Path("params/demo.yaml")]]
        values = read_values(files, override or [])
        _execute(runs.start_run(values, name=_timed(files[-1].stem) if name is None else name))


def _timed(name: str) -> str:
    """Name for a run after that of a file, with the time."""
    name = re.sub(r"[^A-Za-z0-9_.-]+", "-", name).strip("-._") or "run"
    return f"{name}-{datetime.now():%Y%m%d-%H%M%S}"


def _execute(run: "Run") -> None:
    """Execute a run, say how it went, and bring the site up to date, whatever became of the run."""
    from ser_lib import report, runs

    print(f"Run {run.name}: {', '.join(run.params.CORPORA)} in {shown(run.params.DATASET_PATH)}", flush=True)
    if run.params.CORPORA == ["DEMO"] and not run.params.dataset_path.exists():
        print("There is nothing yet: the demo corpus is made there first.", flush=True)
    try:
        runs.execute_run(run)
        print(_summary(run.name))
    except KeyboardInterrupt:
        print(f"Interrupted. To go on: ser run --resume {run.name}", file=sys.stderr)
        raise
    except RunError:
        with contextlib.suppress(SerError):  # the run's own error is the one to tell
            report.build_site()
        raise
    print(f"All runs are in {shown(report.build_site())}.", flush=True)


def _summary(run: str) -> str:
    from ser_lib.records import figure_text, find_record

    record = find_record(run)
    names = ("validation", "test")
    accuracies = ", ".join(f"{name} accuracy {figure_text(record.figure('accuracy', name))}" for name in names)
    return f"Done: {accuracies}.\nThe executed notebooks are in {shown(record.folder)}."


@app.command()
def report() -> None:
    """Build the pages of all runs; open reports/index.html."""
    from ser_lib.report import build_site

    print(f"All runs are in {shown(build_site())}.")


@app.command()
def compare(
    names: Annotated[list[str], typer.Argument(metavar="RUN RUN...", help="Runs; each is held against the first.")],
) -> None:
    """Compare runs: parameters, metrics, and who is right about which clip."""
    from ser_lib.compare import compare_runs
    from ser_lib.records import find_record
    from ser_lib.report import write_comparison_page

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
    """Run a record's parameters again and hold the new run against it; exit status 1 if they differ."""
    from ser_lib import runs
    from ser_lib.records import find_record
    from ser_lib.reproduce import hold_against, values_of

    record = find_record(run)
    again = runs.start_run(values_of(record) | read_values([], override or []), name=_timed(f"{record.name}-again"))
    _execute(again)
    outcome = hold_against(record, find_record(again.name))
    print(*outcome.lines, sep="\n")
    raise SystemExit(0 if outcome.same else 1)


runs_app = typer.Typer(help="List runs, newest first, or remove one.", invoke_without_command=True)
app.add_typer(runs_app, name="runs")


@runs_app.callback()
def list_runs(context: typer.Context) -> None:
    """List runs, newest first."""
    from ser_lib.records import figure_text, list_records

    if context.invoked_subcommand is not None:
        return
    rows = []
    for record in list_records():
        try:
            rows.append((record.name, record.state, record.started, figure_text(record.figure("accuracy"))))
        except (SerError, TypeError, ValueError):
            rows.append((record.name, "damaged", record.started, ""))
    rows.insert(0, ("run", "state", "started (UTC)", "test accuracy"))
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    for row in rows:
        print("  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[3]]))


@runs_app.command(name="rm")
def remove(
    run: Annotated[str, typer.Argument(help="Name of the run.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Remove a run's record and artifacts, after asking."""
    from ser_lib.records import output_elsewhere, remove_run, run_folders
    from ser_lib.report import build_site

    folders = " and ".join(shown(folder) for folder in run_folders(run))
    elsewhere = output_elsewhere(run)
    if not yes and not typer.confirm(f"Remove {folders}?"):
        raise SystemExit(1)
    remove_run(run)
    print(f"Removed {folders}." + (f" {shown(elsewhere)} stays." if elsewhere else ""))
    build_site()


@app.command()
def predict(
    files: Annotated[list[Path], typer.Argument(help="Audio files.")],
    run: Annotated[str, typer.Option(help="Run whose model predicts, or the folder of a bundle.")],
    backend: Annotated[Backend, typer.Option(help="What computes the prediction.")] = "onnx",
) -> None:
    """Predict the emotion of audio files."""
    from ser_lib.bundle import load_bundle
    from ser_lib.predict import predict_emotion_from_file

    bundle = load_bundle(_bundle_folder(run, backend), backend=backend)
    failed = 0
    for file in files:
        try:
            print(predict_emotion_from_file(file, bundle))
        except SerError as error:
            failed += 1
            print(f"error: {error}", file=sys.stderr)
    raise SystemExit(1 if failed else 0)


def _bundle_folder(run: str, backend: Backend) -> Path:
    """Folder of a run's bundle: the record (ONNX alone), `OUTPUT_DIR`, or the folder that `run` names itself."""
    from ser_lib.records import private_values, record_folder, reports_folder

    folders = []
    if run:
        private = private_values(run)
        recorded = [] if backend == "keras" and private else [record_folder(run)]
        own = [resolve(private["OUTPUT_DIR"])] if "OUTPUT_DIR" in private else []
        folders = [*recorded, *own, Path(run).absolute()]
    for folder in folders:
        if (folder / BUNDLE_FILE).is_file():
            return folder
    if any(folder.is_dir() for folder in folders):
        raise RunError(f"`--run` must be a run that has trained, or a folder with {BUNDLE_FILE}. {run} has none.")
    known = sorted(file.parent.name for file in reports_folder().glob(f"*/{BUNDLE_FILE}"))
    known = ", ".join(known) or "none yet; `make all` makes one"
    raise RunError(f"There is no run and no folder {run!r} with a model. Runs: {known}.")


@app.command(name="params")
def list_params() -> None:
    """List every parameter with its default."""
    for name, field in Params.model_fields.items():
        print(f"{name:<24} {json.dumps(field.default):<24} {field.description}")


def main() -> None:
    """Run the command; a mistake of the user's is one line and exit status 1."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, interrupt)
    try:
        app()
    except SerError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(1) from None
    except OSError as error:
        named = f"{shown(error.filename)}: " if error.filename else ""
        print(f"error: {named}{error.strerror or error}", file=sys.stderr)
        raise SystemExit(1) from None


def interrupt(*_signal: object) -> None:
    """Raise KeyboardInterrupt, and once more if that gets lost: a library may swallow it while it is imported."""
    again = threading.Timer(INTERRUPT_AGAIN, signal.pthread_kill, (threading.main_thread().ident, signal.SIGINT))
    again.daemon = True
    again.start()
    raise KeyboardInterrupt
