"""The command `ser predict`."""

import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from ser_lib._cli.answers import Csv, Json, Lines, open_output, unfinished_path
from ser_lib._cli.common import (
    STDIN,
    RunOption,
    check_outputs,
    check_plot,
    check_windows,
    limits,
    load_speaker,
    open_model,
)
from ser_lib.core.errors import AudioError
from ser_lib.core.labels import shown_as
from ser_lib.core.paths import from_here
from ser_lib.core.text import printable
from ser_lib.model.backends import Backend
from ser_lib.model.prediction import UNSURE_BELOW

if TYPE_CHECKING:
    from ser_lib.model.bundle import Bundle
    from ser_lib.model.prediction import Answer

MANY = 10
"""Files from which on a bar shows how far it is."""
SPOOLED = "standard input"
"""What a file that came through standard input is called."""
EACH = "each"
"""What stands for all channels of a file, one by one."""


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
    channel: Annotated[
        Literal["left", "right", "each"] | None,
        typer.Option(help="Channel that is heard, or each of a file's by itself.  [default: the mean of all]"),
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option(metavar="FILE.png", help="Picture of one file: what its answer rests on; of a timeline, itself."),
    ] = None,
) -> None:
    """Predict the emotion of audio files, or with --window or --hop, of long recordings over time.

    A file that cannot be used does not stop the others; it is named with the reason, and the exit status is 1.
    """
    _check_usage(paths, csv, as_json, plot, channel)
    run, bundle = open_model(run, backend)
    named = speaker
    bundle, speaker, told = load_speaker(bundle, speaker)
    over_time = window is not None or hop is not None
    if over_time and as_json is not None:
        raise typer.BadParameter("a timeline is a table: --json does not go with --window and --hop.")
    if over_time and speaker is not None:
        raise typer.BadParameter("a --speaker of the model's own does not go with --window and --hop.")
    with tempfile.TemporaryDirectory() as folder:
        files = _files(paths, Path(folder))
        check_plot(plot, files)
        parts = [unfinished_path(output) for output in (csv, as_json) if output not in (None, STDIN)]
        check_outputs((csv, as_json, plot, *parts), (file for file, _ in files))
        if over_time:
            from ser_lib._cli.timeline import predict_timelines

            check_windows(bundle, window, hop)
            lengths = {"window_seconds": window, "hop_seconds": hop}
            targets: dict[str, Any] = {"csv": csv, "plot": plot, "run": printable(run), "channel": channel is not None}
            targets["speaker"] = named
            counts = predict_timelines(_channels(files, channel), bundle, lengths, unsure_below, **targets)
        else:
            answers = _answers(files, bundle, plot, channel, speaker=speaker, unsure_below=unsure_below)
            with ExitStack() as stack:
                emotions = [shown_as(emotion) for emotion in bundle.info.emotions]
                options = {"channel": channel is not None}
                outputs: list[Csv | Json | Lines] = []
                if csv is not None:
                    outputs.append(Csv(stack.enter_context(open_output(csv)), run, emotions, speaker=named, **options))
                if as_json is not None:
                    outputs.append(Json(stack.enter_context(open_output(as_json)), run, speaker=named))
                if STDIN not in (csv, as_json):
                    several = len(files) > 1 or channel == EACH
                    names = [name for _, name in files]
                    outputs.append(Lines(names, emotions, several=several, unsure=unsure_below > 0, **options))
                counts = _write_answers(answers, outputs)
    n_answered, n_failed = counts
    if STDIN not in (csv, as_json) and n_answered:
        print(("" if over_time else "\n") + told + limits(run, bundle))
    raise SystemExit(1 if n_failed else 0)


def _check_usage(
    paths: list[str], csv: str | None, as_json: str | None, plot: Path | None, channel: str | None
) -> None:
    """Refuse options that do not go together, before a model is loaded."""
    if csv == as_json == STDIN:
        raise typer.BadParameter("--csv and --json cannot both be standard output.")
    if paths.count(STDIN) > 1:
        raise typer.BadParameter("standard input can be read once: give - once.")
    if "" in paths:
        raise typer.BadParameter("a path is empty. Is a variable of the shell not set?")
    if plot is not None and channel == EACH:
        raise typer.BadParameter("--plot makes a picture of one channel: name it with --channel left or right.")


def _write_answers(answers: Iterable["Answer"], outputs: list[Csv | Json | Lines]) -> tuple[int, int]:
    """Write each answer to all outputs before the next file is opened; count the predictions and the failures."""
    counts = [0, 0]
    for answer in answers:
        for output in outputs:
            output.add(answer)
        counts[answer.prediction is None] += 1
        if answer.prediction is None:
            print(f"error: {answer.reason}", file=sys.stderr, flush=True)
    for output in outputs:
        output.end()
    return counts[0], counts[1]


def _plot_reasons(file: Path, bundle: "Bundle", plot: Path, channel: str | None, speaker: str | None) -> None:
    """Plot what the answer for a file rests on."""
    from ser_lib import plots
    from ser_lib.audio.signal import load_recording, prepare_signal
    from ser_lib.model.explain import explain_answer

    recording, settings = load_recording(file, channel=channel), bundle.info.settings
    signal = recording.signal, recording.sampling_rate
    occlusion = explain_answer(bundle, *signal, speaker=speaker)
    *_, prepared = prepare_signal(*signal, settings).values()
    title = f"{printable(file.name)}: evidence for {occlusion.emotion}"
    plots.save_figure(plots.plot_occlusion(prepared, occlusion, settings, title=title)[0], from_here(plot))


def _files(paths: list[str], folder: Path) -> list[tuple[Path, str]]:
    """Files that are meant, and what each is called; standard input goes through a file in `folder`."""
    from ser_lib.core.io import write_temporary
    from ser_lib.corpora.audio_files import find_files, format_left_out

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
        print(printable(format_left_out(left_out)), file=sys.stderr)
    return files


def _channels(files: Iterable[tuple[Path, str]], channel: str | None) -> Iterator[tuple[Path, str, str | None]]:
    """Files, their names, and the channel of each to predict; None for the mean of all."""
    for file, name in files:
        yield from ((file, name, one) for one in (_channel_names(file) if channel == EACH else [channel]))


def _channel_names(file: Path) -> list[str | None]:
    """What the channels of a file are called; None alone where there is one, or where the file cannot be read."""
    from ser_lib.audio.channels import channel_names
    from ser_lib.audio.decode import read_blocks

    try:
        channels, _ = next(read_blocks(file))
    except (StopIteration, AudioError, OSError):  # reported when it is predicted
        return [None]
    return [*channel_names(channels.shape[1])] if channels.shape[1] > 1 else [None]


def _answers(
    files: list[tuple[Path, str]], bundle: "Bundle", plot: Path | None, channel: str | None, **options: Any
) -> Iterator["Answer"]:
    """Answer for each file in turn, with a progress bar if there are many and no terminal shows a table."""
    from ser_lib.predict import answer_file

    many = len(files) >= MANY and not sys.stdout.isatty()
    with _progress(len(files)) if many else nullcontext() as bar:
        for file in files:
            for path, name, one in _channels([file], channel):
                answer = answer_file(path, bundle, name=name, channel=one, **options)
                if plot is not None and answer.prediction is not None:
                    _plot_reasons(path, bundle, plot, one, options["speaker"])
                yield answer
            if bar is not None:
                bar.update()


def _progress(n_files: int) -> AbstractContextManager:
    from ser_lib.core.progress import progress_bar  # IPython, which a few files do not need

    return progress_bar(n_files, "Predicting", "files", leave=False)
