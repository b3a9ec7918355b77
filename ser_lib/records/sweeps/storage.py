"""Optuna's journal of a sweep, `optuna.log` in the study's folder: every trial with its parameters and its figure.

It is Optuna's own file, lines of JSON that are only ever added. What the sweep is about (parameters, space, objective)
stands in it too, so that another sweep cannot go on with it.
"""

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ser_lib.core.errors import RunError
from ser_lib.core.extras import name_extras
from ser_lib.core.paths import shown
from ser_lib.records.manifest import PATH_PARAMETERS, check_plain, hide_value

if TYPE_CHECKING:
    import optuna

TRIALS_FILE = "optuna.log"
"""Name of the journal, in the study's folder."""
RUN, FIGURES, ERROR, ABOUT = "run", "validation", "error", "sweep"
"""Names of what is noted with a trial (its run, all figures, why it failed), and with the whole."""
_LARGEST = 50_000_000
"""Bytes that a journal may have; a trial takes some 2,000."""


def load_optuna() -> Any:
    """Import Optuna, which reports what matters and nothing else.

    Raises
    ------
    ExtraError
        If it is not installed.
    """
    with name_extras():
        import optuna
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna


def open_study(folder: Path, direction: str) -> "optuna.Study":
    """Open a sweep's journal, or begin it; whoever does holds the sweep.

    Raises
    ------
    RunError
        If it is damaged.
    """
    optuna, path = load_optuna(), folder / TRIALS_FILE
    folder.mkdir(parents=True, exist_ok=True)
    check_plain(folder)
    _mend(path)
    try:
        return optuna.create_study(
            storage=_storage(path), study_name=folder.name, direction=direction, load_if_exists=True
        )
    except Exception as error:  # of a file from anywhere
        raise _damaged(path, error) from None


def read_study(folder: Path) -> "optuna.Study":
    """Open a sweep's journal to look at it.

    Raises
    ------
    RunError
        If it is missing or damaged.
    ExtraError
        If Optuna is not installed.
    """
    optuna, path = load_optuna(), folder / TRIALS_FILE
    check_plain(folder)
    if not path.is_file() or path.stat().st_size > _LARGEST:
        raise RunError(f"{shown(path)} must be the journal of a sweep. It is missing, or too large.")
    try:
        return optuna.load_study(storage=_storage(path), study_name=None)
    except Exception as error:  # of a file from anywhere
        raise _damaged(path, error) from None


def completed(study: "optuna.Study") -> list["optuna.trial.FrozenTrial"]:
    """Trials that succeeded, in their order."""
    return study.get_trials(deepcopy=False, states=(load_optuna().trial.TrialState.COMPLETE,))


def _storage(path: Path) -> Any:
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what Optuna calls experimental
        return JournalStorage(JournalFileBackend(str(path), JournalFileOpenLock(str(path))))


def _mend(path: Path) -> None:
    """Take away what a process that was killed left: its lock, and a line without an end."""
    Path(f"{path}.lock").unlink(missing_ok=True)
    if path.is_file() and not (content := path.read_bytes()).endswith(b"\n"):
        path.write_bytes(content[: content.rfind(b"\n") + 1])


def _damaged(path: Path, error: Exception) -> RunError:
    return RunError(f"{shown(path)} is damaged ({type(error).__name__}). Restore it, or remove {shown(path.parent)}.")


def note_about(study: "optuna.Study", values: Mapping[str, Any], space: Mapping[str, Any], objective: str) -> None:
    """Note what a sweep is about, or refuse to go on with one that is about something else.

    Raises
    ------
    RunError
    """
    hidden = {name: hide_value(value) if name in PATH_PARAMETERS else value for name, value in values.items()}
    asked = {"values": hidden, "space": {name: str(one) for name, one in space.items()}, "objective": objective}
    there = study.user_attrs.get(ABOUT)
    if there is None:
        study.set_user_attr(ABOUT, asked)
        return
    for part in ("objective", "space", "values"):
        if there.get(part) != asked[part]:
            raise RunError(
                f"The sweep {study.study_name} is there already, {_difference(part, there.get(part), asked[part])}, so "
                f"its trials could not be compared. Choose another --name, or remove it: ser runs rm {study.study_name}"
            )


def _difference(part: str, there: Any, asked: Any) -> str:
    if part == "objective":
        return f"by the validation {there}, and not by {asked}"
    names = [name for name in sorted({*there, *asked}) if there.get(name) != asked.get(name)]
    what = "over another space" if part == "space" else "with other parameters"
    return f"{what} ({names[0]}: {there.get(names[0], 'not named')}, now {asked.get(names[0], 'not named')})"
