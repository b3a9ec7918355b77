"""Toronto emotional speech set (TESS): two actresses, 200 words in "Say the word …", seven emotions.

Licence CC BY-NC-ND 4.0. Reference: Pichora-Fuller and Dupuis, "Toronto emotional speech set (TESS)",
Borealis, 2020, https://doi.org/10.5683/SP2/E8H2MF.
"""

from ser_lib.labels import LABELS

NAME = "TESS"
ABOUT = "Toronto emotional speech set: recordings of two actresses speaking 200 words in seven emotions."
LICENCE = "CC BY-NC-ND 4.0"
WHERE = (
    "Get TESS from https://doi.org/10.5683/SP2/E8H2MF, unpack it into data/TESS, "
    "and name that folder with -p DATASET_PATH=data/TESS."
)
SPEAKERS = {"OAF": "OAF", "YAF": "YAF", "OA": "OAF"}
"""Speaker in a file's name to speaker: `OA_bite_neutral.wav` is a clip of OAF."""


def read_name(stem: str, speakers: dict[str, str] = SPEAKERS) -> tuple[str, str, str]:
    """Read speaker, emotion and text from a file name without its ending, such as `OAF_back_angry`.

    Raises
    ------
    ValueError
        If the name does not follow the corpus's rule; the message is the reason.
    """
    parts = stem.strip().split("_")
    if len(parts) != 3 or not parts[1]:
        raise ValueError("the name does not read SPEAKER_word_emotion")
    speaker, text, emotion = parts[0].upper(), parts[1].lower(), parts[2].lower()
    if speaker not in speakers:
        raise ValueError(
            f"unknown speaker {parts[0]!r} in the name; known: {', '.join(sorted(set(speakers.values())))}"
        )
    if emotion not in LABELS:
        raise ValueError(f"unknown emotion {parts[2]!r} in the name; known: {', '.join(LABELS)}")
    return speakers[speaker], emotion, text
