import hashlib
import json
import subprocess

import pytest

from ser_lib.core.errors import RunError
from ser_lib.records import manifest
from ser_lib.records.manifest import Manifest, Stage, read_manifest, write_manifest

CLIPS = "clip,corpus,file,sha256\nTESS/OAF_a_sad,TESS,x/a.wav,aa\nTESS/YAF_b_ps,TESS,y/b.wav,bb\n"


def test_what_was_written_is_read_again(tmp_path):
    stage = Stage(seconds=1.5, artifacts={"a.npz": "00"})
    written = Manifest(run="x", state="done", started="2026-01-01T00:00:00+00:00", stages={"01_preprocess": stage})
    write_manifest(tmp_path, written)
    assert read_manifest(tmp_path) == written
    assert (written.seconds, written.artifacts) == (1.5, {"a.npz": "00"})


def test_manifest_of_an_older_version_is_read(tmp_path):
    older = {"run": "x", "state": "done", "started": "2026", "commit": "0", "stages": {"02_split": {"seconds": 2}}}
    (tmp_path / "manifest.json").write_text(json.dumps(older))
    assert read_manifest(tmp_path).stages["02_split"].artifacts == {}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "is damaged"),
        ('{"run": "x", "sta', "is damaged"),
        ("[]", "is damaged"),
        ('{"run": "x", "state": "done", "started": 5}', r"is damaged \(started\)"),
        ('{"run": "x", "state": "done", "started": "", "stages": {"a": {"seconds": -1}}}', "stages.a.seconds"),
    ],
)
def test_damaged_manifest_is_named(tmp_path, text, reason):
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(RunError, match=rf"manifest\.json .*{reason.removeprefix('is ')}"):
        read_manifest(tmp_path)


def test_missing_manifest_is_named(tmp_path):
    with pytest.raises(RunError, match=r"A record must have a manifest\.json"):
        read_manifest(tmp_path)


def test_corpus_is_told_by_content_alone(tmp_path):
    (tmp_path / "one.csv").write_text(CLIPS)
    moved = "clip,file,corpus,sha256\nTESS/YAF_b_ps,b.wav,TESS,bb\nTESS/OAF_a_sad,a.wav,TESS,aa\n"
    (tmp_path / "two.csv").write_text(moved)
    (tmp_path / "three.csv").write_text(CLIPS.replace("bb", "bc"))
    one, two, three = (manifest.describe_corpus(tmp_path / f"{name}.csv") for name in ("one", "two", "three"))
    expected = hashlib.sha256(b"TESS/OAF_a_sad aa\nTESS/YAF_b_ps bb\n").hexdigest()
    assert (one.clips, one.sha256) == (2, expected)
    assert one == two
    assert one != three


def git(folder, *arguments):
    identity = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
    command = ["git", "-C", str(folder), *identity, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def test_commit_is_told_and_whether_code_has_changed_since(tmp_path, monkeypatch):
    monkeypatch.setenv("SER_ROOT", str(tmp_path))
    (tmp_path / "params").mkdir()
    (tmp_path / "params" / "x.yaml").write_text("EPOCHS: 1\n")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", "-A")
    git(tmp_path, "commit", "-qm", "x")
    (tmp_path / "reports.txt").write_text("what decides no result")
    clean = manifest.describe_environment()
    assert (clean.commit, clean.dirty) == (git(tmp_path, "rev-parse", "HEAD"), False)
    (tmp_path / "params" / "x.yaml").write_text("EPOCHS: 2\n")
    assert manifest.describe_environment().dirty is True
