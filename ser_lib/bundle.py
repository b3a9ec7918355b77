"""The bundle: a trained model with all that a new file needs to be treated exactly like the training data.

A folder with `bundle.json` and the model it names, as ONNX and for Keras. `bundle.json` is written last and holds the
models' hashes, so that a model of another run, or half of one, is noticed.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ser_lib.answer import Prediction, to_prediction
from ser_lib.calibrate import calibrate
from ser_lib.errors import AudioError, BundleError
from ser_lib.normalize import Statistics, find_statistics, normalize
from ser_lib.params import Params, resolve, shown
from ser_lib.settings import AudioSettings, Backend
from ser_lib.store import BUNDLE_FILE, SPLIT_FILE, ProcessedData, file_hash, in_order, require, write_text

if TYPE_CHECKING:
    import pandas as pd

_LIBRARIES = ("ser_lib", "keras", "tensorflow", "onnxruntime", "librosa", "noisereduce", "numpy", "pydub", "soxr")
_BATCH = 64
"""Clips that ONNX Runtime predicts together."""


class BundleInfo(BaseModel):
    """Contents of `bundle.json`."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    format: int = Field(3, ge=3, le=3)
    onnx: str = Field(pattern=r"^[^/\\]+\.onnx$")
    onnx_sha256: str
    keras: str = Field(pattern=r"^[^/\\]+\.keras$")
    keras_sha256: str
    emotions: list[str] = Field(min_length=2)
    features: list[str]
    settings: AudioSettings
    temperature: float = Field(gt=0)
    speakers: dict[str, Statistics]
    corpora: list[str] = Field(min_length=1)
    data_fingerprint: str
    split_sha256: str
    versions: dict[str, str]


@dataclass(frozen=True)
class Bundle:
    """A model that is ready to predict, and what it was trained with.

    Attributes
    ----------
    info : BundleInfo
    probabilities : callable
        Probabilities [shape=(n_clips, n_classes)] of features [shape=(n_clips, n_frames, n_features)], both float32;
        at the temperature of the bundle.
    """

    info: BundleInfo
    probabilities: Callable[[np.ndarray], np.ndarray]

    def features(self, path: str | Path, *, speaker: str | None = None) -> np.ndarray:
        """Features [shape=(n_frames, n_features)] of a file, made as those that trained the model.

        A `speaker` counts where the model was trained with `NORMALIZE_PER_SPEAKER`; None is a voice it never met.

        Raises
        ------
        AudioError
            If the file cannot be used.
        BundleError
            If the model does not know the speaker.
        """
        self._check_speaker(speaker)
        from ser_lib.features import process_audio_file  # librosa, which stored features do not need

        return self.normalized(process_audio_file(path, self.info.settings), speaker=speaker)

    def _check_speaker(self, speaker: str | None) -> None:
        if speaker is not None and not self.info.speakers:
            raise BundleError(
                f"A speaker counts for a model that was trained with NORMALIZE_PER_SPEAKER alone. "
                f"This one was not; leave {speaker} out."
            )

    def predict(self, signal: np.ndarray, sampling_rate: int, *, speaker: str | None = None) -> Prediction:
        """Predict the emotion of a signal: what a file of the same samples gives.

        Parameters
        ----------
        signal : np.ndarray [shape=(n_samples,) or (n_samples, n_channels)]
            Floating point, full scale at -1 and 1.
        sampling_rate : int, Hz
        speaker : str, optional
            See `features`.

        Raises
        ------
        AudioError
            If the signal cannot be used.
        """
        from ser_lib.audio import to_mono
        from ser_lib.features import process_signal

        self._check_speaker(speaker)
        signal = np.asarray(signal)
        if signal.dtype.kind != "f" or signal.ndim not in (1, 2):
            raise AudioError(
                f"A signal must be floating point, of shape (n_samples,) or (n_samples, n_channels), with full scale "
                f"at 1. Got {signal.dtype} of shape {signal.shape}."
            )
        if sampling_rate < 1:
            raise AudioError(f"The sampling rate must be above 0 Hz. Got {sampling_rate}.")
        channels = signal.astype(np.float32) if signal.ndim == 2 else signal.astype(np.float32)[:, np.newaxis]
        features = process_signal(to_mono(channels), sampling_rate, self.info.settings)
        features = self.normalized(features, speaker=speaker)
        return to_prediction("signal", self.probabilities(features[np.newaxis])[0], self.info.emotions)

    def normalized(self, X: np.ndarray, *, speaker: str | None) -> np.ndarray:
        """Features [shape=(..., n_features)] less their speaker's statistics, if the model wants them so."""
        known = self.info.speakers
        if not known:
            return X
        return normalize(X, find_statistics(known, speaker))


def save_bundle(data: ProcessedData, learnt: "pd.DataFrame", params: Params, *, temperature: float) -> BundleInfo:
    """Write `bundle.json` beside the models in `OUTPUT_DIR`, which the clips `learnt` of `data` trained."""
    folder = params.output_dir
    info = BundleInfo(
        onnx=params.MODEL_ONNX_FILE,
        onnx_sha256=file_hash(folder / params.MODEL_ONNX_FILE),
        keras=params.MODEL_WEIGHTS_FILE,
        keras_sha256=file_hash(folder / params.MODEL_WEIGHTS_FILE),
        emotions=in_order(learnt["emotion"]),
        features=data.settings.feature_names,
        settings=data.settings,
        temperature=temperature,
        speakers=data.speakers,
        corpora=sorted(set(learnt["corpus"])),
        data_fingerprint=data.fingerprint,
        split_sha256=file_hash(folder / SPLIT_FILE),
        versions={name: version(name) for name in _LIBRARIES},
    )
    write_text(folder / BUNDLE_FILE, info.model_dump_json(indent=2) + "\n")
    return info


def load_bundle(path: str | Path, *, backend: Backend = "onnx") -> Bundle:
    """Load a bundle and check that its parts belong together; `path`: a run's folder, or what `ser export` wrote.

    It runs nothing that lies in it: the ONNX model must be one file, and Keras loads in its safe mode.

    Raises
    ------
    StageError
        If there is no bundle yet, or it lacks the backend's model: a record holds the ONNX one alone.
    BundleError
        If it is damaged, or the model does not fit the settings.
    """
    path = resolve(path)
    if not path.is_file():
        return _load_folder(path, backend)
    from ser_lib.export import unpacked

    with unpacked(path) as folder:
        return _load_folder(folder, backend)


def _load_folder(folder: Path, backend: Backend) -> Bundle:
    info = read_bundle_info(folder)
    name, sha256, load = {
        "onnx": (info.onnx, info.onnx_sha256, load_onnx),
        "keras": (info.keras, info.keras_sha256, _load_keras),
    }[backend]
    path = require(folder / name, "03_train")
    if file_hash(path) != sha256:
        raise BundleError(f"{shown(path)} is not the model that {BUNDLE_FILE} beside it describes. Run 03_train again.")
    try:
        probabilities, shapes = load(path)
    except Exception as error:  # each library raises what it likes
        raise BundleError(f"{shown(path)} cannot be loaded: {str(error).splitlines()[0]}") from None
    expected = (info.settings.n_frames, len(info.features)), (len(info.emotions),)
    if shapes != expected:
        raise BundleError(
            f"The settings in {shown(folder / BUNDLE_FILE)} must fit the model: they give features of shape "
            f"{expected[0]} and {expected[1][0]} emotions. The model takes {shapes[0]} "
            f"and gives {shapes[1][0]}. Run 03_train again."
        )
    return Bundle(info, lambda X: calibrate(probabilities(X), info.temperature))


def load_onnx(path: Path) -> tuple[Callable[[np.ndarray], np.ndarray], tuple[tuple, tuple]]:
    """Return what predicts with an ONNX file, and the shapes of one clip's features and probabilities.

    It runs on one thread: for a clip at a time more are no faster, and sums keep their order.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3  # errors
    # from memory: a model that would read other files, by whatever path, is refused
    session = onnxruntime.InferenceSession(path.read_bytes(), options, providers=["CPUExecutionProvider"])
    (taken,), (given,) = session.get_inputs(), session.get_outputs()

    def probabilities(X: np.ndarray) -> np.ndarray:
        batches = [session.run([given.name], {taken.name: X[i : i + _BATCH]})[0] for i in range(0, len(X), _BATCH)]
        return np.concatenate(batches)

    return probabilities, (tuple(taken.shape[1:]), tuple(given.shape[1:]))


def _load_keras(path: Path) -> tuple[Callable[[np.ndarray], np.ndarray], tuple[tuple, tuple]]:
    from ser_lib.model import load_model, predict_probabilities  # imports TensorFlow, which takes seconds

    model = load_model(path)
    return functools.partial(predict_probabilities, model), (model.input_shape[1:], model.output_shape[1:])


def read_bundle_info(folder: Path) -> BundleInfo:
    """Read and check `bundle.json` without loading the model."""
    path = require(folder / BUNDLE_FILE, "03_train")
    try:
        info = BundleInfo.model_validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the file"
        raise BundleError(f"{shown(path)} is damaged ({place}: {first['msg']}). Run 03_train again.") from None
    fits = info.features == info.settings.feature_names and info.emotions == in_order(info.emotions)
    if info.settings.target_length is None or not fits:
        raise BundleError(
            f"{shown(path)} is damaged (its settings, features and emotions do not agree). Run 03_train again."
        )
    return info
