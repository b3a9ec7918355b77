"""The first page of all runs: what its data hold, notes and tags, and the page in a browser."""

import csv
import json
import re
import shutil
from importlib.resources import files

import pytest
from test_records import call, write_full_record, write_record
from test_report import CHROMIUM

from ser_lib.core.errors import RunError
from ser_lib.records import record
from ser_lib.records.notes import change_note
from ser_lib.records.overview import overview
from ser_lib.records.record import find_record, list_records
from ser_lib.records.site import build_site
from ser_lib.records.study import read_study, study_folders, write_study

FAIR = ["sad"] * 7 + ["angry"]  # 5 of 8 right


def read_data(page):
    """What the scripts of a first page read."""
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.S).group(1))


@pytest.fixture
def four(root):
    """Two runs of a study, one that differs in four parameters, and one that stopped."""
    write_record(root, "s_s0", started="2026-05-01T10:00:00+00:00", SEED=0)
    write_record(root, "s_s1", predicted=FAIR, started="2026-05-01T11:00:00+00:00", SEED=1)
    write_record(
        root, "other", predicted=["angry"] * 8, started="2026-05-01T12:00:00+00:00", EPOCHS=7, SPLIT="text",
        FEATURES="logmel", AUGMENT=["gain", "mask"], DENOISE=False,
    )  # fmt: skip
    stopped = write_record(root, "stopped", state="failed in 03_train", started="2026-05-01T09:00:00+00:00")
    (stopped / "metrics.json").unlink()
    (stopped / "history.json").unlink()
    write_study("s", "seeds", {"all": ["s_s0", "s_s1", "s_s2"]})
    return root / "reports"


def test_data_hold_figures_parameters_that_differ_studies_and_curves(four):
    data = read_data(build_site().first.read_text())
    assert [column["key"] for column in data["columns"] if column["place"] == "differs"] == [
        "state", "tags", "note", "SEED", "DENOISE", "AUGMENT", "EPOCHS",
    ]  # fmt: skip
    assert next(column for column in data["columns"] if column["key"] == "SPLIT")["place"] == "nowhere"
    assert not {"OUTPUT_DIR", "BATCH_SIZE"} & {column["key"] for column in data["columns"]}
    assert [data["runs"][name]["study"] for name in ("s_s0", "s_s1", "other")] == ["s", "s", None]
    other = data["runs"]["other"]["values"]
    assert {name: other[name] for name in ("SEED", "DENOISE", "AUGMENT", "EPOCHS", "SPLIT")} == {
        "SEED": 0, "DENOISE": "false", "AUGMENT": "gain, mask", "EPOCHS": 7, "SPLIT": "text",
    }  # fmt: skip
    assert (other["uar"], other["accuracy"]) == (0.5, 0.5)  # of two emotions one is always right
    assert data["runs"]["s_s1"]["values"]["accuracy"] == 5 / 8
    assert data["runs"]["s_s1"]["history"]["val_loss"] == [1.1, 0.6]
    assert data["runs"]["stopped"]["values"]["uar"] is None
    assert data["runs"]["stopped"]["history"] == {}


def test_rows_are_the_newest_first_and_a_studys_together(four):
    studies = [read_study(folder) for folder in study_folders()]
    groups = overview(list_records(), studies).groups
    assert [[row.record.name for row in rows] for _, rows in groups] == [["other"], ["s_s1", "s_s0"], ["stopped"]]
    assert [study.name if study else None for study, _ in groups] == [None, "s", None]


def test_training_that_diverged_has_gaps_and_the_page_stays_json(root):
    folder = write_record(root, "one")
    values = [1.23456789, float("nan"), float("inf")]
    quantities = ("loss", "accuracy", "val_loss", "val_accuracy")
    (folder / "history.json").write_text(json.dumps(dict.fromkeys(quantities, values)))
    text = re.search(r'id="data">(.*?)</script>', build_site().first.read_text(), re.S).group(1)
    assert "NaN" not in text and "Infinity" not in text
    assert json.loads(text)["runs"]["one"]["history"]["loss"] == [1.2346, None, None]


def test_chart_library_comes_from_its_package(four):
    page = build_site().first.read_text()
    assert (files("plotly") / "package_data" / "plotly.min.js").read_text(encoding="utf-8") in page
    assert not list(four.rglob("*.js"))


# Notes and tags


def test_note_and_tags_stay_in_the_record_and_are_shown(four, monkeypatch, capsys):
    status, out, _ = call(monkeypatch, capsys, "runs", "note", "other", "too <loud>", "--tag", "b", "--tag", "a")
    assert status == 0
    assert out.splitlines()[:2] == ["note: too <loud>", "tags: b, a"]
    assert json.loads((four / "other" / "note.json").read_text()) == {"note": "too <loud>", "tags": ["b", "a"]}
    first = (four / "index.html").read_text()
    assert read_data(first)["runs"]["other"]["values"]["tags"] == "b, a"
    assert "too &lt;loud&gt;" in first and "too &lt;loud&gt;" in (four / "other" / "index.html").read_text()
    assert str(build_site()).startswith("Pages: 0 of 5 written")
    shutil.copytree(four / "other", four / "copied")  # it goes where the record goes
    assert find_record("copied").note.tags == ["b", "a"]
    lines = call(monkeypatch, capsys, "runs")[1].splitlines()
    assert lines[0].endswith("tags") and sum(line.endswith("b, a") for line in lines) == 2


def test_note_is_changed_and_removed(four, monkeypatch, capsys):
    change_note("other", "one", add=["a", "b", "a"])
    assert change_note("other", add=["c"], remove=["a"]).model_dump() == {"note": "one", "tags": ["b", "c"]}
    assert change_note("other", "two").tags == ["b", "c"]
    assert call(monkeypatch, capsys, "runs", "note", "other")[1] == "note: two\ntags: b, c\n"
    change_note("other", "", remove=["b", "c"])
    assert not (four / "other" / "note.json").exists()
    assert call(monkeypatch, capsys, "runs", "note", "other")[1] == "note: none\ntags: none\n"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"text": "a\nb"}, r"A note must be one line of at most 500 letters\. Got 'a\\nb'\."),
        ({"text": "x" * 501}, r"A note must be one line of at most 500 letters\. Got 501\."),
        ({"add": ["two words"]}, r"A tag must be at most 40 letters, .*\. Got 'two words'\."),
        ({"add": ["a", ""]}, r"A tag must be .*\. Got ''\."),
        ({"add": [f"t{number}" for number in range(21)]}, r"A run may have at most 20 tags\. Got 21\."),
        ({"remove": ["a"]}, r"Only a tag that a run has can be removed\. other has none; got 'a'\."),
        ({"run": "nobody"}, r"There is no record of a run 'nobody' in reports/\. `ser runs` lists them\."),
        ({"run": "s"}, r"s is a study, which gathers runs; name one of its runs\. .*"),
    ],
)
def test_bad_note_is_one_line_and_changes_nothing(four, values, message):
    with pytest.raises(RunError, match=f"^{message}$"):
        change_note(**{"run": "other"} | values)
    assert not list(four.rglob("note.json"))


@pytest.mark.parametrize("content", ["[]", '{"note": 3}', '{"tags": ["<b>"]}', '{"more": 1}', b"\xff"])
def test_damaged_note_is_named_and_the_other_runs_are_shown(four, content):
    (four / "other" / "note.json").write_bytes(content if isinstance(content, bytes) else content.encode())
    site = build_site()
    assert site.left_out == ["other: reports/other/note.json is damaged. Restore it, or remove it."]
    assert set(read_data(site.first.read_text())["runs"]) == {"s_s0", "s_s1", "stopped"}


def test_pages_take_each_note_from_its_file_once(four, monkeypatch):
    change_note("other", "one")
    read, asked = record.read_json, []
    monkeypatch.setattr(record, "read_json", lambda path, *given: asked.append(path) or read(path, *given))
    build_site(every=True)
    assert asked.count(four / "other" / "note.json") == 1


# In a browser


@pytest.fixture
def page(four, tmp_path):
    """The first page of five runs, open in Chromium."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine")
    write_full_record(four.parent, "full", low=0.25, SEED=5, started="2026-05-01T13:00:00+00:00")
    change_note("full", "=1+1", add=["keep"])
    first = build_site().first
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1400, "height": 900})
        faults = []
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("console", lambda message: faults.append(message.text))
        page.goto(first.as_uri())
        yield page
        assert faults == []
        browser.close()


def names_in(page):
    return page.eval_on_selector_all("tr[data-run]", "rows => rows.filter(r => r.offsetHeight).map(r => r.dataset.run)")


def heads_in(page):
    return page.eval_on_selector_all("#runs th", "heads => heads.filter(h => h.offsetWidth).map(h => h.dataset.key)")


@pytest.mark.slow
def test_page_in_a_browser(page, tmp_path):
    """Folded studies, search, filter, sort, columns, ticks, comparison, pictures and CSV."""
    assert names_in(page) == ["full", "other", "stopped"]
    assert "0.625 to 1.000" in page.inner_text("tr[data-study=s]")
    page.get_by_label("Runs of s", exact=True).press("Enter")
    assert names_in(page) == ["full", "other", "s_s1", "s_s0", "stopped"]

    page.keyboard.press("/")
    page.keyboard.type("s_ seed=1")
    assert names_in(page) == ["s_s1"] and page.inner_text("#status") == "1 of 5."
    assert not {"SEED", "EPOCHS", "state"} & set(heads_in(page))  # one run differs from none
    page.fill("#search", "uar<=0.625")
    assert names_in(page) == ["other", "s_s1"]
    assert {"SEED", "EPOCHS", "AUGMENT"} <= set(heads_in(page)) and "tags" not in heads_in(page)
    page.fill("#search", "EPOCH>3")
    assert page.inner_text("#status") == 'There is no column "EPOCH".'
    page.fill("#search", "")
    page.select_option("[data-choice=tags]", "keep")
    assert names_in(page) == ["full"]
    page.select_option("[data-choice=tags]", "")

    page.get_by_label("by study").uncheck()
    page.get_by_role("button", name="test UAR").click()
    assert names_in(page) == ["s_s0", "full", "s_s1", "other", "stopped"]  # 1, 0.75, 0.625, 0.5, none
    page.get_by_role("button", name="test UAR").click()
    assert names_in(page) == ["other", "s_s1", "full", "s_s0", "stopped"]

    for name in ("full", "other"):
        page.get_by_label(f"Compare {name}", exact=True).check()
    cells = page.eval_on_selector_all("#side tr", "rows => rows.map(row => [...row.cells].map(c => c.textContent))")
    assert cells[0] == ["", "full", "other"]
    assert ["test UAR", "0.750", "0.500"] in cells and ["EPOCHS", "50", "7"] in cells
    assert "BATCH_SIZE" not in [row[0] for row in cells]
    assert page.inner_text("#command") == "ser compare full other"
    assert page.eval_on_selector("#curves", "chart => chart.data.map(line => line.y)") == [[1.1, 0.6], [1.0, 0.5]] * 2
    page.select_option("#across", "SEED")
    points = page.eval_on_selector("#scatter", "chart => chart.data.flatMap(one => one.x.map((x, i) => [x, one.y[i]]))")
    assert sorted(points) == [[0, 0.5], [0, 1.0], [1, 0.625], [5, 0.75]]

    page.fill("#search", "full")
    with page.expect_download() as download:
        page.get_by_role("button", name="CSV").click()
    download.value.save_as(tmp_path / "runs.csv")
    (row,) = csv.DictReader((tmp_path / "runs.csv").read_text().splitlines())
    assert (row["run"], float(row["uar"]), row["study"]) == ("full", 0.75, "")


LINES = """() => [...document.querySelectorAll('#runs td a')].filter(a => a.offsetHeight).map(a => {
  const seen = document.createRange();
  const texts = [...a.childNodes].filter(n => n.nodeType === Node.TEXT_NODE);
  const parts = texts.map(n => { seen.selectNodeContents(n); return seen.getClientRects().length; });
  seen.selectNodeContents(a);
  return [a.textContent, new Set([...seen.getClientRects()].map(r => Math.round(r.top))).size, Math.max(...parts)];
})"""
"""Of each name that is seen: its text, how many lines it stands on, and on how many a word of it at most."""


@pytest.mark.slow
def test_table_tells_that_it_goes_on_and_breaks_no_word(page):
    page.eval_on_selector(
        "tr[data-run=full] a", "a => { a.innerHTML = 'tess_<wbr>robust_<wbr>random_<wbr>whisper_<wbr>s0' }"
    )
    page.evaluate("document.querySelector('#runs th').style.minWidth = '1800px'")
    page.wait_for_selector("#more", state="visible")
    page.eval_on_selector(".wide", "wide => { wide.scrollLeft = wide.scrollWidth }")
    page.wait_for_selector("#more", state="hidden")
    page.evaluate("document.querySelector('#runs th').style.minWidth = ''")
    assert {n_lines for _, n_lines, _ in page.evaluate(LINES)} == {1}
    page.set_viewport_size({"width": 400, "height": 900})
    page.wait_for_selector("#more", state="visible")
    lines = {name: (n_lines, of_a_word) for name, n_lines, of_a_word in page.evaluate(LINES)}
    assert lines["tess_robust_random_whisper_s0"][0] > 1 and {of_a_word for _, of_a_word in lines.values()} == {1}


@pytest.mark.slow
def test_csv_holds_no_formula(page, tmp_path):
    with page.expect_download() as download:
        page.get_by_role("button", name="CSV").click()
    download.value.save_as(tmp_path / "runs.csv")
    rows = {row["run"]: row for row in csv.DictReader((tmp_path / "runs.csv").read_text().splitlines())}
    assert rows["full"]["note"] == "'=1+1"
    assert rows["other"]["AUGMENT"] == "gain, mask"
    assert len(rows) == 5 and rows["s_s0"]["study"] == "s"
