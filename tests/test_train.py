import hashlib
import io
import json
import os
import zipfile
from pathlib import Path
from types import SimpleNamespace

import h5py
import numpy as np
import onnx
import pytest
from test_store import run_python, tiny_data

from ser_lib import store, train
from ser_lib.bundle import load_bundle
from ser_lib.errors import StageError
from ser_lib.model import build_model, feature_statistics, keras, load_model, predict_probabilities
from ser_lib.params import make_params
from ser_lib.train import best_epoch, make_callbacks, train_model

# Keras 3.15 copies TensorFlow's variables in a way that numpy 2 dislikes.
pytestmark = pytest.mark.filterwarnings(
    "ignore:__array__ implementation doesn't accept a copy:DeprecationWarning:keras"
)

SMALL = {"LSTM_UNITS": 4, "DENSE_UNITS": 5, "EPOCHS": 6, "BATCH_SIZE": 8, "LEARNING_RATE": 0.02}


def write_tiny_data(params):
    data = tiny_data()
    sets = np.array((["train"] * 5 + ["validation"] * 2 + ["test"]) * 7)
    store.save_processed(params.processed_data_file, data)
    store.write_csv(params.output_dir / "split.csv", data.clips.assign(set=sets))
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
        model, history = train_model(params)
        y = np.eye(7)[data.y]
        yield SimpleNamespace(
            root=root, folder=params.output_dir, params=params, model=model, history=history,
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


def test_first_layer_standardises_the_training_set_alone(trained):
    layer = trained.model.get_layer("standardize")
    standardised = np.asarray(layer(trained.X)).reshape(-1, 4)
    np.testing.assert_allclose(standardised.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(standardised.std(axis=0), 1, atol=1e-5)
    assert isinstance(layer.get_config()["scale"], list)


def test_standardisation_can_be_left_out():
    model = build_model(tiny_data().X, 7, make_params(SMALL | {"STANDARDIZE": False}))
    assert type(model.layers[0]).__name__ == "Bidirectional"


def test_every_file_is_there(trained):
    written = {
        "best_model.keras", "bundle.json", "history.json", "model.json", "model.onnx", "model.weights.h5",
        "processed_data.npz", "split.csv",
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
        store.write_text(tmp_path / "artifacts" / "interactive" / name, "")
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
