"""The way out to the terminal: whatever `ser` prints goes through here, so that no foreign text can control it.

A name of a file, a record or a server may hold codes that recolour, retitle, overwrite or reverse what is shown. They
are printed as escapes. Progress bars need such codes, and data for other programs must not be changed: both ask for the
stream below.
"""

import os
import re
import sys
from collections.abc import Callable
from io import TextIOBase
from typing import TextIO

from ser_lib.core.text import printable

CLOSED = 1
"""Exit status where nobody reads on, as after `| head`."""
_BEYOND_ASCII = re.compile(r"[^\n\t\x20-\x7e]+")
_NAMES = {"stdin": "standard input", "stdout": "standard output", "stderr": "standard error"}


class Terminal(TextIOBase):
    """A text stream that prints as escapes what would not be seen, or be obeyed."""

    def __init__(self, below: TextIO, name: str) -> None:
        self.below = below
        self.name = name

    @property
    def encoding(self) -> str:  # type: ignore[override]  # as read-only as io's own, which stubs call an attribute
        """That of the stream below."""
        return self.below.encoding

    def write(self, text: str) -> int:
        """Print; if nobody reads any more, exit silently."""
        self.write_as_it_is(_BEYOND_ASCII.sub(lambda found: printable(found[0]), text))
        return len(text)

    def write_as_it_is(self, text: str) -> None:
        """Print codes as codes."""
        self._or_end(lambda: self.below.write(text))

    def flush(self) -> None:
        """Flush the stream below, unless that is closed: Python flushes this one when it is thrown away."""
        if not self.below.closed:
            self._or_end(self.below.flush)

    def isatty(self) -> bool:
        """Whether this is a terminal."""
        return self.below.isatty()

    def fileno(self) -> int:
        """Return the number of the file below."""
        return self.below.fileno()

    def writable(self) -> bool:
        """Return True."""
        return True

    def _or_end(self, write: Callable[[], object]) -> None:
        try:
            write()
        except OSError as error:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self.below.fileno())  # what is left to write is written when the process ends
            os.close(nowhere)
            if isinstance(error, BrokenPipeError):
                raise SystemExit(CLOSED) from None
            error.filename = self.name
            raise


def guard_terminal() -> None:
    """Send all that this process prints through `Terminal`; streams that were closed lead nowhere."""
    while (number := os.open(os.devnull, os.O_RDWR)) < len(_NAMES):  # it takes the first that is closed
        os.set_inheritable(number, True)
        setattr(sys, [*_NAMES][number], os.fdopen(number, "w" if number else "r", encoding="utf-8"))
    os.close(number)
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if not isinstance(stream, Terminal):
            if hasattr(stream, "reconfigure"):
                stream.reconfigure(errors="backslashreplace")  # a name is no reason to stop
            setattr(sys, name, Terminal(stream, _NAMES[name]))


def below(stream: TextIO) -> TextIO:
    """Stream that takes codes: for bars, whose text is this project's own."""
    return stream.below if isinstance(stream, Terminal) else stream


def write_data(text: str) -> None:
    """Write data for another program to standard output unchanged; to a terminal, as any other text."""
    stream = sys.stdout
    if isinstance(stream, Terminal) and not stream.isatty():
        stream.write_as_it_is(text)
    else:
        stream.write(text)
