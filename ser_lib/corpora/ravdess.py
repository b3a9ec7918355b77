"""Speech of the Ryerson audio-visual database (RAVDESS): 24 actors, two sentences, eight emotions, two intensities.

Names read `03-01-06-01-02-01-12.wav`: modality, vocal channel, emotion, intensity, statement, repetition, actor.
"""

import re
from pathlib import PurePath

from ser_lib.corpora.base import Archive, Name, NotUsedError, where_to_get

NAME = "RAVDESS"
ABOUT = "Ryerson audio-visual database, speech: 24 actors speaking two sentences in eight emotions, calm among them."
LICENCE = "CC BY-NC-SA 4.0"
CITATION = (
    "Livingstone and Russo, The Ryerson Audio-Visual Database of Emotional Speech and Song (RAVDESS), PLoS ONE 13(5), "
    "2018, https://doi.org/10.1371/journal.pone.0196391"
)
LANGUAGE, N_SPEAKERS, HOURS, SAMPLING_RATE = "English", 24, 1.5, 48_000
DOWNLOAD = Archive(
    "https://zenodo.org/records/1188976/files/Audio_Speech_Actors_01-24.zip",
    208_468_073,
    "md5:bc696df654c87fed845eb13823edef8a",
)
WHERE = where_to_get(NAME, "https://zenodo.org/records/1188976")
EMOTIONS = {
    "neutral": "neutral", "calm": None, "happy": "happy", "sad": "sad", "angry": "angry", "fearful": "fear",
    "disgust": "disgust", "surprised": "ps",
}  # fmt: skip
CODES = {f"{code:02}": emotion for code, emotion in enumerate(EMOTIONS, start=1)}
STATEMENTS = {"01": "kids", "02": "dogs"}
"""Code to text: "Kids are talking by the door", "Dogs are sitting by the door"."""
_NAME = re.compile("-".join(7 * ["([0-9]{2})"]))


def read_name(path: PurePath) -> Name:
    """Read a file's name, such as `03-01-06-01-02-01-12.wav`; take is intensity and repetition.

    Raises
    ------
    NotUsedError
        If it is song, or sound of the films.
    """
    match = _NAME.fullmatch(path.stem.strip())
    if match is None:
        raise ValueError("the name does not read like 03-01-06-01-02-01-12, seven codes of two digits")
    modality, channel, emotion, intensity, statement, repetition, actor = match.groups()
    if channel == "02":
        raise NotUsedError("it is song (vocal channel 02 in the name); the corpus here is the speech, 01")
    if modality in ("01", "02"):
        raise NotUsedError(f"it is a film (modality {modality} in the name); the corpus here is the sound alone, 03")
    actors = [f"{number:02}" for number in range(1, N_SPEAKERS + 1)]
    known = {"modality": ["03"], "vocal channel": ["01"], "emotion": CODES, "intensity": ["01", "02"],
             "statement": STATEMENTS, "repetition": ["01", "02"], "actor": actors}  # fmt: skip
    for (field, codes), code in zip(known.items(), match.groups(), strict=True):
        if code not in codes:
            raise ValueError(f"unknown {field} {code!r} in the name; known: {', '.join(codes)}")
    return Name(actor, CODES[emotion], STATEMENTS[statement], f"{intensity}-{repetition}")
