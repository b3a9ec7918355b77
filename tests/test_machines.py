"""Three machines, in network namespaces with clones of their own: the command and the scheduler, and two workers.

One worker is killed, and the machine of the other is cut off. The work must not notice.
"""

import contextlib
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from ser_lib.core.io import file_hash
from ser_lib.corpora import demo
from ser_lib.params import make_params
from ser_lib.preprocess import preprocess_data

pytest.importorskip("distributed")
pytestmark = pytest.mark.slow

REPO = Path(__file__).resolve().parent.parent
TESS = REPO / "data" / "TESS"
SCHEDULER = "tcp://10.213.0.1:8786"
WORKERS = {"alpha": "10.213.0.2", "beta": "10.213.0.3"}
SOON = {"DASK_DISTRIBUTED__COMM__TIMEOUTS__TCP": "12s", "DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT": "10s"}
SER = [sys.executable, "-c", "from ser_lib._cli.app import main; main()"]
DASK = [sys.executable, "-m", "dask"]
SMALL = ("EPOCHS=1", "LSTM_UNITS=8", "ROBUSTNESS=false", "BASELINES=false")
PREPROCESS = """
from ser_lib.params import make_params
from ser_lib.preprocess import preprocess_data
preprocess_data(make_params({"CORPORA": ["TESS"], "DATASET_PATH": "data/TESS", "OUTPUT_DIR": "artifacts/tess"}))
"""


def ip(*words):
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True)


@pytest.fixture(scope="module")
def network():
    """Namespaces of three machines, on a bridge that lies in the first; nothing is seen outside of them."""
    end = secrets.token_hex(2)
    names = {name: f"ser-{name}-{end}" for name in ("head", *WORKERS)}
    in_head = ["-n", names["head"]]
    try:
        for name in names.values():
            ip("netns", "add", name)
            ip("-n", name, "link", "set", "lo", "up")
        ip(*in_head, "link", "add", "name", "br0", "type", "bridge")
        ip(*in_head, "addr", "add", "10.213.0.1/24", "dev", "br0")
        ip(*in_head, "link", "set", "br0", "up")
        for name, address in WORKERS.items():
            ip(*in_head, "link", "add", "name", name, "type", "veth", "peer", "name", "eth0", "netns", names[name])
            ip(*in_head, "link", "set", name, "master", "br0", "up")
            ip("-n", names[name], "addr", "add", f"{address}/24", "dev", "eth0")
            ip("-n", names[name], "link", "set", "eth0", "up")
        yield names
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"network namespaces cannot be made here: {getattr(error, 'stderr', None) or error}")
    finally:
        for name in names.values():
            with contextlib.suppress(OSError):
                subprocess.run(["ip", "netns", "del", name], capture_output=True)


def clone(folder, data):
    """A clone of this project with its files as they are now, and the shared data."""
    subprocess.run(["git", "clone", "--quiet", "--no-checkout", REPO, folder], check=True)
    for name in ("ser_lib", "notebooks", "params", "reports/demo"):
        shutil.copytree(REPO / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints"))
    for name in ("requirements.lock", "pyproject.toml"):
        shutil.copyfile(REPO / name, folder / name)
    (folder / "data").symlink_to(data)
    return folder


@pytest.fixture
def machines(network, tmp_path_factory):
    """Clones on three machines, with a scheduler on the first and a worker on each of the others."""
    folder = tmp_path_factory.mktemp("machines")
    data = folder / "shared"
    demo.make(data / "demo", n_words=8)
    if TESS.is_dir():
        (data / "TESS").symlink_to(TESS)
    roots = {name: clone(folder / name, data) for name in network}
    started = []

    def start(machine, *command, log):
        own = {"PYTHONPATH": str(roots[machine]), "SER_CACHE": str(folder / f"cache_{machine}")}
        env = {name: value for name, value in os.environ.items() if name != "SER_ROOT"} | SOON | own
        inside = ["ip", "netns", "exec", network[machine], *map(str, command)]
        with (folder / log).open("w") as stream:
            process = subprocess.Popen(
                inside, cwd=roots[machine], env=env, stdout=stream, stderr=stream, start_new_session=True
            )
        started.append(process)
        return process

    start("head", *DASK, "scheduler", "--host", "10.213.0.1", "--no-dashboard", log="scheduler.log")

    def start_worker(name):
        options = ["--nworkers", "1", "--nthreads", "1", "--no-dashboard", "--name", name]
        return start(name, *DASK, "worker", SCHEDULER, *options, log=f"{name}.log")

    workers = {name: start_worker(name) for name in WORKERS}
    wait_for(lambda: all("Registered to" in (folder / f"{name}.log").read_text() for name in WORKERS))
    yield SimpleNamespace(
        roots=roots, start=start, start_worker=start_worker, workers=workers, folder=folder, names=network
    )
    for process in started:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def wait_for(condition, command=None, limit=1800):
    """Wait until something holds, at most so many seconds, and only as long as a command goes on."""
    end = time.monotonic() + limit
    while not condition():
        assert command is None or command.poll() is None, "the command ended too early"
        assert time.monotonic() < end
        time.sleep(0.1)


def kill_worker(machines, name):
    """Kill the process that works; Dask's nanny starts another."""
    family = psutil.Process(machines.workers[name].pid).children(recursive=True)
    workers = [process for process in family if "spawn_main" in " ".join(process.cmdline())]
    assert workers
    for process in workers:
        process.kill()


@contextlib.contextmanager
def cut_off(machines, name):
    ip("-n", machines.names[name], "link", "set", "eth0", "down")
    try:
        yield
    finally:
        ip("-n", machines.names[name], "link", "set", "eth0", "up")


def lost(machines):
    """Workers that the scheduler has seen go."""
    return (machines.folder / "scheduler.log").read_text().count("Remove worker")


def cached(machines):
    """Bytes that came back to the command's machine."""
    return sum(path.stat().st_size for path in (machines.folder / "cache_head").glob("clips.sqlite*"))


def test_protocol_of_four_runs(machines):
    overrides = [part for one in SMALL for part in ("-p", one)]
    words = ["protocol", "demo", "--seeds", "0", *overrides, "--scheduler", SCHEDULER]
    command = machines.start("head", *SER, *words, log="command.log")
    places = [machines.roots[name] / "artifacts" for name in WORKERS]
    wait_for(lambda: all([*place.glob(".away-*/reports/*/manifest.json")] for place in places), command)
    kill_worker(machines, "alpha")
    with cut_off(machines, "beta"):
        machines.workers["beta"].wait()  # cut off from its scheduler, a worker ends
    machines.start_worker("beta")
    assert command.wait() == 0
    said = (machines.folder / "command.log").read_text()
    assert f"warning: {SCHEDULER} is neither on this machine nor encrypted" in said
    assert said.count("Done: ") == 4 and lost(machines) >= 2
    records = sorted(path.parent for path in machines.roots["head"].glob("reports/demo_*/manifest.json"))
    assert [record.name for record in records] == [
        "demo_esa_esb_s0",
        "demo_esb_esa_s0",
        "demo_random_s0",
        "demo_text_s0",
    ]
    manifests = [json.loads((record / "manifest.json").read_text()) for record in records]
    assert {manifest["state"] for manifest in manifests} == {"done"}
    assert len({manifest["stages"]["01_preprocess"]["artifacts"]["processed_data.npz"] for manifest in manifests}) == 1
    assert all("Loaded again" in (record / "01_preprocess.ipynb").read_text() for record in records)


@pytest.mark.skipif(not TESS.is_dir(), reason="no real TESS: data/TESS is missing")
def test_preprocess_of_tess(machines, tmp_path):
    command = machines.start(
        "head", "env", f"DASK_SCHEDULER_ADDRESS={SCHEDULER}", sys.executable, "-c", PREPROCESS, log="command.log"
    )
    wait_for(lambda: cached(machines) > 10e6, command)
    kill_worker(machines, "alpha")
    with cut_off(machines, "beta"):
        wait_for(lambda: lost(machines) >= 2, command)
        before = cached(machines)
        wait_for(lambda: cached(machines) > before + 5e6, command)
    assert command.wait() == 0, (machines.folder / "command.log").read_text()
    here = make_params({"CORPORA": ["TESS"], "DATASET_PATH": str(TESS), "OUTPUT_DIR": str(tmp_path / "here")})
    preprocess_data(here)
    there = machines.roots["head"] / "artifacts" / "tess" / "processed_data.npz"
    assert file_hash(there) == file_hash(here.processed_data_file)


def test_prediction_of_1000_files(machines):
    archive = machines.folder / "shared" / "archive"
    archive.mkdir()
    clips = sorted((machines.folder / "shared" / "demo").rglob("*.wav"))
    for number in range(1000):
        (archive / f"{number:04}.wav").symlink_to(clips[number % len(clips)])
    words = [*SER, "predict", archive, "--run", "demo", "--csv"]
    command = machines.start("head", *words, "there.csv", "--scheduler", SCHEDULER, log="command.log")
    root = machines.roots["head"]
    wait_for(lambda: any(path.stat().st_size > 10_000 for path in root.glob("*there.csv*")), command)
    kill_worker(machines, "alpha")
    with cut_off(machines, "beta"):
        assert command.wait() == 0, (machines.folder / "command.log").read_text()
    assert lost(machines) >= 2
    here = machines.start("head", *words, "here.csv", log="here.log")
    assert here.wait() == 0
    assert (root / "there.csv").read_bytes() == (root / "here.csv").read_bytes()
    assert len((root / "there.csv").read_text().splitlines()) == 1 + 1000
