"""What a corpus module is made of."""

from typing import NamedTuple

UNKNOWN = ""
"""Speaker or text that is unknown: neither equal to another unknown one nor different from it."""


class Name(NamedTuple):
    """What a file's path says: `emotion` is the corpus's own word; `take` distinguishes clips of one text.

    Speaker and text may be `UNKNOWN`.
    """

    speaker: str
    emotion: str
    text: str
    take: str = ""


class NotUsedError(ValueError):
    """A file that a corpus officially holds and this project does not use; the message is the reason."""


class Archive(NamedTuple):
    """One zip file that holds the corpus; `hash` as pooch writes it (`md5:…`), None where its authors give none."""

    url: str
    bytes: int | None = None
    hash: str | None = None


class FilesOf(NamedTuple):
    """A folder on the web that holds the corpus file by file; `url` ends in a slash."""

    url: str


class Dataset(NamedTuple):
    """A dataset in a Dataverse archive such as Borealis, file by file, by its DOI."""

    doi: str


def where_to_get(name: str, source: str) -> str:
    """How to get the corpus `name`, which `ser data get` fetches from the page `source`, and what to set then."""
    return (
        f"ser data get {name} fetches it from {source} into data/{name}; "
        f"then name that folder with -p DATASET_PATH=data/{name}."
    )
