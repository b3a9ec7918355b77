"""How right two models are together about voices that neither knows: late fusion, by the weight of the second.

    python benchmarks/fusion.py voices_functionals voices_cnn
    python benchmarks/fusion.py whisper tess_robust --tests oaf_yaf_s0 oaf_yaf_s1

Reads what the runs NAME_TEST, such as `voices_cnn_to-tess_s0`, said of each test clip. The logarithms of each model's
probabilities, less their mean over the emotions, are divided by their deviation over all clips and averaged. Prints
tables of docs/transfer.md.
"""

import argparse
import io

import numpy as np
import pandas as pd

from ser_lib.core.io import read_csv
from ser_lib.records.packing import read_packed
from ser_lib.records.record import find_record
from ser_lib.store import PREDICTIONS_FILE

TESTS = ("to-tess_s0", "to-ravdess_s0", "to-emodb_s0", "to-savee_s0")
WEIGHTS = (0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.7, 1)


def answers(run: str) -> pd.DataFrame:
    """What a run said of its test clips: `true`, and a logit of each emotion, by clip."""
    table = read_csv(io.BytesIO(read_packed(find_record(run).folder, PREDICTIONS_FILE) or b"")).set_index("clip")
    logits = np.log(table.filter(regex="^p_").astype(float) + 1e-9)
    logits = logits.sub(logits.mean(axis=1), axis=0)
    return (logits / logits.to_numpy().std()).rename(columns=lambda name: name.removeprefix("p_")).join(table["true"])


def uar(first: pd.DataFrame, second: pd.DataFrame, weight: float) -> float:
    """UAR of the mean of two models' logits, in which the second has so much weight."""
    emotions = first.columns.drop("true")
    together = (1 - weight) * first[emotions] + weight * second.loc[first.index, emotions]
    right = together.idxmax(axis=1) == first["true"]
    return float(right.groupby(first["true"]).mean().mean())


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs=2, metavar="NAME", help="what the runs' names begin with")
    parser.add_argument("--tests", nargs="+", default=TESTS, metavar="TEST", help="what they end with")
    options = parser.parse_args()
    first, second = options.models
    pairs = [[answers(f"{name}_{test}") for name in (first, second)] for test in options.tests]
    print(f"| share of {second} beside {first} | {' | '.join(options.tests)} | mean |")
    print(f"| --- |{' ---: |' * (len(pairs) + 1)}")
    for weight in WEIGHTS:
        values = [uar(*pair, weight) for pair in pairs]
        print(f"| {weight:g} | {' | '.join(f'{value:.3f}' for value in [*values, np.mean(values)])} |")


if __name__ == "__main__":
    main()
