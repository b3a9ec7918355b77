"""Amharic speech emotion dataset (ASED): 65 speakers of four dialects, 27 sentences, five emotions.

Names read `a5-03-01-02-50.wav`: letter of the emotion and number of its folder, sentence, repetition, sex, speaker.
"""

import re
from pathlib import PurePath

from ser_lib.corpora.base import Archive, Name

NAME = "ASED"
ABOUT = "Amharic speech emotion dataset: 65 speakers of four dialects speaking 27 sentences in five emotions."
LICENCE = "none named by its authors"
CITATION = (
    "Retta, Almekhlafi, Sutcliffe, Mhamed, Ali and Feng, A new Amharic speech emotion dataset and classification "
    "benchmark, ACM Transactions on Asian and Low-Resource Language Information Processing 22(1), 2023"
)
LANGUAGE = "Amharic"
N_SPEAKERS = 65
HOURS = 2.1
SAMPLING_RATE = 16_000
DOWNLOAD = Archive("https://github.com/Ethio2021/ASED_V1/archive/refs/heads/main.zip")
WHERE = (
    "ser data get ASED fetches it from https://github.com/Ethio2021/ASED_V1 into data/ASED; "
    "then name that folder with -p DATASET_PATH=data/ASED."
)
EMOTIONS = {"neutral": "neutral", "fearful": "fear", "happy": "happy", "sad": "sad", "angry": "angry"}
LETTERS = dict(zip("nfhsa", EMOTIONS, strict=True))
_NAME = re.compile("([a-z])[0-9]-([0-9]{2})-([0-9]{2})-[0-9]{2}-([0-9]{2})", re.IGNORECASE)


def read_name(path: PurePath) -> Name:
    """Read a file's name, such as `a5-03-01-02-50.wav`; take is the repetition.

    Most sentences belong to one emotion, two are common to all; names do not tell which, so each emotion's count as
    its own.

    Raises
    ------
    ValueError
        If the name does not follow the corpus's rule; the message is the reason.
    """
    match = _NAME.fullmatch(path.stem.strip())
    if match is None:
        raise ValueError("the name does not read like a5-03-01-02-50: emotion, sentence, repetition, sex, speaker")
    letter, sentence, repetition, speaker = match.groups()
    letter = letter.lower()
    if letter not in LETTERS:
        raise ValueError(f"unknown emotion {letter!r} in the name; known: {', '.join(LETTERS)}")
    return Name(speaker, LETTERS[letter], f"{letter}{sentence}", repetition)
