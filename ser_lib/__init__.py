"""Speech emotion recognition from wav files to a prediction, one module per notebook."""

import os
from importlib import import_module

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


def __getattr__(name: str):
    """Import a public function when it is first used (PEP 562)."""
    if name not in _PUBLIC:
        raise AttributeError(f"module 'ser_lib' has no attribute {name!r}")
    return getattr(import_module(f"ser_lib.{_PUBLIC[name]}"), name)
