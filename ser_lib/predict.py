"""Audio file → emotion, with a confidence for each class. The work behind 05_predict."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ser_lib.answer import UNSURE_BELOW, Prediction
from ser_lib.audio import load_audio
from ser_lib.bundle import Bundle
from ser_lib.errors import AudioError
from ser_lib.params import Params, locate, printable
from ser_lib.store import write_csv

if TYPE_CHECKING:
    import pandas as pd


def predict_emotion_from_file(
    path: str | Path, bundle: Bundle, *, speaker: str | None = None, unsure_below: float = UNSURE_BELOW
) -> Prediction:
    """Predict the emotion of an audio file; the bundle's settings decide how it is processed.

    A relative path is looked for in the current folder, then in the project.
    `speaker` names one of the voices in training to a model with `NORMALIZE_PER_SPEAKER`; see `Bundle.hear`.

    Raises
    ------
    AudioError
        If the file cannot be used; the message names it and the reason.
    """
    path = Path(path)
    try:
        return bundle.answer(path.name, *load_audio(locate(path)), speaker=speaker, unsure_below=unsure_below)
    except AudioError as error:
        raise AudioError(f"{path.name} cannot be used: {error}.") from None
    except OSError as error:
        raise AudioError(f"{path.name} cannot be used: {error.strerror or error}.") from None


@dataclass(frozen=True)
class Answer:
    """What came of one file: a prediction, or the reason why there is none.

    Attributes
    ----------
    file : str
        Path as it was given, or found below the folder that was given.
    prediction : Prediction or None
    reason : str
        What is wrong with the file, as a sentence; empty if there is a prediction.
    """

    file: str
    prediction: Prediction | None
    reason: str = ""

    def as_dict(self) -> dict:
        """Plain values: file, emotion, confidence, unsure, unlike and probabilities, or file and error."""
        if self.prediction is None:
            return {"file": printable(self.file), "error": self.reason}
        one = self.prediction
        return {"file": printable(self.file)} | {
            "emotion": one.emotion,
            "confidence": one.confidence,
            "unsure": one.unsure,
            "unlike": list(one.unlike),
            "probabilities": one.probabilities,
        }


def answer_file(path: Path, bundle: Bundle, *, name: str | None = None, **options: object) -> Answer:
    """Predict the emotion of an audio file, or say why that cannot be done; `name`: what to call it.

    The `options` are those of `predict_emotion_from_file`.

    Raises
    ------
    BundleError
        If the model does not know the speaker.
    """
    try:
        return Answer(name or str(path), predict_emotion_from_file(path, bundle, **options))
    except AudioError as error:
        return Answer(name or str(path), None, printable(str(error)))


def answer_table(answers: list[Answer]) -> "pd.DataFrame":
    """One row for each file: file, emotion, confidence, unsure, a `p_<emotion>` each, unlike, and error."""
    import pandas as pd

    rows = []
    for answer in answers:
        values = answer.as_dict()
        shares = values.pop("probabilities", {})
        if "unlike" in values:
            values["unlike"] = "; ".join(values["unlike"])
        rows.append(values | {f"p_{emotion}": share for emotion, share in shares.items()})
    table = pd.DataFrame(rows)
    last = [name for name in ("unlike", "error") if name in table]
    return table[[name for name in table if name not in last] + last]


def save_predictions(predictions: list[Prediction], params: Params) -> "pd.DataFrame":
    """Write `predictions.csv`, the `answer_table` of some predictions, into `OUTPUT_DIR`."""
    table = answer_table([Answer(prediction.file, prediction) for prediction in predictions])
    write_csv(params.output_dir / "predictions.csv", table)
    return table
