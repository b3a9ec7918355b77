import csv
import re
from collections import Counter
from pathlib import Path, PurePath
from types import ModuleType
from typing import NamedTuple

import av
import numpy as np
import pytest
import yaml

from ser_lib import corpora
from ser_lib.audio.signal import load_audio
from ser_lib.core.errors import DatasetError, ParameterError
from ser_lib.core.labels import EMOTIONS
from ser_lib.corpora import CORPORA, crema_d, own, ravdess, savee
from ser_lib.corpora.base import Archive, FilesOf, Name
from ser_lib.corpora.clips import find_clips, find_corpora
from ser_lib.corpora.left_out import Skipped

REPO = Path(__file__).resolve().parent.parent
REGISTRIES = REPO / "ser_lib" / "corpora" / "registries"
DOCS = (REPO / "docs" / "corpora.md").read_text(encoding="utf-8")
LISTED = ("TESS", "RAVDESS", "CREMA-D", "SAVEE", "EMODB", "ASED", "TUREV")


def write(folder, *files, content=None):
    for file in files:
        path = folder / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(file.encode() if content is None else content)


def write_table(folder, text, encoding="utf-8"):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "clips.csv").write_bytes(text.encode(encoding))


def refusal(error, function, *args):
    with pytest.raises(error) as caught:
        function(*args)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def registry(name):
    with (REGISTRIES / f"{name}.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def tone(number, sampling_rate, channels=1):
    t = np.arange(sampling_rate // 5) / sampling_rate
    signals = [0.5 * np.sin(2 * np.pi * (200 + 10 * number + channel) * t) for channel in range(channels)]
    return np.stack(signals, axis=1).squeeze()


# The real names. What is expected is what the corpora's authors publish


def every_name(name):
    rows = registry(name)
    return rows, [CORPORA[name].read_name(PurePath(row["file"])) for row in rows]


def test_every_real_name_of_tess():
    rows, names = every_name("TESS")
    assert Counter((name.speaker, name.emotion) for name in names) == {
        (speaker, emotion): 200 for speaker in ("OAF", "YAF") for emotion in EMOTIONS
    }
    assert len({name.text for name in names}) == 200
    assert len(set(names)) == len(rows) == 2800


# https://zenodo.org/records/1188976: 60 trials for each of 24 actors; 8 emotions, neutral without strong intensity
def test_every_real_name_of_ravdess():
    rows, names = every_name("RAVDESS")
    assert Counter(name.speaker for name in names) == {f"{actor:02}": 60 for actor in range(1, 25)}
    emotions = ("calm", "happy", "sad", "angry", "fearful", "disgust", "surprised")
    assert Counter(name.emotion for name in names) == {"neutral": 96} | dict.fromkeys(emotions, 192)
    assert Counter(name.text for name in names) == {"kids": 720, "dogs": 720}
    assert {name.take for name in names if name.emotion == "neutral"} == {"01-01", "01-02"}
    assert Counter(name.take for name in names if name.emotion == "sad") == dict.fromkeys(
        ("01-01", "01-02", "02-01", "02-02"), 48
    )
    assert len(set(names)) == len(rows) == 1440


# 7,442 clips of 91 actors and 12 sentences; IEO alone was asked for in three levels
def test_every_real_name_of_crema_d():
    rows, names = every_name("CREMA-D")
    assert {name.speaker for name in names} == {str(speaker) for speaker in range(1001, 1092)}
    counts = dict.fromkeys(("anger", "disgust", "fear", "happy", "sad"), 1271)
    assert Counter(name.emotion for name in names) == counts | {"neutral": 1087}
    assert {name.text for name in names} == set("ieo tie iom iwl iww tai mti itsx dfa its tsi wsi ith".split()) - {
        "itsx"
    }
    assert Counter(name.take for name in names) == {"LO": 455, "MD": 455, "HI": 455, "XX": 7442 - 3 * 455}
    assert {name.text for name in names if name.take != "XX"} == {"ieo"}
    assert len(set(names)) == len(rows) == 7442


# The corpus's Info.txt: four speakers, 15 sentences for each of seven emotions, 30 for neutral
def test_every_real_name_of_savee():
    rows, names = every_name("SAVEE")
    assert Counter(name.speaker for name in names) == {"DC": 120, "JE": 120, "JK": 120, "KL": 120}
    emotions = ("anger", "disgust", "fear", "happiness", "sadness", "surprise")
    assert Counter(name.emotion for name in names) == {"neutral": 120} | dict.fromkeys(emotions, 60)
    assert {name.text for name in names if name.emotion == "sadness"} == {f"sa{number:02}" for number in range(1, 16)}
    assert len(set(names)) == len(rows) == 480


# 127 anger, 81 boredom, 46 disgust, 69 fear, 71 happiness, 62 sadness, 79 neutral
EMODB_COUNTS = {"angry": 127, "boredom": 81, "disgust": 46, "fear": 69, "happy": 71, "sad": 62, "neutral": 79}


def test_every_real_name_of_emodb():
    rows, names = every_name("EMODB")
    assert Counter(name.emotion for name in names) == EMODB_COUNTS
    assert Counter(name.speaker for name in names).keys() == set("03 08 09 10 11 12 13 14 15 16".split())
    assert len(set(names)) == len(rows) == 535


# Its authors' page: 2,474 recordings of 65 speakers; seven sentences of each emotion, each said twice
def test_every_real_name_of_ased():
    rows, names = every_name("ASED")
    assert {name.emotion for name in names} == {"neutral", "fearful", "happy", "sad", "angry"}
    assert [Path(row["file"]).parent.name[2:].lower() for row in rows] == [name.emotion for name in names]
    assert {name.speaker for name in names} == {f"{speaker:02}" for speaker in range(1, 66)}
    assert {name.text for name in names if name.emotion == "sad"} == {f"s{number:02}" for number in range(1, 8)}
    assert {name.take for name in names} == {"01", "02"}
    assert len(set(names)) == len(rows) == 2474


# Canpolat et al. 2020: 82 words, six speakers; the folders of emotions hold what the names say
def test_every_real_name_of_turev():
    rows, names = every_name("TUREV")
    assert {name.speaker for name in names} == set("1157 1234 1358 1984 6783 7895".split())
    assert [Path(row["file"]).parent.name.lower() for row in rows] == [name.emotion for name in names]
    assert Counter(name.emotion for name in names if name.speaker == "1984") == dict.fromkeys(
        ("angry", "calm", "happy", "sad"), 82
    )
    assert len(set(names)) == len(rows) == 1735


@pytest.fixture(scope="module")
def copies(tmp_path_factory):
    """Folders that hold files of the real names, of which two are alike where the real ones are."""
    folder = tmp_path_factory.mktemp("copies")
    for name in LISTED:
        for row in registry(name):
            write(folder / name, row["file"], content=row["sha256"].encode())
    return folder


def counts(name, folder, label_map=None):
    clips, skipped = find_clips(name, folder, label_map)
    assert not any(left.fault for left in skipped)
    return Counter(clip.emotion for clip in clips), Counter(left.reason for left in skipped)


def no_counterpart(emotion):
    return f"{emotion} has no counterpart among the seven emotions"


def test_counts_of_ravdess(copies):
    emotions, reasons = counts("RAVDESS", copies / "RAVDESS")
    others = dict.fromkeys(("sad", "angry", "fear", "disgust", "ps"), 192)
    assert emotions == {"neutral": 96, "happy": 191} | others  # one happy recording is there twice
    assert reasons == {no_counterpart("calm"): 192, "same content as Actor_07/03-01-03-01-02-01-07.wav": 1}


def test_calm_may_be_neutral(copies):
    emotions, reasons = counts("RAVDESS", copies / "RAVDESS", {"calm": "neutral"})
    assert emotions["neutral"] == 96 + 192
    assert emotions.total() == 1439
    assert reasons.total() == 1


def test_counts_of_crema_d(copies):
    emotions, reasons = counts("CREMA-D", copies / "CREMA-D")
    # of each emotion 1271, of neutral 1087, less three recordings that are there under two emotions
    assert emotions == {"angry": 1270, "disgust": 1270, "fear": 1270, "happy": 1270, "neutral": 1086, "sad": 1270}
    assert reasons == {
        "same content as AudioWAV/1006_TIE_HAP_XX.wav, with another emotion": 1,
        "same content as AudioWAV/1013_WSI_DIS_XX.wav, with another emotion": 1,
        "same content as AudioWAV/1017_IWW_ANG_XX.wav, with another emotion": 1,
        "another file of the same content has another emotion": 3,
    }


def test_counts_of_savee(copies):
    emotions, reasons = counts("SAVEE", copies / "SAVEE")
    assert emotions == {"neutral": 120} | dict.fromkeys(("happy", "sad", "angry", "fear", "disgust", "ps"), 60)
    assert not reasons


@pytest.mark.parametrize(
    ("label_map", "sad", "angry", "left_out"),
    [
        ({}, 62, 127, {"boredom": 81}),
        ({"boredom": "sad"}, 62 + 81, 127, {}),
        ({"boredom": None, "sad": "angry"}, 0, 127 + 62, {"boredom": 81}),
        ({"angry": None}, 62, 0, {"boredom": 81, "angry": 127}),
    ],
)
def test_counts_of_emodb_change_with_the_map(copies, label_map, sad, angry, left_out):
    emotions, reasons = counts("EMODB", copies / "EMODB", label_map)
    assert (emotions["sad"], emotions["angry"]) == (sad, angry)
    assert reasons == {no_counterpart(emotion): count for emotion, count in left_out.items()}
    assert emotions.total() + sum(left_out.values()) == 535


def test_tess_without_ps(copies):
    emotions, reasons = counts("TESS", copies / "TESS", {"ps": None})
    assert emotions == {emotion: 400 for emotion in EMOTIONS if emotion != "ps"}
    assert reasons == {no_counterpart("ps"): 400}


def test_clip_keeps_the_corpus_own_word_in_its_id(copies):
    clips, _ = find_clips("RAVDESS", copies / "RAVDESS", {"calm": "neutral"})
    (clip,) = [clip for clip in clips if clip.file == "Actor_12/03-01-02-02-02-01-12.wav"]
    assert (clip.clip, clip.emotion) == ("RAVDESS/12_dogs_calm_02-01", "neutral")


def test_emotions_of_every_corpus_map_to_the_seven_or_none():
    missing = {
        "CREMA-D": {"ps"},
        "EMODB": {"ps"},
        "ASED": {"disgust", "ps"},
        "TUREV": {"neutral", "fear", "disgust", "ps"},
    }
    for name, corpus in CORPORA.items():
        assert name == corpus.NAME
        assert set(corpus.EMOTIONS.values()) <= {*EMOTIONS, None}
        assert set(EMOTIONS) - set(corpus.EMOTIONS.values()) == missing.get(name, set())


# A header of 44 bytes, at 16 bits; RAVDESS's files carry some 50 kB more, and are 3.7 s long on average
@pytest.mark.parametrize(
    ("name", "sampling_rate"),
    [("TESS", 24414), ("CREMA-D", 16000), ("SAVEE", 44100), ("EMODB", 16000), ("ASED", 16000), ("TUREV", 44100)],
)
def test_hours_are_those_of_the_files(name, sampling_rate):
    sizes = [int(row["bytes"]) - 44 for row in registry(name)]
    assert round(sum(sizes) / 2 / sampling_rate / 3600, 1) == CORPORA[name].HOURS


def test_hours_of_ravdess():
    assert round(1440 * 3.7 / 3600, 1) == ravdess.HOURS


def test_sources():
    assert (
        Archive(
            "https://zenodo.org/records/1188976/files/Audio_Speech_Actors_01-24.zip",
            208468073,
            "md5:bc696df654c87fed845eb13823edef8a",
        )
        == ravdess.DOWNLOAD
    )
    assert isinstance(crema_d.DOWNLOAD, FilesOf)
    assert crema_d.DOWNLOAD.url.endswith("/")
    assert not hasattr(savee, "DOWNLOAD")
    assert not hasattr(own, "DOWNLOAD")
    assert all(part in savee.WHERE for part in ("kahlan.eps.surrey.ac.uk/savee/", "data/SAVEE", "ser data check"))


# Names, one by one


@pytest.mark.parametrize(
    ("corpus", "path", "name"),
    [
        (ravdess, "03-01-06-01-02-01-12.wav", Name("12", "fearful", "dogs", "01-01")),  # the example on Zenodo
        (ravdess, "Actor_08/03-01-08-02-01-02-08.WAV", Name("08", "surprised", "kids", "02-02")),
        (ravdess, "Actor_01/03-01-01-01-01-01-01 .wav", Name("01", "neutral", "kids", "01-01")),
        (ravdess, "Actor_03/03-01-05-01-01-01-24.wav", Name("24", "angry", "kids", "01-01")),
        (crema_d, "1001_DFA_ANG_XX.wav", Name("1001", "anger", "dfa", "XX")),
        (crema_d, "AudioWAV/1091_ieo_sad_hi.WAV", Name("1091", "sad", "ieo", "HI")),
        (crema_d, "1040_ITH_SAD_X.wav", Name("1040", "sad", "ith", "XX")),
        (crema_d, "1010_IEO_NEU_LO.wav", Name("1010", "neutral", "ieo", "LO")),
        (savee, "DC_a01.wav", Name("DC", "anger", "a01")),
        (savee, "AudioData/DC/a01.wav", Name("DC", "anger", "a01")),
        (savee, "kl/SU15.WAV", Name("KL", "surprise", "su15")),
        (savee, "JE/sa02.wav", Name("JE", "sadness", "sa02")),
        (savee, "jk_n30.wav", Name("JK", "neutral", "n30")),
        (savee, "JE/DC_h03.wav", Name("DC", "happiness", "h03")),
        (savee, "DC/more/f07.wav", Name("DC", "fear", "f07")),
        (savee, "DC/copy/JE/d07.wav", Name("JE", "disgust", "d07")),
        (own, "happy/1.wav", Name("", "happy", "", "happy/1.wav")),
        (own, "My Voice/Joy/take 1/x.m4a", Name("", "joy", "", "My Voice/Joy/take 1/x.m4a")),
        (own, "sad/ANGRY/x.mp3", Name("", "angry", "", "sad/ANGRY/x.mp3")),
        (own, "Pleasant Surprise/x.mp3", Name("", "pleasant_surprise", "", "Pleasant Surprise/x.mp3")),
        (own, "pleasant-surprise/x.mp3", Name("", "pleasant_surprise", "", "pleasant-surprise/x.mp3")),
        (own, "my/Very  tired/x.mp3", Name("", "very_tired", "", "my/Very  tired/x.mp3")),
        (own, "fro\u0308hlich/x.mp3", Name("", "fr\u00f6hlich", "", "fro\u0308hlich/x.mp3")),
    ],
)  # fmt: skip
def test_name_is_read(corpus, path, name):
    assert corpus.read_name(PurePath(path)) == name


@pytest.mark.parametrize(
    ("corpus", "path", "reason"),
    [
        (ravdess, "03-02-06-01-02-01-12.wav", "it is song"),
        (ravdess, "02-01-06-01-02-01-12.wav", "it is a film"),
        (ravdess, "04-01-06-01-02-01-12.wav", "unknown modality '04' in the name; known: 03"),
        (ravdess, "03-03-06-01-02-01-12.wav", "unknown vocal channel '03' in the name; known: 01"),
        (ravdess, "03-01-09-01-02-01-12.wav", "unknown emotion '09' in the name; known: 01, 02, 03"),
        (ravdess, "03-01-00-01-02-01-12.wav", "unknown emotion '00' in the name"),
        (ravdess, "03-01-06-03-02-01-12.wav", "unknown intensity '03' in the name; known: 01, 02"),
        (ravdess, "03-01-06-01-03-01-12.wav", "unknown statement '03' in the name; known: 01, 02"),
        (ravdess, "03-01-06-01-02-03-12.wav", "unknown repetition '03' in the name; known: 01, 02"),
        (ravdess, "03-01-06-01-02-01-25.wav", "unknown actor '25' in the name; known: 01, 02"),
        (ravdess, "03-01-06-01-02-01-00.wav", "unknown actor '00' in the name"),
        (ravdess, "3-1-6-1-2-1-12.wav", "does not read like 03-01-06-01-02-01-12"),
        (ravdess, "03-01-06-01-02-01.wav", "does not read like 03-01-06-01-02-01-12"),
        (ravdess, "03-01-06-01-02-01-12-1.wav", "does not read like 03-01-06-01-02-01-12"),
        (crema_d, "1001_DFA_BOR_XX.wav", "unknown emotion 'BOR' in the name; known: ANG, DIS, FEA, HAP, NEU, SAD"),
        (crema_d, "1001_DFA_ANG_ZZ.wav", "unknown level 'ZZ' in the name; known: LO, MD, HI, XX"),
        (crema_d, "1000_DFA_ANG_XX.wav", "unknown speaker '1000' in the name; known: 1001 to 1091"),
        (crema_d, "1092_DFA_ANG_XX.wav", "unknown speaker '1092' in the name"),
        (crema_d, "1001_DFA_ANG.wav", "does not read like 1001_DFA_ANG_XX"),
        (crema_d, "OAF_back_angry.wav", "does not read like 1001_DFA_ANG_XX"),
        (savee, "a01.wav", "neither name nor folder tells the speaker; known: DC, JE, JK, KL"),
        (savee, "AudioData/a01.wav", "neither name nor folder tells the speaker"),
        (savee, "XX_a01.wav", "unknown speaker 'XX' in the name"),
        (savee, "DC/XX_a01.wav", "unknown speaker 'XX' in the name"),
        (savee, "DC_s01.wav", "unknown emotion 's' in the name; known: a, d, f, h, n, sa, su"),
        (savee, "DC/a1.wav", "does not read like DC_a01 or a01"),
        (savee, "DC/a001.wav", "does not read like DC_a01 or a01"),
        (savee, "DC/03a01Fa.wav", "does not read like DC_a01 or a01"),
        (own, "x.wav", "no folder names its emotion: move it into one, such as happy, or write a clips.csv"),
    ],
)
def test_other_name_is_refused_with_the_reason(corpus, path, reason):
    with pytest.raises(ValueError) as caught:
        corpus.read_name(PurePath(path))
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)


# Real names of each corpus are names of no other
@pytest.mark.parametrize("name", LISTED)
def test_names_of_other_corpora_are_refused(name):
    for other in set(LISTED) - {name}:
        for row in registry(other)[::50]:
            with pytest.raises(ValueError, match=r"does not read|unknown speaker '"):  # TUREV's have parts like TESS's
                CORPORA[name].read_name(PurePath(row["file"]))


# Miniatures, in each corpus's own naming and format


class Miniature(NamedTuple):
    sampling_rate: int
    clips: dict[str, tuple[str, str, str]]
    left_out: tuple[str, ...] = ()
    stereo: tuple[str, ...] = ()
    aiff: tuple[str, ...] = ()


MINIATURES = {
    "TESS": Miniature(
        24414,
        {
            "OAF_Fear/OAF_back_fear.wav": ("OAF", "fear", "back"),
            "YAF_pleasant_surprised/yaf_Back_PS.WAV": ("YAF", "ps", "back"),
            "OAF_neutral/OA_bite_neutral.wav": ("OAF", "neutral", "bite"),
            "YAF_angry/YAF_germ_angry.wav": ("YAF", "angry", "germ"),
        },
        aiff=("YAF_angry/YAF_germ_angry.wav",),
    ),
    "RAVDESS": Miniature(
        48000,
        {
            "Actor_01/03-01-01-01-01-01-01.wav": ("01", "neutral", "kids"),
            "Actor_01/03-01-08-01-02-02-01.wav": ("01", "ps", "dogs"),
            "actors/Actor_08/03-01-03-02-01-01-08.WAV": ("08", "happy", "kids"),
            "actors/Actor_08/03-01-03-02-01-02-08.wav": ("08", "happy", "kids"),
            "Actor_12/03-01-06-01-02-01-12.Wav": ("12", "fear", "dogs"),
            "03-01-07-01-02-01-24.wav": ("24", "disgust", "dogs"),
        },
        left_out=("Actor_05/03-01-02-01-02-02-05.wav",),
        stereo=("Actor_01/03-01-08-01-02-02-01.wav", "Actor_05/03-01-02-01-02-02-05.wav"),
    ),
    "CREMA-D": Miniature(
        16000,
        {
            "AudioWAV/1001_DFA_ANG_XX.wav": ("1001", "angry", "dfa"),
            "AudioWAV/1001_IEO_HAP_LO.wav": ("1001", "happy", "ieo"),
            "AudioWAV/1001_IEO_HAP_HI.wav": ("1001", "happy", "ieo"),
            "AudioWAV/1040_ITH_SAD_X.wav": ("1040", "sad", "ith"),
            "1091_wsi_fea_xx.WAV": ("1091", "fear", "wsi"),
        },
    ),
    "SAVEE": Miniature(
        44100,
        {
            "AudioData/DC/a01.wav": ("DC", "angry", "a01"),
            "AudioData/JE/a01.wav": ("JE", "angry", "a01"),
            "AudioData/je/SA03.WAV": ("JE", "sad", "sa03"),
            "ALL/JK_su15.wav": ("JK", "ps", "su15"),
            "ALL/kl_N30.wav": ("KL", "neutral", "n30"),
        },
    ),
    "EMODB": Miniature(
        16000,
        {
            "wav/03a01Fa.wav": ("03", "happy", "a01"),
            "wav/03a02Wb.WAV": ("03", "angry", "a02"),
            "wav/03a02Wc.wav": ("03", "angry", "a02"),
        },
        left_out=("wav/16b10Lb.wav",),
    ),
}


@pytest.mark.parametrize("name", MINIATURES)
def test_miniature_loads_with_right_labels_and_speakers(name, tmp_path, write_wav):
    small = MINIATURES[name]
    files = [*small.clips, *small.left_out]
    nested = [f"Copy of {name}/{name}/{file}" for file in files]
    for number, file in enumerate(files):
        signal = tone(number, small.sampling_rate, 2 if file in small.stereo else 1)
        path = write_wav(
            tmp_path / file,
            signal,
            small.sampling_rate,
            format="AIFF" if file in small.aiff else "WAV",
            subtype="PCM_16",
        )
        write(tmp_path, nested[number], content=path.read_bytes())
        hidden = Path(file).with_name(f"._{Path(file).name}")
        write(tmp_path, hidden.as_posix(), f"__MACOSX/{hidden}")
    clips, skipped = find_clips(name, tmp_path)
    assert {clip.file: (clip.speaker, clip.emotion, clip.text) for clip in clips} == small.clips
    assert all(clip.corpus == name and clip.clip.startswith(f"{name}/{clip.speaker}_{clip.text}_") for clip in clips)
    assert len({clip.clip for clip in clips}) == len(clips)
    assert not any(left.fault for left in skipped)
    reasons = {left.file: left.reason for left in skipped}
    assert reasons.keys() == {*small.left_out, *nested}
    assert all("has no counterpart" in reasons[file] for file in small.left_out)
    assert {file: reasons[file] for file in nested} == {
        copy: f"same content as {file}" for copy, file in zip(nested, files, strict=True)
    }
    for clip in clips:
        signal, sampling_rate = load_audio(tmp_path / clip.file)
        assert (signal.shape, sampling_rate) == ((small.sampling_rate // 5,), small.sampling_rate)


@pytest.mark.parametrize(("code", "what"), [("03-02", "it is song"), ("01-01", "it is a film")])
def test_what_ravdess_holds_beside_speech_is_left_out_and_no_fault(tmp_path, code, what):
    write(tmp_path, "Actor_01/03-01-01-01-01-01-01.wav", f"Actor_01/{code}-01-01-01-01-01.wav")
    clips, (left,) = find_clips("RAVDESS", tmp_path)
    assert len(clips) == 1
    assert (left.file, left.fault) == (f"Actor_01/{code}-01-01-01-01-01.wav", False)
    assert left.reason.startswith(what)


@pytest.mark.parametrize("name", ["RAVDESS", "CREMA-D", "SAVEE", "OWN"])
def test_missing_folder_says_what_to_do(name, tmp_path):
    message = refusal(DatasetError, find_clips, name, tmp_path / "nowhere")
    assert f"must be the folder of {name}" in message
    assert message.endswith(CORPORA[name].WHERE)


# LABEL_MAP


def test_map_of_an_unknown_emotion_is_refused(tmp_path):
    write(tmp_path, "OAF_back_sad.wav")
    message = refusal(ParameterError, find_corpora, {"TESS": tmp_path}, {"calm": "neutral"})
    assert message == (
        "`LABEL_MAP` must map emotions of TESS: angry, disgust, fear, happy, neutral, ps, sad. Got 'calm'."
    )


def test_map_may_name_an_emotion_of_either_corpus(tmp_path):
    write(tmp_path, "TESS/OAF_back_sad.wav", "RAVDESS/03-01-02-01-01-01-01.wav")
    folders = {"TESS": tmp_path / "TESS", "RAVDESS": tmp_path / "RAVDESS"}
    clips, skipped = find_corpora(folders, {"calm": "neutral"})
    assert [(clip.corpus, clip.emotion) for clip in clips] == [("RAVDESS", "neutral"), ("TESS", "sad")]
    assert skipped == []
    message = refusal(ParameterError, find_corpora, folders, {"boredom": "sad"})
    assert "emotions of TESS, RAVDESS: angry, calm, disgust, fear, fearful" in message
    assert "Got 'boredom'." in message


def test_map_goes_before_the_corpus_own_table(tmp_path):
    write(tmp_path, "OAF_back_ps.wav", "OAF_back_happy.wav", "OAF_back_sad.wav")
    clips, (left,) = find_corpora({"TESS": tmp_path}, {"ps": "happy", "sad": None})
    assert [(clip.clip, clip.emotion) for clip in clips] == [
        ("TESS/OAF_back_happy", "happy"),
        ("TESS/OAF_back_ps", "happy"),
    ]
    assert (left.file, left.fault) == ("OAF_back_sad.wav", False)
    assert left.reason == no_counterpart("sad")


# Several corpora


def test_two_corpora_are_kept_apart(tmp_path):
    write(tmp_path, "TESS/x/OAF_back_angry.wav", "TESS/YAF_back_sad.wav", "EMODB/wav/03a01Fa.wav", "EMODB/03a01La.wav")
    clips, (left,) = find_corpora({"TESS": tmp_path / "TESS", "EMODB": tmp_path / "EMODB"}, {})
    assert [(clip.clip, clip.corpus, clip.speaker, clip.emotion, clip.text, clip.file) for clip in clips] == [
        ("EMODB/03_a01_happy_a", "EMODB", "EMODB/03", "happy", "EMODB/a01", "EMODB/wav/03a01Fa.wav"),
        ("TESS/OAF_back_angry", "TESS", "TESS/OAF", "angry", "TESS/back", "TESS/x/OAF_back_angry.wav"),
        ("TESS/YAF_back_sad", "TESS", "TESS/YAF", "sad", "TESS/back", "TESS/YAF_back_sad.wav"),
    ]
    assert (left.file, left.fault) == ("EMODB/03a01La.wav", False)
    for clip in clips:
        assert (tmp_path / clip.file).is_file()


def test_one_corpus_has_plain_names(tmp_path):
    write(tmp_path, "OAF_back_angry.wav")
    (clip,), _ = find_corpora({"TESS": tmp_path}, {})
    assert (clip.speaker, clip.text, clip.file) == ("OAF", "back", "OAF_back_angry.wav")


def test_content_that_two_corpora_hold_counts_once(tmp_path):
    write(tmp_path, "TESS/OAF_back_angry.wav", "EMODB/03a01Wa.wav", content=b"the same")
    write(tmp_path, "EMODB/03a01Nc.wav")
    for first, second, kept, left_out in (
        ("TESS", "EMODB", "TESS/OAF_back_angry.wav", "EMODB/03a01Wa.wav"),
        ("EMODB", "TESS", "EMODB/03a01Wa.wav", "TESS/OAF_back_angry.wav"),
    ):
        clips, (left,) = find_corpora({first: tmp_path / first, second: tmp_path / second}, {})
        assert {clip.file for clip in clips} == {kept, "EMODB/03a01Nc.wav"}
        assert (left.file, left.reason, left.fault) == (left_out, f"same content as {kept}", False)


def test_content_under_two_emotions_in_two_corpora_counts_under_neither(tmp_path):
    write(tmp_path, "TESS/OAF_back_angry.wav", "EMODB/03a01Fa.wav", content=b"the same")
    folders = {"TESS": tmp_path / "TESS", "EMODB": tmp_path / "EMODB"}
    assert refusal(DatasetError, find_corpora, folders, {}).startswith("Recordings must have one emotion.")
    write(tmp_path, "EMODB/03a01Nc.wav")
    (clip,), left = find_corpora(folders, {})
    assert clip.file == "EMODB/03a01Nc.wav"
    assert {one.file: one.reason for one in left} == {
        "EMODB/03a01Fa.wav": "same content as TESS/OAF_back_angry.wav, with another emotion",
        "TESS/OAF_back_angry.wav": "another file of the same content has another emotion",
    }


def test_one_missing_corpus_of_two_is_named(tmp_path):
    write(tmp_path, "TESS/OAF_back_angry.wav")
    message = refusal(DatasetError, find_corpora, {"TESS": tmp_path / "TESS", "SAVEE": tmp_path / "SAVEE"}, {})
    assert f"the folder of SAVEE; {tmp_path / 'SAVEE'} is none" in message


# A folder of one's own, by folders


def test_words_for_emotions_are_those_of_the_docs():
    table = dict(re.findall(r"^\| (\w+) \| ([\w, ]+) \|$", DOCS.partition("| emotion | words |")[2], re.MULTILINE))
    assert {word: emotion for emotion, words in table.items() for word in words.split(", ")} == own.EMOTIONS
    assert set(table) == set(EMOTIONS)


def test_own_folder_with_mixed_formats_loads(tmp_path, write_wav):
    write_wav(tmp_path / "Happy/a.wav", tone(1, 44100, 2), 44100)
    write_wav(tmp_path / "happy/kitchen/a.FLAC", tone(2, 48000), 48000)
    write_wav(tmp_path / "sadness/a.mp3", tone(3, 44100), 44100)
    write_wav(tmp_path / "SAD/a.ogg", tone(4, 22050), 22050)
    write_wav(tmp_path / "pleasant surprise/a.aiff", tone(5, 16000), 16000)
    write_encoded(tmp_path / "pleasant-surprise/a.m4a", "aac", tone(6, 44100), 44100)
    write_encoded(tmp_path / "surprise/a.webm", "libopus", tone(7, 48000), 48000)
    write_encoded(tmp_path / "surprise/a.wma", "wmav2", tone(8, 44100), 44100)
    write(tmp_path, "happy/.hidden.wav", "happy/._a.wav", "happy/notes.txt", "Thumbs.db")
    clips, skipped = find_clips("OWN", tmp_path)
    assert [(left.file, left.reason, left.fault) for left in skipped] == [
        ("Thumbs.db", "not audio (.db)", False),
        ("happy/notes.txt", "not audio (.txt)", False),
    ]
    assert {clip.file: clip.emotion for clip in clips} == {
        "Happy/a.wav": "happy",
        "happy/kitchen/a.FLAC": "happy",
        "sadness/a.mp3": "sad",
        "SAD/a.ogg": "sad",
        "pleasant surprise/a.aiff": "ps",
        "pleasant-surprise/a.m4a": "ps",
        "surprise/a.webm": "ps",
        "surprise/a.wma": "ps",
    }
    assert {(clip.speaker, clip.text) for clip in clips} == {("", "")}
    for clip in clips:
        signal, sampling_rate = load_audio(tmp_path / clip.file)
        assert 0.15 < len(signal) / sampling_rate < 0.3


def write_encoded(path, codec, signal, sampling_rate):
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=sampling_rate, layout="mono")
        stream.bit_rate = 64000
        samples = np.round(signal * 32767).astype(np.int16)[None]
        frame = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
        frame.rate = sampling_rate
        for part in (frame, None):
            container.mux(stream.encode(part))


def test_no_two_own_files_share_an_id(tmp_path):
    files = ["happy/a.wav", "happy/a.mp3", "happy/b/a.wav", "happy-b/happy/a.wav", "happy/b-a.wav", "sad/a.wav"]
    files += ["happy/b_a.wav", "joy/a.wav"]
    write(tmp_path, *files)
    clips, skipped = find_clips("OWN", tmp_path)
    assert skipped == []
    assert len({clip.clip for clip in clips}) == len(files)


def test_unknown_folder_is_named_and_can_be_mapped(tmp_path):
    write(tmp_path, "happy/1.wav", "So Bored/1.wav")
    clips, (left,) = find_clips("OWN", tmp_path)
    assert [clip.emotion for clip in clips] == ["happy"]
    assert (left.file, left.fault) == ("So Bored/1.wav", True)
    assert left.reason.startswith("unknown emotion 'so_bored'; known: neutral, happy, sad, angry, fear, disgust, ps, ")
    assert left.reason.endswith("LABEL_MAP can map it to one of them, or add it: LABEL_MAP: {'so_bored': 'so_bored'}")
    clips, skipped = find_corpora({"OWN": tmp_path}, {"so_bored": "sad"})
    assert {clip.file: clip.emotion for clip in clips} == {"happy/1.wav": "happy", "So Bored/1.wav": "sad"}
    assert skipped == []
    clips, (left,) = find_corpora({"OWN": tmp_path}, {"so_bored": None})
    assert (len(clips), left.file, left.fault) == (1, "So Bored/1.wav", False)


def test_file_in_no_folder_says_what_to_do(tmp_path):
    write(tmp_path, "1.wav", "happy/2.wav")
    _, (left,) = find_clips("OWN", tmp_path)
    assert (left.file, left.fault) == ("1.wav", True)
    assert left.reason == "no folder names its emotion: move it into one, such as happy, or write a clips.csv"
    (tmp_path / "happy" / "2.wav").unlink()
    message = refusal(DatasetError, find_clips, "OWN", tmp_path)
    assert "none of its 1 files is one (1.wav: no folder names its emotion" in message


def test_own_folder_without_audio_is_refused(tmp_path):
    write(tmp_path, "happy/notes.txt")
    message = refusal(DatasetError, find_clips, "OWN", tmp_path)
    assert "none of its 1 files is one (happy/notes.txt: not audio (.txt))" in message


# A folder of one's own, by clips.csv


def test_table_says_all(tmp_path):
    write(tmp_path, "happy/1.wav", "x/2.mp3", "x/3.mp3", "x/not listed.wav")
    write_table(
        tmp_path,
        "path,emotion,speaker,text\nhappy/1.wav,Sad,03,Good  morning\nx/2.mp3,joy,,\nx/3.mp3, Pleasant surprise \n",
    )
    clips, skipped = find_clips("OWN", tmp_path)
    assert skipped == [Skipped("x/not listed.wav", "audio that clips.csv does not list (.wav)", fault=False)]
    assert {clip.file: (clip.speaker, clip.emotion, clip.text) for clip in clips} == {
        "happy/1.wav": ("03", "sad", "Good morning"),
        "x/2.mp3": ("", "happy", ""),
        "x/3.mp3": ("", "ps", ""),
    }


def test_clips_of_one_text_and_speaker_are_kept_apart(tmp_path):
    write(tmp_path, "1.wav", "2.wav")
    write_table(tmp_path, "text,path,emotion\nhello,1.wav,sad\nhello,2.wav,sad\n")
    clips, skipped = find_clips("OWN", tmp_path)
    assert skipped == []
    assert [clip.text for clip in clips] == ["hello", "hello"]
    assert len({clip.clip for clip in clips}) == 2


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("path,emotion\nä/1.wav,sad\n", "utf-8"),
        ("path,emotion\nä/1.wav,sad\n", "utf-8-sig"),
        ("Path, EMOTION ,note\r\n ä/1.wav ,sad,x\r\n", "utf-8"),
        ("path,emotion\rä/1.wav,sad", "utf-8"),
        ('"path","emotion"\n"ä/1.wav","sad"\n\n,,\n', "utf-8"),
        ("path,emotion,,\nä/1.wav,sad,,\n", "utf-8"),
        ("path,emotion\n./ä//1.wav,sad\n", "utf-8"),
        ("path,emotion\nä\\1.wav,sad\n", "utf-8"),
        ("path,emotion,speaker\nä/1.wav,sad\n", "utf-8"),
    ],
)
def test_table_as_programs_write_it(tmp_path, text, encoding):
    write(tmp_path, "ä/1.wav")
    write_table(tmp_path, text, encoding)
    (clip,), skipped = find_clips("OWN", tmp_path)
    assert (clip.file, clip.emotion, clip.speaker, clip.text) == ("ä/1.wav", "sad", "", "")
    assert skipped == []


def test_spaces_in_paths_are_kept(tmp_path):
    write(tmp_path, "a  b/10.00\u202fAM.wav")
    write_table(tmp_path, "path,emotion\na  b/10.00\u202fAM.wav,sad\n")
    assert own.read_table(tmp_path).keys() == {"a  b/10.00\u202fAM.wav"}


def test_listed_file_that_is_missing_is_named(tmp_path):
    write(tmp_path, "1.wav")
    write_table(tmp_path, "path,emotion\n1.wav,sad\nx/2.wav,sad\n.,sad\n")
    clips, skipped = find_clips("OWN", tmp_path)
    assert [clip.file for clip in clips] == ["1.wav"]
    assert [(left.file, left.reason, left.fault) for left in skipped] == [
        ("x/2.wav", "No such file or directory", True),
        (".", "Is a directory", True),
    ]


def test_unknown_word_in_the_table_is_named(tmp_path):
    write(tmp_path, "1.wav", "2.wav")
    write_table(tmp_path, "path,emotion\n1.wav,sad\n2.wav,Tired\n")
    _, (left,) = find_clips("OWN", tmp_path)
    assert (left.file, left.fault) == ("2.wav", True)
    assert left.reason.startswith("unknown emotion 'tired'; known: ")
    clips, _ = find_corpora({"OWN": tmp_path}, {"tired": "sad"})
    assert [clip.emotion for clip in clips] == ["sad", "sad"]


def test_no_table_is_none(tmp_path):
    assert own.read_table(tmp_path) is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "Line 1 of {} must name the columns path and emotion once each, with commas between. Got nothing."),
        ("file,emotion\n1.wav,sad\n", "Line 1 of {} must name the columns path and emotion once each"),
        ("path,speaker\n1.wav,sad\n", "with commas between. Got `path,speaker`. Correct that line."),
        ("path;emotion\n1.wav;sad\n", "with commas between. Got `path;emotion`."),
        ("path,emotion,Path\n1.wav,sad,2.wav\n", "Got `path,emotion,path`."),
        ("path,emotion\n", "Line 2 of {} must name a file. Got nothing."),
        ("path,emotion\n\n,\n", "Line 2 of {} must name a file. Got nothing."),
        ("path,emotion\n1.wav,sad\n/tmp/1.wav,sad\n", "Line 3 of {} must name a file below the table's folder"),
        ("path,emotion\n../1.wav,sad\n", "by its path from there. Got `../1.wav`. Correct that line."),
        ("path,emotion\na/../../1.wav,sad\n", "Got `a/../../1.wav`."),
        (
            "path,emotion\n1.wav,sad\n\n1.wav,sad\n",
            "Line 4 of {} must name a file that no line before it names. Got `1.wav`.",
        ),
        (
            "path,emotion\na/1.wav,sad\n./a//1.wav,happy\n",
            "Line 3 of {} must name a file that no line before it names.",
        ),
        ("path,emotion\n1.wav,\n", "Line 2 of {} must fill in the column emotion. Got nothing for `1.wav`."),
        ("path,emotion\n1.wav\n", "Line 2 of {} must fill in the column emotion. Got nothing for `1.wav`."),
        ("path,emotion\n1.wav, \n", "Line 2 of {} must fill in the column emotion."),
        ("path,emotion\n,sad\n", "Line 2 of {} must fill in the column path."),
        (
            "path,emotion,text\n1.wav,sad,yes, please\n",
            "Line 2 of {} must have no more cells than columns. Got 4 of 3.",
        ),
        (
            'path,emotion\n"1.wav,sad\n',
            "{} must be a CSV in UTF-8. It is none: unexpected end of data. Save it as one.",
        ),
    ],
)
def test_wrong_table_is_refused_in_one_line(tmp_path, text, message):
    write(tmp_path, "1.wav")
    write_table(tmp_path, text)
    assert message.format(tmp_path / "clips.csv") in refusal(DatasetError, find_clips, "OWN", tmp_path)


@pytest.mark.parametrize("content", ["path,emotion\nä.wav,sad\n".encode("latin-1"), "path,emotion".encode("utf-16")])
def test_table_in_another_encoding_is_refused(tmp_path, content):
    write(tmp_path, "clips.csv", content=content)
    message = refusal(DatasetError, own.read_table, tmp_path)
    assert message.startswith(f"{tmp_path / 'clips.csv'} must be a CSV in UTF-8. It is none: ")


def test_table_that_is_a_folder_is_refused(tmp_path):
    (tmp_path / "clips.csv").mkdir()
    message = refusal(DatasetError, own.read_table, tmp_path)
    assert message == f"{tmp_path / 'clips.csv'} must be a file that can be read. It cannot: Is a directory."


# The docs


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```$", DOCS, re.MULTILINE | re.DOTALL)


def test_docs_list_every_corpus_as_it_is():
    rows = re.findall(r"^\| ([A-Z][A-Z-]+)(?:, OWN:FOLDER)? \| (.+) \|$", DOCS, re.MULTILINE)
    assert [name for name, _ in rows] == list(CORPORA)
    for name, row in rows:
        corpus = CORPORA[name]
        _, language, speakers, hours, _, left_out, licence, where = (cell.strip() for cell in f"{row} ".split("|"))
        assert (language, licence) == (corpus.LANGUAGE, corpus.LICENCE)
        assert (speakers, hours) == (str(corpus.N_SPEAKERS or "any"), str(corpus.HOURS or ""))
        assert left_out == ", ".join(word for word, emotion in corpus.EMOTIONS.items() if emotion is None)
        assert ("ser data get" in where) == hasattr(corpus, "DOWNLOAD")


def test_corpus_of_the_docs_works(tmp_path, monkeypatch, write_wav):
    source, entry = blocks("python")
    assert len(source.splitlines()) < 60
    assert f"({entry.partition('= (')[2].partition(', studio')[0]})" in Path(corpora.__file__).read_text()
    studio = ModuleType("studio")
    exec(compile(source, "docs/corpora.md", "exec"), studio.__dict__)
    monkeypatch.setitem(CORPORA, studio.NAME, studio)
    write_wav(tmp_path / "day 1/anna-joy-03.flac", tone(1, 16000), 16000)
    write(tmp_path, "day 1/Anna-Calm-03.flac", "day 1/anna-envy-03.flac", "day 1/anna.flac")
    (clip,), skipped = find_clips("STUDIO", tmp_path)
    assert (clip.clip, clip.speaker, clip.emotion, clip.text) == ("STUDIO/anna_03_joy", "anna", "happy", "03")
    assert load_audio(tmp_path / clip.file)[1] == 16000
    assert {left.file: (left.reason.partition(";")[0], left.fault) for left in skipped} == {
        "day 1/Anna-Calm-03.flac": (no_counterpart("calm"), False),
        "day 1/anna-envy-03.flac": ("unknown emotion 'envy'", True),
        "day 1/anna.flac": ("the name does not read SPEAKER-emotion-sentence", True),
    }
    for word in ("ABOUT", "LICENCE", "CITATION", "LANGUAGE", "N_SPEAKERS", "HOURS", "WHERE"):
        assert getattr(studio, word)


def test_table_of_the_docs_works(tmp_path):
    (text,) = blocks("csv")
    write_table(tmp_path, text)
    write(tmp_path, "monday/1.m4a", "monday/2.m4a", "phone/1.mp3")
    clips, skipped = find_corpora({"OWN": tmp_path}, {"tired": "sad"})
    assert skipped == []
    assert [(clip.file, clip.speaker, clip.emotion, clip.text) for clip in clips] == [
        ("monday/1.m4a", "anna", "happy", "good morning"),
        ("monday/2.m4a", "anna", "sad", "good morning"),
        ("phone/1.mp3", "ben", "sad", ""),
    ]


def test_maps_of_the_docs_work(copies):
    lines = [line for block in blocks("yaml") for line in block.splitlines() if line.startswith("LABEL_MAP")]
    calm, boredom, ps, _, added, _ = (yaml.safe_load(line)["LABEL_MAP"] for line in lines)
    assert counts("RAVDESS", copies / "RAVDESS", calm)[0]["neutral"] == 96 + 192
    assert counts("EMODB", copies / "EMODB", boredom)[0]["sad"] == 62 + 81
    assert len(counts("TESS", copies / "TESS", ps)[0]) == 6
    assert counts("EMODB", copies / "EMODB", added)[0]["boredom"] == 81
