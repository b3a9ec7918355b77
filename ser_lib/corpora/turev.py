"""Turkish emotion-voice database (TurEV-DB): six speakers, 82 words, four emotions.

Names read `1234_kz_deniz.wav`: speaker, letters of the emotion's Turkish word, what is said.
"""

import re
from pathlib import PurePath

from ser_lib.corpora.base import Archive, Name

NAME = "TUREV"
ABOUT = "Turkish emotion-voice database: six speakers speaking 82 words in four emotions."
LICENCE = "CC BY-NC-ND 4.0"
CITATION = (
    "Canpolat, Ormanoğlu and Zeyrek, Turkish emotion voice database (TurEV-DB), workshop SLTU-CCURL 2020, pages 368-375"
)
LANGUAGE = "Turkish"
N_SPEAKERS = 6
HOURS = 0.5
SAMPLING_RATE = 44_100
DOWNLOAD = Archive("https://github.com/Xeonen/TurEV-DB/archive/refs/heads/master.zip")
WHERE = (
    "ser data get TUREV fetches it from https://github.com/Xeonen/TurEV-DB into data/TUREV; "
    "then name that folder with -p DATASET_PATH=data/TUREV."
)
EMOTIONS = {"angry": "angry", "calm": None, "happy": "happy", "sad": "sad"}
LETTERS = {"kz": "angry", "sk": "calm", "mt": "happy", "hl": "sad"}
_NAME = re.compile("([0-9]{4})_([a-z]{2})_([a-z]+)([0-9]?)", re.IGNORECASE)


def read_name(path: PurePath) -> Name:
    """Read a file's name, such as `1234_kz_deniz.wav`; a digit after the word tells takes apart.

    Raises
    ------
    ValueError
        If the name does not follow the corpus's rule; the message is the reason.
    """
    match = _NAME.fullmatch(path.stem.strip())
    if match is None:
        raise ValueError("the name does not read like 1234_kz_deniz: speaker, letters of the emotion, word")
    speaker, letters, word, take = match.groups()
    if letters.lower() not in LETTERS:
        raise ValueError(f"unknown emotion {letters!r} in the name; known: {', '.join(LETTERS)}")
    return Name(speaker, LETTERS[letters.lower()], word.lower(), take)
