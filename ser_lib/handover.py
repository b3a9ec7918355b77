"""Parameters on their way from notebook to notebook: in a run they are the run's, by hand those of earlier notebooks.

By hand, a parameter is decided once, by the notebook that declares it; the stages write down what they were given,
and the notebooks after them take it from there.
"""

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from ser_lib.core.errors import ParameterError, StageError
from ser_lib.params import Params, make_params, shown
from ser_lib.store import write_text

RUN_VARIABLE = "SER_RUN_PARAMS"
"""Environment variable: the file with the parameters of the run that a kernel belongs to."""
HANDOVER_FILE = "notebook_params.json"
"""What each notebook decided; in `OUTPUT_DIR`."""
_DECIDED = TypeAdapter(dict[str, dict[str, Any]])


def notebook_params(namespace: Mapping[str, Any], *, stage: str = "") -> Params:
    """Parameters of a notebook: its variables (`globals()`) that are fields of `Params`.

    What the notebook `stage` does not name, it takes from the notebooks before it; what none of them names keeps its
    default. In a run, the run's parameters count whatever a notebook says, so that its record is true.

    Raises
    ------
    ParameterError
        If a value has the wrong type or range.
    StageError
        If what earlier notebooks decided is damaged, or does not fit together.
    """
    if RUN_VARIABLE in os.environ:
        return Params.model_validate_json(Path(os.environ[RUN_VARIABLE]).read_bytes())
    own = {name: namespace[name] for name in Params.model_fields if name in namespace}
    place = make_params({name: value for name, value in own.items() if name == "OUTPUT_DIR"})
    try:
        return make_params(_before(stage, _read(place)) | own)
    except ParameterError as error:
        if own.keys() & re.findall(r"`([A-Z0-9_]+)", str(error)):
            raise
        raise StageError(f"The notebooks before this one do not fit together: {error} Run them again.") from None


def keep_params(stage: str, params: Params) -> None:
    """Write down what the notebook `stage` decided, for those after it: what none before it had said."""
    try:
        decided = _read(params)
    except StageError:
        decided = {}
    before = _before(stage, decided)
    given = params.model_dump(mode="json", include=params.model_fields_set - {"OUTPUT_DIR"})
    own = {name: value for name, value in given.items() if name not in before or before[name] != value}
    write_text(params.output_dir / HANDOVER_FILE, json.dumps(decided | {stage: own}, indent=1) + "\n")


def _read(params: Params) -> dict[str, dict[str, Any]]:
    path = params.output_dir / HANDOVER_FILE
    try:
        return _DECIDED.validate_json(path.read_bytes()) if path.is_file() else {}
    except ValidationError:
        raise StageError(f"{shown(path)} is damaged. Run 01_preprocess again.") from None


def _before(stage: str, decided: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """What the notebooks before `stage` decided; a later one may change what an earlier one said."""
    values: dict[str, Any] = {}
    for name in sorted(decided):
        values |= decided[name] if name < stage else {}
    return values
