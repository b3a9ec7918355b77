"""The way out to the terminal: whatever `ser` prints goes through here, so that no foreign text can steer it.

A name of a file, a record or a server may hold codes that recolour, retitle, overwrite or turn around what is shown.
They are printed as escapes. Bars draw with such codes, and data for other programs are nobody's to change: they ask
for the stream below.
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
        """Print; where nobody reads any more, end without a word."""
        self.write_as_it_is(_BEYOND_ASCII.sub(lambda found: printable(found[0]), text))
        return len(text)

    def write_as_it_is(self, text: str) -> None:
        """Print codes as codes."""
        self._or_end(lambda: self.below.write(text))

    def flush(self) -> None:
        """Flush the stream below."""
        self._or_end(self.below.flush)

    def isatty(self) -> bool:
        """Tell whether somebody looks at it."""
        return self.below.isatty()

    def fileno(self) -> int:
        """Return the number of the file below."""
        return self.below.fileno()

    def writable(self) -> bool:
        """Tell that it can be written to."""
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
    """Let all that this process prints go through `Terminal`; streams that were closed lead nowhere."""
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
    """Write to standard output what another program reads, as it is; on a terminal it is text like any other."""
    stream = sys.stdout
    if isinstance(stream, Terminal) and not stream.isatty():
        stream.write_as_it_is(text)
    else:
        stream.write(text)
