"""Notes and tags of runs, by people: `note.json` in a record, so that they go where the record goes."""

from collections.abc import Sequence

from pydantic import ValidationError

from ser_lib.core.errors import RunError
from ser_lib.core.io import write_text
from ser_lib.core.text import quoted
from ser_lib.records.record import NOTE_FILE, check_record, find_record
from ser_lib.records.schema import LONGEST_NOTE, LONGEST_TAG, MOST_TAGS, Note


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
    before = record.note
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
        rule = f"A note must be one line of at most {LONGEST_NOTE} letters"
        raise RunError(f"{rule}. Got {len(text)}." if text.isprintable() else f"{rule}. Got {quoted(text)}.")
    if len(place) == 1:
        raise RunError(f"A run may have at most {MOST_TAGS} tags. Got {len(tags)}.")
    rule = f"A tag must be at most {LONGEST_TAG} letters, digits, '_', '.' or '-', and not begin with the last two"
    raise RunError(f"{rule}. Got {quoted(tags[int(place[1])])}.")
