"""A table of answers as Parquet, whose columns have types. `pyarrow` is an extra, as a microphone is."""

import csv
from itertools import islice
from pathlib import Path

from ser_lib.core.extras import check_extras
from ser_lib.core.io import as_it_was

SUFFIX = ".parquet"
_ROWS = 10_000
"""That are in memory together."""
_NUMBERS = {"confidence", "damaged_after"}
_YES_OR_NO = {"unsure", "channels_differ"}


def check_parquet() -> None:
    """Refuse a file of this kind, before anything is predicted, where it cannot be written."""
    check_extras("parquet")  # 170 MB, which no other command needs


def write_parquet(table: Path, path: Path) -> None:
    """Write a table of answers, a CSV file, as Parquet; empty cells are null."""
    import pyarrow
    from pyarrow.parquet import ParquetWriter

    with table.open(encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file)
        schema = pyarrow.schema([(name, _type(name)) for name in rows.fieldnames or []])
        with ParquetWriter(path, schema) as writer:
            while chunk := list(islice(rows, _ROWS)):
                columns = [[_value(name, row[name]) for row in chunk] for name in schema.names]
                writer.write_table(pyarrow.table(columns, schema=schema))


def _type(name: str) -> str:
    return "float64" if _is_number(name) else "bool" if name in _YES_OR_NO else "string"


def _is_number(name: str) -> bool:
    return name in _NUMBERS or name.startswith("p_")


def _value(name: str, cell: str) -> float | bool | str | None:
    if cell == "":
        return None
    if name in _YES_OR_NO:
        return cell == "True"
    return float(cell) if _is_number(name) else as_it_was(cell)
