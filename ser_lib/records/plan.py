"""Parameter files, seeds, folds and protocols → runs: which are new, which stopped, which are done.

Every seed and every fold is an ordinary run. Its name says which, so that the same command finds its runs again.
"""

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from ser_lib.core.errors import ParameterError, RunError
from ser_lib.core.paths import resolve, shown
from ser_lib.corpora.clips import check_folder, check_known, check_test_speakers, find_corpora
from ser_lib.params import Params, make_params, read_values
from ser_lib.records import run as runs
from ser_lib.records.manifest import DONE, MANIFEST_FILE, PATH_PARAMETERS, check_plain, hide_value, read_manifest
from ser_lib.records.record import OWN, Record, complete, private_values, record_folder
from ser_lib.records.study import find_study

NEW, STOPPED = "new", "stopped"
"""What there may be of a planned run, beside `manifest.DONE`."""
FEW_SPEAKERS = 4
"""Up to so many speakers, a protocol has a row for each that is tested on; for more, one row of folds."""
_N_FOLDS = 5
"""Folds of speakers in a protocol of several corpora."""
_VARIED = {
    "--seeds": ("SEED",),
    "--folds": ("FOLD",),
    "ser protocol": ("SPLIT", "TEST_SPEAKERS", "TEST_CORPORA", "FOLD", "SPLIT_FILE"),
}
"""Parameters that each run of a study has in its own way, by what asks for it."""
_MAY_VARY = ("SEED", "FOLD")
"""Parameters in which the runs of one row may differ."""
_NO_KIND = (*OWN, "EXAMPLE_AUDIO_FILE", "N_JOBS")
"""Parameters that no figure depends on."""


@dataclass(frozen=True)
class Planned:
    """A run that a command asks for, and the row of the study that it belongs to."""

    name: str
    values: Mapping[str, Any]
    row: str


@dataclass(frozen=True)
class Plan:
    """Runs that a command asks for, and the name and title of the study that gathers them, if one does."""

    runs: list[Planned]
    study: str = ""
    title: str = ""

    @property
    def rows(self) -> dict[str, list[str]]:
        """Names of the runs in each row of the study."""
        rows: dict[str, list[str]] = {}
        for planned in self.runs:
            rows.setdefault(planned.row, []).append(planned.name)
        return rows


def run_name(text: str, *, timed: bool = False) -> str:
    """Name for a run after `text`, say a file's name; `timed`: with the time of day."""
    name = re.sub(r"[^A-Za-z0-9_.-]+", "-", text).strip("-._") or "run"
    return f"{name}-{datetime.now():%Y%m%d-%H%M%S}" if timed else name


def read_seeds(text: str) -> list[int]:
    """Seeds from a text such as `0,1,2`.

    Raises
    ------
    ParameterError
        If it is none, or names a seed twice.
    """
    parts = [part.strip() for part in text.split(",")]
    seeds = [int(part) for part in parts if re.fullmatch(r"[0-9]{1,10}", part)]
    if len(set(seeds)) < len(parts):
        raise ParameterError(f"`--seeds` must be different whole numbers, such as 0,1,2. Got {text!r}.")
    return seeds


def plan_files(
    files: Sequence[Path],
    more: Sequence[Path],
    overrides: Sequence[str],
    *,
    name: str | None = None,
    seeds: str | None = None,
    folds: bool = False,
) -> Plan:
    """Runs of parameter files: one each, or one for each seed and fold.

    Parameters
    ----------
    files, more : sequence of Path
        All of `more`, and then all `overrides` (NAME=VALUE), are laid over each of `files`.
    name : str, optional
        Name of the one run; of several, what their names begin with. None: the file's name or, where other data are
        laid over, theirs (`begin_name`); with the time of day unless there are seeds or folds, so that these find
        their runs again.
    seeds : str, optional
        Such as `0,1,2`.
    folds : bool
        A run for each fold of speakers.

    Raises
    ------
    ParameterError
        If a file, an override or the seeds are refused.
    """
    options = [option for option, asked in (("--seeds", seeds is not None), ("--folds", folds)) if asked]
    _refuse_varied(overrides, options)
    numbers = [] if seeds is None else read_seeds(seeds)
    planned, begins, names = [], [], []
    for file, values in zip(files, read_files(files, more, overrides), strict=True):
        begins.append(begin_name(file, values, is_study=bool(options), alone=len(files) == 1))
        plain = run_name(file.stem) if name is not None else run_name(begins[-1], timed=not options)
        names.append(plain if name is None else name if len(files) == 1 else f"{name}_{plain}")
        values, each_fold = in_folds(values) if folds else (values, [])
        planned += vary(names[-1], values, _row(begins[-1], values), seeds=numbers, folds=each_fold)
    if not options:
        return Plan(planned)
    study = f"{name or '-'.join(names)}_study"
    what = ["each fold of speakers"] if folds else []
    if numbers:
        numbers = sorted({*_seeds_of(study), *numbers})
        what = [f"seeds {', '.join(map(str, numbers))}", *what]
    return Plan(planned, study, f"{', '.join(map(run_name, begins))}: {' and '.join(what)}")


def _seeds_of(study: str) -> list[int]:
    """Seeds of the runs that a study has so far, by their names."""
    there = find_study(study)
    names = [name for names in there.rows.values() for name in names] if there else []
    return [int(found[1]) for name in names if (found := re.search(r"_s(\d{1,10})$", name))]


def begin_name(file: Path, values: Mapping[str, Any], *, is_study: bool, alone: bool = True) -> str:
    """What a run's name begins with: the file's name, unless other data than the file's are laid over it.

    Then `own-my_voices` or `tess-to-emodb`: the corpora, and the folder if it is not called like one of them; and the
    file's name, too, if it is not alone. A study of the file's own corpora keeps the file's name wherever they lie, so
    that it finds its runs again on another machine.
    """
    own, params = Params().model_dump() | read_values([file]), make_params(values)
    same = own["CORPORA"] == params.CORPORA
    if not is_study:
        same &= own["TEST_CORPORA"] == params.TEST_CORPORA and resolve(str(own["DATASET_PATH"])) == params.dataset_path
    if same:
        return file.stem
    data = "-to-".join("-".join(names) for names in (params.CORPORA, params.TEST_CORPORA) if names).lower()
    folder = params.dataset_path.name
    parts = [data] if folder.lower() in map(str.lower, params.all_corpora) else [data, folder]
    return "-".join(parts if alone else [*parts, file.stem])


def _row(begin: str, values: Mapping[str, Any]) -> str:
    """What a study calls the runs of a file: as their names begin or, across corpora, these."""
    tested = make_params(values).TEST_CORPORA
    return f"{', '.join(make_params(values).CORPORA)} → {', '.join(tested)}" if tested else run_name(begin)


def read_files(files: Sequence[Path], more: Sequence[Path], overrides: Sequence[str]) -> list[dict[str, Any]]:
    """Values of each of `files`, with those of all in `more` and all overrides laid over."""
    return [read_values([file, *more], overrides) for file in files]


def _refuse_varied(overrides: Iterable[str], options: Iterable[str]) -> None:
    """Refuse a `-p` for a parameter that the command itself varies."""
    named = [override.partition("=")[0] for override in overrides]
    for option in options:
        for name in _VARIED[option]:
            if name in named:
                raise ParameterError(f"`{option}` gives each run a `{name}` of its own. Leave out -p {name}.")


def vary(
    name: str, values: Mapping[str, Any], row: str, *, seeds: Sequence[int] = (), folds: Sequence[int] = (), fold="_f"
) -> list[Planned]:
    """A run for each fold and in it each seed: `<name>_f0_s0`, `<name>_f0_s1`, `<name>_f1_s0` and so on.

    Runs of one fold stand together, for they share more of what is kept from run to run. Without `folds`, or without
    `seeds`, that part of the name is missing.
    """
    each_fold = [(f"{fold}{number}", {"FOLD": number}) for number in folds] or [("", {})]
    each_seed = [(f"_s{seed}", {"SEED": seed}) for seed in seeds] or [("", {})]
    return [
        Planned(name + end_1 + end_2, dict(values) | changes_1 | changes_2, row)
        for end_1, changes_1 in each_fold
        for end_2, changes_2 in each_seed
    ]


def in_folds(values: Mapping[str, Any]) -> tuple[dict[str, Any], range]:
    """Values for a split in folds of speakers, and the numbers of the folds.

    Raises
    ------
    ParameterError
        If they ask for another split.
    """
    for name, wanted in (("SPLIT", "folds"), ("SPLIT_FILE", None)):
        if values.get(name, wanted) != wanted:
            raise ParameterError(f"`--folds` needs `SPLIT: folds` and no `SPLIT_FILE`. Got {name}: {values[name]}.")
    params = make_params(dict(values) | {"SPLIT": "folds"})
    return {**values, "SPLIT": "folds"}, range(params.N_FOLDS or len(find_speakers(params)))


def find_speakers(params: Params, things: Sequence[str] = ("speaker",), what: str = "`--folds`") -> list[str]:
    """Speakers of the corpora, in order; ParameterError if one of the `things` that `what` needs is unknown."""
    import pandas as pd

    clips, _ = find_corpora(params.corpus_folders, params.LABEL_MAP, params.SPEAKER_PATTERN)
    check_known(pd.DataFrame(clips), things, what)
    return sorted({clip.speaker for clip in clips})


def plan_protocol(
    file: Path, more: Sequence[Path], overrides: Sequence[str], *, name: str | None = None, seeds: str = "0,1,2"
) -> Plan:
    """Runs of one parameter file under splits whose training and test set share less and less.

    Rows: at random (`<name>_random_s0`); no text in two sets (`<name>_text_s0`); for up to four speakers, each of them
    after training on the others (`<name>_oaf_yaf_s0`: on OAF, tested on YAF), for more one row of all folds of speakers
    (`<name>_fold0_s0`, `<name>_fold1_s0` and so on). A corpus of one speaker has the first two. Several corpora
    have the first, five folds of their speakers, and each corpus after training on the others (`<name>_to-tess_s0`).
    """
    _refuse_varied(overrides, ("--seeds", "ser protocol"))
    numbers = read_seeds(seeds)
    (values,) = read_files([file], more, overrides)
    n_folds = values.get("N_FOLDS")
    values |= {"SPLIT": "random", "SPLIT_FILE": None, "TEST_SPEAKERS": [], "TEST_CORPORA": [], "FOLD": 0}
    values["N_FOLDS"] = None
    several = len(values.get("CORPORA", ())) > 1
    speakers = find_speakers(make_params(values), ("speaker",) if several else ("speaker", "text"), "`ser protocol`")
    name = name or run_name(begin_name(file, values, is_study=True))
    planned = vary(f"{name}_random", values, "random", seeds=numbers)
    if not several:
        planned += vary(f"{name}_text", values | {"SPLIT": "text"}, "text-disjoint", seeds=numbers)
    if len(speakers) > FEW_SPEAKERS:
        planned += _leave_out_corpora(name, values, numbers) if several else []
        values, folds = in_folds(values | {"SPLIT": "folds", "N_FOLDS": n_folds or (_N_FOLDS if several else None)})
        row = f"{len(folds)} folds of {len(speakers)} speakers"
        planned += vary(name, values, row, seeds=numbers, folds=folds, fold="_fold")
    elif len(speakers) > 1:
        for test in reversed(speakers):
            planned += _leave_out(test, speakers, name, values, numbers)
    return Plan(planned, f"{name}_protocol", f"{name}: by what training and test set share")


def _leave_out_corpora(name: str, values: Mapping[str, Any], seeds: Sequence[int]) -> list[Planned]:
    """Runs that are trained on the other corpora and tested on one."""
    planned = []
    for test in values["CORPORA"]:
        others = [corpus for corpus in values["CORPORA"] if corpus != test]
        of_one = dict(values) | {"SPLIT": "corpus", "CORPORA": others, "TEST_CORPORA": [test]}
        planned += vary(f"{name}_to-{run_name(test.lower())}", of_one, f"others → {test}", seeds=seeds)
    return planned


def _leave_out(
    test: str, speakers: Iterable[str], name: str, values: Mapping[str, Any], seeds: Sequence[int]
) -> list[Planned]:
    """Runs that are trained on the other speakers and tested on one."""
    others = [speaker for speaker in speakers if speaker != test]
    values = dict(values) | {"SPLIT": "speaker", "TEST_SPEAKERS": [test]}
    suffix = run_name("_".join([*others, test]).lower())
    return vary(f"{name}_{suffix}", values, f"{', '.join(others)} → {test}", seeds=seeds)


def check(planned: Sequence[Planned]) -> dict[str, str]:
    """Say of each planned run whether it is new, stopped or done, by name; nothing is made yet.

    Raises
    ------
    ParameterError
        If a parameter of one is refused.
    RunError
        If two have one name, or a run of that name has other parameters or cannot be taken up here.
    """
    names = [one.name for one in planned]
    for one in planned:
        if names.count(one.name) > 1:
            raise RunError(f"Every run needs a name of its own; two would be {one.name}. Give a file another name.")
        if len(planned) > 1 and "OUTPUT_DIR" in one.values:
            raise ParameterError(
                f"`OUTPUT_DIR` must be left out where there are several runs: each has artifacts/<run>. "
                f"Got {one.values['OUTPUT_DIR']}."
            )
    return {one.name: _state(runs.make_run(one.values, name=one.name)) for one in planned}


def check_data(planned: Iterable[Planned]) -> None:
    """Refuse runs whose corpora are not on this machine, or lack their test speakers, before anything of them is made.

    Raises
    ------
    ParameterError
        If a parameter of one is refused, or the speakers are others or unknown.
    DatasetError
        If the folder of a corpus is missing, and the corpus is none that is made; or it has no clips to have speakers.
    """
    known: dict[str, list[str]] = {}
    for one in planned:
        params = runs.make_run(one.values, name=one.name).params
        for name, folder in params.corpus_folders.items():
            check_folder(name, folder)
        are_there = all(folder.is_dir() for folder in params.corpus_folders.values())
        if params.TEST_SPEAKERS and params.SPLIT_FILE is None and are_there:
            where = str((params.corpus_folders, params.LABEL_MAP, params.SPEAKER_PATTERN))
            known[where] = known.get(where) or find_speakers(params, what=f"`SPLIT: {params.SPLIT}`")
            check_test_speakers(params.TEST_SPEAKERS, known[where])


def check_study(asked: Plan) -> None:
    """Refuse to gather in a row what cannot be averaged: a study that is there grows by runs of its own kind alone.

    Raises
    ------
    RunError
        If a run of the study has other parameters than one that would come to its row, but for the seed and the fold,
        or the same ones under another name.
    """
    there = find_study(asked.study)
    for row, names in there.rows.items() if there else ():
        new = [one for one in asked.runs if one.row == row and one.name not in names]
        for name, values in _recorded(names):
            for one in new:
                _check_kind(asked.study, name, values, one)


def _recorded(names: Iterable[str]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Name and parameters of each run that is recorded; a damaged one has no figures either."""
    for name in names:
        try:
            yield name, Record(record_folder(name), read_manifest(record_folder(name))).params
        except RunError:
            continue


def _check_kind(study: str, name: str, there: Mapping[str, Any], new: Planned) -> None:
    wanted = make_params(new.values).model_dump()
    different = [key for key in wanted if key not in _NO_KIND and _by_name(key, there) != _by_name(key, wanted)]
    if not different:
        raise RunError(f"The study {study} has {new.name} already, as {name}. Choose another --name.")
    if unlike := [key for key in different if key not in _MAY_VARY]:
        raise RunError(
            f"The study {study} has other parameters ({unlike[0]}: {there[unlike[0]]} in {name}, now "
            f"{wanted[unlike[0]]}), so this would average what is not alike. Choose another --name."
        )


def _by_name(key: str, values: Mapping[str, Any]) -> Any:
    """Value of a parameter; of a path its name, for a corpus may lie elsewhere on another machine."""
    value = values[key]
    return Path(value).name if key in PATH_PARAMETERS and value else value


def _state(run: runs.Run) -> str:
    """What there is of a run: nothing, some of it, or all."""
    check_plain(run.record)
    folder = next((folder for folder in (run.record, run.scratch) if os.path.lexists(folder)), None)
    if folder is None:
        return NEW
    here = private_values(run.name)
    is_recorded = (record_folder(run.name) / MANIFEST_FILE).is_file()
    if not here and not is_recorded:
        raise RunError(f"{shown(folder)} is in the way of the run {run.name}, and is none. Move or remove it.")
    record = Record(run.record, read_manifest(run.record)) if is_recorded else None
    wanted = run.params.model_dump()
    if not here:
        wanted |= {name: hide_value(wanted[name]) for name in PATH_PARAMETERS}
    there = complete(here) if here or record is None else record.params
    different = [name for name in wanted if there[name] != wanted[name]]
    remedy = f"Choose another --name, or remove it: ser runs rm {run.name}"
    if different:
        name = different[0]
        raise RunError(
            f"The run {run.name} is there already, with other parameters "
            f"({name}: {there[name]}, now {wanted[name]}). {remedy}"
        )
    if record and record.state == DONE:
        return DONE
    if not here:
        raise RunError(f"The run {run.name} stopped on another machine, where alone it can go on. {remedy}")
    return STOPPED


def begin(planned: Planned, state: str) -> runs.Run:
    """Begin a planned run, or take it up."""
    if state == NEW:
        return runs.start_run(planned.values, name=planned.name)
    return runs.resume_run(planned.name)
