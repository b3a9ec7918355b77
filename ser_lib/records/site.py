"""Records → a static site in `reports/`: a table of all runs, a page for each, each notebook as HTML.

The pages need no network and no server: styles, scripts and pictures are in them.

A clone brings many light records, and after a run nobody waits for all their pages: one that was never written stays
so until `ser report`.

`reports/.pages.json` notes what each page was made from, so that only pages of what has changed are written. It lies
beside the records and not in them, since a record may come with pages of its own. Files are told by size, time of
modification and time of change. No copy keeps the last one, and whatever touches a file renews it: a record that is
replaced by another with the sizes and dates of the first is noticed, and so is a page that was edited.
"""

import functools
import hashlib
import io
import json
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2
import matplotlib.pyplot as plt
import mistune
import nh3
from markupsafe import Markup
from matplotlib.axes import Axes
from pydantic import TypeAdapter, ValidationError

from ser_lib import plots
from ser_lib.core.colab import TAG
from ser_lib.core.errors import ExtraError, RunError, StageError
from ser_lib.core.io import write_text
from ser_lib.core.paths import shown
from ser_lib.core.quick import without_grammar
from ser_lib.records.overview import overview, values_of
from ser_lib.records.pages import advice_of, model_card, shared_with_training, templates
from ser_lib.records.record import STUDY_FILE, Record, list_records, reports_folder
from ser_lib.records.study import HEADINGS, StudyRecord, read_study, study_folders
from ser_lib.records.sweeps.storage import RUN, TRIALS_FILE
from ser_lib.store import MODEL_CARD_FILE

with without_grammar():
    import nbformat
    from nbconvert import HTMLExporter

_NOTEBOOK_TEMPLATE = """{% extends "index.html.j2" %}
{% block html_head %}
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; img-src data:;
 form-action 'none'; base-uri 'none'">
{{ super() }}
<style>
.jp-RenderedText pre { white-space: pre-wrap; word-break: normal; overflow-wrap: break-word; }
.highlight pre { font-family: var(--jp-code-font-family), monospace; }
summary { cursor: pointer; font-family: var(--jp-ui-font-family), sans-serif; }
@media (max-width: 900px) { .jp-RenderedText pre { white-space: pre; overflow-x: auto; } }
</style>
{% endblock html_head %}
{% block body_header %}
{{ super() }}
<p style="margin: 1em"><a href="index.html">The run</a> · <a href="../index.html">All runs</a></p>
{% endblock body_header %}
{% block input %}
{% if cell.metadata.get("jupyter", {}).get("source_hidden") %}<details><summary>Parameters and their defaults</summary>
{{ super() }}</details>{% else %}{{ super() }}{% endif %}
{% endblock input %}
{% block html_head_js %}{% endblock %}
{% block jupyter_widgets %}{% endblock %}
{% block html_head_js_mathjax %}{% endblock %}
{% block html_head_js_mermaidjs %}{% endblock %}
"""
"""nbconvert's page without the scripts that it loads from the web; whatever a notebook holds, nothing runs or loads."""
_TAGS = set(
    "h1 h2 h3 h4 h5 h6 p div span pre code blockquote ul ol li em strong b i sub sup a br hr img "
    "table caption thead tbody tfoot tr th td".split()
)
_ATTRIBUTES = {
    "*": {"class", "id", "title"},
    "a": {"href"},
    "img": {"src", "alt"},
    "th": {"colspan"},
    "td": {"colspan"},
}
_PROTOCOLS = {"http", "https", "mailto", "data"}
_LIBRARIES = ("jinja2", "matplotlib", "mistune", "nbconvert", "nh3", "plotly")
_NOTES = TypeAdapter(dict[str, tuple[str, str]])


@dataclass(frozen=True)
class Site:
    """What `build_site` did: the first page, how many pages there are, were written, and wait; what was left out."""

    first: Path
    n_pages: int
    n_written: int
    n_waiting: int
    left_out: list[str]

    def __str__(self) -> str:
        """One line."""
        verb = "is" if len(self.left_out) == 1 else "are"
        more = f", which names {len(self.left_out)} that {verb} left out" if self.left_out else ""
        later = f"; `ser report` writes {self.n_waiting} of light records" if self.n_waiting else ""
        return f"Pages: {self.n_written} of {self.n_pages} written, {shown(self.first)}{more}{later}"


def build_site(*, every: bool = False, light: bool = False) -> Site:
    """Bring the pages of all records and studies in `reports/` up to date, and write the first page.

    A run's or a study's page counts together with those of its notebooks. What cannot be read is named on the first
    page with the reason.

    Parameters
    ----------
    every : bool
        Write each page, also one that nothing has happened to.
    light : bool
        Write pages of light records, and of studies of them alone, also where there is none yet.
    """
    templating = templates(escape=True)
    left_out: list[str] = []
    with noted_pages(every=every) as pages:
        desk = _Desk(templating, pages, light)
        records = [one for one in list_records() if _is_right(one.name, left_out, _write_run_page, one, desk)]
        studies: list[StudyRecord] = []
        for folder in study_folders():
            _is_right(folder.name, left_out, _write_study_page, folder, desk, studies)
    first = reports_folder() / "index.html"
    page = templating.get_template("index.html").render(
        overview=overview(records, studies), charts=_chart_library(), damaged=left_out, waiting=desk.waiting
    )
    write_text(first, page, through_link=False)
    names = {record.name for record in records} | {study.name for study in studies}
    return Site(first, len(names), len(desk.written & names), len(desk.waiting), left_out)


@dataclass(frozen=True)
class _Desk:
    """What writes pages, and the names of the runs and studies of which one was written, or waits for `ser report`."""

    templating: jinja2.Environment
    pages: "Pages"
    light: bool
    written: set[str] = field(default_factory=set)
    waiting: set[str] = field(default_factory=set)

    def leaves(self, folder: Path, records: list[Record]) -> bool:
        """Tell whether a page that there is not yet waits, since it shows light records alone."""
        if self.light or not records or (folder / "index.html").is_file():
            return False
        waits = all(record.manifest.left_out for record in records)
        if waits:
            self.waiting.add(folder.name)
        return waits

    def write(self, page: Path, made_from: str, render: Callable[[], str]) -> None:
        """Write a page unless it is up to date."""
        if self.pages.is_fresh(page, made_from):
            return
        write_text(page, render(), through_link=False)
        self.pages.note(page, made_from)
        self.written.add(page.parent.name)


def _is_right(name: str, left_out: list[str], write: Callable[..., None], *values: object) -> bool:
    """Write a page where it must be; tell whether all is right, and if not add to `left_out` why."""
    try:
        write(*values)
    except StageError:  # a disk that is full is no fault of the record
        raise
    except (RunError, ExtraError) as error:
        left_out.append(f"{name}: {error}")
    except Exception as error:  # a record may come from anywhere; the others have their pages all the same
        text = (str(error).splitlines() or [""])[0].encode("ascii", "backslashreplace").decode()
        left_out.append(f"{name}: damaged ({type(error).__name__}: {text})")
    else:
        return True
    return False


def _write_study_page(folder: Path, desk: _Desk, studies: list[StudyRecord]) -> None:
    """Write the page of a study, after those of its runs, and add it to `studies`."""
    study = read_study(folder)
    linked = {record.name for record in study.runs if (record.folder / "index.html").is_file()}

    def render() -> str:
        if (folder / TRIALS_FILE).is_file():
            return _sweep_page(study, linked, desk.templating)
        return desk.templating.get_template("study.html").render(study=study, headings=HEADINGS, linked=linked)

    if not desk.leaves(folder, study.runs):
        runs = [(record.name, record.name in linked, _looks(record)) for record in study.runs]
        desk.write(folder / "index.html", looks_of([folder / STUDY_FILE, folder / TRIALS_FILE], *runs), render)
    studies.append(study)


def _sweep_page(study: StudyRecord, linked: set[str], templating: jinja2.Environment) -> str:
    from ser_lib.records.sweeps.pictures import pictures
    from ser_lib.records.sweeps.results import next_step, read_sweep

    sweep = read_sweep(study.folder)
    names = [trial.user_attrs[RUN] for trial in sweep.trials]
    return templating.get_template("sweep.html").render(
        study=study,
        sweep=sweep,
        linked=linked,
        rows=list(zip(names, sweep.lines(), strict=True)),
        pictures=[(heading, _picture(ax, bbox_inches="tight")) for heading, ax in pictures(sweep)],
        next_step=next_step(sweep),
    )


def _looks(record: Record) -> str:
    """Digest of a record's files and of its state, which also depends on whether a process is at it."""
    files = [file for file in record.folder.glob("*") if file.suffix != ".html"]
    return looks_of(files, record.state)


def _write_run_page(record: Record, desk: _Desk) -> None:
    if not desk.leaves(record.plain, [record]):
        notebooks = sorted(record.plain.glob("*.ipynb"))
        for notebook in notebooks:
            desk.write(notebook.with_suffix(".html"), looks_of([notebook]), functools.partial(_notebook_page, notebook))
        desk.write(record.folder / "index.html", _looks(record), lambda: _run_page(record, notebooks, desk.templating))
    _ = values_of(record, record.params), record.history  # which the first page shows


def _chart_library() -> Markup:
    """Script of Plotly as its package carries it: none of it is kept here, and the page loads nothing."""
    return Markup((files("plotly") / "package_data" / "plotly.min.js").read_text(encoding="utf-8"))


def _run_page(record: Record, notebooks: list[Path], templating: jinja2.Environment) -> str:
    return templating.get_template("run.html").render(
        record=record,
        note=record.note,
        notebooks=[notebook.stem for notebook in notebooks],
        matrices=[_matrix_picture(values, name, record.emotions) for name, values in record.metrics.items()],
        coverage=_picture(plots.plot_coverage(curves)) if (curves := record.evaluation.get("coverage")) else "",
        history=_picture(plots.plot_history(record.history)[0]) if record.history else "",
        provenance=_provenance(record),
        shared=shared_with_training(record),
        advice=advice_of(record),
        card=_to_html(_card(record)),
    )


def _card(record: Record) -> str:
    """Model card of a record; that of a light one, which has left it out, is written anew."""
    path = record.folder / MODEL_CARD_FILE
    if path.is_file():
        return path.read_text(encoding="utf-8")
    return model_card(record) if MODEL_CARD_FILE in record.manifest.left_out else ""


def _notebook_page(notebook: Path) -> str:
    with warnings.catch_warnings():  # of the kinds of output that a page leaves out
        warnings.simplefilter("ignore", UserWarning)
        content = nbformat.read(notebook, as_version=4)
        content.cells = [cell for cell in content.cells if TAG not in cell.metadata.get("tags", [])]
        return _exporter().from_notebook_node(content)[0]


@functools.cache
def _exporter() -> HTMLExporter:
    """Exporter of nbconvert, made once: compiling its templates takes longer than a notebook."""
    exporter = HTMLExporter(raw_template=_NOTEBOOK_TEMPLATE, embed_images=True, sanitize_html=True)
    exporter.register_filter("clean_html", _clean)
    return exporter


def _clean(html: str) -> str:
    """Leave text, tables, links and pictures of a cell's HTML; nbconvert's own filter drops headings, too."""
    return nh3.clean(str(html), tags=_TAGS, attributes=_ATTRIBUTES, url_schemes=_PROTOCOLS, link_rel=None)


def _provenance(record: Record) -> dict[str, object]:
    manifest = record.manifest
    environment, corpus = manifest.environment, manifest.corpus
    commit = environment.commit and environment.commit[:12] + (", with changes" if environment.dirty else "")
    return {
        "corpus": corpus and f"{corpus.clips} clips, SHA-256 {corpus.sha256[:16]}…",
        "seed": record.params["SEED"],
        "commit": commit,
        "Python": environment.python,
        "platform": environment.platform,
        "processor": environment.cpu,
        "TensorFlow": environment.packages.get("tensorflow"),
        "librosa": environment.packages.get("librosa"),
        "started": manifest.started,
        "ended": manifest.ended,
    }


def _matrix_picture(values: dict, name: str, emotions: list[str]) -> Markup:
    return _picture(plots.plot_confusion_matrix(values["confusion_matrix"], emotions=emotions, title=f"{name} set"))


def _picture(ax: Axes, **options: Any) -> Markup:
    """Inline SVG of the figure that `ax` belongs to; `options` of matplotlib's `savefig`."""
    buffer = io.StringIO()
    with plt.rc_context({"svg.hashsalt": "ser_lib"}):
        plots.figure_of(ax).savefig(buffer, format="svg", metadata={"Date": None, "Creator": None}, **options)
    plt.close(plots.figure_of(ax))
    text = buffer.getvalue()
    return Markup(text[text.index("<svg") :])


def _to_html(markdown: str) -> Markup:
    return Markup(mistune.create_markdown(escape=True, plugins=["table"])(markdown))


def write_comparison_page(comparison: object, name: str) -> str:
    """Write the page of a comparison beside the first page, and return its path as messages show it."""
    path = reports_folder() / f"compare-{name}.html"
    html = templates(escape=True).get_template("compare.html").render(comparison=comparison)
    write_text(path, html, through_link=False)
    return shown(path)


class Pages:
    """Notes on pages: what they were made from, and their files as they were written."""

    def __init__(self, noted: dict[str, tuple[str, str]]) -> None:
        self._before = noted
        self.noted: dict[str, tuple[str, str]] = {}

    def is_fresh(self, page: Path, made_from: str) -> bool:
        """Tell whether a page is the one that was written, from the same as now; then it stays noted."""
        now = (made_from, looks_of([page]))
        if self._before.get(_name(page)) != now:
            return False
        self.noted[_name(page)] = now
        return True

    def note(self, page: Path, made_from: str) -> None:
        """Note a page that has just been written."""
        self.noted[_name(page)] = (made_from, looks_of([page]))


@contextmanager
def noted_pages(*, every: bool = False) -> Iterator[Pages]:
    """Give the notes, and write them at the end; `every`: as if there were none, so that each page is written."""
    path = reports_folder() / ".pages.json"
    pages = Pages({} if every else _read(path))
    try:
        yield pages
    finally:
        content = {"": (_maker(), ""), **dict(sorted(pages.noted.items()))}
        write_text(path, json.dumps(content, indent=1) + "\n", through_link=False)


def _read(path: Path) -> dict[str, tuple[str, str]]:
    """Notes of the same code and libraries; none where there are none, or damaged ones: pages are then written anew."""
    if path.is_symlink() or not path.is_file():
        return {}
    try:
        noted = _NOTES.validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return {}
    return noted if noted.pop("", ("", ""))[0] == _maker() else {}


def looks_of(files: Iterable[Path], *more: object) -> str:
    """Digest of how files look from outside, and of `more` plain values."""
    looks: list[object] = list(more)
    for file in sorted(files):
        try:
            status = file.lstat()
        except OSError:
            looks.append([file.name])
        else:
            looks.append([file.name, status.st_size, status.st_mtime_ns, status.st_ctime_ns])
    return hashlib.sha256(json.dumps(looks).encode()).hexdigest()


@functools.cache
def _maker() -> str:
    """Digest of what makes the pages: this package's code and templates, and the libraries."""
    package = Path(__file__).parent.parent
    sources = sorted(file for kind in ("*.py", "templates/**/*.*") for file in package.rglob(kind))
    digests = [hashlib.sha256(file.read_bytes()).hexdigest() for file in sources]
    return hashlib.sha256(json.dumps([digests, [version(name) for name in _LIBRARIES]]).encode()).hexdigest()


def _name(page: Path) -> str:
    return f"{page.parent.name}/{page.name}"
