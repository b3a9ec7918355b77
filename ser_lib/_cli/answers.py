"""Where the answers of `ser predict` go: each is there before the next file is opened."""

import csv
import io
import json
import shutil
import sys
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import zip_longest
from pathlib import Path
from typing import Any

from ser_lib._cli.common import STDIN
from ser_lib._cli.tables import column_widths, format_row
from ser_lib.core.io import as_text
from ser_lib.core.paths import from_here
from ser_lib.core.terminal import write_data
from ser_lib.core.text import printable
from ser_lib.model.prediction import Answer, Prediction, answer_columns, answer_row

UNFINISHED = ".part"
"""What is added to the name of an output that is being written."""
_MOST_NOTED = 1000
"""Files that are named at the end for a warning, at most; a table has it for each."""


@contextmanager
def open_output(
    where: str,
    *,
    keep: int = 0,
    options: dict[str, Any] | None = None,
    finish: Callable[[Path, Path], object] = shutil.copyfile,
) -> Iterator[io.TextIOBase]:
    """Give a file to write to, which has its own name once all is written; or standard output.

    Until then it is called NAME.part. That stays where the command is killed, or stopped by an error. Of what is there
    already, `keep` bytes stay, behind which is written. `options` are noted beside it, for `begun.begin_table`.
    `finish` makes the whole file of the other.
    """
    if where == STDIN:
        yield _StandardOutput()
        return
    from ser_lib.core.io import whole_file

    path = from_here(where)
    part, note = unfinished_path(path), note_path(path)
    part.parent.mkdir(parents=True, exist_ok=True)
    try:
        if options is not None:
            note.write_text(json.dumps(options) + "\n", encoding="utf-8")
        with part.open("r+" if keep else "w", encoding="utf-8", newline="") as file:
            file.seek(keep)
            file.truncate()
            yield file
        with whole_file(path) as whole:
            finish(part, whole)
        part.unlink()
        note.unlink(missing_ok=True)
    except BaseException as error:
        if isinstance(error, OSError) and error.filename is None and not isinstance(error, BrokenPipeError):
            error.filename = str(part)  # of a full disk the system names none
        again = "; the same command with --resume goes on" if options is not None else ""
        print(f"The predictions so far are in {printable(str(part))}{again}.", file=sys.stderr)
        raise


class _StandardOutput(io.TextIOBase):
    """Standard output, for data that another program reads."""

    @property
    def encoding(self) -> str:  # type: ignore[override]  # as read-only as io's own, which stubs call an attribute
        return sys.stdout.encoding

    def write(self, text: str) -> int:
        write_data(text)
        return len(text)

    def flush(self) -> None:
        sys.stdout.flush()


def unfinished_path(path: str | Path) -> Path:
    """Name of an output while it is written; beside what a link means."""
    path = from_here(path).resolve()
    return path.with_name(path.name + UNFINISHED)


def note_path(path: str | Path) -> Path:
    """Where it is noted what the answers in an unfinished table depend on."""
    part = unfinished_path(path)
    return part.with_name(part.name + ".json")


def last_values(run: str, speaker: str | None) -> dict[str, str]:
    """What stands last in each row and in each answer of JSON: the speaker, if one was asked for, and the model."""
    return ({} if speaker is None else {"speaker": printable(speaker)}) | {"model": printable(run)}


def table_columns(run: str, emotions: list[str], *, speaker: str | None, channel: bool) -> list[str]:
    """Columns of a table of answers."""
    return [*answer_columns(emotions, channel=channel), *last_values(run, speaker)]


class Csv:
    """A row for each answer."""

    def __init__(
        self, file: io.TextIOBase, run: str, columns: list[str], *, speaker: str | None = None, head: bool = True
    ) -> None:
        self._file, self._last = file, last_values(run, speaker)
        self._rows = csv.DictWriter(file, columns, lineterminator="\n")
        if head:
            self._rows.writeheader()
        file.flush()

    def add(self, answer: Answer) -> None:
        """Write an answer."""
        row = answer_row(answer) | self._last
        self._rows.writerow({name: as_text(value) for name, value in row.items()})
        self._file.flush()

    def end(self) -> None:
        """Nothing follows the rows."""


class Json:
    """A list of the answers."""

    def __init__(self, file: io.TextIOBase, run: str, *, speaker: str | None = None) -> None:
        self._file, self._last, self._any = file, last_values(run, speaker), False
        self._plain = (file.encoding or "").lower().replace("-", "") != "utf8"

    def add(self, answer: Answer) -> None:
        """Write an answer."""
        content = answer.as_dict() | self._last
        text = textwrap.indent(json.dumps(content, indent=1, ensure_ascii=self._plain), " ")
        self._file.write((",\n" if self._any else "[\n") + text)
        self._file.flush()
        self._any = True

    def end(self) -> None:
        """Close the list."""
        self._file.write("\n]\n" if self._any else "[]\n")


class Lines:
    """A single answer in lines, several as a table, for people.

    The columns are as wide as the names of the files, which are known, and the longest of all answers that can be.
    """

    def __init__(self, names: list[str], emotions: list[str], *, several: bool, channel: bool, unsure: bool) -> None:
        self._several, self._channel, self._head_is_due = several, channel, True
        headlines = [f"unsure, perhaps {emotion}" if unsure else emotion for emotion in emotions]
        columns = [["file", *names], *([["channel", "right"]] if channel else []), ["emotion", *headlines]]
        columns += [[title, "100.0%"] for title in ("confidence", *emotions)]
        self._head = [column[0] for column in columns]
        self._widths = column_widths(zip_longest(*columns, fillvalue=""))
        self._unlike, self._notes, self._too_long = _Few(), _Few(), False

    def add(self, answer: Answer) -> None:
        """Print an answer; failures are printed as errors elsewhere."""
        one = answer.prediction
        if one is None:
            return
        self._remember(answer, one)
        if not self._several:
            print(one, flush=True)
            return
        if self._head_is_due:
            self._print(self._head)
            self._head_is_due = False
        named = [answer.file, *([answer.channel] if self._channel else [])]
        self._print(
            [*named, one.headline, *(f"{value:.1%}" for value in (one.confidence, *one.probabilities.values()))]
        )

    def _print(self, cells: list[str]) -> None:
        print(format_row(cells, self._widths, n_left=3 if self._channel else 2), flush=True)

    def _remember(self, answer: Answer, one: Prediction) -> None:
        self._too_long = self._too_long or _too_long(one)
        if one.novelty:
            self._unlike.add(f"  {_named(answer)}: {'; '.join(one.novelty)}")
        for note in one.notes:
            self._notes.add(f"  {_named(answer)}: {note}")

    def end(self) -> None:
        """Of several files, name those with a warning or a note; a single answer includes its own."""
        if self._several:
            self._unlike.show("Unlike what the model has learnt from, so their answers mean little:")
            self._notes.show("Notes on the recordings:")
        if self._too_long:
            print("For recordings longer than a phrase: --window 2.9, or as many seconds as a phrase lasts.")


class _Few:
    """The first of lines that may be many, and how many there were."""

    def __init__(self) -> None:
        self._first: list[str] = []
        self._n = 0

    def add(self, line: str) -> None:
        self._n += 1
        if self._n <= _MOST_NOTED:
            self._first.append(line)

    def show(self, title: str) -> None:
        if self._n:
            more = [f"  and {self._n - len(self._first):,} more"] if self._n > len(self._first) else []
            print("", title, *self._first, *more, sep="\n")


def _named(answer: Answer) -> str:
    return printable(answer.file) + (f" ({answer.channel})" if answer.channel else "")


def _too_long(prediction: Prediction) -> bool:
    return any(phrase.endswith(" are heard") for phrase in prediction.novelty)
