"""Gather the differences of one image after another in constant memory."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ghost_deploy.core.evidence.parity import DetectionFigures, Spread, TensorFigures, WorstImage
from ghost_deploy.judge.parity.differences import (
    SCORE_FLOOR,
    TOP_ANCHORS,
    DetectionDiff,
    TensorDiff,
)

_STEPS_PER_DECADE = 100
_LOWEST = 1e-12
_DECADES = 24
_STEPS = np.arange(_STEPS_PER_DECADE * _DECADES + 1)
_UPPER = np.append(_LOWEST * 10.0 ** (_STEPS / _STEPS_PER_DECADE), np.inf)
"""Upper limit of each bin of the histogram, inclusive."""


class SpreadTally:
    """Count, maximum, mean and 99th percentile of absolute differences.

    The percentile comes from a histogram with 100 steps a decade, so that memory does not grow
    with the number of images.
    """

    def __init__(self) -> None:
        self._counts = np.zeros(len(_UPPER), np.int64)
        self._total = 0.0
        self._max = 0.0

    def add(self, values: NDArray[np.float64]) -> None:
        """Add differences, (N,) float64, finite and >= 0."""
        if len(values):
            places = np.searchsorted(_UPPER, values)
            self._counts += np.bincount(places, minlength=len(self._counts))
            self._total += float(values.sum())
            self._max = max(self._max, float(values.max()))

    def spread(self) -> Spread:
        """The figures so far."""
        count = int(self._counts.sum())
        if not count:
            return Spread()
        place = np.searchsorted(np.cumsum(self._counts), 0.99 * count)
        p99 = min(float(_UPPER[place]), self._max)
        return Spread(count=count, max=self._max, mean=self._total / count, p99=p99)


class _RawTally:
    def __init__(self) -> None:
        self.box_px, self.score, self.log_odds = SpreadTally(), SpreadTally(), SpreadTally()

    def add(self, diff: TensorDiff, rows: NDArray[np.bool_]) -> None:
        self.box_px.add(diff.box_px[rows])
        self.score.add(diff.score[rows])
        self.log_odds.add(diff.log_odds[rows])


class Tally:
    """The figures of one candidate over all images."""

    def __init__(self) -> None:
        self._above_floor, self._top = _RawTally(), _RawTally()
        self._quiet, self._quiet_box_px = SpreadTally(), SpreadTally()
        self._nonfinite = self._reference_nonfinite = 0
        self._input_max = 0.0
        self._problem = ""
        self._counts = dict.fromkeys(
            ("reference", "candidate", "matched", "borderline", "displaced", "missing", "extra"), 0
        )
        self._score, self._box_px = SpreadTally(), SpreadTally()
        self._min_iou = 1.0
        self._worst: WorstImage | None = None

    def add(
        self, image: str, tensor: TensorDiff, found: DetectionDiff, input_max: float = 0.0
    ) -> None:
        """Add the differences of one image.

        Args:
            image: its name.
            tensor: of the raw outputs.
            found: of the detections.
            input_max: as in `TensorFigures`.
        """
        if tensor.problem:
            self._problem = self._problem or f"{image}: {tensor.problem}"
        self._input_max = max(self._input_max, input_max)
        self._nonfinite += tensor.nonfinite
        self._reference_nonfinite += tensor.reference_nonfinite
        self._above_floor.add(tensor, tensor.above_floor)
        self._top.add(tensor, tensor.top)
        self._quiet.add(tensor.quiet)
        self._quiet_box_px.add(tensor.quiet_box_px)
        for name in self._counts:
            self._counts[name] += int(getattr(found, name))
        self._score.add(found.score)
        self._box_px.add(found.box_px)
        self._min_iou = min(self._min_iou, float(found.iou.min(initial=1.0)))
        here = _worst(image, tensor, found)
        if self._worst is None or _badness(here) > _badness(self._worst):
            self._worst = here

    def tensor(self) -> TensorFigures:
        """Raw figures: of the anchors above the floor if there is any, else of the best ones."""
        any_above = self._above_floor.score.spread().count > 0
        chosen = self._above_floor if any_above else self._top
        score = chosen.score.spread()
        return TensorFigures(
            input_max=self._input_max,
            compared=score.count,
            selection=f"score > {SCORE_FLOOR:g}" if any_above else f"top {TOP_ANCHORS}",
            box_px=chosen.box_px.spread(),
            score=score,
            log_odds=chosen.log_odds.spread(),
            quiet_log_odds=self._quiet.spread().mean,
            quiet_box_px=self._quiet_box_px.spread().mean,
            nonfinite=self._nonfinite,
            reference_nonfinite=self._reference_nonfinite,
            problem=self._problem,
        )

    def detections(self) -> DetectionFigures:
        """Detection figures over all images so far."""
        return DetectionFigures(
            **self._counts,
            score=self._score.spread(),
            box_px=self._box_px.spread(),
            min_iou=self._min_iou,
            worst=self._worst,
        )


def _worst(image: str, tensor: TensorDiff, found: DetectionDiff) -> WorstImage:
    score = found.score if len(found.score) else tensor.score
    return WorstImage(
        name=image,
        unusable=not tensor.usable,
        unmatched=found.displaced + found.missing + found.extra,
        max_score=float(score.max(initial=0.0)),
        max_box_px=float(found.box_px.max(initial=0.0)),
    )


def _badness(image: WorstImage) -> tuple[bool, int, float, float]:
    return image.unusable, image.unmatched, image.max_score, image.max_box_px
