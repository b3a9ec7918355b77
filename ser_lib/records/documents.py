"""Tables in the project's documents, written from the records and the parameters.

A comment says where a table belongs, `<!-- end -->` where it ends; the text around them is anybody's:

    <!-- table STUDY -->              the table of a study
    <!-- overview STUDY+STUDY … -->   a line for each row of the first, a column for each study's network
    <!-- adaptation STUDY … -->       what adapting to each test speaker brings, a line for each row, or for each study
    <!-- parameters -->               the table of parameters
"""

import json
import re
from collections.abc import Sequence
from pathlib import Path

from ser_lib.core.errors import RunError
from ser_lib.core.io import write_text
from ser_lib.core.paths import resolve
from ser_lib.params import GROUPS, Params
from ser_lib.records.record import Record, record_folder
from ser_lib.records.study import HEADINGS, StudyRecord, markdown_table, read_study

DOCUMENTS = ("README.md", "docs/results.md", "docs/parameters.md")
"""Documents that `ser report` looks at, if they are there."""
_PLACE = re.compile(r"(<!-- (table|overview|adaptation|parameters)((?: [\w+-]+)*) -->\n).*?(<!-- end -->)", re.DOTALL)
_TO = " → "
"""Stands between what a row's runs have learnt from and what they are tested on."""
_Line = tuple[str, ...]
_WAYS = {
    "5 clips": ("any", 5),
    "20 clips": ("any", 20),
    "20, mostly neutral": ("mostly neutral", 20),
    "1 labelled of each": ("of each emotion", 1),
    "2 labelled of each": ("of each emotion", 2),
    "5 labelled of each": ("of each emotion", 5),
}
"""Ways of adapting that a table shows, by their headings."""


def write_documents() -> list[Path]:
    """Bring the tables in `DOCUMENTS` up to date, and return the documents that had to be changed."""
    changed = []
    for path in map(resolve, DOCUMENTS):
        text = path.read_text(encoding="utf-8") if path.is_file() else ""
        if (filled := fill(text)) != text:
            write_text(path, filled, through_link=False)
            changed.append(path)
    return changed


def fill(text: str) -> str:
    """Put the tables into a document; one whose study is missing or damaged stays as it is."""
    return _PLACE.sub(_filled, text)


def _filled(place: re.Match[str]) -> str:
    start, kind, names, end = place.groups()
    try:
        return f"{start}\n{_table(kind, names.split())}\n{end}"
    except RunError:
        return place.group()


def _table(kind: str, names: Sequence[str]) -> str:
    if kind == "parameters":
        return parameter_table()
    if kind == "adaptation":
        return markdown_table(_adaptation([_study(name) for name in names]))
    if kind == "overview":
        groups = [[_study(name) for name in group.split("+")] for group in names]
        return _overview(groups)
    studies = [_study(name) for name in names]
    notes = [note for study in studies for note in study.notes[1:]]  # the first says how to read any study's table
    return "\n\n".join([markdown_table([HEADINGS, *(line for study in studies for line in study.lines)]), *notes])


def parameter_table() -> str:
    """Markdown table of every parameter with its default and meaning."""
    lines = ["| parameter | default | meaning |", "| --- | --- | --- |"]
    for name, field in Params.model_fields.items():
        lines += [f"| **{GROUPS[name]}** | | |"] if name in GROUPS else []
        lines.append(f"| `{name}` | `{json.dumps(field.default)}` | {field.description} |")
    return "\n".join(lines)


def _study(name: str) -> StudyRecord:
    return read_study(record_folder(name))


def _overview(groups: Sequence[Sequence[StudyRecord]]) -> str:
    """Table of groups of studies; those of a group measure one network each, and have the rows of the first."""
    rows: list[_Line] = []
    headings: list[str] = []
    for studies in groups:
        by_study = [_lines_by_row(study) for study in studies]
        for row in studies[0].rows:
            same = [_same_row(lines, row) for lines in by_study]
            networks = [lines[0] for lines in same]
            simple = [line for lines in same for line in lines[1:]]
            best, majority = max(simple, key=_uar), next(line for line in simple if line[1] == "majority")
            headings = headings or ["test", *(line[1] for line in networks), "best simple model", "guessing"]
            cells = [_with_corpus(studies[0], row), *map(_with_interval, networks)]
            rows.append((*cells, f"{best[1]} {_with_interval(best)}", f"{_uar(majority):.3f}"))
    return markdown_table([headings, *rows])


def _adaptation(studies: Sequence[StudyRecord]) -> list[_Line]:
    """UAR without and with clips of each test speaker, and the error of the confidences, as means of a row's runs.

    Of several studies, each must have one row, and is named there as its runs are.

    Raises
    ------
    RunError
        If a run has not measured it.
    """
    lines: list[_Line] = [("test", "no clip", *_WAYS, "calibration error")]
    for study in studies:
        for row, records in study.rows.items():
            name = row if len(studies) == 1 else study.name.removesuffix("_study")
            lines.append((name, *_adapted_figures(study, row, records)))
    return lines


def _adapted_figures(study: StudyRecord, row: str, records: Sequence[Record]) -> _Line:
    results = [record.evaluation for record in records]
    if not all(one.get("adaptation") for one in results):
        raise RunError(f"Row {row} of {study.name} has runs without `ADAPT_TO_SPEAKER`.")
    adapted = [{(one["clips"], one["each"]): one["uar"] for one in each["adaptation"]} for each in results]
    columns = [[one["test"]["uar"] for one in results]]
    columns += [[one[way] for one in adapted if way in one] for way in _WAYS.values()]
    columns.append([one["test"]["ece"] for one in results])
    return tuple(f"{sum(values) / len(values):.3f}" if values else "–" for values in columns)


def _lines_by_row(study: StudyRecord) -> dict[str, list[_Line]]:
    """Lines of a study's table by its rows, the network first in each.

    Raises
    ------
    RunError
        If a row has no values, or no simple models to compare with.
    """
    known = [line for line in study.lines if line[3]]
    lines = {row: [line for line in known if line[0] == row] for row in study.rows}
    if bare := [row for row, found in lines.items() if "majority" not in [line[1] for line in found]]:
        raise RunError(f"Each row of an overview must have simple models. Row {bare[0]} of {study.name} has none.")
    return lines


def _same_row(lines: dict[str, list[_Line]], row: str) -> list[_Line]:
    """Lines of a row, or of the one that is tested on the same corpus and tells otherwise what was learnt from."""
    ending = _TO + row.rpartition(_TO)[2]
    name = row if row in lines else next((name for name in lines if name.endswith(ending)), None)
    if name is None:
        raise RunError(f"The studies of an overview must have its rows. One has no {row}.")
    return lines[name]


def _uar(line: _Line) -> float:
    return float(line[3].split()[0])


def _with_interval(line: _Line) -> str:
    return f"{_uar(line):.3f} ({line[4]})"


def _with_corpus(study: StudyRecord, row: str) -> str:
    """Row with the corpus before it, unless it names that itself."""
    corpus = ", ".join(study.rows[row][0].params["CORPORA"])
    return row if corpus in row else f"{corpus}, {row}"
