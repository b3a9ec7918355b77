"""Every picture. Functions take an Axes, or a Figure for several, and return Axes; pyplot makes what is not given."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import librosa.display
import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ser_lib.audio.features import band_edges
from ser_lib.audio.settings import AudioSettings
from ser_lib.core.io import whole_file
from ser_lib.core.labels import EMOTIONS, in_order, shown_as
from ser_lib.model.explain import Occlusion

_SMALLEST_STD = 1e-12
"""Standard deviation that a number's is taken for if it is smaller."""
_MOST_IN_LEGEND = 12
"""Colours that a legend names."""
_HZ_TICKS = np.array([0, 250, 500, 1000, 2000, 4000, 8000, 16000])
"""Frequencies that an axis of mel bands names."""
Scale = tuple[np.ndarray, np.ndarray]  # mean and standard deviation of each feature


def plot_waveform(signal: np.ndarray, sampling_rate: int, *, title: str = "", ax: Axes | None = None) -> Axes:
    """Amplitude of `signal` [shape=(n_samples,)] over time."""
    ax = ax or plt.subplots(figsize=(10, 1.8))[1]
    ax.plot(np.arange(len(signal)) / sampling_rate, signal, linewidth=0.5)
    ax.set(xlabel="time (s)", ylabel="amplitude", title=title, xlim=(0, len(signal) / sampling_rate))
    return ax


def plot_trimming(
    signal: np.ndarray, sampling_rate: int, bounds: tuple[int, int], *, title: str = "", ax: Axes | None = None
) -> Axes:
    """Amplitude of `signal` over time, and grey what trimming cuts off: all but the samples between `bounds`."""
    ax = plot_waveform(signal, sampling_rate, title=title, ax=ax)
    first, last = (bound / sampling_rate for bound in bounds)
    for start, end in ((0, first), (last, len(signal) / sampling_rate)):
        ax.axvspan(start, end, color="grey", alpha=0.35, linewidth=0)
    return ax


def plot_spectrogram(signal: np.ndarray, settings: AudioSettings, *, title: str = "", ax: Axes | None = None) -> Axes:
    """Power spectrogram of `signal` in dB below its loudest point."""
    ax = ax or plt.subplots(figsize=(10, 2.6))[1]
    spectrum = librosa.stft(signal, n_fft=settings.frame_length, hop_length=settings.hop_length)
    level = librosa.amplitude_to_db(np.abs(spectrum), ref=np.max)
    image = librosa.display.specshow(
        level, sr=settings.sampling_rate, hop_length=settings.hop_length, x_axis="time", y_axis="hz", ax=ax
    )
    ax.set(xlabel="time (s)", ylabel="frequency (Hz)", title=title)
    ax.figure.colorbar(image, ax=ax, label="level (dB)")
    return ax


def plot_mfcc(
    features: np.ndarray, settings: AudioSettings, *, scale: Scale | None = None, ax: Axes | None = None
) -> Axes:
    """Coefficients of every frame, standardised one by one, since the first is far larger than the others.

    `features` [shape=(n_frames, 2 + n_mfcc)]; by `scale`, or by the clip's own mean and deviation without its padding.
    """
    ax = ax or plt.subplots(figsize=(10, 2.6))[1]
    sound = _without_padding(features)
    mean, std = scale or (sound.mean(axis=0), sound.std(axis=0))
    scores = ((features - mean) / np.maximum(std, _SMALLEST_STD))[:, 2:].T
    image = librosa.display.specshow(
        scores, sr=settings.sampling_rate, hop_length=settings.hop_length, x_axis="time", cmap="coolwarm",
        vmin=-3, vmax=3, ax=ax,
    )  # fmt: skip
    ticks = np.arange(0, settings.n_mfcc, max(1, settings.n_mfcc // 6))
    ax.set(xlabel="time (s)", ylabel="MFCC number", yticks=ticks, yticklabels=ticks + 1)
    ax.figure.colorbar(image, ax=ax, label="standard deviations")
    return ax


def _without_padding(features: np.ndarray) -> np.ndarray:
    """Frames before the silence that ends a clip, whose frames are all alike."""
    n_alike = np.logical_and.accumulate((features == features[-1]).all(axis=1)[::-1]).sum()
    return features[: len(features) - n_alike] if 1 < n_alike < len(features) else features


def plot_rms_and_zcr(features: np.ndarray, settings: AudioSettings, *, ax: Axes | None = None) -> Axes:
    """RMS and zero-crossing rate of every frame; `features` [shape=(n_frames, 2 + n_mfcc)]."""
    ax = ax or plt.subplots(figsize=(10, 2))[1]
    times = np.arange(len(features)) * settings.hop_length / settings.sampling_rate
    ax.plot(times, features[:, 0], label="RMS (fraction of full scale)")
    ax.plot(times, features[:, 1], label="zero-crossing rate (per sample)")
    ax.set(xlabel="time (s)", ylabel="value", xlim=(0, times[-1]))
    ax.legend(loc="upper right")
    return ax


def plot_log_mel(features: np.ndarray, settings: AudioSettings, *, ax: Axes | None = None) -> Axes:
    """Log-mel spectrogram; `features` [shape=(n_frames, n_mels)], in dB above a mean unless normalised per speaker."""
    ax = ax or plt.subplots(figsize=(10, 2.6))[1]
    extent = (0, len(features) * settings.hop_length / settings.sampling_rate, 0.5, settings.n_mels + 0.5)
    image = ax.imshow(features.T, origin="lower", aspect="auto", extent=extent, cmap="magma", interpolation="nearest")
    unit = f"level above the {'band' if settings.cmn else 'clip'}'s mean (dB)"
    unit = "standard deviations" if settings.normalize_per_speaker else unit
    centres = band_edges(settings)[1:-1]
    ticks = _HZ_TICKS[(centres[0] <= _HZ_TICKS) & (centres[-1] >= _HZ_TICKS)]
    ax.set_yticks(np.interp(ticks, centres, np.arange(1, len(centres) + 1)), [f"{tick:,}" for tick in ticks])
    ax.set(xlabel="time (s)", ylabel="frequency (Hz)")
    ax.figure.colorbar(image, ax=ax, label=unit)
    return ax


def plot_embedding(embedding: np.ndarray, encoder: str, *, ax: Axes | None = None) -> Axes:
    """Numbers of a clip's embedding [shape=(n_features,)], each layer's in a line.

    Of each line's numbers it shows how far they are from their mean, in standard deviations.
    """
    from ser_lib.audio.encoders import layers_of  # sound libraries, which most pictures do not need

    ax = ax or plt.subplots(figsize=(10, 4))[1]
    layers = layers_of(encoder)
    lines = np.array([embedding[columns] for columns in layers.values()])
    scores = (lines - lines.mean(axis=1, keepdims=True)) / np.maximum(lines.std(axis=1, keepdims=True), _SMALLEST_STD)
    image = ax.imshow(scores, aspect="auto", cmap="coolwarm", vmin=-3, vmax=3, interpolation="nearest")
    ax.set(xlabel="number in the layer", yticks=range(len(layers)), yticklabels=list(layers))
    ax.tick_params(axis="y", labelsize="small")
    ax.figure.colorbar(image, ax=ax, label="standard deviations")
    return ax


def plot_embeddings(X: np.ndarray, clips: pd.DataFrame, *, axes: np.ndarray | None = None) -> np.ndarray:
    """Two principal components of embeddings [shape=(n_clips, n_features)], by emotion and speaker; Axes [shape=(2,)].

    Each number is standardised before. `clips` has emotion and speaker; an empty speaker is unknown.
    """
    from sklearn.decomposition import PCA

    axes = plt.subplots(1, 2, figsize=(11, 4.4), layout="constrained")[1] if axes is None else axes
    scores = (X - X.mean(axis=0)) / np.maximum(X.std(axis=0), _SMALLEST_STD)
    first, second = PCA(2, svd_solver="randomized", random_state=0).fit_transform(scores.astype(np.float64)).T
    speakers = clips["speaker"].replace({"": "unknown"})
    groups = {"emotion": clips["emotion"].map(shown_as), "speaker": speakers}
    orders = {"emotion": [shown_as(one) for one in in_order(clips["emotion"])], "speaker": sorted(set(speakers))}
    for ax, (what, values) in zip(axes, groups.items(), strict=True):
        many = len(orders[what]) > _MOST_IN_LEGEND
        sns.scatterplot(
            x=first, y=second, hue=values.to_numpy(), hue_order=orders[what], s=14, linewidth=0,
            palette="husl" if many else None, legend=not many, ax=ax,
        )  # fmt: skip
        title = f"{len(orders[what])} {what}s" if many else f"by {what}"
        ax.set(xlabel="first principal component", ylabel="second principal component", title=title)
    return axes


def plot_features(
    features: np.ndarray, settings: AudioSettings, *, scale: Scale | None = None, figure: Figure | None = None
) -> np.ndarray:
    """All features of a clip [shape=(n_frames, n_features)], on two Axes for MFCC and one for others."""
    if settings.encoder is not None:
        return np.array([plot_embedding(features[0], settings.encoder, ax=figure.subplots() if figure else None)])
    if settings.features == "logmel":
        return np.array([plot_log_mel(features, settings, ax=figure.subplots() if figure else None)])
    axes = (figure or plt.figure(figsize=(10, 4.6), layout="constrained")).subplots(2)
    plot_rms_and_zcr(features, settings, ax=axes[0])
    plot_mfcc(features, settings, scale=scale, ax=axes[1])
    return axes


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
    ax.figure.colorbar(mesh, ax=ax, label=label).outline.set_linewidth(0)
    colours = mesh.to_rgba(values)[..., :3]
    linear = np.where(colours <= 0.03928, colours / 12.92, ((colours + 0.055) / 1.055) ** 2.4)
    luminances = linear @ (0.2126, 0.7152, 0.0722)
    for (row, column), value in np.ndenumerate(values):
        colour = ".15" if luminances[row, column] > 0.408 else "w"
        ax.text(column + 0.5, row + 0.5, format(value, form), color=colour, ha="center", va="center")


def plot_accuracy_per_class(per_class: Mapping[str, float], *, ax: Axes | None = None) -> Axes:
    """Fraction of each emotion's clips that were recognised (its recall)."""
    ax = _plot_fractions({shown_as(emotion): recall for emotion, recall in per_class.items()}, ax)
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


def plot_coverage(
    coverage: Mapping[str, Mapping[str, list[float]]], *, unsure_below: float = 0.5, ax: Axes | None = None
) -> Axes:
    """Accuracy over the fraction of clips that are answered (`metrics.coverage`), a curve for each set."""
    ax = ax or plt.subplots(figsize=(5.2, 3.6), layout="constrained")[1]
    for name, curve in coverage.items():
        (line,) = ax.plot(curve["answered"], curve["accuracy"], marker=".", label=name)
        if unsure_below in curve["threshold"]:
            place = curve["threshold"].index(unsure_below)
            ax.plot(curve["answered"][place], curve["accuracy"][place], "o", color=line.get_color(), markersize=10)
    ax.set(xlabel="fraction of clips answered", ylabel="accuracy of the answers", xlim=(0, 1.05), ylim=(0, 1.05))
    ax.set_title(f"large dots: confidence of {unsure_below:g} or more", fontsize="medium")
    ax.legend(loc="lower left", frameon=False)
    return ax


def plot_robustness(uars: Mapping[str, float], *, chance: float, ax: Axes | None = None) -> Axes:
    """UAR under each condition, beside that of a guess."""
    ax = _plot_fractions(uars, ax)
    ax.axvline(chance, color="grey", linestyle="--", linewidth=1, label="guessing")
    ax.set(xlabel="UAR", ylabel="condition")
    ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1), frameon=False)
    return ax


def plot_probabilities(probabilities: Mapping[str, float], *, title: str = "", ax: Axes | None = None) -> Axes:
    """Probability of each emotion for one file."""
    ax = _plot_fractions(probabilities, ax)
    ax.set(ylabel="emotion", xlabel="probability", title=title)
    return ax


def plot_occlusion(
    signal: np.ndarray, occlusion: Occlusion, settings: AudioSettings, *, title: str = "", figure: Figure | None = None
) -> np.ndarray:
    """Spectrogram of `signal`, and below it what the answer rests on, in time and by features; Axes [shape=(3,)]."""
    figure = figure or plt.figure(figsize=(10, 6.4), layout="constrained")
    axes = figure.subplots(3, height_ratios=(2.2, 1.4, 2.4))
    plot_spectrogram(signal, settings, title=title, ax=axes[0])
    starts, ends = np.array(occlusion.spans).T
    axes[1].bar(starts, occlusion.by_time, width=ends - starts, align="edge", edgecolor="white")
    axes[1].set(xlabel="time hidden (s)", ylabel="evidence (nats)", xlim=axes[0].get_xlim())
    axes[2].barh(occlusion.groups, occlusion.by_group)
    axes[2].set(xlabel="evidence (nats)", ylabel="feature hidden")
    if not occlusion.groups[0].endswith("Hz"):  # low frequencies are below, as in the spectrogram
        axes[2].invert_yaxis()
    for ax, draw in ((axes[1], axes[1].axhline), (axes[2], axes[2].axvline)):
        draw(0, color="black", linewidth=0.8)
        ax.tick_params(labelsize="small")
    return axes


def plot_timeline(
    timeline: pd.DataFrame,
    envelope: tuple[np.ndarray, np.ndarray],
    *,
    title: str = "",
    figure: Figure | None = None,
) -> np.ndarray:
    """Probabilities of `timeline.predict_timeline` over time, below the recording's waveform; Axes [shape=(2,)].

    Parameters
    ----------
    timeline : pd.DataFrame
    envelope : tuple
        Times (s) and largest amplitudes around them, both [shape=(n,)]; `timeline.read_envelope` gives it.
    """
    figure = figure or plt.figure(figsize=(10, 4.6), layout="constrained")
    axes = figure.subplots(2, sharex=True, height_ratios=(1, 1.8))
    times, peaks = envelope
    axes[0].fill_between(times, -peaks, peaks, linewidth=0)
    axes[0].set(ylabel="amplitude", title=title)
    names = [name for name in timeline if name.startswith("p_")]
    middles = (timeline["start"] + timeline["end"]) / 2
    edges = np.concatenate([timeline["start"][:1], (middles[1:].to_numpy() + middles[:-1].to_numpy()) / 2])
    edges = np.append(edges, timeline["end"].iloc[-1])
    colours = mpl.colormaps["viridis"].with_extremes(bad="lightgrey")
    image = axes[1].pcolormesh(edges, np.arange(len(names) + 1), timeline[names].T, cmap=colours, vmin=0, vmax=1)
    axes[1].set(xlabel="time (s); grey is silence", ylabel="emotion", xlim=(0, timeline["end"].iloc[-1]))
    axes[1].set_yticks(np.arange(len(names)) + 0.5, [name.removeprefix("p_") for name in names])
    axes[1].invert_yaxis()
    axes[1].figure.colorbar(image, ax=axes[1], label="probability")
    return axes


def _plot_fractions(fractions: Mapping[str, float], ax: Axes | None) -> Axes:
    ax = ax or plt.subplots(figsize=(7, 2.8), layout="constrained")[1]
    bars = ax.barh(list(fractions), list(fractions.values()))
    ax.bar_label(bars, labels=[f"{fraction:.1%}" for fraction in fractions.values()], padding=3)
    ax.set_xlim(0, 1.12)
    ax.set_xticks(np.linspace(0, 1, 6))
    ax.invert_yaxis()
    return ax


def save_figure(ax: Axes, path: Path) -> None:
    """Write the figure that `ax` belongs to as PNG, whole or not at all."""
    with whole_file(path) as partial:
        figure_of(ax).savefig(partial, format="png", dpi=100)


def figure_of(ax: Axes) -> Figure:
    """The whole figure that `ax` belongs to."""
    figure = ax.get_figure(root=True)
    assert figure is not None  # it would have to be removed from it
    return figure
