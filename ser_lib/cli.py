"""The `ser` command."""

import json
import signal
import sys
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from ser_lib.errors import RunError, SerError
from ser_lib.params import Params, load_params, project_root, read_values, resolve, shown

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
        current = runs.resume_run(resume)
    else:
        files = [path if path.exists() else resolve(path) for path in params or [Path("params/demo.yaml")]]
        values = read_values(files, override or [])
        current = runs.start_run(
            values, name=f"{files[-1].stem}-{datetime.now():%Y%m%d-%H%M%S}" if name is None else name
        )
    print(
        f"Run {current.name}: {', '.join(current.params.CORPORA)} in {shown(current.params.DATASET_PATH)}", flush=True
    )
    runs.execute_run(current)
    print(_summary(current.record))


def _summary(record: Path) -> str:
    metrics = json.loads((record / "metrics.json").read_text())
    accuracies = ", ".join(f"{name} accuracy {metrics[name]['accuracy']:.3f}" for name in ("validation", "test"))
    return f"Done: {accuracies}.\nThe executed notebooks are in {shown(record)}."


@app.command()
def predict(
    files: Annotated[list[Path], typer.Argument(help="Audio files.")],
    run: Annotated[str, typer.Option(help="Run whose model predicts, or the folder of a bundle.")],
) -> None:
    """Predict the emotion of audio files."""
    from ser_lib.bundle import load_bundle
    from ser_lib.predict import predict_emotion_from_file

    bundle = load_bundle(_bundle_folder(run))
    failed = 0
    for file in files:
        try:
            print(predict_emotion_from_file(file, bundle))
        except SerError as error:
            failed += 1
            print(f"error: {error}", file=sys.stderr)
    raise SystemExit(1 if failed else 0)


def _bundle_folder(run: str) -> Path:
    """Folder of a run's bundle, or the folder that `run` names itself."""
    runs = project_root() / "artifacts"
    if (runs / run / "params.yaml").is_file():
        return load_params(runs / run / "params.yaml").output_dir
    if run and Path(run).is_dir():
        return Path(run).absolute()
    known = sorted(file.parent.name for file in runs.glob("*/params.yaml"))
    raise RunError(
        f"There is no run and no folder {run!r}. Runs: {', '.join(known) or 'none yet; `make all` makes one'}."
    )


@app.command(name="params")
def list_params() -> None:
    """List every parameter with its default."""
    for name, field in Params.model_fields.items():
        print(f"{name:<24} {json.dumps(field.default):<24} {field.description}")


def main() -> None:
    """Run the command; a mistake of the user's is one line and exit status 1."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends kernels and workers as Ctrl-C does
    try:
        app()
    except SerError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(1) from None
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        raise SystemExit(130) from None
