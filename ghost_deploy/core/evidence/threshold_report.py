"""Evidence of score thresholds that were chosen on labelled images."""

from __future__ import annotations

from typing import ClassVar

from ghost_deploy.core.evidence.json_document import Document, Part
from ghost_deploy.core.thresholds import ChosenThresholds


class ScoreRange(Part, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The middle 95 % of a figure over resampled images, 0 to 1."""

    low: float
    high: float


class ClassThreshold(Part, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The threshold of one class, and what it gives; figures 0 to 1, at IoU 0.5.

    Attributes:
        name: of the class.
        boxes: labelled objects that count.
        conf: the score threshold, exclusive.
        interval: where it lies when images are drawn again; None where it was not chosen.
        reason: why nothing was chosen and `conf` is the default; empty where it was.
        precision, recall, f1: of the detections above `conf`; None where they are not defined.
        precision_interval, recall_interval: of these.
        curve: precision at recall 0, 0.01, ... 1: of the fewest detections that reach it, 0 where
            none do, rounded to 4 decimals; empty where there is no object.
    """

    name: str
    boxes: int
    conf: float
    interval: ScoreRange | None = None
    reason: str = ""
    precision: float | None = None
    recall: float | None = None
    f1: float | None = None
    precision_interval: ScoreRange | None = None
    recall_interval: ScoreRange | None = None
    curve: tuple[float, ...] = ()


class ThresholdReport(Document, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Score thresholds by class, and the curves that they were chosen from.

    Attributes:
        chosen: what the model's description holds.
        default: the threshold of classes for which nothing was chosen.
        classes: in the order of the class ids.
        confidence, resamples: of the intervals.
    """

    KIND: ClassVar[str] = "thresholds"

    chosen: ChosenThresholds
    default: float
    classes: tuple[ClassThreshold, ...]
    confidence: float
    resamples: int

    def summary(self) -> str:
        """What was chosen, in one sentence."""
        number = len(self.classes) - len(self.chosen.kept)
        kept = f"; {len(self.chosen.kept)} keep {self.default:g}" if self.chosen.kept else ""
        return (
            f"Thresholds chosen for {number} of {len(self.classes)} classes by "
            f"{self.chosen.metric}{kept}"
        )
