"""The manifest of a run: what ran, on what, with what, how long, and how it ended."""

import hashlib
import os
import platform
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.metadata import distributions
from pathlib import Path

from pydantic import BaseModel, Field, ValidationError

from ser_lib import __version__
from ser_lib.core.errors import RunError
from ser_lib.core.foreign import ForeignError, Line, read_json
from ser_lib.core.io import read_csv, write_text
from ser_lib.core.paths import project_root, shown
from ser_lib.core.text import printable
from ser_lib.records.sources import git, library_hash

MANIFEST_FILE = "manifest.json"
"""Name of the manifest in a record."""
DONE = "done"
"""State of a run whose five notebooks all succeeded."""


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
        None, description="notebook and modules whose code was unlike the commit's; null where git cannot tell"
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
        """Say where the code that ran is unlike the commit's, or that no commit tells; of older records nothing."""
        names = sorted({name for stage in self.stages.values() for name in stage.edited or []})
        if names:
            return f"Some of the code that ran is unlike the commit's: {', '.join(names)}."
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
    check_plain(record)
    path = record / MANIFEST_FILE
    try:
        return read_json(path, Manifest.model_validate_json)
    except OSError as error:
        why = "There is none" if isinstance(error, FileNotFoundError) else f"It cannot be read ({error.strerror})"
        raise RunError(f"A record must have a {MANIFEST_FILE}. {why} in {shown(record)}.") from None
    except ForeignError as error:
        raise RunError(f"{shown(path)} is damaged ({error}). Restore it, or remove the run.") from None
    except ValidationError as error:
        place = ".".join(map(str, error.errors()[0]["loc"])) or "no JSON"
        raise RunError(f"{shown(path)} is damaged ({place}). Restore it, or remove the run.") from None


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
