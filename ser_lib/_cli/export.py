"""The command `ser export`."""

from pathlib import Path
from typing import Annotated

import typer

from ser_lib._cli.common import bundle_folder, which_run
from ser_lib.core.errors import RunError
from ser_lib.core.paths import from_here, shown
from ser_lib.store import BUNDLE_FILE, LICENCE_FILE, MODEL_CARD_FILE


def export(
    given: Annotated[
        list[str],
        typer.Argument(
            metavar="[RUN] FILE.zip",
            help="Run whose model is wanted, or the folder of a bundle, and the zip file to write.  "
            "[default of RUN: that of `ser runs default`]",
        ),
    ],
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
) -> None:
    """Write a run's model with all that prediction needs into one zip file, for use elsewhere."""
    from ser_lib.model.archive import export_bundle

    if len(given) > 2 or (len(given) == 1 and not given[0].endswith(".zip")):
        raise typer.BadParameter(f"give a run and a zip file, or a zip file alone. Got {' '.join(given)}.")
    *run, file = given
    parts = _parts(which_run(run[0] if run else None))
    path = from_here(file)
    export_bundle(parts, path, force=force)
    print(f"{shown(path)} holds {', '.join(parts)}.")


def _parts(run: str) -> dict[str, Path]:
    """Files of a run's bundle by name; the Keras model, which a record lacks, only where the run was made here."""
    from ser_lib.core.io import file_hash
    from ser_lib.model.bundle import read_bundle_info

    folders = [bundle_folder(run, backend) for backend in ("onnx", "keras")]
    if folders[0].is_file():
        raise RunError(f"Only a run or the folder of a bundle can be exported. {run} is a file already; copy it.")
    info = read_bundle_info(folders[0])
    parts = {BUNDLE_FILE: folders[0] / BUNDLE_FILE}
    models = [(info.onnx, info.onnx_sha256), (info.keras, info.keras_sha256)]
    for name, sha256 in [(LICENCE_FILE, None), (MODEL_CARD_FILE, None), *models]:
        found = [folder / name for folder in folders if (folder / name).is_file()]
        right = [file for file in found if sha256 is None or file_hash(file) == sha256]
        if right:
            parts[name] = right[0]
    if info.onnx not in parts:
        wrong = any((folder / info.onnx).is_file() for folder in folders)
        state = f"The {info.onnx} of {run} is another, or was changed" if wrong else f"{run} has no {info.onnx}"
        raise RunError(f"A bundle must have the model that its {BUNDLE_FILE} names. {state}.")
    return parts
