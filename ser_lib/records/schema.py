"""What a record's JSON files must hold, wherever they were made.

Metrics that were not stored yet when a record was made may be missing; what is there must be right.
"""

from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    RootModel,
    StringConstraints,
    TypeAdapter,
    model_validator,
)

from ser_lib.core.labels import EMOTIONS, in_order, is_emotion


def _check_emotions(emotions: list[str]) -> list[str]:
    if not all(map(is_emotion, emotions)) or emotions != in_order(emotions):
        raise ValueError("emotions have names, each once, in the order of their labels")
    return emotions


_ABSENT: Any = None
"""Default of a key that may be missing; where it is there, it must hold what it promises, and null is refused."""
_Share = Annotated[float, Field(ge=0, le=1, strict=True)]
_Count = Annotated[int, Field(ge=0, strict=True)]


class _Interval(RootModel[tuple[_Share, _Share]]):
    @model_validator(mode="after")
    def _check_order(self) -> "_Interval":
        if self.root[0] > self.root[1]:
            raise ValueError("an interval goes from its lower end to its upper end")
        return self


class _Scores(BaseModel):
    """Metrics that need no probabilities; records made before they were stored lack some."""

    n_clips: int
    accuracy: _Share
    uar: _Share | None = None
    macro_f1: _Share | None = None
    per_class: dict[str, float] = Field(min_length=1)
    precision: dict[str, _Share] | None = None
    confusion_matrix: list[list[int]]
    intervals: dict[Literal["accuracy", "uar", "macro_f1"], _Interval] | None = None

    @model_validator(mode="after")
    def _check_matrix(self) -> "_Scores":
        if {len(self.confusion_matrix)} != {len(row) for row in self.confusion_matrix}:
            raise ValueError("a confusion matrix is square")
        return self


class _SetMetrics(_Scores):
    """Metrics of the model on one set, as far as pages show them."""

    loss: float
    ece: _Share | None = None
    ece_uncalibrated: _Share | None = None


class _BaselineMetrics(_Scores):
    lead: tuple[float, float]
    validation_uar: _Share | None = None


class _Condition(BaseModel):
    accuracy: _Share
    uar: _Share
    unusable: _Count


class _Adaptation(BaseModel):
    clips: Literal["any", "mostly neutral", "of each emotion"]
    each: _Count
    labelled: bool
    n_clips: _Count
    accuracy: _Share
    uar: _Share
    confidence: _Share
    without: _Share


class _CorpusMetrics(BaseModel):
    n_clips: _Count
    accuracy: _Share
    uar: _Share


class _Coverage(BaseModel):
    """Accuracy by the fraction of clips that are answered."""

    threshold: list[_Share]
    answered: list[_Share]
    accuracy: list[_Share]


class _Bootstrap(BaseModel):
    cluster: Literal["speaker and text", "clip"]
    clusters: _Count
    samples: _Count


class _Metrics(BaseModel):
    """`metrics.json`; a key that is there must hold what it promises, so None is a default but no value."""

    model_config = ConfigDict(extra="forbid")

    validation: _SetMetrics = _ABSENT
    test: _SetMetrics = _ABSENT
    temperature: float = Field(_ABSENT, gt=0)
    speakers: _Count | None = None
    texts: _Count | None = None
    emotions: Annotated[list[str], Field(min_length=2), AfterValidator(_check_emotions)] = _ABSENT
    corpora: dict[str, _CorpusMetrics] = Field(default_factory=dict)
    known: dict[Literal["speakers", "texts"], _Count | None] = _ABSENT
    unknown: dict[Literal["speakers", "texts"], _Count] = _ABSENT
    coverage: dict[Literal["test", "left out"], _Coverage] = Field(default_factory=dict)
    bootstrap: _Bootstrap = _ABSENT
    baselines: dict[str, _BaselineMetrics] = Field(default_factory=dict)
    robustness: dict[str, _Condition] = Field(default_factory=dict)
    adaptation: list[_Adaptation] = Field(default_factory=list)

    @model_validator(mode="after")
    def _check_sizes(self) -> "_Metrics":
        n_classes = len(self.emotions or EMOTIONS)
        sets = [scores for scores in (self.validation, self.test, *self.baselines.values()) if scores is not None]
        if any(len(scores.confusion_matrix) != n_classes for scores in sets):
            raise ValueError("a confusion matrix has a row for each emotion")
        return self


class _Shared(BaseModel):
    clips: _Count
    share: _Share
    unknown: _Count = _ABSENT
    unknown_in_training: _Count = _ABSENT


class _Leakage(BaseModel):
    """What one set has in common with the training set."""

    clips: _Count
    speaker: _Shared | None
    text: _Shared | None
    audio: _Shared


LONGEST_NOTE = 500
"""Letters of a note."""
LONGEST_TAG = 40
"""Letters of a tag."""
MOST_TAGS = 20
"""Tags of a run."""


def _check_printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError("a note is one line")
    return text


_Text = Annotated[str, StringConstraints(max_length=LONGEST_NOTE), AfterValidator(_check_printable)]
_Tag = Annotated[str, StringConstraints(pattern=r"^\w[\w.-]*$", max_length=LONGEST_TAG)]


class Note(BaseModel):
    """`note.json`, which people write; a record without one has neither."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    note: _Text = ""
    tags: list[_Tag] = Field([], max_length=MOST_TAGS)


METRICS = TypeAdapter(_Metrics)
"""`metrics.json`."""
HISTORY = TypeAdapter(dict[str, list[float]])
"""`history.json`: quantity → value of each epoch."""
LEAKAGE = TypeAdapter(dict[Literal["test", "validation"], _Leakage])
"""`leakage.json`: set → what its clips have in common with training clips."""
NOTE = TypeAdapter(Note)
"""`note.json`."""
