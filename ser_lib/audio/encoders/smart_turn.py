"""smart-turn: the encoder of Whisper tiny, trained further to hear where somebody's turn to speak ends.

How a turn ends is a matter of prosody, and so are emotions. 8 million numbers as 8 bit integers.
"""

from collections.abc import Callable

import numpy as np

from ser_lib.audio.encoders.base import SAMPLING_RATE, Weights, layer_columns, log_mel, pool_layers
from ser_lib.core.onnx_session import open_session

NAME = "smart-turn"
ABOUT = "smart-turn v3.2: the encoder of Whisper tiny, trained to hear where a turn ends, in 23 languages."
LICENCE = "BSD-2-Clause"
CITATION = "https://huggingface.co/pipecat-ai/smart-turn-v3"
WEIGHTS = (
    Weights(
        file="smart-turn-v3.2-cpu.onnx",
        bytes=8_679_182,
        sha256="2bb026316b14a660486a75b1733cd3fbab8c2fd0314dc9af7be49f8cca967e4f",
        wheels=("pipecat-ai==1.14.0",),
    ),
)
_LAYERS = tuple(f"layer_norm_{number}" for number in range(1, 9))
"""Outputs of the graph's layer norms whose means are taken: two in each of its four blocks."""
_WIDTH = 384
N_FEATURES = _WIDTH * len(_LAYERS)
GROUPS = layer_columns(N_FEATURES, len(_LAYERS))
SECONDS, HEARD = 8.0, "last"
"""Of a clip that is heard, at most, and which."""
_LONGEST = int(SECONDS * SAMPLING_RATE)
"""Samples that the network takes."""
_SHORTEST = 640
"""Samples of two frames of the network's."""


def open_encoder(content: bytes) -> Callable[[np.ndarray], np.ndarray]:
    """Weights → function from a signal [shape=(n_samples,)] at 16 kHz to its embedding [shape=(N_FEATURES,)]."""
    layers = open_layers(content)
    return lambda signal: pool_layers(layers(signal), std=False)


def open_layers(content: bytes) -> Callable[[np.ndarray], list[np.ndarray]]:
    """Weights → function from a signal to the frames [shape=(n_frames, 384)] of its hidden layers, 50 a second."""
    session = open_session(_expose_layers(content))

    def layers(signal: np.ndarray) -> list[np.ndarray]:
        sound = np.pad(signal[-_LONGEST:], (0, max(0, _SHORTEST - len(signal))))
        sound = (sound - sound.mean()) / np.sqrt(sound.var() + 1e-7)
        mel = log_mel(sound.astype(np.float32))
        mel = mel[:, : mel.shape[1] // 2 * 2]
        return [layer[0] for layer in session.run(list(_LAYERS), {"input_features": mel[None]})]

    return layers


def _expose_layers(content: bytes) -> bytes:
    """Graph that gives its hidden layers, for any number of frames up to that of 8 s.

    The network was made for 8 s, with silence before what is shorter, whose frames cost as much as sound. Attention
    takes any number of frames; they keep the places that they would have at the end of the 8 s.
    """
    import onnx
    from onnx import helper, numpy_helper

    model = onnx.load_from_string(content)
    graph = model.graph
    del graph.value_info[:]
    del graph.output[:]
    graph.output.extend(helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in _LAYERS)
    length = graph.input[0].type.tensor_type.shape.dim[2]
    length.Clear()
    length.dim_param = "n_frames"
    for weights in graph.initializer:
        if weights.name == "val_21":  # the number of frames in the shapes that attention takes
            weights.CopyFrom(numpy_helper.from_array(np.array([-1]), "val_21"))
    (place,) = (number for number, node in enumerate(graph.node) if node.output[0] == "add_20")
    positions = graph.node[place].input[1]
    graph.node[place].input[1] = "last_positions"
    for node in (
        helper.make_node("Slice", [positions, "from_end", "to_end", "by_frame"], ["last_positions"]),
        helper.make_node("Neg", ["n_places"], ["from_end"]),
        helper.make_node("Shape", [graph.node[place].input[0]], ["n_places"], start=1, end=2),
    ):
        graph.node.insert(place, node)
    for name, value in (("to_end", np.iinfo(np.int64).max), ("by_frame", 0)):
        graph.initializer.append(numpy_helper.from_array(np.array([value]), name))
    return model.SerializeToString()
