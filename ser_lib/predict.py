"""Audio file → emotion, with a confidence for each class. The work behind 05_predict."""

import glob
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ser_lib.answer import Prediction, to_prediction
from ser_lib.bundle import Bundle
from ser_lib.errors import AudioError, StageError
from ser_lib.params import Params, printable, resolve, shown
from ser_lib.store import require, write_csv

if TYPE_CHECKING:
    import pandas as pd


_PATTERN = re.compile(r"[*?\[]")


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
    except UnicodeError:  # soundfile wants names that it can encode
        raise AudioError(f"{path.name} cannot be used: its name or folder is not UTF-8; rename it.") from None
    except OSError as error:
        raise AudioError(f"{path.name} cannot be used: {error.strerror or error}.") from None
    return to_prediction(path.name, bundle.probabilities(features[np.newaxis])[0], bundle.info.emotions)


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
        """Plain values: file, emotion, confidence and probabilities, or file and error."""
        if self.prediction is None:
            return {"file": printable(self.file), "error": self.reason}
        one = self.prediction
        return {"file": printable(self.file), "emotion": one.emotion, "confidence": one.confidence} | {
            "probabilities": one.probabilities
        }


def find_files(path: str) -> list[Path]:
    """Files that a path means: itself, the audio files below a folder, or what fits a pattern, in order.

    Hidden files are left out where a folder or a pattern is asked for, and files of other kinds beside audio files. A
    path that means nothing stands for itself, so that it is told as missing.
    """
    try:
        own = Path(path).expanduser()
        if own.is_dir():
            return _audio_below(own) or [own]
        if own.exists() or not _PATTERN.search(path):
            return [own]
    except (OSError, RuntimeError):  # a name that is too long, a home that is not there
        return [Path(path)]
    names = glob.glob(str(own), recursive=True)  # noqa: PTH207 - Path.glob takes hidden files, and fails for **.wav
    found = [Path(name) for name in sorted(names)]
    folders = [file for one in found if one.is_dir() for file in _audio_below(one)]
    files = [one for one in found if not one.is_dir()]
    return list(dict.fromkeys(_audio(files + folders) or files)) or [own]


def _audio_below(folder: Path) -> list[Path]:
    from ser_lib.corpora import audio_files, get_corpus  # single files do without

    return list(audio_files(get_corpus("OWN"), folder))


def _audio(files: list[Path]) -> list[Path]:
    from ser_lib.corpora.own import SUFFIXES

    return [file for file in files if file.suffix.lower() in SUFFIXES]


def answer_file(path: Path, bundle: Bundle, *, name: str | None = None, speaker: str | None = None) -> Answer:
    """Predict the emotion of an audio file, or say why that cannot be done; `name`: what to call it.

    Raises
    ------
    BundleError
        If the model does not know the speaker.
    """
    try:
        return Answer(name or str(path), predict_emotion_from_file(path, bundle, speaker=speaker))
    except AudioError as error:
        return Answer(name or str(path), None, printable(str(error)))


def answer_table(answers: list[Answer]) -> "pd.DataFrame":
    """One row for each file: file, emotion, confidence, a probability `p_<emotion>` each, and error."""
    import pandas as pd

    rows = []
    for answer in answers:
        values = answer.as_dict()
        shares = values.pop("probabilities", {})
        rows.append(values | {f"p_{emotion}": share for emotion, share in shares.items()})
    table = pd.DataFrame(rows)
    last = [name for name in ("error",) if name in table]
    return table[[name for name in table if name not in last] + last]


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
