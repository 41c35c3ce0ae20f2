"""What parity measures, as values that go into the report: numbers only, no verdict."""

from __future__ import annotations

import msgspec

__all__ = ["DetectionFigures", "Spread", "TensorFigures", "WorstImage"]


class Spread(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Distribution of absolute differences over `count` values; all 0.0 when there is none.

    `p99` is rounded up to the next step of a logarithmic scale, at most 2.4 % above the exact
    percentile.
    """

    count: int = 0
    max: float = 0.0
    mean: float = 0.0
    p99: float = 0.0


class TensorFigures(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Raw outputs on identical input tensors.

    Attributes:
        input_max: largest difference between the input tensors that the artifact's description
            and the reference's make of one image; the outputs come from the reference's tensor.
        compared: anchors (or rows of an end-to-end head) that were compared, over all images.
        selection: which: `score > 0.05` on either side, or `top 100` of each image where nothing
            reached that on any image.
        box_px: largest difference of an anchor's four box channels, letterboxed pixels.
        score: largest difference of an anchor's class scores.
        log_odds: difference of log(p / (1 - p)) of the anchor's best class: means the same for
            small scores as for large ones.
        nonfinite: NaN or infinite numbers in the candidate's outputs.
        reference_nonfinite: the same in the reference's.
        problem: why outputs could not be compared at all, or an empty string.
    """

    input_max: float = 0.0
    compared: int = 0
    selection: str = ""
    box_px: Spread = Spread()
    score: Spread = Spread()
    log_odds: Spread = Spread()
    nonfinite: int = 0
    reference_nonfinite: int = 0
    problem: str = ""


class WorstImage(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The image that agrees least.

    Unusable outputs count most, then unmatched detections, then the difference of scores, then
    of boxes.

    Attributes:
        name: of the image.
        unusable: the raw outputs could not be compared.
        unmatched: detections that are displaced, missing or extra.
        max_score: of detections, and of raw outputs where nothing was found.
        max_box_px: of detections, source pixels.
    """

    name: str
    unusable: bool = False
    unmatched: int = 0
    max_score: float = 0.0
    max_box_px: float = 0.0


class DetectionFigures(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Detections after post-processing, paired one to one within a class.

    Attributes:
        reference: detections of the reference above the threshold, over all images.
        candidate: the same of the candidate.
        matched: pairs whose IoU reaches the gate's bar; includes the borderline ones.
        borderline: pairs of which one side is above the score threshold and the other below it
            by no more than the gate's score difference.
        displaced: pairs whose IoU misses the gate's bar.
        missing: reference detections without a partner.
        extra: candidate detections without a partner.
        score: differences of the pairs' scores.
        box_px: largest coordinate difference of each pair, source pixels.
        min_iou: of all pairs; 1.0 when there is none.
        worst: None when no image was compared.
    """

    reference: int = 0
    candidate: int = 0
    matched: int = 0
    borderline: int = 0
    displaced: int = 0
    missing: int = 0
    extra: int = 0
    score: Spread = Spread()
    box_px: Spread = Spread()
    min_iou: float = 1.0
    worst: WorstImage | None = None

    @property
    def total(self) -> int:
        """Pairs and unpaired detections of both sides: what `matched` is a part of."""
        return self.matched + self.displaced + self.missing + self.extra

    @property
    def matched_share(self) -> float:
        """`matched` over `total`, 0 to 1; 0.0 when nothing was found on either side."""
        return self.matched / self.total if self.total else 0.0
