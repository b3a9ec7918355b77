"""Where the disk takes no more, the message names the file."""

import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from test_records import write_record

from ser_lib.core.errors import RunError, SerError, StageError
from ser_lib.core.io import write_temporary
from ser_lib.model import archive as export
from ser_lib.params import make_params
from ser_lib.records import notebook as notebooks

FULL = Path("/dev/full")


def ser(root, *arguments, size=None, **options):
    """`ser` where files can have at most `size` bytes."""

    def limit():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        if size is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

    environment = os.environ | {"SER_ROOT": str(root), "PYTHONDONTWRITEBYTECODE": "1", "TMPDIR": str(root)}
    command = [sys.executable, "-c", "from ser_lib._cli.app import main; main()", *arguments]
    return subprocess.run(command, env=environment, stderr=subprocess.PIPE, preexec_fn=limit, **options)


@pytest.mark.skipif(not FULL.exists(), reason="no /dev/full on this machine")
@pytest.mark.parametrize("words", [("params",), ("runs",)])
def test_standard_output_that_takes_no_more_is_named(root, words):
    write_record(root, "one")
    with FULL.open("w") as stdout:
        done = ser(root, *words, stdout=stdout)
    assert (done.returncode, done.stderr.decode()) == (1, "error: standard output: No space left on device\n")


def test_reader_who_has_read_enough_is_told_nothing(root):
    read, write = os.pipe()
    os.close(read)
    done = ser(root, "params", stdout=write)
    os.close(write)
    assert (done.returncode, done.stderr) == (1, b"")


def test_page_that_cannot_be_written_is_named(root):
    write_record(root, "one")
    done = ser(root, "report", size=1000, stdout=subprocess.DEVNULL)
    (line,) = done.stderr.decode().splitlines()
    assert line == "error: reports/one/index.html cannot be written (File too large). Nothing was changed."


def limited(monkeypatch, kind, name):
    """Let writing fail as a full disk lets it: the error names no file."""

    def fail(*_given, **_options):
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(kind, name, fail)


def test_temporary_file_is_named(tmp_path, monkeypatch):
    limited(monkeypatch, Path, "write_bytes")
    with pytest.raises(
        StageError, match=r"The temporary file .*/spooled cannot be written \(No space left on device\)"
    ):
        write_temporary(tmp_path / "spooled", b"x")


def test_bundle_that_cannot_be_unpacked_is_not_blamed(tmp_path, monkeypatch):
    record = Path(__file__).resolve().parent.parent / "reports" / "demo"
    parts = {name: record / name for name in ("bundle.json", "model.onnx")}
    export.export_bundle(parts, tmp_path / "one.zip")
    limited(monkeypatch, Path, "write_bytes")
    with (
        pytest.raises(SerError, match=r"The temporary file .* cannot be written"),
        export.unpacked(tmp_path / "one.zip"),
    ):
        pass


def test_notebook_that_cannot_be_written_is_named(project, monkeypatch):
    limited(monkeypatch, notebooks.papermill, "execute_notebook")
    scratch = project / "artifacts" / "one"
    scratch.mkdir(parents=True)
    with pytest.raises(RunError) as raised:
        notebooks.execute_notebook("02_split", make_params({}), scratch=scratch, record=project / "reports" / "one")
    assert str(raised.value) == "02_split stopped: artifacts/one/02_split.ipynb: No space left on device."
