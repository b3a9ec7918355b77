import math
import os
from pathlib import Path

import nbformat
import papermill
import pytest
from pydantic import ValidationError

from ser_lib.core.errors import ParameterError, SerError
from ser_lib.core.paths import locate, project_root, resolve, shown
from ser_lib.params import Params, load_params, make_params

REPO = Path(__file__).resolve().parent.parent
NOTEBOOKS = sorted((REPO / "notebooks").glob("0[1-5]_*.ipynb"))


def refusal(**values):
    with pytest.raises(ParameterError) as caught:
        make_params(values)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def override_refusal(*overrides):
    with pytest.raises(ParameterError) as caught:
        load_params(overrides=overrides)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("EPOCHS", True),
        ("EPOCHS", False),
        ("EPOCHS", "3"),
        ("EPOCHS", 3.0),
        ("EPOCHS", "1e1"),
        ("EPOCHS", None),
        ("TARGET_LENGTH", "long"),
        ("TARGET_LENGTH", True),
        ("TARGET_LENGTH", 20000.0),
        ("LEARNING_RATE", True),
        ("LEARNING_RATE", "0.001"),
        ("LEARNING_RATE", "fast"),
        ("LEARNING_RATE", "1e-4 "),
        ("LEARNING_RATE", None),
        ("DENOISE", 1),
        ("DENOISE", "yes"),
        ("DENOISE", None),
        ("DATASET_PATH", 5),
        ("DATASET_PATH", None),
        ("EXAMPLE_AUDIO_FILE", 5),
        ("CORPORA", "DEMO"),
        ("CORPORA", [1]),
        ("CORPORA", None),
    ],
)
def test_wrong_type_is_refused(name, value):
    message = refusal(**{name: value})
    assert message.startswith(f"`{name}` must be ")
    got = value[0] if isinstance(value, list) else value
    assert message.endswith(f"Got {got!r}.")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MAX_SKIPPED", -0.01),
        ("MAX_SKIPPED", 1.01),
        ("N_JOBS", 0),
        ("N_JOBS", -2),
        ("SEED", -1),
        ("SEED", 2**32),
        ("SAMPLING_RATE", 0),
        ("SAMPLING_RATE", 1_000_000),
        ("FRAME_LENGTH", 0),
        ("HOP_LENGTH", 0),
        ("N_MFCC", 0),
        ("N_MFCC", 129),
        ("TRIM_TOP_DB", 0),
        ("TRIM_TOP_DB", -30.0),
        ("TRIM_TOP_DB", math.inf),
        ("TARGET_LENGTH", 0),
        ("TARGET_LENGTH", -1),
        ("TEST_FRACTION", 0),
        ("TEST_FRACTION", 1.0),
        ("VALIDATION_FRACTION", 0.0),
        ("LSTM_UNITS", 0),
        ("DENSE_UNITS", 0),
        ("DROPOUT_RATE", -0.1),
        ("DROPOUT_RATE", 1.0),
        ("LEARNING_RATE", 0.0),
        ("LEARNING_RATE", -1e-3),
        ("LEARNING_RATE", math.nan),
        ("LEARNING_RATE", "1e400"),
        ("BATCH_SIZE", 0),
        ("EPOCHS", 0),
        ("REDUCE_LR_PATIENCE", -1),
        ("REDUCE_LR_FACTOR", 1.0),
        ("REDUCE_LR_FACTOR", 0.0),
        ("EARLY_STOPPING_PATIENCE", -1),
    ],
)
def test_value_out_of_range_is_refused(name, value):
    message = refusal(**{name: value})
    assert message.startswith(f"`{name}` must be ")
    assert message.endswith(f"Got {float(value) if isinstance(value, str) else value!r}.")


@pytest.mark.parametrize("name", ["DATASET_PATH", "OUTPUT_DIR", "EXAMPLE_AUDIO_FILE"])
def test_empty_path_is_refused(name):
    assert refusal(**{name: ""}).startswith(f"`{name}` must ")


def test_corpora_names_at_least_one():
    assert refusal(CORPORA=[]) == "`CORPORA` must have at least 1 item. Got []."


@pytest.mark.parametrize(
    "values", [{"CORPORA": ["TESS", "TESS"]}, {"CORPORA": ["DEMO", "TESS"], "TEST_CORPORA": ["TESS"]}]
)
def test_corpus_is_named_once(values):
    message = refusal(**values, SPLIT="corpus" if "TEST_CORPORA" in values else "random")
    assert message == "`CORPORA` and `TEST_CORPORA` must name a corpus once. Got TESS twice."


def test_test_corpora_and_their_split_need_each_other():
    assert refusal(SPLIT="corpus").endswith("must name the corpora of the test set with `SPLIT: corpus`. Got none.")
    with pytest.raises(ParameterError, match=r"`TEST_CORPORA` needs `SPLIT: corpus`\. Got text"):
        make_params({"TEST_CORPORA": ["TESS"], "SPLIT": "text"}).check_test_corpora()
    make_params({"TEST_CORPORA": ["TESS"], "SPLIT": "corpus"}).check_test_corpora()


def test_corpora_lie_in_the_folder_or_in_folders_of_their_names(root):
    one = make_params({"CORPORA": ["TESS"], "DATASET_PATH": "data/mine"})
    assert one.corpus_folders == {"TESS": root / "data" / "mine"}
    values = {"CORPORA": ["TESS", "SAVEE"], "TEST_CORPORA": ["EMODB"], "SPLIT": "corpus", "DATASET_PATH": "data"}
    assert make_params(values).corpus_folders == {name: root / "data" / name for name in ("TESS", "SAVEE", "EMODB")}


@pytest.mark.parametrize(
    ("value", "rule"),
    [
        *[
            (
                {"calm": name},
                "`LABEL_MAP` must map to neutral, happy, sad, angry, fear, disgust, ps, to null, or to a new",
            )
            for name in ("Relaxed", "at ease", "", "x" * 21, "a-b", "\x1b[31m")
        ],
        ({"calm": "fearful"}, "`LABEL_MAP` must call each of the seven emotions by its own name, here fear. Got "),
        ({"calm": "surprised"}, "`LABEL_MAP` must call each of the seven emotions by its own name, here ps. Got "),
        (["calm"], "`LABEL_MAP` must map emotions, such as {calm: neutral}. Got ['calm']."),
        ({"calm": 1}, "`LABEL_MAP` must "),
    ],
)
def test_label_map_maps_to_an_emotion_or_to_nothing(value, rule):
    assert refusal(LABEL_MAP=value).startswith(rule)
    make_params({"LABEL_MAP": {"calm": "neutral", "boredom": None}})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("N_JOBS", -1),
        ("N_JOBS", 1),
        ("SEED", 0),
        ("SEED", 2**32 - 1),
        ("MAX_SKIPPED", 0),
        ("MAX_SKIPPED", 1),
        ("TARGET_LENGTH", None),
        ("TARGET_LENGTH", 64),
        ("EXAMPLE_AUDIO_FILE", None),
        ("HOP_LENGTH", 2048),
        ("N_MFCC", 1),
        ("N_MFCC", 128),
        ("DROPOUT_RATE", 0),
        ("LEARNING_RATE", 1),
        ("EPOCHS", 1),
    ],
)
def test_value_at_a_limit_is_taken(name, value):
    assert getattr(make_params({name: value}), name) == value


def test_rates_that_noise_reduction_cannot_smooth_are_refused():
    # noisereduce smooths over 50 ms in hops of 256 samples: one hop fits from 256 / 0.05 = 5120 Hz on
    assert make_params({"SAMPLING_RATE": 5120, "DENOISE": True}).SAMPLING_RATE == 5120
    assert "`SAMPLING_RATE`" in refusal(SAMPLING_RATE=5119, DENOISE=True)


def test_hop_length_is_at_most_frame_length():
    assert refusal(HOP_LENGTH=4096) == "`HOP_LENGTH` must be at most `FRAME_LENGTH` (2048). Got 4096."
    assert make_params({"HOP_LENGTH": 4096, "FRAME_LENGTH": 4096}).HOP_LENGTH == 4096


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"AUGMENT": ["mask", "hall"], "FEATURES": "logmel"}, "`AUGMENT` must name some of mask, warp, "),
        ({"AUGMENT": ["mask", "warp", "mask"], "FEATURES": "logmel"}, " once each for logmel. Got mask."),
        ({"AUGMENT": [""], "FEATURES": "logmel"}, " once each for logmel. Got ''."),
        ({"AUGMENT": ["echo"], "FEATURES": "logmel"}, "`AUGMENT` needs `CMN: true` for noise and echo. Got false."),
        ({"AUGMENT": ["mask"]}, "`AUGMENT` needs `FEATURES: logmel` or encoder. Got mfcc."),
        ({"MODEL": "cnn", "POOLING": "mean_max"}, "`MODEL: cnn` needs `FEATURES: logmel` and `N_MELS` of at least 16."),
        (
            {"MODEL": "cnn", "FEATURES": "logmel", "N_MELS": 15, "N_MFCC": 13, "POOLING": "mean_max"},
            "Got logmel and 15.",
        ),
        (
            {"MODEL": "cnn_large", "FEATURES": "logmel", "N_MELS": 31, "N_MFCC": 13, "POOLING": "mean_max"},
            "`MODEL: cnn_large` needs `FEATURES: logmel` and `N_MELS` of at least 32. Got logmel and 31.",
        ),
        (
            {"MODEL": "cnn", "FEATURES": "logmel"},
            "`POOLING` must be mean_max or attention with `MODEL: cnn`. Got last.",
        ),
        ({"MODEL": "gru"}, "`MODEL` must be 'bilstm', 'cnn', 'cnn_large' or 'linear'. Got 'gru'."),
        ({"BALANCE": "drawn"}, "`BALANCE` must be false, true or 'sampling'. Got 'drawn'."),
        ({"BALANCE": 1}, "`BALANCE` must be false, true or 'sampling'. Got '1'."),
        (
            {"AVERAGE_LEFT_OUT": True, "CALIBRATE_ON": "left_out"},
            "`AVERAGE_LEFT_OUT` needs `MODEL: linear`. Got bilstm.",
        ),
        (
            {"FEATURES": "encoder", "ENCODER": "smart-turn", "MODEL": "linear", "DENOISE": False}
            | {"AVERAGE_LEFT_OUT": True},
            "`AVERAGE_LEFT_OUT` needs `CALIBRATE_ON: left_out`. Got validation.",
        ),
        ({"N_MFCC": 20, "N_MELS": 16}, "`N_MFCC` must be at most `N_MELS` (16). Got 20."),
        ({"MEL_FMIN": 9000.0, "MEL_FMAX": 8000.0}, "`MEL_FMIN` must be below `MEL_FMAX` (8000). Got 9000."),
        ({"MEL_FMAX": 12208.0}, "`MEL_FMAX` must be at most half of `SAMPLING_RATE` (12207). Got 12208."),
        ({"MEL_FMIN": 12207.0}, "`MEL_FMIN` must be below `MEL_FMAX` (12207). Got 12207."),
    ],
)
def test_features_and_models_that_do_not_fit_are_refused(values, reason):
    assert reason in refusal(**values)


def test_lists_are_explained_by_an_example_of_their_own():
    assert refusal(TEST_SPEAKERS="YAF") == "`TEST_SPEAKERS` must be a list, such as [YAF]. Got 'YAF'."
    assert refusal(AUGMENT="mask") == "`AUGMENT` must be a list, such as [noise]. Got 'mask'."
    assert refusal(TEST_SPEAKERS=[3]).endswith('Got 3. Write names that are numbers in quotes: ["03"].')


@pytest.mark.parametrize(("test", "validation"), [(0.5, 0.5), (0.3, 0.7), (0.9, 0.9)])
def test_fractions_leave_something_to_train_on(test, validation):
    message = refusal(TEST_FRACTION=test, VALIDATION_FRACTION=validation)
    assert message.startswith("`TEST_FRACTION` + `VALIDATION_FRACTION` must be below 1.")


@pytest.mark.parametrize(
    ("name", "value", "ending"),
    [
        ("MODEL_H5_FILE", "model.h5", ".weights.h5"),
        ("MODEL_H5_FILE", "model.weights", ".weights.h5"),
        ("MODEL_WEIGHTS_FILE", "model.h5", ".keras"),
        ("MODEL_ONNX_FILE", "model.keras", ".onnx"),
        ("MODEL_JSON_FILE", "model.txt", ".json"),
        ("X_TEST_FILE", "x_test", ".npy"),
        ("Y_TEST_FILE", "y_test.npz", ".npy"),
        ("PROCESSED_DATA_FILE", "data.npy", ".npz"),
        ("X_TEST_FILE", "x_test.npy\n", ".npy"),
        ("MODEL_H5_FILE", "two\nlines", ".weights.h5"),
    ],
)
def test_file_names_have_their_endings(name, value, ending):
    message = refusal(**{name: value})
    assert message.startswith(f"`{name}` must end in {ending}. Got ")


@pytest.mark.parametrize(
    "name", ["X_TEST_FILE", "MODEL_WEIGHTS_FILE", "MODEL_ONNX_FILE", "MODEL_JSON_FILE", "MODEL_H5_FILE"]
)
def test_file_names_have_no_folder(name):
    value = "folder/" + Params.model_fields[name].default
    assert refusal(**{name: value}) == f"`{name}` must be a file name without a folder. Got {value!r}."


def test_the_two_test_files_differ():
    assert "must differ" in refusal(X_TEST_FILE="y_test.npy")


@pytest.mark.parametrize("taken", ["bundle.json", "history.json", "leakage.json", "metrics.json"])
def test_no_file_takes_the_name_of_another_output(taken):
    assert "`MODEL_JSON_FILE`" in refusal(MODEL_JSON_FILE=taken)


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("EPOCH", "EPOCHS"),
        ("epochs", "EPOCHS"),
        ("LEARNING_RAET", "LEARNING_RATE"),
        ("N_MFCCS", "N_MFCC"),
        ("LSTM_UNIT", "LSTM_UNITS"),
        ("MODEL_H5", "MODEL_H5_FILE"),
        ("two\nlines EPOCHS", "EPOCHS"),
    ],
)
def test_unknown_name_is_refused_with_the_nearest(name, nearest):
    message = refusal(**{name: 3})
    assert "is not a parameter" in message
    assert message.endswith(f"Did you mean `{nearest}`?")


def test_unknown_name_like_nothing_points_to_the_list():
    assert refusal(xylophone=3) == "`xylophone` is not a parameter. `ser params` lists them all."


def test_every_error_is_named_in_one_line():
    message = refusal(EPOCHS=0, DENOISE="no", COLOUR=1)
    assert all(f"`{name}`" in message for name in ("EPOCHS", "DENOISE", "COLOUR"))


@pytest.mark.parametrize(("text", "value"), [("1e-4", 1e-4), ("1E-4", 1e-4), ("+2.5e-3", 2.5e-3), (".5e-1", 0.05)])
def test_exponents_are_numbers(text, value, tmp_path):
    file = tmp_path / "p.yaml"
    file.write_text(f"LEARNING_RATE: {text}\n")
    assert value == load_params(file).LEARNING_RATE
    assert value == load_params(overrides=[f"LEARNING_RATE={text}"]).LEARNING_RATE
    assert value == make_params({"LEARNING_RATE": text}).LEARNING_RATE


def test_later_files_and_overrides_win(tmp_path):
    (tmp_path / "a.yaml").write_text("EPOCHS: 1\nSEED: 1\nN_MFCC: 5\n")
    (tmp_path / "b.yaml").write_text("EPOCHS: 2\nSEED: 2\n")
    params = load_params(tmp_path / "a.yaml", tmp_path / "b.yaml", overrides=["EPOCHS=3", "EPOCHS=4"])
    assert (params.EPOCHS, params.SEED, params.N_MFCC, params.BATCH_SIZE) == (4, 2, 5, 32)


def test_override_values_are_yaml():
    overrides = ["TARGET_LENGTH=", "DENOISE=false", "DATASET_PATH=a=b c", "CORPORA=[TESS]", "EXAMPLE_AUDIO_FILE=null"]
    params = load_params(overrides=overrides)
    assert params.TARGET_LENGTH is None
    assert params.DENOISE is False
    assert params.DATASET_PATH == "a=b c"
    assert params.CORPORA == ["TESS"]
    assert params.EXAMPLE_AUDIO_FILE is None


@pytest.mark.parametrize("override", ["EPOCHS", "=3", ""])
def test_override_without_name_or_value_is_refused(override):
    assert override_refusal(override) == f"An override must read NAME=VALUE. Got {override!r}."


@pytest.mark.parametrize(
    "override",
    ["EPOCHS=[", "EPOCHS=a: b: c", "EPOCHS=\x00", 'EPOCHS="\\UFFFFFFFF"', "EPOCHS=1\n---\n2", "EPOCHS=@"],
)
def test_override_that_is_no_yaml_is_refused(override):
    assert f"`{override.partition('=')[0]}` is not valid YAML" in override_refusal(override)


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (
            "010",
            "holds 010, a number that not everybody reads alike; write it in at most 20 plain digits, or as a text: "
            '"010".',
        ),
        ("00", "holds 00, a number"),
        ("0x10", "holds 0x10, a number"),
        ("0b_", "holds 0b_, a number"),
        ("1:30", "holds 1:30, a number"),
        ("1:30.5", "holds 1:30.5, a number"),
        ("9" * 5000, "holds 9999999999999999999999999999999999999999…, a number"),
        ("0x" + "f" * 5000, "holds 0xff"),
        ("1" + ":59" * 5000 + ".5", "holds 1:59:59"),
        ("2020-01-01", "holds 2020-01-01, a date"),
        ("2020-13-45", "holds 2020-13-45, a date"),
        ("=", "holds =, a sign that stands for nothing"),
        ("!!int x", "holds a tag (!)"),
        ("!!python/object/apply:os.getcwd []", "holds a tag (!)"),
        ("&a [1]", "holds an anchor or alias (& or *)"),
        ("*a", "holds an anchor or alias (& or *)"),
        ("{<<: {a: b}}", "holds <<, a merge"),
        ("{[a]: b}", "has a list or a mapping for a name"),
        ("{a: b, c: d, 'a': e}", "names a twice"),
        ('"a\\0b"', "holds a character that no name of a file has"),
        ('"\\ud800"', "holds a character that no name of a file has"),
        ("[" * 20_000, "goes deeper than 10 levels"),
        ("{a: " * 10_000, "goes deeper than 10 levels"),
        ("- " * 20_000, "goes deeper than 10 levels"),
    ],
    ids=lambda text: text[:20].strip(),
)  # fmt: skip
def test_yaml_that_no_parameter_needs_is_refused_by_line(tmp_path, value, problem):
    message = override_refusal(f"LABEL_MAP={value}")
    assert message.startswith(f"The value of `LABEL_MAP` must be plain YAML. Line 1 {problem}")
    file = tmp_path / "p.yaml"
    file.write_text(f"# first\nEPOCHS: 3\nLABEL_MAP:\n  {value}\n")
    with pytest.raises(ParameterError) as caught:
        load_params(file)
    assert str(caught.value).startswith(f"The parameter file {file} must be plain YAML. Line 4 {problem}")
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 300 + len(str(file))


def test_bomb_of_aliases_is_refused_before_it_is_built(tmp_path):
    lines = ["a: &a [" + ", ".join(["x"] * 9) + "]"]
    lines += [
        f"{name}: &{name} [{', '.join(['*' + before] * 9)}]"
        for before, name in zip("abcdefgh", "bcdefghi", strict=True)
    ]
    file = tmp_path / "bomb.yaml"
    file.write_text("\n".join(lines))
    with pytest.raises(ParameterError, match=r"bomb\.yaml must be plain YAML\. Line 1 holds an anchor or alias"):
        load_params(file)


def test_name_that_a_file_gives_twice_is_refused(tmp_path):
    (tmp_path / "p.yaml").write_text("EPOCHS: 3\nSEED: 1\nEPOCHS: 5\n")
    with pytest.raises(ParameterError, match=r"p\.yaml must be plain YAML\. Line 3 names EPOCHS twice; remove one\."):
        load_params(tmp_path / "p.yaml")


@pytest.mark.parametrize(("text", "value"), [("0", 0), ("+3", 3), ("1_000", 1000), ("4294967295", 2**32 - 1)])
def test_whole_numbers_that_everybody_reads_alike_are_taken(text, value):
    assert value == load_params(overrides=[f"SEED={text}"]).SEED


@pytest.mark.parametrize(
    "name", [name for name, field in Params.model_fields.items() if isinstance(field.default, float)]
)
@pytest.mark.parametrize("value", [".nan", ".inf", "-.inf"])
def test_number_that_is_none_is_refused(name, value):
    assert f"`{name}`" in override_refusal(f"{name}={value}")


def test_mark_at_the_beginning_of_a_file_is_no_part_of_it(tmp_path):
    (tmp_path / "p.yaml").write_text("EPOCHS: 3\n", encoding="utf-8-sig")
    assert load_params(tmp_path / "p.yaml").EPOCHS == 3


def test_long_values_and_names_are_shown_by_their_beginning():
    assert len(override_refusal("EPOCHS=" + "x" * 40_000)) < 300
    assert len(override_refusal("x" * 100_000)) < 300
    assert len(override_refusal("x" * 100_000 + "=3")) < 300
    assert refusal(EPOCHS=10**5000).endswith("Got a number without end.")


def test_override_of_thousands_of_digits_is_refused():
    assert "`EPOCHS`" in override_refusal("EPOCHS=" + 5000 * "9")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"EPOCHS: [1\nSEED: 2\n", "is not valid YAML at line 2"),
        (b"- EPOCHS\n- 3\n", "Got a list"),
        (b"EPOCHS\n", "Got a str"),
        (b"17\n", "Got a int"),
        (b"\xff\xfe\x00", "cannot be read (not a text file in UTF-8)"),
        ("EPOCHS: 3\n".encode("utf-16"), "cannot be read (not a text file in UTF-8)"),
        (bytes(range(256)), "cannot be read (not a text file in UTF-8)"),
        (b"EPOCHS: 3\nSEED: 1\0\n", "is not valid YAML at line 2"),
        (b"EPOCHS: 3\n\x1b[31m: 1\n", "is not valid YAML at line 2"),
        (b"EPOCHS: 3\n---\nEPOCHS: 4\n", "is not valid YAML at line 2"),
        (b"#" * 60_000, "cannot be read (it must have at most 50,000 bytes)"),
    ],
)
def test_bad_file_is_refused(tmp_path, content, reason):
    file = tmp_path / "bad.yaml"
    file.write_bytes(content)
    with pytest.raises(ParameterError) as caught:
        load_params(file)
    assert str(file) in str(caught.value)
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_file_and_folder_are_refused(tmp_path):
    with pytest.raises(ParameterError, match=r"none\.yaml cannot be read \(No such file"):
        load_params(tmp_path / "none.yaml")
    with pytest.raises(ParameterError, match=r"cannot be read \(Is a directory\)"):
        load_params(tmp_path)


def test_empty_file_gives_the_defaults(tmp_path):
    (tmp_path / "empty.yaml").write_text("# nothing yet\n")
    assert load_params(tmp_path / "empty.yaml") == Params()


def test_file_with_a_number_for_a_name_is_refused(tmp_path):
    (tmp_path / "p.yaml").write_text("12: EPOCHS\n")
    with pytest.raises(ParameterError, match="`12` is not a parameter"):
        load_params(tmp_path / "p.yaml")


@pytest.mark.parametrize("file", sorted((REPO / "params").glob("*.yaml")), ids=lambda file: file.stem)
def test_the_experiments_are_valid(file):
    load_params(file)


def test_defaults_are_those_of_the_mission():
    params = Params()
    assert (params.SAMPLING_RATE, params.FRAME_LENGTH, params.HOP_LENGTH, params.N_MFCC) == (24414, 2048, 512, 13)
    assert (params.TRIM_TOP_DB, params.TARGET_LENGTH, params.MAX_SKIPPED) == (30, None, 0.01)
    assert (params.TEST_FRACTION, params.VALIDATION_FRACTION) == (0.15, 0.15)


def test_params_are_frozen():
    with pytest.raises(ValidationError, match="frozen"):
        Params().EPOCHS = 3


def test_relative_paths_start_from_the_project(project, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    params = make_params({"DATASET_PATH": "data/x", "OUTPUT_DIR": "out", "PROCESSED_DATA_FILE": "p.npz"})
    assert project_root() == project
    assert params.dataset_path == project / "data" / "x"
    assert params.output_dir == project / "out"
    assert params.processed_data_file == project / "out" / "p.npz"


def test_paths_start_from_the_clone_without_ser_root(monkeypatch, tmp_path):
    monkeypatch.delenv("SER_ROOT", raising=False)
    monkeypatch.chdir(tmp_path)
    assert resolve("data/TESS") == REPO / "data" / "TESS"


@pytest.mark.parametrize(
    ("name", "expected"), [("p.npz", "out/p.npz"), ("shared/p.npz", "shared/p.npz"), ("./p.npz", "p.npz")]
)
def test_processed_data_file_with_a_folder_is_not_in_output_dir(project, name, expected):
    assert make_params({"OUTPUT_DIR": "out", "PROCESSED_DATA_FILE": name}).processed_data_file == project / expected


def test_absolute_paths_and_home_stand(project, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert resolve("~/TESS") == tmp_path / "home" / "TESS"
    assert make_params({"OUTPUT_DIR": str(tmp_path / "out")}).output_dir == tmp_path / "out"
    absolute = str(tmp_path / "p.npz")
    assert make_params({"PROCESSED_DATA_FILE": absolute}).processed_data_file == tmp_path / "p.npz"


def test_home_of_nobody_is_refused():
    with pytest.raises(SerError, match="nosuchuser"):
        _ = make_params({"DATASET_PATH": "~nosuchuser/TESS"}).dataset_path


def test_messages_show_paths_from_the_project_or_by_name(project, tmp_path):
    assert shown(project / "data" / "x.wav") == "data/x.wav"
    assert shown("data/x.wav") == "data/x.wav"
    assert shown(tmp_path / "elsewhere" / "x.wav") == "x.wav"


def parameters_cell(notebook):
    cells = nbformat.read(notebook, as_version=4).cells
    (cell,) = [cell for cell in cells if "parameters" in cell.metadata.get("tags", [])]
    return cell.source


def declared(notebook):
    namespace = {}
    exec(parameters_cell(notebook), namespace)
    return {name: value for name, value in namespace.items() if not name.startswith("__")}


def test_there_are_five_notebooks():
    assert [notebook.stem[:2] for notebook in NOTEBOOKS] == ["01", "02", "03", "04", "05"]


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda notebook: notebook.stem)
def test_notebook_declares_the_defaults(notebook):
    defaults = Params().model_dump()
    for name, value in declared(notebook).items():
        assert (value, type(value)) == (defaults[name], type(defaults[name])), name


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda notebook: notebook.stem)
def test_papermill_sees_every_declared_name_and_its_help(notebook):
    seen = papermill.inspect_notebook(str(notebook))
    assert set(seen) == set(declared(notebook))
    assert {name: seen[name]["help"] for name in seen} == {name: Params.model_fields[name].description for name in seen}


def test_every_parameter_is_declared_by_one_notebook():
    # the first that uses it; those after it take it from there
    names = [name for notebook in NOTEBOOKS for name in declared(notebook) if name != "OUTPUT_DIR"]
    assert sorted([*names, "OUTPUT_DIR"]) == sorted(Params.model_fields)
    assert all("OUTPUT_DIR" in declared(notebook) for notebook in NOTEBOOKS)


# Where relative paths begin


def test_what_is_named_is_looked_for_in_the_current_folder_and_then_in_the_project(root, tmp_path_factory, monkeypatch):
    here = tmp_path_factory.mktemp("here")
    monkeypatch.chdir(here)
    for folder, epochs in ((root, 3), (here, 4)):
        (folder / "both.yaml").write_text(f"EPOCHS: {epochs}")
    (root / "mine.yaml").write_text("EPOCHS: 5")
    assert load_params("both.yaml").EPOCHS == 4
    assert load_params("mine.yaml").EPOCHS == 5
    assert locate("nowhere") == root / "nowhere"
    assert resolve("both.yaml") == root / "both.yaml"  # what a parameter says means the same everywhere


def test_pipe_for_a_parameter_file_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "p.yaml")
    with pytest.raises(ParameterError, match=r"p\.yaml cannot be read \(it must be a file\)"):
        load_params(tmp_path / "p.yaml")
