"""Measure the project against the usual way, side by side in one run: `make bench`.

Every figure is the median of several repeats that alternate between the two; what is timed is a whole process unless
the row says "warm" or "training". Writes build/bench.json and prints a table.

python benchmarks/bench.py [--corpus data/TESS] [--repeats 3] [--only preprocess,scaling,prediction,training]
"""

import argparse
import functools
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import psutil

from ser_lib.audio.features import process_audio_file
from ser_lib.core.io import write_text
from ser_lib.core.labels import EMOTIONS
from ser_lib.corpora.clips import find_clips
from ser_lib.model.bundle import load_bundle, save_bundle
from ser_lib.params import Params
from ser_lib.predict import predict_emotion_from_file
from ser_lib.records.manifest import describe_environment
from ser_lib.store import SPLIT_FILE, ProcessedData

HERE = Path(__file__).resolve().parent
PREPROCESS = """
import json, sys
from ser_lib.params import make_params
from ser_lib.preprocess import preprocess_data
preprocess_data(make_params(json.loads(sys.argv[1])))
"""
TRAIN = """
import json, sys, time
import numpy as np
from ser_lib.core.workers import keep_memory
from ser_lib.model.batches import Batches
from ser_lib.model.network import build_model, set_seed
from ser_lib.params import make_params
params = make_params(json.loads(sys.argv[1]))
if sys.argv[2] == "kept":
    keep_memory()
set_seed(0)
X = np.random.default_rng(0).standard_normal((256, *json.loads(sys.argv[3])), dtype=np.float32)
y = np.eye(7, dtype=np.float32)[np.arange(len(X)) % 7]
model, batches = build_model(X, 7, params), Batches(X, y, params)
model.fit(batches, verbose=0)
start = time.perf_counter()
model.fit(batches, epochs=3, verbose=0)
print(time.perf_counter() - start)
"""
"""Without waiting for the first epoch, in which TensorFlow builds the step; clips of noise take as long as speech."""


class Bench:
    """Times pairs of things, and keeps the figures."""

    def __init__(self, repeats: int) -> None:
        self.repeats = repeats
        self.rows: dict[str, dict] = {}

    def compare(self, name: str, usual: Callable[[], float], ours: Callable[[], float]) -> None:
        """Time both in turns; each returns its own seconds."""
        pairs = [(usual(), ours()) for _ in range(self.repeats)]
        before, now = ([pair[side] for pair in pairs] for side in (0, 1))
        ratios = [one / other for one, other in pairs]
        self.rows[name] = {
            "usual_s": _spread(before), "ours_s": _spread(now), "ratio": _spread(ratios), "times": self.repeats,
        }  # fmt: skip
        print(f"{name}: {statistics.median(ratios):.1f} x", flush=True)

    def note(self, name: str, **figures: float) -> None:
        """Keep figures that stand alone."""
        self.rows[name] = figures
        print(f"{name}: {', '.join(f'{key} {value:.4g}' for key, value in figures.items())}", flush=True)


def _spread(values: list[float]) -> dict[str, float]:
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def run(*command: object, cache: Path | None = None) -> float:
    """Run a command; seconds from its start to its end."""
    own = {"SER_CACHE": str(cache)} if cache else {}
    start = time.perf_counter()
    subprocess.run([str(word) for word in command], check=True, capture_output=True, env=os.environ | own)
    return time.perf_counter() - start


class Corpus:
    """Copies of some of a corpus's files, and what is made of them."""

    def __init__(self, name: str, files: list[Path], folder: Path) -> None:
        self.name, self.files, self.folder = name, files, folder
        self.clips = folder / "clips"
        self.clips.mkdir(parents=True)
        self.add(files)

    def add(self, files: list[Path]) -> None:
        """Copy more files; links that lead out of the folder would be refused."""
        for file in files:
            (self.clips / file.parent.name).mkdir(exist_ok=True)
            shutil.copy2(file, self.clips / file.parent.name)

    def forget(self) -> None:
        """Throw away all that was made."""
        for name in ("cache", "out"):
            shutil.rmtree(self.folder / name, ignore_errors=True)

    def preprocess(self, *, cold: bool = False, **changes: object) -> float:
        """Seconds that `preprocess_data` takes in a fresh process."""
        if cold:
            self.forget()
        values = {"CORPORA": [self.name], "DATASET_PATH": str(self.clips), "OUTPUT_DIR": str(self.folder / "out")}
        return run(sys.executable, "-c", PREPROCESS, json.dumps(values | changes), cache=self.folder / "cache")

    def usual(self) -> float:
        """Seconds that the usual way takes in a fresh process."""
        return run(sys.executable, HERE / "usual_way.py", self.clips, self.folder / "usual.npz")


def bench_preprocess(bench: Bench, corpus: Corpus, later: list[Path]) -> None:
    """From wav files to features: cold, nothing changed, one setting changed, ten clips more."""
    bench.compare("preprocess cold", corpus.usual, lambda: corpus.preprocess(cold=True))
    agree = corpus.preprocess(DENOISE_REFERENCE=True)
    bench.note("noisereduce's defaults, lengths kept", seconds=agree, largest_difference=_difference(corpus))
    corpus.preprocess(cold=True)
    bench.note("nothing changed", seconds=statistics.median(corpus.preprocess() for _ in range(bench.repeats)))
    bench.note("N_MFCC changed", seconds=corpus.preprocess(N_MFCC=20))
    longest = _stored(corpus)["target_length"]
    corpus.preprocess(TARGET_LENGTH=int(longest))
    corpus.add(later)
    bench.note(f"{len(later)} clips added", seconds=corpus.preprocess(TARGET_LENGTH=int(longest)))


def _stored(corpus: Corpus) -> dict:
    with np.load(corpus.folder / "out" / "processed_data.npz") as file:
        return {name: file[name] for name in ("X", "target_length", "clips.file")}


def _difference(corpus: Corpus) -> float:
    """Largest difference from the usual way's features, as a share of each feature's largest value."""
    ours, usual = _stored(corpus), np.load(corpus.folder / "usual.npz")
    files = sorted(str(file.relative_to(corpus.clips)) for file in corpus.clips.rglob("*.wav"))
    order = [files.index(file) for file in ours["clips.file"]]
    X = usual["X"][order]
    return float((np.abs(ours["X"] - X).max(axis=(0, 1)) / np.abs(X).max(axis=(0, 1))).max())


def bench_scaling(bench: Bench, name: str, files: list[Path], folder: Path) -> None:
    """Clips per second by workers and size, and the memory of all processes together."""
    for count in sorted({min(size, len(files)) for size in (300, 1000, 2800)}):
        corpus = Corpus(name, files[:: len(files) // count][:count], folder / str(count))
        for workers in (1, 2):
            with _Memory() as memory:
                seconds = corpus.preprocess(cold=True, N_JOBS=workers)
            bench.note(
                f"{count} clips, {workers} workers", clips_per_s=count / seconds, memory_MB=memory.peak / 1e6,
                features_MB=_stored(corpus)["X"].nbytes / 1e6,
            )  # fmt: skip


class _Memory:
    """Largest memory of this process's children together, in bytes, each page counted once per process."""

    def __enter__(self) -> "_Memory":
        self.peak, self._ended = 0, threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._ended.wait(0.1):
            total = 0
            for child in psutil.Process().children(recursive=True):
                try:
                    total += child.memory_info().rss
                except psutil.NoSuchProcess:
                    continue
            self.peak = max(self.peak, total)


def make_bundle(folder: Path, file: Path) -> None:
    """Save a bundle of the plain model, untrained: the time of a prediction does not depend on its weights."""
    from ser_lib.model.network import build_model, save_model, set_seed
    from ser_lib.model.onnx import export_onnx

    set_seed(0)
    params = Params(OUTPUT_DIR=str(folder))
    settings = Params(TARGET_LENGTH=72359).audio_settings
    X = process_audio_file(file, settings)[np.newaxis]
    model = build_model(X, 7, params)
    folder.mkdir(parents=True)
    save_model(model, folder / params.MODEL_WEIGHTS_FILE)
    export_onnx(model, folder / params.MODEL_ONNX_FILE)
    write_text(folder / SPLIT_FILE, "")
    clips = pd.DataFrame({"corpus": "DEMO", "emotion": [*EMOTIONS, EMOTIONS[0]]})
    clips = clips.assign(trimmed_seconds=2.0, peak_dbfs=-6.0, bandwidth_hz=12000.0)
    X = np.repeat(X, len(clips), axis=0)
    data = ProcessedData(X, np.zeros(len(X)), X[:, 0], clips, pd.DataFrame(), settings, "")
    save_bundle(data, np.array(["train"] * len(EMOTIONS) + ["validation"]), params, temperature=1.0)


def bench_prediction(bench: Bench, folder: Path, files: list[Path]) -> None:
    """One file to its label: in a warm process, and with the command from a cold start."""
    make_bundle(folder, files[0])
    import usual_way

    bundle, keras = load_bundle(folder), load_bundle(folder, backend="keras")

    def usual_prediction(file: Path) -> np.ndarray:
        return keras.probabilities(usual_way.features(file, bundle.info.settings.target_length)[np.newaxis])

    def timed(predict: Callable[[Path], object]) -> float:
        start = time.perf_counter()
        for file in files[:20]:
            predict(file)
        return (time.perf_counter() - start) / len(files[:20])

    for predict in (usual_prediction, lambda file: predict_emotion_from_file(file, bundle)):
        predict(files[0])
    bench.compare(
        "prediction warm",
        lambda: timed(usual_prediction),
        lambda: timed(lambda f: predict_emotion_from_file(f, bundle)),
    )
    X = np.stack([process_audio_file(file, bundle.info.settings) for file in files[:20]])
    bench.note(
        "ONNX Runtime and Keras",
        largest_difference=float(np.abs(bundle.probabilities(X) - keras.probabilities(X)).max()),
    )
    command = [Path(sys.executable).parent / "ser", "predict", files[0], "--run", folder]
    for backend in ("keras", "onnx"):
        run(*command, "--backend", backend)  # fills the page cache
    bench.compare(
        "ser predict cold", lambda: run(*command, "--backend", "keras"), lambda: run(*command, "--backend", "onnx")
    )


def bench_training(bench: Bench) -> None:
    """Three epochs of 256 clips, with memory handed back after each step (as is usual) and kept."""

    def timed(memory: str, size: tuple[int, int], **values: object) -> float:
        command = [sys.executable, "-c", TRAIN, json.dumps(values), memory, json.dumps(size)]
        return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)

    cnn = {
        "FEATURES": "logmel", "CMN": True, "POOLING": "mean_max", "BATCH_SIZE": 64,
        "AUGMENT": ["mask", "warp", "stretch", "position", "noise", "echo"],
    }  # fmt: skip
    networks = {
        "plain BiLSTM": ((142, 15), {}),
        "CNN": ((79, 64), cnn | {"MODEL": "cnn"}),
        "large CNN": ((192, 80), cnn | {"MODEL": "cnn_large"}),
    }
    for name, (size, values) in networks.items():
        bench.compare(
            f"training, {name}", functools.partial(timed, "handed back", size, **values),
            functools.partial(timed, "kept", size, **values),
        )  # fmt: skip


def main() -> None:
    """Run the benchmarks."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    default = "data/TESS" if Path("data/TESS").is_dir() else "data/demo"
    parser.add_argument("--corpus", type=Path, default=Path(default))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", default="preprocess,scaling,prediction,training")
    options = parser.parse_args()
    name = "DEMO" if options.corpus.name == "demo" else "TESS"
    clips, _ = find_clips(name, options.corpus)
    files = [(options.corpus / clip.file).absolute() for clip in clips]
    bench, chosen = Bench(options.repeats), options.only.split(",")
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        if "preprocess" in chosen:
            later = files[::280][:10]
            corpus = Corpus(name, [file for file in files if file not in later], place / "whole")
            bench_preprocess(bench, corpus, later)
        if "scaling" in chosen:
            bench_scaling(bench, name, files, place / "scaling")
        if "prediction" in chosen:
            bench_prediction(bench, place / "bundle", files)
        if "training" in chosen:
            bench_training(bench)
    environment = describe_environment()
    about = {"cpu": environment.cpu, "cores": environment.cores, "python": platform.python_version()}
    about |= {"corpus": name, "clips": len(files), "commit": environment.commit, "dirty": environment.dirty}
    write_text(Path("build/bench.json"), json.dumps({"machine": about, "figures": bench.rows}, indent=1) + "\n")
    print_table(about, bench.rows)


def print_table(about: dict, rows: dict[str, dict]) -> None:
    """Print the comparisons as aligned columns."""
    print(
        f"\n{about['corpus']}, {about['clips']} clips; {about['cpu']}, {about['cores']} cores, Python {about['python']}"
    )
    print(f"{'':<22}{'usual way':>12}{'here':>12}{'ratio':>8}   smallest and largest ratio")
    for name, row in rows.items():
        if "ratio" in row:
            usual, ours, ratio = (row[key]["median"] for key in ("usual_s", "ours_s", "ratio"))
            print(
                f"{name:<22}{usual:>10.3g} s{ours:>10.3g} s{ratio:>6.1f} x   "
                f"{row['ratio']['min']:.1f} to {row['ratio']['max']:.1f}"
            )


if __name__ == "__main__":
    main()
