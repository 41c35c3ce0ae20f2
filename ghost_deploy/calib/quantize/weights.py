"""Eight-bit weights: symmetric signed levels from -127 to 127, zero point 0."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = ["LEVELS", "WeightMethod", "round_weight", "weight_scales"]

WeightMethod: TypeAlias = Literal["max", "mse"]

LEVELS = 127
"""Largest level. -128 stays unused, so that a weight and its negative are rounded alike."""

_SMALLEST = 2.0**-20
"""Smallest scale: float16 holds it, and no weight below half of it changes a result."""

_SHARES = np.linspace(1.0, 0.5, 51)
"""Shares of the largest weight that the squared-error method tries as the end of the range."""


def weight_scales(
    weight: NDArray[np.float32], *, per_channel: bool, method: WeightMethod = "max"
) -> NDArray[np.float32]:
    """The scale of each output channel, (out,); the same one throughout unless `per_channel`.

    Args:
        weight: (out, ...).
        per_channel: choose each channel's scale for itself.
        method: `max` spreads the levels up to the largest weight; `mse` up to the share of it
            that gives the smallest squared error, clipping included.
    """
    rows = weight.reshape(len(weight), -1) if per_channel else weight.reshape(1, -1)
    largest = np.abs(rows).max(axis=1, initial=0.0).astype(np.float64)
    scales = np.maximum(largest / LEVELS, _SMALLEST)
    if method == "mse":
        scales = _least_squares(rows.astype(np.float64), scales)
    result: NDArray[np.float32] = np.broadcast_to(scales.astype(np.float32), len(weight)).copy()
    return result


def round_weight(weight: NDArray[np.float32], scales: NDArray[np.float32]) -> NDArray[np.int8]:
    """The level of each weight, as QuantizeLinear finds it: to nearest, halves to even."""
    levels = np.rint(weight / _by_channel(scales, weight.ndim))
    result: NDArray[np.int8] = np.clip(levels, -LEVELS, LEVELS).astype(np.int8)
    return result


def _least_squares(rows: NDArray[np.float64], full: NDArray[np.float64]) -> NDArray[np.float64]:
    best: NDArray[np.float64] = full.copy()
    least = np.full(len(full), np.inf)
    for share in _SHARES:
        scales = np.maximum(full * share, _SMALLEST)
        levels = np.clip(np.rint(rows / scales[:, None]), -LEVELS, LEVELS)
        errors = np.square(levels * scales[:, None] - rows).sum(axis=1)
        better = errors < least
        best[better], least[better] = scales[better], errors[better]
    return best


def _by_channel(scales: NDArray[Any], dims: int) -> NDArray[Any]:
    return scales.reshape(-1, *[1] * (dims - 1))
