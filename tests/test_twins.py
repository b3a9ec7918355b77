"""One recording in several formats is one recording; two of the same words are two."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import soundfile

from ser_lib.audio.signal import load_audio, resample
from ser_lib.params import make_params
from ser_lib.preprocess import preprocess_data
from ser_lib.split import split_data
from ser_lib.store import load_processed, read_json, save_processed

REPO = Path(__file__).resolve().parent.parent
_spec = importlib.util.spec_from_file_location("compression", REPO / "benchmarks" / "compression.py")
compression = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(compression)
WORDS, EMOTIONS = ("back", "bar", "base", "bath"), ("angry", "sad")


def coded(name, bit_rate=None):
    def write(path, signal, rate):
        form = compression.FORMATS[name]
        form = form._replace(bit_rate=bit_rate) if bit_rate else form
        try:
            compression.encode(path, signal, rate, form)
        except ValueError as error:
            pytest.skip(f"this PyAV has no encoder: {error}")

    return write


def changed(change):
    return lambda path, signal, rate: soundfile.write(path.with_suffix(".wav"), *change(signal, rate))


COPIES = {
    "flac": lambda path, signal, rate: soundfile.write(path.with_suffix(".flac"), signal, rate),
    "mp3": coded("MP3 64 kbit/s"),
    "m4a": coded("AAC 64 kbit/s (m4a)"),
    "opus": coded("Opus 32 kbit/s"),
    "quieter": changed(lambda signal, rate: (signal / 8, rate)),
    "upside down": changed(lambda signal, rate: (-signal, rate)),
    "resampled": changed(lambda signal, rate: (resample(signal, rate, target_rate=11025), 11025)),
    "trimmed": changed(lambda signal, rate: (signal[rate // 20 : -rate // 20], rate)),
    "padded": changed(lambda signal, rate: (np.pad(signal, rate // 3), rate)),
}


@pytest.fixture
def make(root):
    def make(folder, **changes):
        values = {"CORPORA": ["OWN"], "DATASET_PATH": str(folder), "OUTPUT_DIR": str(root / "out"), "N_JOBS": 1}
        fractions = {"TEST_FRACTION": 0.25, "VALIDATION_FRACTION": 0.25}
        return make_params(values | fractions | {"DENOISE": False} | changes)

    return make


@pytest.fixture
def folder(root, demo_folder):
    # eight clips of one's own, of two emotions, each said by one voice
    for emotion in EMOTIONS:
        (root / "own" / emotion).mkdir(parents=True)
        for word in WORDS:
            clip = demo_folder / f"ESA_{emotion}" / f"ESA_{word}_{emotion}.wav"
            (root / "own" / emotion / f"{word}.wav").write_bytes(clip.read_bytes())
    return root / "own"


def copy_all(folder, write):
    for path in sorted(folder.rglob("*.wav")):
        write(path.with_name(f"{path.stem} copy"), *load_audio(path))


@pytest.mark.parametrize("kind", list(COPIES))
def test_copies_are_one_recording_and_split_once(folder, make, capsys, kind):
    copy_all(folder, COPIES[kind])
    params = make(folder)
    data = preprocess_data(params)
    assert "8 clips hold the same recording as another" in capsys.readouterr().out
    clips = data.clips.assign(original=data.clips["file"].str.replace(r"( copy)?\.\w+$", "", regex=True))
    assert len(clips) == 16
    assert (clips.groupby("original")["recording"].nunique() == 1).all()
    assert clips["recording"].nunique() == clips["original"].nunique() == 8
    table = split_data(data, params)
    assert (table["set"] == "unused").sum() == 8
    assert clips["original"][table["set"] != "unused"].nunique() == 8
    assert read_json(params.output_dir / "leakage.json")["test"]["audio"]["clips"] == 0


def test_copies_that_a_file_splits_are_counted(folder, make):
    copy_all(folder, COPIES["flac"])
    params = make(folder)
    data = preprocess_data(params)
    copies = data.clips["file"].str.contains("copy")
    sets = np.where(copies, "test", np.where(data.clips["file"].str.contains("back"), "validation", "train"))
    split = params.output_dir / "by_hand.csv"
    data.clips[["clip"]].assign(set=sets).to_csv(split, index=False)
    split_data(data, make(folder, SPLIT_FILE=str(split)))
    found = read_json(params.output_dir / "leakage.json")
    assert found["test"]["clips"] == 8 and found["test"]["audio"]["clips"] == 6


@pytest.mark.parametrize("changes", [{}, {"NORMALIZE_PER_SPEAKER": True}, {"N_MELS": 8, "N_MFCC": 4}])
def test_same_words_of_the_same_voice_are_recordings_of_their_own(demo_folder, make, changes):
    data = preprocess_data(make(demo_folder, CORPORA=["DEMO"], **changes))
    assert len(data.clips) == 112
    assert "recording" not in data.clips  # the file is what it was before twins were looked for


def test_stored_data_keep_what_was_found(folder, make, root):
    copy_all(folder, COPIES["flac"])
    data = preprocess_data(make(folder))
    again = preprocess_data(make(folder))
    assert again.clips["recording"].tolist() == data.clips["recording"].tolist()
    save_processed(root / "x.npz", data)
    assert load_processed(root / "x.npz").clips["recording"].tolist() == data.clips["recording"].tolist()
