"""A run on another machine: its five notebooks on one worker of Dask, its record back whole or not at all.

The worker executes it as `ser run` does, in a folder of its own in its clone's `artifacts/`, which it removes
afterwards: whatever an earlier attempt left there, or one that was cut off still does, nobody takes for the record.
What comes back is the record, also that of a run that failed, and not the files in `OUTPUT_DIR`.
"""

import io
import os
import platform
import secrets
import warnings
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import CancelledError
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ser_lib.core import cluster
from ser_lib.core.errors import RunError, SerError
from ser_lib.core.identity import fingerprint, identity
from ser_lib.core.paths import project_root
from ser_lib.records import run as runs
from ser_lib.records.manifest import PATH_PARAMETERS
from ser_lib.records.notebook import private_folder
from ser_lib.records.sources import notebook_hash
from ser_lib.records.sweeps.objective import validation_figures

if TYPE_CHECKING:
    from distributed import Client, Future

_TEXTS = (".ipynb", ".json", ".yaml", ".md", ".csv", ".txt")
"""Endings of the files of a record that may name the folder in which it was made."""


@dataclass(frozen=True)
class Returned:
    """What a worker gives back of a run: its record as a zip file, and why it stopped, if it did."""

    record: bytes
    error: str = ""
    figures: Mapping[str, float] = field(default_factory=dict)
    """Of the validation set, of the trial of a sweep that succeeded."""


@contextmanager
def staging() -> Iterator[Path]:
    """Give a folder of its own in `artifacts/`, and remove it at the end; those of killed processes go first."""
    artifacts = project_root() / "artifacts"
    artifacts.mkdir(exist_ok=True)
    with private_folder(artifacts, f".away-{platform.node()}-") as folder:
        yield folder


def describe() -> Mapping[str, str]:
    """`identity`, with the code of the notebooks."""
    return {**identity(), **{f"{stage}.ipynb": notebook_hash(stage) for stage in runs.STAGES}}


def execute_there(
    name: str, values: Mapping[str, Any], features: bytes | None, code: str, *, is_trial: bool = False
) -> Returned:
    """Execute a run on the worker that this is.

    Parameters
    ----------
    name : str
    values : mapping
        Parameters that differ from the defaults, without `OUTPUT_DIR`.
    features : bytes, optional
        What 01_preprocess wrote for the same corpora and settings, so that it is loaded again.
    code : str
        The `fingerprint` that the worker must have.
    is_trial : bool
        Whether it is the trial of a sweep, which ends with its model and is measured on the validation set.

    Raises
    ------
    ClusterError
        If the worker has another one.
    """
    from distributed import get_worker

    worker = get_worker()
    cluster.check_code(code, f"{worker.name}")
    os.environ.pop(cluster.VARIABLE, None)  # a run that waited for other workers would keep them from working
    os.environ["LOKY_MAX_CPU_COUNT"] = str(worker.state.nthreads)
    with staging() as folder:
        home = folder.relative_to(project_root()).as_posix()
        run = runs.start_run(values, name=name, home=home)
        if features is not None and run.params.processed_data_file.parent == run.params.output_dir:
            run.params.processed_data_file.write_bytes(features)
        error, figures = "", {}
        try:
            runs.execute_run(run, runs.TRAINING if is_trial else runs.STAGES)
            figures = validation_figures(run.params) if is_trial else {}
        except (SerError, OSError) as raised:
            error = str(raised).replace(f"{home}/", "")
        return Returned(_pack(run.record, home), error, figures)


def _pack(record: Path, home: str) -> bytes:
    """Record as a zip file, as if it had been made in the project's root."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(path for path in record.rglob("*") if path.is_file()):
            content = path.read_bytes()
            if path.suffix in _TEXTS:
                content = content.replace(f"{home}/".encode(), b"")
            archive.writestr(path.relative_to(record).as_posix(), content)
    return stream.getvalue()


def execute_away(
    client: "Client", planned: Iterable[runs.Run], features: Mapping[str, Path | None], *, are_trials: bool = False
) -> Iterator[tuple[runs.Run, Returned]]:
    """Execute runs on workers, each as one task, and give each as it ends, its record in its place.

    Parameters
    ----------
    client : Client
    planned : iterable of Run
    features : mapping
        Name of a run → file that 01_preprocess would write; without one, the run makes its features.
    are_trials : bool
        Whether they are trials of a sweep.

    Raises
    ------
    ClusterError
        If the scheduler is lost, or no worker sees the corpora.
    """
    from distributed import as_completed

    futures = dict(_submit(client, list(planned), features, are_trials))
    address = client.scheduler.address
    try:
        for future in as_completed(list(futures)):
            run = futures.pop(future)
            yield run, _outcome(future, run, address)
            future.release()
    finally:
        if client.status == "running":
            client.cancel(list(futures))


def _submit(
    client: "Client", planned: list[runs.Run], features: Mapping[str, Path | None], are_trials: bool
) -> Iterator[tuple["Future", runs.Run]]:
    """Hand the runs to the scheduler, and what several of them need once."""
    token = secrets.token_hex(4)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # features are large; a file of them is sent once
        files = {path for path in features.values() if path is not None}
        made = {path: client.submit(_same, path.read_bytes(), key=f"features-{path.stem}-{token}") for path in files}
        for run in planned:
            file = features.get(run.name)
            yield (
                client.submit(
                    execute_there, run.name, _values(run), made[file] if file else None, fingerprint(),
                    is_trial=are_trials, key=f"run-{run.name}-{token}", pure=False,
                    **cluster.where_seen(client, run.params.dataset_path),
                ),
                run,
            )  # fmt: skip


def _same(content: bytes) -> bytes:
    """Keep what is needed on a worker: were it lost with that, Dask does this again elsewhere."""
    return content


def _values(run: runs.Run) -> dict[str, Any]:
    """Parameters for another machine, where the project may lie elsewhere."""
    values = run.params.model_dump(exclude={"OUTPUT_DIR"})
    return values | {
        name: str(cluster.to_send(Path(values[name]))) for name in PATH_PARAMETERS if values.get(name) is not None
    }


def _outcome(future: "Future", run: runs.Run, address: str) -> Returned:
    """Put a run's record in its place; what came back, or at least why nothing did."""
    from distributed import KilledWorker

    try:
        returned = future.result()
    except (SerError, RuntimeError, ValueError, TypeError, ImportError, AttributeError) as error:
        return Returned(b"", f"{run.name} stopped: {error}")
    except KilledWorker as error:
        n_workers = error.allowed_failures + 1
        why = f"its worker was killed {n_workers} times, or out of memory; its log says more."
        return Returned(b"", f"{run.name} stopped: {why}")
    except (CancelledError, OSError):
        raise cluster.lost(address) from None
    try:
        take_back(run, returned)
    except (RunError, OSError) as error:
        return Returned(b"", f"{run.name} came back and cannot be put in its place: {error}")
    return returned


def take_back(run: runs.Run, returned: Returned) -> None:
    """Put the record of a run that comes back in its place, whole; what an earlier attempt left there goes.

    Raises
    ------
    RunError
        If another process executes the run.
    """
    reports = run.record.parent
    reports.mkdir(parents=True, exist_ok=True)
    with runs.hold(run), private_folder(reports, f".partial-{platform.node()}-") as folder:
        with zipfile.ZipFile(io.BytesIO(returned.record)) as archive:
            archive.extractall(folder / "record")
        if run.record.exists():
            run.record.rename(folder / "earlier")
        (folder / "record").rename(run.record)
