"""Files that appear whole or not at all, and tables of text that no spreadsheet computes."""

import hashlib
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from ser_lib.core.errors import StageError
from ser_lib.core.paths import shown

if TYPE_CHECKING:  # pandas and json_tricks take longer to import than a prediction, which needs neither
    import pandas as pd

_FORMULA = re.compile(r"'*[=+\-@\t\r]")
"""How a text begins that a spreadsheet computes, or one that was kept from it."""
_ROW_OF_NUMBERS = re.compile(r'\[\n([^][{}"]*)\]')
"""An innermost list in indented JSON, if no text is in it; a text holds no line break, which JSON escapes."""


def _followed(path: Path) -> Path:
    """Path without links; one that leads to itself stays."""
    return Path(os.path.realpath(path))


@contextmanager
def whole_file(path: Path, *, through_link: bool = True) -> Iterator[Path]:
    """Give a path to write to beside `path`; rename it to `path` at the end, remove it after an error.

    Parameters
    ----------
    path : Path
    through_link : bool
        Whether to write to what a link points to, as for an output that a user names. In a record, which may come from
        anywhere, the file replaces the link.

    Raises
    ------
    StageError
        If the disk is full, the folder cannot be written to, or `path` is a device or a pipe.
    """
    path, partial = _followed(path) if through_link else _followed(path.parent) / path.name, None
    if path.exists() and not path.is_file() and not path.is_dir():
        raise StageError(f"{shown(path)} must be a file. It is a device or a pipe.")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".partial-{secrets.token_hex(4)}-{path.name}")
        partial.touch(exist_ok=False)  # with the rights that the user's umask leaves
        yield partial
        partial.replace(path)
    except OSError as error:
        raise StageError(f"{shown(path)} cannot be written ({error.strerror or error}). Nothing was changed.") from None
    finally:
        if partial is not None:
            with suppress(OSError):  # on a disk that takes no changes there is none, and the error is above
                partial.unlink(missing_ok=True)


def write_temporary(path: Path, content: bytes) -> None:
    """Write a file in a temporary folder; StageError, which mentions TMPDIR, if that fails."""
    try:
        path.write_bytes(content)
    except OSError as error:
        raise StageError(
            f"The temporary file {path} cannot be written ({error.strerror or error}). TMPDIR names another folder."
        ) from None


def write_text(path: Path, text: str, *, through_link: bool = True) -> None:
    """Write a text file whole or not at all; `through_link` as in `whole_file`."""
    with whole_file(path, through_link=through_link) as partial:
        partial.write_text(text, encoding="utf-8")


def write_json(path: Path, content: dict) -> None:
    """Write plain values and arrays (as nested lists) as JSON, whole or not at all; a row of numbers is a line."""
    import json_tricks

    text = json_tricks.dumps(content, indent=2, primitives=True)
    rows = _ROW_OF_NUMBERS.sub(lambda row: f"[{' '.join(row[1].split())}]", text)
    write_text(path, rows + "\n")


def write_csv(path: Path, table: "pd.DataFrame") -> None:
    """Write a table without its index, whole or not at all; text is escaped by `without_formulas`."""
    with whole_file(path) as partial:
        without_formulas(table).to_csv(partial, index=False)


def without_formulas(table: "pd.DataFrame") -> "pd.DataFrame":
    """Table with an apostrophe before each text that a spreadsheet would compute: `=…`, `+…`, `-…`, `@…`, tab, return.

    Names of files and speakers come from anywhere. Numbers are unchanged, and `read_csv` removes the apostrophe.
    """
    texts = [name for name, column in table.items() if column.dtype.kind == "O"]
    return table.assign(**{name: table[name].map(as_text) for name in texts})


def as_text(value: object) -> object:
    """Cell of a CSV file with an apostrophe before a text that a spreadsheet would compute."""
    return f"'{value}" if isinstance(value, str) and _FORMULA.match(value) else value


def read_csv(path: Path | BinaryIO, **options: str) -> "pd.DataFrame":
    """Read a table of text as it was before `write_csv`; `options` for pandas.

    ValueError if it is not a table, OSError if it cannot be read.
    """
    import pandas as pd

    table = pd.read_csv(path, dtype=str, keep_default_na=False, **options)
    return table.map(as_it_was, na_action="ignore")  # a row may be short


def as_it_was(text: str) -> str:
    """Text of a cell without the apostrophe of `as_text`."""
    return text[1:] if text.startswith("'") and _FORMULA.match(text) else text


def write_array(path: Path, array: np.ndarray) -> None:
    """Write one array (.npy), whole or not at all."""
    with whole_file(path) as partial, partial.open("wb") as file:
        np.save(file, array, allow_pickle=False)


def file_hash(path: Path) -> str:
    """SHA-256 of a file, as hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
