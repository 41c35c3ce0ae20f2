"""The score threshold of one class that fulfils a wish, from detections matched at IoU 0.5."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ghost_deploy.core.errors import UsageError
from ghost_deploy.judge.accuracy.average_precision import ClassTable

LEAST_SCORE = 0.01
"""No threshold is chosen below it, and detections below it are not looked at."""

_AT_50 = 0  # place among the IoU thresholds
_NUMBERS_AT_ONCE = 4_000_000
_DIGITS = 4


@dataclass(frozen=True)
class ThresholdMetric:
    """What a threshold is chosen for.

    `f1` takes the threshold of the best F1 score; `precision` the lowest one above which that
    precision holds, so that recall is largest; `recall` the highest one that still reaches that
    recall.

    Attributes:
        kind: `f1`, `precision` or `recall`.
        target: the precision or recall, above 0 and up to 1; 0 for `f1`.
    """

    kind: str
    target: float = 0.0

    @classmethod
    def parse(cls, text: str) -> ThresholdMetric:
        """`f1`, `precision=0.95` or `recall=0.9`.

        Raises:
            UsageError: it is none of these.
        """
        kind, equals, value = text.strip().partition("=")
        try:
            target = float(value) if equals else 0.0
        except ValueError:
            target = -1.0
        if (kind == "f1" and not equals) or (kind in ("precision", "recall") and 0 < target <= 1):
            return cls(kind, target)
        raise UsageError(
            f"there is no metric {text!r} to choose thresholds by",
            expected="f1, precision=P or recall=R, with P and R above 0 and up to 1",
            fix="Name one of these",
        )

    def __str__(self) -> str:
        return self.kind if self.kind == "f1" else f"{self.kind}={self.target:g}"


@dataclass(frozen=True, eq=False)
class ScoreSteps:
    """The detections of a class, best first, at every place where a threshold may lie.

    Attributes:
        conf: (S,) a threshold behind each step, descending.
        score: (S,) the lowest score in front of it.
        image: (D,) index of the image of each detection.
        hit: (D,) bool: it found an object.
        last: (S,) index of the last detection of each step.
        objects: (I,) number of objects in each image.
    """

    conf: NDArray[np.float64]
    score: NDArray[np.float64]
    image: NDArray[np.intp]
    hit: NDArray[np.bool_]
    last: NDArray[np.intp]
    objects: NDArray[np.int64]

    @classmethod
    def of(cls, table: ClassTable) -> ScoreSteps:
        """The steps of a table with scores; detections in crowd regions do not count."""
        kept = ~table.ignored[_AT_50] & (table.score > LEAST_SCORE)
        score = table.score[kept]
        # Equal scores are on one side of any threshold.
        last = np.flatnonzero(np.append(score[1:] < score[:-1], [True])[: len(score)])
        after = np.append(score, LEAST_SCORE)[last + 1]
        conf = np.array([_between(a, b) for a, b in zip(score[last], after, strict=True)])
        return cls(
            conf, score[last], table.image[kept], table.hit[_AT_50][kept], last, table.objects
        )

    def figures(
        self, weights: NDArray[np.int64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Precision and recall behind each step, (B, S) each, of weighted images.

        Args:
            weights: (B, I) how many times each image occurs in each of B samples.
        """
        copies = weights[:, self.image]
        seen = np.cumsum(copies, axis=1)[:, self.last]
        found = np.cumsum(copies * self.hit, axis=1)[:, self.last]
        objects = np.maximum(weights @ self.objects, 1)[:, None]
        return found / np.maximum(seen, 1), found / objects


def _between(above: float, below: float) -> float:
    """A threshold that lets `above` through and not `below`, of few digits if there is one.

    Detections are compared with it in float32.
    """
    middle = (above + below) / 2
    short = round(middle, _DIGITS)
    fits = np.float32(below) <= np.float32(short) < np.float32(above)
    return short if fits else float(np.float32(below))


def choose_step(
    metric: ThresholdMetric, precision: NDArray[np.float64], recall: NDArray[np.float64]
) -> NDArray[np.intp]:
    """The step that fulfils the metric in each of (B, S) samples, (B,); -1 where none does."""
    if not precision.shape[1]:
        return np.full(len(precision), -1, np.intp)
    if metric.kind == "f1":
        f1 = f1_of(precision, recall)
        return np.where(f1.max(axis=1) > 0, f1.argmax(axis=1), -1)
    figure = precision if metric.kind == "precision" else recall
    reached = figure >= metric.target - 1e-12
    # The lowest threshold of a precision, the highest of a recall.
    first = reached.argmax(axis=1)
    last = reached.shape[1] - 1 - reached[:, ::-1].argmax(axis=1)
    return np.where(reached.any(axis=1), last if metric.kind == "precision" else first, -1)


def f1_of(precision: NDArray[np.float64], recall: NDArray[np.float64]) -> NDArray[np.float64]:
    """The harmonic mean of precision and recall; 0 where both are."""
    total = precision + recall
    result: NDArray[np.float64] = 2 * precision * recall / np.where(total > 0, total, 1)
    return result


def resampled(
    steps: ScoreSteps, metric: ThresholdMetric, step: int, weights: NDArray[np.int64]
) -> NDArray[np.float64]:
    """What resampled images give: (B, 3), the threshold that they would choose, and precision and
    recall behind `step`; NaN where a sample chooses none, or has no object or detection.

    Args:
        steps: of the class.
        metric: what is chosen for.
        step: that was chosen on all images.
        weights: (B, I) how many times each image occurs in each sample.
    """
    at_once = max(1, _NUMBERS_AT_ONCE // max(1, len(steps.image)))
    parts = []
    for start in range(0, len(weights), at_once):
        part = weights[start : start + at_once]
        precision, recall = steps.figures(part)
        chosen = choose_step(metric, precision, recall)
        conf = np.where(chosen >= 0, steps.conf[chosen], np.nan)
        there = part @ steps.objects > 0
        seen = part[:, steps.image[: steps.last[step] + 1]].any(axis=1)
        parts.append(
            np.stack(
                [
                    np.where(there, conf, np.nan),
                    np.where(seen, precision[:, step], np.nan),
                    np.where(there, recall[:, step], np.nan),
                ],
                axis=1,
            )
        )
    return np.concatenate(parts)


def raw_curve(precision: NDArray[np.float64], recall: NDArray[np.float64]) -> tuple[float, ...]:
    """Precision at recall 0, 0.01, ... 1, of the first step that reaches it; 0 beyond the last.

    Args:
        precision, recall: (S,) behind each step; recall does not fall.
    """
    if not len(recall):
        return (0.0,) * 101
    place = np.searchsorted(recall, np.linspace(0, 1, 101) - 1e-12)
    values = np.append(precision, 0.0)[np.minimum(place, len(precision))]
    return tuple(np.round(values, 4).tolist())
