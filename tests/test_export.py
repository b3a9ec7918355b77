"""Bundles that leave the project and come from elsewhere: nothing in one is run, and no file of it is believed."""

import hashlib
import io
import json
import random
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
from ser_lib.errors import BundleError, SerError
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
    assert (status, out) == (0, "one.zip holds bundle.json, model_card.md, model.onnx.\n")
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


def test_link_is_a_file_like_any(exported):
    """A member that calls itself a link is unpacked as the text it is, and then is not what it should be."""
    with zipfile.ZipFile(exported, "a") as archive:
        member = zipfile.ZipInfo("link.onnx")
        member.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(member, "/etc/passwd")
    with pytest.raises(BundleError, match=r"link\.onnx is not what SHA256SUMS says"):
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

    bundle = load_bundle(rewritten(exported, change))
    with pytest.raises(BundleError, match="This one gives NaN"):
        bundle.predict(np.random.default_rng(0).standard_normal(RATE) / 10, RATE)


def mutated(content, rng):
    content = bytearray(content)
    for _ in range(rng.randint(1, 8)):
        place = rng.randrange(len(content))
        kind = rng.randrange(3)
        if kind == 0:
            content[place] = rng.randrange(256)
        elif kind == 1:
            del content[place : place + rng.randint(1, 40)]
        else:
            content[place:place] = rng.choice([b"[", b"}", b"1e999", b"null", b"-1", b'"', b"\0", b"99999999999"])
        content = content or bytearray(b"x")
    return bytes(content)


@pytest.mark.parametrize("seed", range(4))
def test_chance_never_gets_past_the_reader(here, exported, seed):
    """Of any damage to the description or the zip file, only an error of ours comes out, or a bundle that is whole."""
    rng, folder = random.Random(seed), here / "reports" / "one"
    description, whole = (folder / "bundle.json").read_bytes(), exported.read_bytes()
    refused = 0
    for _ in range(150):
        (folder / "bundle.json").write_bytes(mutated(description, rng))
        exported.write_bytes(mutated(whole, rng))
        for path in (folder, exported):
            try:
                load_bundle(path)
            except SerError as error:
                refused += 1
                assert "\n" not in str(error)
    assert refused > 200  # most of the 300


def test_what_is_no_zip_is_refused(tmp_path):
    for content in (b"", b"PK", b"hello", io.BytesIO().getvalue()):
        (tmp_path / "x.zip").write_bytes(content)
        with pytest.raises(BundleError, match="must be an exported bundle"):
            load_bundle(tmp_path / "x.zip")
