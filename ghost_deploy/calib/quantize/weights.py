"""Eight-bit weights: symmetric signed levels from -127 to 127, zero point 0."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

LEVELS = 127
"""Largest level. -128 is not used, so that rounding is symmetric."""

_SMALLEST = 2.0**-20
"""Smallest scale: representable in float16; a weight below half of it changes no result."""


def weight_scales(weight: NDArray[np.float32], *, per_channel: bool) -> NDArray[np.float32]:
    """The scale of each output channel, (out,), above 0: the largest weight over `LEVELS`.

    Args:
        weight: (out, ...).
        per_channel: use each channel's own largest weight, else that of the tensor.
    """
    rows = weight.reshape(len(weight), -1) if per_channel else weight.reshape(1, -1)
    largest = np.abs(rows).max(axis=1, initial=0.0).astype(np.float64)
    scales = np.maximum(largest / LEVELS, _SMALLEST)
    result: NDArray[np.float32] = np.broadcast_to(scales.astype(np.float32), len(weight)).copy()
    return result


def round_weight(weight: NDArray[np.float32], scales: NDArray[np.float32]) -> NDArray[np.int8]:
    """The int8 level of each weight, as in QuantizeLinear: nearest, halves to even.

    Args:
        weight: (out, ...).
        scales: (out,), above 0.
    """
    levels = np.rint(weight / _by_channel(scales, weight.ndim))
    result: NDArray[np.int8] = np.clip(levels, -LEVELS, LEVELS).astype(np.int8)
    return result


def on_grid(weight: NDArray[np.float32], scales: NDArray[np.float32]) -> NDArray[np.float32]:
    """`weight`, (out, ...), after Q and DQ with `scales`, (out,)."""
    levels = round_weight(weight, scales).astype(np.float32)
    result: NDArray[np.float32] = levels * _by_channel(scales, weight.ndim)
    return result


def _by_channel(scales: NDArray[Any], dims: int) -> NDArray[Any]:
    return scales.reshape(-1, *[1] * (dims - 1))
