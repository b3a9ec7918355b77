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
from test_records import call

from ser_lib import export
from ser_lib.bundle import load_bundle
from ser_lib.errors import BundleError
from ser_lib.store import file_hash

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
    assert status == 1 and "has no such model.onnx" in err
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
        (info_with(emotions=["neutral", "happy", "sad", "angry", "fear", "disgust", "bored"]), "do not agree"),
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
    assert status == 1 and "is a file; copy it as it is" in err


def test_what_is_no_zip_is_refused(tmp_path):
    for content in (b"", b"PK", b"hello", io.BytesIO().getvalue()):
        (tmp_path / "x.zip").write_bytes(content)
        with pytest.raises(BundleError, match="must be an exported bundle"):
            load_bundle(tmp_path / "x.zip")
