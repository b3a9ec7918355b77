"""How often a compressed recording gets the answer of its wav, codec by codec, over test clips of TESS.

    python benchmarks/compression.py --corpus data/TESS

Prints the table of docs/prediction.md. `encode` also makes the files of tests/test_formats.py.
"""

import argparse
import tempfile
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
import soundfile
import soxr

from ser_lib import load_bundle
from ser_lib.audio.signal import load_audio
from ser_lib.records.record import find_record

RUNS = ("voices_random_s0", "tess_random_s0", "tess_robust_random_s0")
N_CLIPS = 60


class Format(NamedTuple):
    """How a recording is written."""

    ending: str
    codec: str
    rate: int | None = None
    """Hz; None keeps the recording's own."""
    bit_rate: int | None = None
    """bit/s; None leaves it to the codec."""


FORMATS = {
    "FLAC": Format("flac", "flac"),
    "ALAC (m4a)": Format("m4a", "alac"),
    "Opus 32 kbit/s": Format("opus", "libopus", 48000, 32_000),
    "Opus 16 kbit/s": Format("opus", "libopus", 48000, 16_000),
    "Opus 32 kbit/s (webm)": Format("webm", "libopus", 48000, 32_000),
    "AAC 64 kbit/s (m4a)": Format("m4a", "aac", 44100, 64_000),
    "Vorbis (ogg)": Format("ogg", "VORBIS", 44100),
    "MP3 64 kbit/s": Format("mp3", "libmp3lame", 44100, 64_000),
    "MP3 32 kbit/s": Format("mp3", "libmp3lame", 22050, 32_000),
    "WMA 64 kbit/s": Format("wma", "wmav2", 44100, 64_000),
    "AMR 12.2 kbit/s": Format("amr", "libopencore_amrnb", 8000, 12_200),
    "G.711 µ-law 64 kbit/s (wav)": Format("wav", "pcm_mulaw", 8000),
}


def encode(path: Path, signal: np.ndarray, sampling_rate: int, form: Format) -> Path:
    """Write a signal [shape=(n_samples,) or (n_samples, n_channels)] by PyAV; its name gets the format's ending.

    Raises
    ------
    ValueError
        If this PyAV has no such encoder.
    """
    path, rate = path.with_suffix(f".{form.ending}"), form.rate or sampling_rate
    samples = signal if rate == sampling_rate else soxr.resample(signal, sampling_rate, rate)
    samples = np.ascontiguousarray(samples.reshape(len(samples), -1).T.astype(np.float32))
    layout = {1: "mono", 2: "stereo"}[len(samples)]
    if form.codec == "VORBIS":  # PyAV comes without its encoder, libsndfile with it
        soundfile.write(path, samples.T, rate, format="OGG", subtype="VORBIS")
        return path
    with av.open(str(path), "w") as container:
        stream = container.add_stream(form.codec, rate=rate, layout=layout)
        if form.bit_rate is not None:
            stream.bit_rate = form.bit_rate
        for start in range(0, samples.shape[1], 1024):
            block = np.ascontiguousarray(samples[:, start : start + 1024])
            frame = av.AudioFrame.from_ndarray(block, format="fltp", layout=layout)
            frame.sample_rate, frame.pts = rate, start
            for packet in stream.encode(frame):
                container.mux(packet)
        container.mux(stream.encode(None))
    return path


def clips_of(corpus: Path, run: str) -> list[Path]:
    """Files of test clips of a run, spread over the emotions."""
    tested = find_record(run).predictions["clip"].str.rpartition("/")[2]
    files = {file.stem: file for file in corpus.rglob("*.wav")}
    by_emotion: dict[str, list[Path]] = {}
    for clip in tested:
        if clip not in files:  # one of TESS is not called as its clip
            continue
        by_emotion.setdefault(clip.rpartition("_")[2], []).append(files[clip])
    rounds = [file for group in zip(*by_emotion.values(), strict=False) for file in group]
    return rounds[:N_CLIPS]


def measure(corpus: Path) -> list[tuple[str, ...]]:
    """Rows of the table: format, and for each run the share of the wav's answers, and of clips that are flagged."""
    bundles = {run: load_bundle(Path("reports") / run) for run in RUNS}
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for name, form in FORMATS.items():
            cells = []
            for run, bundle in bundles.items():
                same, unlike = [], []
                for file in clips_of(corpus, run):
                    signal, rate = load_audio(file)
                    written = encode(Path(folder) / file.stem, signal, rate, form)
                    answer = bundle.predict(*load_audio(written))
                    same.append(answer.emotion == bundle.predict(signal, rate).emotion)
                    unlike.append(bool(answer.novelty))
                cells += [f"{np.mean(same):.2f}", f"{np.mean(unlike):.2f}"]
            rows.append((name, *cells))
    return rows


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--corpus", type=Path, default=Path("data/TESS"))
    corpus = parser.parse_args().corpus
    print("| format |", " | ".join(f"{run}: same answer | flagged" for run in RUNS), "|")
    print("| --- |", " | ".join(["---:"] * 2 * len(RUNS)), "|")
    for row in measure(corpus):
        print(f"| {' | '.join(row)} |", flush=True)


if __name__ == "__main__":
    main()
