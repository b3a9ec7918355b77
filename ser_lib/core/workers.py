"""What worker processes have in common: they end with their parent, and leave interrupts to it."""

import os
import shutil
import signal
import threading
import time
from concurrent.futures import Executor
from importlib.util import find_spec

_LIMITS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
_ONE_THREAD = dict.fromkeys(_LIMITS, "1")
"""Environment of processes of which there is one for each core."""


def end_with(parent: int) -> None:
    """Let a worker end soon after its parent, even a killed one; joblib's would wait for minutes."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def serve(parent: int) -> None:
    """Begin a worker of a command in a terminal, whose Ctrl-C goes to all processes: the parent alone answers it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with(parent)


def n_processes(jobs: int) -> int:
    """How many processes work: `jobs`, or for -1 as many as there are cores; one where a machine lets none talk."""
    from joblib import effective_n_jobs

    return effective_n_jobs(jobs)


def worker_processes(n: int) -> Executor:
    """Give `n` worker processes, the same ones where they are asked for again; they start with the first task.

    They are joblib's: unlike those of multiprocessing, they do not run a script again that has no `__main__` guard.
    """
    from joblib.externals.loky import get_reusable_executor

    return get_reusable_executor(n, initializer=serve, initargs=(os.getpid(),), env=_ONE_THREAD)


def end_workers(workers: Executor) -> None:
    """End the processes of `worker_processes`, at once where they can be killed, or else when they have answered."""
    can_kill = os.name == "nt" or find_spec("psutil") is not None or shutil.which("pgrep") is not None
    workers.shutdown(wait=False, kill_workers=can_kill)  # type: ignore[call-arg]
