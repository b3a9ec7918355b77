"""What a model says of one recording, and what that rests on."""

from collections.abc import Mapping

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ser_lib.audio.settings import AudioSettings
from ser_lib.model.explain import Occlusion
from ser_lib.plots.clips import plot_spectrogram
from ser_lib.plots.figures import plot_fractions

_FEW_BARS = 60
"""Bars that have a white line around them."""


def plot_probabilities(probabilities: Mapping[str, float], *, title: str = "", ax: Axes | None = None) -> Axes:
    """Probability of each emotion for one file."""
    ax = plot_fractions(probabilities, ax)
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
    line = 1 if len(starts) <= _FEW_BARS else 0  # around many, it would cover them
    axes[1].bar(starts, occlusion.by_time, width=ends - starts, align="edge", edgecolor="white", linewidth=line)
    axes[1].set(xlabel="time hidden (s)", ylabel="evidence (nats)", xlim=axes[0].get_xlim())
    axes[1].sharex(axes[0])
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
