"""Find whole JPEG images in a stream of bytes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ghost_deploy.processing.decode_image import decode_image

_START = b"\xff\xd8\xff"
_MOST_BYTES = 64 << 20
_HEADER_BYTES = 2048
# In entropy-coded data a 0xFF is stuffing (00), a restart (D0 to D7) or fill (FF); all else ends
# it (ITU-T T.81, B.1.1.5).
_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
_EOI, _SOI, _SOS = 0xD9, 0xD8, 0xDA
_LENGTH = re.compile(rb"content-length:[ \t]*(\d{1,9})", re.IGNORECASE)
_BOUNDARY = re.compile(rb"(?:^|\n)(--[^\r\n]{1,200})\r?\n")


@dataclass(frozen=True)
class _End:
    """Where an image ends, in bytes of what was received; None in place of a broken one."""

    at: int
    image: bytes | None


class JpegSplitter:
    """Splits a stream into JPEG images: multipart as HTTP cameras send it, or one after another.

    An image is followed segment by segment from its start marker to its own end marker. What a
    longer declared length leaves after that is padding. One without an end marker ends at the
    boundary of its part or at its declared length; it is whole if it has that length, or, where
    none is declared, if the camera sends no end markers at all. All others that are cut off become
    None: they were sent, and are broken.
    """

    def __init__(self) -> None:
        self._data = bytearray()
        self._start = -1  # of the image that is being parsed
        self._at = 0  # how far it has been parsed
        self._in_scan = False
        self._declared: int | None = None  # length of the image
        self._boundary = b""
        self._padding = 0  # bytes to pass over, at most up to a boundary
        self._has_end_markers: bool | None = None  # by the images so far

    @property
    def pending(self) -> bool:
        """Whether the start of an image has come and not its end."""
        return self._start >= 0

    def feed(self, data: bytes) -> Iterator[bytes | None]:
        """The images that `data` completes, in order; None for a broken one."""
        self._data += data
        while self._skip_padding() and (self._start >= 0 or self._find_start()):
            end = self._parse()
            if end is None:
                if len(self._data) - self._start <= _MOST_BYTES:
                    return
                end = _End(len(self._data), None)
            yield end.image
            del self._data[: end.at]
            self._start = -1

    def _skip_padding(self) -> bool:
        """Whether the padding is over; a part that follows sooner than declared ends it."""
        if not self._padding:
            return True
        at = self._data.find(self._boundary, 0, self._padding + len(self._boundary))
        # The last bytes may be the first of a boundary.
        known = max(0, len(self._data) - len(self._boundary) + 1)
        count = at if at >= 0 else min(self._padding, known)
        del self._data[:count]
        self._padding = 0 if at >= 0 else self._padding - count
        return not self._padding

    def _find_start(self) -> bool:
        start = self._data.find(_START)
        if start < 0:
            del self._data[:-_HEADER_BYTES]
            return False
        self._start, self._at, self._in_scan = start, start + 2, False
        header = bytes(self._data[max(0, start - _HEADER_BYTES) : start])
        lengths, boundaries = _LENGTH.findall(header), _BOUNDARY.findall(header)
        self._declared = int(lengths[-1]) if lengths else None
        self._boundary = boundaries[-1] if boundaries else self._boundary
        return True

    def _parse(self) -> _End | None:
        """Follow the image to its end; None if more bytes are needed."""
        data = self._data
        while True:
            if self._in_scan:
                found = _MARKER.search(data, self._at)
                if end := self._unmarked_end(found.start() if found else len(data)):
                    return end
                if found is None:
                    # The last bytes may be the first half of a marker or of a boundary.
                    self._at = max(self._at, len(data) - max(1, len(self._boundary)))
                    return None
                self._at, self._in_scan = found.start(), False
            if self._at + 4 > len(data) and data[self._at : self._at + 2] != b"\xff\xd9":
                return None
            lead, marker = data[self._at], data[self._at + 1]
            if marker == _EOI and lead == 0xFF:
                return self._marked_end(self._at + 2)
            if lead != 0xFF or marker in {0x00, _SOI}:
                return _End(self._at, None)  # no segment starts here
            if marker == 0xFF:  # fill byte
                self._at += 1
                continue
            length = int.from_bytes(data[self._at + 2 : self._at + 4], "big")
            if length < 2:
                return _End(self._at + 2, None)
            self._at += 2 + length
            self._in_scan = marker == _SOS

    def _marked_end(self, at: int) -> _End:
        self._has_end_markers = True
        size = at - self._start
        if self._declared is not None and self._boundary:
            self._padding = max(0, self._declared - size)
        return _End(at, bytes(self._data[self._start : at]))

    def _unmarked_end(self, before: int) -> _End | None:
        """The end of an image of which only entropy-coded data have come up to `before`."""
        at = self._data.find(self._boundary, self._at, before) if self._boundary else -1
        if at < 0:
            at = self._declared_end(before)
        if at < 0:
            return None
        image = bytes(self._data[self._start : at]).removesuffix(b"\n").removesuffix(b"\r")
        if self._declared is None:
            whole = not self._has_end_markers
        else:
            whole = self._has_declared(at - self._start)
        if whole and self._has_end_markers is None:
            self._has_end_markers = False
        return _End(at, image + b"\xff\xd9" if whole else None)

    def _declared_end(self, before: int) -> int:
        """Where an image ends of which just the declared length has come; -1 elsewhere.

        The boundary may come with the next image only, which would make this one old.
        """
        if before < len(self._data) or self._has_end_markers is not False:
            return -1
        size = len(self._data) - self._start
        return before if self._declared is not None and 0 <= size - self._declared <= 2 else -1

    def _has_declared(self, size: int) -> bool:
        # A line break follows the image; some cameras count it.
        return self._declared is not None and 0 <= size - self._declared + 2 <= 4


def decode_jpeg(data: bytes) -> NDArray[np.uint8]:
    """Decode a whole JPEG into (H, W, 3) uint8 BGR, as image files are.

    Raises:
        ImageError: it does not decode, or is larger than the limit.
    """
    return decode_image(data, "a JPEG image of the stream")
