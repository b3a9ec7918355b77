"""Files that may come from anywhere (parameters, records, bundles, archives), refused before they cost anything.

Parameters are YAML of which little is taken: no anchors, tags or dates, no numbers that YAML 1.1 reads in another way
than people do. JSON must be shallow, and name a key once. A zip file must hold plain files of a limited size.
"""

import json
import math
import re
import stat
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, TypeVar

import yaml
from pydantic import StringConstraints, TypeAdapter, ValidationError

from ser_lib.core.errors import ParameterError, SerError
from ser_lib.core.paths import shown
from ser_lib.core.text import printable

LARGEST_YAML = 50_000
"""Bytes that a parameter file may have; the largest of this project has a tenth of it."""
LARGEST_JSON = 10_000_000
"""Bytes that a JSON file may have; the largest of this project has a thousandth of it."""
_DEEPEST = 10
"""Lists and mappings in one another that a parameter file may have; a parameter has two."""
_T = TypeVar("_T")
_ANY: TypeAdapter[Any] = TypeAdapter(Any)
Line = Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f\x7f]*$", max_length=200)]
"""A short text that people read in a table."""
_NUMBER = 'a number that not everybody reads alike; write it in at most 20 plain digits, or as a text: "{}"'
_REFUSED = {
    "int": _NUMBER,
    "float": _NUMBER,
    "timestamp": 'a date, which no parameter is; write it as a text: "{}"',
    "merge": "a merge; write the values out",
    "value": 'a sign that stands for nothing; write it as a text: "{}"',
}
"""What is wrong with a value that stands without quotes, by the kind that it is to YAML 1.1."""
_PLAIN = {"int": re.compile(r"[-+]?(0|[1-9][0-9_]{0,19})"), "float": re.compile(r"[^:]{1,100}")}
"""Numbers that are taken all the same: `010` is 8 to YAML 1.1, and `1:30` is 90."""


class ForeignError(ValueError):
    """A file cannot be taken; the message is the reason."""


def read_file(path: Path, largest: int) -> bytes:
    """Content of a file from anywhere; OSError if it cannot be read.

    ForeignError if it has more than `largest` bytes, or is no file: reading from a pipe would block.
    """
    if path.exists() and not (path.is_file() or path.is_dir()):  # a folder has an error of its own
        raise ForeignError("it must be a file")
    with path.open("rb") as file:
        content = file.read(largest + 1)
    _check_size(content, largest)
    return content


def _check_size(content: bytes, largest: int) -> None:
    if len(content) > largest:
        raise ForeignError(f"it must have at most {largest:,} bytes")


@dataclass(frozen=True)
class Format:
    """Format of a JSON file that says its number: older ones are brought to `newest`, step by step, when it is read.

    Attributes
    ----------
    newest : int
    error : type
        Raised of a file that is newer.
    steps : mapping
        For each older format, what makes the next one of it. A field that is new gets the value of the time before it.
    unnumbered : int, optional
        Format of a file that does not say its own.
    """

    newest: int
    error: type[SerError]
    steps: Mapping[int, Callable[[dict], dict]] = field(default_factory=dict)
    unnumbered: int | None = None

    def upgrade(self, content: bytes, path: Path) -> bytes:
        """Content of today's format; what is no such file stays as it is, for others to refuse."""
        try:
            stored = before = _ANY.validate_json(content)
        except ValueError:
            return content
        while isinstance(stored, dict) and type(number := stored.get("format", self.unnumbered)) is int:
            if number > self.newest:
                raise self.error(
                    f"{shown(path)} has format {number}, of a newer ser_lib; this one reads formats up to "
                    f"{self.newest}. Update ser_lib."
                )
            if number not in self.steps:
                break
            stored = self.steps[number](stored)
        return content if stored is before else json.dumps(stored).encode()


def parse_yaml(text: str, what: str) -> Any:
    """Value of a YAML text, which messages call `what`; ParameterError if it is not plain YAML."""
    if len(text) > LARGEST_YAML:
        raise ParameterError(f"{what} must have at most {LARGEST_YAML:,} characters. It has {len(text):,}.")
    loader = None
    try:
        loader = _Loader(text)
        return loader.get_single_data()
    except _RefusedError as error:
        line = error.problem_mark.line + 1
        raise ParameterError(f"{what} must be plain YAML. Line {line} {error.problem}.") from None
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        line = _line_of(error, loader, text)
        raise ParameterError(f"{what} is not valid YAML at line {line}.") from None


def _line_of(error: Exception, loader: Any, text: str) -> int:
    if isinstance(error, yaml.reader.ReaderError):  # a control character, whose place alone is known
        return text.count("\n", 0, error.position) + 1
    return (getattr(error, "problem_mark", None) or loader).line + 1


class _RefusedError(yaml.MarkedYAMLError):
    """Valid YAML that is not taken."""


def _refuse(node: yaml.Node | yaml.Event, problem: str) -> None:
    raise _RefusedError(problem=problem, problem_mark=node.start_mark)


class _Loader(yaml.SafeLoader):
    """Refuses what a parameter file does not need, before anything is built from it."""

    _depth = 0

    def compose_node(self, parent: yaml.Node | None, index: object) -> yaml.Node:
        """Compose a value, unless the way it is written is refused."""
        event = self.peek_event()
        if isinstance(event, yaml.AliasEvent) or event.anchor is not None:
            _refuse(event, "holds an anchor or alias (& or *); write the value out, or put it in quotes")
        if event.tag is not None:
            _refuse(event, "holds a tag (!); write the plain value, or put it in quotes")
        if self._depth >= _DEEPEST:
            _refuse(event, f"goes deeper than {_DEEPEST} levels")
        self._depth += 1
        node = super().compose_node(parent, index)
        self._depth -= 1
        if isinstance(node, yaml.ScalarNode):
            _check_scalar(node)
        if isinstance(node, yaml.MappingNode):
            _check_names(node)
        return node


def _check_scalar(node: yaml.ScalarNode) -> None:
    value = node.value if len(node.value) <= 40 else f"{node.value[:40]}…"
    kind = node.tag.rpartition(":")[2]
    if kind in _REFUSED and not (kind in _PLAIN and _PLAIN[kind].fullmatch(node.value)):
        _refuse(node, f"holds {value}, {_REFUSED[kind].format(value)}")
    if "\0" in node.value or node.value != node.value.encode("utf-8", "replace").decode():
        _refuse(node, "holds a character that no name of a file has")


def _check_names(node: yaml.MappingNode) -> None:
    seen: set[str] = set()
    for name, _ in node.value:
        if not isinstance(name, yaml.ScalarNode):
            _refuse(name, "has a list or a mapping for a name")
        if name.value in seen:
            _refuse(name, f"names {printable(name.value[:40])} twice; remove one")
        seen.add(name.value)


def read_json(path: Path, validate: Callable[[bytes], _T], *, finite: bool = False, form: Format | None = None) -> _T:
    """What `validate`, of pydantic, makes of a JSON file, upgraded if it has an older `form`.

    Raises
    ------
    OSError
        If it is not there, or may not be read.
    ValidationError
        If it is no JSON, is deep, or is refused by `validate`.
    ForeignError
        If it is large or no file, names a key twice, or `finite` is asked for and a number is not.
    """
    content = read_file(path, LARGEST_JSON)
    return parse_json(content, lambda read: validate(form.upgrade(read, path) if form else read), finite=finite)


def parse_json(content: bytes, validate: Callable[[bytes], _T], *, finite: bool = False) -> _T:
    """What `validate` makes of JSON that was read or unpacked; refuses what `read_json` does."""
    _check_size(content, LARGEST_JSON)
    value = validate(content)  # refuses what is deep, which json would not
    number = _finite if finite else None
    json.loads(content, object_pairs_hook=_once, parse_float=number, parse_constant=number)
    return value


def fault_place(error: ValidationError) -> str:
    """Where a JSON file is not what it should be: names of the fields that lead there, or that it is none."""
    return ".".join(map(str, error.errors()[0]["loc"])) or "no JSON"


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names: set[str] = set()
    for name, _ in pairs:
        if name in names:
            raise ForeignError(f"{printable(name[:40])} is there twice")
        names.add(name)
    return dict(pairs)


def _finite(text: str) -> float:
    if not math.isfinite(float(text)):
        raise ForeignError(f"{text[:40]} is no finite number")
    return float(text)


def plain_members(archive: zipfile.ZipFile, largest: int) -> list[zipfile.ZipInfo]:
    """Files in a zip file, if all of them may be unpacked below a folder.

    ForeignError if one would leave the folder or is a link, or all of them have more than `largest` bytes.
    """
    members = [member for member in archive.infolist() if not member.is_dir()]
    for member in members:
        name = member.filename
        leaves = re.match(r"[/\\]|[A-Za-z]:", name) or ".." in re.split(r"[/\\]", name)
        if leaves or stat.S_ISLNK(member.external_attr >> 16):
            what = "leaves the folder" if leaves else "is a link"
            raise ForeignError(f"its members must be files with plain names below the folder; {name!r} {what}")
    total = sum(member.file_size for member in members)
    if total > largest:
        raise ForeignError(f"it must hold at most {largest:,} bytes; it holds {total:,}")
    return members


def read_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bytes:
    """Content of a member; never more than its declared size is unpacked."""
    with archive.open(member) as file:
        return file.read(member.file_size)
