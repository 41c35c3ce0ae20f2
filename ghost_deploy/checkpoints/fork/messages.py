"""What the parent and the child that runs a fork's code say to each other.

A message is a head of 20 bytes, a JSON text and raw bytes: `GDF1`, the length of the text (uint64)
and that of the bytes (uint64), little-endian. Nothing is ever unpickled. The child is not trusted:
the parent limits both lengths before it reads, reads the text strictly into the types below and
checks that an array has the bytes that its shape says.
"""

from __future__ import annotations

import math
import os
import select
import struct
import time
from typing import TypeAlias

import msgspec

_HEAD = struct.Struct("<4sQQ")
_MAGIC = b"GDF1"
MAX_TEXT = 4 << 20
_CHUNK = 1 << 20


class MessageError(Exception):
    """A message that is none, exceeds a limit, did not come in time, or an end without one."""


class LoadRequest(msgspec.Struct, tag="load", frozen=True, kw_only=True):
    """Load the checkpoint in the bytes of the message.

    Attributes:
        classes: number of classes, 0 if unknown.
        size_hw: (height, width) that it was trained at, pixels.
        imports: files whose classes stand in for those that cannot be imported.
    """

    classes: int
    size_hw: tuple[int, int]
    imports: tuple[str, ...] = ()


class RunRequest(msgspec.Struct, tag="run", frozen=True, kw_only=True):
    """Run the network on the array in the bytes, (B, 3, H, W) of `dtype`."""

    shape: tuple[int, int, int, int]
    dtype: str


class TraceRequest(msgspec.Struct, tag="trace", frozen=True, kw_only=True):
    """Export the network to ONNX; `spec` is the JSON form of the `ModelSpec` of the export."""

    spec: str


class LoadReply(
    msgspec.Struct, tag="loaded", frozen=True, kw_only=True, forbid_unknown_fields=True
):
    """What was loaded.

    Attributes:
        class_path: `module.Class` of the network.
        names: class names as the network has them; empty if it has none.
        strides: of the levels of the head, pixels per cell.
        parameters: number of weights.
        size_hw: (height, width) of the trial run, pixels: that of the request, rounded up to what
            the strides need.
        output: shape of the raw output at that size.
        form: `v8`, `one2one` or `v5`, see `RawOutput`.
        anchor_sizes: (width, height) in pixels of each anchor of each level; empty if the head has
            none.
        files: Python files of the fork that were imported, absolute paths.
        absent: packages that are not installed and that stand-ins took the place of.
        versions: of Python and of packages that were imported.
    """

    class_path: str
    names: tuple[str, ...]
    strides: tuple[int, ...]
    parameters: int
    size_hw: tuple[int, int]
    output: tuple[int, int, int]
    form: str
    anchor_sizes: tuple[tuple[tuple[float, float], ...], ...]
    files: tuple[str, ...]
    absent: tuple[str, ...]
    versions: dict[str, str]


class ArrayReply(
    msgspec.Struct, tag="array", frozen=True, kw_only=True, forbid_unknown_fields=True
):
    """The raw output, of `dtype`, in the bytes of the message."""

    shape: tuple[int, ...]
    dtype: str


class GraphReply(
    msgspec.Struct, tag="graph", frozen=True, kw_only=True, forbid_unknown_fields=True
):
    """The ONNX graph in the bytes of the message."""


class FailureReply(
    msgspec.Struct, tag="failure", frozen=True, kw_only=True, forbid_unknown_fields=True
):
    """The request failed.

    Attributes:
        step: `confine` if the child could not be confined, else what failed.
        what: the error in a sentence. fix: the next step for the user; may be empty.
    """

    step: str
    what: str
    fix: str = ""


ForkRequest: TypeAlias = "LoadRequest | RunRequest | TraceRequest"
ForkReply: TypeAlias = "LoadReply | ArrayReply | GraphReply | FailureReply"

_requests = msgspec.json.Decoder(LoadRequest | RunRequest | TraceRequest)
_replies = msgspec.json.Decoder(LoadReply | ArrayReply | GraphReply | FailureReply)


def write_message(file: int, message: ForkRequest | ForkReply, data: bytes | memoryview) -> None:
    """Write a message to a file descriptor.

    Raises:
        OSError: the other side has ended.
    """
    text = msgspec.json.encode(message)
    for part in (_HEAD.pack(_MAGIC, len(text), len(data)), text, data):
        rest = memoryview(part)
        while rest:
            rest = rest[os.write(file, rest[:_CHUNK]) :]


def read_request(file: int) -> tuple[ForkRequest, bytes] | None:
    """The next request; None when the parent has closed its end."""
    try:
        text, data = _read(file, 1 << 40, None)
    except MessageError:
        return None
    return _requests.decode(text), data


def read_reply(file: int, most_bytes: int, limit_s: float) -> tuple[ForkReply, bytes]:
    """The next reply of a child that is not trusted.

    Args:
        file: descriptor to read from.
        most_bytes: largest number of raw bytes.
        limit_s: time for the whole message, seconds.

    Raises:
        MessageError: as its class says.
    """
    text, data = _read(file, most_bytes, time.monotonic() + limit_s)
    try:
        return _replies.decode(text), data
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise MessageError(f"its answer is not of the known form: {error:.200}") from error


def read_line(file: int, limit_s: float) -> bytes:
    """The first line, with its end, at most 1024 bytes.

    Raises:
        MessageError: it did not come in time, or is longer.
    """
    line, end_s = b"", time.monotonic() + limit_s
    while not line.endswith(b"\n"):
        line += _exactly(file, 1, end_s)
        if len(line) > 1024:
            raise MessageError("it does not answer in the known form")
    return line


def array_bytes(shape: tuple[int, ...], dtype: str) -> int:
    """Bytes of an array.

    Raises:
        MessageError: a dimension below 1, or another type than float32 and float64.
    """
    if dtype not in ("float32", "float64") or any(side < 1 for side in shape):
        raise MessageError(f"its answer is an array of {dtype:.20} and shape {shape!s:.80}")
    return math.prod(shape) * (4 if dtype == "float32" else 8)


def _read(file: int, most_bytes: int, end_s: float | None) -> tuple[bytes, bytes]:
    magic, text_length, length = _HEAD.unpack(_exactly(file, _HEAD.size, end_s))
    if magic != _MAGIC or text_length > MAX_TEXT:
        raise MessageError("its answer is not of the known form")
    if length > most_bytes:
        raise MessageError(f"its answer has {length} bytes, at most {most_bytes} are read")
    return _exactly(file, text_length, end_s), _exactly(file, length, end_s)


def _exactly(file: int, count: int, end_s: float | None) -> bytes:
    data = bytearray()
    while len(data) < count:
        if end_s is not None:
            left_s = end_s - time.monotonic()
            if left_s <= 0 or not _readable(file, left_s):
                raise MessageError("it did not answer in time")
        piece = os.read(file, min(_CHUNK, count - len(data)))
        if not piece:
            raise MessageError("it ended without an answer")
        data += piece
    return bytes(data)


def _readable(file: int, limit_s: float) -> bool:
    waiting = select.poll()
    waiting.register(file, select.POLLIN)
    return bool(waiting.poll(limit_s * 1000))
