"""Berlin database of emotional speech (EMO-DB): ten speakers, ten German sentences, seven emotions.

Free for research. Reference: Burkhardt, Paeschke, Rolfes, Sendlmeier and Weiss, "A database of German emotional
speech", Interspeech 2005, pages 1517-1520.
"""

import re

from ser_lib.errors import NoCounterpartError

NAME = "EMODB"
ABOUT = "Berlin database of emotional speech: ten actors speaking ten German sentences in seven emotions."
LICENCE = "free for research"
WHERE = (
    "Get EMO-DB from http://emodb.bilderbar.info (download.zip), unpack it into data/EMODB, "
    "and name that folder with -p DATASET_PATH=data/EMODB."
)
EMOTIONS = {"W": "angry", "E": "disgust", "A": "fear", "F": "happy", "T": "sad", "N": "neutral", "L": None}
"""Letter in a file's name (of the German word) to emotion; boredom (L, Langeweile) has no counterpart."""
_NAME = re.compile(r"(\d\d)([ab]\d\d)([A-Z])([a-z])")


def read_name(stem: str) -> tuple[str, str, str, str]:
    """Read speaker, emotion, text and version from a file name without its ending, such as `03a01Fa`.

    The fourth is the version: a speaker may have said a sentence more than once.

    Raises
    ------
    ValueError
        If the name does not follow the corpus's rule; the message is the reason.
    NoCounterpartError
        If the emotion is none of the seven.
    """
    match = _NAME.fullmatch(stem.strip())
    if match is None:
        raise ValueError("the name does not read like 03a01Fa: speaker, text, emotion, version")
    speaker, text, letter, version = match.groups()
    if letter not in EMOTIONS:
        raise ValueError(f"unknown emotion {letter!r} in the name; known: {', '.join(EMOTIONS)}")
    if EMOTIONS[letter] is None:
        raise NoCounterpartError("boredom has no counterpart among the seven emotions")
    return speaker, EMOTIONS[letter], text, version
