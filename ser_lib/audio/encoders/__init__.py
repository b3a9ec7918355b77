"""Encoders: what turns a clip of any length into as many numbers, which say how something was spoken.

Most are pretrained: frozen networks, whose hidden layers are pooled over the clip. `functionals` has learnt nothing.

An encoder is a module with

- `NAME`, and for people `ABOUT` (one sentence), `LICENCE` and `CITATION`;
- `WEIGHTS` (of `base.Weights`): its files, told by content and never by place; where it needs none, `VERSION`;
- `N_FEATURES`: numbers in an embedding, as in `settings.EMBEDDING_SIZES`; `GROUPS`, name of each layer or group of
  numbers → its columns;
- `SECONDS` of a clip that it hears, and which: `HEARD`, first or last;
- `open_encoder(*contents)`: its weights → a function from a mono signal at 16 kHz to its embedding.

Weights lie in the user's cache; `ser encoder get NAME` brings them, and nothing else does.
"""

import functools
import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import platformdirs

from ser_lib.audio.encoders import both, functionals, smart_turn, whisper_base
from ser_lib.audio.encoders.base import SAMPLING_RATE, Weights
from ser_lib.audio.signal import repeat_short, resample
from ser_lib.core.errors import EncoderError, ParameterError
from ser_lib.core.paths import from_here

ENCODERS: dict[str, ModuleType] = {module.NAME: module for module in (smart_turn, whisper_base, both, functionals)}


def get_encoder(name: str) -> ModuleType:
    """Module of the encoder `name`.

    Raises
    ------
    ParameterError
        If there is no such encoder.
    """
    if name not in ENCODERS:
        raise ParameterError(f"`ENCODER` must be one of {', '.join(ENCODERS)}. Got {name!r}.")
    return ENCODERS[name]


def weights_paths(name: str) -> tuple[Path, ...]:
    """Where the weights of an encoder lie, or would: in `$SER_ENCODERS`, or in the user's cache folder."""
    folder = from_here(os.environ.get("SER_ENCODERS") or platformdirs.user_cache_path("ser_lib") / "encoders")
    return tuple(folder / weights.file for weights in get_encoder(name).WEIGHTS)


def has_weights(name: str) -> bool:
    """Whether an encoder can be used on this machine, by its weights' size; `embed` checks their content."""
    return all(map(_has_its_size, get_encoder(name).WEIGHTS, weights_paths(name)))


def _has_its_size(weights: Weights, path: Path) -> bool:
    return path.is_file() and path.stat().st_size == weights.bytes


def layers_of(name: str) -> dict[str, slice]:
    """Name of each layer of an encoder, or group of numbers → its columns in an embedding."""
    return get_encoder(name).GROUPS


def embed(signal: np.ndarray, sampling_rate: int, name: str, *, tile: bool = False) -> np.ndarray:
    """Embedding of a clip.

    Parameters
    ----------
    signal : np.ndarray [shape=(n_samples,)], float32
        Mono.
    sampling_rate : int, Hz
    name : str
        Encoder.
    tile : bool
        Whether it hears what is shorter than `SHORT_SECONDS` twice, as it is and repeated by `repeat_short`; the
        embedding is the mean of both.

    Returns
    -------
    np.ndarray [shape=(n_features,)], float32
        Of a network the mean over time of each number of some hidden layers, of some its standard deviation, too.

    Raises
    ------
    EncoderError
        If the weights are not on this machine, or damaged.
    """
    encoder = _opened(name, weights_paths(name))
    repeated = repeat_short(signal, sampling_rate) if tile else signal
    heard = [signal, repeated] if len(repeated) > len(signal) else [signal]
    return np.mean([encoder(resample(one, sampling_rate, target_rate=SAMPLING_RATE)) for one in heard], axis=0)


@functools.lru_cache(maxsize=2)
def _opened(name: str, paths: tuple[Path, ...]) -> Callable[[np.ndarray], np.ndarray]:
    return get_encoder(name).open_encoder(*read_weights(name, paths))


def weights_sha256(name: str | None) -> str | None:
    """SHA-256 that an encoder's weights must have; of several their hashes', of none its name and version's."""
    if name is None:
        return None
    encoder = get_encoder(name)
    hashes = [weights.sha256 for weights in encoder.WEIGHTS]
    if len(hashes) == 1:
        return hashes[0]
    told_by = hashes or [name, str(encoder.VERSION)]
    return hashlib.sha256(" ".join(told_by).encode()).hexdigest()


def check_weights(name: str) -> None:
    """Raise `EncoderError` if weights that an encoder needs are not on this machine, or damaged."""
    read_weights(name, weights_paths(name))


def read_weights(name: str, paths: tuple[Path, ...]) -> list[bytes]:
    """Weights of an encoder, whose content was checked.

    Raises
    ------
    EncoderError
        If some are not there, or are others.
    """
    files = list(zip(get_encoder(name).WEIGHTS, paths, strict=True))
    lacking = sum(weights.bytes for weights, path in files if not _has_its_size(weights, path))
    return [read_file(name, weights, path, lacking or weights.bytes) for weights, path in files]


def read_file(name: str, weights: Weights, path: Path, lacking: int) -> bytes:
    """One file of an encoder's weights, as `read_weights`; `lacking` bytes are to be brought if it is not right."""
    mend = f"ser encoder get {name} brings it ({lacking / 1e6:.1f} MB)."
    try:
        right = path.stat().st_size == weights.bytes
        content = path.read_bytes() if right else b""
    except FileNotFoundError:
        raise EncoderError(f"The encoder {name} is not on this machine. {mend}") from None
    except OSError as error:
        raise EncoderError(f"The encoder {name} cannot be read ({error.strerror}). {mend}") from None
    if hashlib.sha256(content).hexdigest() != weights.sha256:
        raise EncoderError(
            f"The encoder {name} must have the SHA-256 {weights.sha256[:12]}…. {path} is damaged. {mend}"
        )
    return content
