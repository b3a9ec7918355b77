"""One function on many clips, in parallel, with what the cache has read here."""

import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from joblib import Parallel, delayed

from ser_lib.core.cache import Cache
from ser_lib.core.progress import progress_bar

Result = TypeVar("Result")
_BATCH = 16
"""Clips per task of a worker."""
_SHRINK_EVERY = 2000
"""Clips after which the cache is brought back to its limit."""


def each(
    function: Callable[..., Result], tasks: Sequence[tuple], keys: list[str], cache: Cache, n_jobs: int, what: str
) -> Iterator[Result]:
    """Results of `function(*task)` for every task, in order; an `AudioError` is a result as well.

    What the cache has under the task's key is read here, the rest is computed in parallel.
    """
    known = [key in cache for key in keys]
    missing = [delayed(function)(*task) for task, is_known in zip(tasks, known, strict=True) if not is_known]
    n_workers = n_jobs if len(missing) > _BATCH else 1
    workers = Parallel(
        n_workers, batch_size=_BATCH, return_as="generator", initializer=_end_with, initargs=(os.getpid(),)
    )
    computed = workers(missing)
    with progress_bar(len(tasks), what, "clips") as bar:
        for number, (task, is_known) in enumerate(zip(tasks, known, strict=True), start=1):
            yield function(*task) if is_known else next(computed)
            bar.update(1)
            if number % _SHRINK_EVERY == 0:
                cache.shrink()


def _end_with(parent: int) -> None:
    """Let a worker end soon after its parent, even one that was killed: joblib's would wait for minutes."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
