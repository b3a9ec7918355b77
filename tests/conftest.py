import importlib.util
import json
import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest
import soundfile
from av.codec.codec import UnknownCodecError
from joblib import effective_n_jobs

from ser_lib.corpora import demo, emodb
from ser_lib.corpora.files.registry import read_registry

REPO = Path(__file__).resolve().parent.parent
REAL_CORPORA = REPO.parent / "shared" / "corpora"
"""Packed copies, which some machines have beside the clone."""
RATE = 24414
LONGEST = ("test_runs.py", "test_train.py", "test_handover.py", "test_predict.py")
"""Files of tests that begin first, so that no core waits for them in the end."""
ENCODERS = set(
    "aac alac flac libmp3lame libopencore_amrnb libopus mpeg4 pcm_f32le pcm_mulaw pcm_s16be pcm_s16le wmav2".split()
)
"""What the tests, and the library, encode with. PyAV's wheels have all of them; a system's PyAV may not."""


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: item.path.name not in LONGEST)


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(fixturedef, request):
    return (yield from _skipped_without_codecs())


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem):
    return (yield from _skipped_without_codecs())


def _skipped_without_codecs():
    try:
        return (yield)
    except UnknownCodecError as error:
        if not lacks_encoder(str(error)):
            raise
        pytest.skip(f"this PyAV has no encoder {error}")


def lacks_encoder(name):
    """Whether it is one of `ENCODERS` that this machine's PyAV does not have; any other name is a mistake."""
    if name not in ENCODERS:
        return False
    try:
        av.Codec(name, "w")
    except UnknownCodecError:
        return True
    return False


needs_workers = pytest.mark.skipif(effective_n_jobs(2) == 1, reason="no worker processes on this machine (/dev/shm)")


@pytest.fixture(scope="session")
def loopback():
    """What the machine says to itself through its network; a sandbox may have none."""
    try:
        with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname(), 10):
            pass
    except OSError as error:
        pytest.skip(f"this machine has no loopback interface: {error.strerror or error}")


@pytest.fixture(autouse=True, scope="session")
def _own_cache(tmp_path_factory) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SER_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def demo_folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("corpora") / "demo"
    demo.make(folder, n_words=8)
    return folder


@pytest.fixture
def format4() -> Path:
    return Path(__file__).parent / "data" / "format4" / "demo"


@pytest.fixture
def project(tmp_path, monkeypatch) -> Path:
    root = tmp_path / "project"
    for name in ("notebooks", "params"):
        shutil.copytree(REPO / name, root / name, ignore=shutil.ignore_patterns(".ipynb_checkpoints"))
    monkeypatch.setenv("SER_ROOT", str(root))
    return root


@pytest.fixture
def root(tmp_path, monkeypatch) -> Path:
    # an empty project
    monkeypatch.setenv("SER_ROOT", str(tmp_path))
    return tmp_path


@pytest.fixture(scope="session")
def emodb_names() -> list[str]:
    return [f"EMODB/{file}" for file in read_registry(emodb)]


@pytest.fixture(scope="session")
def tess(tmp_path_factory) -> SimpleNamespace:
    own = REPO / "data" / "TESS"
    if own.is_dir():
        names = sorted(path.relative_to(own.parent).as_posix() for path in own.rglob("*.wav"))
        return SimpleNamespace(names=names, file=lambda name: own / name.removeprefix("TESS/"))
    if not (REAL_CORPORA / "TESS").is_dir():
        pytest.skip("no real TESS: data/TESS is missing (ser data get TESS)")
    spec = importlib.util.spec_from_file_location("unpack", REAL_CORPORA / "unpack.py")
    unpack = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(unpack)
    manifest = json.loads((REAL_CORPORA / "manifest.json").read_text())
    folder = tmp_path_factory.mktemp("real")

    def file(relative: str) -> Path:
        relative = relative if relative.startswith("TESS/") else f"TESS/{relative}"
        path = folder / relative
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(unpack.original_bytes(relative, manifest[relative]))
        return path

    return SimpleNamespace(names=[name for name in manifest if name.startswith("TESS/")], file=file)


@pytest.fixture(scope="session")
def write_wav() -> Callable[..., Path]:
    def write(path: Path, signal: np.ndarray, sampling_rate: int = RATE, **options: str) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, signal, sampling_rate, **options)
        return path

    return write


@pytest.fixture(scope="session")
def make_corpus(write_wav) -> Callable[..., Path]:
    # in TESS's naming: tones in faint noise between near silence, each a little longer than the one before
    def make(
        folder: Path,
        *,
        words: tuple[str, ...] = ("back", "bar"),
        emotions: tuple[str, ...] = ("angry", "sad"),
        speakers: tuple[str, ...] = ("OAF", "YAF"),
    ) -> Path:
        rng = np.random.default_rng(7)
        names = [f"{speaker}_{word}_{emotion}" for speaker in speakers for emotion in emotions for word in words]
        for number, name in enumerate(names):
            t = np.arange(RATE // 4 + 512 * number) / RATE
            tone = 0.5 * np.sin(2 * np.pi * (200 + 60 * number) * t) + 0.01 * rng.standard_normal(len(t))
            silence = 1e-4 * rng.standard_normal(RATE // 8)
            write_wav(folder / name.rpartition("_")[0] / f"{name}.wav", np.concatenate([silence, tone, silence]))
        return folder

    return make
