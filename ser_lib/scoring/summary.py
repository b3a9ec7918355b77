"""Metrics and predictions of `evaluate_model` → the tables and sentences that people read.

Each sentence is made from the figures, so that it is true of every split, corpus and model.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from ser_lib.audio.settings import AudioSettings
from ser_lib.core.labels import EMOTIONS, in_order, shown_as
from ser_lib.model.calibration import RANGE, LeftOut
from ser_lib.model.prediction import UNSURE_BELOW
from ser_lib.store import SETS, UNUSED

_FEWEST_CLIPS = 2
"""Clips by which a network must be behind on the validation set before it is told."""
UNKNOWN = "unknown"
"""What stands for an unknown speaker or text."""


def headline_table(results: Mapping[str, Mapping]) -> pd.DataFrame:
    """Headlines with their intervals, as people read them; loss and calibration error where all have them."""
    columns = {"accuracy": "accuracy", "uar": "UAR", "macro_f1": "macro-F1"}
    more = {"loss": "loss (nats)", "ece": "calibration error"}
    rows = {}
    for name, values in results.items():
        row: dict[str, object] = {"clips": values["n_clips"]}
        for key, column in columns.items():
            low, high = values["intervals"][key]
            row[column] = f"{values[key]:.3f} [{low:.3f}, {high:.3f}]"
        rows[name] = row | {column: f"{values[key]:.3f}" for key, column in more.items() if key in values}
    return pd.DataFrame.from_dict(rows, orient="index").dropna(axis="columns")


def describe_scope(results: Mapping) -> str:
    """Say what the intervals of `evaluate_model`'s metrics cover, and what they do not.

    Without `known`, nothing is said of what training has met.
    """
    drawn, n = results["bootstrap"], results["speakers"]
    what = {"clip": "clips", "speaker and text": "pairs of speaker and text"}[drawn["cluster"]]
    who = {None: "Who speaks in it is unknown", 1: "It has one speaker", 2: "It has two speakers"}
    other = {None: "other voices", 1: "another voice", 2: "a third"}.get(n, "any other")
    known = f" {_describe_known(results)}" if "known" in results else ""
    n_unknown = 0 if known or n is None else results.get("unknown", {}).get("speakers", 0)
    unknown = f" and {n_unknown:,} {'clip' if n_unknown == 1 else 'clips'} of unknown ones" if n_unknown else ""
    return (
        f"Intervals: 95 % of {drawn['samples']:,} resamples of the test set's {drawn['clusters']} {what}. "
        f"{who.get(n, f'It has {n} speakers')}{unknown}: the intervals say nothing of {other}.{known}"
    )


def _describe_known(results: Mapping) -> str:
    """Say how much of the test set training has met, and what of that nobody knows."""
    known, n_unknown = results["known"], results.get("unknown", {})
    shown = {"speakers": "test speakers", "texts": "texts"}
    met = [f"{known[one]} of {results[one]} {name}" for one, name in shown.items() if known[one] is not None]
    unknown = [one for one in shown if known[one] is None]
    said = [f"Training has met {' and '.join(met)}."] if met else []
    said += [f"How many of its {' and '.join(unknown)} training has met is unknown."] if unknown else []
    said += [
        f"The {one.removesuffix('s')} of {n_unknown[one]} training and test clips is unknown."
        for one in shown
        if results[one] is not None and n_unknown.get(one)
    ]
    return " ".join(said)


def describe_best(model: Mapping, baselines: Mapping[str, Mapping]) -> str:
    """Say whether the model is better than the best baseline, and whether this test set can show it."""
    if not baselines:
        return "Baselines were not asked for (BASELINES)."
    name = max(baselines, key=lambda one: baselines[one]["uar"])
    uar, (low, high) = baselines[name]["uar"], baselines[name]["lead"]
    order = "above" if model["uar"] > uar else "below" if model["uar"] < uar else "equal to"
    verdict = (
        "the network earns its place" if low > 0
        else "the simpler model is the better one" if high < 0
        else "this test set does not show which is better"
    )  # fmt: skip
    return (
        f"The network's UAR, {model['uar']:.3f}, is {order} that of the best baseline, {name}, {uar:.3f}. "
        f"95 % interval of the difference: [{low:+.3f}, {high:+.3f}], so {verdict}."
    )


def advise(validation: Mapping, baselines: Mapping[str, Mapping], *, model: str) -> str:
    """Say what to try where the validation set lacks emotions, or the network is below the linear baseline on it.

    Parameters
    ----------
    validation : mapping
        Metrics of the network.
    baselines : mapping
        Name → metrics, of which records made before it was measured have no `validation_uar`.
    model : str
        `MODEL` of the run.

    Returns
    -------
    str
        Empty where all is well.
    """
    return " ".join(filter(None, (_lacking(validation), _below_linear(validation, baselines, model))))


def _lacking(validation: Mapping) -> str:
    heard, n_emotions = list(validation.get("per_class", ())), len(validation.get("confusion_matrix", ()))
    if len(heard) >= n_emotions:
        return ""
    n_clips = f"{validation['n_clips']} clip{'' if validation['n_clips'] == 1 else 's'}"
    return (
        f"The validation set has {n_clips}, of {len(heard)} of the model's {n_emotions} emotions "
        f"({', '.join(map(shown_as, heard))}): what is chosen and calibrated on it leaves out the others. Add clips, "
        "or raise VALIDATION_FRACTION."
    )


def _below_linear(validation: Mapping, baselines: Mapping[str, Mapping], model: str) -> str:
    uar, linear = validation.get("uar"), baselines.get("linear", {}).get("validation_uar")
    if uar is None or linear is None or round((linear - uar) * validation["n_clips"], 6) < _FEWEST_CLIPS:
        return ""
    other = "" if model == "linear" else ", or one layer on an encoder (MODEL: linear, FEATURES: encoder)"
    return (
        f"On the validation set the network's UAR, {uar:.3f}, is below that of the linear baseline, {linear:.3f}: for "
        f"so few clips it was trained too shortly, or is too large. Try more epochs (EPOCHS){other}."
    )


def describe_calibration(results: Mapping, *, left_out: bool = False) -> str:
    """Say what temperature scaling did to the calibration error on the test set.

    `left_out`: the temperature is that of corpora or speakers that were left out, and not of the validation set.
    """
    before, after, temperature = results["test"]["ece_uncalibrated"], results["test"]["ece"], results["temperature"]
    where = f"On the validation set ({results['validation']['n_clips']} clips)"
    where = "On what was left out of training in turn" if left_out else where
    sure = "too sure" if temperature > 1 else "not sure enough"
    gain = "lowers" if after < before else "does not lower"
    end = next((end for end in RANGE if np.isclose(temperature, end, rtol=0.01)), None)
    at_end = f", the end of the range that is searched ({RANGE[0]:g} to {RANGE[1]:g})" if end else ""
    return (
        f"{where} the network is {sure}: temperature {temperature:.2f}{at_end}. "
        f"That {gain} the calibration error on the test set: {before:.3f} before, {after:.3f} after."
    )


def describe_coverage(coverage: Mapping[str, Mapping[str, list[float]]]) -> str:
    """Say how many answers are not called unsure, and how many of those are right; a line for each curve."""
    what = {"test": "of the test set", "left out": "of corpora or speakers left out of training, in the mean"}
    return "\n".join(_describe_curve(what[name], curve) for name, curve in coverage.items())


def _describe_curve(what: str, curve: Mapping[str, list[float]]) -> str:
    overall = f"{what[0].upper()}{what[1:]}, {curve['accuracy'][0]:.3f} are right"
    if UNSURE_BELOW not in curve["threshold"]:
        return f"{overall}. With a confidence of {UNSURE_BELOW:g} or more, none is answered."
    place = curve["threshold"].index(UNSURE_BELOW)
    return (
        f"{overall}. With a confidence of {UNSURE_BELOW:g} or more, {curve['answered'][place]:.3f} are answered, and "
        f"{curve['accuracy'][place]:.3f} of those are right; the others are called unsure."
    )


def adaptation_table(rows: Sequence[Mapping]) -> pd.DataFrame:
    """What adapting to each test speaker brings (`adaptation.evaluate`), a row for each way."""
    table = pd.DataFrame(rows, columns=["clips", "each", "labelled", "n_clips", "uar", "without"])
    table["labelled"] = table["labelled"].map({True: "yes", False: "no"})
    names = {"each": "number", "n_clips": "clips measured", "uar": "UAR", "without": "UAR without"}
    return table.rename(columns=names)


def left_out_table(left_out: Sequence[LeftOut]) -> pd.DataFrame:
    """How right and how sure a model was about what was left out of its training, and the mean."""
    table = pd.DataFrame([one.model_dump(exclude={"coverage"}) for one in left_out])
    mean = table.mean(numeric_only=True).to_dict() | {"name": "mean", "n_clips": table["n_clips"].sum()}
    names = {"name": "left out", "n_clips": "clips", "uar": "UAR", "ece": "calibration error"}
    return pd.concat([table, pd.DataFrame([mean])], ignore_index=True).rename(columns=names)


def describe_robustness(test: Mapping, robustness: Mapping[str, Mapping]) -> str:
    """Say which condition costs most and which least."""
    if not robustness:
        return "Robustness was not asked for (ROBUSTNESS)."
    worst, *_, best = sorted(robustness, key=lambda condition: robustness[condition]["uar"])
    unusable = sum(values["unusable"] for values in robustness.values())
    return (
        f"UAR as recorded: {test['uar']:.3f}. It is lowest with {worst} ({robustness[worst]['uar']:.3f}) and highest "
        f"with {best} ({robustness[best]['uar']:.3f}); guessing gives {1 / len(test['per_class']):.3f}."
        + (f" {unusable} clips could not be used and count as mistakes." if unusable else "")
    )


def robustness_table(test: Mapping, robustness: Mapping[str, Mapping]) -> pd.DataFrame:
    """Accuracy and UAR as recorded and under each condition."""
    rows = {"as recorded": test, **robustness}
    return pd.DataFrame.from_dict(
        {name: {"accuracy": values["accuracy"], "UAR": values["uar"]} for name, values in rows.items()}, orient="index"
    )


def class_table(values: Mapping, *, emotions: Sequence[str] = EMOTIONS) -> pd.DataFrame:
    """Emotions of a set, the least recognised first, and what each is most often taken for; `emotions`: the classes."""
    rows = []
    for emotion, recall in values["per_class"].items():
        counts = np.array(values["confusion_matrix"][emotions.index(emotion)])
        wrong = np.where(np.arange(len(counts)) == emotions.index(emotion), 0, counts)
        taken_for = f"{shown_as(emotions[int(wrong.argmax())])} ({wrong.max()})" if wrong.any() else ""
        rows.append((shown_as(emotion), counts.sum(), recall, values["precision"][emotion], taken_for))
    table = pd.DataFrame(rows, columns=["emotion", "clips", "recall", "precision", "most often taken for"])
    return table.sort_values("recall", kind="stable").reset_index(drop=True)


def corpus_table(corpora: Mapping[str, Mapping]) -> pd.DataFrame:
    """Clips, accuracy and UAR of each corpus of the test set (`corpora` of `evaluate_model`'s metrics)."""
    rows = [(name, values["n_clips"], values["accuracy"], values["uar"]) for name, values in corpora.items()]
    return pd.DataFrame(rows, columns=["corpus", "clips", "accuracy", "UAR"])


def mistake_table(predictions: pd.DataFrame, *, n: int = 10) -> pd.DataFrame:
    """The `n` mistakes with the highest confidence: clip, true, predicted, confidence."""
    wrong = predictions[predictions["true"] != predictions["predicted"]]
    table = wrong[["clip"]].assign(true=wrong["true"].map(shown_as), predicted=wrong["predicted"].map(shown_as))
    table["confidence"] = wrong.filter(regex="^p_").max(axis=1)
    return table.sort_values("confidence", ascending=False, kind="stable").head(n).reset_index(drop=True)


def accuracy_table(predictions: pd.DataFrame, column: str) -> pd.DataFrame:
    """Clips, right ones and accuracy for each value of `column` (speaker, text), the lowest accuracy first.

    Clips of which it is unknown are counted together.
    """
    right = predictions["true"] == predictions["predicted"]
    table = right.groupby(predictions[column]).agg(["size", "sum", "mean"])
    table.columns = ["clips", "right", "accuracy"]
    table = table.reset_index().sort_values(
        ["accuracy", "clips"], ascending=[True, False], kind="stable", ignore_index=True
    )
    return table.replace({column: {"": UNKNOWN}})


def describe_texts(predictions: pd.DataFrame) -> str:
    """Say how many texts have a mistake, and of how many clips the text is unknown."""
    known = predictions[predictions["text"] != ""]
    mistaken = known.loc[known["true"] != known["predicted"], "text"].nunique()
    n_unknown = len(predictions) - len(known)
    said = [f"{mistaken} of {known['text'].nunique()} texts have a mistake."] if len(known) else []
    said += [f"The text of {n_unknown} of {len(predictions)} test clips is unknown."] if n_unknown else []
    return " ".join(said)


def clip_table(clips: pd.DataFrame) -> pd.DataFrame:
    """Clips by speaker and emotion, as people read it, with sums; an empty speaker is unknown."""
    table = pd.crosstab(clips["speaker"], clips["emotion"])[in_order(clips["emotion"])]
    table = table.rename(index={"": UNKNOWN}, columns=shown_as)
    sums = table.sum().to_frame("all").T.rename_axis(index=table.index.name, columns=table.columns.name)
    table = pd.concat([table, sums])
    return table.assign(all=table.sum(axis="columns"))


def feature_table(X: np.ndarray, settings: AudioSettings) -> pd.DataFrame:
    """Mean, standard deviation and extremes of each feature over all frames; of embeddings, of each layer's numbers.

    Parameters
    ----------
    X : np.ndarray [shape=(n_clips, n_frames, n_features)]
    settings : AudioSettings
    """
    from ser_lib.audio.encoders import layers_of  # decoders, which most tables do not need

    frames = X.reshape(-1, X.shape[-1])
    if settings.encoder is None:
        table = pd.DataFrame(frames, columns=settings.feature_names)
    else:
        groups = layers_of(settings.encoder).items()  # some have more numbers than others
        table = pd.DataFrame({name: pd.Series(frames[:, one].ravel()) for name, one in groups})
    return table.describe().T[["mean", "std", "min", "max"]].round(3)


def set_table(table: pd.DataFrame) -> pd.DataFrame:
    """Size of each set of a split: clips, their fraction, and how many corpora, speakers, texts and emotions there are.

    Parameters
    ----------
    table : pd.DataFrame
        What `split.split_data` returns.
    """
    columns = {"corpus": "corpora", "speaker": "speakers", "text": "texts", "emotion": "emotions"}
    rows = {}
    for name in (one for one in (*SETS, UNUSED) if one in set(table["set"])):
        clips = table[table["set"] == name]
        rows[name] = {"clips": len(clips)} | {shown: _distinct(clips[one]) for one, shown in columns.items()}
        rows[name]["share"] = f"{len(clips) / len(table):.1%}"
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("set")


def _distinct(values: pd.Series) -> str:
    """Count different values; unknown ones are neither equal nor different."""
    n, n_unknown = values[values != ""].nunique(), int((values == "").sum())
    if not n:
        return UNKNOWN
    return f"{n}, and {n_unknown} clips {UNKNOWN}" if n_unknown else str(n)
