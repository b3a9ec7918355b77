"""smart-turn and Whisper base side by side: they err differently, and together are mostly right more often."""

from collections.abc import Callable

import numpy as np

from ser_lib.audio.encoders import smart_turn, whisper_base
from ser_lib.audio.encoders.base import SAMPLING_RATE

_PARTS = (smart_turn, whisper_base)
NAME = "+".join(part.NAME for part in _PARTS)
ABOUT = "Both side by side: right more often about most voices that nobody trained on, in twice smart-turn's time."
LICENCE = " and ".join(part.LICENCE for part in _PARTS)
CITATION = " and ".join(part.CITATION for part in _PARTS)
WEIGHTS = smart_turn.WEIGHTS + whisper_base.WEIGHTS
N_FEATURES = smart_turn.N_FEATURES + whisper_base.N_FEATURES
GROUPS = {
    f"{part.NAME}, {layer}": slice(first + columns.start, first + columns.stop)
    for part, first in zip(_PARTS, (0, smart_turn.N_FEATURES), strict=True)
    for layer, columns in part.GROUPS.items()
}
SECONDS, HEARD = smart_turn.SECONDS, smart_turn.HEARD
"""Of a clip that is heard, at most, and which."""


def open_encoder(*contents: bytes) -> Callable[[np.ndarray], np.ndarray]:
    """Weights → function from a signal [shape=(n_samples,)] at 16 kHz to its embedding [shape=(N_FEATURES,)]."""
    parts = [part.open_encoder(content) for part, content in zip(_PARTS, contents, strict=True)]

    def embed(signal: np.ndarray) -> np.ndarray:
        heard = signal[-int(SECONDS * SAMPLING_RATE) :]
        return np.concatenate([part(heard) for part in parts])

    return embed
