"""Enrolled voices: the statistics of a new speaker's features, from clips without labels.

A model that learnt from a few voices takes a new one's timbre and pitch for emotion. A voice's own mean and standard
deviation of each feature, from clips of any emotions, are replaced by those of the training clips.
`docs/prediction.md` shows how much that helps, and where it hurts.
"""

import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from ser_lib.audio.normalize import Statistics, speaker_statistics
from ser_lib.core.errors import BundleError, ParameterError
from ser_lib.core.foreign import read_json
from ser_lib.core.io import write_text
from ser_lib.core.paths import resolve, shown
from ser_lib.model.bundle import Bundle

FEWEST_CLIPS = 20
"""Clips that a voice is enrolled with, at least."""
FOLDER = "data/voices"
"""Folder of all voices, below the project."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


class Voice(BaseModel):
    """Contents of a voice's file; it holds no sound, and is good for one model."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    name: str
    onnx_sha256: str
    n_clips: int = Field(ge=1)
    statistics: Statistics


def measure_voice(signals: Iterable[tuple[np.ndarray, int]], bundle: Bundle) -> Statistics:
    """Statistics over the frames with sound of mono signals and their sampling rates (Hz).

    AudioError if a signal cannot be used.
    """
    heard = [bundle.extract_unscaled(signal, sampling_rate) for signal, sampling_rate in signals]
    n_sound = np.array([bundle.info.settings.sound_frames(measures.n_trimmed) for _, measures in heard])
    X = np.array([features for features, _ in heard])
    return speaker_statistics(X, n_sound, np.full(len(heard), "voice"))["voice"]


def save_voice(name: str, statistics: Statistics, n_clips: int, bundle: Bundle) -> Path:
    """Write a voice for one model into `data/voices`, and return the file."""
    path = _path_of(name, bundle)
    voice = Voice(name=name, onnx_sha256=bundle.info.onnx_sha256, n_clips=n_clips, statistics=statistics)
    write_text(path, voice.model_dump_json(indent=1) + "\n")
    return path


def with_voice(bundle: Bundle, name: str) -> Bundle:
    """Return the bundle adapted to a speaker who was enrolled for it.

    BundleError if nobody of that name was, or the file is damaged.
    """
    path = _path_of(name, bundle)
    if not path.is_file():
        known = [file.parent.name for file in sorted(resolve(FOLDER).glob(f"*/{path.name}"))]
        raise BundleError(
            f"The speaker must be enrolled for this model: ser enrol FOLDER --name {name}, with the same --run. "
            f"Enrolled for it are {', '.join(known) or 'none'}. Got {name}."
        )
    try:
        voice = read_json(path, Voice.model_validate_json)
    except (OSError, ValueError):
        raise BundleError(f"{shown(path)} is damaged. Enrol {name} again.") from None
    values = voice.statistics.mean + voice.statistics.std
    fits = len(voice.statistics.mean) == len(voice.statistics.std) == len(bundle.info.features)
    if not fits or not np.isfinite(values).all() or min(voice.statistics.std) <= 0:
        raise BundleError(f"{shown(path)} does not fit the model. Enrol {name} again.")
    return replace(bundle, voice=voice.statistics)


def check_name(name: str) -> str:
    """Return a name that a voice's file may have, or raise ParameterError."""
    if not _NAME.fullmatch(name):
        raise ParameterError(f"A speaker's name must be letters, digits, `_`, `-` and `.`. Got {name!r}; see --name.")
    return name


def _path_of(name: str, bundle: Bundle) -> Path:
    check_name(name)
    return resolve(FOLDER) / name / f"{bundle.info.onnx_sha256[:16]}.json"
