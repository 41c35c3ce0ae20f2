"""From a tensor's histogram to the range that eight bits are spent on.

Every method looks for an interval [lo, hi] around zero. What lies outside is clipped to its ends;
what lies inside is rounded to the nearest of evenly spaced levels, one of which is exactly zero:

    symmetric: scale = hi / (2**(bits - 1) - 1), zero point 0, lo = -hi
    asymmetric: scale = (hi - lo) / (2**bits - 1), zero point = round(-lo / scale)
"""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from ghost_deploy.calib.ranges.histogram import TensorStatistics
from ghost_deploy.core.errors import UsageError

__all__ = ["METHODS", "Method", "activation_range", "quantization_error"]

Method = Literal["minmax", "percentile", "entropy", "mse"]

METHODS: tuple[Method, ...] = get_args(Method)

Range = tuple[float, float]

_NOTHING = 2.0**-90
"""A range narrower than this is that of a tensor of zeros: its scale would underflow."""

_ENTROPY_STEPS = 128
"""Ends that the entropy method tries on each side."""

_MSE_STEPS = 16
"""Ends that one round of the squared-error method tries on each side."""

_MSE_ROUNDS = 3
"""Rounds, each around the best of the one before: ends are found to 1/1024 of the full range."""


def activation_range(
    stats: TensorStatistics,
    method: Method,
    *,
    symmetric: bool,
    bits: int = 8,
    percentile: float = 99.99,
) -> Range:
    """The interval of a tensor's values that the integer levels are spread over.

    Methods:
        minmax: everything that was seen.
        percentile: what holds `percentile` per cent of the values; half of the rest may lie
                beyond each end, or all of it beyond the two equal ends of a symmetric range.
        entropy: the interval whose quantized distribution keeps most of the information of the
            one that was seen, by the Kullback-Leibler divergence: the idea of TensorRT's entropy
            calibrator (GTC 2017, "8-bit inference with TensorRT"). An asymmetric range is found
            one end after the other.
        mse: the interval with the smallest mean squared error, clipping included, over a grid of
            both ends at once that is refined around the best.

    Args:
        stats: of the tensor.
        method: one of `METHODS`.
        symmetric: give both ends the same magnitude.
        bits: 2 to 8.
        percentile: above 50, up to 100; only for the method of that name.

    Returns:
        (lo, hi), lo <= 0 <= hi and lo < hi, never beyond what was seen, but for a symmetric
        range's weaker end. A tensor of zeros gets (0, 1), or (-1, 1) when symmetric.

    Raises:
        UsageError: an argument is none of these.
    """
    if method not in METHODS or not 2 <= bits <= 8 or not 50 < percentile <= 100:
        raise UsageError(
            "no range can be chosen like this",
            got=f"method {method!r}, {bits} bits, percentile {percentile}",
            expected=f"{', '.join(METHODS)}; 2 to 8 bits; a percentile above 50, up to 100",
            fix="Correct that argument",
        )
    full = _full(stats, symmetric)
    if full[1] - full[0] < _NOTHING:
        return (-1.0, 1.0) if symmetric else (0.0, 1.0)
    if method == "percentile":
        return _percentile(stats, full, percentile, symmetric)
    if method == "entropy":
        return _entropy(stats, full, symmetric, bits)
    if method == "mse":
        return _mse(stats, full, symmetric, bits)
    return full


def quantization_error(
    stats: TensorStatistics, lo: float, hi: float, *, symmetric: bool, bits: int = 8
) -> float:
    """Mean squared error of the values when quantized over [lo, hi] and made float again.

    Every value counts as the middle of its bin.
    """
    values, counts = _filled(stats)
    grid = np.array([[lo, hi]])
    return float(_squared_errors(values, counts, grid, _steps(symmetric, bits))[0]) / stats.count


def _full(stats: TensorStatistics, symmetric: bool) -> Range:
    lo, hi = min(stats.minimum, 0.0), max(stats.maximum, 0.0)
    return (-max(-lo, hi), max(-lo, hi)) if symmetric else (lo, hi)


def _steps(symmetric: bool, bits: int) -> int:
    """Steps from the lowest level to the highest."""
    return (1 << bits) - (2 if symmetric else 1)


def _filled(stats: TensorStatistics) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Values and counts of the bins that hold something; values are middles within the extremes."""
    filled = np.flatnonzero(stats.counts)
    values = np.clip(stats.centers[filled], stats.minimum, stats.maximum)
    return values, stats.counts[filled].astype(np.float64)


def _levels(x: NDArray[np.float64], grid: NDArray[np.float64], steps: int) -> NDArray[np.float64]:
    """The level, from 0 to `steps`, of each value under each range of `grid` (R, 2): (R, n)."""
    lo, hi = grid[:, :1], grid[:, 1:]
    scale = (hi - lo) / steps
    levels = np.rint(x / scale)
    levels += np.rint(-lo / scale)
    return np.clip(levels, 0, steps, out=levels)


def _squared_errors(
    x: NDArray[np.float64], weight: NDArray[np.float64], grid: NDArray[np.float64], steps: int
) -> NDArray[np.float64]:
    """The weighted sum of squared errors under each range of `grid` (R, 2): (R,)."""
    scale = (grid[:, 1:] - grid[:, :1]) / steps
    error = _levels(x, grid, steps)
    error -= np.rint(-grid[:, :1] / scale)
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


def _entropy(stats: TensorStatistics, full: Range, symmetric: bool, bits: int) -> Range:
    values, counts = _filled(stats)
    steps = _steps(symmetric, bits)
    shares = (np.arange(_ENTROPY_STEPS, 0, -1) / _ENTROPY_STEPS).tolist()

    def best(candidates: list[Range]) -> Range:
        # As in TensorRT, a level is at least one bin wide: below that nothing is left to compare.
        wide = [r for r in candidates if r[1] - r[0] >= steps * stats.width] or candidates[:1]
        # The widest comes first and wins ties: clipping must earn its place.
        return min(wide, key=lambda r: _divergence(values, counts, r, steps))

    lo, hi = full
    if symmetric:
        return best([(-hi * share, hi * share) for share in shares])
    if hi > 0:
        lo, hi = best([(lo, hi * share) for share in shares])
    if lo < 0:
        lo, hi = best([(lo * share, hi) for share in shares])
    return lo, hi


def _divergence(
    x: NDArray[np.float64], weight: NDArray[np.float64], span: Range, steps: int
) -> float:
    """KL(P || Q) in nats of a range.

    P is what was seen inside, with all that lies outside put into the outermost bins inside. Q is
    what remains of the inside after quantization: the values of a level spread evenly over the
    bins that held something. Infinite where nothing lies inside.
    """
    start, stop = np.searchsorted(x, span[0]), np.searchsorted(x, span[1], side="right")
    if start == stop:
        return np.inf
    inside = weight[start:stop]
    p = inside.copy()
    p[0] += weight[:start].sum()
    p[-1] += weight[stop:].sum()
    level = _levels(x[start:stop], np.array([span]), steps)[0].astype(np.intp)
    mass = np.bincount(level, inside, minlength=steps + 1)
    bins = np.bincount(level, minlength=steps + 1)
    q = mass[level] / bins[level]
    p /= p.sum()
    q /= q.sum()
    return float((p * np.log(p / q)).sum())


def _mse(stats: TensorStatistics, full: Range, symmetric: bool, bits: int) -> Range:
    values, counts = _filled(stats)
    steps = _steps(symmetric, bits)
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
