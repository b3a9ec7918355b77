"""Nothing leaves the machine unasked: what the commands and their children connect to, and what they leave behind."""

import ast
import os
import re
import shutil
import signal
import subprocess
import sys
import urllib.request

import numpy as np
import pytest
import soundfile
from test_project import MODULES, REPO
from test_runs import SER, SMALL, make_root, set_all
from test_store import run_python

VARIABLE = "ORT_DISABLE_TELEMETRY"
RATE = 24414
SAY_WHEN_LOADED = f"""
import os, sys

class Finder:
    def find_spec(self, name, *_):
        if name == "onnxruntime":
            print(os.environ.get({VARIABLE!r}), flush=True)

sys.meta_path.insert(0, Finder())
"""
IPV4 = re.compile(r'sin_addr=inet_addr\("([^"]+)"\)')
IPV6 = re.compile(r'inet_pton\(AF_INET6, "([^"]+)"')
RESOLVERS = re.compile(r'sun_path=@?"[^"]*(?:resolve|avahi)[^"]*"')
"""Addresses in what strace writes; look-ups of hosts may go through a service of this machine as well."""


@pytest.fixture
def project(tmp_path):
    root = make_root(tmp_path / "project")
    record = root / "reports" / "demo"
    shutil.copytree(REPO / "reports" / "demo", record, ignore=shutil.ignore_patterns("*.html"))
    t = np.arange(RATE) / RATE
    soundfile.write(root / "x.wav", 0.3 * np.sin(2 * np.pi * 200 * t * (1 + 0.1 * np.sin(9 * t))), RATE)
    return root


def environment(root):
    """One whose home and temporary folder are empty, as on a machine where nothing has run."""
    homes = {name: root.parent / name.lower() for name in ("HOME", "TMPDIR")}
    for folder in homes.values():
        folder.mkdir()
    hidden = (VARIABLE, "XDG_CACHE_HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME")
    kept = {name: value for name, value in os.environ.items() if name not in hidden}
    return kept | {name: str(folder) for name, folder in homes.items()} | {"SER_ROOT": str(root)}


def left_in(folder):
    return [str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()]


@pytest.fixture(scope="session")
def strace():
    """Command that writes what a process and its children connect and send to."""
    found = shutil.which("strace")
    if not found:
        pytest.skip("strace is missing")
    traced = [
        found,
        "--follow-forks",
        "--seccomp-bpf",
        "-qq",
        "--trace=connect,sendto,sendmsg,sendmmsg",
        "--string-limit=200",
    ]
    if subprocess.run([*traced, "true"], capture_output=True).returncode:
        pytest.skip("strace may not trace here")
    return traced


def addresses(trace):
    """What is in a trace that is not this machine."""
    found = {*IPV4.findall(trace), *IPV6.findall(trace)} - {"::1"}
    return {one for one in found if not one.startswith("127.")} | set(RESOLVERS.findall(trace))


def reached(strace, root, *arguments):
    """Addresses beyond this machine that a `ser` command uses; it must succeed."""
    trace = root.parent / "trace"
    command = [*strace, f"--output={trace}", *SER, *map(str, arguments)]
    done = subprocess.run(command, env=environment(root), cwd=root.parent, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "connect(" in trace.read_text() or arguments[0] != "run"  # kernels are spoken to through sockets
    return addresses(trace.read_text())


def test_an_address_beyond_this_machine_is_seen(strace, tmp_path):
    code = """
import contextlib, os, socket
for family, address in [(socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1"), (socket.AF_INET, "127.0.0.1")]:
    with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as one:
        if os.fork():
            os.wait()
        else:
            one.connect((address, 9))  # of a datagram: nothing is sent
            os._exit(0)
"""
    trace = tmp_path / "trace"
    subprocess.run([*strace, f"--output={trace}", sys.executable, "-c", code], check=True)
    assert "127.0.0.1" in trace.read_text()
    assert addresses(trace.read_text()) - {"2001:db8::1"} == {"192.0.2.1"}  # a machine may have no IPv6


def test_predict_reaches_no_other_machine(strace, project):
    assert reached(strace, project, "predict", project / "x.wav", "--run", "demo", "--json", "-") == set()


def test_report_reaches_no_other_machine(strace, project):
    assert reached(strace, project, "report") == set()


@pytest.mark.slow
def test_run_reaches_no_other_machine(strace, project, demo_folder):
    shutil.copytree(demo_folder, project / "data" / "demo")
    small = set_all(SMALL | {"EPOCHS": 1})
    assert reached(strace, project, "run", "params/demo.yaml", *small, "--name", "net") == set()


@pytest.mark.slow
def test_page_reaches_no_other_machine(strace, project):
    trace = project.parent / "trace"
    command = [*strace, f"--output={trace}", *SER, "demo", "--run", "demo", "--no-browser"]
    options = {"cwd": project, "env": environment(project), "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, start_new_session=True, **options) as process:
        try:
            address = re.search(r"http://127\.0\.0\.1:\d+/", process.stdout.readline())[0]
            for path in ("", "config", "gradio_api/info", "theme.css"):
                with urllib.request.urlopen(address + path) as answered:
                    content = answered.read().decode()
                assert "fonts.googleapis" not in content and "cdnjs" not in content
        finally:
            os.killpg(process.pid, signal.SIGINT)
    assert process.returncode == 0
    assert addresses(trace.read_text()) == set()
    assert left_in(project.parent / "tmpdir") == []
    assert {path.rpartition("/")[0] for path in left_in(project.parent / "home")} <= {".cache/matplotlib"}  # its fonts


def test_predict_leaves_nothing_in_the_users_folders(project):
    """Telemetry of a process that ends soon sends nothing, but keeps an id and a queue for the next one."""
    folders = environment(project)
    done = subprocess.run([*SER, "predict", "x.wav", "--run", "demo"], env=folders, cwd=project, capture_output=True)
    assert done.returncode == 0, done.stderr
    assert left_in(project.parent / "home") == left_in(project.parent / "tmpdir") == []


@pytest.mark.parametrize(
    "entry",
    [
        "from ser_lib import load_bundle; load_bundle(os.path.abspath('reports/demo'))",
        "import ser_lib.model.backends as b; b.load_onnx(b.Path('reports/demo/model.onnx'))",
        "from ser_lib._cli import app as cli; sys.argv[1:] = ['predict', 'x.wav', '--run', 'demo']; cli.main()",
        "import ser_lib, subprocess\nsubprocess.run([sys.executable, '-c', sys.argv[1]])",
    ],
    ids=["load_bundle", "backends", "ser predict", "a child"],
)
def test_telemetry_is_off_before_onnxruntime_is_loaded(project, entry, monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.chdir(project)
    done = run_python(SAY_WHEN_LOADED + entry, SAY_WHEN_LOADED + "import onnxruntime", SER_ROOT=str(project))
    assert done.stdout.splitlines()[0] == "1", done.stderr


def test_onnxruntime_is_imported_by_the_library_alone():
    """So that whoever loads it has loaded `ser_lib/__init__.py` first."""
    for path in [*sorted(REPO.glob("benchmarks/*.py")), *sorted(REPO.glob("notebooks/*.ipynb"))]:
        assert "onnxruntime" not in path.read_text(encoding="utf-8"), path.name
    first = ast.parse((REPO / "ser_lib" / "__init__.py").read_text())
    assert VARIABLE in ast.unparse(first)
    names = {path.name for path in MODULES if re.search(r"^\s*(import|from) onnxruntime", path.read_text(), re.M)}
    assert names == {"onnx_session.py"}


def test_make_lab_asks_for_no_news():
    recipe = subprocess.run(["make", "-n", "lab"], cwd=REPO, capture_output=True, text=True, check=True).stdout
    for option in ("LabApp.news_url=None", "NeverCheckForUpdate", "extension_manager=readonly"):
        assert option in recipe
    check = """
import sys
from jupyterlab.labapp import LabApp
app = LabApp()
app.parse_command_line([word for word in sys.argv[1:] if word.startswith("--LabApp")])
print(app.news_url, app.check_for_updates_class.__name__, app.extension_manager)
"""
    done = run_python(check, *recipe.split())
    assert done.stdout.split() == ["None", "NeverCheckForUpdate", "readonly"], done.stderr


def test_commands_need_no_variable_of_the_environment(project):
    """As cron and containers may start them: neither PATH nor HOME."""
    for arguments in (["predict", "x.wav", "--run", "demo"], ["report"], ["params"]):
        done = subprocess.run([*SER, *arguments], env={"SER_ROOT": str(project)}, cwd=project, capture_output=True)
        assert done.returncode == 0, done.stderr
