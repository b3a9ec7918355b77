import csv
import json
import os
import re
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ser_lib import store
from ser_lib.audio.settings import AudioSettings
from ser_lib.core import io
from ser_lib.core.errors import StageError
from ser_lib.core.labels import EMOTIONS
from ser_lib.params import make_params

SETTINGS = AudioSettings(
    sampling_rate=24414,
    frame_length=64,
    hop_length=16,
    features="mfcc",
    n_mfcc=2,
    n_mels=128,
    mel_fmin=0.0,
    trim_top_db=30.0,
    denoise=False,
    normalize_per_speaker=False,
    denoise_reference=False,
    target_length=80,
)  # 1 + 80 // 16 = 6 frames of 4 features


def tiny_data(seed: int = 1) -> store.ProcessedData:
    """Random features of eight clips per emotion, shifted by the label so that there is something to learn."""
    labels = np.repeat(np.arange(len(EMOTIONS)), 8)
    X = np.random.default_rng(seed).normal(5, 3, (len(labels), 6, 4)) + labels[:, np.newaxis, np.newaxis]
    clips = pd.DataFrame({"clip": [f"DEMO/ESA_word{i}_{EMOTIONS[label]}" for i, label in enumerate(labels)]})
    clips = clips.assign(corpus="DEMO", speaker="ESA", emotion=[EMOTIONS[label] for label in labels], text="word")
    clips = clips.assign(trimmed_seconds=1.0, peak_dbfs=-6.0, bandwidth_hz=4000.0)
    skipped = pd.DataFrame({"file": ["bad.wav"], "reason": ["the file is empty"]})
    return store.ProcessedData(
        X.astype(np.float32), labels, X[:, 0].astype(np.float32), clips, skipped, SETTINGS, "fingerprint"
    )


def run_python(code: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, env=os.environ | environment, capture_output=True, text=True)


def test_what_a_link_names_is_written_and_no_device(tmp_path):
    (tmp_path / "real.txt").write_text("old")
    (tmp_path / "link.txt").symlink_to("real.txt")
    io.write_text(tmp_path / "link.txt", "new")
    assert (tmp_path / "link.txt").is_symlink() and (tmp_path / "real.txt").read_text() == "new"
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(StageError, match=r"pipe must be a file\. It is a device or a pipe\."):
        io.write_text(tmp_path / "pipe", "x")
    assert not (tmp_path / "pipe").is_file()


def test_a_link_in_a_record_is_replaced_and_what_it_names_stays(tmp_path):
    (tmp_path / "real.txt").write_text("old")
    (tmp_path / "link.txt").symlink_to("real.txt")
    io.write_text(tmp_path / "link.txt", "new", through_link=False)
    assert not (tmp_path / "link.txt").is_symlink() and (tmp_path / "link.txt").read_text() == "new"
    assert (tmp_path / "real.txt").read_text() == "old"


@pytest.mark.parametrize("umask", [0o077, 0o022, 0o002])
def test_file_has_the_rights_that_the_umask_leaves(tmp_path, umask):
    (tmp_path / "there.txt").write_text("")
    before = os.umask(umask)
    try:
        for name in ("new.txt", "there.txt"):
            io.write_text(tmp_path / name, "x")
            assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o666 & ~umask
        io.write_array(tmp_path / "new.npy", np.zeros(3))
        assert stat.S_IMODE((tmp_path / "new.npy").stat().st_mode) == 0o666 & ~umask
    finally:
        os.umask(before)


def test_file_appears_only_at_the_end(tmp_path):
    path = tmp_path / "new folder" / "file.txt"
    with io.whole_file(path) as partial:
        partial.write_text("whole")
        assert not path.exists()
        assert partial.parent == path.parent
    assert path.read_text() == "whole"
    assert os.listdir(path.parent) == ["file.txt"]


def test_error_leaves_the_earlier_file_and_nothing_else(tmp_path):
    path = tmp_path / "file.txt"
    path.write_text("earlier")
    with pytest.raises(ZeroDivisionError), io.whole_file(path) as partial:
        partial.write_text("half")
        raise ZeroDivisionError
    assert path.read_text() == "earlier"
    assert os.listdir(tmp_path) == ["file.txt"]


def test_kill_leaves_the_earlier_file(tmp_path):
    path = tmp_path / "file.txt"
    path.write_text("earlier")
    code = """
import sys, time
from pathlib import Path
from ser_lib.core.io import whole_file
with whole_file(Path(sys.argv[1])) as partial:
    partial.write_text("half")
    print("writing", flush=True)
    time.sleep(60)
"""
    process = subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "writing\n"
    process.kill()
    process.wait()
    process.stdout.close()
    assert path.read_text() == "earlier"


def test_full_disk_is_one_clear_error(tmp_path):
    names = ["text", "json", "csv", "npy", "npz"]
    for name in names:
        (tmp_path / name).write_text("earlier")
    code = f"""
import resource, signal, sys
from pathlib import Path
import numpy as np, pandas as pd
sys.path.insert(0, {str(Path(__file__).parent)!r})
from test_store import tiny_data
from ser_lib import store
from ser_lib.core import io
folder = Path(sys.argv[1])
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
for name, write, content in [
    ("text", io.write_text, "x" * 10_000),
    ("json", io.write_json, {{"x": np.zeros(10_000)}}),
    ("csv", io.write_csv, pd.DataFrame({{"x": range(10_000)}})),
    ("npy", io.write_array, np.zeros(10_000)),
    ("npz", store.save_processed, tiny_data()),
]:
    try:
        write(folder / name, content)
    except store.StageError as error:
        print(error)
"""
    done = run_python(code, tmp_path, SER_ROOT=str(tmp_path), PYTHONDONTWRITEBYTECODE="1")
    lines = done.stdout.splitlines()
    assert len(lines) == len(names), done.stderr
    for name, line in zip(names, lines, strict=True):
        assert re.fullmatch(rf"{name} cannot be written \(.+\)\. Nothing was changed\.", line)
        assert (tmp_path / name).read_text() == "earlier"
    assert sorted(os.listdir(tmp_path)) == sorted(names)


def test_folder_that_cannot_be_made_is_a_clear_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StageError, match=r"x\.txt cannot be written \(.+\)\. Nothing was changed\."):
        io.write_text(tmp_path / "file" / "x.txt", "")


def test_processed_data_come_back_the_same(tmp_path):
    data = tiny_data()
    store.save_processed(tmp_path / "p.npz", data)
    loaded = store.load_processed(tmp_path / "p.npz")
    assert loaded.X.dtype == np.float32
    np.testing.assert_array_equal(loaded.X, data.X)
    np.testing.assert_array_equal(loaded.y, data.y)
    assert loaded.clips.to_dict("list") == data.clips.to_dict("list")
    assert loaded.skipped.to_dict("list") == data.skipped.to_dict("list")
    assert (loaded.settings, loaded.fingerprint) == (SETTINGS, "fingerprint")


def test_processed_data_hold_no_pickle_and_the_target_length(tmp_path):
    store.save_processed(tmp_path / "p.npz", tiny_data())
    with np.load(tmp_path / "p.npz", allow_pickle=False) as file:
        assert all(file[name].dtype.kind != "O" for name in file.files)
        assert int(file["target_length"]) == 80
        assert json.loads(str(file["settings"]))["hop_length"] == 16
        assert file["X"].shape == (56, 6, 4)


@pytest.mark.parametrize("share", [0, 0.3, 0.7, 0.99])
def test_truncated_data_are_damaged(tmp_path, share):
    path = tmp_path / "p.npz"
    store.save_processed(path, tiny_data())
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(StageError, match=r"p\.npz is damaged\. Run 01_preprocess again\."):
        store.load_processed(path)


def test_flipped_bytes_are_noticed(tmp_path):
    path = tmp_path / "p.npz"
    store.save_processed(path, tiny_data())
    whole = path.read_bytes()
    for place in range(0, 6000, 400):  # in the features, which come first
        damaged = bytearray(whole)
        damaged[place + 300] ^= 0xFF
        path.write_bytes(damaged)
        with pytest.raises(StageError, match="damaged"):
            store.load_processed(path)


def test_npz_of_something_else_is_damaged(tmp_path):
    np.savez(tmp_path / "p.npz", X=np.zeros(3))
    with pytest.raises(StageError, match="damaged"):
        store.load_processed(tmp_path / "p.npz")


def test_pickles_are_never_opened(tmp_path):
    np.save(tmp_path / "x.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(StageError, match=r"x\.npy is damaged\. Run 02_split again\."):
        store.read_array(tmp_path / "x.npy")


def test_arrays_come_back_the_same_and_truncated_ones_are_damaged(tmp_path):
    array = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
    io.write_array(tmp_path / "x.npy", array)
    np.testing.assert_array_equal(store.read_array(tmp_path / "x.npy"), array)
    (tmp_path / "x.npy").write_bytes((tmp_path / "x.npy").read_bytes()[:-5])
    with pytest.raises(StageError, match=r"x\.npy is damaged\. Run 02_split again\."):
        store.read_array(tmp_path / "x.npy")


def test_missing_files_name_the_notebook_to_run_first(project):
    params = make_params({})
    with pytest.raises(StageError, match=r"^artifacts/interactive/processed_data\.npz .*01_preprocess first"):
        store.load_sets(params)[1]["train"]
    store.save_processed(params.processed_data_file, tiny_data())
    with pytest.raises(StageError, match=r"^artifacts/interactive/split\.csv .*02_split first"):
        store.load_sets(params)[1]["train"]
    with pytest.raises(StageError, match="02_split first"):
        store.read_array(params.output_dir / "x_test.npy")


ODD = ["=1+1", "+1", "-x", "@a", "\tx", "'=x", "''-x", "'x", "x=1", "-5", "'", "", "a,b", '"=x"']


def test_no_text_is_a_formula_to_a_spreadsheet_and_all_come_back(tmp_path):
    table = pd.DataFrame({"clip": ODD, "dB": np.linspace(-3, 3, len(ODD)), "n": range(-3, len(ODD) - 3)})
    io.write_csv(tmp_path / "t.csv", table)
    with (tmp_path / "t.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["clip"][:1] for row in rows if row["clip"][:1] in set("=+-@\t\r")] == []
    assert [row["clip"] for row in rows[:2]] == ["'=1+1", "'+1"]
    assert [float(row["dB"]) for row in rows] == table["dB"].tolist()
    assert [row["n"] for row in rows] == [str(number) for number in table["n"]]
    assert io.read_csv(tmp_path / "t.csv")["clip"].tolist() == ODD


def test_split_of_clips_with_odd_names_is_theirs(project):
    params, data = make_params({}), tiny_data()
    clips = data.clips.assign(clip=[f"{ODD[number % 9]}{number}" for number in range(len(data.clips))])
    sets = np.array((["train"] * 6 + ["validation", "test"]) * 7)
    io.write_csv(params.output_dir / "split.csv", clips.assign(set=sets))
    assert store.load_split(params, clips).tolist() == sets.tolist()


def test_set_is_chosen_by_the_split(project):
    params, data = make_params({}), tiny_data()
    store.save_processed(params.processed_data_file, data)
    sets = np.array((["train"] * 6 + ["validation", "test"]) * 7)
    io.write_csv(params.output_dir / "split.csv", data.clips.assign(set=sets))
    X, y, clips = store.load_sets(params)[1]["validation"]
    np.testing.assert_array_equal(X, data.X[6::8])
    assert y.tolist() == np.eye(7).tolist()
    assert clips["clip"].tolist() == data.clips["clip"].tolist()[6::8]


def test_split_of_other_clips_is_refused(project):
    params, data = make_params({}), tiny_data()
    store.save_processed(params.processed_data_file, data)
    clips = data.clips[["clip"]]
    tables = {
        "empty": pd.DataFrame(),
        "of another order": clips.iloc[::-1].assign(set="train"),
        "of fewer clips": clips.iloc[1:].assign(set="train"),
        "without sets": clips,
        "with another set": clips.assign(set="practice"),
    }
    for table in tables.values():
        (params.output_dir / "split.csv").write_text(table.to_csv(index=False))
        with pytest.raises(StageError, match=r"split\.csv .*Run 02_split again"):
            store.load_sets(params)[1]["train"]


def test_arrays_are_plain_lists_in_json(tmp_path):
    io.write_json(tmp_path / "h.json", {"loss": np.array([1.5, 0.25]), "n": 3, "name": "ü"})
    assert json.loads((tmp_path / "h.json").read_text()) == {"loss": [1.5, 0.25], "n": 3, "name": "ü"}
    assert store.read_json(tmp_path / "h.json")["loss"] == [1.5, 0.25]


def test_row_of_numbers_is_one_line_of_json_and_text_stays_as_it_is(tmp_path):
    content = {"matrix": [[11, 2], [0, 95]], "none": [], "said": ["[\n 1 ]", "a  b"], "mixed": [{"x": [0.5]}]}
    io.write_json(tmp_path / "m.json", content | {"matrix": np.array(content["matrix"])})
    text = (tmp_path / "m.json").read_text()
    assert json.loads(text) == content
    assert [line.strip() for line in text.splitlines()[1:5]] == ['"matrix": [', "[11, 2],", "[0, 95]", "],"]


def test_json_never_imports_what_it_names(tmp_path):
    (tmp_path / "evil.json").write_text('{"__instance_type__": ["antigravity", "X"], "attributes": {}}')
    assert store.read_json(tmp_path / "evil.json")["__instance_type__"] == ["antigravity", "X"]
    assert "antigravity" not in sys.modules


def test_labels_and_one_hot_rows():
    labels = store.to_labels(pd.Series(["ps", "neutral", "fear", "happy", "sad", "angry", "disgust"]))
    assert labels.tolist() == [6, 0, 4, 1, 2, 3, 5]
    assert store.one_hot(np.array([2, 0])).tolist() == [[0, 0, 1, 0, 0, 0, 0], [1, 0, 0, 0, 0, 0, 0]]


def test_link_to_itself_gives_way_to_the_file(tmp_path):
    (tmp_path / "loop").symlink_to("loop")
    io.write_text(tmp_path / "loop", "there")
    assert (tmp_path / "loop").read_text() == "there"
