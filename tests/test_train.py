import hashlib
import io
import json
import os
import zipfile
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace

import h5py
import numpy as np
import onnx
import pandas as pd
import pytest
from scipy import special
from test_store import run_python, tiny_data

from ser_lib import store, train
from ser_lib.audio.normalize import Statistics
from ser_lib.core.errors import StageError
from ser_lib.core.io import write_csv, write_text
from ser_lib.model import onnx_guard
from ser_lib.model.backends import load_onnx
from ser_lib.model.batches import Batches
from ser_lib.model.bundle import load_bundle
from ser_lib.model.network import (
    average_layers,
    build_model,
    feature_statistics,
    keras,
    load_model,
    predict_probabilities,
    save_model,
    show_layers,
)
from ser_lib.model.onnx import export_onnx
from ser_lib.params import make_params
from ser_lib.train import best_epoch, make_callbacks, one_decibel, train_model

# Keras 3.15 copies TensorFlow's variables in a way that numpy 2 dislikes.
pytestmark = pytest.mark.filterwarnings(
    "ignore:__array__ implementation doesn't accept a copy:DeprecationWarning:keras"
)

SMALL = {"LSTM_UNITS": 4, "DENSE_UNITS": 5, "EPOCHS": 6, "BATCH_SIZE": 8, "LEARNING_RATE": 0.02}


def write_tiny_data(params):
    data = tiny_data()
    sets = np.array((["train"] * 5 + ["validation"] * 2 + ["test"]) * 7)
    store.save_processed(params.processed_data_file, data)
    write_csv(params.output_dir / "split.csv", data.clips.assign(set=sets))
    return data, sets


def digest(model):
    return hashlib.sha256(b"".join(weights.tobytes() for weights in model.get_weights())).hexdigest()


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """One training on tiny data."""
    root = tmp_path_factory.mktemp("train")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SER_ROOT", str(root))
        params = make_params(SMALL)
        data, sets = write_tiny_data(params)
        built, step = [], keras.Model.train_step
        patch.setattr(keras.Model, "train_step", lambda self, batch: built.append(self.name) or step(self, batch))
        model, history = train_model(params)
        y = np.eye(7)[data.y]
        yield SimpleNamespace(
            root=root, folder=params.output_dir, params=params, model=model, history=history, built=built,
            X=data.X[sets == "train"], X_val=data.X[sets == "validation"], y_val=y[sets == "validation"],
        )  # fmt: skip


def test_statistics_by_hand():
    X = np.array([[[1.0, 10.0], [3.0, 10.0]], [[5.0, 10.0], [7.0, 10.0]]])
    mean, deviation = feature_statistics(X)
    assert mean.tolist() == [4, 10]
    assert deviation.tolist() == [pytest.approx(5**0.5), 1]  # a constant feature has the deviation 1


def test_layers_in_order(trained):
    kinds = "Rescaling Bidirectional Dropout Bidirectional Dropout Dense Dropout Dense".split()
    layers = trained.model.layers
    assert isinstance(trained.model, keras.Sequential)
    assert [type(layer).__name__ for layer in layers] == kinds
    assert [type(layers[i].forward_layer).__name__ for i in (1, 3)] == ["LSTM", "LSTM"]
    assert [layers[i].forward_layer.units for i in (1, 3)] == [4, 4]
    assert [layers[i].forward_layer.return_sequences for i in (1, 3)] == [True, False]
    assert [layers[i].rate for i in (2, 4, 6)] == [0.3] * 3
    assert (layers[5].units, layers[5].activation.__name__) == (5, "relu")
    assert (layers[7].units, layers[7].activation.__name__) == (7, "softmax")
    assert trained.model.input_shape == (None, 6, 4)


def test_compiled_as_asked(trained):
    assert isinstance(trained.model.optimizer, keras.optimizers.Adam)
    assert trained.model.loss == "categorical_crossentropy"
    assert trained.history["learning_rate"][0] == pytest.approx(0.02)


def test_step_of_training_is_built_once(trained):
    assert trained.built == ["ser_bilstm"]


def test_first_layer_standardises_the_training_set_alone(trained):
    layer = trained.model.get_layer("standardize")
    standardised = np.asarray(layer(trained.X)).reshape(-1, 4)
    np.testing.assert_allclose(standardised.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(standardised.std(axis=0), 1, atol=1e-5)
    assert isinstance(layer.get_config()["scale"], list)


def test_standardisation_can_be_left_out():
    model = build_model(tiny_data().X, 7, make_params(SMALL | {"STANDARDIZE": False}))
    assert type(model.layers[0]).__name__ == "Bidirectional"


def test_layers_of_ones_own_stand_between_standardisation_and_emotions():
    own = [keras.layers.LSTM(3, name="lstm"), keras.layers.Dense(5, activation="relu")]
    X = tiny_data().X
    models = [build_model(X, 7, make_params(SMALL), own_layers=own) for _ in range(2)]  # training builds it twice
    for model in models:
        assert [layer.name for layer in model.layers] == ["standardize", "own_1", "own_2", "emotions"]
        n = X.shape[-1]
        assert model.count_params() == 4 * 3 * (n + 3 + 1) + (3 + 1) * 5 + (5 + 1) * 7
    assert not own[0].built and models[0].layers[1] is not models[1].layers[1]


def test_training_takes_layers_of_ones_own(root):
    params = make_params(SMALL | {"EPOCHS": 1})
    write_tiny_data(params)
    model, _ = train_model(params, own_layers=[keras.layers.Flatten(), keras.layers.Dense(4)])
    assert [layer.name for layer in model.layers] == ["standardize", "own_1", "own_2", "emotions"]
    kept = json.loads((params.output_dir / "model.json").read_text())
    assert [layer["config"]["name"] for layer in kept["config"]["layers"]][-3:] == ["own_1", "own_2", "emotions"]


def test_layers_that_cannot_be_exported_are_refused_before_training(root):
    params = make_params(SMALL)
    write_tiny_data(params)
    with pytest.raises(StageError, match=r"not ReverseSequence\); it was not trained\. Take other layers\.$"):
        train_model(params, own_layers=[keras.layers.LSTM(3, go_backwards=True)])


def test_network_that_would_be_too_large_to_predict_with_is_refused_before_training(root, monkeypatch):
    params = make_params(SMALL)
    write_tiny_data(params)
    monkeypatch.setattr(onnx_guard, "MOST_OPERATIONS", 1000)
    message = r"at most 1,000 multiplications for a clip\. This one is, so it was not trained\. Let it have fewer units"
    with pytest.raises(StageError, match=message):
        train_model(params)


def test_attention_over_many_frames_is_not_too_large(tmp_path):
    frames = np.random.default_rng(0).standard_normal((2, 150, 15)).astype(np.float32)
    model = build_model(frames, 7, make_params({"POOLING": "attention", "LSTM_UNITS": 64}))
    export_onnx(model, tmp_path / "model.onnx")
    probabilities, _ = load_onnx(tmp_path / "model.onnx")
    assert np.allclose(probabilities(frames), predict_probabilities(model, frames), atol=1e-5)
    # each direction and frame has 4 gates of 64 units; beside the two layers' outputs, all else is small
    gates = 2 * 150 * 4 * 64
    assert onnx_guard.count_numbers((tmp_path / "model.onnx").read_bytes()) < 10 * gates


@pytest.mark.parametrize(
    ("choice", "lines"),
    [
        ({}, ["layers.LSTM(params.LSTM_UNITS", "layers.Bidirectional(", "layers.Dropout(params.DROPOUT_RATE"]),
        (
            {"MODEL": "cnn", "POOLING": "attention", "FEATURES": "logmel"},
            ["layers.Conv2D(", "layers.Softmax(axis=1"],
        ),
        ({"MODEL": "linear", "FEATURES": "encoder", "ENCODER": "smart-turn", "DENOISE": False}, ["layers.Flatten("]),
    ],
    ids=["bilstm", "cnn", "linear"],
)
def test_source_that_is_shown_is_that_of_the_model(choice, lines):
    shown = show_layers(make_params(choice))
    assert [line for line in lines if line not in shown] == []
    assert compile(shown, "shown", "exec")
    assert ("def _pooling" in shown) is ("POOLING" in choice)


LOGMEL = {"FEATURES": "logmel", "N_MELS": 32}


def spectrograms(n_clips=6):
    return np.random.default_rng(0).standard_normal((n_clips, 48, 32)).astype(np.float32)


@pytest.mark.parametrize("pooling", ["last", "mean_max", "attention"])
def test_recurrent_network_pools_its_frames(pooling):
    model = build_model(spectrograms(), 7, make_params(SMALL | LOGMEL | {"POOLING": pooling}))
    kinds = [layer.name for layer in model.layers]
    assert (pooling in kinds) is (pooling != "last")
    assert model.get_layer("bilstm_2").output.shape == ((None, 8) if pooling == "last" else (None, 48, 8))
    width = {"last": 8, "mean_max": 16, "attention": 8}[pooling]
    assert model.get_layer("dense").input.shape == (None, width)


@pytest.mark.parametrize(("pooling", "width"), [("mean_max", 256), ("attention", 128)])
def test_convolutional_network_has_four_blocks(pooling, width):
    model = build_model(spectrograms(), 7, make_params(LOGMEL | {"MODEL": "cnn", "POOLING": pooling}))
    blocks = [model.get_layer(f"convolution_{number}") for number in (1, 2, 3, 4)]
    assert [block.filters for block in blocks] == [24, 48, 96, 128]
    assert all(block.kernel_size == (3, 3) for block in blocks)
    assert model.get_layer("frames").output.shape == (None, 3, 128)  # 48 frames, halved four times
    assert model.get_layer("emotions").input.shape == (None, width)


def test_large_convolutional_network_takes_long_steps_first():
    model = build_model(spectrograms(), 7, make_params(LOGMEL | {"MODEL": "cnn_large", "POOLING": "mean_max"}))
    blocks = [model.get_layer(f"convolution_{number}") for number in (1, 2, 3, 4)]
    assert [block.filters for block in blocks] == [32, 64, 128, 192]
    # of 48 frames and 32 bands
    assert [block.output.shape[1:3] for block in blocks] == [(24, 8), (24, 8), (12, 4), (6, 2)]
    assert model.get_layer("frames").output.shape == (None, 6, 192)


def pooled_by_keras(pooling, frames):
    model = build_model(spectrograms(), 7, make_params(LOGMEL | {"MODEL": "cnn", "POOLING": pooling}))
    layer = model.get_layer(pooling)
    return np.asarray(layer(frames)), layer


def test_mean_max_is_the_mean_beside_the_maximum():
    frames = np.random.default_rng(1).standard_normal((2, 3, 128)).astype(np.float32)
    pooled, _ = pooled_by_keras("mean_max", frames)
    np.testing.assert_allclose(pooled, np.hstack([frames.mean(axis=1), frames.max(axis=1)]), atol=1e-6)


def test_attention_is_a_mean_weighted_by_the_softmax_of_a_score():
    frames = np.random.default_rng(1).standard_normal((2, 3, 128)).astype(np.float32)
    pooled, layer = pooled_by_keras("attention", frames)
    kernel, bias = layer.get_layer("score").get_weights()
    powers = np.exp(frames @ kernel + bias)
    expected = (powers / powers.sum(axis=1, keepdims=True) * frames).sum(axis=1)
    np.testing.assert_allclose(pooled, expected, atol=1e-5)


@pytest.mark.parametrize(
    "choice",
    [
        {"MODEL": "bilstm", "POOLING": "mean_max"},
        {"MODEL": "bilstm", "POOLING": "attention"},
        {"MODEL": "cnn", "POOLING": "mean_max"},
        {"MODEL": "cnn", "POOLING": "attention"},
    ],
    ids=lambda choice: "-".join(choice.values()),
)
def test_every_model_is_the_same_after_saving_and_as_onnx(choice, tmp_path):
    X = spectrograms(70)
    model = build_model(X, 7, make_params(SMALL | LOGMEL | choice))
    save_model(model, tmp_path / "model.keras")
    loaded = load_model(tmp_path / "model.keras")
    expected = predict_probabilities(model, X)
    np.testing.assert_array_equal(predict_probabilities(loaded, X), expected)
    export_onnx(loaded, tmp_path / "model.onnx")
    given, shapes = load_onnx(tmp_path / "model.onnx")
    assert shapes == ((48, 32), (7,))
    np.testing.assert_allclose(given(X), expected, rtol=0, atol=1e-6)


def test_labels_are_smoothed_as_asked():
    y = np.eye(7, dtype=np.float32)[:6]
    model = build_model(spectrograms(), 7, make_params(SMALL | LOGMEL | {"LABEL_SMOOTHING": 0.1}))
    probabilities = predict_probabilities(model, spectrograms()).astype(np.float64)
    expected = -((0.9 * y + 0.1 / 7) * np.log(probabilities)).sum(axis=1).mean()
    assert model.evaluate(spectrograms(), y, verbose=0)[0] == pytest.approx(expected, rel=1e-4)


def test_rate_of_one_cycle_rises_for_three_tenths_and_falls_to_nothing():
    choice = {"SCHEDULE": "one_cycle", "LEARNING_RATE": 0.01, "WEIGHT_DECAY": 0.02}
    optimizer = build_model(spectrograms(), 7, make_params(SMALL | LOGMEL | choice), n_steps=100).optimizer
    assert isinstance(optimizer, keras.optimizers.AdamW)
    assert optimizer.weight_decay == 0.02
    rate = keras.optimizers.schedules.deserialize(optimizer.get_config()["learning_rate"])
    rates = np.array([float(rate(step)) for step in range(101)])
    assert rates[0] == pytest.approx(0.01 / 25)
    assert rates.argmax() == 30
    assert rates[30] == pytest.approx(0.01)
    assert rates[65] == pytest.approx(0.005, rel=1e-3)  # half of the cosine
    assert rates[100] == pytest.approx(0, abs=1e-6)


def test_batches_hold_every_clip_once_an_epoch_in_an_order_of_their_own():
    X, y = np.arange(70, dtype=np.float32).reshape(70, 1, 1), np.arange(70)
    batches = Batches(X, y, make_params({"BATCH_SIZE": 32}))
    assert len(batches) == 3
    orders = []
    for _ in range(2):
        parts = [batches[number] for number in (2, 0, 1)]
        assert [len(labels) for _, labels in parts] == [6, 32, 32]
        assert all(np.array_equal(features.ravel(), labels) for features, labels in parts)
        orders.append(np.concatenate([labels for _, labels in parts]).tolist())
        assert sorted(orders[-1]) == list(range(70))
        batches.on_epoch_end()
    assert orders[0] != orders[1]
    assert orders[0] != list(range(70))


def test_batches_are_varied_anew_in_each_epoch_and_repeat_with_the_seed():
    def two_epochs(seed):
        batches = Batches(spectrograms(), np.eye(7)[:6], make_params(LOGMEL | {"AUGMENT": ["gain"], "SEED": seed}))
        first = batches[0][0]
        np.testing.assert_array_equal(batches[0][0], first)
        batches.on_epoch_end()
        return np.sort(first.mean(axis=(1, 2))), np.sort(batches[0][0].mean(axis=(1, 2)))

    (first, second), again, other = two_epochs(0), two_epochs(0), two_epochs(1)
    np.testing.assert_array_equal([first, second], again)
    assert not np.allclose(first, second)
    assert not np.allclose(first, other[0])


def test_a_quarter_of_the_clips_is_varied_in_each_way_others_in_each_epoch():
    X, y = np.arange(1000, dtype=np.float32).reshape(1000, 1, 1), np.arange(1000)
    batches = Batches(X, y, make_params({"BATCH_SIZE": 1000}), variants=np.stack([X + 1000, X + 2000]))
    epochs = []
    for _ in range(2):
        features, labels = batches[0]
        changes = features.ravel() - labels
        assert [0.2 < (changes == change).mean() < 0.3 for change in (1000, 2000)] == [True, True]
        assert 0.45 < (changes == 0).mean() < 0.55
        epochs.append(set(labels[changes == 1000]))
        batches.on_epoch_end()
    assert len(epochs[0] & epochs[1]) < 0.4 * len(epochs[0])
    np.testing.assert_array_equal(X.ravel(), np.arange(1000))


def test_a_decibel_shrinks_with_the_speakers_mean_deviation():
    known = {name: Statistics(mean=[0, 0], std=deviation) for name, deviation in (("a", [2, 4]), ("b", [6, 8]))}
    assert one_decibel(known) == pytest.approx(1 / 5)
    assert one_decibel({}) == 1


def test_every_file_is_there(trained):
    written = {
        "LICENCE.txt", "best_model.keras", "bundle.json", "history.json", "model.json", "model.onnx",
        "model.weights.h5", "notebook_params.json", "processed_data.npz", "split.csv",
    }  # fmt: skip
    assert set(os.listdir(trained.folder)) == written


def test_architecture_and_weights_rebuild_the_final_model(trained):
    rebuilt = keras.models.model_from_json((trained.folder / "model.json").read_text())
    rebuilt.load_weights(trained.folder / "model.weights.h5")
    expected = predict_probabilities(trained.model, trained.X)
    np.testing.assert_array_equal(predict_probabilities(rebuilt, trained.X), expected)


def test_best_model_carries_no_optimizer(trained):
    with zipfile.ZipFile(trained.folder / "best_model.keras") as archive:
        weights = h5py.File(io.BytesIO(archive.read("model.weights.h5")))
    assert "optimizer" not in weights


def test_best_model_has_the_best_validation_accuracy(trained):
    best = load_model(trained.folder / "best_model.keras")
    right = predict_probabilities(best, trained.X_val).argmax(axis=1) == trained.y_val.argmax(axis=1)
    assert right.mean() == pytest.approx(max(trained.history["val_accuracy"]))
    assert len(set(trained.history["val_accuracy"])) > 1  # else the test shows nothing


def test_onnx_and_keras_give_the_same_probabilities(trained):
    onnx, with_keras = (load_bundle(trained.folder, backend=backend) for backend in ("onnx", "keras"))
    X = np.random.default_rng(1).standard_normal((100, *trained.X.shape[1:])).astype(np.float32)  # two batches
    given = onnx.probabilities(X)
    assert (given.shape, given.dtype) == ((100, 7), np.float32)
    np.testing.assert_allclose(given, with_keras.probabilities(X), rtol=0, atol=1e-6)
    assert given.std(axis=0).min() > 1e-4  # else the test shows nothing


def test_onnx_file_is_valid_and_says_what_it_takes(trained):
    path = trained.folder / "model.onnx"
    onnx.checker.check_model(path, full_check=True)
    graph = onnx.load(path).graph
    shapes = [
        (value.name, [dimension.dim_param or dimension.dim_value for dimension in value.type.tensor_type.shape.dim])
        for value in (graph.input[0], graph.output[0])
    ]
    assert shapes == [("features", ["n_clips", *trained.X.shape[1:]]), ("probabilities", ["n_clips", 7])]


def test_export_that_does_not_agree_is_refused(trained, project, monkeypatch):
    params = make_params(SMALL | {"EPOCHS": 1})
    write_tiny_data(params)
    monkeypatch.setattr(train, "predict_probabilities", lambda model, X: np.full((len(X), 7), 1 / 7))
    with pytest.raises(StageError, match=r"must agree within 0\.0001 .* They differ by"):
        train_model(params)
    assert not {"model.onnx", "bundle.json"} & set(os.listdir(params.output_dir))


def test_what_cannot_be_exported_is_not_trained(project, monkeypatch):
    # as the BiLSTM by a Keras that is too old
    def fail(*_):
        raise AttributeError("'LSTM' object has no attribute 'x'\nand more")

    params = make_params(SMALL)
    write_tiny_data(params)
    monkeypatch.setattr(train, "export_onnx", fail)
    monkeypatch.setattr(keras.Model, "fit", lambda *_, **__: pytest.fail("it was trained"))
    reason = r"\(AttributeError: 'LSTM' object has no attribute 'x'\); it was not trained\. "
    versions = rf"keras {version('keras')}, .*tf2onnx {version('tf2onnx')}, .* do not fit together"
    with pytest.raises(StageError, match=f"must export to ONNX, and this one cannot {reason}{versions}"):
        train_model(params)


def test_final_model_has_the_weights_of_the_lowest_validation_loss(trained):
    probabilities = predict_probabilities(trained.model, trained.X_val)
    loss = -np.log((probabilities * trained.y_val).sum(axis=1)).mean()
    assert loss == pytest.approx(min(trained.history["val_loss"]), rel=1e-4)


def test_history_is_plain_json_of_every_epoch(trained):
    stored = json.loads((trained.folder / "history.json").read_text())
    assert stored == trained.history
    assert set(stored) == {"loss", "accuracy", "val_loss", "val_accuracy", "learning_rate"}
    assert {len(values) for values in stored.values()} == {6}


def test_bundle_names_the_best_model_and_its_settings(trained):
    bundle = load_bundle(trained.folder)
    assert (bundle.info.onnx, bundle.info.keras) == ("model.onnx", "best_model.keras")
    for name, digest in (("model.onnx", bundle.info.onnx_sha256), ("best_model.keras", bundle.info.keras_sha256)):
        assert digest == hashlib.sha256((trained.folder / name).read_bytes()).hexdigest()
    assert bundle.info.split_sha256 == hashlib.sha256((trained.folder / "split.csv").read_bytes()).hexdigest()
    assert bundle.info.data_fingerprint == tiny_data().fingerprint
    assert bundle.info.emotions == ["neutral", "happy", "sad", "angry", "fear", "disgust", "ps"]
    assert bundle.info.features == ["rms", "zcr", "mfcc_1", "mfcc_2"]
    assert bundle.info.settings == tiny_data().settings
    assert bundle.info.corpora == ["DEMO"]
    assert bundle.info.versions["keras"] == keras.__version__


def test_callbacks_watch_what_the_issue_says():
    params = make_params({"REDUCE_LR_PATIENCE": 4, "REDUCE_LR_FACTOR": 0.25, "EARLY_STOPPING_PATIENCE": 7})
    checkpoint, reduce_rate, early_stopping = make_callbacks(Path("best.keras"), params)
    assert (checkpoint.monitor, checkpoint.save_best_only, checkpoint.filepath) == ("val_accuracy", True, "best.keras")
    assert (reduce_rate.monitor, reduce_rate.patience, reduce_rate.factor) == ("val_accuracy", 4, 0.25)
    assert (early_stopping.monitor, early_stopping.patience) == ("val_loss", 7)
    assert early_stopping.restore_best_weights
    assert (checkpoint.mode, reduce_rate.mode) == ("max", "max")


def test_one_cycle_keeps_the_last_epoch(project):
    params = make_params(SMALL | {"SCHEDULE": "one_cycle"})
    write_tiny_data(params)
    model, history = train_model(params)
    kept = load_model(params.output_dir / "best_model.keras")
    assert digest(kept) == digest(model)
    assert {len(values) for values in history.values()} == {6}
    assert best_epoch(history, params) == 6
    assert max(history["learning_rate"]) <= 0.02
    assert history["learning_rate"][-1] < 0.002


def test_bundle_has_the_temperature_of_the_validation_set(trained):
    bundle, raw = load_bundle(trained.folder), load_model(trained.folder / "best_model.keras")
    probabilities = predict_probabilities(raw, trained.X_val).astype(np.float64)
    labels = trained.y_val.argmax(axis=1)
    rows = np.arange(len(labels))
    targets = np.full_like(probabilities, 1 / (len(labels) + 2) / 6)
    targets[rows, labels] = (len(labels) + 1) / (len(labels) + 2)

    def cross_entropy(temperature):
        powers = probabilities ** (1 / temperature)
        return -(targets * np.log(powers / powers.sum(axis=1, keepdims=True))).sum()

    found = bundle.info.temperature
    assert cross_entropy(found) <= min(cross_entropy(found * factor) for factor in (0.9, 0.99, 1.01, 1.1))
    powers = probabilities ** (1 / found)
    expected = powers / powers.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(bundle.probabilities(trained.X_val), expected, rtol=0, atol=1e-5)


def test_best_epoch_is_the_first_of_equals():
    assert best_epoch({"val_accuracy": [0.1, 0.5, 0.3, 0.5]}, make_params({})) == 2


TRAIN_AGAIN = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from test_train import SMALL, digest, make_params, train_model
model, _ = train_model(make_params(SMALL | {{"SEED": int(sys.argv[1]), "MODEL_WEIGHTS_FILE": "again.keras"}}))
print(digest(model))
"""


def test_same_seed_gives_the_same_files_in_a_fresh_process(trained, tmp_path):
    for name in ("processed_data.npz", "split.csv"):
        write_text(tmp_path / "artifacts" / "interactive" / name, "")
        (tmp_path / "artifacts" / "interactive" / name).write_bytes((trained.folder / name).read_bytes())
    done = run_python(TRAIN_AGAIN, "0", SER_ROOT=str(tmp_path))
    assert done.stdout.split()[-1] == digest(trained.model), done.stderr
    again = tmp_path / "artifacts" / "interactive"
    assert (again / "again.keras").read_bytes() == (trained.folder / "best_model.keras").read_bytes()
    for name in ("model.json", "model.weights.h5", "model.onnx"):
        assert (again / name).read_bytes() == (trained.folder / name).read_bytes(), name


def test_another_seed_gives_other_weights(trained, project):
    params = make_params(SMALL | {"SEED": 1, "EPOCHS": 1})
    write_tiny_data(params)
    model, _ = train_model(params)
    assert digest(model) != digest(trained.model)


def test_full_disk_is_one_clear_error(trained, tmp_path):
    code = f"""
import resource, signal, sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from test_train import SMALL, build_model, make_params, tiny_data, train_model, write_tiny_data
from ser_lib.train import _save
params = make_params(SMALL | {{"EPOCHS": 1}})
write_tiny_data(params)
model = build_model(tiny_data().X, 7, params)
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, ({(trained.folder / "model.json").stat().st_size + 500},) * 2)
for save in (lambda: train_model(params), lambda: _save(model, {{}}, tiny_data(), params)):
    try:
        save()
    except Exception as error:
        print(type(error).__name__, error)
"""
    done = run_python(code, SER_ROOT=str(tmp_path), PYTHONDONTWRITEBYTECODE="1")
    lines = done.stdout.splitlines()
    assert len(lines) == 2, done.stderr
    assert lines[0].startswith("StageError artifacts/interactive/best_model.keras cannot be written (")
    assert lines[1].startswith("StageError artifacts/interactive/model.weights.h5 cannot be written (")
    left = sorted(os.listdir(tmp_path / "artifacts" / "interactive"))
    assert left == ["processed_data.npz", "split.csv"]


@pytest.mark.parametrize(("made", "notebook"), [([], "01_preprocess"), (["processed_data.npz"], "02_split")])
def test_opened_too_early_says_what_to_run_first(project, made, notebook):
    params = make_params(SMALL)
    write_tiny_data(params)
    for name in {"processed_data.npz", "split.csv"} - set(made):
        (params.output_dir / name).unlink()
    with pytest.raises(StageError, match=f"Run {notebook} first"):
        train_model(params)


LINEAR = {"FEATURES": "encoder", "ENCODER": "smart-turn", "DENOISE": False, "MODEL": "linear"}


@pytest.mark.parametrize("standardize", [True, False])
def test_mean_of_layers_answers_with_the_mean_of_their_logits(standardize):
    """Layers that standardise by statistics of their own; softmax and logarithm are scipy's."""
    rng = np.random.default_rng(0)
    params = make_params(LINEAR | {"STANDARDIZE": standardize})
    scales = [(0, 1), (2, 0.7), (-3, 2)] if standardize else [(0, 1)] * 3
    models = [build_model(rng.normal(*one, (20, 1, 6)).astype(np.float32), 7, params) for one in scales]
    for model in models:
        model.get_layer("emotions").set_weights([rng.normal(0, 1, (6, 7)), rng.normal(0, 1, 7)])
    X = rng.normal(1, 0.3, (9, 1, 6)).astype(np.float32)
    answers = [predict_probabilities(model, X).astype(np.float64) for model in models]
    assert min(one.min() for one in answers) > 0
    before = digest(models[1])
    average_layers(models[0], models[1:])
    np.testing.assert_allclose(
        predict_probabilities(models[0], X), special.softmax(np.mean(np.log(answers), axis=0), axis=1), atol=1e-5
    )
    assert digest(models[1]) == before


def test_layer_that_lacks_an_emotion_is_left_out_of_the_mean():
    """Corpus A alone has the third emotion, so what is trained without A knows nothing of it."""
    from ser_lib.train import _calibrate

    rng = np.random.default_rng(0)
    corpora, labels = np.repeat(["A", "B", "C"], 30), np.arange(90) % 3
    labels[30:] %= 2
    clips = pd.DataFrame({"speaker": corpora, "corpus": corpora, "emotion": labels})
    X = rng.normal(0, 1, (90, 1, 2)).astype(np.float32)
    rows = rng.permutation(90)
    sets = {
        name: (X[part], np.eye(3, dtype=np.float32)[labels[part]], clips.iloc[part])
        for name, part in (("train", rows[:70]), ("validation", rows[70:]))
    }
    params = make_params(
        LINEAR | {"SCHEDULE": "one_cycle", "EPOCHS": 1, "CALIBRATE_ON": "left_out", "AVERAGE_LEFT_OUT": True}
    )
    found, models = _calibrate(None, sets, params, 1.0, None, None)
    assert len(found["left_out"]) == 3 and len(models) == 2


def test_known_voices_have_a_temperature_of_their_own():
    """Voices that lie far apart: right about those of which some clips are known, and by chance about the others."""
    from ser_lib.train import _calibrate

    rng = np.random.default_rng(0)
    speakers = np.repeat([f"{corpus}/{n}" for corpus in "AB" for n in range(10)], 40)
    labels = np.arange(len(speakers)) % 2
    X = rng.normal(0, 1, (len(speakers), 1, 3)) + 3 * labels[:, np.newaxis, np.newaxis]
    X += np.repeat(rng.normal(0, 30, (20, 1, 3)), 40, axis=0)
    clips = pd.DataFrame({"speaker": speakers, "corpus": [one[0] for one in speakers], "emotion": labels})
    rows = rng.permutation(len(X))
    sets = {
        name: (X[part].astype(np.float32), np.eye(2, dtype=np.float32)[labels[part]], clips.iloc[part])
        for name, part in (("train", rows[:600]), ("validation", rows[600:]))
    }
    params = make_params(LINEAR | {
        "DROPOUT_RATE": 0.0, "SCHEDULE": "one_cycle", "LEARNING_RATE": 0.1, "EPOCHS": 10, "ADAPT_TO_SPEAKER": True,
        "CALIBRATE_ON": "left_out",
    })  # fmt: skip
    found, models = _calibrate(None, sets, params, 1.0, None, None)
    assert not models and [one.name for one in found["left_out"]] == ["A", "B"]
    assert found["voice_temperature"] < found["temperature"] / 2
