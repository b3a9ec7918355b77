r"""What labelled clips of a voice bring to a model that was trained with ADAPT_TO_SPEAKER, on a corpus that is new.

    ser run params/voices.yaml -p 'CORPORA=[RAVDESS,EMODB]' -p TILE=false -p 'AUGMENT=[]' \
        -p AVERAGE_LEFT_OUT=false --name two_corpora
    python benchmarks/teaching.py two_corpora --corpus data/SAVEE

For each speaker of SAVEE, 1 to 5 clips of each emotion are drawn, four times; the others are the test set. Prints UAR
without adaptation, with the statistics of the drawn clips, with their labels too, and with what `ser enrol` chooses.
The second table is of clips of some emotions alone, tested on clips of all, and has `ser enrol --only` last.
"""

import argparse
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from ser_lib._cli.common import load_run
from ser_lib.audio.signal import load_audio
from ser_lib.corpora import savee
from ser_lib.model.bundle import Bundle
from ser_lib.model.enrolment import Clips, adapt_by, gather_clips, hear_clip, learn_voice, predicted
from ser_lib.model.voices import adapt_bundle
from ser_lib.scoring import metrics

CLIPS = (1, 2, 3, 5)
DRAWS = 4
SOME = (
    (("neutral", "happy"), 5),
    (("neutral", "happy", "angry"), 5),
    (("neutral", "happy", "sad", "angry", "fear"), 3),
)
"""Emotions that have labels, and the clips of each."""


def hear_speakers(corpus: Path, bundle: Bundle) -> dict[str, Clips]:
    """Clips of each speaker of SAVEE, with their labels."""
    heard: dict[str, list] = {}
    for file in sorted(corpus.rglob("*.wav")):
        name = savee.read_name(file.relative_to(corpus))
        label = bundle.info.emotions.index(savee.EMOTIONS[name.emotion])
        heard.setdefault(name.speaker, []).append((hear_clip(*load_audio(file), bundle), label))
    return {speaker: gather_clips(*zip(*clips, strict=True)) for speaker, clips in heard.items()}


def draw(clips: Clips, labels: Iterable[int], n_clips: int, seed: int) -> tuple[Clips, Clips]:
    """So many clips of each label, and all others."""
    order = np.random.default_rng(seed).permutation(len(clips.X))
    drawn = np.zeros(len(order), dtype=bool)
    for label in labels:
        drawn[order[clips.labels[order] == label][:n_clips]] = True
    return clips[drawn], clips[~drawn]


def try_all(clips: Clips, n_clips: int, seed: int, bundle: Bundle) -> list[float]:
    """UAR of the clips that are not drawn: without adaptation, by statistics, by labels, and by what is chosen."""
    known, tested = draw(clips, np.unique(clips.labels), n_clips, seed)
    adapted = (bundle, *adapt_by(known, bundle), adapt_bundle(bundle, learn_voice("drawn", known, bundle)))
    return [metrics.uar(tested.labels, predicted(tested, one)) for one in adapted]


def try_some(clips: Clips, emotions: Iterable[str], n_clips: int, seed: int, bundle: Bundle) -> list[float]:
    """The same with labels of some emotions: without adaptation, by statistics, by labels, and by these `only`."""
    known, tested = draw(clips, map(bundle.info.emotions.index, emotions), n_clips, seed)
    adapted = (bundle, *adapt_by(known, bundle), adapt_by(known, bundle, only=True)[1])
    return [metrics.uar(tested.labels, predicted(tested, one)) for one in adapted]


def show(heading: str, rows: list[list[float]]) -> None:
    """Print the means of some draws as a line of a table."""
    print(f"| {heading} | {' | '.join(f'{value:.2f}' for value in np.mean(rows, axis=0))} |", flush=True)


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run")
    parser.add_argument("--corpus", type=Path, default=Path("data/SAVEE"))
    arguments = parser.parse_args()
    bundle = load_run(arguments.run)
    speakers = hear_speakers(arguments.corpus, bundle)
    print("| labelled clips of each emotion | nothing | the voice | the voice and labels | what `ser enrol` chose |")
    print(f"|{' ---: |' * 5}")
    for n_clips in CLIPS:
        rows = [try_all(clips, n_clips, seed, bundle) for clips in speakers.values() for seed in range(DRAWS)]
        show(str(n_clips), rows)
    print(f"\n| labelled clips | nothing | the voice | the voice and labels | `--only` |\n| --- |{' ---: |' * 4}")
    for emotions, n_clips in SOME:
        rows = [
            try_some(clips, emotions, n_clips, seed, bundle) for clips in speakers.values() for seed in range(DRAWS)
        ]
        show(f"{n_clips} each of {', '.join(emotions)}", rows)


if __name__ == "__main__":
    main()
