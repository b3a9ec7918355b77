"""Notes and tags of runs, by people: `note.json` in a record, so that they go where the record goes."""

from collections.abc import Sequence
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from ser_lib.core.errors import RunError
from ser_lib.core.foreign import read_json
from ser_lib.core.io import write_text
from ser_lib.core.paths import shown
from ser_lib.core.text import quoted
from ser_lib.records.record import Record, check_record, find_record

NOTE_FILE = "note.json"
"""Name of the file in a record."""
_LONGEST_NOTE = 500
_LONGEST_TAG = 40
_MOST_TAGS = 20


def _check_printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError("a note is one line")
    return text


_Text = Annotated[str, StringConstraints(max_length=_LONGEST_NOTE), AfterValidator(_check_printable)]
_Tag = Annotated[str, StringConstraints(pattern=r"^\w[\w.-]*$", max_length=_LONGEST_TAG)]


class Note(BaseModel):
    """Contents of `note.json`; a record without one has neither."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    note: _Text = ""
    tags: list[_Tag] = Field([], max_length=_MOST_TAGS)


def read_note(record: Record) -> Note:
    """Note and tags of a run.

    Raises
    ------
    RunError
        If the file is damaged.
    """
    path = record.plain / NOTE_FILE
    try:
        return read_json(path, Note.model_validate_json)
    except FileNotFoundError:
        return Note()
    except (OSError, ValueError):
        raise RunError(f"{shown(path)} is damaged. Restore it, or remove it.") from None


def change_note(run: str, text: str | None = None, *, add: Sequence[str] = (), remove: Sequence[str] = ()) -> Note:
    """Change what is noted of a run, and return it.

    Parameters
    ----------
    run : str
    text : str, optional
        The note, in place of an earlier one; empty for none.
    add, remove : sequence of str
        Tags that come and go.

    Raises
    ------
    RunError
        If there is no such run, the text is not one line or too long, or a tag is no tag, or not one that it has.
    """
    record = find_record(run)
    check_record(record.folder)
    before = read_note(record)
    lacking = [tag for tag in remove if tag not in before.tags]
    if lacking:
        has = f"has {', '.join(before.tags)}" if before.tags else "has none"
        raise RunError(f"Only a tag that a run has can be removed. {record.name} {has}; got {quoted(lacking[0])}.")
    tags = [tag for tag in dict.fromkeys([*before.tags, *add]) if tag not in remove]
    note = _checked(before.note if text is None else text.strip(), tags)
    if note == Note():
        (record.folder / NOTE_FILE).unlink(missing_ok=True)
    else:
        write_text(record.folder / NOTE_FILE, note.model_dump_json(indent=1) + "\n", through_link=False)
    return note


def _checked(text: str, tags: list[str]) -> Note:
    try:
        return Note(note=text, tags=tags)
    except ValidationError as error:
        place = error.errors()[0]["loc"]
    if place[0] == "note":
        rule = f"A note must be one line of at most {_LONGEST_NOTE} letters"
        raise RunError(f"{rule}. Got {len(text)}." if text.isprintable() else f"{rule}. Got {quoted(text)}.")
    if len(place) == 1:
        raise RunError(f"A run may have at most {_MOST_TAGS} tags. Got {len(tags)}.")
    rule = f"A tag must be at most {_LONGEST_TAG} letters, digits, '_', '.' or '-', and not begin with the last two"
    raise RunError(f"{rule}. Got {quoted(tags[int(place[1])])}.")
