"""What people expect of a command that they meet for the first time."""

import re
import signal
import sys
from pathlib import Path

import pytest

from ser_lib._cli import main as begin
from ser_lib._cli.app import main

REPO = Path(__file__).resolve().parent.parent


@pytest.fixture
def ser(monkeypatch, capsys):
    def call(*words):
        monkeypatch.setattr(sys, "argv", ["ser", *words])
        with pytest.raises(SystemExit) as stop:
            main()
        stdout, stderr = capsys.readouterr()
        return stop.value.code, stdout, stderr

    return call


def test_version_is_that_of_the_project(ser):
    declared = re.search(r'^version = "(.+)"$', (REPO / "pyproject.toml").read_text(), re.MULTILINE)[1]
    assert ser("--version") == (0, f"ser_lib {declared}\n", "")


def test_interrupt_while_libraries_are_imported_is_no_traceback(monkeypatch):
    class Interrupted:
        def find_spec(self, name, *_):
            if name == "ser_lib._cli.app":
                raise KeyboardInterrupt

    monkeypatch.delitem(sys.modules, "ser_lib._cli.app")
    monkeypatch.setattr(sys, "meta_path", [Interrupted(), *sys.meta_path])
    with pytest.raises(SystemExit) as stop:
        begin()
    assert stop.value.code == 128 + signal.SIGINT


@pytest.mark.parametrize("command", [[], ["predict"], ["data", "get"], ["runs"]])
def test_h_is_help(ser, command):
    status, short, stderr = ser(*command, "-h")
    assert (status, stderr) == (0, "") and short.startswith("Usage: ser")
    assert ser(*command, "--help")[1] == short


def test_shell_completes_commands(ser, monkeypatch):
    monkeypatch.setenv("_SER_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", "ser pr")
    monkeypatch.setenv("COMP_CWORD", "1")
    status, stdout, _ = ser()
    assert status == 0
    assert stdout.split() == ["protocol", "predict"]
