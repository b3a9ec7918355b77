"""One typed, validated set of parameters for all five notebooks.

Every parameter is a field of `Params`: its type, default, range and help stand there and nowhere else; those that
decide how a file becomes features are the fields of `AudioSettings`, in capitals.
A YAML file in `params/` overrides defaults, a later file or `-p NAME=VALUE` overrides an earlier one.
"""

import difflib
import itertools
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, create_model, model_validator

from ser_lib.audio.settings import AudioSettings, Number
from ser_lib.core.errors import ParameterError
from ser_lib.core.foreign import LARGEST_YAML, ForeignError, parse_yaml, read_file
from ser_lib.core.labels import fault_of_targets
from ser_lib.core.paths import locate, resolve
from ser_lib.core.patterns import fault_of_pattern
from ser_lib.core.text import LONGEST_QUOTED, printable, quoted

AUGMENTATIONS = ("mask", "warp", "shift", "stretch", "position", "tilt", "gain", "noise", "echo")
"""What `AUGMENT` may name for logmel: hide bands and frames; scale and move the frequency axis; speed; place in time;
slope of the spectrum; level; noise of a room, and its echo."""
VARIATIONS = ("noise", "band", "piece")
"""What `AUGMENT` may name for an encoder, which hears each training clip so, too (`audio/degrade.py`)."""
_ENDINGS = {
    "X_TEST_FILE": ".npy",
    "Y_TEST_FILE": ".npy",
    "MODEL_WEIGHTS_FILE": ".keras",
    "MODEL_ONNX_FILE": ".onnx",
    "MODEL_JSON_FILE": ".json",
    "MODEL_H5_FILE": ".weights.h5",
}
_OTHER_OUTPUTS = ("bundle.json", "history.json", "leakage.json", "metrics.json")
_CNN_BANDS = {"cnn": 16, "cnn_large": 32}
"""`MODEL` → bands that its poolings leave one of."""
_UNFIT = "`FEATURES: encoder` needs `MODEL: linear`. Got {}."
GROUPS = {
    "CORPORA": "Data",
    "SAMPLING_RATE": "Audio and features",
    "SPLIT": "Split",
    "STANDARDIZE": "Model and training",
    "BOOTSTRAP_SAMPLES": "Evaluation",
    "EXAMPLE_AUDIO_FILE": "Prediction",
    "PROCESSED_DATA_FILE": "Names of files",
}
"""First parameter of each group → heading in the table of parameters."""
FileName = Annotated[str, Field(pattern=r"^[^/\\]+$")]
_NO_NUMBER = BeforeValidator(lambda value: value if isinstance(value, bool) else str(value))  # 1 == True


class _Data(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    CORPORA: list[str] = Field(
        ["DEMO"],
        min_length=1,
        description="corpora: DEMO, TESS, RAVDESS, CREMA-D, SAVEE, EMODB, ASED, TUREV, OWN, OWN:FOLDER",
    )
    TEST_CORPORA: list[str] = Field([], description="further corpora that are the test set, for SPLIT corpus")
    DATASET_PATH: str = Field(
        "data/demo", min_length=1, description="folder of the corpus; of several, one that holds a folder for each"
    )
    LABEL_MAP: dict[str, str | None] = Field(
        {}, description="a corpus's emotion to one of the seven, as {calm: neutral}, or a new one; null leaves it out"
    )
    SPEAKER_PATTERN: str | None = Field(
        None, min_length=1, max_length=200, description="regular expression whose group is the speaker in names of OWN"
    )
    OUTPUT_DIR: str = Field("artifacts/interactive", min_length=1, description="folder that all results go to")
    MAX_SKIPPED: Number = Field(0.01, ge=0, le=1, description="stop if more than this fraction of clips is unusable")
    N_JOBS: int = Field(-1, ge=-1, le=1024, description="parallel processes; -1: one per core")
    SEED: int = Field(0, ge=0, lt=2**32, description="seed of every random number")


if TYPE_CHECKING:

    class _Audio(_Data):
        def __getattr__(self, name: str) -> Any: ...  # a field of AudioSettings in capitals

else:
    _Audio = create_model(
        "_Audio",
        __base__=_Data,
        **{name.upper(): (field.annotation, field) for name, field in AudioSettings.model_fields.items()},
    )


class Params(_Audio):
    """Every parameter of a run. Frozen; an unknown name, a wrong type or a value out of range is refused.

    The fields of `AudioSettings` are parameters too, with their names in capitals.
    """

    SPLIT: Literal["random", "text", "speaker", "speaker_text", "folds", "corpus"] = Field(
        "random", description="what no two sets share: random, text, speaker, speaker_text, folds (of speakers), corpus"
    )
    TEST_SPEAKERS: list[str] = Field([], description="speakers of the test set, for SPLIT speaker and speaker_text")
    N_FOLDS: int | None = Field(None, ge=2, le=1000, description="folds of speakers; null: one for each speaker")
    FOLD: int = Field(0, ge=0, le=999, description="fold that is the test set, counted from 0")
    SPLIT_FILE: str | None = Field(
        None, min_length=1, description="CSV of clip and set to use instead; null: split by SPLIT"
    )
    TEST_FRACTION: Number = Field(
        0.15, gt=0, lt=1, description="fraction in the test set, of the clips or of the texts that SPLIT keeps apart"
    )
    VALIDATION_FRACTION: Number = Field(
        0.15, gt=0, lt=1, description="fraction in the validation set; with SPLIT by speaker, of what is left"
    )

    STANDARDIZE: bool = Field(True, description="standardise features with the training set's mean and deviation")
    MODEL: Literal["bilstm", "cnn", "cnn_large", "linear"] = Field(
        "bilstm", description="recurrent network, convolutional one on logmel, small or large, or one layer on encoder"
    )
    POOLING: Literal["last", "mean_max", "attention"] = Field(
        "last", description="how frames become one vector: last state of the LSTM, mean_max or attention"
    )
    LSTM_UNITS: int = Field(64, ge=1, le=4096, description="units in each direction of each LSTM layer")
    DENSE_UNITS: int = Field(64, ge=1, le=65536, description="units of the dense layer")
    DROPOUT_RATE: Number = Field(0.3, ge=0, lt=1, description="fraction of units dropped while training")
    LEARNING_RATE: Number = Field(0.001, gt=0, le=1, description="learning rate that Adam starts with")
    SCHEDULE: Literal["plateau", "one_cycle"] = Field(
        "plateau", description="plateau: best epoch kept; one_cycle: rate up to LEARNING_RATE and to 0, last epoch kept"
    )
    WEIGHT_DECAY: Number = Field(0.0, ge=0, le=1, description="decay of the weights at each step (AdamW); 0: Adam")
    LABEL_SMOOTHING: Number = Field(0.0, ge=0, lt=1, description="fraction of a label that is spread over all emotions")
    AUGMENT: list[str] = Field(
        [], description="vary clips by mask, warp, shift, stretch, position, tilt, gain, noise, echo, band, piece"
    )
    BALANCE: Annotated[Literal[False, True, "sampling"], _NO_NUMBER] = Field(
        False, description="true: weigh corpora and emotions alike; sampling: draw emotions alike, corpora by √ of size"
    )
    ADAPT_TO_SPEAKER: bool = Field(
        False, description="learn to be adapted to a new speaker by clips without labels; for FEATURES encoder"
    )
    SHRINK_BY: Literal["clips", "clips_and_spread"] = Field("clips", description="trust clips by number, or spread too")
    CALIBRATE_ON: Literal["validation", "left_out"] = Field(
        "validation", description="what confidences hold for: the validation set, or corpora (or speakers) left out"
    )
    AVERAGE_LEFT_OUT: bool = Field(
        False, description="take the mean of the layer and those that CALIBRATE_ON left_out trains (MODEL linear)"
    )
    BATCH_SIZE: int = Field(32, ge=1, le=1_000_000, description="clips per training step")
    EPOCHS: int = Field(50, ge=1, le=1_000_000, description="passes through the training set, at most")
    REDUCE_LR_PATIENCE: int = Field(
        3, ge=0, le=10_000, description="epochs without better accuracy before the rate falls"
    )
    REDUCE_LR_FACTOR: Number = Field(0.5, gt=0, lt=1, description="factor the learning rate falls by")
    EARLY_STOPPING_PATIENCE: int = Field(
        10, ge=0, le=10_000, description="epochs without lower loss before training stops"
    )

    BOOTSTRAP_SAMPLES: int = Field(2000, ge=100, le=1_000_000, description="resamples of the test set for intervals")
    BASELINES: bool = Field(True, description="measure simple models on the same split, too")
    ROBUSTNESS: bool = Field(True, description="measure the test set with noise, gain, telephone band and MP3, too")

    EXAMPLE_AUDIO_FILE: str | None = Field(
        None, min_length=1, description="audio file to predict; null: a clip of the test set"
    )

    UNSURE_BELOW: Number = Field(0.5, ge=0, le=1, description="confidence below which a prediction is called unsure")

    PROCESSED_DATA_FILE: str = Field(
        "processed_data.npz", pattern=r"\.npz$", description="features; in OUTPUT_DIR unless it names a folder"
    )
    X_TEST_FILE: FileName = Field("x_test.npy", description="features of the test set")
    Y_TEST_FILE: FileName = Field("y_test.npy", description="one-hot labels of the test set")
    MODEL_WEIGHTS_FILE: FileName = Field("best_model.keras", description="best model by validation accuracy")
    MODEL_ONNX_FILE: FileName = Field("model.onnx", description="best model, for ONNX Runtime")
    MODEL_JSON_FILE: FileName = Field("model.json", description="architecture of the final model")
    MODEL_H5_FILE: FileName = Field("model.weights.h5", description="weights of the final model")

    @model_validator(mode="after")
    def _check_relations(self) -> "Params":
        rules = (self._file_rules, self._audio_rules, self._model_rules, self._corpus_rules, self._split_rules)
        for broken, message in itertools.chain.from_iterable(rule() for rule in rules):
            if broken:
                raise ValueError(message)
        return self

    def _file_rules(self) -> Iterator[tuple[bool, str]]:
        for name, ending in _ENDINGS.items():
            file = getattr(self, name)
            yield not file.endswith(ending), f"`{name}` must end in {ending}. Got {file}."
            yield file == ending, f"`{name}` must have a name before {ending}. Got {ending} alone."
        same = self.X_TEST_FILE == self.Y_TEST_FILE
        yield same, f"`X_TEST_FILE` and `Y_TEST_FILE` must differ. Got {self.X_TEST_FILE} for both."
        taken = self.MODEL_JSON_FILE in _OTHER_OUTPUTS
        yield taken, f"`MODEL_JSON_FILE` must not be the name of another output. Got {self.MODEL_JSON_FILE}."

    def _audio_rules(self) -> Iterator[tuple[bool, str]]:
        half = self.SAMPLING_RATE / 2
        highest = half if self.MEL_FMAX is None else self.MEL_FMAX
        too_low = self.DENOISE and self.SAMPLING_RATE < 5120
        hop, frame = self.HOP_LENGTH, self.FRAME_LENGTH
        yield hop > frame, f"`HOP_LENGTH` must be at most `FRAME_LENGTH` ({frame}). Got {hop}."
        yield self.N_MFCC > self.N_MELS, f"`N_MFCC` must be at most `N_MELS` ({self.N_MELS}). Got {self.N_MFCC}."
        yield highest > half, f"`MEL_FMAX` must be at most half of `SAMPLING_RATE` ({half:g}). Got {highest:g}."
        yield highest <= self.MEL_FMIN, f"`MEL_FMIN` must be below `MEL_FMAX` ({highest:g}). Got {self.MEL_FMIN:g}."
        yield too_low, f"`SAMPLING_RATE` must be at least 5120 with `DENOISE`. Got {self.SAMPLING_RATE}."
        yield self.N_JOBS == 0, "`N_JOBS` must be at least 1, or -1 for one process per core. Got 0."

    def _model_rules(self) -> Iterator[tuple[bool, str]]:
        is_mfcc, is_cnn = self.FEATURES != "logmel", self.MODEL in _CNN_BANDS
        is_encoder, is_linear = self.FEATURES == "encoder", self.MODEL == "linear"
        ways = VARIATIONS if is_encoder else AUGMENTATIONS
        wrong = {way or "''" for way in self.AUGMENT if way not in ways or self.AUGMENT.count(way) > 1}
        got = ", ".join(sorted(wrong))
        yield bool(self.AUGMENT) and self.FEATURES == "mfcc", "`AUGMENT` needs `FEATURES: logmel` or encoder. Got mfcc."
        yield bool(wrong), f"`AUGMENT` must name some of {', '.join(ways)} once each for {self.FEATURES}. Got {got}."
        rooms = not is_encoder and not self.CMN and not {"noise", "echo"}.isdisjoint(self.AUGMENT)
        yield rooms, "`AUGMENT` needs `CMN: true` for noise and echo. Got false."
        yield (
            is_cnn and (is_mfcc or _CNN_BANDS[self.MODEL] > self.N_MELS),
            f"`MODEL: {self.MODEL}` needs `FEATURES: logmel` and `N_MELS` of at least {_CNN_BANDS.get(self.MODEL)}. "
            f"Got {self.FEATURES} and {self.N_MELS}.",
        )
        last = is_cnn and self.POOLING == "last"
        yield last, f"`POOLING` must be mean_max or attention with `MODEL: {self.MODEL}`. Got last."
        deaf, unheard = is_encoder and self.ENCODER is None, self.ENCODER is not None and not is_encoder
        yield deaf, "`FEATURES: encoder` needs an `ENCODER`, one that `ser encoder list` lists. Got none."
        yield unheard, f"`ENCODER: {self.ENCODER}` needs `FEATURES: encoder`. Got {self.FEATURES}."
        for name in ("DENOISE", "CMN"):
            yield is_encoder and getattr(self, name), f"`FEATURES: encoder` needs `{name}: false`. Got true."
        for name, wanted in {"MODEL: linear": is_linear, "ADAPT_TO_SPEAKER": self.ADAPT_TO_SPEAKER}.items():
            yield wanted and not is_encoder, f"`{name}` needs `FEATURES: encoder`. Got {self.FEATURES}."
        for name in ("ADAPT_TO_SPEAKER", "AUGMENT") if is_encoder and self.NORMALIZE_PER_SPEAKER else ():
            yield bool(getattr(self, name)), f"`{name}` needs `NORMALIZE_PER_SPEAKER: false`. Got true."
        yield is_encoder and not is_linear and "MODEL" in self.model_fields_set, _UNFIT.format(self.MODEL)
        for name, value in {"MODEL": "linear", "CALIBRATE_ON": "left_out"}.items() if self.AVERAGE_LEFT_OUT else ():
            got = getattr(self, name)
            yield got != value, f"`AVERAGE_LEFT_OUT` needs `{name}: {value}`. Got {got}."

    def _corpus_rules(self) -> Iterator[tuple[bool, str]]:
        small = [name.lower() for name in self.all_corpora]  # folders that differ in capitals are one on some machines
        twice = [name for name in self.all_corpora if small.count(name.lower()) > 1]
        unnamed = self.SPLIT == "corpus" and not self.TEST_CORPORA and self.SPLIT_FILE is None
        yield bool(twice), f"`CORPORA` and `TEST_CORPORA` must name a corpus once. Got {', '.join(twice[:1])} twice."
        yield unnamed, "`TEST_CORPORA` must name the corpora of the test set with `SPLIT: corpus`. Got none."
        lone = self.SPEAKER_PATTERN and not any(name.partition(":")[0] == "OWN" for name in self.all_corpora)
        yield bool(lone), f"`SPEAKER_PATTERN` needs OWN in `CORPORA`. Got {', '.join(self.all_corpora)}."
        pattern = fault_of_pattern("SPEAKER_PATTERN", self.SPEAKER_PATTERN)
        for fault in (fault_of_targets(self.LABEL_MAP.values()), pattern):
            yield bool(fault), fault

    def _split_rules(self) -> Iterator[tuple[bool, str]]:
        held_out = self.TEST_FRACTION + self.VALIDATION_FRACTION
        yield held_out >= 1, f"`TEST_FRACTION` + `VALIDATION_FRACTION` must be below 1. Got {held_out:g}."
        by_speaker = self.SPLIT in ("speaker", "speaker_text")
        yield (
            bool(self.TEST_SPEAKERS) and not by_speaker,
            f"`TEST_SPEAKERS` needs `SPLIT` to be speaker or speaker_text. Got {self.SPLIT}.",
        )
        yield (
            by_speaker and not self.TEST_SPEAKERS and self.SPLIT_FILE is None,
            f"`TEST_SPEAKERS` must name the speakers of the test set with `SPLIT: {self.SPLIT}`. Got none.",
        )
        folds = self.SPLIT != "folds" and (self.N_FOLDS is not None or self.FOLD != 0)
        yield folds, f"`N_FOLDS` and `FOLD` need `SPLIT` to be folds, or must be null and 0. Got {self.SPLIT}."
        beyond = self.N_FOLDS is not None and self.FOLD >= self.N_FOLDS
        yield beyond, f"`FOLD` must be below `N_FOLDS` ({self.N_FOLDS}). Got {self.FOLD}."

    def check_test_corpora(self) -> None:
        """Refuse `TEST_CORPORA` beside a split that would mix them with the others; 01_preprocess knows no `SPLIT`."""
        if self.TEST_CORPORA and self.SPLIT != "corpus":
            raise ParameterError(f"`TEST_CORPORA` needs `SPLIT: corpus`. Got {self.SPLIT}.")

    def check_model(self) -> None:
        """Refuse a `MODEL` that nobody chose and that takes no embeddings; 01_preprocess knows no `MODEL`."""
        if self.FEATURES == "encoder" and self.MODEL != "linear":
            raise ParameterError(_UNFIT.format(self.MODEL))

    @property
    def audio_settings(self) -> AudioSettings:
        """How a file becomes features; `target_length` stays None where the corpus decides."""
        return AudioSettings(**{name: getattr(self, name.upper()) for name in AudioSettings.model_fields})

    @property
    def all_corpora(self) -> list[str]:
        """Names of the training corpora, then of the test corpora."""
        return [*self.CORPORA, *self.TEST_CORPORA]

    @property
    def corpus_folders(self) -> dict[str, Path]:
        """Name → absolute path of each corpus: `DATASET_PATH` or, of several and of OWN:FOLDER, its subfolder."""
        if len(self.all_corpora) == 1 and ":" not in self.CORPORA[0]:
            return {self.CORPORA[0]: self.dataset_path}
        return {name: self.dataset_path / name.rpartition(":")[2] for name in self.all_corpora}

    @property
    def output_dir(self) -> Path:
        """Absolute path of `OUTPUT_DIR`."""
        return resolve(self.OUTPUT_DIR)

    @property
    def dataset_path(self) -> Path:
        """Absolute path of `DATASET_PATH`."""
        return resolve(self.DATASET_PATH)

    @property
    def processed_data_file(self) -> Path:
        """Absolute path of `PROCESSED_DATA_FILE`: a bare name is in `OUTPUT_DIR`."""
        if Path(self.PROCESSED_DATA_FILE).name == self.PROCESSED_DATA_FILE:
            return self.output_dir / self.PROCESSED_DATA_FILE
        return resolve(self.PROCESSED_DATA_FILE)


def make_params(values: Mapping[str, Any]) -> Params:
    """Validate `values` (parameter name to value); others take their defaults.

    Raises
    ------
    ParameterError
        If a name is unknown or a value has the wrong type or range.
    """
    try:
        return Params(**values)
    except ValidationError as error:
        raise ParameterError(" ".join(" ".join(_explain(detail) for detail in error.errors()).split())) from None


def _explain(detail: Mapping[str, Any]) -> str:
    if not detail["loc"]:
        return detail["msg"].removeprefix("Value error, ")
    name, value = str(detail["loc"][0]), detail["input"]
    if detail["type"] == "extra_forbidden":
        return unknown_parameter(name)
    if detail["type"] == "string_pattern_mismatch":
        rule = "must end in .npz" if name == "PROCESSED_DATA_FILE" else "must be a file name without a folder"
    else:
        rule = re.sub(r"^(Input|List|String) should (be|have)", r"must \2", detail["msg"])
        example = {"TEST_SPEAKERS": "[YAF]", "AUGMENT": "[noise]"}.get(name, "[TESS]")
        rule = f"must be a list, such as {example}" if detail["type"] == "list_type" else rule
        rule = "must map emotions, such as {calm: neutral}" if detail["type"] == "dict_type" else rule
        rule = re.sub(r" after validation, not \d+$", "", rule).replace("False, True or", "false, true or")
    is_number = name == "TEST_SPEAKERS" and detail["type"] == "string_type"  # YAML reads 3 as a number
    advice = ' Write names that are numbers in quotes: ["03"].' if is_number else ""
    return f"`{name}` {rule}. Got {quoted(value)}.{advice}"


def unknown_parameter(name: str) -> str:
    """Sentence that refuses `name` and suggests the most similar parameter."""
    near = [field for field in Params.model_fields if len(name) > 3 and field.startswith(f"{name.upper()}_")]
    near += difflib.get_close_matches(name.upper()[:LONGEST_QUOTED], Params.model_fields, n=1, cutoff=0.5)
    advice = f"Did you mean `{near[0]}`?" if near else "`ser params` lists them all."
    return f"`{printable(name)[:LONGEST_QUOTED]}` is not a parameter. {advice}"


def load_params(*files: str | Path, overrides: Iterable[str] = ()) -> Params:
    """Parameters from YAML files and `NAME=VALUE` overrides, the later one winning.

    A relative path is looked for in the current folder, then in the project.

    Raises
    ------
    ParameterError
        If a file is missing or no flat YAML mapping, or a parameter is refused.

    Examples
    --------
    >>> from ser_lib import load_params
    >>> params = load_params("params/demo.yaml", overrides=["EPOCHS=5"])
    >>> params.CORPORA, params.EPOCHS, params.SPLIT
    (['DEMO'], 5, 'random')
    """
    return make_params(read_values(files, overrides))


def read_values(files: Iterable[str | Path], overrides: Iterable[str] = ()) -> dict[str, Any]:
    """Merge YAML files and `NAME=VALUE` overrides into one dictionary, without validating it."""
    values: dict[str, Any] = {}
    for file in files:
        values |= _read_yaml_file(Path(file))
    for override in overrides:
        name, equals, text = override.partition("=")
        if not equals or not name:
            raise ParameterError(f"An override must read NAME=VALUE. Got {quoted(override)}.")
        values[name] = parse_yaml(text, f"The value of `{printable(name)}`")
    return values


def _read_yaml_file(file: Path) -> dict[str, Any]:
    what = f"The parameter file {printable(str(file))}"
    try:
        text = read_file(locate(file), LARGEST_YAML).decode()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "not a text file in UTF-8"
        reason = str(error) if isinstance(error, ForeignError) else reason
        raise ParameterError(f"{what} cannot be read ({reason}). See params/ for examples.") from None
    values = parse_yaml(text, what)
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise ParameterError(f"{what} must hold lines of `NAME: value`. Got a {type(values).__name__}.")
    return {str(name): value for name, value in values.items()}
