"""Features → training, validation and test set. The work behind 02_split."""

import numpy as np
import pandas as pd
from sklearn.model_selection import train_test_split

from ser_lib.errors import DatasetError
from ser_lib.labels import EMOTIONS
from ser_lib.params import Params
from ser_lib.store import SETS, SPLIT_FILE, ProcessedData, one_hot, write_array, write_csv


def split_clips(labels: np.ndarray, *, validation_fraction: float, test_fraction: float, seed: int) -> np.ndarray:
    """Assign each clip to a set at random, with the same share of every emotion in each set.

    Parameters
    ----------
    labels : np.ndarray [shape=(n_clips,)]
    validation_fraction, test_fraction : float
        Shares of all clips; training gets the rest.
    seed : int

    Returns
    -------
    np.ndarray [shape=(n_clips,)]
        `train`, `validation` or `test`.

    Raises
    ------
    DatasetError
        If an emotion has too few clips to be in every set.
    """
    if len(np.unique(labels)) < 2:
        raise DatasetError("There must be clips of at least two emotions to learn from. Got one. Add clips of another.")
    sets = np.full(len(labels), "train", dtype="<U10")
    everyone = np.arange(len(labels))
    try:
        rest, test = train_test_split(everyone, test_size=test_fraction, stratify=labels, random_state=seed)
        share = validation_fraction / (1 - test_fraction)
        _, validation = train_test_split(rest, test_size=share, stratify=labels[rest], random_state=seed)
    except ValueError:
        raise DatasetError(_too_few(labels, validation_fraction, test_fraction)) from None
    sets[test], sets[validation] = "test", "validation"
    if any(set(labels) != set(labels[sets == name]) for name in SETS):
        raise DatasetError(_too_few(labels, validation_fraction, test_fraction))
    return sets


def _too_few(labels: np.ndarray, validation_fraction: float, test_fraction: float) -> str:
    counts = {EMOTIONS[label]: int((labels == label).sum()) for label in np.unique(labels)}
    fewest = min(counts, key=counts.get)
    needed = int(np.ceil(2 / min(validation_fraction, test_fraction)))
    return (
        f"Every emotion needs a clip in each of the three sets, which {needed} clips are sure to give. "
        f"Got {counts[fewest]} of {fewest}. Add clips, or raise TEST_FRACTION and VALIDATION_FRACTION."
    )


def split_data(data: ProcessedData, params: Params) -> pd.DataFrame:
    """Split `data` and write `split.csv`, `X_TEST_FILE` and `Y_TEST_FILE` into `OUTPUT_DIR`.

    Returns
    -------
    pd.DataFrame
        clip, corpus, speaker, text, emotion and set of every clip.
    """
    sets = split_clips(
        data.y,
        validation_fraction=params.VALIDATION_FRACTION,
        test_fraction=params.TEST_FRACTION,
        seed=params.SEED,
    )
    table = data.clips[["clip", "corpus", "speaker", "text", "emotion"]].assign(set=sets)
    test = sets == "test"
    write_array(params.output_dir / params.X_TEST_FILE, data.X[test])
    write_array(params.output_dir / params.Y_TEST_FILE, one_hot(data.y[test]))
    write_csv(params.output_dir / SPLIT_FILE, table)
    return table
