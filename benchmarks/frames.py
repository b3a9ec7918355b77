"""A recurrent network over an encoder's frames, beside one layer on their mean: new voices of EMO-DB.

    python benchmarks/frames.py --seeds 0,1,2     # data/EMODB and smart-turn must be there

Each of ten speakers is left out; 20 minutes of processor time for a seed. Prints the rows of docs/transfer.md, and
behind each mean those of the seeds. The frames are those behind the second of smart-turn's four blocks, 25 a second
(means of two). Clips are repeated or cut to four seconds, the first of the eight that the encoder hears, as `TILE` does
with log-mel; the mean is that of these four seconds.
"""

import argparse

import numpy as np

from ser_lib import load_params, preprocess_data
from ser_lib.audio.encoders import read_weights, smart_turn, weights_paths
from ser_lib.audio.signal import load_audio, trim_steps
from ser_lib.model.batches import Batches, balance
from ser_lib.model.network import build_model, predict_probabilities, set_seed
from ser_lib.params import Params, make_params
from ser_lib.scoring.metrics import uar
from ser_lib.store import ProcessedData, one_hot

LAYER = 3
"""Of the eight layer norms, counted from 0."""
N_FRAMES = 100
SHARED = {"SCHEDULE": "one_cycle", "EPOCHS": 30}
LINEAR = {"MODEL": "linear", "FEATURES": "encoder", "ENCODER": "smart-turn", "DENOISE": False}
MODELS = {
    "one layer on the frames' mean": LINEAR | {"DROPOUT_RATE": 0.5, "LEARNING_RATE": 3e-3, "WEIGHT_DECAY": 1.0},
    "BiLSTM over the frames, mean and maximum": {"MODEL": "bilstm", "POOLING": "mean_max"},
}


def hear(data: ProcessedData, params: Params) -> np.ndarray:
    """Frames of each clip [shape=(n_clips, N_FRAMES, 384)]."""
    layers = smart_turn.open_layers(*read_weights("smart-turn", weights_paths("smart-turn")))
    heard = []
    for file in data.clips["file"]:
        trimmed = trim_steps(*load_audio(params.dataset_path / file), data.settings)["trimmed"]
        frames = layers(trimmed)[LAYER]
        repeated = np.resize(frames, (2 * N_FRAMES, frames.shape[1]))
        heard.append(repeated.reshape(N_FRAMES, 2, -1).mean(axis=1))
    return np.array(heard)


def test_each(X: np.ndarray, data: ProcessedData, params: Params) -> list[float]:
    """UAR on each speaker, after training on all others."""
    speakers, y = data.clips["speaker"].to_numpy(), one_hot(data.y)
    found = []
    for speaker in np.unique(speakers):
        train = speakers != speaker
        set_seed(params.SEED)
        batches = Batches(X[train], y[train], params, weights=balance(data.clips[train]))
        model = build_model(X[train], y.shape[1], params, n_steps=params.EPOCHS * len(batches))
        model.fit(batches, epochs=params.EPOCHS, verbose=0)
        found.append(uar(data.y[~train], predict_probabilities(model, X[~train]).argmax(axis=1)))
    return found


def main() -> None:
    """Measure every model, and print its mean over speakers: of all seeds, and of each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", default="0", help="seeds, separated by commas")
    seeds = [int(seed) for seed in parser.parse_args().seeds.split(",")]
    encoder = load_params("params/emodb_encoder.yaml", overrides=["OUTPUT_DIR=artifacts/frames"])
    data = preprocess_data(encoder)
    frames = hear(data, encoder)
    for name, values in MODELS.items():
        X = frames.mean(axis=1, keepdims=True) if values["MODEL"] == "linear" else frames
        means = [np.mean(test_each(X, data, make_params(SHARED | values | {"SEED": seed}))) for seed in seeds]
        print(f"| {name} | {np.mean(means):.3f} | {', '.join(f'{one:.3f}' for one in means)} |", flush=True)


if __name__ == "__main__":
    main()
