"""The Keras model. All that is specific to TensorFlow stands in this module."""

import json
import os
import re
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

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
    because a `Normalization` layer exports to an ONNX graph that does not run. Layers have names of their own:
    Keras's depend on what else the process has built, and they are in the saved files. So has the optimizer.

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
    model.add(layers.Bidirectional(layers.LSTM(params.LSTM_UNITS, return_sequences=True, name="lstm"), name="bilstm_1"))
    model.add(layers.Dropout(params.DROPOUT_RATE, name="dropout_1"))
    model.add(layers.Bidirectional(layers.LSTM(params.LSTM_UNITS, name="lstm"), name="bilstm_2"))
    model.add(layers.Dropout(params.DROPOUT_RATE, name="dropout_2"))
    model.add(layers.Dense(params.DENSE_UNITS, activation="relu", name="dense"))
    model.add(layers.Dropout(params.DROPOUT_RATE, name="dropout_3"))
    model.add(layers.Dense(n_classes, activation="softmax", name="emotions"))
    model.compile(
        optimizer=keras.optimizers.Adam(params.LEARNING_RATE, name="adam"),
        loss="categorical_crossentropy",
        metrics=["accuracy"],
    )
    return model


def model_parts(model: keras.Model) -> dict[str, bytes]:
    """Parts of the model's `.keras` archive by name, without the optimizer: the same bytes for the same model.

    Left out or replaced is what Keras writes anew each time: the time of saving, and memory addresses as
    `shared_object_id`, which become 0, 1, 2 and so on.
    """
    with tempfile.TemporaryDirectory() as folder:  # the HDF5 library ends the process where the disk is full
        path = Path(folder) / "model.keras"
        model.save(path, include_optimizer=False)
        with zipfile.ZipFile(path) as archive:
            parts = {name: archive.read(name) for name in archive.namelist()}
    numbers: dict[bytes, int] = {}
    parts["config.json"] = re.sub(
        rb'(?<="shared_object_id": )\d+',
        lambda match: str(numbers.setdefault(match[0], len(numbers))).encode(),
        parts["config.json"],
    )
    parts["metadata.json"] = json.dumps({"keras_version": keras.__version__}).encode()
    return parts


def save_model(model: keras.Model, path: Path) -> None:
    """Write a `.keras` file to predict with: the same bytes for the same model."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, part in model_parts(model).items():
            archive.writestr(zipfile.ZipInfo(name), part)  # dated 1980, as zip files begin


def load_model(path: str | os.PathLike) -> keras.Model:
    """Load a `.keras` file to predict with, in safe mode: no code in it is run."""
    return keras.saving.load_model(path, compile=False, safe_mode=True)


def predict_probabilities(model: keras.Model, X: np.ndarray) -> np.ndarray:
    """Probabilities [shape=(n_clips, n_classes)] for features [shape=(n_clips, n_frames, n_features)]."""
    return model.predict(X, batch_size=64, verbose=0)
