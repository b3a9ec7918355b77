import hashlib
import os
import signal
import subprocess
import sys
import time
import wave
from collections import Counter
from pathlib import Path, PurePath

import pytest

from ser_lib.core.errors import DatasetError, ParameterError, SerError
from ser_lib.core.labels import EMOTIONS
from ser_lib.corpora import demo, emodb, get_corpus
from ser_lib.corpora import tess as tess_corpus
from ser_lib.corpora.base import Dataset, Name
from ser_lib.corpora.clips import find_clips

REPO = Path(__file__).resolve().parent.parent


def write(folder, *files, content=None):
    for file in files:
        path = folder / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(path.name.encode() if content is None else content)


def path_of(stem):
    return PurePath(f"{stem}.wav" if stem else "")


def hashes(folder):
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def refusal(name, folder):
    with pytest.raises(DatasetError) as caught:
        find_clips(name, folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("stem", "speaker", "emotion", "text"),
    [
        ("OAF_back_angry", "OAF", "angry", "back"),
        ("YAF_yes_ps", "YAF", "ps", "yes"),
        ("YAF_dog_disgust", "YAF", "disgust", "dog"),
        ("OA_bite_neutral", "OAF", "neutral", "bite"),
        ("oaf_Back_ANGRY", "OAF", "angry", "back"),
        ("OAF_food_fear ", "OAF", "fear", "food"),
    ],
)
def test_tess_name_says_speaker_emotion_and_text(stem, speaker, emotion, text):
    assert tess_corpus.read_name(PurePath(f"sad/{stem}.wav")) == Name(speaker, emotion, text)


@pytest.mark.parametrize(
    ("stem", "reason"),
    [
        ("OAF_back_bored", "unknown emotion 'bored'"),
        ("OAF_back_", "unknown emotion ''"),
        ("XAF_back_angry", "unknown speaker 'XAF'"),
        ("_back_angry", "unknown speaker ''"),
        ("OAF_angry", "SPEAKER_word_emotion"),
        ("OAF_back_angry_2", "SPEAKER_word_emotion"),
        ("OAF__angry", "SPEAKER_word_emotion"),
        ("03-01-05-01-02-01-12", "SPEAKER_word_emotion"),
        ("", "SPEAKER_word_emotion"),
    ],
)
def test_other_names_are_refused_with_the_reason(stem, reason, tmp_path):
    with pytest.raises(ValueError, match=reason):
        tess_corpus.read_name(path_of(stem))
    write(tmp_path, "OAF_bar_sad.wav", f"{stem}.wav" if stem else "x.wav")
    clips, skipped = find_clips("TESS", tmp_path)
    assert [clip.text for clip in clips] == ["bar"]
    assert [(left.file, left.fault) for left in skipped] == [(f"{stem or 'x'}.wav", True)]
    assert reason in skipped[0].reason


def test_unknown_emotion_lists_the_known_ones():
    with pytest.raises(ValueError, match="known: neutral, happy, sad, angry, fear, disgust, ps"):
        tess_corpus.read_name(PurePath("OAF_back_bored.wav"))


def test_labels_are_fixed():
    assert EMOTIONS == ("neutral", "happy", "sad", "angry", "fear", "disgust", "ps")


def test_clip_says_where_it_lies(tmp_path):
    write(tmp_path, "Some folder/OAF_back_angry.wav", content=b"abc")
    (clip,), skipped = find_clips("TESS", tmp_path)
    assert skipped == []
    assert (clip.clip, clip.corpus, clip.speaker, clip.emotion, clip.text, clip.file, clip.sha256) == (
        "TESS/OAF_back_angry",
        "TESS",
        "OAF",
        "angry",
        "back",
        "Some folder/OAF_back_angry.wav",
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",  # FIPS 180-2's example
    )


def test_folder_names_say_nothing(tmp_path):
    write(tmp_path, "YAF_sad/OAF_back_angry.wav", "a/b/c/YAF_bar_ps.wav", "OAF_bath_fear.wav")
    clips, _ = find_clips("TESS", tmp_path)
    assert [clip.clip for clip in clips] == ["TESS/OAF_back_angry", "TESS/OAF_bath_fear", "TESS/YAF_bar_ps"]


def test_the_ending_is_wav_in_any_case_and_nothing_else_counts(tmp_path):
    write(tmp_path, "OAF_a_sad.wav", "OAF_b_sad.WAV", "OAF_c_sad.Wav", "OAF_d_sad.mp3", "OAF_e_sad.txt", "Thumbs.db")
    clips, skipped = find_clips("TESS", tmp_path)
    assert [clip.text for clip in clips] == ["a", "b", "c"]
    assert [(left.file, left.fault) for left in skipped] == [
        ("OAF_d_sad.mp3", False), ("OAF_e_sad.txt", False), ("Thumbs.db", False),
    ]  # fmt: skip


def test_appledouble_files_are_no_clips(tmp_path):
    write(tmp_path, "OAF_back_sad.wav", "._OAF_back_sad.wav", "__MACOSX/TESS/._OAF_bar_sad.wav", ".OAF_bath_sad.wav")
    clips, skipped = find_clips("TESS", tmp_path)
    assert [clip.file for clip in clips] == ["OAF_back_sad.wav"]
    assert skipped == []


def test_copies_with_different_emotions_are_left_out(tmp_path):
    write(tmp_path, "OAF_back_sad.wav", "OAF_bar_sad.wav", "OAF_bath_happy.wav", content=b"the same")
    write(tmp_path, "OAF_bean_sad.wav")
    (clip,), skipped = find_clips("TESS", tmp_path)
    assert clip.file == "OAF_bean_sad.wav"
    assert {left.file for left in skipped} == {"OAF_back_sad.wav", "OAF_bar_sad.wav", "OAF_bath_happy.wav"}
    with pytest.raises(DatasetError, match="another emotion"):
        (tmp_path / "OAF_bean_sad.wav").unlink()
        find_clips("TESS", tmp_path)


def test_nested_second_copy_is_counted_once(tmp_path):
    files = ["OAF_sad/OAF_back_sad.wav", "OAF_sad/OAF_bar_sad.wav", "YAF_sad/YAF_back_sad.wav"]
    nested = [f"TESS copy/TESS copy/{file}" for file in files]
    write(tmp_path, *files, *nested)
    clips, skipped = find_clips("TESS", tmp_path)
    assert [clip.file for clip in clips] == files
    assert sorted(left.file for left in skipped) == nested
    assert all(not left.fault for left in skipped)
    assert "same content as OAF_sad/OAF_back_sad.wav" in {left.reason for left in skipped}


def test_same_content_under_two_names_is_counted_once(tmp_path):
    write(tmp_path, "OAF_back_sad.wav", "OAF_bar_sad.wav", content=b"the same")
    clips, skipped = find_clips("TESS", tmp_path)
    assert [clip.clip for clip in clips] == ["TESS/OAF_back_sad"]
    assert [(left.file, left.fault) for left in skipped] == [("OAF_bar_sad.wav", False)]


def test_other_content_under_the_same_name_is_left_out_and_named(tmp_path):
    write(tmp_path, "OAF_back_sad.wav", content=b"one")
    write(tmp_path, "b/OAF_back_sad.wav", content=b"two")
    clips, skipped = find_clips("TESS", tmp_path)
    assert [clip.file for clip in clips] == ["OAF_back_sad.wav"]
    assert [(left.file, left.fault) for left in skipped] == [("b/OAF_back_sad.wav", True)]
    assert "OAF_back_sad.wav" in skipped[0].reason


def test_order_is_that_of_the_names_not_of_the_folders(tmp_path):
    names = ["OAF_back_sad.wav", "OAF_bar_sad.wav", "YAF_back_angry.wav", "YAF_back_sad.wav"]
    write(tmp_path / "one", *(f"{number}/{name}" for number, name in enumerate(names)))
    write(tmp_path / "two", *(f"{9 - number}/{name}" for number, name in enumerate(reversed(names))))
    one, two = (find_clips("TESS", tmp_path / folder)[0] for folder in ("one", "two"))
    assert [(clip.clip, clip.sha256) for clip in one] == [(clip.clip, clip.sha256) for clip in two]


def test_broken_link_is_skipped_and_named(tmp_path):
    write(tmp_path, "OAF_back_sad.wav")
    (tmp_path / "OAF_bar_sad.wav").symlink_to(tmp_path / "nowhere.wav")
    clips, skipped = find_clips("TESS", tmp_path)
    assert len(clips) == 1
    assert [(left.file, left.reason) for left in skipped] == [("OAF_bar_sad.wav", "No such file or directory")]


def test_missing_folder_says_where_to_get_tess(tmp_path):
    message = refusal("TESS", tmp_path / "nowhere")
    assert str(tmp_path / "nowhere") in message
    assert "ser data get TESS" in message and "https://doi.org/10.5683/SP2/E8H2MF" in message
    assert "-p DATASET_PATH=data/TESS" in message


def test_sources_are_those_of_the_authors():
    assert Dataset("10.5683/SP2/E8H2MF") == tess_corpus.DOWNLOAD
    assert emodb.DOWNLOAD.url.startswith("http://emodb.bilderbar.info/")


def test_file_for_a_folder_is_refused(tmp_path):
    write(tmp_path, "TESS.zip")
    assert "must be the folder of TESS" in refusal("TESS", tmp_path / "TESS.zip")


def test_empty_folder_says_where_to_get_tess(tmp_path):
    message = refusal("TESS", tmp_path)
    assert "it has no wav files" in message
    assert "ser data get TESS" in message


def test_folder_of_another_corpus_names_a_file_and_its_reason(tmp_path):
    write(tmp_path, "a/03a01Fa.wav", "a/03a01Nc.wav")
    message = refusal("TESS", tmp_path)
    assert (
        "none of its 2 files is one (a/03a01Fa.wav and 1 more: the name does not read SPEAKER_word_emotion)" in message
    )


def test_unknown_corpus_is_refused_with_the_known_ones():
    with pytest.raises(ParameterError, match=r"`CORPORA` must name some of DEMO, TESS.* Got 'TESSA'"):
        get_corpus("TESSA")


@pytest.mark.parametrize("nested", [False, True])
def test_real_names_give_every_clip_once(tess, tmp_path, nested):
    write(tmp_path, *tess.names, *(f"TESS/{name}" for name in tess.names if nested))
    clips, skipped = find_clips("TESS", tmp_path)
    expected = {(speaker, emotion): 200 for speaker in ("OAF", "YAF") for emotion in EMOTIONS}
    expected |= {("OAF", "angry"): 199, ("YAF", "sad"): 199}
    assert Counter((clip.speaker, clip.emotion) for clip in clips) == expected
    assert len({clip.clip for clip in clips}) == len(clips) == 2798
    assert len({clip.text for clip in clips}) == 200
    assert len(skipped) == (2798 if nested else 0)
    assert all(not left.fault for left in skipped)


def test_demo_has_tess_layout(demo_folder):
    files = sorted(path.relative_to(demo_folder).as_posix() for path in demo_folder.rglob("*") if path.is_file())
    words = ["back", "bar", "base", "bath", "bean", "beg", "bite", "boat"]
    assert files == sorted(
        f"{speaker}_{emotion}/{speaker}_{word}_{emotion}.wav"
        for speaker in ("ESA", "ESB")
        for emotion in EMOTIONS
        for word in words
    )


def test_demo_clips_are_found(demo_folder):
    clips, skipped = find_clips("DEMO", demo_folder)
    counts = Counter((clip.speaker, clip.emotion) for clip in clips)
    assert counts == {(speaker, emotion): 8 for speaker in ("ESA", "ESB") for emotion in EMOTIONS}
    assert skipped == []


def test_demo_files_are_audible_wav(demo_folder):
    for path in demo_folder.rglob("*.wav"):
        with wave.open(str(path)) as file:
            assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, 22050)
            assert 0.7 < file.getnframes() / 22050 < 4
            assert len(set(file.readframes(file.getnframes()))) > 100


def test_demo_has_the_same_bytes_in_a_deep_folder_with_spaces(demo_folder, tmp_path):
    deep = tmp_path.joinpath(*(5 * [40 * "d" + " e"]), "demo corpus")
    assert len(str(deep)) > 200
    demo.make(deep, n_words=8)
    assert hashes(deep) == hashes(demo_folder)
    assert [path.name for path in deep.parent.iterdir()] == ["demo corpus"]
    assert deep.stat().st_mode == deep.parent.stat().st_mode  # what the umask leaves


def test_missing_demo_is_made_whole(tmp_path):
    clips, _ = find_clips("DEMO", tmp_path / "data" / "demo")
    assert len(clips) == 2 * 7 * 30
    assert len({clip.text for clip in clips}) == 30
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["demo"]


def test_empty_demo_folder_is_refused_and_left_alone(tmp_path):
    message = refusal("DEMO", tmp_path)
    assert "params/tess.yaml" in message  # it may be a folder of recordings
    assert "Remove" not in message
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", [b"OAF_b\xffck_sad.wav", b"OAF_back\nx_sad.wav"])
def test_name_that_cannot_be_printed_is_skipped(tmp_path, name):
    write(tmp_path, "OAF_back_angry.wav")
    (tmp_path / os.fsdecode(name)).write_bytes(b"other")
    clips, skipped = find_clips("TESS", tmp_path)
    assert [clip.clip for clip in clips] == ["TESS/OAF_back_angry"]
    assert len(skipped) == 1
    assert skipped[0].file.isascii() and skipped[0].file.isprintable()


@pytest.mark.parametrize("path", ["file", "file/demo"])
def test_demo_where_a_file_lies_is_refused(tmp_path, path):
    write(tmp_path, "file", content=b"precious")
    with pytest.raises(SerError, match="file"):
        find_clips("DEMO", tmp_path / path)
    assert [file.read_bytes() for file in tmp_path.iterdir()] == [b"precious"]


def test_failed_making_leaves_nothing_and_says_why(tmp_path, monkeypatch):
    long = tmp_path.joinpath(*(4 * [40 * "t"]))
    long.mkdir(parents=True)
    monkeypatch.setenv("TMPDIR", str(long))
    with pytest.raises(
        DatasetError, match=r"could not be made in .*temporary folder must be shorter than 150"
    ) as caught:
        demo.make(tmp_path / "data" / "demo", n_words=1)
    assert "\n" not in str(caught.value)
    assert list((tmp_path / "data").iterdir()) == []


def test_full_disk_leaves_nothing_and_says_so(tmp_path):
    code = (
        "import resource, sys, pathlib; from ser_lib.corpora import demo; "
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000)); demo.make(pathlib.Path(sys.argv[1]), n_words=1)"
    )
    command = [sys.executable, "-B", "-c", code, str(tmp_path / "data" / "demo")]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"})
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("ser_lib.core.errors.DatasetError: The demo corpus could not be made")
    assert "File too large" in last
    assert list((tmp_path / "data").iterdir()) == []


def test_interrupted_making_leaves_nothing(tmp_path, monkeypatch):
    def interrupted(command, **_options):
        Path(command[3], "ESA_neutral").mkdir()
        raise KeyboardInterrupt

    monkeypatch.setattr(demo.subprocess, "run", interrupted)
    with pytest.raises(KeyboardInterrupt):
        demo.make(tmp_path / "demo", n_words=1)
    assert list(tmp_path.iterdir()) == []


def test_killed_making_is_not_taken_for_a_corpus(tmp_path, demo_folder):
    code = "import sys, pathlib; from ser_lib.corpora import demo; demo.make(pathlib.Path(sys.argv[1]))"
    command = [sys.executable, "-c", code, str(tmp_path / "demo")]
    with subprocess.Popen(command, start_new_session=True) as process:
        while not any(tmp_path.rglob("*.wav")) and process.poll() is None:
            time.sleep(0.01)
        os.killpg(process.pid, signal.SIGKILL)
    assert any(tmp_path.rglob("*.wav"))
    assert not (tmp_path / "demo").exists()
    demo.make(tmp_path / "demo", n_words=8)
    assert hashes(tmp_path / "demo") == hashes(demo_folder)


# EMO-DB


# 2 digits of speaker, 3 characters of text, a letter of emotion, one of version: the corpus's own documentation
@pytest.mark.parametrize(
    ("stem", "speaker", "emotion", "text", "version"),
    [
        ("03a01Fa", "03", "happy", "a01", "a"),  # Freude
        ("03a01Nc", "03", "neutral", "a01", "c"),
        ("08b02Wd", "08", "angry", "b02", "d"),  # Wut
        ("16a04Eb", "16", "disgust", "a04", "b"),  # Ekel
        ("09b10Aa", "09", "fear", "b10", "a"),  # Angst
        ("11b03Td", "11", "sad", "b03", "d"),  # Trauer
        ("03a01Fa ", "03", "happy", "a01", "a"),
    ],
)
def test_emodb_name_says_speaker_emotion_text_and_version(stem, speaker, emotion, text, version):
    assert emodb.read_name(PurePath(f"wav/{stem}.wav")) == Name(speaker, emotion, text, version)


@pytest.mark.parametrize(
    ("stem", "reason"),
    [
        ("03a01Xa", "unknown emotion 'X' in the name; known: W, E, A, F, T, N, L"),
        ("03c01Fa", "does not read like 03a01Fa"),
        ("3a01Fa", "does not read like 03a01Fa"),
        ("03a01F", "does not read like 03a01Fa"),
        ("03a01fa", "does not read like 03a01Fa"),
        ("03a01Faa", "does not read like 03a01Fa"),
        ("OAF_back_angry", "does not read like 03a01Fa"),
        ("", "does not read like 03a01Fa"),
    ],
)
def test_other_names_are_no_clips_of_emodb(stem, reason, tmp_path):
    with pytest.raises(ValueError, match=reason):
        emodb.read_name(path_of(stem))
    write(tmp_path, "03a02Na.wav", f"{stem or 'x'}.wav")
    clips, skipped = find_clips("EMODB", tmp_path)
    assert [clip.clip for clip in clips] == ["EMODB/03_a02_neutral_a"]
    assert [(left.file, left.fault) for left in skipped] == [(f"{stem or 'x'}.wav", True)]


def test_boredom_is_left_out_and_no_fault(tmp_path):
    write(tmp_path, "wav/03a01Fa.wav", "wav/03a01La.wav")
    clips, skipped = find_clips("EMODB", tmp_path)
    assert [(clip.clip, clip.speaker, clip.text) for clip in clips] == [("EMODB/03_a01_happy_a", "03", "a01")]
    (left,) = skipped
    assert (left.file, left.fault) == ("wav/03a01La.wav", False)
    assert left.reason == "boredom has no counterpart among the seven emotions"


def test_versions_of_a_sentence_are_clips_of_their_own(tmp_path):
    write(tmp_path, "03a02Wb.wav", "03a02Wc.wav")
    clips, skipped = find_clips("EMODB", tmp_path)
    assert [clip.clip for clip in clips] == ["EMODB/03_a02_angry_b", "EMODB/03_a02_angry_c"]
    assert {clip.text for clip in clips} == {"a02"}
    assert skipped == []


# Counted from the corpus's documentation: 535 recordings, 127 anger, 81 boredom, 46 disgust, 69 fear, 71 happiness,
# 62 sadness, 79 neutral; by speaker, counted with `ls | cut -c1-2 | sort | uniq -c`, without those in L
EMODB_EMOTIONS = {"angry": 127, "disgust": 46, "fear": 69, "happy": 71, "sad": 62, "neutral": 79}
EMODB_SPEAKERS = {"03": 44, "08": 48, "09": 39, "10": 30, "11": 47, "12": 30, "13": 51, "14": 61, "15": 47, "16": 57}


def counts_are_those_of_emodb(clips, skipped):
    assert Counter(clip.emotion for clip in clips) == EMODB_EMOTIONS
    assert Counter(clip.speaker for clip in clips) == EMODB_SPEAKERS
    assert {clip.text for clip in clips} == {"a01", "a02", "a04", "a05", "a07", "b01", "b02", "b03", "b09", "b10"}
    assert len({clip.clip for clip in clips}) == len(clips) == 535 - 81
    assert [left.fault for left in skipped] == [False] * 81


def test_real_names_of_emodb_give_every_clip_but_boredom(emodb_names, tmp_path):
    write(tmp_path, *emodb_names)
    counts_are_those_of_emodb(*find_clips("EMODB", tmp_path))


def test_files_of_emodb_are_all_different():
    folder = REPO / "data" / "EMODB"
    if not folder.is_dir():
        pytest.skip("no EMO-DB: data/EMODB is missing")
    counts_are_those_of_emodb(*find_clips("EMODB", folder))


def test_missing_emodb_says_where_to_get_it(tmp_path):
    message = refusal("EMODB", tmp_path / "nowhere")
    assert "ser data get EMODB" in message and "http://emodb.bilderbar.info" in message
    assert "-p DATASET_PATH=data/EMODB" in message
