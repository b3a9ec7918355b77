import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios

import pytest

from ser_lib.core.progress import FILE_VARIABLE, stage_line

TOLD = """
import pathlib, sys, time
from ser_lib.core.progress import stage_line
told = pathlib.Path(sys.argv[1])
with stage_line("03_train", told) as show:
    show("cell 3 of 9 · Train")
    told.write_text("Training: 2 of 50 epochs, 00:10, 04:00 left")
    time.sleep(1.5)
    show("cell 4 of 9 · Look")
"""


def run_in_terminal(code, *arguments):
    """What a program shows in a terminal of 24 rows and 120 columns."""
    try:
        ours, theirs = pty.openpty()
    except OSError as error:
        pytest.skip(f"this machine gives no terminal (/dev/pts): {error.strerror}")
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 120, 0, 0))
    process = subprocess.Popen([sys.executable, "-c", code, *map(str, arguments)], stdout=theirs, stderr=theirs)
    os.close(theirs)
    shown = b""
    try:
        while part := os.read(ours, 4096):
            shown += part
    except OSError:  # Linux's way to say that the other side is closed
        pass
    os.close(ours)
    assert process.wait() == 0, shown
    return shown.decode()


def test_line_follows_what_the_kernel_tells(tmp_path):
    told = tmp_path / "told"
    lines = [line.strip() for line in run_in_terminal(TOLD, told).split("\r")]
    assert "03_train · cell 3 of 9 · Train" in lines
    assert "03_train · cell 3 of 9 · Train · Training: 2 of 50 epochs, 00:10, 04:00 left" in lines
    assert "03_train · cell 4 of 9 · Look" in lines  # what was told of the cell before is gone
    assert lines[-1] == ""
    assert not told.exists()


def test_line_is_silent_without_a_terminal(tmp_path, capsys):
    with stage_line("03_train", tmp_path / "told") as show:
        show("cell 1 of 9")
    assert capsys.readouterr() == ("", "")


def test_bar_in_a_kernel_tells_its_runner(tmp_path, monkeypatch):
    from ser_lib.core import progress

    told = tmp_path / "told"
    monkeypatch.setenv(FILE_VARIABLE, str(told))
    monkeypatch.setattr(progress, "in_kernel", lambda: True)
    monkeypatch.setattr("IPython.display.display", lambda *_arguments, **_options: None)
    with progress.progress_bar(4, "Training", "epochs") as bar:
        bar.update(4)
        bar.refresh()
    text = told.read_text()
    assert text.startswith("Training: 4 of 4 epochs, 00:0") and text.rstrip().endswith("left")
    assert "─" not in text
