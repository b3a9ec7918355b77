"""The encoder of Whisper as an ONNX graph that takes a log-mel spectrogram of any length and gives its hidden layers.

Two convolutions, the second of which halves the frames; positions; blocks of attention and of a feed-forward network,
each behind a layer norm and added to what goes past it; a layer norm at the end. Sizes are those of the weights.

References
----------
Radford, Kim, Xu, Brockman, McLeavey and Sutskever, "Robust speech recognition via large-scale weak supervision",
International Conference on Machine Learning, 2023.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ser_lib.core.errors import EncoderError

INPUT = "log_mel"
_OPSET = 20
"""The first that has GELU."""
_IR_VERSION = 10
_EPSILON = 1e-5
_KERNEL = 3
"""Frames that a convolution sees at once."""


class _Sizes(NamedTuple):
    width: int
    n_bands: int
    n_positions: int
    n_heads: int
    inner: int
    n_blocks: int


def build_graph(weights: Mapping[str, np.ndarray], outputs: Sequence[str]) -> bytes:
    """ONNX file that computes layers of Whisper's encoder.

    Parameters
    ----------
    weights : mapping of np.ndarray
        Variables by the names that CTranslate2 gives them, without `encoder/`.
    outputs : sequence of str
        Layers [shape=(n_frames / 2, width)] that the graph gives: `hidden_0`, what enters the first block; `hidden_1`
        …, what leaves each block; `attention_norm_1` …, `ffn_norm_1` …, what the two halves of a block see; `norm`, the
        encoder's own output.

    Returns
    -------
    bytes
        Its input is `log_mel` [shape=(1, n_bands, n_frames)], float32, `n_frames` even and at most twice the positions.
        It holds nothing that the outputs do not need.

    Raises
    ------
    EncoderError
        If weights are missing, or have other shapes than those of one network.
    """
    sizes = _sizes(weights)
    for name, shape in _shapes(sizes).items():
        if name not in weights or weights[name].shape != shape or weights[name].dtype.kind != "f":
            raise _unlike(name)
    graph = _Graph(weights, sizes)
    hidden = graph.stem()
    for number in range(1, sizes.n_blocks + 1):
        hidden = graph.feed_forward(graph.attention(hidden, number), number)
    graph.norm(hidden, "", "norm")
    return graph.content(outputs)


def _unlike(name: str) -> EncoderError:
    return EncoderError(f"The weights must be those of one Whisper encoder. `{name}` is missing, or of another shape.")


def _sizes(weights: Mapping[str, np.ndarray]) -> _Sizes:
    def shape(name: str, rank: int) -> tuple[int, ...]:
        if name not in weights or weights[name].ndim != rank:
            raise _unlike(name)
        return weights[name].shape

    width, n_bands, _ = shape("conv1/weight", 3)
    (n_positions, _), (inner,) = shape("position_encodings/encodings", 2), shape("layer_0/ffn/linear_0/bias", 1)
    shape("num_heads", 0)
    n_heads = int(weights["num_heads"]) if weights["num_heads"].dtype.kind == "i" else 0
    if n_heads < 1 or width % n_heads:
        raise _unlike("num_heads")
    n_blocks = sum(name.endswith("/self_attention/linear_0/weight") for name in weights)
    return _Sizes(width, n_bands, n_positions, n_heads, inner, n_blocks)


def _shapes(sizes: _Sizes) -> dict[str, tuple[int, ...]]:
    width, inner = sizes.width, sizes.inner
    layers: dict[str, tuple[int, ...]] = {"conv1": (width, sizes.n_bands, _KERNEL), "conv2": (width, width, _KERNEL)}
    norms = ["layer_norm"]
    for block in (f"layer_{number}" for number in range(sizes.n_blocks)):
        layers[f"{block}/self_attention/linear_0"] = (3 * width, width)
        layers[f"{block}/self_attention/linear_1"] = (width, width)
        layers[f"{block}/ffn/linear_0"], layers[f"{block}/ffn/linear_1"] = (inner, width), (width, inner)
        norms += [f"{block}/self_attention/layer_norm", f"{block}/ffn/layer_norm"]
    return (
        {"position_encodings/encodings": (sizes.n_positions, width)}
        | {f"{layer}/weight": shape for layer, shape in layers.items()}
        | {f"{layer}/bias": shape[:1] for layer, shape in layers.items()}
        | {f"{norm}/{name}": (width,) for norm in norms for name in ("gamma", "beta")}
    )


class _Graph:
    """Nodes and the weights that they use, in the order of computation."""

    def __init__(self, weights: Mapping[str, np.ndarray], sizes: _Sizes) -> None:
        self._weights, self._sizes = weights, sizes
        self._nodes: list[Any] = []
        self._tensors: dict[str, np.ndarray] = {}

    def _node(self, kind: str, inputs: list[str], output: str | None = None, **attributes: Any) -> str:
        from onnx import helper

        output = output or f"{kind}_{len(self._nodes)}"
        self._nodes.append(helper.make_node(kind, inputs, [output], **attributes))
        return output

    def _weight(self, name: str) -> str:
        self._tensors[name] = self._weights[name]
        return name

    def _numbers(self, *numbers: int) -> str:
        name = "_".join(map(str, ("numbers", *numbers)))
        self._tensors[name] = np.array(numbers, dtype=np.int64)
        return name

    def _linear(self, inputs: str, layer: str) -> str:
        return self._node("Gemm", [inputs, self._weight(f"{layer}/weight"), self._weight(f"{layer}/bias")], transB=1)

    def _convolution(self, inputs: str, layer: str, stride: int) -> str:
        weights = [self._weight(f"{layer}/weight"), self._weight(f"{layer}/bias")]
        return self._node("Gelu", [self._node("Conv", [inputs, *weights], pads=[1, 1], strides=[stride])])

    def norm(self, inputs: str, scope: str, output: str) -> str:
        weights = [self._weight(f"{scope}layer_norm/{name}") for name in ("gamma", "beta")]
        return self._node("LayerNormalization", [inputs, *weights], output, epsilon=_EPSILON)

    def stem(self) -> str:
        """What enters the first block [shape=(n_frames / 2, width)]."""
        bands = self._convolution(self._convolution(INPUT, "conv1", 1), "conv2", 2)
        frames = self._node("Transpose", [self._node("Squeeze", [bands, self._numbers(0)])], perm=[1, 0])
        n_frames = self._node("Shape", [frames], start=0, end=1)
        table = self._weight("position_encodings/encodings")
        positions = self._node("Slice", [table, self._numbers(0), n_frames, self._numbers(0)])
        return self._node("Add", [frames, positions], "hidden_0")

    def attention(self, hidden: str, number: int) -> str:
        scope, n_heads, width = f"layer_{number - 1}/self_attention/", self._sizes.n_heads, self._sizes.width
        joined = self._linear(self.norm(hidden, scope, f"attention_norm_{number}"), f"{scope}linear_0")
        split = self._node("Reshape", [joined, self._numbers(-1, 3, n_heads, width // n_heads)])
        queries, keys, values = (self._one_of(split, place) for place in range(3))
        scale = self._scale(width // n_heads)
        scores = self._node("MatMul", [self._node("Mul", [queries, scale]), self._turned(keys, [0, 2, 1])])
        mixed = self._node("MatMul", [self._node("Softmax", [scores], axis=-1), values])
        merged = self._node("Reshape", [self._turned(mixed, [1, 0, 2]), self._numbers(-1, width)])
        return self._node("Add", [hidden, self._linear(merged, f"{scope}linear_1")])

    def _one_of(self, split: str, place: int) -> str:
        """Queries, keys or values [shape=(n_heads, n_frames, width / n_heads)]."""
        self._tensors[f"place_{place}"] = np.array(place, dtype=np.int64)
        return self._turned(self._node("Gather", [split, f"place_{place}"], axis=1), [1, 0, 2])

    def _turned(self, inputs: str, order: list[int]) -> str:
        return self._node("Transpose", [inputs], perm=order)

    def _scale(self, size: int) -> str:
        self._tensors["scale"] = np.array(size**-0.5, dtype=np.float32)
        return "scale"

    def feed_forward(self, hidden: str, number: int) -> str:
        scope = f"layer_{number - 1}/ffn/"
        inner = self._linear(self.norm(hidden, scope, f"ffn_norm_{number}"), f"{scope}linear_0")
        outer = self._linear(self._node("Gelu", [inner]), f"{scope}linear_1")
        return self._node("Add", [hidden, outer], f"hidden_{number}")

    def content(self, outputs: Sequence[str]) -> bytes:
        from onnx import TensorProto, helper, numpy_helper

        nodes, needed = self._needed(outputs)
        given = helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, [1, self._sizes.n_bands, "n_frames"])
        wanted = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, self._sizes.width]) for name in outputs]
        used = {name: values for name, values in self._tensors.items() if name in needed}
        tensors = [numpy_helper.from_array(_in_32_bits(values), name) for name, values in used.items()]
        graph = helper.make_graph(nodes, "whisper_encoder", [given], wanted, tensors)
        versions = [helper.make_opsetid("", _OPSET)]
        model: bytes = helper.make_model(graph, opset_imports=versions, ir_version=_IR_VERSION).SerializeToString()
        return model

    def _needed(self, outputs: Sequence[str]) -> tuple[list[Any], set[str]]:
        """Nodes that the outputs need, and names of all that these use; ONNX Runtime would compute the others too."""
        nodes, names = [], set(outputs)
        for node in reversed(self._nodes):
            if names.intersection(node.output):
                nodes.append(node)
                names.update(node.input)
        return nodes[::-1], names


def _in_32_bits(values: np.ndarray) -> np.ndarray:
    return values.astype(np.float32) if values.dtype.kind == "f" else values
