"""What an int8 file loses against the float model on the same images, with its interval.

A file need not be judged on all images: as soon as the interval says that it loses little, or more
than it may, further images would not change what is done with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ghost_deploy.judge.accuracy.average_precision import (
    ClassTable,
    class_tables,
    coco_classes,
    coco_map,
)
from ghost_deploy.judge.accuracy.bootstrap import Resampler
from ghost_deploy.judge.accuracy.matching import Matches

LOOK = 48
"""Images between two looks at the interval; each look is a chance to err, so they are few."""

_RESAMPLES = 200


@dataclass(frozen=True)
class Loss:
    """Points of mAP50-95 lost on some images, and the 95 per cent interval; NaN without objects."""

    points: float
    low: float
    high: float


class PairedLoss:
    """Compares the matches of a file with those of the float model, image by image.

    Args:
        reference: matches of the float model, one item an image.
        classes: number of classes.
    """

    def __init__(self, reference: Sequence[Matches], classes: int) -> None:
        self._reference, self._classes = reference, classes

    def of(self, matches: Sequence[Matches]) -> Loss:
        """What is lost on the first images, as many as there are `matches`."""
        images = len(matches)
        ours = class_tables(matches, self._classes)
        theirs = class_tables(self._reference[:images], self._classes)
        resampler = Resampler(images, _RESAMPLES)
        resampled = [coco_map(resampler.classes(tables)) for tables in (theirs, ours)]
        if np.isnan(resampled[0]).all():
            return Loss(np.nan, np.nan, np.nan)
        gained = Resampler.interval(*resampled)
        lost = 100 * float((_once(theirs, images) - _once(ours, images))[0])
        return Loss(lost, -gained.high, -gained.low)

    def decides(self, matches: Sequence[Matches], max_drop: float) -> bool:
        """Whether these images suffice: at most half of the limit is lost, or more than it.

        Between the two all images decide.

        Args:
            matches: of the file, on the first images.
            max_drop: points that may be lost.
        """
        if len(matches) % LOOK or len(matches) == len(self._reference):
            return False
        loss = self.of(matches)
        return loss.high <= max_drop / 2 or loss.low > max_drop


def _once(tables: Sequence[ClassTable], images: int) -> NDArray[np.float64]:
    return coco_map(coco_classes(tables, np.ones((1, images), np.int64)))
