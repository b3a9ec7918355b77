"""Which code runs: its commit, its hash, and what of it has been edited."""

import ast
import hashlib
import json
from pathlib import Path

from ser_lib.core.errors import RunError
from ser_lib.core.identity import git
from ser_lib.core.paths import project_root, shipped_root, shown
from ser_lib.core.text import printable
from ser_lib.params import Params

_LIBRARY = Path(__file__).resolve().parent.parent


def notebook_path(stage: str) -> Path:
    """Path of the notebook of a stage."""
    return project_root() / "notebooks" / f"{stage}.ipynb"


def edited(stage: str) -> list[str] | None:
    """Files that a stage runs and whose code has been edited since the commit: its notebook, and modules of ser_lib.

    Of a notebook, outputs, texts, comments, layout and values in the cell of parameters do not count: a run is given
    its parameters, whatever stands there. Where no commit has it, a notebook is held against the one that came with the
    library. None where nothing tells.
    """
    parts = (_edited_notebook(stage), _edited_library())
    known = [name for part in parts for name in part or []]
    return None if None in parts and not known else known


def _edited_notebook(stage: str) -> list[str] | None:
    path = notebook_path(stage)
    original = git(project_root(), "show", f"HEAD:./notebooks/{path.name}")
    shipped = shipped_root() / "notebooks" / path.name
    if original is None and shipped != path and shipped.is_file():
        original = shipped.read_text(encoding="utf-8")
    if original is None:
        return None
    return [] if _meaning(_code_cells(original)) == _meaning(_read_cells(path)) else [f"notebooks/{path.name}"]


def _edited_library() -> list[str] | None:
    if git(_LIBRARY, "ls-files", "--error-unmatch", "--", "__init__.py") is None:
        return None
    options = ("--porcelain", "-z", "--no-renames", "--untracked-files=all")
    lines = (git(_LIBRARY, "status", *options, "--", ".") or "").split("\0")
    return [printable(line[3:]) for line in lines if line and (line.endswith(".py") or not line.startswith("??"))]


def notebook_hash(stage: str) -> str:
    """SHA-256 over the code of a stage's notebook, without its cell of parameters.

    Raises
    ------
    RunError
        If it is missing, or is no notebook.
    """
    cells = [source for source, is_parameters in _read_cells(notebook_path(stage)) if not is_parameters]
    lines = [line.rstrip() for source in cells for line in source.splitlines() if line.strip()]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _read_cells(path: Path) -> list[tuple[str, bool]]:
    try:
        return _code_cells(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise RunError(f"{shown(path)} cannot be read as a notebook. Restore it: git restore {shown(path)}") from None


def _code_cells(notebook: str) -> list[tuple[str, bool]]:
    """Source of each cell that runs, and whether it is that of parameters; what papermill injected, it replaces."""
    cells = [cell for cell in json.loads(notebook)["cells"] if cell["cell_type"] == "code"]
    tagged = [("".join(cell["source"]), cell["metadata"].get("tags", [])) for cell in cells]
    return [(source, "parameters" in tags) for source, tags in tagged if "injected-parameters" not in tags]


def _meaning(cells: list[tuple[str, bool]]) -> list[str]:
    """What the cells do, one text for each that does something."""
    meanings = [_parse(source, without_parameters=is_parameters) for source, is_parameters in cells]
    return [meaning for meaning in meanings if meaning]


def _parse(source: str, *, without_parameters: bool) -> str:
    """Syntax of a cell without comments and layout; its words where it is no Python."""
    from IPython.core.inputtransformer2 import TransformerManager  # a command that runs nothing does without

    try:
        body = ast.parse(TransformerManager().transform_cell(source)).body
    except SyntaxError:
        return " ".join(source.split())
    kept = [node for node in body if not (without_parameters and _is_parameter(node))]
    return "\n".join(map(ast.dump, kept))


def _is_parameter(node: ast.stmt) -> bool:
    """Tell whether a statement gives a parameter a plain value."""
    if not isinstance(node, ast.Assign | ast.AnnAssign) or node.value is None:
        return False
    targets = node.targets if isinstance(node, ast.Assign) else [node.target]
    try:
        ast.literal_eval(node.value)
    except (ValueError, TypeError, SyntaxError):
        return False
    return all(isinstance(one, ast.Name) and one.id in Params.model_fields for one in targets)
