"""Toronto emotional speech set (TESS): two actresses, 200 words in "Say the word …", seven emotions.

Names read `OAF_back_angry.wav`: speaker, word, emotion.
"""

from pathlib import PurePath

from ser_lib.core.labels import EMOTIONS as SEVEN
from ser_lib.corpora.base import Dataset, Name, where_to_get

NAME = "TESS"
ABOUT = "Toronto emotional speech set: recordings of two actresses speaking 200 words in seven emotions."
LICENCE = "CC BY-NC-ND 4.0"
CITATION = (
    "Pichora-Fuller and Dupuis, Toronto emotional speech set (TESS), Borealis, 2020, https://doi.org/10.5683/SP2/E8H2MF"
)
LANGUAGE = "English"
N_SPEAKERS = 2
HOURS = 1.6
SAMPLING_RATE = 24_414
DOWNLOAD = Dataset("10.5683/SP2/E8H2MF")
WHERE = where_to_get(NAME, "https://doi.org/10.5683/SP2/E8H2MF")
EMOTIONS = {emotion: emotion for emotion in SEVEN}
SPEAKERS = {"OAF": "OAF", "YAF": "YAF", "OA": "OAF"}
"""Speaker in a file's name to speaker: `OA_bite_neutral.wav` is a clip of OAF."""


def read_name(path: PurePath, speakers: dict[str, str] = SPEAKERS) -> Name:
    """Read a file's name, such as `OAF_back_angry.wav`; folders say nothing."""
    parts = path.stem.strip().split("_")
    if len(parts) != 3 or not parts[1]:
        raise ValueError("the name does not read SPEAKER_word_emotion")
    speaker, text, emotion = parts[0].upper(), parts[1].lower(), parts[2].lower()
    if speaker not in speakers:
        raise ValueError(
            f"unknown speaker {parts[0]!r} in the name; known: {', '.join(sorted(set(speakers.values())))}"
        )
    if emotion not in EMOTIONS:
        raise ValueError(f"unknown emotion {parts[2]!r} in the name; known: {', '.join(EMOTIONS)}")
    return Name(speakers[speaker], emotion, text)
