"""The bundle: a trained model with all that is needed to treat a new file exactly like the training data.

A folder with `bundle.json` and the model it names, as ONNX and for Keras. `bundle.json` is written last and holds the
models' hashes, so that a model of another run, or half of one, is noticed.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ser_lib.audio.normalize import Statistics, denormalize, find_statistics, normalize
from ser_lib.core.errors import BundleError, ParameterError, StageError
from ser_lib.core.io import file_hash, write_text
from ser_lib.core.labels import in_order
from ser_lib.core.paths import locate, shown
from ser_lib.core.text import printable
from ser_lib.model.adapt import to_population
from ser_lib.model.backends import Backend, checked, first_line, load_keras, load_onnx, try_model
from ser_lib.model.bundle_info import MEND, NAMED, PACKED, BundleInfo, check_encoder, read_bundle_info
from ser_lib.model.calibration import calibrate
from ser_lib.model.novelty import fit_novelty_model
from ser_lib.model.prediction import UNSURE_BELOW, Prediction, to_prediction
from ser_lib.params import Params
from ser_lib.store import BUNDLE_FILE, LICENCE_FILE, MANIFEST_FILE, SPLIT_FILE, ProcessedData, require

if TYPE_CHECKING:
    from ser_lib.audio.features import Measures
    from ser_lib.audio.signal import Recording

_LIBRARIES = ("ser_lib", "keras", "tensorflow", "onnxruntime", "librosa", "noisereduce", "numpy", "pydub", "soxr")


@dataclass(frozen=True)
class Bundle:
    """A model that is ready to predict, and what it was trained with.

    Attributes
    ----------
    info : BundleInfo
    probabilities : callable
        Calibrated probabilities [shape=(n_clips, n_classes)] of features [shape=(n_clips, n_frames, n_features)], both
        float32.
    voice : Statistics, optional
        Of an enrolled speaker (`voices.py`), whose features are brought to the training clips' scale.
    """

    info: BundleInfo
    probabilities: Callable[[np.ndarray], np.ndarray]
    voice: Statistics | None = None

    def __repr__(self) -> str:
        """One line, without the statistics."""
        corpora, emotions, settings = self.info.corpora, self.info.emotions, self.info.settings
        shape = f"{settings.n_frames} frames of {len(self.info.features)} features ({settings.features})"
        return printable(f"<Bundle of {', '.join(corpora)}: {', '.join(emotions)}; {shape}>")

    def extract_features(
        self, signal: np.ndarray, sampling_rate: int, *, speaker: str | None = None
    ) -> tuple[np.ndarray, "Measures"]:
        """Features [shape=(n_frames, n_features)] and measures of a mono signal, made like those of the training clips.

        `speaker` matters to a model that was trained with `NORMALIZE_PER_SPEAKER`; None is an unknown voice.

        Raises
        ------
        AudioError
            If the signal cannot be used.
        BundleError
            If the model does not know the speaker.
        """
        if speaker is not None and not self.info.speakers:
            raise BundleError(
                f"A speaker counts for a model that was trained with NORMALIZE_PER_SPEAKER alone. "
                f"This one was not; leave {speaker} out."
            )
        features, measures = self.extract_unscaled(signal, sampling_rate)
        return self.to_scale(features, self.info.settings.sound_frames(measures.n_trimmed), speaker), measures

    def extract_unscaled(self, signal: np.ndarray, sampling_rate: int) -> tuple[np.ndarray, "Measures"]:
        """What `extract_features` gives, without any normalisation by speaker."""
        from ser_lib.audio.features import SignalChain  # decoders, which stored features do not need

        try:
            chain = SignalChain(signal, sampling_rate, self.info.settings)
            return chain.features, chain.measures
        except ParameterError as error:  # each setting is right, but together they give no features
            raise BundleError(f"The bundle's settings do not go together: {error}") from None

    def answer(
        self,
        name: str,
        signal: np.ndarray,
        sampling_rate: int,
        *,
        speaker: str | None = None,
        unsure_below: float = UNSURE_BELOW,
    ) -> Prediction:
        """Predict the emotion of a mono signal called `name`; see `predict`."""
        features, measures = self.extract_features(signal, sampling_rate, speaker=speaker)
        probabilities = self.probabilities(features[np.newaxis])[0]
        novelty = self.info.novelty.find_novelty(measures, features, self.info.settings)
        return to_prediction(name, probabilities, self.info.emotions, unsure_below=unsure_below, novelty=novelty)

    def answer_recording(self, name: str, heard: "Recording", **options: Any) -> Prediction:
        """Answer what was heard of a file called `name`, and say what is odd about it; the `options` are `answer`'s."""
        answer = self.answer(name, heard.signal, heard.sampling_rate, **options)
        return replace(answer, damaged_after=heard.damaged_after, channels_differ=heard.channels_differ)

    def predict(
        self,
        signal: np.ndarray,
        sampling_rate: int,
        *,
        speaker: str | None = None,
        unsure_below: float = UNSURE_BELOW,
    ) -> Prediction:
        """Predict the emotion of a signal, exactly as for a file of the same samples.

        Parameters
        ----------
        signal : np.ndarray [shape=(n_samples,) or (n_samples, n_channels)]
            Floating point, full scale at -1 and 1.
        sampling_rate : int, Hz
        speaker : str, optional
            See `extract_features`.
        unsure_below : float
            Confidence (probability) below which the prediction is called unsure.

        Raises
        ------
        AudioError
            If the signal cannot be used.

        Examples
        --------
        >>> import numpy as np
        >>> from ser_lib import load_bundle
        >>> tone = 0.5 * np.sin(2 * np.pi * 220 * np.arange(16000) / 16000)
        >>> prediction = load_bundle("reports/demo").predict(tone, 16000)
        >>> prediction.confidence == max(prediction.probabilities.values())
        True
        """
        from ser_lib.audio.channels import ChannelLevels, to_channels, to_rate
        from ser_lib.audio.signal import to_mono

        channels, rate, levels = to_channels(signal), to_rate(sampling_rate), ChannelLevels()
        mono = to_mono(channels)
        levels.add(channels, rate)
        answer = self.answer("signal", mono, rate, speaker=speaker, unsure_below=unsure_below)
        return replace(answer, channels_differ=levels.differ())

    def to_scale(self, features: np.ndarray, n_sound: int, speaker: str | None) -> np.ndarray:
        """Features [shape=(n_frames, n_features)] normalised as the model expects; with a population, of any clips."""
        if self.info.speakers:
            return normalize(features, self.voice or find_statistics(self.info.speakers, speaker))
        if self.voice is None:
            return features
        if self.info.population:
            return to_population(features, self.voice, self.info.population)
        sound = denormalize(
            normalize(features[:n_sound], self.voice), self.info.novelty.statistics_of(self.info.settings)
        )
        return np.concatenate([sound, features[n_sound:]])  # padding is the same for all


def save_bundle(data: ProcessedData, sets: np.ndarray, params: Params, **learnt_values: Any) -> BundleInfo:
    """Write `bundle.json` and `LICENCE.txt` beside the models in `OUTPUT_DIR` for `sets` [shape=(n_clips,)].

    `learnt_values`: `temperature` and, of `BundleInfo`, `voice_temperature`, `population` and `left_out`.
    """
    from ser_lib.audio.encoders import weights_sha256  # decoders, which stored features do not need

    folder, learnt = params.output_dir, data.clips[sets == "train"]
    info = BundleInfo(
        format=NAMED if data.settings.encoder is None else PACKED,
        onnx=params.MODEL_ONNX_FILE,
        onnx_sha256=file_hash(folder / params.MODEL_ONNX_FILE),
        keras=params.MODEL_WEIGHTS_FILE,
        keras_sha256=file_hash(folder / params.MODEL_WEIGHTS_FILE),
        emotions=in_order(learnt["emotion"]),
        features=data.settings.feature_names,
        settings=data.settings,
        encoder_sha256=weights_sha256(data.settings.encoder),
        speakers=data.speakers,
        novelty=fit_novelty_model(data.X, data.clips, sets, data.settings),
        corpora=sorted(set(learnt["corpus"])),
        data_fingerprint=data.fingerprint,
        split_sha256=file_hash(folder / SPLIT_FILE),
        versions={name: version(name) for name in _LIBRARIES},
        **learnt_values,
    )
    write_text(folder / BUNDLE_FILE, info.model_dump_json(indent=2) + "\n")
    write_text(folder / LICENCE_FILE, _licence(info.corpora))
    return info


def _licence(corpora: list[str]) -> str:
    """Whose recordings a model has learnt from, and on what terms they may be used."""
    from ser_lib.corpora import get_corpus

    lines = [
        "The model in this folder has learnt from the recordings below. Use it within their licences, and name them."
    ]
    if any("NC" in get_corpus(name).LICENCE for name in corpora):
        lines.append("NC in a licence means: not for commercial purposes.")
    for name in corpora:
        corpus = get_corpus(name)
        lines += ["", f"{name}: {corpus.ABOUT}", f"Licence: {corpus.LICENCE}", f"Source: {corpus.CITATION}"]
    return "\n".join(lines) + "\n"


def load_bundle(path: str | Path, *, backend: Backend = "onnx") -> Bundle:
    """Load a bundle and check that its parts belong together.

    `path`: a run's folder or an exported file; a relative one is looked for in the current folder, then in the project.
    No code in it is run: the ONNX model must be one file, and Keras loads in its safe mode.

    Raises
    ------
    StageError
        If there is no bundle yet, or it lacks the backend's model: a record holds the ONNX one alone.
    BundleError
        If it is damaged, or the model does not fit the settings.

    Examples
    --------
    >>> from ser_lib import load_bundle
    >>> bundle = load_bundle("reports/demo")
    >>> bundle.info.corpora, len(bundle.info.emotions)
    (['DEMO'], 7)
    """
    given, path = Path(path), locate(path)
    if not path.exists():
        where = "" if given.is_absolute() else ", neither in the current folder nor in the project"
        advice = "Give its path." if path.suffix == ".zip" else "Run 03_train first, or give the path of a model."
        raise StageError(f"There is no {printable(str(given))}{where}. {advice}")
    if not path.is_file():
        return _load_folder(path, backend)
    from ser_lib.model.archive import unpacked

    with unpacked(path) as folder:
        try:
            return _load_folder(folder, backend)
        except BundleError as error:  # whoever sent it can mend it
            raise BundleError(str(error).replace(MEND, "Get it once more.")) from None
        except StageError:
            raise BundleError(
                f"{shown(path)} must hold the model that its {BUNDLE_FILE} names for {backend}. It does not. "
                f"Choose the other backend, or export it again where it was trained."
            ) from None


def _check_recorded(path: Path) -> None:
    """Raise StageError if a record lacks this file of its model: light ones have left it out."""
    if not path.exists() and (path.parent / MANIFEST_FILE).is_file():
        run = path.parent.name
        raise StageError(f"{shown(path)} is not part of the record. To train it again: ser reproduce {run}")


def _load_folder(folder: Path, backend: Backend) -> Bundle:
    _check_recorded(folder / BUNDLE_FILE)
    info = read_bundle_info(folder)
    check_encoder(folder / BUNDLE_FILE, info)
    name, sha256, load = {
        "onnx": (info.onnx, info.onnx_sha256, load_onnx),
        "keras": (info.keras, info.keras_sha256, load_keras),
    }[backend]
    path = folder / name
    try:
        if backend == "keras" and not path.exists() and (folder / MANIFEST_FILE).is_file():
            raise StageError(
                f"The record of {folder.name} keeps its ONNX model, which predicts without --backend keras, and not "
                f"its Keras model. ser reproduce {folder.name} trains that again; predict by --run and the new run's "
                f"name."
            )
        _check_recorded(path)
        fits = file_hash(require(path, "03_train")) == sha256
    except OSError as error:
        raise BundleError(f"A model in the bundle cannot be read: {error.strerror or error}.") from None
    if not fits:
        raise BundleError(f"{shown(path)} is not the model that {BUNDLE_FILE} beside it describes. {MEND}")
    try:
        probabilities, shapes = load(path)
    except Exception as error:  # each library raises what it likes
        raise BundleError(f"{shown(path)} cannot be loaded: {first_line(error)}{_other_keras(info, backend)}") from None
    expected = (info.settings.n_frames, len(info.features)), (len(info.emotions),)
    if shapes != expected:
        raise BundleError(
            f"The settings in {shown(folder / BUNDLE_FILE)} must fit the model: they give features of shape "
            f"{expected[0]} and {expected[1][0]} emotions. The model takes {shapes[0]} "
            f"and gives {shapes[1][0] if len(shapes[1]) == 1 else shapes[1]}. {MEND}"
        )
    if backend == "onnx":  # Keras would take seconds for it
        try_model(path, probabilities, expected)
    return Bundle(info, lambda X: calibrate(checked(probabilities, X), info.temperature))


def _other_keras(info: BundleInfo, backend: Backend) -> str:
    """Advice where another Keras version saved the model; otherwise empty."""
    saved, here = printable(info.versions.get("keras", "of an unknown version")[:40]), version("keras")
    if backend != "keras" or saved == here:
        return ""
    return f" It was saved by Keras {saved}, and here is {here}: take the backend onnx, or install that Keras."
