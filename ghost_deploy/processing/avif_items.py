"""Where the images of an AVIF are in the file (ISO/IEC 14496-12, 8.11: `iloc`, `infe`, `idat`)."""

from __future__ import annotations

from dataclasses import dataclass, field

from ghost_deploy.processing.av1_header import av1_size
from ghost_deploy.processing.byte_reader import ByteReader, unpack

_MOST_ITEMS = 4096
_IN_IDAT = 1


@dataclass
class AvifItems:
    """The items of an AVIF, collected box by box.

    Attributes:
        kinds: by item, e.g. `av01`.
        places: by item, whether it is in `idat`, and position and size of its parts.
        idat: position of the data inside the description.
        chunks: positions of the first samples of a sequence.
    """

    kinds: dict[int, bytes] = field(default_factory=dict)
    places: dict[int, tuple[bool, list[tuple[int, int]]]] = field(default_factory=dict)
    idat: int = 0
    chunks: list[int] = field(default_factory=list)

    def add(self, reader: ByteReader, kind: bytes, at: int) -> None:
        """Read a box, if it says something about items; `at` is where its content starts."""
        if kind == b"infe":
            self.add_kind(reader, at)
        elif kind == b"iloc":
            self.add_places(reader, at)
        elif kind == b"idat":
            self.idat = at
        elif kind in (b"stco", b"co64"):
            self.chunks += unpack(">I" if kind == b"stco" else ">Q", reader, at + 8)

    def add_kind(self, reader: ByteReader, at: int) -> None:
        """Read an `infe`."""
        version = unpack(">B", reader, at)[0]
        item, _, kind = unpack(">IH4s" if version > 2 else ">HH4s", reader, at + 4)
        self.kinds[item] = kind

    def add_places(self, reader: ByteReader, at: int) -> None:
        """Read an `iloc`."""
        version, sizes = unpack(">B3xH", reader, at)
        # Bytes of an offset, a length, a base and an index; then of an item's id and their count.
        offset, length, base, index = (sizes >> shift & 15 for shift in (12, 8, 4, 0))
        wide = 4 if version == 2 else 2
        count, at = _number(reader, at + 6, wide)
        for _ in range(min(count, _MOST_ITEMS)):
            item, at = _number(reader, at, wide)
            method, at = _number(reader, at, 2 if version else 0)
            start, at = _number(reader, at + 2, base)
            extents, at = _number(reader, at, 2)
            parts = []
            for _ in range(min(extents, _MOST_ITEMS)):
                at += index if version else 0
                place, at = _number(reader, at, offset)
                size, at = _number(reader, at, length)
                parts.append((start + place, size or 1 << 40))
            self.places[item] = method & 15 == _IN_IDAT, parts

    def sizes(self, reader: ByteReader) -> list[tuple[int, int]]:
        """(width, height) of each coded image and of each grid of images, pixels.

        Raises:
            ValueError: the data of an image are damaged.
        """
        found = []
        for item, kind in self.kinds.items():
            inside, parts = self.places.get(item, (False, []))
            shift = self.idat if inside else 0
            data = b"".join(reader.read(shift + at, size) for at, size in parts)
            if kind == b"av01":
                found.append(av1_size(data))
            elif kind == b"grid":
                wide = data[1:2] == b"\1"
                side = 4 if wide else 2
                found.append(
                    (
                        int.from_bytes(data[4 : 4 + side], "big"),
                        int.from_bytes(data[4 + side : 4 + 2 * side], "big"),
                    )
                )
        return found + [av1_size(reader.read(at, 1 << 40)) for at in self.chunks]


def _number(reader: ByteReader, at: int, size: int) -> tuple[int, int]:
    """A number of `size` bytes, and the position behind it."""
    data = reader.read(at, size)
    if len(data) < size:
        raise ValueError("it ends in the middle of its header")
    return int.from_bytes(data, "big"), at + size
