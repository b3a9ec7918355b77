"""From clips of one person to a voice: statistics of all of them and, of labelled ones, a last layer of its own.

What the labels bring is tried by cross-validation on the person's own clips, and they are used unless they do harm
there. A clip is tested with statistics and a head that come from other clips alone, as one of tomorrow would be. Of two
clips of an emotion one teaches and one tests, so the trial promises less than both bring, and a tie is decided for the
labels: on SAVEE's four speakers that was better by up to 0.01 of UAR.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ser_lib.audio.normalize import Statistics, speaker_statistics
from ser_lib.core.errors import ParameterError
from ser_lib.core.labels import shown_as
from ser_lib.model.adapt import FEW_CLIPS, Head, Population, estimate_voice, fit_head
from ser_lib.model.bundle import Bundle
from ser_lib.model.voices import Gained, Voice, adapt_bundle

UNLABELLED = -1
"""Label of a clip whose emotion is not told."""
_FEWEST_UNSHRUNK = 20
"""Clips that a voice takes at least where nothing is known of other voices."""
_UNTRIED = "What the labels bring could not be tried: that takes two clips each of two emotions."
_N_FOLDS = 5
"""Parts at most that an emotion's clips are tested in."""


@dataclass(frozen=True)
class Clips:
    """Clips of one person.

    Attributes
    ----------
    X : np.ndarray [shape=(n_clips, n_frames, n_features)]
        Features, without any normalisation by speaker.
    n_sound : np.ndarray [shape=(n_clips,)]
        Frames with sound at the beginning of each clip.
    labels : np.ndarray [shape=(n_clips,)]
        Indices among the model's emotions; `UNLABELLED` where the emotion is not told.
    """

    X: np.ndarray
    n_sound: np.ndarray
    labels: np.ndarray

    def __getitem__(self, rows: np.ndarray) -> "Clips":
        """Those of some rows, by their numbers or as bool [shape=(n_clips,)]."""
        return Clips(self.X[rows], self.n_sound[rows], self.labels[rows])


def hear_clip(signal: np.ndarray, sampling_rate: int, bundle: Bundle) -> tuple[np.ndarray, int]:
    """Features [shape=(n_frames, n_features)] of a mono signal (rate in Hz), and how many frames of them have sound.

    AudioError if it cannot be used.
    """
    features, measures = bundle.extract_unscaled(signal, sampling_rate)
    return features, bundle.info.settings.sound_frames(measures.n_trimmed)


def gather_clips(heard: Iterable[tuple[np.ndarray, int]], labels: Sequence[int] | None = None) -> Clips:
    """Gather clips that were heard by `hear_clip`; without `labels`, none is told."""
    features, n_sound = zip(*heard, strict=True)
    told = [UNLABELLED] * len(features) if labels is None else labels
    return Clips(np.array(features), np.array(n_sound), np.array(told))


def sounds_unlike(clips: Clips, bundle: Bundle) -> np.ndarray:
    """Tell which clips sound unlike the training clips [shape=(n_clips,)], bool, as predictions without a voice do."""
    novelty, settings = bundle.info.novelty, bundle.info.settings
    pairs = zip(_scaled(clips, bundle), clips.n_sound, strict=True)
    return np.array([novelty.distance_from(X, n, settings) > novelty.distance for X, n in pairs])


def fewest_clips(bundle: Bundle) -> int:
    """Clips that a model takes a voice from at least."""
    return _FEWEST_UNSHRUNK if bundle.info.population is None else 1


def measure_voice(clips: Clips, bundle: Bundle) -> Statistics:
    """Statistics of a voice: shrunk towards the model's population if it has one, else those of all frames."""
    if bundle.info.population is not None:
        are_mixed = bool((clips.labels != UNLABELLED).mean() > 0.5)
        return estimate_voice(clips.X[:, 0], bundle.info.population, are_mixed=are_mixed)
    return speaker_statistics(clips.X, clips.n_sound, np.full(len(clips.X), "voice"))["voice"]


def learn_voice(name: str, clips: Clips, bundle: Bundle, *, only: bool = False) -> Voice:
    """Learn what a person's voice is like; of labelled clips a head too, unless that does harm in cross-validation.

    The head tells the emotions of the labels from one another, and from the others, too, if those are the `only` ones.

    Raises
    ------
    ParameterError
        If there are too few clips, their labels are of one emotion alone, or the model takes none.
    """
    _check(clips, bundle)
    sha256, statistics = bundle.info.onnx_sha256, measure_voice(clips, bundle)
    voice = Voice(name=name, onnx_sha256=sha256, n_clips=len(clips.X), statistics=statistics)
    labelled = clips.labels != UNLABELLED
    population = bundle.info.population
    if population is None or not labelled.any():
        return voice
    gained = cross_validate(clips, bundle, only=only)
    if gained is not None and gained.labels < gained.statistics:
        return voice.model_copy(update={"gained": gained})
    head = _fit_voice_head(clips[labelled], statistics, population, bundle, only=only)
    return voice.model_copy(update={"gained": gained, "head": head, "n_labelled": int(labelled.sum())})


def _check(clips: Clips, bundle: Bundle) -> None:
    emotions = [shown_as(bundle.info.emotions[label]) for label in np.unique(clips.labels[clips.labels != UNLABELLED])]
    if len(clips.X) < fewest_clips(bundle):
        raise ParameterError(
            f"A voice needs at least {fewest_clips(bundle)} clips for this model. Got {len(clips.X)}. Record more."
        )
    if emotions and bundle.info.population is None:
        raise ParameterError(
            f"Clips with labels are for a model that was trained with ADAPT_TO_SPEAKER. This one was not. Give it "
            f"clips without labels. Got those of {', '.join(emotions)}."
        )
    if len(emotions) == 1:
        raise ParameterError(
            f"Labelled clips must be of at least two emotions. Got {emotions[0]} alone. Add another, or give them "
            f"without labels."
        )


def cross_validate(clips: Clips, bundle: Bundle, *, only: bool = False) -> Gained | None:
    """Count how many labelled clips are predicted right, with what the others teach; None where that cannot be tried.

    An emotion of two clips or more takes part, in folds that have one of its clips each, or a fifth of them; there must
    be two such emotions.
    """
    folds = _folds(clips.labels)
    if bundle.info.population is None or len(set(clips.labels[folds >= 0])) < 2:
        return None
    right = np.zeros(3, dtype=int)
    for fold in range(folds.max() + 1):
        tested, known = clips[folds == fold], clips[folds != fold]
        answers = [predicted(tested, one) for one in (bundle, *adapt_by(known, bundle, only=only))]
        right += [int((answer == tested.labels).sum()) for answer in answers]
    return Gained(n_clips=int((folds >= 0).sum()), before=int(right[0]), statistics=int(right[1]), labels=int(right[2]))


def _folds(labels: np.ndarray) -> np.ndarray:
    """Number of the fold that tests each clip [shape=(n_clips,)]; -1 for those that none does."""
    folds = np.full(len(labels), -1)
    for label in set(labels) - {UNLABELLED}:
        rows = np.flatnonzero(labels == label)
        if len(rows) > 1:
            folds[rows] = np.arange(len(rows)) % _N_FOLDS
    return folds


def adapt_by(known: Clips, bundle: Bundle, *, only: bool = False) -> tuple[Bundle, Bundle]:
    """The bundle adapted to a voice by some of its clips: by their statistics alone, and by their labels, too.

    `only`, as in `learn_voice`.
    """
    statistics, labelled = measure_voice(known, bundle), known[known.labels != UNLABELLED]
    voice = Voice(name="_", onnx_sha256="", n_clips=len(known.X), statistics=statistics)
    adapted = adapt_bundle(bundle, voice)
    if bundle.info.population is None or not len(labelled.X):
        return adapted, adapted
    head = _fit_voice_head(labelled, statistics, bundle.info.population, bundle, only=only)
    return adapted, adapt_bundle(bundle, voice.model_copy(update={"head": head}))


def _scaled(clips: Clips, bundle: Bundle) -> np.ndarray:
    if bundle.info.population is not None:  # all frames of all clips alike
        return bundle.to_scale(clips.X, 1, None)
    return np.array([bundle.to_scale(X, n, None) for X, n in zip(clips.X, clips.n_sound, strict=True)])


def _fit_voice_head(
    labelled: Clips, statistics: Statistics, population: Population, bundle: Bundle, *, only: bool
) -> Head:
    """Head for labelled clips of a voice with these statistics, for a model that has a population."""
    X, told = _scaled(labelled, replace(bundle, voice=statistics)), np.unique(labelled.labels).tolist()
    emotions = None if only or len(told) == len(bundle.info.emotions) else told
    probabilities, temperature = bundle.probabilities(X), bundle.info.temperature
    return fit_head(probabilities, X[:, 0], labelled.labels, population, temperature, emotions=emotions)


def predicted(clips: Clips, bundle: Bundle) -> np.ndarray:
    """Label that the model gives each clip [shape=(n_clips,)]."""
    return answered(clips, bundle).argmax(axis=1)


def answered(clips: Clips, bundle: Bundle) -> np.ndarray:
    """Probabilities that the model gives each clip [shape=(n_clips, n_classes)]."""
    return bundle.probabilities(_scaled(clips, bundle))


def enrolment_text(voice: Voice, bundle: Bundle) -> str:
    """What enrolling brought, for people: a small table where labels were tried, else what the clips can bring."""
    if bundle.info.population is None:
        return ""
    if voice.gained is None and not voice.n_labelled:
        few = f"Fewer than {FEW_CLIPS} clips tell little of a voice. " if voice.n_clips < FEW_CLIPS else ""
        return (
            f"{few}Clips of one emotion alone can do harm: take all kinds of speech. Two clips of each emotion, in "
            "folders named by it, would bring more."
        )
    table = [] if voice.gained is None else [_table(voice.gained)]
    return "\n".join([*table, *verdict(voice, bundle)])


def verdict(voice: Voice, bundle: Bundle) -> list[str]:
    """Sentences on what a voice's labels bring, and on whether they are right; below a table where that was tried."""
    if voice.gained is None:
        return [_UNTRIED, *_left_alone(voice, bundle)]
    return [_usefulness(voice.gained), *_doubt(voice.gained, bundle), *_left_alone(voice, bundle)]


def _left_alone(voice: Voice, bundle: Bundle) -> list[str]:
    """A sentence on the emotions that a voice's head does not tell apart, if there are any."""
    if voice.head is None or voice.head.emotions is None:
        return []
    others = [shown_as(one) for n, one in enumerate(bundle.info.emotions) if n not in voice.head.emotions]
    return [f"No clip is labelled {', '.join(others)}: how probable those are is left to the model."]


def gained_title(gained: Gained) -> str:
    """What `gained_counts` counts."""
    return f"Right of your {gained.n_clips} labelled clips, each from what the others teach"


def gained_counts(gained: Gained) -> dict[str, int]:
    """What is known of a voice → how many of its labelled clips are right then."""
    return {"nothing": gained.before, "the voice": gained.statistics, "the voice and labels": gained.labels}


def _table(gained: Gained) -> str:
    counts = gained_counts(gained).items()
    lines = [f"  {what:<20} {count:>4} {count / gained.n_clips:>5.0%}" for what, count in counts]
    return "\n".join([f"{gained_title(gained)}:", *lines])


def _usefulness(gained: Gained) -> str:
    """Whether labels are used, and why, in sentences."""
    best = max(gained.labels, gained.statistics)
    if gained.labels < gained.statistics:
        text = "The labels do not help on these clips, so the voice alone is used."
    elif gained.labels == gained.statistics:
        text = "The labels make no difference here and are used, since the trial had to hold some of them back."
    elif best > gained.before:
        text = "The labels help and are used."
    else:
        text = "The labels are used, since more are right with them than with the voice alone."
    if best <= gained.before:
        how = "more" if best < gained.before else "as many"
        text += f" But {how} are right without the voice: compare answers with it and without."
    return f"{text} One clip more or less is {1 / gained.n_clips:.0%}."


def _doubt(gained: Gained, bundle: Bundle) -> list[str]:
    """A question about the labels, if what knows none of them is right about no more than guessing well may be.

    That is up to a standard deviation above the mean of a binomial distribution.
    """
    chance = 1 / len(bundle.info.emotions)
    most = gained.n_clips * chance + np.sqrt(gained.n_clips * chance * (1 - chance))
    if max(gained.before, gained.statistics) > most:
        return []
    return ["Without the labels, the model does no better than by guessing. Has each clip the label of its emotion?"]
