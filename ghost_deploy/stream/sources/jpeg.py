"""Find whole JPEG images in a stream of bytes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ghost_deploy.core.errors import ImageError

_START = b"\xff\xd8\xff"
_MOST_BYTES = 64 << 20
_HEADER_BYTES = 2048
# In entropy-coded data a 0xFF is stuffing (00), a restart (D0 to D7) or fill (FF); all else ends
# it (ITU-T T.81, B.1.1.5).
_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
_EOI, _SOI, _SOS = 0xD9, 0xD8, 0xDA
_LENGTH = re.compile(rb"content-length:[ \t]*(\d{1,9})", re.IGNORECASE)


class JpegSplitter:
    """Splits a stream into JPEG images: multipart as HTTP cameras send it, or one after another.

    An image is followed segment by segment from its start marker to its own end marker, so that
    boundaries and declared lengths need not be trusted. One that is cut off by the start of the
    next, or whose declared length differs, becomes None: it was sent, and is broken.
    """

    def __init__(self) -> None:
        self._data = bytearray()
        self._start = -1  # of the image that is being parsed
        self._at = 0  # how far it has been parsed
        self._in_scan = False

    @property
    def pending(self) -> bool:
        """Whether the start of an image has come and not its end."""
        return self._start >= 0

    def feed(self, data: bytes) -> Iterator[bytes | None]:
        """The images that `data` completes, in order; None for a broken one."""
        self._data += data
        while True:
            if self._start < 0 and not self._find_start():
                return
            end = self._parse()
            if end is None:
                if len(self._data) - self._start <= _MOST_BYTES:
                    return
                end = -len(self._data)
            whole = end > 0 and self._has_declared_length(end)
            yield bytes(self._data[self._start : end]) if whole else None
            del self._data[: abs(end)]
            self._start = -1

    def _find_start(self) -> bool:
        start = self._data.find(_START)
        if start < 0:
            del self._data[:-_HEADER_BYTES]
            return False
        self._start, self._at, self._in_scan = start, start + 2, False
        return True

    def _parse(self) -> int | None:
        """The end of the image; -N if it is broken and N bytes must be skipped; None if more bytes
        are needed."""
        data = self._data
        while True:
            if self._in_scan:
                found = _MARKER.search(data, self._at)
                if found is None:
                    # The last byte may be the first half of a marker.
                    self._at = max(self._at, len(data) - 1)
                    return None
                self._at, self._in_scan = found.start(), False
            if self._at + 4 > len(data) and data[self._at : self._at + 2] != b"\xff\xd9":
                return None
            lead, marker = data[self._at], data[self._at + 1]
            if marker == _EOI and lead == 0xFF:
                return self._at + 2
            if lead != 0xFF or marker in {0x00, _SOI}:
                return -self._at  # no segment starts here
            if marker == 0xFF:  # fill byte
                self._at += 1
                continue
            length = int.from_bytes(data[self._at + 2 : self._at + 4], "big")
            if length < 2:
                return -(self._at + 2)
            self._at += 2 + length
            self._in_scan = marker == _SOS

    def _has_declared_length(self, end: int) -> bool:
        header = self._data[max(0, self._start - _HEADER_BYTES) : self._start]
        found = _LENGTH.findall(bytes(header))
        # Some cameras count the line break that follows the image.
        return not found or 0 <= int(found[-1]) - (end - self._start) <= 2


def decode_jpeg(data: bytes) -> NDArray[np.uint8]:
    """Decode a whole JPEG into (H, W, 3) uint8 BGR.

    Raises:
        ImageError: it does not decode.
    """
    try:
        image: Any = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error:
        image = None
    if image is None:
        raise ImageError(
            "a JPEG image of the stream does not decode",
            got=f"{len(data)} bytes",
            fix="It is left out; if there are many, check the camera and its network",
        )
    result: NDArray[np.uint8] = image
    return result
