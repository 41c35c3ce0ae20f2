"""Figures of a latency sample, and ratios of two samples of the same rounds."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from ghost_deploy.core.errors import UsageError
from ghost_deploy.core.evidence.latency import Ratio, TimeSummary


def summarize(times_ms: Sequence[float], images: int = 1) -> TimeSummary:
    """The figures of one sample.

    Args:
        times_ms: at least one time.
        images: how many images each time covers, over all concurrent streams.

    Raises:
        UsageError: there is no time.
    """
    values = _filled(times_ms)
    p50, p90, p99 = np.percentile(values, (50, 90, 99)).tolist()
    mean = float(values.mean())
    return TimeSummary(
        count=len(values),
        mean=mean,
        min=float(values.min()),
        p50=p50,
        p90=p90,
        p99=p99,
        max=float(values.max()),
        images_per_second=1000 * images / mean if mean > 0 else 0.0,
    )


def ratio(numerators: Sequence[float], denominators: Sequence[float]) -> Ratio:
    """Compare two things round by round, so that a machine that drifts favors neither.

    Args:
        numerators, denominators: one value above zero for each round.

    Raises:
        UsageError: no round, not as many of one as of the other, or a value of zero.
    """
    above, below = _filled(numerators), _filled(denominators)
    if len(above) != len(below) or not (above > 0).all() or not (below > 0).all():
        raise UsageError(
            "values that were not measured in the same rounds cannot be compared",
            got=f"{len(above)} and {len(below)} values, smallest {min(above.min(), below.min())}",
            expected="as many of each, all above 0",
            fix="Measure both in one run",
        )
    low, median, high = np.percentile(above / below, (25, 50, 75)).tolist()
    return Ratio(median=median, low=low, high=high)


def round_medians(rounds: Sequence[Sequence[float]]) -> list[float]:
    """The median of each round."""
    return [float(np.median(_filled(times))) for times in rounds]


def relative_spread(values: Sequence[float]) -> float:
    """Distance of the quartiles over the median: at 0.1 half of `values` lie within 10 %."""
    low, median, high = np.percentile(_filled(values), (25, 50, 75)).tolist()
    return float((high - low) / median) if median else 0.0


def shuffled(count: int, rounds: int, seed: int = 0) -> Iterator[list[int]]:
    """For each round the indices below `count` in a new order, so that no candidate always runs
    after the same one, with its heat and caches.

    Args:
        count: number of candidates.
        rounds: number of rounds.
        seed: of the orders.
    """
    generator = random.Random(seed)
    for _ in range(rounds):
        order = list(range(count))
        generator.shuffle(order)
        yield order


def _filled(values: Sequence[float]) -> NDArray[np.float64]:
    if not len(values):
        raise UsageError("there are no times to make figures of", fix="Measure at least once")
    return np.asarray(values, np.float64)
