import os
import resource
import shutil
import sqlite3
from contextlib import closing, contextmanager

import librosa
import numpy as np
import pandas as pd
import pytest
import soundfile

from ser_lib import preprocess, store
from ser_lib.audio import clips as work
from ser_lib.audio import features
from ser_lib.audio import signal as audio
from ser_lib.audio.features import process_audio_file
from ser_lib.core import io
from ser_lib.core.errors import DatasetError, SerError, StageError
from ser_lib.corpora.clips import find_clips
from ser_lib.params import make_params
from ser_lib.preprocess import preprocess_data
from ser_lib.store import load_processed

RATE = 24414
NAMES = [
    "OAF_back_angry",
    "OAF_back_sad",
    "OAF_bar_angry",
    "OAF_bar_sad",
    "YAF_back_angry",
    "YAF_back_sad",
    "YAF_bar_angry",
    "YAF_bar_sad",
]


@pytest.fixture(scope="module")
def made(tmp_path_factory, make_corpus):
    return make_corpus(tmp_path_factory.mktemp("made") / "corpus")


@pytest.fixture
def corpus(made, tmp_path):
    return shutil.copytree(made, tmp_path / "corpus")


@pytest.fixture
def params_for(tmp_path, monkeypatch):
    monkeypatch.setenv("SER_CACHE", str(tmp_path / "cache"))

    def make(folder, **changes):
        values = {"CORPORA": ["TESS"], "DATASET_PATH": str(folder), "OUTPUT_DIR": str(tmp_path / "out")}
        return make_params(values | {"DENOISE": False, "N_JOBS": 1} | changes)

    return make


@pytest.fixture
def params(params_for, corpus):
    return params_for(corpus)


def stamp(params):
    status = params.processed_data_file.stat()
    return status.st_ino, status.st_mtime_ns


def table(params, name):
    return pd.read_csv(params.output_dir / name, dtype=str, keep_default_na=False)


def same(one, two):
    pd.testing.assert_frame_equal(one.clips, two.clips)
    np.testing.assert_array_equal(one.y, two.y)
    assert one.X.tobytes() == two.X.tobytes()
    assert one.settings == two.settings


def test_shapes_and_labels(params):
    data = preprocess_data(params)
    assert data.clips["clip"].tolist() == [f"TESS/{name}" for name in NAMES]
    assert data.X.shape == (8, 1 + data.settings.target_length // 512, 15)
    assert data.X.dtype == np.float32
    assert data.y.tolist() == [3, 2, 3, 2, 3, 2, 3, 2]
    assert data.y.dtype == np.int64
    assert data.skipped.empty


def test_target_length_is_the_longest_after_trimming(params, corpus):
    data = preprocess_data(params)
    lengths = []
    for path in corpus.rglob("*.wav"):
        signal, _ = soundfile.read(path, dtype="float32")
        trimmed, _ = librosa.effects.trim(signal, top_db=30, frame_length=2048, hop_length=512)
        lengths.append(len(trimmed))
    assert len(set(lengths)) > 1
    assert data.settings.target_length == max(lengths)


@pytest.mark.parametrize("target_length", [4000, 50000])
def test_given_target_length_is_used(params_for, corpus, target_length):
    data = preprocess_data(params_for(corpus, TARGET_LENGTH=target_length))
    assert data.settings.target_length == target_length
    assert data.X.shape == (8, 1 + target_length // 512, 15)


def test_rows_are_the_features_of_the_files(params_for, demo_folder, tmp_path):
    for path in demo_folder.rglob("*_back_*.wav"):
        (tmp_path / "demo").mkdir(exist_ok=True)
        shutil.copy(path, tmp_path / "demo")
    params = params_for(
        tmp_path / "demo", CORPORA=["DEMO"], DENOISE=True, TARGET_LENGTH=12000, N_MFCC=5, HOP_LENGTH=1024
    )
    data = preprocess_data(params)
    assert data.X.shape == (14, 1 + 12000 // 1024, 7)
    for row, file in zip(data.X, data.clips["file"], strict=True):
        features = process_audio_file(tmp_path / "demo" / file, params.audio_settings)
        np.testing.assert_array_equal(row, features)


def test_clips_table(params, corpus):
    preprocess_data(params)
    clips = table(params, "clips.csv")
    assert list(clips) == [
        *("clip", "corpus", "speaker", "emotion", "text", "file", "sha256"),
        *("sampling_rate", "seconds", "trimmed_seconds", "peak_dbfs", "bandwidth_hz"),
    ]
    assert clips.iloc[1, :6].tolist() == [
        "TESS/OAF_back_sad",
        "TESS",
        "OAF",
        "sad",
        "back",
        "OAF_back/OAF_back_sad.wav",
    ]
    for row in clips.itertuples():
        information = soundfile.info(corpus / row.file)
        assert int(row.sampling_rate) == information.samplerate == RATE
        assert float(row.seconds) == pytest.approx(information.duration, abs=1e-9)
        trimmed = audio.trim_steps(*audio.load_audio(corpus / row.file), params.audio_settings)["trimmed"]
        assert float(row.trimmed_seconds) == pytest.approx(len(trimmed) / RATE, abs=1e-9)
        peak = np.abs(soundfile.read(corpus / row.file)[0]).max()
        assert float(row.peak_dbfs) == pytest.approx(20 * np.log10(peak), abs=1e-4)
    assert table(params, "skipped.csv").columns.tolist() == ["file", "reason", "files"]
    assert table(params, "skipped.csv").empty


def test_saved_data_are_the_returned_ones(params):
    data = preprocess_data(params)
    same(load_processed(params.processed_data_file), data)
    with np.load(params.processed_data_file, allow_pickle=False) as file:
        np.testing.assert_array_equal(file["X"], data.X)
        np.testing.assert_array_equal(file["y"], data.y)
        assert int(file["target_length"]) == data.settings.target_length


def test_second_run_loads_again(params, monkeypatch):
    data = preprocess_data(params)
    before = stamp(params)
    monkeypatch.setattr(preprocess, "each", None)  # no file may be decoded
    same(preprocess_data(params), data)
    assert stamp(params) == before


def test_copied_corpus_with_other_folders_and_dates_is_loaded_again(params, params_for, corpus, tmp_path):
    data = preprocess_data(params)
    before = stamp(params)
    for number, path in enumerate(sorted(corpus.rglob("*.wav"))):
        copy = tmp_path / "copy" / f"folder {number}" / path.name
        copy.parent.mkdir(parents=True)
        shutil.copyfile(path, copy)
        os.utime(copy, (1e9 + number, 1e9 + number))
    again = preprocess_data(params_for(tmp_path / "copy"))
    assert stamp(params) == before
    assert again.X.tobytes() == data.X.tobytes()
    assert again.clips["file"].tolist() == [f"folder {number}/{name}.wav" for number, name in enumerate(NAMES)]
    assert table(params, "clips.csv")["file"].tolist() == again.clips["file"].tolist()


def test_one_other_sample_is_computed_again(params, corpus):
    data = preprocess_data(params)
    before = stamp(params)
    path = corpus / data.clips["file"][2]
    signal, rate = soundfile.read(path, dtype="int16")
    signal[len(signal) // 2] ^= 64
    soundfile.write(path, signal, rate)
    again = preprocess_data(params)
    assert stamp(params) != before
    changed = [(one != two).any() for one, two in zip(data.X, again.X, strict=True)]
    assert changed == [number == 2 for number in range(8)]


def test_clip_less_or_more_is_computed_again(params, corpus):
    assert len(preprocess_data(params).X) == 8
    (corpus / "OAF_back" / "OAF_back_sad.wav").rename(corpus / "kept.txt")
    assert len(preprocess_data(params).X) == 7
    (corpus / "kept.txt").rename(corpus / "OAF_back_sad.wav")
    assert len(preprocess_data(params).X) == 8


def test_relabelled_clip_is_computed_again(params, corpus):
    preprocess_data(params)
    (corpus / "OAF_back" / "OAF_back_sad.wav").rename(corpus / "OAF_back_happy.wav")
    data = preprocess_data(params)
    assert data.clips["clip"].tolist()[:2] == ["TESS/OAF_back_angry", "TESS/OAF_back_happy"]
    assert data.y.tolist()[:2] == [3, 1]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SAMPLING_RATE", 16000),
        ("FRAME_LENGTH", 1024),
        ("HOP_LENGTH", 256),
        ("N_MFCC", 12),
        ("TRIM_TOP_DB", 20.0),
        ("TARGET_LENGTH", 9000),
        ("DENOISE", True),
    ],
)
def test_other_setting_is_computed_again(params, params_for, corpus, name, value):
    data = preprocess_data(params)
    before = stamp(params)
    again = preprocess_data(params_for(corpus, **{name: value}))
    assert stamp(params) != before
    assert again.X.tobytes() != data.X.tobytes()


@pytest.mark.parametrize(("name", "value"), [("EPOCHS", 3), ("SEED", 5), ("N_JOBS", -1), ("MAX_SKIPPED", 0.5)])
def test_what_is_no_setting_of_audio_loads_again(params, params_for, corpus, name, value):
    preprocess_data(params)
    before = stamp(params)
    preprocess_data(params_for(corpus, **{name: value}))
    assert stamp(params) == before


def flip(raw, position, bits=0xFF):
    return raw[:position] + bytes([raw[position] ^ bits]) + raw[position + 1 :]


@pytest.mark.parametrize(
    "damage",
    [
        lambda raw: b"",
        lambda raw: b"not an archive",
        lambda raw: raw[: len(raw) // 2],
        lambda raw: raw[:-1],
        lambda raw: bytes(len(raw)),
        lambda raw: flip(raw, len(raw) // 3),  # within X
        lambda raw: flip(raw, raw.index(b"PK\x01\x02") + 10),  # how X is compressed
        lambda raw: flip(raw, raw.index(b"PK\x01\x02") + 8, 1),  # whether X is encrypted
        lambda raw: flip(raw, raw.rindex(b"clips.text"), 1),  # a column's name
    ],
    ids=["empty", "text", "half", "last-byte", "zeros", "x", "compression", "encryption", "name"],
)
def test_damaged_data_are_refused_and_computed_again(params, damage):
    data = preprocess_data(params)
    raw = params.processed_data_file.read_bytes()
    params.processed_data_file.write_bytes(damage(raw))
    with pytest.raises(StageError, match=r"processed_data\.npz is damaged\. Run 01_preprocess again"):
        load_processed(params.processed_data_file)
    same(preprocess_data(params), data)
    same(load_processed(params.processed_data_file), data)


def test_data_of_another_shape_are_computed_again(params):
    data = preprocess_data(params)
    np.savez(params.processed_data_file, X=data.X)
    same(preprocess_data(params), data)


def spoil(corpus, write_wav):
    write_wav(corpus / "OAF_dog_sad.wav", np.zeros(9000))
    write_wav(corpus / "OAF_far_sad.wav", np.full(9000, np.nan, np.float32), subtype="FLOAT")
    (corpus / "OAF_gap_sad.wav").write_text("no audio")
    (corpus / "OAF_hit_sad.wav").write_bytes(b"")
    (corpus / "OAF_ice_bored.wav").write_bytes(b"bored")
    return {
        "OAF_dog_sad.wav": "silent",
        "OAF_far_sad.wav": "NaN",
        "OAF_gap_sad.wav": "cannot be decoded",
        "OAF_hit_sad.wav": "empty",
        "OAF_ice_bored.wav": "unknown emotion 'bored'",
    }


def test_unusable_files_are_left_out_and_named(params_for, corpus, write_wav):
    reasons = spoil(corpus, write_wav)
    params = params_for(corpus, MAX_SKIPPED=0.5)
    data = preprocess_data(params)
    assert data.clips["clip"].tolist() == [f"TESS/{name}" for name in NAMES]
    assert len(data.X) == len(data.y) == 8
    skipped = dict(table(params, "skipped.csv")[["file", "reason"]].to_numpy())
    assert set(skipped) == set(reasons)
    assert all(reason in skipped[file] for file, reason in reasons.items())
    written = table(params, "skipped.csv").sort_values("file")
    pd.testing.assert_frame_equal(data.skipped.astype({"files": str}).sort_values("file"), written)


def test_too_many_unusable_files_stop_the_run_and_stand_in_skipped_csv(params, params_for, corpus, write_wav):
    reasons = spoil(corpus, write_wav)
    with pytest.raises(DatasetError) as caught:
        preprocess_data(params)
    message = str(caught.value)
    assert "\n" not in message
    assert "At most 1.0% of the clips may be unusable (`MAX_SKIPPED`). Got 5 of 13 (38.5%)" in message
    assert set(table(params, "skipped.csv")["file"]) == set(reasons)
    assert not params.processed_data_file.exists()
    assert len(preprocess_data(params_for(corpus, MAX_SKIPPED=5 / 13)).X) == 8


def test_the_stop_names_a_file_for_each_kind_of_fault_and_nothing_harmless(params_for, corpus, write_wav):
    for clip in sorted(corpus.rglob("*.wav")):  # a second copy of everything, which comes first in skipped.csv
        (corpus / "0 copy" / clip.name).parent.mkdir(exist_ok=True)
        (corpus / "0 copy" / clip.name).write_bytes(clip.read_bytes())
    for number in range(3):
        write_wav(corpus / f"OAF_z{number}_bored.wav", np.ones(100 + number))
    write_wav(corpus / "OAF_zz_sad.wav", np.zeros(1000))
    with pytest.raises(DatasetError) as caught:
        preprocess_data(params_for(corpus))
    assert "Got 4 of 12 (33.3%): OAF_z0_bored.wav and 2 more: unknown emotion 'bored' in the name; " in str(
        caught.value
    )
    assert "; OAF_zz_sad.wav: the file is silent; skipped.csv names them all" in str(caught.value)
    assert "same content" not in str(caught.value)


def test_what_ravdess_holds_beside_speech_stops_no_run(params_for, tmp_path, write_wav):
    rng = np.random.default_rng(0)
    for channel in ("01", "02"):
        for name in ("03-01-01-01", "04-01-02-01", "05-01-01-01"):
            write_wav(tmp_path / f"03-{channel}-{name}-01.wav", 0.1 * rng.standard_normal(RATE // 4))
    data = preprocess_data(params_for(tmp_path, CORPORA=["RAVDESS"]))
    assert len(data.clips) == 3
    assert [reason[:10] for reason in data.skipped["reason"]] == 3 * ["it is song"]


def test_stop_holds_on_the_second_run_too(params, params_for, corpus, write_wav):
    spoil(corpus, write_wav)
    preprocess_data(params_for(corpus, MAX_SKIPPED=0.5))
    before = stamp(params)
    with pytest.raises(DatasetError, match="Got 5 of 13"):
        preprocess_data(params)
    assert len(preprocess_data(params_for(corpus, MAX_SKIPPED=0.5)).skipped) == 5
    assert stamp(params) == before


def test_no_usable_clip_stops_the_run_and_stands_in_skipped_csv(params_for, tmp_path):
    (tmp_path / "bad").mkdir()
    for name in NAMES:
        (tmp_path / "bad" / f"{name}.wav").write_text(f"no audio in {name}")
    params = params_for(tmp_path / "bad", MAX_SKIPPED=1)
    with pytest.raises(DatasetError, match=r"OAF_back_angry\.wav.*cannot be decoded") as caught:
        preprocess_data(params)
    assert "\n" not in str(caught.value)
    assert set(table(params, "skipped.csv")["file"]) == {f"{name}.wav" for name in NAMES}


def test_skipped_files_are_named_as_they_lie_today(params_for, corpus, tmp_path):
    (corpus / "OAF_gap_sad.wav").write_text("no audio")
    params = params_for(corpus, MAX_SKIPPED=0.5)
    preprocess_data(params)
    shutil.copytree(corpus, tmp_path / "copy" / "TESS")
    preprocess_data(params_for(tmp_path / "copy", MAX_SKIPPED=0.5))
    assert table(params, "skipped.csv")["file"].tolist() == ["TESS/OAF_gap_sad.wav"]


def test_clip_of_less_than_one_sample_is_left_out_and_named(params_for, corpus, write_wav):
    write_wav(corpus / "OAF_blip_sad.wav", np.full(1, 0.5), 192000)
    params = params_for(corpus, MAX_SKIPPED=0.5)
    assert len(preprocess_data(params).X) == 8
    assert table(params, "skipped.csv")["file"].tolist() == ["OAF_blip_sad.wav"]


def test_duplicates_are_named_but_not_held_against_the_corpus(params_for, corpus):
    shutil.copytree(corpus, corpus / "TESS again")
    params = params_for(corpus, MAX_SKIPPED=0)
    data = preprocess_data(params)
    assert len(data.X) == 8
    skipped = table(params, "skipped.csv")
    assert len(skipped) == 8
    assert skipped["file"].str.startswith("TESS again/").all()
    assert skipped["reason"].str.startswith("same content as ").all()


def test_missing_corpus_stops_before_anything_is_written(params_for, tmp_path):
    with pytest.raises(DatasetError, match=r"fetches it from https://doi\.org"):
        preprocess_data(params_for(tmp_path / "nowhere"))
    assert not (tmp_path / "out").exists()


def test_processes_do_not_change_a_bit(params_for, make_corpus, tmp_path):
    corpus = make_corpus(tmp_path / "corpus", words=("back", "bar", "base"), emotions=("angry", "sad", "ps"))
    one = preprocess_data(params_for(corpus, N_JOBS=1, DENOISE=True))
    two = preprocess_data(params_for(corpus, N_JOBS=2, DENOISE=True, OUTPUT_DIR=str(tmp_path / "two")))
    assert len(one.X) == 18  # more than one batch, so that both processes have work
    same(one, two)


@pytest.fixture
def counted(monkeypatch):
    """The files that were decoded and analysed since it was last asked."""
    calls = {"decoded": [], "analysed": []}

    def load(path):
        calls["decoded"].append(path.stem)
        return audio.load_audio(path)

    analyse_trimmed = features.analyse_trimmed

    def analyse(trimmed, settings):
        calls["analysed"].append(calls["decoded"][-1])
        return analyse_trimmed(trimmed, settings)

    monkeypatch.setattr(work, "load_audio", load)
    monkeypatch.setattr(features, "analyse_trimmed", analyse)

    def since() -> dict:
        taken = {kind: sorted(names) for kind, names in calls.items()}
        for names in calls.values():
            names.clear()
        return taken

    return since


def forget(params):
    params.processed_data_file.unlink()


def test_another_folder_takes_everything_from_the_cache(params, params_for, corpus, counted, tmp_path):
    data = preprocess_data(params)
    assert counted() == {"decoded": NAMES, "analysed": NAMES}
    again = preprocess_data(params_for(corpus, OUTPUT_DIR=str(tmp_path / "two")))
    assert counted() == {"decoded": [], "analysed": []}
    same(again, data)


def test_number_of_coefficients_needs_no_clip_again(params, params_for, corpus, counted, tmp_path):
    preprocess_data(params)
    counted()
    fewer = preprocess_data(params_for(corpus, N_MFCC=5))
    assert counted() == {"decoded": [], "analysed": []}
    assert fewer.X.shape[-1] == 7
    expected = preprocess_data(params_for(corpus, N_MFCC=5, OUTPUT_DIR=str(tmp_path / "two")))
    same(fewer, expected)


@pytest.mark.parametrize(
    ("change", "done_again"),
    [({"DENOISE": True}, NAMES), ({"TRIM_TOP_DB": 20.0}, NAMES), ({"TARGET_LENGTH": 50_000}, [])],
)
def test_only_what_depends_on_a_setting_is_done_again(params, params_for, corpus, counted, change, done_again):
    preprocess_data(params)
    counted()
    preprocess_data(params_for(corpus, **change))
    assert counted() == {"decoded": done_again, "analysed": done_again}


def test_only_clips_that_are_cut_are_done_again(params, params_for, corpus, counted):
    lengths = preprocess_data(params).clips.set_index("clip")["trimmed_seconds"] * RATE
    counted()
    middle = round(lengths.median())
    cut = sorted(clip.removeprefix("TESS/") for clip in lengths.index[lengths > middle])
    assert 0 < len(cut) < 8
    preprocess_data(params_for(corpus, TARGET_LENGTH=middle))
    assert counted()["analysed"] == cut


def test_clip_is_the_same_beside_a_longer_one(params, corpus, write_wav, counted):
    data = preprocess_data(params)
    counted()
    rng = np.random.default_rng(0)
    write_wav(corpus / "OAF_zeal_sad.wav", 0.3 * rng.standard_normal(3 * RATE).clip(-3, 3))
    again = preprocess_data(params)
    assert counted()["analysed"] == ["OAF_zeal_sad"]
    assert again.settings.target_length > data.settings.target_length
    n_frames = data.X.shape[1]
    same_clips = again.clips["clip"].isin(data.clips["clip"])
    np.testing.assert_array_equal(again.X[same_clips][:, :n_frames], data.X)


def test_only_added_clips_are_processed(params, params_for, corpus, counted, write_wav):
    data = preprocess_data(params)
    counted()
    path = corpus / "OAF_back" / "OAF_back_sad.wav"
    signal, rate = soundfile.read(path, dtype="int16")
    signal[len(signal) // 2] ^= 64
    write_wav(corpus / "OAF_beg_sad.wav", signal, rate, subtype="PCM_16")
    again = preprocess_data(params)
    assert counted() == {"decoded": ["OAF_beg_sad"], "analysed": ["OAF_beg_sad"]}
    assert again.X[[clip != "TESS/OAF_beg_sad" for clip in again.clips["clip"]]].tobytes() == data.X.tobytes()


def test_changed_sample_is_processed_again(params, corpus, counted):
    preprocess_data(params)
    counted()
    path = corpus / "OAF_back" / "OAF_back_sad.wav"
    signal, rate = soundfile.read(path, dtype="int16")
    signal[len(signal) // 2] ^= 64
    soundfile.write(path, signal, rate)
    preprocess_data(params)
    assert counted()["analysed"] == ["OAF_back_sad"]


@pytest.mark.parametrize("change", ["version", "library"])
def test_other_code_processes_everything_again(params, counted, monkeypatch, change):
    preprocess_data(params)
    counted()
    if change == "version":
        monkeypatch.setattr(work, "PIPELINE_VERSION", work.PIPELINE_VERSION + 1)
    else:
        monkeypatch.setattr(work, "library_versions", lambda: {"librosa": "99"})
    preprocess_data(params)
    assert counted() == {"decoded": NAMES, "analysed": NAMES}


def test_damaged_entries_are_made_again(params, counted, tmp_path):
    data = preprocess_data(params)
    counted()
    with closing(sqlite3.connect(tmp_path / "cache" / "clips.sqlite", isolation_level=None)) as database:
        # lengths and analysis of each clip, and which clips hold one recording
        assert database.execute("SELECT count(*) FROM entries").fetchone() == (17,)
        for key, content in database.execute("SELECT key, array FROM entries").fetchall():
            database.execute("UPDATE entries SET array = ? WHERE key = ?", (flip(content, 140), key))
    forget(params)
    same(preprocess_data(params), data)
    assert counted()["analysed"] == NAMES


def test_cache_is_kept_within_its_limit(params, monkeypatch, tmp_path):
    monkeypatch.setenv("SER_CACHE_GB", "0.0001")
    preprocess_data(params)
    with closing(sqlite3.connect(tmp_path / "cache" / "clips.sqlite")) as database:
        (size,) = database.execute("SELECT sum(length(array)) FROM entries").fetchone()
    assert 0 < size <= 100_000


@pytest.mark.parametrize("changes", [{}, {"TARGET_LENGTH": 9000}, {"DENOISE": True}, {"DENOISE": True, "N_MFCC": 3}])
def test_features_are_those_of_the_file_alone(params_for, corpus, changes):
    data = preprocess_data(params_for(corpus, **changes))
    for row, file in zip(data.X, data.clips["file"], strict=True):
        assert process_audio_file(corpus / file, data.settings).tobytes() == row.tobytes()


@pytest.mark.filterwarnings("ignore:invalid value encountered in divide:RuntimeWarning")
def test_clip_that_noise_reduction_cannot_take_is_left_out_and_named(params_for, corpus, write_wav):
    params = params_for(
        corpus, MAX_SKIPPED=0.5, DENOISE=True, DENOISE_REFERENCE=True, TARGET_LENGTH=1_300_000, HOP_LENGTH=2048
    )
    with pytest.raises(DatasetError, match="noise reduction leaves NaN"):
        preprocess_data(params)
    assert len(table(params, "skipped.csv")) == 8


def test_fingerprint_is_not_that_of_the_path(params, params_for, corpus, tmp_path):
    one = preprocess_data(params)
    copy = shutil.copytree(corpus, tmp_path / "copy")
    two = preprocess_data(params_for(copy, OUTPUT_DIR=str(tmp_path / "two")))
    assert one.fingerprint == two.fingerprint


@contextmanager
def files_of_at_most(size):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_full_disk_leaves_the_earlier_data_whole(params, params_for, corpus):
    data = preprocess_data(params)
    before = params.processed_data_file.read_bytes()
    assert len(before) > 12_000
    with files_of_at_most(12_000), pytest.raises(SerError, match=r"cannot be written \(File too large\)") as caught:
        preprocess_data(params_for(corpus, TRIM_TOP_DB=20.0))
    assert "\n" not in str(caught.value)
    assert params.processed_data_file.read_bytes() == before
    assert sorted(path.name for path in params.output_dir.iterdir()) == [
        "clips.csv",
        "notebook_params.json",
        "processed_data.npz",
        "skipped.csv",
    ]
    same(preprocess_data(params), data)


def test_disk_that_fills_up_while_saving_is_told(params, monkeypatch):
    def fail(file, **_arrays):
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(store.np, "savez", fail)
    with pytest.raises(SerError, match=r"processed_data\.npz cannot be written \(No space left on device\)"):
        preprocess_data(params)
    assert [path.name for path in params.output_dir.iterdir()] == ["skipped.csv"]


def test_output_dir_that_is_a_file_is_told(params_for, corpus, tmp_path):
    (tmp_path / "file").write_text("precious")
    with pytest.raises(SerError, match="cannot be written"):
        preprocess_data(params_for(corpus, OUTPUT_DIR=str(tmp_path / "file")))
    assert (tmp_path / "file").read_text() == "precious"


def test_killed_writing_leaves_the_earlier_file(tmp_path, monkeypatch):
    class Killed(BaseException):
        pass

    file = tmp_path / "a.csv"
    file.write_text("earlier")
    with pytest.raises(Killed), io.whole_file(file) as partial:
        partial.write_text("half")
        assert (file.read_text(), partial.parent) == ("earlier", tmp_path)
        raise Killed
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"a.csv": "earlier"}


def test_reader_of_the_earlier_file_keeps_it_whole(tmp_path):
    file = tmp_path / "a.csv"
    file.write_text("earlier")
    with file.open() as reader:
        io.write_text(file, "later")
        assert reader.read() == "earlier"
    assert file.read_text() == "later"


def test_real_clips_with_odd_rate_and_containers(tess, params_for, tmp_path):
    names = ["OAF_Fear/OAF_food_fear.wav", "YAF_angry/YAF_germ_angry.wav", "OAF_neutral/OA_bite_neutral.wav"]
    for name in names:
        copy = tmp_path / "TESS" / name
        copy.parent.mkdir(parents=True)
        shutil.copyfile(tess.file(name), copy)
    data = preprocess_data(params_for(tmp_path / "TESS"))
    assert data.clips["clip"].tolist() == ["TESS/OAF_bite_neutral", "TESS/OAF_food_fear", "TESS/YAF_germ_angry"]
    assert data.clips["sampling_rate"].tolist() == [24414, 96000, 24414]
    assert data.settings.target_length < 3 * RATE
    assert find_clips("TESS", tmp_path / "TESS")[1] == []


LOGMEL = {"FEATURES": "logmel", "N_MELS": 24, "FRAME_LENGTH": 1024}


def test_log_mel_of_the_corpus_and_of_a_file_are_the_same(params_for, corpus):
    data = preprocess_data(params_for(corpus, **LOGMEL))
    assert data.X.shape[2] == 24
    for row, file in enumerate(data.clips["file"]):
        np.testing.assert_allclose(process_audio_file(corpus / file, data.settings), data.X[row], rtol=0, atol=1e-5)


def test_another_kind_of_features_is_made_from_what_is_kept(params_for, corpus, counted):
    preprocess_data(params_for(corpus, **LOGMEL))
    counted()
    preprocess_data(params_for(corpus, **(LOGMEL | {"FEATURES": "mfcc"})))
    assert counted() == {"decoded": [], "analysed": []}


def test_other_bands_are_analysed_anew(params_for, corpus, counted):
    preprocess_data(params_for(corpus, **LOGMEL))
    counted()
    preprocess_data(params_for(corpus, **(LOGMEL | {"MEL_FMIN": 100.0})))
    assert len(counted()["analysed"]) == 8


def test_speakers_are_normalised_by_all_of_their_own_clips(params_for, corpus):
    plain = preprocess_data(params_for(corpus, **LOGMEL))
    data = preprocess_data(params_for(corpus, **LOGMEL, NORMALIZE_PER_SPEAKER=True))
    assert list(data.speakers) == ["OAF", "YAF"]
    sound = 1 + (plain.clips["trimmed_seconds"] * RATE).round().astype(int) // 512
    for speaker in ("OAF", "YAF"):
        rows = np.flatnonzero(data.clips["speaker"] == speaker)
        frames = np.concatenate([data.X[row, : sound[row]] for row in rows])
        np.testing.assert_allclose(frames.mean(axis=0), 0, atol=1e-4)
        np.testing.assert_allclose(frames.std(axis=0), 1, atol=1e-4)
        np.testing.assert_allclose(data.pooled[rows].mean(axis=0), 0, atol=1e-4)
        raw = np.concatenate([plain.X[row, : sound[row]] for row in rows])
        np.testing.assert_allclose(data.speakers[speaker].mean, raw.mean(axis=0), atol=1e-3)
    assert plain.speakers == {}
    same(load_processed(params_for(corpus, **LOGMEL).processed_data_file), data)


def test_pooled_features_stand_beside_the_frames(params_for, corpus):
    data = preprocess_data(params_for(corpus, **LOGMEL))
    assert (data.pooled.shape, data.pooled.dtype) == ((8, 72), np.float32)
    row = 3
    sound = data.X[row, : 1 + round(data.clips["trimmed_seconds"][row] * RATE) // 512]
    np.testing.assert_allclose(data.pooled[row, :24], sound.mean(axis=0), rtol=0, atol=1)
    np.testing.assert_array_equal(load_processed(params_for(corpus).processed_data_file).pooled, data.pooled)
