"""What a sweep may try: a YAML file with a line for each parameter, checked before anything runs.

LSTM_UNITS: [32, 64, 128]                          # one of these
DROPOUT_RATE: {low: 0.1, high: 0.6, step: 0.1}     # in steps
LEARNING_RATE: {low: 0.0003, high: 0.01, log: true}
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from ser_lib.audio.settings import Number
from ser_lib.core.errors import ParameterError
from ser_lib.core.text import printable, quoted
from ser_lib.params import GROUPS, Params, make_params, read_values, unknown_parameter

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

SWEPT = ("Audio and features", "Model and training")
"""Groups of parameters that a sweep may vary; the others decide what is measured, and on which clips."""
_WHOLE = 1e-9
"""How far from a whole number of steps rounding may bring the end of a range."""


@dataclass(frozen=True)
class Choices:
    """A parameter that takes one of some values."""

    values: tuple[Any, ...]

    def __str__(self) -> str:
        """Show the values, as YAML may have them."""
        return f"[{', '.join(map(str, self.keys))}]"

    @property
    def keys(self) -> tuple[Any, ...]:
        """The values for Optuna, which knows no lists: these as JSON."""
        return tuple(json.dumps(value) if isinstance(value, list | dict) else value for value in self.values)

    def holds(self, value: Any) -> bool:
        """Tell whether a value is one of the choices."""
        return any(_same(one, value) for one in self.values)

    def to_key(self, value: Any) -> Any:
        """What stands for a value that is one of the choices."""
        return next(key for key, one in zip(self.keys, self.values, strict=True) if _same(one, value))

    def to_value(self, key: Any) -> Any:
        """Value that a key stands for."""
        return next(one for other, one in zip(self.keys, self.values, strict=True) if _same(other, key))

    def distribution(self) -> "BaseDistribution":
        """The same for Optuna."""
        from optuna.distributions import CategoricalDistribution

        return CategoricalDistribution(self.keys)


@dataclass(frozen=True)
class Range:
    """A parameter that takes a number from `low` to `high`, both included."""

    low: float
    high: float
    log: bool
    step: float | None
    whole: bool
    """Whether the parameter is a whole number."""

    def __str__(self) -> str:
        """Show the ends, and how numbers lie between them."""
        how = ", log" if self.log else f", step {self.step:g}" if self.step else ""
        return f"{self.low:g} to {self.high:g}{how}"

    def holds(self, value: Any) -> bool:
        """Tell whether a value is in the range, and on one of its steps."""
        if isinstance(value, bool) or not isinstance(value, int | float) or not self.low <= value <= self.high:
            return False
        return not self.step or not _off(value - self.low, self.step)

    def to_key(self, value: Any) -> Any:
        """What stands for a value: itself."""
        return value

    def to_value(self, key: Any) -> Any:
        """Value that a key stands for: itself."""
        return key

    def distribution(self) -> "BaseDistribution":
        """The same for Optuna."""
        from optuna.distributions import FloatDistribution, IntDistribution

        if self.whole:
            return IntDistribution(int(self.low), int(self.high), log=self.log, step=int(self.step or 1))
        return FloatDistribution(self.low, self.high, log=self.log, step=self.step)


Space = Mapping[str, Choices | Range]
"""What each parameter may be."""


class _Range(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    low: int | Number
    high: int | Number
    log: bool = False
    step: Annotated[int | Number, Field(gt=0)] | None = None


class _Choices(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    choices: list[Any]


_LINE: TypeAdapter[_Range | _Choices] = TypeAdapter(_Range | _Choices)


def _same(one: Any, other: Any) -> bool:
    return one == other and isinstance(one, bool) == isinstance(other, bool)


def _off(distance: float, step: float) -> bool:
    """Tell whether a distance is no whole number of steps."""
    return abs(distance / step - round(distance / step)) > _WHOLE


def read_space(file: Path, values: Mapping[str, Any]) -> Space:
    """Read a space, each value of which the parameter's own rule must take.

    Parameters
    ----------
    file : Path
    values : mapping
        The experiment's parameters, on which the rest depends.

    Raises
    ------
    ParameterError
        If the file is none, or names a parameter that is not to be swept, or a value that it cannot have.
    """
    what = f"The space {printable(str(file))}"
    lines = read_values([file])
    if not lines:
        raise ParameterError(f"{what} must name a parameter and what it may be. It is empty.")
    space = {name: _read_line(what, name, line) for name, line in lines.items()}
    for name, one in space.items():
        for value in _ends(one):
            _check_value(what, name, value, values, space)
    return space


def _read_line(what: str, name: str, line: Any) -> Choices | Range:
    if name not in Params.model_fields:
        raise ParameterError(f"{what}: {unknown_parameter(name)}")
    if (group := _group(name)) not in SWEPT:
        raise ParameterError(
            f"{what} must name parameters of {' or '.join(SWEPT)}: others decide what is measured, and trials could "
            f"not be compared. Got `{name}` ({group})."
        )
    try:
        read = _LINE.validate_python({"choices": line} if isinstance(line, list) else line)
    except ValidationError:
        raise ParameterError(
            f"{what}: `{name}` must be a list of choices, or have low, high and, if wanted, log or step, such as "
            f"{{low: 1, high: 5}}. Got {quoted(line)}."
        ) from None
    return _choices(what, name, read.choices) if isinstance(read, _Choices) else _range(what, name, read)


def _group(name: str) -> str:
    """Heading of a parameter in the table of parameters."""
    heading = ""
    for field in Params.model_fields:
        heading = GROUPS.get(field, heading)
        if field == name:
            break
    return heading


def _choices(what: str, name: str, values: list[Any]) -> Choices:
    twice = [one for number, one in enumerate(values) if any(_same(one, other) for other in values[:number])]
    if len(values) < 2 or twice:
        got = f"{quoted(twice[0])} twice" if twice else quoted(values)
        raise ParameterError(f"{what}: `{name}` must have two or more different choices. Got {got}.")
    return Choices(tuple(values))


def _range(what: str, name: str, read: _Range) -> Range:
    annotation = Params.model_fields[name].annotation
    whole = int in (annotation, *get_args(annotation))
    rules = [
        (read.low >= read.high, f"have its low below its high. Got {read.low:g} and {read.high:g}"),
        (read.log and read.low <= 0, f"have a low above 0 with log. Got {read.low:g}"),
        (read.log and read.step is not None, "have log or a step, not both. Got both"),
        (whole and isinstance(read.step, float), f"have a whole step, as the parameter is whole. Got {read.step}"),
        (
            read.step is not None and _off(read.high - read.low, read.step),
            f"reach its high in whole steps. Got {read.low:g} to {read.high:g} in steps of {read.step}",
        ),
    ]
    for broken, rule in rules:
        if broken:
            raise ParameterError(f"{what}: `{name}` must {rule}.")
    return Range(read.low, read.high, read.log, read.step, whole)


def _ends(one: Choices | Range) -> Iterator[Any]:
    """Values that stand for all: each choice, or of a range both ends and the first step."""
    if isinstance(one, Choices):
        yield from one.values
        return
    yield from (one.low, one.high)
    if one.step:
        yield one.low + one.step


def _check_value(what: str, name: str, value: Any, values: Mapping[str, Any], space: Space) -> None:
    """Refuse a value by the parameter's own rule, or by one between parameters of which the others are not swept."""
    try:
        if _breaks_own_rule(name, value):
            make_params({name: value})
        make_params({**values, name: value})
    except ParameterError as error:
        others = [other for other in space if other != name and re.search(rf"`{other}\b", str(error))]
        if not others:
            raise ParameterError(f"{what}: {error}") from None


def _breaks_own_rule(name: str, value: Any) -> bool:
    try:
        Params(**{name: value})
    except ValidationError as error:
        return bool(error.errors()[0]["loc"])
    return False
