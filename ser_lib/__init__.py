"""Speech emotion recognition from wav files to a prediction, one module per notebook."""

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # for editors and type checkers, which do not run __getattr__
    from ser_lib.audio.features import process_audio_file as process_audio_file
    from ser_lib.evaluate import evaluate_model as evaluate_model
    from ser_lib.model.bundle import load_bundle as load_bundle
    from ser_lib.params import load_params as load_params
    from ser_lib.plots import plot_history as plot_history
    from ser_lib.predict import predict_emotion_from_file as predict_emotion_from_file
    from ser_lib.preprocess import preprocess_data as preprocess_data

# ONNX Runtime reads this once, when it is first imported: otherwise it looks its maker's host up for every process, and
# keeps an id of the machine and a queue of events. Every module of ours comes after this line, children inherit it.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
os.environ.setdefault("PATH", os.defpath)  # pydub looks for programs as soon as it is imported
# TensorFlow reads these once, when something first imports it.
os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # its start-up notes say nothing to our users

__version__ = "0.1.0"

# The functions a user calls first, each from the module that does the work. They are looked up when
# they are asked for, so that `import ser_lib` loads neither librosa nor TensorFlow.
_PUBLIC = {
    "load_params": "params",
    "preprocess_data": "preprocess",
    "process_audio_file": "audio.features",
    "plot_history": "plots",
    "evaluate_model": "evaluate",
    "load_bundle": "model.bundle",
    "predict_emotion_from_file": "predict",
}
__all__ = ["__version__", *_PUBLIC]


def __dir__() -> list[str]:
    """Name the public functions, before they are used, too."""
    return sorted({*globals(), *_PUBLIC})


def __getattr__(name: str) -> Any:
    """Import a public function when it is first used (PEP 562)."""
    if name not in _PUBLIC:
        raise AttributeError(f"module 'ser_lib' has no attribute {name!r}")
    from ser_lib.core.extras import name_extras

    with name_extras():
        found = globals()[name] = getattr(import_module(f"ser_lib.{_PUBLIC[name]}"), name)
    return found
