import json
import math

import pytest
from test_records import call, write_full_record, write_record

from ser_lib.core.errors import RunError
from ser_lib.records.compare import compare_runs, mcnemar_exact
from ser_lib.records.record import find_record

SAD, ANGRY = "sad", "angry"


@pytest.mark.parametrize(
    ("only_1", "only_2", "expected"),
    [
        (0, 0, 1.0),
        (1, 1, 1.0),
        (5, 0, 2 / 2**5),
        (0, 6, 2 / 2**6),
        (9, 2, 2 * (1 + 11 + 55) / 2**11),
        (30, 12, 2 * sum(math.comb(42, k) for k in range(13)) / 2**42),
    ],
)
def test_mcnemar_is_the_binomial_tail(only_1, only_2, expected):
    assert mcnemar_exact(only_1, only_2) == pytest.approx(expected)
    assert mcnemar_exact(only_2, only_1) == pytest.approx(expected)


@pytest.fixture
def pair(root):
    # of eight clips, one is right about the first three alone and two about the last alone
    write_record(root, "one", predicted=[SAD] * 4 + [ANGRY] * 3 + [SAD], EPOCHS=5)
    write_record(root, "two", predicted=[ANGRY] * 3 + [SAD] + [ANGRY] * 4, EPOCHS=9)
    return [find_record(name) for name in ("one", "two")]


def test_parameters_that_differ_and_only_those(pair):
    table = compare_runs(pair).tables["Parameters that differ"]
    assert table.to_dict("index") == {"EPOCHS": {"one": "5", "two": "9"}}


def test_metrics_stand_side_by_side_with_their_differences(pair):
    table = compare_runs(pair).tables["Metrics"]
    assert table.loc["test accuracy"].tolist() == ["0.8750", "0.6250", "-0.2500"]
    assert table.loc["test UAR"].tolist() == ["0.8750", "0.6250", "-0.2500"]
    assert table.loc["validation loss"].tolist() == ["0.5000", "0.5000", "+0.0000"]


def test_macro_f1_is_compared_where_it_was_measured(pair, root):
    write_full_record(root, "three")
    assert not [row for row in compare_runs(pair).tables["Metrics"].index if "F1" in row]
    table = compare_runs([pair[0], find_record("three")]).tables["Metrics"]
    assert table.loc["test macro-F1"].tolist() == ["", "0.7333", ""]
    write_full_record(root, "four")
    table = compare_runs([find_record("four"), find_record("three")]).tables["Metrics"]
    assert table.loc["test macro-F1"].tolist() == ["0.7333", "0.7333", "+0.0000"]


def test_clips_that_one_alone_gets_right_are_counted(pair):
    (note,) = compare_runs(pair).notes
    assert note == (
        "Of 8 test clips, one alone is right about 3, two alone about 1; McNemar's exact test: p = 0.625."
    )  # 2 · (1 + 4) / 2⁴


def test_other_test_clips_are_not_compared_one_by_one(pair, root):
    path = root / "reports" / "two" / "test_predictions.csv"
    path.write_text(path.read_text().replace("OAF_a_sad", "YAF_a_sad"))
    (note,) = compare_runs([pair[0], find_record("two")]).notes
    assert "their test sets differ" in note


def test_three_runs_are_each_held_against_the_first(pair, root):
    write_record(root, "three", SEED=7)
    comparison = compare_runs([*pair, find_record("three")])
    assert list(comparison.tables["Metrics"]) == ["one", "two", "three", "two − one", "three − one"]
    assert len(comparison.notes) == 2
    assert set(comparison.tables["Parameters that differ"].index) == {"SEED", "EPOCHS"}


def test_one_run_alone_or_twice_is_refused(pair):
    for records in ([], pair[:1], [pair[0], pair[0]]):
        with pytest.raises(RunError, match="at least two different runs"):
            compare_runs(records)


def test_run_without_metrics_is_refused(pair, root):
    (root / "reports" / "two" / "metrics.json").unlink()
    with pytest.raises(RunError, match="Only runs with metrics can be compared; two is done"):
        compare_runs([pair[0], find_record("two")])


def test_damaged_metrics_are_named(pair, root):
    (root / "reports" / "two" / "metrics.json").write_text("{")
    with pytest.raises(RunError, match=r"reports/two/metrics\.json is damaged"):
        compare_runs([pair[0], find_record("two")])


def test_command_prints_and_writes_a_page(pair, root, monkeypatch, capsys):
    status, stdout, stderr = call(monkeypatch, capsys, "compare", "one", "two")
    assert (status, stderr) == (0, "")
    assert "EPOCHS   5   9" in stdout
    assert stdout.endswith("As a page: reports/compare-one-two.html\n")
    page = (root / "reports" / "compare-one-two.html").read_text()
    assert "one alone is right about 3" in page
    assert json.dumps("0.8750")[1:-1] in page
