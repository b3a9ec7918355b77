import subprocess
import sys
import time

import psutil

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
