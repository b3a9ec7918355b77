"""Crowd-sourced emotional multimodal actors dataset (CREMA-D): 91 actors, twelve sentences, six emotions.

Names read `1001_DFA_ANG_XX.wav`: speaker, sentence, emotion, level (LO, MD, HI, or XX where none was asked for).
"""

import re
from pathlib import PurePath

from ser_lib.corpora.base import FilesOf, Name, where_to_get

NAME = "CREMA-D"
ABOUT = "Crowd-sourced emotional multimodal actors dataset: 91 actors speaking twelve sentences in six emotions."
LICENCE = "Open Database License (ODbL) 1.0"
CITATION = (
    "Cao, Cooper, Keutmann, Gur, Nenkova and Verma, CREMA-D: Crowd-sourced Emotional Multimodal Actors Dataset, IEEE "
    "Transactions on Affective Computing 5(4), 2014, pages 377-390, https://doi.org/10.1109/TAFFC.2014.2336244"
)
LANGUAGE = "English"
N_SPEAKERS = 91
HOURS = 5.3
SAMPLING_RATE = 16_000
DOWNLOAD = FilesOf("https://media.githubusercontent.com/media/CheyneyComputerScience/CREMA-D/master/")
WHERE = where_to_get(NAME, "https://github.com/CheyneyComputerScience/CREMA-D")
EMOTIONS = {
    "anger": "angry", "disgust": "disgust", "fear": "fear", "happy": "happy", "neutral": "neutral", "sad": "sad",
}  # fmt: skip
CODES = {emotion[:3].upper(): emotion for emotion in EMOTIONS}
LEVELS = ("LO", "MD", "HI", "XX")
_NAME = re.compile("([0-9]{4})_([A-Z]{3})_([A-Z]+)_([A-Z]+)")


def read_name(path: PurePath) -> Name:
    """Read a file's name, such as `1001_DFA_ANG_XX.wav`; take is the level."""
    match = _NAME.fullmatch(path.stem.strip().upper())
    if match is None:
        raise ValueError("the name does not read like 1001_DFA_ANG_XX: speaker, sentence, emotion, level")
    speaker, text, emotion, level = match.groups()
    level = "XX" if level == "X" else level  # copies from before October 2022 hold a 1040_ITH_SAD_X.wav
    if not 1001 <= int(speaker) <= 1000 + N_SPEAKERS:
        raise ValueError(f"unknown speaker {speaker!r} in the name; known: 1001 to {1000 + N_SPEAKERS}")
    if emotion not in CODES:
        raise ValueError(f"unknown emotion {emotion!r} in the name; known: {', '.join(CODES)}")
    if level not in LEVELS:
        raise ValueError(f"unknown level {level!r} in the name; known: {', '.join(LEVELS)}")
    return Name(speaker, CODES[emotion], text.lower(), level)
