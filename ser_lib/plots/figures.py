"""What pictures have in common: bars of fractions, and files."""

from collections.abc import Mapping
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ser_lib.core.io import whole_file


def save_figure(ax: Axes, path: Path) -> None:
    """Write the figure that `ax` belongs to as PNG, whole or not at all."""
    with whole_file(path) as partial:
        figure_of(ax).savefig(partial, format="png", dpi=100)


def figure_of(ax: Axes) -> Figure:
    """The whole figure that `ax` belongs to."""
    figure = ax.get_figure(root=True)
    assert figure is not None  # it would have to be removed from it
    return figure


def plot_fractions(fractions: Mapping[str, float], ax: Axes | None) -> Axes:
    """A bar for each fraction, with its value."""
    ax = ax or plt.subplots(figsize=(7, 2.8), layout="constrained")[1]
    bars = ax.barh(list(fractions), list(fractions.values()))
    ax.bar_label(bars, labels=[f"{fraction:.1%}" for fraction in fractions.values()], padding=3)
    ax.set_xlim(0, 1.12)
    ax.set_xticks(np.linspace(0, 1, 6))
    ax.invert_yaxis()
    return ax
