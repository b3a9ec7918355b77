"""What a run survives. Most of these take a minute each, and wait in `make test-all`."""

import json
import os
import resource
import shutil
import subprocess
import sys
import time
from types import SimpleNamespace

import psutil
import pytest
from test_runs import SER, SMALL, make_root, manifest_of, ser, set_all, start_ser, wait_for

from ser_lib.core.cache import open_cache
from ser_lib.core.labels import EMOTIONS
from ser_lib.records import run as runs

CHANGES = SMALL | {"N_JOBS": 1, "DENOISE": "false", "BATCH_SIZE": 4, "DATASET_PATH": "data/TESS"}
CHANGES |= {"TEST_FRACTION": 0.25, "VALIDATION_FRACTION": 0.25}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory, make_corpus):
    """A project with a tiny corpus in TESS's layout."""
    root = make_root(tmp_path_factory.mktemp("faults") / "the project")
    make_corpus(root / "data" / "TESS", words=("back", "bar", "base", "bath"), emotions=EMOTIONS)
    return root


@pytest.fixture(scope="module")
def undisturbed(tiny):
    done = ser(tiny, "run", "params/tess.yaml", "--name", "undisturbed", *set_all(CHANGES))
    assert done.status == 0, done.stderr
    return tiny / "reports" / "undisturbed"


def results(record):
    hashes = {
        name: digest for stage in manifest_of(record)["stages"].values() for name, digest in stage["artifacts"].items()
    }
    return json.loads((record / "metrics.json").read_text()), hashes


@pytest.mark.slow
@pytest.mark.parametrize("stage", runs.STAGES)
def test_killed_in_any_stage_it_goes_on_to_the_same_results(tiny, undisturbed, stage):
    name = f"killed-{stage}"
    record = tiny / "reports" / name
    with start_ser(tiny, "run", "params/tess.yaml", "--name", name, *set_all(CHANGES)) as process:
        running = f'"state": "running {stage}"'
        wait_for(
            lambda: (record / "manifest.json").is_file() and running in (record / "manifest.json").read_text(), process
        )
        time.sleep(2)  # into the notebook
        children = psutil.Process(process.pid).children(recursive=True)
        process.kill()
    assert psutil.wait_procs(children, timeout=600)[1] == []
    assert "interrupted in " + stage in ser(tiny, "runs").stdout
    done = ser(tiny, "run", "--resume", name)
    assert done.status == 0, done.stderr
    assert results(record) == results(undisturbed)


@pytest.mark.slow
def test_two_runs_at_once_leave_each_other_alone(tiny, undisturbed):
    shutil.rmtree(tiny / "data" / "demo", ignore_errors=True)  # both have to make it
    both = [start_ser(tiny, "run", "--name", name, *set_all(SMALL | {"N_JOBS": 1})) for name in ("left", "right")]
    for process in both:
        _, stderr = process.communicate()
        assert process.returncode == 0, stderr
    assert results(tiny / "reports" / "left") == results(tiny / "reports" / "right")


@pytest.mark.slow
def test_run_is_reproduced_and_another_seed_is_told(tiny, undisturbed):
    again = ser(tiny, "reproduce", "undisturbed")
    assert again.stdout.splitlines()[-1] == "identical: corpus, features, split, weights and metrics"
    assert again.status == 0
    other = ser(tiny, "reproduce", "undisturbed", "-p", "SEED=1")
    assert other.status == 1
    assert "parameter SEED: 0, now 1\ndifferent, first in the split\n" in other.stdout


def run_with_files_of_at_most(root, size, *arguments):
    """`ser` on a disk that holds no file larger than `size` bytes."""
    done = subprocess.run(
        [*SER, *arguments], env=os.environ | {"SER_ROOT": str(root), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True, text=True, timeout=1200,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size)),
    )  # fmt: skip
    return SimpleNamespace(status=done.returncode, stdout=done.stdout, stderr=done.stderr)


@pytest.mark.skipif(sys.platform == "darwin", reason="limits of file sizes are other there")
@pytest.mark.parametrize(
    ("size", "message"),
    [
        (40_000, "01_preprocess stopped: artifacts/full/processed_data.npz cannot be written (File too large). "),
        (10_000, "01_preprocess stopped: artifacts/full/01_preprocess.ipynb: File too large."),
        (100, "params.yaml cannot be written (File too large)"),
    ],
)
def test_full_disk_is_one_line_and_harms_no_earlier_record(tiny, size, message):
    earlier = tiny / "reports" / "earlier"
    earlier.mkdir(parents=True, exist_ok=True)
    (earlier / "params.yaml").write_text("CORPORA: [TESS]\n")
    shutil.rmtree(tiny / "reports" / "full", ignore_errors=True)
    shutil.rmtree(tiny / "artifacts" / "full", ignore_errors=True)
    open_cache().read("nothing")  # SQLite's index of it, larger than the limit, is there as long as it is open
    done = run_with_files_of_at_most(tiny, size, "run", "params/tess.yaml", "--name", "full", *set_all(CHANGES))
    assert done.status == 1
    assert message in done.stderr and done.stderr.startswith("error: ")
    assert len(done.stderr.splitlines()) == 1
    assert (earlier / "params.yaml").read_text() == "CORPORA: [TESS]\n"
    assert not list(tiny.rglob(".partial-*"))
    assert not (tiny / "artifacts" / "full" / "processed_data.npz").exists()
