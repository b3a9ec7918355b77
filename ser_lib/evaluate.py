"""Model and held-out clips → metrics, predictions and how they compare. The work behind 04_evaluate.

What each metric means stands in `ser_lib/scoring/metrics.py`. Everything is measured with the bundle's probabilities,
after temperature scaling unless a name says otherwise.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from ser_lib.audio.clips import hear_again
from ser_lib.audio.degrade import CONDITIONS
from ser_lib.audio.features import Measures
from ser_lib.audio.settings import AudioSettings
from ser_lib.core.errors import AudioError, BundleError
from ser_lib.core.io import file_hash, write_csv, write_json
from ser_lib.core.labels import in_order
from ser_lib.model.bundle import Bundle, BundleInfo
from ser_lib.model.calibration import calibrate
from ser_lib.params import Params
from ser_lib.scoring import adaptation, metrics
from ser_lib.scoring.baselines import predict_baselines
from ser_lib.store import (
    SETS,
    SPLIT_FILE,
    ProcessedData,
    load_processed,
    load_sets,
    load_split,
    read_array,
    read_json,
    to_labels,
)

METRICS_FILE = "metrics.json"
"""All that is measured; in `OUTPUT_DIR`."""


def evaluate_model(bundle: Bundle, params: Params) -> tuple[dict, pd.DataFrame]:
    """Evaluate the best model on the validation set and on the test set.

    Writes `metrics.json` and `test_predictions.csv` into `OUTPUT_DIR`.

    Returns
    -------
    metrics : dict
        `validation` and `test`, each with what `metrics.evaluate` gives, `intervals` of the headlines and
        `ece_uncalibrated`; `temperature`; `speakers` and `texts` of the test set, and how many of them are `known`
        from training, None where that is unknown; `unknown`: of how many clips of both sets it is, where there are
        such; `coverage`: accuracy by the fraction that is answered (`metrics.coverage`), of `test` and, where such
        were, in the mean of the corpora `left out` of training; `bootstrap`: what was drawn; `emotions`: the model's
        classes, in the order of the confusion matrices; `corpora`: clips, accuracy and UAR of each corpus in the test
        set.
    predictions : pd.DataFrame
        One row per test clip: clip, corpus, speaker, text, true, predicted and a probability `p_<emotion>` for each
        of the model's emotions.

    Raises
    ------
    BundleError
        If the saved test set is not that of the split, or the model was trained on others.

    Examples
    --------
    Of what `ser_lib.train.train_model` made:

    >>> from ser_lib import evaluate_model, load_bundle, load_params
    >>> params = load_params("params/demo.yaml", overrides=["OUTPUT_DIR=artifacts/example", "EPOCHS=1"])
    >>> metrics, predictions = evaluate_model(load_bundle(params.output_dir), params)
    >>> metrics["test"]["n_clips"] == len(predictions)
    True
    """
    data, sets = load_sets(params)
    X_expected, y_expected, clips = sets["test"]
    X_test = read_array(params.output_dir / params.X_TEST_FILE)
    y_test = read_array(params.output_dir / params.Y_TEST_FILE)
    saved = {params.X_TEST_FILE: (X_test, X_expected), params.Y_TEST_FILE: (y_test, y_expected)}
    for name, (array, expected) in saved.items():
        if not np.array_equal(array, expected):
            raise BundleError(f"{name} is not the test set of {SPLIT_FILE}. Run 02_split again.")
    _check_model(bundle, data, params)
    probabilities = {name: bundle.probabilities(sets[name][0]) for name in ("test", "validation")}
    results: dict[str, Any] = {
        name: _evaluate_set(sets[name][2], one, bundle.info, params) for name, one in probabilities.items()
    }
    predictions = prediction_table(clips, probabilities["test"], bundle.info.emotions)
    results |= {"emotions": bundle.info.emotions, "temperature": bundle.info.temperature}
    results["coverage"] = _coverage(to_labels(clips["emotion"], bundle.info.emotions), probabilities["test"], bundle)
    results |= _describe(sets["train"][2], clips, params) | {"corpora": _by_corpus(predictions, bundle.info.emotions)}
    write_json(params.output_dir / METRICS_FILE, results)
    write_csv(params.output_dir / "test_predictions.csv", predictions)
    return results, predictions


def _coverage(labels: np.ndarray, probabilities: np.ndarray, bundle: Bundle) -> dict[str, dict[str, list[float]]]:
    """Curve of the test set and, if the bundle has it, that of what was left out of training, in the mean."""
    left_out = [one.coverage for one in bundle.info.left_out or [] if one.coverage]
    curves = {"test": metrics.coverage(labels, probabilities)}
    return curves | ({"left out": metrics.mean_coverage(left_out)} if left_out else {})


def _check_model(bundle: Bundle, data: ProcessedData, params: Params) -> None:
    split_sha256 = file_hash(params.output_dir / SPLIT_FILE)
    if (data.fingerprint, split_sha256) != (bundle.info.data_fingerprint, bundle.info.split_sha256):
        raise BundleError("The model was trained on other features, or on another split. Run 03_train again.")


def _evaluate_set(clips: pd.DataFrame, probabilities: np.ndarray, info: BundleInfo, params: Params) -> dict:
    y_true = to_labels(clips["emotion"], info.emotions)
    resampled = _resample(clips, y_true, probabilities.argmax(axis=1), params)
    return metrics.evaluate(y_true, probabilities, emotions=info.emotions) | {
        "ece_uncalibrated": metrics.ece(y_true, calibrate(probabilities, 1 / info.temperature)),
        "intervals": {name: metrics.interval(values) for name, values in resampled.items()},
    }


def _resample(clips: pd.DataFrame, y_true: np.ndarray, y_pred: np.ndarray, params: Params) -> dict[str, np.ndarray]:
    clusters, _ = metrics.choose_clusters(clips["speaker"], clips["text"])
    return metrics.resample(y_true, y_pred, clusters, n_samples=params.BOOTSTRAP_SAMPLES, seed=params.SEED)


def _describe(train: pd.DataFrame, test: pd.DataFrame, params: Params) -> dict:
    """Count who and what is in the test set, how much of it training met, and what the bootstrap draws."""
    clusters, kind = metrics.choose_clusters(test["speaker"], test["text"])
    columns = {"speakers": "speaker", "texts": "text"}
    tested, learnt = ({name: {*clips[one]} - {""} for name, one in columns.items()} for clips in (test, train))
    unknown = {name: int(sum((clips[one] == "").sum() for clips in (test, train))) for name, one in columns.items()}
    return {
        **{name: len(values) or None for name, values in tested.items()},
        "known": {
            name: len(values & learnt[name]) if values and learnt[name] else None for name, values in tested.items()
        },
        **({"unknown": unknown} if any(unknown.values()) else {}),
        "bootstrap": {"cluster": kind, "clusters": int(clusters.max()) + 1, "samples": params.BOOTSTRAP_SAMPLES},
    }


def _by_corpus(predictions: pd.DataFrame, emotions: Sequence[str]) -> dict[str, dict]:
    """Count the clips of each corpus and measure accuracy and UAR on them."""
    found = {}
    for corpus, rows in predictions.groupby("corpus"):
        y_true, y_pred = (to_labels(rows[name], emotions) for name in ("true", "predicted"))
        found[str(corpus)] = {"n_clips": len(rows)} | _accuracy_and_uar(y_true, y_pred)
    return found


def _accuracy_and_uar(y_true: np.ndarray, y_pred: np.ndarray) -> dict[str, float]:
    return {"accuracy": metrics.accuracy(y_true, y_pred), "uar": metrics.uar(y_true, y_pred)}


def prediction_table(clips: pd.DataFrame, probabilities: np.ndarray, emotions: Sequence[str]) -> pd.DataFrame:
    """Predictions beside the truth, probabilities [shape=(n, n_classes)] of `emotions` rounded to six digits."""
    table = clips[["clip", "corpus", "speaker", "text"]].assign(true=clips["emotion"])
    table["predicted"] = [emotions[label] for label in probabilities.argmax(axis=1)]
    rounded = probabilities.astype(np.float64).round(6)
    return table.assign(**{f"p_{emotion}": rounded[:, index] for index, emotion in enumerate(emotions)})


def evaluate_calibration(bundle: Bundle, params: Params) -> dict[str, dict[str, np.ndarray]]:
    """Confidence and accuracy on the test set `before` and `after` temperature scaling (`calibration_bins`)."""
    y_true = read_array(params.output_dir / params.Y_TEST_FILE).argmax(axis=1)
    after = bundle.probabilities(read_array(params.output_dir / params.X_TEST_FILE))
    before = calibrate(after, 1 / bundle.info.temperature)
    return {"before": metrics.calibration_bins(y_true, before), "after": metrics.calibration_bins(y_true, after)}


def evaluate_baselines(predictions: pd.DataFrame, params: Params) -> dict[str, dict]:
    """Measure `baselines.BASELINES` on the test set, fitted on the training set; nothing without `params.BASELINES`.

    Adds `baselines` to `metrics.json`.

    Parameters
    ----------
    predictions : pd.DataFrame
        What the model says of the test set, from `evaluate_model`.
    params : Params

    Returns
    -------
    dict
        Name → what `metrics.evaluate_labels` gives, `intervals` of the headlines, `lead`: the 95 % interval of how
        far the model's UAR is above this one's, over the same resamples, and `validation_uar`.
    """
    if not params.BASELINES:
        return {}
    data = load_processed(params.processed_data_file)
    split = load_split(params, data.clips)
    train, validation, test = (split == name for name in SETS)
    clips, emotions = data.clips[test], in_order(data.clips["emotion"][train])
    y_train, y_validation, y_true = (
        to_labels(data.clips["emotion"][rows], emotions) for rows in (train, validation, test)
    )
    X = np.concatenate([data.pooled[test], data.pooled[validation]])
    of_model = _resample(clips, y_true, to_labels(predictions["predicted"], emotions), params)
    results = {}
    for name, labels in predict_baselines(data.pooled[train], y_train, X).items():
        y_pred, of_validation = np.split(labels, [len(y_true)])
        resampled = _resample(clips, y_true, y_pred, params)
        results[name] = metrics.evaluate_labels(y_true, y_pred, emotions=emotions) | {
            "intervals": {headline: metrics.interval(values) for headline, values in resampled.items()},
            "lead": metrics.interval(of_model["uar"] - resampled["uar"]),
            "validation_uar": metrics.uar(y_validation, of_validation),
        }
    _add(params, baselines=results)
    return results


def evaluate_robustness(bundle: Bundle, params: Params) -> dict[str, dict]:
    """Measure the model on the test set under `degrade.CONDITIONS`; nothing without `params.ROBUSTNESS`.

    The clips are decoded again, degraded, and go the way of any file. A clip of which a condition leaves nothing
    that can be used counts as a mistake. Adds `robustness` to `metrics.json`.

    Returns
    -------
    dict
        Condition → accuracy, uar and the number of `unusable` clips.

    Raises
    ------
    StageError
        If a clip is not in `DATASET_PATH` as it was processed.
    """
    if not params.ROBUSTNESS:
        return {}
    data = load_processed(params.processed_data_file)
    _check_model(bundle, data, params)
    clips = data.clips[load_split(params, data.clips) == "test"]
    found = hear_again(
        clips, params.dataset_path, data.settings, CONDITIONS, params.N_JOBS, "Degrading", "set ROBUSTNESS to false"
    )
    results = {condition: _evaluate_degraded(bundle, clips, found) for condition in CONDITIONS}
    next(found, None)  # lets the bar end, and the cache shrink
    _add(params, robustness=results)
    return results


def evaluate_adaptation(bundle: Bundle, params: Params) -> list[dict]:
    """Measure what adapting the model to each test speaker brings; nothing without `ADAPT_TO_SPEAKER` in training.

    Adds `adaptation` to `metrics.json`: the rows of `scoring.adaptation.evaluate`.
    """
    if bundle.info.population is None:
        return []
    data, sets = load_sets(params)
    _check_model(bundle, data, params)
    X, y, clips = sets["test"]
    rows = _adapt(bundle, X, y.argmax(axis=1), clips, params)
    if rows:
        _add(params, adaptation=rows)
    return rows


def _adapt(bundle: Bundle, X: np.ndarray, labels: np.ndarray, clips: pd.DataFrame, params: Params) -> list[dict]:
    """Rows of `adaptation.evaluate`; none where a speaker is unknown, or the model cannot be adapted."""
    if bundle.info.population is None or (clips["speaker"] == "").any():
        return []
    return adaptation.evaluate(bundle, X, labels, clips["speaker"].to_numpy(dtype=str), seed=params.SEED)


def _evaluate_degraded(bundle: Bundle, clips: pd.DataFrame, found: Iterable[np.ndarray | AudioError]) -> dict:
    """Take as many results as there are clips, and measure them."""
    no_answer = len(bundle.info.emotions)  # the label of no emotion, so it is never right
    y_pred, X, usable = np.full(len(clips), no_answer), [], []
    for number, (speaker, features) in enumerate(zip(clips["speaker"], found, strict=False)):
        if not isinstance(features, AudioError):
            X.append(bundle.to_scale(features, len(features), speaker))
            usable.append(number)
    if usable:
        y_pred[usable] = bundle.probabilities(np.array(X)).argmax(axis=1)
    y_true = to_labels(clips["emotion"], bundle.info.emotions)
    return _accuracy_and_uar(y_true, y_pred) | {"unusable": len(clips) - len(usable)}


def evaluate_recordings(
    bundle: Bundle, clips: pd.DataFrame, X: np.ndarray, params: Params
) -> tuple[dict, pd.DataFrame]:
    """Evaluate a model on labelled recordings beside its run, all of which are tested; nothing is written.

    Parameters
    ----------
    bundle : Bundle
    clips : pd.DataFrame
        As of `ProcessedData`; the model must know their emotions.
    X : np.ndarray [shape=(n_clips, n_frames, n_features)]
        Their features by the bundle's settings, without any normalisation by speaker.
    params : Params
        Of which `SEED` and `BOOTSTRAP_SAMPLES` count.

    Returns
    -------
    results : dict
        `test`: what `metrics.evaluate` gives, with `intervals`, `ece_uncalibrated` and mean `confidence`; `speakers`,
        `texts`, `unknown` and `bootstrap` as of `evaluate_model`; `coverage` of the test set; `unlike`: how many clips
        a prediction calls unlike the training clips; `adaptation`: rows of `adaptation.evaluate` that any voice has
        clips enough for, none where a speaker is unknown, or the model cannot be adapted.
    predictions : pd.DataFrame
        As of `evaluate_model`, and of each clip `file`, `confidence` and in what it is `unlike` the training clips.
    """
    info = bundle.info
    labels, measures = to_labels(clips["emotion"], info.emotions), _measures(clips, info.settings)
    n_sound = [info.settings.sound_frames(one.n_trimmed) for one in measures]
    scaled = np.array([bundle.to_scale(features, n, None) for features, n in zip(X, n_sound, strict=True)])
    probabilities = bundle.probabilities(scaled)
    unlike = [info.novelty.find_novelty(*one, info.settings) for one in zip(measures, scaled, strict=True)]
    confidence = probabilities.max(axis=1).astype(np.float64)
    speakers, described = clips["speaker"].to_numpy(dtype=str), _describe(clips.iloc[:0], clips, params)
    adapted = _adapt(bundle, X, labels, clips, params)
    results = {
        "test": _evaluate_set(clips, probabilities, info, params) | {"confidence": float(confidence.mean())},
        **{name: values for name, values in described.items() if name != "known"},
        "coverage": {"test": metrics.coverage(labels, probabilities)},
        "unlike": sum(map(bool, unlike)),
        "adaptation": [row for row in adapted if adaptation.is_reached(row, labels, speakers)],
    }
    table = prediction_table(clips, probabilities, info.emotions)
    table.insert(0, "file", clips["file"])
    table.insert(list(table).index("predicted") + 1, "confidence", confidence.round(6))
    return results, table.assign(unlike=["; ".join(phrases) for phrases in unlike])


def _measures(clips: pd.DataFrame, settings: AudioSettings) -> list[Measures]:
    """Measures of each clip, from the table that has them in seconds."""
    return [
        Measures(
            clip.sampling_rate,
            round(clip.seconds * clip.sampling_rate),
            round(clip.trimmed_seconds * settings.sampling_rate),
            clip.peak_dbfs,
            clip.bandwidth_hz,
        )
        for clip in clips.itertuples()
    ]


def _add(params: Params, **results: dict | list) -> None:
    path = params.output_dir / METRICS_FILE
    write_json(path, read_json(path) | results)
