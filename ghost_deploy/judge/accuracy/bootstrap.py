"""Confidence interval of a difference of mAP: images are resampled, for both models alike.

The percentile bootstrap (Efron and Tibshirani, An Introduction to the Bootstrap, 1993, ch. 13),
paired: the difficulty of an image affects both models and cancels in their difference.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ghost_deploy.core.evidence.accuracy import Interval
from ghost_deploy.judge.accuracy.average_precision import ClassTable, coco_classes

RESAMPLES = 500
CONFIDENCE = 0.95


class Resampler:
    """Resampled images, the same ones for every model.

    Args:
        images: number of images in the data set.
        resamples: how often as many images are drawn.
        seed: of the draws.

    Attributes:
        weights: (B, I) int64, how many times each of I images was drawn in each of B resamples.
    """

    def __init__(self, images: int, resamples: int = RESAMPLES, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        shares = np.full(images, 1.0 / images)
        self.weights = rng.multinomial(images, shares, size=resamples)

    def classes(self, tables: Sequence[ClassTable]) -> NDArray[np.float64]:
        """(B, K) AP50-95 of each class on each resample, 0 to 1; NaN where it drew no object."""
        return coco_classes(tables, self.weights)

    @staticmethod
    def interval(reference: NDArray[np.float64], candidate: NDArray[np.float64]) -> Interval:
        """Where the difference candidate - reference lies; (B,) each, 0 to 1."""
        tail = (1 - CONFIDENCE) / 2
        low, high = np.nanquantile(100 * (candidate - reference), (tail, 1 - tail))
        return Interval(low=float(low), high=float(high))
