"""`--scheduler`: what a command does before and while workers of Dask work for it."""

import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ser_lib._cli.common import summarize
from ser_lib.core import cluster
from ser_lib.core.errors import ClusterError, RunError, SerError
from ser_lib.core.extras import check_extras
from ser_lib.core.paths import project_root
from ser_lib.core.text import printable

if TYPE_CHECKING:
    from distributed import Client

    from ser_lib.records.plan import Planned
    from ser_lib.records.run import Run
    from ser_lib.records.sweeps.trials import Execute, Figures

SchedulerOption = Annotated[
    str | None,
    typer.Option(
        "--scheduler",
        metavar="ADDRESS",
        envvar=cluster.VARIABLE,
        help="Let the workers of a Dask scheduler help, as tcp://host:8786; see docs/cluster.md.",
    ),
]


def use_scheduler(address: str | None) -> "Client | None":
    """Let this process and its kernels give work to a scheduler, whose workers are checked first; None without one."""
    if not address:
        return None
    check_extras("cluster", "notebooks")
    from ser_lib.records.cluster import describe

    if not cluster.is_safe(address):
        print(
            f"warning: {address} is neither on this machine nor encrypted (tls://): whoever reaches it can run code on "
            "its workers and change results. docs/cluster.md shows how to protect it.",
            file=sys.stderr,
        )
    os.environ[cluster.VARIABLE] = address
    client = cluster.connect(address)
    cluster.check_workers(client, describe)
    cores = client.nthreads()
    link = client.dashboard_link
    watch = f" Watch them: {link}" if link and cluster.has_dashboard(link) else ""
    print(f"{len(cores)} workers help, {sum(cores.values())} tasks at a time.{watch}", file=sys.stderr, flush=True)
    return client


def make_features(
    planned: Sequence["Run"], folder: Path, files: dict[str, Path | None] | None = None
) -> Mapping[str, Path | None]:
    """Make the features that the runs need, each once, with all workers: name of a run → file in `folder`.

    Where that fails there is no file, and the run itself tells why. `files` are those of earlier calls.
    """
    from ser_lib.params import make_params
    from ser_lib.preprocess import preprocess_data
    from ser_lib.records.record import OWN

    files = {} if files is None else files
    missing = {need: run for run in planned if (need := _need(run)) not in files}
    if missing:
        runs = f"{len(planned)} run{'s' * (len(planned) != 1)}"
        print(f"Features come first, each once: {len(missing)} for {runs}.", file=sys.stderr, flush=True)
    for need, run in missing.items():
        output = folder / f"{len(files)}"
        values = run.params.model_dump(exclude=set(OWN))
        params = make_params(values | {"OUTPUT_DIR": output.relative_to(project_root()).as_posix()})
        try:
            with redirect_stdout(None):  # each run's 01_preprocess prints the same
                preprocess_data(params)
            files[need] = params.processed_data_file
        except ClusterError:
            raise
        except (SerError, OSError):
            files[need] = None
    return {run.name: files[_need(run)] for run in planned}


def _need(run: "Run") -> str:
    """All that features depend on, as one text."""
    params = run.params
    named = (params.all_corpora, str(params.dataset_path), params.LABEL_MAP, params.SPEAKER_PATTERN)
    return json.dumps([*named, params.audio_settings.model_dump()], sort_keys=True)


def _make_runs(planned: Sequence["Planned"]) -> list["Run"]:
    """Make planned runs, whose values stay here whatever becomes of them."""
    from ser_lib.records.run import keep_values, make_run

    runs = [make_run(one.values, name=one.name) for one in planned]
    for run in runs:
        keep_values(run)
    return runs


def execute_all(client: "Client", planned: Sequence["Planned"]) -> list[str]:
    """Execute planned runs on workers, saying of each how it went as it comes back; the names of those that failed.

    Raises
    ------
    ClusterError
        If the scheduler is lost, or no worker sees the corpora.
    """
    from ser_lib.core.progress import progress_bar, write_line
    from ser_lib.records.cluster import execute_away, staging

    runs, failed = _make_runs(planned), []
    with staging() as folder:
        features = make_features(runs, folder)
        with progress_bar(len(runs), "Running", "runs") as bar:
            for number, (run, returned) in enumerate(execute_away(client, runs, features), start=1):
                bar.update(1)
                if returned.error:
                    failed.append(run.name)
                    write_line(printable(f"error: {returned.error}"))
                else:
                    write_line(f"Run {run.name}, {number} of {len(runs)}\n{summarize(run.name)}", out=True)
    return failed


@contextmanager
def trials_away(client: "Client") -> Iterator["Execute"]:
    """Give what executes the trials of a sweep on workers; features that were made for one serve all that follow."""
    from ser_lib.records.cluster import execute_away, staging

    made: dict[str, Path | None] = {}
    with staging() as folder:

        def execute(planned: Sequence["Planned"]) -> Iterator[tuple["Planned", "Figures | Exception"]]:
            runs = _make_runs(planned)
            by_name = {one.name: one for one in planned}
            for run, back in execute_away(client, runs, make_features(runs, folder, made), are_trials=True):
                yield by_name[run.name], RunError(back.error) if back.error else back.figures

        yield execute
