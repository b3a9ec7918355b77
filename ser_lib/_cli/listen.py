"""The command `ser listen`."""

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ser_lib._cli.answers import last_values
from ser_lib._cli.common import (
    STDIN,
    RunOption,
    check_outputs,
    check_windows,
    load_speaker,
    open_model,
)
from ser_lib._cli.timeline import TIMELINE_HEAD, timeline_line
from ser_lib.core.errors import AudioError, unusable
from ser_lib.core.paths import from_here
from ser_lib.core.terminal import write_data
from ser_lib.model.prediction import UNSURE_BELOW, damage_note

if TYPE_CHECKING:
    import numpy as np

    from ser_lib.model.bundle import Bundle
    from ser_lib.stream.microphone import Window


def listen(
    run: RunOption = None,
    window: Annotated[
        float | None,
        typer.Option(metavar="SECONDS", help="Length of a window.  [default: that of the model's training clips]"),
    ] = None,
    hop: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS",
            help="From one prediction to the next.  [default: 1, or half a window if that is shorter]",
        ),
    ] = None,
    silence: Annotated[
        float, typer.Option(metavar="SECONDS", help="End after so much silence, once somebody has spoken.")
    ] = 5.0,
    device: Annotated[
        str | None, typer.Option(help="Microphone: its number, or a part of its name.  [default: the system's]")
    ] = None,
    file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Play a recorded file in place of the microphone.")
    ] = None,
    speaker: Annotated[str | None, typer.Option(help="Whose voice it is: somebody of `ser enrol`.")] = None,
    csv: Annotated[
        str | None, typer.Option(metavar="FILE", help="Write a table at the end; - for standard output.")
    ] = None,
) -> None:
    """Predict the emotion of what a microphone hears, about once a second.

    It ends with Ctrl-C, or when nobody has spoken for a while, and then prints a summary.
    """
    if device is not None and file is not None:
        raise typer.BadParameter("--device and --file do not go together: one of them is heard.")
    check_outputs([csv], [] if file is None else [from_here(file)])
    run, bundle = open_model(run)
    bundle, own, told = load_speaker(bundle, speaker)
    if own is not None:
        raise typer.BadParameter("a --speaker of the model's own does not go with a microphone.")
    check_windows(bundle, window, hop)
    windows, lengths = [], {"window_seconds": window, "hop_seconds": hop, "end_silence": silence}
    try:
        for one in _windows(file, device, bundle, lengths):
            windows.append(one)
            if csv != STDIN:
                if len(windows) == 1:
                    print(TIMELINE_HEAD)
                print(timeline_line(one, UNSURE_BELOW), flush=True)
    except KeyboardInterrupt:
        pass  # the usual end, in the middle of a prediction
    finally:  # the windows so far count, whatever ended them
        if windows:
            from ser_lib.records.limits import limits

            _conclude(windows, bundle, csv, told + limits(run, bundle), last_values(run, speaker))
    if not windows:
        print("Nothing was heard.", file=sys.stderr)


def _windows(file: Path | None, device: str | None, bundle: "Bundle", lengths: dict) -> Iterator["Window"]:
    """Windows of a file or else of the microphone, which is closed when they end."""
    from ser_lib.stream.microphone import listen as predict_windows

    try:
        with _source(file, device, bundle) as (blocks, rate):
            yield from predict_windows(_until_interrupted(blocks), rate, bundle, **lengths)
    except AudioError as error:
        name = "the microphone" if file is None else file
        raise AudioError(unusable(name, error)) from None


@contextmanager
def _source(file: Path | None, device: str | None, bundle: "Bundle") -> Iterator[tuple[Iterable["np.ndarray"], int]]:
    """Blocks and their sampling rate (Hz)."""
    from ser_lib.stream.microphone import microphone, recording

    if file is not None:
        yield recording(from_here(file), on_damage=_warn_damaged)
        return
    _warm_up(bundle)
    with microphone(device=int(device) if device is not None and device.isdecimal() else device) as opened:
        print(f"Listening to {opened.name} at {opened.sampling_rate} Hz. Ctrl-C ends it.", file=sys.stderr)
        try:
            yield opened, opened.sampling_rate
        finally:
            if opened.n_lost:
                times = "once" if opened.n_lost == 1 else f"{opened.n_lost} times"
                why = "because this machine was too busy. Times after that are early."
                print(f"warning: samples were lost {times} {why}", file=sys.stderr)


def _warn_damaged(seconds: float) -> None:
    print(f"warning: {damage_note(seconds)} Times after that may be early.", file=sys.stderr)


def _warm_up(bundle: "Bundle") -> None:
    """Predict noise once: what that imports takes seconds, in which the first words would be lost."""
    import numpy as np

    rate = bundle.info.settings.sampling_rate
    bundle.predict(np.random.default_rng(0).uniform(-0.5, 0.5, rate).astype(np.float32), rate)


def _until_interrupted(blocks: Iterable["np.ndarray"]) -> Iterator["np.ndarray"]:
    """Blocks up to Ctrl-C while one is waited for, which is nearly always: what has come is then predicted."""
    try:
        yield from blocks
    except KeyboardInterrupt:
        return


def _conclude(windows: list["Window"], bundle: "Bundle", csv: str | None, told: str, last: dict[str, str]) -> None:
    from ser_lib.core.io import without_formulas, write_csv
    from ser_lib.stream.microphone import to_table
    from ser_lib.stream.timeline import summary_text

    table = to_table(windows, bundle)
    if csv != STDIN:
        print(f"\n{summary_text(table)}\n\n{told}")
    table = table.assign(**last)
    if csv == STDIN:
        write_data(without_formulas(table).to_csv(index=False))
    elif csv is not None:
        write_csv(from_here(csv), table)
