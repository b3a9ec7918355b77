"""What a sweep chooses by: a figure of the validation set, as 04_evaluate measures it; never of the test set."""

from ser_lib.core.errors import ParameterError
from ser_lib.core.text import quoted
from ser_lib.model.bundle import load_bundle
from ser_lib.params import Params
from ser_lib.scoring import metrics
from ser_lib.store import load_sets

DIRECTIONS = {"uar": "maximize", "accuracy": "maximize", "macro_f1": "maximize", "loss": "minimize"}
"""Figures that may be chosen by, with the way in which they are better."""
SHOWN = {"uar": "UAR", "accuracy": "accuracy", "macro_f1": "macro-F1", "loss": "loss"}
"""What people call them."""


def check_objective(name: str) -> str:
    """The figure that `name` asks for, with or without `validation_` before it.

    Raises
    ------
    ParameterError
        If it is none, or one of the test set.
    """
    figures = ", ".join(DIRECTIONS)
    if "test" in name.lower():
        raise ParameterError(
            f"`--objective` must be a figure of the validation set: {figures}. Got {quoted(name)}: whoever chooses by "
            "the test set has nothing left to measure the choice on."
        )
    figure = name.removeprefix("validation_")
    if figure not in DIRECTIONS:
        raise ParameterError(f"`--objective` must be a figure of the validation set: {figures}. Got {quoted(name)}.")
    return figure


def validation_figures(params: Params) -> dict[str, float]:
    """Figures of the validation set by the model that was kept, to be had before 04_evaluate; and `n_clips`.

    Raises
    ------
    StageError, BundleError
        If what 01_preprocess to 03_train write is missing or does not fit together.
    """
    _, sets = load_sets(params)
    X, y, _ = sets["validation"]
    bundle = load_bundle(params.output_dir)
    found = metrics.evaluate(y.argmax(axis=1), bundle.probabilities(X), emotions=bundle.info.emotions)
    return {name: found[name] for name in ("n_clips", *DIRECTIONS)}
