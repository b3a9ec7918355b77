import base64
import io
import os
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import papermill
import pytest
from PIL import Image

from ser_lib.params import Params
from ser_lib.records.notebook import execute_notebook, remove_leftovers, shrink_pictures


@pytest.fixture
def sockets(monkeypatch):
    """Where the kernels of `execute_notebook` would have their sockets, and the rights of that folder."""
    seen = []

    def note(*_files, config, **_options):
        address = Path(config.LoggedKernelManager.ip)
        seen.append((address, stat.S_IMODE(address.parent.stat().st_mode)))

    monkeypatch.setattr(papermill, "execute_notebook", note)
    return seen


def test_each_kernel_has_sockets_in_a_private_folder_of_its_own(project, tmp_path, sockets):
    # by default they are kernel-ipc-1 and on in the working directory, where two runs at once take each other's
    for _ in range(2):
        execute_notebook("02_split", Params(), scratch=tmp_path, record=tmp_path / "record")
    (first, rights), (second, _) = sockets
    assert first.is_absolute() and second.is_absolute()
    assert first.parent != second.parent
    assert rights == 0o700
    assert not first.parent.exists()  # nothing is left of it
    assert len(f"{first}-99".encode()) < 104  # a socket's path is short on every system


def test_what_a_killed_process_left_is_removed_and_nothing_else(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    code = "from ser_lib.records import notebook\nwith notebook.private_folder() as at: print(at, flush=True); input()"
    command = [sys.executable, "-c", code]
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "env": environment}
    with subprocess.Popen(command, **pipes) as killed, subprocess.Popen(command, **pipes) as alive:
        left, held = Path(killed.stdout.readline().strip()), Path(alive.stdout.readline().strip())
        (left / "tmp").mkdir()
        (left / "tmp" / "large.npy").write_bytes(b"x")
        foreign = [tmp_path / "ser-other", tmp_path / "joblib_memmapping_folder_1", tmp_path / "ser-file"]
        for path in foreign[:2]:
            path.mkdir()
        foreign[2].write_text("x")
        killed.kill()
        killed.wait()
        assert left.is_dir()  # nobody was there to remove it
        remove_leftovers()
        assert not left.exists()
        assert held.is_dir() and all(path.exists() for path in foreign)
        alive.communicate("\n")
    assert not held.exists()


def test_kernel_keeps_to_its_folder(project, tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(papermill, "execute_notebook", lambda *_files, config, **_options: seen.append(config))
    execute_notebook("02_split", Params(), scratch=tmp_path, record=tmp_path / "record")
    (settings,) = [config.LoggedKernelManager for config in seen]
    folder = Path(settings.ip).parent
    assert Path(settings.connection_file).parent == folder
    assert {settings.variables[name] for name in ("TMPDIR", "JOBLIB_TEMP_FOLDER")} == {str(folder / "tmp")}


def notebook_with(picture, kind="image/png"):
    return {"cells": [{"cell_type": "markdown"}, {"outputs": [{"data": {kind: picture}}, {"text": "x"}]}]}


def picture_of(pixels):
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return base64.b64encode(stream.getvalue()).decode()


def pixels_of(notebook):
    encoded = notebook["cells"][1]["outputs"][0]["data"]["image/png"]
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(encoded))).convert("RGB")).astype(int)


def test_pictures_become_smaller_and_look_the_same():
    x = np.linspace(0, 1, 300)
    smooth = np.stack([np.outer(1 - x, x), np.outer(x, x), np.outer(x, 1 - x)], axis=2)
    noisy = smooth + np.random.default_rng(0).normal(0, 0.02, smooth.shape)
    pixels = (255 * noisy.clip(0, 1)).astype(np.uint8)
    notebook = notebook_with(picture_of(pixels))
    shrink_pictures(notebook)
    assert len(notebook["cells"][1]["outputs"][0]["data"]["image/png"]) < 0.5 * len(picture_of(pixels))
    assert np.abs(pixels_of(notebook) - pixels).mean() < 10  # of 255


def test_few_colours_stay_as_they_are():
    pixels = np.zeros((50, 80, 3), dtype=np.uint8)
    pixels[10:20, :, 0], pixels[30:, 5:60] = 255, (31, 119, 180)
    notebook = notebook_with(picture_of(pixels))
    shrink_pictures(notebook)
    np.testing.assert_array_equal(pixels_of(notebook), pixels)


def test_what_is_no_picture_is_left_alone():
    notebook = notebook_with("<svg/>", kind="image/svg+xml")
    shrink_pictures(notebook)
    assert notebook == notebook_with("<svg/>", kind="image/svg+xml")
