"""Training and validation set → the best model. The work behind 03_train."""

import contextlib
import json
import tempfile
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ser_lib.audio.normalize import Statistics
from ser_lib.core.errors import SerError, StageError
from ser_lib.core.io import whole_file, write_json, write_text
from ser_lib.core.progress import progress_bar
from ser_lib.model.augment import augment
from ser_lib.model.backends import load_onnx
from ser_lib.model.bundle import save_bundle
from ser_lib.model.calibration import fit_temperature
from ser_lib.model.network import (
    build_model,
    keras,
    load_model,
    model_parts,
    predict_probabilities,
    save_model,
    set_seed,
)
from ser_lib.model.onnx import export_onnx
from ser_lib.params import Params
from ser_lib.store import ProcessedData, keep_params, load_sets, load_split

if TYPE_CHECKING:
    import pandas as pd

_LARGEST_DIFFERENCE = 1e-4
"""Between probabilities by ONNX Runtime and by Keras."""


def train_model(params: Params) -> tuple[keras.Model, dict[str, list[float]]]:
    """Train on the training set, watching the validation set, and save everything into `OUTPUT_DIR`.

    Writes the best model by validation accuracy (`MODEL_WEIGHTS_FILE`, and for prediction `MODEL_ONNX_FILE`), the
    final model, which has the weights that early stopping restored (`MODEL_JSON_FILE`, `MODEL_H5_FILE`),
    `history.json` and the bundle.

    Returns
    -------
    model : keras.Model
        The final model.
    history : dict
        Loss, accuracy and learning rate of each epoch.

    Raises
    ------
    StageError
        If an earlier notebook's files are missing, or the network cannot be exported, or ONNX Runtime does not compute
        what Keras computes; both is tried before training, too.

    Examples
    --------
    Of what `ser_lib.preprocess_data` and `ser_lib.split.split_data` made:

    >>> from ser_lib import load_params
    >>> from ser_lib.train import train_model
    >>> params = load_params("params/demo.yaml", overrides=["OUTPUT_DIR=artifacts/example", "EPOCHS=1"])
    >>> model, history = train_model(params)  # doctest: +ELLIPSIS
    ONNX Runtime and Keras agree on the features of ... test clips within ...
    >>> len(history["val_accuracy"])
    1
    """
    params.check_model()
    data, sets = load_sets(params)
    X_train, y_train, learnt = sets["train"]
    X_validation, y_validation, _ = sets["validation"]
    _try_export(X_train, y_train.shape[1], params)
    set_seed(params.SEED)
    weights = balance(learnt) if params.BALANCE else None
    batches = Batches(X_train, y_train, params, decibel=one_decibel(data.speakers), weights=weights)
    model = build_model(X_train, y_train.shape[1], params, n_steps=params.EPOCHS * len(batches))
    _make_variables(model, y_validation[:1])
    folder = params.output_dir
    with whole_file(folder / params.MODEL_WEIGHTS_FILE) as best, _EpochBar(params.EPOCHS) as epoch_bar:
        fitted = model.fit(
            batches,
            validation_data=(X_validation, y_validation),
            validation_batch_size=64,
            epochs=params.EPOCHS,
            callbacks=[*make_callbacks(best, params), epoch_bar],
            verbose=0,
        )
        best_model = load_model(best)
        save_model(best_model, best)
    with whole_file(folder / params.MODEL_ONNX_FILE) as partial:
        export_onnx(best_model, partial)
        difference = _difference(best_model, partial, sets["test"][0])
    print(f"ONNX Runtime and Keras agree on the features of {len(sets['test'][0])} test clips within {difference:.0e}.")
    history = {name: [float(value) for value in values] for name, values in fitted.history.items()}
    temperature = fit_temperature(y_validation.argmax(axis=1), predict_probabilities(best_model, X_validation))
    _save(model, history, data, params)
    save_bundle(data, load_split(params, data.clips), params, temperature=temperature)
    keep_params("03_train", params)
    return model, history


def _make_variables(model: keras.Model, y: np.ndarray) -> None:
    """Make the variables of optimizer and metrics; a first step of training that makes them is built twice."""
    model.optimizer.build(model.trainable_variables)
    model.compute_metrics(None, y, y)
    model.reset_metrics()


class Batches(keras.utils.PyDataset):
    """Training clips in batches, in another order and varied anew by `AUGMENT` in each epoch.

    With `weights` [shape=(n_clips,)], each batch has those of its clips, too.
    """

    def __init__(
        self,
        X: np.ndarray,
        y: np.ndarray,
        params: Params,
        *,
        decibel: float = 1.0,
        weights: np.ndarray | None = None,
    ) -> None:
        super().__init__()
        self._weights = weights
        self._X, self._y, self._size, self._names = X, y, params.BATCH_SIZE, params.AUGMENT
        self._decibel = decibel
        self._rng = np.random.default_rng(params.SEED)
        self.on_epoch_end()

    def __len__(self) -> int:
        """Return the number of batches in an epoch."""
        return -(-len(self._X) // self._size)

    def __getitem__(self, number: int) -> tuple[np.ndarray, ...]:
        """Features and one-hot labels of a batch; the same ones however often and in whatever order they are asked."""
        rows = self._order[number * self._size : (number + 1) * self._size]
        X = self._X[rows]
        if self._names:
            X = augment(X, self._names, np.random.default_rng([self._epoch, number]), decibel=self._decibel)
        return (X, self._y[rows]) if self._weights is None else (X, self._y[rows], self._weights[rows])

    def on_epoch_end(self) -> None:
        """Shuffle the clips, and choose the variations of the next epoch."""
        self._order = self._rng.permutation(len(self._X))
        self._epoch = int(self._rng.integers(2**32))


def balance(clips: "pd.DataFrame") -> np.ndarray:
    """Weights [shape=(n_clips,)], float32, with the mean 1, by which no emotion and no corpus drowns the others.

    In each corpus of `clips` (with corpus and emotion) the emotions have the same sum of weights; the corpora have sums
    in the ratio of the square roots of their numbers of clips.
    """
    clips_of = clips.groupby("corpus")["emotion"]
    of_emotion = clips.groupby(["corpus", "emotion"])["emotion"].transform("size")
    weights = np.sqrt(clips_of.transform("size")) / clips_of.transform("nunique") / of_emotion
    return (weights / weights.mean()).to_numpy(dtype=np.float32)


def one_decibel(speakers: Mapping[str, Statistics]) -> float:
    """What a dB of log-mel is after the speakers' features were normalised, on average; 1 if they were not."""
    return 1 / float(np.mean([one.std for one in speakers.values()])) if speakers else 1.0


def make_callbacks(best: str | Path, params: Params) -> list[keras.callbacks.Callback]:
    """Callbacks that decide which epoch is saved, how the rate changes and when training stops, by `SCHEDULE`.

    `plateau`: checkpoint and learning rate by validation accuracy, early stopping by validation loss. `one_cycle`:
    the last epoch, since the rate is planned to its end; each epoch's rate is noted.
    """
    if params.SCHEDULE == "one_cycle":
        return [keras.callbacks.ModelCheckpoint(str(best)), _NoteRate()]
    return [
        keras.callbacks.ModelCheckpoint(str(best), monitor="val_accuracy", mode="max", save_best_only=True),
        keras.callbacks.ReduceLROnPlateau(
            monitor="val_accuracy", mode="max", factor=params.REDUCE_LR_FACTOR, patience=params.REDUCE_LR_PATIENCE
        ),
        keras.callbacks.EarlyStopping(
            monitor="val_loss", patience=params.EARLY_STOPPING_PATIENCE, restore_best_weights=True
        ),
    ]


class _NoteRate(keras.callbacks.Callback):
    """Adds the learning rate to the history, as the callback that lowers it does elsewhere."""

    def on_epoch_end(self, epoch: int, logs: dict) -> None:
        """Note the rate at the end of the epoch."""
        logs["learning_rate"] = float(self.model.optimizer.learning_rate)


def best_epoch(history: dict[str, list[float]], params: Params) -> int:
    """Number of the epoch, counted from 1, whose model was kept: that with the best validation accuracy, or the last.

    `SCHEDULE` decides which: `plateau` keeps the first of the best, `one_cycle` the last.
    """
    if params.SCHEDULE == "one_cycle":
        return len(history["loss"])
    return int(np.argmax(history["val_accuracy"])) + 1


def _try_export(X: np.ndarray, n_classes: int, params: Params) -> None:
    """Export the network as it is before training: what cannot be exported need not be trained for hours."""
    model = build_model(X, n_classes, params)
    with (
        contextlib.suppress(OSError),
        tempfile.TemporaryDirectory() as folder,
    ):  # a full disk is reported where it matters
        try:
            export_onnx(model, Path(folder) / "untrained.onnx")
            _difference(model, Path(folder) / "untrained.onnx", X[:2])
        except (SerError, OSError):
            raise
        except Exception as error:  # Keras and tf2onnx raise all kinds
            reason = (str(error).splitlines() or [""])[0][:200]
            raise StageError(
                f"A model must export to ONNX, and this one cannot ({type(error).__name__}: {reason}); it was not "
                f"trained. {_versions()} do not fit together: install those of requirements.lock."
            ) from None


def _versions() -> str:
    return ", ".join(f"{name} {version(name)}" for name in ("keras", "tensorflow", "tf2onnx", "onnx", "onnxruntime"))


def _difference(model: keras.Model, exported: Path, X: np.ndarray) -> float:
    """Largest difference between probabilities by ONNX Runtime and by Keras."""
    probabilities, _ = load_onnx(exported)
    difference = np.abs(probabilities(X) - predict_probabilities(model, X)).max()
    if not difference <= _LARGEST_DIFFERENCE:
        raise StageError(
            f"ONNX Runtime and Keras must agree within {_LARGEST_DIFFERENCE:g} on the clips' features. "
            f"They differ by {difference:g}: {_versions()} do not fit together."
        )
    return difference


def _save(model: keras.Model, history: dict[str, list[float]], data: ProcessedData, params: Params) -> None:
    folder = params.output_dir
    with whole_file(folder / params.MODEL_H5_FILE) as partial:
        parts = model_parts(model)
        partial.write_bytes(parts["model.weights.h5"])
    write_text(folder / params.MODEL_JSON_FILE, json.dumps(json.loads(parts["config.json"]), indent=2) + "\n")
    write_json(folder / "history.json", {name: np.array(values) for name, values in history.items()})


class _EpochBar(keras.callbacks.Callback):
    """One line that follows the epochs."""

    def __init__(self, epochs: int) -> None:
        super().__init__()
        self._bar = progress_bar(epochs, "Training", "epochs")

    def __enter__(self) -> "_EpochBar":
        return self

    def __exit__(self, *_error: object) -> None:
        self._bar.total = self._bar.n  # early stopping leaves nothing to do
        self._bar.close()

    def on_epoch_end(self, epoch: int, logs: dict) -> None:
        """Show the epoch's validation accuracy."""
        self._bar.set_postfix_str(f"validation accuracy {logs['val_accuracy']:.3f}", refresh=False)
        self._bar.update()
