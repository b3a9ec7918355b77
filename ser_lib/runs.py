"""Runs: the five notebooks in order through papermill, and the record that they leave.

`reports/<run>/` is the record: executed notebooks, `params.yaml`, `manifest.json`, the results, the bundle and
the model card. It names no path of this machine and holds no audio. `artifacts/<run>/` holds what the stages
write (unless `OUTPUT_DIR` says otherwise), the parameters with their real paths, and the kernels' log.
"""

import fcntl
import itertools
import json
import logging
import os
import re
import shutil
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
import papermill
import yaml
from jupyter_client import AsyncKernelManager
from nbclient.exceptions import DeadKernelError
from papermill.exceptions import PapermillExecutionError
from traitlets import Unicode
from traitlets.config import Config

from ser_lib.corpora import get_corpus
from ser_lib.errors import ParameterError, RunError, SerError, StageError
from ser_lib.manifest import (
    DONE,
    MANIFEST_FILE,
    Manifest,
    Stage,
    describe_corpus,
    describe_environment,
    now,
    read_manifest,
    write_manifest,
)
from ser_lib.params import Params, load_params, make_params, project_root, resolve, shown
from ser_lib.progress import FILE_VARIABLE, stage_line
from ser_lib.records import MODEL_CARD_FILE, RUN_NAME, record_folder, scratch_folder, write_model_card
from ser_lib.redact import PATH_PARAMETERS, hide_in_notebook, hide_value
from ser_lib.store import BUNDLE_FILE, SPLIT_FILE, file_hash, whole_file, write_text

STAGES = ("01_preprocess", "02_split", "03_train", "04_evaluate", "05_predict")
"""The notebooks, in the order in which they run."""
_KEPT = {
    "skipped.csv", "split.csv", "history.json", BUNDLE_FILE, "metrics.json", "test_predictions.csv", "predictions.csv"
}  # fmt: skip


class LoggedKernelManager(AsyncKernelManager):
    """Starts kernels whose own streams go to a file: notes of dying libraries are nothing for the terminal."""

    log_file = Unicode().tag(config=True)
    progress_file = Unicode().tag(config=True)

    async def start_kernel(self, **options: Any) -> None:
        """Start a kernel that tells its progress in the one file, and what its cells do not show in the other."""
        environment = options.pop("env", os.environ) | {FILE_VARIABLE: self.progress_file}
        with Path(self.log_file).open("ab") as log:
            await super().start_kernel(stdout=log, stderr=log, env=environment, **options)


@dataclass(frozen=True)
class Run:
    """A run's name and parameters, and the folders that belong to it."""

    name: str
    params: Params

    @property
    def record(self) -> Path:
        """Folder of the record."""
        return record_folder(self.name)

    @property
    def scratch(self) -> Path:
        """Folder of what is not recorded."""
        return scratch_folder(self.name)

    def kept(self, stage: str) -> list[Path]:
        """Those outputs of `stage` that the record keeps a copy of: the results and the bundle."""
        names = _KEPT | {self.params.MODEL_ONNX_FILE}
        return [path for path in self.outputs(stage) if path.name in names]

    def outputs(self, stage: str) -> list[Path]:
        """Files that `stage` must have written when it is done."""
        params, folder = self.params, self.params.output_dir
        return {
            "01_preprocess": [params.processed_data_file, folder / "clips.csv", folder / "skipped.csv"],
            "02_split": [folder / SPLIT_FILE, folder / params.X_TEST_FILE, folder / params.Y_TEST_FILE],
            "03_train": [
                folder / name
                for name in (
                    params.MODEL_WEIGHTS_FILE,
                    params.MODEL_ONNX_FILE,
                    params.MODEL_JSON_FILE,
                    params.MODEL_H5_FILE,
                    "history.json",
                    BUNDLE_FILE,
                )
            ],
            "04_evaluate": [folder / "metrics.json", folder / "test_predictions.csv"],
            "05_predict": [folder / "predictions.csv"],
        }[stage]


def start_run(values: Mapping[str, Any], *, name: str) -> Run:
    """Begin a new run: validate everything, then make its folders.

    Parameters
    ----------
    values : mapping
        Parameters that differ from the defaults. `OUTPUT_DIR` becomes `artifacts/<name>` unless it is named.
    name : str
        Letters, digits, `_`, `-` and `.`.

    Raises
    ------
    RunError
        If the name is not valid or taken.
    ParameterError
        If a parameter is refused.
    """
    if not RUN_NAME.fullmatch(name):
        raise RunError(
            f"A run's name must be of letters, digits, `_`, `-` and `.`, starting with a letter or digit. Got {name!r}."
        )
    run = Run(name, make_params({"OUTPUT_DIR": f"artifacts/{name}"} | dict(values)))
    get_corpus(run.params.CORPORA[0])
    example = run.params.EXAMPLE_AUDIO_FILE
    if example is not None and not resolve(example).is_file():
        raise ParameterError(f"`EXAMPLE_AUDIO_FILE` must be an audio file. There is none at {example}.")
    _make_folders(run)
    return run


def _make_folders(run: Run) -> None:
    """Make a new run's folders and keep its parameters; after an error, nothing is left of them."""
    made = []
    try:
        for folder in (run.record, run.scratch):
            folder.mkdir(parents=True)
            made.append(folder)
        run.params.output_dir.mkdir(parents=True, exist_ok=True)
        write_text(run.scratch / "params.yaml", _to_yaml(run.params.model_dump()))
    except (OSError, StageError) as error:
        for folder in made:
            shutil.rmtree(folder, ignore_errors=True)
        if isinstance(error, StageError):
            raise
        if isinstance(error, FileExistsError) and len(made) < 2:
            resume = f"continue it with --resume {run.name}, " if (run.scratch / "params.yaml").is_file() else ""
            raise RunError(
                f"Every run needs a name of its own; {shown(error.filename)} is there already. "
                f"Choose another --name, {resume}or remove it."
            ) from None
        raise RunError(f"The folder {shown(error.filename)} cannot be made: {error.strerror}.") from None


def resume_run(name: str) -> Run:
    """Take up a run that stopped, with the parameters it began with.

    Raises
    ------
    RunError
        If there is no such run.
    """
    private = scratch_folder(name) / "params.yaml"
    if not RUN_NAME.fullmatch(name) or not private.is_file():
        raise RunError(f"A run to resume must have been started here; artifacts/{name}/params.yaml is missing.")
    return Run(name, load_params(private))


def execute_run(run: Run) -> None:
    """Execute the stages that have not succeeded yet, stopping at the first that fails.

    Raises
    ------
    RunError
        If a stage fails; its executed notebook is in the record, with the error.
    """
    for logger in ("papermill", "traitlets", "asyncio"):  # what they would print, our own errors say in one line
        logging.getLogger(logger).setLevel(logging.CRITICAL)
    with hold(run):
        values = run.params.model_dump()
        shown_values = values | {name: hide_value(values[name]) for name in PATH_PARAMETERS}
        write_text(run.record / "params.yaml", _to_yaml(shown_values))
        manifest = _take_up_manifest(run)
        done = list(itertools.takewhile(lambda stage: _is_done(run, stage, manifest), STAGES))
        for stage in done:
            _keep_results(run, stage)
        if manifest.state == DONE and len(done) == len(STAGES):
            return
        manifest.stages = {stage: manifest.stages[stage] for stage in done}
        _remove_results(run, STAGES[len(done) :])
        manifest.environment = describe_environment()
        for stage in STAGES[len(done) :]:
            _execute_stage(run, stage, manifest)
        _end(run, manifest, DONE)
        write_model_card(run.record)


def _take_up_manifest(run: Run) -> Manifest:
    if (run.record / MANIFEST_FILE).is_file():
        return read_manifest(run.record)
    return Manifest(run=run.name, state="started", started=now(), seed=run.params.SEED)


def _remove_results(run: Run, stages: Iterable[str]) -> None:
    """Take what these stages left in the record out of it: it belongs to an earlier attempt."""
    for stage in stages:
        for name in (f"{stage}.ipynb", *(path.name for path in run.kept(stage))):
            (run.record / name).unlink(missing_ok=True)
    (run.record / MODEL_CARD_FILE).unlink(missing_ok=True)


def _is_done(run: Run, stage: str, manifest: Manifest) -> bool:
    """Tell whether a stage has succeeded and its files are what they were then."""
    if stage not in manifest.stages or not (run.record / f"{stage}.ipynb").is_file():
        return False
    hashes = manifest.stages[stage].artifacts
    return all(path.is_file() and file_hash(path) == hashes.get(path.name) for path in run.outputs(stage))


def _execute_stage(run: Run, stage: str, manifest: Manifest) -> None:
    started, clock = now(), time.monotonic()
    _end(run, manifest, f"running {stage}")
    if not sys.stderr.isatty():  # where the line of progress does not show
        print(f"  {stage} ...", flush=True)
    try:
        _execute_notebook(run, stage)
        missing = [shown(path) for path in run.outputs(stage) if not path.is_file()]
        if missing:
            raise RunError(f"{stage} ended without writing {', '.join(missing)}.")
    except KeyboardInterrupt:
        _end(run, manifest, f"interrupted in {stage}")
        raise
    except Exception:
        _end(run, manifest, f"failed in {stage}")
        raise
    _keep_results(run, stage)
    if stage == STAGES[0]:
        manifest.corpus = describe_corpus(run.params.output_dir / "clips.csv")
    manifest.stages[stage] = Stage(
        started=started,
        ended=now(),
        seconds=round(time.monotonic() - clock, 1),
        commit=manifest.environment.commit,
        artifacts={path.name: file_hash(path) for path in run.outputs(stage)},
    )
    print(f"  {stage:<14} {manifest.stages[stage].seconds:6.1f} s", flush=True)
    _end(run, manifest, f"finished {stage}")


def _execute_notebook(run: Run, stage: str) -> None:
    """Execute one notebook in `scratch` and publish it, without paths of this machine, whatever becomes of it."""
    notebook = project_root() / "notebooks" / f"{stage}.ipynb"
    partial = run.scratch / f"{stage}.ipynb"
    log_file = run.scratch / "kernels.log"
    declared = declared_parameters(notebook)
    defaults = Params().model_dump()
    values = run.params.model_dump()
    changed = {name: values[name] for name in declared if values[name] != defaults[name]}
    headings = _headings(notebook)
    told = run.scratch / ".progress"
    with stage_line(stage, told) as show:

        def show_cell(cell: nbformat.NotebookNode, cell_index: int) -> None:
            show(f"cell {cell_index + 1} of {len(headings)} · {headings[min(cell_index, len(headings) - 1)]}")

        try:
            papermill.execute_notebook(
                notebook, partial, parameters=changed, kernel_name="python3", cwd=project_root(),
                progress_bar=False, on_cell_start=show_cell, **_kernel_options(log_file, told),
            )  # fmt: skip
        except PapermillExecutionError as error:
            raise RunError(f"{stage} stopped: {_one_line(error)} See {shown(run.record / notebook.name)}.") from None
        except DeadKernelError:
            raise RunError(
                f"{stage} stopped: its Python process died (killed, or out of memory). See {shown(log_file)}."
            ) from None
        except RuntimeError as error:
            raise RunError(f"{stage} stopped: {error}") from None
        except OSError as error:
            raise RunError(f"{stage} stopped: {error.strerror or error}.") from None
        finally:
            _publish(run, partial)


def _kernel_options(log_file: Path, told: Path) -> dict[str, Any]:
    # IPC sockets can be listened to by no other user; papermill's 60 and 4 seconds are too few for a busy machine
    settings = {"transport": "ipc", "log_file": str(log_file), "progress_file": str(told)}
    return {
        "kernel_manager_class": LoggedKernelManager,
        "config": Config({"LoggedKernelManager": settings}),
        "start_timeout": 300,
        "iopub_timeout": 60,
    }


def _one_line(error: PapermillExecutionError) -> str:
    message = " ".join(str(error.evalue).split())
    known = {kind.__name__ for kind in SerError.__subclasses__()}
    return message if error.ename in known else f"{error.ename}: {message}"


def declared_parameters(notebook: Path) -> list[str]:
    """Names of the parameters that a notebook declares, as papermill sees them.

    Raises
    ------
    ParameterError
        If one of them is unknown to `Params`.
    """
    names = list(papermill.inspect_notebook(str(notebook)))
    for name in names:
        if name not in Params.model_fields:
            raise ParameterError(f"{notebook.name} declares `{name}`, which ser_lib/params.py does not know.")
    return names


def _headings(notebook: Path) -> list[str]:
    """For each cell, the heading that it stands under."""
    heading, headings = "", []
    for cell in nbformat.read(notebook, as_version=4).cells:
        found = re.findall(r"^#+ *(.+)", cell.source, flags=re.MULTILINE) if cell.cell_type == "markdown" else []
        heading = found[-1] if found else heading
        headings.append(heading)
        if "parameters" in cell.metadata.get("tags", []):
            headings.append(heading)  # the cell that papermill adds
    return headings


def _publish(run: Run, notebook: Path) -> None:
    """Move an executed notebook into the record, without paths of this machine."""
    if not notebook.is_file():
        return
    try:
        content = json.loads(notebook.read_text(encoding="utf-8"))
    except ValueError:  # torn: the disk is full, which is told already
        pass
    else:
        content = hide_in_notebook(content, run.params)
        write_text(run.record / notebook.name, json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    notebook.unlink()


def _keep_results(run: Run, stage: str) -> None:
    """Copy the small results of a stage that is done into the record."""
    for source in run.kept(stage):
        with whole_file(run.record / source.name) as partial:
            shutil.copyfile(source, partial)


def _to_yaml(values: Mapping[str, Any]) -> str:
    return yaml.safe_dump(dict(values), sort_keys=False, allow_unicode=True)


def _end(run: Run, manifest: Manifest, state: str) -> None:
    """Write the manifest with a new state; the time is that of the last sign of life."""
    manifest.state, manifest.ended = state, now()
    write_manifest(run.record, manifest)


@contextmanager
def hold(run: Run) -> Iterator[None]:
    """Hold a run's `OUTPUT_DIR` for this process; the lock goes with the process, however it ends.

    Raises
    ------
    RunError
        If another process holds it.
    """
    folder = run.params.output_dir
    folder.mkdir(parents=True, exist_ok=True)
    run.scratch.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("a") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RunError(
                f"Only one process at a time may execute the run {run.name}, or use {shown(folder)}. "
                "Wait for the other to end."
            ) from None
        for left in folder.glob(".partial-*"):  # of a process that was killed
            left.unlink()
        yield
