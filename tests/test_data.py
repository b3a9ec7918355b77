import ast
import contextlib
import csv
import hashlib
import io
import json
import os
import re
import signal
import socket
import stat
import sys
import threading
import zipfile
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path, PurePath

import numpy as np
import pytest
import requests
import soundfile

from ser_lib._cli import app as cli
from ser_lib.core.errors import DatasetError
from ser_lib.corpora import CORPORA, emodb, own, savee, tess
from ser_lib.corpora.base import Archive, Dataset, FilesOf
from ser_lib.corpora.files import check, fetch, registry

REPO = Path(__file__).resolve().parent.parent
RATE = 24414
DOI = "10.1234/TEST"


def sha256(content):
    return hashlib.sha256(content).hexdigest()


# A web server that breaks off, refuses and lies as it is told to


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server_address[1]}"
        self.files = {}
        self.moved = {}  # path → path that it redirects to
        self.ranges = True
        self.cuts = {}  # path → how many bytes each answer gives before the connection breaks
        self.faults = {}  # path → status of each answer, 200 for none
        self.endless = {}  # path → status and headers of an answer that has no end
        self.asked = []  # path and Range of each request
        self.sent = Counter()  # bytes by path
        self.on_request = lambda path: None

    def handle_error(self, request, client_address):
        pass  # a client that hangs up

    def ranges_of(self, path):
        return [asked for name, asked in self.asked if name == path]


class Handler(BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def do_GET(self):
        server, path = self.server, self.path
        server.asked.append((path, self.headers.get("Range")))
        server.on_request(path)
        if path in server.endless:
            self.give_for_ever(path, *server.endless[path])
            return
        status = server.faults[path].pop(0) if server.faults.get(path) else 200
        if status != 200 or not (path in server.files or path in server.moved):
            self.send_response(status if status != 200 else 404)
            self.send_header("Content-Length", "0")
            self.end_headers()
        elif path in server.moved:
            self.send_response(303)
            self.send_header("Location", server.address + server.moved[path])
            self.send_header("Content-Length", "0")
            self.end_headers()
        else:
            self.give(path, server.files[path])

    def give_for_ever(self, path, status, headers, block=bytes(100_000)):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        with contextlib.suppress(ConnectionError):
            while True:
                self.server.sent[path] += self.wfile.write(block)

    def give(self, path, content):
        start = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or "")
        start = int(start[1]) if start and self.server.ranges else None
        if start is not None and start >= len(content):
            self.send_response(416)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        body = content[start or 0 :]
        self.send_response(200 if start is None else 206)
        self.send_header("Content-Length", str(len(body)))
        if start is not None:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.end_headers()
        cuts = self.server.cuts.get(path)
        body = body[: cuts.pop(0)] if cuts else body
        self.wfile.write(body)
        self.server.sent[path] += len(body)


@pytest.fixture
def server(monkeypatch, loopback):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(fetch, "PAUSES", (0.01, 0.02))
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def only_this_machine(monkeypatch):
    connect = socket.socket.connect

    def guarded(self, address):
        assert self.family == socket.AF_UNIX or address[0] == "127.0.0.1", f"a test asked for {address}"
        return connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded)
    monkeypatch.setattr(socket, "getaddrinfo", _refuse_names(socket.getaddrinfo))


def _refuse_names(resolve):
    def guarded(host, *more, **options):
        assert host in ("127.0.0.1", None), f"a test asked for {host}"
        return resolve(host, *more, **options)

    return guarded


# Corpora of a few files, with lists of their own


def wav(seed, seconds=0.1, sampling_rate=RATE, file_format="WAV", subtype="PCM_16"):
    t = np.arange(int(seconds * sampling_rate)) / sampling_rate
    file = io.BytesIO()
    signal = 0.4 * np.sin(2 * np.pi * (200 + 50 * seed) * t)
    soundfile.write(file, signal, sampling_rate, format=file_format, subtype=subtype)
    return file.getvalue()


TESS_FILES = {
    f"{speaker}_{emotion}/{speaker}_{word}_{emotion}.wav": wav(number, 0.05 + 0.01 * number + (number == 3))
    for number, (speaker, emotion, word) in enumerate(
        (speaker, emotion, word) for speaker in ("OAF", "YAF") for emotion in ("sad", "ps") for word in ("back", "bar")
    )
}
EMODB_FILES = {
    f"wav/{name}.wav": wav(number, 0.05 + 0.01 * number, 16000)
    for number, name in enumerate(("03a01Fa", "03a01Wa", "08a02Ta", "08b03Lb", "09a04Na"))
}


def write_list(folder, name, files):
    folder.mkdir(exist_ok=True)
    with (folder / f"{name}.csv").open("w", newline="") as file:
        csv.writer(file).writerows(
            [("file", "bytes", "sha256"), *((path, len(content), sha256(content)) for path, content in files.items())]
        )


@pytest.fixture(autouse=True)
def lists(tmp_path_factory, monkeypatch, request):
    if "real_lists" not in request.fixturenames:
        folder = tmp_path_factory.mktemp("lists")  # for the other tests, lists of files made up here
        write_list(folder, "TESS", TESS_FILES)
        write_list(folder, "EMODB", EMODB_FILES)
        monkeypatch.setattr(registry, "REGISTRIES", folder)


@pytest.fixture
def real_lists():
    # those that come with the project
    return


def zipped(files, links=()):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            info = zipfile.ZipInfo(name)
            info.compress_type = zipfile.ZIP_DEFLATED
            if name in links:
                info.external_attr = (stat.S_IFLNK | 0o777) << 16
            archive.writestr(info, content)
    return packed.getvalue()


NOISE = np.random.default_rng(1).bytes(300_000)
"""What keeps a zip file from being small."""


@pytest.fixture
def archive(server, monkeypatch):
    # as EMO-DB's: the files, and other things with the same names and other endings
    others = {f"lablaut/{PurePath(name).stem}.lablaut": b"text" for name in EMODB_FILES}
    server.files["/download.zip"] = zipped({"readme.txt": b"", **EMODB_FILES, **others, "noise.bin": NOISE})
    monkeypatch.setattr(emodb, "DOWNLOAD", Archive(f"{server.address}/download.zip"))
    return server


@pytest.fixture
def folder_of_files(server, monkeypatch):
    server.files |= {f"/speech/{name}": content for name, content in TESS_FILES.items()}
    monkeypatch.setattr(tess, "DOWNLOAD", FilesOf(f"{server.address}/speech/"))
    return server


@pytest.fixture
def dataverse(server, monkeypatch):
    # ids redirect to a store, and folders are called otherwise than in the list
    files = [{"dataFile": {"id": 7, "filename": "Read me.txt", "filesize": 2}}]
    for number, (name, content) in enumerate(TESS_FILES.items(), start=100):
        file = {"id": number, "filename": PurePath(name).name, "filesize": len(content), "md5": "unused"}
        files.append({"directoryLabel": f"TESS/{number % 2}", "dataFile": file})
        server.moved[f"/api/access/datafile/{number}"] = f"/store/{number}"
        server.files[f"/store/{number}"] = content
    set_listing(server, files)
    monkeypatch.setattr(tess, "DOWNLOAD", Dataset(DOI))
    monkeypatch.setattr(fetch, "RESOLVER", f"{server.address}/doi")
    server.moved[f"/doi/{DOI}"] = "/dataset.xhtml"
    server.files["/dataset.xhtml"] = b"<html>"
    server.listing = files
    return server


LISTING = f"/api/datasets/:persistentId?persistentId=doi:{DOI}"


def set_listing(server, files):
    server.files[LISTING] = json.dumps({"status": "OK", "data": {"latestVersion": {"files": files}}}).encode()


def contents(folder):
    """What is there, but for what a break leaves to go on with."""
    return {name: content for name, content in everything(folder).items() if not name.endswith(".part")}


def everything(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def write_all(folder, files):
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def ser(monkeypatch, capsys, *arguments):
    """Exit status, and what `ser` prints."""
    monkeypatch.setattr(sys, "argv", ["ser", *map(str, arguments)])
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        with pytest.raises(SystemExit) as stop:
            cli.main()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    stdout, stderr = capsys.readouterr()
    return stop.value.code or 0, stdout, stderr


# Fetched whole


@pytest.mark.parametrize(
    ("source", "corpus", "files"),
    [
        ("archive", emodb, EMODB_FILES),
        ("folder_of_files", tess, TESS_FILES),
        ("dataverse", tess, TESS_FILES),
    ],
)
def test_whole_corpus_is_fetched_and_then_nothing_more(request, tmp_path, source, corpus, files):
    server = request.getfixturevalue(source)
    assert fetch.fetch_corpus(corpus, tmp_path / "new" / "folder") == len(files)
    assert contents(tmp_path / "new" / "folder") == files  # and neither the zip file nor what else it holds
    n_asked = len(server.asked)
    assert fetch.fetch_corpus(corpus, tmp_path / "new" / "folder") == 0
    assert len(server.asked) == n_asked


def test_archive_with_a_hash_is_held_to_it(archive, tmp_path, monkeypatch):
    url = f"{archive.address}/download.zip"
    size, right = len(archive.files["/download.zip"]), hashlib.md5(archive.files["/download.zip"]).hexdigest()
    monkeypatch.setattr(emodb, "DOWNLOAD", Archive(url, size, f"md5:{right}"))
    assert fetch.fetch_corpus(emodb, tmp_path / "a") == 5
    monkeypatch.setattr(emodb, "DOWNLOAD", Archive(url, size, f"md5:{'0' * 32}"))
    with pytest.raises(DatasetError) as refused:
        fetch.fetch_corpus(emodb, tmp_path / "b")
    assert all(word in str(refused.value) for word in ("download.zip", "0" * 32, right))
    assert contents(tmp_path / "b") == {}


def test_archive_is_asked_for_its_list_once(dataverse, tmp_path):
    fetch.fetch_corpus(tess, tmp_path)
    assert len(dataverse.ranges_of(LISTING)) == 1
    assert sum(path.startswith("/api/access/") for path, _ in dataverse.asked) == len(TESS_FILES)


def test_only_what_is_missing_or_wrong_is_fetched(folder_of_files, tmp_path):
    first, second, third, *others = TESS_FILES
    write_all(tmp_path, {f"elsewhere/{PurePath(name).name.upper()}": TESS_FILES[name] for name in others})
    write_all(tmp_path, {f"elsewhere/{PurePath(first).name}": b"wrong", second: TESS_FILES[second][:-2]})
    assert fetch.fetch_corpus(tess, tmp_path) == 3
    assert {path for path, _ in folder_of_files.asked} == {f"/speech/{name}" for name in (first, second, third)}
    assert (tmp_path / "elsewhere" / PurePath(first).name).read_bytes() == TESS_FILES[first]  # in its place
    assert len(contents(tmp_path)) == len(TESS_FILES)


def test_of_several_files_of_one_name_the_right_one_is_taken(dataverse, tmp_path):
    name, content = next(iter(TESS_FILES.items()))
    wrong = {"id": 1, "filename": PurePath(name).name, "filesize": len(content) + 1, "md5": ""}
    set_listing(dataverse, [{"dataFile": wrong}, *dataverse.listing, {"dataFile": wrong}])
    assert fetch.fetch_corpus(tess, tmp_path) == len(TESS_FILES)


def test_file_that_the_archive_lacks_is_named_after_all_others_are_there(dataverse, tmp_path):
    set_listing(dataverse, dataverse.listing[:-1])
    *others, last = TESS_FILES
    with pytest.raises(DatasetError, match=re.escape(last)):
        fetch.fetch_corpus(tess, tmp_path)
    assert contents(tmp_path) == {name: TESS_FILES[name] for name in others}


def test_page_of_the_dataset_may_turn_programs_away(dataverse, tmp_path):
    dataverse.files.pop("/dataset.xhtml")
    assert fetch.fetch_corpus(tess, tmp_path) == len(TESS_FILES)


def test_unknown_doi_is_told(dataverse, tmp_path):
    dataverse.moved.pop(f"/doi/{DOI}")
    with pytest.raises(DatasetError, match=f"doi:{DOI} cannot be fetched: it answers 404"):
        fetch.fetch_corpus(tess, tmp_path)


# Without an end

SPARE = 20_000_000
"""Bytes that may be under way to a client that has hung up."""


@pytest.mark.parametrize("length", [{}, {"Content-Length": "9" * 12}, {"Content-Length": "9" * 5000}])
@pytest.mark.parametrize("start", [b"", TESS_FILES[next(iter(TESS_FILES))][:1000]])
def test_file_without_an_end_is_given_up(folder_of_files, tmp_path, length, start):
    name = next(iter(TESS_FILES))
    path, part = f"/speech/{name}", (tmp_path / name).with_name(f".{PurePath(name).name}.part")
    part.parent.mkdir(parents=True)
    part.write_bytes(start)
    headers = {"Content-Range": f"bytes {len(start)}-9/9"} if start else {}
    folder_of_files.endless[path] = (206 if start else 200, headers | length)
    size = f"{len(TESS_FILES[name]):,}"
    with pytest.raises(DatasetError, match=f"{name} must give at most {size} bytes. It gives more, and was not kept"):
        fetch.fetch_corpus(tess, tmp_path)
    assert folder_of_files.sent[path] < SPARE
    assert name not in contents(tmp_path) and not part.exists()
    folder_of_files.endless.clear()
    fetch.fetch_corpus(tess, tmp_path)
    assert contents(tmp_path) == TESS_FILES


def test_archive_of_unknown_size_without_an_end_is_given_up(archive, tmp_path):
    archive.endless["/download.zip"] = (200, {})
    with pytest.raises(DatasetError, match=r"download.zip must give at most [\d,]+ bytes. It gives more"):
        fetch.fetch_corpus(emodb, tmp_path)
    assert archive.sent["/download.zip"] < SPARE
    assert everything(tmp_path) == {}


def test_list_without_an_end_is_given_up(dataverse, tmp_path, monkeypatch):
    monkeypatch.setattr(fetch, "_MOST_LISTING", 1_000_000)
    dataverse.endless[LISTING] = (200, {})
    with pytest.raises(DatasetError, match=f"{DOI} must give at most 1,000,000 bytes. It gives more"):
        fetch.fetch_corpus(tess, tmp_path)
    assert dataverse.sent[LISTING] < SPARE


@pytest.mark.parametrize("path", [f"/doi/{DOI}", "/api/access/datafile/103"])
@pytest.mark.parametrize("headers", [{}, {"Content-Encoding": "gzip", "Content-Length": "10000"}])
def test_what_comes_with_another_address_is_not_read_without_an_end(dataverse, tmp_path, path, headers):
    dataverse.endless[path] = (303, headers | {"Location": dataverse.address + dataverse.moved[path]})
    assert fetch.fetch_corpus(tess, tmp_path) == len(TESS_FILES)
    assert dataverse.sent[path] < SPARE


def test_page_of_a_dataset_is_not_read(dataverse, tmp_path):
    dataverse.endless["/dataset.xhtml"] = (200, {})
    assert fetch.fetch_corpus(tess, tmp_path) == len(TESS_FILES)
    assert dataverse.sent["/dataset.xhtml"] < SPARE


def test_packed_answer_is_refused(folder_of_files, tmp_path):
    path = f"/speech/{next(iter(TESS_FILES))}"
    folder_of_files.endless[path] = (200, {"Content-Encoding": "gzip"})
    with pytest.raises(DatasetError, match=r"wav must be sent uncompressed, as requested. It is compressed \('gzip'\)"):
        fetch.fetch_corpus(tess, tmp_path)
    assert not any(PurePath(path).name in name for name in everything(tmp_path))


@pytest.mark.parametrize("answer", [b"[" * 1_000_000, b'{"data": ' * 100_000])
def test_nested_list_is_no_dataverse(dataverse, tmp_path, answer):
    dataverse.files[LISTING] = answer
    with pytest.raises(DatasetError, match="must be a Dataverse"):
        fetch.fetch_corpus(tess, tmp_path)


# Broken off

BLOCK = 10_000
"""More bytes than may be lost when a connection breaks off."""


def start_of(asked):
    return int(re.fullmatch(r"bytes=(\d+)-", asked)[1])


def test_archive_that_broke_off_goes_on_where_it_did(archive, tmp_path):
    size = len(archive.files["/download.zip"])
    archive.cuts["/download.zip"] = [200_000]
    fetch.fetch_corpus(emodb, tmp_path)
    assert contents(tmp_path) == EMODB_FILES
    first, second = archive.ranges_of("/download.zip")
    assert first is None and 200_000 - BLOCK < start_of(second) <= 200_000
    assert size <= archive.sent["/download.zip"] < size + BLOCK


def test_another_command_goes_on_where_one_gave_up(archive, tmp_path):
    size = len(archive.files["/download.zip"])
    archive.cuts["/download.zip"] = [100_000, 0, 0, 0]
    with pytest.raises(DatasetError, match=r"download\.zip cannot be fetched now: the connection .*same command"):
        fetch.fetch_corpus(emodb, tmp_path)
    (part,) = everything(tmp_path).values()
    assert 100_000 - BLOCK < len(part) <= 100_000
    assert registry.audio_below(tmp_path) == {}  # no stage takes it for a clip
    archive.cuts.clear()
    fetch.fetch_corpus(emodb, tmp_path)
    assert contents(tmp_path) == EMODB_FILES
    assert start_of(archive.ranges_of("/download.zip")[-1]) == len(part)
    assert size <= archive.sent["/download.zip"] < size + BLOCK


def test_server_that_only_gives_the_whole_begins_anew(archive, tmp_path):
    archive.ranges = False
    archive.cuts["/download.zip"] = [200_000]
    fetch.fetch_corpus(emodb, tmp_path)
    assert contents(tmp_path) == EMODB_FILES
    assert archive.sent["/download.zip"] == 200_000 + len(archive.files["/download.zip"])


def test_server_that_never_gets_further_is_given_up(archive, tmp_path):
    archive.ranges = False
    archive.cuts["/download.zip"] = [20_000] * 50
    with pytest.raises(DatasetError, match="cannot be fetched now"):
        fetch.fetch_corpus(emodb, tmp_path)
    assert len(archive.asked) == 3  # once, and as many times again as there are pauses


def test_part_that_is_longer_than_the_file_begins_anew(archive, tmp_path):
    write_all(tmp_path, {".download.zip.part": bytes(10**6)})
    fetch.fetch_corpus(emodb, tmp_path)
    assert contents(tmp_path) == EMODB_FILES


def test_files_that_broke_off_go_on_through_redirects(dataverse, tmp_path):
    dataverse.cuts["/store/103"] = [30_000]
    fetch.fetch_corpus(tess, tmp_path)
    assert contents(tmp_path) == TESS_FILES
    first, second = dataverse.ranges_of("/store/103")
    assert first is None and 30_000 - BLOCK < start_of(second) <= 30_000


def test_interrupt_leaves_what_is_whole(folder_of_files, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(fetch, "AT_ONCE", 1)
    done = threading.Event()

    def interrupt(path):
        if len(folder_of_files.asked) == 4:
            os.kill(os.getpid(), signal.SIGINT)
            done.wait(0.3)

    folder_of_files.on_request = interrupt
    status, _, stderr = ser(monkeypatch, capsys, "data", "get", "TESS", "--to", tmp_path, "--accept-licence")
    done.set()
    for thread in threading.enumerate():
        if isinstance(thread, threading.Timer):  # the one that would interrupt once more
            thread.cancel()
    assert status != 0 and "Interrupted. What is whole stays" in stderr
    there = contents(tmp_path)
    assert 3 <= len(there) < len(TESS_FILES)
    assert there.items() <= TESS_FILES.items()
    folder_of_files.on_request = lambda path: None
    assert fetch.fetch_corpus(tess, tmp_path) == len(TESS_FILES) - len(there)


# Refused


def test_busy_server_is_asked_again(folder_of_files, tmp_path, capsys):
    name = next(iter(TESS_FILES))
    folder_of_files.faults[f"/speech/{name}"] = [503, 429]
    assert fetch.fetch_corpus(tess, tmp_path) == len(TESS_FILES)
    assert len(folder_of_files.ranges_of(f"/speech/{name}")) == 3
    assert "it answers 503 Service Unavailable; again in 0.01 s" in capsys.readouterr().err


@pytest.mark.parametrize(("asked", "pause"), [("7", 7), ("9999", 120), ("Wed, 21 Oct 2026 07:28:00 GMT", 0), ("", 0)])
def test_server_may_ask_for_a_longer_pause(asked, pause):
    answer = requests.Response()
    answer.status_code, answer.headers["Retry-After"] = 429, asked
    with pytest.raises(fetch._TroubleError) as trouble:
        fetch._judge(answer, "x")
    assert trouble.value.pause == pause


def test_list_of_a_dataset_is_asked_for_again(dataverse, tmp_path):
    dataverse.faults[LISTING] = [503, 500]
    assert fetch.fetch_corpus(tess, tmp_path) == len(TESS_FILES)


@pytest.mark.parametrize("status", [404, 403])
def test_what_is_not_there_is_not_asked_for_again(dataverse, tmp_path, status):
    dataverse.faults["/store/104"] = [status] * 9
    with pytest.raises(DatasetError, match=rf"datafile/104 cannot be fetched: it answers {status}"):
        fetch.fetch_corpus(tess, tmp_path)
    assert len(dataverse.ranges_of("/store/104")) == 1
    assert contents(tmp_path).items() <= TESS_FILES.items()


def test_dataset_that_is_not_there(dataverse, tmp_path):
    dataverse.files.pop(LISTING)
    with pytest.raises(DatasetError, match="cannot be fetched: it answers 404"):
        fetch.fetch_corpus(tess, tmp_path)
    assert len(dataverse.ranges_of(LISTING)) == 1


@pytest.mark.parametrize("answer", [b"<html>", b"{}", b'{"data": {"latestVersion": {"files": [{"id": 1}]}}}'])
def test_what_is_no_dataverse(dataverse, tmp_path, answer):
    dataverse.files[LISTING] = answer
    with pytest.raises(DatasetError, match="must be a Dataverse"):
        fetch.fetch_corpus(tess, tmp_path)


def test_server_that_is_not_there(server, tmp_path, monkeypatch):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/"
    monkeypatch.setattr(tess, "DOWNLOAD", FilesOf(url))
    with pytest.raises(DatasetError, match="cannot be fetched now: the connection fails"):
        fetch.fetch_corpus(tess, tmp_path)


def test_wrong_checksum_is_named_and_leaves_nothing(folder_of_files, tmp_path):
    name = list(TESS_FILES)[2]
    wrong = TESS_FILES[name][:-1] + b"!"
    folder_of_files.files[f"/speech/{name}"] = wrong
    with pytest.raises(DatasetError) as refused:
        fetch.fetch_corpus(tess, tmp_path)
    message = str(refused.value)
    assert all(word in message for word in (name, sha256(TESS_FILES[name]), sha256(wrong)))
    assert "\n" not in message
    there = contents(tmp_path)
    assert name not in there
    assert there.items() <= TESS_FILES.items()


@pytest.mark.parametrize("change", [lambda content: content[:-1] + b"!", lambda content: content + b"!"])
def test_wrong_file_in_an_archive_is_named_and_left_out(archive, tmp_path, change):
    name = list(EMODB_FILES)[2]
    archive.files["/download.zip"] = zipped(EMODB_FILES | {name: change(EMODB_FILES[name])})
    with pytest.raises(DatasetError, match=rf"{name} is not what it should be: expected .+, got "):
        fetch.fetch_corpus(emodb, tmp_path)
    assert contents(tmp_path) == {other: EMODB_FILES[other] for other in EMODB_FILES if other != name}


@pytest.mark.parametrize("damage", [lambda packed: b"<html>", lambda packed: packed[:20_000] + bytes(len(packed))])
def test_archive_that_is_none_leaves_nothing(archive, tmp_path, damage):
    archive.files["/download.zip"] = damage(archive.files["/download.zip"])
    with pytest.raises(DatasetError, match="must be a whole zip file"):
        fetch.fetch_corpus(emodb, tmp_path)
    assert contents(tmp_path) == {}


@pytest.mark.parametrize(
    "name", ["../outside.wav", "wav/../../outside.wav", "/tmp/outside.wav", r"..\outside.wav", "C:/outside.wav"]
)
def test_archive_that_leaves_the_folder_is_refused(archive, tmp_path, name):
    archive.files["/download.zip"] = zipped(EMODB_FILES | {name: b"x"})
    with pytest.raises(DatasetError, match="leaves the folder"):
        fetch.fetch_corpus(emodb, tmp_path / "a" / "b")
    assert contents(tmp_path) == {}
    assert not Path("/tmp/outside.wav").exists()


def test_archive_with_a_link_is_refused(archive, tmp_path):
    name = next(iter(EMODB_FILES))
    archive.files["/download.zip"] = zipped(EMODB_FILES | {name: b"/etc/passwd"}, links=[name])
    with pytest.raises(DatasetError, match="is a link"):
        fetch.fetch_corpus(emodb, tmp_path)
    assert contents(tmp_path) == {}


def test_archive_far_larger_than_the_corpus_is_refused(archive, tmp_path):
    archive.files["/download.zip"] = zipped(EMODB_FILES | {"wav/bomb.wav": bytes(20_000_000)})
    assert len(archive.files["/download.zip"]) < 100_000
    with pytest.raises(DatasetError, match="must hold at most"):
        fetch.fetch_corpus(emodb, tmp_path)
    assert contents(tmp_path) == {}


def test_pipe_where_a_file_should_be_is_refused(folder_of_files, tmp_path):
    (tmp_path / FIRST).parent.mkdir()
    os.mkfifo(tmp_path / FIRST)
    with pytest.raises(DatasetError, match=r"must be a file\. It is a folder, a device or a pipe"):
        fetch.fetch_corpus(tess, tmp_path)


full_device = pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")


@full_device
def test_full_disk_is_one_line_and_the_command_goes_on(folder_of_files, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(fetch, "AT_ONCE", 1)
    name = list(TESS_FILES)[3]
    part = (tmp_path / name).with_name(f".{PurePath(name).name}.part")
    part.parent.mkdir()
    part.symlink_to("/dev/full")
    status, _, stderr = ser(monkeypatch, capsys, "data", "get", "TESS", "--to", tmp_path, "--accept-licence")
    assert status == 1
    assert stderr.startswith("error: ") and len(stderr.splitlines()) == 1
    assert "No space left on device. Make room first." in stderr
    there = contents(tmp_path)
    assert set(there) >= set(list(TESS_FILES)[:3]) and name not in there
    assert there.items() <= TESS_FILES.items()
    assert not part.is_symlink()  # a part with nothing in it is not kept
    assert fetch.fetch_corpus(tess, tmp_path) == len(TESS_FILES) - len(there)


@full_device
def test_full_disk_while_unpacking_keeps_the_archive(archive, tmp_path):
    name = list(EMODB_FILES)[2]
    part = (tmp_path / name).with_name(f".{PurePath(name).name}.part")
    part.parent.mkdir()
    part.symlink_to("/dev/full")
    with pytest.raises(DatasetError, match="No space left on device"):
        fetch.fetch_corpus(emodb, tmp_path)
    assert set(EMODB_FILES) & set(contents(tmp_path)) == set(list(EMODB_FILES)[:2])
    assert fetch.fetch_corpus(emodb, tmp_path) == 3
    assert contents(tmp_path) == EMODB_FILES
    assert len(archive.asked) == 1


# The commands


def test_list_shows_each_corpus(root, monkeypatch, capsys):
    write_all(root / "data" / "TESS", dict(list(TESS_FILES.items())[:3]))
    status, stdout, _ = ser(monkeypatch, capsys, "data", "list")
    lines = stdout.splitlines()
    assert status == 0 and len(lines) == 1 + len(CORPORA)
    starts = [match.start() for match in re.finditer(r"(?<!\S)(?:\S+ )*\S+", lines[0])]
    rows = {
        line.split()[0]: [line[a:b].strip() for a, b in zip(starts, [*starts[1:], None], strict=True)] for line in lines
    }
    assert list(rows) == ["corpus", *CORPORA]
    assert rows["TESS"][:3] == ["TESS", "English", "2"]
    assert rows["TESS"][4:] == ["0 MB", "CC BY-NC-ND 4.0", "downloads", "data/TESS: 3 of 8 files"]
    assert rows["EMODB"][1:3] == ["German", "10"]
    assert rows["EMODB"][5:] == ["free for research", "downloads", ""]
    assert rows["DEMO"][6] == "made here"


def test_licence_is_shown_and_must_be_accepted(dataverse, root, monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))  # no terminal
    status, stdout, stderr = ser(monkeypatch, capsys, "data", "get", "TESS")
    assert status == 1
    assert all(text in stdout for text in (tess.ABOUT, "CC BY-NC-ND 4.0", tess.CITATION))
    assert stderr.startswith("error: ") and "--accept-licence" in stderr and len(stderr.splitlines()) == 1
    assert (dataverse.asked, contents(root)) == ([], {})
    status, stdout, stderr = ser(monkeypatch, capsys, "data", "get", "tess", "--accept-licence")
    assert (status, stderr) == (0, "")
    assert "CC BY-NC-ND 4.0" in stdout
    assert stdout.splitlines()[-1] == "TESS is whole in data/TESS; 8 files were fetched."
    assert contents(root / "data" / "TESS") == TESS_FILES


@pytest.mark.parametrize(("answer", "n_files"), [("y", 8), ("n", 0), ("", 0)])
def test_terminal_is_asked(dataverse, root, monkeypatch, capsys, answer, n_files):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setattr(sys, "stdin", Terminal(f"{answer}\n"))
    status, _, _ = ser(monkeypatch, capsys, "data", "get", "TESS")
    assert (status == 0, len(contents(root))) == (n_files > 0, n_files)


def test_what_cannot_be_fetched_says_where_it_is(root, monkeypatch, capsys):
    monkeypatch.delattr(tess, "DOWNLOAD")
    monkeypatch.setattr(tess, "WHERE", "Register at https://example.org.")
    status, stdout, stderr = ser(monkeypatch, capsys, "data", "get", "TESS", "--accept-licence")
    assert (status, stdout) == (1, "")
    assert stderr == "error: TESS cannot be fetched by a command. Register at https://example.org.\n"


def test_demo_is_made(root, monkeypatch, capsys):
    made = []
    monkeypatch.setattr(CORPORA["DEMO"], "make", lambda folder: (made.append(folder), folder.mkdir(parents=True)))
    assert ser(monkeypatch, capsys, "data", "get", "DEMO")[0] == 0
    assert made == [root / "data" / "demo"]
    assert ser(monkeypatch, capsys, "data", "get", "DEMO")[0] == 1
    assert len(made) == 1


def test_unknown_corpus_is_one_line(root, monkeypatch, capsys):
    status, _, stderr = ser(monkeypatch, capsys, "data", "get", "NOTHING")
    assert status == 1
    assert re.fullmatch(r"error: The name of the corpus must be one of DEMO, TESS, .+ Got 'NOTHING'\.\n", stderr)


def test_only_the_command_can_reach_the_network():
    users, networks = set(), set()
    for path in sorted((REPO / "ser_lib").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            names = []
            if isinstance(node, ast.Import | ast.ImportFrom):
                module = [node.module] if isinstance(node, ast.ImportFrom) else []
                names = [*module, *(".".join([*module, alias.name]) for alias in node.names)]
            module = str(path.relative_to(REPO / "ser_lib"))
            users |= {module for name in names if name == "ser_lib.corpora.files.fetch"}
            networks |= {module for name in names if name.split(".")[0] in ("pooch", "requests")}
    assert (users, networks) == ({"_cli/data.py"}, {"corpora/files/fetch.py"})
    assert not re.search(r"data (get|\$)|corpora\.files\.fetch", (REPO / "Makefile").read_text())


# The check


def kinds(report):
    return {problem.file: problem.kind for problem in report.problems}


@pytest.fixture
def whole(tmp_path):
    return write_all(tmp_path / "corpus", TESS_FILES)


FIRST = next(iter(TESS_FILES))


def test_whole_corpus_is_all_right_whatever_its_folders_are_called(whole, tmp_path):
    report = check.check_folder(whole)
    assert (report.corpus, report.problems, report.n_right) == ("TESS", [], 8)
    moved = write_all(tmp_path / "other", {f"x/{PurePath(name).name}": content for name, content in TESS_FILES.items()})
    assert check.check_folder(moved).problems == []


def test_missing_file_is_named(whole):
    (whole / FIRST).unlink()
    assert kinds(check.check_folder(whole)) == {FIRST: "missing"}


def test_file_that_is_not_one_of_the_corpus_is_extra(whole):
    write_all(whole, {"OAF_angry/OAF_zoo_angry.wav": wav(40), "what is this.mp3": b"no audio", "notes.txt": b""})
    write_all(whole, {"._OAF_back_sad.wav": b"", ".OAF_zoo_sad.wav.part": b""})
    assert kinds(check.check_folder(whole)) == {"OAF_angry/OAF_zoo_angry.wav": "extra", "what is this.mp3": "extra"}


def test_second_copy_is_duplicated_by_name(whole):
    write_all(whole, {f"again/{FIRST}": TESS_FILES[FIRST], "z/OAF_bar_sad.wav": wav(41)})
    report = check.check_folder(whole)
    assert kinds(report) == {f"again/{FIRST}": "duplicated", "z/OAF_bar_sad.wav": "duplicated"}
    texts = {problem.file: problem.text for problem in report.problems}
    assert texts[f"again/{FIRST}"] == f"is the same clip as {FIRST} and holds the same bytes"
    assert texts["z/OAF_bar_sad.wav"] == "is the same clip as OAF_sad/OAF_bar_sad.wav"


@pytest.mark.parametrize(("ending", "options"), [("flac", ("FLAC", "PCM_16")), ("wav", ("WAV", "FLOAT"))])
def test_same_audio_under_other_bytes_is_duplicated(whole, ending, options):
    signal, rate = soundfile.read(whole / FIRST, dtype="int16")
    values = signal if options[1] == "PCM_16" else signal / np.float32(2**15)
    soundfile.write(whole / f"track 7.{ending}", values, rate, format=options[0], subtype=options[1])
    (problem,) = check.check_folder(whole).problems
    assert (problem.kind, problem.file) == ("duplicated", f"track 7.{ending}")
    assert problem.text == f"holds the same audio as {FIRST}"


def test_resampled_re_encoded_and_edited_files_are_told_apart(whole):
    names = list(TESS_FILES)
    write_all(whole, {names[0]: wav(0, 0.05, 16000), names[1]: wav(1, 0.06, RATE, "FLAC")})
    write_all(whole, {names[2]: wav(2, 0.07, RATE, "WAV", "PCM_24"), names[3]: wav(20, 0.08)})
    (whole / names[4]).rename((whole / names[4]).with_suffix(".mp3"))
    mp3 = names[4].replace(".wav", ".mp3")
    soundfile.write(whole / mp3, np.full(4800, 0.1), 48000, format="MP3")
    report = check.check_folder(whole)
    assert kinds(report) == {
        names[0]: "resampled", names[1]: "re-encoded", names[2]: "re-encoded", names[3]: "altered", mp3: "resampled",
    }  # fmt: skip
    assert report.n_right == 3
    assert "has 16000 Hz, the corpus 24414 Hz" in check.describe(report)


@pytest.mark.parametrize("size", [0, 5, 44, 1000])
def test_truncated_file_is_named(whole, size):
    (whole / FIRST).write_bytes(TESS_FILES[FIRST][:size])
    assert kinds(check.check_folder(whole)) == {FIRST: "truncated"}


def test_random_bytes_and_silence_are_unusable(whole):
    second = list(TESS_FILES)[1]
    size = len(TESS_FILES[FIRST])
    (whole / FIRST).write_bytes(np.random.default_rng(0).bytes(size))
    soundfile.write(whole / second, np.zeros(3000), RATE, subtype="PCM_16")
    assert kinds(check.check_folder(whole)) == {FIRST: "unusable", second: "unusable"}


def test_exchanged_files_are_named(whole):
    a, b = list(TESS_FILES)[:2]
    write_all(whole, {a: TESS_FILES[b], b: TESS_FILES[a]})
    report = check.check_folder(whole)
    assert kinds(report) == {a: "altered", b: "altered"}
    assert {problem.text for problem in report.problems} == {f"is {a} by content", f"is {b} by content"}


def test_recordings_that_a_corpus_holds_twice_are_its_own(tmp_path):
    second = "OAF_sad/OAF_base_sad.wav"
    twice = {**TESS_FILES, second: TESS_FILES[FIRST]}
    write_list(registry.REGISTRIES, "TESS", twice)
    assert check.check_folder(write_all(tmp_path, twice)).problems == []
    write_all(tmp_path, {name: wav(0, 0.05, RATE, "FLAC") for name in (FIRST, second)})
    assert kinds(check.check_folder(tmp_path)) == {FIRST: "re-encoded", second: "re-encoded"}


def test_aiff_inside_wav_is_right_if_the_list_says_so(tmp_path):
    files = {**TESS_FILES, FIRST: wav(0, 0.05, RATE, "AIFF"), "OAF_sad/OAF_food_sad.wav": wav(9, 0.1, 96000)}
    write_list(registry.REGISTRIES, "TESS", files)
    assert check.check_folder(write_all(tmp_path, files)).problems == []


def test_corpus_without_a_list_is_held_to_what_can_be_known(tmp_path):
    registry.REGISTRIES.joinpath("TESS.csv").unlink()
    write_all(tmp_path, TESS_FILES | {"OAF_sad/OAF_x_sad.wav": TESS_FILES[FIRST], "OAF_sad/OAF_y_sad.wav": b"noise"})
    report = check.check_folder(tmp_path)
    assert kinds(report) == {"OAF_sad/OAF_x_sad.wav": "duplicated", "OAF_sad/OAF_y_sad.wav": "unusable"}
    assert check.verdict(report).endswith("1 duplicated, 1 unusable, of 10 files. No list of its files is known.")


def test_words_of_a_folder_of_ones_own_that_are_no_emotions_are_told(tmp_path):
    sounds = list(TESS_FILES.values())
    write_all(tmp_path, {"happy/1.wav": sounds[0], "joy2/1.wav": sounds[1], "bored/1.wav": sounds[2]})
    told = check.describe(check.check_folder(tmp_path))
    assert "\n\nUnknown emotions: bored, joy2. A run leaves their clips out unless LABEL_MAP" in told


def test_names_may_hold_what_folders_say(tmp_path, monkeypatch):
    # in SAVEE's list the speaker is a folder, in some copies of it a part of the name
    monkeypatch.setitem(CORPORA, "SAVEE", savee)
    files = {
        f"AudioData/{speaker}/{text}.wav": wav(n, 0.1 + n / 100, 44100)
        for n, (speaker, text) in enumerate(
            (speaker, text) for speaker in ("DC", "KL") for text in ("a01", "sa02", "su15")
        )
    }
    write_list(registry.REGISTRIES, "SAVEE", files)
    assert check.check_folder(write_all(tmp_path / "a", files)).problems == []
    flat = {name.removeprefix("AudioData/").replace("/", "_"): content for name, content in files.items()}
    flat.pop("KL_su15.wav")
    report = check.check_folder(write_all(tmp_path / "b", flat))
    assert (report.corpus, kinds(report)) == ("SAVEE", {"AudioData/KL/su15.wav": "missing"})


def test_folder_of_ones_own_is_held_to_what_can_be_known(tmp_path, monkeypatch):
    monkeypatch.setitem(CORPORA, "OWN", own)
    write_all(tmp_path, {"happy/1.wav": wav(1), "sad/1.wav": wav(2), "sad/3.wav": wav(3)})
    report = check.check_folder(tmp_path)
    assert (report.corpus, report.problems) == ("OWN", [])
    signal, rate = soundfile.read(tmp_path / "sad" / "3.wav", dtype="int16")
    soundfile.write(tmp_path / "sad" / "4.flac", signal, rate)
    write_all(tmp_path, {"angry/5.m4a": b"no audio"})
    report = check.check_folder(tmp_path)
    assert kinds(report) == {"sad/4.flac": "duplicated", "angry/5.m4a": "unusable"}
    assert check.describe(report).splitlines()[-1].split() == ["all", "1", "1", "3", "5"]


def test_table_counts_clips_by_speaker_and_emotion(whole):
    (whole / FIRST).unlink()  # OAF, sad
    write_all(whole, {f"again/{name}": content for name, content in TESS_FILES.items() if "ps" in name})
    rows = [line.split() for line in check.describe(check.check_folder(whole)).splitlines()[-4:]]
    assert rows == [
        ["clips", "sad", "surprised", "all"], ["OAF", "1", "2", "3"], ["YAF", "2", "2", "4"], ["all", "3", "4", "7"],
    ]  # fmt: skip


def test_corpus_is_told_by_most_of_the_names(tmp_path):
    write_all(tmp_path, {"a/OAF_back_sad.wav": b"", **EMODB_FILES})
    assert check.guess_corpus(tmp_path) is emodb


def test_one_of_several_corpora_must_be_named(tmp_path):
    write_all(tmp_path, {"emodb/03a01Fa.wav": b"", "TESS/OAF_back_sad.wav": b"", "more/OAF_bar_sad.wav": b""})
    with pytest.raises(DatasetError, match=r"holds TESS, emodb\. Name one of them, such as .*TESS\.$"):
        check.guess_corpus(tmp_path)
    (tmp_path / "emodb").rename(tmp_path / "others")
    assert check.guess_corpus(tmp_path) is tess


def test_check_prints_and_exits(whole, monkeypatch, capsys):
    status, stdout, _ = ser(monkeypatch, capsys, "data", "check", whole)
    assert status == 0
    assert stdout.splitlines()[-1] == "TESS in corpus: all 8 files are there, whole and unaltered."
    write_all(whole, {f"again/{n}/OAF_back_sad.wav": TESS_FILES[FIRST] for n in range(25)})
    status, stdout, _ = ser(monkeypatch, capsys, "data", "check", whole, "--corpus", "tess")
    assert (status, stdout.count("again/")) == (1, 20)
    assert "  and 5 more; --all names them" in stdout
    assert stdout.splitlines()[-1] == "TESS in corpus: 25 duplicated; 8 of 8 files are whole and unaltered."
    assert ser(monkeypatch, capsys, "data", "check", whole, "--all")[1].count("again/") == 25


def test_whole_corpus_is_whole_whatever_lies_beside_it(whole, monkeypatch, capsys):
    write_all(whole, {"stray.wav": wav(60), "notes.mp3": b"no audio"})
    os.mkfifo(whole / "pipe.wav")
    status, stdout, _ = ser(monkeypatch, capsys, "data", "check", whole)
    assert status == 0
    assert "extra (3)\n  notes.mp3 " in stdout and "\n  stray.wav\n" in stdout
    assert "\n  pipe.wav this is not a file\n" in stdout
    assert stdout.splitlines()[-1] == "TESS in corpus: all 8 files are there, whole and unaltered; 3 extra."
    (whole / FIRST).unlink()
    status, stdout, _ = ser(monkeypatch, capsys, "data", "check", whole)
    assert status == 1
    assert stdout.splitlines()[-1] == "TESS in corpus: 1 missing, 3 extra; 7 of 8 files are whole and unaltered."


def test_what_a_table_names_and_is_not_there_is_missing(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(CORPORA, "OWN", own)
    (tmp_path / "clips.csv").write_text("path,emotion\nx/1.wav,happy\nx/2.wav,sad\nsub,sad\n")
    (tmp_path / "sub").mkdir()
    status, stdout, _ = ser(monkeypatch, capsys, "data", "check", tmp_path, "--corpus", "OWN")
    assert status == 1
    assert "missing (3)\n  sub clips.csv names it: Is a directory\n  x/1.wav clips.csv names it: No such" in stdout
    assert "3 missing, of 0 files" in stdout.splitlines()[-1]
    write_all(tmp_path, {"x/1.wav": wav(1), "x/2.wav": wav(2)})
    (tmp_path / "clips.csv").write_text("path,emotion\nx/1.wav,happy\nx/2.wav,sad\n")
    status, stdout, _ = ser(monkeypatch, capsys, "data", "check", tmp_path, "--corpus", "OWN")
    assert (status, "missing" in stdout) == (0, False)


@pytest.mark.parametrize("make", [lambda folder: None, lambda folder: folder.mkdir()])
def test_nothing_to_check_is_one_line(tmp_path, monkeypatch, capsys, make):
    make(tmp_path / "empty")
    status, stdout, stderr = ser(monkeypatch, capsys, "data", "check", tmp_path / "empty", "--corpus", "TESS")
    assert (status, stdout) == (1, "")
    assert stderr.startswith("error: The folder to check must") and len(stderr.splitlines()) == 1


def test_a_corpus_of_the_project_is_checked_by_its_name(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("SER_ROOT", str(tmp_path))
    status, _, stderr = ser(monkeypatch, capsys, "data", "check", "tess")
    assert (status, stderr) == (1, "error: The folder to check must be there. data/TESS is none.\n")
    write_all(tmp_path, {"data/TESS/OAF_food_fear.wav": wav(1)})
    status, stdout, _ = ser(monkeypatch, capsys, "data", "check", "tess")
    assert status == 1 and stdout.splitlines()[-1].startswith("TESS in data/TESS: 8 missing, 1 extra")


def test_strange_names_do_no_harm(whole, monkeypatch, capsys):
    write_all(whole, {"\x1b[31mred.wav": wav(40)})
    with contextlib.suppress(OSError):  # some file systems take no such name
        (whole / os.fsdecode(b"\xff.wav")).write_bytes(wav(41))
    (whole / "nowhere.wav").symlink_to(whole / "missing.wav")
    status, stdout, _ = ser(monkeypatch, capsys, "data", "check", whole)
    assert status == 0  # the corpus is whole
    assert r"\x1b[31mred.wav" in stdout and "\x1b" not in stdout and "nowhere.wav" in stdout


# The real lists and corpora


@pytest.mark.usefixtures("real_lists")
@pytest.mark.parametrize("name", list(CORPORA))
def test_list_tells_every_clip_apart_by_name(name):
    corpus = CORPORA[name]
    entries = registry.read_registry(corpus)
    sizes = {"TESS": 2800, "EMODB": 535, "RAVDESS": 1440, "CREMA-D": 7442, "SAVEE": 480, "ASED": 2474, "TUREV": 1735}
    assert len(entries) == sizes.get(name, 0)
    assert len({corpus.read_name(PurePath(file)) for file in entries}) == len(entries)
    assert all(re.fullmatch("[0-9a-f]{64}", entry.sha256) and entry.bytes > 0 for entry in entries.values())


@pytest.mark.usefixtures("real_lists")
@pytest.mark.parametrize(
    ("name", "missing"), [("TESS", ["OAF_angry/OAF_back_angry.wav", "YAF_sad/YAF_beg_sad.wav"]), ("EMODB", [])]
)
def test_real_corpus(name, missing):
    folder = REPO / "data" / name
    if not folder.is_dir():
        pytest.skip(f"no real {name}: {folder.relative_to(REPO)} is missing")
    report = check.check_folder(folder)
    assert [(problem.kind, problem.file) for problem in report.problems] == [("missing", file) for file in missing]
    assert report.corpus == name
