"""What came of a corpus: its lengths and split, the training, and how right the model is."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from ser_lib.core.labels import EMOTIONS, in_order, shown_as
from ser_lib.model.prediction import UNSURE_BELOW
from ser_lib.plots.figures import plot_fractions


def plot_lengths(clips: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """How long the clips are before and after trimming; `clips` has seconds and trimmed_seconds."""
    ax = ax or plt.subplots(figsize=(8, 3))[1]
    lengths = clips[["seconds", "trimmed_seconds"]].rename(
        columns={"seconds": "before trimming", "trimmed_seconds": "after trimming"}
    )
    sns.histplot(lengths, bins=40, element="step", ax=ax)
    ax.set(xlabel="length (s)", ylabel="clips")
    return ax


def plot_split(table: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Clips of each emotion in each set; `table` has emotion and set."""
    ax = ax or plt.subplots(figsize=(8, 3))[1]
    counts = table.groupby(["emotion", "set"]).size().unstack("set", fill_value=0)
    order = in_order(counts.index)
    counts.loc[order, [name for name in ("train", "validation", "test") if name in counts]].plot.bar(ax=ax, width=0.8)
    ax.set_xticklabels([shown_as(emotion) for emotion in order], rotation=0)
    ax.set(xlabel="emotion", ylabel="clips")
    ax.legend(title=None, ncols=3, loc="lower center", bbox_to_anchor=(0.5, 1), frameon=False)
    return ax


def plot_history(history: Mapping[str, list[float]], *, axes: np.ndarray | None = None) -> np.ndarray:
    """Loss and accuracy of training and validation over the epochs, on two Axes [shape=(2,)].

    Examples
    --------
    >>> from ser_lib import plot_history
    >>> history = {"loss": [1.2, 0.7], "val_loss": [1.3, 0.9], "accuracy": [0.5, 0.8], "val_accuracy": [0.4, 0.7]}
    >>> len(plot_history(history))
    2
    """
    axes = plt.subplots(1, 2, figsize=(10, 3.2), layout="constrained")[1] if axes is None else axes
    epochs = np.arange(1, len(history["loss"]) + 1)
    for ax, metric, unit in zip(axes, ("loss", "accuracy"), ("cross-entropy (nats)", "accuracy"), strict=True):
        marker = "o" if len(epochs) == 1 else None  # a line needs two points
        ax.plot(epochs, history[metric], marker=marker, label="training")
        ax.plot(epochs, history[f"val_{metric}"], marker=marker, label="validation")
        ax.set(xlabel="epoch", ylabel=unit, title=metric.capitalize())
        ax.xaxis.get_major_locator().set_params(integer=True)
        ax.legend()
    return axes


def plot_confusion_matrix(
    matrix: np.ndarray,
    *,
    emotions: Sequence[str] = EMOTIONS,
    normalize: bool = False,
    title: str = "",
    ax: Axes | None = None,
) -> Axes:
    """Heatmap of counts [shape=(n_classes, n_classes)] of `emotions`: true ones in rows, predicted ones in columns.

    With `normalize`, each row is divided by its sum. Emotions without a clip that nothing was taken for are left out.
    """
    ax = ax or plt.subplots(figsize=(5.4, 4.6), layout="constrained")[1]
    matrix = np.asarray(matrix)
    shown = np.flatnonzero(matrix.sum(axis=0) + matrix.sum(axis=1)) if matrix.any() else np.arange(len(matrix))
    names = [shown_as(emotions[label]) for label in shown.tolist()]
    values = matrix[np.ix_(shown, shown)]
    if normalize:
        values = values / np.maximum(values.sum(axis=1, keepdims=True), 1)
    label = "fraction of the true emotion's clips" if normalize else "clips"
    _plot_cells(values, names, ax, form=".2f" if normalize else "d", highest=1 if normalize else None, label=label)
    ax.set(xlabel="predicted emotion", ylabel="true emotion", title=title)
    ax.tick_params(axis="x", rotation=45)
    return ax


def _plot_cells(
    values: np.ndarray, names: list[str], ax: Axes, *, form: str, highest: float | None, label: str
) -> None:
    """What seaborn's heatmap shows; that draws the whole figure to find names that overlap, which takes its time."""
    mesh = ax.pcolormesh(values, cmap="Blues", vmin=0, vmax=highest)
    ticks = np.arange(len(names)) + 0.5
    ax.set(aspect="equal", xticks=ticks, yticks=ticks, xticklabels=names, yticklabels=names)
    ax.invert_yaxis()
    sns.despine(ax=ax, left=True, bottom=True)
    whole = None if highest else MaxNLocator(integer=True)
    ax.figure.colorbar(mesh, ax=ax, label=label, ticks=whole).outline.set_linewidth(0)
    colours = mesh.to_rgba(values)[..., :3]
    linear = np.where(colours <= 0.03928, colours / 12.92, ((colours + 0.055) / 1.055) ** 2.4)
    luminances = linear @ (0.2126, 0.7152, 0.0722)
    for (row, column), value in np.ndenumerate(values):
        colour = ".15" if luminances[row, column] > 0.408 else "w"
        ax.text(column + 0.5, row + 0.5, format(value, form), color=colour, ha="center", va="center")


def plot_accuracy_per_class(per_class: Mapping[str, float], *, ax: Axes | None = None) -> Axes:
    """Fraction of each emotion's clips that were recognised (its recall)."""
    ax = plot_fractions({shown_as(emotion): recall for emotion, recall in per_class.items()}, ax)
    ax.set(ylabel="emotion", xlabel="recall")
    return ax


def plot_headlines(results: Mapping[str, Mapping], *, ax: Axes | None = None) -> Axes:
    """UAR and accuracy of each model with their intervals; a value of `results` has uar, accuracy and intervals."""
    ax = ax or plt.subplots(figsize=(7, 0.8 + 0.5 * len(results)), layout="constrained")[1]
    rows = np.arange(len(results))
    for offset, metric, label in ((-0.12, "uar", "UAR"), (0.12, "accuracy", "accuracy")):
        values = np.array([one[metric] for one in results.values()])
        low, high = np.array([one["intervals"][metric] for one in results.values()]).T
        errors = np.maximum([values - low, high - values], 0)
        ax.errorbar(values, rows + offset, xerr=errors, fmt="o", capsize=3, label=label)
    ax.set(xlabel="fraction, with 95 % interval", xlim=(-0.02, 1.02), yticks=rows, yticklabels=list(results))
    ax.set_ylim(len(results) - 0.5, -0.5)
    ax.legend(title=None, ncols=2, loc="lower center", bbox_to_anchor=(0.5, 1), frameon=False)
    return ax


def plot_reliability(bins: Mapping[str, np.ndarray], *, title: str = "", ax: Axes | None = None) -> Axes:
    """Accuracy over mean confidence of bins (`metrics.calibration_bins`); areas show how many clips a bin has."""
    ax = ax or plt.subplots(figsize=(4.4, 4), layout="constrained")[1]
    filled = bins["clips"] > 0
    clips, confidence, accuracy = (bins[name][filled] for name in ("clips", "confidence", "accuracy"))
    ax.plot([0, 1], [0, 1], color="grey", linestyle="--", linewidth=1, label="as sure as right")
    ax.scatter(confidence, accuracy, s=20 + 280 * clips / clips.sum(), alpha=0.7, label="clips of one bin")
    ax.set(xlabel="confidence (probability)", ylabel="accuracy", xlim=(0, 1.05), ylim=(-0.05, 1.05), title=title)
    ax.legend(ncols=2, loc="upper center", bbox_to_anchor=(0.5, -0.15), frameon=False)
    return ax


def plot_coverage(coverage: Mapping[str, Mapping[str, list[float]]], *, ax: Axes | None = None) -> Axes:
    """Accuracy over the fraction of clips that are answered (`metrics.coverage`), a curve for each set."""
    ax = ax or plt.subplots(figsize=(5.2, 3.6), layout="constrained")[1]
    for name, curve in coverage.items():
        (line,) = ax.plot(curve["answered"], curve["accuracy"], marker=".", label=name)
        if UNSURE_BELOW in curve["threshold"]:
            place = curve["threshold"].index(UNSURE_BELOW)
            ax.plot(curve["answered"][place], curve["accuracy"][place], "o", color=line.get_color(), markersize=10)
    ax.set(xlabel="fraction of clips answered", ylabel="accuracy of the answers", xlim=(0, 1.05), ylim=(0, 1.05))
    if any(UNSURE_BELOW in curve["threshold"] for curve in coverage.values()):
        ax.set_title(f"large dots: confidence of {UNSURE_BELOW:g} or more", fontsize="medium")
    ax.legend(loc="lower left", frameon=False)
    return ax


def plot_robustness(uars: Mapping[str, float], *, chance: float, ax: Axes | None = None) -> Axes:
    """UAR under each condition, beside that of a guess."""
    ax = plot_fractions(uars, ax)
    ax.axvline(chance, color="grey", linestyle="--", linewidth=1, label="guessing")
    ax.set(xlabel="UAR", ylabel="condition")
    ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1), frameon=False)
    return ax
