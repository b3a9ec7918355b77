r"""What clips without labels bring to a voice, of all emotions and of one alone, with each value of `SHRINK_BY`.

    ser protocol params/voices.yaml --seeds 0
    python benchmarks/one_emotion.py voices_to-{tess,ravdess,emodb,savee,ased,turev}_s0

Each voice of a test set that has 20 clips or more is adapted by 5 and by up to 20 of them, twice of any emotions and
once of each emotion alone of which it has six, two of which are left to test. Prints what that adds to its UAR, in the
mean over a run's voices and then over the runs, and how many draws of all take away more than 0.05.
"""

import argparse
from collections.abc import Iterator
from dataclasses import replace
from typing import get_args

import numpy as np
import pandas as pd

from ser_lib._cli.common import load_run
from ser_lib.model.adapt import ShrinkBy
from ser_lib.model.bundle import Bundle
from ser_lib.model.enrolment import UNLABELLED, Clips, adapt_by, predicted
from ser_lib.params import make_params
from ser_lib.records.record import find_record
from ser_lib.scoring import metrics
from ser_lib.store import load_sets

FEWEST_CLIPS = 20
HARM = 0.05


def draw_all(labels: np.ndarray, neutral: int, rng: np.random.Generator) -> Iterator[tuple[str, int, np.ndarray]]:
    """Kind of the clips, number that was asked for, and indices of those that are drawn from a voice's."""
    for n_clips in (5, 20):
        for _ in range(2):
            yield "of any emotions", n_clips, rng.permutation(len(labels))[: min(n_clips, len(labels) // 2)]
        for label in np.unique(labels):
            rows = rng.permutation(np.flatnonzero(labels == label))
            if len(rows) >= 6:
                kind = "neutral" if label == neutral else "of one other emotion"
                yield kind, n_clips, rows[: min(n_clips, len(rows) - 2)]


def shrinking(bundle: Bundle, by: ShrinkBy) -> Bundle:
    """The bundle, were clips without labels trusted by this."""
    population = bundle.info.population.model_copy(update={"shrink_by": by})
    return replace(bundle, info=bundle.info.model_copy(update={"population": population}))


def try_voice(X: np.ndarray, labels: np.ndarray, bundles: dict, rng: np.random.Generator) -> Iterator[dict]:
    """A row for each draw: kind of the clips, their number, and what each bundle gains by them."""
    plain = next(iter(bundles.values()))
    emotions = plain.info.emotions
    for kind, n_clips, drawn in draw_all(labels, emotions.index("neutral") if "neutral" in emotions else -1, rng):
        rest = np.setdiff1d(np.arange(len(labels)), drawn)
        known, tested = (
            Clips(X[rows], np.ones(len(rows), dtype=int), np.full(len(rows), UNLABELLED)) for rows in (drawn, rest)
        )
        before = metrics.uar(labels[rest], predicted(tested, plain))
        after = {
            name: metrics.uar(labels[rest], predicted(tested, adapt_by(known, one)[0])) for name, one in bundles.items()
        }
        yield {"drawn": kind, "number": n_clips} | {name: uar - before for name, uar in after.items()}


def try_run(run: str) -> pd.DataFrame:
    """Rows of `try_voice` of all voices of a run's test set."""
    _, sets = load_sets(make_params(find_record(run).params))
    X, y, clips = sets["test"]
    bundle, rng = load_run(run), np.random.default_rng(0)
    bundles = {by: shrinking(bundle, by) for by in get_args(ShrinkBy)}
    labels, speakers, rows = y.argmax(axis=1), clips["speaker"].to_numpy(dtype=str), []
    for speaker in np.unique(speakers):
        voice = speakers == speaker
        if voice.sum() >= FEWEST_CLIPS:
            rows += try_voice(X[voice], labels[voice], bundles, rng)
    return pd.DataFrame(rows).assign(run=run)


def main() -> None:
    """Print a table for each run, that of all, and how often there is harm."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="+")
    draws = pd.concat([try_run(run) for run in parser.parse_args().runs])
    values = list(get_args(ShrinkBy))
    by_run = draws.groupby(["run", "drawn", "number"])[values].mean()
    print(by_run.round(3).to_string(), by_run.groupby(["drawn", "number"]).mean().round(3).to_string(), sep="\n\n")
    one_or_any = draws["drawn"].where(draws["drawn"] == "of any emotions", "of one emotion")
    harmed = (draws[values] < -HARM).groupby(one_or_any).mean()
    print(f"\nLost more than {HARM}:", harmed.round(2).to_string(), sep="\n")


if __name__ == "__main__":
    main()
