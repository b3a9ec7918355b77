"""What Dask costs and brings: clips and files per second, and runs per hour, with 1 and 2 workers and without Dask.

    .venv/bin/python benchmarks/cluster.py [--clips 320] [--files 640] [--rounds 3] [--runs 2] [--tasks 1600]

On data/TESS, or else the demo corpus. Each figure of clips is the median over rounds, in which the ways take turns, so
that other work on the machine meets all of them; each round starts with an empty cache. The workers are of a
`LocalCluster` on this machine, with the scheduler and this process beside them. Runs are short ones of the demo corpus,
whose clips are cached before the clock starts.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
from distributed import LocalCluster
from joblib.externals.loky import get_reusable_executor

from ser_lib.audio import clips as work
from ser_lib.core import cluster
from ser_lib.core.cache import Cache, _close_all, open_cache
from ser_lib.core.workers import FEW
from ser_lib.corpora.clips import find_corpora
from ser_lib.params import make_params
from ser_lib.predict import Request, answers

ROOT = Path(__file__).resolve().parent.parent
SER = [sys.executable, "-c", "from ser_lib._cli.app import main; main()"]
SHORT = ("EPOCHS=2", "LSTM_UNITS=8", "ROBUSTNESS=false")
WARM_UP = 32
"""Clips before the clock starts: libraries are imported and compiled in each process."""


def start(n_workers: int, cache: Path) -> LocalCluster:
    """Start workers that keep what they make in `cache`."""
    os.environ["SER_CACHE"] = str(cache)
    return LocalCluster(n_workers=n_workers, threads_per_worker=1, dashboard_address=":0")


def processor_seconds() -> tuple[float, float]:
    """Processor time so far of this process, in which the scheduler runs as well, and of the workers."""
    address = os.environ.get(cluster.VARIABLE)
    there = cluster.connect(address).run(time.process_time).values() if address else [0.0]
    return time.process_time(), sum(there)


def process(clips: list, settings: object, n_jobs: int, *caches: Path) -> float:
    """Clips per second, from wav to what is cached, with empty caches."""
    forget()
    for folder in caches:
        shutil.rmtree(folder, ignore_errors=True)
    os.environ["SER_CACHE"] = str(caches[0])
    cache = open_cache()
    tasks = [(path, sha256, settings, cache) for path, sha256 in clips]
    keys = [work.measures_key(sha256, settings) for _, sha256 in clips]
    for _ in work.each(work.measure, tasks[:WARM_UP], keys[:WARM_UP], cache, n_jobs, "Warming up"):
        pass
    before, began = processor_seconds(), time.perf_counter()
    found = list(work.each(work.measure, tasks[WARM_UP:], keys[WARM_UP:], cache, n_jobs, "Processing"))
    seconds = time.perf_counter() - began
    here, there = (1000 * (now - then) / len(found) for now, then in zip(processor_seconds(), before, strict=True))
    print(f"  processor time of a clip: {here:.1f} ms here, {there:.1f} ms on workers", flush=True)
    return len(found) / seconds


def measure_clips(n_clips: int, rounds: int, folder: Path) -> dict[str, float]:
    """Median of clips per second, by way."""
    name = "TESS" if (ROOT / "data" / "TESS").is_dir() else "DEMO"
    params = make_params({"CORPORA": [name], "DATASET_PATH": "data/TESS" if name == "TESS" else "data/demo"})
    found, _ = find_corpora(params.corpus_folders, {})
    step = max(1, len(found) // (n_clips + WARM_UP))
    clips = [(params.dataset_path / clip.file, clip.sha256) for clip in found[::step]][: n_clips + WARM_UP]
    print(f"{len(clips) - WARM_UP} clips of {name}")
    here = folder / "cache_here"
    clusters = {n: start(n, folder / f"cache_there_{n}") for n in (1, 2)}  # their own, as on other machines

    def on_workers(n: int) -> float:
        os.environ[cluster.VARIABLE] = clusters[n].scheduler_address
        clusters[n].get_client().run(forget)
        try:
            return process(clips, params.audio_settings, 1, here, folder / f"cache_there_{n}")
        finally:
            del os.environ[cluster.VARIABLE]

    ways: dict[str, Callable[[], float]] = {
        "1 process": lambda: process(clips, params.audio_settings, 1, here),
        "1 worker": lambda: on_workers(1),
        "2 processes": lambda: process(clips, params.audio_settings, 2, here),
        "2 workers": lambda: on_workers(2),
    }
    figures: dict[str, list[float]] = {way: [] for way in ways}
    for number in range(rounds):
        for way, run in ways.items():
            figures[way].append(run())
            print(f"  round {number + 1}: {way:12} {figures[way][-1]:6.1f} clips/s", flush=True)
    for one in clusters.values():
        one.close()
    return {way: statistics.median(found) for way, found in figures.items()}


def forget() -> None:
    """Let go of the cache that is about to be removed, here and in joblib's processes, which stay for minutes."""
    _close_all()
    get_reusable_executor().shutdown()


def predict(files: list, jobs: int) -> float:
    """Files per second, after some that make every process open the model."""
    asked = Request(ROOT / "reports" / "tess_robust_random_s0")
    for _ in answers(files[:FEW], asked, jobs=jobs):
        pass
    began = time.perf_counter()
    return sum(1 for _ in answers(files[FEW:], asked, jobs=jobs)) / (time.perf_counter() - began)


def measure_predictions(n_files: int, rounds: int, folder: Path) -> dict[str, float]:
    """Median of files per second, by way."""
    place = ROOT / "data" / "TESS" if (ROOT / "data" / "TESS").is_dir() else ROOT / "data" / "demo"
    found = sorted(place.rglob("*.wav"))
    files = [(found[number % len(found)], str(number)) for number in range(n_files + FEW)]
    figures: dict[str, list[float]] = {}
    clusters = {n: start(n, folder / "cache_there") for n in (1, 2)}
    for _ in range(rounds):
        for n, name in ((1, "1 process"), (2, "2 processes")):
            figures.setdefault(name, []).append(predict(files, n))
            os.environ[cluster.VARIABLE] = clusters[n].scheduler_address
            figures.setdefault(f"{n} worker" + "s" * (n > 1), []).append(predict(files, -1))
            del os.environ[cluster.VARIABLE]
    for one in clusters.values():
        one.close()
    print({way: [round(one) for one in values] for way, values in figures.items()})
    return {way: statistics.median(values) for way, values in figures.items()}


def measure_runs(n_runs: int, folder: Path) -> dict[str, float]:
    """Runs per hour, by way."""
    root = folder / "root"
    for name in ("notebooks", "params"):
        shutil.copytree(ROOT / name, root / name)
    os.environ |= {"SER_ROOT": str(root)}
    seeds = ",".join(map(str, range(n_runs)))

    def run(name: str, *more: str) -> float:
        overrides = [part for one in SHORT for part in ("-p", one)]
        command = [*SER, "run", "params/demo.yaml", "--seeds", seeds, "--name", name, *overrides, *more]
        began = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return n_runs * 3600 / (time.perf_counter() - began)

    cache = folder / "cache_of_runs"
    os.environ["SER_CACHE"] = str(cache)
    run("warm")
    figures = {"one after the other": run("here")}
    for n in (1, 2):
        with start(n, cache) as workers:
            figures[f"{n} worker" + "s" * (n > 1)] = run(f"away{n}", "--scheduler", workers.scheduler_address)
    return figures


def keep_array(number: int, folder: Path, cache: Cache) -> int:
    """Keep as much as is kept of a clip, and do nothing else."""
    cache.write(f"{number}", np.full((90, 130), number, dtype=np.float32))
    return number


def keep_nothing(number: int, folder: Path) -> int:
    """Do nothing."""
    return number


def measure_overhead(n_tasks: int, folder: Path) -> None:
    """Print the processor time that command, scheduler and worker, each a process, need for a clip beside the clip."""
    file = folder / "scheduler.json"
    os.environ["SER_CACHE"] = str(folder / "overhead_there")
    start = [sys.executable, "-m", "dask"]
    quiet = {"stderr": subprocess.DEVNULL}
    scheduler = subprocess.Popen([*start, "scheduler", "--port", "0", "--scheduler-file", str(file)], **quiet)
    worker = subprocess.Popen(
        [*start, "worker", "--scheduler-file", str(file), "--no-nanny", "--nthreads", "1"], **quiet
    )
    try:
        while not file.exists():
            time.sleep(0.2)
        os.environ[cluster.VARIABLE] = json.loads(file.read_text())["address"]
        os.environ["SER_CACHE"] = str(folder / "overhead_here")
        cache = open_cache()
        processes = {"command": os.getpid(), "scheduler": scheduler.pid, "worker": worker.pid}
        for function, more, times in ((keep_array, (cache,), 1 / 16), (keep_array, (cache,), 1), (keep_nothing, (), 1)):
            tasks = [(number, folder, *more) for number in range(int(n_tasks * times))]
            keys = [f"{function.__name__} {number}" for number in range(len(tasks))]
            before = {name: sum(psutil.Process(pid).cpu_times()[:2]) for name, pid in processes.items()}
            for _ in work.each(function, tasks, keys, cache, 1, "Sending"):
                pass
            for name, pid in processes.items() if times == 1 else ():
                used = sum(psutil.Process(pid).cpu_times()[:2]) - before[name]
                print(f"{function.__name__:12} {name:10} {1000 * used / len(tasks):6.2f} ms")
    finally:
        os.environ.pop(cluster.VARIABLE, None)
        for process_ in (worker, scheduler):
            process_.kill()
            process_.wait()


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--clips", type=int, default=320)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--files", type=int, default=640, help="files to predict; 0: none")
    parser.add_argument("--tasks", type=int, default=1600, help="empty clips, for what Dask costs; 0: none")
    parser.add_argument("--runs", type=int, default=2, help="runs of each way; 0: none")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        if asked.tasks:
            measure_overhead(asked.tasks, Path(name))
        for unit, figures in (
            ("clips/s", measure_clips(asked.clips, asked.rounds, Path(name))),
            ("files/s", measure_predictions(asked.files, asked.rounds, Path(name)) if asked.files else {}),
            ("runs/h", measure_runs(asked.runs, Path(name)) if asked.runs else {}),
        ):
            for way, value in figures.items():
                print(f"{way:20} {value:8.1f} {unit}")


if __name__ == "__main__":
    main()
