"""Audio file → emotion, with a confidence for each class. The work behind 05_predict."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ser_lib.audio.signal import load_recording
from ser_lib.core.errors import AudioError
from ser_lib.core.io import write_csv
from ser_lib.core.paths import locate
from ser_lib.core.text import printable
from ser_lib.model.bundle import Bundle
from ser_lib.model.prediction import UNSURE_BELOW, Answer, Prediction, answer_columns, answer_row
from ser_lib.params import Params

if TYPE_CHECKING:
    import pandas as pd


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
    path = Path(path)
    try:
        clip = load_recording(locate(path), channel=channel)
        answer = bundle.answer(path.name, clip.signal, clip.sampling_rate, speaker=speaker, unsure_below=unsure_below)
        return replace(answer, damaged_after=clip.damaged_after, channels_differ=clip.channels_differ)
    except AudioError as error:
        raise AudioError(f"{path.name} cannot be used: {error}.") from None
    except OSError as error:
        raise AudioError(f"{path.name} cannot be used: {error.strerror or error}.") from None


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
    try:
        prediction = predict_emotion_from_file(path, bundle, channel=channel, **options)
    except AudioError as error:
        return Answer(name or str(path), None, printable(str(error)), channel or "")
    return Answer(name or str(path), prediction, channel=channel or "")


def save_predictions(predictions: list[Prediction], params: Params) -> "pd.DataFrame":
    """Write `predictions.csv`, a row for each of some predictions, into `OUTPUT_DIR`."""
    import pandas as pd

    rows = [answer_row(Answer(prediction.file, prediction)) for prediction in predictions]
    table = pd.DataFrame(rows, columns=answer_columns(predictions[0].probabilities)[:-1])  # none has an error
    write_csv(params.output_dir / "predictions.csv", table)
    return table
