"""What is left out of a corpus, and why, in a sentence."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

NO_AUDIO = "not audio"
"""Begins the reason of what is none."""
_SHOWN_REASONS = 3
"""Kinds of reasons that a message gives an example of."""
_UNKNOWN_EMOTION = re.compile(r"(unknown emotion) ('[^']*'|\"[^\"]*\")")


@dataclass(frozen=True)
class Skipped:
    """A file or folder that is left out.

    A second copy, an emotion that is none of the seven, or what a corpus holds beside what is used, is no `fault`. Of
    files that are no audio, one stands for all of its kind, which are so many `files`.
    """

    file: str
    reason: str
    fault: bool = True
    files: int = 1


def format_reasons(skipped: Sequence[Skipped]) -> str:
    """Why files are left out, faults and frequent kinds first: of each kind one file, how many more, and the reason.

    Of one kind are reasons that differ in numbers and paths alone, or in which emotion is unknown.
    """
    kinds: dict[str, list[Skipped]] = {}
    for one in skipped:
        kinds.setdefault(_kind(one.reason), []).append(one)
    counted = [(some, sum(one.files for one in some)) for some in kinds.values()]
    most = sorted(counted, key=lambda kind: (kind[0][0].fault, kind[1]), reverse=True)
    shown = [
        f"{some[0].file}{f' and {count - 1:,} more' if count > 1 else ''}: {_reason(some)}"
        for some, count in most[:_SHOWN_REASONS]
    ]
    rest = sum(count for _, count in most[_SHOWN_REASONS:])
    return "; ".join([*shown, f"{rest:,} for other reasons"] if rest else shown)


def _kind(reason: str) -> str:
    if (unknown := _UNKNOWN_EMOTION.match(reason)) is not None:
        return unknown.group(1)
    return reason.partition(" (.")[0] if reason.startswith(NO_AUDIO) else re.sub(r"\S*[\d/]\S*", "", reason)


def _reason(kind: Sequence[Skipped]) -> str:
    """The reason of the first; of several unknown emotions, each with its number."""
    if kind[0].reason.startswith(NO_AUDIO) and len({one.reason for one in kind}) > 1:
        return NO_AUDIO
    unknown = Counter(found.group(2) for one in kind if (found := _UNKNOWN_EMOTION.match(one.reason)) is not None)
    if len(unknown) < 2:
        return kind[0].reason
    words = ", ".join(f"{word} ({count:,})" for word, count in unknown.most_common())
    return _UNKNOWN_EMOTION.sub(lambda _: f"unknown emotions {words}", kind[0].reason, count=1)
