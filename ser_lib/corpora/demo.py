"""A synthetic corpus made on the spot by espeak-ng: two voices, 30 words, seven emotions, TESS's file layout.

It shows that everything works. It holds no human voice, and an accuracy on it says nothing about people.
An emotion is a shift of rate, pitch, pitch range and loudness, and a spread of each, chosen by hand from
the direction that vocal expression takes in people (Juslin and Laukka, "Communication of emotions in
vocal expression and music performance", Psychological Bulletin 129(5), 2003, table 7).
"""

import ctypes
import random
import secrets
import shutil
import subprocess
import sys
import tempfile
import wave
from pathlib import Path, PurePath

from ser_lib.core.errors import DatasetError
from ser_lib.corpora import tess
from ser_lib.corpora.base import Name

NAME = "DEMO"
ABOUT = "SYNTHETIC voices made by espeak-ng, for trying the project out. Accuracy on them says nothing about people."
LICENCE = "none needed, it is made on your machine"
CITATION = "espeak-ng, https://github.com/espeak-ng/espeak-ng"
LANGUAGE = "English"
N_SPEAKERS = 2
HOURS = 0.1
EMOTIONS = tess.EMOTIONS
WHERE = (
    "For recordings of your own, set CORPORA as well: params/tess.yaml does for TESS. "
    "A demo corpus that is damaged is made again when its folder is missing."
)
SPEAKERS = {"ESA": "en-us+f1", "ESB": "en+Annie"}
"""Speaker to espeak-ng voice. Voices with echo or breath are no use: their samples differ from process to process."""
WORDS = (
    "back bar base bath bean beg bite boat bone book bought burn cab calm came "
    "cause chain chair chalk chat check cheek chief choice cool dab date dead death deep"
).split()
# rate in words per minute, pitch, pitch range and volume (0 to 100, 50 is normal), and the spread of each
_STYLES = {
    "neutral": (165, 50, 45, 100),
    "happy": (180, 62, 72, 110),
    "sad": (140, 42, 30, 85),
    "angry": (185, 55, 62, 125),
    "fear": (195, 66, 45, 95),
    "disgust": (150, 40, 50, 100),
    "ps": (170, 72, 80, 108),
}
_SPREAD = (5.0, 2.0, 3.5, 4.0)
_LIMITS = ((80, 400), (0, 99), (0, 99), (20, 180))

# From espeak-ng's speak_lib.h
_AUDIO_SYNCHRONOUS, _DONT_EXIT, _UTF8, _END = 2, 0x8000, 1, 0
_RATE, _VOLUME, _PITCH, _RANGE = 1, 2, 3, 4
_MAX_DATA_PATH = 150
_SYNTH_CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)


def read_name(path: PurePath) -> Name:
    """Read a file's name, as in TESS (`ESA_back_angry.wav`)."""
    return tess.read_name(path, {speaker: speaker for speaker in SPEAKERS})


def make(folder: Path, *, n_words: int = len(WORDS)) -> None:
    """Make the corpus in `folder`, whole or not at all: the same bytes every time.

    espeak-ng carries state from one phrase to the next, so a process of its own speaks all of them.

    Raises
    ------
    DatasetError
        If espeak-ng fails, with its reason.
    """
    try:
        _make(folder, n_words)
    except OSError as error:
        raise DatasetError(f"The demo corpus could not be made in {folder}: {error.strerror}") from None


def _make(folder: Path, n_words: int) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = folder.with_name(f".{folder.name}-{secrets.token_hex(4)}")
    partial.mkdir()
    try:
        command = [sys.executable, "-m", "ser_lib.corpora.demo", str(partial), str(n_words)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode != 0:
            reason = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
            raise DatasetError(f"The demo corpus could not be made in {folder}: {reason}")
        try:
            partial.rename(folder)
        except OSError:
            if not folder.is_dir():  # else another run made it meanwhile: the same bytes
                raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def speak_corpus(folder: Path, n_words: int) -> None:
    """Speak every clip in a fixed order and write it below `folder`; call it in a fresh process only."""
    rng = random.Random(2003)
    with tempfile.TemporaryDirectory() as short:
        speak = _start_espeak(Path(short))
        for speaker, voice in SPEAKERS.items():
            for emotion in EMOTIONS:
                directory = folder / f"{speaker}_{emotion}"
                directory.mkdir()
                for word in WORDS[:n_words]:
                    style = [_draw(rng, *spread) for spread in zip(_STYLES[emotion], _SPREAD, _LIMITS, strict=True)]
                    samples, sampling_rate = speak(voice, f"Say the word {word}.", style)
                    _write_wav(directory / f"{speaker}_{word}_{emotion}.wav", samples, sampling_rate)


def _draw(rng: random.Random, mean: float, spread: float, limits: tuple[int, int]) -> int:
    return max(limits[0], min(limits[1], round(rng.gauss(mean, spread))))


def _start_espeak(short: Path):
    """Load espeak-ng and return a function that speaks. Its data path must be short: link it from `short`."""
    import espeakng_loader  # a light installation is without it

    data = short / "espeak-ng-data"
    data.symlink_to(espeakng_loader.get_data_path())
    if len(str(data)) > _MAX_DATA_PATH:
        raise DatasetError(
            f"the path of the temporary folder must be shorter than {_MAX_DATA_PATH} characters: {short}"
        )
    library = ctypes.CDLL(espeakng_loader.get_library_path())
    sampling_rate = library.espeak_Initialize(_AUDIO_SYNCHRONOUS, 0, str(data).encode(), _DONT_EXIT)
    if sampling_rate <= 0:
        raise DatasetError(f"espeak-ng does not start (code {sampling_rate})")
    spoken = bytearray()

    @_SYNTH_CALLBACK
    def keep(samples, count, _events):
        if samples and count > 0:
            spoken.extend(ctypes.string_at(samples, 2 * count))
        return 0

    library.espeak_SetSynthCallback(keep)

    def speak(voice: str, sentence: str, style: list[int]) -> tuple[bytes, int]:
        spoken.clear()
        if library.espeak_SetVoiceByName(voice.encode()) != 0:
            raise DatasetError(f"espeak-ng has no voice {voice}")
        for parameter, value in zip((_RATE, _PITCH, _RANGE, _VOLUME), style, strict=True):
            library.espeak_SetParameter(parameter, value, 0)
        text = sentence.encode()
        library.espeak_Synth(text, len(text) + 1, 0, 0, _END, _UTF8, None, keep)
        return bytes(spoken), sampling_rate

    return speak


def _write_wav(path: Path, samples: bytes, sampling_rate: int) -> None:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(sampling_rate)
        file.writeframes(samples)


if __name__ == "__main__":
    speak_corpus(Path(sys.argv[1]), int(sys.argv[2]))
