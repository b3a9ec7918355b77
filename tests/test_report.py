import json
import os
import re
import shutil
import subprocess
from html.parser import HTMLParser

import nbformat
import pytest
from test_records import call, write_full_record, write_record

from ser_lib._cli.common import summarize
from ser_lib.records.compare import compare_runs
from ser_lib.records.pages import model_card, write_model_card
from ser_lib.records.record import find_record
from ser_lib.records.site import build_site, write_comparison_page
from ser_lib.records.study import write_study

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
EVIL = "<script>document.title = 'evil'</script><img src=x onerror=\"document.title = 'evil'\">"


class Cells(HTMLParser):
    """Texts of the table cells of a page, row by row, and every address in it."""

    def __init__(self, page):
        super().__init__()
        self.rows, self.addresses, self._open = [], [], False
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        self.addresses += [values[name] for name in ("src", "href") if values.get(name)]
        if tag == "wbr":  # where a long word may break
            return
        self._open = tag in ("td", "th")
        if tag == "tr":
            self.rows.append([])
        elif self._open:
            self.rows[-1].append("")

    def handle_endtag(self, tag):
        self._open = self._open and tag not in ("td", "th")

    def handle_data(self, data):
        if self._open or (self.rows and self.rows[-1] and self.lasttag in ("a", "wbr")):
            self.rows[-1][-1] += data.strip()


def write_notebook(folder, name="03_train", text="42", html="<b>bold</b>"):
    output = nbformat.v4.new_output("execute_result", {"text/plain": text, "text/html": html})
    cells = [nbformat.v4.new_markdown_cell("# Train\n\n$x^2$"), nbformat.v4.new_code_cell("6 * 7", outputs=[output])]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), folder / f"{name}.ipynb")


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Three runs, one of them with names and values that mean harm."""
    root = tmp_path_factory.mktemp("built")
    folder = write_record(
        root, "good", predicted=["sad"] * 7 + ["angry"], started="2026-01-02T03:04:05+00:00", EPOCHS=3
    )
    write_notebook(folder)
    (folder / "model_card.md").write_text(f"# Card\n\n| a | b |\n| - | - |\n| 1 | {EVIL} |\n")
    evil = write_record(root, "evil", EXAMPLE_AUDIO_FILE=EVIL, state=f"failed in {EVIL}")
    write_notebook(evil, text=EVIL, html=EVIL)
    (write_record(root, "plain") / "metrics.json").unlink()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SER_ROOT", str(root))
        build_site()
    return root / "reports"


@pytest.fixture
def site(root, built):
    return shutil.copytree(built, root / "reports")


def test_first_page_has_every_run(site):
    rows = Cells((site / "index.html").read_text()).rows
    assert rows[0] == [
        "run", "state", "test UAR", "test accuracy", "validation UAR", "corpus", "split", "model", "tags", "note",
        "EPOCHS", "EXAMPLE_AUDIO_FILE", "started (UTC)", "seconds",
    ]  # fmt: skip
    by_name = {row[0]: row[1:] for row in rows[1:]}
    assert set(by_name) == {"good", "evil", "plain"}
    assert by_name["good"] == [
        "done", "0.625", "0.625", "0.625", "TESS", "random 70/15/15", "BiLSTM on MFCC", "", "", "3", "none",
        "2026-01-02 03:04", "10",
    ]  # fmt: skip
    assert by_name["plain"][1:4] == ["", "", ""]


def test_page_of_a_run_shows_metrics_pictures_and_card(site):
    page = (site / "good" / "index.html").read_text()
    rows = Cells(page).rows
    assert ["test", "8", "0.625", "0.625", "0.500", "0.250", "1.000"] in [
        [row[0], *row[1:5], *sorted(row[5:])] for row in rows if row[0] == "test"
    ]
    assert ["EPOCHS", "3"] in rows
    assert page.count("<svg") == 3
    assert "40 clips, SHA-256 c0" in page
    assert "Card</h1>" in page


def test_notebook_is_a_page_of_its_own(site):
    page = (site / "good" / "03_train.html").read_text()
    assert "Train" in page and "<b>bold</b>" in page
    assert "<script" not in page


def test_cell_that_is_collapsed_in_its_notebook_is_folded_on_its_page(site):
    hidden = nbformat.v4.new_code_cell("EPOCHS = 3", metadata={"jupyter": {"source_hidden": True}})
    cells = [hidden, nbformat.v4.new_code_cell("print(42)")]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), site / "plain" / "03_train.ipynb")
    build_site()
    (folded,) = re.findall("<details>.*?</details>", (site / "plain" / "03_train.html").read_text(), re.DOTALL)
    assert "EPOCHS" in folded and "print" not in folded


def test_no_page_names_another_address_to_load_from(site):
    for path in site.rglob("*.html"):
        page = path.read_text()
        addresses = [address for address in Cells(page).addresses if not address.startswith(("data:", "#"))]
        assert all((path.parent / address).exists() for address in addresses if address != "x"), path
        assert not re.search(r"url\(['\"]?(https?:)?//|@import", page), path
        assert "Content-Security-Policy" in page


def test_names_and_values_are_escaped(site):
    for path in (site / "index.html", site / "evil" / "index.html", site / "good" / "index.html"):
        page = path.read_text()
        assert "<img" not in page and "<script>document" not in page, path
        assert path.parent.name == "good" or "&lt;script&gt;" in page


# Which pages are written


def inodes(root):
    """Number of each page's file: writing it gives another."""
    return {str(page.relative_to(root)): page.stat().st_ino for page in root.rglob("*.html")}


def rewritten(root, before):
    return {name for name, number in inodes(root).items() if number != before.get(name)} - {"index.html"}


@pytest.fixture
def settled(root):
    """Three runs and a study of two of them, whose pages are up to date."""
    for name in "abc":
        write_notebook(write_record(root, name))
    write_study("s", "s", {"x": ["a", "b"]})
    assert str(build_site()) == "Pages: 4 of 4 written, reports/index.html"
    return root / "reports"


def test_nothing_is_written_twice_but_the_first_page(settled, monkeypatch, capsys):
    before = inodes(settled)
    assert call(monkeypatch, capsys, "report") == (0, "Pages: 0 of 4 written, reports/index.html\n", "")
    assert rewritten(settled, before) == set()
    assert inodes(settled)["index.html"] != before["index.html"]
    assert call(monkeypatch, capsys, "report", "--all")[1] == "Pages: 4 of 4 written, reports/index.html\n"
    assert rewritten(settled, before) == set(before) - {"index.html"}


def test_run_that_changed_is_written_with_its_studies_and_nothing_else(settled):
    before = inodes(settled)
    manifest = json.loads((settled / "c" / "manifest.json").read_text())
    (settled / "c" / "manifest.json").write_text(json.dumps(manifest | {"state": "failed in 04_evaluate"}))
    assert str(build_site()) == "Pages: 1 of 4 written, reports/index.html"
    assert rewritten(settled, before) == {"c/index.html"}
    assert "failed in 04_evaluate" in (settled / "c" / "index.html").read_text()
    assert "failed in 04_evaluate" in (settled / "index.html").read_text()
    before = inodes(settled)
    write_notebook(settled / "a", text="43")
    assert build_site().n_written == 2
    assert rewritten(settled, before) == {"a/index.html", "a/03_train.html", "s/index.html"}
    assert "43" in (settled / "a" / "03_train.html").read_text()


def test_record_replaced_by_one_of_the_same_sizes_and_dates_is_noticed(settled):
    before = (settled / "a" / "metrics.json").stat()
    values = json.loads((settled / "a" / "metrics.json").read_text())
    text = json.dumps(values).replace('"accuracy": 1.0', '"accuracy": 0.5')
    (settled / "a" / "metrics.json").write_text(text.ljust(before.st_size))
    os.utime(settled / "a" / "metrics.json", ns=(before.st_atime_ns, before.st_mtime_ns))
    assert build_site().n_written == 2
    assert "0.500" in (settled / "a" / "index.html").read_text()


@pytest.mark.parametrize("page", ["a/index.html", "a/03_train.html", "s/index.html"])
@pytest.mark.parametrize("spoil", [lambda page: page.write_text("not ours"), os.unlink, os.mkfifo])
def test_page_that_is_damaged_or_foreign_or_gone_is_written(settled, page, spoil):
    right = (settled / page).read_text()
    if spoil is os.mkfifo:
        (settled / page).unlink()
        os.mkfifo(settled / page)
        assert len(build_site().left_out) == 1  # it is named, and not waited for
        (settled / page).unlink()
    else:
        spoil(settled / page)
    assert build_site().n_written >= 1
    assert (settled / page).read_text() == right


def test_page_that_came_with_a_record_is_written(settled):
    shutil.copytree(settled / "a", settled / "d")
    (settled / "d" / "index.html").write_text("not ours")
    assert build_site().n_written == 1
    assert "not ours" not in (settled / "d" / "index.html").read_text()


@pytest.mark.parametrize("content", [b"", b"[]", b"\xff", b'{"a/index.html": 3}', b"{" * 100_000])
def test_damaged_notes_are_no_notes(settled, content):
    (settled / ".pages.json").write_bytes(content)
    assert build_site().n_written == 4


def test_other_code_or_templates_write_every_page(settled, monkeypatch):
    monkeypatch.setattr("ser_lib.records.site._maker", lambda: "another version")
    assert build_site().n_written == 4
    assert build_site().n_written == 0


def test_removed_record_leaves_its_studies_page(settled, monkeypatch, capsys):
    before = inodes(settled)
    assert call(monkeypatch, capsys, "runs", "rm", "b", "--yes")[0] == 0
    assert rewritten(settled, before) == {"s/index.html"}
    assert "not begun" in (settled / "s" / "index.html").read_text()
    assert "b/index.html" not in (settled / "index.html").read_text()
    assert str(build_site()) == "Pages: 0 of 3 written, reports/index.html"


def test_what_is_left_out_is_told_in_the_terminal(settled, monkeypatch, capsys):
    (settled / "c" / "metrics.json").write_text("{")
    status, out, err = call(monkeypatch, capsys, "report")
    assert (status, out) == (0, "Pages: 0 of 3 written, reports/index.html, which names 1 that is left out\n")
    assert err == "Left out: c: reports/c/metrics.json is damaged. Restore it, or remove the run.\n"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        *(("metrics.json", text) for text in ("[]", "null", "3", '{"test": null}', '{"test": {"accuracy": "x"}}')),
        *(("history.json", text) for text in ("[]", '{"loss": null}', '{"loss": [[1]]}', '{"accuracy": [1.0]}')),
        *(("params.yaml", text) for text in ("TEST_FRACTION: a", "CORPORA: 3", 'CORPORA: ["\\ud800"]')),
        ("manifest.json", '{"run": "plain", "state": "done", "started": "", "stages": {"01": {"seconds": 1e999}}}'),
        ("model_card.md", b"\xff"),
        *(("01_preprocess.ipynb", text) for text in ("[]", '{"cells": 3}', b"\xff", '{"nbformat": 99, "cells": []}')),
    ],
)
def test_whatever_is_odd_in_one_record_the_others_are_shown(site, monkeypatch, capsys, name, content):
    (site / "plain" / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    build_site()
    page = (site / "index.html").read_text()
    assert "good" in [row[0] for row in Cells(page).rows[1:]]
    assert "plain" in page
    status, stdout, _ = call(monkeypatch, capsys, "runs")
    assert status == 0
    assert {line.split()[0] for line in stdout.splitlines()} == {"run", "good", "evil", "plain"}


def test_foreign_markup_of_a_notebook_is_left_out(site):
    notebook = json.loads((site / "evil" / "03_train.ipynb").read_text())
    text = '<meta http-equiv="refresh" content="0;url=http://evil.example/"><base href="//x"><form action="//x"></form>'
    notebook["cells"].insert(0, {"cell_type": "markdown", "id": "m", "metadata": {}, "source": text})
    (site / "evil" / "03_train.ipynb").write_text(json.dumps(notebook))
    build_site()
    page = (site / "evil" / "03_train.html").read_text()
    for tag in ("<form", "<base", '<meta http-equiv="refresh"'):
        assert tag not in page


def test_damaged_record_is_named_and_the_others_are_shown(site):
    (site / "evil" / "metrics.json").write_text("{")
    (site / "plain" / "01_preprocess.ipynb").write_text("{")
    build_site()
    page = (site / "index.html").read_text()
    assert [row[0] for row in Cells(page).rows[1:]] == ["good"]
    assert "reports/evil/metrics.json is damaged" in page
    assert "<li>plain: " in page


def test_no_run_at_all_gives_an_empty_page(root):
    assert "0 in all" in build_site().first.read_text()


# What is measured beside accuracy and UAR


def read_page(root, name):
    build_site()
    return (root / "reports" / name / "index.html").read_text()


def test_page_of_a_run_shows_baselines_and_intervals_beside_the_network(root):
    write_full_record(root, "full")
    rows = Cells(read_page(root, "full")).rows
    interval = "0.500 to 1.000"
    assert ["BiLSTM on MFCC", "0.750", interval, "0.750", interval, "0.733", interval, ""] in rows
    assert ["majority", "0.500", interval, "0.500", interval, "0.375", interval, "-0.125 to 0.375"] in rows
    assert ["svm", "0.625", interval, "0.625", interval, "0.375", interval, "-0.125 to 0.375"] in rows


def test_page_of_a_run_shows_robustness_and_calibration(root):
    write_full_record(root, "full")
    page = read_page(root, "full")
    rows = Cells(page).rows
    assert ["as recorded", "0.750", "0.750", ""] in rows
    assert ["noise 0 dB", "0.250", "0.375", "1"] in rows
    assert "temperature 1.50" in page and "0.125" in page


def test_page_of_a_run_says_what_its_split_shares(root):
    write_full_record(root, "full", SPLIT="speaker", TEST_SPEAKERS=["YAF"])
    page = read_page(root, "full")
    assert "Test speaker YAF. Of 8 test clips, 0 (0.0%) share the speaker, 8 (100.0%) the text" in page
    assert "own statistics" not in page


def test_card_and_page_tell_what_the_split_gave(root):
    folder = write_full_record(root, "full")
    sets = ["train"] * 20 + ["validation"] * 5 + ["test"] * 5 + ["unused"] * 3
    (folder / "split.csv").write_text("clip,set\n" + "".join(f"{clip},{one}\n" for clip, one in enumerate(sets)))
    write_model_card(folder)
    page, card = (" ".join(text.split()) for text in (read_page(root, "full"), (folder / "model_card.md").read_text()))
    told = "20 clips for training, 5 for validation, 5 for the test; unused: 3 (second copies of a recording, or"
    assert f"Random 70/15/15, which gave {told}" in page
    assert f"The split asked for (random 70/15/15, seed 0) gave three sets: {told}" in card


def test_page_shows_the_card_that_a_light_record_has_left_out(root):
    folder = write_full_record(root, "full")
    write_model_card(folder)
    card = read_page(root, "full").partition("What it must not be used for")
    assert card[1]
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(manifest | {"format": 5, "left_out": ["model_card.md"]}))
    (folder / "model_card.md").unlink()
    assert read_page(root, "full").partition("What it must not be used for")[2].split() == card[2].split()
    (folder / "manifest.json").write_text(json.dumps(manifest))
    assert "What it must not be used for" not in read_page(root, "full")


def test_card_says_what_licences_leave(root):
    values = {"FEATURES": "encoder", "ENCODER": "smart-turn", "DENOISE": False, "MODEL": "linear", "CORPORA": ["OWN"]}
    card = model_card(find_record(write_full_record(root, "own", **values).name))
    assert "encoder smart-turn (licence: BSD-2-Clause) makes of it" in card and "commercial" not in card
    card = model_card(find_record(write_full_record(root, "ased", CORPORA=["TESS", "ASED"], DATASET_PATH="data").name))
    assert "Not for commercial purposes" in card and "Where no licence is named" in card and "licence:" not in card


def test_page_shows_accuracy_at_each_coverage(root):
    folder = write_full_record(root, "full")
    assert "only sure answers" not in read_page(root, "full")
    stored = json.loads((folder / "metrics.json").read_text())
    stored["coverage"] = {"test": {"threshold": [0.0, 0.5], "answered": [1.0, 0.5], "accuracy": [0.75, 1.0]}}
    (folder / "metrics.json").write_text(json.dumps(stored))
    page = read_page(root, "full")
    assert "Accuracy where only sure answers count" in page and page.count("<svg") == 4


@pytest.mark.parametrize(("linear", "told"), [(1.0, True), (0.875, False), (0.25, False), (None, False)])
def test_card_and_page_tell_that_the_network_lost_to_the_linear_baseline(root, linear, told):
    folder = write_full_record(root, "full")  # six of eight clips are right; one more is no lead
    stored = json.loads((folder / "metrics.json").read_text())
    stored["baselines"]["linear"] = stored["baselines"]["svm"] | ({} if linear is None else {"validation_uar": linear})
    (folder / "metrics.json").write_text(json.dumps(stored))
    write_model_card(folder)
    for text in (read_page(root, "full"), (folder / "model_card.md").read_text(), summarize("full")):
        assert ("below that of the linear baseline, 1.000" in text and "Try more epochs" in text) == told


def test_page_of_a_run_says_that_test_speakers_were_seen(root):
    write_full_record(root, "full", NORMALIZE_PER_SPEAKER=True)
    assert "standardised with each speaker's own statistics" in read_page(root, "full")


def test_page_of_an_older_run_has_nothing_of_it(root):
    write_record(root, "old")
    page = read_page(root, "old")
    for word in ("95 %", "Robustness", "temperature", "svm"):
        assert word not in page


def test_page_of_a_run_names_its_data_among_the_parameters(root):
    write_full_record(root, "full", CORPORA=["OWN"], DATASET_PATH="voices")
    rows = Cells(read_page(root, "full")).rows
    assert ["CORPORA", "['OWN']"] in rows and ["DATASET_PATH", "voices"] in rows
    assert "OUTPUT_DIR" not in [row[0] for row in rows]


CNN = {"FEATURES": "logmel", "MODEL": "cnn", "POOLING": "attention"}


@pytest.mark.parametrize(
    ("values", "there", "absent"),
    [
        ({}, ["A bidirectional LSTM", "(random 70/15/15, seed 0)", "one of 7: neutral, happy,",
              "mostly the same words, into all three", "13 MFCC",
              "their last states", "with Adam.", "best validation accuracy", "close to guessing"],
         ["AdamW", "each speaker", "convolution"]),
        (CNN, ["A convolutional network", "128 mel bands", "weighted by attention", "3 × 3"], ["LSTM", "MFCC"]),
        ({"POOLING": "mean_max"}, ["mean and maximum over time"], ["their last states"]),
        ({"SCHEDULE": "one_cycle", "WEIGHT_DECAY": 0.01, "LABEL_SMOOTHING": 0.1},
         ["Kept: the last epoch", "AdamW, weight decay 0.01", "label smoothing 0.1"], ["best validation accuracy"]),
        (CNN | {"AUGMENT": ["mask", "tilt"]}, ["(mask, tilt)"], []),
        ({"SPLIT": "text"}, ["(text-disjoint 70/15/15,", "No text is in two of them"], ["random"]),
        ({"SPLIT": "speaker", "TEST_SPEAKERS": ["YAF"]},
         ["(test speaker YAF,", "neither in training nor", "had not heard"],
         ["random", "close to guessing", "same voices"]),
        ({"SPLIT": "speaker_text", "TEST_SPEAKERS": ["YAF"]}, ["Neither the test speakers nor what they say"],
         ["close to guessing"]),
        ({"SPLIT": "folds", "N_FOLDS": 5, "FOLD": 1}, ["fold 1 of 5"], ["random", "close to guessing"]),
        ({"SPLIT_FILE": "mine.csv"}, ["(from mine.csv,"], ["random"]),
        ({"CORPORA": ["DEMO"], "TEST_CORPORA": ["EMODB"], "SPLIT": "corpus"},
         ["**EMODB** (tested on alone)", "(test corpora EMODB,", "neither in training nor", "of other corpora"],
         ["random", "close to guessing", "same voices"]),
        ({"CMN": True}, ["13 MFCC less their mean over the clip"], []),
        (CNN | {"CMN": True}, ["128 mel bands, in dB above their mean over the clip"], ["above the clip"]),
        ({"NORMALIZE_PER_SPEAKER": True}, ["deviation of each speaker", "come from their own clips"], []),
        (
            {"FEATURES": "encoder", "ENCODER": "smart-turn", "DENOISE": False, "MODEL": "linear"}
            | {"CALIBRATE_ON": "left_out", "AVERAGE_LEFT_OUT": True},
            ["the mean of this layer and of those that were trained without a corpus each"],
            ["its repeats"],
        ),
        ({"FEATURES": "encoder", "ENCODER": "smart-turn", "DENOISE": False, "MODEL": "linear", "TILE": True},
         ["of a clip shorter than 2.5 s the mean of that and of those of its repeats, standardised"], []),
        ({"FEATURES": "encoder", "ENCODER": "functionals", "DENOISE": False, "MODEL": "linear", "TILE": True},
         ["rhythm over the clip; of a clip shorter than 2.5 s the mean of that"], []),
        ({"MODEL": "bilstm"}, [], ["mean of this layer"]),
        ({"BALANCE": True}, ["emotions and corpora balanced by weights"], ["clips drawn"]),
        ({"BALANCE": "sampling"}, ["all emotions of a corpus are equally frequent"], ["balanced by weights"]),
        ({"STANDARDIZE": False, "DENOISE": False}, ["noise not reduced"], ["standardised"]),
    ],
)  # fmt: skip
@pytest.mark.parametrize("write", [write_record, write_full_record])
def test_model_card_is_true_of_every_setting(root, write, values, there, absent):
    write_model_card(write(root, "one", **values))
    card = " ".join((root / "reports" / "one" / "model_card.md").read_text().split())
    assert [text for text in there if text not in card] == []
    assert [text for text in absent if text in card] == []
    assert "{" not in card and "None" not in card


@pytest.mark.parametrize(("known", "said"), [(0, "had not heard"), (1, "close to guessing")])
def test_model_card_goes_by_the_speakers_that_were_met(root, known, said):
    folder = write_full_record(root, "one", SPLIT_FILE="mine.csv")
    stored = json.loads((folder / "metrics.json").read_text())
    stored |= {"speakers": 1, "texts": 4, "known": {"speakers": known, "texts": 4}}
    (folder / "metrics.json").write_text(json.dumps(stored))
    write_model_card(folder)
    assert said in (folder / "model_card.md").read_text()


def test_model_card_tells_how_right_the_model_was_about_what_was_left_out(root):
    folder = write_full_record(root, "one")
    curve = {"threshold": [0.0, 0.5], "answered": [1.0, 0.2], "accuracy": [0.466, 0.9]}
    stored = json.loads((folder / "metrics.json").read_text()) | {"coverage": {"left out": curve}}
    (folder / "metrics.json").write_text(json.dumps(stored))
    write_model_card(folder)
    card = " ".join((folder / "model_card.md").read_text().split())
    assert "of voices that were left out of its training in turn, 47 % of the answers were right." in card
    assert "close to guessing" not in card


def test_card_and_page_of_a_folder_of_ones_own_claim_nothing_of_unknown_voices(root):
    folder = write_full_record(root, "one", CORPORA=["OWN"])
    stored = json.loads((folder / "metrics.json").read_text())
    nobody = {"speakers": None, "texts": None}
    stored |= nobody | {"known": nobody, "unknown": {"speakers": 40, "texts": 40}}
    (folder / "metrics.json").write_text(json.dumps(stored))
    shares = {"clips": 8, "speaker": None, "text": None, "audio": {"clips": 0, "share": 0.0}}
    (folder / "leakage.json").write_text(json.dumps({"test": shares, "validation": shares}))
    write_model_card(folder)
    build_site()
    card, page = (" ".join((folder / name).read_text().split()) for name in ("model_card.md", "index.html"))
    for text in (card, page):
        assert "voices that the model may or may not know" in text
    assert "A random split pays no heed to who speaks and what is said." in card
    assert all(claim not in card for claim in ("same voices", "had not heard", "few speakers act", "never heard and"))


def test_model_card_has_all_figures(root):
    write_model_card(write_full_record(root, "one"))
    card = (root / "reports" / "one" / "model_card.md").read_text()
    assert "one temperature, 1.50, fitted on the validation set" in card
    interval = "0.500 to 1.000"
    assert f"\n| svm | 0.625 | {interval} | 0.625 | {interval} | 0.375 | {interval} |\n" in card
    assert f"\n| BiLSTM on MFCC | 0.750 | {interval} | 0.750 | {interval} | 0.733 | {interval} |\n" in card
    assert "\n| noise 0 dB | 0.250 | 0.375 |\n" in card
    assert "Of 8 test clips, 0 (0.0%) share the speaker" in card


def test_card_and_page_tell_of_how_many_clips_the_temperature_is(root):
    folder = write_full_record(root, "full")  # whose validation set has eight
    write_model_card(folder)
    for text in (read_page(root, "full"), (folder / "model_card.md").read_text()):
        assert "fitted on the validation set (8 clips)" in " ".join(text.split())


# In a browser


def browse(page, *options, netlog):
    """What Chromium makes of a page, and every address on the net that it asked for."""
    command = [
        CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking",
        "--disable-component-update", "--no-first-run", f"--user-data-dir={netlog}.profile",
        f"--log-net-log={netlog}", "--virtual-time-budget=3000", *options, page.as_uri(),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    events = [event.get("params", {}) for event in json.loads(netlog.read_text())["events"]]
    # the browser's own requests, for updates and the like, have no origin
    asked = {event["url"] for event in events if event.get("initiator", "not an origin") != "not an origin"}
    return done.stdout, {address for address in asked if not address.startswith(("file:", "data:"))}


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
def test_a_page_that_asks_the_net_is_noticed(tmp_path):
    page = tmp_path / "page.html"
    page.write_text("<img src='http://example.invalid/x.png'><script>document.title = 'ran'</script>")
    shown, asked = browse(page, "--dump-dom", netlog=tmp_path / "net.json")
    assert asked == {"http://example.invalid/x.png"}
    assert "<title>ran</title>" in shown


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
@pytest.mark.parametrize("name", ["index.html", "good/index.html", "good/03_train.html", "evil/03_train.html"])
def test_browser_asks_the_net_for_nothing_and_runs_nothing_foreign(site, tmp_path, name):
    shown, asked = browse(site / name, "--dump-dom", netlog=tmp_path / "net.json")
    assert asked == set()
    assert "<title>evil</title>" not in shown


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
def test_browser_sorts_by_a_heading(site, tmp_path):
    page = site / "sorted.html"
    click = "<script>document.querySelector('th button').click()</script></body>"
    page.write_text((site / "index.html").read_text().replace("</body>", click))
    before = [row[0] for row in Cells((site / "index.html").read_text()).rows[1:]]
    shown, _ = browse(page, "--dump-dom", netlog=tmp_path / "net.json")
    after = [row[0] for row in Cells(shown).rows[1:]]
    assert before != sorted(before)
    assert after == sorted(before)


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
@pytest.mark.parametrize("width", [400, 1400])
def test_page_is_no_wider_than_the_window(site, tmp_path, width):
    for name in ("index.html", "good/index.html"):
        page = (site / name).with_name("measured.html")
        # headless Chromium's window is never under 500 px wide: a frame is
        frame = f"""<iframe id="frame" src="{(site / name).name}" style="width: {width}px; height: 900px"></iframe>
        <script>window.onload = () => document.title = frame.contentDocument.documentElement.scrollWidth</script>"""
        page.write_text(frame)
        shown, _ = browse(page, "--dump-dom", "--allow-file-access-from-files", netlog=tmp_path / "net.json")
        assert 0 < int(re.search(r"<title>(\d+)</title>", shown).group(1)) <= width


def test_comparison_page_escapes(site):
    comparison = compare_runs([find_record("good"), find_record("evil")])
    write_comparison_page(comparison, "x")
    page = (site / "compare-x.html").read_text()
    assert "&lt;script&gt;" in page and "<script>document" not in page
