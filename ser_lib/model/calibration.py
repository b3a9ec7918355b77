"""Calibrated probabilities: one temperature per model, fitted on the validation set, or on what was left out.

References
----------
Clarté, Loureiro, Krzakala and Zdeborová, "Expectation consistency for calibration of neural networks", UAI 2023 (the
temperature at which the mean confidence is the accuracy).
Guo, Pleiss, Sun and Weinberger, "On calibration of modern neural networks", ICML 2017 (temperature scaling).
Platt, "Probabilistic outputs for support vector machines and comparisons to regularized likelihood methods", 1999
(targets short of certainty: without them a validation set with no mistakes asks for a temperature of zero).
"""

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

_SMALLEST = 1e-12
"""Probability below which one counts as this much."""
RANGE = (0.05, 20.0)
"""Temperatures that are looked among."""


class LeftOut(BaseModel):
    """How right a model was about a corpus, or about speakers, that were left out of its training."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    name: str
    n_clips: int = Field(ge=1)
    accuracy: float
    uar: float
    confidence: float
    """Its mean, after calibration."""
    ece: float
    coverage: dict[str, list[float]] | None = Field(None, repr=False)
    """`scoring.metrics.coverage`; None in bundles from before there was one."""


def log_probabilities(probabilities: np.ndarray) -> np.ndarray:
    """Natural logarithms, float64, of probabilities, of which none counts as less than 1e-12."""
    return np.log(np.maximum(probabilities.astype(np.float64), _SMALLEST))


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities of logits, both [shape=(n, n_classes)]: `scipy.special.softmax`, which takes long to import."""
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    return shifted / shifted.sum(axis=1, keepdims=True)


def calibrate(probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """Probabilities [shape=(n, n_classes)] at a temperature: above 1 they are less certain, below 1 more."""
    return softmax(log_probabilities(probabilities) / temperature).astype(probabilities.dtype)


def fit_temperature(labels: np.ndarray, probabilities: np.ndarray) -> float:
    """Temperature with the smallest cross-entropy of `labels` [shape=(n,)], each (n + 1) / (n + 2) certain.

    `probabilities` have the shape (n, n_classes).
    """
    from scipy.optimize import minimize_scalar

    n, n_classes = probabilities.shape
    targets = np.full((n, n_classes), 1 / (n + 2) / (n_classes - 1))
    targets[np.arange(n), labels] = (n + 1) / (n + 2)
    logits = log_probabilities(probabilities)

    def cross_entropy(log_temperature: float) -> float:
        scaled = logits / np.exp(log_temperature)
        return float((targets * (np.logaddexp.reduce(scaled, axis=1, keepdims=True) - scaled)).sum())

    found = minimize_scalar(cross_entropy, bounds=np.log(RANGE), method="bounded")
    return float(np.exp(found.x))


def match_confidence(labels: np.ndarray, probabilities: np.ndarray, weights: np.ndarray) -> float:
    """Temperature at which the mean confidence is the accuracy, of `r` right among `n` taken as (r + 1) / (n + 2).

    `labels` and `weights` of the clips have the shape (n,), `probabilities` (n, n_classes). An accuracy that no
    temperature in `RANGE` reaches gets the nearest end of it.
    """
    from scipy.optimize import brentq

    n, shares = len(labels), weights / weights.sum()
    accuracy = (n * float(shares @ (probabilities.argmax(axis=1) == labels)) + 1) / (n + 2)
    logits = log_probabilities(probabilities)

    def too_sure(log_temperature: float) -> float:
        return float(shares @ softmax(logits / np.exp(log_temperature)).max(axis=1)) - accuracy

    lowest, highest = np.log(RANGE)
    if too_sure(lowest) <= 0:
        return RANGE[0]
    if too_sure(highest) >= 0:
        return RANGE[1]
    return float(np.exp(brentq(too_sure, lowest, highest)))
