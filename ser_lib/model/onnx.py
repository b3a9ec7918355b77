"""Keras model → ONNX file, the same bytes for the same model.

tf2onnx names tensors by what else the process has built, and orders nodes arbitrarily. Here every tensor is named by a
hash of what it is computed from, and nodes and weights are sorted.
"""

import hashlib
import warnings
from pathlib import Path

import numpy as np
import onnx

from ser_lib.core.errors import SerError
from ser_lib.model.network import keras

INPUT, OUTPUT = "features", "probabilities"
"""Names of the graph's input and output."""


def export_onnx(model: keras.Model, path: Path) -> None:
    """Write `model` as ONNX: `features` [shape=(n_clips, n_frames, n_features)] → `probabilities`."""
    model(np.zeros((1, *model.input_shape[1:]), dtype=np.float32))  # a model that was never called exports wrongly
    with warnings.catch_warnings():  # numpy tells Keras's exporter of a name that will change
        warnings.simplefilter("ignore", FutureWarning)
        model.export(path, format="onnx", verbose=False)
    onnx.save(_settled(onnx.load(path)), path)


def _settled(exported: onnx.ModelProto) -> onnx.ModelProto:
    graph = exported.graph
    names = {graph.input[0].name: INPUT}
    weights = {}
    for tensor in graph.initializer:
        values = onnx.numpy_helper.to_array(tensor)
        names[tensor.name] = _hash(str(values.dtype), str(values.shape), values.tobytes())
        weights[names[tensor.name]] = values
    nodes: dict[str, onnx.NodeProto] = {}
    depths: dict[str, int] = {}
    for node in graph.node:  # in topological order, as ONNX demands
        inputs = [names[name] if name else "" for name in node.input]
        outputs = _rename_outputs(node, inputs, names, final=graph.output[0].name)
        settled = onnx.helper.make_node(node.op_type, inputs, outputs, name=outputs[0], domain=node.domain or None)
        settled.attribute.extend(sorted(node.attribute, key=lambda attribute: attribute.name))
        nodes[outputs[0]] = settled  # two nodes that compute the same become one
        depths |= dict.fromkeys(outputs, 1 + max((depths.get(name, 0) for name in inputs), default=0))
    return onnx.helper.make_model(
        onnx.helper.make_graph(
            [nodes[name] for name in sorted(nodes, key=lambda name: (depths[name], name))],
            "ser_bilstm",
            [_described(graph.input[0], INPUT)],
            [_described(graph.output[0], OUTPUT)],
            [onnx.numpy_helper.from_array(weights[name], name) for name in sorted(weights)],
        ),
        opset_imports=sorted(exported.opset_import, key=lambda opset: opset.domain),
        ir_version=exported.ir_version,
        producer_name="ser_lib",
    )


def _rename_outputs(node: onnx.NodeProto, inputs: list[str], names: dict[str, str], *, final: str) -> list[str]:
    """Names of a node's outputs, which are added to `names`."""
    attributes = sorted(attribute.SerializeToString(deterministic=True) for attribute in node.attribute)
    if any(attribute.HasField("g") for attribute in node.attribute):
        raise SerError(f"A model with a graph inside of a node ({node.op_type}) cannot be exported.")
    base = _hash(node.op_type, *inputs, *attributes)
    for number, name in enumerate(node.output):
        if name:
            names[name] = OUTPUT if name == final else f"{base}.{number}"
    return [names[name] if name else "" for name in node.output]


def _described(value: onnx.ValueInfoProto, name: str) -> onnx.ValueInfoProto:
    """Type of an input or output, whose first axis is the clips."""
    tensor = value.type.tensor_type
    shape = [dimension.dim_value for dimension in tensor.shape.dim]
    return onnx.helper.make_tensor_value_info(name, tensor.elem_type, ["n_clips", *shape[1:]])


def _hash(*parts: str | bytes) -> str:
    digest = hashlib.sha256()
    for part in parts:
        content = part.encode() if isinstance(part, str) else part
        digest.update(len(content).to_bytes(8, "big") + content)
    return digest.hexdigest()[:16]
