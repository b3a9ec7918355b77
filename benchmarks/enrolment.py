"""What enrolling a voice changes, across TESS's two speakers: 5 to 50 clips without labels, ten draws each.

    python benchmarks/enrolment.py --corpus data/TESS

The models have learnt from one actress and are tested on the other. A quarter of her clips is the test set; the clips
that enrol her are drawn from the others. Prints the table of docs/prediction.md. The first four runs are light in a
clone: `ser reproduce RUN` trains their models again.
"""

import argparse
import csv
import io
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from ser_lib import load_bundle
from ser_lib.audio.signal import load_audio
from ser_lib.corpora import tess
from ser_lib.model.bundle import Bundle
from ser_lib.model.enrolment import gather_clips, hear_clip, measure_voice, predicted
from ser_lib.records.packing import read_packed
from ser_lib.scoring import metrics
from ser_lib.store import SPLIT_FILE

RUNS = {
    "plain, OAF → YAF": "tess_oaf_yaf_s0",
    "plain, YAF → OAF": "tess_yaf_oaf_s0",
    "robust, OAF → YAF": "tess_robust_oaf_yaf_s0",
    "robust, YAF → OAF": "tess_robust_yaf_oaf_s0",
    "plain, both heard": "tess_random_s0",
    "robust, both heard": "tess_robust_random_s0",
}
CLIPS = (5, 10, 20, 50)
DRAWS = 10


class Voice:
    """Clips of one speaker, a quarter of which are the test set."""

    def __init__(self, bundle: Bundle, files: list[Path]) -> None:
        self.bundle = bundle
        labels = [bundle.info.emotions.index(tess.EMOTIONS[file.stem.rpartition("_")[2]]) for file in files]
        self.clips = gather_clips((hear_clip(*load_audio(file), bundle) for file in files), labels)
        rows = np.random.default_rng(0).permutation(len(files))
        self.tested, self.others = rows[: len(rows) // 4], rows[len(rows) // 4 :]

    def uar(self, rows: np.ndarray | None) -> float:
        """UAR of the test clips when the clips `rows` have enrolled the speaker; None: nobody is enrolled."""
        voice = None if rows is None else measure_voice(self.clips[rows], self.bundle)
        tested = self.clips[self.tested]
        return metrics.uar(tested.labels, predicted(tested, replace(self.bundle, voice=voice)))

    def drawn(self, n_clips: int, label: int | None = None) -> Iterator[float]:
        """UAR of each draw of `n_clips` clips, of all emotions or of one."""
        pool = self.others if label is None else self.others[self.clips.labels[self.others] == label]
        for seed in range(DRAWS):
            yield self.uar(np.random.default_rng(seed).choice(pool, min(n_clips, len(pool)), replace=False))


def clips_of(corpus: Path, run: str) -> dict[str, list[Path]]:
    """Files of a run's test clips, by speaker."""
    files = {file.stem: file for file in corpus.rglob("*.wav")}
    found: dict[str, list[Path]] = {}
    table = read_packed(Path("reports") / run, SPLIT_FILE)
    for row in csv.DictReader(io.StringIO(table.decode(), newline="")):
        clip = row["clip"].rpartition("/")[2]
        if row["set"] == "test" and clip in files:  # one file of TESS is not called as its clip
            found.setdefault(row["speaker"], []).append(files[clip])
    return found


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--corpus", type=Path, default=Path("data/TESS"))
    parser.add_argument("--only", help="one of the rows")
    arguments = parser.parse_args()
    heads = ["model", "nobody", *(f"{n} clips" for n in CLIPS), "20 of one emotion"]
    print(f"| {' | '.join(heads)} |\n| --- |{' ---: |' * (len(heads) - 1)}")
    for name, run in RUNS.items():
        if arguments.only not in (None, name):
            continue
        bundle = load_bundle(Path("reports") / run)
        voices = [Voice(bundle, files) for files in clips_of(arguments.corpus, run).values()]
        cells = [f"{np.mean([voice.uar(None) for voice in voices]):.2f}"]
        for n_clips in CLIPS:
            uars = np.array([list(voice.drawn(n_clips)) for voice in voices]).mean(axis=0)
            cells.append(f"{uars.mean():.2f} ± {uars.std(ddof=1):.2f}")
        # where every clip of an enrolment has the same emotion, that emotion becomes what is usual
        worst = [np.mean([list(voice.drawn(20, label)) for label in np.unique(voice.clips.labels)]) for voice in voices]
        print(f"| {' | '.join([name, *cells, f'{np.mean(worst):.2f}'])} |", flush=True)


if __name__ == "__main__":
    main()
