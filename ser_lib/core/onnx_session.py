"""ONNX Runtime, opened in one way: on one thread, in silence, and from memory."""

from typing import Any


def open_session(content: bytes) -> Any:
    """`onnxruntime.InferenceSession` of an ONNX file.

    It runs on one thread: for a clip at a time more are no faster, and sums keep their order. Products of bytes are
    summed exactly: on x86 processors without VNNI, sums of two would otherwise end at 16 bits, and an encoder would
    hear something else than on others. What goes wrong is raised and not printed. From memory, a model that would read
    other files, by whatever path, is refused.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    options.add_session_config_entry("session.x64quantprecision", "1")
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
