"""What a model hears of clips: waveforms, spectrograms and features."""

import librosa.display
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import AutoLocator, ScalarFormatter

from ser_lib.audio.features import band_edges
from ser_lib.audio.settings import AudioSettings
from ser_lib.audio.spectrum import stft
from ser_lib.core.labels import in_order, shown_as

_SMALLEST_STD = 1e-12
"""Standard deviation that a number's is taken for if it is smaller."""
_MOST_IN_LEGEND = 12
"""Colours that a legend names."""
_HZ_TICKS = np.array([0, 250, 500, 1000, 2000, 4000, 8000, 16000])
"""Frequencies that an axis of mel bands names."""
Scale = tuple[np.ndarray, np.ndarray]  # mean and standard deviation of each feature


def plot_waveform(signal: np.ndarray, sampling_rate: int, *, title: str = "", ax: Axes | None = None) -> Axes:
    """Amplitude of `signal` [shape=(n_samples,)] over time."""
    ax = ax or plt.subplots(figsize=(10, 1.8))[1]
    ax.plot(np.arange(len(signal)) / sampling_rate, signal, linewidth=0.5)
    ax.set(xlabel="time (s)", ylabel="amplitude", title=title, xlim=(0, len(signal) / sampling_rate))
    return ax


def plot_trimming(
    signal: np.ndarray, sampling_rate: int, bounds: tuple[int, int], *, title: str = "", ax: Axes | None = None
) -> Axes:
    """Amplitude of `signal` over time, and grey what trimming cuts off: all but the samples between `bounds`."""
    ax = plot_waveform(signal, sampling_rate, title=title, ax=ax)
    first, last = (bound / sampling_rate for bound in bounds)
    for start, end in ((0, first), (last, len(signal) / sampling_rate)):
        ax.axvspan(start, end, color="grey", alpha=0.35, linewidth=0)
    return ax


def plot_spectrogram(signal: np.ndarray, settings: AudioSettings, *, title: str = "", ax: Axes | None = None) -> Axes:
    """Power spectrogram of `signal` in dB below its loudest point."""
    ax = ax or plt.subplots(figsize=(10, 2.6))[1]
    spectrum = stft(signal, frame_length=settings.frame_length, hop_length=settings.hop_length)
    level = librosa.amplitude_to_db(np.abs(spectrum), ref=np.max)
    image = librosa.display.specshow(
        level, sr=settings.sampling_rate, hop_length=settings.hop_length, x_axis="time", y_axis="hz", ax=ax
    )
    ax.set(xlabel="time (s)", ylabel="frequency (Hz)", title=title)
    _mark_seconds(ax)
    ax.figure.colorbar(image, ax=ax, label="level (dB)")
    return ax


def plot_mfcc(
    features: np.ndarray, settings: AudioSettings, *, scale: Scale | None = None, ax: Axes | None = None
) -> Axes:
    """Coefficients of every frame, standardised one by one, since the first is far larger than the others.

    `features` [shape=(n_frames, 2 + n_mfcc)]; by `scale`, or by the clip's own mean and deviation without its padding.
    """
    ax = ax or plt.subplots(figsize=(10, 2.6))[1]
    sound = _without_padding(features)
    mean, std = scale or (sound.mean(axis=0), sound.std(axis=0))
    scores = ((features - mean) / np.maximum(std, _SMALLEST_STD))[:, 2:].T
    image = librosa.display.specshow(
        scores, sr=settings.sampling_rate, hop_length=settings.hop_length, x_axis="time", cmap="coolwarm",
        vmin=-3, vmax=3, ax=ax,
    )  # fmt: skip
    ticks = np.arange(0, settings.n_mfcc, max(1, settings.n_mfcc // 6))
    ax.set(xlabel="time (s)", ylabel="MFCC number", yticks=ticks, yticklabels=ticks + 1)
    _mark_seconds(ax)
    ax.figure.colorbar(image, ax=ax, label="standard deviations")
    return ax


def _mark_seconds(ax: Axes) -> None:
    """Mark times (s) as they are; librosa's formatter rounds 1.05 to 1.1."""
    ax.xaxis.set(major_locator=AutoLocator(), major_formatter=ScalarFormatter())


def _without_padding(features: np.ndarray) -> np.ndarray:
    """Frames before the silence that ends a clip, whose frames are all alike."""
    n_alike = np.logical_and.accumulate((features == features[-1]).all(axis=1)[::-1]).sum()
    return features[: len(features) - n_alike] if 1 < n_alike < len(features) else features


def plot_rms_and_zcr(features: np.ndarray, settings: AudioSettings, *, ax: Axes | None = None) -> Axes:
    """RMS and zero-crossing rate of every frame; `features` [shape=(n_frames, 2 + n_mfcc)]."""
    ax = ax or plt.subplots(figsize=(10, 2))[1]
    times = np.arange(len(features)) * settings.hop_length / settings.sampling_rate
    ax.plot(times, features[:, 0], label="RMS (fraction of full scale)")
    ax.plot(times, features[:, 1], label="zero-crossing rate (per sample)")
    ax.set(xlabel="time (s)", ylabel="value", xlim=(0, times[-1]))
    ax.legend(loc="upper right")
    return ax


def plot_log_mel(features: np.ndarray, settings: AudioSettings, *, ax: Axes | None = None) -> Axes:
    """Log-mel spectrogram; `features` [shape=(n_frames, n_mels)], in dB above a mean unless normalised per speaker."""
    ax = ax or plt.subplots(figsize=(10, 2.6))[1]
    extent = (0, len(features) * settings.hop_length / settings.sampling_rate, 0.5, settings.n_mels + 0.5)
    image = ax.imshow(features.T, origin="lower", aspect="auto", extent=extent, cmap="magma", interpolation="nearest")
    unit = f"level above the {'band' if settings.cmn else 'clip'}'s mean (dB)"
    unit = "standard deviations" if settings.normalize_per_speaker else unit
    centres = band_edges(settings)[1:-1]
    ticks = _HZ_TICKS[(centres[0] <= _HZ_TICKS) & (centres[-1] >= _HZ_TICKS)]
    ax.set_yticks(np.interp(ticks, centres, np.arange(1, len(centres) + 1)), [f"{tick:,}" for tick in ticks])
    ax.set(xlabel="time (s)", ylabel="frequency (Hz)")
    ax.figure.colorbar(image, ax=ax, label=unit)
    return ax


def plot_embedding(embedding: np.ndarray, encoder: str, *, ax: Axes | None = None) -> Axes:
    """Numbers of a clip's embedding [shape=(n_features,)], those of each layer or group in a line.

    Of each line's numbers it shows how far they are from their mean, in standard deviations.
    """
    from ser_lib.audio.encoders import layers_of  # sound libraries, which most pictures do not need

    ax = ax or plt.subplots(figsize=(10, 4))[1]
    layers = layers_of(encoder)
    widest = max(len(embedding[columns]) for columns in layers.values())
    scores = np.full((len(layers), widest), np.nan)
    for line, columns in zip(scores, layers.values(), strict=True):
        numbers = embedding[columns]
        line[: len(numbers)] = (numbers - numbers.mean()) / max(numbers.std(), _SMALLEST_STD)
    image = ax.imshow(scores, aspect="auto", cmap="coolwarm", vmin=-3, vmax=3, interpolation="nearest")
    ax.set(xlabel="number in the layer or group", yticks=range(len(layers)), yticklabels=list(layers))
    ax.tick_params(axis="y", labelsize="small")
    ax.figure.colorbar(image, ax=ax, label="standard deviations")
    return ax


def plot_embeddings(X: np.ndarray, clips: pd.DataFrame, *, axes: np.ndarray | None = None) -> np.ndarray:
    """Two principal components of embeddings [shape=(n_clips, n_features)], by emotion and speaker; Axes [shape=(2,)].

    Each number is standardised before. `clips` has emotion and speaker; an empty speaker is unknown.
    """
    from sklearn.decomposition import PCA

    axes = plt.subplots(1, 2, figsize=(11, 4.4), layout="constrained")[1] if axes is None else axes
    scores = (X - X.mean(axis=0)) / np.maximum(X.std(axis=0), _SMALLEST_STD)
    first, second = PCA(2, svd_solver="randomized", random_state=0).fit_transform(scores.astype(np.float64)).T
    speakers = clips["speaker"].replace({"": "unknown"})
    groups = {"emotion": clips["emotion"].map(shown_as), "speaker": speakers}
    orders = {"emotion": [shown_as(one) for one in in_order(clips["emotion"])], "speaker": sorted(set(speakers))}
    for ax, (what, values) in zip(axes, groups.items(), strict=True):
        many = len(orders[what]) > _MOST_IN_LEGEND
        sns.scatterplot(
            x=first, y=second, hue=values.to_numpy(), hue_order=orders[what], s=14, linewidth=0,
            palette="husl" if many else None, legend=not many, ax=ax,
        )  # fmt: skip
        title = f"{len(orders[what])} {what}s" if many else f"by {what}"
        ax.set(xlabel="first principal component", ylabel="second principal component", title=title)
    return axes


def plot_features(
    features: np.ndarray, settings: AudioSettings, *, scale: Scale | None = None, figure: Figure | None = None
) -> np.ndarray:
    """All features of a clip [shape=(n_frames, n_features)], on two Axes for MFCC and one for others."""
    if settings.encoder is not None:
        return np.array([plot_embedding(features[0], settings.encoder, ax=figure.subplots() if figure else None)])
    if settings.features == "logmel":
        return np.array([plot_log_mel(features, settings, ax=figure.subplots() if figure else None)])
    axes = (figure or plt.figure(figsize=(10, 4.6), layout="constrained")).subplots(2)
    plot_rms_and_zcr(features, settings, ax=axes[0])
    plot_mfcc(features, settings, scale=scale, ax=axes[1])
    return axes
