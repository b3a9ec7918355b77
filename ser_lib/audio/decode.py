"""Any audio file → blocks of samples: by soundfile or, what it does not read, by PyAV.

PyAV decodes in a process of its own, so that a file that crashes it costs that file alone; and soundfile decodes MP3
there, of which a library of its own prints what it finds damaged. Each process has one such child, from its first file
of that kind on. Blocks come through a pipe, which holds the child back until they are taken; the child ends when its
standard input does, and so with its parent.
"""

import atexit
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Literal

import numpy as np

from ser_lib.audio import sound_file
from ser_lib.audio.sound_file import GivesUpError, NotOpenedError, soundfile_blocks
from ser_lib.core.errors import AudioError, DamagedAudio

_SILENT = (b"RIFF", b"RIFX", b"RF64", b"FORM", b"fLaC", b"OggS", b".snd", b"caff", b"riff")
"""How files begin of which no library prints anything: wav, AIFF, flac, ogg, au, caf and w64."""
_STEP = 1024
"""Samples of each channel that are decoded together where the place of a damage is looked for."""
_LOWEST_RATE = 1000
_HEAD = 1 << 20
"""Bytes at the beginning of a file that tell raw samples."""
_FEWEST = 1000
"""Raw samples that can be told, at least."""
_SMOOTH = 0.6
"""Correlation of neighbouring samples from which on numbers are a sound; speech at 8 kHz has about 0.85."""
_ENCODINGS = {"s16le": "<i2", "s16be": ">i2", "f32le": "<f4", "s32le": "<i4"}
"""Raw encodings, as ffmpeg calls them and as numpy does."""
_idle: dict[int, list["_Child"]] = {}
"""Children that wait for a file, by the process that started them: one that was forked since must have its own."""


def read_blocks(path: str | Path) -> Iterator[tuple[np.ndarray, int]]:
    """Decode an audio file piece by piece, without trusting the length in its header.

    soundfile reads wav, AIFF (inside .wav too), flac, ogg and mp3; PyAV reads the rest.

    Yields
    ------
    channels : np.ndarray [shape=(n_samples, n_channels)], float32
    sampling_rate : int, Hz

    Raises
    ------
    DamagedAudio
        If a part could not be decoded, after all that could.
    AudioError
        If the file is missing, empty, or cannot be decoded, or its sampling rate is too low for speech.
    """
    path = Path(path)
    if not path.is_file():
        raise AudioError(_why_no_file(path))
    try:
        if path.stat().st_size == 0:
            raise AudioError("the file is empty")
        yield from _read_with_soundfile(path)
    except PermissionError:
        raise AudioError("the file may not be read") from None


def _why_no_file(path: Path) -> str:
    if path.is_dir():
        return "this is a folder, not an audio file"
    return "this is not a file" if path.exists() else "there is no such file"


def _read_with_soundfile(path: Path) -> Iterator[tuple[np.ndarray, int]]:
    """Blocks by soundfile, or by PyAV where soundfile does not open the file, finds no samples, or gives up."""
    n_read = 0
    try:
        for block, rate in _by_soundfile(path):
            check_rate(rate)
            if len(block):
                yield block, rate
            n_read += len(block)
    except NotOpenedError:
        yield from _read_with_av(path)
        return
    except GivesUpError as error:
        yield from _read_broken(path, n_read, check_rate(error.sampling_rate))
    if n_read == 0 and is_unfinished(path):
        yield from _read_with_av(path)


def _by_soundfile(path: Path, step: int | None = None) -> Iterator[tuple[np.ndarray, int]]:
    """Blocks as of `soundfile_blocks`, by the child where a library might print what it thinks of the file."""
    with path.open("rb") as file:
        is_silent = file.read(4) in _SILENT
    return soundfile_blocks(path, step) if is_silent else decode(path, block=step, by="soundfile")


def _read_broken(path: Path, n_read: int, rate: int) -> Iterator[tuple[np.ndarray, int]]:
    """Go on after `n_read` samples, in small steps until soundfile gives up again, and from there with PyAV."""
    n_good = 0
    with suppress(NotOpenedError, GivesUpError):
        for block, _ in _by_soundfile(path, _STEP):
            n_good += len(block)
            if n_good > n_read:
                yield block[n_read - n_good :], rate
    n_all = 0
    try:
        for block, _ in _read_with_av(path):
            n_all += len(block)
            if n_all > n_good:
                yield block[max(0, n_good - n_all + len(block)) :], rate
    except AudioError as error:
        if n_good == 0 and not isinstance(error, DamagedAudio):
            raise
    else:
        if n_all < n_good + _STEP:  # nothing comes after it: only the header has promised more
            return
    raise DamagedAudio(n_good / rate)


def _read_with_av(path: Path) -> Iterator[tuple[np.ndarray, int]]:
    try:
        for block, rate in decode(path, block=sound_file.BLOCK):
            yield block, check_rate(rate)
    except DamagedAudio:
        raise
    except AudioError as error:
        raise AudioError(describe_raw(path) or str(error)) from None


def check_rate(sampling_rate: int) -> int:
    """Return a sampling rate (Hz) that can hold speech; AudioError if it is too low."""
    if sampling_rate < _LOWEST_RATE:
        raise AudioError(f"speech needs a sampling rate of at least {_LOWEST_RATE} Hz, and this has {sampling_rate} Hz")
    return sampling_rate


def is_unfinished(path: Path) -> bool:
    """Whether a wav claims to have no samples though it has: its recorder stopped before it wrote how many."""
    with path.open("rb") as file:
        start = file.read(_HEAD)
    place = start.find(b"data" + bytes(4))
    first = start[place + 8 : place + 12]
    another_chunk = first.isascii() and first.decode("ascii").isprintable()  # LIST, say, in a file that has none
    return start[:4] == b"RIFF" and place > 0 and len(first) == 4 and not another_chunk


def describe_raw(path: Path) -> str:
    """Advice for a file of raw samples without a header; empty for any other file."""
    with path.open("rb") as file:
        start = file.read(_HEAD)
    # one channel, or else two: samples of 32 bits are two of 16, of which every second one is like its neighbours
    tries = [(name, np.dtype(kind), lag) for lag in (1, 2) for name, kind in _ENCODINGS.items()]
    name = next((name for name, kind, lag in tries if _smoothness(start, kind, lag) > _SMOOTH), None)
    if name is None or start.isascii():  # text may be smooth
        return ""
    return (
        f"it has no header, and its bytes look like raw samples ({name}). Give it one, with its sampling rate and "
        f"channels: ffmpeg -f {name} -ar RATE -ac CHANNELS -i RAW NEW.wav"
    )


def _smoothness(content: bytes, kind: np.dtype, lag: int) -> float:
    with np.errstate(invalid="ignore"):  # what is no sound may be any number
        samples = np.frombuffer(content[: len(content) // kind.itemsize * kind.itemsize], dtype=kind).astype(np.float64)
    if len(samples) < _FEWEST or not np.abs(samples).max() <= 2.0**31:  # NaN neither
        return 0.0
    return _correlation(samples, lag)


def _correlation(samples: np.ndarray, lag: int) -> float:
    early, late = samples[:-lag] - samples[:-lag].mean(), samples[lag:] - samples[lag:].mean()
    power = np.sqrt((early**2).sum() * (late**2).sum())
    return float((early * late).sum() / power) if power > 0 else 0.0


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

    def ask(self, **question: str | int | None) -> Iterator[tuple[dict, bytes]]:
        """Yield answers for a file up to the last one, each with the bytes that follow it."""
        questions, answers = self._process.stdin, self._process.stdout
        assert questions is not None and answers is not None  # both are pipes
        self._busy = True
        try:
            questions.write(json.dumps(question).encode() + b"\n")
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
            self._busy = not answer.keys() & {"end", "error", "errno", "refused"}
            yield answer, samples

    def end(self) -> None:
        """End the process, whatever it does."""
        if self._busy:
            self._process.kill()
        with suppress(BrokenPipeError), self._process:  # closes its pipes, at which it ends, and waits
            pass


def decode(path: Path, *, block: int | None, by: Literal["av", "soundfile"] = "av") -> Iterator[tuple[np.ndarray, int]]:
    """Decode a file in the child: by PyAV, in blocks of about `block` samples of all channels, or by soundfile.

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
    NotOpenedError, GivesUpError
        As `soundfile_blocks` does.
    """
    child = _take()
    try:
        yield from _blocks(child.ask(path=str(Path(path).absolute()), block=block, by=by), path)
    finally:
        idle = _idle.setdefault(os.getpid(), [])
        if child.usable and not idle:
            idle.append(child)
        else:
            child.end()


def _take() -> _Child:
    """An idle child, or else a new one."""
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
        if "refused" in answer:
            raise NotOpenedError if answer["refused"] is None else GivesUpError(answer["refused"])
        if "errno" in answer:
            raise OSError(answer["errno"], os.strerror(answer["errno"]), str(path))
        if "rate" in answer:
            rate, n_channels = answer["rate"], answer["channels"]
        if samples:
            yield np.frombuffer(samples, dtype=np.float32).reshape(-1, n_channels), rate
        if answer.get("damaged") is not None:
            raise DamagedAudio(answer["damaged"] / rate)


def despite_damage(
    blocks: Iterator[tuple[np.ndarray, int]], on_damage: Callable[[float], None] = lambda seconds: None
) -> Iterator[tuple[np.ndarray, int]]:
    """Blocks to the end of a file, damaged or not; `on_damage` is called with the seconds before the damage."""
    try:
        yield from blocks
    except DamagedAudio as damage:
        on_damage(damage.seconds)


@atexit.register
def _end_children() -> None:
    for child in _idle.pop(os.getpid(), []):
        child.end()
