"""The settings of audio and features: decided once for training, stored with the model, repeated in prediction."""

from collections.abc import Iterable
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from ser_lib.params import Params

Backend = Literal["onnx", "keras"]
"""What computes a prediction: ONNX Runtime, which starts in a moment, or Keras on TensorFlow."""


class AudioSettings(BaseModel):
    """All that decides how a file becomes features; stored with the model, so that prediction repeats it."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    sampling_rate: int = Field(ge=4000, le=192000)
    frame_length: int = Field(ge=64, le=65536, multiple_of=2)
    hop_length: int = Field(ge=16, le=65536)
    features: Literal["mfcc", "logmel"]
    n_mfcc: int = Field(ge=1, le=128)
    n_mels: int = Field(ge=1, le=512)
    mel_fmin: float = Field(ge=0)
    mel_fmax: float | None = Field(default=None, gt=0)
    trim_top_db: float = Field(gt=0, le=120)
    denoise: bool
    denoise_reference: bool
    normalize_per_speaker: bool
    cmn: bool = False
    target_length: int | None = Field(default=None, ge=1, le=10_000_000)

    @classmethod
    def from_params(cls, params: Params) -> "AudioSettings":
        """Settings that `params` ask for; `target_length` stays None if the corpus is to decide."""
        return cls(
            sampling_rate=params.SAMPLING_RATE,
            frame_length=params.FRAME_LENGTH,
            hop_length=params.HOP_LENGTH,
            features=params.FEATURES,
            n_mfcc=params.N_MFCC,
            n_mels=params.N_MELS,
            mel_fmin=params.MEL_FMIN,
            mel_fmax=params.MEL_FMAX,
            trim_top_db=params.TRIM_TOP_DB,
            denoise=params.DENOISE,
            denoise_reference=params.DENOISE_REFERENCE,
            normalize_per_speaker=params.NORMALIZE_PER_SPEAKER,
            cmn=params.CMN,
            target_length=params.TARGET_LENGTH,
        )

    @property
    def n_frames(self) -> int:
        """Frames of a clip of `target_length` samples, with librosa's centred framing."""
        return 1 + self.target_length // self.hop_length

    def sound_frames(self, n_samples: int) -> int:
        """Frames with sound of a clip of `n_samples` samples, trimmed; those after them are padding."""
        return min(1 + int(n_samples) // self.hop_length, self.n_frames)

    def sound_frames_of(self, trimmed_seconds: Iterable[float]) -> list[int]:
        """Frames with sound of clips that are so long (s) after trimming."""
        return [self.sound_frames(round(seconds * self.sampling_rate)) for seconds in trimmed_seconds]

    @property
    def feature_names(self) -> list[str]:
        """Names of the features, in the order of their columns."""
        if self.features == "logmel":
            return [f"logmel_{i + 1}" for i in range(self.n_mels)]
        return ["rms", "zcr", *(f"mfcc_{i + 1}" for i in range(self.n_mfcc))]
