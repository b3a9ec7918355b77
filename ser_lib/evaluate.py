"""Model and held-out clips → metrics and predictions. The work behind 04_evaluate.

Accuracy is the share of clips whose most probable emotion is the true one, loss the mean negative natural
logarithm of the true emotion's probability. Confusion matrices have true emotions in rows.
"""

import numpy as np
import pandas as pd
from sklearn import metrics

from ser_lib.bundle import Bundle
from ser_lib.errors import BundleError
from ser_lib.labels import EMOTIONS
from ser_lib.params import Params
from ser_lib.store import SPLIT_FILE, file_hash, load_sets, read_array, write_csv, write_json


def validate(y_true: np.ndarray, probabilities: np.ndarray) -> None:
    """Check that labels [shape=(n,)] and probabilities [shape=(n, n_classes)] can be compared.

    Raises
    ------
    ValueError
        If there is no clip, the lengths differ, or a label has no column.
    """
    if len(y_true) == 0:
        raise ValueError("There must be at least one clip to evaluate. Got none.")
    if probabilities.ndim != 2 or len(y_true) != len(probabilities):
        raise ValueError(f"Each of the {len(y_true)} labels needs a row of probabilities. Got {probabilities.shape}.")
    if y_true.min() < 0 or y_true.max() >= probabilities.shape[1]:
        raise ValueError(f"Labels must be 0 to {probabilities.shape[1] - 1}. Got {y_true.min()} to {y_true.max()}.")


def accuracy(y_true: np.ndarray, probabilities: np.ndarray) -> float:
    """Share of clips whose most probable emotion is the true one."""
    return float(metrics.accuracy_score(y_true, probabilities.argmax(axis=1)))


def uar(y_true: np.ndarray, probabilities: np.ndarray) -> float:
    """Unweighted average recall: the mean of the recalls of the emotions that have clips."""
    return float(np.mean(list(accuracy_per_class(y_true, probabilities).values())))


def loss(y_true: np.ndarray, probabilities: np.ndarray) -> float:
    """Mean categorical cross-entropy, in nats."""
    columns = np.arange(probabilities.shape[1])
    sums = probabilities.sum(axis=1, keepdims=True, dtype=np.float64)
    return float(metrics.log_loss(y_true, probabilities / sums, labels=columns))


def accuracy_per_class(y_true: np.ndarray, probabilities: np.ndarray) -> dict[str, float]:
    """Share of each emotion's clips that are recognised (its recall); emotions without a clip are left out."""
    present = np.unique(y_true)
    recalls = metrics.recall_score(y_true, probabilities.argmax(axis=1), labels=present, average=None)
    return {EMOTIONS[label]: float(recall) for label, recall in zip(present, recalls, strict=True)}


def confusion_matrix(y_true: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Counts [shape=(n_classes, n_classes)]: true emotion in rows, predicted one in columns."""
    columns = np.arange(probabilities.shape[1])
    return metrics.confusion_matrix(y_true, probabilities.argmax(axis=1), labels=columns)


def evaluate(y_true: np.ndarray, probabilities: np.ndarray) -> dict:
    """All metrics of one set.

    Parameters
    ----------
    y_true : np.ndarray [shape=(n,)]
        Labels.
    probabilities : np.ndarray [shape=(n, n_classes)]
    """
    validate(y_true, probabilities)
    return {
        "n_clips": len(y_true),
        "accuracy": accuracy(y_true, probabilities),
        "uar": uar(y_true, probabilities),
        "loss": loss(y_true, probabilities),
        "per_class": accuracy_per_class(y_true, probabilities),
        "confusion_matrix": confusion_matrix(y_true, probabilities).tolist(),
    }


def evaluate_model(bundle: Bundle, params: Params) -> tuple[dict[str, dict], pd.DataFrame]:
    """Evaluate the best model on the validation set and on the test set.

    Writes `metrics.json` and `test_predictions.csv` into `OUTPUT_DIR`.

    Returns
    -------
    metrics : dict
        `validation` and `test`, each with n_clips, accuracy, loss, per_class and confusion_matrix.
    predictions : pd.DataFrame
        One row per test clip: clip, speaker, text, true, predicted and a probability `p_<emotion>` for each emotion.

    Raises
    ------
    BundleError
        If the saved test set is not that of the split, or the model was trained on others.
    """
    data, sets = load_sets(params)
    X_validation, y_validation, _ = sets["validation"]
    X_expected, y_expected, clips = sets["test"]
    X_test = read_array(params.output_dir / params.X_TEST_FILE, "02_split")
    y_test = read_array(params.output_dir / params.Y_TEST_FILE, "02_split")
    saved = {params.X_TEST_FILE: (X_test, X_expected), params.Y_TEST_FILE: (y_test, y_expected)}
    for name, (array, expected) in saved.items():
        if not np.array_equal(array, expected):
            raise BundleError(f"{name} is not the test set of {SPLIT_FILE}. Run 02_split again.")
    split_sha256 = file_hash(params.output_dir / SPLIT_FILE)
    if (data.fingerprint, split_sha256) != (bundle.info.data_fingerprint, bundle.info.split_sha256):
        raise BundleError("The model was trained on other features, or on another split. Run 03_train again.")
    probabilities = bundle.probabilities(X_test)
    results = {
        "test": evaluate(y_test.argmax(axis=1), probabilities),
        "validation": evaluate(y_validation.argmax(axis=1), bundle.probabilities(X_validation)),
    }
    predictions = prediction_table(clips, probabilities)
    write_json(params.output_dir / "metrics.json", results)
    write_csv(params.output_dir / "test_predictions.csv", predictions)
    return results, predictions


def prediction_table(clips: pd.DataFrame, probabilities: np.ndarray) -> pd.DataFrame:
    """Predictions beside the truth, probabilities [shape=(n, n_classes)] rounded to six digits."""
    table = clips[["clip", "speaker", "text"]].assign(true=clips["emotion"])
    table["predicted"] = [EMOTIONS[label] for label in probabilities.argmax(axis=1)]
    rounded = probabilities.astype(np.float64).round(6)
    return table.assign(**{f"p_{emotion}": rounded[:, label] for label, emotion in enumerate(EMOTIONS)})
