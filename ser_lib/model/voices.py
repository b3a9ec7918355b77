"""Voices that a model was taught, each a file: statistics of the speaker's clips and, of labelled ones, a last layer.

A model that learnt from a few voices takes a new one's timbre and pitch for emotion. `enrolment.py` learns a voice from
clips; this module stores it and adapts a bundle to it. `docs/prediction.md` shows how much that helps.
"""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import platformdirs
from pydantic import BaseModel, ConfigDict, Field

from ser_lib.audio.normalize import Statistics
from ser_lib.core.errors import BundleError, ParameterError
from ser_lib.core.foreign import read_json
from ser_lib.core.io import write_text
from ser_lib.core.paths import has_project, resolve, shown
from ser_lib.core.text import printable
from ser_lib.model.adapt import FEW_CLIPS, Head, with_head
from ser_lib.model.bundle import Bundle
from ser_lib.model.calibration import calibrate

FOLDER = "data/voices"
"""Folder of all voices, below the project; without one they lie in the user's data folder."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")


class Gained(BaseModel):
    """How many of a speaker's labelled clips are predicted right, each by a model that does not know that clip."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    n_clips: int = Field(ge=2)
    before: int = Field(ge=0)
    """Right without any adaptation."""
    statistics: int = Field(ge=0)
    """Right with the statistics of the other clips."""
    labels: int = Field(ge=0)
    """Right with their labels, too."""


class Voice(BaseModel):
    """Contents of a voice's file; it holds no sound, and is good for one model.

    What came with labels is left out of a file where there is none of it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    name: str
    onnx_sha256: str
    n_clips: int = Field(ge=1)
    """Of the statistics, with and without labels."""
    statistics: Statistics
    n_labelled: int = Field(0, ge=0)
    """Of the head."""
    head: Head | None = None
    gained: Gained | None = None

    @property
    def from_clips(self) -> str:
        """From how many clips it was learnt: `14 labelled clips`, and those without a label if there are any."""
        n_others = self.n_clips - self.n_labelled
        if not self.n_labelled:
            return _count(n_others, "clip")
        return _count(self.n_labelled, "labelled clip") + (f" and {n_others} without a label" if n_others else "")

    @property
    def told(self) -> str:
        """What a model is adapted to, as a sentence."""
        return f"Adapted to {self.name}, from {self.from_clips}."


def _count(n: int, what: str) -> str:
    return f"{n} {what}{'' if n == 1 else 's'}"


def save_voice(voice: Voice) -> Path:
    """Write a voice into the folder of voices, and return the file."""
    path = _path_of(voice.name, voice.onnx_sha256)
    write_text(path, voice.model_dump_json(indent=1, exclude_defaults=True) + "\n")
    return path


def kept_text(path: Path) -> str:
    """What to know of the file that `save_voice` has written."""
    where = shown(path) if has_project() else path
    return f"{where} holds numbers that say what the voice is like, and no sound. Delete it to forget the voice."


def enrolled_voices(bundle: Bundle) -> list[str]:
    """Names of the voices that a model was taught, by the alphabet."""
    files = sorted(_folder().glob(f"*/{_file_of(bundle.info.onnx_sha256)}"))
    return [file.parent.name for file in files if _NAME.fullmatch(file.parent.name)]


def read_voice(name: str, bundle: Bundle) -> Voice:
    """Read the voice of a speaker who was enrolled for a model.

    Raises
    ------
    BundleError
        If nobody of that name was, or the file is damaged.
    """
    path = _path_of(name, bundle.info.onnx_sha256)
    if not path.is_file():
        is_known = any(path.parent.glob("*.json"))
        other = f"{name} is enrolled for another model, and each learns a voice anew. " if is_known else ""
        raise BundleError(
            f"The speaker must be enrolled for this model: ser enrol FOLDER --name {name}, with the same --run. {other}"
            f"Enrolled for it are {', '.join(enrolled_voices(bundle)) or 'none'}. Got {name}."
        )
    try:
        voice = read_json(path, Voice.model_validate_json)
    except (OSError, ValueError):
        raise BundleError(f"{shown(path)} is damaged. Enrol {name} again.") from None
    if not _fits(voice, bundle):
        raise BundleError(f"{shown(path)} does not fit the model. Enrol {name} again.")
    return voice


def _fits(voice: Voice, bundle: Bundle) -> bool:
    mean, std, n_features = voice.statistics.mean, voice.statistics.std, len(bundle.info.features)
    if not len(mean) == len(std) == n_features or not np.isfinite(mean + std).all() or min(std) <= 0:
        return False
    if voice.onnx_sha256 != bundle.info.onnx_sha256 or voice.n_labelled > voice.n_clips:
        return False
    if voice.head is None:
        return True
    weights, bias, told = voice.head.weights, voice.head.bias, voice.head.emotions
    if told is not None and not set(told) < set(range(len(bundle.info.emotions))):
        return False
    if bundle.info.population is None or len(weights) != n_features:
        return False
    return {len(row) for row in [*weights, bias]} == {len(bundle.info.emotions)} and bool(
        np.isfinite(weights).all() and np.isfinite(bias).all()
    )


def adapt_bundle(bundle: Bundle, voice: Voice) -> Bundle:
    """Return the bundle adapted to a voice: its statistics before the model and, if it has one, its head after it.

    Without a head, answers have the temperature for voices of which some clips are known, if the model has one.
    """
    adapted, info = replace(bundle, voice=voice.statistics), bundle.info
    if voice.head is not None and info.population is not None:
        return replace(adapted, probabilities=with_head(bundle.probabilities, voice.head, info.population))
    if info.voice_temperature is None or voice.n_clips < FEW_CLIPS:
        return adapted
    relative = info.voice_temperature / info.temperature
    return replace(adapted, probabilities=lambda X: calibrate(bundle.probabilities(X), relative))


def with_voice(bundle: Bundle, name: str) -> Bundle:
    """Return the bundle adapted to a speaker who was enrolled for it; see `read_voice` for what it raises."""
    return adapt_bundle(bundle, read_voice(name, bundle))


def check_name(name: str) -> str:
    """Return a name that a voice's file may have, or raise ParameterError."""
    if not _NAME.fullmatch(name):
        raise ParameterError(
            "A speaker's name must be at most 100 of the letters a to z and A to Z, digits, `_`, `-` and `.`, and "
            f"begin with a letter or a digit. Got {printable(repr(name))}; see --name."
        )
    return name


def _folder() -> Path:
    return resolve(FOLDER) if has_project() else platformdirs.user_data_path("ser_lib") / "voices"


def _path_of(name: str, onnx_sha256: str) -> Path:
    return _folder() / check_name(name) / _file_of(onnx_sha256)


def _file_of(onnx_sha256: str) -> str:
    return f"{onnx_sha256[:16]}.json"
