"""Fetch a corpus from where its authors keep it: what is not there yet, checked, and again where it broke off.

pooch fetches each file, checks its hash and puts it in place whole. What it is given is its downloader: one that goes
on with a file that broke off (a hidden `.part` beside it), and tries again after a pause where that may help. What a
server gives has an end: no more is read than the file has, or may have.
"""

import errno
import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from functools import partial
from pathlib import Path, PurePosixPath
from types import ModuleType
from typing import NamedTuple, TypeVar
from urllib.parse import quote, urlsplit

import pooch
import requests
from tqdm import tqdm

from ser_lib.core.errors import DatasetError
from ser_lib.core.paths import shown
from ser_lib.core.progress import progress_bar, write_line
from ser_lib.corpora.base import Archive, Dataset, FilesOf
from ser_lib.corpora.files.registry import Entry, identity, names_of, read_registry, scan
from ser_lib.corpora.files.unpack import most_bytes, unpack

PAUSES = (1.0, 4.0, 15.0, 60.0)
"""Pauses (s) before a file is tried again; after as many failures in a row it is given up."""
LONGEST_PAUSE = 120.0
"""Longest pause (s) that a server may ask for."""
TIMEOUT = (15.0, 60.0)
"""How long to wait (s) for a connection, and for more to come."""
AT_ONCE = 4
"""Files that are fetched at the same time."""
HEADERS = {"User-Agent": "ser_lib (speech emotion recognition; through pooch)", "Accept-Encoding": "identity"}
RESOLVER = "https://doi.org"
"""What knows where a DOI leads."""
GO_ON = "What is whole stays; the same command goes on from there."
_CHUNK = 1 << 13
"""Bytes that are read together, and at most lost where a connection breaks off."""
_MOST_LISTING = 50_000_000
"""Bytes that a list of a dataset's files may have; that of TESS has about 3 million."""
_MOST_REDIRECT = 1 << 16
"""Bytes of a redirect that are read so that the connection can be used again."""

_T = TypeVar("_T")
_Progress = Callable[[int, int], None]
"""Takes how much of a file has come, and how much it will be (bytes)."""


class _TroubleError(Exception):
    """Something that may be over after a pause of at least `pause` seconds."""

    def __init__(self, text: str, pause: float = 0.0) -> None:
        super().__init__(text)
        self.pause = pause


class _TooLargeError(DatasetError):
    """A server sends more than a file may have."""


class _StoppedError(Exception):
    """Another file has failed, or the user has had enough."""


class _Job(NamedTuple):
    """A file to fetch: where it goes below the folder, from where, its hash as pooch writes it, its size (bytes)."""

    target: str
    url: str
    hash: str | None
    bytes: int
    most: int
    """As many bytes as it may have."""


def _job(target: str, url: str, entry: Entry) -> _Job:
    return _Job(target, url, f"sha256:{entry.sha256}", entry.bytes, entry.bytes)


class _Remote(NamedTuple):
    """A file in a Dataverse archive."""

    path: str
    url: str
    bytes: int | None


def fetch_corpus(corpus: ModuleType, folder: Path) -> int:
    """Bring `folder` to hold the whole corpus, and return how many files were fetched.

    A file is there if one below `folder` has its name and its hash, however the folders are called. One that has the
    name and another content is replaced.

    Raises
    ------
    DatasetError
        If something cannot be fetched, is not what it should be, or cannot be written.
    """
    entries = read_registry(corpus)
    if not entries:
        raise DatasetError(f"A corpus is fetched by its list of files. {corpus.NAME} has none.")
    with _writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        found = scan(corpus, folder, entries)
        there = {one.name for one in found if one.right}
        targets = {name: name for name in entries if name not in there}
        for one in reversed(found):
            if one.name in targets and _same_ending(one.file, one.name):
                targets[one.name] = one.file
        if targets:
            _fetch(corpus, folder, targets, entries)
        return len(targets)


def _fetch(corpus: ModuleType, folder: Path, targets: dict[str, str], entries: dict[str, Entry]) -> None:
    """Fetch the files that `targets` names to where it puts them, as the corpus's `DOWNLOAD` says."""
    source, fetcher = corpus.DOWNLOAD, _Fetcher(folder)
    with fetcher.session:
        if isinstance(source, Archive):
            _fetch_archive(corpus, source, fetcher, targets, entries)
            return
        wanted = {name: entries[name] for name in targets}
        if isinstance(source, FilesOf):
            urls = {name: source.url + quote(name) for name in wanted}
        else:
            urls = _urls_in_dataset(corpus, source, fetcher, wanted)
        fetcher.fetch_all([_job(targets[name], url, wanted[name]) for name, url in urls.items()])
    lacking = [name for name in targets if name not in urls]
    if lacking:
        more = f" and {len(lacking) - 1:,} more" if len(lacking) > 1 else ""
        raise DatasetError(f"The archive at {source.doi} must hold every file of {corpus.NAME}: no {lacking[0]}{more}.")


def _fetch_archive(
    corpus: ModuleType, source: Archive, fetcher: "_Fetcher", targets: dict[str, str], entries: dict[str, Entry]
) -> None:
    """Fetch a zip file, unpack what is missing, and remove it unless the disk was full."""
    archive = fetcher.folder / f".{PurePosixPath(urlsplit(source.url).path).name}"
    most = source.bytes or most_bytes(entries)
    fetcher.fetch_one(_Job(archive.name, source.url, source.hash, source.bytes or 0, most))
    try:
        unpack(archive, fetcher.folder, targets, entries, partial(identity, corpus))
    except DatasetError:
        archive.unlink()
        raise
    archive.unlink()


def _same_ending(file: str, name: str) -> bool:
    return PurePosixPath(file).suffix.lower() == PurePosixPath(name).suffix.lower()


def _urls_in_dataset(
    corpus: ModuleType, source: Dataset, fetcher: "_Fetcher", entries: dict[str, Entry]
) -> dict[str, str]:
    """Where a Dataverse archive keeps each file, by its list of them, for which it is asked once.

    Folders may be called otherwise there. Of several files with one name, the one in the right folder or, failing
    that, of the right size is taken.
    """
    files = fetcher.persist(partial(_list_dataset, fetcher.session, source.doi), f"doi:{source.doi}")
    candidates: dict[str, list] = {}
    for name, file in zip(names_of(corpus, entries, [file.path for file in files]), files, strict=True):
        if name is not None and _same_ending(file.path, name):
            rank = (file.path != name, file.bytes != entries[name].bytes)
            candidates.setdefault(name, []).append((rank, file.url))
    return {name: min(candidates[name])[1] for name in entries if name in candidates}


def _list_dataset(session: requests.Session, doi: str) -> list[_Remote]:
    """Ask a Dataverse archive for the list of a dataset's files."""
    page = urlsplit(_page_of(session, doi))
    host = f"{page.scheme}://{page.netloc}"
    url = f"{host}/api/datasets/:persistentId?persistentId=doi:{doi}"
    with session.get(url, stream=True, timeout=TIMEOUT) as answer:
        _judge(answer, url)
        text = b"".join(_chunks(answer, _MOST_LISTING))
    try:
        return [_remote(host, file) for file in json.loads(text)["data"]["latestVersion"]["files"]]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise DatasetError(f"The archive of doi:{doi} must be a Dataverse. {host} does not answer as one.") from None


def _page_of(session: requests.Session, doi: str) -> str:
    """Address of the page that a DOI leads to; the page itself may turn programs away."""
    with session.get(f"{RESOLVER}/{doi}", stream=True, timeout=TIMEOUT) as answer:
        if answer.url.startswith(RESOLVER):
            _judge(answer, f"doi:{doi}")
        return answer.url


def _remote(host: str, file: dict) -> _Remote:
    data = file["dataFile"]
    path = "/".join(filter(None, (file.get("directoryLabel"), data["filename"])))
    return _Remote(path, f"{host}/api/access/datafile/{data['id']}", data.get("filesize"))


class _Fetcher:
    """Fetches files into a folder, several at once, with one bar; `stop` ends what is under way."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.session = requests.Session()
        self.session.headers.update(HEADERS)
        self.session.hooks["response"].append(_cut_redirect)
        self.stop = threading.Event()
        pooch.get_logger().setLevel("WARNING")  # it would report every file

    def fetch_all(self, jobs: list[_Job]) -> None:
        """Fetch every file; the first that fails ends it."""
        pool = ThreadPoolExecutor(AT_ONCE)
        for parent in {(self.folder / job.target).parent for job in jobs}:
            parent.mkdir(parents=True, exist_ok=True)
        try:
            with self._bar(sum(job.bytes for job in jobs)) as bar:
                under_way = {pool.submit(self._fetch, job): job for job in jobs}
                for future in as_completed(under_way):
                    future.result()
                    bar.update(under_way[future].bytes)
        finally:
            self.stop.set()
            pool.shutdown(cancel_futures=True)

    def fetch_one(self, job: _Job) -> None:
        """Fetch one large file."""
        with self._bar(job.bytes) as bar:

            def progress(position: int, total: int) -> None:
                bar.total = total
                bar.update(position - bar.n)

            self._fetch(job, progress)

    def persist(self, attempt: Callable[[], _T], what: str, far: Callable[[], int] = lambda: 0) -> _T:
        """Result of `attempt`, which is tried again while that may help; `far`: how far it is by now."""
        failures, furthest = 0, 0
        while True:
            try:
                with _network(what):
                    return attempt()
            except _TroubleError as trouble:
                if far() > furthest:
                    failures, furthest = 0, far()
                if failures == len(PAUSES):
                    raise DatasetError(f"{what} cannot be fetched now: {trouble}. {GO_ON}") from None
                pause = max(PAUSES[failures], trouble.pause)
                write_line(f"{what}: {trouble}; again in {pause:g} s")
                if self.stop.wait(pause):
                    raise _StoppedError from None
                failures += 1

    def _bar(self, total: int) -> tqdm:
        bar = progress_bar(total, "Fetching", "B")
        bar.unit_scale = True
        bar.refresh()
        return bar

    def _fetch(self, job: _Job, progress: _Progress = lambda position, total: None) -> None:
        """Have pooch fetch one file, unless it is there already."""
        path = self.folder / job.target
        if path.exists() and not path.is_file():
            raise DatasetError(f"{shown(path)} must be a file. It is a folder, a device or a pipe. Remove it first.")
        part = path.with_name(f".{path.name.lstrip('.')}.part")
        keeper = pooch.create(
            path=self.folder, base_url="", registry={job.target: job.hash}, urls={job.target: job.url}
        )
        try:
            keeper.fetch(job.target, downloader=partial(self._download, part, progress, job.most))
        except ValueError as error:
            raise DatasetError(f"{job.target} is not what it should be. {error}") from None

    def _download(self, part: Path, progress: _Progress, most: int, url: str, output_file: str, _pooch: object) -> None:
        """Fetch `url` into `part`, from where that broke off, and hand it to pooch."""
        try:
            self.persist(partial(self._go_on, part, progress, most, url), url, partial(_size, part))
            part.replace(output_file)
        except _TooLargeError:
            part.unlink(missing_ok=True)
            raise
        finally:
            if not _size(part):
                part.unlink(missing_ok=True)

    def _go_on(self, part: Path, progress: _Progress, most: int, url: str) -> None:
        """Ask for what `part` lacks; a server that only gives the whole begins anew."""
        there = _size(part)
        headers = {"Range": f"bytes={there}-"} if there else {}
        with self.session.get(url, headers=headers, stream=True, timeout=TIMEOUT) as answer:
            fits = answer.headers.get("Content-Range", "").startswith(f"bytes {there}-")
            if answer.status_code == 416 or (answer.status_code == 206 and not fits):
                part.unlink(missing_ok=True)
                raise _TroubleError("it has nothing to add to what is there")
            _judge(answer, url)
            position = there if answer.status_code == 206 else 0
            total = position + _announced(answer)
            with part.open("ab" if position else "wb") as file:
                for chunk in _chunks(answer, most, position):
                    if self.stop.is_set():
                        raise _StoppedError
                    file.write(chunk)
                    position += len(chunk)
                    progress(position, max(position, total))
        if position < total:
            raise _TroubleError("the connection breaks off")


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _announced(answer: requests.Response) -> int:
    """How many bytes an answer says that it has; 0 if it does not say."""
    text = answer.headers.get("Content-Length", "")
    return int(text) if text.isdecimal() and len(text) < 20 else 0


def _chunks(answer: requests.Response, most: int, position: int = 0) -> Iterator[bytes]:
    """What an answer gives, as it is sent, from `position` on.

    Raises
    ------
    DatasetError
        If it is packed, since a little of it could then be anything.
    _TooLargeError
        If there are more than `most` bytes.
    """
    packing = answer.headers.get("Content-Encoding", "identity")
    if packing.lower() != "identity":
        raise DatasetError(f"{answer.url} must be sent uncompressed, as requested. It is compressed ({packing!r}).")
    too_much = _TooLargeError(f"{answer.url} must give at most {most:,} bytes. It gives more, and was not kept.")
    if position + _announced(answer) > most:
        raise too_much
    for chunk in answer.iter_content(_CHUNK):
        position += len(chunk)
        if position > most:
            raise too_much
        yield chunk


def _cut_redirect(answer: requests.Response, **_options: object) -> None:
    """Hang up where what comes with another address is not short: requests would read all of it, unpacked."""
    short = 0 < _announced(answer) <= _MOST_REDIRECT or answer.headers.get("Content-Length") == "0"
    if answer.is_redirect and not (short and "Content-Encoding" not in answer.headers):
        answer.close()


def _judge(answer: requests.Response, what: str) -> None:
    """Refuse an answer that is none."""
    status = f"{answer.status_code} {answer.reason or ''}".strip()
    if answer.status_code == 429 or answer.status_code >= 500:
        asked = answer.headers.get("Retry-After", "")
        raise _TroubleError(f"it answers {status}", min(float(asked) if asked.isdecimal() else 0.0, LONGEST_PAUSE))
    if not answer.ok:
        raise DatasetError(f"{what} cannot be fetched: it answers {status}. {GO_ON}")


@contextmanager
def _network(what: str) -> Iterator[None]:
    """Say in a few words what is wrong with the network."""
    try:
        yield
    except requests.exceptions.SSLError:
        raise _TroubleError("there is no secure connection") from None
    except requests.Timeout:
        raise _TroubleError("it does not answer in time") from None
    except (requests.ConnectionError, requests.exceptions.ChunkedEncodingError):
        raise _TroubleError("the connection fails") from None
    except requests.RequestException as error:
        raise DatasetError(f"{what} cannot be fetched: {error}. {GO_ON}") from None


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    """Say in one line that the disk is full or may not be written to."""
    try:
        yield
    except OSError as error:
        room = "Make room first. " if error.errno in (errno.ENOSPC, errno.EDQUOT) else ""
        raise DatasetError(f"{shown(folder)} cannot be written to: {error.strerror or error}. {room}{GO_ON}") from None
