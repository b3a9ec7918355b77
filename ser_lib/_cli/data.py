"""The commands `ser data list`, `ser data get` and `ser data check`."""

import sys
from pathlib import Path
from types import ModuleType
from typing import Annotated

import typer

from ser_lib._cli.tables import print_table
from ser_lib.core.errors import DatasetError
from ser_lib.core.extras import check_extras
from ser_lib.core.paths import check_project, from_here, locate, project_root, shown

data_app = typer.Typer(help="List the corpora, get one, or check one.", no_args_is_help=True)


@data_app.command(name="list")
def list_corpora() -> None:
    """List the corpora, and which are there already."""
    from ser_lib.corpora import CORPORA

    rows: list[tuple[str, ...]] = [
        ("corpus", "language", "speakers", "hours", "size", "licence", "how to get it", "there already")
    ]
    rows += [_row(corpus) for corpus in CORPORA.values()]
    print_table(rows)


def _row(corpus: ModuleType) -> tuple[str, ...]:
    from ser_lib.corpora.files.registry import read_registry

    entries = read_registry(corpus)
    return (
        corpus.NAME,
        str(getattr(corpus, "LANGUAGE", None) or "any"),
        str(getattr(corpus, "N_SPEAKERS", None) or "any"),
        f"{corpus.HOURS:.1f}" if getattr(corpus, "HOURS", None) else "",
        _megabytes(sum(entry.bytes for entry in entries.values())) if entries else "",
        corpus.LICENCE,
        _way(corpus),
        _there(corpus, entries),
    )


def _way(corpus: ModuleType) -> str:
    """How one gets a corpus."""
    from ser_lib.corpora import own

    if hasattr(corpus, "DOWNLOAD"):
        return "downloads"
    if hasattr(corpus, "make"):
        return "made here"
    return "your own" if corpus is own else "registration" if "registration" in corpus.LICENCE else "by hand"


def _there(corpus: ModuleType, entries: dict) -> str:
    """Where the corpus lies and how many of its files, by their names alone."""
    from ser_lib.corpora.files.registry import audio_below, names_of

    folder = default_folder(corpus)
    files = audio_below(folder, corpus) if folder.is_dir() else []
    if not entries:
        return f"{shown(folder)}: {len(files):,} files" if files else ""
    n_named = len({name for name in names_of(corpus, entries, files) if name is not None})
    return f"{shown(folder)}: {n_named:,} of {len(entries):,} files" if n_named else ""


def _megabytes(count: int) -> str:
    return f"{count / 1e6:.0f} MB"


def default_folder(corpus: ModuleType) -> Path:
    """`data/NAME` in the project, whichever letters are capitals in a folder that is there."""
    wanted = corpus.NAME.lower() if hasattr(corpus, "make") else corpus.NAME
    data = project_root() / "data"
    there = [path for path in sorted(data.glob("*")) if path.name.lower() == wanted.lower()]
    return there[0] if there and not (data / wanted).exists() else data / wanted


def locate_corpus(path: str | Path, corpus: str | None) -> tuple[Path, str | None]:
    """Folder that a path means, or the corpus of data/ that it names, and which corpus it is, if that is said."""
    from ser_lib.corpora.files.registry import find_corpus

    folder = locate(path)
    if not folder.exists() and (named := find_corpus(str(path))):
        return default_folder(named), corpus or named.NAME
    return folder, corpus


@data_app.command()
def get(
    name: Annotated[str, typer.Argument(metavar="CORPUS", help="One of those that `ser data list` lists.")],
    to: Annotated[Path | None, typer.Option(metavar="FOLDER", help="Where to put it.  [default: data/CORPUS]")] = None,
    accept_licence: Annotated[
        bool, typer.Option("--accept-licence", help="Accept the corpus's licence without being asked.")
    ] = False,
) -> None:
    """Fetch a corpus, and check each file.

    The licence is shown, and must be accepted. The same command again goes on where it stopped.
    """
    from ser_lib.corpora.files.registry import named_corpus

    corpus = named_corpus(name)
    if to is None:
        check_project()
    folder = default_folder(corpus) if to is None else from_here(to)
    if hasattr(corpus, "make"):
        _make(corpus, folder)
        return
    if not hasattr(corpus, "DOWNLOAD"):
        raise DatasetError(f"{corpus.NAME} cannot be fetched by a command. {corpus.WHERE}")
    _show(corpus, folder)
    if not accept_licence:
        _ask(corpus)
    _fetch(corpus, folder)


def _make(corpus: ModuleType, folder: Path) -> None:
    check_extras("train")
    if folder.exists():
        raise DatasetError(f"{corpus.NAME} must be made in a new folder; {shown(folder)} exists already.")
    print(f"{corpus.NAME}: {corpus.ABOUT}", flush=True)
    corpus.make(folder)
    print(f"{corpus.NAME} is in {shown(folder)}.")


def _show(corpus: ModuleType, folder: Path) -> None:
    from ser_lib.corpora.files.registry import read_registry

    entries = read_registry(corpus)
    print(f"{corpus.NAME}: {corpus.ABOUT}")
    print(f"Licence: {corpus.LICENCE}")
    print(f"Please cite: {corpus.CITATION}")
    size = _megabytes(sum(entry.bytes for entry in entries.values()))
    print(f"Size: {size} in {len(entries):,} files, into {shown(folder)}", flush=True)


def _ask(corpus: ModuleType) -> None:
    """Ask for consent to the licence.

    Raises
    ------
    DatasetError
        If it is refused, or there is no terminal to ask on.
    """
    if not sys.stdin.isatty():
        raise DatasetError(
            f"The licence of {corpus.NAME} ({corpus.LICENCE}) must be accepted. There is no terminal to ask on: "
            "add --accept-licence."
        )
    if not typer.confirm(f"Do you accept the licence ({corpus.LICENCE})?"):
        raise DatasetError(f"The licence of {corpus.NAME} must be accepted. Nothing was fetched.")


def _fetch(corpus: ModuleType, folder: Path) -> None:
    from ser_lib.corpora.files.fetch import GO_ON, fetch_corpus

    try:
        n_fetched = fetch_corpus(corpus, folder)
    except KeyboardInterrupt:
        print(f"Interrupted. {GO_ON}", file=sys.stderr)
        raise
    what = f"{n_fetched:,} files were fetched" if n_fetched else "nothing had to be fetched"
    print(f"{corpus.NAME} is whole in {shown(folder)}; {what}.")


@data_app.command()
def check(
    path: Annotated[Path, typer.Argument(help="Folder that holds a corpus, or the corpus of data/ by its name.")],
    corpus: Annotated[
        str | None, typer.Option(metavar="CORPUS", help="Which corpus it is.  [default: as the names show]")
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Name every file, and not the first 20 of a kind.")] = False,
) -> None:
    """Check that a corpus is whole and unaltered.

    What is missing, extra, duplicated or altered is named. The exit status is 1 unless every file is there, whole,
    unaltered and once; files that are none of the corpus do not change it.
    """
    from ser_lib.corpora.files.check import check_folder, describe, verdict

    folder, corpus = locate_corpus(path, corpus)
    report = check_folder(folder, corpus)
    print(f"{describe(report, every=every)}\n\n{verdict(report)}")
    raise SystemExit(0 if report.is_whole else 1)
