"""Progress bars that leave one settled line, in the terminal and in an executed notebook alike."""

import contextlib
import os
import re
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tqdm import tqdm

from ser_lib.core.terminal import below
from ser_lib.core.text import printable

FILE_VARIABLE = "SER_PROGRESS_FILE"
"""Environment variable: the file in which a kernel reports its progress to its runner."""


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
            from IPython.display import display  # which a kernel has, and a light installation has not

            self._output = display(content, raw=True, display_id=True)
        else:
            self._output.update(content, raw=True)
        if os.environ.get(FILE_VARIABLE):
            with contextlib.suppress(OSError):  # a full disk shows elsewhere
                Path(os.environ[FILE_VARIABLE]).write_text(re.sub(r" \|[ ─]*\|", ",", line), encoding="utf-8")

    def flush(self) -> None:
        """Nothing is held back."""

    def isatty(self) -> bool:
        """Let tqdm draw."""
        return True


def in_kernel() -> bool:
    """Whether this is a Jupyter kernel."""
    shell = sys.modules.get("IPython")  # a kernel has imported it
    return shell is not None and hasattr(shell.get_ipython(), "kernel")


def progress_bar(total: int, description: str, unit: str, *, leave: bool = True) -> tqdm:
    """Bar over `total` units; silent where neither a notebook nor a terminal would show it."""
    file = _NotebookLine() if in_kernel() else below(sys.stderr)
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


def write_line(text: str, *, out: bool = False) -> None:
    """Write a line to standard error, or to standard output, above the bars."""
    with tqdm.external_write_mode(file=below(sys.stderr)):
        print(text, file=sys.stdout if out else sys.stderr, flush=True)


@contextmanager
def stage_line(stage: str, progress_file: Path) -> Iterator[Callable[[str], None]]:
    """One line in the terminal about a running notebook; silent where there is no terminal.

    Gives a function that sets the part of the notebook. What the kernel writes to `progress_file` follows it.
    """
    line = tqdm(bar_format="  {desc}", file=below(sys.stderr), disable=None, leave=False, dynamic_ncols=True)
    part, ended = "", threading.Event()

    def draw() -> None:
        detail = progress_file.read_text(encoding="utf-8") if progress_file.exists() else ""
        line.set_description_str(printable(" · ".join(filter(None, (stage, part, detail)))))

    def show(text: str) -> None:
        nonlocal part
        part = text
        progress_file.unlink(missing_ok=True)
        draw()

    def follow() -> None:
        while not ended.wait(0.5):
            draw()

    follower = threading.Thread(target=follow, daemon=True)
    if not line.disable:
        follower.start()
    try:
        yield show
    finally:
        ended.set()
        if follower.is_alive():
            follower.join()
        line.close()
        progress_file.unlink(missing_ok=True)
