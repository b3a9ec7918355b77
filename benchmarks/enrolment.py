"""What enrolling a voice changes, across TESS's two speakers: 5 to 50 clips without labels, ten draws each.

    python benchmarks/enrolment.py --corpus data/TESS

The models have learnt from one actress and are tested on the other. A quarter of her clips is the test set; the clips
that enrol her are drawn from the others. Prints the table of docs/prediction.md.
"""

import argparse
import csv
import lzma
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from ser_lib import load_bundle
from ser_lib.audio.normalize import speaker_statistics
from ser_lib.audio.signal import load_audio
from ser_lib.model.bundle import Bundle

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
    """Clips of one speaker: features before anything is taken out of them, and emotions."""

    def __init__(self, bundle: Bundle, files: list[Path]) -> None:
        heard = [bundle.extract_unscaled(*load_audio(file)) for file in files]
        self.bundle = bundle
        self.X = np.array([features for features, _ in heard])
        self.n_sound = np.array([bundle.info.settings.sound_frames(measures.n_trimmed) for _, measures in heard])
        self.emotions = np.array([file.stem.rpartition("_")[2] for file in files])
        rows = np.random.default_rng(0).permutation(len(files))
        self.tested, self.others = rows[: len(rows) // 4], rows[len(rows) // 4 :]

    def uar(self, rows: np.ndarray | None) -> float:
        """UAR of the test clips when the clips `rows` have enrolled the speaker; None: nobody is enrolled."""
        bundle = self.bundle
        if rows is not None:
            same = np.full(len(rows), "voice")
            bundle = replace(bundle, voice=speaker_statistics(self.X[rows], self.n_sound[rows], same)["voice"])
        X = np.array([bundle.to_scale(self.X[row], self.n_sound[row], None) for row in self.tested])
        said = np.array(bundle.info.emotions)[bundle.probabilities(X).argmax(axis=1)]
        true = self.emotions[self.tested]
        return float(np.mean([(said[true == emotion] == emotion).mean() for emotion in sorted(set(true))]))

    def drawn(self, n_clips: int, emotion: str | None = None) -> Iterator[float]:
        """UAR of each draw of `n_clips` clips, of all emotions or of one."""
        pool = self.others if emotion is None else self.others[self.emotions[self.others] == emotion]
        for seed in range(DRAWS):
            yield self.uar(np.random.default_rng(seed).choice(pool, min(n_clips, len(pool)), replace=False))


def clips_of(corpus: Path, run: str) -> dict[str, list[Path]]:
    """Files of a run's test clips, by speaker."""
    files = {file.stem: file for file in corpus.rglob("*.wav")}
    found: dict[str, list[Path]] = {}
    with lzma.open(Path("reports") / run / "split.csv.xz", "rt", encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
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
        worst = [np.mean([list(voice.drawn(20, emotion)) for emotion in bundle.info.emotions]) for voice in voices]
        print(f"| {' | '.join([name, *cells, f'{np.mean(worst):.2f}'])} |", flush=True)


if __name__ == "__main__":
    main()
