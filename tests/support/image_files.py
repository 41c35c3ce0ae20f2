"""Image files that OpenCV does not write: orientations, depths, headers of any size, damage."""

from __future__ import annotations

import struct
import zlib

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = [
    "damaged_jpeg",
    "exif_block",
    "huge_headers",
    "jpeg_with_exif",
    "png_with_exif",
    "tiff",
    "webp_with_exif",
]


def exif_block(orientation: int, order: str = "<") -> bytes:
    """An EXIF block, without its `Exif` mark, that holds only the orientation (0x0112)."""
    mark = b"II*\0" if order == "<" else b"MM\0*"
    entry = struct.pack(f"{order}HHIHH", 0x0112, 3, 1, orientation, 0)
    return mark + struct.pack(f"{order}IH", 8, 1) + entry + bytes(4)


def jpeg_with_exif(jpeg: bytes, orientation: int, order: str = "<") -> bytes:
    """The JPEG with that orientation."""
    block = b"Exif\0\0" + exif_block(orientation, order)
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block + jpeg[2:]


def png_with_exif(png: bytes, orientation: int) -> bytes:
    """The PNG with that orientation, behind its image data."""
    return png[:-12] + _chunk(b"eXIf", exif_block(orientation)) + png[-12:]


def webp_with_exif(webp: bytes, size_hw: tuple[int, int], orientation: int) -> bytes:
    """The simple WebP as an extended one with that orientation."""
    height, width = size_hw
    sides = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    block = exif_block(orientation)
    body = b"WEBPVP8X" + struct.pack("<II", 10, 8) + sides
    body += webp[12:] + b"EXIF" + struct.pack("<I", len(block)) + block
    return b"RIFF" + struct.pack("<I", len(body)) + body


def tiff(pixels: NDArray, orientation: int = 1, order: str = "<") -> bytes:
    """An uncompressed TIFF of grey (H, W) or colour (H, W, 3) pixels, RGB."""
    height, width = pixels.shape[:2]
    data = pixels.astype(pixels.dtype.newbyteorder(order)).tobytes()
    colour = pixels.ndim == 3
    bits = pixels.dtype.itemsize * 8
    offset = 8 + len(data) + (6 if colour else 0)
    rows = [
        (256, 4, 1, width),
        (257, 4, 1, height),
        (258, 3, 3 if colour else 1, 8 + len(data) if colour else bits),
        (259, 3, 1, 1),
        (262, 3, 1, 2 if colour else 1),
        (273, 4, 1, 8),
        (274, 3, 1, orientation),
        (277, 3, 1, 3 if colour else 1),
        (278, 4, 1, height),
        (279, 4, 1, len(data)),
        (339, 3, 1, 3 if pixels.dtype.kind == "f" else 1),
    ]
    found = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", offset) + data
    found += struct.pack(f"{order}3H", bits, bits, bits) if colour else b""
    found += struct.pack(f"{order}H", len(rows))
    for tag, kind, count, value in rows:
        inline = kind == 3 and count == 1
        form = f"{order}HHIHH" if inline else f"{order}HHII"
        found += struct.pack(form, tag, kind, count, value, *((0,) if inline else ()))
    return found + bytes(4)


def huge_headers(width: int, height: int) -> dict[str, bytes]:
    """Small files, by name, that announce an image of `width` x `height` (at most 65,500)."""
    sides = struct.pack(">HH", height, width)
    sof = b"\xff\xc0" + struct.pack(">HB", 17, 8) + sides + b"\3\1\x11\0\2\x11\0\3\x11\0"
    sos = b"\xff\xda" + struct.pack(">H", 12) + b"\3\1\0\2\0\3\0\0\x3f\0"
    ihdr = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    idat = _chunk(b"IDAT", zlib.compress(bytes(1000)))
    png_end = _chunk(b"IEND", b"")
    gif = b"\x2c" + bytes(4) + struct.pack("<HH", width, height) + b"\0\2\2\x4c\1\0;"
    webp = b"WEBPVP8X" + struct.pack("<II", 10, 0)
    webp += b"".join(max(side - 1, 0).to_bytes(3, "little") for side in (width, height))
    ispe = _box(b"ispe", bytes(4) + struct.pack(">II", width, height))
    meta = _box(b"meta", bytes(4) + _box(b"iprp", _box(b"ipco", ispe)))
    siz = b"\xff\x51" + struct.pack(
        ">HHIIIIIIIIH", 47, 0, width, height, *[0] * 2, width, height, 0, 0, 3
    )
    header = b"BM" + struct.pack("<IHHI", 54, 0, 0, 54)
    animation = _chunk(b"acTL", struct.pack(">II", 2, 0))
    return {
        "segment.jpg": b"\xff\xd8\xff\xe0"
        + struct.pack(">H", 16)
        + b"JFIF\0"
        + bytes(9)
        + sof
        + sos,
        "progressive.jpg": b"\xff\xd8" + sof.replace(b"\xff\xc0", b"\xff\xc2") + sos,
        "garbage.jpg": b"\xff\xd8\xff\xfe\0\4ab\0\0" + sof + sos,
        "a.png": b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", ihdr) + idat + png_end,
        "animated.png": b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", ihdr) + animation + idat + png_end,
        "screen.gif": b"GIF89a" + struct.pack("<HH", width, height) + b"\x80\0\0" + bytes(6) + b";",
        "frame.gif": b"GIF89a\1\0\1\0\0\0\0" + gif,
        "a.webp": b"RIFF" + struct.pack("<I", len(webp)) + webp,
        "core.bmp": b"BM" + struct.pack("<IHHIIHHHH", 54, 0, 0, 54, 12, width, height, 1, 24),
        "a.bmp": header + struct.pack("<IiiHHIIIIII", 40, width, height, 1, 24, *[0] * 6),
        "upside-down.bmp": header
        + struct.pack("<IiiHHIIIIII", 40, width, -height, 1, 24, *[0] * 6),
        "little.tif": _bare_tiff("<", width, height),
        "big.tif": _bare_tiff(">", width, height),
        "tile.tif": _bare_tiff("<", 16, 16, (322, width), (323, height)),
        "a.avif": _box(b"ftyp", b"avif\0\0\0\0avifmif1") + meta,
        "a.j2k": b"\xff\x4f" + siz + b"\7\1\1" * 3,
        "a.jp2": b"\0\0\0\x0cjP  \r\n\x87\n" + _box(b"jp2c", b"\xff\x4f" + siz + b"\7\1\1" * 3),
        "a.ppm": f"P6 # {'x' * 40}\n{width}\n{height} 255\n".encode(),
        "a.pbm": f"P4\n{width} {height}\n".encode(),
        "a.pam": f"P7\nWIDTH {width}\nHEIGHT {height}\nDEPTH 3\nMAXVAL 255\nENDHDR\n".encode(),
        "a.pfm": f"PF\n{width} {height}\n-1.0\n".encode(),
        "a.ras": struct.pack(">8I", 0x59A66A95, width, height, 24, 0, 1, 0, 0),
    }


def _bare_tiff(order: str, width: int, height: int, *more: tuple[int, int]) -> bytes:
    rows = [(256, width), (257, height), (258, 8), (259, 1), (262, 1), (277, 1), *more]
    rows += [(324, 8), (325, 1)] if more else [(273, 8), (278, height), (279, 1)]
    found = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}IH", 8, len(rows))
    return (
        found
        + b"".join(struct.pack(f"{order}HHII", tag, 4, 1, v) for tag, v in sorted(rows))
        + bytes(4)
    )


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _box(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", 8 + len(data)) + kind + data


def damaged_jpeg(missing: int = 900) -> bytes:
    """A JPEG of 64x64 pixels of noise that lacks so many bytes before its end marker: it can be
    read, and libjpeg prints "Corrupt JPEG data: premature end of data segment"."""
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    return cv2.imencode(".jpg", noise)[1].tobytes()[:-missing] + b"\xff\xd9"
