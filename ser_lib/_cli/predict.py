"""The command `ser predict`."""

import os
import sys
import tempfile
from collections.abc import Iterable
from contextlib import AbstractContextManager, ExitStack, nullcontext
from pathlib import Path
from shutil import copyfile
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from ser_lib._cli.answers import Csv, Json, Lines, open_output, table_columns, unfinished_path
from ser_lib._cli.begun import Before, begin_table
from ser_lib._cli.cluster import SchedulerOption, use_scheduler
from ser_lib._cli.common import (
    STDIN,
    RunOption,
    bundle_folder,
    check_filled,
    check_outputs,
    check_plot,
    check_windows,
    command,
    load_speaker,
    open_model,
)
from ser_lib._cli.parquet import SUFFIX, check_parquet, write_parquet
from ser_lib.audio.channels import EACH
from ser_lib.core.cluster import scheduler_address
from ser_lib.core.io import as_text
from ser_lib.core.labels import shown_as
from ser_lib.core.paths import from_here
from ser_lib.core.text import printable
from ser_lib.core.workers import early_workers, worth
from ser_lib.model.backends import Backend
from ser_lib.model.prediction import UNSURE_BELOW

if TYPE_CHECKING:
    from tqdm import tqdm

    from ser_lib.model.bundle import Bundle
    from ser_lib.model.prediction import Answer
    from ser_lib.predict import Request

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
    channel: Annotated[
        Literal["left", "right", "each"] | None,
        typer.Option(help="Channel that is heard, or each of a file's by itself.  [default: the mean of all]"),
    ] = None,
    out: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="A table or JSON, by the name: FILE.csv, FILE.parquet, FILE.json."),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with a table after the last file that a stopped command wrote.")
    ] = False,
    jobs: Annotated[
        int | None, typer.Option(min=1, help="Processes for many files.  [default: one for each core]")
    ] = None,
    scheduler: SchedulerOption = None,
    plot: Annotated[
        Path | None,
        typer.Option(metavar="FILE.png", help="Picture of one file: what its answer rests on; of a timeline, itself."),
    ] = None,
) -> None:
    """Predict the emotion of audio files, or with --window or --hop, of long recordings over time.

    A file that cannot be used does not stop the others; it is named with the reason, and the exit status is 1.
    """
    csv, as_json = _by_name(out, csv, as_json)
    is_parquet = out is not None and out == csv and out.lower().endswith(SUFFIX)
    _check_usage(paths, csv, as_json, plot, channel)
    over_time = window is not None or hop is not None
    if resume and (over_time or csv in (None, STDIN) or as_json is not None):
        raise typer.BadParameter("--resume goes on with a table of answers, and with that alone: --out FILE.")
    if is_parquet:
        check_parquet()
    if over_time and is_parquet:
        raise typer.BadParameter("a timeline is written as .csv, not as .parquet.")
    if over_time and as_json is not None:
        raise typer.BadParameter("a timeline is a table: --json does not go with --window and --hop.")
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        files, notes = _files(paths, Path(folder))
        if not over_time and (jobs or not (scheduler or scheduler_address())):
            stack.enter_context(early_workers(len(files), jobs or -1, "ser_lib.predict"))
        from ser_lib.predict import Request, channels_of

        processes = worth(len(files), jobs or -1)
        asked_run = run
        run, bundle = open_model(run, backend)
        bundle, own, told = load_speaker(bundle, speaker)
        if over_time and own is not None:
            raise typer.BadParameter("a --speaker of the model's own does not go with --window and --hop.")
        for note in notes:
            print(printable(note), file=sys.stderr)
        check_plot(plot, files)
        parts = [unfinished_path(output) for output in (csv, as_json) if output not in (None, STDIN)]
        check_outputs((csv, as_json, plot, *parts), (file for file, _ in files))
        if over_time:
            from ser_lib._cli.timeline import predict_timelines

            check_windows(bundle, window, hop)
            lengths = {"window_seconds": window, "hop_seconds": hop}
            targets: dict[str, Any] = {"csv": csv, "plot": plot, "run": printable(run), "channel": channel is not None}
            targets["speaker"] = speaker
            heard = ((file, name, one) for file, name in files for one in channels_of(file, channel))
            counts = predict_timelines(heard, bundle, lengths, unsure_below, **targets)
        else:
            if processes == -1:
                _use_workers(scheduler, speaker if own is None else None)
            model = Path(run) if processes == 1 else bundle_folder(run, backend)  # which is open already
            voice = None if own else speaker
            asked = Request(model, backend, voice, speaker=own, unsure_below=unsure_below, channel=channel)
            counts = _predict_files(
                files, asked, bundle, run, processes, (csv, as_json), resume=resume, is_parquet=is_parquet
            )
            if plot is not None and counts[0]:
                _plot_reasons(files[0][0], bundle, plot, channel, own)
    n_answered, n_failed = counts
    if n_answered and STDIN in (csv, as_json):
        print(told, end="", file=sys.stderr)
    elif n_answered:
        from ser_lib.model.adapt import FEW_CLIPS
        from ser_lib.records.limits import limits

        print(("" if over_time else "\n") + told + limits(run, bundle))
        can_adapt = bundle.info.population is not None and speaker is None and not over_time
        if can_adapt and len(files) >= FEW_CLIPS:
            print(_advice(paths, asked_run))
    raise SystemExit(1 if n_failed else 0)


def _advice(paths: list[str], asked_run: str | None) -> str:
    """What would help most if the voice in all files is one, and new."""
    is_plain = len(paths) == 1 and paths[0] == printable(paths[0]) and not paths[0].startswith("-")
    enrol = command("enrol", paths[0] if is_plain else "FOLDER", "--name", "NAME", run=asked_run)
    return (
        f"If one person speaks in all of these, in more than one mood, the model can learn the voice, and is then "
        f"usually right more often: {enrol}, then --speaker NAME."
    )


def _use_workers(scheduler: str | None, voice: str | None) -> None:
    """Let the workers of a scheduler answer, if one is asked for."""
    if scheduler and voice is not None:
        raise typer.BadParameter(f"--scheduler does not go with --speaker {voice}, whom this machine alone knows.")
    if scheduler:
        use_scheduler(scheduler)


def _by_name(out: str | None, csv: str | None, as_json: str | None) -> tuple[str | None, str | None]:
    """Outputs of --csv and --json, one of which may be that of --out."""
    if out is None:
        return csv, as_json
    suffix = Path(out).suffix.lower()
    if suffix not in (".csv", SUFFIX, ".json"):
        raise typer.BadParameter(f"--out must end in .csv, .parquet or .json, which says what is written. Got {out}.")
    given = "--json" if suffix == ".json" else "--csv"
    if (as_json if suffix == ".json" else csv) is not None:
        raise typer.BadParameter(f"{given} and an --out of its kind cannot both be given: leave one out. Got {out}.")
    return (csv, out) if suffix == ".json" else (out, as_json)


def _check_usage(
    paths: list[str], csv: str | None, as_json: str | None, plot: Path | None, channel: str | None
) -> None:
    """Refuse options that do not go together, before a model is loaded."""
    if csv == as_json == STDIN:
        raise typer.BadParameter("--csv and --json cannot both be standard output.")
    if paths.count(STDIN) > 1:
        raise typer.BadParameter("standard input can be read once: give - once.")
    for path in paths:
        check_filled(path)
    if plot is not None and channel == EACH:
        raise typer.BadParameter("--plot makes a picture of one channel: name it with --channel left or right.")


def _predict_files(
    files: list[tuple[Path, str]],
    asked: "Request",
    bundle: "Bundle",
    run: str,
    jobs: int,
    to: tuple[str | None, str | None],
    *,
    resume: bool,
    is_parquet: bool,
) -> tuple[int, int]:
    """Write the answers for files to all outputs, a table and JSON; count the predictions and the failures."""
    from ser_lib.predict import answers

    csv, as_json = to
    emotions = [shown_as(emotion) for emotion in bundle.info.emotions]
    speaker, channel = asked.voice or asked.speaker, asked.channel is not None
    outputs: list[Csv | Json | Lines] = []
    counts = [0, 0]
    with ExitStack() as stack:
        if csv is not None:
            finish = write_parquet if is_parquet else copyfile
            columns = table_columns(run, emotions, speaker=speaker, channel=channel)
            options: dict[str, Any] = {"model": bundle.info.onnx_sha256, "backend": asked.backend, "speaker": speaker}
            options |= {"channel": asked.channel, "unsure_below": asked.unsure_below}
            before = begin_table(csv, columns, options, whole=asked.channel != EACH) if resume else Before()
            counts[1] = before.n_failed
            files = [(file, name) for file, name in files if as_text(printable(name)) not in before.files]
            table = stack.enter_context(open_output(csv, keep=before.size, options=options, finish=finish))
            outputs.append(Csv(table, run, columns, speaker=speaker, head=before.size == 0))
        if as_json is not None:
            outputs.append(Json(stack.enter_context(open_output(as_json)), run, speaker=speaker))
        if STDIN not in to:
            several = len(files) > 1 or asked.channel == EACH
            names = [name for _, name in files]
            outputs.append(Lines(names, emotions, several=several, unsure=asked.unsure_below > 0, channel=channel))
        many = len(files) >= MANY and not sys.stdout.isatty()
        with _progress(len(files)) if many else nullcontext() as bar:
            _write_answers(answers(files, asked, bundle=bundle, jobs=jobs), outputs, counts, bar)
    return counts[0], counts[1]


def _write_answers(
    given: Iterable["Answer"], outputs: list[Csv | Json | Lines], counts: list[int], bar: "tqdm | None"
) -> None:
    """Write each answer to all outputs as it comes; count the predictions and the failures."""
    last = None
    for answer in given:
        for output in outputs:
            output.add(answer)
        counts[answer.prediction is None] += 1
        if answer.prediction is None:
            print(f"error: {answer.reason}", file=sys.stderr, flush=True)
        if bar is not None and answer.file != last:
            bar.update()
        last = answer.file
    for output in outputs:
        output.end()


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


def _files(paths: list[str], folder: Path) -> tuple[list[tuple[Path, str]], list[str]]:
    """Files that are meant and what each is called, and what to say of them; standard input is a file in `folder`.

    Those of each path come folder by folder, in the order of names: a speaker's stay together.
    """
    from ser_lib.core.io import write_temporary
    from ser_lib.corpora.audio_files import find_files, format_left_out

    files, left_out = [], []
    for path in paths:
        if path == STDIN:
            write_temporary(folder / SPOOLED, sys.stdin.buffer.read())
            files.append((folder / SPOOLED, SPOOLED))
        else:
            found, others = find_files(path)
            files += [(file, str(file)) for file in sorted(found, key=lambda file: (file.parent, file.name))]
            left_out += others
    files, again = _once(files)
    return files, ([format_left_out(left_out)] if left_out else []) + again


def _once(files: list[tuple[Path, str]]) -> tuple[list[tuple[Path, str]], list[str]]:
    """Each file where it is given first, under the name that it has there; say how many were given again."""
    first: dict[str, tuple[Path, str]] = {}
    again: dict[str, str] = {}
    for file, name in files:
        place = os.path.abspath(file)  # noqa: PTH100 - links may differ
        if place in first:
            again.setdefault(place, first[place][1])
        first.setdefault(place, (file, name))
    if again:
        named, *more = again.values()
        which = f"{named} and {len(more):,} more were" if more else f"{named} was"
        return list(first.values()), [f"note: {which} given more than once, and answered once."]
    return list(first.values()), []


def _progress(n_files: int) -> AbstractContextManager:
    from ser_lib.core.progress import progress_bar  # IPython, which a few files do not need

    return progress_bar(n_files, "Predicting", "files", leave=False)
