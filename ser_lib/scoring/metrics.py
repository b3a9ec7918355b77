"""How well emotions were recognised: one function for each metric, and intervals by the bootstrap.

Labels are integers: the index of an emotion among those that the model knows, `emotions`, which may be fewer than the
seven. An emotion that has no clip in a set has no recall, and counts in neither the unweighted average recall (UAR)
nor macro-F1, whether or not it was predicted. An emotion that was never
predicted has precision 0. Of emotions that are equally probable the first is the prediction. Confusion matrices have
true emotions in rows and predicted ones in columns. Accuracy, UAR and macro-F1 are the headlines: they come from the
confusion matrix alone, and each has an interval.

References
----------
Schuller, Steidl and Batliner, "The INTERSPEECH 2009 emotion challenge", Interspeech 2009 (UAR).
Guo, Pleiss, Sun and Weinberger, "On calibration of modern neural networks", ICML 2017 (expected calibration error).
Efron and Tibshirani, "An introduction to the bootstrap", 1993 (percentile interval).
"""

from collections.abc import Mapping, Sequence

import numpy as np
from sklearn.metrics import log_loss

from ser_lib.core.labels import EMOTIONS

HEADLINES = ("accuracy", "uar", "macro_f1")
"""Metrics that come with an interval."""
N_BINS = 15
"""Bins of equal width that confidences are sorted into."""
THRESHOLDS = tuple(number / 20 for number in range(20))
"""Confidences below which an answer is withheld, for `coverage`."""
_TAILS = (2.5, 97.5)
"""Percentiles between which 95 % of the resamples lie."""
_CHUNK = 2**22
"""Weights of clusters that are drawn together."""


def validate(y_true: np.ndarray, probabilities: np.ndarray) -> None:
    """Check that labels [shape=(n,)] and probabilities [shape=(n, n_classes)] can be compared.

    Raises
    ------
    ValueError
        If there is no clip, the lengths differ, or a label has no column.
    """
    if len(y_true) == 0:
        raise ValueError("There must be at least one clip to evaluate. Got none.")
    if probabilities.ndim != 2 or len(y_true) != len(probabilities):
        raise ValueError(f"Each of the {len(y_true)} labels needs a row of probabilities. Got {probabilities.shape}.")
    if y_true.min() < 0 or y_true.max() >= probabilities.shape[1]:
        raise ValueError(f"Labels must be 0 to {probabilities.shape[1] - 1}. Got {y_true.min()} to {y_true.max()}.")


def confusion_matrix(y_true: np.ndarray, y_pred: np.ndarray, *, n_classes: int = len(EMOTIONS)) -> np.ndarray:
    """Counts [shape=(n_classes, n_classes)] of true (rows) and predicted (columns) labels, each [shape=(n,)].

    Examples
    --------
    >>> confusion_matrix(np.array([0, 0, 1]), np.array([0, 1, 1]), n_classes=2)
    array([[1, 1],
           [0, 1]])
    """
    return np.bincount(y_true * n_classes + y_pred, minlength=n_classes**2).reshape(n_classes, n_classes)


def headlines(confusion: np.ndarray) -> dict[str, np.ndarray]:
    """Accuracy, UAR and macro-F1, each [shape=(...)], of confusion matrices [shape=(..., n_classes, n_classes)]."""
    right = np.diagonal(confusion, axis1=-2, axis2=-1).astype(np.float64)
    true, predicted = confusion.sum(axis=-1), confusion.sum(axis=-2)
    present = true > 0
    recall = np.divide(right, true, out=np.zeros_like(right), where=present)
    f1 = np.divide(2 * right, true + predicted, out=np.zeros_like(right), where=present)
    return {
        "accuracy": right.sum(axis=-1) / true.sum(axis=-1),
        "uar": recall.sum(axis=-1) / present.sum(axis=-1),
        "macro_f1": f1.sum(axis=-1) / present.sum(axis=-1),
    }


def accuracy(y_true: np.ndarray, y_pred: np.ndarray) -> float:
    """Fraction of clips whose emotion is recognised; labels [shape=(n,)].

    Examples
    --------
    >>> accuracy(np.array([0, 0, 0, 1]), np.array([0, 0, 0, 0]))
    0.75
    """
    return float(headlines(_square(y_true, y_pred))["accuracy"])


def uar(y_true: np.ndarray, y_pred: np.ndarray) -> float:
    """Unweighted average recall: the mean of the recalls of the emotions that have clips.

    Examples
    --------
    >>> uar(np.array([0, 0, 0, 1]), np.array([0, 0, 0, 0]))  # the second emotion is never recognised
    0.5
    """
    return float(headlines(_square(y_true, y_pred))["uar"])


def macro_f1(y_true: np.ndarray, y_pred: np.ndarray) -> float:
    """Mean over the emotions that have clips of the harmonic mean of recall and precision.

    Examples
    --------
    >>> macro_f1(np.array([0, 0, 1, 1]), np.array([0, 0, 0, 1]))  # of 4/5 and 2/3
    0.7333333333333334
    """
    return float(headlines(_square(y_true, y_pred))["macro_f1"])


def _square(y_true: np.ndarray, y_pred: np.ndarray) -> np.ndarray:
    return confusion_matrix(y_true, y_pred, n_classes=1 + max(y_true.max(), y_pred.max()))


def recall_per_class(y_true: np.ndarray, y_pred: np.ndarray, *, emotions: Sequence[str] = EMOTIONS) -> dict[str, float]:
    """Fraction of each emotion's clips that are recognised; emotions without a clip are left out."""
    return {emotions[label]: float(np.mean(y_pred[y_true == label] == label)) for label in np.unique(y_true)}


def precision_per_class(
    y_true: np.ndarray, y_pred: np.ndarray, *, emotions: Sequence[str] = EMOTIONS
) -> dict[str, float]:
    """Fraction of right ones among the clips taken for an emotion; emotions without a clip are left out."""
    right, taken_for = y_pred[y_true == y_pred], np.maximum(np.bincount(y_pred, minlength=len(emotions)), 1)
    return {emotions[label]: float((right == label).sum() / taken_for[label]) for label in np.unique(y_true)}


def loss(y_true: np.ndarray, probabilities: np.ndarray) -> float:
    """Mean negative natural logarithm of the true emotion's probability (categorical cross-entropy, nats)."""
    columns = np.arange(probabilities.shape[1])
    sums = probabilities.sum(axis=1, keepdims=True, dtype=np.float64)
    return float(log_loss(y_true, probabilities / sums, labels=columns))


def calibration_bins(y_true: np.ndarray, probabilities: np.ndarray) -> dict[str, np.ndarray]:
    """Sort clips by confidence, the probability of the predicted emotion, into bins of equal width.

    Returns
    -------
    dict
        `clips`, mean `confidence` and `accuracy` of each bin, [shape=(N_BINS,)]; 0 in a bin without clips. A
        confidence on the edge of two bins is in the lower one.
    """
    confidence = probabilities.max(axis=1).astype(np.float64)
    bins = np.clip(np.ceil(confidence * N_BINS).astype(np.int64) - 1, 0, N_BINS - 1)
    clips = np.bincount(bins, minlength=N_BINS)
    right = np.bincount(bins, weights=y_true == probabilities.argmax(axis=1), minlength=N_BINS)
    sure = np.bincount(bins, weights=confidence, minlength=N_BINS)
    return {"clips": clips, "confidence": sure / np.maximum(clips, 1), "accuracy": right / np.maximum(clips, 1)}


def ece(y_true: np.ndarray, probabilities: np.ndarray) -> float:
    """Expected calibration error: mean over clips of the gap between confidence and accuracy in their bin.

    Examples
    --------
    >>> ece(np.array([0, 1]), np.array([[0.75, 0.25], [0.75, 0.25]]))  # sure by 0.75, right by 0.5
    0.25
    """
    bins = calibration_bins(y_true, probabilities)
    return float((bins["clips"] * np.abs(bins["confidence"] - bins["accuracy"])).sum() / len(y_true))


def coverage(y_true: np.ndarray, probabilities: np.ndarray) -> dict[str, list[float]]:
    """How many clips are answered, and how many of those rightly, if answers below a confidence are withheld.

    Returns
    -------
    dict
        `threshold`: 0, 0.05 and so on, as far as any clip is answered; `answered`: the fraction of clips whose
        confidence, the probability of the predicted emotion, is not below it; `accuracy` on those.

    References
    ----------
    El-Yaniv and Wiener, "On the foundations of noise-free selective classification", Journal of Machine Learning
    Research 11, 2010 (the risk-coverage curve; here accuracy, which is 1 - risk).

    Examples
    --------
    >>> curve = coverage(np.array([0, 1]), np.array([[0.75, 0.25], [0.55, 0.45]]))
    >>> [curve[name][12] for name in ("threshold", "answered", "accuracy")]
    [0.6, 0.5, 1.0]
    """
    confidence, right = probabilities.max(axis=1), y_true == probabilities.argmax(axis=1)
    answered = [(threshold, confidence >= threshold) for threshold in THRESHOLDS]
    answered = [(threshold, rows) for threshold, rows in answered if rows.any()]
    return {
        "threshold": [threshold for threshold, _ in answered],
        "answered": [float(rows.mean()) for _, rows in answered],
        "accuracy": [float(right[rows].mean()) for _, rows in answered],
    }


def mean_coverage(curves: Sequence[Mapping[str, list[float]]]) -> dict[str, list[float]]:
    """Curve of several sets (`coverage`) together, each counting equally whatever its number of clips."""
    answered, right = np.zeros((2, max(len(one["answered"]) for one in curves)))
    for one in curves:
        n = len(one["answered"])
        answered[:n] += np.array(one["answered"]) / len(curves)
        right[:n] += np.array(one["answered"]) * one["accuracy"] / len(curves)
    accuracy = (right / answered).tolist()
    return {"threshold": list(THRESHOLDS[: len(answered)]), "answered": answered.tolist(), "accuracy": accuracy}


def choose_clusters(speakers: np.ndarray, texts: np.ndarray) -> tuple[np.ndarray, str]:
    """Decide what the bootstrap draws: clips of one speaker and one text resemble each other and stay together.

    Where fewer than two such pairs have several clips, there is nothing to keep together and clips are drawn. A clip
    whose speaker or text is unknown (empty) stands alone.

    Returns
    -------
    clusters : np.ndarray [shape=(n,)]
        Number of each clip's cluster.
    kind : str
        `speaker and text` or `clip`.
    """
    pairs: dict[object, int] = {}
    keys = (pair if all(pair) else row for row, pair in enumerate(zip(speakers, texts, strict=True)))
    numbers = [pairs.setdefault(key, len(pairs)) for key in keys]
    if (np.bincount(numbers) > 1).sum() < 2:
        return np.arange(len(numbers)), "clip"
    return np.array(numbers), "speaker and text"


def resample(
    y_true: np.ndarray, y_pred: np.ndarray, clusters: np.ndarray, *, n_samples: int, seed: int
) -> dict[str, np.ndarray]:
    """Headlines of as many clusters, drawn with replacement: each [shape=(n_samples,)].

    The same clusters and seed give the same draws, so that two models can be compared draw by draw. An emotion that
    a draw lacks does not count in it.

    Parameters
    ----------
    y_true, y_pred : np.ndarray [shape=(n,)]
    clusters : np.ndarray [shape=(n,)]
        Number of each clip's cluster, from 0.
    """
    n_classes, n_clusters = 1 + int(max(y_true.max(), y_pred.max())), int(clusters.max()) + 1
    cells = clusters * n_classes**2 + y_true * n_classes + y_pred
    counts = np.bincount(cells, minlength=n_clusters * n_classes**2).reshape(n_clusters, n_classes**2)
    counts = counts.astype(np.float64)  # whole numbers all the same: their sums are exact in any order
    rng, size = np.random.default_rng(seed), max(1, _CHUNK // n_clusters)
    drawn = []
    for first in range(0, n_samples, size):
        equal = np.full(n_clusters, 1 / n_clusters)
        weights = rng.multinomial(n_clusters, equal, size=min(size, n_samples - first))
        drawn.append(headlines((weights.astype(np.float64) @ counts).reshape(-1, n_classes, n_classes)))
    return {name: np.concatenate([chunk[name] for chunk in drawn]) for name in HEADLINES}


def interval(values: np.ndarray) -> list[float]:
    """Ends of the 95 % percentile interval of resampled values [shape=(n_samples,)].

    Examples
    --------
    >>> interval(np.arange(1001))
    [25.0, 975.0]
    """
    return [float(end) for end in np.percentile(values, _TAILS)]


def evaluate_labels(y_true: np.ndarray, y_pred: np.ndarray, *, emotions: Sequence[str] = EMOTIONS) -> dict:
    """All metrics that need no probabilities; labels [shape=(n,)]."""
    confusion = confusion_matrix(y_true, y_pred, n_classes=len(emotions))
    return {
        "n_clips": len(y_true),
        **{name: float(value) for name, value in headlines(confusion).items()},
        "per_class": recall_per_class(y_true, y_pred, emotions=emotions),
        "precision": precision_per_class(y_true, y_pred, emotions=emotions),
        "confusion_matrix": confusion.tolist(),
    }


def evaluate(y_true: np.ndarray, probabilities: np.ndarray, *, emotions: Sequence[str] = EMOTIONS) -> dict:
    """All metrics of one set.

    Parameters
    ----------
    y_true : np.ndarray [shape=(n,)]
        Labels.
    probabilities : np.ndarray [shape=(n, n_classes)]
    emotions : sequence of str
        Names of the classes.

    Examples
    --------
    >>> results = evaluate(np.array([0, 1]), np.array([[0.9, 0.1], [0.6, 0.4]]), emotions=["happy", "sad"])
    >>> results["uar"], results["per_class"]
    (0.5, {'happy': 1.0, 'sad': 0.0})
    """
    validate(y_true, probabilities)
    results = evaluate_labels(y_true, probabilities.argmax(axis=1), emotions=emotions)
    return results | {"loss": loss(y_true, probabilities), "ece": ece(y_true, probabilities)}
