"""Models that have been named: `reports/models.json` lists their runs, and the first predicts where none is asked for.

A run becomes the default because somebody says so, never because it is the newest.
"""

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from ser_lib.core.errors import RunError
from ser_lib.core.foreign import fault_place, read_json
from ser_lib.core.io import write_text
from ser_lib.core.paths import has_project, shipped_root, shown
from ser_lib.records.manifest import read_manifest
from ser_lib.records.record import RUN_NAME, find_record, record_folder, reports_folder
from ser_lib.store import BUNDLE_FILE, MANIFEST_FILE

MODELS_FILE = "models.json"
"""Name of the list, in `reports/`."""
_SET = "ser runs default RUN"


class Strangers(BaseModel):
    """How right a model of this kind was about speakers whom it had not heard, in another run that tested them."""

    run: Annotated[str, StringConstraints(pattern=f"^{RUN_NAME.pattern}$")]
    speakers: Annotated[int, Field(ge=1)]
    accuracy: Annotated[float, Field(ge=0, le=1)]


class NamedModel(BaseModel):
    """A model that is named; what a later version may say of it is kept."""

    model_config = ConfigDict(extra="allow")

    run: Annotated[str, StringConstraints(pattern=f"^{RUN_NAME.pattern}$")]
    fallback: Annotated[str, StringConstraints(pattern=f"^{RUN_NAME.pattern}$")] | None = None
    """Run whose model answers where this one's encoder is not on the machine."""
    strangers: Strangers | None = None
    """For a model whose own test set has voices that it knows."""


class _Models(BaseModel):
    """Contents of the list."""

    model_config = ConfigDict(extra="allow")

    models: list[NamedModel] = Field(min_length=1)


def model_folder(run: str) -> Path:
    """Folder of a run's record, or of the model of that name that came with the library."""
    own, carried = record_folder(run), shipped_root() / "reports" / run
    if not RUN_NAME.fullmatch(run) or (has_project() and own.is_dir()):
        return own
    return carried if carried.is_dir() else own


def named_models() -> list[NamedModel]:
    """Models of the list, the default first; none where there is no list.

    Raises
    ------
    RunError
        If it is damaged.
    """
    listed = _read()
    return listed.models if listed else []


def default_run() -> str:
    """Name of the run whose model predicts where none is asked for.

    Raises
    ------
    RunError
        If none is named, or the one that is has no model here.
    """
    named = named_models()
    if not named:
        raise RunError(f"No model is the default. Name one with --run RUN, or set the default: {_SET}")
    run = named[0].run
    if not has_model(model_folder(run)):
        raise RunError(
            f"{shown(models_file())} names {run} as the default, and there is no run of that name with a model. "
            f"Name another with --run RUN, or set the default: {_SET}"
        )
    return run


def fallback_run(run: str) -> str | None:
    """Name of the run that answers in place of `run` where its encoder is not on this machine; None if there is none.

    Raises
    ------
    RunError
        If the list is damaged.
    """
    fallback = next((one.fallback for one in named_models() if one.run == run), None)
    return fallback if fallback and has_model(model_folder(fallback)) else None


def is_default(run: str) -> bool:
    """Tell whether a run is the default; of a list that is damaged, none is."""
    try:
        return [model.run for model in named_models()[:1]] == [run]
    except RunError:
        return False


def set_default(run: str) -> None:
    """Put a run of `reports/` first in the list, where other names stay if more is said of them than the name.

    Raises
    ------
    RunError
        If there is no such run, or it has no model.
    """
    folder = record_folder(run)
    if not RUN_NAME.fullmatch(run) or not folder.is_dir():
        raise RunError(f"The default must be a run in reports/. There is none called {run!r}; `ser runs` lists them.")
    find_record(run)
    if has_left_model_out(folder):
        raise RunError(f"The default must be a run with a model. {left_out_model(run)}")
    if not has_model(folder):
        raise RunError(f"The default must be a run that has trained. {run} has no {BUNDLE_FILE}.")
    listed = _read() or _Models.model_construct(models=[])
    first = next((model for model in listed.models if model.run == run), NamedModel(run=run))
    listed.models = [
        first,
        *(model for model in listed.models if model.run != run and model.model_fields_set > {"run"}),
    ]
    write_text(models_file(), listed.model_dump_json(indent=1, exclude_none=True) + "\n", through_link=False)


def has_model(folder: Path) -> bool:
    """Tell whether a record holds a model to predict with, and its description."""
    return (folder / BUNDLE_FILE).is_file() and any(folder.glob("*.onnx"))


def has_left_model_out(folder: Path) -> bool:
    """Tell whether a folder is the record of a run that has trained, without its model."""
    if not (folder / MANIFEST_FILE).is_file() or has_model(folder):
        return False
    # a description without a model is of an earlier version's light record, or of one whose model was removed by hand
    return (folder / BUNDLE_FILE).is_file() or any(name.endswith(".onnx") for name in read_manifest(folder).left_out)


def left_out_model(run: str) -> str:
    """Say that a record is light, and how to get a model."""
    return f"The record of {run} has left its model out. To train it again: ser reproduce {run}"


def _read() -> _Models | None:
    path = models_file()
    if path.is_symlink() or (path.exists() and not path.is_file()):
        raise RunError(f"{shown(path)} must be a plain file. It is a link, a folder, a device or a pipe. Remove it.")
    try:
        return read_json(path, _Models.model_validate_json)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise RunError(f"{shown(path)} cannot be read: {error.strerror}.") from None
    except ValueError as error:
        fault = fault_place(error) if isinstance(error, ValidationError) else error
        raise RunError(
            f"{shown(path)} is damaged ({fault}). Restore it, or remove it and name a default: {_SET}"
        ) from None


def models_file() -> Path:
    """The list: the project's or, without a project, the one that came with the library."""
    return (reports_folder() if has_project() else shipped_root() / "reports") / MODELS_FILE
