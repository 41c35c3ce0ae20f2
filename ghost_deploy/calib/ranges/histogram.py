"""Distribution of a tensor's values: exact extremes, and a histogram that merges without error.

The width of a bin is a power of two and the grid is aligned at zero, so that two bins of one width
are exactly one bin of the next. The width follows from the extremes alone. Statistics of parts,
merged in any order, are therefore bit-identical to those of all values at once.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

BINS = 8192
"""Most bins of a histogram; between half of them and all are in use, at least 16 a level of int8.

TensorRT's entropy calibrator has 2048 for the magnitudes alone (GTC 2017, "8-bit inference with
TensorRT"); four times that leaves steps to choose from when most of a long range is cut off.
"""

_SMALLEST_EXPONENT = -100
"""Smaller values share the two bins beside zero: no int8 scale is that small."""

_LARGEST_EXPONENT = 114
"""With BINS bins a wider grid ends beyond float32, which is what OpenCV takes its ends as."""

_CHUNK = 1 << 22
"""Values at a time: OpenCV returns counts as float32, which is exact up to 2**24."""


@dataclass(frozen=True, eq=False)
class TensorStatistics:
    """The distribution of a tensor's values, made by `TensorStatistics.of` or `merge`.

    Attributes:
        count: number of values, at least 1.
        minimum, maximum: the extremes, exact and finite.
        exponent: the width of a bin is 2**exponent.
        first: index of the first bin; bin 0 starts at zero.
        counts: (n,) int64, n <= BINS; element i counts the values from (first + i) * 2**exponent
            up to, but excluding, (first + i + 1) * 2**exponent. The bins cover both extremes and
            zero.
    """

    count: int
    minimum: float
    maximum: float
    exponent: int
    first: int
    counts: NDArray[np.int64]

    @classmethod
    def of(cls, values: NDArray[np.float32]) -> TensorStatistics:
        """The statistics of a float32 array of any shape.

        Raises:
            ValueError: it is empty, holds a value that is not finite, or is not float32.
        """
        return _with(None, values)

    def extended(self, values: NDArray[np.float32]) -> TensorStatistics:
        """The statistics of these values and of others: `merge` with `of(values)`, but faster.

        Raises:
            ValueError: as `of`.
        """
        return _with(self, values)

    def through_sigmoid(self) -> TensorStatistics:
        """The statistics of the sigmoid of these values, each taken as the middle of its bin.

        The sigmoid keeps the order of values, so that the extremes are exact.
        """
        values, counts = self.filled()
        ends = _sigmoid(np.array([self.minimum, self.maximum])).astype(np.float32)
        minimum, maximum = map(float, ends)
        exponent = _exponent(minimum, maximum)
        first, last = _span(minimum, maximum, exponent)
        found = np.clip(np.floor(np.ldexp(_sigmoid(values), -exponent)), first, last)
        weights = np.bincount(found.astype(np.int64) - first, counts, last - first + 1)
        return TensorStatistics(
            self.count, minimum, maximum, exponent, first, weights.astype(np.int64)
        )

    @property
    def width(self) -> float:
        """Width of a bin."""
        return math.ldexp(1.0, self.exponent)

    @property
    def edges(self) -> NDArray[np.float64]:
        """The borders of the bins, (n + 1,), ascending."""
        numbers = np.arange(self.first, self.first + len(self.counts) + 1, dtype=np.float64)
        return np.ldexp(numbers, self.exponent)

    @property
    def centers(self) -> NDArray[np.float64]:
        """The middles of the bins, (n,), ascending."""
        return self.edges[:-1] + self.width / 2

    def filled(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Values and counts of the bins that are not empty, (k,) each, ascending.

        A value is the middle of its bin, within the extremes.
        """
        filled = np.flatnonzero(self.counts)
        values = np.clip(self.centers[filled], self.minimum, self.maximum)
        return values, self.counts[filled].astype(np.float64)


def _sigmoid(x: NDArray[np.float64]) -> NDArray[np.float64]:
    result: NDArray[np.float64] = 0.5 * (1 + np.tanh(x / 2))  # without overflow
    return result


def _with(known: TensorStatistics | None, values: NDArray[np.float32]) -> TensorStatistics:
    """Counted on the grid of the result at once: a finer bin is exactly part of a wider one."""
    if values.dtype != np.float32 or values.size == 0:
        raise ValueError(f"no float32 value: {values.dtype} {values.shape}")
    minimum, maximum = float(values.min()), float(values.max())
    if not (math.isfinite(minimum) and math.isfinite(maximum)):
        raise ValueError("a value is not finite")
    count = values.size
    if known is not None:
        minimum, maximum = min(minimum, known.minimum), max(maximum, known.maximum)
        count += known.count
    exponent = _exponent(minimum, maximum)
    first, last = _span(minimum, maximum, exponent)
    counts = _count(values.reshape(-1), exponent, first, last - first + 1)
    if known is not None:
        _add(counts, known, exponent, first)
    return TensorStatistics(count, minimum, maximum, exponent, first, counts)


def merge(a: TensorStatistics, b: TensorStatistics) -> TensorStatistics:
    """The exact statistics of the values of both together, independent of their order."""
    minimum, maximum = min(a.minimum, b.minimum), max(a.maximum, b.maximum)
    exponent = _exponent(minimum, maximum)
    first, last = _span(minimum, maximum, exponent)
    counts = np.zeros(last - first + 1, np.int64)
    for part in (a, b):
        _add(counts, part, exponent, first)
    return TensorStatistics(a.count + b.count, minimum, maximum, exponent, first, counts)


def _add(counts: NDArray[np.int64], part: TensorStatistics, exponent: int, first: int) -> None:
    """Add the counts of `part` to those of a grid that is as wide or wider."""
    if part.exponent == exponent:
        start = part.first - first
        counts[start : start + len(part.counts)] += part.counts
        return
    # A bin's number has 14 bits: shifting by more than 62 changes nothing more.
    bins = (part.first + np.arange(len(part.counts))) >> min(exponent - part.exponent, 62)
    starts = np.flatnonzero(np.diff(bins, prepend=bins[0] - 1))
    counts[bins[starts] - first] += np.add.reduceat(part.counts, starts)


def _exponent(minimum: float, maximum: float) -> int:
    """The smallest one with which at most BINS bins reach over both extremes and zero."""
    spread = max(maximum, 0.0) - min(minimum, 0.0)
    # frexp: spread < 2**e. With 2**(e - 1) <= spread, half the width cannot be enough.
    exponent = max(math.frexp(spread)[1] - BINS.bit_length(), _SMALLEST_EXPONENT)
    while True:
        first, last = _span(minimum, maximum, exponent)
        if last - first < BINS:
            return exponent
        exponent += 1


def _span(minimum: float, maximum: float, exponent: int) -> tuple[int, int]:
    """The numbers of the first and the last bin."""
    low, high = (math.floor(math.ldexp(v, -exponent)) for v in (minimum, maximum))
    return min(low, 0), max(high, 0)


def _count(values: NDArray[np.float32], exponent: int, first: int, bins: int) -> NDArray[np.int64]:
    """Values in each of `bins` bins; the first of them is bin `first`.

    OpenCV computes floor(value / width - first) in float64, which is exact but for one case: a
    negative value too small to change the sum is taken for zero.
    """
    counts = np.zeros(bins, np.int64)
    below = int(np.count_nonzero(values < 0))
    if exponent > _LARGEST_EXPONENT:
        values, exponent = values / np.float32(4), exponent - 2
    ends = [math.ldexp(first, exponent), math.ldexp(first + bins, exponent)]
    for start in range(0, values.size, _CHUNK):
        chunk = values[start : start + _CHUNK].reshape(1, -1)
        counts += cv2.calcHist([chunk], [0], None, [bins], ends).ravel().astype(np.int64)
    if first < 0:
        tiny = below - int(counts[:-first].sum())
        counts[-first] -= tiny
        counts[-first - 1] += tiny
    return counts
