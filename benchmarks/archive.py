"""Measure `ser predict` on a folder of many files: files per second by processes, and the memory of the command itself.

The folder holds links to clips of a corpus, over and over. Each figure is of a fresh process, start included; with one
process and with several in turns, so that a busy machine slows both.

python benchmarks/archive.py [--corpus data/TESS] [--run RUN] [--files 1000,20000] [--jobs 1,2]
"""

import argparse
import itertools
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import psutil

from ser_lib.corpora.audio_files import find_files

_EVERY = 0.1
"""Seconds between two looks at the memory."""


class Figures(NamedTuple):
    """Of one command."""

    seconds: float
    cpu: float
    """Seconds of the command and its workers."""
    memory: int
    """Bytes of the command itself, at most."""


def link_files(clips: list[Path], count: int, folder: Path) -> Path:
    """Return a folder of `count` links to clips."""
    folder.mkdir()
    for number, clip in enumerate(itertools.islice(itertools.cycle(clips), count)):
        (folder / f"{number:06}{clip.suffix}").symlink_to(clip)
    return folder


def measure(folder: Path, count: int, *options: str) -> Figures:
    """Predict all files of a folder into a table, and check that it has them all."""
    table = folder.parent / "answers.csv"
    command = [Path(sys.executable).parent / "ser", "predict", folder, "--out", table, *options]
    start, most, cpu = time.perf_counter(), 0, 0.0
    with subprocess.Popen(list(map(str, command)), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        watched = psutil.Process(process.pid)
        while process.poll() is None:
            most, cpu = max(most, watched.memory_info().rss), max(cpu, _cpu(watched))
            time.sleep(_EVERY)
    seconds = time.perf_counter() - start
    with table.open(encoding="utf-8") as rows:
        assert sum(1 for _ in rows) == count + 1
    return Figures(seconds, cpu, most)


def _cpu(process: psutil.Process) -> float:
    """Seconds of CPU of a process and those that it has started; those that have just ended may lack."""
    total = 0.0
    for one in (process, *process.children(recursive=True)):
        try:
            total += sum(one.cpu_times()[:2])
        except psutil.NoSuchProcess:
            continue
    return total


def main() -> None:
    """Measure, and print a line for each command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--corpus", default="data/TESS")
    parser.add_argument("--run", help="By default, the default model.")
    parser.add_argument("--files", default="1000,20000")
    parser.add_argument("--jobs", default="1,2")
    asked = parser.parse_args()
    clips = [file.absolute() for file in find_files(asked.corpus)[0]]
    which = ["--run", asked.run] if asked.run else []
    print(f"{'files':>7}{'jobs':>6}{'seconds':>9}{'files/s':>9}{'CPU ms/file':>13}{'memory, MB':>12}", flush=True)
    for count, jobs in itertools.product(map(int, asked.files.split(",")), asked.jobs.split(",")):
        with tempfile.TemporaryDirectory() as folder:
            found = measure(link_files(clips, count, Path(folder) / "in"), count, "--jobs", jobs, *which)
        figures = f"{found.seconds:>9.1f}{count / found.seconds:>9.1f}{1000 * found.cpu / count:>13.1f}"
        print(f"{count:>7}{jobs:>6}{figures}{found.memory / 1e6:>12.0f}", flush=True)


if __name__ == "__main__":
    main()
