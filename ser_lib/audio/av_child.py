"""The decoder's own process: PyAV decodes here, so that a file that crashes it costs that file alone.

What soundfile might print of a file, it prints here, where nobody sees it.

`decode.py` starts it. A request is a line of JSON on standard input; answers on standard output are lines of JSON, each
of which may announce bytes of samples that follow. It ends with standard input.
"""

import io
import itertools
import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import av

_BYTES = 4
"""Of a sample, as 32 bit floating point."""


class _Seekable(io.FileIO):
    """A file that answers an impossible seek, which a damaged file may cause, as ffmpeg expects."""

    def seek(self, offset: int, whence: int = 0) -> int:
        try:
            return super().seek(offset, whence)
        except OSError:
            return -1


def main() -> None:
    """Answer requests until there are no more."""
    with os.fdopen(os.dup(1), "wb") as answers:
        os.dup2(2, 1)  # what a library prints must not get among the answers

        def send(answer: dict, samples: bytes = b"") -> None:
            answers.write(json.dumps(answer | {"bytes": len(samples)}).encode() + b"\n" + samples)
            answers.flush()

        for line in sys.stdin.buffer:
            request = json.loads(line)
            try:
                send(_decode_by[request["by"]](request["path"], request["block"], send))
            except BrokenPipeError:
                return
            except (av.error.FFmpegError, ValueError):
                send({"error": "the file cannot be decoded as audio"})
            except OSError as error:
                send({"errno": error.errno})


def _read(path: str, step: int | None, send: Callable) -> dict:
    """Send what soundfile decodes; the last answer says whether it refused to open the file, or to go on."""
    from ser_lib.audio.sound_file import GivesUpError, NotOpenedError, soundfile_blocks

    try:
        for block, rate in soundfile_blocks(Path(path), step):
            send({"rate": rate, "channels": block.shape[1]}, block.tobytes())
    except NotOpenedError:
        return {"refused": None}
    except GivesUpError as error:
        return {"refused": error.sampling_rate}
    return {"end": True}


def _decode(path: str, block: int, send: Callable) -> dict:
    """Send the samples of a file in blocks; the last answer says after how many something was damaged."""
    # a playlist must open no other file, nor wait for what a broadcast adds to it: no protocol is allowed, and only
    # what is open already is read
    limits = {"protocol_whitelist": "none"}  # of the container: for streams that come later (flv) PyAV 14 to 17 crash
    with _Seekable(path) as file, av.open(file, "r", container_options=limits, metadata_errors="ignore") as container:
        if not container.streams.audio:
            return {"error": "the file has no audio track"}
        known = [stream for stream in container.streams.audio if stream.codec_context is not None and stream.rate]
        if not known:  # only codecs that PyAV does not know
            return {"error": "the file cannot be decoded as audio"}
        return _convert(container, known[0], block, send)


def _convert(container: av.container.InputContainer, stream: av.AudioStream, block: int, send: Callable) -> dict:
    layout = stream.layout  # kept while the stream is used: what it points to is freed with it
    if " (" in layout.name:  # an order of channels of its own, which PyAV frees twice with each frame
        stream.codec_context.layout = f"{layout.nb_channels} channels"
    n_channels = layout.nb_channels
    send({"rate": stream.rate, "channels": n_channels})
    # packed: PyAV reads beyond the end of planar frames with eight channels or more
    resampler = av.AudioResampler(format="flt", layout=stream.codec_context.layout.name, rate=stream.rate)
    kept, n_kept, n_samples, damaged = [], 0, 0, None
    for frame in itertools.chain(_frames(container, stream), [None]):  # None at the end: what the resampler still has
        try:
            if isinstance(frame, Exception):
                raise frame
            parts = [part for part in resampler.resample(frame) if part is not None]
        except (av.error.FFmpegError, ValueError):
            damaged = n_samples if damaged is None else damaged
            continue
        for part in parts:
            kept.append(bytes(part.planes[0])[: part.samples * n_channels * _BYTES])
            n_kept += part.samples
            n_samples += part.samples
        if n_kept * n_channels >= block:
            send({}, b"".join(kept))
            kept, n_kept = [], 0
    if kept:
        send({}, b"".join(kept))
    if damaged is not None and n_samples == 0:
        return {"error": "the file cannot be decoded as audio"}
    return {"end": True, "damaged": damaged}


def _frames(container: av.container.InputContainer, stream: av.AudioStream) -> Iterator[av.AudioFrame | Exception]:
    """Frames of a stream, or the error in place of what cannot be decoded."""
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
            if packet is None:
                return
            yield from packet.decode()
        except av.error.FFmpegError as error:
            yield error


_decode_by = {"av": _decode, "soundfile": _read}

if __name__ == "__main__":
    main()
