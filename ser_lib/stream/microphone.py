"""What is heard while it is heard: blocks of samples, from a microphone or a file → an emotion about once a second.

One window of samples is kept, as they come, with all their channels. Whenever it is full it is answered by
`Bundle.predict`, as a file of the same samples would be, and then moves on by a hop; so the size of the blocks changes
nothing. A window is silence by the rule of `ser_lib.stream.timeline`, with what is known so far in place of the whole
recording: its loudest moment is more than `SILENCE_DB` below the loud moments (the 95th percentile of the frames'
levels) of the loudest window yet. The loudest and not all, for a long wait before a few words would outweigh them.
Before anyone has spoken nothing is known, so loud moments have at least `LEAST_LOUD`.
"""

import itertools
import queue
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from ser_lib.audio.channels import to_channels, to_rate
from ser_lib.audio.decode import check_rate, despite_damage, read_blocks
from ser_lib.audio.signal import average
from ser_lib.core.errors import AudioError, MicrophoneError
from ser_lib.core.extras import name_extras
from ser_lib.core.labels import shown_as
from ser_lib.core.text import printable
from ser_lib.model.bundle import Bundle
from ser_lib.model.novelty import novelty_kinds
from ser_lib.model.prediction import Prediction
from ser_lib.stream.timeline import LOUD, SILENCE_DB, full_scale_levels, sliding_windows, window_and_hop

if TYPE_CHECKING:
    import pandas as pd

LEAST_LOUD = -30.0
"""dB of full scale that loud moments are taken to have until something louder is heard: quiet speech, close by."""
_USUAL_HOP = 1.0
"""Seconds from one window to the next."""
_BLOCK_SECONDS = 0.1
_WAITING = 300
"""Blocks of the microphone that may wait for the model (30 s); what comes after is dropped."""
_PATIENCE = 5.0
"""Seconds without a block after which a microphone counts as gone."""
_CHANNELS = 2
"""Channels of a microphone that are heard: some devices name dozens, of which most are nothing."""


@dataclass(frozen=True)
class Window:
    """What was predicted for a window.

    Attributes
    ----------
    start, end : float
        From the first sample on (s).
    prediction : Prediction or None
        None is silence.
    """

    start: float
    end: float
    prediction: Prediction | None

    @property
    def state(self) -> str:
        """`speech` or `silence`."""
        return "silence" if self.prediction is None else "speech"

    @property
    def emotion(self) -> str:
        """Most probable emotion by its display word; empty for silence."""
        return "" if self.prediction is None else self.prediction.emotion

    @property
    def confidence(self) -> float:
        """Its probability, 0 to 1; NaN for silence."""
        return np.nan if self.prediction is None else self.prediction.confidence

    @property
    def novelty(self) -> str:
        """Kinds of novelty (`novelty.py`); empty for silence."""
        return "" if self.prediction is None else novelty_kinds(self.prediction.novelty)


def listen(
    blocks: Iterable[np.ndarray],
    sampling_rate: int,
    bundle: Bundle,
    *,
    window_seconds: float | None = None,
    hop_seconds: float | None = None,
    end_silence: float = 5.0,
) -> Iterator[Window]:
    """Predict window by window, each as soon as its last sample is there.

    Parameters
    ----------
    blocks : iterable of np.ndarray [shape=(n_samples, n_channels)], float32
        Samples in order, in blocks of any size.
    sampling_rate : int, Hz
    bundle : Bundle
    window_seconds : float, optional
        Length of a window (s); by default and at most that of the model's training clips.
    hop_seconds : float, optional
        From one window to the next (s); by default 1, or half a window if that is shorter.
    end_silence : float
        Seconds of silence after speech at which it ends; checked at the end of a window, so not before a whole window
        of silence.

    Yields
    ------
    Window
        The last one may be shorter.

    Raises
    ------
    AudioError
        At once if the window, the hop or the rate is impossible; after the windows before it if a block is none or
        holds NaN or infinity.
    """
    rate = check_rate(to_rate(sampling_rate))
    window, hop = window_and_hop(bundle, rate, window_seconds, hop_seconds, usual_hop=_USUAL_HOP)
    if not end_silence > 0:
        raise AudioError(f"the silence that ends it must be longer than 0 s, not {end_silence:g} s")
    heard = _predict_windows(sliding_windows(_checked(blocks), window, hop), rate, bundle)
    return _until_silence(heard, end_silence)


def _checked(blocks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """Blocks [shape=(n_samples, n_channels)] as the first, up to the first sample that is no number."""
    n_channels = None
    for block in (to_channels(block, part=True) for block in blocks if len(block)):
        n_channels = n_channels or block.shape[1]
        if block.shape[1] != n_channels:
            raise AudioError(f"all blocks must have {n_channels} channels as the first, not {block.shape[1]}")
        finite = np.isfinite(block).all(axis=1)
        if not finite.all():
            yield block[: finite.argmin()]
            raise AudioError("the samples hold NaN or infinity")
        yield block


def _predict_windows(windows: Iterator[tuple[int, np.ndarray]], rate: int, bundle: Bundle) -> Iterator[Window]:
    loud = LEAST_LOUD
    for start, samples in windows:
        levels = full_scale_levels(average(samples), rate)
        loud = max(loud, np.percentile(levels, LOUD))
        prediction = _predict(samples, rate, bundle) if levels.max() > loud - SILENCE_DB else None
        yield Window(start / rate, (start + len(samples)) / rate, prediction)


def _predict(samples: np.ndarray, rate: int, bundle: Bundle) -> Prediction | None:
    try:
        return bundle.predict(samples, rate)
    except AudioError:  # nothing is left of it once noise is reduced, or it is shorter than a sample
        return None


def _until_silence(windows: Iterator[Window], end_silence: float) -> Iterator[Window]:
    spoken, quiet_since = False, None
    for window in windows:
        yield window
        if window.prediction is not None:
            spoken, quiet_since = True, None
            continue
        quiet_since = window.start if quiet_since is None else quiet_since
        if spoken and window.end - quiet_since >= end_silence:
            return


def to_table(windows: list[Window], bundle: Bundle) -> "pd.DataFrame":
    """Windows as `ser_lib.stream.timeline.predict_timeline` gives them."""
    import pandas as pd

    columns = ["start", "end", "state", "emotion", "confidence"]
    table = pd.DataFrame([[getattr(one, name) for name in columns] for one in windows], columns=columns)
    for name in map(shown_as, bundle.info.emotions):
        table[f"p_{name}"] = [one.prediction.probabilities[name] if one.prediction else np.nan for one in windows]
    return table.assign(unlike=[one.novelty for one in windows])


def recording(
    path: str | Path, *, on_damage: Callable[[float], None] = lambda seconds: None
) -> tuple[Iterator[np.ndarray], int]:
    """Blocks [shape=(n_samples, n_channels)] of a file, as from a microphone, and its sampling rate (Hz).

    `on_damage` is called with the seconds before the damage; AudioError if the file cannot be decoded or is empty.
    """
    stream = despite_damage(read_blocks(path), on_damage)
    first = next(stream, None)
    if first is None:
        raise AudioError("the file holds no samples")
    return (block for block, _ in itertools.chain([first], stream)), first[1]


@dataclass
class Microphone:
    """An open microphone: an endless iterable of blocks [shape=(n_samples, n_channels)].

    Attributes
    ----------
    name : str
        By the system.
    sampling_rate : int, Hz
    n_lost : int
        How often samples were lost, because this process was too slow.
    """

    name: str
    sampling_rate: int
    n_lost: int = 0
    _waiting: queue.Queue = field(default_factory=lambda: queue.Queue(_WAITING))

    def __iter__(self) -> Iterator[np.ndarray]:
        """Give blocks as they come; MicrophoneError if none comes any more."""
        while True:
            try:
                yield self._waiting.get(timeout=_PATIENCE)
            except queue.Empty:
                raise MicrophoneError(
                    f"A microphone must give samples all the time. {self.name} has given none for {_PATIENCE:g} s; "
                    f"see whether it is still plugged in."
                ) from None

    def take(self, block: np.ndarray, _n_samples: int, _time: Any, status: Any) -> None:
        """Queue a block; PortAudio calls this in a thread of its own."""
        self.n_lost += bool(status.input_overflow)
        try:
            self._waiting.put_nowait(block.copy())  # PortAudio uses the memory again
        except queue.Full:
            self.n_lost += 1


@contextmanager
def microphone(sampling_rate: int | None = None, device: int | str | None = None) -> Iterator[Microphone]:
    """Open a microphone while the context lasts.

    Parameters
    ----------
    sampling_rate : int, optional
        In Hz; by default the device's own, since many drivers resample badly.
    device : int or str, optional
        Number of the device, or a part of its name; by default the system's.

    Raises
    ------
    ExtraError
        If sounddevice is not installed.
    MicrophoneError
        If PortAudio is not, or the device cannot be opened.
    """
    sounddevice = _import_sounddevice()
    with ExitStack() as stack:
        try:
            found = sounddevice.query_devices(device, "input")
            rate = round(found["default_samplerate"]) if sampling_rate is None else to_rate(sampling_rate)
            opened = Microphone(printable(found["name"]), rate)
            stream = sounddevice.InputStream(
                samplerate=rate,
                blocksize=max(1, round(_BLOCK_SECONDS * rate)),
                device=device,
                channels=min(_CHANNELS, found["max_input_channels"]),
                dtype="float32",
                callback=opened.take,
            )
            stack.enter_context(stream)
        except (sounddevice.PortAudioError, ValueError) as error:
            why = printable(next(iter(str(error).splitlines()), type(error).__name__)).rstrip(".:")
            why = why.replace("Error querying device -1", "the system has none by default")
            raise MicrophoneError(
                f"No microphone can be opened: {why}. Plug one in, or name another with --device; "
                f"`python -m sounddevice` lists those there are."
            ) from None
        yield opened


def _import_sounddevice() -> ModuleType:
    try:
        with name_extras():
            import sounddevice  # an extra: nothing else of the project needs a microphone
    except OSError as error:
        raise MicrophoneError(
            f"A microphone needs the library PortAudio, which sounddevice cannot load ({printable(str(error))}). "
            f"Install it; on Debian and Ubuntu: sudo apt install libportaudio2"
        ) from None
    return sounddevice
