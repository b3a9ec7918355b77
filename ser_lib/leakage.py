"""What the test and validation sets have in common with the training set, beyond what they should.

A clip leaks if a training clip has the same speaker, the same text, or is the same recording (in whatever format).
Figures measured on leaking clips speak of what the model has heard already.
"""

from collections.abc import Sequence

import pandas as pd

THINGS = ("speaker", "text", "audio")
"""What two sets may have in common."""


def recordings(table: pd.DataFrame) -> pd.Series:
    """What tells recordings apart: the column for it or, where it is missing, the files' content."""
    return table["recording" if "recording" in table else "sha256"]


def shared(table: pd.DataFrame, thing: str, name: str, others: Sequence[str]) -> pd.Series:
    """Tell of each clip whether it is in the set `name` and has a `thing` in common with the sets `others`.

    A thing is one of `THINGS`, or a column of `table` such as corpus.
    """
    values = recordings(table) if thing == "audio" else table[thing]
    return (table["set"] == name) & values.isin(values[table["set"].isin(others)])


def leakage(table: pd.DataFrame) -> dict[str, dict]:
    """Count the test and validation clips that have something in common with a training clip.

    Parameters
    ----------
    table : pd.DataFrame
        speaker, text, sha256 and set of each clip, and recording where some are the same.

    Returns
    -------
    dict
        For `test` and `validation`: clips (how many there are) and, for each of speaker, text and audio (the same
        recording), the clips (count) and the share that have theirs in common with a training clip.
    """
    found = {}
    for name in ("test", "validation"):
        n_clips = int((table["set"] == name).sum())
        counts = {thing: int(shared(table, thing, name, ["train"]).sum()) for thing in THINGS}
        shares = {thing: {"clips": count, "share": count / n_clips} for thing, count in counts.items()}
        found[name] = {"clips": n_clips} | shares
    return found


def leakage_table(found: dict[str, dict]) -> pd.DataFrame:
    """Show what `leakage` found: a row for each set, and for each thing the count and the share of the clips."""
    return pd.DataFrame(
        {
            name: {"clips": str(row["clips"])}
            | {f"same {thing}": f"{row[thing]['clips']} ({row[thing]['share']:.1%})" for thing in THINGS}
            for name, row in found.items()
        }
    ).T


def read_leakage(found: dict[str, dict]) -> str:
    """Say in words what the test set has in common with training, and so what a test accuracy speaks of."""
    test = found["test"]
    speaker, text, audio = (f"{test[thing]['clips']} ({test[thing]['share']:.1%})" for thing in THINGS)
    voices, texts = (_known(test[thing]["share"]) for thing in ("speaker", "text"))
    copies = (
        " Some are training clips, be it in another format: their share is known by heart."
        if test["audio"]["clips"]
        else ""
    )
    return (
        f"Of {test['clips']} test clips, {speaker} share the speaker, {text} the text and {audio} the very recording "
        f"with a training clip. The test figures speak of voices that the model {voices} and texts that it {texts}."
        f"{copies}"
    )


def _known(share: float) -> str:
    return {0: "has never heard", 1: "knows"}.get(share, "knows in part")
