"""Work on clips on other machines: joblib's Dask backend, and what becomes of a task that no worker answers.

What a worker keeps in the cache of its machine comes back with the result and is kept here, too: no other machine then
makes it again.
"""

import functools
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from distributed import Client, KilledWorker, get_worker
from joblib import Parallel, delayed, parallel_config
from joblib._dask import DaskDistributedBackend

from ser_lib.core import cluster
from ser_lib.core.cache import Cache, open_cache
from ser_lib.core.errors import AudioError, ClusterError, SerError
from ser_lib.core.identity import fingerprint
from ser_lib.core.paths import resolve
from ser_lib.core.workers import keep_memory

_AHEAD = 3
"""Batches under way for each core."""
_TRIES = 3


@dataclass(frozen=True)
class Unanswered:
    """Stands for a result: of a task that killed its workers or, with the name of one, that does not see a file."""

    blind: str = ""
    missing: str = ""


@dataclass(frozen=True)
class _Carrying(Cache):
    """The cache of a worker's machine; remembers what goes through it."""

    entries: dict[str, np.ndarray] = field(default_factory=dict)

    def read(self, key: str) -> np.ndarray | None:
        array = super().read(key)
        if array is not None:
            self.entries[key] = array
        return array

    def write(self, key: str, array: np.ndarray) -> None:
        super().write(key, array)
        self.entries[key] = array


class _Backend(DaskDistributedBackend):
    """joblib's own, which would wait for ever for a batch that killed its workers, or whose scheduler is gone."""

    def submit(self, func: Any, callback: Any = None) -> Any:
        future = super().submit(func, callback)

        def tell(done: Any) -> None:
            if error := done.exception():
                callback([Unanswered()] * len(func.items) if isinstance(error, KilledWorker) else error)

        future.add_done_callback(tell)
        return future

    def effective_n_jobs(self, n_jobs: int) -> int:
        return max(2, sum(self.client.nthreads().values()))  # with one, joblib would do the work itself

    def retrieve_result_callback(self, out: Any) -> Any:
        if isinstance(out, CancelledError):
            raise cluster.lost(cluster.scheduler_address() or "")
        if isinstance(out, SerError):
            raise out
        if isinstance(out, BaseException):
            raise ClusterError(f"A worker cannot do its work: {type(out).__name__}: {out}")
        return super().retrieve_result_callback(out)


def compute(function: Callable, tasks: Sequence[tuple], batch: int, cache: Cache | None = None) -> Iterator[Any]:
    """Results of `function(*task)` for every task, in order, computed by workers in batches of so many.

    A path in a task is looked for on the worker, and a cache is that of its machine; what is kept there is kept in
    `cache`, too. A task that kills its workers gives an `AudioError`, as one whose file cannot be read.

    Raises
    ------
    ClusterError
        If the scheduler is lost, or no worker will do.
    """
    client = cluster.connect(cluster.scheduler_address() or "")
    sent = [tuple(cluster.to_send(one) if isinstance(one, Path) else one for one in task) for task in tasks]
    folders = [one.parent for one in tasks[0] if isinstance(one, Path)]
    run = functools.partial(_run, client, function, folders)
    for task, answer in zip(sent, run(sent, batch), strict=True):
        if isinstance(answer, Unanswered):
            answer = _answer_alone(functools.partial(run, [task], 1), answer)
        if isinstance(answer, AudioError):
            yield answer
        else:
            result, entries = answer
            for key, array in entries.items():
                if cache is not None:
                    cache.write(key, array)
            yield result


def _run(client: Client, function: Callable, folders: list[Path], tasks: list[tuple], batch: int) -> Iterator[Any]:
    options = cluster.where_seen(client, folders[0]) if folders else {}
    ahead = _AHEAD * batch * max(1, sum(client.nthreads().values()))
    with parallel_config(_Backend(client=client, **options)):
        workers = Parallel(batch_size=batch, pre_dispatch=ahead, return_as="generator")
    return workers(delayed(_answer)(function, fingerprint(), task) for task in tasks)


def _answer_alone(run: Callable[[], Iterator[Any]], answer: Any) -> Any:
    """Answer of a task that had none in its batch; the one that kills its workers is found in this way."""
    for _ in range(_TRIES):
        was_alone_to_kill = not answer.blind
        answer = next(run())
        if not isinstance(answer, Unanswered):
            return answer
        if not answer.blind and was_alone_to_kill:
            return AudioError("the process that reads it is killed, each time")
    raise ClusterError(f"Workers must see what this command sees. {answer.blind} does not see {answer.missing}.")


def _answer(function: Callable, code: str, task: tuple) -> Any:
    """Do a task on a worker: its result, and what was kept in the cache meanwhile."""
    keep_memory()
    name = f"{get_worker().name}"
    cluster.check_code(code, name)
    values = [resolve(one) if isinstance(one, Path) else one for one in task]
    missing = [one for one in values if isinstance(one, Path) and not one.exists()]
    if missing:
        return Unanswered(name, str(cluster.to_send(missing[0])))
    entries: dict[str, np.ndarray] = {}
    if any(isinstance(one, Cache) for one in values):
        here = open_cache()
        cache = _Carrying(here.folder, here.limit, entries)
        values = [cache if isinstance(one, Cache) else one for one in values]
    try:
        result = function(*values)
    except SerError as error:
        raise type(error)(f"Worker {name}: {error}") from None
    return result, entries
