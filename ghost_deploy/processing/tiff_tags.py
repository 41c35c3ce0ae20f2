"""The first directory of a TIFF, which is also the form of EXIF (TIFF 6.0; BigTIFF; EXIF 2.3)."""

from __future__ import annotations

from dataclasses import dataclass

from ghost_deploy.processing.byte_reader import ByteReader, MemoryBytes, unpack

WIDTH, HEIGHT, BITS, ORIENTATION = 256, 257, 258, 274
TILE_WIDTH, TILE_HEIGHT = 322, 323
EXTRA_SAMPLES = 338

# struct's letter of the whole numbers among the types: BYTE, SHORT, LONG, LONG8.
_WHOLE = {1: "B", 3: "H", 4: "I", 16: "Q"}
_MOST_TAGS = 4096


@dataclass(frozen=True)
class TiffTag:
    """The first value of a tag, and where it stands.

    Attributes:
        value: the number.
        at: position of the value in the file, bytes.
        form: its form, see `struct`.
    """

    value: int
    at: int
    form: str


def read_tags(reader: ByteReader) -> dict[int, TiffTag]:
    """The tags of the first directory that hold whole numbers, by their id.

    Raises:
        ValueError: it is no TIFF, or ends before its directory does.
    """
    order = {b"II": "<", b"MM": ">"}.get(reader.read(0, 2))
    if order is None:
        raise ValueError("it has no TIFF header")
    big = unpack(f"{order}H", reader, 2)[0] == 43
    (start,) = unpack(f"{order}Q", reader, 8) if big else unpack(f"{order}I", reader, 4)
    (count,) = unpack(f"{order}{'Q' if big else 'H'}", reader, start)
    head, entry, inline = (8, 20, 8) if big else (2, 12, 4)
    tags: dict[int, TiffTag] = {}
    for index in range(min(count, _MOST_TAGS)):
        at = start + head + index * entry
        tag, kind, values = unpack(f"{order}HH{'Q' if big else 'I'}", reader, at)
        if kind not in _WHOLE or not values:
            continue
        form = order + _WHOLE[kind]
        place = at + entry - inline
        if values * {"B": 1, "H": 2, "I": 4, "Q": 8}[_WHOLE[kind]] > inline:
            (place,) = unpack(f"{order}{'Q' if big else 'I'}", reader, place)
        tags.setdefault(tag, TiffTag(unpack(form, reader, place)[0], place, form))
    return tags


def exif_orientation(block: bytes) -> int:
    """The orientation, 1 to 8, in an EXIF block; 1 where there is none or it is damaged.

    Args:
        block: with or without the leading `Exif` and its two zeros.
    """
    block = block[6:] if block.startswith(b"Exif\0\0") else block
    try:
        tag = read_tags(MemoryBytes(block)).get(ORIENTATION)
    except ValueError:
        return 1
    return tag.value if tag and 1 <= tag.value <= 8 else 1
