"""Which features, models and variations carry over to a voice that was never heard: the table in docs/transfer.md."""

import argparse
import json
import time

from sklearn.metrics import recall_score

from ser_lib.model import build_model, predict_probabilities, set_seed
from ser_lib.params import make_params
from ser_lib.preprocess import preprocess_data
from ser_lib.store import one_hot
from ser_lib.train import Batches

LOGMEL = {
    "FEATURES": "logmel",
    "N_MELS": 80,
    "MEL_FMIN": 50.0,
    "MEL_FMAX": 8000.0,
    "FRAME_LENGTH": 1024,
    "HOP_LENGTH": 512,
    "TARGET_LENGTH": 71680,
    "DENOISE": False,
}
CNN = LOGMEL | {
    "MODEL": "cnn",
    "POOLING": "mean_max",
    "DROPOUT_RATE": 0.4,
    "LABEL_SMOOTHING": 0.1,
    "SCHEDULE": "one_cycle",
    "WEIGHT_DECAY": 0.01,
    "LEARNING_RATE": 4.0e-3,
    "EPOCHS": 20,
}
ALL = ["mask", "warp", "shift", "stretch", "position", "tilt", "gain"]
CANDIDATES = {
    "cnn mask": CNN | {"AUGMENT": ["mask"]},
    "cnn all": CNN | {"AUGMENT": ALL},
    "cnn all denoised": CNN | {"AUGMENT": ALL, "DENOISE": True},
}


def data_of(corpus, values):
    params = make_params(
        {k: v for k, v in values.items()}
        | {"CORPORA": [corpus], "DATASET_PATH": f"data/{corpus}", "OUTPUT_DIR": f"build/ablation/{corpus}"}
    )
    return preprocess_data(params), params


def fit(X, y, params, validation=None):
    set_seed(params.SEED)
    batches = Batches(X, one_hot(y), params)
    model = build_model(X, 7, params, n_steps=params.EPOCHS * len(batches))
    model.fit(batches, epochs=params.EPOCHS, verbose=0)
    return model


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("names", nargs="*")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--directions", default="OAF,YAF")
    parser.add_argument("--out", default="build/ablation.jsonl")
    o = parser.parse_args()
    for name in o.names or CANDIDATES:
        values = CANDIDATES[name]
        data, _ = data_of("TESS", values)
        speakers = data.clips.speaker.to_numpy()
        for seed in map(int, o.seeds.split(",")):
            for source in o.directions.split(","):
                start = time.time()
                params = make_params(values | {"SEED": seed})
                train = speakers == source
                model = fit(data.X[train], data.y[train], params)
                predicted = predict_probabilities(model, data.X[~train]).argmax(1)
                recalls = recall_score(data.y[~train], predicted, average=None, labels=range(7))
                row = {
                    "name": name,
                    "seed": seed,
                    "train": source,
                    "uar": float(recalls.mean()),
                    "recalls": recalls.round(3).tolist(),
                    "s": round(time.time() - start),
                }
                print(json.dumps(row), flush=True)
                with open(o.out, "a") as f:
                    f.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()
