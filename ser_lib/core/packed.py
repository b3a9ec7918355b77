"""Long rows of numbers in JSON: packed into a text, they take a third of the room and are read at once.

The text is base64 of 32 bit floats, little-endian; `np.frombuffer(base64.b64decode(text), "<f4")` reads it anywhere.
"""

import base64
import binascii
from typing import Annotated, Any

import numpy as np
from pydantic import BeforeValidator, PlainSerializer

_LONGEST_PLAIN = 2000
"""Numbers that are written out, at most: a row of any features, but not of an embedding."""
_PACKED = np.dtype("<f4")


def to_numbers(values: np.ndarray) -> list[float]:
    """Numbers for a file [shape=(n,)], rounded as it will keep them: with many of them, to 32 bits."""
    return (values.astype(np.float32) if len(values) > _LONGEST_PLAIN else values).tolist()


def _pack(values: list[float]) -> list[float] | str:
    if len(values) <= _LONGEST_PLAIN:
        return values
    return base64.b64encode(np.array(values, dtype=_PACKED).tobytes()).decode()


def _unpack(value: Any) -> Any:
    """Numbers of a packed text; anything else as it is, for pydantic to check."""
    if not isinstance(value, str):
        return value
    try:
        numbers = np.frombuffer(base64.b64decode(value, validate=True), dtype=_PACKED)
    except (binascii.Error, ValueError):
        raise ValueError("packed numbers must be base64 of 32 bit floats") from None
    if not np.isfinite(numbers).all():
        raise ValueError("packed numbers must be finite")
    return numbers.tolist()


Numbers = Annotated[list[float], BeforeValidator(_unpack), PlainSerializer(_pack, when_used="json")]
"""A row of numbers, which JSON has packed if it is long."""
