"""What adapting a model to each test speaker brings: by clips without labels, and by a few with labels.

The clips that a model is adapted with are drawn at random and left out of what is measured: without labels at most half
of a voice's, with labels at most all but one of each emotion. A voice that has fewer gives what it has.
"""

from collections.abc import Callable, Iterator

import numpy as np

from ser_lib.model.bundle import Bundle
from ser_lib.model.enrolment import UNLABELLED as WITHOUT_LABEL
from ser_lib.model.enrolment import Clips, adapt_by, answered
from ser_lib.scoring import metrics

UNLABELLED = (5, 10, 20, 50)
"""Clips of a voice, of any emotions."""
LABELLED = (1, 2, 3, 5)
"""Clips of a voice of each emotion."""
_MOSTLY_NEUTRAL = 0.8
_N_DRAWS = 3
Draw = Callable[[np.ndarray, np.random.Generator], np.ndarray]
"""Labels of a voice's clips, random numbers → indices of those that are drawn."""


def evaluate(bundle: Bundle, X: np.ndarray, labels: np.ndarray, speakers: np.ndarray, *, seed: int) -> list[dict]:
    """Measure a model that was trained with `ADAPT_TO_SPEAKER` on the test set, adapted to each speaker in turn.

    Parameters
    ----------
    bundle : Bundle
    X : np.ndarray [shape=(n_clips, 1, n_features)]
    labels : np.ndarray [shape=(n_clips,)]
        Index of each clip's emotion among the model's.
    speakers : np.ndarray [shape=(n_clips,)]
    seed : int
        Of the draws, of which each row is a mean over three.

    Returns
    -------
    list of dict
        A row for each way for which any voice has a clip to spare: `clips` it is adapted with, `each` their number (of
        a voice, or of each emotion), whether they are `labelled`; `n_clips` measured; `accuracy`, `uar` and mean
        `confidence` on them; and the UAR `without`.
    """
    ways = [("any", n_clips, False, _any(n_clips)) for n_clips in UNLABELLED]
    neutral = bundle.info.emotions.index("neutral") if "neutral" in bundle.info.emotions else WITHOUT_LABEL
    if (labels == neutral).any():
        ways += [("mostly neutral", n_clips, False, _mostly(neutral, n_clips)) for n_clips in UNLABELLED]
    ways += [("of each emotion", n_clips, True, _of_each(n_clips)) for n_clips in LABELLED]
    without = bundle.probabilities(X).argmax(axis=1)
    rows = []
    for clips, each, labelled, draw in ways:
        measured = _measure(bundle, X, labels, speakers, seed, without, draw, labelled=labelled)
        if measured:
            rows.append({"clips": clips, "each": each, "labelled": labelled} | measured)
    return rows


def is_reached(row: dict, labels: np.ndarray, speakers: np.ndarray) -> bool:
    """Whether any voice has as many clips to spare as a row of `evaluate` says."""
    of_each = np.unique(np.stack([speakers, labels.astype(str)]), axis=1, return_counts=True)[1].max() - 1
    of_any = np.unique(speakers, return_counts=True)[1].max() // 2
    return row["each"] <= (of_each if row["labelled"] else of_any)


def _measure(
    bundle: Bundle,
    X: np.ndarray,
    labels: np.ndarray,
    speakers: np.ndarray,
    seed: int,
    without: np.ndarray,
    draw: Draw,
    *,
    labelled: bool,
) -> dict[str, float]:
    """Means over the draws, empty if no voice has enough clips; `without` [shape=(n_clips,)]: labels unadapted."""
    found = []
    for number in range(_N_DRAWS):
        rng = np.random.default_rng([seed, number])
        probabilities = np.full((len(X), len(bundle.info.emotions)), np.nan)
        for rest, drawn in _draw_all(labels, speakers, draw, rng):
            probabilities[rest] = _answer(bundle, X[rest], X[drawn], labels[drawn] if labelled else None)
        is_measured = ~np.isnan(probabilities[:, 0])
        if not is_measured.any():
            return {}
        y_true, y_pred = labels[is_measured], probabilities[is_measured].argmax(axis=1)
        found.append({
            "n_clips": int(is_measured.sum()),
            "accuracy": metrics.accuracy(y_true, y_pred),
            "uar": metrics.uar(y_true, y_pred),
            "confidence": float(probabilities[is_measured].max(axis=1).mean()),
            "without": metrics.uar(y_true, without[is_measured]),
        })  # fmt: skip
    means = {name: float(np.mean([one[name] for one in found])) for name in found[0]}
    return means | {"n_clips": round(means["n_clips"])}


def _draw_all(
    labels: np.ndarray, speakers: np.ndarray, draw: Draw, rng: np.random.Generator
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Rows of each speaker that are measured, and those that are drawn; of speakers with both alone."""
    for speaker in np.unique(speakers):
        rows = np.flatnonzero(speakers == speaker)
        drawn = rows[draw(labels[rows], rng)]
        rest = np.setdiff1d(rows, drawn)
        if len(drawn) and len(rest):
            yield rest, drawn


def _answer(bundle: Bundle, X: np.ndarray, known: np.ndarray, labels: np.ndarray | None) -> np.ndarray:
    """Probabilities [shape=(n_clips, n_classes)] of a voice's features, adapted by those of its `known` clips."""
    _, adapted = adapt_by(_clips(known, labels), bundle, only=True)  # a corpus has no emotions beside its own
    return answered(_clips(X), adapted)


def _clips(X: np.ndarray, labels: np.ndarray | None = None) -> Clips:
    return Clips(X, np.ones(len(X), dtype=int), np.full(len(X), WITHOUT_LABEL) if labels is None else labels)


def _any(n_clips: int) -> Draw:
    return lambda labels, rng: rng.permutation(len(labels))[: min(n_clips, len(labels) // 2)]


def _mostly(neutral: int, n_clips: int) -> Draw:
    """Draw four fifths of the clips from the neutral ones, as far as there are so many; the rest from the others."""

    def draw(labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        most = min(n_clips, len(labels) // 2)
        order = rng.permutation(len(labels))
        is_neutral = labels[order] == neutral
        first = order[is_neutral][: min(round(_MOSTLY_NEUTRAL * most), int(is_neutral.sum()) - 1)]
        return np.concatenate([first, order[~is_neutral][: most - round(_MOSTLY_NEUTRAL * most)]])

    return draw


def _of_each(n_clips: int) -> Draw:
    def draw(labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        order = rng.permutation(len(labels))
        each = [order[labels[order] == label] for label in np.unique(labels)]
        return np.concatenate([rows[: min(n_clips, len(rows) - 1)] for rows in each])

    return draw
