"""Weights in the binary format of CTranslate2, read by hand: what the file claims is checked before it is believed.

A file holds, with numbers little-endian and texts ended by a zero byte that their length counts:

- the format's version; the name and the revision of the kind of model;
- the number of variables, and for each its name, its rank and dimensions, its type, its bytes;
- other names of these variables.

References
----------
`ModelSpec.save` and `Model::load` in https://github.com/OpenNMT/CTranslate2.
"""

import math
import struct

import numpy as np

from ser_lib.core.errors import EncoderError
from ser_lib.core.text import printable

_VERSION = 6
_LARGEST_RANK = 8
_TYPES = tuple(np.dtype(name) for name in ("<f4", "i1", "<i2", "<i4", "<f2"))
"""NumPy's types in the order of the format's numbers; bfloat16, the next one, is none."""


def read_variables(content: bytes, kind: str, scope: str) -> dict[str, np.ndarray]:
    """Variables of a CTranslate2 model whose names begin with `scope`, by the rest of their names.

    Parameters
    ----------
    content : bytes
        The file `model.bin`.
    kind : str
        Name of the kind of model, as the file must give it: `WhisperSpec`.
    scope : str
        `encoder/`, for instance.

    Returns
    -------
    dict of np.ndarray
        Read-only views of `content`; nothing is copied.

    Raises
    ------
    EncoderError
        If the file is no such model, or is damaged or cut.
    """
    try:
        reader = _Reader(content)
        reader.begin(kind)
        found = dict(reader.variable() for _ in range(reader.number("I")))
        reader.end()
    except (_DamagedError, UnicodeDecodeError) as error:
        reason = "a text is none" if isinstance(error, UnicodeDecodeError) else str(error)
        raise EncoderError(
            f"The weights must be a {kind} of CTranslate2, version {_VERSION} of its format. Here {printable(reason)}. "
            "`ser encoder get` brings them anew."
        ) from None
    return {name.removeprefix(scope): value for name, value in found.items() if name.startswith(scope)}


class _DamagedError(ValueError):
    """The file is not what it should be; the message says where."""


class _Reader:
    """A place in a file, and what can be read there."""

    def __init__(self, content: bytes) -> None:
        self._content = memoryview(content)
        self._place = 0

    def _take(self, n_bytes: int) -> memoryview:
        left = len(self._content) - self._place
        if n_bytes > left:
            raise _DamagedError(f"{n_bytes:,} bytes are announced where {left:,} are left")
        self._place += n_bytes
        return self._content[self._place - n_bytes : self._place]

    def number(self, kind: str) -> int:
        """Unsigned number of 1 (B), 2 (H) or 4 (I) bytes."""
        number: int = struct.unpack(f"<{kind}", self._take(struct.calcsize(f"<{kind}")))[0]
        return number

    def text(self) -> str:
        text = bytes(self._take(self.number("H")))
        if text[-1:] != b"\0" or 0 in text[:-1]:
            raise _DamagedError("a text does not end where its length says")
        return text[:-1].decode()

    def begin(self, kind: str) -> None:
        version = self.number("I")
        if version != _VERSION:
            raise _DamagedError(f"the version is {version}")
        given = self.text()
        if given != kind:
            raise _DamagedError(f"the kind is {given[:40]!r}")
        self.number("I")  # the revision: which variables there must be is for those who use them to say

    def variable(self) -> tuple[str, np.ndarray]:
        name, rank = self.text(), self.number("B")
        if rank > _LARGEST_RANK:
            raise _DamagedError(f"{name[:80]} has {rank} dimensions")
        shape = tuple(self.number("I") for _ in range(rank))
        kind, n_bytes = self.number("B"), self.number("I")
        if kind >= len(_TYPES):
            raise _DamagedError(f"{name[:80]} has the type {kind}")
        if n_bytes != math.prod(shape) * _TYPES[kind].itemsize:
            raise _DamagedError(f"{name[:80]} has {n_bytes:,} bytes for its {len(shape)} dimensions")
        return name, np.frombuffer(self._take(n_bytes), dtype=_TYPES[kind]).reshape(shape)

    def end(self) -> None:
        """Pass over the other names; what follows them is too much."""
        for _ in range(self.number("I")):
            self.text()
            self.text()
        if self._place != len(self._content):
            raise _DamagedError(f"{len(self._content) - self._place:,} bytes are left at the end")
