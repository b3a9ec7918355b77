"""Sound in a notebook, where somebody is there to listen. A record holds none: nothing is shown headless."""

import html
import os
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from IPython.display import HTML, Audio, display

from ser_lib.audio.signal import load_audio
from ser_lib.core.errors import AudioError
from ser_lib.store import RUN_VARIABLE

_ROW = "<tr><td style='text-align: left; white-space: nowrap'>{}</td><td>{}</td></tr>"


def is_interactive() -> bool:
    """Whether somebody may listen and press buttons: in Jupyter, VS Code or Colab, not in a run or headless."""
    from IPython import get_ipython

    if RUN_VARIABLE in os.environ:  # Colab's kernels are Colab's in a run, too
        return False
    shell = get_ipython()
    in_editor = shell is not None and "__vsc_ipynb_file__" in shell.user_ns
    return "JPY_SESSION_NAME" in os.environ or in_editor or "google.colab" in sys.modules


def play(sounds: Mapping[str, tuple[np.ndarray, int]]) -> None:
    """Show a player for each sound, at full volume; headless, do nothing.

    Parameters
    ----------
    sounds : mapping
        What stands beside the player → samples [shape=(n_samples,)] and sampling rate (Hz).
    """
    if sounds and is_interactive():
        _show({caption: Audio(signal, rate=rate)._repr_html_() for caption, (signal, rate) in sounds.items()})


def play_files(files: Mapping[str, Path]) -> None:
    """Show a player for each file, and the reason beside one that cannot be played; headless, do nothing.

    Parameters
    ----------
    files : mapping
        What stands beside the player → path.
    """
    if files and is_interactive():
        _show({caption: _player(path) for caption, path in files.items()})


def _player(path: Path) -> str:
    try:
        signal, rate = load_audio(path)
    except AudioError as error:
        return html.escape(f"{path.name} cannot be played: {error}")
    return Audio(signal, rate=rate)._repr_html_()


def _show(players: Mapping[str, str]) -> None:
    rows = "".join(_ROW.format(html.escape(caption), player) for caption, player in players.items())
    display(HTML(f"<table>{rows}</table>"))
