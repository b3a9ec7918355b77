"""Runs: the five notebooks in order through papermill, and the record that they leave.

`reports/<run>/` is the record: executed notebooks, `params.yaml`, `manifest.json`, the results, the bundle and
the model card. It names no path of this machine and holds no audio. `artifacts/<run>/` holds what the stages
write (unless `OUTPUT_DIR` says otherwise), the parameters with their real paths, and the kernels' log.
"""

import itertools
import logging
import shutil
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ser_lib.core.cache import open_cache
from ser_lib.core.errors import ParameterError, RunError, StageError
from ser_lib.core.io import file_hash, whole_file, write_text
from ser_lib.core.locks import lock
from ser_lib.core.paths import resolve, shown
from ser_lib.corpora.clips import check_label_map
from ser_lib.params import Params, make_params, read_values
from ser_lib.records.manifest import (
    DONE,
    MANIFEST_FILE,
    PATH_PARAMETERS,
    TRAINED,
    Manifest,
    Stage,
    check_plain,
    describe_corpus,
    describe_environment,
    hide_value,
    now,
    read_manifest,
    write_manifest,
)
from ser_lib.records.notebook import execute_notebook
from ser_lib.records.packing import COMPRESSED, PACKED, compress
from ser_lib.records.pages import write_model_card
from ser_lib.records.record import RUN_NAME, complete, record_folder, scratch_folder
from ser_lib.records.sources import edited, notebook_hash
from ser_lib.store import (
    BUNDLE_FILE,
    HISTORY_FILE,
    LEAKAGE_FILE,
    LICENCE_FILE,
    MODEL_CARD_FILE,
    PREDICTIONS_FILE,
    SKIPPED_FILE,
    SPLIT_FILE,
)

STAGES = ("01_preprocess", "02_split", "03_train", "04_evaluate", "05_predict")
"""The notebooks, in the order in which they run."""
TRAINING = STAGES[:3]
"""Those that end with a model; none of them measures anything on the test set."""
_RECORDED = {
    SKIPPED_FILE, SPLIT_FILE, LEAKAGE_FILE, HISTORY_FILE, BUNDLE_FILE, LICENCE_FILE, "metrics.json",
    PREDICTIONS_FILE, "predictions.csv",
}  # fmt: skip


@dataclass(frozen=True)
class Run:
    """A run's name and parameters, and the folders that belong to it.

    Attributes
    ----------
    name : str
    params : Params
    home : str
        Folder that its `reports/` and `artifacts/` are in, from the project's root; empty: the root itself.
    """

    name: str
    params: Params
    home: str = ""

    @property
    def record(self) -> Path:
        """Folder of the record."""
        return record_folder(self.name, self.home)

    @property
    def scratch(self) -> Path:
        """Folder of what is not recorded."""
        return scratch_folder(self.name, self.home)

    def recorded(self, stage: str) -> list[Path]:
        """Those outputs of `stage` that the record keeps a copy of: the results and the bundle."""
        names = _RECORDED | {self.params.MODEL_ONNX_FILE}
        return [path for path in self.outputs(stage) if path.name in names]

    def outputs(self, stage: str) -> list[Path]:
        """Files that `stage` must have written when it is done."""
        params, folder = self.params, self.params.output_dir
        return {
            "01_preprocess": [params.processed_data_file, folder / "clips.csv", folder / SKIPPED_FILE],
            "02_split": [folder / name for name in (SPLIT_FILE, LEAKAGE_FILE, params.X_TEST_FILE, params.Y_TEST_FILE)],
            "03_train": [
                folder / name
                for name in (
                    params.MODEL_WEIGHTS_FILE,
                    params.MODEL_ONNX_FILE,
                    params.MODEL_JSON_FILE,
                    params.MODEL_H5_FILE,
                    HISTORY_FILE,
                    BUNDLE_FILE,
                    LICENCE_FILE,
                )
            ],
            "04_evaluate": [folder / "metrics.json", folder / PREDICTIONS_FILE],
            "05_predict": [folder / "predictions.csv"],
        }[stage]


def make_run(values: Mapping[str, Any], *, name: str, home: str = "") -> Run:
    """Name and parameters of a run, validated; nothing is made yet.

    Parameters
    ----------
    values : mapping
        Parameters that differ from the defaults. `OUTPUT_DIR` becomes `artifacts/<name>` unless it is named.
    name : str
        Letters, digits, `_`, `-` and `.`.
    home : str
        Folder that its `reports/` and `artifacts/` are in, from the project's root.

    Raises
    ------
    RunError
        If the name is not valid.
    ParameterError
        If a parameter is refused.
    """
    if not RUN_NAME.fullmatch(name):
        raise RunError(
            f"A run's name must be of letters, digits, `_`, `-` and `.`, starting with a letter or digit. Got {name!r}."
        )
    folder = (Path(home) / "artifacts" / name).as_posix()
    run = Run(name, make_params({"OUTPUT_DIR": folder} | dict(values)), home)
    run.params.check_test_corpora()
    run.params.check_model()
    check_label_map(run.params.all_corpora, run.params.LABEL_MAP)
    example = run.params.EXAMPLE_AUDIO_FILE
    if example is not None and not resolve(example).is_file():
        raise ParameterError(f"`EXAMPLE_AUDIO_FILE` must be an audio file. There is none at {example}.")
    split_file = run.params.SPLIT_FILE
    if split_file is not None and not resolve(split_file).is_file():
        raise ParameterError(f"`SPLIT_FILE` must be a CSV file of clip and set. There is none at {split_file}.")
    return run


def start_run(values: Mapping[str, Any], *, name: str, home: str = "") -> Run:
    """Begin a new run: validate everything, as `make_run` does, then make its folders.

    Raises
    ------
    RunError
        If the name is taken, too.
    """
    run = make_run(values, name=name, home=home)
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
        keep_values(run)
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


def keep_values(run: Run) -> None:
    """Keep a run's parameters, with their real paths, where a command that takes it up looks for them."""
    run.scratch.mkdir(parents=True, exist_ok=True)
    write_text(run.scratch / "params.yaml", _to_yaml(run.params.model_dump()))


def resume_run(name: str) -> Run:
    """Take up a run that stopped, with the parameters it began with.

    Raises
    ------
    RunError
        If there is no such run, or its record holds links.
    """
    private = scratch_folder(name) / "params.yaml"
    if not RUN_NAME.fullmatch(name) or not private.is_file():
        raise RunError(f"A run to resume must have been started here; artifacts/{name}/params.yaml is missing.")
    check_plain(record_folder(name))
    return Run(name, make_params(complete(read_values([private]))))


def execute_run(run: Run, stages: Sequence[str] = STAGES) -> None:
    """Execute the stages that have not succeeded yet, stopping at the first that fails.

    Parameters
    ----------
    run : Run
    stages : sequence of str
        The first so many of `STAGES`; with `TRAINING`, the run is not done but trained, and `resume_run` goes on.

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
        write_text(run.record / "params.yaml", _to_yaml(shown_values), through_link=False)
        manifest = _take_up_manifest(run)
        done = list(itertools.takewhile(lambda stage: _is_done(run, stage, manifest), STAGES))
        for stage in done:
            _keep_results(run, stage, manifest.left_out)
        state = DONE if len(stages) == len(STAGES) else TRAINED
        if manifest.state in (DONE, state) and len(done) >= len(stages):
            return
        manifest.stages = {stage: manifest.stages[stage] for stage in done}
        manifest.left_out = _remove_results(run, STAGES[len(done) :], manifest.left_out)
        manifest.environment = describe_environment()
        _warn_of_edits(stages[len(done) :])
        if problem := open_cache().problem():
            print(f"warning: {problem}", file=sys.stderr, flush=True)
        for stage in stages[len(done) :]:
            _execute_stage(run, stage, manifest)
        _end(run, manifest, state)
        if state == DONE:
            write_model_card(run.record)


def _warn_of_edits(stages: Iterable[str]) -> None:
    """Tell in a line which notebooks are about to run with edited code; modules, the record tells."""
    names = [name for stage in stages for name in edited(stage) or [] if name.endswith(".ipynb")]
    if names:
        print(f"warning: edited code, as the record says: {', '.join(names)}", file=sys.stderr, flush=True)


def _take_up_manifest(run: Run) -> Manifest:
    if (run.record / MANIFEST_FILE).is_file():
        return read_manifest(run.record)
    return Manifest(run=run.name, state="started", started=now(), seed=run.params.SEED)


def _remove_results(run: Run, stages: Iterable[str], left_out: list[str]) -> list[str]:
    """Remove what an earlier attempt at these stages left in the record; of `left_out`, give what stays so."""
    names = {f"{stage}.ipynb" for stage in stages} | {path.name for stage in stages for path in run.recorded(stage)}
    packed = [f"{name}{suffix}" for name in COMPRESSED if name in names for suffix in PACKED]
    names.add(MODEL_CARD_FILE)
    for name in [*names, *packed]:
        (run.record / name).unlink(missing_ok=True)
    return [name for name in left_out if name not in names]


def _is_done(run: Run, stage: str, manifest: Manifest) -> bool:
    """Tell whether a stage has succeeded and its files are what they were then."""
    notebook = f"{stage}.ipynb"
    if stage not in manifest.stages or not ((run.record / notebook).is_file() or notebook in manifest.left_out):
        return False
    hashes = manifest.stages[stage].artifacts
    return all(path.is_file() and file_hash(path) == hashes.get(path.name) for path in run.outputs(stage))


def _execute_stage(run: Run, stage: str, manifest: Manifest) -> None:
    started, clock = now(), time.monotonic()
    code = {"notebook": notebook_hash(stage), "edited": edited(stage)}
    _end(run, manifest, f"running {stage}")
    if not sys.stderr.isatty():  # where the line of progress does not show
        print(f"  {stage} ...", flush=True)
    try:
        execute_notebook(stage, run.params, scratch=run.scratch, record=run.record)
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
        **code,
        artifacts={path.name: file_hash(path) for path in run.outputs(stage)},
    )
    print(f"  {stage:<14} {manifest.stages[stage].seconds:6.1f} s", flush=True)
    _end(run, manifest, f"finished {stage}")


def _keep_results(run: Run, stage: str, left_out: Sequence[str] = ()) -> None:
    """Copy the small results of a stage that is done into the record, but for what a light one leaves out."""
    for source in run.recorded(stage):
        if source.name in COMPRESSED:
            compress(source, run.record)
        elif source.name not in left_out:
            with whole_file(run.record / source.name, through_link=False) as partial:
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
    run.scratch.mkdir(parents=True, exist_ok=True)
    with hold_folder(folder, f"execute the run {run.name}, or use {shown(folder)}"):
        for place in {folder, run.scratch, run.record}:
            for left in place.glob(".partial-*"):  # of a process that was killed
                left.unlink()
        yield


@contextmanager
def hold_folder(folder: Path, what: str) -> Iterator[None]:
    """Hold a folder for this process, which alone may do `what` then; RunError if another process holds it."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("a") as handle:
        try:
            lock(handle)
        except BlockingIOError:
            raise RunError(f"Only one process at a time may {what}. Wait for the other to end.") from None
        yield
