"""Bundles that leave the project and come from elsewhere: nothing in one is run, and no file of it is believed."""

import hashlib
import io
import json
import shutil
import stat
import zipfile
from pathlib import Path

import numpy as np
import onnx
import pytest
import soundfile
from test_records import call
from test_store import run_python

from ser_lib.audio.features import process_audio_file
from ser_lib.core.errors import BundleError, StageError
from ser_lib.core.io import file_hash
from ser_lib.model import archive as export
from ser_lib.model.bundle import load_bundle
from ser_lib.predict import predict_emotion_from_file

RECORD = Path(__file__).resolve().parent.parent / "reports" / "demo"
RATE = 24414


@pytest.fixture
def here(root):
    shutil.copytree(RECORD, root / "reports" / "one", ignore=shutil.ignore_patterns("*.ipynb", "*.html"))
    return root


@pytest.fixture
def exported(here, monkeypatch, capsys):
    path = here / "one.zip"
    status, out, _ = call(monkeypatch, capsys, "export", "one", str(path))
    assert (status, out) == (0, "one.zip holds bundle.json, LICENCE.txt, model_card.md, model.onnx.\n")
    return path


def rewritten(path, change):
    """The zip file with its members changed by `change`, a function of name → content."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    members = change(members) or members
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def with_sums(members):
    members["SHA256SUMS"] = "".join(
        f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in members.items() if name != "SHA256SUMS"
    ).encode()
    return members


def test_exported_bundle_predicts_as_the_run_does(here, exported):
    signal = np.random.default_rng(0).standard_normal(RATE) / 10
    elsewhere = shutil.move(exported, here / "elsewhere.zip")
    of_run = load_bundle(here / "reports" / "one").predict(signal, RATE)
    assert load_bundle(elsewhere).predict(signal, RATE) == of_run


def test_same_bundle_is_the_same_bytes(here, exported, monkeypatch, capsys):
    assert call(monkeypatch, capsys, "export", "one", str(here / "two.zip"))[0] == 0
    assert file_hash(exported) == file_hash(here / "two.zip")


def test_checksums_are_those_of_every_member(exported):
    with zipfile.ZipFile(exported) as archive:
        sums = archive.read("SHA256SUMS").decode()
        names = set(archive.namelist()) - {"SHA256SUMS"}
    assert {line.split("  ")[1] for line in sums.splitlines()} == names
    assert f"{file_hash(RECORD / 'model.onnx')}  model.onnx\n" in sums


def test_file_that_is_there_stays_unless_forced(here, exported, monkeypatch, capsys):
    exported.write_bytes(b"mine")
    status, _, err = call(monkeypatch, capsys, "export", "one", str(exported))
    assert (status, err) == (1, "error: one.zip is there already. Choose another name, or add --force.\n")
    assert exported.read_bytes() == b"mine"
    assert call(monkeypatch, capsys, "export", "one", str(exported), "--force")[0] == 0
    load_bundle(exported)


def test_run_without_its_model_is_not_exported(here, monkeypatch, capsys):
    (here / "reports" / "one" / "model.onnx").write_bytes(b"another")
    status, _, err = call(monkeypatch, capsys, "export", "one", str(here / "x.zip"))
    assert status == 1 and "The model.onnx of one is another, or was changed." in err
    assert not (here / "x.zip").exists()


@pytest.mark.parametrize("name", ["../x", "/x", "a/b", "a\\b", "..", "C:\\x", "folder/"])
def test_member_that_would_leave_its_folder_is_refused(exported, tmp_path, name):
    rewritten(exported, lambda members: with_sums(members | {name: b"x"}))
    before = set(tmp_path.rglob("*"))
    with pytest.raises(BundleError, match="members must be files with plain names"):
        load_bundle(exported)
    assert set(tmp_path.rglob("*")) == before


def test_link_is_refused(exported):
    with zipfile.ZipFile(exported, "a") as archive:
        member = zipfile.ZipInfo("link.onnx")
        member.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(member, "/etc/passwd")
    with pytest.raises(BundleError, match="members must be files with plain names"):
        load_bundle(exported)


def test_bomb_is_refused_before_it_is_unpacked(exported, monkeypatch):
    monkeypatch.setattr(export, "LARGEST", 10_000)
    with pytest.raises(BundleError, match="at most 10,000 bytes"):
        load_bundle(exported)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m | {"model.onnx": m["model.onnx"][:-1] + b"\0"}, r"model\.onnx is not what SHA256SUMS says"),
        (lambda m: with_sums(m | {"model.onnx": m["model.onnx"] + b"\0"}), r"is not the model that bundle\.json"),
        (lambda m: {name: content for name, content in m.items() if name != "SHA256SUMS"}, "must hold bundle.json and"),
        (
            lambda m: {name: content for name, content in m.items() if name != "bundle.json"},
            "must hold bundle.json and",
        ),
        (lambda m: with_sums(m | {"bundle.json": b"[" * 100_000}), "is damaged"),
        (lambda m: with_sums(m | {"bundle.json": b'{"format": 1e999}'}), "is damaged"),
        (lambda m: with_sums(m | {"bundle.json": b"{}"}), r"is damaged \(.*\)\. Get it once more\.$"),
        (lambda m: m | {"SHA256SUMS": b"\xff\xfe"}, "cannot be read"),
        (lambda m: m | {"SHA256SUMS": b"no sums\n"}, "cannot be read"),
    ],
)
def test_bundle_that_was_tampered_with_is_one_line(exported, change, message):
    with pytest.raises(BundleError, match=message) as caught:
        load_bundle(rewritten(exported, change))
    assert "\n" not in str(caught.value)


def with_model(members, model):
    members["model.onnx"] = model.SerializeToString()
    info = json.loads(members["bundle.json"])
    info["onnx_sha256"] = hashlib.sha256(members["model.onnx"]).hexdigest()
    members["bundle.json"] = json.dumps(info).encode()
    return with_sums(members)


def test_model_that_reads_other_files_is_refused(exported, tmp_path, monkeypatch):
    (tmp_path / "secret").write_bytes(bytes(4 * 10_000))
    monkeypatch.chdir(tmp_path)

    def change(members):
        model = onnx.load_from_string(members["model.onnx"])
        tensor = max(model.graph.initializer, key=lambda one: len(one.raw_data))
        tensor.ClearField("raw_data")
        tensor.data_location = onnx.TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value="secret")
        return with_model(members, model)

    with pytest.raises(BundleError, match="cannot be loaded"):
        load_bundle(rewritten(exported, change))


def test_weights_that_are_nan_give_no_emotion(exported):
    def change(members):
        model = onnx.load_from_string(members["model.onnx"])
        for tensor in model.graph.initializer:
            if tensor.data_type == onnx.TensorProto.FLOAT:
                nan = np.full(onnx.numpy_helper.to_array(tensor).shape, np.nan, dtype=np.float32)
                tensor.CopyFrom(onnx.numpy_helper.from_array(nan, tensor.name))
        return with_model(members, model)

    with pytest.raises(BundleError, match="must give a probability for each of 7 emotions"):
        load_bundle(rewritten(exported, change))


SHAPE = (75, 15)
"""Frames and features that the demo model takes."""


def model_of(*nodes, values=(), taken=onnx.TensorProto.FLOAT, given=onnx.TensorProto.FLOAT):
    """A model with the shapes of the demo's, its nodes from `x` to `y`; `values` are named w0, w1, …"""
    make = onnx.helper
    graph = make.make_graph(
        [make.make_node(*node[:3], **(node[3] if len(node) > 3 else {})) for node in nodes],
        "g",
        [make.make_tensor_value_info("x", taken, ("n", *SHAPE))],
        [make.make_tensor_value_info("y", given, ("n", 7))],
        [onnx.numpy_helper.from_array(value, f"w{number}") for number, value in enumerate(values)],
    )
    return make.make_model(graph, opset_imports=[make.make_opsetid("", 17)], ir_version=8)


WEIGHTS = np.zeros((SHAPE[1], 7), dtype=np.float32)
MEAN = ("ReduceMean", ["x"], ["m"], {"axes": [1], "keepdims": 0})
TO_LOGITS = ("MatMul", ["m", "w0"], ["l"])
SOFTMAX = ("Softmax", ["l"], ["y"], {"axis": -1})
DOUBLE = onnx.TensorProto.DOUBLE


def endless():
    """A model whose loop goes round for ever."""
    make, true = onnx.helper, np.array(True)
    same = make.make_node("Identity", ["c"], ["c2"]), make.make_node("Identity", ["v"], ["v2"])
    body = make.make_graph(
        same,
        "body",
        [
            make.make_tensor_value_info("i", onnx.TensorProto.INT64, ()),
            make.make_tensor_value_info("c", onnx.TensorProto.BOOL, ()),
            make.make_tensor_value_info("v", onnx.TensorProto.FLOAT, None),
        ],
        [
            make.make_tensor_value_info("c2", onnx.TensorProto.BOOL, ()),
            make.make_tensor_value_info("v2", onnx.TensorProto.FLOAT, None),
        ],
    )
    loop = ("Loop", ["", "w1", "m"], ["k"], {"body": body})
    return model_of(MEAN, loop, ("MatMul", ["k", "w0"], ["l"]), SOFTMAX, values=(WEIGHTS, true))


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (model_of(MEAN, ("MatMul", ["m", "w0"], ["y"]), values=(WEIGHTS,)), "must give a probability"),
        (model_of(("Reshape", ["x", "w0"], ["y"]), values=(np.array([5, 7]),)), "cannot predict"),
        (model_of(("ReduceMean", ["x"], ["m"], {"axes": [1], "keepdims": 0}), ("Cast", ["m"], ["f"], {"to": 1}),
                  ("MatMul", ["f", "w0"], ["l"]), SOFTMAX, values=(WEIGHTS,), taken=DOUBLE), "cannot predict"),
        (endless(), "one plain graph, without loops"),
        (model_of(("Reshape", ["x", "w0"], ["y"]), values=(np.array([-1, 7, 7919]),)), "must fit the model"),
    ],
)  # fmt: skip
def test_model_that_gives_no_probabilities_is_refused_when_it_is_loaded(exported, model, message):
    rewritten(exported, lambda members: with_model(members, model))
    with pytest.raises(BundleError, match=message) as caught:
        load_bundle(exported)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("nodes", "values", "message"),
    [
        ([("Softmax", ["l"], ["s"]), ("Abs", ["l"], ["a"]), ("Sub", ["s", "a"], ["y"])], (), "other numbers"),
        ([("Softmax", ["l"], ["s"]), ("Abs", ["l"], ["a"]), ("Add", ["s", "a"], ["y"])], (), "other numbers"),
        (
            [("Softmax", ["l"], ["s"]), ("ReduceMax", ["l"], ["g"], {"keepdims": 0}), ("Abs", ["g"], ["p"]),
             ("Ceil", ["p"], ["c"]), ("Cast", ["c"], ["i"], {"to": 7}), ("Mul", ["i", "w1"], ["k"]),
             ("Add", ["k", "w2"], ["n1"]), ("Unsqueeze", ["n1", "w3"], ["n2"]), ("ConstantOfShape", ["n2"], ["b"]),
             ("ReduceSum", ["b"], ["t"], {"keepdims": 0}), ("Add", ["s", "t"], ["y"])],
            (np.array(1 << 50), np.array(1), np.array([0])), "the size of each of its layers must be known",
        ),
    ],
)  # fmt: skip
def test_model_that_is_right_about_zeros_alone_is_one_line(exported, nodes, values, message):
    model = model_of(MEAN, TO_LOGITS, *nodes, values=(WEIGHTS + np.float32(1), *values))
    path = rewritten(exported, lambda members: with_model(members, model))
    with pytest.raises(BundleError, match=message) as caught:
        load_bundle(path).predict(np.random.default_rng(0).standard_normal(RATE) / 10, RATE)
    assert "\n" not in str(caught.value)


def doubling(times):
    return [("Shape", ["x"], ["c0"])] + [("Concat", 2 * [f"c{i}"], [f"c{i + 1}"], {"axis": 0}) for i in range(times)]


@pytest.mark.parametrize(
    ("nodes", "sizes", "message"),
    [
        (doubling(31), (), "at most 10,000 numbers"),
        ([("ConstantOfShape", ["w1"], ["c"]), ("AveragePool", ["c"], ["p"], {"kernel_shape": [1_000_000]})],
         [(1, 1, 8_000_000)], "at most 2,000,000,000 multiplications"),
        ([("ConstantOfShape", ["w1"], ["c"]), ("MaxPool", ["c"], ["p"], {"kernel_shape": [2000, 2000]})],
         [(1, 1, 4500, 4500)], "at most 2,000,000,000 multiplications"),
        ([("ConstantOfShape", ["w1"], ["c"]), ("ConstantOfShape", ["w2"], ["k"]), ("Conv", ["c", "k"], ["p"])],
         [(1, 1, 8_000_000), (1, 1, 4_000_000)], "at most 2,000,000,000 multiplications"),
        ([("ConstantOfShape", ["w1"], ["c"]), ("ConstantOfShape", ["w2"], ["k"]), ("MatMul", ["c", "k"], ["p"])],
         [(1000, 9000), (9000, 1000)], "at most 2,000,000,000 multiplications"),
        ([("ConstantOfShape", ["w1"], ["c"]), ("Einsum", ["c", "c"], ["p"], {"equation": "ia,ib->i"})],
         [(300, 4000)], "usual kinds, not Einsum"),
    ],
)  # fmt: skip
def test_small_model_that_asks_for_much_work_is_refused_before_any_is_done(exported, nodes, sizes, message):
    model = model_of(MEAN, TO_LOGITS, SOFTMAX, *nodes, values=(WEIGHTS, *map(np.array, sizes)))
    rewritten(exported, lambda members: with_model(members, model))
    with pytest.raises(BundleError, match=message) as caught:
        load_bundle(exported)
    assert "\n" not in str(caught.value)


def test_plain_model_of_the_right_shape_is_taken(exported):
    model = model_of(MEAN, TO_LOGITS, SOFTMAX, values=(WEIGHTS,))
    bundle = load_bundle(rewritten(exported, lambda members: with_model(members, model)))
    assert bundle.predict(np.random.default_rng(0).standard_normal(RATE) / 10, RATE).confidence == pytest.approx(1 / 7)


def info_with(**values):
    return lambda content: json.dumps(json.loads(content) | values).encode()


def settings_with(**values):
    return lambda content: json.dumps(
        json.loads(content) | {"settings": json.loads(content)["settings"] | values}
    ).encode()


def typical_with(**values):
    return lambda content: json.dumps(
        json.loads(content) | {"typical": json.loads(content)["typical"] | values}
    ).encode()


def speakers(mean, deviation):
    settings = settings_with(normalize_per_speaker=True)
    return lambda content: info_with(speakers={"a": {"mean": mean, "deviation": deviation}})(settings(content))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: content.replace(b'"format": 4', b'"format": 4, "format": 4'), "format is there twice"),
        (lambda content: content.replace(b'"mel_fmin": ', b'"mel_fmin": Infinity, "x": ', 1), "is damaged"),
        (settings_with(mel_fmin=float("inf")), "Infinity is no finite number"),
        (settings_with(target_length=10**7), "must fit the model"),
        (settings_with(target_length=10**7, hop_length=16, frame_length=65536), "must give a clip of at most"),
        (settings_with(target_length=10**12), "target_length"),
        (settings_with(n_mels=1), "as many coefficients as mel bands"),
        (settings_with(normalize_per_speaker=True), "statistics of its speakers"),
        (speakers([0.0], [1.0]), "statistics of its speakers"),
        (speakers([0.0] * 15, [0.0] * 15), "statistics of its speakers"),
        (speakers([float("nan")] * 15, [1.0] * 15), "NaN is no finite number"),
        (typical_with(mean=[0.0]), "what it calls typical"),
        (typical_with(deviation=[0.0] * 45), "what it calls typical"),
        (typical_with(distance=-1.0), "typical.distance"),
        (info_with(temperature=float("inf")), "temperature"),
        (info_with(temperature=1e-320), "temperature"),
        (info_with(emotions=["bored", "neutral", "happy", "sad", "angry", "fear", "disgust"]), "do not agree"),
        (info_with(onnx="a\nb.onnx"), "onnx"),
        (info_with(onnx="a" * 5000 + ".onnx"), "File name too long"),
        (info_with(onnx="other.onnx"), "must hold the model that its bundle.json names for onnx"),
        (info_with(**{"a\nb": 1}), r"a\\nb"),
        (lambda content: content + b" " * 10_000_000, "at most 10,000,000 bytes"),
    ],
)
def test_description_that_cannot_be_true_is_one_line(exported, change, message):
    rewritten(exported, lambda members: with_sums(members | {"bundle.json": change(members["bundle.json"])}))
    with pytest.raises(BundleError, match=message) as caught:
        load_bundle(exported)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["notes.txt", "other.onnx", "code.py", "weights.pkl"])
def test_member_that_no_bundle_has_is_refused(exported, name):
    with pytest.raises(BundleError, match="what belongs to a bundle, and no more"):
        load_bundle(rewritten(exported, lambda members: with_sums(members | {name: b"x"})))


def test_list_of_members_is_not_read_if_it_is_long(exported, monkeypatch):
    rewritten(exported, lambda members: members | {f"{number}": b"" for number in range(7)})
    monkeypatch.setattr(zipfile, "ZipFile", None)
    with pytest.raises(BundleError, match="at most 6 members"):
        load_bundle(exported)


def test_exported_bundle_is_not_exported_again(exported, monkeypatch, capsys):
    status, _, err = call(monkeypatch, capsys, "export", str(exported), "two.zip")
    assert status == 1 and "is a file already; copy it" in err


def test_what_is_no_zip_is_refused(tmp_path):
    for content in (b"", b"PK", b"hello", io.BytesIO().getvalue()):
        (tmp_path / "x.zip").write_bytes(content)
        with pytest.raises(BundleError, match="must be an exported bundle"):
            load_bundle(tmp_path / "x.zip")


HUGE = 2_000_000_000


def tensor_of(dims, kind=onnx.TensorProto.FLOAT):
    return onnx.TensorProto(name="t", dims=dims, data_type=kind, raw_data=bytes(4))


def sparse():
    """One number in an array of 8 EB; the list of its places says so again."""
    places = onnx.numpy_helper.from_array(np.array([0]), "i")
    return onnx.SparseTensorProto(dims=[HUGE, HUGE], values=tensor_of([1]), indices=places)


def with_attribute(attribute, kind="Constant"):
    model = model_of(MEAN, TO_LOGITS, SOFTMAX, values=(WEIGHTS,))
    model.graph.node.insert(0, onnx.NodeProto(op_type=kind, output=["c"], attribute=[attribute]))
    return model


def with_initializer(name, value):
    model = model_of(MEAN, TO_LOGITS, SOFTMAX, values=(WEIGHTS,))
    getattr(model.graph, name).append(value)
    return model


def hidden(**beside):
    """An attribute that says to be a number, and holds more."""
    return onnx.AttributeProto(name="value", type=onnx.AttributeProto.INT, i=1, **beside)


def with_training():
    model = model_of(MEAN, TO_LOGITS, SOFTMAX, values=(WEIGHTS,))
    model.training_info.add().algorithm.CopyFrom(with_attribute(SPARSE).graph)
    return model


def expanding(*nodes, values):
    return model_of(*nodes, MEAN, TO_LOGITS, SOFTMAX, values=(WEIGHTS, *values))


KINDS = onnx.AttributeProto
SPARSE = KINDS(name="sparse_value", type=KINDS.SPARSE_TENSOR, sparse_tensor=sparse())
BODY = onnx.GraphProto(name="g", sparse_initializer=[sparse()])
NOT_PLAIN, UNTRUE, PLAIN = (
    "must be plain arrays and numbers",
    "as many numbers as its dimensions say",
    "one plain graph",
)
BOMBS = {
    "sparse constant": (with_attribute(SPARSE), NOT_PLAIN),
    "sparse constants": (
        with_attribute(KINDS(name="x", type=KINDS.SPARSE_TENSORS, sparse_tensors=[sparse()])), NOT_PLAIN,
    ),
    "sparse weights": (with_initializer("sparse_initializer", sparse()), NOT_PLAIN),
    "sparse beside a number": (with_attribute(hidden(sparse_tensor=sparse())), NOT_PLAIN),
    "tensors": (with_attribute(KINDS(name="x", type=KINDS.TENSORS, tensors=[tensor_of([HUGE])])), NOT_PLAIN),
    "graph beside a number": (with_attribute(hidden(g=BODY)), NOT_PLAIN),
    "graph": (with_attribute(KINDS(name="then_branch", type=KINDS.GRAPH, g=BODY), "If"), PLAIN),
    "training": (with_training(), PLAIN),
    "constant": (with_attribute(KINDS(name="value", type=KINDS.TENSOR, t=tensor_of([HUGE]))), UNTRUE),
    "constant of whole numbers": (
        with_attribute(KINDS(name="value", type=KINDS.TENSOR, t=tensor_of([HUGE], onnx.TensorProto.INT64))), UNTRUE,
    ),
    "tensor beside a number": (with_attribute(hidden(t=tensor_of([HUGE]))), UNTRUE),
    "weights": (with_initializer("initializer", tensor_of([HUGE])), UNTRUE),
    "weights of many dimensions": (with_initializer("initializer", tensor_of([2] * 63)), UNTRUE),
    "weights less than nothing": (with_initializer("initializer", tensor_of([-1])), UNTRUE),
    "constant of a shape": (expanding(("ConstantOfShape", ["w1"], ["c"]), values=(np.array([HUGE]),)), "at most 50,"),
    "expanded": (expanding(("Expand", ["w0", "w1"], ["c"]), values=(np.array([HUGE, 1, 1]),)), "at most 50,000,000"),
    "tiled": (expanding(("Tile", ["w0", "w1"], ["c"]), values=(np.array([HUGE, 1]),)), "at most 50,000,000"),
    "split": (expanding(("Split", ["x"], ["c"], {"num_outputs": HUGE}), values=()), NOT_PLAIN),
    "range": (
        expanding(("Range", ["w1", "w2", "w3"], ["c"]), values=(np.array(0), np.array(HUGE), np.array(1))), "at most",
    ),
}  # fmt: skip
LOAD = """
import pathlib, resource, sys
from ser_lib.model.backends import load_onnx

load_onnx(pathlib.Path(sys.argv[1]))
size = int(pathlib.Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (size + (1 << 30),) * 2)
for path in sys.argv[2:]:
    try:
        load_onnx(pathlib.Path(path))
    except Exception as error:
        print(type(error).__name__, str(error).splitlines()[0], flush=True)
    else:
        print("taken", flush=True)
"""


def field(number, content):
    """A protobuf field of bytes."""
    length, size = b"", len(content)
    while size >= 0x80:
        length, size = length + bytes([size & 0x7F | 0x80]), size >> 7
    return bytes([number << 3 | 2]) + length + bytes([size]) + content


LARGE, NONE = "at most 200,000 bytes", "no ONNX model"
MANY = {  # two bytes each, of which a library makes objects of hundreds
    "many nodes": (field(7, field(1, b"") * 3_000_000), LARGE),
    "many weights": (field(7, field(5, b"") * 3_000_000), LARGE),
    "many dimensions": (field(7, field(5, field(1, b"\1" * 8_000_000))), LARGE),
    "many texts": (field(7, field(5, field(6, b"") * 3_000_000)), LARGE),
    "many notes": (field(14, b"") * 3_000_000, LARGE),
    "many graphs": (field(7, b"") * 100_000, NONE),
    "a length without end": (b"\x3a" + b"\xff" * 20, NONE),
    "a kind that is none": (b"\x0b", NONE),
}


@pytest.mark.skipif(not Path("/proc/self/statm").is_file(), reason="only Linux tells how large a process is")
def test_files_that_would_explode_are_refused_within_a_gigabyte(tmp_path):
    cases = {name: (model.SerializeToString(), message) for name, (model, message) in BOMBS.items()} | MANY
    for name, (content, _) in cases.items():
        (tmp_path / name).write_bytes(content)
    done = run_python(LOAD, RECORD / "model.onnx", *(tmp_path / name for name in cases))
    assert done.returncode == 0, done.stderr
    said = dict(zip(cases, done.stdout.splitlines(), strict=True))
    assert {name: line for name, line in said.items() if cases[name][1] not in line} == {}


def test_sparse_bomb_in_a_bundle_is_one_line(exported):
    rewritten(exported, lambda members: with_model(members, BOMBS["sparse constant"][0]))
    with pytest.raises(BundleError, match=NOT_PLAIN) as caught:
        load_bundle(exported)
    assert "\n" not in str(caught.value)


def test_bundle_is_looked_for_in_the_current_folder_and_then_in_the_project(
    here, exported, tmp_path_factory, monkeypatch, capsys
):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    monkeypatch.chdir(elsewhere)
    shutil.move(exported, elsewhere / "voice.zip")
    shutil.copytree(RECORD, elsewhere / "folder", ignore=shutil.ignore_patterns("*.ipynb", "*.html"))
    for name in ("voice.zip", "./voice.zip", "folder", "reports/one"):
        assert load_bundle(name).info.corpora == ["DEMO"]
    soundfile.write(elsewhere / "x.wav", np.random.default_rng(0).standard_normal(RATE) / 10, RATE)
    for name in ("voice.zip", "reports/one"):
        status, out, _ = call(monkeypatch, capsys, "predict", "x.wav", "--run", name)
        assert status == 0 and out.startswith("x.wav: ")
    bundle = load_bundle("voice.zip")
    shutil.copy(elsewhere / "x.wav", here / "y.wav")
    one, other = predict_emotion_from_file("x.wav", bundle), predict_emotion_from_file("y.wav", bundle)
    assert one.probabilities == other.probabilities
    features = [process_audio_file(name, bundle.info.settings) for name in ("x.wav", "y.wav")]
    np.testing.assert_array_equal(*features)


def test_bundle_that_is_nowhere_is_called_missing(here):
    with pytest.raises(
        StageError, match=r"^There is no voice\.zip, neither in the current folder nor in the project\."
    ):
        load_bundle("voice.zip")
