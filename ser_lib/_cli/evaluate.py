"""The command `ser evaluate`."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ser_lib._cli.common import RunOption, bundle_folder, check_filled, check_outputs, check_plot, open_model
from ser_lib._cli.data import locate_corpus
from ser_lib._cli.tables import print_table
from ser_lib.core.errors import DatasetError, ParameterError
from ser_lib.core.extras import check_extras
from ser_lib.core.labels import EMOTIONS, shown_as
from ser_lib.core.paths import from_here, resolve, shown
from ser_lib.core.text import printable
from ser_lib.params import Params, make_params, read_values

if TYPE_CHECKING:
    import pandas as pd

    from ser_lib.corpora.clips import Clip
    from ser_lib.corpora.left_out import Skipped
    from ser_lib.model.bundle import Bundle
    from ser_lib.store import ProcessedData

_TAKEN = ("LABEL_MAP", "SPEAKER_PATTERN", "SEED", "BOOTSTRAP_SAMPLES", "N_JOBS")
"""Parameters that count where a model is there already."""
_MOST_SPEAKERS = 10


def evaluate(
    folder: Annotated[
        str, typer.Argument(metavar="FOLDER", help="Labelled recordings, or the corpus of data/ by its name.")
    ],
    run: RunOption = None,
    corpus: Annotated[
        str | None,
        typer.Option(metavar="CORPUS", help="Which corpus it is; OWN is a folder of your own.  [default: as it shows]"),
    ] = None,
    override: Annotated[
        list[str] | None,
        typer.Option("-p", metavar="NAME=VALUE", help=f"{', '.join(_TAKEN)}, as in a run; can be repeated."),
    ] = None,
    out: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="FILE.csv: what was said of each clip; FILE.json: all figures."),
    ] = None,
    plot: Annotated[Path | None, typer.Option(metavar="FILE.png", help="Picture of the confusion matrix.")] = None,
) -> None:
    """Measure a model on labelled recordings: a corpus, or a folder of your own.

    A folder of your own holds folders named by emotions, or a clips.csv. Files that the model is known to have learnt
    from are left out. Where all speakers are known, it is measured, too, what clips of each voice bring a model that
    can be adapted (`ser enrol`).
    """
    check_extras("train")
    from ser_lib.corpora import own
    from ser_lib.corpora.left_out import format_reasons
    from ser_lib.evaluate import evaluate_recordings
    from ser_lib.records.limits import limits, untested_clips

    _check_names(folder, out, plot)
    params, top = _asked(folder, corpus, override or [])
    run, bundle = open_model(run)
    name = params.CORPORA[0]
    found, left_out = _find_clips(top, params, bundle.info.emotions)
    untested = untested_clips(run, bundle)
    if name == own.NAME and not _of_run(run, top, found, untested):
        untested = set()
    model = bundle_folder(run, "onnx")
    of_model = model.iterdir() if model.is_dir() else [model]
    check_outputs((out, plot), [*of_model, top / own.TABLE, *(top / clip.file for clip in found)])
    clips, more = _choose(found, bundle.info.emotions, untested, top)
    left_out += more
    data, more = _hear(clips, top, bundle, params)
    left_out += more
    reasons = format_reasons(left_out)
    if data.clips.empty:
        raise DatasetError(printable(f"Nothing in {shown(top)} can be tested: {reasons}."))
    if n_left_out := sum(one.files for one in left_out):
        files = "file" if n_left_out == 1 else "files"
        print(printable(f"{n_left_out:,} {files} left out: {reasons}."), file=sys.stderr)
    learnt = {one.partition(":")[0] for one in bundle.info.corpora}  # of OWN:FOLDER, OWN
    warning = _warning(run, name, is_split_known=bool(untested)) if name in learnt else ""
    if warning:
        print(f"warning: {warning}", file=sys.stderr)
    results, predictions = evaluate_recordings(bundle, data.clips, data.X, params)
    where = shown(top)
    asked = {"model": run, "onnx_sha256": bundle.info.onnx_sha256, "recordings": where}
    asked |= {"corpus": name, "warning": warning, **{taken: getattr(params, taken) for taken in _TAKEN[:-1]}}
    whole = asked | {"emotions": bundle.info.emotions, **results, "left_out": [vars(one) for one in left_out]}
    _write(whole, predictions, out, plot)
    _tell([("recordings", f"{where} ({name})"), ("model", run)], results, predictions, bundle)
    print(f"\n{limits(run, bundle)}")


def _of_run(run: str, folder: Path, found: list["Clip"], untested: set[str]) -> bool:
    """Whether a folder of one's own is that of a run: its clips are named by their paths, as others may be."""
    from ser_lib.records.record import private_values

    path = private_values(run).get("DATASET_PATH")
    is_same = path is not None and resolve(path).is_dir() and folder.samefile(resolve(path))
    return is_same and any(clip.clip in untested for clip in found)


def _warning(run: str, corpus: str, *, is_split_known: bool) -> str:
    """Sentence about a corpus that the model has learnt from."""
    if not is_split_known:
        return (
            f"{run} has learnt from recordings of {corpus}, perhaps from these: which ones cannot be told here. If so, "
            "the figures are too good."
        )
    return (
        f"{run} has learnt from other recordings of {corpus}, so these figures say little about voices, texts and "
        "rooms that it does not know."
    )


def _check_names(folder: str, out: str | None, plot: Path | None) -> None:
    check_filled(folder)
    if out is not None and Path(out).suffix.lower() not in (".csv", ".json"):
        raise typer.BadParameter(f"--out must end in .csv or .json, which says what is written. Got {out}.")
    check_plot(plot, [folder])


def _asked(folder: str, corpus: str | None, override: list[str]) -> tuple[Params, Path]:
    """Parameters that count, with the corpus that lies in a folder, and that folder."""
    from ser_lib.corpora import own
    from ser_lib.corpora.files.check import guess_corpus
    from ser_lib.corpora.files.registry import audio_below, find_corpus, named_corpus

    values = read_values([], override)
    if others := [name for name in values if name not in _TAKEN]:
        raise ParameterError(
            f"The model has its parameters already; of others, `ser evaluate` takes {', '.join(_TAKEN)}. "
            f"Got `{printable(others[0])}`."
        )
    top, corpus = locate_corpus(folder, corpus)
    if not top.exists() and (named := find_corpus(folder)):
        raise DatasetError(f"There is no {shown(top)} yet. `ser data list` says how to get {named.NAME}.")
    if not top.is_dir():
        raise DatasetError(f"Recordings must lie in a folder, or be a corpus of data/. {printable(folder)} is neither.")
    if corpus:
        which = named_corpus(corpus)
    elif (top / own.TABLE).exists():
        which = own
    elif audio_below(top):
        which = guess_corpus(top)
    else:
        raise DatasetError(f"A folder of recordings must hold some. There is none in {shown(top)}.")
    return make_params(values | {"CORPORA": [which.NAME], "DATASET_PATH": str(top)}), top


def _find_clips(folder: Path, params: Params, emotions: list[str]) -> tuple[list["Clip"], list["Skipped"]]:
    """Clips of a corpus, of emotions that the model has added to the seven, too, and what is left out."""
    from ser_lib.corpora.clips import check_label_map, found_instead, list_clips

    (name,) = params.CORPORA
    check_label_map([name], params.LABEL_MAP)
    added = {emotion: emotion for emotion in emotions if emotion not in EMOTIONS}
    clips, left_out = list_clips(name, folder, added | params.LABEL_MAP, params.SPEAKER_PATTERN)
    if not clips:
        instead = found_instead(name, left_out)
        raise DatasetError(
            f"The folder must hold clips of {name}; in {shown(folder)} {instead}. --corpus says which corpus it is."
        )
    return clips, left_out


def _choose(
    found: list["Clip"], emotions: list[str], untested: set[str], folder: Path
) -> tuple[list["Clip"], list["Skipped"]]:
    """Clips of emotions that the model knows and that its split did not keep from its test, and what is left out."""
    from ser_lib.corpora.left_out import Skipped

    if not any(clip.emotion in emotions for clip in found):
        had = ", ".join(sorted({shown_as(clip.emotion) for clip in found}))
        raise ParameterError(
            f"The recordings must have emotions that the model knows: {', '.join(map(shown_as, emotions))}. "
            f"{shown(folder)} has {had}. `-p LABEL_MAP` says what stands for what."
        )
    clips, left_out = [], []
    for clip in found:
        if clip.emotion not in emotions:
            left_out.append(Skipped(clip.file, f"the model does not know {shown_as(clip.emotion)}"))
        elif clip.clip in untested:
            left_out.append(Skipped(clip.file, "not in the model's test set"))
        else:
            clips.append(clip)
    return clips, left_out


def _hear(
    clips: list["Clip"], folder: Path, bundle: "Bundle", params: Params
) -> tuple["ProcessedData", list["Skipped"]]:
    """Features of each recording once, as the model hears it, and what is left out."""
    from dataclasses import replace

    from ser_lib.corpora.left_out import Skipped
    from ser_lib.preprocess import process_clips
    from ser_lib.scoring.leakage import recordings

    settings = bundle.info.settings.model_copy(update={"normalize_per_speaker": False})
    data = process_clips(clips, settings, folder, n_jobs=params.N_JOBS)
    left_out = [Skipped(one.file, one.reason) for one in data.skipped.itertuples()]
    if data.clips.empty:
        return data, left_out
    same = recordings(data.clips)
    disputed = (data.clips["emotion"].groupby(same).transform("nunique") > 1).to_numpy()
    again = same.duplicated().to_numpy() & ~disputed
    left_out += [Skipped(file, "the same recording, with another emotion") for file in data.clips["file"][disputed]]
    left_out += [Skipped(file, "the same recording as another") for file in data.clips["file"][again]]
    once = ~(again | disputed)
    return replace(data, clips=data.clips[once].reset_index(drop=True), X=data.X[once]), left_out


def _write(results: dict[str, Any], predictions: "pd.DataFrame", out: str | None, plot: Path | None) -> None:
    from ser_lib import plots
    from ser_lib.core.io import write_csv, write_json

    if out is not None and out.lower().endswith(".json"):
        write_json(from_here(out), results)
    elif out is not None:
        named = predictions.assign(**{name: predictions[name].map(shown_as) for name in ("true", "predicted")})
        write_csv(
            from_here(out), named.rename(columns=lambda name: f"p_{shown_as(name[2:])}" if name[:2] == "p_" else name)
        )
    if plot is not None:
        matrix, n_clips = results["test"]["confusion_matrix"], results["test"]["n_clips"]
        title = printable(f"{results['recordings']}, {n_clips:,} clips")
        axes = plots.plot_confusion_matrix(matrix, emotions=results["emotions"], title=title)
        plots.save_figure(axes, from_here(plot))


def _tell(about: list[tuple[str, str]], results: dict[str, Any], predictions: "pd.DataFrame", bundle: "Bundle") -> None:
    """Print the figures for people, below what they are `about`."""
    from ser_lib.scoring import summary

    test, n_emotions = results["test"], len(results["test"]["per_class"])
    figures = [(name, str(value)) for name, value in summary.headline_table({"": test}).iloc[0].items()]
    print_table([*about, *figures, ("mean confidence", f"{test['confidence']:.3f}")])
    print(f"\n{summary.describe_scope(results)}")
    if n_emotions > 1:
        print(f"Guessing among these {n_emotions} emotions gives a UAR of {1 / n_emotions:.3f}.")
    else:
        print("There is one emotion alone: a model that knows no other would have a UAR of 1.")
    print(summary.describe_coverage(results["coverage"]))
    if results["unlike"]:
        which = f"{results['unlike']:,} of {test['n_clips']:,} clips"
        print(f"Unlike what the model has learnt from: {which}; the table of --out FILE.csv says in what.")
    print()
    _print(summary.class_table(test, emotions=bundle.info.emotions))
    if (results["speakers"] or 0) > 1:
        speakers = summary.accuracy_table(predictions, "speaker")
        which = f", the {_MOST_SPEAKERS} hardest of {len(speakers)}" if len(speakers) > _MOST_SPEAKERS else ""
        print(f"\nSpeakers{which}:\n")
        _print(speakers.head(_MOST_SPEAKERS))
    if results["adaptation"]:
        most = "at most half of its clips or, with labels, all but one of each emotion"
        print(f"\nWith clips of each voice (ser enrol), drawn at random and not tested; {most}:\n")
        _print(summary.adaptation_table(results["adaptation"]))
    elif bundle.info.population is not None and (predictions["speaker"] == "").any():
        print(
            "\nWhat clips of each voice bring is measured where all speakers are known: by the column speaker of "
            "clips.csv, or by -p SPEAKER_PATTERN."
        )


def _print(table: "pd.DataFrame") -> None:
    """Print a table, its first column flush left."""
    rows = [[f"{cell:.3f}" if isinstance(cell, float) else str(cell) for cell in row] for row in table.to_numpy()]
    print_table([list(map(str, table)), *rows], n_left=1)
