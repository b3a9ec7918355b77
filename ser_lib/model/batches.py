"""What a network is given in each step of training: clips in batches, varied, and weighted or drawn."""

import numpy as np
import pandas as pd

from ser_lib.model.adapt import TrainingVoices
from ser_lib.model.augment import augment
from ser_lib.model.network import keras
from ser_lib.params import Params

_SHARE = 0.25
"""Fraction of the clips that an epoch has as their variants of each kind."""


class Batches(keras.utils.PyDataset):
    """Training clips in batches, in another order and varied anew by `AUGMENT` in each epoch.

    With `weights` [shape=(n_clips,)], each batch has those of its clips, too. With `chances` of the same shape, which
    sum to 1, clips are drawn by them, some more than once in an epoch and some not at all. With `variants`, as many
    rows as kinds, each of the shape of `X`, some of the clips are replaced by theirs, others in each epoch. With
    `voices`, those of `X`, it is drawn for each of them and each epoch what is known of the voice.
    """

    def __init__(
        self,
        X: np.ndarray,
        y: np.ndarray,
        params: Params,
        *,
        decibel: float = 1.0,
        weights: np.ndarray | None = None,
        chances: np.ndarray | None = None,
        variants: np.ndarray | None = None,
        voices: TrainingVoices | None = None,
    ) -> None:
        super().__init__()
        self._weights, self._chances, self._variants, self._voices = weights, chances, variants, voices
        self._as_it_is, self._X, self._y, self._size = X, X, y, params.BATCH_SIZE
        self._names = params.AUGMENT if variants is None else []
        self._how = {"decibel": decibel, "tiled": params.TILE}
        self._rng = np.random.default_rng(params.SEED)
        self.on_epoch_end()

    def __len__(self) -> int:
        """Return the number of batches in an epoch."""
        return -(-len(self._X) // self._size)

    def __getitem__(self, number: int) -> tuple[np.ndarray, ...]:
        """Features and one-hot labels of a batch; the same ones however often and in whatever order they are asked."""
        rows = self._order[number * self._size : (number + 1) * self._size]
        X = self._X[rows]
        if self._names:
            X = augment(X, self._names, np.random.default_rng([self._epoch, number]), **self._how)
        return (X, self._y[rows]) if self._weights is None else (X, self._y[rows], self._weights[rows])

    def on_epoch_end(self) -> None:
        """Shuffle or draw the clips, and choose the variations of the next epoch."""
        n_clips = len(self._X)
        if self._chances is None:
            self._order = self._rng.permutation(n_clips)
        else:
            self._order = self._rng.choice(n_clips, n_clips, p=self._chances)
        self._epoch = int(self._rng.integers(2**32))
        self._X = self._as_it_is
        if self._variants is not None:
            self._X = self._X.copy()
            drawn = self._rng.random(len(self._X)) // _SHARE
            for number, variants in enumerate(self._variants):
                self._X[drawn == number] = variants[drawn == number]
        if self._voices:
            self._X = self._voices.vary_knowledge(self._X[:, 0], self._rng)[:, np.newaxis]


def balance(clips: pd.DataFrame) -> np.ndarray:
    """Weights [shape=(n_clips,)], float32, with the mean 1, by which no emotion and no corpus drowns the others.

    The corpora of `clips` (with corpus and emotion) have the same sum of weights, and so have the emotions of each.
    """
    n_emotions = clips.groupby("corpus")["emotion"].transform("nunique")
    of_emotion = clips.groupby(["corpus", "emotion"])["emotion"].transform("size")
    weights = 1 / n_emotions / of_emotion
    return (weights / weights.mean()).to_numpy(dtype=np.float32)


def sampling_chances(clips: pd.DataFrame) -> np.ndarray:
    """Chances [shape=(n_clips,)], float64, with the sum 1, by which clips (with corpus and emotion) are drawn.

    Corpora are drawn by the square root of their numbers of clips, and all emotions of one alike.
    """
    of_corpus = clips.groupby("corpus")["emotion"].transform("size")
    chances = balance(clips).astype(np.float64) * np.sqrt(of_corpus.to_numpy())
    return chances / chances.sum()
