"""Which recordings a model names as unlike its training clips, and how often it is unsure.

    python benchmarks/novelty.py --data data

`data` holds the six corpora of params/voices.yaml; the encoder of that model is on the machine. Prints the tables of
docs/prediction.md. Runs are those whose models a clone holds; others, which `ser reproduce` trains again, are named
behind. `noise` and `music` also serve tests/test_novelty.py.
"""

import argparse
import functools
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from ser_lib import load_bundle
from ser_lib.audio.degrade import degrade
from ser_lib.audio.signal import load_audio
from ser_lib.corpora.clips import find_corpora
from ser_lib.model.bundle import Bundle
from ser_lib.records.record import find_record

RUNS = ("voices_random_s0", "voices_functionals_random_s0", "tess_random_s0", "tess_robust_random_s0")
N_CLIPS = 200
RATE = 24414
Signals = list[tuple[np.ndarray, int]]


def noise(number: int) -> tuple[np.ndarray, int]:
    """White noise, as long as a phrase, and its sampling rate (Hz)."""
    rng = np.random.default_rng(number)
    return (0.1 * rng.standard_normal(round(rng.uniform(1.3, 2.8) * RATE))).astype(np.float32), RATE


def music(number: int) -> tuple[np.ndarray, int]:
    """In turn a held chord, a scale of plucked notes and a note with vibrato, as long as a phrase; and its rate."""
    rng = np.random.default_rng(number)
    t = np.arange(round(rng.uniform(1.3, 2.8) * RATE)) / RATE
    f = rng.uniform(150, 600)
    if number % 3 == 0:
        signal = sum(np.sin(2 * np.pi * f * ratio * h * t) / h for ratio in (1, 1.25, 1.5) for h in range(1, 6))
    elif number % 3 == 1:
        note, since = np.divmod(t, 0.3)
        pitch = f * 2 ** (note / 12)
        signal = np.exp(-4 * since) * sum(np.sin(2 * np.pi * pitch * h * since) / h for h in range(1, 9))
    else:
        signal = sum(np.sin(2 * np.pi * f * h * t + 2 * h * np.sin(2 * np.pi * 5.5 * t)) / h for h in range(1, 9))
    return (0.5 * signal / np.abs(signal).max()).astype(np.float32), RATE


def clips_of(data: Path, run: str) -> dict[str, Path]:
    """Test clips of a run, drawn at random, and their files."""
    params, tested = find_record(run).params, list(tested_emotions(run))
    files = _files(data, tuple(params["CORPORA"]), frozenset(params["LABEL_MAP"].items()))
    chosen = [tested[place] for place in np.random.default_rng(0).permutation(len(tested))[:N_CLIPS]]
    return {clip: files[clip] for clip in chosen}


def tested_emotions(run: str) -> dict[str, str]:
    """Test clips of a run, and the emotion of each."""
    predictions = find_record(run).predictions
    return dict(zip(predictions["clip"], predictions["true"], strict=True))


@functools.cache
def _files(data: Path, corpora: tuple[str, ...], label_map: frozenset[tuple[str, str | None]]) -> dict[str, Path]:
    """Clips of corpora and their files, all of which are read; models that learnt from the same ones share them."""
    clips, _ = find_corpora({name: data / name for name in corpora}, dict(label_map))
    root = data if len(corpora) > 1 else data / corpora[0]  # with several, a file's name begins with its folder
    return {clip.clip: root / clip.file for clip in clips}


def conditions(known: Signals, strange: Signals) -> dict[str, Signals]:
    """Everything that a model is given, by name; `strange` may be empty."""
    degraded = {
        name: [degrade(*one, condition=name, sha256=f"{number:x}") for number, one in enumerate(known[:100])]
        for name in ("telephone", "mp3 32 kbit/s", "noise 20 dB", "noise 0 dB")
    }
    made = {"white noise": [noise(n) for n in range(100)], "music-like tones": [music(n) for n in range(99)]}
    return {"test clips": known} | degraded | made | ({"another corpus": strange} if strange else {})


def share_unlike(bundle: Bundle, signals: Iterable[tuple[np.ndarray, int]]) -> float:
    """Share of signals that the model names as unlike its training clips."""
    return float(np.mean([bool(bundle.predict(signal, rate).novelty) for signal, rate in signals]))


def unsure(bundle: Bundle, run: str, known: Signals, clips: list[str]) -> list[str]:
    """Share of test clips that are unsure, and the share of right answers among the others and among these."""
    true = tested_emotions(run)
    shown = dict(zip(bundle.info.emotions, bundle.predict(*known[0]).probabilities, strict=True))
    answers = [bundle.predict(*one) for one in known]
    right = np.array([one.emotion == shown.get(true[clip]) for one, clip in zip(answers, clips, strict=True)])
    doubted = np.array([one.unsure for one in answers])
    shares = [right[rows].mean() if rows.any() else None for rows in (~doubted, doubted)]
    return [f"{doubted.mean():.2f}", *("" if share is None else f"{share:.2f}" for share in shares)]


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("data"))
    parser.add_argument("runs", nargs="*", default=RUNS)
    options = parser.parse_args()
    data, runs = options.data, options.runs
    columns, rows = {}, []
    for run in runs:
        bundle, files = load_bundle(Path("reports") / run), clips_of(data, run)
        known = [load_audio(file) for file in files.values()]
        others = [name for name in ("EMODB", "TESS") if name not in bundle.info.corpora]
        strange = [load_audio(file) for name in others for file in sorted((data / name).rglob("*.wav"))[::13][:100]]
        columns[run] = {name: share_unlike(bundle, them) for name, them in conditions(known, strange).items()}
        rows.append(f"| {' | '.join([run, *unsure(bundle, run, known, list(files))])} |")
    print(f"| named as unlike | {' | '.join(runs)} |\n| --- |{' ---: |' * len(runs)}")
    for name in columns[runs[-1]]:
        cells = [f"{column[name]:.2f}" if name in column else "" for column in columns.values()]
        print(f"| {name} | {' | '.join(cells)} |")
    print("\n| run | unsure | right of the sure | right of the unsure |\n| --- | ---: | ---: | ---: |")
    print(*rows, sep="\n")


if __name__ == "__main__":
    main()
