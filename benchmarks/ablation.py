"""Which features, networks and variations carry over to a voice that was never heard: the tables of docs/transfer.md.

Every candidate is trained on one actress of TESS and tested on the other, in both directions, with several seeds;
20 epochs of the one-cycle schedule, the last one kept, so that nothing is chosen on the test speaker.

python benchmarks/ablation.py                        # every candidate, seeds 0, 1 and 2: two hours on two cores
python benchmarks/ablation.py "mask alone" --seeds 0
python benchmarks/ablation.py --table                # what was measured so far, as Markdown

Reads data/TESS and data/EMODB; writes build/ablation/runs.jsonl, and each run's probabilities beside it.
"""

import argparse
import json
import statistics
import time
from pathlib import Path

import librosa
import numpy as np
from joblib import Parallel, delayed
from sklearn.metrics import recall_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from ser_lib.audio.features import analyse_trimmed, to_features
from ser_lib.audio.settings import AudioSettings
from ser_lib.audio.signal import load_audio, resample, trim_steps
from ser_lib.core.labels import EMOTIONS
from ser_lib.model.network import build_model, keras, predict_probabilities, set_seed
from ser_lib.params import make_params
from ser_lib.preprocess import preprocess_data
from ser_lib.store import ProcessedData, one_hot
from ser_lib.train import Batches, one_decibel

FOLDER = Path("build/ablation")
BASE = {
    "FEATURES": "logmel", "N_MELS": 64, "MEL_FMIN": 50.0, "MEL_FMAX": 8000.0, "FRAME_LENGTH": 1024, "HOP_LENGTH": 768,
    "TARGET_LENGTH": 71680, "DENOISE": False, "MODEL": "cnn", "POOLING": "mean_max", "DROPOUT_RATE": 0.4,
    "AUGMENT": ["mask", "warp", "shift", "stretch", "position", "tilt", "gain"], "LABEL_SMOOTHING": 0.1,
    "SCHEDULE": "one_cycle", "WEIGHT_DECAY": 0.01, "LEARNING_RATE": 4.0e-3, "EPOCHS": 20,
}  # fmt: skip
CANDIDATES = {
    "log-mel, CNN, all variations": {},
    "mean of each band removed (CMN)": {"CMN": True},
    "EMO-DB in training, too": {"with": "emodb"},
    "normalised per speaker": {"NORMALIZE_PER_SPEAKER": True},
    "mask alone": {"AUGMENT": ["mask"]},
    "mask alone, mean of each band removed": {"AUGMENT": ["mask"], "CMN": True},
    "attention pooling": {"POOLING": "attention"},
    "F0 and voicing as further bands": {"with": "f0"},
    "waveforms at 0.9, 1 and 1.1 of the speed": {"with": "speed", "EPOCHS": 7},
    "BiLSTM, mean and maximum": {"MODEL": "bilstm", "with": "single precision"},
    "no variation": {"AUGMENT": []},
    "delta features as further bands": {"with": "delta"},
}
"""What differs from `BASE`; `with` names a change that is no parameter."""


def load(corpus: str, params: dict) -> ProcessedData:
    """Preprocess a corpus, from the cache where it is known."""
    own = {"CORPORA": [corpus], "DATASET_PATH": f"data/{corpus}", "OUTPUT_DIR": str(FOLDER / corpus)}
    return preprocess_data(make_params(params | own))


def with_pitch(data: ProcessedData) -> np.ndarray:
    """Log-mel with eight columns of F0 (semitones from the clip's median, YIN) and eight of voicing."""
    tracks = Parallel(n_jobs=-1, batch_size=16)(
        delayed(_pitch)(Path("data/TESS") / file, data.settings) for file in data.clips["file"]
    )
    return np.concatenate([data.X, np.repeat(np.stack(tracks), 8, axis=2)], axis=2)


def _pitch(path: Path, settings: AudioSettings) -> np.ndarray:
    signal = trim_steps(*load_audio(path), settings)["trimmed"]
    f0 = librosa.yin(
        signal, fmin=80, fmax=600, sr=settings.sampling_rate, frame_length=2048, hop_length=settings.hop_length
    )
    rms = librosa.feature.rms(y=signal, frame_length=2048, hop_length=settings.hop_length)[0]
    voiced = (rms > 0.1 * rms.max()) & (f0 < 590) & (f0 > 85)
    semitones = np.where(voiced, 12 * np.log2(f0 / np.median(f0[voiced] if voiced.any() else f0)), 0)
    track = np.zeros((settings.n_frames, 2), dtype=np.float32)
    track[: len(f0)] = np.stack([semitones, 10.0 * voiced], axis=1)[: settings.n_frames]
    return track


def at_speed(data: ProcessedData, speed: float) -> np.ndarray:
    """Log-mel of the same clips played faster, pitch and all."""
    return np.stack(
        Parallel(n_jobs=-1, batch_size=16)(
            delayed(_faster)(Path("data/TESS") / file, data.settings, speed) for file in data.clips["file"]
        )
    )


def _faster(path: Path, settings: AudioSettings, speed: float) -> np.ndarray:
    rate = settings.sampling_rate
    signal = resample(trim_steps(*load_audio(path), settings)["trimmed"], rate, target_rate=round(rate / speed))
    return to_features(analyse_trimmed(signal, settings), settings)


def training_set(name: str | None, data: ProcessedData, params: dict) -> tuple[np.ndarray, list]:
    """Features of TESS, and further clips for training: (features, labels, speaker or None for any)."""
    if name == "f0":
        return with_pitch(data), []
    if name == "delta":
        return np.concatenate([data.X, 3 * librosa.feature.delta(data.X, axis=1, width=5)], axis=2), []
    if name == "speed":
        return data.X, [(at_speed(data, speed), data.y, data.clips["speaker"].to_numpy()) for speed in (0.9, 1.1)]
    if name == "emodb":
        emodb = load("EMODB", params)
        return data.X, [(emodb.X, emodb.y, None)]
    return data.X, []


def run(name: str, seeds: list[int]) -> None:
    """Train and test a candidate that has not been measured yet."""
    values = dict(BASE | CANDIDATES[name])
    changed = values.pop("with", None)
    # bfloat16 takes half of the time where the processor has AMX; a recurrent network learns less in it
    keras.mixed_precision.set_global_policy("float32" if changed == "single precision" else "mixed_bfloat16")
    data = load("TESS", values)
    X, further = training_set(changed, data, values)
    speakers = data.clips["speaker"].to_numpy()
    for seed in seeds:
        for source in ("OAF", "YAF"):
            if is_measured(name, seed, source):
                continue
            start, params, train = time.monotonic(), make_params(values | {"SEED": seed}), speakers == source
            parts = [(X[train], data.y[train])]
            parts += [
                (more[who == source], y[who == source]) if who is not None else (more, y) for more, y, who in further
            ]
            X_train, y_train = (np.concatenate(column) for column in zip(*parts, strict=True))
            set_seed(seed)
            batches = Batches(X_train, one_hot(y_train), params, decibel=one_decibel(data.speakers))
            model = build_model(X_train, len(EMOTIONS), params, n_steps=params.EPOCHS * len(batches))
            model.fit(batches, epochs=params.EPOCHS, verbose=0)
            probabilities = predict_probabilities(model, X[~train])
            note(name, seed, source, data.y[~train], probabilities, time.monotonic() - start)


def run_svm(seeds: list[int]) -> None:
    """Support vector machines on pooled log-mel: they take no seed, which only draws a new voice's clips."""
    data = load("TESS", BASE)
    speakers = data.clips["speaker"].to_numpy()
    rng_of = {seed: np.random.default_rng(seed) for seed in seeds}
    for n_clips in (0, None, 5, 10, 20, 50):
        name = "SVM on pooled log-mel"
        if n_clips != 0:
            name += f", normalised by {n_clips or 'all'} clips of each voice"
        for seed in seeds:
            for source in ("OAF", "YAF"):
                if is_measured(name, seed, source):
                    continue
                start, train = time.monotonic(), speakers == source
                pooled = [data.pooled[train], data.pooled[~train]]
                if n_clips != 0:
                    pooled = [_without_speaker(part, n_clips, rng_of[seed]) for part in pooled]
                svm = make_pipeline(StandardScaler(), SVC(C=1)).fit(pooled[0], data.y[train])
                shares = np.eye(len(EMOTIONS))[svm.predict(pooled[1])]
                note(name, seed, source, data.y[~train], shares, time.monotonic() - start)


def _without_speaker(pooled: np.ndarray, n_clips: int | None, rng: np.random.Generator) -> np.ndarray:
    """Standardise a voice's clips by `n_clips` of them, drawn at random without their labels, or by all."""
    chosen = pooled if n_clips is None else pooled[rng.choice(len(pooled), n_clips, replace=False)]
    return (pooled - chosen.mean(axis=0)) / chosen.std(axis=0)


def run_ensembles() -> None:
    """Mean of the probabilities of a candidate's three seeds: one row for each direction."""
    data = load("TESS", BASE)
    speakers = data.clips["speaker"].to_numpy()
    for name in ("log-mel, CNN, all variations", "mean of each band removed (CMN)", "mask alone"):
        for source in ("OAF", "YAF"):
            files = sorted(FOLDER.glob(f"{name} {source} [0-9].npy"))
            if len(files) == 3 and not is_measured(f"{name}: mean of three seeds", 0, source):
                mean = np.mean([np.load(file) for file in files], axis=0)
                note(f"{name}: mean of three seeds", 0, source, data.y[speakers != source], mean, 0)


def is_measured(name: str, seed: int, source: str) -> bool:
    """Tell whether a run is in the table already."""
    return any((row["name"], row["seed"], row["train"]) == (name, seed, source) for row in measured())


def note(name: str, seed: int, source: str, y: np.ndarray, probabilities: np.ndarray, seconds: float) -> None:
    """Add a run to the table."""
    recalls = recall_score(y, probabilities.argmax(axis=1), labels=range(len(EMOTIONS)), average=None)
    row = {"name": name, "seed": seed, "train": source, "uar": round(float(recalls.mean()), 4)}
    row |= {"recalls": [round(float(recall), 3) for recall in recalls], "seconds": round(seconds)}
    print(json.dumps(row), flush=True)
    np.save(FOLDER / f"{name.replace('/', ' ')} {source} {seed}.npy", probabilities.astype(np.float32))
    with (FOLDER / "runs.jsonl").open("a") as file:
        file.write(json.dumps(row) + "\n")


def measured() -> list[dict]:
    """Every run so far."""
    path = FOLDER / "runs.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []


def main() -> None:
    """Measure, or print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="candidates; all of them if none is named")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--table", action="store_true")
    options = parser.parse_args()
    FOLDER.mkdir(parents=True, exist_ok=True)
    seeds = [int(seed) for seed in options.seeds.split(",")]
    if not options.table:
        for name in options.names or CANDIDATES:
            run(name, seeds)
        run_svm(seeds)
        run_ensembles()
    print_table(measured())


def print_table(rows: list[dict]) -> None:
    """Print mean ± deviation of the UAR in both directions, their mean, and the recall of happy in each."""
    print("| candidate | seeds | OAF → YAF | YAF → OAF | mean | recall of happy |")
    print("| --- | ---: | --- | --- | ---: | --- |")
    names = dict.fromkeys([*CANDIDATES, *(row["name"] for row in rows)])
    for name in names:
        directions = [
            [row for row in rows if (row["name"], row["train"]) == (name, source)] for source in ("OAF", "YAF")
        ]
        if not all(directions):
            continue
        uars = [[row["uar"] for row in direction] for direction in directions]
        cells = [
            f"{statistics.fmean(one):.3f}" + (f" ± {statistics.stdev(one):.3f}" if one[1:] else "") for one in uars
        ]
        mean = statistics.fmean(statistics.fmean(one) for one in uars)
        happy = [statistics.fmean(row["recalls"][1] for row in direction) for direction in directions]
        n_seeds = min(map(len, uars))
        print(f"| {name} | {n_seeds} | {cells[0]} | {cells[1]} | {mean:.3f} | {happy[0]:.2f}, {happy[1]:.2f} |")


if __name__ == "__main__":
    main()
