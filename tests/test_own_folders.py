"""Several folders of one's own, each by its name; and speakers by what files are called."""

import time

import numpy as np
import pytest
import soundfile

from ser_lib.core import patterns
from ser_lib.core.errors import DatasetError, ParameterError
from ser_lib.corpora import get_corpus, own
from ser_lib.corpora.clips import check_folder, find_clips, find_corpora
from ser_lib.model.bundle import _licence
from ser_lib.params import make_params
from ser_lib.preprocess import preprocess_data
from ser_lib.records import plan
from ser_lib.split import split_data

RATE = 16000
TWO = ["OWN:interviews", "OWN:calls"]


@pytest.fixture
def folders(root):
    # two folders with the same names of files, in which other things are heard
    rng = np.random.default_rng(5)
    for folder in ("interviews", "calls"):
        for emotion in ("happy", "sad"):
            for file in ("anna_1", "anna_2", "ben_1", "ben_2"):
                path = root / "mine" / folder / emotion / f"{file}.wav"
                path.parent.mkdir(parents=True, exist_ok=True)
                soundfile.write(path, 0.3 * rng.standard_normal(RATE // 8), RATE)
    return root / "mine"


def params_of(*corpora, **changes):
    small = {"DATASET_PATH": "mine", "N_JOBS": 1, "SAMPLING_RATE": RATE, "DENOISE": False}
    return make_params(small | {"CORPORA": list(corpora)} | changes)


def test_each_folder_has_its_name(folders):
    data = preprocess_data(params_of(*TWO, SPEAKER_PATTERN=r"^([a-z]+)_"))
    assert data.clips.groupby("corpus").size().to_dict() == {"OWN:calls": 8, "OWN:interviews": 8}
    assert set(data.clips["speaker"]) == {f"{corpus}/{name}" for corpus in TWO for name in ("anna", "ben")}
    assert set(data.clips["file"]) == {path.relative_to(folders).as_posix() for path in folders.rglob("*.wav")}
    assert data.clips["clip"].is_unique and data.clips["clip"][0].startswith("OWN:calls/anna_happy/anna_1.wav")


def test_one_folder_tests_what_was_learnt_from_another(folders):
    params = params_of("OWN:interviews", TEST_CORPORA=["OWN:calls"], SPLIT="corpus", VALIDATION_FRACTION=0.25)
    table = split_data(preprocess_data(params), params)
    assert set(table.loc[table["set"] == "test", "corpus"]) == {"OWN:calls"}
    assert set(table.loc[table["set"] != "test", "corpus"]) == {"OWN:interviews"}


def test_one_folder_alone_lies_in_the_same_place(folders):
    data = preprocess_data(params_of("OWN:calls", SPEAKER_PATTERN="([a-z]+)_"))
    assert set(data.clips["speaker"]) == {"anna", "ben"}  # as of any single corpus
    assert set(data.clips["file"].str.partition("/")[0]) == {"calls"}


def test_a_folder_that_is_not_there_is_named_with_those_that_are(folders):
    with pytest.raises(DatasetError) as caught:
        check_folder("OWN:call", folders / "call")
    assert str(caught.value) == (
        f"`DATASET_PATH` must hold the folder call of OWN:call. {folders} holds calls, interviews."
    )
    with pytest.raises(DatasetError, match=r"must hold the folder a of OWN:a\. .*nowhere is no folder\.$"):
        find_corpora(params_of("OWN:a", DATASET_PATH="nowhere").corpus_folders, {})


@pytest.mark.parametrize(
    "name", ["OWN:", "OWN:../mine", "OWN:a/b", r"OWN:a\b", "OWN:.git", "OWN:a:b", "OWN:a ", "OWN:\x1b"]
)
def test_what_is_no_name_of_a_folder_is_refused(name):
    with pytest.raises(ParameterError, match=r"as OWN:FOLDER, where FOLDER lies in `DATASET_PATH`") as caught:
        get_corpus(name)
    assert str(caught.value).isprintable()


def test_names_that_are_one_folder_on_some_machines_are_refused():
    with pytest.raises(ParameterError, match=r"must name a corpus once\. Got OWN:Calls twice"):
        params_of("OWN:Calls", "OWN:calls")


def test_licence_names_each_folder():
    assert get_corpus("OWN:calls") is own
    lines = _licence(TWO).splitlines()
    assert [line for line in lines if "folder of your" in line] == [f"{name}: {own.ABOUT}" for name in TWO]


def test_names_of_runs_hold_no_colon(folders):
    (folders.parent / "mine.yaml").write_text(f"CORPORA: [{', '.join(TWO)}]\nDATASET_PATH: mine\n")
    names = [
        one.name
        for one in plan.plan_files([folders.parent / "mine.yaml"], [], ["TEST_CORPORA=[DEMO]", "SPLIT=corpus"]).runs
    ]
    names += [one.name for one in plan._leave_out_corpora("x", {"CORPORA": TWO, "DATASET_PATH": "mine"}, [0])]
    assert names[0].startswith("own-interviews-own-calls-to-demo-mine-2")
    assert names[1:] == ["x_to-own-interviews_s0", "x_to-own-calls_s0"]


@pytest.mark.parametrize(
    ("pattern", "speakers"),
    [
        (r"_(\d)", {"1", "2"}),  # anywhere in the name
        (r"^(\w+?)_", {"anna", "ben"}),  # from its beginning, not that of the path
        ("(anna)", {"anna", ""}),  # of the others the speaker is unknown
        ("^([a-z]+)/", {"happy", "sad"}),  # with a slash, in the path
    ],
)
def test_a_pattern_names_speakers(folders, pattern, speakers):
    clips, _ = find_clips("OWN", folders / "calls", speaker_pattern=pattern)
    assert {clip.speaker for clip in clips} == speakers


def test_a_table_goes_before_a_pattern(folders):
    (folders / "calls" / "clips.csv").write_text(
        "path,emotion,speaker\nhappy/anna_1.wav,sad,carla\nsad/ben_1.wav,sad,\n"
    )
    clips, _ = find_clips("OWN", folders / "calls", speaker_pattern="([a-z]+)_")
    assert {clip.speaker for clip in clips} == {"carla", ""}


@pytest.mark.parametrize("pattern", ["([a-z]+", "[a-z]+_", "(a)(b)", "(a{99999999999})", "(?P<a>x)|(?P<a>y)"])
def test_what_is_no_pattern_is_refused_in_one_line(pattern):
    with pytest.raises(
        ParameterError, match=r"`SPEAKER_PATTERN` must be a regular expression with one group"
    ) as caught:
        params_of("OWN", SPEAKER_PATTERN=pattern)
    assert "\n" not in str(caught.value)


def test_a_pattern_needs_a_folder_of_ones_own():
    with pytest.raises(ParameterError, match=r"`SPEAKER_PATTERN` needs OWN in `CORPORA`\. Got TESS, EMODB\."):
        params_of("TESS", "EMODB", SPEAKER_PATTERN="(a)")


def test_a_pattern_that_is_in_no_name_is_told(folders):
    with pytest.raises(
        ParameterError, match=r"in names of OWN:calls; it is in none of 8, such as anna_1\.wav\. Got '\("
    ):
        find_clips("OWN:calls", folders / "calls", speaker_pattern=r"(\d\d)")


def test_a_pattern_that_takes_for_ever_is_stopped(folders, monkeypatch):
    monkeypatch.setattr(patterns, "_SECONDS", 1.0)
    path = folders / "calls" / "happy" / f"{'a' * 60}b.wav"
    (folders / "calls" / "happy" / "anna_1.wav").rename(path)
    begun = time.monotonic()
    with pytest.raises(ParameterError, match=r"must be found in 8 names within 1 seconds\. Got '\(\(\?:a\|aa\)\+\)\$'"):
        find_clips("OWN", folders / "calls", speaker_pattern="((?:a|aa)+)$")
    assert time.monotonic() - begun < 20
