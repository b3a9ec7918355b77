"""The command `ser enrol`."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ser_lib.core.errors import AudioError, BundleError, ParameterError
from ser_lib.core.labels import shown_as
from ser_lib.core.text import joined, printable

if TYPE_CHECKING:
    import numpy as np

    from ser_lib.model.bundle import Bundle

_MUCH_LONGER = 1.5
"""Times as long as what a model hears, silence counted, from which on it is said that the rest is not used."""


def enrol(
    folder: Annotated[
        str,
        typer.Argument(help="Folder of one person's clips, or with a folder of them for each emotion; or a pattern."),
    ],
    name: Annotated[str | None, typer.Option(help="What to call the speaker.  [default: the folder's name]")] = None,
    run: Annotated[
        str | None, typer.Option(help="Run or bundle to enrol for.  [default: that of `ser runs default`]")
    ] = None,
    only: Annotated[
        bool,
        typer.Option("--only", help="The speaker shows the emotions of the folders alone: make others unlikely."),
    ] = False,
) -> None:
    """Teach a model a new speaker's voice, for `--speaker NAME` in `ser predict` and `ser listen`.

    Clips need no labels; they should then hold all kinds of speech: only of angry clips, anger becomes what is usual.
    A model that was trained with ADAPT_TO_SPEAKER learns more from two clips or more of each emotion, in folders named
    by it, and says how much.
    """
    from ser_lib._cli.common import command, open_model
    from ser_lib.corpora.audio_files import find_files, format_left_out
    from ser_lib.model.enrolment import (
        UNLABELLED,
        enrolment_text,
        fewest_clips,
        gather_clips,
        learn_voice,
        sounds_unlike,
    )
    from ser_lib.model.novelty import heard_of
    from ser_lib.model.voices import check_name, kept_text, save_voice
    from ser_lib.records.models import is_default

    name = check_name(Path(os.path.realpath(folder)).name if name is None else name)
    model, bundle = open_model(run)
    files, left_out = find_files(folder)
    if len(files) == 1 and (files[0].is_dir() or not os.path.lexists(files[0])):
        what = f"{folder} has no file" if files[0].is_dir() else f"There is no {folder}"
        missing = f"{what}: name the folder that has yours."
        raise ParameterError(printable(f"A voice is learnt from a folder of clips. {missing}"))
    told = _labels(files, folder, bundle)
    which, most = heard_of(bundle.info.settings)
    labelled_first = sorted(files, key=lambda file: file not in told)  # of copies the first is kept
    heard, long, faults = _hear(labelled_first, folder, bundle, most * _MUCH_LONGER)
    heard, copies = _without_copies(heard, told, folder)
    faults, n_long = faults + copies, len(long & heard.keys())
    has_labels = any(file in told for file in heard)
    if only and not has_labels:
        raise ParameterError(printable(f"`--only` needs clips in folders named by emotions. {folder} has none of use."))
    if len(heard) < fewest_clips(bundle):
        raise ParameterError(_too_few(folder, len(heard), fewest_clips(bundle), faults))
    if left_out:
        print(printable(format_left_out(left_out)), file=sys.stderr)
    if not told and bundle.info.population is not None and _lie_by_emotion(files, folder, bundle):
        print("note: a pattern brings no labels. Name the folder that holds those of the emotions.", file=sys.stderr)
    print(*faults, sep="\n", end="\n" if faults else "")
    if n_long:
        are = "is" if n_long == 1 else "are"
        print(
            f"warning: {n_long} of {len(heard)} clips {are} much longer than the {which} {most:.1f} s, which alone are "
            "used of each. Cut them into phrases.",
            file=sys.stderr,
        )
    clips = gather_clips(heard.values(), [told.get(file, UNLABELLED) for file in heard])
    look = command("predict", folder, run=run)
    _check_sound(sounds_unlike(clips, bundle), folder, bundle, look, has_labels=has_labels)
    voice = learn_voice(name, clips, bundle, only=only)
    instead = _instead(name, bundle)
    path = save_voice(voice)
    if bundle.info.settings.cmn and bundle.info.population is None:
        print(
            "warning: this model already subtracts each clip's own mean. On TESS, enrolling made it worse; "
            "docs/prediction.md has the figures.",
            file=sys.stderr,
        )
    if only and voice.head is None:
        print("note: `--only` has no effect here: it works by the labels, which are not used.", file=sys.stderr)
    text = enrolment_text(voice, bundle)
    print(text, end="\n" if text else "")
    answer = command("predict", "FILE", "--speaker", name, run=run)
    print(f"{name} is enrolled with {voice.from_clips}{instead}: {answer}")
    if run is None and not is_default(model):
        print(f"note: this is for {model} alone. The default model needs {name} enrolled again.", file=sys.stderr)
    print(kept_text(path))


def _instead(name: str, bundle: "Bundle") -> str:
    """What enrolling `name` replaces, to end a sentence on it; empty where it replaces nothing."""
    from ser_lib.model.voices import enrolled_voices, read_voice

    if name not in enrolled_voices(bundle):
        return ""
    try:
        return f", in place of {read_voice(name, bundle).from_clips}"
    except BundleError:
        return ", in place of a damaged voice"


def _lie_by_emotion(files: list[Path], pattern: str, bundle: "Bundle") -> bool:
    """Whether files that were found by a pattern lie in folders that are named by two emotions of the model or more."""
    from ser_lib.corpora.own import emotion_of

    if Path(pattern).expanduser().exists():
        return False
    folders = {part for file in files for part in file.parts[:-1]}
    return len({emotion_of(name, bundle.info.emotions) for name in folders} & set(bundle.info.emotions)) > 1


def _labels(files: list[Path], folder: str, bundle: "Bundle") -> dict[Path, int]:
    """Index of the emotion of each file that lies in a folder named by one, below `folder`.

    ParameterError if folders have other names; a model that takes no labels is given clips in any folders.
    """
    from ser_lib.corpora.own import emotion_of

    top = Path(folder).expanduser()
    below = [file for file in files if top.is_dir() and len(file.relative_to(top).parts) > 1]
    names = {file: file.relative_to(top).parts[0] for file in below}
    known = bundle.info.emotions
    emotions = {name: emotion_of(name, known) for name in sorted(set(names.values()))}
    if bundle.info.population is None:
        return _take_no_labels(folder, [name for name, emotion in emotions.items() if emotion is not None])
    unnamed = [name for name, emotion in emotions.items() if emotion is None]
    if unnamed:
        _refuse(folder, bundle, f"It has {', '.join(unnamed)}. Rename them, or move their clips out of them.")
    unknown = [name for name, emotion in emotions.items() if emotion is not None and emotion not in known]
    if unknown:
        _refuse(folder, bundle, f"The model does not know {', '.join(unknown)}. Leave those clips out.")
    return {file: known.index(emotions[name] or "") for file, name in names.items()}


def _take_no_labels(folder: str, named: list[str]) -> dict[Path, int]:
    """Of a model that takes no labels: refuse folders that are named by emotions; clips in others are plain clips."""
    if named:
        raise ParameterError(
            printable(
                f"Folders named by emotions are for a model that was trained with ADAPT_TO_SPEAKER. This one was not. "
                f"{folder} has {', '.join(named)}. Put all clips into one folder, without labels."
            )
        )
    return {}


def _refuse(folder: str, bundle: "Bundle", why: str) -> None:
    right = ", ".join(map(shown_as, bundle.info.emotions))
    raise ParameterError(printable(f"Folders in {folder} must be named by emotions of the model: {right}. {why}"))


def _hear(
    files: list[Path], folder: str, bundle: "Bundle", seconds: float
) -> tuple[dict[Path, tuple["np.ndarray", int]], set[Path], list[str]]:
    """What the model hears of each file, those that are above `seconds`, and a sentence on each that cannot be used."""
    from ser_lib.audio.signal import load_audio
    from ser_lib.model.enrolment import hear_clip

    heard: dict[Path, tuple[np.ndarray, int]] = {}
    long: set[Path] = set()
    faults: list[str] = []
    for file in files:
        try:
            signal, rate = load_audio(file)
            heard[file] = hear_clip(signal, rate, bundle)
        except (AudioError, OSError) as error:
            faults.append(printable(f"{_named(file, folder)} is left out: {error}."))
            continue
        if len(signal) > seconds * rate:
            long.add(file)
    return heard, long, faults


def _without_copies(
    heard: dict[Path, tuple["np.ndarray", int]], told: dict[Path, int], folder: str
) -> tuple[dict[Path, tuple["np.ndarray", int]], list[str]]:
    """The first of the files that sound alike, or none if `told` has two labels of them; and a sentence on the others.

    A copy would be tested by what it taught itself.
    """
    alike: dict[bytes, list[Path]] = {}
    for file, (features, _) in heard.items():
        alike.setdefault(features.tobytes(), []).append(file)
    kept: dict[Path, tuple[np.ndarray, int]] = {}
    copies: list[str] = []
    for same in alike.values():
        first, *others = names = [_named(file, folder) for file in same]
        if len({told[file] for file in same if file in told}) > 1:
            copies.append(printable(f"{joined(names)} are left out: the same recording under several emotions."))
            continue
        kept[same[0]] = heard[same[0]]
        if others:
            are = "is left out: it is" if len(others) == 1 else "are left out: they are"
            copies.append(printable(f"{joined(others)} {are} the same recording as {first}."))
    return kept, copies


def _named(file: Path, folder: str) -> str:
    """A file as it lies below the folder; with its own folder where it was found by a pattern."""
    top = Path(folder).expanduser()
    return str(file.relative_to(top)) if top.is_dir() else "/".join(file.parts[-2:])


def _check_sound(unlike: "np.ndarray", folder: str, bundle: "Bundle", look: str, *, has_labels: bool) -> None:
    """Refuse clips none of which sounds like what the model has learnt from; warn of some. `look` is what shows how.

    To a model that has never heard a person, nobody sounds like that; and whoever gives clips labels has heard them. So
    all of these are taken, with a warning.
    """
    n_unlike, n_clips = int(unlike.sum()), len(unlike)
    if n_unlike == n_clips and bundle.info.corpora != ["DEMO"] and not has_labels:
        if_speech = "" if bundle.info.population is None else " If they are: with labels, such clips are taken."
        raise ParameterError(
            printable(
                f"A voice needs clips that sound like the speech that the model has learnt from. Of {n_clips} in "
                f"{folder} none does. Are they speech?{if_speech} {look} tells how each differs."
            )
        )
    if n_unlike:
        are = "sounds" if n_unlike == 1 else "sound"
        print(
            f"warning: {n_unlike} of {n_clips} clips {are} unlike the speech that the model has learnt from. Leave out "
            f"those that are no speech: {printable(look)} names them.",
            file=sys.stderr,
        )


def _too_few(folder: str, n_clips: int, fewest: int, faults: list[str]) -> str:
    first = f" {faults[0]}" if faults else ""
    needed = f"{fewest} clip{'' if fewest == 1 else 's'}"
    return f"A voice needs at least {needed}. {folder} has {n_clips} that can be used.{first}"
