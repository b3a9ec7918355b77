"""Audio file → emotion, with a confidence for each class. The work behind 05_predict."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ser_lib.bundle import Bundle
from ser_lib.errors import AudioError, StageError
from ser_lib.labels import SHOWN_AS
from ser_lib.params import Params, resolve, shown
from ser_lib.store import require, write_csv

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Prediction:
    """What the model makes of one file.

    Attributes
    ----------
    file : str
        Name of the file.
    emotion : str
        Most probable emotion, as people read it (`fearful`, `surprised`).
    confidence : float
        Its probability, 0 to 1.
    probabilities : dict
        Emotion to probability, in the order of the labels.
    """

    file: str
    emotion: str
    confidence: float
    probabilities: dict[str, float]

    def __str__(self) -> str:
        """Emotion and confidences as aligned lines, the most probable emotion first."""
        ranked = sorted(self.probabilities.items(), key=lambda item: -item[1])
        lines = [f"{self.file}: {self.emotion} ({self.confidence:.1%})"]
        return "\n".join([*lines, *(f"  {emotion:<10} {probability:7.2%}" for emotion, probability in ranked)])


def predict_emotion_from_file(path: str | Path, bundle: Bundle, *, speaker: str | None = None) -> Prediction:
    """Predict the emotion of an audio file; the bundle's settings decide how it is processed.

    `speaker` names one of the voices in training to a model with `NORMALIZE_PER_SPEAKER`; see `Bundle.features`.

    Raises
    ------
    AudioError
        If the file cannot be used; the message names it and the reason.
    """
    path = Path(path)
    try:
        features = bundle.features(path, speaker=speaker)
    except AudioError as error:
        raise AudioError(f"{path.name} cannot be used: {error}.") from None
    return to_prediction(path.name, bundle.probabilities(features[np.newaxis])[0], bundle)


def to_prediction(file: str, probabilities: np.ndarray, bundle: Bundle) -> Prediction:
    """Name the probabilities [shape=(n_classes,)] of one file."""
    named = {
        SHOWN_AS.get(emotion, emotion): float(probability)
        for emotion, probability in zip(bundle.info.emotions, probabilities, strict=True)
    }
    emotion = max(named, key=named.get)
    return Prediction(file, emotion, named[emotion], named)


def example_file(params: Params) -> Path:
    """`EXAMPLE_AUDIO_FILE`, or else the file of the first test clip.

    Raises
    ------
    StageError
        If an earlier notebook's tables are missing, or do not name the clip.
    """
    if params.EXAMPLE_AUDIO_FILE is not None:
        return resolve(params.EXAMPLE_AUDIO_FILE)
    tested = _column(params.output_dir / "test_predictions.csv", "04_evaluate", "clip")
    files = _column(params.output_dir / "clips.csv", "01_preprocess", "file")
    if tested.index[0] not in files:
        raise StageError("test_predictions.csv and clips.csv are of different corpora. Run 01_preprocess and on again.")
    return params.dataset_path / files[tested.index[0]]


def example_speaker(params: Params, bundle: Bundle) -> str | None:
    """Speaker of the test clip that `example_file` gives, where the bundle knows its voice; None for other files.

    Raises
    ------
    StageError
        If an earlier notebook's tables are missing or damaged.
    """
    if params.EXAMPLE_AUDIO_FILE is not None or not bundle.info.speakers:
        return None
    tested = _column(params.output_dir / "test_predictions.csv", "04_evaluate", "speaker")
    return tested.iloc[0]


def _column(path: Path, notebook: str, name: str) -> "pd.Series":
    """Column of a table of clips that `notebook` wrote, by clip."""
    import pandas as pd

    try:
        table = pd.read_csv(require(path, notebook), dtype=str, keep_default_na=False).set_index("clip", drop=False)
        if not table.empty:
            return table[name]
    except (ValueError, KeyError):
        pass
    raise StageError(f"{shown(path)} is damaged. Run {notebook} again.")


def save_predictions(predictions: list[Prediction], params: Params) -> "pd.DataFrame":
    """Write `predictions.csv` into `OUTPUT_DIR`: file, emotion, confidence and a probability `p_<emotion>` each."""
    import pandas as pd

    rows = [
        {"file": prediction.file, "emotion": prediction.emotion, "confidence": prediction.confidence}
        | {f"p_{emotion}": probability for emotion, probability in prediction.probabilities.items()}
        for prediction in predictions
    ]
    table = pd.DataFrame(rows)
    write_csv(params.output_dir / "predictions.csv", table)
    return table
