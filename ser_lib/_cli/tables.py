"""Tables in the terminal: plain text that can be searched, and aligned whatever script a name is in."""

from collections.abc import Iterable, Sequence

from ser_lib.core.text import printable


def column_widths(rows: Iterable[Sequence[str]]) -> list[int]:
    """Width of each column in terminal cells."""
    from rich.cells import cell_len  # most commands print no table

    return [max(cell_len(printable(cell)) for cell in column) for column in zip(*rows, strict=True)]


def format_row(cells: Sequence[str], widths: Sequence[int], n_left: int | None = None) -> str:
    """One row, its cells two spaces apart: the first `n_left` (by default all) flush left, the others flush right."""
    from rich.cells import cell_len

    n_left = len(cells) if n_left is None else n_left
    padded = []
    for index, (cell, width) in enumerate(zip(map(printable, cells), widths, strict=True)):
        space = " " * (width - cell_len(cell))
        padded.append(cell + space if index < n_left else space + cell)
    return "  ".join(padded).rstrip()


def print_table(rows: Sequence[Sequence[str]], n_left: int | None = None) -> None:
    """Print rows, the first of which is the head, aligned as `format_row` does."""
    widths = column_widths(rows)
    for row in rows:
        print(format_row(row, widths, n_left))
