"""Calibrated probabilities: one temperature per model, fitted on the validation set.

References
----------
Guo, Pleiss, Sun and Weinberger, "On calibration of modern neural networks", ICML 2017 (temperature scaling).
Platt, "Probabilistic outputs for support vector machines and comparisons to regularized likelihood methods", 1999
(targets short of certainty: without them a validation set with no mistakes asks for a temperature of zero).
"""

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import softmax

_SMALLEST = 1e-12
"""Probability below which one counts as this much."""
RANGE = (0.05, 20.0)
"""Temperatures that are looked among."""


def calibrate(probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """Probabilities [shape=(n, n_classes)] at a temperature: above 1 they are less certain, below 1 more."""
    logits = np.log(np.maximum(probabilities.astype(np.float64), _SMALLEST)) / temperature
    return softmax(logits, axis=1).astype(probabilities.dtype)


def fit_temperature(labels: np.ndarray, probabilities: np.ndarray) -> float:
    """Temperature with the smallest cross-entropy of `labels` [shape=(n,)], each (n + 1) / (n + 2) certain.

    `probabilities` have the shape (n, n_classes).
    """
    n, n_classes = probabilities.shape
    targets = np.full((n, n_classes), 1 / (n + 2) / (n_classes - 1))
    targets[np.arange(n), labels] = (n + 1) / (n + 2)
    logits = np.log(np.maximum(probabilities.astype(np.float64), _SMALLEST))

    def cross_entropy(log_temperature: float) -> float:
        scaled = logits / np.exp(log_temperature)
        return float((targets * (np.logaddexp.reduce(scaled, axis=1, keepdims=True) - scaled)).sum())

    found = minimize_scalar(cross_entropy, bounds=np.log(RANGE), method="bounded")
    return float(np.exp(found.x))
