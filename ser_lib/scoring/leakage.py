"""What the test and validation sets have in common with the training set, beyond what they should.

A clip leaks if a training clip has the same speaker, the same text, or is the same recording (in whatever format).
A speaker or a text that is unknown (empty) is neither equal to another nor different: counts are among the clips of
which it is known. Results on leaking clips speak of what the model has heard already.
"""

from collections.abc import Sequence

import pandas as pd

from ser_lib.core.text import joined

THINGS = ("speaker", "text", "audio")
"""What two sets may have in common."""


def recordings(table: pd.DataFrame) -> pd.Series:
    """What tells recordings apart: the column for it or, where it is missing, the files' content."""
    return table["recording" if "recording" in table else "sha256"]


def shared(table: pd.DataFrame, thing: str, name: str, others: Sequence[str]) -> pd.Series:
    """Which clips are in the set `name` and have a `thing` in common with the sets `others`.

    A thing is one of `THINGS`, or a column of `table` such as corpus.
    """
    values = recordings(table) if thing == "audio" else table[thing]
    known = values != ""
    return known & (table["set"] == name) & values.isin(values[known & table["set"].isin(others)])


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
        recording), the clips (count) and the `share` that have theirs in common with a training clip. None
        instead of both where it is known of no clip of the set, or of none in training; where it is known of some,
        the share is one of these, and `unknown` and `unknown_in_training` count the others.
    """
    found = {}
    for name in ("test", "validation"):
        n_clips = int((table["set"] == name).sum())
        found[name] = {"clips": n_clips} | {thing: _count_shared(table, thing, name) for thing in THINGS}
    return found


def _count_shared(table: pd.DataFrame, thing: str, name: str) -> dict | None:
    known = (recordings(table) if thing == "audio" else table[thing]) != ""
    n_known, n_unknown = (
        {one: int((chosen & (table["set"] == one)).sum()) for one in (name, "train")} for chosen in (known, ~known)
    )
    if not all(n_known.values()):
        return None
    count = int(shared(table, thing, name, ["train"]).sum())
    unknown = {"unknown": n_unknown[name], "unknown_in_training": n_unknown["train"]}
    return {"clips": count, "share": count / n_known[name]} | (unknown if any(unknown.values()) else {})


def leakage_table(found: dict[str, dict]) -> pd.DataFrame:
    """Table of what `leakage` found: a row for each set, and for each thing the count and the fraction of the clips."""
    return pd.DataFrame(
        {
            name: {"clips": str(row["clips"])}
            | {f"same {thing}": _count_text(row[thing], row["clips"]) for thing in THINGS}
            for name, row in found.items()
        }
    ).T


def describe_leakage(found: dict[str, dict]) -> str:
    """Say in words what the test set has in common with training, and so what a test accuracy speaks of."""
    test = found["test"]
    things = {"speaker": "the speaker", "text": "the text", "audio": "the very recording"}
    counts = [f"{_count_text(test[thing], test['clips'])} {what}" for thing, what in things.items() if test[thing]]
    counts[0] = counts[0].replace(" the ", " share the ", 1)
    voices, texts = (_describe_known(test[thing]) for thing in ("speaker", "text"))
    copies = (
        " Some are training clips, be it in another format: their share is known by heart."
        if test["audio"]["clips"]
        else ""
    )
    return (
        f"Of {test['clips']} test clips, {joined(counts)} "
        f"with a training clip. The test figures speak of voices that the model {voices} and texts that it {texts}."
        f"{copies}{_describe_unknown(test)}"
    )


def _count_text(row: dict | None, n_clips: int) -> str:
    if row is None:
        return "unknown"
    of_known = f" of {n_clips - row['unknown']} that are known" if row.get("unknown") else ""
    return f"{row['clips']} ({row['share']:.1%}{of_known})"


def _describe_known(row: dict | None) -> str:
    """Whether the model knows what the row counts; that nothing is shared is only sure where nothing is unknown."""
    if row is None or (row["clips"] == 0 and "unknown" in row):
        return "may or may not know"
    if row["share"] == 1 and row.get("unknown"):
        return "knows, as far as is known"
    return {0: "has never heard", 1: "knows"}.get(row["share"], "knows in part")


def _describe_unknown(test: dict) -> str:
    """Of how many clips speaker and text are unknown."""
    none = [thing for thing in ("speaker", "text") if test[thing] is None]
    said = f" Unknown: {' and '.join(f'{thing}s' for thing in none)}; clips.csv can name them." if none else ""
    for thing in ("speaker", "text"):
        if test[thing] and "unknown" in test[thing]:
            counts = f"{test[thing]['unknown']} test clips and {test[thing]['unknown_in_training']} training clips"
            said += f" Of {counts} the {thing} is unknown."
    return said
