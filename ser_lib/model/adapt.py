"""Adaptation to a voice: from its clips without labels, and from a few with labels.

Without labels, a voice's mean and standard deviation of each feature are brought to those of the training speakers.
The estimates are shrunk towards theirs by the number of clips. Clips of one emotion make that emotion more usual than
it is, however many they are; but they vary less than clips of all emotions do, and `SHRINK_BY` lets that count, too.
With labels, the last layer is fitted anew to the voice's clips, and kept near what it was. What each brings is in
`docs/prediction.md`.

References
----------
Efron and Morris, "Stein's estimation rule and its competitors: an empirical Bayes approach", Journal of the American
Statistical Association 68(341), 1973 (shrinkage).
Gauvain and Lee, "Maximum a posteriori estimation for multivariate Gaussian mixture observations of Markov chains", IEEE
Transactions on Speech and Audio Processing 2(2), 1994 (speaker adaptation towards a prior).
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, SerializerFunctionWrapHandler, model_serializer

from ser_lib.audio.normalize import Statistics
from ser_lib.core.packed import Numbers, to_numbers
from ser_lib.model.calibration import calibrate, log_probabilities, softmax

FEW_CLIPS = 5
"""Clips of a voice below which their statistics tell little."""
FEWEST_VOICES = 2
"""Training speakers that a population is made of, at least."""
_N_CLIPS = (0, 0, 5, 20, None)
"""Clips of a voice that training pretends to know: one is drawn for each voice and epoch. None: all of them."""
_KNOWN_CLIPS = 20
"""Clips of each voice that `know_some` pretends to know, at most; and at most half of them."""
_PRIOR_CLIPS = 20.0
"""Clips that the training speakers' variance counts as, beside a voice's own."""
_LIMIT = 40
"""What any number of clips counts as less than, where no label tells their emotions."""
_USUAL_SPREAD = 0.8
"""Variance of a voice's clips, as a part of that within voices, below which they are probably of few emotions."""
_LEAST_BETWEEN = 1e-3
"""Least variance between voices, as a fraction of that within them."""
_PENALTY = 0.01
"""Of the squared change of the last layer, in the loss of a clip."""
_DIGITS = 6
"""Of a head's numbers, behind the point."""
_LEAST_WITHIN = 1e-12
"""Least variance within voices."""
ShrinkBy = Literal["clips", "clips_and_spread"]
"""What clips whose emotions no label tells are trusted by: their number, or also how much they vary."""
Moments = tuple[np.ndarray, np.ndarray, int]
"""Mean and variance of each feature over clips of a voice, both [shape=(n_features,)], and how many clips they are."""


class Population(BaseModel):
    """What the training speakers' voices are like, for each feature."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    mean: Numbers
    """Mean of the voices' means."""
    within: Numbers
    """Standard deviation of a voice's clips."""
    between: Numbers
    """Standard deviation of the voices' means."""
    shrink_by: ShrinkBy = "clips"
    """What a new voice's clips are trusted by."""

    @model_serializer(mode="wrap")
    def _without_what_is_not_used(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out what came later where there is none of it: such a bundle reads as it always did."""
        return {name: value for name, value in dump(self).items() if name != "shrink_by" or value != "clips"}

    @functools.cached_property
    def arrays(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """`mean`, `within` and `between`, each [shape=(n_features,)]."""
        return np.array(self.mean), np.array(self.within), np.array(self.between)


def _fit_population(moments: Sequence[Moments], shrink_by: ShrinkBy) -> Population:
    """What voices of these moments are like; each counts equally."""
    means, variances, n_clips = (np.array(one) for one in zip(*moments, strict=True))
    within = np.maximum(variances.mean(axis=0), _LEAST_WITHIN)
    by_chance = (variances / n_clips[:, np.newaxis]).mean(axis=0)
    between = np.maximum(means.var(axis=0, ddof=1) - by_chance, _LEAST_BETWEEN * within)
    mean, within, between = map(to_numbers, (means.mean(axis=0), np.sqrt(within), np.sqrt(between)))
    return Population(mean=mean, within=within, between=between, shrink_by=shrink_by)


def estimate_voice(X: np.ndarray, population: Population, *, are_mixed: bool = False) -> Statistics:
    """Statistics of a voice from features [shape=(n_clips, n_features)] of some of its clips.

    They are shrunk towards the population's: the mean by the ratio of the variance between voices to that of a mean of
    so many clips, the variance as if the population's had been seen in 20 clips more. Unless labels tell that the clips
    `are_mixed`, they may be of a few emotions alone, and their mean is off by `_one_sidedness` besides.
    """
    mean, std = _estimate(_measure(X), population, are_mixed=are_mixed)
    return Statistics(mean=to_numbers(mean), std=to_numbers(std))


def _measure(X: np.ndarray) -> Moments:
    return X.mean(axis=0, dtype=np.float64), X.var(axis=0, dtype=np.float64), len(X)


def _estimate(moments: Moments, population: Population, *, are_mixed: bool) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of `estimate_voice`, both [shape=(n_features,)]."""
    of_clips, variance, n_clips = moments
    mean, within, between = population.arrays
    of_mean = within**2 / n_clips
    if population.shrink_by == "clips_and_spread" and not are_mixed:
        of_mean += within**2 * _one_sidedness(moments, within)
    trust = between**2 / (between**2 + of_mean)
    variance = (n_clips * variance + _PRIOR_CLIPS * within**2) / (n_clips + _PRIOR_CLIPS)
    return mean + trust * (of_clips - mean), np.sqrt(variance)


def _one_sidedness(moments: Moments, within: np.ndarray) -> float:
    """Variance of clips' mean, as a part of that within voices, that comes from not knowing their emotions.

    It is 1/40, so that any number of clips counts as less than 40, and what their own variance falls short of 0.8 by.
    """
    _, variance, n_clips = moments
    spread = (variance / within**2).mean() * n_clips / (n_clips - 1) if n_clips > 1 else _USUAL_SPREAD
    return 1 / _LIMIT + max(0.0, _USUAL_SPREAD - spread)


def to_population(X: np.ndarray, voice: Statistics, population: Population) -> np.ndarray:
    """Features [shape=(..., n_features)], float32, of a voice, on the scale of the training speakers."""
    return _rescale(X, np.array(voice.mean), np.array(voice.std), population)


def _rescale(X: np.ndarray, voice_mean: np.ndarray, voice_std: np.ndarray, population: Population) -> np.ndarray:
    mean, within, _ = population.arrays
    scale = within / voice_std
    shift = mean - voice_mean * scale
    return X * scale.astype(np.float32) + shift.astype(np.float32)


class TrainingVoices:
    """Training clips by voice.

    Parameters
    ----------
    X : np.ndarray [shape=(n_clips, n_features)]
    speakers : np.ndarray [shape=(n_clips,)]
    shrink_by : ShrinkBy
        That of the population. What training itself draws is trusted by its number: it is of all of a voice's emotions.

    Attributes
    ----------
    population : Population
        What the voices are like; each counts equally.
    """

    def __init__(self, X: np.ndarray, speakers: np.ndarray, shrink_by: ShrinkBy = "clips") -> None:
        self._rows = [np.flatnonzero(speakers == speaker) for speaker in np.unique(speakers)]
        self.population = _fit_population([_measure(X[rows]) for rows in self._rows], shrink_by)

    def vary_knowledge(self, X: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Features [shape=(n_clips, n_features)], as they would be with some clips of each voice known.

        For each voice it is drawn how many those are (none, 5, 20 or all), and which. A model that learns from this can
        be asked with and without an adaptation. `X`, of the same shape, are the clips as this epoch hears them.
        """
        varied = X.copy()
        for rows in self._rows:
            n_clips = _N_CLIPS[rng.integers(len(_N_CLIPS))]
            if n_clips != 0:
                known = rng.choice(rows, min(n_clips or len(rows), len(rows)), replace=False)
                moments = _measure(X[known if len(known) < len(rows) else rows])  # of all, sums in the clips' order
                varied[rows] = _rescale(X[rows], *_estimate(moments, self.population, are_mixed=True), self.population)
        return varied


def know_some(
    X: np.ndarray, speakers: np.ndarray, population: Population, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Clips of each voice, brought to the population's scale by twenty others of the same voice.

    Parameters
    ----------
    X : np.ndarray [shape=(n_clips, n_features)]
    speakers : np.ndarray [shape=(n_clips,)]
    population : Population
    rng : np.random.Generator
        Draws the twenty.

    Returns
    -------
    rows : np.ndarray [shape=(n,)]
        Of the clips that are not drawn.
    scaled : np.ndarray [shape=(n, n_features)]
    """
    rows, scaled = [np.empty(0, dtype=int)], [X[:0]]
    for speaker in np.unique(speakers):
        order = rng.permutation(np.flatnonzero(speakers == speaker))
        known, rest = np.split(order, [min(_KNOWN_CLIPS, len(order) // 2)])
        if len(known):
            rows.append(rest)
            voice = _estimate(_measure(X[known]), population, are_mixed=False)  # as of a new voice, without labels
            scaled.append(_rescale(X[rest], *voice, population))
    return np.concatenate(rows), np.concatenate(scaled)


class Head(BaseModel):
    """What is added to a model's log-probabilities for one voice."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    weights: list[list[float]] = Field(repr=False)
    """A row for each feature, in standard deviations, and a column for each emotion."""
    bias: list[float]
    temperature: float = Field(1.0, gt=0)
    """By which the model's log-probabilities are multiplied first."""
    emotions: list[int] | None = None
    """Indices of the emotions that it tells apart; how probable the others are is the model's. None: all of them."""


def fit_head(
    probabilities: np.ndarray,
    X: np.ndarray,
    labels: np.ndarray,
    population: Population,
    temperature: float = 1.0,
    *,
    emotions: list[int] | None = None,
) -> Head:
    """Fit the last layer to labelled clips of a voice: logistic regression that begins at the model's answers.

    What is minimised is the cross-entropy of the clips and, for each, a hundredth of the squared change of the weights.
    A model's temperature makes it as modest as it must be about voices of which it knows nothing, so it is taken back
    first: about this one the clips tell how sure it may be.

    Parameters
    ----------
    probabilities : np.ndarray [shape=(n_clips, n_classes)]
        The model's.
    X : np.ndarray [shape=(n_clips, n_features)]
        On the scale of the training speakers.
    labels : np.ndarray [shape=(n_clips,)]
    population : Population
    temperature : float
        The model's.
    emotions : list of int or None
        Those that the head tells apart, all labels among them; None: all, so that what no clip has is hardly answered.
    """
    from scipy.optimize import minimize  # a prediction needs neither, and they take half a second
    from scipy.special import log_softmax

    Z = _standardize(X, population)
    n_classes = probabilities.shape[1]
    told = np.arange(n_classes) if emotions is None else np.array(emotions)
    before = log_probabilities(probabilities)[:, told] * temperature
    targets = (labels[:, np.newaxis] == told).astype(float)
    gram = Z @ Z.T  # the change of the weights is a sum of the clips, Z.T @ shares

    def loss(values: np.ndarray) -> tuple[float, np.ndarray]:
        shares, bias = np.split(values.reshape(-1, before.shape[1]), [len(Z)])
        logits = before + gram @ shares + bias
        error = softmax(logits) - targets
        penalty = (shares * (gram @ shares)).sum() + (bias**2).sum()
        slope = np.concatenate([gram @ (error + _PENALTY * shares), error.sum(axis=0, keepdims=True) + _PENALTY * bias])
        return float(-(targets * log_softmax(logits, axis=1)).sum() + _PENALTY / 2 * penalty), slope.ravel()

    found = minimize(loss, np.zeros((len(Z) + 1) * before.shape[1]), jac=True, method="L-BFGS-B")
    shares, bias = np.split(found.x.reshape(-1, before.shape[1]), [len(Z)])
    weights = np.zeros((X.shape[1] + 1, n_classes))
    weights[:, told] = np.concatenate([Z.T @ shares, bias]).round(_DIGITS)
    return Head(weights=weights[:-1].tolist(), bias=weights[-1].tolist(), temperature=temperature, emotions=emotions)


def with_head(
    probabilities: Callable[[np.ndarray], np.ndarray], head: Head, population: Population
) -> Callable[[np.ndarray], np.ndarray]:
    """Probabilities [shape=(n_clips, n_classes)] of features [shape=(n_clips, 1, n_features)], with a voice's head."""
    weights, bias = np.array(head.weights), np.array(head.bias)

    def adapted(X: np.ndarray) -> np.ndarray:
        before = log_probabilities(probabilities(X)) * head.temperature
        after = before + _standardize(X[:, 0], population) @ weights + bias
        if head.emotions is None:
            return softmax(after).astype(np.float32)
        mixed = softmax(before)
        mixed[:, head.emotions] = mixed[:, head.emotions].sum(axis=1, keepdims=True) * softmax(after[:, head.emotions])
        return calibrate(mixed, head.temperature).astype(np.float32)  # of the others no clip tells how sure it may be

    return adapted


def _standardize(X: np.ndarray, population: Population) -> np.ndarray:
    """Features in standard deviations, divided by the root of their number, so that a clip's norm is about 1."""
    mean, within, _ = population.arrays
    return (X - mean) / within / np.sqrt(X.shape[1])
