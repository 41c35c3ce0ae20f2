"""Decode an image file in memory into pixels that no longer depend on OpenCV's version."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ghost_deploy.core.errors import ImageError
from ghost_deploy.core.pixel_limit import check_pixels
from ghost_deploy.processing.byte_reader import ByteReader, MemoryBytes
from ghost_deploy.processing.file_kind import HEAD_BYTES, file_kind
from ghost_deploy.processing.image_header import ImageHeader, read_header
from ghost_deploy.processing.jpeg_header import has_end
from ghost_deploy.processing.pixels import bgr_of
from ghost_deploy.processing.tiff_tags import EXTRA_SAMPLES, ORIENTATION, read_tags

_CONVERT = "Check that other programs can open it, and convert it to PNG or JPEG"
_EOI = b"\xff\xd9"
# A decoder that still needs data shows these.
_MORE_DATA = b"\x55\xaa\x0f\xf0" * 64
# How missing blocks at the end are decoded, and so many pixels of the last one are looked at.
_GREY, _CORNER = 128, 4
# What EXTRA_SAMPLES says of alpha.
_ASSOCIATED, _UNASSOCIATED = 1, 2
_NO_DECODER = {
    "avif": "OpenCV from 4.12 on reads AVIF",
    "gif": "OpenCV from 4.12 on reads GIF",
    "jp2": "this OpenCV was built without JPEG 2000",
}


def decode_image(data: bytes, what: str = "the image") -> NDArray[np.uint8]:
    """Decode the bytes of an image file.

    The size is checked before anything is decoded. For frames of cameras too: JPEG or any other
    format.

    Args:
        data: the whole file.
        what: the image, for messages, e.g. "the image a.png".

    Returns:
        (H, W, 3) uint8 BGR, upright; see `processing.images` for the rules.

    Raises:
        ImageTooLargeError: it has more pixels than the limit; see `pixel_limit`.
        ImageError: it is empty, damaged, cut off or of a format that is not read.
    """
    header = check_header(MemoryBytes(data), what)
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    if header.deep or header.format == "tiff":
        # OpenCV's conversion of TIFF to 8-bit BGR rounds 16 bits and may blend alpha.
        flags = cv2.IMREAD_UNCHANGED
    if header.format == "jpeg" and not has_end(data, header.scan_at):
        pixels = _decode_without_end(data, header.plain, flags)
    elif header.format == "tiff":
        pixels = _decode(_plain_tiff(data), flags)
    else:
        pixels = _decode(data, flags)
    if pixels is None:
        raise _undecodable(what, header)
    return upright(bgr_of(pixels), header.orientation)


def check_header(reader: ByteReader, what: str) -> ImageHeader:
    """The header of an image that may be decoded.

    Args:
        reader: of the whole file.
        what: the image, for messages.

    Raises:
        ImageTooLargeError: it has more pixels than the limit.
        ImageError: it is empty, damaged or of a format that is not read.
    """
    try:
        header = read_header(reader)
    except ValueError as error:
        raise _unreadable(reader, what, str(error)) from error
    if header.width < 1 or header.height < 1:
        raise _unreadable(reader, what, f"an image of {header.width} x {header.height} pixels")
    check_pixels(header.width, header.height, what)
    return header


def upright(image: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """Turn an image as its EXIF orientation, 1 to 8, says; `image` itself for 1."""
    turned: Any = cv2.transpose(image) if orientation >= 5 else image
    flip = {2: 1, 3: -1, 4: 0, 6: 1, 7: -1, 8: 0}.get(orientation)
    result: NDArray[np.uint8] = turned if flip is None else cv2.flip(turned, flip)
    return result


def _decode(data: bytes, flags: int) -> NDArray[Any] | None:
    try:
        pixels: NDArray[Any] | None = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error:
        return None
    return pixels


def _decode_without_end(data: bytes, plain: bool, flags: int) -> NDArray[Any] | None:
    """A JPEG without its end marker, if nothing else of it is missing."""
    data = data.rstrip(b"\xff")  # the first half of the marker
    first = _decode(data + _EOI, flags)
    if first is None or (plain and (first[-_CORNER:, -_CORNER:] != _GREY).any()):
        return first  # its last block is there
    # libjpeg says on standard error that it does not need what is added, so this comes last.
    second = _decode(data + _MORE_DATA + _EOI, flags)
    return first if second is not None and np.array_equal(first, second) else None


def _plain_tiff(data: bytes) -> bytes:
    """The TIFF as if it were upright, with alpha of the kind that OpenCV does not blend."""
    tags = read_tags(MemoryBytes(data))
    changes = ((ORIENTATION, range(2, 9), 1), (EXTRA_SAMPLES, (_UNASSOCIATED,), _ASSOCIATED))
    changed = bytearray(data)
    for name, values, instead in changes:
        tag = tags.get(name)
        if tag and tag.value in values:
            order, size = tag.form[0], {"B": 1, "H": 2, "I": 4, "Q": 8}[tag.form[1]]
            new = instead.to_bytes(size, "little" if order == "<" else "big")
            changed[tag.at : tag.at + size] = new
    return bytes(changed) if changed != data else data


def _undecodable(what: str, header: ImageHeader) -> ImageError:
    reason = _NO_DECODER.get(header.format, "")
    cut = "it is cut off, or " if header.format == "jpeg" else ""
    return ImageError(
        f"{what} is damaged or of an unknown format",
        got=f"{header.format.upper()} that OpenCV {cv2.__version__} cannot decode: "
        f"{cut}its data are damaged{f'; {reason}' if reason else ''}",
        fix=_CONVERT,
    )


def _unreadable(reader: ByteReader, what: str, reason: str) -> ImageError:
    head = reader.read(0, HEAD_BYTES)
    if not head:
        return ImageError(f"{what} is empty (0 bytes)", fix="Copy or record it again")
    if file_kind(head) == "video":
        reason = "a video"
    return ImageError(
        f"{what} is damaged or of an unknown format",
        got=reason,
        expected="JPEG, PNG, WebP, TIFF, BMP, GIF, AVIF, JPEG 2000 or PNM",
        fix=_CONVERT,
    )
