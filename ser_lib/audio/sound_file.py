"""What soundfile decodes, in blocks; in this process or in the decoder's own (`av_child.py`)."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np
import soundfile

BLOCK = 1 << 20
"""Samples of all channels that are decoded together."""


class NotOpenedError(Exception):
    """soundfile does not know what kind of file it is."""


class GivesUpError(Exception):
    """soundfile cannot go on with a file of this `sampling_rate` (Hz)."""

    def __init__(self, sampling_rate: int) -> None:
        super().__init__(sampling_rate)
        self.sampling_rate = sampling_rate


def soundfile_blocks(path: Path, step: int | None = None) -> Iterator[tuple[np.ndarray, int]]:
    """Blocks of `step` samples of each channel, by default about `BLOCK` of all together.

    Yields
    ------
    channels : np.ndarray [shape=(n_samples, n_channels)], float32
    sampling_rate : int, Hz

    Raises
    ------
    NotOpenedError
    GivesUpError
    """
    with ExitStack() as stack:
        try:
            file = stack.enter_context(soundfile.SoundFile(stack.enter_context(_decodable(path))))
        except (soundfile.LibsndfileError, TypeError):
            raise NotOpenedError from None
        size = step or max(1, BLOCK // file.channels)
        n_read = size
        while n_read == size:  # a file that is shorter than its header says must not be read beyond its end
            try:
                block = file.read(size, dtype="float32", always_2d=True)
            except soundfile.LibsndfileError:
                raise GivesUpError(file.samplerate) from None
            n_read = len(block)
            yield block, file.samplerate


@contextmanager
def _decodable(path: Path) -> Iterator[str | BinaryIO]:
    """Give what soundfile can open: the path or, if it is not UTF-8, the open file."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        with path.open("rb") as file:
            yield file
    else:
        yield str(path)
