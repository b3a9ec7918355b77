import numpy as np
import pandas as pd
import pytest

from ser_lib.core.labels import EMOTIONS
from ser_lib.scoring import metrics, summary


def results_of(y_true, y_pred, **more):
    values = metrics.evaluate_labels(np.array(y_true), np.array(y_pred))
    return values | {"intervals": {name: [0.25, 0.75] for name in metrics.HEADLINES}} | more


RESULTS = results_of([0, 0, 1, 2], [0, 1, 1, 1])


def predictions_of(*rows):
    """Rows of (clip, speaker, text, true, predicted, confidence)."""
    table = pd.DataFrame(rows, columns=["clip", "speaker", "text", "true", "predicted", "confidence"])
    for emotion in EMOTIONS:
        table[f"p_{emotion}"] = np.where(table["predicted"] == emotion, table["confidence"], 0.01)
    return table.drop(columns="confidence")


PREDICTIONS = predictions_of(
    ("1", "A", "x", "sad", "sad", 0.99),
    ("2", "A", "x", "sad", "fear", 0.6),
    ("3", "A", "y", "ps", "sad", 0.9),
    ("4", "B", "y", "ps", "ps", 0.8),
    ("5", "B", "z", "sad", "ps", 0.9),
    ("6", "B", "y", "ps", "ps", 0.7),
)


def test_headlines_as_people_read_them():
    table = summary.headline_table({"test": RESULTS | {"loss": 0.5, "ece": 0.0625}})
    assert table.loc["test"].to_dict() == {
        "clips": 4, "accuracy": "0.500 [0.250, 0.750]", "UAR": "0.500 [0.250, 0.750]",
        "macro-F1": "0.389 [0.250, 0.750]", "loss (nats)": "0.500", "calibration error": "0.062",
    }  # fmt: skip


def test_what_not_all_have_is_left_out():
    table = summary.headline_table({"network": RESULTS | {"loss": 0.5, "ece": 0.1}, "svm": RESULTS})
    assert list(table) == ["clips", "accuracy", "UAR", "macro-F1"]
    assert list(table.index) == ["network", "svm"]


@pytest.mark.parametrize(
    ("speakers", "who"),
    [
        (1, "It has one speaker: the intervals say nothing of another voice."),
        (2, "It has two speakers: the intervals say nothing of a third."),
        (9, "It has 9 speakers: the intervals say nothing of any other."),
    ],
)
def test_intervals_say_what_they_do_not_cover(speakers, who):
    told = summary.describe_scope(
        {
            "speakers": speakers, "texts": 30, "known": {"speakers": 1, "texts": 20},
            "bootstrap": {"cluster": "speaker and text", "clusters": 50, "samples": 2000},
        }
    )  # fmt: skip
    assert "2,000 resamples of the test set's 50 pairs of speaker and text." in told
    assert who in told
    assert told.endswith(f"Training has met 1 of {speakers} test speakers and 20 of 30 texts.")


@pytest.mark.parametrize(
    ("uar", "linear", "words"),
    [
        (0.5, 0.625, "UAR, 0.500, is below that of the linear baseline, 0.625"),
        (
            0.5,
            0.625,
            "Try more epochs (EPOCHS), or one layer on an encoder (MODEL: linear, ",
        ),
        (0.625, 0.625, ""),
        (0.7, 0.625, ""),
        (0.5, None, ""),
    ],
)
def test_network_below_the_linear_baseline_on_validation_is_told(uar, linear, words):
    baselines = {"linear": {} if linear is None else {"validation_uar": linear}}
    told = summary.advise({"uar": uar, "n_clips": 40}, baselines, model="bilstm")
    assert words in told and bool(told) == bool(words)
    behind = {"linear": {"validation_uar": 0.2}}
    assert summary.advise({"uar": 0.1, "n_clips": 30}, behind, model="linear").endswith("(EPOCHS).")
    assert summary.advise({"uar": 0.1, "n_clips": 15}, behind, model="linear") == ""  # by a clip or two


def test_validation_set_that_lacks_emotions_is_told():
    validation = {"n_clips": 5, "per_class": {"sad": 1.0, "fear": 0.5}, "confusion_matrix": [[0] * 3] * 3}
    told = summary.advise(validation, {}, model="linear")
    assert told.startswith("The validation set has 5 clips, of 2 of the model's 3 emotions (sad, fearful): ")
    assert summary.advise(validation | {"per_class": dict.fromkeys("abc", 1.0)}, {}, model="linear") == ""


@pytest.mark.parametrize(
    ("uar", "lead", "words"),
    [
        (0.9, [0.1, 0.3], "is above that of the best baseline, svm, 0.700"),
        (0.9, [0.1, 0.3], "[+0.100, +0.300], so the network earns its place"),
        (0.8, [-0.1, 0.3], "[-0.100, +0.300], so this test set does not show which is better"),
        (0.7, [0, 0], "is equal to that of the best baseline"),
        (0.5, [-0.3, -0.1], "is below that of the best baseline"),
        (0.5, [-0.3, -0.1], "so the simpler model is the better one"),
    ],
)
def test_the_best_is_named(uar, lead, words):
    baselines = {"majority": {"uar": 0.14, "lead": [0.9, 1]}, "svm": {"uar": 0.7, "lead": lead}}
    assert words in summary.describe_best({"uar": uar}, baselines)


def test_what_was_not_asked_for_is_said():
    assert "BASELINES" in summary.describe_best({"uar": 0.5}, {})
    assert "ROBUSTNESS" in summary.describe_robustness({"uar": 0.5}, {})
    assert list(summary.robustness_table({"accuracy": 0.5, "uar": 0.4}, {}).index) == ["as recorded"]


@pytest.mark.parametrize(
    ("temperature", "before", "after", "words"),
    [
        (2.0, 0.2, 0.1, "too sure: temperature 2.00. That lowers"),
        (0.5, 0.1, 0.2, "not sure enough: temperature 0.50. That does not lower"),
    ],
)
def test_calibration_is_told(temperature, before, after, words):
    sets = {"test": {"ece_uncalibrated": before, "ece": after}, "validation": {"n_clips": 7}}
    told = summary.describe_calibration(sets | {"temperature": temperature})
    assert words in told
    assert told.startswith("On the validation set (7 clips) the network is ")
    assert told.endswith(f"{before:.3f} before, {after:.3f} after.")


@pytest.mark.parametrize(("temperature", "at_end"), [(20, True), (0.05, True), (3, False), (0.5, False)])
def test_temperature_at_the_end_of_its_range_is_told(temperature, at_end):
    sets = {"test": {"ece_uncalibrated": 0.2, "ece": 0.1}, "validation": {"n_clips": 7}}
    told = summary.describe_calibration(sets | {"temperature": temperature})
    assert ("the end of the range that is searched (0.05 to 20)" in told) == at_end


def test_coverage_is_told_for_each_curve():
    test = {"threshold": [0.0, 0.5], "answered": [1.0, 0.25], "accuracy": [0.5, 0.75]}
    modest = {"threshold": [0.0], "answered": [1.0], "accuracy": [0.25]}
    first, second = summary.describe_coverage({"test": test, "left out": modest}).split("\n")
    assert first == (
        "Of the test set, 0.500 are right. With a confidence of 0.5 or more, 0.250 are answered, and 0.750 of those "
        "are right; the others are called unsure."
    )
    assert second.endswith("in the mean, 0.250 are right. With a confidence of 0.5 or more, none is answered.")


def test_corpora_are_a_table():
    table = summary.corpus_table({"TESS": {"n_clips": 3, "accuracy": 0.5, "uar": 0.25}})
    assert table.to_dict("records") == [{"corpus": "TESS", "clips": 3, "accuracy": 0.5, "UAR": 0.25}]


def test_classes_of_a_model_with_fewer_emotions():
    values = {"per_class": {"sad": 0.5, "ps": 1.0}, "precision": {"sad": 1.0, "ps": 0.5},
              "confusion_matrix": [[1, 1], [0, 1]]}  # fmt: skip
    table = summary.class_table(values, emotions=["sad", "ps"])
    assert table["emotion"].tolist() == ["sad", "surprised"]
    assert table["most often taken for"].tolist() == ["surprised (1)", ""]


def test_worst_condition_is_told():
    robustness = {
        "noise": {"accuracy": 0.3, "uar": 0.2, "unusable": 1},
        "gain": {"accuracy": 0.9, "uar": 0.85, "unusable": 0},
        "mp3": {"accuracy": 0.8, "uar": 0.7, "unusable": 2},
    }
    test = {"uar": 0.9, "accuracy": 0.95, "per_class": {"sad": 1.0, "ps": 0.8}}
    told = summary.describe_robustness(test, robustness)
    assert "UAR as recorded: 0.900. It is lowest with noise (0.200) and highest with gain (0.850)" in told
    assert "guessing gives 0.500. 3 clips could not be used" in told
    table = summary.robustness_table(test, robustness)
    assert table.loc["as recorded"].to_dict() == {"accuracy": 0.95, "UAR": 0.9}
    assert table["UAR"].tolist() == [0.9, 0.2, 0.85, 0.7]


def test_classes_with_the_least_recognised_first():
    table = summary.class_table(RESULTS)
    assert table["emotion"].tolist() == ["sad", "neutral", "happy"]
    assert table["clips"].tolist() == [1, 2, 1]
    assert table["recall"].tolist() == [0, 0.5, 1]
    assert table["precision"].tolist() == pytest.approx([0, 1, 1 / 3])
    assert table["most often taken for"].tolist() == ["happy (1)", "happy (1)", ""]


def test_most_confident_mistakes():
    table = summary.mistake_table(PREDICTIONS, n=2)
    assert table["clip"].tolist() == ["3", "5"]  # as sure as each other: in the order of the table
    assert table["true"].tolist() == ["surprised", "sad"]
    assert table["predicted"].tolist() == ["sad", "surprised"]
    assert table["confidence"].tolist() == [0.9, 0.9]
    assert len(summary.mistake_table(PREDICTIONS)) == 3


def test_no_mistake_leaves_an_empty_table():
    assert summary.mistake_table(PREDICTIONS.iloc[[0]]).empty


def test_accuracy_by_speaker_and_by_text():
    speakers = summary.accuracy_table(PREDICTIONS, "speaker")
    assert speakers.to_dict("list") == {
        "speaker": ["A", "B"], "clips": [3, 3], "right": [1, 2], "accuracy": pytest.approx([1 / 3, 2 / 3]),
    }  # fmt: skip
    texts = summary.accuracy_table(PREDICTIONS, "text")
    assert texts["text"].tolist() == ["z", "x", "y"]
    assert texts["clips"].tolist() == [1, 2, 3]


def test_temperature_of_what_was_left_out_is_not_said_to_be_of_the_validation_set():
    results = {"test": {"ece_uncalibrated": 0.1, "ece": 0.3}, "validation": {"n_clips": 8}, "temperature": 2.5}
    told = summary.describe_calibration(results, left_out=True)
    assert told.startswith("On what was left out of training in turn the network is too sure: temperature 2.50.")
    assert "validation" not in told
