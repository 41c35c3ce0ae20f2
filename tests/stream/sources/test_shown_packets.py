"""Packets that are no frame of their own."""

from __future__ import annotations

import pytest

from ghost_deploy.stream.sources.shown_packets import is_counted, is_frame

VP8_KEY = b"\x9d\x01\x2a\x40\x01\xf0\x00"
PACKETS = {
    "one byte": ("vp8", b"\x11", True),
    "VP8, wiped": ("vp8", bytes(30), True),
    "VP8, a shown key frame": ("vp8", b"\x10\x02\x00" + VP8_KEY, True),
    "VP8, a hidden key frame": ("vp8", b"\x00\x02\x00" + VP8_KEY, False),
    "VP8, shown": ("vp8", b"\x31\x02\x00", True),
    "VP8, hidden": ("libvpx", b"\x21\x02\x00", False),
    "VP9, wiped": ("vp9", bytes(30), True),
    "VP9, shown": ("vp9", b"\x86\x00\x00", True),
    "VP9, hidden": ("libvpx-vp9", b"\x84\x00\x00", False),
    "VP9, shows an existing one": ("vp9", b"\x88\x00", True),
    "VP9 of profile 3, shown": ("vp9", b"\xb3\x00", True),
    "VP9 of profile 3, hidden": ("vp9", b"\xb2\x00", False),
    "VP9, a hidden and a shown one": ("vp9", b"\x84\x00\xc1", True),
    "MPEG-4, a placeholder": ("mpeg4", bytes(7), False),
    "MPEG-4": ("mpeg4", bytes(70), True),
    "H.264": ("h264", bytes(7), True),
}


@pytest.mark.parametrize(("decoder", "data", "expected"), PACKETS.values(), ids=PACKETS)
def test_packets(decoder: str, data: bytes, expected: bool) -> None:
    assert is_counted(decoder)
    assert is_frame(decoder, memoryview(data)) == expected


def test_codecs_of_which_nothing_is_known_are_not_counted() -> None:
    assert not is_counted("theora")
    assert is_frame("theora", b"\0")
