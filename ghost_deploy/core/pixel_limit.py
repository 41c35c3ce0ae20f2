"""The most pixels that an image may have: its size is known before it is decoded.

A file of 35 bytes can announce an image of four thousand million pixels, which takes gigabytes
of memory. The limit holds for the whole process and its children, as that of OpenCV does
(OPENCV_IO_MAX_IMAGE_PIXELS, 2^30), because any thread may decode an image.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

from ghost_deploy.core.errors import ImageTooLargeError, UsageError

MAX_PIXELS = 120_000_000
"""The default: cameras of 100 megapixels, and of 108 in telephones, stay below it."""

VARIABLE = "GHOST_DEPLOY_MAX_PIXELS"
"""The environment variable that holds another limit; child processes inherit it."""


def max_pixels() -> int:
    """The limit of this process, pixels (width times height).

    Raises:
        UsageError: the environment variable holds something else than a number.
    """
    text = os.environ.get(VARIABLE)
    if text is None:
        return MAX_PIXELS
    if not (text.isascii() and text.isdecimal() and 0 < len(text) < 16 and int(text)):
        raise UsageError(
            f"{VARIABLE} is not a number of pixels",
            got=repr(text),
            expected="a whole number from 1",
            fix=f"Unset it, or set it to e.g. {MAX_PIXELS}",
        )
    return int(text)


def set_max_pixels(count: int) -> None:
    """Set the limit of this process and of the processes that it starts.

    Args:
        count: width times height, from 1.

    Raises:
        UsageError: `count` is no such number.
    """
    if isinstance(count, bool) or not isinstance(count, int) or not 1 <= count < 10**15:
        raise UsageError(
            "this is not a number of pixels",
            got=repr(count),
            expected="a whole number from 1",
            fix=f"Give width times height of the largest image, e.g. {MAX_PIXELS}",
        )
    os.environ[VARIABLE] = str(count)


@contextlib.contextmanager
def pixel_limit(count: int | None) -> Iterator[None]:
    """Set another limit inside the block; None leaves it as it is."""
    before = os.environ.get(VARIABLE)
    if count is not None:
        set_max_pixels(count)
    try:
        yield
    finally:
        if count is not None:
            os.environ.pop(VARIABLE)
            os.environ.update({} if before is None else {VARIABLE: before})


def check_pixels(width: int, height: int, what: str) -> None:
    """Require that an image of this size may be decoded.

    Args:
        width, height: pixels, as the header says.
        what: the image, for the message, e.g. "the image a.png".

    Raises:
        ImageTooLargeError: it has more pixels than the limit.
    """
    limit = max_pixels()
    if width * height > limit:
        raise ImageTooLargeError(
            f"{what} is larger than the limit",
            got=f"{width} x {height} pixels ({_millions(width * height)})",
            expected=f"at most {_millions(limit)}",
            fix="If it is right, raise the limit: --max-pixels N (gd.set_max_pixels in Python)",
        )


def _millions(count: int) -> str:
    return f"{count / 1e6:,.1f} million" if count >= 100_000 else f"{count}"
