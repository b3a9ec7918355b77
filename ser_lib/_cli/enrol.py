"""The command `ser enrol`."""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from ser_lib.core.errors import AudioError, ParameterError
from ser_lib.core.paths import shown
from ser_lib.core.text import printable


def enrol(
    folder: Annotated[str, typer.Argument(help="Folder of twenty or more clips of one person; or a pattern.")],
    name: Annotated[str | None, typer.Option(help="What to call the speaker.  [default: the folder's name]")] = None,
    run: Annotated[
        str | None, typer.Option(help="Run or bundle to enrol for.  [default: that of `ser runs default`]")
    ] = None,
) -> None:
    """Learn what a new speaker's voice is like, for `ser predict --speaker NAME`.

    The clips need no labels. They should hold all kinds of speech: only of angry clips, anger becomes what is usual.
    """
    from ser_lib._cli.common import load_run, which_run
    from ser_lib.audio.signal import load_audio
    from ser_lib.corpora.audio_files import find_files, format_left_out
    from ser_lib.model.voices import FEWEST_CLIPS, check_name, measure_voice, save_voice

    name = check_name(name or Path(os.path.realpath(folder)).name)
    bundle = load_run(which_run(run))
    signals, faults = [], []
    files, left_out = find_files(folder)
    for file in files:
        try:
            signal = load_audio(file)
            bundle.extract_unscaled(*signal)
        except (AudioError, OSError) as error:
            faults.append(f"{printable(file.name)} is left out: {error}.")
        else:
            signals.append(signal)
    if len(signals) < FEWEST_CLIPS:
        first = f" {faults[0]}" if faults else ""
        raise ParameterError(
            f"A voice needs at least {FEWEST_CLIPS} clips. {folder} has {len(signals)} that can be used.{first}"
        )
    if left_out:
        print(printable(format_left_out(left_out)), file=sys.stderr)
    print(*faults, sep="\n", end="\n" if faults else "")
    path = save_voice(name, measure_voice(signals, bundle), len(signals), bundle)
    if bundle.info.settings.cmn:
        print(
            "warning: this model already subtracts each clip's own mean. On TESS, enrolling made it worse; "
            "docs/prediction.md has the figures.",
            file=sys.stderr,
        )
    print(f"{name} is enrolled with {len(signals)} clips: ser predict FILE --speaker {name}")
    print(f"{shown(path)} holds two numbers for each feature, and no sound. Delete it to forget the voice.")
