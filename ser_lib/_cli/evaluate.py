"""The command `ser evaluate`."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ser_lib._cli.common import RunOption, check_outputs, load_run, which_run
from ser_lib._cli.data import default_folder
from ser_lib._cli.tables import column_widths, format_row
from ser_lib.core.errors import DatasetError, ParameterError
from ser_lib.core.extras import check_extras
from ser_lib.core.labels import EMOTIONS, shown_as
from ser_lib.core.paths import from_here, locate, shown
from ser_lib.core.text import printable
from ser_lib.params import Params, make_params, read_values

if TYPE_CHECKING:
    import pandas as pd

    from ser_lib.corpora.clips import Clip, Skipped

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
    """Measure a model on labelled recordings that it has not learnt from.

    A folder of your own holds folders named by emotions, or a clips.csv, which can name speakers and texts too. With
    these, it is told what some clips of each speaker would bring a model that can be adapted (`ser enrol`).
    """
    check_extras("train")
    from ser_lib import plots
    from ser_lib.core.io import write_csv, write_json
    from ser_lib.corpora.clips import Skipped, format_reasons
    from ser_lib.evaluate import evaluate_recordings
    from ser_lib.preprocess import process_clips
    from ser_lib.records.limits import limits

    _check_outputs(out, plot)
    params, top = _asked(folder, corpus, override or [])
    name = params.CORPORA[0]
    run = which_run(run)
    bundle = load_run(run)
    emotions, settings = bundle.info.emotions, bundle.info.settings
    clips, left_out = _find_clips(name, top, params, emotions)
    plain = settings.model_copy(update={"normalize_per_speaker": False})
    data = process_clips(clips, plain, top, n_jobs=params.N_JOBS)
    left_out += [Skipped(one.file, one.reason) for one in data.skipped.itertuples()]
    if data.clips.empty:
        raise DatasetError(f"No clip in {shown(top)} can be used: {format_reasons(left_out)}.")
    if n_left_out := sum(one.files for one in left_out):
        files = "file" if n_left_out == 1 else "files"
        print(printable(f"{n_left_out:,} {files} left out: {format_reasons(left_out)}."), file=sys.stderr)
    results, predictions = evaluate_recordings(bundle, data, params)
    if name in bundle.info.corpora:
        print(
            f"warning: {run} has learnt from {name}. Of clips and voices that it knows, these figures say little about "
            "others.",
            file=sys.stderr,
        )
    can_adapt = bundle.info.population is not None
    _tell(results, predictions, f"{name} in {shown(top)}", can_adapt=can_adapt)
    print(f"\n{limits(run, bundle)}")
    if out is not None:
        path = from_here(out)
        if out.lower().endswith(".csv"):
            write_csv(path, predictions)
        else:
            write_json(path, {"model": run, "emotions": emotions, "corpus": name} | results)
    if plot is not None:
        matrix, title = results["test"]["confusion_matrix"], f"{name}, {results['test']['n_clips']:,} clips"
        plots.save_figure(plots.plot_confusion_matrix(matrix, emotions=emotions, title=title), from_here(plot))


def _check_outputs(out: str | None, plot: Path | None) -> None:
    if out is not None and Path(out).suffix.lower() not in (".csv", ".json"):
        raise typer.BadParameter(f"--out must end in .csv or .json, which says what is written. Got {out}.")
    if plot is not None and plot.suffix.lower() != ".png":
        raise typer.BadParameter(f"--plot makes a .png, not {plot.name}.")
    check_outputs((out, plot), ())


def _asked(folder: str, corpus: str | None, override: list[str]) -> tuple[Params, Path]:
    """Parameters that count, with the corpus that lies in a folder, and that folder."""
    from ser_lib.corpora import own
    from ser_lib.corpora.files.check import guess_corpus
    from ser_lib.corpora.files.registry import find_corpus, named_corpus

    values = read_values([], override)
    if others := [name for name in values if name not in _TAKEN]:
        raise ParameterError(
            f"The model has its parameters already; of others, `ser evaluate` takes {', '.join(_TAKEN)}. "
            f"Got `{printable(others[0])}`."
        )
    top = locate(folder)
    if not top.exists() and (named := find_corpus(folder)):
        top, corpus = default_folder(named), corpus or named.NAME
    if not top.is_dir():
        raise DatasetError(f"The folder of recordings must be there. {printable(folder)} is none.")
    has_table = (top / own.TABLE).exists()
    which = named_corpus(corpus) if corpus else own if has_table else guess_corpus(top)
    return make_params(values | {"CORPORA": [which.NAME], "DATASET_PATH": str(top)}), top


def _find_clips(name: str, folder: Path, params: Params, emotions: list[str]) -> tuple[list["Clip"], list["Skipped"]]:
    """Clips of emotions that the model knows, and what is left out."""
    from ser_lib.corpora.clips import Skipped, check_label_map, find_clips

    check_label_map([name], params.LABEL_MAP)
    added = {emotion: emotion for emotion in emotions if emotion not in EMOTIONS}
    found, left_out = find_clips(name, folder, added | params.LABEL_MAP, params.SPEAKER_PATTERN)
    known = [clip for clip in found if clip.emotion in emotions]
    unknown = [clip for clip in found if clip.emotion not in emotions]
    if not known:
        had = ", ".join(sorted({shown_as(clip.emotion) for clip in unknown}))
        raise ParameterError(
            f"The recordings must have emotions that the model knows: {', '.join(map(shown_as, emotions))}. "
            f"{shown(folder)} has {had}. `-p LABEL_MAP` says what stands for what."
        )
    reason = "the model does not know {}"
    return known, left_out + [Skipped(clip.file, reason.format(shown_as(clip.emotion))) for clip in unknown]


def _tell(results: dict[str, Any], predictions: "pd.DataFrame", where: str, *, can_adapt: bool) -> None:
    """Print the figures for people."""
    from ser_lib.scoring import summary

    test = results["test"]
    emotions = [name.removeprefix("p_") for name in predictions if name.startswith("p_")]
    _print(summary.headline_table({where: test}).reset_index(names="recordings"))
    print(f"\n{summary.describe_scope(results)}\nGuessing gives a UAR of {1 / len(test['per_class']):.3f}.")
    print(f"The mean confidence is {test['confidence']:.3f}. {summary.describe_coverage(results['coverage'])}")
    if results["unlike"]:
        print(f"{results['unlike']:,} of {test['n_clips']:,} clips sound unlike what the model has learnt from.")
    print()
    _print(summary.class_table(test, emotions=emotions))
    if (results["speakers"] or 0) > 1:
        speakers = summary.accuracy_table(predictions, "speaker")
        which = f", the {_MOST_SPEAKERS} hardest" if len(speakers) > _MOST_SPEAKERS else ""
        print(f"\nSpeakers{which}:")
        _print(speakers.head(_MOST_SPEAKERS))
    if "adaptation" in results:
        print("\nWith clips of each speaker's own (ser enrol), drawn at random and not tested:")
        _print(summary.adaptation_table(results["adaptation"]))
    elif can_adapt:
        print("\nWhat clips of each speaker's own bring is told where all speakers are known: -p SPEAKER_PATTERN=...")


def _print(table: "pd.DataFrame") -> None:
    """Print a table, its first column flush left."""
    rows = [[f"{cell:.3f}" if isinstance(cell, float) else str(cell) for cell in row] for row in table.to_numpy()]
    rows = [list(map(str, table)), *rows]
    widths = column_widths(rows)
    for row in rows:
        print(format_row(row, widths, n_left=1))
