"""What lies in a corpus's folder and is no file of it: pipes, devices, sockets, links, loops."""

import os
import socket
from pathlib import Path

import pytest

from ser_lib.core.errors import DatasetError
from ser_lib.corpora import audio_files as files
from ser_lib.corpora.clips import find_clips
from ser_lib.corpora.files import check, registry

LEAVES = "it is a link that leads out of the folder; put what it leads to in its place"
NO_FILE = "this is not a file"


@pytest.fixture
def folder(tmp_path) -> Path:
    folder = tmp_path / "voices"
    for name in ("happy/1.wav", "sad/2.wav"):
        (folder / name).parent.mkdir(parents=True)
        (folder / name).write_bytes(name.encode())
    return folder


def left_out(folder: Path) -> dict[str, tuple[str, bool]]:
    clips, skipped = find_clips("OWN", folder)
    assert [clip.file for clip in clips] == ["happy/1.wav", "sad/2.wav"]
    return {left.file: (left.reason, left.fault) for left in skipped}


def put_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as one:
        here = Path.cwd()
        os.chdir(path.parent)  # its whole path may be too long for a socket
        try:
            one.bind(path.name)
        finally:
            os.chdir(here)


@pytest.mark.parametrize(
    "put",
    [
        os.mkfifo,
        put_socket,
        lambda path: path.symlink_to("/dev/zero"),
        lambda path: path.symlink_to("/dev/null"),
    ],
    ids=["fifo", "socket", "device", "null"],
)
def test_what_is_no_file_is_named_and_never_opened(folder, put):
    put(folder / "sad" / "3.wav")
    assert left_out(folder) == {"sad/3.wav": (NO_FILE, True)}
    problems = check.check_folder(folder, "OWN").problems
    assert ("unusable", "sad/3.wav", NO_FILE) in problems


def test_a_fifo_with_the_name_of_a_listed_clip_is_no_clip(tmp_path):
    entry = next(iter(registry.read_registry(registry.named_corpus("TESS"))))
    (tmp_path / entry).parent.mkdir()
    os.mkfifo(tmp_path / entry)
    report = check.check_folder(tmp_path, "TESS")
    assert ("unusable", entry, NO_FILE) in report.problems
    assert report.n_right == 0


def test_a_table_may_name_no_pipe_and_be_none(folder):
    os.mkfifo(folder / "pipe.wav")
    (folder / "clips.csv").write_text("path,emotion\nhappy/1.wav,happy\nsad/2.wav,sad\npipe.wav,sad\n")
    assert left_out(folder) == {"pipe.wav": (NO_FILE, True)}
    (folder / "clips.csv").unlink()
    os.mkfifo(folder / "clips.csv")
    with pytest.raises(DatasetError, match=r"clips\.csv must be a file that can be read. It cannot: this is not a"):
        find_clips("OWN", folder)


def test_links_that_leave_the_folder_are_named_and_not_followed(folder, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret.wav").write_bytes(b"secret")
    (folder / "sad" / "3.wav").symlink_to(outside / "secret.wav")
    (folder / "sad" / "more").symlink_to(outside, target_is_directory=True)
    assert left_out(folder) == {"sad/3.wav": (LEAVES, True), "sad/more": (LEAVES, True)}
    found = {(one.kind, one.file): one.text for one in check.check_folder(folder, "OWN").problems}
    assert found["unusable", "sad/3.wav"] == found["unusable", "sad/more"] == LEAVES
    (folder / "clips.csv").write_text("path,emotion\nhappy/1.wav,happy\nsad/2.wav,sad\nsad/more/secret.wav,sad\n")
    assert left_out(folder) == {
        "sad/more/secret.wav": (LEAVES, True),
        "sad/3.wav": ("audio that clips.csv does not list (.wav)", False),
    }
    (folder / "clips.csv").unlink()
    (folder / "clips.csv").symlink_to(outside / "secret.wav")
    with pytest.raises(DatasetError, match="leads out of the folder"):
        find_clips("OWN", folder)


def test_links_within_the_folder_and_to_it_are_followed(folder, tmp_path):
    (folder / "sad" / "2.wav").rename(folder / "sad" / "two.raw")
    (folder / "sad" / "2.wav").symlink_to("two.raw")
    (folder / ".store").mkdir()
    (folder / "happy").rename(folder / ".store" / "happy")
    (folder / "happy").symlink_to(".store/happy")
    (tmp_path / "link").symlink_to(folder)
    assert left_out(folder) == left_out(tmp_path / "link") == {"sad/two.raw": ("not audio (.raw)", False)}


def test_loops_end(folder):
    (folder / "sad" / "again").symlink_to("..")
    (folder / "sad" / "self.wav").symlink_to("self.wav")
    (folder / "happy" / "other").symlink_to("../sad")
    searched = ("it is a link to a folder that is searched already", False)
    assert left_out(folder) == {
        "sad/again": searched,
        "happy/other": searched,
        "sad/self.wav": ("Too many levels of symbolic links", True),
    }
    assert [
        one.file for one in check.check_folder(folder, "OWN").problems if one.file.endswith(("again", "other"))
    ] == []


def test_a_folder_that_cannot_be_searched_is_named(folder, monkeypatch):
    (folder / "angry").mkdir()
    scan = os.scandir

    def refuse(path):
        if Path(path).name == "angry":
            raise PermissionError(13, "Permission denied")
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    assert left_out(folder) == {"angry": ("Permission denied", True)}
    assert ("unusable", "angry", "Permission denied") in check.check_folder(folder, "OWN").problems


def test_a_folder_deeper_than_a_path_may_be_is_named(folder):
    here = Path.cwd()
    os.chdir(folder)
    try:
        for _ in range(25):
            os.mkdir(200 * "d")
            os.chdir(200 * "d")
    finally:
        os.chdir(here)
    ((file, (reason, fault)),) = left_out(folder).items()
    assert set(file) == {"d", "/"} and (reason, fault) == ("File name too long", True)


def test_a_folder_to_predict_may_link_anywhere(folder, tmp_path):
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "3.wav").write_bytes(b"3")
    (folder / "more").symlink_to(tmp_path / "outside")
    (folder / "more" / "back").symlink_to(folder)
    os.mkfifo(folder / "pipe.wav")
    names = ["happy/1.wav", "sad/2.wav", "more/3.wav", "pipe.wav"]
    assert files.find_files(str(folder)) == ([folder / name for name in names], [])
