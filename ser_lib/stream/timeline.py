"""A long recording → which emotion when.

The recording is read in blocks and cut into overlapping windows. Each window is treated like a file: its peak is
brought to full scale, silence is trimmed off its ends, and the rest becomes features; so a window that holds one phrase
between silences is predicted as that phrase alone. A window whose loudest frame is more than `SILENCE_DB` below the
loud moments of the recording (the 95th percentile of the frames' levels) is silence, and gets no emotion.
Probabilities are smoothed over neighbouring windows of speech with the weights 1, 2, 1; silence interrupts that.
"""

import itertools
import math
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import soxr

from ser_lib.audio.channels import ChannelLevels, pick
from ser_lib.audio.decode import despite_damage, read_blocks
from ser_lib.audio.signal import average, to_mono
from ser_lib.core.errors import AudioError
from ser_lib.core.labels import shown_as
from ser_lib.model.bundle import Bundle
from ser_lib.model.novelty import heard_of, novelty_kinds
from ser_lib.model.prediction import DIFFERENT_CHANNELS, UNSURE_BELOW, damage_note

if TYPE_CHECKING:
    import pandas as pd

SILENCE_DB = 30.0
"""dB below the loud moments of a recording at which a window is silence."""
LOUD = 95
"""Percentile of the frames' levels that counts as loud."""
_ENVELOPE_RATE = 20
_BATCH = 16
"""Windows that are predicted together."""
_SHORTEST = 0.01
"""Seconds of a window, and of a hop, at least."""
_FLOOR = 1e-10
"""Power that a frame has at least, for its level in dB."""


def predict_timeline(
    path: str | Path,
    bundle: Bundle,
    *,
    window_seconds: float | None = None,
    hop_seconds: float | None = None,
    smooth: bool = True,
    on_progress: Callable[[float], None] = lambda seconds: None,
    channel: str | None = None,
) -> "pd.DataFrame":
    """Predict window by window, without ever holding the whole recording.

    Parameters
    ----------
    path : str or Path
    bundle : Bundle
    window_seconds : float, optional
        Length of a window (s); by default and at most that of the model's training clips.
    hop_seconds : float, optional
        From one window to the next (s); by default half a window.
    smooth : bool
        Whether probabilities are smoothed over neighbours.
    on_progress : callable
        Called with the seconds that have been read.
    channel : str, optional
        `left`, `right` or a number from 1 on; by default the mean of all.

    Returns
    -------
    pd.DataFrame
        start and end (s) of each window, state (`speech` or `silence`), emotion by its display word and its confidence
        (empty and NaN for silence), a probability `p_<emotion>` for each class, and `unlike`, the kinds of novelty
        (`novelty.py`). Its `attrs` hold `damaged_after` (s, or None), where something could not be decoded, and
        `channels_differ` (`channels.py`).

    Raises
    ------
    AudioError
        If the file cannot be used; the message is the reason.
    """
    import pandas as pd

    rate = bundle.info.settings.sampling_rate
    window, hop = window_and_hop(bundle, rate, window_seconds, hop_seconds)
    damages: list[float] = []
    spans, levels, probabilities, unlike, apart = [], [], [], [], ChannelLevels()
    blocks = _signals(despite_damage(read_blocks(path), damages.append), channel, apart)
    windows = sliding_windows(_resampled(blocks, rate, on_progress), window, hop)
    windows = ((start, samples.copy()) for start, samples in windows)
    while batch := list(itertools.islice(windows, _BATCH)):
        spans += [(start / rate, (start + len(signal)) / rate) for start, signal in batch]
        levels += [full_scale_levels(signal, rate) for _, signal in batch]
        predicted, kinds = _predict([signal for _, signal in batch], bundle)
        probabilities.append(predicted)
        unlike += kinds
    values = np.concatenate(probabilities) if spans else np.full((1, 1), np.nan)
    if np.isnan(values).all():
        raise AudioError("the file is silent" if spans else "the file holds no samples")
    loud = np.percentile(np.concatenate(levels), LOUD)
    heard = np.array([one.max() > loud - SILENCE_DB for one in levels]) & ~np.isnan(values).any(axis=1)
    values[~heard] = np.nan
    values = _smooth(values) if smooth else values
    names = [shown_as(emotion) for emotion in bundle.info.emotions]
    best = np.nan_to_num(values, nan=-1).argmax(axis=1)
    table = pd.DataFrame(spans, columns=["start", "end"]).assign(state=np.where(heard, "speech", "silence"))
    table["emotion"] = np.where(heard, np.array(names)[best], "")
    table["confidence"] = values[np.arange(len(values)), best]
    table = table.assign(**{f"p_{name}": values[:, index] for index, name in enumerate(names)})
    table = table.assign(unlike=np.where(heard, unlike, ""))
    table.attrs |= {"damaged_after": next(iter(damages), None), "channels_differ": apart.differ()}
    return table


def failed_timeline(bundle: Bundle) -> "pd.DataFrame":
    """One row without values, of the columns and `attrs` of `predict_timeline`: for a file that cannot be used."""
    import pandas as pd

    shares = [f"p_{shown_as(emotion)}" for emotion in bundle.info.emotions]
    table = pd.DataFrame("", [0], ["start", "end", "state", "emotion", "confidence", *shares, "unlike"])
    table.attrs |= {"damaged_after": None, "channels_differ": None}
    return table


def window_and_hop(
    bundle: Bundle,
    sampling_rate: int,
    window_seconds: float | None,
    hop_seconds: float | None,
    *,
    usual_hop: float = math.inf,
) -> tuple[int, int]:
    """Window and hop in samples at `sampling_rate` (Hz).

    By default a window is as long as the model's training clips, with an encoder as the longest of them but a few, and
    a hop half a window, or `usual_hop` (s) if that is shorter. AudioError if a window is longer than what the model
    hears, a hop is longer than a window, or either is shorter than `_SHORTEST`.
    """
    settings = bundle.info.settings
    longest = min(settings.n_samples / settings.sampling_rate, heard_of(settings)[1])
    usual = longest if settings.encoder is None else min(longest, bundle.info.novelty.seconds[1])
    window_seconds = usual if window_seconds is None else window_seconds
    if not _SHORTEST <= window_seconds <= longest:
        raise AudioError(
            f"a window must be at least {_SHORTEST} s long, and at most as long as what the model hears "
            f"({math.floor(longest * 100) / 100:.2f} s), not {window_seconds:g} s"
        )
    hop_seconds = min(max(window_seconds / 2, _SHORTEST), usual_hop) if hop_seconds is None else hop_seconds
    if not _SHORTEST <= hop_seconds <= window_seconds:
        raise AudioError(
            f"a hop must be at least {_SHORTEST} s, and at most a window ({window_seconds:.3g} s), not "
            f"{hop_seconds:g} s"
        )
    return max(1, round(window_seconds * sampling_rate)), max(1, round(hop_seconds * sampling_rate))


def summarize(timeline: "pd.DataFrame", *, unsure_below: float = UNSURE_BELOW) -> dict[str, float]:
    """Fraction of each emotion in the windows of speech, the largest first; then of unsure ones, and of silence in all.

    A window whose confidence is below `unsure_below` counts as unsure, and for no emotion.
    """
    speech = timeline[timeline["state"] == "speech"]
    sure = speech["emotion"][speech["confidence"] >= unsure_below]
    fractions = (sure.value_counts(sort=True) / max(1, len(speech))).to_dict()
    unsure = {"unsure": 1 - len(sure) / len(speech)} if len(sure) < len(speech) else {}
    return fractions | unsure | {"silence": float((timeline["state"] == "silence").mean())}


def summary_text(timeline: "pd.DataFrame", *, unsure_below: float = UNSURE_BELOW) -> str:
    """`summarize` in sentences, the windows with novelty, and what to know of the file."""
    fractions = summarize(timeline, unsure_below=unsure_below)
    silence = fractions.pop("silence")
    n_speech = int((timeline["state"] == "speech").sum())
    windows = "1 window" if n_speech == 1 else f"{n_speech} windows"
    shares = ", ".join(f"{emotion} {fraction:.0%}" for emotion, fraction in fractions.items())
    speech = f"Of {windows} of speech: {shares}." if n_speech else "No speech."
    text = f"{speech} Of all windows, {silence:.0%} are silence."
    damaged_after = timeline.attrs.get("damaged_after")
    notes = [] if damaged_after is None else [f"{damage_note(damaged_after)} Times after that may be early."]
    notes += [DIFFERENT_CHANNELS] * timeline.attrs.get("channels_differ", False)
    unlike = timeline["unlike"][timeline["unlike"] != ""]
    if len(unlike) == 0:
        return "\n".join([text, *notes])
    kinds = unlike.str.split(", ").explode().value_counts()
    told = ", ".join(f"{kind} {count}" for kind, count in kinds.items())
    windows = "is 1 window" if len(unlike) == 1 else f"are {len(unlike)} windows"
    return "\n".join([text, f"Unlike what the model has learnt from {windows} of speech ({told}).", *notes])


def read_envelope(path: str | Path, channel: str | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Times (s) in a recording, and the peak around each; both [shape=(n,)], at most 20 per second.

    Of the mean of the channels or, with `channel`, of one (`audio.channels.pick`).

    AudioError if the file cannot be decoded, or holds no samples.
    """
    times, peaks, start = [], [], 0.0
    for channels, rate in despite_damage(read_blocks(path)):
        block, size = np.abs(pick(channels, channel).mean(axis=1)), max(1, rate // _ENVELOPE_RATE)
        firsts = np.arange(0, len(block), size)
        peaks.append(np.maximum.reduceat(block, firsts))
        times.append(start + (firsts + size / 2) / rate)
        start += len(block) / rate
    if not times:
        raise AudioError("the file holds no samples")
    return np.concatenate(times), np.concatenate(peaks)


def _signals(
    blocks: Iterator[tuple[np.ndarray, int]], channel: str | None, levels: ChannelLevels
) -> Iterator[tuple[np.ndarray, int]]:
    """Mono signals of blocks of channels, and their sampling rate (Hz); `levels` gets the channels."""
    for channels, rate in blocks:
        heard = pick(channels, channel)
        levels.add(heard, rate)
        yield average(heard), rate


def _resampled(
    blocks: Iterator[tuple[np.ndarray, int]], rate: int, on_progress: Callable[[float], None]
) -> Iterator[np.ndarray]:
    """Blocks of a signal at the common rate."""
    seconds, stream = 0.0, None
    for block, own_rate in blocks:
        stream = stream or soxr.ResampleStream(own_rate, rate, 1, dtype="float32", quality="HQ")
        seconds += len(block) / own_rate
        on_progress(seconds)
        yield stream.resample_chunk(block)
    if stream is not None:
        yield stream.resample_chunk(np.zeros(0, dtype=np.float32), last=True)


def sliding_windows(blocks: Iterable[np.ndarray], window: int, hop: int) -> Iterator[tuple[int, np.ndarray]]:
    """First sample and samples of each window, as soon as it is complete; the next one overwrites it.

    Parameters
    ----------
    blocks : iterable of np.ndarray [shape=(n_samples, ...)]
        Samples in order, in blocks of any size.
    window, hop : int
        Samples of a window, and from one window to the next (at most a window).

    Yields
    ------
    start : int
    samples : np.ndarray [shape=(window, ...)]
        The last one, of the samples that no window held yet, may be shorter.
    """
    buffer, start, filled, end = None, 0, 0, 0  # `end`: of the last window
    for block in blocks:
        buffer = np.empty((window, *block.shape[1:]), dtype=block.dtype) if buffer is None else buffer
        while len(block):
            part, block = block[: window - filled], block[window - filled :]
            buffer[filled : filled + len(part)] = part
            filled += len(part)
            if filled == window:
                yield start, buffer
                end = start + window
                buffer[: window - hop] = buffer[hop:]
                start, filled = start + hop, window - hop
    if buffer is not None and start + filled > end:
        yield start, buffer[:filled]


def full_scale_levels(signal: np.ndarray, rate: int) -> np.ndarray:
    """Level (dB of full scale) of every 50 ms of a signal [shape=(n_samples,)] at `rate` (Hz)."""
    size = max(1, rate // 20)
    frames = np.pad(signal, (0, -len(signal) % size)).reshape(-1, size)
    return 10 * np.log10(np.maximum((frames.astype(np.float64) ** 2).mean(axis=1), _FLOOR))


def _predict(signals: list[np.ndarray], bundle: Bundle) -> tuple[np.ndarray, list[str]]:
    """Probabilities [shape=(n_windows, n_classes)], NaN for silence, and the kinds of novelty."""
    settings = bundle.info.settings
    found, rows, unlike = [], [], [""] * len(signals)
    for number, signal in enumerate(signals):
        try:
            features, measures = bundle.extract_features(to_mono(signal[:, np.newaxis]), settings.sampling_rate)
        except AudioError:
            continue
        found.append(features)
        rows.append(number)
        unlike[number] = novelty_kinds(bundle.info.novelty.find_novelty(measures, features, settings))
    probabilities = np.full((len(signals), len(bundle.info.emotions)), np.nan)
    if rows:
        probabilities[rows] = bundle.probabilities(np.array(found))
    return probabilities, unlike


def _smooth(probabilities: np.ndarray) -> np.ndarray:
    """Weighted means of each row and its neighbours that are not NaN; rows of NaN stay."""
    padded = np.pad(probabilities, ((1, 1), (0, 0)), constant_values=np.nan)
    near = np.stack([padded[:-2], padded[1:-1], padded[2:]])
    weights = np.array([1.0, 2.0, 1.0])[:, np.newaxis, np.newaxis] * ~np.isnan(near)
    with np.errstate(invalid="ignore"):
        return np.where(
            np.isnan(probabilities), np.nan, (np.nan_to_num(near) * weights).sum(axis=0) / weights.sum(axis=0)
        )
