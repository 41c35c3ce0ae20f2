"""The image size in AV1 data: what its decoder allocates, whatever the file around it says.

Source: AV1 Bitstream & Decoding Process Specification, 5.3 (OBUs) and 5.5 (sequence header).
"""

from __future__ import annotations

_SEQUENCE_HEADER = 1
_MOST_OBUS = 1 << 16


def av1_size(data: bytes) -> tuple[int, int]:
    """The largest (width, height) of the sequence headers in `data`, pixels.

    Args:
        data: OBUs one after another, as in a sample of AVIF.

    Raises:
        ValueError: there is no sequence header, or it is damaged.
    """
    width = height = at = 0
    for _ in range(_MOST_OBUS):
        if at >= len(data):
            break
        kind, extended, sized = data[at] >> 3 & 15, data[at] & 4, data[at] & 2
        at += 2 if extended else 1
        size = len(data) - at
        if sized:
            size, at = _leb128(data, at)
        if kind == _SEQUENCE_HEADER:
            w, h = _sequence(_Bits(data[at : at + min(size, 256)]))
            width, height = max(width, w), max(height, h)
        at += size
    if not width:
        raise ValueError("its image data have no sequence header")
    return width, height


class _Bits:
    """Reads bits, the highest of each byte first."""

    def __init__(self, data: bytes) -> None:
        self._value = int.from_bytes(data, "big")
        self._left = 8 * len(data)

    def take(self, count: int) -> int:
        """The next `count` bits as a number."""
        self._left -= count
        if self._left < 0:
            raise ValueError("its sequence header is cut off")
        return self._value >> self._left & ((1 << count) - 1)

    def skip_uvlc(self) -> None:
        """Pass over a number of variable length."""
        zeros = 0
        while not self.take(1):
            zeros += 1
        self.take(zeros)


def _sequence(bits: _Bits) -> tuple[int, int]:
    bits.take(4)  # profile, still image
    if bits.take(1):  # reduced
        bits.take(5)
    else:
        _operating_points(bits)
    counts = [bits.take(4) + 1 for _ in range(2)]
    width, height = (bits.take(count) + 1 for count in counts)
    return width, height


def _operating_points(bits: _Bits) -> None:
    delay_bits = 0
    if bits.take(1):  # timing info
        bits.take(64)
        if bits.take(1):
            bits.skip_uvlc()
        if bits.take(1):  # decoder model
            delay_bits = bits.take(5) + 1
            bits.take(42)
    initial_delay = bits.take(1)
    for _ in range(bits.take(5) + 1):
        bits.take(12)
        if bits.take(5) > 7:
            bits.take(1)
        if delay_bits and bits.take(1):
            bits.take(2 * delay_bits + 1)
        if initial_delay and bits.take(1):
            bits.take(4)


def _leb128(data: bytes, at: int) -> tuple[int, int]:
    """A number of variable length, and the position behind it."""
    value = 0
    for index, byte in enumerate(data[at : at + 8]):
        value |= (byte & 0x7F) << 7 * index
        if not byte & 0x80:
            return value, at + index + 1
    raise ValueError("its image data are damaged")
