"""Surrey audio-visual expressed emotion database (SAVEE): four men, 120 sentences each, seven emotions.

Names read `DC_a01.wav`, or `a01.wav` in a folder `DC`: speaker, letters of the emotion, number of the sentence.
"""

import re
from pathlib import PurePath

from ser_lib.corpora.base import Name

NAME = "SAVEE"
ABOUT = (
    "Surrey audio-visual expressed emotion database: four men speaking 120 English sentences each in seven emotions."
)
LICENCE = "free for research, after registration"
CITATION = (
    "Haq and Jackson, Multimodal Emotion Recognition, in: Wang (editor), Machine Audition: Principles, Algorithms and "
    "Systems, IGI Global, 2010, pages 398-423"
)
LANGUAGE = "English"
N_SPEAKERS = 4
HOURS = 0.5
SAMPLING_RATE = 44_100
WHERE = (
    "It needs a registration at http://kahlan.eps.surrey.ac.uk/savee/. Unpack it into data/SAVEE; ser data check "
    "data/SAVEE verifies it. Then name that folder with -p CORPORA=[SAVEE] -p DATASET_PATH=data/SAVEE."
)
EMOTIONS = {
    "anger": "angry", "disgust": "disgust", "fear": "fear", "happiness": "happy", "neutral": "neutral",
    "sadness": "sad", "surprise": "ps",
}  # fmt: skip
LETTERS = dict(zip(("a", "d", "f", "h", "n", "sa", "su"), EMOTIONS, strict=True))
SPEAKERS = ("DC", "JE", "JK", "KL")
_NAME = re.compile("(?:([A-Z]+)_)?([a-z]+)([0-9]{2})", re.IGNORECASE)


def read_name(path: PurePath) -> Name:
    """Read a file's name, such as `DC_a01.wav`, or `a01.wav` with the speaker's folder.

    A text is a letter and a number: three sentences are common to all emotions, but each under its own.
    """
    match = _NAME.fullmatch(path.stem.strip())
    if match is None:
        raise ValueError("the name does not read like DC_a01 or a01: speaker, letters of the emotion, sentence")
    speaker, letters, number = match.groups()
    folders = [part.upper() for part in reversed(path.parts[:-1])]
    speaker = speaker.upper() if speaker else next((folder for folder in folders if folder in SPEAKERS), None)
    if speaker not in SPEAKERS:
        where = f"unknown speaker {speaker!r} in the name" if speaker else "neither name nor folder tells the speaker"
        raise ValueError(f"{where}; known: {', '.join(SPEAKERS)}")
    if letters.lower() not in LETTERS:
        raise ValueError(f"unknown emotion {letters!r} in the name; known: {', '.join(LETTERS)}")
    return Name(speaker, LETTERS[letters.lower()], f"{letters.lower()}{number}")
