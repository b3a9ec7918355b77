"""What soundfile does not read, decoded by PyAV in a process of its own: a file that crashes it costs that file alone.

Each process that decodes has one such child, from its first file of that kind on. Blocks come through a pipe, which
holds the child back while they are not taken. The child ends when its standard input does, so with its parent.
"""

import atexit
import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from ser_lib.core.errors import AudioError, DamagedAudio

_idle: dict[int, list["_Child"]] = {}
"""Children that wait for a file, by the process that started them: one that was forked since must have its own."""


class _Child:
    def __init__(self) -> None:
        # the child must find what this process finds, and nothing in the folder that it happens to be in
        path = [*filter(None, sys.path), str(Path(__file__).resolve().parents[2])]
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "ser_lib.audio.av_child"],
            env=os.environ | {"PYTHONPATH": os.pathsep.join(path)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # the notes of a crash: there is one line for it
            process_group=0,  # Ctrl-C is for the parent
        )
        self._busy = False

    @property
    def usable(self) -> bool:
        """Whether it waits for a file."""
        return not self._busy and self._process.poll() is None

    def ask(self, path: Path, block: int) -> Iterator[tuple[dict, bytes]]:
        """Answers for a file up to the one that ends them, each with the bytes that follow it."""
        questions, answers = self._process.stdin, self._process.stdout
        assert questions is not None and answers is not None  # both are pipes
        self._busy = True
        try:
            questions.write(json.dumps({"path": str(path), "block": block}).encode() + b"\n")
            questions.flush()
        except BrokenPipeError:
            pass  # it is gone, which reading tells
        while self._busy:
            line = answers.readline()
            if not line.endswith(b"\n"):
                raise AudioError("the decoder crashed on this file")
            answer = json.loads(line)
            samples = answers.read(answer["bytes"])
            if len(samples) < answer["bytes"]:
                raise AudioError("the decoder crashed on this file")
            self._busy = not answer.keys() & {"end", "error", "errno"}
            yield answer, samples

    def end(self) -> None:
        """End the process, whatever it does."""
        if self._busy:
            self._process.kill()
        with contextlib.suppress(BrokenPipeError), self._process:  # closes its pipes, at which it ends, and waits
            pass


def decode(path: Path, *, block: int) -> Iterator[tuple[np.ndarray, int]]:
    """Decode a file by PyAV, in blocks of about `block` samples of all channels together.

    Yields
    ------
    channels : np.ndarray [shape=(n_samples, n_channels)], float32
    sampling_rate : int, Hz

    Raises
    ------
    DamagedAudio
        If a part could not be decoded, after all that could.
    AudioError
        If nothing can be decoded, or the decoder crashes.
    OSError
        If the file cannot be read.
    """
    child = _take()
    try:
        yield from _blocks(child.ask(Path(path).absolute(), block), path)
    finally:
        idle = _idle.setdefault(os.getpid(), [])
        if child.usable and not idle:
            idle.append(child)
        else:
            child.end()


def _take() -> _Child:
    """Child that waits for a file, or else a new one."""
    idle = _idle.setdefault(os.getpid(), [])
    while idle:
        child = idle.pop()
        if child.usable:
            return child
        child.end()  # somebody else has ended it already
    return _Child()


def _blocks(answers: Iterator[tuple[dict, bytes]], path: Path) -> Iterator[tuple[np.ndarray, int]]:
    rate, n_channels = 0, 0
    for answer, samples in answers:
        if "error" in answer:
            raise AudioError(answer["error"])
        if "errno" in answer:
            raise OSError(answer["errno"], os.strerror(answer["errno"]), str(path))
        if "rate" in answer:
            rate, n_channels = answer["rate"], answer["channels"]
        if samples:
            yield np.frombuffer(samples, dtype=np.float32).reshape(-1, n_channels), rate
        if answer.get("damaged") is not None:
            raise DamagedAudio(answer["damaged"] / rate)


def despite_damage(
    blocks: Iterator[tuple[np.ndarray, int]], tell: Callable[[float], None] = lambda seconds: None
) -> Iterator[tuple[np.ndarray, int]]:
    """Blocks of `audio.read_blocks` to the end, also of a damaged file; `tell` is told after how many seconds it is."""
    try:
        yield from blocks
    except DamagedAudio as damage:
        tell(damage.seconds)


@atexit.register
def _end_children() -> None:
    for child in _idle.pop(os.getpid(), []):
        child.end()
