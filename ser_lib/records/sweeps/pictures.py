"""Optuna's pictures of a sweep, by its matplotlib backend: plain pictures, which need neither a network nor scripts."""

import warnings

from matplotlib.axes import Axes

from ser_lib.plots import figure_of
from ser_lib.records.sweeps.results import EVALUATOR, SweepRecord
from ser_lib.records.sweeps.storage import load_optuna

_SIZE = (10, 4.5)
"""Inches, wide enough for the names of several parameters side by side."""


def pictures(sweep: SweepRecord) -> list[tuple[str, Axes]]:
    """Heading and axes of each: the history, how much each parameter mattered, the parameters of all trials."""
    optuna, name, drawn = load_optuna(), sweep.shown_objective, []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Optuna calls this backend experimental
        from optuna.visualization import matplotlib as plots

        if sweep.trials:
            drawn.append(("Trial by trial", plots.plot_optimization_history(sweep.study, target_name=name)))
        if sweep.importance:
            evaluator = optuna.importance.FanovaImportanceEvaluator(**EVALUATOR)
            axes = plots.plot_param_importances(sweep.study, evaluator=evaluator, target_name=name)
            drawn.append(("How much each parameter mattered", axes))
        if len(sweep.trials) > 1 and len(sweep.space) > 1:
            axes = plots.plot_parallel_coordinate(sweep.study, target_name=name)
            drawn.append(("The parameters of all trials", axes))
    for _, ax in drawn:
        figure_of(ax).set_size_inches(*_SIZE)
    return drawn
