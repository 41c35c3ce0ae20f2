"""Size, depth and rotation of AVIF and JPEG 2000, whose files are made of boxes.

Sources: ISO/IEC 14496-12 (boxes), 23008-12 (`ispe`, `pixi`, `irot`, `imir`), 15444-1 (`SIZ`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ghost_deploy.processing.avif_items import AvifItems
from ghost_deploy.processing.byte_reader import ByteReader, unpack

_MOST_BOXES = 1 << 14
_CONTAINERS = frozenset(
    (b"meta", b"iinf", b"iprp", b"ipco", b"moov", b"trak", b"mdia", b"minf", b"stbl")
)
# By quarter turns counter-clockwise and the axis of the mirror that follows: 0 is upside down,
# 1 is left to right, None is without.
_ORIENTATIONS = {
    (0, None): 1,
    (0, 1): 2,
    (2, 0): 2,
    (2, None): 3,
    (0, 0): 4,
    (2, 1): 4,
    (1, 0): 5,
    (3, 1): 5,
    (3, None): 6,
    (1, 1): 7,
    (3, 0): 7,
    (1, None): 8,
}


@dataclass(frozen=True)
class BoxedHeader:
    """Size in pixels, orientation as in EXIF, and whether there are more than 8 bits a channel."""

    width: int
    height: int
    orientation: int = 1
    deep: bool = False


def read_avif(reader: ByteReader) -> BoxedHeader:
    """The largest size that an AVIF names, and the rotation and mirroring of its image.

    Raises:
        ValueError: it names no size.
    """
    width = height = turns = bits = 0
    axis: int | None = None
    items = AvifItems()
    for kind, at, size in _boxes(reader, 0, 1 << 62, depth=0):
        w = h = 0
        if kind == b"ispe":
            w, h = unpack(">II", reader, at + 4)
        elif kind == b"stsd":  # of a sequence: one entry, whose size stands at a fixed place
            w, h = unpack(">HH", reader, at + 8 + 32)
        elif kind == b"irot":
            turns = unpack(">B", reader, at)[0] & 3
        elif kind == b"imir":
            axis = unpack(">B", reader, at)[0] & 1
        elif kind == b"pixi":
            bits = max(bits, *reader.read(at + 5, min(size - 5, 4)), 0)
        elif kind == b"av1C":
            flags = unpack(">B", reader, at + 2)[0]
            bits = max(bits, 10 if flags & 0x40 else 8)
        items.add(reader, kind, at)
        width, height = max(width, w), max(height, h)
    # What the decoder allocates does not come from the description.
    for w, h in items.sizes(reader):
        width, height = max(width, w), max(height, h)
    if not width or not height:
        raise ValueError("it names no size")
    return BoxedHeader(width, height, _ORIENTATIONS[turns, axis], bits > 8)


def read_jp2(reader: ByteReader) -> BoxedHeader:
    """The size of a JPEG 2000 file or codestream.

    Raises:
        ValueError: there is no codestream.
    """
    at = 0
    if reader.read(0, 2) != b"\xff\x4f":
        boxes = _boxes(reader, 0, 1 << 62, depth=0)
        at = next((start for kind, start, _ in boxes if kind == b"jp2c"), -1)
    if at < 0 or reader.read(at, 4) != b"\xff\x4f\xff\x51":
        raise ValueError("it has no codestream")
    x1, y1, x0, y0 = unpack(">IIII", reader, at + 8)
    count, bits = unpack(">HB", reader, at + 40)
    if x1 <= x0 or y1 <= y0 or not count:
        raise ValueError("its size is no size")
    return BoxedHeader(x1 - x0, y1 - y0, deep=(bits & 0x7F) + 1 > 8)


def _boxes(reader: ByteReader, at: int, end: int, depth: int) -> Iterator[tuple[bytes, int, int]]:
    """Kind, start and size of the content of each box, also of those in the containers."""
    for _ in range(_MOST_BOXES):
        head = reader.read(at, 16)
        if len(head) < 8 or at >= end:
            return
        size, kind, skip = int.from_bytes(head[:4], "big"), head[4:8], 8
        if size == 1:
            size, skip = int.from_bytes(head[8:16], "big"), 16
        stop = min(at + size, end) if size else end
        if stop < at + skip:
            return
        yield kind, at + skip, stop - at - skip
        if kind in _CONTAINERS and depth < 8:
            # Version and flags come first, in `iinf` also a count.
            full = 4 if kind in (b"meta", b"iinf") else 0
            if kind == b"iinf":
                full += 2 if reader.read(at + skip, 1) == b"\0" else 4
            yield from _boxes(reader, at + skip + full, stop, depth + 1)
        at = stop
