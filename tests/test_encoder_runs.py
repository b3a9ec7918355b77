"""Runs with `FEATURES: encoder`, most with a stand-in for the encoder's network, which needs no weights."""

import base64
import json
import shutil

import numpy as np
import pandas as pd
import pytest
from pydantic import TypeAdapter
from scipy import special
from test_cli_predict import call
from test_encoders import RATE, REAL, needs_weights
from test_project import REPO

from ser_lib import plots, train
from ser_lib.audio import clips as work
from ser_lib.audio import encoders
from ser_lib.audio.degrade import degrade
from ser_lib.audio.encoders import ENCODERS, layers_of, smart_turn
from ser_lib.audio.features import SignalChain, analyse
from ser_lib.audio.normalize import Statistics
from ser_lib.audio.settings import EMBEDDING_SIZES, AudioSettings
from ser_lib.audio.signal import load_audio, prepare_signal, resample
from ser_lib.core.cache import open_cache
from ser_lib.core.errors import AudioError, BundleError, EncoderError, ParameterError, StageError
from ser_lib.core.packed import Numbers
from ser_lib.evaluate import evaluate_adaptation, evaluate_baselines, evaluate_model, evaluate_robustness
from ser_lib.model.batches import Batches, balance, sampling_chances
from ser_lib.model.bundle import load_bundle, read_bundle_info
from ser_lib.model.bundle_info import check_speakers
from ser_lib.model.calibration import calibrate
from ser_lib.model.explain import explain_answer
from ser_lib.model.network import keras
from ser_lib.params import make_params
from ser_lib.predict import predict_emotion_from_file
from ser_lib.preprocess import preprocess_data
from ser_lib.scoring.summary import adaptation_table, feature_table, left_out_table
from ser_lib.split import split_data
from ser_lib.store import load_sets, notebook_params
from ser_lib.stream.microphone import listen
from ser_lib.stream.timeline import predict_timeline
from ser_lib.train import train_model

# Keras 3.15 copies TensorFlow's variables in a way that numpy 2 dislikes.
pytestmark = pytest.mark.filterwarnings(
    "ignore:__array__ implementation doesn't accept a copy:DeprecationWarning:keras"
)

OPENED = encoders._opened
ENCODER = {"FEATURES": "encoder", "ENCODER": "smart-turn", "DENOISE": False}
SMALL = ENCODER | {"MODEL": "linear", "SAMPLING_RATE": RATE, "N_JOBS": 1, "EPOCHS": 8, "BATCH_SIZE": 8}
SETTINGS = AudioSettings(
    features="encoder", encoder="smart-turn", denoise=False, sampling_rate=RATE, target_length=RATE
)
SIZE = smart_turn.N_FEATURES


def stand_in(signal):
    """Level, length and spectrum of a signal at 16 kHz, in the first of as many numbers as an embedding has."""
    embedding = np.zeros(SIZE, dtype=np.float32)
    embedding[:66] = [
        np.abs(signal).mean(),
        len(signal),
        *np.abs(np.fft.rfft(signal, 4096))[:1024].reshape(64, 16).sum(1),
    ]
    embedding[SIZE // 2 :] = 3.0
    return embedding


@pytest.fixture(scope="module")
def heard():
    """Signals that the stand-in was given."""
    given = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(encoders, "_opened", lambda name, paths: lambda signal: given.append(signal) or stand_in(signal))
        patch.setattr("ser_lib.preprocess.check_weights", lambda name: None)
        yield given


@pytest.fixture(scope="module")
def run(heard, make_corpus, tmp_path_factory):
    """The work of the notebooks 01 to 04."""
    root = tmp_path_factory.mktemp("run")
    words = tuple(f"w{number}" for number in range(12))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SER_ROOT", str(root))
        make_corpus(root / "data", words=words)
        params = make_params(SMALL | {"CORPORA": ["TESS"], "DATASET_PATH": "data", "BOOTSTRAP_SAMPLES": 100})
        data = preprocess_data(params)
        split_data(data, params)
        train_model(params)
        bundle = load_bundle(params.output_dir)
        metrics, predictions = evaluate_model(bundle, params)
        yield {"params": params, "data": data, "bundle": bundle, "metrics": metrics, "predictions": predictions}


@pytest.mark.parametrize("name", ENCODERS)
def test_sizes_are_those_of_the_encoders(name):
    assert EMBEDDING_SIZES[name] == ENCODERS[name].N_FEATURES
    columns = np.concatenate([np.arange(EMBEDDING_SIZES[name])[one] for one in layers_of(name).values()])
    assert columns.tolist() == list(range(EMBEDDING_SIZES[name]))


@pytest.mark.parametrize("run_name", ["demo", "tess_robust_random_s0"])
def test_what_was_made_before_there_were_encoders_reads_and_hashes_as_it_did(run_name):
    path = REPO / "reports" / run_name / "bundle.json"
    stored = json.loads(path.read_text())
    info = read_bundle_info(path.parent)
    assert info.model_dump_json(indent=2) + "\n" == path.read_text()
    assert info.settings.model_dump() == stored["settings"] and list(info.settings.model_dump()) == [
        *stored["settings"]
    ]
    assert "encoder" not in AudioSettings().model_dump()
    assert AudioSettings().model_dump(include={"encoder", "n_mels"}) == {"n_mels": 128}


def test_settings_with_an_encoder_have_one_frame_and_survive_a_file():
    assert (SETTINGS.n_frames, SETTINGS.sound_frames(10 * RATE), len(SETTINGS.feature_names)) == (1, 1, SIZE)
    assert SETTINGS.feature_names[0] == "smart-turn_1"
    assert AudioSettings.model_validate_json(SETTINGS.model_dump_json()) == SETTINGS
    assert SETTINGS.model_dump()["encoder"] == "smart-turn"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"FEATURES": "encoder", "DENOISE": False},
            "`FEATURES: encoder` needs an `ENCODER`, one that `ser encoder list` lists. Got none.",
        ),
        ({"ENCODER": "smart-turn"}, "`ENCODER: smart-turn` needs `FEATURES: encoder`. Got mfcc."),
        (
            {"ENCODER": "wav2vec"},
            f"`ENCODER` must be {', '.join(map(repr, [*ENCODERS][:-1]))} or {[*ENCODERS][-1]!r}. Got 'wav2vec'.",
        ),
        (ENCODER | {"DENOISE": True}, "`FEATURES: encoder` needs `DENOISE: false`. Got true."),
        (ENCODER | {"CMN": True}, "`FEATURES: encoder` needs `CMN: false`. Got true."),
        (ENCODER | {"MODEL": "bilstm"}, "`FEATURES: encoder` needs `MODEL: linear`. Got bilstm."),
        (
            ENCODER | {"MODEL": "linear", "AUGMENT": ["noise", "mask", "echo"]},
            "`AUGMENT` must name some of noise, band, piece once each for encoder. Got echo, mask.",
        ),
        (
            ENCODER | {"MODEL": "linear", "AUGMENT": ["noise"], "NORMALIZE_PER_SPEAKER": True},
            "`AUGMENT` needs `NORMALIZE_PER_SPEAKER: false`. Got true.",
        ),
        ({"MODEL": "linear"}, "`MODEL: linear` needs `FEATURES: encoder`. Got mfcc."),
    ],
)
def test_parameters_that_do_not_go_together_are_refused(values, message):
    with pytest.raises(ParameterError) as caught:
        make_params(values)
    assert str(caught.value) == message


def test_notebooks_before_03_train_know_no_model(root):
    params = notebook_params(ENCODER | {"OUTPUT_DIR": "out"}, stage="01_preprocess")
    with pytest.raises(ParameterError, match=r"`FEATURES: encoder` needs `MODEL: linear`\. Got bilstm\."):
        params.check_model()
    with pytest.raises(ParameterError, match=r"needs `MODEL: linear`\. Got bilstm\."):
        train_model(params)


def test_missing_weights_stop_before_a_clip_is_read(root, monkeypatch):
    monkeypatch.setenv("SER_ENCODERS", str(root / "none"))
    monkeypatch.setattr("ser_lib.preprocess.find_corpora", lambda *_: pytest.fail("clips were read"))
    with pytest.raises(
        EncoderError, match=r"is not on this machine\. ser encoder get smart-turn brings it \(8\.7 MB\)"
    ):
        preprocess_data(make_params(SMALL))


def test_encoder_hears_the_trimmed_clip_neither_cut_nor_padded(heard):
    t = np.arange(2 * RATE) / RATE
    tone = np.concatenate([np.zeros(RATE), np.sin(2 * np.pi * 300 * t), np.zeros(RATE)]).astype(np.float32)
    chain = SignalChain(tone, RATE, SETTINGS)  # whose target length is one second
    heard.clear()
    assert chain.features.shape == (1, SIZE)
    assert len(heard) == 1 and abs(len(heard[0]) - 2 * RATE) <= SETTINGS.frame_length
    np.testing.assert_array_equal(heard[0], prepare_signal(tone, RATE, SETTINGS)["trimmed"])
    assert len(chain.analysis) == 1 + RATE // SETTINGS.hop_length  # of the simple models, which hear what others hear


def test_zero_crossings_are_counted_in_all_frames():
    signal = np.sin(2 * np.pi * 1000 * np.arange(RATE) / RATE).astype(np.float32)
    plain = AudioSettings(sampling_rate=RATE, target_length=RATE, denoise=False)
    np.testing.assert_array_equal(analyse(signal, SETTINGS), analyse(signal, plain))


def test_embeddings_are_cached_by_file_trimming_and_weights(monkeypatch):
    key = work.embedding_key("a", SETTINGS)
    assert work.embedding_key("a", SETTINGS.model_copy(update={"target_length": 99, "n_mels": 5})) == key
    others = [work.embedding_key("b", SETTINGS), work.embedding_key("a", SETTINGS, "noise 0 dB")]
    others += [work.embedding_key("a", SETTINGS.model_copy(update={"trim_top_db": 20.0}))]
    monkeypatch.setattr(smart_turn, "WEIGHTS", (smart_turn.WEIGHTS[0]._replace(sha256="f" * 64),))
    others += [work.embedding_key("a", SETTINGS)]
    monkeypatch.undo()
    monkeypatch.setitem(EMBEDDING_SIZES, SETTINGS.encoder, 7)  # of other layers, or pooled otherwise
    others += [work.embedding_key("a", SETTINGS)]
    others += [work.embedding_key("a", SETTINGS.model_copy(update={"tile": True}))]
    assert len({key, *others}) == 7


def test_run_has_an_embedding_for_each_clip(run):
    data, clip = run["data"], run["data"].clips.iloc[3]
    assert data.X.shape == (48, 1, SIZE) and data.pooled.shape == (48, 3 * 128)
    signal, rate = load_audio(run["params"].dataset_path / clip["file"])
    trimmed = prepare_signal(resample(signal, rate, target_rate=RATE), RATE, SETTINGS)["trimmed"]
    np.testing.assert_allclose(data.X[3, 0], stand_in(trimmed), rtol=1e-3, atol=1e-3)


def test_short_clip_is_heard_repeated_too_in_training_and_prediction_alike(run, heard):
    folder = run["params"].output_dir.parent / "repeated"
    params = run["params"].model_copy(update={"OUTPUT_DIR": str(folder), "TILE": True})
    data, clip = preprocess_data(params), run["data"].clips.iloc[3]
    signal, rate = load_audio(params.dataset_path / clip["file"])
    trimmed = prepare_signal(signal, rate, SETTINGS)["trimmed"]
    repeated = trimmed
    while len(repeated) < 2.5 * RATE:
        repeated = np.concatenate([repeated, trimmed])
    assert len(repeated) > len(trimmed)
    expected = (stand_in(trimmed) + stand_in(repeated)) / 2
    np.testing.assert_allclose(data.X[3, 0], expected, rtol=1e-3, atol=1e-3)
    np.testing.assert_array_equal(SignalChain(signal, rate, data.settings).features, data.X[3])
    assert data.fingerprint != run["data"].fingerprint


def test_cached_embeddings_are_not_computed_again(run, heard):
    run["params"].processed_data_file.rename(run["params"].output_dir / "first.npz")
    heard.clear()
    again = preprocess_data(run["params"])
    assert heard == [] and np.array_equal(again.X, run["data"].X) and again.fingerprint == run["data"].fingerprint


def test_model_learns_and_names_its_encoder(run):
    assert run["metrics"]["test"]["uar"] > 0.7  # emotions differ in pitch
    info = run["bundle"].info
    assert info.encoder_sha256 == smart_turn.WEIGHTS[0].sha256
    stored = json.loads((run["params"].output_dir / "bundle.json").read_text())
    assert stored["encoder_sha256"] == info.encoder_sha256 and stored["settings"]["encoder"] == "smart-turn"
    assert len(info.novelty.mean) == SIZE and (stored["format"], "features" in stored) == (5, False)
    packed = np.frombuffer(base64.b64decode(stored["typical"]["mean"]), "<f4")
    assert packed.tolist() == info.novelty.mean and info.features[0] == "smart-turn_1"
    for name, most in {"model.json": 20_000, "bundle.json": 110_000, "model.onnx": 250_000}.items():
        assert (run["params"].output_dir / name).stat().st_size < most


def test_keras_and_onnx_agree(run):
    X = run["data"].X
    by_keras = load_bundle(run["params"].output_dir, backend="keras").probabilities(X)
    np.testing.assert_allclose(run["bundle"].probabilities(X), by_keras, atol=1e-5)


def test_statistics_of_new_clips_are_those_of_training_clips(run):
    learnt = run["data"].X[pd.read_csv(run["params"].output_dir / "split.csv")["set"] == "train", 0]
    np.testing.assert_allclose(run["bundle"].info.novelty.mean, learnt.mean(axis=0), rtol=1e-4, atol=1e-4)
    assert not run["bundle"].info.speakers


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"encoder_sha256": "0" * 64}, "must name the weights of smart-turn that this version of ser_lib has"),
        ({"encoder_sha256": None}, "its features, its encoder and the hash of that do not agree"),
    ],
)
def test_bundle_of_other_weights_is_refused(run, tmp_path, change, message):
    values = json.loads((run["params"].output_dir / "bundle.json").read_text()) | change
    (tmp_path / "bundle.json").write_text(json.dumps(values))
    for name in ("model.onnx", "best_model.keras"):
        (tmp_path / name).write_bytes((run["params"].output_dir / name).read_bytes())
    with pytest.raises(BundleError) as caught:
        load_bundle(tmp_path)
    assert message in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("packed", ["AACAPw", "AACA", "AACAPw==" * 2, "AADAfw==", "AACAPw==\n", "", "é"])
def test_packed_numbers_that_are_none_are_refused(run, tmp_path, packed):
    stored = json.loads((run["params"].output_dir / "bundle.json").read_text())
    stored["typical"]["deviation"] = packed
    (tmp_path / "bundle.json").write_text(json.dumps(stored))
    with pytest.raises(BundleError, match=r"^[^\n]*is damaged [^\n]*$"):
        read_bundle_info(tmp_path)


def test_packed_numbers_are_little_endian_32_bit_floats():
    row = TypeAdapter(Numbers)
    assert row.validate_python("AACAPwAAIMEAAAA+") == [1.0, -10.0, 0.125]  # 3f800000, c1200000, 3e000000
    assert row.validate_python([1.0, 0.1]) == [1.0, 0.1] and row.dump_json([1.0, 0.1]) == b"[1.0,0.1]"
    assert row.dump_json([1.0] * 3000).decode() == '"' + "AACAPwAAgD8AAIA/" * 1000 + '"'


def test_statistics_of_hundreds_of_speakers_are_refused_before_training():
    row = [float(np.float32(0.1))] * SIZE
    check_speakers({str(number): Statistics(mean=row, std=row) for number in range(270)})
    many = {str(number): Statistics(mean=row, std=row) for number in range(280)}
    with pytest.raises(ParameterError, match=r"^`NORMALIZE_PER_SPEAKER` .* of 280 speakers have 9,\d+,\d+\. Leave"):
        check_speakers(many)


def test_hash_without_encoder_is_refused(tmp_path):
    values = json.loads((REPO / "reports/demo/bundle.json").read_text()) | {"encoder_sha256": "0" * 64}
    (tmp_path / "bundle.json").write_text(json.dumps(values))
    with pytest.raises(BundleError, match="its encoder and the hash of that do not agree"):
        read_bundle_info(tmp_path)


def test_baselines_and_worse_recordings_are_measured(run):
    assert set(evaluate_baselines(run["predictions"], run["params"])) == {"majority", "linear", "svm"}
    robustness = evaluate_robustness(run["bundle"], run["params"])
    gained = robustness["gain -12 dB"]  # full volume is made of it again
    assert gained["uar"] == pytest.approx(run["metrics"]["test"]["uar"], abs=0.13) and gained["unusable"] == 0


def test_file_is_predicted_and_explained(run):
    file = run["params"].dataset_path / run["data"].clips["file"][0]
    prediction = predict_emotion_from_file(file, run["bundle"])
    signal, rate = load_audio(file)
    features, _ = run["bundle"].extract_features(signal, rate)
    np.testing.assert_array_equal(features, run["data"].X[0])
    found = explain_answer(run["bundle"], signal, rate)
    assert found.emotion == prediction.emotion and found.groups == [f"layer {number}" for number in range(1, 9)]
    assert found.spans[0] == (0, pytest.approx(0.2)) and len(found.by_time) == len(found.spans)
    np.testing.assert_allclose(found.by_group[4:], 0, atol=1e-5)  # of the stand-in, they are always the same
    assert np.abs(found.by_group[0]) > 0.01


def test_of_long_clips_the_end_is_heard(run):
    long = np.sin(2 * np.pi * 300 * np.arange(12 * RATE) / RATE).astype(np.float32) / 2
    prediction = run["bundle"].predict(long, RATE)
    assert any("; the last 8.0 s are heard" in phrase for phrase in prediction.novelty)
    spans = explain_answer(run["bundle"], long, RATE).spans
    assert spans[0][0] == pytest.approx(4, abs=0.1) and spans[-1][1] == pytest.approx(12, abs=0.1)


def test_microphone_is_answered_window_by_window(run):
    signal = np.sin(2 * np.pi * 300 * np.arange(2 * RATE) / RATE).astype(np.float32)[:, np.newaxis] / 2
    seconds = run["bundle"].info.settings.n_samples / RATE
    blocks = [signal[:5000], signal[5000:]]
    windows = list(listen(blocks, RATE, run["bundle"], window_seconds=seconds, hop_seconds=seconds))
    assert len(windows) == np.ceil(2 / seconds) and all(window.prediction for window in windows)


def test_timeline_has_a_row_for_each_window(run, write_wav, tmp_path):
    signal = np.sin(2 * np.pi * 300 * np.arange(2 * RATE) / RATE) / 2
    file = write_wav(tmp_path / "long.wav", signal, RATE)
    table = predict_timeline(file, run["bundle"], window_seconds=0.5, hop_seconds=0.5)
    assert len(table) == 4 and set(table["state"]) == {"speech"} and table["confidence"].notna().all()


def test_pictures_show_the_embedding_and_all_clips(run):
    (ax,) = plots.plot_features(run["data"].X[0], run["data"].settings)
    (image,) = ax.get_images()
    assert image.get_array().shape == (8, SIZE // 8) and len(ax.get_yticklabels()) == 8
    X = np.zeros((4, 3))
    X[:, 0] = [1, 1, -1, -1]  # all variation is along one number: one deviation to each side
    X[:, 2] = 7
    clips = pd.DataFrame({"emotion": ["angry", "fear", "angry", "fear"], "speaker": ["", "a", "a", "b"]})
    axes = plots.plot_embeddings(X, clips)
    for ax, names in zip(axes, (["angry", "fearful"], ["a", "b", "unknown"]), strict=True):
        assert [text.get_text() for text in ax.get_legend().get_texts()] == names
        (points,) = ax.collections
        np.testing.assert_allclose(np.abs(points.get_offsets().T), [[1] * 4, [0] * 4], atol=1e-6)


def test_many_speakers_have_no_legend():
    clips = pd.DataFrame({"emotion": ["sad"] * 20, "speaker": [str(number) for number in range(20)]})
    axes = plots.plot_embeddings(np.random.default_rng(0).standard_normal((20, 5)), clips)
    assert axes[1].get_legend() is None and axes[1].get_title() == "20 speakers"


def test_voices_are_taken_out(run):
    params = run["params"].model_copy(update={"NORMALIZE_PER_SPEAKER": True, "PROCESSED_DATA_FILE": "by_speaker.npz"})
    data = preprocess_data(params)
    own = run["data"].X[data.clips["speaker"] == "OAF", 0]
    expected = (own - own.mean(axis=0)) / np.where(own.std(axis=0) > 0, own.std(axis=0), 1)
    np.testing.assert_allclose(data.X[data.clips["speaker"] == "OAF", 0], expected, rtol=1e-3, atol=1e-3)


def test_table_of_features_has_a_row_for_each_layer(run):
    table = feature_table(run["data"].X, run["data"].settings)
    assert list(table.index) == [f"layer {number}" for number in range(1, 9)]
    assert table.loc["layer 8", ["mean", "std", "min", "max"]].tolist() == [3, 0, 3, 3]


def test_predict_without_the_encoder_says_what_brings_it(run, monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(encoders, "_opened", lambda name, paths: encoders.read_weights(name, paths))
    monkeypatch.setenv("SER_ENCODERS", str(tmp_path))
    file = run["params"].dataset_path / run["data"].clips["file"][0]
    status, _, err = call(monkeypatch, capsys, "predict", str(file), "--run", str(run["params"].output_dir))
    assert status == 1
    assert (
        err == "error: The encoder smart-turn is not on this machine. ser encoder get smart-turn brings it (8.7 MB).\n"
    )


def test_weights_of_clips_by_hand():
    # A: 4 clips, 3 + 1; B: 1 clip. Sums of A and B alike, of A's emotions too; mean 1 means a sum of 5
    clips = pd.DataFrame({"corpus": [*"AAAAB"], "emotion": ["sad", "sad", "sad", "angry", "sad"]})
    np.testing.assert_allclose(balance(clips), np.array([1.25 / 3, 1.25 / 3, 1.25 / 3, 1.25, 2.5]), rtol=1e-6)


def test_chances_of_clips_by_hand():
    # A: 4 clips, 3 + 1; B: 1 clip. A to B as √4 to √1; A's emotions have half of its 2 / 3 each
    clips = pd.DataFrame({"corpus": [*"AAAAB"], "emotion": ["sad", "sad", "sad", "angry", "sad"]})
    np.testing.assert_allclose(sampling_chances(clips), [1 / 9, 1 / 9, 1 / 9, 1 / 3, 1 / 3], rtol=1e-6)


def test_batches_draw_clips_by_their_chances():
    n_clips, chances = 10_000, np.repeat([0.2, 1.8], 5_000) / 10_000
    X, y = np.arange(float(n_clips)).reshape(n_clips, 1, 1), np.eye(2)[np.repeat([0, 1], 5_000)]
    first, again = (Batches(X, y, make_params({"BATCH_SIZE": n_clips}), chances=chances) for _ in range(2))
    features, labels = first[0]
    np.testing.assert_array_equal(labels.argmax(axis=1), features[:, 0, 0] >= 5_000)
    np.testing.assert_array_equal(features, again[0][0])
    assert labels[:, 1].mean() == pytest.approx(0.9, abs=0.015)  # 5 standard deviations
    assert len(np.unique(features)) == pytest.approx(5_000 * (2 - np.exp(-0.2) - np.exp(-1.8)), rel=0.05)
    first.on_epoch_end()
    assert not np.array_equal(first[0][0], features)


def test_training_weighs_clips_or_draws_them(noisy_params, monkeypatch):
    told = {}

    def batches(*args, weights, chances, **more):
        told[params.BALANCE] = weights, chances
        return Batches(*args, weights=weights, chances=chances, **more)

    monkeypatch.setattr("ser_lib.train.Batches", batches)
    quick = {"SCHEDULE": "one_cycle", "EPOCHS": 1, "CALIBRATE_ON": "validation", "AUGMENT": []}
    for balanced in (False, True, "sampling"):
        params = noisy_params.model_copy(update=quick | {"BALANCE": balanced})
        train_model(params)
    _, sets = load_sets(params)
    clips = sets["train"][2]
    assert told[False] == (None, None)
    np.testing.assert_array_equal(told[True][0], balance(clips))
    assert told[True][1] is None
    assert told["sampling"][0] is None
    np.testing.assert_array_equal(told["sampling"][1], sampling_chances(clips))


def test_batches_have_the_weights_of_their_clips():
    X, y = np.arange(10.0).reshape(10, 1, 1), np.eye(2)[np.arange(10) % 2]
    plain, weighted = (Batches(X, y, make_params({"BATCH_SIZE": 4}), weights=one) for one in (None, np.arange(10.0)))
    assert len(plain[0]) == 2
    for number in range(3):
        features, _, weights = weighted[number]
        np.testing.assert_array_equal(features[:, 0, 0], weights)
        np.testing.assert_array_equal(features, plain[number][0])


@pytest.fixture
def noisy_params(run):
    """Of the same run, whose files are not touched, with variants of the clips in training."""
    folder = run["params"].output_dir.parent / "noisy"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(run["params"].output_dir, folder)
    more = {
        "OUTPUT_DIR": f"{folder.parent.name}/noisy",
        "AUGMENT": ["noise", "band", "piece"],
        "CALIBRATE_ON": "left_out",
        "EPOCHS": 2,
    }
    return run["params"].model_copy(update=more)


@pytest.fixture
def given(monkeypatch):
    """Features and variants that each network was trained on, in the order in which that was."""
    sets = []

    def batches(X, *args, variants, **more):
        sets.append((X, variants))
        return Batches(X, *args, variants=variants, **more)

    monkeypatch.setattr("ser_lib.train.Batches", batches)
    return sets


def test_encoder_hears_training_clips_varied_too(run, noisy_params, given):
    train_model(noisy_params)
    split = pd.read_csv(noisy_params.output_dir / "split.csv").set_index("clip")["set"]
    clips = run["data"].clips[(split.loc[run["data"].clips["clip"]] == "train").to_numpy()]
    (X, variants), *left_out = given
    assert variants.shape == (3, *X.shape) and len(left_out) >= 2
    assert not np.isclose(X, variants[:2]).all(axis=3).any()  # all clips are too short for a piece
    for way, number in (("noise", 0), ("noise", 7), ("band", 7), ("piece", 0), ("piece", 7)):
        clip = clips.iloc[number]
        signal, rate = load_audio(noisy_params.dataset_path / clip["file"])
        if way == "piece":  # of what trimming leaves
            signal, rate = prepare_signal(signal, rate, SETTINGS)["trimmed"], SETTINGS.sampling_rate
        noisy = degrade(signal, rate, condition=way, sha256=clip["sha256"])
        np.testing.assert_allclose(
            variants[noisy_params.AUGMENT.index(way), number, 0],
            stand_in(prepare_signal(*noisy, SETTINGS)["trimmed"]),
            rtol=1e-4,
        )
    of = {one.tobytes(): varied for one, varied in zip(X, variants.swapaxes(0, 1), strict=True)}
    for some, theirs in left_out:
        assert 0 < len(some) < len(X)
        np.testing.assert_array_equal(theirs.swapaxes(0, 1), [of[one.tobytes()] for one in some])


def test_piece_is_of_what_trimming_leaves(heard, tmp_path, write_wav):
    rng = np.random.default_rng(0)
    voice = rng.uniform(-0.9, 0.9, 6 * RATE)
    path = write_wav(tmp_path / "long.wav", np.concatenate([np.zeros(9 * RATE), voice, np.zeros(9 * RATE)]), RATE)
    heard.clear()
    for number in range(8):
        work.degraded_features(path, f"{number:x}", SETTINGS, open_cache(), "piece")
    assert len(heard) == 8
    for piece in heard:
        assert 1.25 * RATE <= len(piece) <= 2.5 * RATE
        assert np.mean(np.abs(piece) < 1e-3) < 0.01  # noise without any silence


def test_clip_of_which_nothing_is_left_stays_as_it_is(noisy_params, given, monkeypatch):
    monkeypatch.setattr(work, "degraded_features", lambda *_: AudioError("nothing is left of it"))
    train_model(noisy_params)
    X, variants = given[0]
    np.testing.assert_array_equal(variants, [X, X, X])


def test_variants_need_the_clips_as_they_were(noisy_params, tmp_path):
    before = (noisy_params.output_dir / "model.onnx").read_bytes()
    with pytest.raises(
        StageError,
        match=r"^`DATASET_PATH` must hold .*: \S+ is missing\. Run 01_preprocess .*, or leave AUGMENT empty\.$",
    ):
        train_model(noisy_params.model_copy(update={"DATASET_PATH": str(tmp_path)}))
    assert (noisy_params.output_dir / "model.onnx").read_bytes() == before


def logits_of(model, X):
    """Logits [shape=(n_clips, n_classes)] of a model of one layer, by its weights."""
    standardize, emotions = model.get_layer("standardize"), model.get_layer("emotions")
    (mean, variance), (weights, bias) = standardize.get_weights(), emotions.get_weights()
    return (X[:, 0].astype(np.float64) - mean) / np.sqrt(variance + standardize.epsilon) @ weights + bias


def test_model_is_the_mean_of_its_layer_and_of_those_of_all_but_one(noisy_params, run, monkeypatch, capsys):
    X, logits, fit = run["data"].X, [], train._fit

    def noted(*args, **more):
        model, history = fit(*args, **more)
        logits.append(logits_of(model, X))
        return model, history

    monkeypatch.setattr("ser_lib.train._fit", noted)
    params = noisy_params.model_copy(update={"SCHEDULE": "one_cycle", "AVERAGE_LEFT_OUT": True})
    model, _ = train_model(params)
    said = "The model is the mean of 3 layers: one of everything, the others of all but one."
    assert len(logits) == 3 and said in capsys.readouterr().out
    expected = special.softmax(np.mean(logits, axis=0), axis=1)
    assert not np.allclose(expected, special.softmax(logits[0], axis=1), atol=0.01)
    np.testing.assert_allclose(special.softmax(logits_of(model, X), axis=1), expected, atol=1e-5)
    bundle = load_bundle(params.output_dir)
    np.testing.assert_allclose(bundle.probabilities(X), calibrate(expected, bundle.info.temperature), atol=1e-5)


def test_layers_of_ones_own_have_no_mean(noisy_params):
    params = noisy_params.model_copy(update={"AVERAGE_LEFT_OUT": True})
    with pytest.raises(
        StageError, match=r"^`AVERAGE_LEFT_OUT` needs the one layer of `MODEL: linear`\. Take no layers"
    ):
        train_model(params, own_layers=[keras.layers.Flatten()])


@needs_weights
def test_demo_corpus_is_learnt_with_the_encoder_itself(demo_folder, root, monkeypatch):
    monkeypatch.setenv("SER_ENCODERS", str(REAL.parent))
    monkeypatch.setattr(encoders, "_opened", OPENED)
    params = make_params(SMALL | {"DATASET_PATH": str(demo_folder), "N_JOBS": 2})
    data = preprocess_data(params)
    split_data(data, params)
    _, history = train_model(params)
    assert data.X.shape[1:] == (1, SIZE) and np.isfinite(data.X).all()
    assert max(history["val_accuracy"]) > 0.5


@pytest.fixture(scope="module")
def adapted(run):
    """The same, with adaptation to speakers, and a temperature by speakers that were left out."""
    folder = run["params"].output_dir.parent / "adapted"
    shutil.copytree(run["params"].output_dir, folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SER_ROOT", str(folder.parents[1]))
        more = {"OUTPUT_DIR": f"{folder.parent.name}/adapted", "ADAPT_TO_SPEAKER": True, "CALIBRATE_ON": "left_out"}
        more |= {"SCHEDULE": "one_cycle", "SHRINK_BY": "clips_and_spread"}
        params = run["params"].model_copy(update=more)
        train_model(params)
        bundle = load_bundle(params.output_dir)
        evaluate_model(bundle, params)
        yield {"params": params, "bundle": bundle, "rows": evaluate_adaptation(bundle, params)}


def test_bundle_says_what_its_speakers_are_like(run, adapted):
    data, info = run["data"], adapted["bundle"].info
    split = pd.read_csv(run["params"].output_dir / "split.csv").set_index("clip")["set"]
    is_train = (split.loc[data.clips["clip"]] == "train").to_numpy()
    means = [
        data.X[is_train & (data.clips["speaker"] == one).to_numpy(), 0].mean(axis=0)
        for one in sorted(set(data.clips["speaker"]))
    ]
    np.testing.assert_allclose(info.population.mean, np.mean(means, axis=0, dtype=np.float64), rtol=1e-4, atol=1e-6)
    assert info.population.shrink_by == "clips_and_spread"
    assert run["bundle"].info.population is None and run["bundle"].info.left_out is None
    assert info.voice_temperature is None  # of two speakers, one is left to learn from: too few for a population


def test_every_speaker_was_left_out_once(run, adapted):
    left_out = adapted["bundle"].info.left_out
    split = pd.read_csv(run["params"].output_dir / "split.csv")
    assert [one.name for one in left_out] == ["speakers, fold 1", "speakers, fold 2"]
    assert sum(one.n_clips for one in left_out) == split["set"].isin(["train", "validation"]).sum()
    assert all(0 <= value <= 1 for one in left_out for value in (one.accuracy, one.uar, one.confidence, one.ece))
    table = left_out_table(left_out)
    assert table["left out"].tolist()[-1] == "mean" and table["UAR"].iloc[-1] == pytest.approx(
        np.mean([one.uar for one in left_out])
    )


def test_what_adaptation_brings_is_kept_with_the_metrics(adapted):
    stored = json.loads((adapted["params"].output_dir / "metrics.json").read_text())["adaptation"]
    assert len(stored) == 8 and stored[0]["clips"] == "any"  # none is neutral
    assert [row["uar"] for row in stored] == [row["uar"] for row in adapted["rows"]]
    assert len(adaptation_table(stored)) == 8


@pytest.mark.parametrize(
    ("part", "name", "what"), [("settings", "encoder", "an encoder"), ("population", "shrink_by", "a shrinkage")]
)
def test_bundle_that_names_what_is_not_here_is_refused_as_such(adapted, tmp_path, part, name, what):
    values = json.loads((adapted["params"].output_dir / "bundle.json").read_text())
    values[part][name] = "later"
    (tmp_path / "bundle.json").write_text(json.dumps(values))
    with pytest.raises(BundleError, match=rf"must name {what} that this version of ser_lib has\. Got later\. Use the"):
        read_bundle_info(tmp_path)


def test_bundle_whose_population_does_not_fit_is_refused(adapted, tmp_path):
    shutil.copytree(adapted["params"].output_dir, tmp_path / "damaged")
    path = tmp_path / "damaged" / "bundle.json"
    stored = json.loads(path.read_text())
    stored["population"]["within"] = base64.b64encode(np.zeros(SIZE, "<f4").tobytes()).decode()
    path.write_text(json.dumps(stored))
    with pytest.raises(BundleError, match="what it says of speakers does not fit its features"):
        load_bundle(path.parent)
