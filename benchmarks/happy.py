"""Why nobody recognises the other actress's happiness: the table and the picture of docs/transfer.md.

python benchmarks/happy.py      # reads data/TESS; writes docs/happy.png, prints the table
"""

from pathlib import Path

import librosa
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from joblib import Parallel, delayed

from ser_lib import plots
from ser_lib.audio.signal import load_audio, trim_steps
from ser_lib.core.labels import EMOTIONS, shown_as
from ser_lib.core.paths import project_root
from ser_lib.corpora.clips import Clip, find_clips
from ser_lib.params import Params

FOLDER = Path("data/TESS")
SETTINGS = Params(DENOISE=False, FRAME_LENGTH=1024, HOP_LENGTH=256).audio_settings
LOWEST, HIGHEST = 90.0, 700.0
"""Hz; F0 is looked for between them."""
WORD = "bean"


def pitch(signal: np.ndarray) -> np.ndarray:
    """F0 (Hz) of each frame by YIN; NaN where the frame is quiet, or at either end of the range."""
    frames = {"frame_length": SETTINGS.frame_length, "hop_length": SETTINGS.hop_length}
    f0 = librosa.yin(signal, fmin=LOWEST, fmax=HIGHEST, sr=SETTINGS.sampling_rate, **frames)
    rms = librosa.feature.rms(y=signal, **frames)[0][: len(f0)]
    return np.where((rms > 0.15 * rms.max()) & (f0 > 1.02 * LOWEST) & (f0 < 0.98 * HIGHEST), f0, np.nan)


def describe(clip: Clip) -> dict:
    """Length, pitch, level and slope of the spectrum of a clip."""
    signal, sampling_rate = load_audio(FOLDER / clip.file)
    trimmed = trim_steps(signal, sampling_rate, SETTINGS)["trimmed"]
    f0 = pitch(trimmed)
    f0 = f0[~np.isnan(f0)]
    power = (np.abs(librosa.stft(trimmed, n_fft=1024)) ** 2).mean(axis=1)
    frequencies = librosa.fft_frequencies(sr=SETTINGS.sampling_rate, n_fft=1024)
    high, low = (power[(frequencies > a) & (frequencies <= b)].sum() for a, b in ((1000, 5000), (80, 1000)))
    return {
        "speaker": clip.speaker,
        "emotion": shown_as(clip.emotion),
        "length (s)": len(trimmed) / SETTINGS.sampling_rate,
        "F0 (Hz)": np.median(f0),
        "range of F0 (semitones)": 12 * np.log2(np.percentile(f0, 90) / np.percentile(f0, 10)),
        "F0 of the last quarter (Hz)": np.median(f0[-max(1, len(f0) // 4) :]),
        "level (dB)": 20 * np.log10(np.sqrt(np.mean(signal.astype(np.float64) ** 2))),
        "1-5 kHz over 0.08-1 kHz (dB)": 10 * np.log10(high / low),
    }


def draw(clips: list[Clip]) -> None:
    """Spectrograms with pitch of one word, angry, happy and surprised, of both actresses."""
    shown = ("angry", "happy", "ps")
    fig, axes = plt.subplots(2, 3, figsize=(13, 6.4), layout="constrained")
    for row, speaker in zip(axes, ("OAF", "YAF"), strict=True):
        for ax, emotion in zip(row, shown, strict=True):
            (clip,) = [c for c in clips if (c.speaker, c.emotion, c.text) == (speaker, emotion, WORD)]
            trimmed = trim_steps(*load_audio(FOLDER / clip.file), SETTINGS)["trimmed"]
            plots.plot_spectrogram(trimmed, SETTINGS, title=f"{speaker}, {shown_as(emotion)}", ax=ax)
            f0 = pitch(trimmed)
            ax.plot(np.arange(len(f0)) * SETTINGS.hop_length / SETTINGS.sampling_rate, f0, color="cyan", linewidth=2.5)
            ax.set_ylim(0, 4000)
    fig.savefig(project_root() / "docs" / "happy.png", dpi=70)


def main() -> None:
    """Measure every clip, and print medians by speaker and emotion as Markdown."""
    clips, _ = find_clips("TESS", FOLDER)
    table = pd.DataFrame(Parallel(n_jobs=-1, batch_size=32)(delayed(describe)(clip) for clip in clips))
    medians = table.groupby(["speaker", "emotion"]).median().round(2)
    order = [(speaker, shown_as(emotion)) for emotion in EMOTIONS for speaker in ("OAF", "YAF")]
    print("| emotion | speaker |", " | ".join(medians.columns), "|")
    print("| --- | --- |", " | ".join(["---:"] * len(medians.columns)), "|")
    for speaker, emotion in order:
        print(
            f"| {emotion} | {speaker} |", " | ".join(f"{value:.4g}" for value in medians.loc[(speaker, emotion)]), "|"
        )
    draw(clips)


if __name__ == "__main__":
    main()
