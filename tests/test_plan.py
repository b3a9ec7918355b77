import json
import os
import re
import shutil

import pytest
import yaml
from test_records import call, write_record

from ser_lib.core.errors import ParameterError, RunError
from ser_lib.records import plan
from ser_lib.records import run as runs


@pytest.fixture
def params(root):
    """Parameter files by name: each a corpus that nobody reads."""
    folder = root / "params"
    folder.mkdir()
    for name in ("a", "b"):
        (folder / f"{name}.yaml").write_text(yaml.safe_dump({"CORPORA": ["TESS"], "EPOCHS": 7}))
    (folder / "more.yaml").write_text("EPOCHS: 9\nLSTM_UNITS: 8\n")
    (folder / "last.yaml").write_text("EPOCHS: 11\n")
    return lambda *names: [folder / f"{name}.yaml" for name in names]


@pytest.fixture
def executed(root, monkeypatch):
    """Names of the runs that were executed; those in `executed.fail` stop, and `executed.interrupt` is interrupted."""

    class Executed(list):
        def __init__(self):
            self.fail, self.interrupt = set(), ""

    names = Executed()
    for corpus in ("data/demo", "voices", "other"):
        (root / corpus).mkdir(parents=True, exist_ok=True)  # a folder that is missing is refused before a run begins

    def execute(run):
        names.append(run.name)
        started = run.name in names.fail or run.name == names.interrupt
        shutil.rmtree(run.record, ignore_errors=True)
        right = 8 - run.params.SEED  # of eight clips, so many are recognised
        predicted = ["sad"] * (12 - right) + ["angry"] * (right - 4)
        state = "failed in 03_train" if started else "done"
        write_record(root, run.name, predicted=predicted, state=state, **run.params.model_dump())
        if started:
            (run.record / "metrics.json").unlink()
        if run.name == names.interrupt:
            raise KeyboardInterrupt
        if run.name in names.fail:
            raise RunError("03_train stopped: the loss is NaN.")

    monkeypatch.setattr(runs, "execute_run", execute)
    return names


def ser(monkeypatch, capsys, *arguments):
    return call(monkeypatch, capsys, *map(str, arguments))


def named(planned):
    return [one.name for one in planned.runs]


# Which runs


def test_each_file_is_a_run_with_all_else_laid_over(params):
    planned = plan.plan_files(params("a", "b"), params("more", "last"), ["DENSE_UNITS=3"], name="x")
    assert named(planned) == ["x_a", "x_b"]
    asked = {"CORPORA": ["TESS"], "EPOCHS": 11, "LSTM_UNITS": 8, "DENSE_UNITS": 3}
    assert [one.values for one in planned.runs] == [asked, asked]
    assert planned.study == ""


def test_name_of_one_run_is_the_name(params):
    assert named(plan.plan_files(params("a"), [], [], name="x")) == ["x"]
    (name,) = named(plan.plan_files(params("a"), [], []))
    assert name.startswith("a-20") and len(name) == len("a-20260101-000000")


@pytest.mark.parametrize(
    ("overrides", "begin"),
    [
        (["EPOCHS=3"], "a"),
        (["CORPORA=[OWN]", "DATASET_PATH=my voices"], "own-my-voices"),
        (["CORPORA=[OWN]"], "own-demo"),
        (["DATASET_PATH=/somewhere/else"], "tess-else"),
        (["DATASET_PATH=/somewhere/TESS"], "tess"),
        (["DATASET_PATH=./data/demo"], "a"),
        (["CORPORA=[TESS, EMODB]", "DATASET_PATH=all"], "tess-emodb-all"),
        (["TEST_CORPORA=[EMODB]", "SPLIT=corpus", "DATASET_PATH=all"], "tess-to-emodb-all"),
    ],
)
def test_name_says_the_data_where_they_are_not_those_of_the_file(params, overrides, begin):
    (name,) = named(plan.plan_files(params("a"), [], overrides))
    assert re.fullmatch(rf"{begin}-\d{{8}}-\d{{6}}", name)
    assert named(plan.plan_files(params("a"), [], overrides, name="x")) == ["x"]


def test_name_says_the_data_of_a_file_that_is_laid_over(params, root):
    (root / "own.yaml").write_text("CORPORA: [OWN]\nDATASET_PATH: voices\n")
    names = named(plan.plan_files(params("a", "b"), [root / "own.yaml"], []))
    assert [name[:-16] for name in names] == ["own-voices-a", "own-voices-b"]


def test_study_of_other_data_says_so_and_finds_its_runs_again(params, executed, monkeypatch, capsys):
    arguments = ["run", *params("a"), "--seeds", "0,1", "-p", "CORPORA=[OWN]", "-p", "DATASET_PATH=voices"]
    for again in (["own-voices_s0", "own-voices_s1"], []):
        executed.clear()
        assert ser(monkeypatch, capsys, *arguments)[0] == 0
        assert executed == again
    planned = plan.plan_files(params("a"), [], ["CORPORA=[OWN]", "DATASET_PATH=voices"], seeds="0")
    assert (planned.study, planned.title, list(planned.rows)) == (
        "own-voices_study", "own-voices: seeds 0, 1", ["own-voices"]
    )  # fmt: skip


def test_seeds_and_folds_are_runs_of_their_own(params):
    overrides = ["N_FOLDS=2", "SPLIT=folds"]
    planned = plan.plan_files(params("a"), [], overrides, seeds="0,3", folds=True)
    assert named(planned) == ["a_f0_s0", "a_f0_s3", "a_f1_s0", "a_f1_s3"]
    assert [(one.values["FOLD"], one.values["SEED"]) for one in planned.runs] == [(0, 0), (0, 3), (1, 0), (1, 3)]
    assert all(one.values["SPLIT"] == "folds" for one in planned.runs)
    assert planned.rows == {"a": named(planned)}
    assert (planned.study, planned.title) == ("a_study", "a: seeds 0, 3 and each fold of speakers")


def test_study_across_corpora_has_them_for_a_row(params):
    across = ["TEST_CORPORA=[EMODB]", "SPLIT=corpus"]
    planned = plan.plan_files(params("a"), [], across, seeds="0,1")
    assert planned.rows == {"TESS → EMODB": ["a_s0", "a_s1"]}


def test_files_with_seeds_are_rows_of_one_study(params):
    planned = plan.plan_files(params("a", "b"), [], [], seeds="0,1")
    assert planned.rows == {"a": ["a_s0", "a_s1"], "b": ["b_s0", "b_s1"]}
    assert (planned.study, planned.title) == ("a-b_study", "a, b: seeds 0, 1")
    planned = plan.plan_files(params("a", "b"), [], [], seeds="0,1", name="x")
    assert (planned.rows["b"], planned.study) == (["x_b_s0", "x_b_s1"], "x_study")


def test_folds_are_one_for_each_speaker_unless_their_number_is_set(params, root, make_corpus):
    make_corpus(root / "data" / "demo", speakers=("OAF", "YAF"))
    overrides = ["DATASET_PATH=data/demo"]
    assert named(plan.plan_files(params("a"), [], overrides, folds=True)) == ["a_f0", "a_f1"]
    overrides = ["N_FOLDS=3", "SPLIT=folds"]
    assert named(plan.plan_files(params("a"), [], overrides, folds=True)) == ["a_f0", "a_f1", "a_f2"]


@pytest.mark.parametrize("split", ["SPLIT=text", "SPLIT=random", "SPLIT_FILE=x.csv"])
def test_folds_of_another_split_are_refused(params, split):
    with pytest.raises(ParameterError, match=r"`--folds` needs `SPLIT: folds` and no `SPLIT_FILE`\. Got SPLIT"):
        plan.plan_files(params("a"), [], [split], folds=True)


@pytest.mark.parametrize("seeds", ["", "a", "0,", "0,0", "1,01", "-1", "1.5", "0 1", "99999999999"])
def test_seeds_that_are_none_are_refused(params, seeds):
    with pytest.raises(ParameterError, match=r"`--seeds` must be different whole numbers, such as 0,1,2\. Got "):
        plan.plan_files(params("a"), [], [], seeds=seeds)


def test_what_the_runs_differ_in_cannot_be_overridden(params):
    with pytest.raises(ParameterError, match=r"`--seeds` gives each run a `SEED` of its own\. Leave out -p SEED\."):
        plan.plan_files(params("a"), [], ["SEED=3"], seeds="0,1")
    with pytest.raises(ParameterError, match=r"`--folds` gives each run a `FOLD` of its own"):
        plan.plan_files(params("a"), [], ["FOLD=3"], folds=True)
    with pytest.raises(ParameterError, match=r"`ser protocol` gives each run a `SPLIT` of its own"):
        plan.plan_protocol(params("a")[0], [], ["SPLIT=text"])


# A protocol


def protocol(monkeypatch, file, speakers, overrides=(), **options):
    monkeypatch.setattr(plan, "find_speakers", lambda params, *_needed: list(speakers))
    return plan.plan_protocol(file, [], overrides, **options)


def test_protocol_of_two_speakers_has_each_direction(params, monkeypatch):
    planned = protocol(monkeypatch, params("a")[0], ["OAF", "YAF"])
    assert planned.rows == {
        "random": ["a_random_s0", "a_random_s1", "a_random_s2"],
        "text-disjoint": ["a_text_s0", "a_text_s1", "a_text_s2"],
        "OAF → YAF": ["a_oaf_yaf_s0", "a_oaf_yaf_s1", "a_oaf_yaf_s2"],
        "YAF → OAF": ["a_yaf_oaf_s0", "a_yaf_oaf_s1", "a_yaf_oaf_s2"],
    }
    values = {one.name: one.values for one in planned.runs}
    assert [values[f"a_{row}_s1"]["SPLIT"] for row in ("random", "text", "oaf_yaf")] == ["random", "text", "speaker"]
    assert (values["a_oaf_yaf_s1"]["TEST_SPEAKERS"], values["a_oaf_yaf_s1"]["SEED"]) == (["YAF"], 1)
    assert (values["a_yaf_oaf_s2"]["TEST_SPEAKERS"], values["a_yaf_oaf_s2"]["SEED"]) == (["OAF"], 2)
    assert planned.study == "a_protocol"


def test_protocol_of_other_data_says_so(params, monkeypatch):
    planned = protocol(monkeypatch, params("a")[0], ["A"], ["CORPORA=[OWN]", "DATASET_PATH=voices"], seeds="0")
    assert (named(planned), planned.study) == (["own-voices_random_s0", "own-voices_text_s0"], "own-voices_protocol")


def test_protocol_takes_no_split_from_the_file(params, monkeypatch):
    (file,) = params("a")
    file.write_text("CORPORA: [TESS]\nSPLIT: folds\nN_FOLDS: 2\nFOLD: 1\n")
    planned = protocol(monkeypatch, file, ["OAF", "YAF"], seeds="4")
    assert set(plan.check(planned.runs).values()) == {plan.NEW}
    assert named(planned) == ["a_random_s4", "a_text_s4", "a_oaf_yaf_s4", "a_yaf_oaf_s4"]


def test_protocol_of_three_speakers_trains_on_the_others(params, monkeypatch):
    planned = protocol(monkeypatch, params("a")[0], ["A", "B", "C"], seeds="0", name="x")
    assert list(planned.rows) == ["random", "text-disjoint", "A, B → C", "A, C → B", "B, C → A"]
    assert named(planned)[2:] == ["x_a_b_c_s0", "x_a_c_b_s0", "x_b_c_a_s0"]


def test_protocol_of_many_speakers_has_a_row_of_folds(params, monkeypatch):
    planned = protocol(monkeypatch, params("a")[0], "ABCDE", seeds="0,1")
    assert list(planned.rows) == ["random", "text-disjoint", "5 folds of 5 speakers"]
    assert planned.rows["5 folds of 5 speakers"] == [f"a_fold{fold}_s{seed}" for fold in range(5) for seed in (0, 1)]
    last = planned.runs[-1].values
    assert (last["SPLIT"], last["FOLD"], last["TEST_SPEAKERS"]) == ("folds", 4, [])
    planned = protocol(monkeypatch, params("a")[0], "ABCDE", ["N_FOLDS=2"], seeds="0")
    assert planned.rows["2 folds of 5 speakers"] == ["a_fold0_s0", "a_fold1_s0"]
    assert set(plan.check(planned.runs).values()) == {plan.NEW}


def test_protocol_of_one_speaker_has_no_row_of_speakers(params, monkeypatch):
    assert list(protocol(monkeypatch, params("a")[0], ["A"]).rows) == ["random", "text-disjoint"]


# What is refused before anything starts


def test_files_of_one_name_are_refused(params, root):
    (root / "other").mkdir()
    shutil.copy(root / "params" / "a.yaml", root / "other")
    planned = plan.plan_files([*params("a"), root / "other" / "a.yaml"], [], [], seeds="0")
    with pytest.raises(RunError, match=r"two would be a_s0"):
        plan.check(planned.runs)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["a", "--seeds", "0,1", "-p", "EPOCHS=8"], "(EPOCHS: 7, now 8)"),
        (["a", "b", "--seeds", "1", "-p", "OUTPUT_DIR=out"], "`OUTPUT_DIR` must be left out"),
        (["a", "--seeds", "1,2", "-p", "EPOCHS=0"], "`EPOCHS` must be greater than or equal to 1"),
        (["a", "--seeds", "1", "--name", "../x"], "A run's name must be"),
        (["a", "b", "-p", "EXAMPLE_AUDIO_FILE=no.wav"], "`EXAMPLE_AUDIO_FILE` must be an audio file"),
        (["a", "--seeds", "1", "--name", "taken"], "A study needs a name of its own; reports/taken_study is a run."),
        (["a", "--seeds", "5"], "artifacts/a_s5 is in the way of the run a_s5"),
        (["a", "--seeds", "6"], "The run a_s6 stopped on another machine"),
        (["a", "--seeds", "7"], "reports/a_s7/manifest.json is damaged"),
    ],
)
def test_mistakes_are_one_line_and_nothing_starts(params, root, executed, monkeypatch, capsys, arguments, message):
    assert ser(monkeypatch, capsys, "run", *params("a"), "--seeds", "0")[0] == 0
    executed.clear()
    write_record(root, "taken_study")
    (root / "artifacts" / "a_s5").mkdir()
    for name in ("a_s6", "a_s7"):
        write_record(root, name, SEED=int(name[-1]), EPOCHS=7, DATASET_PATH="data/demo", state="failed in 03_train")
    (root / "reports" / "a_s7" / "manifest.json").write_text("{")
    before = sorted(os.listdir(root / "reports")), sorted(os.listdir(root / "artifacts"))
    given = [params(word)[0] if word in "ab" else word for word in arguments]
    status, _, stderr = ser(monkeypatch, capsys, "run", *given)
    assert (status, len(stderr.splitlines())) == (1, 1)
    assert stderr.startswith("error: ") and message in stderr
    assert executed == []
    assert (sorted(os.listdir(root / "reports")), sorted(os.listdir(root / "artifacts"))) == before


@pytest.mark.parametrize("more", [[], ["--seeds", "0,1"]], ids=["one", "several"])
@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ("[yaf]", "must name speakers of the corpus: OAF, YAF. Got 'yaf'."),
        ("[OAF, YAF]", "must leave a speaker to train on. Got all of the corpus: OAF, YAF."),
    ],
)
def test_test_speakers_are_looked_for_before_a_run_takes_its_name(
    params, root, executed, monkeypatch, capsys, asked, message, more
):
    for speaker in ("OAF", "YAF"):
        (root / "data" / "demo" / f"{speaker}_back_sad.wav").write_bytes(speaker.encode())
    values = ["-p", "SPLIT=speaker", "-p", f"TEST_SPEAKERS={asked}", "--name", "x"]
    status, _, stderr = ser(monkeypatch, capsys, "run", *params("a"), *values, *more)
    assert (status, stderr, executed) == (1, f"error: `TEST_SPEAKERS` {message}\n", [])
    assert not list(root.glob("reports/x*"))


# Several runs


def test_one_failure_does_not_stop_the_others(params, executed, monkeypatch, capsys):
    executed.fail = {"x_a"}
    status, stdout, stderr = ser(monkeypatch, capsys, "run", *params("a", "b", "last"), "--name", "x")
    assert (status, executed) == (1, ["x_a", "x_b", "x_last"])
    assert stderr.splitlines() == [
        "error: 03_train stopped: the loss is NaN.", "Failed: x_a. The same command again takes them up."
    ]  # fmt: skip
    assert "Run x_b, 2 of 3: TESS in data/demo\nDone: validation accuracy 1.000, test accuracy 1.000" in stdout


def test_names_of_several_runs_are_those_of_the_files_and_the_time(params, executed, monkeypatch, capsys):
    assert ser(monkeypatch, capsys, "run", *params("a", "b"))[0] == 0
    assert [name.split("-")[0] for name in executed] == ["a", "b"]
    assert all(len(name) == len("a-20260101-000000") for name in executed)


def test_files_with_the_time_that_are_interrupted_say_what_is_left(params, executed, monkeypatch, capsys):
    monkeypatch.setattr(plan, "run_name", lambda text, timed=False: f"{text}-T" if timed else text)
    executed.interrupt = "a-T"
    status, _, stderr = ser(monkeypatch, capsys, "run", *params("a", "b", "last"))
    assert (status, executed) == (130, ["a-T"])
    assert stderr == "Interrupted. To go on: ser run --resume a-T; not begun: b-T, last-T\n"


def test_same_command_again_does_what_is_left(params, root, executed, monkeypatch, capsys):
    arguments = ["run", *params("a"), "--seeds", "0,1,2"]
    executed.fail, executed.interrupt = {"a_s0"}, "a_s1"
    status, stdout, stderr = ser(monkeypatch, capsys, *arguments)
    assert (status, executed) == (130, ["a_s0", "a_s1"])
    again = f"ser run {params('a')[0]} --seeds 0,1,2"
    assert stderr.splitlines()[-1] == f"Interrupted. To go on, give the same command again: {again}"
    assert json.loads((root / "reports" / "a_study" / "study.json").read_text())["rows"] == {
        "a": ["a_s0", "a_s1", "a_s2"]
    }
    executed.clear()
    executed.fail, executed.interrupt = set(), ""
    assert ser(monkeypatch, capsys, *arguments)[0] == 0
    assert executed == ["a_s0", "a_s1", "a_s2"]
    executed.clear()
    status, stdout, _ = ser(monkeypatch, capsys, *arguments)
    assert (status, executed) == (0, [])
    assert "Run a_s1 is done already.\n" in stdout
    # UAR 1, 0.875 and 0.75: deviations -1/8, 0 and 1/8, so √((1/64 + 1/64) / 2) = 1/8
    assert "| a   | BiLSTM on MFCC | 3    | 0.875 ± 0.125 |" in stdout


def study_of(root, name):
    return json.loads((root / "reports" / name / "study.json").read_text())


def test_study_keeps_its_runs_when_another_seed_is_interrupted(params, root, executed, monkeypatch, capsys):
    assert ser(monkeypatch, capsys, "run", *params("a"), "--seeds", "0,1")[0] == 0
    executed.interrupt = "a_s4"
    assert ser(monkeypatch, capsys, "run", *params("a"), "--seeds", "4")[0] == 130
    study = study_of(root, "a_study")
    assert (study["title"], study["rows"]) == ("a: seeds 0, 1, 4", {"a": ["a_s0", "a_s1", "a_s4"]})
    executed.clear()
    executed.interrupt = ""
    status, stdout, _ = ser(monkeypatch, capsys, "run", *params("a"), "--seeds", "3")
    assert (status, executed) == (0, ["a_s3"])
    # of eight clips 8, 7 and 5 are recognised: the mean of all that is done, not of this command's
    assert "| a   | BiLSTM on MFCC | 3 of 4 | 0.833 ± 0.191 |" in stdout


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--seeds", "1", "-p", "EPOCHS=8"], "other parameters (EPOCHS: 7 in a_s0, now 8)"),
        (["--seeds", "1", "-p", "TEST_FRACTION=0.3"], "other parameters (TEST_FRACTION: 0.15 in a_s0, now 0.3)"),
        (["--seeds", "1", "-p", "DATASET_PATH=other"], "other parameters (DATASET_PATH: data/demo in a_s0, now other)"),
    ],
)
def test_study_takes_no_run_of_another_kind(params, root, executed, monkeypatch, capsys, more, message):
    assert ser(monkeypatch, capsys, "run", *params("a"), "--seeds", "0")[0] == 0
    before = study_of(root, "a_study")
    status, _, stderr = ser(monkeypatch, capsys, "run", *params("a"), *more)
    assert status == 1 and f"The study a_study has {message}" in stderr and len(stderr.splitlines()) == 1
    assert (executed, study_of(root, "a_study")) == (["a_s0"], before)
    assert not (root / "reports" / "a_s1").exists()


def test_study_takes_no_run_twice_under_two_names(params, executed, monkeypatch, capsys):
    assert ser(monkeypatch, capsys, "run", *params("a"), "--seeds", "0", "--name", "x")[0] == 0
    status, _, stderr = ser(monkeypatch, capsys, "run", *params("a", "b"), "--seeds", "0", "--name", "x")
    assert (status, executed) == (1, ["x_s0"])
    assert stderr == "error: The study x_study has x_a_s0 already, as x_s0. Choose another --name.\n"


def test_protocol_keeps_the_seeds_that_it_had(params, root, executed, monkeypatch, capsys, make_corpus):
    make_corpus(root / "data" / "demo", words=("back",), speakers=("OAF",))
    executed.interrupt = "a_random_s4"
    assert ser(monkeypatch, capsys, "protocol", "a", "--seeds", "0")[0] == 0
    assert ser(monkeypatch, capsys, "protocol", "a", "--seeds", "4")[0] == 130
    assert study_of(root, "a_protocol")["rows"] == {
        "random": ["a_random_s0", "a_random_s4"], "text-disjoint": ["a_text_s0", "a_text_s4"]
    }  # fmt: skip


def test_record_that_is_done_counts_wherever_it_was_made(params, root, executed, monkeypatch, capsys, tmp_path_factory):
    corpus = tmp_path_factory.mktemp("where") / "TESS"
    corpus.mkdir()
    arguments = ["run", *params("a"), "--seeds", "0,1", "-p", f"DATASET_PATH={corpus}"]
    assert ser(monkeypatch, capsys, *arguments)[0] == 0
    shutil.rmtree(root / "artifacts")
    for name in ("a_s0", "a_s1"):  # as a record shows a folder elsewhere
        path = root / "reports" / name / "params.yaml"
        path.write_text(path.read_text().replace(str(corpus), "TESS"))
    executed.clear()
    assert ser(monkeypatch, capsys, *arguments)[0] == 0
    assert executed == []


def test_record_of_an_older_version_counts_with_the_defaults(params, root, executed, monkeypatch, capsys):
    arguments = ["run", *params("a"), "--seeds", "0"]
    assert ser(monkeypatch, capsys, *arguments)[0] == 0
    path = root / "artifacts" / "a_s0" / "params.yaml"
    values = yaml.safe_load(path.read_text())
    del values["LABEL_SMOOTHING"], values["SPLIT"]
    path.write_text(yaml.safe_dump(values))
    executed.clear()
    assert ser(monkeypatch, capsys, *arguments)[0] == 0
    assert executed == []
    del values["ROBUSTNESS"]  # then nobody measured it, whatever its default is today
    path.write_text(yaml.safe_dump(values))
    status, _, stderr = ser(monkeypatch, capsys, *arguments)
    assert (status, executed) == (1, []) and "ROBUSTNESS" in stderr


def test_protocol_command_runs_all_and_writes_a_table(params, root, executed, monkeypatch, capsys, make_corpus):
    make_corpus(root / "data" / "demo", words=("back",))
    status, stdout, stderr = ser(monkeypatch, capsys, "protocol", "a", "--seeds", "0,1", "-p", "EPOCHS=3")
    assert (status, stderr) == (0, "")
    rows = ("random", "text", "oaf_yaf", "yaf_oaf")
    assert executed == [f"a_{row}_s{seed}" for row in rows for seed in (0, 1)]
    table = (root / "reports" / "a_protocol" / "table.md").read_text()
    assert table in stdout
    # UAR and accuracy 1 and 0.875: mean 15/16, deviation √(2 / 16²) = 0.088
    assert "| OAF → YAF     | BiLSTM on MFCC | 2    | 0.938 ± 0.088 |           | 0.938 ± 0.088 |          |" in table
    assert stdout.endswith("The study is in reports/a_protocol.\nPages: 9 of 9 written, reports/index.html\n")
    assert (root / "reports" / "a_protocol" / "index.html").is_file()


def test_protocol_of_no_file_is_one_line(root, monkeypatch, capsys):
    status, stdout, stderr = ser(monkeypatch, capsys, "protocol", "nothing")
    assert (status, stdout, len(stderr.splitlines())) == (1, "", 1)
    assert "params/nothing.yaml cannot be read" in stderr
    stderr = call(monkeypatch, capsys, "protocol", "nothing.yaml")[2]
    assert " nothing.yaml cannot be read" in stderr


def test_run_that_is_resumed_takes_nothing_else(params, monkeypatch, capsys):
    for arguments in (["--seeds", "0"], ["--folds"], ["--with", params("more")[0]]):
        status, _, stderr = ser(monkeypatch, capsys, "run", "--resume", "x", *arguments)
        assert status == 2 and "give it alone" in stderr


def test_protocol_of_several_corpora_leaves_each_out(params, monkeypatch):
    (file,) = params("a")
    file.write_text("CORPORA: [TESS, EMODB]\nDATASET_PATH: data\nN_FOLDS: 3\n")
    planned = protocol(monkeypatch, file, ["EMODB/03", "EMODB/08", "EMODB/09", "TESS/OAF", "TESS/YAF"], seeds="4")
    assert planned.rows == {
        "random": ["a_random_s4"],
        "others → TESS": ["a_to-tess_s4"],
        "others → EMODB": ["a_to-emodb_s4"],
        "3 folds of 5 speakers": ["a_fold0_s4", "a_fold1_s4", "a_fold2_s4"],
    }
    values = {one.name: one.values for one in planned.runs}["a_to-tess_s4"]
    assert (values["SPLIT"], values["CORPORA"], values["TEST_CORPORA"]) == ("corpus", ["EMODB"], ["TESS"])
