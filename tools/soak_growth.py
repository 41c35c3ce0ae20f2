"""How fast the memory of a soak grows, with standard errors that allow for samples being alike."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tools.soak_samples import Sample


def slope(samples: Sequence[Sample]) -> tuple[float, float]:
    """Growth of the resident memory, MiB an hour by least squares, and its standard error.

    Residuals of neighbours are alike, so blocks of a twentieth of the run count as one sample;
    `fit` allows for what is left of that.
    """
    blocks = split(samples, 20)
    return fit(blocks, [float(np.mean([each.rss_mib for each in block])) for block in blocks])


def used_slope(samples: Sequence[Sample]) -> tuple[float, float]:
    """The same of the memory in use, of which free memory that the allocator keeps is no part.

    Of each tenth of the run its lower quartile: few frames were under way, and it lasts longer
    than the moments in which a camera is away.
    """
    blocks = split(samples, 10)
    return fit(blocks, [low_used(block) for block in blocks])


def low_used(block: Sequence[Sample]) -> float:
    return float(np.percentile([each.used_mib for each in block], 25))


def split(samples: Sequence[Sample], parts: int) -> list[list[Sample]]:
    """Parts of equal length, without empty ones."""
    blocks = np.array_split(np.arange(len(samples)), parts)
    return [[samples[i] for i in block] for block in blocks if len(block)]


def fit(blocks: Sequence[Sequence[Sample]], values: Sequence[float]) -> tuple[float, float]:
    """Rise of one value a block by least squares, an hour, and its standard error."""
    hours = np.array([np.mean([each.at_s for each in block]) for block in blocks]) / 3600
    mib = np.array(values)
    centred = hours - hours.mean()
    rate = float(centred @ mib / (centred @ centred))
    residual = mib - mib.mean() - rate * centred
    freedom = max(1, len(blocks) - 2)
    error = float(np.sqrt(residual @ residual / freedom / (centred @ centred)))
    return rate, error * _inflation(residual)


def _inflation(residual: NDArray[np.float64]) -> float:
    """By how much the standard error of a slope is too small, because residuals that follow each
    other are alike: sqrt((1 + r) / (1 - r)) with their correlation r, as for an autoregressive
    series (Bartlett 1935). The fit of a line takes about (1 + 4 r) / n of it, which is given back.
    """
    power = float(residual @ residual)
    if len(residual) < 5 or power == 0:
        return 1.0
    found = float(residual[1:] @ residual[:-1]) / power
    n = len(residual)
    r = min(max((found + 1 / n) / (1 - 4 / n), 0.0), 0.9)
    return float(np.sqrt((1 + r) / (1 - r)))
