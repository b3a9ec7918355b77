import hashlib
import json
import re
import shutil
import zipfile
from importlib.metadata import version
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import soundfile
import soxr
from test_store import run_python

from ser_lib.audio.features import process_audio_file
from ser_lib.audio.signal import load_audio
from ser_lib.core.errors import AudioError, BundleError, StageError
from ser_lib.evaluate import evaluate_model
from ser_lib.model.bundle import load_bundle, read_bundle_info
from ser_lib.params import make_params
from ser_lib.predict import predict_emotion_from_file, save_predictions
from ser_lib.preprocess import preprocess_data
from ser_lib.split import split_data
from ser_lib.store import require
from ser_lib.stream.examples import example_file, example_speaker
from ser_lib.train import train_model

# Keras 3.15 copies TensorFlow's variables in a way that numpy 2 dislikes.
pytestmark = pytest.mark.filterwarnings(
    "ignore:__array__ implementation doesn't accept a copy:DeprecationWarning:keras"
)


@pytest.fixture(scope="module")
def trained(demo_folder, tmp_path_factory):
    """The first four stages on four words of the demo corpus; predictions of the test set as stage 4 wrote them."""
    root = tmp_path_factory.mktemp("predict")
    for file in demo_folder.glob("*/*.wav"):
        if file.name.split("_")[1] in ("back", "bar", "base", "bath"):
            (root / "corpus").mkdir(exist_ok=True)
            shutil.copy(file, root / "corpus")
    values = {"DATASET_PATH": "corpus", "N_JOBS": 1, "TEST_FRACTION": 0.25, "VALIDATION_FRACTION": 0.25}
    model = {"LSTM_UNITS": 8, "DENSE_UNITS": 8, "EPOCHS": 6, "BATCH_SIZE": 4, "LEARNING_RATE": 0.01}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SER_ROOT", str(root))
        params = make_params(values | model)
        data = preprocess_data(params)
        split_data(data, params)
        train_model(params)
        bundle = load_bundle(params.output_dir)
        evaluate_model(bundle, params)
        yield SimpleNamespace(
            root=root, folder=params.output_dir, corpus=root / "corpus", params=params, bundle=bundle,
            predictions=pd.read_csv(params.output_dir / "test_predictions.csv"),
        )  # fmt: skip


@pytest.fixture
def bundle_copy(trained, tmp_path):
    """The saved bundle alone, in a folder of its own."""
    folder = tmp_path / "bundle"
    folder.mkdir()
    for name in ("bundle.json", "best_model.keras", "model.onnx"):
        shutil.copy(trained.folder / name, folder)
    return folder


def probabilities_of(prediction):
    return np.array(list(prediction.probabilities.values()))


def wav_of(clip):
    return clip.removeprefix("DEMO/") + ".wav"


IN_A_FRESH_PROCESS = """
import json, sys
import numpy as np
from ser_lib import load_bundle, predict_emotion_from_file, process_audio_file
bundle = load_bundle(sys.argv[1])
np.save(sys.argv[2], process_audio_file(sys.argv[3], bundle.info.settings))
print(json.dumps(predict_emotion_from_file(sys.argv[4], bundle).probabilities))
"""


@pytest.fixture(scope="module")
def normalised(trained, tmp_path_factory):
    """The first four stages again, with features normalised per speaker."""
    changes = {"NORMALIZE_PER_SPEAKER": True, "OUTPUT_DIR": "normalised", "EPOCHS": 1, "ROBUSTNESS": False}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SER_ROOT", str(trained.root))
        params = make_params(trained.params.model_dump() | changes)
        data = preprocess_data(params)
        split_data(data, params)
        train_model(params)
        bundle = load_bundle(params.output_dir)
        _, predictions = evaluate_model(bundle, params)
        yield SimpleNamespace(params=params, data=data, bundle=bundle, predictions=predictions)


def test_clip_of_a_known_speaker_is_normalised_as_in_training(normalised, trained):
    for tested in normalised.predictions.head(4).itertuples():
        prediction = predict_emotion_from_file(
            trained.corpus / wav_of(tested.clip), normalised.bundle, speaker=tested.speaker
        )
        stored = [getattr(tested, f"p_{emotion}") for emotion in normalised.bundle.info.emotions]
        np.testing.assert_allclose(probabilities_of(prediction), stored, atol=1e-5)


def test_voice_never_met_is_normalised_by_the_mean_of_the_known(normalised, trained):
    path = trained.corpus / "ESB_bar_happy.wav"
    raw = process_audio_file(path, normalised.bundle.info.settings)
    means, deviations = (
        np.mean([getattr(known, name) for known in normalised.data.speakers.values()], axis=0)
        for name in ("mean", "std")
    )
    np.testing.assert_allclose(
        normalised.bundle.extract_features(*load_audio(path))[0], (raw - means) / deviations, atol=1e-4
    )


def test_example_of_the_test_set_comes_with_its_speaker(normalised, trained):
    assert example_speaker(normalised.params, normalised.bundle) == normalised.predictions["speaker"][0]
    assert example_speaker(trained.params, trained.bundle) is None
    own = normalised.params.model_copy(update={"EXAMPLE_AUDIO_FILE": "mine.wav"})
    assert example_speaker(own, normalised.bundle) is None


def test_speaker_that_the_model_does_not_know_is_refused(normalised, trained):
    path = trained.corpus / "ESB_bar_happy.wav"
    with pytest.raises(BundleError, match=r"must be one of those the model knows: ESA, ESB\. Got OAF\."):
        predict_emotion_from_file(path, normalised.bundle, speaker="OAF")
    with pytest.raises(BundleError, match="trained with NORMALIZE_PER_SPEAKER alone"):
        predict_emotion_from_file(path, trained.bundle, speaker="ESA")


def test_bundle_alone_repeats_training_in_a_fresh_process(trained, bundle_copy, tmp_path):
    split = pd.read_csv(trained.folder / "split.csv")
    clip = split["clip"][split["set"] == "train"].iloc[0]
    with np.load(trained.folder / "processed_data.npz") as file:
        expected = file["X"][file["clips.clip"].tolist().index(clip)]
    tested = trained.predictions.iloc[-1]
    arguments = [
        bundle_copy, tmp_path / "features.npy", trained.corpus / wav_of(clip), trained.corpus / wav_of(tested["clip"]),
    ]  # fmt: skip
    done = run_python(IN_A_FRESH_PROCESS, *arguments, SER_ROOT=str(tmp_path))
    probabilities = json.loads(done.stdout) if done.returncode == 0 else pytest.fail(done.stderr)

    features = np.load(tmp_path / "features.npy")
    assert features.dtype == expected.dtype == np.float32
    np.testing.assert_array_equal(features, expected)
    names = ["neutral", "happy", "sad", "angry", "fearful", "disgust", "surprised"]
    assert list(probabilities) == names
    stored = tested.filter(like="p_").to_numpy(dtype=float)
    np.testing.assert_allclose(list(probabilities.values()), stored, atol=1e-6)  # stored with six digits


def test_answer_is_the_most_probable_emotion(trained):
    prediction = predict_emotion_from_file(trained.corpus / "ESA_back_fear.wav", trained.bundle)
    assert prediction.file == "ESA_back_fear.wav"
    assert sum(prediction.probabilities.values()) == pytest.approx(1, abs=1e-5)
    assert prediction.confidence == max(prediction.probabilities.values())
    assert prediction.probabilities[prediction.emotion] == prediction.confidence
    lines = str(prediction).splitlines()
    assert prediction.unsure is (prediction.confidence < 0.5)
    said = f"unsure, perhaps {prediction.emotion}" if prediction.unsure else prediction.emotion
    assert lines[0] == f"ESA_back_fear.wav: {said} ({prediction.confidence:.1%})"
    percentages = [float(line.split()[1].rstrip("%")) for line in lines[1:8]]
    assert percentages == sorted(percentages, reverse=True)


def test_answer_is_unsure_below_what_is_asked_for(trained):
    path = trained.corpus / "ESA_back_fear.wav"
    plain = predict_emotion_from_file(path, trained.bundle, unsure_below=0)
    assert not plain.unsure and plain.headline == plain.emotion
    assert not predict_emotion_from_file(path, trained.bundle, unsure_below=plain.confidence).unsure
    doubted = predict_emotion_from_file(path, trained.bundle, unsure_below=np.nextafter(plain.confidence, 1))
    assert doubted.unsure and doubted.probabilities == plain.probabilities


@pytest.mark.parametrize("version", ["stereo", "48 kHz", "flac", "half as loud"])
def test_same_recording_in_another_form_gets_a_nearby_answer(trained, tmp_path, version):
    original = trained.corpus / "ESB_bar_happy.wav"
    signal, rate = soundfile.read(original)
    path = tmp_path / ("other.flac" if version == "flac" else "other.wav")
    if version == "stereo":
        signal = np.stack([1.2 * signal, 0.8 * signal], axis=1)
    elif version == "48 kHz":
        signal, rate = soxr.resample(signal, rate, 48000), 48000
    elif version == "half as loud":
        signal = signal / 2
    soundfile.write(path, signal, rate, subtype="PCM_24")
    expected = predict_emotion_from_file(original, trained.bundle)
    prediction = predict_emotion_from_file(path, trained.bundle)
    np.testing.assert_allclose(probabilities_of(prediction), probabilities_of(expected), atol=0.001)


def test_different_recordings_get_different_answers(trained):
    first, second = (
        predict_emotion_from_file(trained.corpus / name, trained.bundle)
        for name in ("ESA_back_sad.wav", "ESB_bar_angry.wav")
    )
    assert np.abs(probabilities_of(first) - probabilities_of(second)).max() > 0.01


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "there is no such file"),
        (b"", "the file is empty"),
        (b"this is not audio at all", "the file cannot be decoded as audio"),
        (np.zeros(8000), "the file is silent"),
        (np.zeros(0), "the file holds no samples"),
        (np.array([0.5, np.nan] * 4000), "the samples hold NaN or infinity"),
    ],
)
def test_bad_audio_is_one_line_that_names_the_file(trained, tmp_path, content, reason):
    path = tmp_path / "mine.wav"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        soundfile.write(path, content, 16000, subtype="FLOAT")
    with pytest.raises(AudioError) as error:
        predict_emotion_from_file(path, trained.bundle)
    assert str(error.value) == f"{path} cannot be used: {reason}."


def test_predictions_are_saved_as_a_table(trained, tmp_path, monkeypatch):
    monkeypatch.setenv("SER_ROOT", str(tmp_path))
    prediction = predict_emotion_from_file(trained.corpus / "ESA_back_ps.wav", trained.bundle)
    save_predictions([prediction, prediction], make_params({}))
    table = pd.read_csv(tmp_path / "artifacts" / "interactive" / "predictions.csv")
    assert list(table)[:3] == ["file", "emotion", "confidence"]
    shares = [f"p_{emotion}" for emotion in prediction.probabilities]
    assert list(table)[3:] == ["unsure", *shares, "unlike", "damaged_after", "channels_differ"]
    assert table["file"].tolist() == ["ESA_back_ps.wav"] * 2
    np.testing.assert_allclose(table.loc[0, shares].to_numpy(dtype=float), probabilities_of(prediction))


def test_example_is_the_first_test_clip(trained):
    clip = trained.predictions["clip"].iloc[0]
    assert example_file(trained.params) == trained.corpus / wav_of(clip)


def test_example_can_be_named_from_the_project(trained):
    assert example_file(make_params({"EXAMPLE_AUDIO_FILE": "my/voice.mp3"})) == trained.root / "my" / "voice.mp3"


def test_example_before_evaluation_says_what_to_run_first(project):
    with pytest.raises(StageError, match="04_evaluate first"):
        example_file(make_params({}))


def edit(folder, change):
    path = folder / "bundle.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


MODELS = {"onnx": "model.onnx", "keras": "best_model.keras"}


def refused(folder, kind, message, backend="onnx"):
    with pytest.raises(kind, match=message) as error:
        load_bundle(folder, backend=backend)
    assert len(str(error.value).splitlines()) == 1


def test_bundle_copy_loads(bundle_copy, trained):
    assert load_bundle(bundle_copy).info == trained.bundle.info


@pytest.mark.parametrize("backend", MODELS)
def test_missing_part_names_the_notebook_to_run(bundle_copy, backend):
    for name in (MODELS[backend], "bundle.json"):
        (bundle_copy / name).unlink()
        refused(bundle_copy, StageError, f"{name} is not there yet. Run 03_train first", backend)


def test_folder_that_is_none_is_named_as_it_was_given(project, tmp_path):
    advice = r"Run 03_train first, or give the path of a model\.$"
    refused("artifacts/none", StageError, rf"^There is no artifacts/none, neither in .* nor in the project\. {advice}")
    refused(tmp_path / "none", StageError, rf"^There is no {re.escape(str(tmp_path))}/none\. {advice}")


@pytest.mark.parametrize("backend", MODELS)
def test_other_backends_model_may_be_missing(bundle_copy, backend):
    for other in MODELS.keys() - {backend}:
        (bundle_copy / MODELS[other]).unlink()
    assert load_bundle(bundle_copy, backend=backend).probabilities


def test_model_that_another_keras_saved_names_both(bundle_copy):
    path = bundle_copy / "best_model.keras"
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    parts["config.json"] = parts["config.json"].replace(b'"Bidirectional"', b'"LayerOfTomorrow"')
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, content)

    def change(content):
        content["keras_sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
        content["versions"]["keras"] = "99.1.0"

    edit(bundle_copy, change)
    advice = rf"saved by Keras 99\.1\.0, and here is {re.escape(version('keras'))}: take the backend onnx"
    refused(bundle_copy, BundleError, advice, "keras")


@pytest.mark.parametrize("share", [0, 0.5, 0.98])
def test_truncated_description_is_damaged(bundle_copy, share):
    text = (bundle_copy / "bundle.json").read_text()
    (bundle_copy / "bundle.json").write_text(text[: int(share * len(text))])
    refused(bundle_copy, BundleError, r"bundle\.json is damaged .*Run 03_train again\.$")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: content["settings"].update(n_mfcc=12), "is damaged"),
        (lambda content: content["settings"].update(target_length=None), "is damaged"),
        (lambda content: content["settings"].update(hop_length="512"), r"is damaged \(settings\.hop_length"),
        (lambda content: content["settings"].pop("denoise"), r"is damaged \(settings\.denoise"),
        (lambda content: content["settings"].update(target_length=12345), "must fit the model"),
        (lambda content: content["settings"].update(hop_length=400), "must fit the model"),
        (lambda content: content.update(emotions=content["emotions"][:5]), "is damaged|must fit the model"),
        (lambda content: content.update(onnx="../model.onnx"), r"is damaged \(onnx"),
        (lambda content: content.update(onnx_sha256="0" * 64), "is not the model that"),
        (lambda content: content.update(more=1), r"is damaged \(more"),
    ],
)
def test_edited_description_is_refused(bundle_copy, change, message):
    edit(bundle_copy, change)
    refused(bundle_copy, BundleError, message)


def test_settings_and_features_edited_alike_still_do_not_fit(bundle_copy):
    def change(content):
        content["settings"].update(n_mfcc=12)
        content["features"].pop()
        for name in ("mean", "deviation"):
            del content["typical"][name][-3:]

    edit(bundle_copy, change)
    refused(bundle_copy, BundleError, r"must fit the model: .*, 14\).*, 15\)")


@pytest.mark.parametrize("backend", MODELS)
def test_model_of_another_training_is_refused(bundle_copy, backend):
    model = bundle_copy / MODELS[backend]
    model.write_bytes(model.read_bytes() + b" ")
    refused(bundle_copy, BundleError, "is not the model that bundle.json beside it describes. Run 03_train", backend)


@pytest.mark.parametrize("backend", MODELS)
def test_model_file_that_cannot_be_read_is_refused(bundle_copy, backend):
    (bundle_copy / MODELS[backend]).write_bytes(b"PK")
    digest = hashlib.sha256(b"PK").hexdigest()
    edit(bundle_copy, lambda content: content.update({f"{backend}_sha256": digest}))
    refused(bundle_copy, BundleError, f"{MODELS[backend]} cannot be loaded: ", backend)


def test_prediction_with_onnx_imports_no_tensorflow(bundle_copy, trained):
    file = next(trained.corpus.glob("*.wav"))
    code = f"""
import sys
from ser_lib import load_bundle, predict_emotion_from_file
print(predict_emotion_from_file({str(file)!r}, load_bundle({str(bundle_copy)!r})))
print("loaded:", {{"tensorflow", "keras"}} & set(sys.modules))
"""
    done = run_python(code)
    assert done.stdout.splitlines()[-1] == "loaded: set()", done.stderr


def test_bundle_keeps_what_the_model_was_trained_with(trained):
    info = read_bundle_info(trained.folder)
    assert info.corpora == ["DEMO"]
    assert info.features == ["rms", "zcr", *(f"mfcc_{i}" for i in range(1, 14))]
    assert {"keras", "tensorflow", "librosa", "noisereduce", "numpy"} <= set(info.versions)
    assert info.settings.target_length == round(
        pd.read_csv(require(trained.folder / "clips.csv", "01_preprocess"))["trimmed_seconds"].max() * 24414
    )
