"""Features → training, validation and test set. The work behind 02_split.

Conventions
-----------
`SPLIT` says what the sets do not share (`PROMISES`):

- `random`: nothing is promised. Every emotion makes up the same fraction of every set.
- `text`: no text is in two sets. The fractions are of the texts.
- `speaker`: `TEST_SPEAKERS` are the test set, whole.
- `speaker_text`: the test set is the part of `TEST_SPEAKERS` with `TEST_FRACTION` of their texts. Training and
  validation have neither their voices nor these texts; clips of the one but not the other are `unused`.
- `corpus`: `TEST_CORPORA` are the test set; clips of emotions that no clip of `CORPORA` shows are `unused`.
- `folds`: the speakers are shared out over folds, and fold `FOLD` is the test set, whole. A fold is one speaker in
  alphabetical order, or one of `N_FOLDS` groups with about as many clips each, whatever the seed.

Where the test set goes by speaker or corpus, validation is `VALIDATION_FRACTION` of what the training speakers say.
With 20 texts or more (TESS has 200), no text is in training and validation both, so the epoch is not chosen on words
known by heart. With fewer (EMO-DB has 10), a text held out would be a tenth of what there is to learn from, and
validation would hang on one or two sentences: there it is drawn at random, stratified by emotion.

A recording that is there twice, byte for byte or in another format, is split once; its other copies are `unused`. Only
a `SPLIT_FILE` can place copies in two sets.
"""

from collections.abc import Callable

import numpy as np
import pandas as pd
from sklearn.model_selection import GroupKFold, GroupShuffleSplit, LeaveOneGroupOut, train_test_split

from ser_lib.core.errors import DatasetError, ParameterError
from ser_lib.core.io import read_csv, write_array, write_csv, write_json
from ser_lib.core.labels import in_order
from ser_lib.core.paths import resolve, shown
from ser_lib.corpora.clips import check_known, check_test_speakers
from ser_lib.params import Params
from ser_lib.scoring.leakage import leakage, recordings, shared
from ser_lib.store import LEAKAGE_FILE, SETS, SPLIT_FILE, UNUSED, ProcessedData, keep_params, one_hot, to_labels

_TEST, _BOTH = ("test",), ("validation", "test")
PROMISES: dict[str, dict[str, tuple[str, ...]]] = {
    "random": {},
    "text": {"text": _BOTH, "audio": _BOTH},
    "speaker": {"speaker": _TEST, "audio": _BOTH},
    "speaker_text": {"speaker": _TEST, "text": _TEST, "audio": _BOTH},
    "folds": {"speaker": _TEST, "audio": _BOTH},
    "corpus": {"corpus": _TEST, "speaker": _TEST, "audio": _BOTH},
}
"""For each `SPLIT`, the sets that share a thing with none of the sets before them, in the order of `SETS`."""
_ASKED_BY = {"speaker": "TEST_SPEAKERS", "corpus": "TEST_CORPORA"}
_ENOUGH_TEXTS = 20
"""Texts from which on validation has texts of its own."""


def split_data(data: ProcessedData, params: Params) -> pd.DataFrame:
    """Split `data` and write `split.csv`, `leakage.json`, `X_TEST_FILE` and `Y_TEST_FILE` into `OUTPUT_DIR`.

    Returns
    -------
    pd.DataFrame
        clip, corpus, speaker, text, emotion and set of every clip.

    Raises
    ------
    DatasetError
        If the corpus is too small for this split, or the sets break what `SPLIT` promises.
    ParameterError
        If `TEST_SPEAKERS`, `TEST_CORPORA`, `N_FOLDS`, `FOLD` or `SPLIT_FILE` do not fit the corpus, or `SPLIT` needs
        speakers or texts that are unknown.

    Examples
    --------
    Of what `ser_lib.preprocess_data` made:

    >>> from ser_lib import load_params
    >>> from ser_lib.split import split_data
    >>> from ser_lib.store import load_processed
    >>> params = load_params("params/demo.yaml", overrides=["OUTPUT_DIR=artifacts/example", "EPOCHS=1"])
    >>> table = split_data(load_processed(params.processed_data_file), params)
    >>> sorted(table["set"].unique())
    ['test', 'train', 'validation']
    """
    params.check_test_corpora()
    clips = data.clips
    given = read_split_file(params.SPLIT_FILE, clips) if params.SPLIT_FILE else None
    needed = [] if params.SPLIT == "corpus" else [one for one in ("speaker", "text") if one in PROMISES[params.SPLIT]]
    check_known(clips if given is None else clips[given != UNUSED], needed, f"`SPLIT: {params.SPLIT}`")
    sets = assign_sets(clips, params) if given is None else given
    table = clips.assign(set=sets)
    _check_emotions(table)
    _check_promise(table, params)
    test, classes = sets == "test", in_order(clips["emotion"][sets == "train"])
    write_array(params.output_dir / params.X_TEST_FILE, data.X[test])
    write_array(
        params.output_dir / params.Y_TEST_FILE, one_hot(to_labels(clips["emotion"][test], classes), len(classes))
    )
    write_json(params.output_dir / LEAKAGE_FILE, leakage(table))
    table = table[["clip", "corpus", "speaker", "text", "emotion", "set"]]
    write_csv(params.output_dir / SPLIT_FILE, table)
    keep_params("02_split", params)
    return table


def assign_sets(clips: pd.DataFrame, params: Params) -> np.ndarray:
    """Assign each clip to a set by `SPLIT`.

    Parameters
    ----------
    clips : pd.DataFrame
        corpus, speaker, text, emotion and sha256 of each clip, and recording where some are the same.
    params : Params

    Returns
    -------
    np.ndarray [shape=(n_clips,)]
        `train`, `validation`, `test` or `unused`.

    Raises
    ------
    DatasetError
        If the corpus is too small for this split, or an emotion has too few clips to be in every set.
    ParameterError
        If `TEST_SPEAKERS`, `N_FOLDS` or `FOLD` do not fit the corpus.
    """
    sets = np.full(len(clips), UNUSED, dtype="<U10")
    first = ~recordings(clips).duplicated().to_numpy()
    sets[first] = _SPLITS[params.SPLIT](clips[first], params)
    return sets


def _by_chance(clips: pd.DataFrame, params: Params) -> np.ndarray:
    labels = to_labels(clips["emotion"])
    if len(np.unique(labels)) < 2:
        raise DatasetError("There must be clips of at least two emotions to learn from. Got one. Add clips of another.")
    sets = np.full(len(labels), "train", dtype="<U10")
    try:
        rest, test = train_test_split(
            np.arange(len(labels)), test_size=params.TEST_FRACTION, stratify=labels, random_state=params.SEED
        )
        fraction = params.VALIDATION_FRACTION / (1 - params.TEST_FRACTION)
        _, validation = train_test_split(rest, test_size=fraction, stratify=labels[rest], random_state=params.SEED)
    except ValueError:
        raise _too_few(clips, params) from None
    sets[test], sets[validation] = "test", "validation"
    if any(set(labels) != set(labels[sets == name]) for name in SETS):
        raise _too_few(clips, params)
    return sets


def _too_few(clips: pd.DataFrame, params: Params) -> DatasetError:
    counts = {emotion: int((clips["emotion"] == emotion).sum()) for emotion in in_order(clips["emotion"])}
    fewest = min(counts, key=counts.__getitem__)
    needed = int(np.ceil(2 / min(params.VALIDATION_FRACTION, params.TEST_FRACTION)))
    return DatasetError(
        f"Every emotion needs a clip in each of the three sets, which {needed} clips are sure to give. "
        f"Got {counts[fewest]} of {fewest}. Add clips, or raise TEST_FRACTION and VALIDATION_FRACTION."
    )


def _by_text(clips: pd.DataFrame, params: Params) -> np.ndarray:
    texts = clips["text"].to_numpy(dtype=str)
    n_texts = len(np.unique(texts))
    n_test, n_validation = (
        _count(fraction, n_texts) for fraction in (params.TEST_FRACTION, params.VALIDATION_FRACTION)
    )
    if n_texts <= n_test + n_validation:
        raise DatasetError(
            f"`SPLIT: text` needs texts of its own for each set. Got {n_texts}, of which {n_test} would go to test and "
            f"{n_validation} to validation. Add clips with other texts, or lower TEST_FRACTION and VALIDATION_FRACTION."
        )
    sets = np.full(len(clips), "train", dtype="<U10")
    sets[_hold_out(texts, n_test, params.SEED)] = "test"
    rest = np.flatnonzero(sets == "train")
    sets[rest[_hold_out(texts[rest], n_validation, params.SEED)]] = "validation"
    return sets


def _count(fraction: float, n: int) -> int:
    """Whole number nearest to a fraction of `n`, at least one; not all, if there are two or more."""
    return max(1, min(round(fraction * n), n - 1))


def _hold_out(texts: np.ndarray, n_held: int, seed: int) -> np.ndarray:
    """Rows of `n_held` texts drawn at random."""
    if n_held == len(np.unique(texts)):
        return np.arange(len(texts))
    splitter = GroupShuffleSplit(n_splits=1, test_size=n_held, random_state=seed)
    return next(splitter.split(texts, groups=texts))[1]


def _by_speaker(clips: pd.DataFrame, params: Params) -> np.ndarray:
    test = _of_test_speakers(clips, params)
    return _around(test, ~test, clips, params)


def _by_speaker_and_text(clips: pd.DataFrame, params: Params) -> np.ndarray:
    speakers, texts = _of_test_speakers(clips, params), clips["text"].to_numpy(dtype=str)
    spoken = texts[speakers]
    held = _hold_out(spoken, _count(params.TEST_FRACTION, len(np.unique(spoken))), params.SEED)
    chosen = np.isin(texts, spoken[held])
    return _around(speakers & chosen, ~speakers & ~chosen, clips, params)


def _of_test_speakers(clips: pd.DataFrame, params: Params) -> np.ndarray:
    """Which clips one of `TEST_SPEAKERS` speaks."""
    check_test_speakers(params.TEST_SPEAKERS, sorted(set(clips["speaker"])))
    return clips["speaker"].isin(params.TEST_SPEAKERS).to_numpy()


def _by_fold(clips: pd.DataFrame, params: Params) -> np.ndarray:
    speakers = clips["speaker"].to_numpy(dtype=str)
    n_speakers = len(np.unique(speakers))
    n_folds = params.N_FOLDS or n_speakers
    if not 2 <= n_folds <= n_speakers:
        raise ParameterError(
            f"`SPLIT: folds` needs at least two speakers, and `N_FOLDS` must be at most as many as there are. "
            f"Got {_counted(n_folds, 'fold')} of {_counted(n_speakers, 'speaker')}."
        )
    if n_folds <= params.FOLD:
        raise ParameterError(f"`FOLD` must be below the number of folds ({n_folds}). Got {params.FOLD}.")
    splitter = LeaveOneGroupOut() if params.N_FOLDS is None else GroupKFold(n_splits=n_folds)
    test = np.zeros(len(clips), dtype=bool)
    test[list(splitter.split(speakers, groups=speakers))[params.FOLD][1]] = True
    return _around(test, ~test, clips, params)


def _counted(n: int, what: str) -> str:
    return f"{n} {what}" + ("" if n == 1 else "s")


def _by_corpus(clips: pd.DataFrame, params: Params) -> np.ndarray:
    test = clips["corpus"].isin(params.TEST_CORPORA)
    learnt = set(clips.loc[~test, "emotion"])
    return _around((test & clips["emotion"].isin(learnt)).to_numpy(), ~test.to_numpy(), clips, params)


_SPLITS: dict[str, Callable[[pd.DataFrame, Params], np.ndarray]] = {
    "random": _by_chance,
    "text": _by_text,
    "speaker": _by_speaker,
    "speaker_text": _by_speaker_and_text,
    "folds": _by_fold,
    "corpus": _by_corpus,
}


def _around(test: np.ndarray, rest: np.ndarray, clips: pd.DataFrame, params: Params) -> np.ndarray:
    """Sets with a given test set: what is in neither mask is unused, and of the rest some goes to validation."""
    if rest.sum() < 2:
        raise DatasetError(
            f"`SPLIT: {params.SPLIT}` must leave two clips to learn from, with none of the test set's speakers"
            f"{' and texts' if params.SPLIT == 'speaker_text' else ''}. Got {rest.sum()}. Add clips, or test on fewer."
        )
    sets = np.full(len(clips), UNUSED, dtype="<U10")
    sets[test], sets[rest] = "test", "train"
    rows = np.flatnonzero(rest)
    sets[rows[_validation(clips[rest], params)]] = "validation"
    return sets


def _validation(clips: pd.DataFrame, params: Params) -> np.ndarray:
    """Rows of the training speakers' clips that go to validation: texts of their own, if there are enough."""
    texts = clips["text"].to_numpy(dtype=str)
    n_texts = len(np.unique(texts))
    if n_texts >= _ENOUGH_TEXTS and texts.all():
        return _hold_out(texts, _count(params.VALIDATION_FRACTION, n_texts), params.SEED)
    options = {"test_size": _count(params.VALIDATION_FRACTION, len(clips)), "random_state": params.SEED}
    try:
        return train_test_split(np.arange(len(clips)), stratify=clips["emotion"], **options)[1]
    except ValueError:  # an emotion with too few clips to be in both
        return train_test_split(np.arange(len(clips)), **options)[1]


def read_split_file(path: str, clips: pd.DataFrame) -> np.ndarray:
    """Read who is in which set from a CSV with the columns clip and set, such as the `split.csv` of another run.

    Returns
    -------
    np.ndarray [shape=(n_clips,)]
        `train`, `validation` or `test`, in the order of `clips`; `unused` for clips that the file does not name.

    Raises
    ------
    ParameterError
        If the file cannot be read, names a clip that is not there or one twice, or has a wrong or an empty set.
    """
    named = _read_clips_and_sets(path)
    wrong = sorted(set(named["set"]) - {*SETS, UNUSED})
    if wrong:
        raise _refused(path, f"must have the sets {', '.join(SETS)} alone (or {UNUSED})", repr(wrong[0]))
    twice = named["clip"][named["clip"].duplicated()]
    if len(twice):
        raise _refused(path, "must name a clip once", f"{twice.iloc[0]} twice")
    unknown = named["clip"][~named["clip"].isin(clips["clip"])]
    if len(unknown):
        got = f"{unknown.iloc[0]!r}" + (f" and {len(unknown) - 1} more" if len(unknown) > 1 else "")
        raise _refused(path, "must name clips of the corpus that could be used (clips.csv lists them)", got)
    empty = [name for name in SETS if name not in set(named["set"])]
    if empty:
        raise _refused(path, f"must have clips in each of {', '.join(SETS)}", f"none in {empty[0]}")
    sets = clips["clip"].map(named.set_index("clip")["set"])
    return sets.fillna(UNUSED).to_numpy(dtype="<U10")


def _read_clips_and_sets(path: str) -> pd.DataFrame:
    try:
        table = read_csv(resolve(path), encoding="utf-8-sig")
    except (ValueError, OSError) as error:
        reason = getattr(error, "strerror", None) or str(error).strip().splitlines()[0]
        raise _refused(path, "must be a CSV file", reason) from None
    if not {"clip", "set"} <= set(table):
        raise _refused(path, "must have the columns clip and set", ", ".join(map(repr, table.columns))[:200])
    return table[["clip", "set"]]


def _refused(path: str, rule: str, got: str) -> ParameterError:
    got = "".join(letter if letter.isprintable() else "?" for letter in got)
    return ParameterError(f"`SPLIT_FILE` {rule}. Got {got} in {shown(path)}. Correct the file.")


def _check_emotions(table: pd.DataFrame) -> None:
    """Refuse sets of which a model cannot learn what it is tested on."""
    emotions = {name: set(table.loc[table["set"] == name, "emotion"]) for name in SETS}
    if empty := [name for name in SETS if not emotions[name]]:
        raise DatasetError(
            f"The {empty[0]} set must hold clips. Got none: those that would be in it are copies of others, or of "
            "emotions that the training clips lack. Choose another split, or add clips."
        )
    if len(emotions["train"]) < 2:
        got = f"{', '.join(emotions['train']) or 'none'} alone"
        raise DatasetError(f"The training set must hold at least two emotions. Got {got}. Choose another split.")
    unheard = in_order(emotions["test"] - emotions["train"])
    if unheard:
        raise DatasetError(
            f"The training set must hold every emotion of the test set. Got none of {', '.join(unheard)}. "
            "Choose another split (SPLIT, TEST_SPEAKERS, FOLD, SEED or SPLIT_FILE), or add clips."
        )


def _check_promise(table: pd.DataFrame, params: Params) -> None:
    """Refuse sets that share what `SPLIT` promises they do not, as only those of a `SPLIT_FILE` can."""
    asked = {"speaker": params.TEST_SPEAKERS, "corpus": params.TEST_CORPORA}
    for column, names in asked.items() if params.SPLIT_FILE else ():
        tested, parameter = sorted(set(table.loc[table["set"] == "test", column])), _ASKED_BY[column]
        if names and tested != sorted(set(names)):
            raise ParameterError(
                f"The test set of `SPLIT_FILE` must be of `{parameter}` ({', '.join(names)}). "
                f"Got {', '.join(tested)}. Correct {parameter}, or leave it out."
            )
    for thing, promised in PROMISES[params.SPLIT].items():
        for name in promised:
            others = SETS[: SETS.index(name)]
            overlap = table.loc[shared(table, thing, name, others), "clip"]
            if len(overlap):
                raise DatasetError(
                    f"`SPLIT: {params.SPLIT}` promises that no {thing} of the {name} set is in {' or '.join(others)}. "
                    f"Got {len(overlap)} of {(table['set'] == name).sum()} clips that share one, such as "
                    f"{overlap.iloc[0]}. Correct SPLIT_FILE, or set SPLIT to random, which only shows what is shared."
                )
