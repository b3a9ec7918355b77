import json

import pytest
from test_records import call, write_full_record

from ser_lib.params import Params
from ser_lib.records import study as studies
from ser_lib.records.documents import fill, write_documents


@pytest.fixture
def two_studies(root):
    """Two models' studies of the same two splits; the first record of each is better than its simple models."""
    for model in ("a", "b"):
        for row in ("random", "TESS → X"):
            write_full_record(root, f"{model}_{row[:4].strip()}", low=0.25, high=0.75)
        studies.write_study(
            f"{model}_study", model, {row: [f"{model}_{row[:4].strip()}"] for row in ("random", "TESS → X")}
        )
    return root


def rows(text):
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"]


def test_overview_has_a_network_in_each_column_and_the_best_simple_model(two_studies):
    table = rows(fill("<!-- overview a_study+b_study -->\n<!-- end -->"))
    assert table[0] == ["test", "BiLSTM on MFCC", "BiLSTM on MFCC", "best simple model", "guessing"]
    network = "0.750 (0.250 to 0.750)"
    assert table[2] == ["TESS, random", network, network, "svm 0.625 (0.250 to 0.750)", "0.500"]
    assert [row[0] for row in table[2:]] == ["TESS, random", "TESS → X"]


def test_overview_takes_the_row_that_tests_on_the_same_corpus(two_studies):
    write_full_record(two_studies, "c", low=0.0, high=0.5)
    studies.write_study("c_study", "c", {"the other → X": ["c"]})
    _, _, row = rows(fill("<!-- overview c_study+a_study -->\n<!-- end -->"))
    assert row[:3] == ["TESS, the other → X", "0.750 (0.000 to 0.500)", "0.750 (0.250 to 0.750)"]
    unlike = "<!-- overview a_study+c_study -->\nas it was\n<!-- end -->"
    assert fill(unlike) == unlike


def test_table_is_that_of_the_study_and_the_text_around_it_stays(two_studies):
    text = "before\n<!-- table a_study -->\nold\n<!-- end -->\nafter\n"
    filled = fill(text)
    assert filled.startswith("before\n<!-- table a_study -->\n") and filled.endswith("\n<!-- end -->\nafter\n")
    assert rows(filled) == rows(studies.write_table("a_study"))
    assert fill(filled) == filled


@pytest.mark.parametrize("place", ["table none", "overview none", "table a+b", "overview bare_study"])
def test_a_table_that_cannot_be_made_stays(root, place):
    studies.write_study("bare_study", "runs that have not begun", {"random": ["bare_s0"]})
    text = f"<!-- {place} -->\nas it was\n<!-- end -->\n"
    assert fill(text) == text


def test_parameters_are_all_in_their_table():
    table = rows(fill("<!-- parameters -->\n<!-- end -->"))
    assert [row[0].strip("`") for row in table if row[0].startswith("`")] == list(Params.model_fields)
    assert ["`HOP_LENGTH`", "`512`", "samples from one frame to the next"] in table


def test_only_documents_that_change_are_written(root):
    assert write_documents() == []
    (root / "README.md").write_text("<!-- parameters -->\n<!-- end -->\n")
    assert write_documents() == [root / "README.md"]
    assert "| `SEED` | `0` |" in (root / "README.md").read_text()
    assert write_documents() == []


def test_report_says_which_tables_it_wrote(root, monkeypatch, capsys):
    (root / "docs").mkdir()
    (root / "docs" / "parameters.md").write_text("<!-- parameters -->\n<!-- end -->\n")
    assert call(monkeypatch, capsys, "report")[1].endswith("\nTables written: docs/parameters.md\n")
    table = call(monkeypatch, capsys, "params", "--markdown")[1]
    assert (root / "docs" / "parameters.md").read_text() == f"<!-- parameters -->\n\n{table}<!-- end -->\n"


def write_adapted(root, name, uar):
    """A full record whose model was adapted in two ways."""
    folder = write_full_record(root, name, low=0.25, high=0.75)
    path = folder / "metrics.json"
    ways = [("any", 5, False, uar), ("of each emotion", 2, True, uar + 0.2)]
    rows = [
        {"clips": clips, "each": each, "labelled": labelled, "n_clips": 9, "uar": value}
        | {"accuracy": 0.5, "confidence": 0.5, "without": 0.3}
        for clips, each, labelled, value in ways
    ]
    path.write_text(json.dumps(json.loads(path.read_text()) | {"adaptation": rows}))
    return json.loads(path.read_text())["test"]


def test_adaptation_is_a_mean_over_the_runs_of_a_row(root):
    test = [write_adapted(root, f"a_s{seed}", uar) for seed, uar in enumerate((0.4, 0.5))]
    studies.write_study("a_study", "a", {"random": ["a_s0", "a_s1"]})
    table = rows(fill("<!-- adaptation a_study -->\n<!-- end -->"))
    assert table[0][:3] == ["test", "no clip", "5 clips"]
    plain, ece = (f"{(test[0][name] + test[1][name]) / 2:.3f}" for name in ("uar", "ece"))
    assert table[2] == ["random", plain, "0.450", "–", "–", "–", "0.650", "–", ece]


def test_adaptation_of_several_studies_has_a_line_for_each(root):
    test = [write_adapted(root, name, uar=0.4)["uar"] for name in ("a_f0", "b_f0")]
    for name in ("a", "b"):
        studies.write_study(f"{name}_study", name, {"tess": [f"{name}_f0"]})
    table = rows(fill("<!-- adaptation a_study b_study -->\n<!-- end -->"))
    assert [line[:2] for line in table[2:]] == [["a", f"{test[0]:.3f}"], ["b", f"{test[1]:.3f}"]]


def test_table_of_adaptation_needs_runs_that_measured_it(two_studies):
    text = "<!-- adaptation a_study -->\nas it was\n<!-- end -->\n"
    assert fill(text) == text
