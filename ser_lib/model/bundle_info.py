"""What `bundle.json` says of a model: settings, emotions and statistics, checked before anything is made of them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, SerializerFunctionWrapHandler, ValidationError, model_serializer

from ser_lib.audio.normalize import Statistics
from ser_lib.audio.settings import StoredSettings
from ser_lib.core.errors import BundleError, ParameterError
from ser_lib.core.foreign import LARGEST_JSON, Format, read_json
from ser_lib.core.labels import in_order, is_emotion
from ser_lib.core.paths import shown
from ser_lib.core.text import printable
from ser_lib.model.adapt import Population
from ser_lib.model.calibration import RANGE, LeftOut
from ser_lib.model.novelty import NoveltyModel, summary_size
from ser_lib.store import BUNDLE_FILE, require

MEND = "Run 03_train again."
NAMED, PACKED = 4, 5
"""Formats: with the features by name and all numbers written out, and without."""
_MOST_VALUES = 50_000_000
"""Values that a clip's features, or the spectra they come from, may have: 400 MB of complex numbers."""
_LARGEST_REST = 1_000_000
"""Bytes that `bundle.json` may have without the statistics of speakers."""
_LATER: dict[tuple[int | str, ...], str] = {
    ("settings", "encoder"): "an encoder",
    ("population", "shrink_by"): "a shrinkage",
}
"""Where a later version may name what this one does not have."""


class BundleInfo(BaseModel):
    """Contents of `bundle.json`.

    That of an encoder's model has thousands of features: it does not name them, since its settings do, and its rows of
    numbers are packed (`core.packed`). That is format 5.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, validate_by_name=True, serialize_by_alias=True)

    format: int = Field(NAMED, ge=NAMED, le=PACKED)
    onnx: str = Field(pattern=r"^[^/\\\x00-\x1f\x7f]+\.onnx$")
    onnx_sha256: str
    keras: str = Field(pattern=r"^[^/\\\x00-\x1f\x7f]+\.keras$")
    keras_sha256: str
    emotions: list[str] = Field(min_length=2)
    features: list[str] = Field([], repr=False)
    settings: StoredSettings
    encoder_sha256: str | None = None
    temperature: float = Field(gt=RANGE[0] / 2, lt=RANGE[1] * 2)
    voice_temperature: float | None = Field(None, gt=RANGE[0] / 2, lt=RANGE[1] * 2)
    """For voices of which some clips are known, without labels."""
    speakers: dict[str, Statistics] = Field(repr=False)
    population: Population | None = Field(None, repr=False)
    left_out: list[LeftOut] | None = None
    novelty: NoveltyModel = Field(repr=False, validation_alias="typical", serialization_alias="typical")
    corpora: list[str] = Field(min_length=1)
    data_fingerprint: str
    split_sha256: str
    versions: dict[str, str]

    @model_serializer(mode="wrap")
    def _without_what_is_not_used(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out what came later where there is none of it: such a bundle reads as it always did."""
        later, values = {"encoder_sha256", "voice_temperature", "population", "left_out"}, dump(self)
        if self.format == PACKED:
            del values["features"]
        return {name: value for name, value in values.items() if name not in later or value is not None}


def read_bundle_info(folder: Path) -> BundleInfo:
    """Read and check `bundle.json` without loading the model.

    StageError if there is none; BundleError if it is damaged, names a key twice, or contradicts itself.
    """
    path = require(folder / BUNDLE_FILE, "03_train")
    try:
        info = read_json(path, BundleInfo.model_validate_json, finite=True, form=Format(PACKED, BundleError))
    except ValidationError as error:
        first = error.errors()[0]
        later = _LATER.get(first["loc"])
        if later and first["type"] == "literal_error":
            given = printable(str(first["input"])[:40])
            raise BundleError(
                f"{shown(path)} must name {later} that this version of ser_lib has. Got {given}. Use the version "
                "that the model was trained with."
            ) from None
        raise _damaged(path, f"{'.'.join(map(str, first['loc'])) or 'the file'}: {first['msg']}") from None
    except ValueError as error:
        raise _damaged(path, str(error)) from None
    if info.format == PACKED and not info.features:
        info = info.model_copy(update={"features": info.settings.feature_names})
    wrong = _disagreement(info)
    if wrong:
        raise _damaged(path, wrong)
    return info


def check_encoder(path: Path, info: BundleInfo) -> None:
    """Refuse a model that has learnt from another version of its encoder."""
    name = info.settings.encoder
    if name is None:
        return
    from ser_lib.audio.encoders import weights_sha256

    given, here = info.encoder_sha256 or "", weights_sha256(name) or ""
    if given != here:
        raise BundleError(
            f"{shown(path)} must name the weights of {name} that this version of ser_lib has (SHA-256 {here[:12]}…). "
            f"Got {printable(given)[:12]}…. Train the model again, or use the version that it was trained with."
        )


def _damaged(path: Path, why: str) -> BundleError:
    return BundleError(f"{shown(path)} is damaged ({printable(why)}). {MEND}")


def _disagreement(info: BundleInfo) -> str:
    """What contradicts itself in a description; empty if nothing does."""
    settings, speakers = info.settings, info.speakers.values()
    if not all(map(is_emotion, info.emotions)):
        return "its emotions must have names of small letters, digits and _"
    fits = info.features == settings.feature_names and info.emotions == in_order(info.emotions)
    if settings.target_length is None or not fits:
        return "its settings, features and emotions do not agree"
    if len({settings.features == "encoder", settings.encoder is not None, info.encoder_sha256 is not None}) > 1:
        return "its features, its encoder and the hash of that do not agree"
    if settings.features == "mfcc" and settings.n_mfcc > settings.n_mels:
        return "its settings must have at most as many coefficients as mel bands"
    if settings.n_frames * max(len(info.features), settings.frame_length) > _MOST_VALUES:
        return f"its settings must give a clip of at most {_MOST_VALUES:,} values"
    sizes = {len(values) for one in speakers for values in (one.mean, one.std)}
    positive = all(value > 0 for one in speakers for value in one.std)
    novelty = info.novelty
    if {len(novelty.mean), len(novelty.std)} != {summary_size(settings)} or min(novelty.std) <= 0:
        return "what it calls typical does not fit its features"
    if info.population and not _fits(info.population, len(info.features)):
        return "what it says of speakers does not fit its features"
    if bool(speakers) != settings.normalize_per_speaker or sizes - {len(info.features)} or not positive:
        return "the statistics of its speakers do not fit its settings"
    return ""


def _fits(population: Population, n_features: int) -> bool:
    sizes = {len(population.mean), len(population.within), len(population.between)}
    return sizes == {n_features} and min(population.within) > 0 and min(population.between) > 0


def check_speakers(speakers: Mapping[str, Statistics]) -> None:
    """Raise ParameterError, before anything is trained, if `bundle.json` would be larger than may be read."""
    size = sum(len(one.model_dump_json(indent=4)) for one in speakers.values())
    if size > LARGEST_JSON - _LARGEST_REST:
        raise ParameterError(
            f"`NORMALIZE_PER_SPEAKER` stores statistics of each speaker, and those of all must have at most "
            f"{LARGEST_JSON - _LARGEST_REST:,} bytes in {BUNDLE_FILE}. Those of {len(speakers):,} speakers have "
            f"{size:,}. Leave it out, or take fewer speakers."
        )
