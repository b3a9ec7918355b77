"""Every picture. Functions take an Axes, or a Figure for several, and return Axes; pyplot makes what is not given.

`clips` has what models hear, `results` what came of a corpus, `answers` what a model says of one recording. Each
picture is taken from here, whichever of them has it.
"""

from ser_lib.plots.answers import plot_occlusion, plot_probabilities, plot_timeline
from ser_lib.plots.clips import (
    plot_embedding,
    plot_embeddings,
    plot_features,
    plot_log_mel,
    plot_mfcc,
    plot_rms_and_zcr,
    plot_spectrogram,
    plot_trimming,
    plot_waveform,
)
from ser_lib.plots.figures import figure_of, save_figure
from ser_lib.plots.results import (
    plot_accuracy_per_class,
    plot_confusion_matrix,
    plot_coverage,
    plot_headlines,
    plot_history,
    plot_lengths,
    plot_reliability,
    plot_robustness,
    plot_split,
)

__all__ = [
    "figure_of",
    "plot_accuracy_per_class",
    "plot_confusion_matrix",
    "plot_coverage",
    "plot_embedding",
    "plot_embeddings",
    "plot_features",
    "plot_headlines",
    "plot_history",
    "plot_lengths",
    "plot_log_mel",
    "plot_mfcc",
    "plot_occlusion",
    "plot_probabilities",
    "plot_reliability",
    "plot_rms_and_zcr",
    "plot_robustness",
    "plot_spectrogram",
    "plot_split",
    "plot_timeline",
    "plot_trimming",
    "plot_waveform",
    "save_figure",
]
