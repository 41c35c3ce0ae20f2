"""Size and orientation of a JPEG, from the segments before its first scan (ITU-T T.81, annex B)."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ghost_deploy.processing.byte_reader import ByteReader, unpack
from ghost_deploy.processing.tiff_tags import exif_orientation

# As libjpeg does, what stands between two segments is passed over.
_MARKER = re.compile(rb"\xff+([^\x00\xff])", re.DOTALL)
_SOI, _EOI, _SOS, _APP1 = 0xD8, 0xD9, 0xDA, 0xE1
# SOF0 to SOF15 without DHT, JPG and DAC, which have codes among them.
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_SEQUENTIAL = frozenset((0xC0, 0xC1))
_WITHOUT_LENGTH = frozenset((0x01, *range(0xD0, 0xD8)))
_WINDOW = 4096
_MOST_SEGMENTS = 1 << 14
_MOST_PADDING = 1 << 24


@dataclass(frozen=True)
class JpegHeader:
    """What stands before the image data.

    Attributes:
        width, height: pixels as stored.
        orientation: of EXIF, 1 to 8.
        scan_at: where the data of the first scan begin.
        plain: one scan holds whole blocks one after another, in grey or YCbCr: blocks that are
            missing at the end are decoded as grey, 128.
    """

    width: int
    height: int
    orientation: int
    scan_at: int
    plain: bool


def read_jpeg(reader: ByteReader) -> JpegHeader:
    """Read the segments up to the first scan.

    Raises:
        ValueError: there is no scan, no frame, or two of them.
    """
    size: tuple[int, int] | None = None
    orientation, at, plain = 0, 2, False
    for _ in range(_MOST_SEGMENTS):
        marker, at = _next_marker(reader, at)
        if marker in _WITHOUT_LENGTH:
            continue
        if marker in (_SOI, _EOI):
            break
        (length,) = unpack(">H", reader, at)
        if length < 2:
            break
        if marker in _FRAMES:
            if size is not None:
                raise ValueError("it has two frame headers")
            height, width, components = unpack(">HHB", reader, at + 3)
            plain = marker in _SEQUENTIAL and components in (1, 3)
            size = width, height
        elif marker == _APP1 and not orientation:
            block = reader.read(at + 2, length - 2)
            orientation = exif_orientation(block) if block.startswith(b"Exif\0\0") else 0
        at += length
        if marker == _SOS:
            if size is None:
                break
            return JpegHeader(*size, orientation or 1, at, plain)
    raise ValueError("it has no image data")


def _next_marker(reader: ByteReader, at: int) -> tuple[int, int]:
    """The next marker from position `at`, and the position behind it."""
    limit = at + _MOST_PADDING
    while at < limit:
        window = reader.read(at, _WINDOW)
        found = _MARKER.search(window)
        if found:
            return found[1][0], at + found.end()
        if len(window) < _WINDOW:
            raise ValueError("it ends before its image data")
        at += _WINDOW - 1  # the last byte may begin a marker
    raise ValueError("it has no image data")


def has_end(data: bytes, scan_at: int) -> bool:
    """Whether the end marker comes after the first scan began.

    It cannot occur inside the data of a scan, where a byte 0xFF is followed by 0x00.

    Args:
        data: the whole JPEG.
        scan_at: see `JpegHeader`.
    """
    return data.endswith(b"\xff\xd9") or data.rfind(b"\xff\xd9", scan_at) >= 0
