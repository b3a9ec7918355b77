"""What an ONNX file must be before a library works on it: a few kilobytes can ask for gigabytes.

A file is walked byte by byte before it is parsed, and its graph before any shape is inferred, since both take memory by
what the file says and not by what it holds.
"""

import math
from collections.abc import Iterator

import onnx

MOST_NUMBERS = 50_000_000
"""Numbers that the layers of a model may have together, for one clip and for a batch: 200 MB."""
_LARGEST_GRAPH = 200_000
"""Bytes that all of a file but its weights may have; the largest model of this project has a fortieth of it."""
_LARGEST_OPTION = 1_000_000
"""Size of a whole number that an option of a node may have: some say how many outputs to make room for."""
MOST_OPERATIONS = 2_000_000_000
"""Multiplications that a model may need for one clip: about a second. This project's networks need a tenth of it."""
_LONGEST_SHAPE = 10_000
"""Whole numbers that a tensor made of shapes may hold: inference computes them all."""
_OPERATORS = frozenset(
    "Abs Add And AveragePool BatchNormalization Cast Ceil Clip Concat Constant ConstantOfShape Conv Div Dropout Elu "
    "Equal Erf Exp Expand Flatten Floor GRU Gather Gelu Gemm GlobalAveragePool GlobalMaxPool Greater HardSigmoid "
    "HardSwish Identity InstanceNormalization LSTM LayerNormalization LeakyRelu Less Log LogSoftmax MatMul Max "
    "MaxPool Min Mish Mul Neg Not Or PRelu Pad Pow RNN Range Reciprocal ReduceL1 ReduceL2 ReduceLogSumExp ReduceMax "
    "ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare Relu Reshape Round Selu Shape Sigmoid Sign Size "
    "Slice Softmax Softplus Split Sqrt Squeeze Sub Sum Tanh Tile Transpose Unsqueeze Where".split()
)
"""Operators of networks of this kind, all of which cost what `_operations` says; Einsum or Loop cost what they like."""
_TOO_LARGE = f"all but its weights must have at most {_LARGEST_GRAPH:,} bytes"
_UNKNOWN = "the size of each of its layers must be known"
_DOMAINS = {"", "ai.onnx"}
"""Names of ONNX's own set of nodes."""
_PLAIN = {
    getattr(onnx.AttributeProto, name) for name in ("FLOAT", "FLOATS", "INT", "INTS", "STRING", "STRINGS", "TENSOR")
}
"""Kinds of attributes that cannot hold graphs, or tensors of any size in a few bytes."""
_GRAPH = onnx.ModelProto.DESCRIPTOR.fields_by_name["graph"].number
_WEIGHTS = onnx.GraphProto.DESCRIPTOR.fields_by_name["initializer"].number
_RAW = onnx.TensorProto.DESCRIPTOR.fields_by_name["raw_data"].number
_VARINT, _EIGHT_BYTES, _BYTES, _FOUR_BYTES = 0, 1, 2, 5
"""How protobuf writes a value."""


class TooLarge(ValueError):
    """A model whose layers are plain, and ask for too much."""


def count_numbers(content: bytes) -> int:
    """Numbers that the model in an ONNX file computes for one clip, all layers together.

    Refused are graphs inside of nodes, such as loops, which might never end, nodes of other sets than ONNX's own,
    tensors that say to be larger than they are, and layers whose size is not known before they run: a model of this
    project has none, and any might ask for gigabytes.

    Raises
    ------
    ValueError
        If it is refused; TooLarge if only for the size of its layers.
    """
    _check_size(memoryview(content))
    model = onnx.load_from_string(content)
    _check_plain(model)
    (taken,) = model.graph.input
    taken.type.tensor_type.shape.dim[0].dim_value = 1  # one clip
    del model.graph.value_info[:]  # what the file itself says of its layers
    _check_concatenated(model.graph, _shapes(onnx.shape_inference.infer_shapes(model).graph))
    graph = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    shapes = _shapes(graph)
    sizes = {name: math.prod(shape) for name, shape in shapes.items()}
    for node in graph.node:
        for name in node.output:
            if name and name not in sizes:
                sizes[name] = _bound(node, shapes, sizes)
    computed = sum(sizes[name] for node in graph.node for name in node.output if name)
    if computed > MOST_NUMBERS:
        raise TooLarge(f"its layers must have at most {MOST_NUMBERS:,} numbers for a clip")
    if sum(_operations(node, shapes, sizes) for node in graph.node) > MOST_OPERATIONS:
        raise TooLarge(f"it must need at most {MOST_OPERATIONS:,} multiplications for a clip")
    return computed


def _shapes(graph: onnx.GraphProto) -> dict[str, tuple[int, ...]]:
    """Shapes of all tensors of a graph that are known."""
    shapes = {weights.name: tuple(weights.dims) for weights in graph.initializer}
    for value in (*graph.input, *graph.value_info, *graph.output):
        kind = value.type.tensor_type
        if kind.HasField("shape") and all(length.HasField("dim_value") for length in kind.shape.dim):
            shapes[value.name] = tuple(length.dim_value for length in kind.shape.dim)
    return shapes


def _check_concatenated(graph: onnx.GraphProto, shapes: dict[str, tuple[int, ...]]) -> None:
    """Refuse a chain of `Concat` that doubles a list of lengths until inference, which computes it, has no memory."""
    lengths = {name: shape[0] for name, shape in shapes.items() if len(shape) == 1}
    for node in graph.node:
        given = [lengths.get(name, 1) for name in node.input]
        longest = sum(given) if node.op_type == "Concat" else max(given, default=1)
        for name in node.output:
            lengths.setdefault(name, longest)
            if name not in shapes and lengths[name] > _LONGEST_SHAPE:
                raise ValueError(_UNKNOWN)
        if node.op_type == "Concat" and len(shapes.get(node.output[0], ())) == 1 and longest > _LONGEST_SHAPE:
            raise ValueError(f"a list of lengths must have at most {_LONGEST_SHAPE:,} numbers")


def _operations(node: onnx.NodeProto, shapes: dict[str, tuple[int, ...]], sizes: dict[str, int]) -> int:
    """Multiplications, or the like, that a node needs at most."""
    made = sum(sizes[name] for name in node.output if name)
    given = [sizes[name] for name in node.input if name]
    if node.op_type == "Conv":
        return made * math.prod(shapes.get(node.input[1], (given[1],))[1:] or (1,))
    if node.op_type in ("MaxPool", "AveragePool"):
        (kernel,) = (attribute.ints for attribute in node.attribute if attribute.name == "kernel_shape")
        return made * math.prod(kernel)
    if node.op_type == "MatMul":
        return made * _summed(node, shapes, sizes)
    if node.op_type == "Gemm":
        return made * max(shapes.get(node.input[0], (given[0],))[-2:], default=1)
    if node.op_type in ("LSTM", "GRU", "RNN"):
        return shapes.get(node.input[0], (given[0],))[0] * (given[1] + given[2])
    return made + sum(given)


def _summed(node: onnx.NodeProto, shapes: dict[str, tuple[int, ...]], sizes: dict[str, int]) -> int:
    """Products that are added for each number of a `MatMul`, at most: the rows of a matrix where it is known."""
    first, second = node.input
    if second in shapes and len(shapes[second]) == 2:
        return shapes[second][0]
    return (shapes.get(first, (sizes[first],)) or (1,))[-1]


def _check_plain(model: onnx.ModelProto) -> None:
    """Refuse, before anything is inferred, what no model of this project has."""
    graph = model.graph
    attributes = [attribute for node in graph.node for attribute in node.attribute]
    graphs = (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS)
    if model.functions or model.training_info or any(attribute.type in graphs for attribute in attributes):
        raise ValueError("it must be one plain graph, without loops and functions")
    domains = {node.domain for node in graph.node} - _DOMAINS
    if domains:
        raise ValueError(f"its nodes must be of ONNX's own set, not of {', '.join(sorted(domains))}")
    kinds = {node.op_type for node in graph.node} - _OPERATORS
    if kinds:
        raise ValueError(f"its nodes must be of a network's usual kinds, not {', '.join(sorted(kinds))}")
    if graph.sparse_initializer or any(not _is_plain(attribute) for attribute in attributes):
        raise ValueError("its nodes and weights must be plain arrays and numbers up to a million, none of them sparse")
    for tensor in (*graph.initializer, *(attribute.t for attribute in attributes if attribute.HasField("t"))):
        _check_tensor(tensor)


def _is_plain(attribute: onnx.AttributeProto) -> bool:
    """Whether an attribute is of a plain kind and size, and holds nothing of another one beside it."""
    others = (attribute.graphs, attribute.tensors, attribute.sparse_tensors, attribute.type_protos)
    single = any(attribute.HasField(name) for name in ("g", "sparse_tensor", "tp"))
    small = all(abs(number) <= _LARGEST_OPTION for number in (attribute.i, *attribute.ints))
    return attribute.type in _PLAIN and small and not single and not any(map(len, others))


def _check_tensor(tensor: onnx.TensorProto) -> None:
    """Refuse a tensor whose dimensions say more than its bytes can hold, two numbers in each at most."""
    wrong = [length for length in tensor.dims if not 0 <= length <= MOST_NUMBERS]
    if wrong or math.prod(tensor.dims) > 2 * tensor.ByteSize():
        raise ValueError("each of its tensors must hold as many numbers as its dimensions say")


def _bound(node: onnx.NodeProto, shapes: dict[str, tuple[int, ...]], sizes: dict[str, int]) -> int:
    """Most numbers that a layer can have whose shape is not known, from those that it is given."""
    if node.op_type == "Reshape":
        return sizes[node.input[0]]
    if node.op_type == "MatMul":
        first, second = node.input
        rows, columns = shapes[second] if len(shapes.get(second, ())) == 2 else (1, sizes[second])
        return sizes[first] * columns // max(rows, 1)
    raise ValueError(_UNKNOWN)


def _check_size(model: memoryview) -> None:
    """Refuse a file that is large without its raw weights: parsed, the rest takes a hundred times as much."""
    graphs = [part for number, part in _fields(model) if number == _GRAPH]
    if len(graphs) != 1:
        raise ValueError("it is no ONNX model")
    weights = [part for number, part in _fields(graphs[0]) if number == _WEIGHTS]
    rest = len(model) - sum(map(len, weights))
    for tensor in weights:
        rest += len(tensor) - sum(len(part) for number, part in _fields(tensor) if number == _RAW)
        if rest > _LARGEST_GRAPH:
            break
    if rest > _LARGEST_GRAPH:
        raise ValueError(_TOO_LARGE)


def _fields(message: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Number and content of each field of a protobuf message; of numbers, nothing.

    Raises
    ------
    ValueError
        If it is none, or has more fields than a graph may have bytes.
    """
    place = 0
    for _ in range(_LARGEST_GRAPH):
        if place >= len(message):
            return
        key, place = _varint(message, place)
        kind, length = key & 7, 0
        if kind == _VARINT:
            _, place = _varint(message, place)
        elif kind == _BYTES:
            length, place = _varint(message, place)
        elif kind in (_FOUR_BYTES, _EIGHT_BYTES):
            length = 4 if kind == _FOUR_BYTES else 8
        else:
            raise ValueError("it is no ONNX model")
        if place + length > len(message):
            raise ValueError("it is no ONNX model")
        yield key >> 3, message[place : place + length]
        place += length
    raise ValueError(_TOO_LARGE)


def _varint(message: memoryview, place: int) -> tuple[int, int]:
    """Number that is written in groups of seven bits from a place on, and the place behind it."""
    value = 0
    for shift in range(0, 70, 7):
        if place >= len(message):
            break
        byte = message[place]
        value, place = value | (byte & 0x7F) << shift, place + 1
        if byte < 0x80:
            return value, place
    raise ValueError("it is no ONNX model")
