"""Foreign text in messages: one line, no control codes, not too long."""

from collections.abc import Sequence

LONGEST_QUOTED = 200
"""Letters of a value that a message shows."""


def printable(text: str) -> str:
    """`text` in one line, with what a terminal would not print as escapes."""
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)


def joined(parts: Sequence[str]) -> str:
    """Parts as a list in prose: `a, b and c`."""
    return " and ".join(filter(None, (", ".join(parts[:-1]), parts[-1])))


def quoted(value: object) -> str:
    """`value` as Python writes it, cut if it is long."""
    try:
        text = repr(value)
    except ValueError:  # a number of thousands of digits
        return "a number without end"
    return text if len(text) <= LONGEST_QUOTED else f"{text[:LONGEST_QUOTED]}…"
