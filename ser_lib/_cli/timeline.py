"""`ser predict --window`: long recordings over time."""

import sys
from collections.abc import Iterable
from contextlib import ExitStack
from io import TextIOBase
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ser_lib._cli.answers import last_values, open_output
from ser_lib._cli.common import STDIN
from ser_lib.core.paths import from_here
from ser_lib.core.text import printable

if TYPE_CHECKING:
    import pandas as pd

    from ser_lib.model.bundle import Bundle

TIMELINE_HEAD = " start (s)   end (s)  emotion     confidence"


def predict_timelines(
    files: Iterable[tuple[Path, str, str | None]],
    bundle: "Bundle",
    lengths: dict[str, Any],
    unsure_below: float,
    *,
    csv: str | None,
    plot: Path | None,
    run: str,
    channel: bool,
    speaker: str | None,
) -> tuple[int, int]:
    """Show or write the timeline of each of `files` (path, name, channel); count successes and failures.

    In a table, a file that failed has one row, with the error.
    """
    from ser_lib.core.errors import AudioError, unusable
    from ser_lib.stream.timeline import failed_timeline, predict_timeline

    counts, to = [0, 0], None
    with ExitStack() as stack:
        for file, name, one in files:
            shown = printable(name) + _of(one)
            table, reason = None, ""
            try:
                table = predict_timeline(file, bundle, channel=one, **lengths)
                if plot is not None:
                    _plot_timeline(file, name, one, table, plot)
            except (AudioError, OSError) as error:
                table, reason = None, unusable(shown, error)
                print(f"error: {reason}", file=sys.stderr, flush=True)
            if csv is not None:
                is_first, to = to is None, to or stack.enter_context(open_output(csv))
                rows = failed_timeline(bundle) if table is None else table
                last = {"error": reason} | last_values(run, speaker)
                _add_rows(rows, printable(name), (one or "") if channel else None, last, to, head=is_first)
            if table is not None and csv != STDIN:
                _print_timeline(shown, table, unsure_below)
            counts[table is None] += 1
    return counts[0], counts[1]


def _of(channel: str | None) -> str:
    return f" ({channel})" if channel else ""


def _add_rows(
    timeline: "pd.DataFrame", file: str, channel: str | None, last: dict[str, str], to: TextIOBase, *, head: bool
) -> None:
    """Write a timeline's rows, each with its file, its channel if any was asked for, and what is known of the file."""
    from ser_lib.core.io import without_formulas

    named = {"file": file} | ({} if channel is None else {"channel": channel})
    table = timeline.assign(**named, **timeline.attrs, **last)
    table = table[[*named, *timeline.columns, *timeline.attrs, *last]]
    to.write(without_formulas(table).to_csv(index=False, header=head))
    to.flush()


def _plot_timeline(file: Path, name: str, channel: str | None, timeline: "pd.DataFrame", plot: Path) -> None:
    from ser_lib import plots
    from ser_lib.stream.timeline import read_envelope

    axes = plots.plot_timeline(timeline, read_envelope(file, channel), title=printable(Path(name).name))
    plots.save_figure(axes[0], from_here(plot))


def _print_timeline(file: str, timeline: "pd.DataFrame", unsure_below: float) -> None:
    from ser_lib.stream.timeline import summary_text

    print(f"{file}\n{TIMELINE_HEAD}")
    for row in timeline.itertuples():
        print(timeline_line(row, unsure_below))
    print(summary_text(timeline, unsure_below=unsure_below), end="\n\n", flush=True)


def timeline_line(row, unsure_below: float) -> str:
    """Line for a window under `TIMELINE_HEAD`; `row` has what a row of a timeline has."""
    text = f"{row.emotion:<10}  {row.confidence:>10.1%}" if row.state == "speech" else "silence"
    text += "  unsure" if row.confidence < unsure_below else ""
    return f"{row.start:10.2f}{row.end:10.2f}  {text}"
