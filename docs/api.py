"""Build the API pages: `make docs`."""

import sys
import warnings
from pathlib import Path

import pdoc

import ser_lib

MODULES = (
    *("ser_lib", "ser_lib.params", "ser_lib.plots", "ser_lib.store"),
    *(f"ser_lib.{stage}" for stage in ("preprocess", "split", "train", "evaluate", "predict")),
    *(f"ser_lib.audio.{name}" for name in ("features", "settings", "signal")),
    *(f"ser_lib.model.{name}" for name in ("bundle", "network", "prediction")),
    *(f"ser_lib.scoring.{name}" for name in ("baselines", "leakage", "metrics")),
    *("ser_lib.corpora", "ser_lib.stream.timeline"),
)


def main(folder: Path) -> None:
    """Write a page for each of `MODULES`."""
    for name in ser_lib.__all__:
        getattr(ser_lib, name)  # it is there from now on, where pdoc looks
    warnings.filterwarnings("ignore", "Cannot determine where")  # the parameters that AudioSettings declares
    pdoc.render.configure(docformat="numpy", show_source=False)
    pdoc.pdoc(*MODULES, output_directory=folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
