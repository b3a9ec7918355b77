"""The Keras model. All that is specific to TensorFlow stands in this module."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np


@contextmanager
def _without_native_notes() -> Iterator[None]:
    """Keep what native code writes to standard error to itself: TensorFlow reports missing GPUs on import."""
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


with _without_native_notes():
    import keras
    import tensorflow as tf
    from keras import layers

from ser_lib.params import Params

tf.get_logger().setLevel("ERROR")


def set_seed(seed: int) -> None:
    """Seed Python, numpy and TensorFlow and make TensorFlow's operations deterministic."""
    keras.utils.set_random_seed(seed)
    tf.config.experimental.enable_op_determinism()


def feature_statistics(X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each feature over all clips and frames.

    Parameters
    ----------
    X : np.ndarray [shape=(n_clips, n_frames, n_features)]

    Returns
    -------
    mean, deviation : np.ndarray [shape=(n_features,)]
        A constant feature has the deviation 1.
    """
    frames = X.reshape(-1, X.shape[-1]).astype(np.float64)
    deviation = frames.std(axis=0)
    return frames.mean(axis=0), np.where(deviation > 0, deviation, 1.0)


def build_model(X_train: np.ndarray, n_classes: int, params: Params) -> keras.Model:
    """Build and compile the bidirectional LSTM.

    Standardisation is a layer of the model, fitted on the training set alone. It is a `Rescaling` layer
    because a `Normalization` layer exports to an ONNX graph that does not run.

    Parameters
    ----------
    X_train : np.ndarray [shape=(n_clips, n_frames, n_features)]
    n_classes : int
    params : Params
        `STANDARDIZE`, `LSTM_UNITS`, `DENSE_UNITS`, `DROPOUT_RATE` and `LEARNING_RATE`.
    """
    model = keras.Sequential(name="ser_bilstm")
    model.add(keras.Input(shape=X_train.shape[1:], name="features"))
    if params.STANDARDIZE:
        mean, deviation = feature_statistics(X_train)
        rescaling = layers.Rescaling((1 / deviation).tolist(), offset=(-mean / deviation).tolist(), name="standardize")
        model.add(rescaling)
    model.add(layers.Bidirectional(layers.LSTM(params.LSTM_UNITS, return_sequences=True)))
    model.add(layers.Dropout(params.DROPOUT_RATE))
    model.add(layers.Bidirectional(layers.LSTM(params.LSTM_UNITS)))
    model.add(layers.Dropout(params.DROPOUT_RATE))
    model.add(layers.Dense(params.DENSE_UNITS, activation="relu"))
    model.add(layers.Dropout(params.DROPOUT_RATE))
    model.add(layers.Dense(n_classes, activation="softmax"))
    model.compile(
        optimizer=keras.optimizers.Adam(params.LEARNING_RATE),
        loss="categorical_crossentropy",
        metrics=["accuracy"],
    )
    return model


def load_model(path: str | os.PathLike) -> keras.Model:
    """Load a `.keras` file to predict with, in safe mode: no code in it is run."""
    return keras.saving.load_model(path, compile=False, safe_mode=True)


def predict_probabilities(model: keras.Model, X: np.ndarray) -> np.ndarray:
    """Probabilities [shape=(n_clips, n_classes)] for features [shape=(n_clips, n_frames, n_features)]."""
    return model.predict(X, batch_size=64, verbose=0)
