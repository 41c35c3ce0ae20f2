"""What kind of file this is, by its first bytes: names and suffixes do not decide.

Sources: the signatures in the specifications of the formats, named beside them where they are not
obvious.
"""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path
from typing import Literal

FileKind = Literal["image", "animation", "video", "playlist", ""]
"""`animation` is a GIF, PNG, WebP, AVIF or HEIF with more than one frame; a playlist is M3U."""

HEAD_BYTES = 1 << 16
"""So many bytes from the start of a file tell its kind; profiles may precede what tells it."""

_MOST_GIF_BYTES = 1 << 26

_IMAGES: tuple[tuple[str, re.Pattern[bytes]], ...] = tuple(
    (name, re.compile(pattern, re.DOTALL))
    for name, pattern in (
        ("jpeg", rb"\xff\xd8\xff"),
        ("png", rb"\x89PNG\r\n\x1a\n"),
        ("gif", rb"GIF8[79]a"),
        ("webp", rb"RIFF....WEBP"),
        ("tiff", rb"II[*+]\0|MM\0[*+]"),
        # BITMAPFILEHEADER, and the sizes that its second header may have.
        ("bmp", rb"BM.{12}[\x0c\x10\x28\x34\x38\x40\x6c\x7c]\0\0\0"),
        ("jp2", rb"\0\0\0\x0cjP  \r\n\x87\n"),
        ("j2k", rb"\xff\x4f\xff\x51"),
        ("pnm", rb"P[1-7][ \t\r\n#]"),
        ("pfm", rb"P[Ff][ \t\r\n]"),
        ("ras", rb"\x59\xa6\x6a\x95"),
        ("hdr", rb"#\?(RADIANCE|RGBE)"),
        ("exr", rb"\x76\x2f\x31\x01"),
        ("jxl", rb"\xff\x0a|\0\0\0\x0cJXL \r\n\x87\n"),
        ("psd", rb"8BPS\0[\x01\x02]"),
    )
)
_VIDEOS = re.compile(
    rb"\x1a\x45\xdf\xa3"  # Matroska and WebM (EBML)
    rb"|RIFF....AVI |FLV\x01|OggS|DKIF|YUV4MPEG2 |\.RMF|nut/multimedia container"
    rb"|\x30\x26\xb2\x75\x8e\x66\xcf\x11"  # ASF: .wmv, .asf
    rb"|\0\0\x01[\xba\xb3]"  # MPEG program stream, MPEG video
    rb"|\x06\x0e\x2b\x34"  # MXF
    rb"|DHAV|IMKH"  # recorders of Dahua and Hikvision
    rb"|....(moov|mdat|wide|free|skip|pnot)"  # QuickTime without a type
    # H.264 and H.265 as a byte stream: a delimiter or a parameter set comes first.
    rb"|\0?\0\0\x01([\x07\x27\x47\x67]|\x09[\x10\x30\x50\x70\x90\xb0\xd0\xf0]|[\x40\x42\x46]\x01)",
    re.DOTALL,
)
_STILL_BRANDS = {b"avif": "avif", b"heic": "heif", b"heix": "heif", b"mif1": "heif"}
_SEQUENCE_BRANDS = {b"avis": "avif", b"hevc": "heif", b"hevx": "heif", b"msf1": "heif"}
# Packets of MPEG transport streams start with 0x47: 188 bytes each, 192 with a time stamp (M2TS),
# 204 with a checksum (DVB).
_TS_PACKETS = ((0, 188), (4, 192), (0, 204))


def kind_of_file(path: str | os.PathLike[str]) -> FileKind:
    """What kind of file `path` is; empty where it is none of them, or no regular file.

    Args:
        path: of the file; its suffix does not matter.

    Raises:
        OSError: it cannot be read.
    """
    # A pipe is not opened: without a writer that would wait for ever.
    if not stat.S_ISREG(Path(path).stat().st_mode):
        return ""
    with open(path, "rb") as file:
        head = file.read(HEAD_BYTES)
        if image_format(head) == "gif":  # frames are found one behind the other
            head += file.read(_MOST_GIF_BYTES)
    return file_kind(head)


def file_kind(head: bytes) -> FileKind:
    """What kind of file begins with `head`; empty where it is none of them.

    Args:
        head: the first bytes, `HEAD_BYTES` or the whole file. More than the first frame of a GIF
            is needed to see that it is animated; `kind_of_file` reads on for that.
    """
    name = image_format(head)
    if name:
        return "animation" if _ANIMATED.get(name, _never)(head) else "image"
    if head.startswith(b"#EXTM3U"):
        return "playlist"
    return "video" if _is_video(head) else ""


def image_format(head: bytes) -> str:
    """The name of the image format that begins with `head`, e.g. `jpeg`; empty for anything else.

    The formats that OpenCV decodes, and some that it does not, so that messages can name them:
    heif, exr, jxl, psd.
    """
    if head[4:8] == b"ftyp":
        brand = head[8:12]
        if brand in (b"mif1", b"msf1") and b"avif" in _compatible(head):
            return "avif"
        return _STILL_BRANDS.get(brand) or _SEQUENCE_BRANDS.get(brand, "")
    return next((name for name, pattern in _IMAGES if pattern.match(head)), "")


def _compatible(head: bytes) -> list[bytes]:
    """The compatible brands of an ISO file (ISO/IEC 14496-12, 4.3)."""
    end = min(int.from_bytes(head[:4], "big"), len(head))
    return [head[at : at + 4] for at in range(16, end, 4)]


def _is_video(head: bytes) -> bool:
    if head[4:8] == b"ftyp" or _VIDEOS.match(head):
        return True
    return any(
        len(head) > first + 2 * size and {head[first + i * size] for i in range(3)} == {0x47}
        for first, size in _TS_PACKETS
    )


def _never(head: bytes) -> bool:
    return False


def _is_animated_gif(data: bytes) -> bool:
    """Whether there is a second image (GIF89a specification, appendix B)."""
    at, frames = 13 + _colors(data[10:11]), 0
    while at < len(data):
        kind = data[at]
        if kind == 0x2C:
            frames += 1
            if frames == 2:
                return True
            at += 10 + _colors(data[at + 9 : at + 10]) + 1  # then the least code size
        elif kind == 0x21:
            at += 2
        else:
            return False
        while at < len(data) and data[at]:
            at += 1 + data[at]
        at += 1
    return False


def _colors(flags: bytes) -> int:
    """Bytes of the colour table that a GIF's flags announce."""
    return 3 << ((flags[0] & 7) + 1) if flags and flags[0] & 0x80 else 0


def _is_animated_png(head: bytes) -> bool:
    """Whether `acTL` announces frames; it stands before the image data (PNG 3, 11.3.6)."""
    at = 8
    while at + 12 <= len(head):
        kind = head[at + 4 : at + 8]
        if kind == b"acTL":
            return int.from_bytes(head[at + 8 : at + 12], "big") > 1
        if kind == b"IDAT":
            return False
        at += 12 + int.from_bytes(head[at : at + 4], "big")
    return False


def _is_animated_webp(head: bytes) -> bool:
    return head[12:16] == b"VP8X" and bool(head[20:21]) and bool(head[20] & 0x02)


def _is_image_sequence(head: bytes) -> bool:
    return head[8:12] in _SEQUENCE_BRANDS


_ANIMATED = {
    "gif": _is_animated_gif,
    "png": _is_animated_png,
    "webp": _is_animated_webp,
    "avif": _is_image_sequence,
    "heif": _is_image_sequence,
}
