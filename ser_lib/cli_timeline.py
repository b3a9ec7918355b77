"""`ser predict --window`: long recordings over time."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ser_lib.cli_common import STDIN, write, write_table
from ser_lib.params import from_here, printable

if TYPE_CHECKING:
    import pandas as pd

    from ser_lib.bundle import Bundle

TIMELINE_HEAD = " start (s)   end (s)  emotion     confidence"


def predict_timelines(
    files: list[tuple[Path, str]],
    bundle: "Bundle",
    window: float | None,
    hop: float | None,
    csv: str | None,
    unsure_below: float,
    plot: Path | None,
    run: str,
) -> int:
    """Show or write the timeline of each of `files` (path, name) by the model of `run`; how many have none."""
    from ser_lib.errors import AudioError
    from ser_lib.timeline import predict_timeline

    tables, failed = {}, 0
    for file, name in files:
        try:
            tables[name] = predict_timeline(file, bundle, window_seconds=window, hop_seconds=hop)
            if plot is not None:
                _plot_timeline(file, name, tables[name], plot)
        except (AudioError, OSError) as error:
            failed += 1
            print(f"error: {printable(Path(name).name)} cannot be used: {error}.", file=sys.stderr)
            continue
        if csv != STDIN:
            _print_timeline(printable(name), tables[name], unsure_below)
    if csv is not None and tables:
        import pandas as pd

        table = pd.concat([one.assign(file=printable(name)) for name, one in tables.items()])
        write(csv, lambda to: write_table(table[["file", *table.columns[:-1]]].assign(model=run), to))
    return failed


def _plot_timeline(file: Path, name: str, timeline: "pd.DataFrame", plot: Path) -> None:
    from ser_lib import plots
    from ser_lib.timeline import read_envelope

    axes = plots.plot_timeline(timeline, read_envelope(file), title=printable(Path(name).name))
    plots.save_figure(axes[0], from_here(plot))


def _print_timeline(file: str, timeline: "pd.DataFrame", unsure_below: float) -> None:
    from ser_lib.timeline import summary_text

    print(f"{file}\n{TIMELINE_HEAD}")
    for row in timeline.itertuples():
        print(timeline_line(row, unsure_below))
    print(summary_text(timeline), end="\n\n")


def timeline_line(row, unsure_below: float) -> str:
    """Line for a window under `TIMELINE_HEAD`; `row` has what a row of a timeline has."""
    said = f"{row.emotion:<10}  {row.confidence:>10.1%}" if row.state == "speech" else "silence"
    said += "  unsure" if row.confidence < unsure_below else ""
    return f"{row.start:10.2f}{row.end:10.2f}  {said}"
