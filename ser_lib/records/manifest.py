"""The manifest of a run: what ran, on what, with what, how long, how it ended; and no path of the machine in it."""

import hashlib
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field, ValidationError

from ser_lib import __version__
from ser_lib.core.errors import RunError
from ser_lib.core.foreign import ForeignError, Format, Line, fault_place, read_json
from ser_lib.core.identity import git, library_hash
from ser_lib.core.io import read_csv, write_text
from ser_lib.core.paths import project_root, resolve, shown
from ser_lib.core.text import printable
from ser_lib.params import Params
from ser_lib.store import MANIFEST_FILE

DONE = "done"
"""State of a run whose five notebooks all succeeded."""
TRAINED = "trained"
"""State of a run that was to end with its model, before anything is measured on the test set: a trial of a sweep."""
FORMAT = Format(5, RunError, {4: lambda stored: {**stored, "format": 5, "left_out": []}}, unnumbered=4)
"""Format of today's records: 5 compresses tables and may leave files out; up to 4, none said its number."""
PATH_PARAMETERS = ("DATASET_PATH", "OUTPUT_DIR", "PROCESSED_DATA_FILE", "SPLIT_FILE", "EXAMPLE_AUDIO_FILE")
"""Parameters that may hold a path of the machine."""


class Environment(BaseModel):
    """Software and machine: what a result may depend on beside parameters and data."""

    ser_lib: str | None = None
    commit: str | None = Field(None, description="commit of the project; null where git cannot tell")
    library: str | None = Field(None, description="SHA-256 over the library's modules")
    dirty: bool | None = Field(None, description="whether code, notebooks, parameters or lock differ from the commit")
    python: str | None = None
    platform: str | None = None
    cpu: str | None = None
    cores: int | None = None
    packages: dict[str, str] = Field({}, description="every installed package and its version")


class Corpus(BaseModel):
    """The clips that a run used, by content."""

    clips: int
    sha256: str


class Stage(BaseModel):
    """A notebook that succeeded."""

    started: str | None = None
    ended: str | None = None
    seconds: float = Field(ge=0, allow_inf_nan=False)
    commit: str | None = None
    notebook: str | None = Field(None, description="SHA-256 over the code of the notebook, without parameters")
    edited: list[str] | None = Field(
        None, description="notebook and modules whose code had been edited; null where nothing tells"
    )
    artifacts: dict[str, str] = Field({}, description="file and its SHA-256")


class Manifest(BaseModel):
    """Contents of `manifest.json`; what an older record lacks is empty."""

    run: Line
    state: Line
    started: Line
    ended: Line | None = None
    seed: int | None = None
    corpus: Corpus | None = None
    stages: dict[str, Stage] = {}
    environment: Environment = Environment()
    format: int = Field(FORMAT.newest, ge=FORMAT.newest, le=FORMAT.newest, strict=True)
    left_out: list[Line] = Field([], description="files that the record has left out to be light")

    @property
    def seconds(self) -> float:
        """How long the stages took together."""
        return sum(stage.seconds for stage in self.stages.values())

    @property
    def artifacts(self) -> dict[str, str]:
        """Hash of each file that the run wrote."""
        return {name: digest for stage in self.stages.values() for name, digest in stage.artifacts.items()}

    @property
    def code(self) -> str:
        """Say where the code that ran had been edited, or that nothing tells; of older records nothing."""
        names = sorted({name for stage in self.stages.values() for name in stage.edited or []})
        if names:
            return f"Some of the code that ran had been edited: {', '.join(names)}."
        if any(stage.notebook and stage.edited is None for stage in self.stages.values()):
            return f"No commit tells which code ran; {MANIFEST_FILE} has its hashes."
        return ""


def check_plain(folder: Path) -> None:
    """Refuse the folder of a record or a study that is, or at any depth holds, anything but plain files and folders.

    It may come from anywhere: what a link names would be written over, or shown as if the record said it, and a pipe
    would be waited for. What is no folder is none of them.

    Raises
    ------
    RunError
        Naming the first of them.
    """
    if not folder.is_symlink() and not folder.is_dir():
        return
    odd = folder if folder.is_symlink() else next(_odd_below(folder), None)
    if odd is not None:
        what = "a link" if odd.is_symlink() else "a pipe, a socket or a device"
        raise RunError(
            f"A record must hold plain files and folders alone; {printable(shown(odd))} is {what}. "
            f"Remove it, or the record: ser runs rm {folder.name}"
        )


def _odd_below(folder: Path) -> Iterator[Path]:
    folders = [folder]
    while folders:
        try:
            entries = sorted(os.scandir(folders.pop()), key=lambda entry: entry.name)
        except OSError as error:
            raise RunError(f"{shown(error.filename)} cannot be read: {error.strerror}.") from None
        folders += [Path(entry) for entry in entries if entry.is_dir(follow_symlinks=False)]
        yield from (
            Path(entry)
            for entry in entries
            if not entry.is_dir(follow_symlinks=False) and not entry.is_file(follow_symlinks=False)
        )


def read_manifest(record: Path) -> Manifest:
    """Read the manifest of a record.

    Raises
    ------
    RunError
        If it is missing or damaged, or the record holds links.
    """
    path = record / MANIFEST_FILE
    with reading(path, "record", "run"):
        return read_json(path, Manifest.model_validate_json, form=FORMAT)


@contextmanager
def reading(path: Path, whole: str, remedy: str) -> Iterator[None]:
    """Turn what is wrong with the file that describes a `whole`, a record or a study, into one line.

    Raises
    ------
    RunError
        If it is missing or damaged, or its folder holds links; to remove the `remedy` is one way out.
    """
    check_plain(path.parent)
    try:
        yield
    except OSError as error:
        why = "There is none" if isinstance(error, FileNotFoundError) else f"It cannot be read ({error.strerror})"
        raise RunError(f"A {whole} must have a {path.name}. {why} in {shown(path.parent)}.") from None
    except (ForeignError, ValidationError) as error:
        fault = fault_place(error) if isinstance(error, ValidationError) else error
        raise RunError(f"{shown(path)} is damaged ({fault}). Restore it, or remove the {remedy}.") from None


def write_manifest(record: Path, manifest: Manifest) -> None:
    """Write the manifest into a record."""
    write_text(record / MANIFEST_FILE, manifest.model_dump_json(indent=1) + "\n", through_link=False)


def now() -> str:
    """Time of day, UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def describe_environment() -> Environment:
    """Software and machine of this process; neither the machine's name nor its user's."""
    return Environment(
        ser_lib=__version__,
        **_commit(),
        library=library_hash(),
        python=platform.python_version(),
        platform=f"{platform.system()} {platform.machine()}",
        cpu=_cpu(),
        cores=os.cpu_count(),
        packages=dict(sorted((found.name.lower(), found.version) for found in distributions() if found.name)),
    )


def _commit() -> dict:
    sources = ("ser_lib", "notebooks", "params", "requirements.lock")
    commit = git(project_root(), "rev-parse", "HEAD")
    changes = git(project_root(), "status", "--porcelain", "--", *sources)
    if commit is None or changes is None:
        return {"commit": None, "dirty": None}
    return {"commit": commit.strip(), "dirty": bool(changes.strip())}


def _cpu() -> str | None:
    """Model of the processor, which decides how floating-point sums are rounded."""
    try:
        if platform.system() == "Darwin":
            call = ["sysctl", "-n", "machdep.cpu.brand_string"]
            return subprocess.run(call, capture_output=True, text=True, check=True).stdout.strip()
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").partition("\n\n")[0].splitlines()
    except (OSError, subprocess.CalledProcessError):
        return platform.processor() or None
    values = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    if "model name" not in values:
        return platform.processor() or None
    # a virtual machine may give many generations the same name
    details = [f"{name} {values[name]}" for name in ("cpu family", "model", "stepping") if name in values]
    return ", ".join([values["model name"], *details])


def describe_corpus(clips_file: Path) -> Corpus:
    """Fingerprint of the clips in `clips.csv`: ids and contents decide, not folders, names or dates."""
    clips = read_csv(clips_file)
    lines = sorted(f"{clip} {sha256}\n" for clip, sha256 in zip(clips["clip"], clips["sha256"], strict=True))
    return Corpus(clips=len(lines), sha256=hashlib.sha256("".join(lines).encode()).hexdigest())


def hide_in_notebook(notebook: dict, params: Params) -> dict:
    """Hide paths in every text of a notebook; pictures are left alone."""
    return _hide_everywhere(notebook, _hider(params))


def _hide_everywhere(node: Any, hide: Callable[[str], str]) -> Any:
    if isinstance(node, str):
        return hide(node)
    if isinstance(node, list):
        return [_hide_everywhere(item, hide) for item in node]
    if isinstance(node, dict):
        return {key: item if key.startswith("image/") else _hide_everywhere(item, hide) for key, item in node.items()}
    return node


def _hider(params: Params) -> Callable[[str], str]:
    """Make the function that hides this machine's paths in a text: the project's become relative, others a word.

    Finding them asks the file system, and a notebook has many texts.
    """
    hidden = _hidden_paths(params)
    longest_first = "|".join(re.escape(path) for path in sorted(hidden, key=len, reverse=True))
    pattern = re.compile(rf"(?<![\w.-])({longest_first})(?![\w-]|\.\w)")
    elsewhere = _elsewhere()
    return lambda text: elsewhere.sub(r"<path>/\1", pattern.sub(lambda found: hidden[found.group(1)], text))


def _elsewhere() -> re.Pattern:
    """Any other absolute path on this machine: one that begins with a folder of the root folder. Group: its name."""
    tops = "|".join(re.escape(folder.name) for folder in Path("/").iterdir() if folder.is_dir())
    return re.compile(rf"(?:(?<=file://)|(?<![\w.>/~]))/(?:{tops})(?:/[^\s/\"'<>:;,()]+)*/([^\s/\"'<>:;,()]+)")


def _hidden_paths(params: Params) -> dict[str, str]:
    """Each path that a record must not show, with what it shows instead."""
    values = [getattr(params, name) for name in PATH_PARAMETERS]
    hidden = {
        form: hide_value(value) or ""
        for value in values
        if value and _is_elsewhere(value)
        for form in _forms(Path(value))
    }
    for folder, word in (
        (project_root(), "."),
        (Path(sys.prefix), "<python>"),
        (Path(sys.base_prefix), "<python>"),
        (Path(tempfile.gettempdir()), "<tmp>"),
        (Path.home(), "~"),
    ):
        hidden |= {form: word for form in _forms(folder) if form not in hidden}
    return {path: word for path, word in hidden.items() if len(path) > 1}


def _forms(path: Path) -> set[str]:
    """Ways to write a path: as it is, without links, from the home folder, as tracebacks do, and escaped."""
    forms = {path.expanduser(), path.expanduser().resolve()}
    home = {f"~/{form.relative_to(Path.home())}" for form in forms if form.is_relative_to(Path.home())}
    plain = {str(form) for form in forms} | (home - {"~/."})
    return plain | {json.dumps(form)[1:-1] for form in plain}


def _is_elsewhere(value: str) -> bool:
    return not resolve(value).is_relative_to(project_root())


def hide_value(value: str | None) -> str | None:
    """Show a path parameter as the record may: relative ones as they are, others from the project or by name."""
    if value is None:
        return value
    path = Path(value).expanduser()
    return shown(path) if path.is_absolute() or _is_elsewhere(value) else value
