"""Training and validation set → the best model. The work behind 03_train."""

import contextlib
import json
import tempfile
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ser_lib.audio.clips import hear_again
from ser_lib.audio.normalize import Statistics
from ser_lib.core.errors import AudioError, SerError, StageError
from ser_lib.core.io import whole_file, write_json, write_text
from ser_lib.core.progress import progress_bar
from ser_lib.core.workers import keep_memory
from ser_lib.corpora.clips import check_known
from ser_lib.model.adapt import FEWEST_VOICES, TrainingVoices, know_some
from ser_lib.model.backends import load_onnx
from ser_lib.model.batches import Batches, balance, sampling_chances
from ser_lib.model.bundle import save_bundle
from ser_lib.model.bundle_info import check_speakers
from ser_lib.model.calibration import LeftOut, calibrate, fit_temperature, match_confidence
from ser_lib.model.network import (
    average_layers,
    build_model,
    keras,
    load_model,
    model_parts,
    predict_probabilities,
    save_model,
    set_seed,
)
from ser_lib.model.onnx import export_onnx
from ser_lib.model.onnx_guard import TooLarge
from ser_lib.params import Params
from ser_lib.scoring import metrics
from ser_lib.store import HISTORY_FILE, ProcessedData, keep_params, load_sets, load_split

Set = tuple[np.ndarray, np.ndarray, pd.DataFrame]
"""Features [shape=(n, n_frames, n_features)], one-hot labels [shape=(n, n_classes)] and clips."""
_N_FOLDS = 5
"""Folds of speakers that are left out in turn."""
_DIGITS = 4
"""Of coverage and accuracy of what was left out, behind the point."""
_LARGEST_DIFFERENCE = 1e-4
"""Between probabilities by ONNX Runtime and by Keras."""


def train_model(
    params: Params, *, own_layers: Sequence[keras.Layer] | keras.Layer | None = None
) -> tuple[keras.Model, dict[str, list[float]]]:
    """Train on the training set, watching the validation set, and save everything into `OUTPUT_DIR`.

    Writes the best model by validation accuracy (`MODEL_WEIGHTS_FILE`, and for prediction `MODEL_ONNX_FILE`), the
    final model, which has the weights that early stopping restored (`MODEL_JSON_FILE`, `MODEL_H5_FILE`),
    `history.json` and the bundle. With `AVERAGE_LEFT_OUT` both models are the mean; the history is of its first layer.

    Parameters
    ----------
    params : Params
    own_layers : keras.Layer or a sequence of them, optional
        Layers to try instead of those that `MODEL` asks for, between standardisation and the layer of the emotions.

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
        what Keras computes; both is tried before training, too. If `AVERAGE_LEFT_OUT` is to average own layers.

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
    own_layers = [own_layers] if isinstance(own_layers, keras.Layer) else own_layers
    if params.AVERAGE_LEFT_OUT and own_layers is not None:
        raise StageError("`AVERAGE_LEFT_OUT` needs the one layer of `MODEL: linear`. Take no layers of your own.")
    data, sets = load_sets(params)
    check_speakers(data.speakers)
    X_train, y_train, learnt = sets["train"]
    if params.ADAPT_TO_SPEAKER:
        check_known(learnt, ["speaker"], "`ADAPT_TO_SPEAKER`")
    _try_export(X_train, y_train.shape[1], params, own_layers)
    folder, decibel, voices = params.output_dir, one_decibel(data.speakers), _voices(sets["train"], params)
    variants = _variants(data, sets["train"], params)
    with whole_file(folder / params.MODEL_WEIGHTS_FILE) as best:
        model, history = _fit(
            sets["train"], sets["validation"], params, best,
            decibel=decibel, variants=variants, voices=voices, own_layers=own_layers,
        )  # fmt: skip
        best_model = load_model(best)
        calibration, left_out = _calibrate(best_model, sets, params, decibel, variants, own_layers)
        if params.AVERAGE_LEFT_OUT:
            average_layers(best_model, left_out)
            model.set_weights(best_model.get_weights())
            averaged = f"the mean of {len(left_out) + 1} layers: one of everything, the others of all but one."
            alone = "one layer alone: each other lacks an emotion beside what was left out."
            print("The model is", averaged if left_out else alone)
        save_model(best_model, best)
    with whole_file(folder / params.MODEL_ONNX_FILE) as partial:
        export_onnx(best_model, partial)
        difference = _difference(best_model, partial, sets["test"][0])
    print(f"ONNX Runtime and Keras agree on the features of {len(sets['test'][0])} test clips within {difference:.0e}.")
    population = voices.population if voices else None
    _save(model, history, data, params)
    save_bundle(data, load_split(params, data.clips), params, **calibration, population=population)
    keep_params("03_train", params)
    return model, history


def _make_variables(model: keras.Model, y: np.ndarray) -> None:
    """Make the variables of optimizer and metrics; a first step of training that makes them is built twice."""
    model.optimizer.build(model.trainable_variables)
    model.compute_metrics(None, y, y)
    model.reset_metrics()


def _fit(
    train: Set,
    validation: Set | None,
    params: Params,
    best: Path,
    *,
    decibel: float,
    variants: np.ndarray | None,
    voices: TrainingVoices | None,
    own_layers: Sequence[keras.Layer] | None = None,
    what: str = "Training",
) -> tuple[keras.Model, dict[str, list[float]]]:
    """Train a model, and write that of the best epoch to `best`; return that of the last one, and the history."""
    X, y, clips = train
    keep_memory()
    set_seed(params.SEED)
    weights = balance(clips) if params.BALANCE is True else None
    chances = sampling_chances(clips) if params.BALANCE == "sampling" else None
    batches = Batches(X, y, params, decibel=decibel, weights=weights, chances=chances, variants=variants, voices=voices)
    model = build_model(X, y.shape[1], params, n_steps=params.EPOCHS * len(batches), own_layers=own_layers)
    _make_variables(model, y[:1])
    with _EpochBar(params.EPOCHS, what) as epoch_bar:
        fitted = model.fit(
            batches,
            validation_data=validation and validation[:2],
            validation_batch_size=64,
            epochs=params.EPOCHS,
            callbacks=[*make_callbacks(best, params), epoch_bar],
            verbose=0,
        )
    return model, {name: [float(value) for value in values] for name, values in fitted.history.items()}


def _voices(train: Set, params: Params) -> TrainingVoices | None:
    """Voices that the model learns to be adapted to; None without `ADAPT_TO_SPEAKER`, or if they are too few."""
    speakers = train[2]["speaker"].to_numpy(dtype=str)
    few = len(set(speakers)) < FEWEST_VOICES
    if few or not params.ADAPT_TO_SPEAKER:
        return None
    return TrainingVoices(train[0][:, 0], speakers, params.SHRINK_BY)


def _variants(data: ProcessedData, train: Set, params: Params) -> np.ndarray | None:
    """What an encoder hears of the training clips, varied in each way of `AUGMENT`: a row for each way."""
    X, _, clips = train
    if not params.AUGMENT or data.settings.encoder is None:
        return None
    found = hear_again(
        clips, params.dataset_path, data.settings, params.AUGMENT, params.N_JOBS, "Varying", "leave AUGMENT empty"
    )
    variants = np.stack([X] * len(params.AUGMENT))
    for number, heard in enumerate(found):
        if not isinstance(heard, AudioError):
            variants[divmod(number, len(X))] = heard
    return variants


def _calibrate(
    model: keras.Model,
    sets: Mapping[str, Set],
    params: Params,
    decibel: float,
    variants: np.ndarray | None,
    own_layers: Sequence[keras.Layer] | None,
) -> tuple[dict[str, Any], list[keras.Model]]:
    """What `BundleInfo` has of calibration; beside `temperature`, of corpora or speakers that were left out.

    And with `AVERAGE_LEFT_OUT` the models that were trained without one of them, but for those that lack an emotion.
    """
    if params.CALIBRATE_ON == "validation":
        X, y, _ = sets["validation"]
        return {"temperature": fit_temperature(y.argmax(axis=1), predict_probabilities(model, X))}, []
    known = [sets["train"], sets["validation"]]
    X, y = (np.concatenate([one[part] for one in known]) for part in (0, 1))
    clips = pd.concat([one[2] for one in known], ignore_index=True)
    groups, labels = _groups(clips), y.argmax(axis=1)
    n_train = len(sets["train"][1])
    probabilities, of_known = np.zeros_like(y), np.full_like(y, np.nan)
    models: list[keras.Model] = []
    for group in np.unique(groups):
        others = np.flatnonzero(groups != group)
        train, validation = (
            (X[rows], y[rows], clips.iloc[rows]) for rows in np.split(others, [(others < n_train).sum()])
        )
        with tempfile.TemporaryDirectory() as folder:
            best = Path(folder) / params.MODEL_WEIGHTS_FILE
            watched = None if params.SCHEDULE == "one_cycle" else validation if len(validation[1]) else train
            voices = _voices(train, params)
            varied = None if variants is None else variants[:, others[others < n_train]]
            _fit(
                train, watched, params, best, decibel=decibel, variants=varied, voices=voices, own_layers=own_layers,
                what=f"Without {group}",
            )  # fmt: skip
            of_others = load_model(best)
        if params.AVERAGE_LEFT_OUT and train[1].any(axis=0).all():
            models.append(of_others)
        tested = np.flatnonzero(groups == group)
        probabilities[tested] = predict_probabilities(of_others, X[tested])
        if voices is not None:
            speakers, rng = clips["speaker"].to_numpy(dtype=str)[tested], np.random.default_rng(params.SEED)
            rows, scaled = know_some(X[tested, 0], speakers, voices.population, rng)
            of_known[tested[rows]] = predict_probabilities(of_others, scaled[:, np.newaxis])
    names, sizes = np.unique(groups, return_counts=True)
    weights = (1 / sizes)[np.searchsorted(names, groups)]
    temperature = match_confidence(labels, probabilities, weights)
    calibrated = calibrate(probabilities, temperature)
    found: dict[str, Any] = {"temperature": temperature}
    found["left_out"] = [_left_out(name, labels[groups == name], calibrated[groups == name]) for name in names]
    told = ~np.isnan(of_known[:, 0])
    if told.any():
        found["voice_temperature"] = match_confidence(labels[told], of_known[told], weights[told])
    return found, models


def _groups(clips: pd.DataFrame) -> np.ndarray:
    """What is left out together: clips of a corpus; where there is one alone, of every fifth of its speakers."""
    if clips["corpus"].nunique() > 1:
        return clips["corpus"].to_numpy(dtype=str)
    _, numbers = np.unique(clips["speaker"].to_numpy(dtype=str), return_inverse=True)
    return np.array([f"speakers, fold {number % _N_FOLDS + 1}" for number in numbers])


def _left_out(name: str, labels: np.ndarray, probabilities: np.ndarray) -> LeftOut:
    return LeftOut(
        name=str(name),
        n_clips=len(labels),
        accuracy=metrics.accuracy(labels, probabilities.argmax(axis=1)),
        uar=metrics.uar(labels, probabilities.argmax(axis=1)),
        confidence=float(probabilities.max(axis=1).mean()),
        ece=metrics.ece(labels, probabilities),
        coverage={
            name: [round(value, _DIGITS) for value in values]
            for name, values in metrics.coverage(labels, probabilities).items()
        },
    )


def one_decibel(speakers: Mapping[str, Statistics]) -> float:
    """What a dB of log-mel is after the speakers' features were normalised, on average; 1 if they were not."""
    return 1 / float(np.mean([one.std for one in speakers.values()])) if speakers else 1.0


def make_callbacks(best: str | Path, params: Params) -> list[keras.callbacks.Callback]:
    """Callbacks that decide which epoch is saved, how the rate changes and when training stops, by `SCHEDULE`.

    `plateau`: checkpoint and learning rate by validation accuracy, early stopping by validation loss. `one_cycle`:
    the last epoch, since the rate is planned to its end; each epoch's rate is noted.
    """
    if params.SCHEDULE == "one_cycle":
        return [_SaveLast(best), _NoteRate()]
    return [
        keras.callbacks.ModelCheckpoint(str(best), monitor="val_accuracy", mode="max", save_best_only=True),
        keras.callbacks.ReduceLROnPlateau(
            monitor="val_accuracy", mode="max", factor=params.REDUCE_LR_FACTOR, patience=params.REDUCE_LR_PATIENCE
        ),
        keras.callbacks.EarlyStopping(
            monitor="val_loss", patience=params.EARLY_STOPPING_PATIENCE, restore_best_weights=True
        ),
    ]


class _SaveLast(keras.callbacks.Callback):
    """Saves the model of the last epoch, and none before it."""

    def __init__(self, path: str | Path) -> None:
        super().__init__()
        self._path = path

    def on_train_end(self, logs: dict | None = None) -> None:
        """Save the model."""
        self.model.save(self._path)


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


def _try_export(X: np.ndarray, n_classes: int, params: Params, own_layers: Sequence[keras.Layer] | None) -> None:
    """Export the network as it is before training: what cannot be exported need not be trained for hours."""
    model = build_model(X, n_classes, params, own_layers=own_layers)
    with (
        contextlib.suppress(OSError),
        tempfile.TemporaryDirectory() as folder,
    ):  # a full disk is reported where it matters
        try:
            export_onnx(model, Path(folder) / "untrained.onnx")
            _difference(model, Path(folder) / "untrained.onnx", X[:2])
        except (SerError, OSError):
            raise
        except TooLarge as error:
            raise StageError(
                f"A model must not be too large to predict with: {error}. This one is, so it was not trained. Let it "
                f"have fewer units, or fewer frames (HOP_LENGTH, TARGET_LENGTH) or features."
            ) from None
        except Exception as error:  # Keras and tf2onnx raise all kinds
            reason = (str(error).splitlines() or [""])[0][:200]
            unfit = f"{_versions()} do not fit together: install those of requirements.lock."
            raise StageError(
                f"A model must export to ONNX, and this one cannot ({type(error).__name__}: {reason}); it was not "
                f"trained. {unfit if own_layers is None else 'Take other layers.'}"
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
    write_json(folder / HISTORY_FILE, {name: np.array(values) for name, values in history.items()})


class _EpochBar(keras.callbacks.Callback):
    """One line that follows the epochs."""

    def __init__(self, epochs: int, what: str) -> None:
        super().__init__()
        self._bar = progress_bar(epochs, what, "epochs")

    def __enter__(self) -> "_EpochBar":
        return self

    def __exit__(self, *_error: object) -> None:
        self._bar.total = self._bar.n  # early stopping leaves nothing to do
        self._bar.close()

    def on_epoch_end(self, epoch: int, logs: dict) -> None:
        """Show the epoch's validation accuracy, if it was validated."""
        if "val_accuracy" in logs:
            self._bar.set_postfix_str(f"validation accuracy {logs['val_accuracy']:.3f}", refresh=False)
        self._bar.update()
