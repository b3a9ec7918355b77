"""Records → a static site in `reports/`: a table of all runs, a page for each, each notebook as HTML.

The pages need no network and no server: styles, scripts and pictures are in them.
"""

import functools
import io
import os
import re
import warnings
from collections.abc import Callable
from pathlib import Path

import bleach
import jinja2
import matplotlib.pyplot as plt
import mistune
import nbformat
from markupsafe import Markup
from matplotlib.axes import Axes
from nbconvert import HTMLExporter

from ser_lib import plots
from ser_lib.errors import RunError
from ser_lib.pages import shared_with_training, templates
from ser_lib.params import shown
from ser_lib.records import Record, list_records, reports_folder
from ser_lib.store import MODEL_CARD_FILE, write_text
from ser_lib.studies import HEADINGS, StudyRecord, read_study, study_folders

_NOTEBOOK_TEMPLATE = """{% extends "index.html.j2" %}
{% block html_head %}
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; img-src data:;
 form-action 'none'; base-uri 'none'">
{{ super() }}
<style>
.jp-RenderedText pre { white-space: pre-wrap; word-break: normal; overflow-wrap: break-word; }
@media (max-width: 900px) { .jp-RenderedText pre { white-space: pre; overflow-x: auto; } }
</style>
{% endblock html_head %}
{% block body_header %}
{{ super() }}
<p style="margin: 1em"><a href="index.html">The run</a> · <a href="../index.html">All runs</a></p>
{% endblock body_header %}
{% block html_head_js %}{% endblock %}
{% block jupyter_widgets %}{% endblock %}
{% block html_head_js_mathjax %}{% endblock %}
{% block html_head_js_mermaidjs %}{% endblock %}
"""
"""nbconvert's page without the scripts that it loads from the web; whatever a notebook holds, nothing runs or loads."""
_STYLE = re.compile(r"<style\b.*?</style\s*>", re.DOTALL | re.IGNORECASE)
_TAGS = set(
    "h1 h2 h3 h4 h5 h6 p div span pre code blockquote ul ol li em strong b i sub sup a br hr img "
    "table caption thead tbody tfoot tr th td".split()
)
_ATTRIBUTES = {
    "*": ["class", "id", "title"],
    "a": ["href"],
    "img": ["src", "alt"],
    "th": ["colspan"],
    "td": ["colspan"],
}
_PROTOCOLS = {"http", "https", "mailto", "data"}


def build_site() -> Path:
    """Write the pages of every record and every study in `reports/`, and return the first page.

    A record that cannot be read is named on the first page with the reason.
    """
    pages = templates(escape=True)
    damaged: list[str] = []
    records = [record for record in list_records() if _is_written(record.name, damaged, _write_run_page, record, pages)]
    studies: list[StudyRecord] = []
    for folder in study_folders():
        _is_written(folder.name, damaged, _write_study_page, folder, pages, studies)
    first = reports_folder() / "index.html"
    page = pages.get_template("index.html")
    write_text(first, page.render(records=records, studies=studies, damaged=damaged), through_link=False)
    return first


def _is_written(name: str, damaged: list[str], write: Callable[..., None], *values: object) -> bool:
    """Write a page; tell whether it could be, and if not add to `damaged` why."""
    try:
        write(*values)
    except RunError as error:
        damaged.append(f"{name}: {error}")
    except Exception as error:  # a record may come from anywhere; the others have their pages all the same
        text = (str(error).splitlines() or [""])[0].encode("ascii", "backslashreplace").decode()
        damaged.append(f"{name}: damaged ({type(error).__name__}: {text})")
    else:
        return True
    return False


def _write_study_page(folder: Path, pages: jinja2.Environment, studies: list[StudyRecord]) -> None:
    """Write the page of a study, after those of its runs, and add it to `studies`."""
    study = read_study(folder)
    page = pages.get_template("study.html").render(
        study=study,
        headings=HEADINGS,
        linked={record.name for record in study.runs if (record.folder / "index.html").is_file()},
    )
    write_text(folder / "index.html", page, through_link=False)
    studies.append(study)


def _write_run_page(record: Record, pages: jinja2.Environment) -> None:
    notebooks = sorted(record.plain.glob("*.ipynb"))
    for notebook in notebooks:
        _write_notebook_page(notebook)
    card = record.folder / MODEL_CARD_FILE
    page = pages.get_template("run.html").render(
        record=record,
        notebooks=[notebook.stem for notebook in notebooks],
        matrices=[_matrix_picture(values, name, record.emotions) for name, values in record.metrics.items()],
        history=_picture(plots.plot_history(record.history)[0]) if record.history else "",
        provenance=_provenance(record),
        shared=shared_with_training(record),
        card=_to_html(card.read_text(encoding="utf-8")) if card.is_file() else "",
    )
    write_text(record.folder / "index.html", page, through_link=False)


def _write_notebook_page(notebook: Path) -> None:
    """Write a notebook as HTML beside it, unless that is there: a page has the time of its notebook."""
    page, written = notebook.with_suffix(".html"), notebook.stat().st_mtime_ns
    if page.exists() and page.stat().st_mtime_ns == written:
        return
    with warnings.catch_warnings():  # of the kinds of output that a page leaves out
        warnings.simplefilter("ignore", UserWarning)
        html = _exporter().from_notebook_node(nbformat.read(notebook, as_version=4))[0]
        write_text(page, html, through_link=False)
    os.utime(page, ns=(written, written))


@functools.cache
def _exporter() -> HTMLExporter:
    """Exporter of nbconvert, made once: compiling its templates takes longer than a notebook."""
    exporter = HTMLExporter(raw_template=_NOTEBOOK_TEMPLATE, embed_images=True, sanitize_html=True)
    exporter.register_filter("clean_html", _clean)
    return exporter


def _clean(html: str) -> str:
    """Leave text, tables, links and pictures of a cell's HTML; nbconvert's own filter drops headings, too."""
    return bleach.clean(_STYLE.sub("", str(html)), tags=_TAGS, attributes=_ATTRIBUTES, protocols=_PROTOCOLS, strip=True)


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


def _picture(ax: Axes) -> Markup:
    """Inline SVG of the figure that `ax` belongs to."""
    buffer = io.StringIO()
    with plt.rc_context({"svg.hashsalt": "ser_lib"}):
        ax.figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    plt.close(ax.figure)
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
