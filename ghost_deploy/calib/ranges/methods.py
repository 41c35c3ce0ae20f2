"""The quantization range of a tensor, from its histogram.

Every method returns an interval [lo, hi] around zero. Values outside are clipped to its ends;
values inside are rounded to the nearest of evenly spaced levels, one of which is exactly zero:

    symmetric: scale = hi / 127, zero point 0, lo = -hi
    asymmetric: scale = (hi - lo) / 255, zero point = round(-lo / scale)
"""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from ghost_deploy.calib.ranges.histogram import TensorStatistics
from ghost_deploy.core.errors import UsageError

Method = Literal["minmax", "percentile", "mse"]

METHODS: tuple[Method, ...] = get_args(Method)

Range = tuple[float, float]

DEFAULT_PERCENTILE = 99.999
"""Points of mAP50-95 lost by two trained Ghost networks: yolov8n-ghost at 416 and at 640, and
yolov8n-ghostnet at 416.

                    minmax              99.999 per cent     mse
    tensorrt        0.11  0.63  0.40    0.33  0.04 -0.08    0.58  0.36 -0.22
    openvino        0.00 -0.01  0.29    0.20 -0.32  0.11
    ort-x86        -0.10  0.29 -0.05    0.03  0.79  0.03

No method is best everywhere; differences of 0.3 are within the noise of 87 images. 99.99 per cent
lost 1.23 in the tensorrt form.
"""

_NOTHING = 2.0**-90
"""A narrower range counts as that of a tensor of zeros: its scale would underflow."""

_MSE_STEPS = 16
"""Ends that one round of the squared-error method tries on each side."""

_MSE_ROUNDS = 3
"""Rounds, each around the best of the one before: ends are found to 1/1024 of the full range."""


def activation_range(
    stats: TensorStatistics,
    method: Method,
    *,
    symmetric: bool,
    percentile: float = DEFAULT_PERCENTILE,
) -> Range:
    """The interval of a tensor's values that the integer levels cover.

    Methods:
        minmax: all values.
        percentile: `percentile` per cent of the values; half of the rest lies beyond each end, or
            all of it beyond the two equal ends of a symmetric range.
        mse: the interval with the smallest mean squared error, clipping included, over a grid of
            both ends at once that is refined around the best.

    Args:
        stats: of the tensor.
        method: one of `METHODS`.
        symmetric: both ends have the same magnitude.
        percentile: above 50, up to 100; only for the method of that name.

    Returns:
        (lo, hi), lo <= 0 <= hi and lo < hi, within the extremes, except the weaker end of a
        symmetric range. A tensor of zeros gets (0, 1), or (-1, 1) when symmetric.

    Raises:
        UsageError: an unknown method or an invalid percentile.
    """
    if method not in METHODS or not 50 < percentile <= 100:
        raise UsageError(
            "no range can be chosen with these arguments",
            got=f"method {method!r}, percentile {percentile}",
            expected=f"{', '.join(METHODS)}; a percentile above 50, up to 100",
            fix="Correct that argument",
        )
    full = _full(stats, symmetric)
    if full[1] - full[0] < _NOTHING:
        return (-1.0, 1.0) if symmetric else (0.0, 1.0)
    if method == "percentile":
        return _percentile(stats, full, percentile, symmetric)
    if method == "mse":
        return _mse(stats, full, symmetric)
    return full


def _full(stats: TensorStatistics, symmetric: bool) -> Range:
    lo, hi = min(stats.minimum, 0.0), max(stats.maximum, 0.0)
    return (-max(-lo, hi), max(-lo, hi)) if symmetric else (lo, hi)


def _squared_errors(
    x: NDArray[np.float64], weight: NDArray[np.float64], grid: NDArray[np.float64], steps: int
) -> NDArray[np.float64]:
    """The weighted sum of squared errors under each range of `grid` (R, 2): (R,)."""
    low, high = grid[:, :1], grid[:, 1:]
    scale = (high - low) / steps
    zero_point = np.rint(-low / scale)
    error = np.rint(x / scale)  # (R, n), in place from here: levels, values, errors
    np.clip(error, -zero_point, steps - zero_point, out=error)
    error *= scale
    error -= x
    np.square(error, out=error)
    sums: NDArray[np.float64] = error @ weight
    return sums


def _percentile(stats: TensorStatistics, full: Range, percentile: float, symmetric: bool) -> Range:
    outside = 1 - percentile / 100
    if symmetric:
        numbers = stats.first + np.arange(len(stats.counts))
        # Folded at zero: -1 lies on 0, -2 on 1, and so on.
        counts = np.bincount(np.where(numbers < 0, -1 - numbers, numbers), stats.counts)
        ends = np.ldexp(np.arange(1.0, len(counts) + 1), stats.exponent)
        hi = min(_quantile(ends, counts, 1 - outside, stats.width), full[1])
        return -hi, hi
    upper = _quantile(stats.edges[1:], stats.counts, 1 - outside / 2, stats.width)
    lower = -_quantile(-stats.edges[-2::-1], stats.counts[::-1], 1 - outside / 2, stats.width)
    lo, hi = max(full[0], min(lower, 0.0)), min(full[1], max(upper, 0.0))
    return (lo, hi) if lo < hi else full


def _quantile(
    ends: NDArray[np.float64],
    counts: NDArray[np.int64] | NDArray[np.float64],
    share: float,
    width: float,
) -> float:
    """Up to where `share` of the values lie; evenly spread inside a bin, which ends at `ends`."""
    wanted = share * float(counts.sum())
    below = np.cumsum(counts)
    bin_ = min(int(np.searchsorted(below, wanted)), len(below) - 1)
    missing = (float(below[bin_]) - wanted) / max(float(counts[bin_]), 1.0)
    return float(ends[bin_]) - width * max(missing, 0.0)


def _mse(stats: TensorStatistics, full: Range, symmetric: bool) -> Range:
    values, counts = stats.filled()
    steps = 254 if symmetric else 255  # from the lowest level to the highest
    size = 1.0 / _MSE_STEPS
    ends = [np.arange(_MSE_STEPS, 0, -1) * size] * 2
    best = (1.0, 1.0)
    least = np.inf
    for _ in range(_MSE_ROUNDS):
        for low in ends[0] if full[0] < 0 and not symmetric else (1.0,):
            high = ends[1] if full[1] > 0 else np.ones(1)
            lows = high if symmetric else np.full(len(high), low)
            grid = np.stack([full[0] * lows, full[1] * high], axis=1)
            errors = _squared_errors(values, counts, grid, steps)
            index = int(errors.argmin())
            if errors[index] < least:
                least, best = float(errors[index]), (float(lows[index]), float(high[index]))
        ends = [_around(share, size) for share in best]
        size /= _MSE_STEPS / 2
    return full[0] * best[0], full[1] * best[1]


def _around(share: float, size: float) -> NDArray[np.float64]:
    """Shares from one step above to one step below, never nothing and never more than all."""
    finer = share + size * np.arange(_MSE_STEPS // 2, -_MSE_STEPS // 2, -1) / (_MSE_STEPS / 2)
    return np.clip(finer, size / _MSE_STEPS, 1.0)
