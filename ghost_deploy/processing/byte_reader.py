"""Random access to the bytes of a file, in memory or not, for the readers of headers."""

from __future__ import annotations

import os
import struct
from typing import Any, Protocol


class ByteReader(Protocol):
    """Bytes at a position."""

    def read(self, at: int, size: int) -> bytes:
        """`size` bytes from position `at`; fewer where the file ends."""


class MemoryBytes:
    """Bytes in memory."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def read(self, at: int, size: int) -> bytes:
        """See `ByteReader`."""
        return self._data[at : at + size]


class FileBytes:
    """Bytes of an open file, read when they are asked for."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def read(self, at: int, size: int) -> bytes:
        """See `ByteReader`."""
        # A position beyond what the system can address is beyond every file.
        return os.pread(self._descriptor, size, at) if at < 1 << 62 else b""


def unpack(form: str, reader: ByteReader, at: int) -> tuple[Any, ...]:
    """The values of `form`, see `struct`, at position `at`.

    Raises:
        ValueError: the file ends before.
    """
    try:
        return struct.unpack(form, reader.read(at, struct.calcsize(form)))
    except struct.error as error:
        raise ValueError("it ends in the middle of its header") from error
