import json
import re

import pytest
import yaml
from test_records import call, write_record

from ser_lib.core.errors import ExtraError, ParameterError, RunError
from ser_lib.records import run as runs
from ser_lib.records.light import plan_slimming, slim
from ser_lib.records.record import find_record
from ser_lib.records.site import build_site
from ser_lib.records.sweeps import trials as work
from ser_lib.records.sweeps.objective import check_objective, validation_figures
from ser_lib.records.sweeps.results import read_sweep, to_text
from ser_lib.records.sweeps.space import Choices, Range, read_space

SPACE = {
    "LSTM_UNITS": [32, 64],
    "DROPOUT_RATE": {"low": 0.1, "high": 0.5, "step": 0.1},
    "LEARNING_RATE": {"low": 0.0001, "high": 0.1, "log": True},
}


def write_yaml(path, values):
    path.write_text(yaml.safe_dump(values))
    return path


@pytest.fixture
def asked(root):
    """A sweep whose trials need no training."""
    file = write_yaml(root / "x.yaml", {"DROPOUT_RATE": 0.3})
    return work.plan_sweep(file, [], [], write_yaml(root / "s.yaml", SPACE))


@pytest.fixture
def tried(root, monkeypatch):
    """Trials as they were executed: name and parameters. The best rate is 0.01; a rate above 0.05 fails."""
    tried = []

    def execute(planned):
        tried.append((planned.name, {name: planned.values[name] for name in SPACE}))
        rate = planned.values["LEARNING_RATE"]
        failed = rate > 0.05
        write_record(root, planned.name, state="failed in 03_train" if failed else "trained")
        (root / "reports" / planned.name / "metrics.json").unlink()
        if failed:
            raise RunError(f"the rate {rate:.2g} is too high")
        return {"n_clips": 8, "uar": min(rate, 0.01) / 0.01, "accuracy": 0.5, "macro_f1": 0.5, "loss": 1.0}

    monkeypatch.setattr(work, "execute_trial", execute)
    return tried


# Space


def test_space_is_read(root):
    space = read_space(write_yaml(root / "s.yaml", SPACE | {"AUGMENT": [[], ["mask"]]}), {"FEATURES": "logmel"})
    assert space["LSTM_UNITS"] == Choices((32, 64))
    assert space["DROPOUT_RATE"] == Range(0.1, 0.5, log=False, step=0.1, whole=False)
    assert space["LEARNING_RATE"] == Range(0.0001, 0.1, log=True, step=None, whole=False)
    assert space["AUGMENT"].keys == ("[]", '["mask"]') and space["AUGMENT"].to_value('["mask"]') == ["mask"]
    held = [value for value in (0.1, 0.3, 0.35, 0.6, True) if space["DROPOUT_RATE"].holds(value)]
    assert held == [0.1, 0.3]


def test_whole_parameters_stay_whole(root):
    space = read_space(write_yaml(root / "s.yaml", {"LSTM_UNITS": {"low": 8, "high": 64, "log": True}}), {})
    assert type(space["LSTM_UNITS"].distribution()).__name__ == "IntDistribution"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ({"LSTM_UNIT": [1, 2]}, r"`LSTM_UNIT` is not a parameter. Did you mean `LSTM_UNITS`\?"),
        ({"SEED": [1, 2]}, r"others decide what is measured.* Got `SEED` \(Data\)"),
        ({"TEST_FRACTION": {"low": 0.1, "high": 0.2}}, r"Got `TEST_FRACTION` \(Split\)"),
        ({"LSTM_UNITS": [64]}, "two or more different choices"),
        ({"LSTM_UNITS": [64, 64]}, "two or more different choices. Got '?64'? twice"),
        ({"LSTM_UNITS": 64}, "must be a list of choices, or have low, high"),
        ({"LSTM_UNITS": {"low": 1, "high": 2, "to": 3}}, "must be a list of choices, or have low, high"),
        ({"LSTM_UNITS": [0, 64]}, "`LSTM_UNITS` must be greater than or equal to 1. Got 0"),
        ({"DROPOUT_RATE": {"low": 0.5, "high": 1}}, "`DROPOUT_RATE` must be less than 1. Got 1"),
        ({"LSTM_UNITS": {"low": 0.5, "high": 8}}, "`LSTM_UNITS` must be a valid integer"),
        ({"DROPOUT_RATE": {"low": 0.5, "high": 0.5}}, "low below its high"),
        ({"DROPOUT_RATE": {"low": 0, "high": 0.5, "log": True}}, "low above 0 with log"),
        ({"LEARNING_RATE": {"low": 0.1, "high": 0.5, "log": True, "step": 0.1}}, "log or a step, not both"),
        ({"DROPOUT_RATE": {"low": 0.1, "high": 0.5, "step": 0.3}}, "reach its high in whole steps"),
        ({"LSTM_UNITS": {"low": 1, "high": 2, "step": 0.5}}, "have a whole step"),
        ({"FRAME_LENGTH": {"low": 512, "high": 1024, "step": 1}}, "`FRAME_LENGTH` must be a multiple of 2. Got 513"),
        ({"MODEL": ["bilstm", "cnn"]}, "`MODEL: cnn` needs `FEATURES: logmel`"),
        ({}, "It is empty"),
    ],
)
def test_space_is_refused_in_a_line(root, line, message):
    with pytest.raises(ParameterError, match=message) as caught:
        read_space(write_yaml(root / "s.yaml", line), {})
    assert "s.yaml" in str(caught.value) and "\n" not in str(caught.value)


def test_parameters_that_need_one_another_may_be_swept_together(root):
    space = {"MODEL": ["bilstm", "cnn"], "FEATURES": ["mfcc", "logmel"], "POOLING": ["last", "mean_max"]}
    assert set(read_space(write_yaml(root / "s.yaml", space), {})) == set(space)


def test_parameter_of_the_space_cannot_be_overridden(root):
    space = write_yaml(root / "s.yaml", SPACE)
    with pytest.raises(ParameterError, match="Leave out -p LSTM_UNITS"):
        work.plan_sweep(write_yaml(root / "x.yaml", {}), [], ["LSTM_UNITS=8"], space)


# Objective


@pytest.mark.parametrize("name", ["test_uar", "TEST", "test.accuracy"])
def test_figures_of_the_test_set_are_refused(name):
    with pytest.raises(ParameterError, match=r"must be a figure of the validation set.*chooses by the test set"):
        check_objective(name)


def test_other_figures_are_named():
    assert check_objective("validation_loss") == check_objective("loss") == "loss"
    with pytest.raises(ParameterError, match=r"uar, accuracy, macro_f1, loss\. Got"):
        check_objective("f1")


# Trials


def test_first_trial_is_the_experiment_as_it_is(asked, tried):
    work.run_sweep(asked, 1)
    assert tried == [("x_s_t0", {"LSTM_UNITS": 64, "DROPOUT_RATE": 0.3, "LEARNING_RATE": 0.001})]


def test_failed_trial_is_told_and_the_sweep_goes_on(asked, tried):
    told = []
    work.run_sweep(asked, 12, show=told.append)
    sweep = read_sweep(asked.folder)
    failed = [name for name, values in tried if values["LEARNING_RATE"] > 0.05]
    assert failed and len(tried) == 12
    assert [f"x_s_t{trial.number}" for trial in sweep.failed] == failed
    assert len(sweep.trials) == 12 - len(failed)
    assert any("failed: the rate" in line for line in told) and "is too high" in to_text(sweep)
    best = max((values for _, values in tried if values["LEARNING_RATE"] <= 0.05), key=lambda v: v["LEARNING_RATE"])
    assert sweep.trials[0].value == pytest.approx(min(best["LEARNING_RATE"], 0.01) / 0.01)


def test_stopped_sweep_goes_on_as_if_it_had_not_stopped(asked, tried, root, monkeypatch):
    work.run_sweep(asked, 14)
    whole, execute = list(tried), work.execute_trial
    tried.clear()
    again = work.plan_sweep(root / "x.yaml", [], [], root / "s.yaml", name="y")

    def stop(planned):
        raise KeyboardInterrupt

    for n_trials in (3, 12):
        work.run_sweep(again, n_trials)
        monkeypatch.setattr(work, "execute_trial", stop)
        with pytest.raises(KeyboardInterrupt):
            work.run_sweep(again, 14)
        monkeypatch.setattr(work, "execute_trial", execute)
    work.run_sweep(again, 14)
    assert tried == [(name.replace("x_s", "y"), values) for name, values in whole]


def test_line_cut_off_by_a_kill_is_mended(asked, tried):
    work.run_sweep(asked, 2)
    journal = asked.folder / "optuna.log"
    with journal.open("a") as file:
        file.write('{"op_code":8,"tri')
    (asked.folder / "optuna.log.lock").touch()
    work.run_sweep(asked, 3)
    assert len(tried) == 3 and len(read_sweep(asked.folder).trials) + len(read_sweep(asked.folder).failed) == 3


def test_sweep_whose_trials_all_fail_is_stopped(asked, monkeypatch):
    tried = []

    def fail(planned):
        tried.append(planned.name)
        raise RunError("no corpus")

    monkeypatch.setattr(work, "execute_trial", fail)
    with pytest.raises(RunError, match="5 trials in a row failed"):
        work.run_sweep(asked, 30)
    assert len(tried) == 5


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"objective": "loss"}, "by the validation uar, and not by loss"),
        ({"overrides": ["EPOCHS=9"]}, "with other parameters .EPOCHS: not named, now 9."),
        ({"space": {"LSTM_UNITS": [8, 9]}}, "over another space .DROPOUT_RATE"),
    ],
)
def test_sweep_of_something_else_is_refused(asked, tried, root, change, message):
    work.run_sweep(asked, 1)
    space = write_yaml(root / "s.yaml", change.get("space", SPACE))
    objective = change.get("objective", "uar")
    other = work.plan_sweep(root / "x.yaml", [], change.get("overrides", []), space, objective=objective)
    with pytest.raises(RunError, match=message):
        work.run_sweep(other, 2)


def test_two_processes_do_not_share_a_sweep(asked, tried, root):
    with (
        runs.hold_folder(root / "artifacts" / "x_s_sweep", "test"),
        pytest.raises(RunError, match="Only one process at a time may work at the sweep x_s_sweep"),
    ):
        work.run_sweep(asked, 1)


def test_trials_of_a_round_are_asked_for_before_any_is_told(asked, tried, root):
    rounds = []

    def execute(planned):
        rounds.append([one.name for one in planned])
        assert not tried or len(tried) % 3 == 0
        yield from work.execute_here(reversed(planned))

    work.run_sweep(asked, 7, execute=execute, at_once=3)
    assert rounds == [["x_s_t0", "x_s_t1", "x_s_t2"], ["x_s_t3", "x_s_t4", "x_s_t5"], ["x_s_t6"]]
    again = work.plan_sweep(root / "x.yaml", [], [], root / "s.yaml", name="y")
    first = dict(tried)
    tried.clear()
    work.run_sweep(again, 7, at_once=3)
    assert {name.replace("y_t", "x_s_t"): values for name, values in tried} == first


def test_stopped_round_is_finished(asked, tried, root):
    def stop(planned):
        yield from work.execute_here(planned[:1])
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        work.run_sweep(asked, 4, execute=stop, at_once=4)
    assert [name for name, _ in tried] == ["x_s_t0"]
    work.run_sweep(asked, 4, at_once=4)
    assert sorted(name for name, _ in tried) == ["x_s_t0", "x_s_t1", "x_s_t2", "x_s_t3"]


def test_sweep_that_is_given_fewer_trials_than_it_has_had_leaves_a_stopped_one(asked, tried):
    def stop(planned):
        raise KeyboardInterrupt

    work.run_sweep(asked, 3)
    with pytest.raises(KeyboardInterrupt):
        work.run_sweep(asked, 6, execute=stop, at_once=2)
    told = []
    work.run_sweep(asked, 2, show=told.append)
    assert told == [] and len(tried) == 3
    work.run_sweep(asked, 4, show=told.append)
    assert [line.split(":")[0] for line in told if line.startswith("Trial")] == ["Trial x_s_t3, 4 of 4"]
    told.clear()
    work.run_sweep(asked, 5, show=told.append)
    assert [line.split(":")[0] for line in told if line.startswith("Trial")] == ["Trial x_s_t4, 5 of 5"]


# Results


def test_advice_names_ends_of_ranges(asked, tried):
    work.run_sweep(asked, 2)
    sweep = read_sweep(asked.folder)
    best = sweep.trials[0].params
    at_an_end = {
        name for name in ("DROPOUT_RATE", "LEARNING_RATE") if f"{name}: the best value lies" in str(sweep.advice)
    }
    assert ("DROPOUT_RATE" in at_an_end) == (best["DROPOUT_RATE"] in (0.1, 0.5))


def test_page_shows_pictures_and_trials_and_no_test_figure(asked, tried, root):
    work.run_sweep(asked, 12)
    assert not build_site().left_out
    page = (asked.folder / "index.html").read_text()
    assert page.count("<svg") == 3
    for text in ("Trial by trial", "How much each parameter mattered", "The parameters of all trials"):
        assert text in page
    assert page.count('href="../x_s_t') == len(read_sweep(asked.folder).trials)
    best = read_sweep(asked.folder).trials[0].number
    assert f"once: ser run --resume x_s_t{best}" in page
    assert not re.search(r"https?://(?!www\.w3\.org|purl\.org|creativecommons\.org|matplotlib\.org)", page)
    assert build_site().n_written == 0


def test_page_tells_what_was_measured_on_the_test_set(asked, tried, root):
    work.run_sweep(asked, 3)
    best = read_sweep(asked.folder).trials[0].number
    folder = root / "reports" / f"x_s_t{best}"
    for file in folder.iterdir():
        file.unlink()
    folder.rmdir()
    write_record(root, f"x_s_t{best}")
    sweep = read_sweep(asked.folder)
    assert sweep.measured == [(str(best), f"x_s_t{best}", "1.000", "", "1.000")]
    assert "ser run --resume" not in to_text(sweep)


def test_damaged_journal_is_left_out_of_the_site(asked, tried, root):
    work.run_sweep(asked, 2)
    (asked.folder / "optuna.log").write_text("{}\n{}\n")
    assert "optuna.log is damaged" in str(build_site().left_out)
    with pytest.raises(RunError, match="is damaged"):
        work.run_sweep(asked, 3)


def test_missing_optuna_is_named(asked, root, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "optuna", None)
    with pytest.raises(ExtraError, match=r"pip install 'ser_lib\[sweep\]'"):
        work.run_sweep(asked, 1)


def test_run_ends_with_its_model_is_made_light_and_goes_on(project, monkeypatch):
    executed = []

    def execute(stage, params, *, scratch, record):
        executed.append(stage)
        (record / f"{stage}.ipynb").write_text("{}")
        for path in runs.Run("x", params).outputs(stage):
            path.write_text("clip,sha256\na,b\n")

    monkeypatch.setattr(runs, "execute_notebook", execute)
    monkeypatch.setattr(runs, "write_model_card", lambda folder: None)
    run = runs.start_run({}, name="x")
    runs.execute_run(run, runs.TRAINING)
    assert (executed, find_record("x").state) == (list(runs.STAGES[:3]), "trained")
    for one in plan_slimming(["x"]):
        slim(one)
    runs.execute_run(runs.resume_run("x"), runs.TRAINING)
    assert len(executed) == 3 and not (run.record / "model.onnx").exists()
    runs.execute_run(runs.resume_run("x"))
    assert (executed, find_record("x").state) == (list(runs.STAGES), "done")
    runs.execute_run(runs.resume_run("x"), runs.TRAINING)
    assert (len(executed), find_record("x").state) == (5, "done")


@pytest.mark.slow
def test_trials_end_before_the_test_set_and_the_best_goes_on(project, monkeypatch, capsys):
    space = write_yaml(project / "s.yaml", {"LSTM_UNITS": [4, 8]})
    command = ["sweep", "params/demo.yaml", "--space", str(space), "--trials", "2", "-p", "EPOCHS=2"]
    status, told, _ = call(monkeypatch, capsys, *command)
    assert status == 0
    sweep = read_sweep(project / "reports" / "demo_s_sweep")
    best, other = (f"demo_s_t{trial.number}" for trial in sweep.trials)
    for name in (best, other):
        assert find_record(name).state == "trained"
        assert not (project / "reports" / name / "metrics.json").exists()
        assert not list((project / "reports" / name).glob("*.onnx"))
    assert (project / "reports" / "demo_s_t0" / "03_train.ipynb").is_file()
    assert not (project / "reports" / "demo_s_t1" / "03_train.ipynb").is_file()
    assert (project / "artifacts" / best / "model.onnx").is_file()
    assert not (project / "artifacts" / other / "model.onnx").is_file()
    assert f"ser run --resume {best}" in told
    trained = json.loads((project / "reports" / best / "manifest.json").read_text())["stages"]["03_train"]
    assert call(monkeypatch, capsys, "run", "--resume", best)[0] == 0
    record = find_record(best)
    assert record.state == "done"
    assert json.loads((project / "reports" / best / "manifest.json").read_text())["stages"]["03_train"] == trained
    figures = sweep.trials[0].user_attrs["validation"]
    measured = record.evaluation["validation"]
    assert {name: measured[name] for name in figures} == figures  # those of 04_evaluate
    assert validation_figures(runs.resume_run(best).params) == figures
