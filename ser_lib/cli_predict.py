"""The commands `ser predict` and `ser export`."""

import json
import sys
import tempfile
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ser_lib.errors import RunError, SerError
from ser_lib.params import Params, printable, resolve, shown
from ser_lib.settings import Backend
from ser_lib.store import BUNDLE_FILE, LICENCE_FILE, MODEL_CARD_FILE

UNSURE_BELOW: float = Params.model_fields["UNSURE_BELOW"].default
if TYPE_CHECKING:
    import pandas as pd

    from ser_lib.bundle import Bundle
    from ser_lib.predict import Answer

MANY = 10
"""Files from which on a bar shows how far it is."""
STDIN = "-"
SPOOLED = "standard input"
"""What a file that came through standard input is called."""


def predict(
    paths: Annotated[
        list[str], typer.Argument(metavar="PATH...", help="Audio files, folders, patterns, or - for standard input.")
    ],
    run: Annotated[
        str | None,
        typer.Option(
            help="Run whose model predicts, or a bundle: its folder or zip file.  [default: the newest on real "
            "recordings]"
        ),
    ] = None,
    csv: Annotated[str | None, typer.Option(metavar="FILE", help="Write a table; - for standard output.")] = None,
    as_json: Annotated[
        str | None, typer.Option("--json", metavar="FILE", help="Write JSON; - for standard output.")
    ] = None,
    window: Annotated[
        float | None, typer.Option(metavar="SECONDS", help="For long recordings: a timeline in windows of this length.")
    ] = None,
    hop: Annotated[
        float | None,
        typer.Option(metavar="SECONDS", help="From one window of a timeline to the next.  [default: half a window]"),
    ] = None,
    backend: Annotated[Backend, typer.Option(help="What computes the prediction.")] = "onnx",
    speaker: Annotated[
        str | None,
        typer.Option(help="Whose voice it is: somebody of `ser enrol`, or of a model's own (NORMALIZE_PER_SPEAKER)."),
    ] = None,
    unsure_below: Annotated[
        float, typer.Option(min=0, max=1, metavar="SHARE", help="Confidence below which an answer is called unsure.")
    ] = UNSURE_BELOW,
    plot: Annotated[
        Path | None,
        typer.Option(metavar="FILE.png", help="Picture of one file: what its answer rests on; of a timeline, itself."),
    ] = None,
) -> None:
    """Predict the emotion of audio files, or with --window or --hop, of long recordings over time.

    A file that cannot be used does not stop the others; it is named with the reason, and the exit status is 1.
    """
    if csv == as_json == STDIN:
        raise typer.BadParameter("--csv and --json cannot both be standard output.")
    if paths.count(STDIN) > 1:
        raise typer.BadParameter("standard input can be read once: give - once.")
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="backslashreplace")  # a name that the terminal cannot show is no reason to stop
    run = run or newest_run()
    bundle = load_run(run, backend)
    if speaker is not None and speaker not in bundle.info.speakers:
        from ser_lib.voices import with_voice

        bundle, speaker = with_voice(bundle, speaker), None
    if window is not None or hop is not None:
        if as_json is not None or speaker is not None:
            raise typer.BadParameter(
                "a timeline is a table: --json, and a --speaker of the model's own, do not go with --window and --hop."
            )
        raise SystemExit(_timelines(paths, bundle, window, hop, csv, unsure_below, plot))
    with tempfile.TemporaryDirectory() as folder:
        answers = list(_answers(paths, bundle, Path(folder), plot, speaker=speaker, unsure_below=unsure_below))
    if STDIN not in (csv, as_json):
        _print_answers(answers)
        _print_unlike(answers)
        if any(answer.prediction for answer in answers):
            print(f"\n{limits(run, bundle)}")
    for answer in answers:
        if answer.prediction is None:
            print(f"error: {answer.reason}", file=sys.stderr)
    _write(csv, lambda path: _write_csv(answers, path))
    _write(as_json, lambda path: _write_json(answers, path))
    raise SystemExit(1 if any(answer.prediction is None for answer in answers) else 0)


def export(
    run: Annotated[str, typer.Argument(help="Run whose model is wanted, or the folder of a bundle.")],
    file: Annotated[Path, typer.Argument(metavar="FILE.zip", help="Zip file to write.")],
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
) -> None:
    """Write a run's model with all that prediction needs into one zip file, for use elsewhere."""
    from ser_lib.export import export_bundle

    parts = _parts(run)
    path = file.expanduser().absolute()
    export_bundle(parts, path, force=force)
    print(f"{shown(path)} holds {', '.join(parts)}.")


def _parts(run: str) -> dict[str, Path]:
    """Files of a run's bundle by name; the Keras model, which a record lacks, only where the run was made here."""
    from ser_lib.bundle import read_bundle_info
    from ser_lib.store import file_hash

    folders = [_bundle_folder(run, backend) for backend in ("onnx", "keras")]
    if folders[0].is_file():
        raise RunError(f"A run, or the folder of a bundle, is what can be exported. {run} is a file; copy it as it is.")
    info = read_bundle_info(folders[0])
    parts = {BUNDLE_FILE: folders[0] / BUNDLE_FILE}
    models = [(info.onnx, info.onnx_sha256), (info.keras, info.keras_sha256)]
    for name, sha256 in [(LICENCE_FILE, None), (MODEL_CARD_FILE, None), *models]:
        found = [folder / name for folder in folders if (folder / name).is_file()]
        right = [file for file in found if sha256 is None or file_hash(file) == sha256]
        if right:
            parts[name] = right[0]
    if info.onnx not in parts:
        raise RunError(f"A bundle must have the model that its {BUNDLE_FILE} names. {run} has no such {info.onnx}.")
    return parts


def newest_run() -> str:
    """Name of the newest run that is done and has heard people."""
    from ser_lib.manifest import DONE
    from ser_lib.records import list_records

    for record in list_records():
        try:
            usable = record.state == DONE and record.params["CORPORA"] != ["DEMO"]
        except SerError:
            continue
        if usable and (record.folder / BUNDLE_FILE).is_file():
            return record.name
    raise RunError(
        "There is no run on real recordings yet. Name another run with --run, or make one: ser run params/tess.yaml"
    )


def load_run(run: str, backend: Backend = "onnx") -> "Bundle":
    """Load the bundle of a run, or the one at a path; of a demo model, warn that it has never heard a person."""
    from ser_lib.bundle import load_bundle

    bundle = load_bundle(_bundle_folder(run, backend), backend=backend)
    if bundle.info.corpora == ["DEMO"]:
        print(
            "warning: this model has learnt from synthetic voices alone; it has never heard a person.", file=sys.stderr
        )
    return bundle


def _bundle_folder(run: str, backend: Backend) -> Path:
    """Folder of a run's bundle: the record (ONNX alone), `OUTPUT_DIR`, or the folder that `run` names itself."""
    from ser_lib.records import private_values, record_folder, reports_folder

    private = private_values(run)
    recorded = [] if backend == "keras" and private else [record_folder(run)]
    own = [resolve(private["OUTPUT_DIR"])] if "OUTPUT_DIR" in private else []
    folders = [*recorded, *own, Path(run).absolute()]
    for folder in folders:
        if folder.is_file() or (folder / BUNDLE_FILE).is_file():
            return folder
    if any(folder.is_dir() for folder in folders):
        raise RunError(f"`--run` must be a run that has trained, or a folder with {BUNDLE_FILE}. {run} has none.")
    known = sorted(file.parent.name for file in reports_folder().glob(f"*/{BUNDLE_FILE}"))
    known = ", ".join(known) or "none yet; `make all` makes one"
    raise RunError(f"There is no run and no folder {run!r} with a model. Runs: {known}.")


def _timelines(
    paths: list[str],
    bundle: "Bundle",
    window: float | None,
    hop: float | None,
    csv: str | None,
    unsure_below: float,
    plot: Path | None,
) -> int:
    """Show or write the timeline of each file; exit status 1 if there is none of one."""
    from ser_lib.errors import AudioError
    from ser_lib.files import find_files
    from ser_lib.timeline import predict_timeline

    tables, failed = {}, 0
    files = [file for path in paths for file in find_files(path)]
    _check_plot(plot, files)
    for file in files:
        try:
            tables[str(file)] = predict_timeline(file, bundle, window_seconds=window, hop_seconds=hop)
            if plot is not None:
                _plot_timeline(file, tables[str(file)], plot)
        except (AudioError, OSError) as error:
            failed = 1
            print(f"error: {printable(file.name)} cannot be used: {error}.", file=sys.stderr)
            continue
        if csv != STDIN:
            _print_timeline(printable(str(file)), tables[str(file)], unsure_below)
    if csv is not None and tables:
        import pandas as pd

        table = pd.concat([one.assign(file=printable(name)) for name, one in tables.items()])
        _write(csv, lambda to: _write_table(table[["file", *table.columns[:-1]]], to))
    return failed


def _check_plot(plot: Path | None, files: list[Path]) -> None:
    if plot is not None and (len(files) != 1 or plot.suffix.lower() != ".png"):
        raise typer.BadParameter(f"--plot makes a .png of one file. There are {len(files)}, and {plot}.")


def _plot_timeline(file: Path, timeline: "pd.DataFrame", plot: Path) -> None:
    from ser_lib import plots
    from ser_lib.timeline import read_envelope

    axes = plots.plot_timeline(timeline, read_envelope(file), title=printable(file.name))
    plots.save_figure(axes[0], plot.expanduser().absolute())


def _plot_reasons(file: Path, bundle: "Bundle", plot: Path, speaker: str | None) -> None:
    """Picture of what the answer for a file rests on."""
    from ser_lib import plots
    from ser_lib.audio import load_audio, prepare_signal
    from ser_lib.explain import occlude

    signal, settings = load_audio(file), bundle.info.settings
    features, measures = bundle.hear(*signal, speaker=speaker)
    occlusion = occlude(bundle, features, settings.sound_frames(measures.n_trimmed))
    *_, heard = prepare_signal(*signal, settings).values()
    title = f"{printable(file.name)}: evidence for {occlusion.emotion}"
    plots.save_figure(plots.plot_occlusion(heard, occlusion, settings, title=title)[0], plot.expanduser().absolute())


def _print_timeline(file: str, timeline: "pd.DataFrame", unsure_below: float) -> None:
    from ser_lib.timeline import summary_text

    print(f"{file}\n start (s)   end (s)  emotion     confidence")
    for row in timeline.itertuples():
        said = f"{row.emotion:<10}  {row.confidence:>10.1%}" if row.state == "speech" else "silence"
        said += "  unsure" if row.confidence < unsure_below else ""
        print(f"{row.start:10.2f}{row.end:10.2f}  {said}")
    print(summary_text(timeline), end="\n\n")


def _answers(
    paths: list[str], bundle: "Bundle", folder: Path, plot: Path | None, **options: object
) -> Iterator["Answer"]:
    """Answer for each file in turn, with a bar if there are many; standard input goes through a file in `folder`."""
    from ser_lib.files import find_files
    from ser_lib.predict import answer_file
    from ser_lib.progress import progress_bar

    files = []
    for path in paths:
        if path == STDIN:
            (folder / SPOOLED).write_bytes(sys.stdin.buffer.read())
            files.append(folder / SPOOLED)
        else:
            files += find_files(path)
    _check_plot(plot, files)
    with progress_bar(len(files), "Predicting", "files", leave=False) if len(files) >= MANY else nullcontext() as bar:
        for file in files:
            name = SPOOLED if file.parent == folder else None
            answer = answer_file(file, bundle, name=name, **options)
            if plot is not None and answer.prediction is not None:
                _plot_reasons(file, bundle, plot, options["speaker"])
            yield answer
            if bar is not None:
                bar.update()


def _print_answers(answers: list["Answer"]) -> None:
    """Print a single answer in lines, several as a table."""
    predictions = [(answer.file, answer.prediction) for answer in answers if answer.prediction is not None]
    if len(answers) == 1:
        for _, prediction in predictions:
            print(prediction)
        return
    if not predictions:
        return
    rows = [("file", "emotion", "confidence", *predictions[0][1].probabilities)]
    rows += [
        (
            printable(file),
            one.headline,
            f"{one.confidence:.1%}",
            *(f"{share:.1%}" for share in one.probabilities.values()),
        )
        for file, one in predictions
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        cells = [cell.ljust(width) if column < 2 else cell.rjust(width) for column, (cell, width) in
                 enumerate(zip(row, widths, strict=True))]  # fmt: skip
        print("  ".join(cells))


def _print_unlike(answers: list["Answer"]) -> None:
    """Of several files, name those that are unlike what the model has learnt from; a single answer tells it itself."""
    unlike = [answer for answer in answers if answer.prediction is not None and answer.prediction.unlike]
    if len(answers) == 1 or not unlike:
        return
    print("\nUnlike what the model has learnt from, so their answers mean little:")
    for answer in unlike:
        print(f"  {printable(answer.file)}: {'; '.join(answer.prediction.unlike)}")


def limits(run: str, bundle: "Bundle") -> str:
    """Tell in a line what the model has learnt from, and what not to expect of it."""
    corpora, count = ", ".join(bundle.info.corpora), _count_speakers(run, bundle)
    voices = f" ({count} {'speaker' if count == 1 else 'speakers'})" if count else ""
    return printable(
        f"Model {run}, which has learnt from {corpora} alone{voices}: on other voices, languages and microphones "
        f"expect less. Do not judge people by it."
    )


def _count_speakers(run: str, bundle: "Bundle") -> int | None:
    """Speakers that trained the model, by the table of its own split; None where that is not there."""
    import csv

    from ser_lib.records import private_values, record_folder
    from ser_lib.store import SPLIT_FILE, file_hash

    private = private_values(run)
    own = [resolve(private["OUTPUT_DIR"])] if "OUTPUT_DIR" in private else []
    for table in (folder / SPLIT_FILE for folder in (record_folder(run), *own, Path(run).absolute())):
        if table.is_file() and file_hash(table) == bundle.info.split_sha256:
            with table.open(encoding="utf-8", newline="") as file:
                return len({(row["corpus"], row["speaker"]) for row in csv.DictReader(file) if row["set"] == "train"})
    return None


def _write(where: str | None, write) -> None:
    if where is not None:
        write(sys.stdout if where == STDIN else Path(where).expanduser().absolute())


def _write_csv(answers: list["Answer"], to) -> None:
    from ser_lib.predict import answer_table

    _write_table(answer_table(answers), to)


def _write_table(table: "pd.DataFrame", to) -> None:
    from ser_lib.store import write_csv

    table.to_csv(to, index=False) if to is sys.stdout else write_csv(to, table)


def _write_json(answers: list["Answer"], to) -> None:
    from ser_lib.store import write_text

    plain = to is sys.stdout and (to.encoding or "").lower().replace("-", "") != "utf8"
    text = json.dumps([answer.as_dict() for answer in answers], indent=1, ensure_ascii=plain) + "\n"
    to.write(text) if to is sys.stdout else write_text(to, text)
