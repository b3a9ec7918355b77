"""Whatever comes from elsewhere, it cannot steer the terminal; and what nobody reads ends without a word."""

import io
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from test_records import write_full_record, write_record
from test_runs import SER

from ser_lib.core.errors import BundleError
from ser_lib.core.terminal import Terminal
from ser_lib.core.text import printable
from ser_lib.records.study import write_study

EVIL = "x\x1b[31m\x1b]0;title\x07\x9b2J\x85\r\b\x7f\u202egnp.\u200b"
"""Colours, a title, a cleared screen in one character, an overwritten line, a name that is turned around."""
STEERS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069]")
BAR = re.compile(r"\rChecking: [ -~─]*|\r +\r")
ALL = r"""
import sys, threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from types import SimpleNamespace
import requests
from ser_lib.corpora.files import fetch
from ser_lib._cli.app import main

class Answer(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(int(self.path[1:]), "x\x1b[31m\x9b2Jreason")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass

server = HTTPServer(("127.0.0.1", 0), Answer)
threading.Thread(target=server.serve_forever, daemon=True).start()

def ask(status):
    url = f"http://127.0.0.1:{server.server_port}/{status}"
    fetch._judge(requests.get(url), "the file")

fetch.PAUSES = (0,)
downloads = iter([lambda: ask(404), lambda: fetch._Fetcher.persist(fetcher, lambda: ask(503), "the file")])
fetcher = SimpleNamespace(stop=threading.Event())
fetch.fetch_corpus = lambda *_: next(downloads)()

for words in COMMANDS:
    print("-----", ascii(words[:2]), flush=True)
    sys.argv = ["ser", *words]
    try:
        main()
    except SystemExit as stop:
        print("status", stop.code, flush=True)
"""
COMMANDS = [
    ["runs"],
    ["report"],
    ["compare", "good", "evil"],
    ["compare", "good", EVIL],
    ["reproduce", "evil"],
    ["reproduce", EVIL],
    ["run", "params/evil.yaml"],
    ["run", f"{EVIL}.yaml"],
    ["run", "-p", f"{EVIL}=3"],
    ["run", "-p", EVIL],
    ["run", "-p", f"EPOCHS={EVIL}"],
    ["run", "-p", f"LABEL_MAP={{a: b, '{printable(EVIL)}': c}}"],
    ["run", "-p", f"CORPORA=[{json.dumps(EVIL)}]"],
    ["run", "-p", f"EXAMPLE_AUDIO_FILE={json.dumps(EVIL)}"],
    ["run", "-p", f"DATASET_PATH={json.dumps(EVIL)}", "-p", "CORPORA=[OWN]", "--name", "own", "-p", "N_JOBS=0"],
    ["run", "--name", EVIL],
    ["run", "--resume", EVIL],
    ["run", "--seeds", EVIL],
    ["run", "--with", EVIL],
    ["protocol", EVIL],
    ["runs", "rm", EVIL],
    ["predict", EVIL, "--run", "evil"],
    ["predict", EVIL, "--run", EVIL],
    ["predict", EVIL, f"--{EVIL}"],
    ["predict", EVIL, "--backend", EVIL],
    ["predict", EVIL, "--plot", EVIL],
    ["listen", "--run", EVIL],
    ["listen", "--hop", EVIL],
    ["enrol", EVIL, "--name", EVIL],
    ["export", EVIL, EVIL],
    ["data", "check", "data"],
    ["data", "check", "data", "--corpus", EVIL],
    ["data", "check", EVIL],
    ["data", "get", EVIL],
    ["data", "get", "TESS", "--accept-licence"],
    ["data", "get", "TESS", "--accept-licence"],
    [EVIL],
]


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    """A project in which every text is hostile."""
    root = tmp_path_factory.mktemp("hostile")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SER_ROOT", str(root))
        write_full_record(root, "good")
        folder = write_full_record(root, "evil")
        (folder / "params.yaml").write_text(yaml.safe_dump(
            yaml.safe_load((folder / "params.yaml").read_text()) | {EVIL: EVIL, "TEST_SPEAKERS": [EVIL], "MODEL": EVIL}
        ))  # fmt: skip
        manifest = json.loads((folder / "manifest.json").read_text())
        manifest["environment"] = {"cpu": EVIL, "python": EVIL, "packages": {EVIL: EVIL}}
        manifest["started"] = "2026-05-01\u202e"
        (folder / "manifest.json").write_text(json.dumps(manifest))
        torn = write_record(root, "torn")
        (torn / "manifest.json").write_text(json.dumps(manifest | {"state": EVIL}))
        write_study("many", "two \u202e of \x9b2J them", {"a\u202eb": ["good", "evil"]})
    (root / "params").mkdir()
    (root / "params" / "evil.yaml").write_text(yaml.safe_dump({EVIL: EVIL, "EPOCHS": EVIL}))
    (root / "data").mkdir()
    (root / "data" / f"OAF_back_{EVIL}.wav".replace("/", "")).write_bytes(b"none")
    return root


def command_of(code):
    return [sys.executable, "-c", code]


def environment_of(root, **more):
    return os.environ | {"SER_ROOT": str(root), "NO_PROXY": "127.0.0.1", "PYTHONIOENCODING": "utf-8"} | more


def gives_terminals():
    try:
        ends = os.openpty()
    except OSError:
        return False
    for end in ends:
        os.close(end)
    return True


def on_terminal(command, root):
    """What a command shows on a terminal, without the line ends that the terminal makes and the bar of `data check`."""
    ours, theirs = os.openpty()
    with subprocess.Popen(command, env=environment_of(root), cwd=root, stdin=theirs, stdout=theirs, stderr=theirs):
        os.close(theirs)
        shown = b""
        while True:
            try:
                if not (piece := os.read(ours, 65536)):
                    break
            except OSError:  # how Linux tells that the other end is closed
                break
            shown += piece
    os.close(ours)
    return BAR.sub("", shown.decode().replace("\r\n", "\n"))


ALL_COMMANDS = f"EVIL = {EVIL!r}\nCOMMANDS = {COMMANDS!r}\n{ALL}"


def check(shown):
    """Whatever was printed, nothing steers, and each command has told something."""
    found = STEERS.search(shown)
    around = shown[max(0, found.start() - 200) : found.end() + 20] if found else ""
    assert not found, ascii(around)
    assert "Traceback" not in shown, shown
    parts = shown.split("----- ")[1:]
    assert len(parts) == len(COMMANDS)
    by_words = dict(zip([" ".join(words) for words in COMMANDS], parts, strict=True))
    told = [printable(EVIL) in part or "damaged" in part for part in parts]
    assert sum(told) > len(told) // 2  # the others refuse without the name
    assert printable(EVIL) in by_words[f"run --resume {EVIL}"]
    assert r"it answers 404 x\x1b[31m\x9b2Jreason." in shown
    assert r"the file: it answers 503 x\x1b[31m\x9b2Jreason; again in 0 s" in shown
    return parts


def test_nothing_from_elsewhere_steers_what_reads_a_pipe(hostile, loopback):
    done = subprocess.run(
        command_of(ALL_COMMANDS), env=environment_of(hostile), cwd=hostile, timeout=500,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    check(done.stdout.decode())


@pytest.mark.skipif(not gives_terminals(), reason="no terminals on this machine (/dev/pts)")
def test_nothing_from_elsewhere_steers_a_terminal(hostile, loopback):
    for part in check(on_terminal(command_of(ALL_COMMANDS), hostile)):
        assert "status 0" in part or "rror: " in part or "status 1" in part, part


def test_data_for_other_programs_are_what_they_are(hostile):
    code = f"""
import sys
from ser_lib.core.terminal import guard_terminal, write_data
guard_terminal()
write_data({EVIL!r})
sys.stdout.flush()
"""
    done = subprocess.run(command_of(code), env=environment_of(hostile), capture_output=True, timeout=100)
    assert (done.stdout.decode(), done.stderr) == (EVIL, b"")
    if gives_terminals():
        assert on_terminal(command_of(code), hostile) == printable(EVIL)


# Streams that are closed, or of which nobody reads on


def in_shell(root, command, **more):
    """Exit status of the first program of a shell's line, and what it printed."""
    line = f'ser() {{ {" ".join(map(shlex.quote, SER))} "$@"; }}\n{command}'
    done = subprocess.run(
        ["bash", "-c", line], env=environment_of(root, **more), capture_output=True, text=True, timeout=100
    )
    return SimpleNamespace(status=done.returncode, out=done.stdout, err=done.stderr)


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_where_nobody_reads_on_it_ends_without_a_word(hostile, unbuffered):
    command = "ser runs | true; echo ${PIPESTATUS[0]}"
    done = in_shell(hostile, command.replace("true", "(exec <&-; sleep 0)"), PYTHONUNBUFFERED=unbuffered)
    assert (done.out, done.err) == ("1\n", "")


@pytest.mark.parametrize(
    ("command", "status", "out", "err"),
    [
        ("ser runs >&-", 0, "", ""),
        ("ser frob >&-", 2, "", "No such command"),
        ("ser frob 2>&-", 2, "", ""),
        ("ser params <&- >&- 2>&-", 0, "", ""),
        ("ser runs rm good <&-", 1, "Remove reports/good? [y/N]:", "Aborted"),
        ("ser data get TESS <&-", 1, "Licence", "There is no terminal to ask on"),
        ("ser predict - --run nothing <&-", 1, "", "There is no run"),
    ],
)
def test_streams_may_be_closed(hostile, command, status, out, err):
    done = in_shell(hostile, command)
    assert done.status == status
    assert out in done.out and err in done.err and "Traceback" not in done.err
    assert err or not done.err


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_full_disk_below_standard_output_is_one_line(hostile):
    done = in_shell(hostile, "ser runs >/dev/full")
    assert (done.status, done.err) == (1, "error: standard output: No space left on device\n")


def test_message_in_a_notebook_is_one_line_without_codes():
    assert BundleError("a\x1b[31m\nb")._render_traceback_() == [r"BundleError: a\x1b[31m\nb"]


def test_terminal_above_a_closed_stream_is_thrown_away_in_silence():
    stream = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    terminal = Terminal(stream, "standard output")
    stream.close()
    terminal.flush()
    terminal.close()
