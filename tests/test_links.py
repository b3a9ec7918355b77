"""Records from elsewhere that hold links, pipes or devices: refused by name; nothing is written or shown through."""

import os
import shutil

import pytest
from test_records import call, write_record
from test_report import write_notebook

from ser_lib.core.errors import RunError
from ser_lib.records import record as records
from ser_lib.records import study as studies
from ser_lib.records.manifest import check_plain
from ser_lib.records.site import build_site, write_comparison_page

SECRET = "a secret of this machine"


@pytest.fixture
def secret(root, tmp_path_factory):
    """A file outside of the project, beside two records and a study."""
    file = tmp_path_factory.mktemp("home") / "secret.txt"
    file.write_text(SECRET)
    for name in ("good", "foreign"):
        write_notebook(write_record(root, name))
    studies.write_study("x_study", "x", {"a": ["good"]})
    return file


def everything_in(folder):
    return "".join(path.read_text(errors="replace") for path in folder.rglob("*.html") if path.is_file())


@pytest.mark.parametrize(
    "place",
    ["index.html", "model_card.md", "03_train.html", "04_evaluate.ipynb", "manifest.json", "params.yaml",
     "metrics.json", "history.json", "leakage.json", "test_predictions.csv", "deep/er/x", "odd name.bin"],
)  # fmt: skip
def test_link_in_a_record_is_named_and_not_followed(root, secret, monkeypatch, capsys, place):
    link = root / "reports" / "foreign" / place
    link.parent.mkdir(parents=True, exist_ok=True)
    link.unlink(missing_ok=True)
    link.symlink_to(secret)
    page = build_site().first.read_text()
    assert f"<li>foreign: A record must hold plain files and folders alone; reports/foreign/{place} is a link." in page
    assert secret.read_text() == SECRET
    assert SECRET not in everything_in(root / "reports" / "good") + page
    assert "good/index.html" in page
    assert not (root / "reports" / "foreign" / "index.html").is_file() or place == "index.html"
    status, out, _ = call(monkeypatch, capsys, "runs")
    assert status == 0
    assert [line.split()[:2] for line in out.splitlines() if line.startswith("foreign")] == [["foreign", "damaged"]]


@pytest.mark.parametrize("where", [".", "deep"])
def test_pipe_or_link_to_a_folder_is_named_and_nothing_waits(root, secret, where):
    folder = root / "reports" / "foreign" / where
    folder.mkdir(exist_ok=True)
    os.mkfifo(folder / "manifest.json.pipe")
    page = build_site().first.read_text()
    assert "manifest.json.pipe is a pipe, a socket or a device." in page
    (folder / "manifest.json.pipe").unlink()
    (folder / "more").symlink_to(secret.parent)
    assert "/more is a link." in build_site().first.read_text()


@pytest.mark.parametrize("name", ["manifest.json", "params.yaml", "metrics.json", ".lock"])
def test_pipe_in_a_files_place_is_not_waited_for(root, secret, monkeypatch, capsys, name):
    file = root / "reports" / "foreign" / name
    file.unlink(missing_ok=True)
    os.mkfifo(file)
    assert call(monkeypatch, capsys, "runs")[0] == 0
    status, _, err = call(monkeypatch, capsys, "compare", "good", "foreign")
    assert status == 1 and f"reports/foreign/{name} is a pipe, a socket or a device." in err
    assert call(monkeypatch, capsys, "runs", "rm", "foreign", "--yes")[0] == 0
    assert not (root / "reports" / "foreign").exists()


def test_record_that_is_a_link_itself_is_refused_and_can_be_removed(root, secret, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "foreign"
    shutil.move(root / "reports" / "foreign", elsewhere)
    (root / "reports" / "foreign").symlink_to(elsewhere)
    before = sorted(os.listdir(elsewhere))
    assert "reports/foreign is a link." in build_site().first.read_text()
    assert sorted(os.listdir(elsewhere)) == before
    records.remove_run("foreign")
    assert elsewhere.is_dir() and not (root / "reports" / "foreign").is_symlink()


@pytest.mark.parametrize(
    "words",
    [
        ("compare", "good", "foreign"),
        ("reproduce", "foreign"),
        ("export", "foreign", "x.zip"),
        ("predict", "a.wav", "--run", "foreign"),
        ("predict", "a.wav", "--run", "reports/foreign"),
        ("listen", "--file", "a.wav", "--run", "foreign"),
        ("runs", "default", "foreign"),
        ("run", "--resume", "foreign"),
        ("run", "a.yaml", "--seeds", "0", "--name", "foreign"),
    ],
)
def test_every_command_refuses_it_in_one_line(root, secret, monkeypatch, capsys, words):
    monkeypatch.chdir(root)
    if words[-1] == "foreign" and words[0] == "run":  # one that was begun here
        (root / "artifacts" / "foreign").mkdir(parents=True)
        (root / "artifacts" / "foreign" / "params.yaml").write_text("EPOCHS: 3\n")
        (root / "a.yaml").write_text("EPOCHS: 3\n")
        shutil.copytree(root / "reports" / "foreign", root / "reports" / "foreign_s0")
        (root / "reports" / "foreign_s0" / "link").symlink_to(secret)
    (root / "reports" / "foreign" / "bundle.json").write_text("{}")
    (root / "reports" / "foreign" / "model_card.md").symlink_to(secret)
    status, _, err = call(monkeypatch, capsys, *words)
    assert status == 1 and len(err.splitlines()) == 1
    assert err.startswith("error: A record must hold plain files and folders alone; reports/foreign")
    assert "is a link. Remove it, or the record: ser runs rm foreign" in err


@pytest.mark.parametrize("name", ["index.html", "table.md", "study.json"])
def test_study_with_links_is_refused(root, secret, name):
    link = root / "reports" / "x_study" / name
    link.unlink(missing_ok=True)
    link.symlink_to(secret)
    assert f"<li>x_study: A record must hold plain files and folders alone; reports/x_study/{name}" in (
        build_site().first.read_text()
    )
    for write in (
        lambda: studies.write_table("x_study"),
        lambda: studies.write_study("x_study", "x", {"b": ["good"]}),
    ):
        with pytest.raises(RunError, match="is a link"):
            write()
    assert secret.read_text() == SECRET


@pytest.mark.parametrize("name", ["index.html", "compare-x.html", "models.json"])
def test_pages_beside_the_records_take_a_links_place(root, secret, name):
    from ser_lib.records.compare import compare_runs

    (root / "reports" / name).symlink_to(secret)
    build_site()
    comparison = compare_runs([records.find_record("good"), records.find_record("foreign")])
    write_comparison_page(comparison, "x")
    assert secret.read_text() == SECRET
    assert (root / "reports" / name).is_symlink() == (name == "models.json")


def test_hard_links_and_folders_are_plain(root, secret):
    (root / "reports" / "foreign" / "sub").mkdir()
    os.link(root / "reports" / "good" / "metrics.json", root / "reports" / "foreign" / "sub" / "x")
    check_plain(root / "reports" / "foreign")
    check_plain(root / "reports" / "not there")
    check_plain(root / "reports" / "good" / "metrics.json")  # as a bundle is a zip file in reports/
