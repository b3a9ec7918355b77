import http.server
import importlib.util
import json
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import yaml

from ser_lib._cli.app import main
from ser_lib.audio.clips import each
from ser_lib.core import cluster
from ser_lib.core.cache import open_cache
from ser_lib.core.errors import AudioError, ClusterError
from ser_lib.core.io import file_hash
from ser_lib.core.workers import FEW
from ser_lib.params import make_params
from ser_lib.predict import Request, answers
from ser_lib.preprocess import preprocess_data

pytestmark = pytest.mark.filterwarnings("ignore")  # Dask restarts killed workers, and must not fail in that
dask = pytest.importorskip("dask")
distributed = pytest.importorskip("distributed")

REPO = Path(__file__).resolve().parent.parent
DASK = [sys.executable, "-m", "dask"]
SMALL = {
    "LSTM_UNITS": 8,
    "DENSE_UNITS": 8,
    "EPOCHS": 1,
    "ROBUSTNESS": False,
    "BASELINES": False,
    "BOOTSTRAP_SAMPLES": 100,
}


@pytest.fixture(scope="module")
def there(tmp_path_factory):
    """The project on another machine."""
    root = tmp_path_factory.mktemp("there")
    for name in ("notebooks", "params"):
        shutil.copytree(REPO / name, root / name, ignore=shutil.ignore_patterns(".ipynb_checkpoints"))
    shutil.copytree(REPO / "reports" / "demo", root / "reports" / "demo")
    return root


@pytest.fixture(scope="module")
def local(there, loopback):
    """Two workers in processes of their own, with another project folder and another cache."""
    config = {
        "distributed.scheduler.allowed-failures": 0,
        "distributed.deploy.lost-worker-timeout": "10 minutes",  # a busy machine may need more than 15 s to start one
    }
    with pytest.MonkeyPatch.context() as patch, dask.config.set(config):
        patch.setenv("SER_CACHE", str(there / "cache"))
        patch.setenv("SER_ROOT", str(there))
        options = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": ":0"}
        with distributed.LocalCluster(**options) as started:
            yield started


@pytest.fixture
def scheduler(local, monkeypatch, tmp_path):
    monkeypatch.setenv("SER_CACHE", str(tmp_path / "cache_here"))
    monkeypatch.setenv(cluster.VARIABLE, local.scheduler_address)
    yield local.scheduler_address
    cluster.connect(local.scheduler_address).close()


def sleep_and_square(number, path, cache):
    time.sleep(0.01)
    cache.write(f"key {number}", np.array([number]))
    return number**2, os.getpid()


def kill_at(number, path):
    if number == path:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def plain(number):
    time.sleep(0.01)
    return number


def with_pid():
    return {"commit": "one", "lock": f"{os.getpid()}"}


# Clips


def test_work_goes_to_workers_and_what_they_keep_comes_back(scheduler, tmp_path):
    cache = open_cache()
    tasks = [(number, tmp_path, cache) for number in range(60)]
    found = list(each(sleep_and_square, tasks, [f"key {number}" for number in range(60)], cache, 1, "x"))
    assert [square for square, _ in found] == [number**2 for number in range(60)]
    workers = {pid for _, pid in found}
    assert len(workers) == 2 and os.getpid() not in workers
    assert [cache.read(f"key {number}")[0] for number in range(60)] == list(range(60))


def test_few_clips_are_done_here(scheduler, tmp_path):
    cache = open_cache()
    found = each(sleep_and_square, [(1, tmp_path, cache)], ["key 1"], cache, 1, "x")
    assert list(found) == [(1, os.getpid())]


def test_scheduler_that_is_killed_is_one_line(loopback, tmp_path, monkeypatch):
    quiet = {"stderr": subprocess.DEVNULL, "env": os.environ | {"PYTHONPATH": str(REPO / "tests")}}
    file = tmp_path / "scheduler.json"
    scheduler = subprocess.Popen([*DASK, "scheduler", "--port", "0", "--scheduler-file", file], **quiet)
    worker = subprocess.Popen([*DASK, "worker", "--scheduler-file", file, "--no-nanny"], **quiet)
    try:
        while not file.exists():
            time.sleep(0.1)
        address = json.loads(file.read_text())["address"]
        monkeypatch.setenv(cluster.VARIABLE, address)
        results = each(plain, [(number,) for number in range(100_000)], ["x"] * 100_000, {}, 1, "x")
        assert [next(results) for _ in range(100)] == list(range(100))
        client = cluster.connect(address)  # or it would look for its scheduler while the tests after this one run
        scheduler.kill()
        with client, pytest.raises(ClusterError, match=r"The Dask scheduler at tcp.* is gone"):
            list(results)
    finally:
        for process in (scheduler, worker):
            process.kill()
            process.wait()


def test_predictions_are_the_same(scheduler, demo_folder, monkeypatch):
    files = [(path, path.name) for path in sorted(demo_folder.rglob("*.wav"))]
    asked = Request(REPO / "reports" / "demo")
    there = list(answers(files, asked))
    monkeypatch.delenv(cluster.VARIABLE)
    assert len(files) >= FEW and there == list(answers(files, asked, jobs=1))


# Runs


def run_here(values, folder):
    """The stages in this process, one after the other: files that a run must write as well, and its metrics."""
    from ser_lib.evaluate import evaluate_model
    from ser_lib.model.bundle import load_bundle
    from ser_lib.split import split_data
    from ser_lib.train import train_model

    params = make_params(values | {"OUTPUT_DIR": str(folder)})
    split_data(preprocess_data(params), params)
    train_model(params)
    return evaluate_model(load_bundle(folder), params)[0]


def test_run_that_fails_comes_back_too(scheduler, there, project, monkeypatch, capsys):
    (project.parent / "empty").mkdir()
    values = SMALL | {"CORPORA": ["DEMO"], "DATASET_PATH": str(project.parent / "empty")}
    (project / "params" / "small.yaml").write_text(yaml.safe_dump(values))
    monkeypatch.setattr(sys, "argv", ["ser", "run", "params/small.yaml", "--seeds", "1", "--scheduler", scheduler])
    with pytest.raises(SystemExit, match="1"):
        main()
    assert re.search(r"error: 01_preprocess stopped: .*small_s1/01_preprocess\.ipynb", capsys.readouterr().err)
    record = project / "reports" / "small_s1"
    assert json.loads((record / "manifest.json").read_text())["state"] == "failed in 01_preprocess"
    assert (record / "01_preprocess.ipynb").exists() and not (record / "02_split.ipynb").exists()
    assert not [*there.glob("artifacts/.away-*"), *project.glob("artifacts/.away-*"), *there.glob("reports/small*")]


@pytest.mark.slow
def test_run_comes_back_whole_and_the_same(scheduler, there, project, demo_folder, monkeypatch, capsys, tmp_path):
    values = SMALL | {"CORPORA": ["DEMO"], "DATASET_PATH": str(demo_folder)}
    (project / "params" / "small.yaml").write_text(yaml.safe_dump(values))
    monkeypatch.setattr(sys, "argv", ["ser", "run", "params/small.yaml", "--seeds", "1", "--scheduler", scheduler])
    with pytest.raises(SystemExit, match="0"):
        main()
    shown = capsys.readouterr()
    assert "Run small_s1, 1 of 1\nDone: " in shown.out
    assert "2 workers help" in shown.err and "warning" not in shown.err
    assert "Features come first, each once: 1 for 1 run." in shown.err
    record = project / "reports" / "small_s1"
    manifest = json.loads((record / "manifest.json").read_text())
    assert manifest["state"] == "done"
    assert yaml.safe_load((record / "params.yaml").read_text())["OUTPUT_DIR"] == "artifacts/small_s1"
    assert "Loaded again" in (record / "01_preprocess.ipynb").read_text()  # made by all workers before the run
    texts = [path.read_text() for path in record.iterdir() if path.suffix in (".ipynb", ".json", ".yaml", ".md")]
    assert not any(".away-" in text or str(there) in text for text in texts)
    assert not [*there.glob("artifacts/.away-*"), *project.glob("artifacts/.away-*"), *there.glob("reports/small*")]

    monkeypatch.delenv(cluster.VARIABLE)
    here = run_here(values | {"SEED": 1}, tmp_path / "here")
    hashes = {name: digest for stage in manifest["stages"].values() for name, digest in stage["artifacts"].items()}
    for name in ("processed_data.npz", "split.csv", "x_test.npy", "model.onnx"):
        assert hashes[name] == file_hash(tmp_path / "here" / name), name
    recorded = json.loads((record / "metrics.json").read_text())
    for name in ("test", "validation"):
        assert recorded[name] == json.loads(json.dumps(here[name]))

    with pytest.raises(SystemExit, match="0"):
        main()
    assert "Run small_s1 is done already." in capsys.readouterr().out


@pytest.mark.slow
def test_trials_of_a_sweep_are_those_of_one_without_a_scheduler(
    scheduler, there, project, demo_folder, monkeypatch, capsys
):
    from ser_lib.records.record import find_record
    from ser_lib.records.sweeps import trials as work
    from ser_lib.records.sweeps.results import read_sweep

    values = SMALL | {"CORPORA": ["DEMO"], "DATASET_PATH": str(demo_folder)}
    file, space = project / "params" / "small.yaml", project / "params" / "space.yaml"
    file.write_text(yaml.safe_dump(values))
    space.write_text(yaml.safe_dump({"LSTM_UNITS": [8, 4]}))
    command = ["ser", "sweep", str(file), "--space", str(space), "--trials", "2", "--scheduler", scheduler]
    monkeypatch.setattr(sys, "argv", command)
    with pytest.raises(SystemExit, match="0"):
        main()
    shown = capsys.readouterr()
    assert "Trial small_space_t1, 2 of 2" in shown.out and "2 workers help" in shown.err
    assert find_record("small_space_t1").state == "trained"
    assert not [*there.glob("artifacts/.away-*"), *project.glob("artifacts/.away-*"), *there.glob("reports/small*")]
    away = read_sweep(project / "reports" / "small_space_sweep")

    monkeypatch.delenv(cluster.VARIABLE)
    asked = work.plan_sweep(file, [], [], space, name="here")
    work.run_sweep(asked, 2, at_once=2)
    here = read_sweep(asked.folder)
    assert [(one.params, one.user_attrs["validation"]) for one in away.trials] == [
        (one.params, one.user_attrs["validation"]) for one in here.trials
    ]


# Workers that will not do


_FAULTS = """
import resource, threading
import numpy as np
from ser_lib.core.workers import keep_memory

def small_arrays():
    for _ in range(100):
        np.ones(100_000)

def more_than_a_heap():
    for _ in range(20):
        [b"x" * 20_000_000 for _ in range(6)]

def in_a_thread():
    thread = threading.Thread(target=more_than_a_heap)
    thread.start()
    thread.join()

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    {use}()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

before = faults()
keep_memory()
{use}()
print(before, faults())
"""


def faults_before_and_after(use, **environment):
    """Pages that the system lends for one of the uses of memory, before and after it is told to be kept."""
    done = subprocess.run(
        [sys.executable, "-c", _FAULTS.replace("{use}", use)],
        env=os.environ | environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return map(int, done.stdout.split())


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="not glibc")
def test_worker_keeps_memory_that_dasks_nanny_would_give_back():
    before, after = faults_before_and_after("small_arrays", MALLOC_TRIM_THRESHOLD_="65536")  # as Dask's nanny sets it
    assert before >= 100 * 100_000 * 8 // 2**16 and after < before / 10  # each page of each array, be it 4 or 64 KiB


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="not glibc")
def test_memory_of_a_thread_is_kept_for_its_next_step():
    before, after = faults_before_and_after("in_a_thread")
    assert before >= 20 * 6 * 20_000_000 // 2**16 and after < before / 4


def test_workers_of_other_code_are_refused_by_name(local, scheduler):
    client = cluster.connect(scheduler)
    cluster.check_workers(client)
    with pytest.raises(ClusterError, match="has lock") as refused:
        cluster.check_workers(client, with_pid)
    for worker in local.workers.values():
        assert worker.worker_address in str(refused.value)


def test_corpus_that_no_worker_sees(scheduler, tmp_path, capsys):
    missing = tmp_path / "nowhere" / "clip.wav"
    with pytest.raises(ClusterError, match=r"must see the same corpora.*nowhere"):
        list(each(sleep_and_square, [(number, missing, {}) for number in range(40)], ["x"] * 40, {}, 1, "x"))
    assert capsys.readouterr().err.count("does not see") == 2


class _Page(http.server.BaseHTTPRequestHandler):
    """A dashboard, and an address that has none."""

    def do_GET(self):
        self.send_response(200 if self.path == "/status" else 404)
        self.end_headers()
        self.wfile.write(b"<html>tasks</html>")

    def log_message(self, *_):
        pass


def test_address_of_the_dashboard_is_told_where_one_answers(loopback, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")  # which would answer nothing
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Page) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        assert cluster.has_dashboard(f"{address}/status")
        assert not cluster.has_dashboard(f"{address}/left-out")
        server.shutdown()
    assert not cluster.has_dashboard(f"{address}/status")
    assert not cluster.has_dashboard("{no address}")


@pytest.mark.parametrize("dashboard", [True, False])
def test_scheduler_has_a_dashboard_unless_it_was_left_out_or_lacks_bokeh(loopback, dashboard):
    has_bokeh = importlib.util.find_spec("bokeh") is not None
    options = {"dashboard_address": ":0", "scheduler_kwargs": {"dashboard": dashboard}}
    with distributed.LocalCluster(n_workers=0, processes=False, **options) as local, local.get_client() as client:
        assert client.dashboard_link.endswith("/status")  # which Dask gives in any case
        assert cluster.has_dashboard(client.dashboard_link) == (dashboard and has_bokeh)


def test_nothing_answers():
    cluster.PATIENCE, before = 0.5, cluster.PATIENCE
    try:
        with pytest.raises(ClusterError, match=r"must answer at tcp://127\.0\.0\.1:9"):
            cluster.connect("tcp://127.0.0.1:9")
    finally:
        cluster.PATIENCE = before


@pytest.mark.parametrize(
    ("address", "safe"),
    [
        ("tcp://127.0.0.1:8786", True),
        ("localhost:8786", True),
        ("tcp://[::1]:8786", True),
        ("tls://10.0.0.2:8786", True),
        ("tcp://10.0.0.2:8786", False),
        ("host:8786", False),
        ("ws://10.0.0.2:8786", False),
    ],
)
def test_address_is_safe(address, safe):
    assert cluster.is_safe(address) == safe


# Workers that die; these tests come last


def test_clip_that_kills_its_worker_is_named_and_others_are_done(scheduler):
    found = list(each(kill_at, [(number, 21) for number in range(40)], ["x"] * 40, {}, 1, "x"))
    assert isinstance(found[21], AudioError) and "killed" in str(found[21])
    assert [number for number in found if not isinstance(number, AudioError)] == [*range(21), *range(22, 40)]


def test_worker_that_is_killed_loses_nothing(local, scheduler, tmp_path):
    local.scheduler.allowed_failures = 3
    cache = open_cache()
    tasks = [(number, tmp_path, cache) for number in range(200)]
    results = each(sleep_and_square, tasks, [f"{number}" for number in range(200)], cache, 1, "x")
    squares = []
    for square, pid in results:
        squares.append(square)
        if len(squares) == 20:
            os.kill(pid, signal.SIGKILL)
    local.scheduler.allowed_failures = 0
    assert squares == [number**2 for number in range(200)]
