"""Audio file → emotion, with a confidence for each class. The work behind 05_predict."""

import functools
import itertools
import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ser_lib.audio.channels import EACH, channel_names
from ser_lib.audio.decode import read_blocks
from ser_lib.audio.signal import load_recording
from ser_lib.core.cluster import scheduler_address
from ser_lib.core.errors import AudioError, unusable
from ser_lib.core.io import write_csv
from ser_lib.core.paths import locate
from ser_lib.core.text import printable
from ser_lib.core.workers import begin, n_processes, worker_processes, worth
from ser_lib.model.backends import Backend
from ser_lib.model.bundle import Bundle, load_bundle
from ser_lib.model.prediction import UNSURE_BELOW, Answer, Prediction, answer_columns, answer_row
from ser_lib.params import Params

if TYPE_CHECKING:
    import pandas as pd

BATCH = 16
"""Files that a worker process takes together."""
_AHEAD = 64
"""Batches of answers that are kept at most, until one before them is there."""


def predict_emotion_from_file(
    path: str | Path,
    bundle: Bundle,
    *,
    speaker: str | None = None,
    unsure_below: float = UNSURE_BELOW,
    channel: str | None = None,
) -> Prediction:
    """Predict the emotion of an audio file; the bundle's settings decide how it is processed.

    A relative path is looked for in the current folder, then in the project.
    `speaker` names one of the voices in training to a model with `NORMALIZE_PER_SPEAKER`; see
    `Bundle.extract_features`. `channel` is `left`, `right` or a number from 1 on; without it the mean of all channels
    is used. Of a damaged file what can be decoded is.

    Raises
    ------
    AudioError
        If the file cannot be used; the message names it and the reason.

    Examples
    --------
    >>> import numpy as np
    >>> import soundfile
    >>> from ser_lib import load_bundle, predict_emotion_from_file
    >>> soundfile.write("tone.wav", 0.5 * np.sin(2 * np.pi * 220 * np.arange(16000) / 16000), 16000)
    >>> prediction = predict_emotion_from_file("tone.wav", load_bundle("reports/demo"))
    >>> prediction.confidence == prediction.probabilities[prediction.emotion]
    True
    """
    return _predict(Path(path), bundle, str(path), channel, speaker=speaker, unsure_below=unsure_below)


def _predict(path: Path, bundle: Bundle, called: str, channel: str | None, **options: Any) -> Prediction:
    try:
        return bundle.answer_recording(path.name, load_recording(locate(path), channel=channel), **options)
    except (AudioError, OSError) as error:
        raise AudioError(unusable(called, error)) from None


def answer_file(
    path: Path, bundle: Bundle, *, name: str | None = None, channel: str | None = None, **options: Any
) -> Answer:
    """Predict the emotion of an audio file, or say why that cannot be done; `name`: what to call it.

    The `options` are those of `predict_emotion_from_file`.

    Raises
    ------
    BundleError
        If the model does not know the speaker.
    """
    name = name or str(path)
    try:
        prediction = _predict(path, bundle, name, channel, **options)
    except AudioError as error:
        return Answer(name, None, printable(str(error)), channel or "")
    return Answer(name, prediction, channel=channel or "")


@dataclass(frozen=True)
class Request:
    """What is asked of files, and the model that answers; a worker process opens it once.

    Attributes
    ----------
    model : Path
        For `load_bundle`, with `backend`.
    voice : str, optional
        Enrolled speaker to whose voice the model is adapted.
    speaker, unsure_below
        See `predict_emotion_from_file`.
    channel : str, optional
        As there; or `EACH`, for an answer on each channel of a file.
    """

    model: Path
    backend: Backend = "onnx"
    voice: str | None = None
    speaker: str | None = None
    unsure_below: float = UNSURE_BELOW
    channel: str | None = None


def answers(
    files: Sequence[tuple[Path, str]], request: Request, *, bundle: Bundle | None = None, jobs: int = -1
) -> Iterator[Answer]:
    """Answers for files, in their order: one for each, or for each of its channels.

    Nothing is kept: memory does not grow with the number of files.

    Parameters
    ----------
    files : sequence of (Path, str)
        Each with what it is called.
    request : Request
    bundle : Bundle, optional
        The request's, if it is open already; it serves where no worker processes are needed.
    jobs : int
        Processes, of which this is one; -1 for as many as there are cores or, where there is a Dask scheduler
        (`core/cluster.py`), for its workers. Few files are answered in this one.
    """
    jobs = worth(len(files), jobs)
    if jobs == -1 and scheduler_address() is not None:
        yield from _answers_away(files, request)
        return
    bundle = bundle or _open(request.model, request.backend, request.voice)
    n_workers = n_processes(jobs) - 1
    if n_workers:
        yield from _answers_beside(files, request, bundle, n_workers)
        return
    yield from _answer_here(files, bundle, request)


def _answers_beside(files: Sequence[tuple[Path, str]], request: Request, bundle: Bundle, n: int) -> Iterator[Answer]:
    """Answers by `n` workers and this process, which begins while they start and never waits for them idly."""
    workers = worker_processes(n)
    ready = begin(workers, n, __name__)
    batches = (files[first : first + BATCH] for first in range(0, len(files), BATCH))
    begun: deque[Future[list[Answer]]] = deque()  # in the order of the files
    with _one_thread():
        while True:
            if any(one.done() for one in ready):
                n_waiting = sum(not one.done() for one in begun)
                for batch in itertools.islice(batches, max(0, 2 * n - n_waiting)):
                    begun.append(workers.submit(answer_batch, batch, request))
            if not begun:
                if (own := next(batches, None)) is None:
                    return
                yield from _answer_here(own, bundle, request)
            elif begun[0].done() or len(begun) >= _AHEAD or (own := next(batches, None)) is None:
                yield from begun.popleft().result()
            else:
                begun.append(Future())
                begun[-1].set_result([*_answer_here(own, bundle, request)])


def _one_thread() -> AbstractContextManager:
    """Keep NumPy's products of matrices on one core, where each core has its process."""
    from threadpoolctl import threadpool_limits

    return threadpool_limits(1)


def _answers_away(files: Sequence[tuple[Path, str]], request: Request) -> Iterator[Answer]:
    """Answers from the workers of a scheduler; a file that kills them is one that cannot be used."""
    from ser_lib.core.away import compute

    tasks = [(Path(os.path.abspath(path)), request.model, name, request) for path, name in files]  # noqa: PTH100 - links
    for (_, name), answered in zip(files, compute(_answer_there, tasks, BATCH), strict=True):
        if isinstance(answered, AudioError):
            yield Answer(name, None, printable(unusable(name, answered)), request.channel or "")
        else:
            yield from answered


def _answer_there(path: Path, model: Path, name: str, request: Request) -> list[Answer]:
    """Answers for a file on a worker, which has the model elsewhere."""
    return answer_batch([(path, name)], replace(request, model=model))


def answer_batch(files: Sequence[tuple[Path, str]], request: Request) -> list[Answer]:
    """Answers for some files, in any process."""
    return [*_answer_here(files, _open(request.model, request.backend, request.voice), request)]


def _answer_here(files: Sequence[tuple[Path, str]], bundle: Bundle, request: Request) -> Iterator[Answer]:
    for path, name in files:
        yield from _answer_channels(path, name, bundle, request)


@functools.lru_cache(maxsize=1)
def _open(model: Path, backend: Backend, voice: str | None) -> Bundle:
    bundle = load_bundle(model, backend=backend)
    if voice is None:
        return bundle
    from ser_lib.model.voices import with_voice

    return with_voice(bundle, voice)


def _answer_channels(path: Path, name: str, bundle: Bundle, request: Request) -> Iterator[Answer]:
    options: dict[str, Any] = {"speaker": request.speaker, "unsure_below": request.unsure_below}
    for channel in channels_of(path, request.channel):
        yield answer_file(path, bundle, name=name, channel=channel, **options)


def channels_of(path: Path, channel: str | None) -> list[str | None]:
    """Channels that are asked for: `channel`, which is None for the mean of all, or of `EACH` those of the file.

    It is None alone where a file has one, or cannot be read.
    """
    if channel != EACH:
        return [channel]
    try:
        channels, _ = next(read_blocks(path))
    except (StopIteration, AudioError, OSError):  # reported when it is predicted
        return [None]
    return [*channel_names(channels.shape[1])] if channels.shape[1] > 1 else [None]


def save_predictions(predictions: list[Prediction], params: Params) -> "pd.DataFrame":
    """Write `predictions.csv`, a row for each of some predictions, into `OUTPUT_DIR`."""
    import pandas as pd

    rows = [answer_row(Answer(prediction.file, prediction)) for prediction in predictions]
    table = pd.DataFrame(rows, columns=answer_columns(predictions[0].probabilities)[:-1])  # none has an error
    write_csv(params.output_dir / "predictions.csv", table)
    return table
