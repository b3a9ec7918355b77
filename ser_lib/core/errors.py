"""The errors that a user can fix: each message names the thing, the rule, the value and the remedy."""

import errno

from ser_lib.core.text import printable

DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Numbers of the errors of a disk that takes no more; they name no file where one that is open is written to."""


class SerError(Exception):
    """Root of every error that ser_lib raises on purpose."""

    def _render_traceback_(self) -> list[str]:
        """Show one line in a notebook instead of a traceback (IPython's hook)."""
        return [f"{type(self).__name__}: {printable(str(self))}"]


class ParameterError(SerError):
    """A parameter is unknown, of the wrong type or out of range."""


class DatasetError(SerError):
    """The corpus is missing, empty, too damaged or too small."""


class AudioError(SerError):
    """One audio file cannot be used; the message is the reason."""


def unusable(called: object, error: AudioError | OSError) -> str:
    """Sentence of a file, by what it is called, that it cannot be used, and why."""
    reason = error.strerror or error if isinstance(error, OSError) else error
    return f"{called} cannot be used: {reason}."


class DamagedAudio(AudioError):
    """A part of a recording cannot be decoded; the first such part begins after `seconds`."""

    def __init__(self, seconds: float) -> None:
        super().__init__(seconds)  # what it is made of again in another process
        self.seconds = seconds

    def __str__(self) -> str:
        """Say where."""
        return f"the file is damaged after {self.seconds:.1f} s"


class MicrophoneError(SerError):
    """There is no microphone that can be heard."""


class StageError(SerError):
    """What an earlier notebook writes is missing or belongs to something else."""


class EncoderError(SerError):
    """The weights of an encoder are missing, damaged, or cannot be had."""


class BundleError(SerError):
    """A trained model and what came with it are missing, damaged or do not fit together."""


class RunError(SerError):
    """A run cannot start, or stopped in one of its notebooks."""


class ExtraError(SerError, ModuleNotFoundError):
    """A package is missing that a light installation leaves out."""


class InstallError(SerError):
    """Packages cannot be installed beside those that are there."""


class ClusterError(SerError):
    """The scheduler cannot be reached, or its workers cannot be used."""
