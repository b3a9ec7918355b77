"""How far the features of the same clips differ between two installations (Pythons, library versions).

.venv-3.11/bin/python benchmarks/feature_differences.py save data/TESS a.npz
.venv-3.13/bin/python benchmarks/feature_differences.py save data/TESS b.npz
python benchmarks/feature_differences.py compare a.npz b.npz
"""

import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
from joblib import Parallel, delayed

from ser_lib.audio.features import process_audio_file
from ser_lib.params import Params

EVERY = 20
"""One file in so many is measured."""


def save(folder: str, output: str) -> None:
    """Write the features of every twentieth wav file below `folder`, padded to 72,000 samples."""
    settings = Params(TARGET_LENGTH=72_000).audio_settings
    files = sorted(Path(folder).rglob("*.wav"))[::EVERY]
    features = Parallel(n_jobs=-1)(delayed(process_audio_file)(file, settings) for file in files)
    versions = [f"{name} {version(name)}" for name in ("librosa", "numpy", "scipy", "noisereduce", "soxr")]
    np.savez(output, X=np.stack(features), versions=[f"Python {sys.version.split()[0]}", *versions])


def compare(first: str, second: str) -> None:
    """Print the largest and the typical difference of each feature, against the feature's own deviation."""
    a, b = np.load(first), np.load(second)
    print(*(", ".join(stored["versions"]) for stored in (a, b)), sep="\n")
    print(f"{len(a['X'])} clips, identical to the bit: {np.array_equal(a['X'], b['X'])}")
    deviation = a["X"].reshape(-1, a["X"].shape[-1]).std(axis=0)
    difference = np.abs(a["X"].astype(np.float64) - b["X"])
    for i, name in enumerate(Params().audio_settings.feature_names):
        largest, typical = difference[..., i].max(), np.median(difference[..., i])
        share = largest / deviation[i]
        print(f"{name:<8} largest {largest:9.2e}  median {typical:9.2e}  largest / standard deviation {share:9.2e}")


if __name__ == "__main__":
    {"save": save, "compare": compare}[sys.argv[1]](*sys.argv[2:])
