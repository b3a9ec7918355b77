"""The settings of audio and features: decided once for training, stored with the model, repeated in prediction."""

import re
from collections.abc import Iterable
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
)
from pydantic_core import InitErrorDetails

_EXPONENT = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)[eE][+-]?\d+")
_ADDED_LATER = {"cmn", "encoder", "tile"}
"""Settings that older models do not name; their defaults are what those models did."""
EMBEDDING_SIZES = {"smart-turn": 3072, "whisper-base": 2048, "smart-turn+whisper-base": 5120, "functionals": 306}
"""Encoder → numbers in its embedding; here, since settings are read where no audio is and no encoder is opened."""


def _read_exponent(value: Any) -> Any:
    """Turn "1e-4" into a number: YAML 1.1, which papermill and PyYAML read, makes it a string."""
    if isinstance(value, str) and _EXPONENT.fullmatch(value):
        return float(value)
    return value


Number = Annotated[float, BeforeValidator(_read_exponent)]
"""A number that may be written with an exponent."""


class AudioSettings(BaseModel):
    """All that decides how a file becomes features; stored with the model, so that prediction repeats it.

    In capitals, the fields are parameters (`ser_lib.params.Params`): type, default, range and help stand here alone.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    sampling_rate: int = Field(24414, ge=4000, le=192000, description="Hz; every clip is resampled to it")
    frame_length: int = Field(2048, ge=64, le=65536, multiple_of=2, description="samples in one analysis frame; even")
    hop_length: int = Field(512, ge=16, le=65536, description="samples from one frame to the next")
    features: Literal["mfcc", "logmel", "encoder"] = Field(
        "mfcc", description="what a model sees: mfcc (with RMS and zero-crossing rate), logmel or encoder"
    )
    encoder: Literal["smart-turn", "whisper-base", "smart-turn+whisper-base", "functionals"] | None = Field(
        None, description="what hears with FEATURES encoder: one that `ser encoder list` lists"
    )
    n_mfcc: int = Field(13, ge=1, le=128, description="number of mel-frequency cepstral coefficients")
    n_mels: int = Field(128, ge=1, le=512, description="bands of the mel spectrogram, of which MFCC are made too")
    mel_fmin: Number = Field(0.0, ge=0, description="Hz; lower end of the lowest band")
    mel_fmax: Number | None = Field(None, gt=0, description="Hz; upper end of the highest; null: half of SAMPLING_RATE")
    trim_top_db: Number = Field(30.0, gt=0, le=120, description="dB below the loudest frame that count as silence")
    denoise: bool = Field(True, description="reduce noise by spectral gating")
    denoise_reference: bool = Field(
        False, description="reduce noise after padding, by noisereduce's own defaults; twice as slow"
    )
    normalize_per_speaker: bool = Field(
        False, description="standardise with each speaker's own statistics, of test speakers too"
    )
    cmn: bool = Field(False, description="take each mel band's mean over the clip out (cepstral mean normalisation)")
    tile: bool = Field(
        False, description="repeat clips up to TARGET_LENGTH; encoders hear them repeated up to 2.5 s and as they are"
    )
    target_length: int | None = Field(
        None, ge=64, le=10_000_000, description="samples per clip; null: the longest clip after trimming"
    )

    @property
    def n_samples(self) -> int:
        """Samples of a clip: `target_length`, which must have been decided."""
        if self.target_length is None:
            raise ValueError("`target_length` must be decided before clips have a length.")
        return self.target_length

    @property
    def n_frames(self) -> int:
        """Frames of a clip of `n_samples` samples, with librosa's centred framing; an embedding is one."""
        if self.encoder is not None:
            return 1
        return 1 + self.n_samples // self.hop_length

    def sound_frames(self, n_samples: int) -> int:
        """Frames with sound of a trimmed clip of `n_samples` samples; those after them are padding."""
        return min(1 + int(n_samples) // self.hop_length, self.n_frames)

    def sound_frames_of(self, trimmed_seconds: Iterable[float]) -> list[int]:
        """Frames with sound of clips of these lengths (s) after trimming."""
        return [self.sound_frames(round(seconds * self.sampling_rate)) for seconds in trimmed_seconds]

    @property
    def n_features(self) -> int:
        """How many `feature_names` there are."""
        if self.encoder is not None:
            return EMBEDDING_SIZES[self.encoder]
        return self.n_mels if self.features == "logmel" else 2 + self.n_mfcc

    @property
    def feature_names(self) -> list[str]:
        """Names of the features, in the order of their columns."""
        if self.encoder is not None:
            return [f"{self.encoder}_{i + 1}" for i in range(self.n_features)]
        if self.features == "logmel":
            return [f"logmel_{i + 1}" for i in range(self.n_features)]
        return ["rms", "zcr", *(f"mfcc_{i + 1}" for i in range(self.n_mfcc))]

    @model_serializer(mode="wrap")
    def _without_what_is_not_used(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out an encoder or a tiling that there is not: hashes of these values name what was made before."""
        return {name: value for name, value in dump(self).items() if name not in ("encoder", "tile") or value}


def _check_complete(settings: AudioSettings) -> AudioSettings:
    missing = AudioSettings.model_fields.keys() - settings.model_fields_set - _ADDED_LATER
    if missing:
        lines = [InitErrorDetails(type="missing", loc=(name,), input=settings) for name in sorted(missing)]
        raise ValidationError.from_exception_data("AudioSettings", lines)
    return settings


StoredSettings = Annotated[AudioSettings, AfterValidator(_check_complete)]
"""Settings read from a file, which must name each of them: a default of today is not what a model was trained with."""
