"""The bundle: a trained model with all that a new file needs to be treated exactly like the training data.

A folder with `bundle.json` and the model it names. `bundle.json` is written last and holds the model's
hash, so that a model of another run, or half of one, is noticed.
"""

from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ser_lib.errors import BundleError
from ser_lib.labels import EMOTIONS
from ser_lib.params import resolve, shown
from ser_lib.settings import AudioSettings
from ser_lib.store import BUNDLE_FILE, ProcessedData, file_hash, require, write_text

if TYPE_CHECKING:
    import keras

_LIBRARIES = ("ser_lib", "keras", "tensorflow", "librosa", "noisereduce", "numpy", "pydub", "soxr")


class BundleInfo(BaseModel):
    """Contents of `bundle.json`."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    format: int = Field(1, ge=1, le=1)
    model: str = Field(pattern=r"^[^/\\]+\.keras$")
    model_sha256: str
    emotions: list[str]
    features: list[str]
    settings: AudioSettings
    corpora: list[str] = Field(min_length=1)
    data_fingerprint: str
    split_sha256: str
    versions: dict[str, str]


@dataclass(frozen=True)
class Bundle:
    """A model that is ready to predict, and what it was trained with."""

    info: BundleInfo
    model: "keras.Model"


def save_bundle(folder: Path, model_file: str, data: ProcessedData, *, split: Path) -> BundleInfo:
    """Write `bundle.json` beside the model that `folder` holds already and that `data` and `split` trained."""
    info = BundleInfo(
        model=model_file,
        model_sha256=file_hash(folder / model_file),
        emotions=list(EMOTIONS),
        features=data.settings.feature_names,
        settings=data.settings,
        corpora=sorted(set(data.clips["corpus"])),
        data_fingerprint=data.fingerprint,
        split_sha256=file_hash(split),
        versions={name: version(name) for name in _LIBRARIES},
    )
    write_text(folder / BUNDLE_FILE, info.model_dump_json(indent=2) + "\n")
    return info


def load_bundle(folder: str | Path) -> Bundle:
    """Load a bundle and check that its parts belong together.

    Raises
    ------
    StageError
        If there is no bundle yet.
    BundleError
        If it is damaged, or the model does not fit the settings.
    """
    from ser_lib.model import load_model  # imports TensorFlow, which takes seconds

    folder = resolve(folder)
    info = read_bundle_info(folder)
    path = require(folder / info.model, "03_train")
    if file_hash(path) != info.model_sha256:
        raise BundleError(f"{shown(path)} is not the model that {BUNDLE_FILE} beside it describes. Run 03_train again.")
    try:
        model = load_model(path)
    except (ValueError, TypeError, KeyError, OSError) as error:
        raise BundleError(f"{shown(path)} cannot be loaded by this Keras: {str(error).splitlines()[0]}") from None
    expected = (None, info.settings.n_frames, len(info.features)), (None, len(info.emotions))
    if (model.input_shape, model.output_shape) != expected:
        raise BundleError(
            f"The settings in {shown(folder / BUNDLE_FILE)} must fit the model: they give features of shape "
            f"{expected[0][1:]} and {expected[1][1]} emotions. The model takes {model.input_shape[1:]} "
            f"and gives {model.output_shape[1]}. Run 03_train again."
        )
    return Bundle(info, model)


def read_bundle_info(folder: Path) -> BundleInfo:
    """Read and check `bundle.json` without loading the model."""
    path = require(folder / BUNDLE_FILE, "03_train")
    try:
        info = BundleInfo.model_validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the file"
        raise BundleError(f"{shown(path)} is damaged ({place}: {first['msg']}). Run 03_train again.") from None
    fits = info.features == info.settings.feature_names and info.emotions == list(EMOTIONS)
    if info.settings.target_length is None or not fits:
        raise BundleError(
            f"{shown(path)} is damaged (its settings, features and emotions do not agree). Run 03_train again."
        )
    return info
