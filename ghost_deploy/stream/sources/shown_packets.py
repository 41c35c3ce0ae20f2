"""Which packets of a video are frames: a frame that does not come is then known to be lost."""

from __future__ import annotations

_NAMES = """
    av1 libdav1d libaom-av1 h264 hevc mjpeg mpeg1video mpeg2video mpeg4 h263 flv wmv1 wmv2
    msmpeg4v1 msmpeg4v2 msmpeg4 vp8 libvpx vp9 libvpx-vp9
    prores dnxhd ffv1 huffyuv ffvhuff utvideo rawvideo png
"""
_ONE_TO_ONE = frozenset(_NAMES.split())
"""Decoders of which each packet is one frame, but for the packets that `is_frame` knows."""

_PLACEHOLDER_BYTES = 20
"""In MPEG-4 a packet of that size may stand for a frame that the one before it held."""

_VP8_START = b"\x9d\x01\x2a"


def is_counted(decoder: str) -> bool:
    """Whether each packet of that decoder of FFmpeg is a frame, or `is_frame` tells."""
    return decoder in _ONE_TO_ONE


def is_frame(decoder: str, data: bytes | memoryview) -> bool:
    """Whether a packet is a frame that is to be shown; so is one that does not say.

    Args:
        decoder: FFmpeg's name of it.
        data: of the packet.
    """
    if decoder == "mpeg4":
        return len(data) > _PLACEHOLDER_BYTES
    if decoder in {"vp8", "libvpx"}:
        return not _is_hidden_vp8(data)
    if decoder in {"vp9", "libvpx-vp9"}:
        return not _is_hidden_vp9(data)
    return True


def _is_hidden_vp8(data: bytes | memoryview) -> bool:
    """Whether it is a reference that is not shown (RFC 6386, 9.1)."""
    is_key = not data[0] & 0x01
    if is_key and data[3:6] != _VP8_START:
        return False  # damaged
    return not data[0] & 0x10


def _is_hidden_vp9(data: bytes | memoryview) -> bool:
    """The same of VP9 (bitstream specification, 6.2 and annex B)."""
    first = data[0]
    is_superframe = data[-1] & 0xE0 == 0xC0  # it holds one frame that is shown
    if is_superframe or first & 0xC0 != 0x80:
        return False
    if first & 0x30 == 0x30:  # profile 3 has one bit more
        first <<= 1
    shows_existing, is_shown = first & 0x08, first & 0x02
    return not (shows_existing or is_shown)
