import stat
from pathlib import Path

import papermill
import pytest

from ser_lib.notebooks import execute_notebook
from ser_lib.params import Params


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
