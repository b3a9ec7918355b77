"""A stage's notebook through papermill, and the executed one into the record, whatever becomes of it."""

import base64
import io
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL import Image
from traitlets import Dict, Unicode
from traitlets.config import Config

from ser_lib.core.errors import DISK_FULL, ParameterError, RunError, SerError
from ser_lib.core.io import write_text
from ser_lib.core.locks import lock
from ser_lib.core.paths import project_root, shown
from ser_lib.core.progress import FILE_VARIABLE, stage_line
from ser_lib.core.quick import without_grammar
from ser_lib.params import Params
from ser_lib.records.manifest import hide_in_notebook
from ser_lib.records.sources import notebook_path
from ser_lib.store import RUN_VARIABLE

with without_grammar():
    import nbformat
    import papermill
    from jupyter_client import AsyncKernelManager
    from nbclient.exceptions import DeadKernelError
    from papermill.exceptions import PapermillExecutionError

_PNG = "image/png"
_INJECTED = "# What this run used, whatever the cell above says"
_SESSION = "JPY_SESSION_NAME"
"""Variable by which Jupyter tells a kernel that somebody looks at its notebook; a command in one hands it down."""
_PREFIX = "ser-"
_LOCK = "held.lock"
"""File that a process locks while it uses its folder: the lock goes with the process, however it ends."""


class LoggedKernelManager(AsyncKernelManager):
    """Starts kernels whose own streams go to a file: notes of dying libraries are nothing for the terminal."""

    log_file = Unicode().tag(config=True)
    variables = Dict().tag(config=True)

    async def start_kernel(self, **options: Any) -> None:  # type: ignore[override]  # jupyter_client's may be awaited
        """Start a kernel with `variables` in its environment; what its cells do not show goes to `log_file`."""
        environment = {name: value for name, value in options.pop("env", os.environ).items() if name != _SESSION}
        environment |= self.variables
        with Path(self.log_file).open("ab") as log:
            await super().start_kernel(stdout=log, stderr=log, env=environment, **options)


def execute_notebook(stage: str, params: Params, *, scratch: Path, record: Path) -> None:
    """Execute the notebook of a stage in `scratch` and move it to `record`, without paths of this machine.

    Raises
    ------
    RunError
        If it fails; the executed notebook is in the record all the same, with the error.
    """
    notebook = notebook_path(stage)
    partial, published = scratch / notebook.name, record / notebook.name
    log_file = scratch / "kernels.log"
    values = params.model_dump()
    given = {name: values[name] for name in declared_parameters(notebook)}
    headings = _headings(notebook)
    progress_file = scratch / ".progress"
    with stage_line(stage, progress_file) as show, private_folder() as folder:

        def show_cell(cell: nbformat.NotebookNode, cell_index: int) -> None:
            show(f"cell {cell_index + 1} of {len(headings)} · {headings[min(cell_index, len(headings) - 1)]}")

        try:
            papermill.execute_notebook(
                notebook, partial, parameters=given, kernel_name="python3", cwd=project_root(),
                progress_bar=False, on_cell_start=show_cell, **_kernel_options(params, folder, log_file, progress_file),
            )  # fmt: skip
        except PapermillExecutionError as error:
            raise RunError(f"{stage} stopped: {_one_line(error)} See {shown(published)}.") from None
        except DeadKernelError:
            raise RunError(
                f"{stage} stopped: its Python process died (killed, or out of memory). See {shown(log_file)}."
            ) from None
        except RuntimeError as error:
            raise RunError(f"{stage} stopped: {error}") from None
        except OSError as error:
            place = error.filename or (partial if error.errno in DISK_FULL else None)
            where = f"{shown(place)}: " if place else ""
            raise RunError(f"{stage} stopped: {where}{error.strerror or error}.") from None
        finally:
            _publish(partial, published, params)


def _kernel_options(params: Params, folder: Path, log_file: Path, progress_file: Path) -> dict[str, Any]:
    """Options of a kernel that leaves everything in `folder` which only it needs."""
    temporary, file = folder / "tmp", folder / "params.json"
    temporary.mkdir()
    file.write_text(params.model_dump_json(), encoding="utf-8")
    variables = {FILE_VARIABLE: progress_file, RUN_VARIABLE: file, "TMPDIR": temporary, "JOBLIB_TEMP_FOLDER": temporary}
    # IPC sockets can be listened to by no other user, and in a folder of their own by no other run: by default they
    # are kernel-ipc-1 and on in the working directory. papermill's 60 and 4 seconds are too few for a busy machine
    settings: dict[str, Any] = {
        "transport": "ipc",
        "ip": str(folder / "kernel"),
        "connection_file": str(folder / "kernel.json"),
    }
    settings |= {"log_file": str(log_file), "variables": {name: str(path) for name, path in variables.items()}}
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


def _publish(notebook: Path, published: Path, params: Params) -> None:
    """Move an executed notebook into the record, without paths of this machine."""
    if not notebook.is_file():
        return
    try:
        content = json.loads(notebook.read_text(encoding="utf-8"))
    except ValueError:  # torn: the disk is full, which is reported already
        pass
    else:
        content = hide_in_notebook(content, params)
        shrink_pictures(content)
        _name_injected(content)
        write_text(published, json.dumps(content, indent=1, ensure_ascii=False) + "\n", through_link=False)
    notebook.unlink()


def _name_injected(notebook: dict) -> None:
    """Say in the cell that papermill injected that its values, not those of the cell above, are the run's."""
    for cell in notebook["cells"]:
        if "injected-parameters" in cell["metadata"].get("tags", []):
            cell["source"] = "".join(cell["source"]).replace("# Parameters", _INJECTED, 1).splitlines(keepends=True)


def shrink_pictures(notebook: dict) -> None:
    """Store the pictures of a notebook with 256 colours, which halves a record: plots have no more to show."""
    outputs = [output for cell in notebook["cells"] for output in cell.get("outputs", [])]
    for data in [output["data"] for output in outputs if _PNG in output.get("data", {})]:
        given = base64.b64decode("".join(data[_PNG]))
        stream = io.BytesIO()
        picture = Image.open(io.BytesIO(given)).convert("RGB")
        picture.quantize(256, method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE).save(
            stream, "PNG", optimize=True
        )
        if len(stream.getvalue()) < len(given):
            data[_PNG] = base64.b64encode(stream.getvalue()).decode() + "\n"


@contextmanager
def private_folder(parent: Path | None = None, prefix: str = _PREFIX) -> Iterator[Path]:
    """Give a folder in `parent`, or the temporary folder, which nobody else may read; remove it at the end."""
    remove_leftovers(parent, prefix)
    with tempfile.TemporaryDirectory(prefix=prefix, dir=parent, ignore_cleanup_errors=True) as name:
        new = Path(name) / "new"
        with new.open("w") as held:
            lock(held)
            new.rename(Path(name) / _LOCK)  # so it is never there without being held
            yield Path(name)


def remove_leftovers(parent: Path | None = None, prefix: str = _PREFIX) -> None:
    """Remove the folders of processes of this user that were killed."""
    for folder in (parent or Path(tempfile.gettempdir())).glob(f"{prefix}*"):
        if _is_left(folder):
            shutil.rmtree(folder, ignore_errors=True)


def _own_id() -> int:
    """Number of this user; on Windows, 0, which files are given there."""
    return os.getuid() if hasattr(os, "getuid") else 0


def _is_left(folder: Path) -> bool:
    try:
        if folder.is_symlink() or folder.stat().st_uid != _own_id():
            return False
        with (folder / _LOCK).open("r") as held:
            lock(held)
    except OSError:
        return False
    return True
