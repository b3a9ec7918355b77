"""The Keras model. All that is specific to TensorFlow stands in this module."""

import inspect
import json
import os
import re
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from ser_lib.core.extras import name_extras


@contextmanager
def _without_native_notes() -> Iterator[None]:
    """Hide what native code writes to standard error: TensorFlow reports missing GPUs on import."""
    try:
        kept = os.dup(2)
    except (AttributeError, OSError):  # a system without it, or a process without standard error
        kept = None
    if kept is None:
        yield
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


with name_extras(), _without_native_notes():
    import keras
    import tensorflow as tf
    from keras import layers

from ser_lib.params import Params

tf.get_logger().setLevel("ERROR")
_CNN_BLOCKS = {
    "cnn": [(n_filters, (3, 3), (1, 1), (2, 2)) for n_filters in (24, 48, 96, 128)],
    "cnn_large": [
        (32, (5, 7), (2, 4), (1, 1)),
        (64, (3, 3), (1, 1), (2, 2)),
        (128, (3, 3), (1, 1), (2, 2)),
        (192, (3, 3), (1, 1), (1, 2)),
    ],
}
"""`MODEL` → of each block of a convolutional network the filters, their size and step, and how many values are pooled,
over frames and bands. The large one is made for finer features, and so takes long steps first."""
_CNN_DROPOUT = 0.1
"""After each block."""
_SMALLEST_VARIANCE = 1e-12
"""Added to the variance of each number of an embedding."""
_RISING = 0.3
"""Fraction of the steps in which the rate of a one-cycle schedule rises."""


def set_seed(seed: int) -> None:
    """Seed Python, numpy and TensorFlow and make TensorFlow's operations deterministic."""
    keras.utils.set_random_seed(seed)
    tf.config.experimental.enable_op_determinism()


def feature_statistics(X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation [shape=(n_features,)] over all clips and frames; of a constant feature, 1.

    `X` has the shape (n_clips, n_frames, n_features).
    """
    frames = X.reshape(-1, X.shape[-1]).astype(np.float64)
    std = frames.std(axis=0)
    return frames.mean(axis=0), np.where(std > 0, std, 1.0)


def build_model(
    X_train: np.ndarray,
    n_classes: int,
    params: Params,
    *,
    n_steps: int = 1,
    own_layers: Sequence[keras.Layer] | None = None,
) -> keras.Model:
    """Build and compile the model that `MODEL`, `POOLING` and the other parameters ask for.

    Standardisation is a layer of the model, fitted on the training set alone: a `Rescaling` layer, because a
    `Normalization` layer exports to an ONNX graph that does not run; for an embedding, whose thousands of numbers it
    would write out as text, a batch normalisation that is never trained. Layers and optimizer have explicit names,
    since Keras's depend on what else the process has built, and they are in the saved files.

    Parameters
    ----------
    X_train : np.ndarray [shape=(n_clips, n_frames, n_features)]
    n_classes : int
    params : Params
    n_steps : int
        Number of training steps, for `SCHEDULE: one_cycle`.
    own_layers : sequence of keras.Layer, optional
        What stands between features and emotions in place of what `MODEL` asks for; the model has copies of them.
    """
    model = keras.Sequential(name="ser_own" if own_layers is not None else f"ser_{params.MODEL}")
    model.add(keras.Input(shape=X_train.shape[1:], name="features"))
    if params.STANDARDIZE:
        _add_standardization(model, *feature_statistics(X_train), as_weights=params.MODEL == "linear")
    if own_layers is None:
        _ADDING[params.MODEL](model, params)
    else:
        _add_own(model, own_layers)
    model.add(layers.Dense(n_classes, activation="softmax", name="emotions"))
    smoothed = keras.losses.CategoricalCrossentropy(label_smoothing=params.LABEL_SMOOTHING)
    model.compile(
        optimizer=_optimizer(params, n_steps),
        loss=smoothed if params.LABEL_SMOOTHING else "categorical_crossentropy",
        metrics=["accuracy"],
    )
    return model


def _add_standardization(model: keras.Sequential, mean: np.ndarray, std: np.ndarray, *, as_weights: bool) -> None:
    """A layer that takes the mean off each feature and divides by its deviation, both [shape=(n_features,)]."""
    if not as_weights:
        model.add(layers.Rescaling((1 / std).tolist(), offset=(-mean / std).tolist(), name="standardize"))
        return
    frozen = layers.BatchNormalization(
        center=False, scale=False, epsilon=_SMALLEST_VARIANCE, trainable=False, name="standardize"
    )
    model.add(frozen)
    frozen.set_weights([mean, np.square(std)])


def _add_linear(model: keras.Sequential, params: Params) -> None:
    """Nothing but dropout before the layer of the emotions."""
    model.add(layers.Flatten(name="flatten"))
    model.add(layers.Dropout(params.DROPOUT_RATE, name="dropout"))


def _add_bilstm(model: keras.Sequential, params: Params) -> None:
    """Two bidirectional LSTM layers, pooled over time, and a dense layer."""
    for number in (1, 2):
        whole = number == 1 or params.POOLING != "last"
        lstm = layers.LSTM(params.LSTM_UNITS, return_sequences=whole, name="lstm")
        model.add(layers.Bidirectional(lstm, name=f"bilstm_{number}"))
        model.add(layers.Dropout(params.DROPOUT_RATE, name=f"dropout_{number}"))
    if params.POOLING != "last":
        model.add(_pooling(model.output_shape[1:], params.POOLING))
    model.add(layers.Dense(params.DENSE_UNITS, activation="relu", name="dense"))
    model.add(layers.Dropout(params.DROPOUT_RATE, name="dropout_3"))


def _add_cnn(model: keras.Sequential, params: Params) -> None:
    """Four blocks of convolution over time and frequency, the mean over frequency, pooled over time."""
    model.add(layers.Reshape((*model.output_shape[1:], 1), name="image"))
    for number, (n_filters, size, step, pool) in enumerate(_CNN_BLOCKS[params.MODEL], start=1):
        name = f"convolution_{number}"
        model.add(layers.Conv2D(n_filters, size, strides=step, padding="same", use_bias=False, name=name))
        if pool != (1, 1):
            model.add(layers.MaxPooling2D(pool, name=f"pool_{number}"))  # early, for a quarter of the work after it
        model.add(layers.BatchNormalization(name=f"batch_norm_{number}"))
        model.add(layers.ReLU(name=f"relu_{number}"))
        model.add(layers.Dropout(_CNN_DROPOUT, name=f"dropout_{number}"))
    _, frames, bands, n_filters = model.output_shape
    model.add(layers.AveragePooling2D((1, bands), name="mean_over_frequency"))
    model.add(layers.Reshape((frames, n_filters), name="frames"))
    model.add(_pooling((frames, n_filters), params.POOLING))
    model.add(layers.Dropout(params.DROPOUT_RATE, name="dropout_5"))


_ADDING = {"bilstm": _add_bilstm, "cnn": _add_cnn, "cnn_large": _add_cnn, "linear": _add_linear}
"""`MODEL` → what adds its layers."""


def _add_own(model: keras.Sequential, own_layers: Sequence[keras.Layer]) -> None:
    """Copies of layers, since a layer belongs to one model, by names that do not depend on what was built before."""
    for number, layer in enumerate(own_layers, start=1):
        model.add(type(layer).from_config(layer.get_config() | {"name": f"own_{number}"}))


def show_layers(params: Params) -> str:
    """Source of the function that adds the layers which `MODEL` asks for, and of the pooling that it uses."""
    pools = params.MODEL in _CNN_BLOCKS or (params.MODEL == "bilstm" and params.POOLING != "last")
    return inspect.getsource(_ADDING[params.MODEL]) + (f"\n\n{inspect.getsource(_pooling)}" if pools else "")


def _pooling(shape: tuple[int, int], pooling: str) -> keras.Model:
    """One vector per clip from frames of `shape` (n_frames, n): mean and maximum, or a weighted mean."""
    frames = keras.Input(shape=shape, name="frames")
    if pooling == "mean_max":
        ways = [layers.GlobalAveragePooling1D(name="mean")(frames), layers.GlobalMaxPooling1D(name="max")(frames)]
        return keras.Model(frames, layers.Concatenate(name="concatenate")(ways), name="mean_max")
    weights = layers.Softmax(axis=1, name="weights")(layers.Dense(1, name="score")(frames))
    mean = layers.Flatten(name="flatten")(layers.Dot(axes=1, name="weigh")([weights, frames]))
    return keras.Model(frames, mean, name="attention")


def average_layers(model: keras.Model, others: Sequence[keras.Model]) -> None:
    """Give a model of one layer the mean of its logits and others': as their layers are linear, it is one layer, too.

    All are models of `MODEL: linear`, each with its own standardisation. Their softmax is taken of the mean.
    """
    layers_of_all = [_of_features(one) for one in (model, *others)]
    weights, bias = (np.mean(parts, axis=0) for parts in zip(*layers_of_all, strict=True))
    offset, scale = _standardization(model)
    model.get_layer("emotions").set_weights([weights / scale[:, np.newaxis], bias + offset @ weights])


def _of_features(model: keras.Model) -> tuple[np.ndarray, np.ndarray]:
    """Weights [shape=(n_features, n_classes)] and bias of the last layer, as if features were not standardised."""
    weights, bias = (part.astype(np.float64) for part in model.get_layer("emotions").get_weights())
    offset, scale = _standardization(model)
    weights *= scale[:, np.newaxis]
    return weights, bias - offset @ weights


def _standardization(model: keras.Model) -> tuple[np.ndarray, np.ndarray]:
    """What is taken off each feature, and what it is multiplied by then, both [shape=(n_features,)]."""
    first = model.layers[0]
    if first.name != "standardize":
        n_features = model.input_shape[-1]
        return np.zeros(n_features), np.ones(n_features)
    mean, variance = (part.astype(np.float64) for part in first.get_weights())
    return mean, 1 / np.sqrt(variance + _SMALLEST_VARIANCE)


def _optimizer(params: Params, n_steps: int) -> keras.optimizers.Optimizer:
    """Adam, or AdamW with weight decay; at a constant rate, or one cycle."""
    rate = params.LEARNING_RATE
    if params.SCHEDULE == "one_cycle":
        rising = max(1, int(_RISING * n_steps))
        rate = keras.optimizers.schedules.CosineDecay(
            rate / 25, max(1, n_steps - rising), warmup_target=rate, warmup_steps=rising, name="one_cycle"
        )
    if params.WEIGHT_DECAY:
        return keras.optimizers.AdamW(rate, weight_decay=params.WEIGHT_DECAY, name="adamw")
    return keras.optimizers.Adam(rate, name="adam")


def model_parts(model: keras.Model) -> dict[str, bytes]:
    """Parts of the model's `.keras` archive by name, without the optimizer: the same bytes for the same model.

    Keras writes the time of saving, which is left out, and memory addresses as `shared_object_id`, which become 0, 1, 2
    and so on.
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
    """Load a `.keras` file for prediction, in safe mode: no code in it is run."""
    return keras.saving.load_model(path, compile=False, safe_mode=True)


def predict_probabilities(model: keras.Model, X: np.ndarray) -> np.ndarray:
    """Probabilities [shape=(n_clips, n_classes)] for features [shape=(n_clips, n_frames, n_features)]."""
    return model.predict(X, batch_size=64, verbose=0)
