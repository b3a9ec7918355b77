"""Berlin database of emotional speech (EMO-DB): ten speakers, ten German sentences, seven emotions.

Names read `03a01Fa.wav`: speaker 03, text a01, letter of the emotion's German word, version a.
"""

import re
from pathlib import PurePath

from ser_lib.corpora.base import Archive, Name, where_to_get

NAME = "EMODB"
ABOUT = "Berlin database of emotional speech: ten actors speaking ten German sentences in seven emotions."
LICENCE = "free for research"
CITATION = (
    "Burkhardt, Paeschke, Rolfes, Sendlmeier and Weiss, A database of German emotional speech, Interspeech 2005, "
    "pages 1517-1520"
)
LANGUAGE = "German"
N_SPEAKERS = 10
HOURS = 0.4
SAMPLING_RATE = 16_000
DOWNLOAD = Archive("http://emodb.bilderbar.info/download/download.zip")
WHERE = where_to_get(NAME, "http://emodb.bilderbar.info")
EMOTIONS = {
    "angry": "angry", "disgust": "disgust", "fear": "fear", "happy": "happy", "sad": "sad", "neutral": "neutral",
    "boredom": None,
}  # fmt: skip
LETTERS = dict(zip("WEAFTNL", EMOTIONS, strict=True))
"""Letter in a file's name to emotion: Wut, Ekel, Angst, Freude, Trauer, neutral, Langeweile."""
_NAME = re.compile(r"(\d\d)([ab]\d\d)([A-Z])([a-z])")


def read_name(path: PurePath) -> Name:
    """Read a file's name, such as `03a01Fa.wav`; a speaker may have said a sentence in several versions."""
    match = _NAME.fullmatch(path.stem.strip())
    if match is None:
        raise ValueError("the name does not read like 03a01Fa: speaker, text, emotion, version")
    speaker, text, letter, version = match.groups()
    if letter not in LETTERS:
        raise ValueError(f"unknown emotion {letter!r} in the name; known: {', '.join(LETTERS)}")
    return Name(speaker, LETTERS[letter], text, version)
