"""Which clips notebooks show and play, by the tables of those before them.

StageError if these tables are missing, damaged or of different corpora.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from ser_lib.core.errors import StageError
from ser_lib.core.io import read_csv
from ser_lib.core.labels import in_order
from ser_lib.core.paths import resolve, shown
from ser_lib.model.bundle import Bundle
from ser_lib.params import Params
from ser_lib.store import require

if TYPE_CHECKING:
    import pandas as pd


def example_file(params: Params) -> Path:
    """`EXAMPLE_AUDIO_FILE`, or else the file of the first test clip; StageError if that is not there any more."""
    if params.EXAMPLE_AUDIO_FILE is not None:
        return resolve(params.EXAMPLE_AUDIO_FILE)
    example = tested_files(params)[0]
    if not example.is_file():
        raise StageError(
            f"`DATASET_PATH` must hold the test clips as they were processed: {example.name} is missing. "
            f"Run 01_preprocess again, with the folder that holds them."
        )
    return example


def tested_files(params: Params) -> list[Path]:
    """Files of the test clips."""
    return clip_files(params, _column(params.output_dir / "test_predictions.csv", "04_evaluate", "clip"))


def clip_files(params: Params, clips: Iterable[str]) -> list[Path]:
    """File of each of these clips, which a later table names by their ids."""
    ids, files = list(clips), _column(params.output_dir / "clips.csv", "01_preprocess", "file")
    if not set(ids) <= set(files.index):
        raise StageError("test_predictions.csv and clips.csv are of different corpora. Run 01_preprocess and on again.")
    return [params.dataset_path / files[clip] for clip in ids]


def choose_contrast(clips: "pd.DataFrame") -> "pd.DataFrame":
    """Pair a neutral and an angry clip, or one each of a corpus's first two emotions, as `closest_pair` does."""
    found = set(clips["emotion"])
    wanted = ["neutral", "angry"] if {"neutral", "angry"} <= found else in_order(found)[:2]
    return closest_pair(clips[clips["emotion"] == wanted[0]], clips[clips["emotion"] == wanted[-1]])


def closest_pair(ones: "pd.DataFrame", others: "pd.DataFrame") -> "pd.DataFrame":
    """A row of each of two tables of clips, which share speaker and text, or else one of them, or else nothing.

    Both tables have speaker and text, which are empty where they are unknown. Of an empty table there is no row.
    """
    import pandas as pd

    for shared in (["speaker", "text"], ["speaker"], ["text"]):
        keys, known = ones[shared].agg("\0".join, axis=1), (ones[shared] != "").all(axis=1)
        found = ones[known & keys.isin(others[shared].agg("\0".join, axis=1))][:1]
        if len(found):
            ones, others = found, others[(others[shared] == found[shared].iloc[0]).all(axis=1)]
            break
    return pd.concat([ones[:1], others[:1]])


def example_speaker(params: Params, bundle: Bundle) -> str | None:
    """Speaker of the test clip that `example_file` gives, if the bundle knows its voice; None for other files."""
    if params.EXAMPLE_AUDIO_FILE is not None or not bundle.info.speakers:
        return None
    tested = _column(params.output_dir / "test_predictions.csv", "04_evaluate", "speaker")
    return tested.iloc[0]


def _column(path: Path, notebook: str, name: str) -> "pd.Series":
    """Column of a table of clips that `notebook` wrote, by clip."""
    try:
        table = read_csv(require(path, notebook)).set_index("clip", drop=False)
        if not table.empty:
            return table[name]
    except (ValueError, KeyError):
        pass
    raise StageError(f"{shown(path)} is damaged. Run {notebook} again.")
