"""What the commands that use a model share: which model, and where results go."""

import os
import shlex
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ser_lib.core.errors import RunError
from ser_lib.core.extras import OF_RUNS, check_extras
from ser_lib.core.paths import check_project, from_here, has_project, locate, resolve, shipped_root, shown
from ser_lib.core.text import printable
from ser_lib.model.backends import Backend
from ser_lib.store import BUNDLE_FILE

if TYPE_CHECKING:
    from ser_lib.model.bundle import Bundle, BundleInfo

STDIN = "-"


def check_filled(value: str | None) -> str | None:
    """Refuse a text that is empty where a path or a name is asked for."""
    if value == "":
        raise typer.BadParameter("a path is empty. Is a variable of the shell not set?")
    return value


RunOption = Annotated[
    str | None,
    typer.Option(
        "--run",
        callback=check_filled,
        help="Run whose model predicts, or a bundle: its folder or zip file.  [default: that of `ser runs default`]",
    ),
]


def check_means() -> None:
    """Refuse runs before they begin where there is no project, or an installation without what a run needs."""
    check_project()
    check_extras(*OF_RUNS)


def parameter_file(name: str | Path) -> Path:
    """Parameter file that is named by its path or, of one in params/, as `tess`."""
    path = Path(name)
    is_path = path.suffix == ".yaml" or len(path.parts) > 1 or locate(path).is_file()
    return path if is_path else Path("params") / f"{name}.yaml"


def same_command() -> str:
    """How an interrupted command goes on, behind "To go on"."""
    return f", give the same command again: {shlex.join(['ser', *sys.argv[1:]])}"


def which_run(run: str | None) -> str:
    """`run`, or where none is asked for that of the default model; without its encoder, that of the fallback."""
    from ser_lib.records.models import default_run

    return run or _answering(default_run())


def _answering(default: str) -> str:
    """The default, or the first of its fallbacks whose encoder is on this machine, which is told."""
    from ser_lib.records.models import fallback_run

    run, infos = default, {default: _info(default)}
    while not _can_hear(infos[run]) and (fallback := fallback_run(run)) and fallback not in infos:
        run = fallback
        infos[run] = _info(run)
    if run != default:
        _tell_fallback(default, infos[default], run)
    return run


def _info(run: str) -> "BundleInfo":
    from ser_lib.model.bundle import read_bundle_info
    from ser_lib.records.models import model_folder

    return read_bundle_info(model_folder(run))


def _can_hear(info: "BundleInfo") -> bool:
    encoder = info.settings.encoder
    if encoder is None:
        return True
    from ser_lib.audio.encoders import has_weights

    return has_weights(encoder)


def _tell_fallback(default: str, info: "BundleInfo", fallback: str) -> None:
    from ser_lib.audio.encoders import weights_paths
    from ser_lib.records.limits import expected

    encoder = str(info.settings.encoder)
    fault = "is damaged" if all(path.is_file() for path in weights_paths(encoder)) else "is not on this machine"
    print(
        f"note: {default}, the default model, needs the encoder {encoder}, which {fault}: {fallback} "
        f"answers, which is right less often. {expected(info, default)}ser encoder get {encoder} brings it.",
        file=sys.stderr,
    )


def command(*words: str, run: str | None) -> str:
    """A command of `ser` as a shell takes it, for the model that was asked for, if one was."""
    return shlex.join(["ser", *words, *(["--run", run] if run else [])])


def open_model(run: str | None, backend: Backend = "onnx") -> tuple[str, "Bundle"]:
    """Run of `which_run`, and its bundle (see `load_run`)."""
    run = which_run(run)
    return run, load_run(run, backend)


def load_run(run: str, backend: Backend = "onnx") -> "Bundle":
    """Load the bundle of a run, or the one at a path; of a demo model, warn that it has never heard a person."""
    from ser_lib.model.bundle import load_bundle

    bundle = load_bundle(bundle_folder(run, backend), backend=backend)
    if bundle.info.corpora == ["DEMO"]:
        print(
            "warning: this model has learnt from synthetic voices alone; it has never heard a person.", file=sys.stderr
        )
    return bundle


def bundle_folder(run: str, backend: Backend) -> Path:
    """Folder of a run's bundle: the record (ONNX alone), `OUTPUT_DIR`, or the folder that `run` names itself."""
    from ser_lib.records.models import has_left_model_out, has_model, left_out_model, model_folder
    from ser_lib.records.record import check_record, private_values, reports_folder

    private = private_values(run)
    recorded = [] if backend == "keras" and private else [model_folder(run)]
    own = [resolve(private["OUTPUT_DIR"])] if "OUTPUT_DIR" in private else []
    folders = [*recorded, *own, locate(run)]
    for folder in folders:
        check_record(folder)
        if folder.is_file() or ((folder / BUNDLE_FILE).is_file() and not has_left_model_out(folder)):
            return folder
    if any(has_left_model_out(folder) for folder in folders):
        raise RunError(left_out_model(run))
    if any(folder.is_dir() for folder in folders):
        raise RunError(f"The run must be one that has trained, or a folder with {BUNDLE_FILE}. {run} has none.")
    places = [reports_folder()] if has_project() else [shipped_root() / "reports"]
    names = sorted(folder.name for place in places for folder in place.glob("*") if has_model(folder))
    known = ", ".join(names) or "none yet; `make all` makes one"
    raise RunError(f"There is no run and no folder {run!r} with a model. Runs: {known}.")


def load_speaker(bundle: "Bundle", speaker: str | None) -> tuple["Bundle", str | None, str]:
    """Adapt a bundle to an enrolled speaker, if one is asked for.

    Returns
    -------
    bundle : Bundle
    speaker : str or None
        The one that is asked for where it is of the model's own voices (`NORMALIZE_PER_SPEAKER`).
    told : str
        Sentence on the adaptation, with a line break; empty without one.
    """
    if speaker is None:
        return bundle, None, ""
    if speaker in bundle.info.speakers:
        return bundle, speaker, f"Normalised as {printable(speaker)}, whose voice the model has learnt from.\n"
    from ser_lib.model.voices import adapt_bundle, read_voice

    voice = read_voice(speaker, bundle)
    return adapt_bundle(bundle, voice), None, f"{voice.told}\n"


def check_plot(plot: Path | None, files: list) -> None:
    """Refuse a picture of anything but one file."""
    if plot is not None and plot.suffix.lower() != ".png":
        raise typer.BadParameter(f"--plot makes a .png, not {plot.name}.")
    if plot is not None and len(files) != 1:
        raise typer.BadParameter(f"--plot makes a picture of one file. There are {len(files)}.")


def check_outputs(outputs: Iterable[str | Path | None], recordings: Iterable[Path]) -> None:
    """Refuse, before hours of work, outputs that cannot be written, or are folders, the same twice, or an input."""
    inputs, taken = {Path(os.path.realpath(path)) for path in recordings}, set()
    for output in outputs:
        if output is None or str(output) == STDIN:
            continue
        check_filled(str(output))
        path = Path(os.path.realpath(from_here(output)))
        if path.is_dir():
            raise typer.BadParameter(f"an output must be a file. {output} is a folder.")
        if path in inputs or path in taken:
            raise typer.BadParameter(f"each output must be a file of its own. {output} would be overwritten.")
        taken.add(path)
        try:
            tempfile.TemporaryFile(dir=next(folder for folder in path.parents if folder.is_dir())).close()
        except OSError as error:
            why = error.strerror
            raise typer.BadParameter(f"an output must be where it can be written. {output}: {why}.") from None


def check_windows(bundle: "Bundle", window: float | None, hop: float | None) -> None:
    """Refuse windows that the model cannot take, once and not for each file."""
    from ser_lib.core.errors import AudioError
    from ser_lib.stream.timeline import window_and_hop

    try:
        window_and_hop(bundle, bundle.info.settings.sampling_rate, window, hop)
    except AudioError as error:
        raise typer.BadParameter(f"{error}.") from None


def summarize(run: str) -> str:
    """Say in a few lines what a run that is done achieved, what to try if that is little, and where its record is."""
    from ser_lib.records.pages import advice_of
    from ser_lib.records.record import find_record, format_value

    record = find_record(run)
    names = ("validation", "test")
    accuracies = ", ".join(f"{name} accuracy {format_value(record.metric_value('accuracy', name))}" for name in names)
    advice = f"{text}\n" if (text := advice_of(record)) else ""
    return (
        f"Done: {accuracies}, test UAR {format_value(record.metric_value('uar'))}.\n{advice}"
        f"The executed notebooks are in {shown(record.folder)}."
    )
