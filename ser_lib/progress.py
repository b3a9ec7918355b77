"""Progress bars that leave one settled line, in the terminal and in an executed notebook alike."""

import sys

from IPython import get_ipython
from IPython.display import display
from tqdm import tqdm


class _NotebookLine:
    """A stream that shows only the last line written to it: one output, updated in place."""

    def __init__(self) -> None:
        self._output = None

    def write(self, text: str) -> None:
        line = text.strip("\r ")
        if line == "\n" or (not line and self._output is None):  # the end of a line that stays, or nothing to clear
            return
        content = {"text/plain": line}
        if self._output is None:
            self._output = display(content, raw=True, display_id=True)
        else:
            self._output.update(content, raw=True)

    def flush(self) -> None:
        """Nothing is held back."""

    def isatty(self) -> bool:
        """Let tqdm draw."""
        return True


def in_kernel() -> bool:
    """Tell whether this is a Jupyter kernel."""
    return hasattr(get_ipython(), "kernel")


def progress_bar(total: int, description: str, unit: str, *, leave: bool = True) -> tqdm:
    """Bar over `total` units; silent where neither a notebook nor a terminal would show it."""
    file = _NotebookLine() if in_kernel() else sys.stderr
    return tqdm(
        total=total,
        desc=description,
        unit=f" {unit}",
        file=file,
        disable=None,
        leave=leave,
        ascii=" ─",
        ncols=100,
        mininterval=0.5,
        bar_format="{desc}: {n_fmt} of {total_fmt}{unit} |{bar}| {elapsed}, {remaining} left{postfix}",
    )
