"""The command `ser predict`."""

import json
import sys
import tempfile
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from wcwidth import wcswidth

from ser_lib.answer import UNSURE_BELOW
from ser_lib.cli_common import (
    STDIN,
    RunOption,
    check_outputs,
    check_plot,
    check_windows,
    limits,
    load_run,
    which_run,
    write,
    write_table,
)
from ser_lib.params import from_here, printable
from ser_lib.settings import Backend
from ser_lib.terminal import write_data

if TYPE_CHECKING:
    from ser_lib.bundle import Bundle
    from ser_lib.predict import Answer

MANY = 10
"""Files from which on a bar shows how far it is."""
SPOOLED = "standard input"
"""What a file that came through standard input is called."""


def predict(
    paths: Annotated[
        list[str], typer.Argument(metavar="PATH...", help="Audio files, folders, patterns, or - for standard input.")
    ],
    run: RunOption = None,
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
    if "" in paths:
        raise typer.BadParameter("a path is empty. Is a variable of the shell not set?")
    run = which_run(run)
    bundle = load_run(run, backend)
    if speaker is not None and speaker not in bundle.info.speakers:
        from ser_lib.voices import with_voice

        bundle, speaker = with_voice(bundle, speaker), None
    over_time = window is not None or hop is not None
    if over_time and as_json is not None:
        raise typer.BadParameter("a timeline is a table: --json does not go with --window and --hop.")
    if over_time and speaker is not None:
        raise typer.BadParameter("a --speaker of the model's own does not go with --window and --hop.")
    with tempfile.TemporaryDirectory() as folder:
        files = _files(paths, Path(folder))
        check_plot(plot, files)
        check_outputs((csv, as_json, plot), (file for file, _ in files))
        if over_time:
            from ser_lib.cli_timeline import predict_timelines

            check_windows(bundle, window, hop)
            n_failed = predict_timelines(files, bundle, window, hop, csv, unsure_below, plot, printable(run))
            if csv != STDIN and n_failed < len(files):
                print(limits(run, bundle))
            raise SystemExit(1 if n_failed else 0)
        answers = list(_answers(files, bundle, plot, speaker=speaker, unsure_below=unsure_below))
    if STDIN not in (csv, as_json):
        _print_answers(answers)
        _print_unlike(answers)
        if any(answer.prediction for answer in answers):
            print(f"\n{limits(run, bundle)}")
    for answer in answers:
        if answer.prediction is None:
            print(f"error: {answer.reason}", file=sys.stderr)
    write(csv, lambda path: _write_csv(answers, run, path))
    write(as_json, lambda path: _write_json(answers, run, path))
    raise SystemExit(1 if any(answer.prediction is None for answer in answers) else 0)


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
    plots.save_figure(plots.plot_occlusion(heard, occlusion, settings, title=title)[0], from_here(plot))


def _files(paths: list[str], folder: Path) -> list[tuple[Path, str]]:
    """Files that are meant, and what each is called; standard input goes through a file in `folder`.

    What is left out is told.
    """
    from ser_lib.files import find_files, tell_left_out
    from ser_lib.store import write_temporary

    files, left_out = [], []
    for path in paths:
        if path == STDIN:
            write_temporary(folder / SPOOLED, sys.stdin.buffer.read())
            files.append((folder / SPOOLED, SPOOLED))
        else:
            found, others = find_files(path)
            files += [(file, str(file)) for file in found]
            left_out += others
    if left_out:
        print(printable(tell_left_out(left_out)), file=sys.stderr)
    return files


def _answers(
    files: list[tuple[Path, str]], bundle: "Bundle", plot: Path | None, **options: object
) -> Iterator["Answer"]:
    """Answer for each file in turn, with a bar if there are many."""
    from ser_lib.predict import answer_file
    from ser_lib.progress import progress_bar

    with progress_bar(len(files), "Predicting", "files", leave=False) if len(files) >= MANY else nullcontext() as bar:
        for file, name in files:
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
    widths = [max(wcswidth(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        spaces = [" " * (width - wcswidth(cell)) for cell, width in zip(row, widths, strict=True)]
        cells = [cell + space if column < 2 else space + cell
                 for column, (cell, space) in enumerate(zip(row, spaces, strict=True))]  # fmt: skip
        print("  ".join(cells))


def _print_unlike(answers: list["Answer"]) -> None:
    """Of several files, name those that are unlike what the model has learnt from; a single answer tells it itself."""
    unlike = [answer for answer in answers if answer.prediction is not None and answer.prediction.unlike]
    if len(answers) > 1 and unlike:
        print("\nUnlike what the model has learnt from, so their answers mean little:")
        for answer in unlike:
            print(f"  {printable(answer.file)}: {'; '.join(answer.prediction.unlike)}")
    if any(phrase.endswith(" are heard") for answer in unlike for phrase in answer.prediction.unlike):
        print("A recording longer than a phrase is heard piece by piece with --window.")


def _write_csv(answers: list["Answer"], run: str, to) -> None:
    from ser_lib.predict import answer_table

    write_table(answer_table(answers).assign(model=printable(run)), to)


def _write_json(answers: list["Answer"], run: str, to) -> None:
    from ser_lib.store import write_text

    plain = to is sys.stdout and (to.encoding or "").lower().replace("-", "") != "utf8"
    content = [answer.as_dict() | {"model": printable(run)} for answer in answers]
    text = json.dumps(content, indent=1, ensure_ascii=plain) + "\n"
    write_data(text) if to is sys.stdout else write_text(to, text)
