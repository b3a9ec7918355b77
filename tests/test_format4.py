"""Files of format 4 are read by every later version: `data/format4/demo` is a record of that time, and stays as it is.

What is expected was computed by the version that wrote it.
"""

import json
import shutil

import numpy as np
import pytest
import yaml
from test_records import call, write_record

from ser_lib import load_bundle
from ser_lib.core.errors import BundleError, RunError
from ser_lib.core.foreign import Format
from ser_lib.params import Params, make_params
from ser_lib.records.compare import compare_runs, compare_with, values_of
from ser_lib.records.manifest import FORMAT, read_manifest
from ser_lib.records.record import complete, find_record
from ser_lib.records.run import make_run
from ser_lib.records.site import build_site

PREDICTED = {
    "fearful": 0.6737, "angry": 0.2372, "neutral": 0.0377, "happy": 0.0365, "surprised": 0.0069, "sad": 0.0055,
    "disgust": 0.0026,
}  # fmt: skip
"""Of a tone that glides from 180 Hz up to 300 Hz."""
WITHOUT_IT = {
    "DENOISE_REFERENCE": True, "MODEL_ONNX_FILE": "model.onnx", "FEATURES": "mfcc", "N_MELS": 128, "MEL_FMIN": 0.0,
    "MEL_FMAX": None, "NORMALIZE_PER_SPEAKER": False, "SPLIT": "random", "TEST_SPEAKERS": [], "N_FOLDS": None,
    "FOLD": 0, "SPLIT_FILE": None, "MODEL": "bilstm", "POOLING": "last", "SCHEDULE": "plateau", "WEIGHT_DECAY": 0.0,
    "LABEL_SMOOTHING": 0.0, "AUGMENT": [], "BOOTSTRAP_SAMPLES": 2000, "BASELINES": False, "ROBUSTNESS": False,
    "TEST_CORPORA": [], "LABEL_MAP": {}, "CMN": False, "UNSURE_BELOW": 0.0, "ENCODER": None, "BALANCE": False,
    "ADAPT_TO_SPEAKER": False, "CALIBRATE_ON": "validation", "TILE": False,
    "SPEAKER_PATTERN": None, "AVERAGE_LEFT_OUT": False, "SHRINK_BY": "clips",
}  # fmt: skip
"""What a run did before a parameter was there. A parameter that is new from now on comes to this table."""
FROM_THE_BEGINNING = {
    "CORPORA", "DATASET_PATH", "OUTPUT_DIR", "MAX_SKIPPED", "N_JOBS", "SEED", "SAMPLING_RATE", "FRAME_LENGTH",
    "HOP_LENGTH", "N_MFCC", "TRIM_TOP_DB", "TARGET_LENGTH", "DENOISE", "TEST_FRACTION", "VALIDATION_FRACTION",
    "STANDARDIZE", "LSTM_UNITS", "DENSE_UNITS", "DROPOUT_RATE", "LEARNING_RATE", "BATCH_SIZE", "EPOCHS",
    "REDUCE_LR_PATIENCE", "REDUCE_LR_FACTOR", "EARLY_STOPPING_PATIENCE", "EXAMPLE_AUDIO_FILE", "PROCESSED_DATA_FILE",
    "X_TEST_FILE", "Y_TEST_FILE", "MODEL_WEIGHTS_FILE", "MODEL_JSON_FILE", "MODEL_H5_FILE",
}  # fmt: skip
"""Parameters of the first version: every record has them."""


@pytest.fixture
def old(format4, root):
    shutil.copytree(format4, root / "reports" / "demo")
    return find_record("demo")


def test_bundle_predicts_what_it_did(format4):
    time = np.arange(16000) / 16000
    tone = np.sin(2 * np.pi * (180 + 60 * time) * time) * np.sin(np.pi * time) / 3
    prediction = load_bundle(format4).predict(tone, 16000)
    assert prediction.probabilities == pytest.approx(PREDICTED, abs=2e-3)
    assert {line.partition(":")[0] for line in prediction.novelty} == {"band", "sound"}


def test_record_is_read(old):
    assert (old.state, old.manifest.format, old.manifest.left_out) == ("done", FORMAT.newest, [])
    assert (old.metric_value("accuracy"), old.metric_value("uar", "validation")) == (
        0.8888888888888888,
        0.9380952380952381,
    )
    assert len(old.predictions) == old.metrics["test"]["n_clips"]
    assert old.sizes.startswith("293 clips for training")
    assert set(old.params) == set(Params.model_fields)


def test_record_is_compared_and_repeated(old, root):
    write_record(root, "other", CORPORA=["DEMO"])
    assert compare_runs([old, find_record("other")]).tables["Metrics"].loc["test accuracy"].iloc[0] == "0.8889"
    values = values_of(old)
    assert make_run(values, name="again").params.model_dump() == old.params | {"OUTPUT_DIR": "artifacts/again"}
    assert compare_with(old, old).lines == ["identical: corpus, features, split, weights and metrics"]


def test_record_has_its_pages(old):
    site = build_site()
    assert site.left_out == []
    page = (old.folder / "index.html").read_text()
    assert "0.889" in page and "ser reproduce demo" not in page
    assert (old.folder / "02_split.html").is_file()


def test_record_predicts_and_is_exported(old, root, write_wav, monkeypatch, capsys):
    file = write_wav(root / "a.wav", np.sin(np.arange(16000) / 9) / 3, 16000)
    status, out, _ = call(monkeypatch, capsys, "predict", str(file), "--run", "demo")
    assert status == 0 and "\nModel demo has learnt from " in out and " speakers of DEMO. " in out
    assert call(monkeypatch, capsys, "export", "demo", str(root / "demo.zip"))[0] == 0


def test_parameter_that_a_record_lacks_is_what_the_run_did_without_it(old):
    assert set(Params.model_fields) == FROM_THE_BEGINNING | set(WITHOUT_IT)
    path = old.folder / "params.yaml"
    first = {name: value for name, value in yaml.safe_load(path.read_text()).items() if name in FROM_THE_BEGINNING}
    path.write_text(yaml.safe_dump(first))
    assert find_record("demo").params == first | WITHOUT_IT
    make_params(complete(first))


@pytest.mark.parametrize("name", ["manifest.json", "bundle.json"])
def test_file_of_a_newer_format_is_told(old, name):
    path = old.folder / name
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": 99, "later": True}))
    read, error = (read_manifest, RunError) if name == "manifest.json" else (load_bundle, BundleError)
    with pytest.raises(error, match=rf"{name} has format 99, of a newer ser_lib; this one reads formats up to \d\. "):
        read(old.folder)


@pytest.mark.parametrize("number", ["5", None, [], True, 3, -1])
def test_number_of_a_format_that_is_none_is_refused(old, number):
    path = old.folder / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": number}))
    with pytest.raises(RunError, match=r"manifest\.json is damaged \(format\)"):
        read_manifest(old.folder)


def test_upgrade_goes_step_by_step(tmp_path):
    steps = {1: lambda stored: stored | {"format": 2, "b": "b"}, 2: lambda stored: {"format": 3, "c": stored["b"]}}
    form = Format(3, RunError, steps, unnumbered=1)
    assert json.loads(form.upgrade(b'{"a": 0}', tmp_path)) == {"format": 3, "c": "b"}
    assert json.loads(form.upgrade(b'{"format": 2, "b": "x"}', tmp_path)) == {"format": 3, "c": "x"}
    for other in (b'{"format": 3}', b'{"format": -9}', b"[]", b"null", b"", b"{", b"[" * 10**6, b"\xff"):
        assert form.upgrade(other, tmp_path) == other
