"""One rule for pixels of any type: from there to (H, W, 3) uint8 BGR.

- 8 bits are taken as they are.
- More bits are scaled by the range that the image really uses, of those that cameras have: the
  least of 8, 10, 12, 14 and 16 bits that holds its largest value, of which the upper 8 bits
  are kept. So 12 bits stored in 16 are not black.
- Floating point from 0 to 1 is that fraction of the range; larger values are rounded and treated
  as whole numbers.
- Of bool, True is 255.
- Grey is repeated over three channels; a fourth channel, alpha, is dropped without blending.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ghost_deploy.core.errors import ImageError
from ghost_deploy.core.said_once import say_once

_DEPTHS = (8, 10, 12, 14, 16, 20, 24, 32)
# Resizing with a cubic or Lanczos filter leaves the range a little.
_OVERSHOOT = 0.1
_EXPECTED = (
    "uint8 (height, width, 3) in BGR order, also grey (height, width) or (height, width, 1), BGRA "
    "(height, width, 4), and other numbers from 0"
)


def bgr_of(array: NDArray[Any]) -> NDArray[np.uint8]:
    """Convert pixels to (H, W, 3) uint8 BGR, see the rule above.

    Args:
        array: (H, W), (H, W, 1), (H, W, 3) BGR or (H, W, 4) BGRA; bool, whole numbers or
            floating point.

    Returns:
        `array` itself if it has this form, else a new array.

    Raises:
        ImageError: another shape or type, no pixels, values below 0 or not finite.
    """
    grey = array.ndim == 2 or array.shape[2:] == (1,)
    if not (grey or array.shape[2:] in ((3,), (4,))) or array.size == 0:
        raise _unusable(array)
    if array.shape[2:] == (4,):
        array = array[..., :3]
    pixels = eight_bits(array)
    if grey:
        return np.repeat(pixels.reshape(*array.shape[:2], 1), 3, axis=2)
    # A view of four channels, or of a larger image, is copied only where OpenCV would refuse it.
    return pixels if pixels.strides[1:] == (3, 1) else np.ascontiguousarray(pixels)


def eight_bits(array: NDArray[Any]) -> NDArray[np.uint8]:
    """The same pixels in uint8, see the rule above; `array` itself if it is.

    Raises:
        ImageError: another type, values below 0 or not finite.
    """
    kind = array.dtype.kind
    if array.dtype == np.uint8:
        return array
    if kind == "b":
        white: NDArray[np.uint8] = array.astype(np.uint8) * np.uint8(255)
        return white
    if kind not in "uif":
        raise _unusable(array)
    if kind == "f":
        array = _whole_numbers(array)
    low, high = int(array.min()), int(array.max())
    bits = next((depth for depth in _DEPTHS if high < 1 << depth), 0)
    if low < 0 or not bits:
        raise _unusable(array, f"values from {low} to {high}")
    if bits > 8:
        note = (
            f"an image of {bits} bits a channel is scaled to 8 bits: its largest value is {high}, "
            f"and all are divided by {1 << (bits - 8)}"
        )
        say_once(f"depth {bits}", note)
    scaled: NDArray[np.uint8] = (array >> (bits - 8)).astype(np.uint8)
    return scaled


def _whole_numbers(array: NDArray[Any]) -> NDArray[Any]:
    """Floating point as whole numbers: 0 to 1 as 16 bits, larger values rounded."""
    low, high = float(array.min()), float(array.max())
    if not (low >= -_OVERSHOOT and high < 2**32):  # also false for NaN
        raise _unusable(array, f"values from {low:g} to {high:g}")
    values = array.astype(np.float64)
    if high > 1 + _OVERSHOOT:
        whole: NDArray[Any] = np.rint(values.clip(0)).astype(np.int64)
        return whole
    # A multiple of 1/255 gives that pixel of 8 bits exactly, one of 1/65535 that of 16.
    say_once("fractions", "an image of floating point from 0 to 1 is scaled to 8 bits")
    pixels: NDArray[Any] = np.rint(values.clip(0, 1) * 65535).astype(np.uint16)
    return pixels >> 8


def _unusable(array: NDArray[Any], values: str = "") -> ImageError:
    got = f"{array.dtype} {array.shape}"
    return ImageError(
        "the array cannot be used as an image",
        got=f"{got}, {values}" if values else got,
        expected=_EXPECTED,
        fix="Pass pixels as cv2.imread gives them: no batch axis, colours last",
    )
