import math
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import psutil
import pytest
from conftest import needs_workers
from joblib import Parallel, delayed
from test_project import REPO

from ser_lib.core.workers import worker_processes

SLOW_WORK = """
import os, time

from ser_lib.audio.clips import each

def work(number):
    time.sleep(0.02)
    return os.getpid()

if __name__ == "__main__":
    tasks = [(number,) for number in range(100_000)]
    for pid in each(work, tasks, [str(number) for number in range(len(tasks))], {}, 2, "x"):
        print(pid, flush=True)
"""


def is_alive(process):
    try:
        return process.status() != psutil.STATUS_ZOMBIE  # which a container may keep
    except psutil.NoSuchProcess:
        return False


def wait_until_gone(processes, *, tries=1200):
    while any(map(is_alive, processes)):
        tries -= 1
        assert tries, processes
        time.sleep(0.1)


@needs_workers
def test_clips_and_answers_share_a_process():
    roots = [worker_processes(2).submit(math.sqrt, 4).result()]
    roots += Parallel(2)(delayed(math.sqrt)(number) for number in (9, 16))
    assert [*roots, worker_processes(2).submit(math.sqrt, 25).result()] == [2, 3, 4, 5]


@needs_workers
def test_workers_end_with_a_parent_that_is_killed(tmp_path):
    script = tmp_path / "slow.py"
    script.write_text(SLOW_WORK)
    with subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True) as parent:
        worker = psutil.Process(int(parent.stdout.readline()))
        family = psutil.Process(parent.pid).children(recursive=True)
        assert worker in family
        parent.kill()
        parent.wait()
        wait_until_gone(family)  # joblib alone would let them wait for 300 s


@needs_workers
@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_predict_leaves_no_worker(tmp_path, write_wav, number):
    first = write_wav(tmp_path / "in" / "0.wav", np.sin(np.arange(16000) / 9) / 3, 16000)
    for copy in range(1, 400):
        shutil.copy(first, tmp_path / "in" / f"{copy}.wav")
    words = [tmp_path / "in", "--run", REPO / "reports" / "demo", "--jobs", "2", "--out", tmp_path / "t.csv"]
    command = [sys.executable, "-c", "from ser_lib._cli.app import main; main()", "predict", *map(str, words)]
    part = tmp_path / "t.csv.part"
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as parent:
        while not part.exists() or part.read_text().count("\n") < 2:
            assert parent.poll() is None
            time.sleep(0.05)
        family = psutil.Process(parent.pid).children(recursive=True)
        assert family
        parent.send_signal(number)
        parent.stdout.read()
        assert parent.wait() == 128 + number
        wait_until_gone(family, tries=50)
