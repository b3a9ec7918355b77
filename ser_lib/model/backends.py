"""What computes probabilities: ONNX Runtime, which starts at once, or Keras; the output of both is checked."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np

from ser_lib.core.errors import BundleError
from ser_lib.core.onnx_session import open_session
from ser_lib.core.paths import shown
from ser_lib.core.text import printable

Backend = Literal["onnx", "keras"]
_BATCH = 64
"""Clips that ONNX Runtime predicts together, at most."""
Compute = Callable[[np.ndarray], np.ndarray]
"""Probabilities [shape=(n_clips, n_classes)] of features [shape=(n_clips, n_frames, n_features)], both float32."""


def checked(compute: Compute, X: np.ndarray) -> np.ndarray:
    """Probabilities of clips; BundleError if they are none. NaN pass: a model may handle zeros and fail on sound."""
    try:
        given = compute(X)
    except Exception as error:  # each library raises what it likes
        raise BundleError(f"The model cannot predict: {first_line(error)}") from None
    if (given < 0).any() or (np.abs(given.sum(axis=1) - 1) > 0.05).any():
        raise BundleError(
            "A model must give probabilities, which are 1 together for each clip. This one gives other numbers: it is "
            "damaged, or was made for something else."
        )
    return given


def try_model(path: Path, probabilities: Compute, shapes: tuple[tuple, tuple]) -> None:
    """Refuse a model that fails on a clip of zeros or gives no probabilities for it, before any file is opened."""
    try:
        given = probabilities(np.zeros((1, *shapes[0]), dtype=np.float32))
    except Exception as error:  # ONNX Runtime has a class for each kind
        raise BundleError(f"{shown(path)} cannot predict: {first_line(error)}") from None
    right = given.dtype == np.float32 and given.shape == (1, *shapes[1]) and (given >= 0).all()
    if not right or abs(given.sum() - 1) > 0.01:
        raise BundleError(
            f"{shown(path)} must give a probability for each of {shapes[1][0]} emotions. It gives NaN or other "
            f"numbers: it is damaged, or was not trained well."
        )


def first_line(error: Exception) -> str:
    """First line of a library's error, fit for a message."""
    return printable(next(iter(str(error).splitlines()), type(error).__name__))


def load_onnx(path: Path) -> tuple[Compute, tuple[tuple, tuple]]:
    """Return what predicts with an ONNX file, and the shapes of one clip's features and probabilities."""
    from ser_lib.model.onnx_guard import MOST_NUMBERS, count_numbers

    content = path.read_bytes()
    batch = max(1, min(_BATCH, MOST_NUMBERS // max(1, count_numbers(content))))
    session = open_session(content)
    (taken,), (given,) = session.get_inputs(), session.get_outputs()

    def probabilities(X: np.ndarray) -> np.ndarray:
        batches = [session.run([given.name], {taken.name: X[i : i + batch]})[0] for i in range(0, len(X), batch)]
        return np.concatenate(batches)

    return probabilities, (tuple(taken.shape[1:]), tuple(given.shape[1:]))


def load_keras(path: Path) -> tuple[Compute, tuple[tuple, tuple]]:
    """Return what predicts with a Keras file, and the shapes of one clip's features and probabilities."""
    from ser_lib.model.network import load_model, predict_probabilities  # imports TensorFlow, which takes seconds

    model = load_model(path)
    return functools.partial(predict_probabilities, model), (model.input_shape[1:], model.output_shape[1:])
