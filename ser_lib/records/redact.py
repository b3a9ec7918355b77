"""What a record must not show: paths of the machine that made it."""

import json
import re
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ser_lib.core.paths import project_root, resolve, shown
from ser_lib.params import Params

PATH_PARAMETERS = ("DATASET_PATH", "OUTPUT_DIR", "PROCESSED_DATA_FILE", "SPLIT_FILE", "EXAMPLE_AUDIO_FILE")
"""Parameters that may hold a path of the machine."""


def hide_paths(text: str, params: Params) -> str:
    """Replace every path of this machine in `text`: the project's by a relative one, others by a word."""
    return _hider(params)(text)


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
    """Make the function that hides paths: finding them asks the file system, and a notebook has many texts."""
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
        form: hide_value(value) for value in values if value and _is_elsewhere(value) for form in _forms(Path(value))
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
