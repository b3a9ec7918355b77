"""The usual way from wav files to features, written out plainly: what the benchmarks compare with.

One clip at a time, librosa for rate and length in a first pass and again in a second, pydub, noisereduce with its
defaults, librosa's features.

python benchmarks/usual_way.py FOLDER OUTPUT.npz [N_CLIPS]
"""

import sys
import warnings
from pathlib import Path

import librosa
import noisereduce
import numpy as np

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from pydub import AudioSegment, effects

RATE, FRAME, HOP, N_MFCC, TOP_DB = 24414, 2048, 512, 13, 30


def load(path: Path) -> np.ndarray:
    """Decode, normalise the volume and trim silence."""
    signal, _ = librosa.load(path, sr=RATE, res_type="soxr_hq")
    integers = np.clip(signal.astype(np.float64) * 2**31, -(2**31), 2**31 - 1).astype(np.int32)
    sound = AudioSegment(integers.tobytes(), frame_rate=RATE, sample_width=4, channels=1)
    sound = effects.normalize(sound, headroom=0)
    samples = (np.array(sound.get_array_of_samples()) / 2**31).astype(np.float32)
    trimmed, _ = librosa.effects.trim(samples, top_db=TOP_DB, frame_length=FRAME, hop_length=HOP)
    return trimmed


def features(path: Path, length: int) -> np.ndarray:
    """Features [shape=(n_frames, 15)] of one clip."""
    signal = librosa.util.fix_length(load(path), size=length)
    signal = noisereduce.reduce_noise(y=signal, sr=RATE)
    rms = librosa.feature.rms(y=signal, frame_length=FRAME, hop_length=HOP)
    zcr = librosa.feature.zero_crossing_rate(signal, frame_length=FRAME, hop_length=HOP)
    mfcc = librosa.feature.mfcc(y=signal, sr=RATE, n_mfcc=N_MFCC, n_fft=FRAME, hop_length=HOP)
    return np.vstack([rms, zcr, mfcc]).T.astype(np.float32)


def main(folder: str, output: str, n_clips: str = "100000") -> None:
    """Preprocess a folder."""
    files = sorted(Path(folder).rglob("*.wav"))[: int(n_clips)]
    longest = max(len(load(file)) for file in files)
    np.savez(output, X=np.stack([features(file, longest) for file in files]), target_length=longest)


if __name__ == "__main__":
    main(*sys.argv[1:])
