"""How fast a long recording is heard, and in how much memory.

python benchmarks/recordings.py                 # an hour made of the demo corpus's clips, by the models of two records
python benchmarks/recordings.py --minutes 5 --corpus data/TESS

Prints how many times faster than real time the timeline is (windows of the training length, half a window's hop), and
the largest resident memory of the process that makes it.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile

from ser_lib.audio.signal import load_audio, resample
from ser_lib.corpora.audio_files import find_files

RATE = 24414
RUNS = ("tess_random_s0", "tess_robust_random_s0")


def write_recording(path: Path, corpus: Path, minutes: float) -> None:
    """Write clips of a corpus one after the other, a second of silence after each, until there is enough."""
    files = find_files(str(corpus))[0][:60]
    clips = [resample(*load_audio(file), target_rate=RATE) for file in files]
    seconds = 0.0
    with soundfile.SoundFile(path, "w", RATE, 1) as file:
        while seconds < 60 * minutes:
            for clip in clips:
                file.write(np.concatenate([clip, np.zeros(RATE, dtype=np.float32)]))
                seconds += len(clip) / RATE + 1


def main() -> None:
    """Measure each run's model in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--corpus", type=Path, default=Path("data/demo"))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "long.wav"
        write_recording(path, options.corpus, options.minutes)
        seconds = soundfile.info(path).duration
        for run in RUNS:
            start = time.perf_counter()
            table = Path(folder) / "t.csv"
            command = [Path(sys.executable).with_name("ser"), "predict", path, "--run", run, "--hop", "1.45"]
            subprocess.run([*command, "--csv", table], check=True, stdout=subprocess.DEVNULL)
            ratio = seconds / (time.perf_counter() - start)
            largest = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
            print(f"{run}: {seconds / 60:.0f} min, {ratio:.0f} x real time, at most {largest:.0f} MB", flush=True)


if __name__ == "__main__":
    main()
