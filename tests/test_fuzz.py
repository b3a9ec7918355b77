"""Files and bundles that chance has damaged: only an error of ours comes out, or what is whole.

2,100 cases in `make test`, the same ones each time; `make fuzz` tries many more, new ones each time.
"""

import contextlib
import functools
import hashlib
import io
import json
import os
import resource
import sys
import tempfile
import time
import zipfile
from pathlib import Path

import av
import numpy as np
import psutil
import pytest
import soundfile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.configuration import set_hypothesis_home_dir
from test_formats import compression
from test_project import REPO

from ser_lib.audio.decode import despite_damage, read_blocks
from ser_lib.audio.signal import load_recording
from ser_lib.core.errors import AudioError, BundleError, StageError
from ser_lib.model.bundle import load_bundle

set_hypothesis_home_dir(REPO / ".pytest_cache" / "hypothesis")  # it keeps notes even without a database
TIMES = int(os.environ.get("SER_FUZZ", "1"))
"""Times as many cases; from 2 on, others each time."""
RATE = 16000
LONGEST = 10
"""Seconds of processor time that a case may take, so that a busy machine fails none."""
LARGEST = 1 << 30
"""Bytes by which a case may enlarge the process."""


def cases(number):
    return settings(
        max_examples=number * TIMES,
        deadline=None,
        derandomize=TIMES == 1,
        database=None,
        suppress_health_check=list(HealthCheck),
    )


EDITS = st.lists(
    st.tuples(
        st.floats(0, 1, exclude_max=True),
        st.sampled_from(["replace", "delete", "insert", "zero", "cut"]),
        st.binary(min_size=1, max_size=16),
    ),
    min_size=1,
    max_size=6,
)
WORDS = st.lists(
    st.tuples(
        st.floats(0, 1, exclude_max=True),
        st.sampled_from(["replace", "delete", "insert"]),
        st.sampled_from([b"[", b"}", b"1e999", b"null", b"-1", b'"', b"\0", b"99999999999", b"0", b"1", b"true", b","]),
    ),
    min_size=1,
    max_size=6,
)


def edited(content, edits):
    content = bytearray(content)
    for share, kind, data in edits:
        # half of the places are in the header, where most of the meaning is
        place = int(share * 2 * min(len(content), 200)) if share < 0.5 else int((2 * share - 1) * len(content))
        if kind == "replace":
            content[place : place + len(data)] = data
        elif kind == "delete":
            del content[place : place + 3 * len(data)]
        elif kind == "insert":
            content[place:place] = data
        elif kind == "zero":
            content[place : place + 8] = bytes(8)
        else:
            del content[max(1, place) :]
    return bytes(content)


CONTAINERS = {
    "WAV": ("PCM_16", "FLOAT"), "AIFF": ("PCM_24",), "FLAC": ("PCM_16",), "OGG": ("VORBIS",),
    "MP3": ("MPEG_LAYER_III",), "W64": ("PCM_16",), "AU": ("ULAW",),
}  # fmt: skip
CODECS = ("AAC 64 kbit/s (m4a)", "Opus 32 kbit/s (webm)", "Opus 32 kbit/s", "WMA 64 kbit/s", "ALAC (m4a)")


@functools.cache
def files():
    """A tenth of a second in many formats."""
    t = np.arange(RATE // 10) / RATE
    signal = (0.3 * np.sin(2 * np.pi * 300 * t)).astype(np.float32)
    found = []
    with tempfile.TemporaryDirectory() as name:
        for container, subtypes in CONTAINERS.items():
            for subtype in subtypes:
                stream = io.BytesIO()
                soundfile.write(stream, np.stack([signal, -signal / 2], 1), RATE, format=container, subtype=subtype)
                found.append(stream.getvalue())
        for codec in CODECS:
            path = compression.encode(Path(name) / "b", signal, RATE, compression.FORMATS[codec])
            found.append(path.read_bytes())
    return found


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    load_bundle(REPO / "reports" / "demo").predict(np.random.default_rng(0).standard_normal(RATE) / 10, RATE)
    return tmp_path_factory.mktemp("damaged") / "voice"  # what is imported once is no case's


def resident():
    """Bytes of memory that this process, and any child that has ended, has had at most."""
    most = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return most * (1 if sys.platform == "darwin" else 1024)


def decoders():
    """Seconds of processor time that the children that decode have taken, and bytes of memory that they have."""
    found = []
    for child in psutil.Process().children():
        with contextlib.suppress(psutil.Error):  # it has ended by now
            found.append((sum(child.cpu_times()[:2]), child.memory_info().rss))
    return [sum(numbers) for numbers in zip((0, 0), *found, strict=True)]


@contextlib.contextmanager
def bounded():
    """Fail a case that takes long or much memory, here or in the process that decodes."""
    begun, before, (begun_there, before_there) = time.process_time(), resident(), decoders()
    yield
    there, memory_there = decoders()
    assert time.process_time() - begun < LONGEST and there - begun_there < LONGEST
    assert resident() - before < LARGEST and memory_there - before_there < LARGEST


def decode(path):
    """Decode, and see that it is sound or one line; never more than a header can claim."""
    with bounded():
        try:
            for block, _ in despite_damage(read_blocks(path)):
                assert block.ndim == 2 and block.dtype == np.float32
                assert block.size <= 1 << 22
            heard = load_recording(path)
        except AudioError as error:
            assert "\n" not in str(error)
        else:
            assert heard.signal.ndim == 1 and np.isfinite(heard.signal).all() and heard.sampling_rate >= 1000


@cases(1200)
@given(number=st.integers(0, len(files()) - 1), edits=EDITS)
def test_damaged_files_are_sound_or_one_line(place, number, edits):
    place.write_bytes(edited(files()[number], edits))
    decode(place)


STARTS = [
    b"", b"RIFF", b"fLaC", b"OggS", b"ID3", b"\0\0\0 ftyp", b"#EXTM3U\n#EXTINF:1,\n", b"ffconcat version 1.0\nfile ",
]  # fmt: skip


LAYOUTS = {1: "mono", 2: "stereo", 6: "5.1", 8: "7.1", 16: "hexadecagonal"}
FEW, SURROUND = (1, 2, 6, 8), (1, 2, 6, 8, 16)
MANY = st.integers(1, 64)
BOXES = {  # container: codecs, with the numbers of channels that they take
    "ipod": {"aac": SURROUND, "alac": (1, 2, 6)},
    "mov": {"pcm_s16be": MANY, "pcm_f32le": MANY},
    "webm": {"libopus": FEW},
    "matroska": {"aac": SURROUND, "flac": FEW, "libopus": FEW, "pcm_s16le": MANY, "pcm_f32le": MANY},
    "caf": {"alac": (1, 2, 6), "pcm_s16le": MANY},
}  # planar samples come from aac, alac and libopus
KINDS = [(box, codec) for box, codecs in BOXES.items() for codec in codecs]


@functools.lru_cache(maxsize=100)
def boxed(box, codec, n_channels, step):
    """A fiftieth of a second of sound in `n_channels` channels, written in frames of `step` samples."""
    rate, stream = 48000, io.BytesIO()
    samples = (0.3 * np.random.default_rng(0).standard_normal((960, n_channels))).astype(np.float32)
    with av.open(stream, "w", format=box) as container:
        layout = LAYOUTS.get(n_channels, f"{n_channels} channels")
        track = container.add_stream(codec, rate=rate, layout=layout)
        for start in range(0, len(samples), step):
            block = np.ascontiguousarray(samples[start : start + step]).reshape(1, -1)
            frame = av.AudioFrame.from_ndarray(block, format="flt", layout=track.layout)
            frame.sample_rate, frame.pts = rate, start
            container.mux(track.encode(frame))
        container.mux(track.encode(None))
    return stream.getvalue()


@cases(150)
@given(kind=st.sampled_from(KINDS), data=st.data(), step=st.sampled_from([1, 2, 960]), edits=st.just([]) | EDITS)
def test_any_number_of_channels_and_samples_in_a_frame_are_sound_or_one_line(place, kind, data, step, edits):
    numbers = BOXES[kind[0]][kind[1]]
    n_channels = data.draw(st.sampled_from(numbers) if isinstance(numbers, tuple) else numbers)
    place.write_bytes(edited(boxed(*kind, n_channels, step if kind[1].startswith("pcm") else 960), edits))
    if edits:
        decode(place)
    else:
        blocks = [block for block, _ in read_blocks(place)]
        assert {block.shape[1] for block in blocks} == {n_channels} and sum(map(len, blocks)) >= 960


@cases(200)
@given(content=st.binary(max_size=300), start=st.sampled_from(STARTS))
def test_arbitrary_bytes_are_sound_or_one_line(place, start, content):
    place.write_bytes(start + content)
    decode(place)


@functools.cache
def parts():
    """Files of a bundle."""
    names = ("bundle.json", "model.onnx", "model_card.md", "LICENCE.txt")
    return {name: (REPO / "reports" / "demo" / name).read_bytes() for name in names}


def take(path):
    with bounded():
        try:
            bundle = load_bundle(path)
            answer = bundle.predict(0.1 * np.random.default_rng(0).standard_normal(RATE), RATE)
        except (AudioError, BundleError, StageError) as error:
            assert "\n" not in str(error)
        else:
            assert 0 <= answer.confidence <= 1


@cases(250)
@given(edits=st.one_of(WORDS, EDITS))
def test_damaged_descriptions_are_refused_in_one_line(place, edits):
    folder = place.parent
    (folder / "model.onnx").write_bytes(parts()["model.onnx"])
    (folder / "bundle.json").write_bytes(edited(parts()["bundle.json"], edits))
    take(folder)


@cases(200)
@given(edits=EDITS)
def test_damaged_models_of_the_right_checksum_are_refused_in_one_line(place, edits):
    folder = place.parent
    model = edited(parts()["model.onnx"], edits)
    description = json.loads(parts()["bundle.json"]) | {"onnx_sha256": hashlib.sha256(model).hexdigest()}
    (folder / "model.onnx").write_bytes(model)
    (folder / "bundle.json").write_text(json.dumps(description))
    take(folder)


@cases(150)
@given(edits=EDITS)
def test_damaged_zip_files_are_refused_in_one_line(place, edits):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in parts().items():
            archive.writestr(name, content)
        sums = "".join(f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in parts().items())
        archive.writestr("SHA256SUMS", sums)
    path = place.parent / "bundle.zip"
    path.write_bytes(edited(stream.getvalue(), edits))
    take(path)
