"""What worker processes have in common: they end with their parent, and leave interrupts to it."""

import ctypes
import functools
import os
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec

FEW = 64
"""Files from which on worker processes are worth their start."""
_LIMITS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
_ONE_THREAD = dict.fromkeys(_LIMITS, "1")
"""Environment of processes of which there is one for each core."""
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3
"""Names of settings of glibc's `mallopt` (malloc.h)."""
_HEAP = 2**26
"""Most bytes of a heap, of which a thread has several; a free one is kept if `_TOP_PAD` is more than two are."""


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


@functools.cache
def keep_memory() -> None:
    """Let this process keep freed memory: a clip or a step of training takes megabytes, and pages are slow to clear.

    Dask's nanny even has glibc give it back at once. Only glibc is told.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # another library; Windows takes no None
        return
    for option, size in ((_TRIM_THRESHOLD, 2**30), (_MMAP_THRESHOLD, 2**25), (_TOP_PAD, 3 * _HEAP)):
        mallopt(option, size)


def worth(n_files: int, jobs: int) -> int:
    """Give `jobs`, or 1 where there are too few files for processes to be worth their start."""
    return jobs if n_files >= FEW else 1


def n_processes(jobs: int) -> int:
    """How many processes work: `jobs`, or for -1 as many as there are cores; one where a machine lets none talk."""
    if jobs == 1:
        return 1
    from joblib import effective_n_jobs

    return effective_n_jobs(jobs)


def worker_processes(n: int) -> Executor:
    """Give `n` worker processes, the same ones where they are asked for again; they start with the first task.

    They are joblib's: unlike those of multiprocessing, they do not run a script again that has no `__main__` guard.
    joblib makes them itself: it has one such pool in a process, and trips over one that is not of its own making.
    """
    from joblib.executor import get_memmapping_executor

    return get_memmapping_executor(n, initializer=serve, initargs=(os.getpid(),), env=_ONE_THREAD)


@contextmanager
def early_workers(n_files: int, jobs: int, module: str) -> Iterator[None]:
    """Let the processes begin that so many files will want, while this one imports and opens things; end them at last.

    `module` is what they import meanwhile.
    """
    n_workers = n_processes(worth(n_files, jobs)) - 1
    if not n_workers:
        yield
        return
    workers = worker_processes(n_workers)
    begin(workers, n_workers, module)
    try:
        yield
    finally:
        _end(workers)


def begin(workers: Executor, n: int, module: str) -> list[Future[None]]:
    """Let `n` workers import a module; the first of these that is done tells that one of them is there."""
    return [workers.submit(_import, module) for _ in range(n)]


def _import(module: str) -> None:
    import_module(module)


def _end(workers: Executor) -> None:
    """End the workers, at once where they can be killed, or else when they have answered."""
    can_kill = os.name == "nt" or find_spec("psutil") is not None or shutil.which("pgrep") is not None
    workers.shutdown(wait=False, kill_workers=can_kill)  # type: ignore[call-arg]
