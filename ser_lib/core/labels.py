"""The seven emotions and their fixed labels, and emotions that `LABEL_MAP` adds to them."""

import re
from collections.abc import Iterable

EMOTIONS = ("neutral", "happy", "sad", "angry", "fear", "disgust", "ps")
"""Emotions in the order of their labels: neutral 0, happy 1, sad 2, angry 3, fear 4, disgust 5, ps 6."""

_SHOWN_AS = {"fear": "fearful", "ps": "surprised"}
_NAME = re.compile(r"\w{1,20}")


def shown_as(emotion: str) -> str:
    """Word for an emotion in plots and predictions."""
    return _SHOWN_AS.get(emotion, emotion)


def is_emotion(name: str) -> bool:
    """Whether an emotion may have this name: at most 20 lower-case letters, digits and `_`, and not a display word."""
    return _NAME.fullmatch(name) is not None and name == name.lower() and name not in _SHOWN_AS.values()


def fault_of_targets(emotions: Iterable[str | None]) -> str:
    """What is wrong with the targets of `LABEL_MAP`; empty if all are emotions or None."""
    wrong = [emotion for emotion in emotions if emotion is not None and not is_emotion(emotion)]
    if not wrong:
        return ""
    name = next((name for name, word in _SHOWN_AS.items() if word == wrong[0]), None)
    if name is not None:
        return f"`LABEL_MAP` must call each of the seven emotions by its own name, here {name}. Got {wrong[0]!r}."
    return (
        f"`LABEL_MAP` must map to {', '.join(EMOTIONS)}, to null, or to a new emotion, of at most 20 small letters, "
        f"digits and _. Got {wrong[0]!r}."
    )


def in_order(emotions: Iterable[str]) -> list[str]:
    """Emotions, each once, in label order: those of the seven, then the added ones alphabetically."""
    found = set(emotions)
    return [emotion for emotion in EMOTIONS if emotion in found] + sorted(found - set(EMOTIONS))


def all_labels(emotions: Iterable[str]) -> list[str]:
    """All seven emotions, then the others among `emotions`: the index of each is its label."""
    return in_order([*EMOTIONS, *emotions])
