"""Format, size and orientation of an image, read from its header: nothing is decoded.

Each format is read as its decoder reads it, so that no file announces a small image here and a
large one there. Where a file names several sizes, the largest counts.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from ghost_deploy.processing.byte_reader import ByteReader, unpack
from ghost_deploy.processing.file_kind import HEAD_BYTES, image_format
from ghost_deploy.processing.jpeg_header import read_jpeg
from ghost_deploy.processing.tiff_tags import (
    BITS,
    HEIGHT,
    ORIENTATION,
    TILE_HEIGHT,
    TILE_WIDTH,
    WIDTH,
    exif_orientation,
    read_tags,
)

_MOST_CHUNKS = 1 << 18
# Numbers are separated by white space; a comment goes from # to the end of its line.
_PNM_GAP = rb"(?:\s|#[^\r\n]*[\r\n])+"
_PNM_NUMBER = _PNM_GAP + rb"(\d{1,10})(?!\d)"
_PNM_NUMBERS = re.compile(rb"P\d" + _PNM_NUMBER * 2 + rb"(?:" + _PNM_NUMBER + rb")?")


@dataclass(frozen=True)
class ImageHeader:
    """What the header of an image file says.

    Attributes:
        format: as `image_format` names it.
        width, height: pixels as stored; of a TIFF in tiles at least one tile.
        orientation: 1 to 8, as in EXIF; AVIF's own rotation and mirroring in the same form.
        deep: more than 8 bits a channel, or floating point.
        scan_at, plain: of a JPEG, see `JpegHeader`.
    """

    format: str
    width: int
    height: int
    orientation: int = 1
    deep: bool = False
    scan_at: int = 0
    plain: bool = False


def read_header(reader: ByteReader) -> ImageHeader:
    """Read the header of an image.

    Args:
        reader: of the whole file.

    Raises:
        ValueError: the header is damaged or of a format without a reader here; the message is the
            reason, e.g. "it ends in the middle of its header".
    """
    name = image_format(reader.read(0, HEAD_BYTES))
    if not name:
        raise ValueError("it is of no image format that is known here")
    if name not in _READERS:
        raise ValueError(f"{name.upper()} is not read")
    return _READERS[name](reader)


def _jpeg(reader: ByteReader) -> ImageHeader:
    found = read_jpeg(reader)
    return ImageHeader(
        "jpeg",
        found.width,
        found.height,
        found.orientation,
        scan_at=found.scan_at,
        plain=found.plain,
    )


def _png(reader: ByteReader) -> ImageHeader:
    length, kind, width, height, bits = unpack(">I4sIIB", reader, 8)
    if kind != b"IHDR" or length != 13:
        raise ValueError("its first chunk is no IHDR")
    return ImageHeader("png", width, height, _png_orientation(reader), deep=bits > 8)


def _png_orientation(reader: ByteReader) -> int:
    """The orientation in `eXIf`, which may stand anywhere before the end (PNG 3, 11.3.5).

    OpenCV allocates what the length of a chunk says before it reads the chunk: all must be there.
    """
    orientation, at = 1, 33
    for _ in range(_MOST_CHUNKS):
        length, kind = unpack(">I4s", reader, at)
        if not reader.read(at + 11 + length, 1):
            raise ValueError(f"it ends in the middle of a chunk of {length} bytes")
        if kind == b"IEND":
            return orientation
        if kind == b"eXIf":
            orientation = exif_orientation(reader.read(at + 8, min(length, HEAD_BYTES)))
        at += 12 + length
    raise ValueError(f"it has more than {_MOST_CHUNKS} chunks")


def _gif(reader: ByteReader) -> ImageHeader:
    width, height, flags = unpack("<HHB", reader, 6)
    at = 13 + (3 << ((flags & 7) + 1) if flags & 0x80 else 0)
    for _ in range(_MOST_CHUNKS):
        kind = reader.read(at, 1)
        if kind == b"\x2c":  # a frame may be larger than the screen
            w, h = unpack("<HH", reader, at + 5)
            return ImageHeader("gif", max(width, w), max(height, h))
        if kind != b"\x21":
            break
        at += 2
        while (size := reader.read(at, 1)) not in (b"", b"\0"):
            at += 1 + size[0]
        at += 1
    return ImageHeader("gif", width, height)


def _webp(reader: ByteReader) -> ImageHeader:
    """VP8, VP8L and the container VP8X (RFC 9649)."""
    width = height = 0
    orientation, at = 1, 12
    for _ in range(_MOST_CHUNKS):
        head = reader.read(at, 18)
        if len(head) < 18:
            break
        kind, size, body = head[:4], int.from_bytes(head[4:8], "little"), head[8:]
        w = h = 0
        if kind == b"VP8X":
            w, h = (1 + int.from_bytes(body[i : i + 3], "little") for i in (4, 7))
        elif kind == b"VP8 ":
            w, h = (int.from_bytes(body[i : i + 2], "little") & 0x3FFF for i in (6, 8))
        elif kind == b"VP8L":
            bits = int.from_bytes(body[1:5], "little")
            w, h = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
        elif kind == b"EXIF":
            orientation = exif_orientation(reader.read(at + 8, min(size, HEAD_BYTES)))
        width, height = max(width, w), max(height, h)
        at += 8 + size + size % 2
    return ImageHeader("webp", width, height, orientation)


def _bmp(reader: ByteReader) -> ImageHeader:
    (size,) = unpack("<I", reader, 14)
    width, height = unpack("<HH" if size == 12 else "<ii", reader, 18)
    return ImageHeader("bmp", abs(width), abs(height))


def _tiff(reader: ByteReader) -> ImageHeader:
    tags = read_tags(reader)

    def value(tag: int, default: int) -> int:
        return tags[tag].value if tag in tags else default

    width, height = value(WIDTH, 0), value(HEIGHT, 0)
    # A decoder holds whole tiles, also of an image that is smaller.
    if width and height and TILE_WIDTH in tags:
        width, height = max(width, value(TILE_WIDTH, 0)), max(height, value(TILE_HEIGHT, 0))
    orientation = value(ORIENTATION, 1)
    orientation = orientation if 1 <= orientation <= 8 else 1
    return ImageHeader("tiff", width, height, orientation, deep=value(BITS, 1) > 8)


def _pnm(reader: ByteReader) -> ImageHeader:
    head = reader.read(0, HEAD_BYTES)
    if head[:2] == b"P7":
        fields = dict(re.findall(rb"^(WIDTH|HEIGHT|MAXVAL)[ \t]+(\d{1,10})", head, re.MULTILINE))
        numbers = [int(fields.get(name, 0)) for name in (b"WIDTH", b"HEIGHT", b"MAXVAL")]
    else:
        found = _PNM_NUMBERS.match(head)
        numbers = [int(each or 0) for each in found.groups()] if found else [0, 0, 0]
        if head[:2] in (b"P1", b"P4"):  # black and white: the third number is a pixel, if any
            numbers[2] = 1
    return ImageHeader("pnm", numbers[0], numbers[1], deep=numbers[2] > 255)


def _pfm(reader: ByteReader) -> ImageHeader:
    found = re.match(rb"P[Ff]\s+(\d{1,10})\s+(\d{1,10})\s", reader.read(0, HEAD_BYTES))
    width, height = map(int, found.groups()) if found else (0, 0)
    return ImageHeader("pfm", width, height, deep=True)


def _ras(reader: ByteReader) -> ImageHeader:
    width, height = unpack(">II", reader, 4)
    return ImageHeader("ras", width, height)


def _avif(reader: ByteReader) -> ImageHeader:
    from ghost_deploy.processing.iso_header import read_avif

    found = read_avif(reader)
    return ImageHeader("avif", found.width, found.height, found.orientation, found.deep)


def _jp2(reader: ByteReader) -> ImageHeader:
    from ghost_deploy.processing.iso_header import read_jp2

    found = read_jp2(reader)
    return ImageHeader("jp2", found.width, found.height, deep=found.deep)


# The readers of the rarer formats import their modules when they are called.
_READERS: dict[str, Callable[[ByteReader], ImageHeader]] = {
    "jpeg": _jpeg,
    "png": _png,
    "gif": _gif,
    "webp": _webp,
    "bmp": _bmp,
    "tiff": _tiff,
    "pnm": _pnm,
    "pfm": _pfm,
    "ras": _ras,
    "avif": _avif,
    "jp2": _jp2,
    "j2k": _jp2,
}
