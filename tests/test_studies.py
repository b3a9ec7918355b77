import json
import math

import pytest
from test_records import call, write_full_record, write_record
from test_report import EVIL, Cells

from ser_lib.core.errors import RunError
from ser_lib.records import study as studies
from ser_lib.records.site import build_site

ROWS = {"random": ["r_s0", "r_s1", "r_s2"], "OAF → YAF": ["y_s0"]}


@pytest.fixture
def study(root):
    """Runs with a UAR of 1, 7/8 and 3/4, and one that has all that is measured."""
    for seed in range(3):
        predicted = ["sad"] * (4 + seed) + ["angry"] * (4 - seed)
        write_record(root, f"r_s{seed}", predicted=predicted, SEED=seed)
    write_full_record(root, "y_s0", SPLIT="speaker", TEST_SPEAKERS=["YAF"])
    studies.write_study("x_study", "x: seeds 0, 1, 2", ROWS)
    return root / "reports" / "x_study"


# Figures


def test_mean_and_sample_deviation():
    assert studies.mean_and_std([]) == ""
    assert studies.mean_and_std([0.5]) == "0.500"
    assert studies.mean_and_std([0.5, 0.75]) == "0.625 ± 0.177"  # √(2 · (1/8)² / 1)
    assert studies.mean_and_std([0.2, 0.4, 0.9]) == "0.500 ± 0.361"  # √((0.09 + 0.01 + 0.16) / 2)
    assert math.sqrt(0.26 / 2) == pytest.approx(0.361, abs=5e-4)


def test_intervals_are_spanned_not_averaged():
    found = [{"intervals": {"uar": [0.5, 0.75]}}, {"intervals": {"uar": [0.25, 0.5]}}, {"uar": 1}, {"intervals": None}]
    assert studies.widest_interval(found, "uar") == "0.250 to 0.750"
    assert studies.widest_interval(found, "accuracy") == ""
    assert studies.widest_interval([], "uar") == ""


def test_table_has_a_line_for_each_row_and_model(study):
    assert studies.read_study(study).lines == [
        ("random", "BiLSTM on MFCC", "3", "0.875 ± 0.125", "", "0.875 ± 0.125", ""),
        ("OAF → YAF", "BiLSTM on MFCC", "1", "0.750", "0.500 to 1.000", "0.750", "0.733"),
        ("OAF → YAF", "majority", "1", "0.500", "0.500 to 1.000", "0.500", "0.375"),
        ("OAF → YAF", "svm", "1", "0.625", "0.500 to 1.000", "0.625", "0.375"),
    ]


def test_baselines_are_averaged_too(root):
    for seed, (low, high) in enumerate([(0.25, 0.75), (0.5, 0.875)]):
        write_full_record(root, f"z_s{seed}", low=low, high=high)
    studies.write_study("z_study", "z", {"z": ["z_s0", "z_s1"]})
    lines = studies.read_study(root / "reports" / "z_study").lines
    assert lines[2] == ("z", "svm", "2", "0.625 ± 0.000", "0.250 to 0.875", "0.625 ± 0.000", "0.375 ± 0.000")


def test_table_is_markdown_in_aligned_columns(study):
    text = studies.write_table("x_study")
    assert (study / "table.md").read_text() == text
    lines = text.splitlines()
    assert lines[0].split("|")[1:-1] == [
        "           ", " model          ", " runs ", " UAR           ", " UAR, 95 %      ", " accuracy      ",
        " macro-F1 ",
    ]  # fmt: skip
    assert set(lines[1]) == {"|", " ", "-"}
    assert len({len(line) for line in lines[:6]}) == 1
    assert "mean ± sample standard deviation" in text and "lowest to highest bound" in text
    assert "speaker's own statistics" not in text and "Not done" not in text


def test_speakers_that_were_seen_are_told(study, root):
    write_record(root, "n_s0", NORMALIZE_PER_SPEAKER=True)
    studies.write_study("n_study", "n", {"n": ["n_s0"]})
    assert "own statistics (in all runs)" in studies.write_table("n_study")
    studies.write_study("n_study", "n", {"n": ["n_s0", "r_s0"]})
    assert "own statistics (in n_s0): the test speakers' audio was seen" in studies.write_table("n_study")


def test_runs_that_are_not_done_are_told_and_not_counted(study, root):
    folder = root / "reports"
    write_record(root, "r_s3", state="failed in 03_train")
    (folder / "r_s3" / "metrics.json").unlink()
    (folder / "r_s0" / "metrics.json").write_text("{")
    (folder / "r_s1" / "params.yaml").write_text("[")
    (folder / "r_s2" / "manifest.json").write_text("{")
    studies.write_study("z_study", "x", {"random": ["r_s0", "r_s1", "r_s2", "r_s3", "none"], "nothing": ["none"]})
    record = studies.read_study(root / "reports" / "z_study")
    assert record.lines == [
        ("random", "BiLSTM on MFCC", "1 of 5", "0.750", "", "0.750", ""),
        ("nothing", "", "0 of 1", "", "", "", ""),
    ]
    assert record.notes[-1] == "Not done: r_s2 (damaged), r_s3 (failed in 03_train), none (not begun)."
    assert record.n_done == 2


# Its file


def test_file_holds_names_alone(study):
    stored = json.loads((study / "study.json").read_text())
    assert set(stored) == {"title", "made", "rows"}
    assert (stored["title"], stored["rows"], list(stored["rows"])) == ("x: seeds 0, 1, 2", ROWS, list(ROWS))


def test_file_that_says_the_same_stays(study):
    path = study / "study.json"
    path.write_text(path.read_text().replace(json.loads(path.read_text())["made"], "2026-01-02T03:04:05+00:00"))
    studies.write_study("x_study", "x: seeds 0, 1, 2", ROWS)
    studies.write_study("x_study", "x: seeds 0", {"random": ["r_s0"]})
    assert studies.read_study(study).made == "2026-01-02 03:04"
    assert studies.read_study(study).study.title == "x: seeds 0, 1, 2"


def test_study_grows_and_loses_nothing(study, root):
    before = studies.read_study(study).study
    write_record(root, "r_s7", predicted=["sad"] * 8, SEED=7)  # a UAR of 1/2
    studies.write_study("x_study", "x: seeds 0, 1, 2, 7", {"new": ["n_s7"], "random": ["r_s7", "r_s1"]})
    after = studies.read_study(study)
    assert list(after.study.rows.items()) == [
        ("random", [*ROWS["random"], "r_s7"]), ("OAF → YAF", ["y_s0"]), ("new", ["n_s7"])
    ]  # fmt: skip
    assert (after.study.title, after.study.made) == ("x: seeds 0, 1, 2, 7", before.made)
    # (1 + 7/8 + 3/4 + 1/2) / 4 = 25/32; squared deviations (49 + 9 + 1 + 81) / 1024 over 3
    assert after.lines[0][2:4] == ("4", "0.781 ± 0.213")
    assert math.sqrt(140 / 1024 / 3) == pytest.approx(0.2135, abs=5e-5)


def test_damaged_study_is_not_written_over(study):
    (study / "study.json").write_text("{")
    with pytest.raises(RunError, match=r"reports/x_study/study\.json is damaged"):
        studies.write_study("x_study", "x", ROWS)
    assert (study / "study.json").read_text() == "{"


def test_study_is_no_run_and_a_run_no_study(study, root, monkeypatch, capsys):
    with pytest.raises(RunError, match=r"A study needs a name of its own; reports/r_s0 is a run"):
        studies.write_study("r_s0", "x", ROWS)
    (root / "reports" / "r_s1" / "study.json").write_text((study / "study.json").read_text())
    assert [folder.name for folder in studies.study_folders()] == ["x_study"]
    _, stdout, _ = call(monkeypatch, capsys, "runs")
    assert {line.split()[0] for line in stdout.splitlines()} == {"run", "r_s0", "r_s1", "r_s2", "y_s0"}


def test_removing_a_study_leaves_its_runs(study, root, monkeypatch, capsys):
    status, stdout, _ = call(monkeypatch, capsys, "runs", "rm", "x_study", "--yes")
    assert (status, stdout) == (0, "Removed reports/x_study.\n")
    assert not study.exists() and (root / "reports" / "r_s0").is_dir()


@pytest.mark.parametrize("title", ["two\nlines", "a | b", "", "x" * 201])
def test_title_that_would_break_a_table_is_refused(root, title):
    with pytest.raises(RunError, match=r"The study x cannot be written \(title must be one line"):
        studies.write_study("x", title, ROWS)
    assert not (root / "reports").exists()


@pytest.mark.parametrize(
    ("content", "place"),
    [
        ("", "no JSON"),
        ("{", "no JSON"),
        ("[]", "no JSON"),
        (b"\xff", "no JSON"),
        ('{"title": "x", "made": "y"}', "rows"),
        ('{"title": "x", "made": "y", "rows": {}}', "rows"),
        ('{"title": "x", "made": "y", "rows": {"a": []}}', "rows.a"),
        ('{"title": "x", "made": "y", "rows": {"a": ["../../etc"]}}', "rows.a.0"),
        ('{"title": "x", "made": "y", "rows": {"a": ["/etc"]}}', "rows.a.0"),
        ('{"title": "x", "made": "y", "rows": {"a": ["b\\n"]}}', "rows.a.0"),
        ('{"title": "x", "made": "y", "rows": {"a": "b"}}', "rows.a"),
        ('{"title": "x|", "made": "y", "rows": {"a": ["b"]}}', "title"),
        ('{"title": 3, "made": "y", "rows": {"a": ["b"]}}', "title"),
    ],
)
def test_damaged_study_is_one_line_and_the_site_is_built(study, content, place):
    (study / "study.json").write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(RunError, match=r"reports/x_study/study\.json is damaged") as raised:
        studies.read_study(study)
    assert f"({place})" in str(raised.value)
    page = build_site().first.read_text()
    assert "<li>x_study: reports/x_study/study.json is damaged" in page and "r_s0" in page


def test_missing_study_is_one_line(root):
    with pytest.raises(RunError, match=r"A study must have a study\.json\. There is none in reports/none"):
        studies.read_study(root / "reports" / "none")


# Its page


def test_page_shows_table_and_links_each_run(study):
    build_site()
    page = (study / "index.html").read_text()
    cells = Cells(page)
    assert ["random", "BiLSTM on MFCC", "3", "0.875 ± 0.125", "", "0.875 ± 0.125", ""] in cells.rows
    assert ["r_s1", "done", "0.875", "0.875"] in cells.rows
    assert cells.addresses == ["../index.html", *(f"../{name}/index.html" for names in ROWS.values() for name in names)]
    assert "mean ± sample standard deviation" in page


def test_first_page_lists_studies_and_their_runs_below(study):
    page = build_site().first.read_text()
    cells = Cells(page)
    names = [row[0] for row in cells.rows if row]
    begin = names.index("x_study")
    assert set(names[begin + 1 : begin + 5]) == {record.name for record in studies.read_study(study).runs}
    assert 'title="x: seeds 0, 1, 2"' in page and "4 of 4 done" in page
    assert "x_study/index.html" in cells.addresses


def test_run_without_a_page_is_not_linked(study, root):
    studies.write_study("z_study", "x", {"a": ["r_s0", "none"]})
    (root / "reports" / "r_s0" / "params.yaml").write_text("[")
    build_site()
    cells = Cells((root / "reports" / "z_study" / "index.html").read_text())
    assert cells.addresses == ["../index.html"]
    assert ["none", "not begun", "", ""] in cells.rows


def test_names_and_values_are_escaped(study):
    stored = {"title": EVIL, "made": EVIL, "rows": {EVIL: ["r_s0"]}}
    (study / "study.json").write_text(json.dumps(stored))
    for page in (build_site().first.read_text(), (study / "index.html").read_text()):
        assert "<img" not in page and "<script>document" not in page
        assert "&lt;script&gt;" in page
