"""Differences between reference and candidate on one image: pure functions, no verdicts.

Two levels. Raw outputs are compared anchor by anchor, or as sets of rows for an end-to-end head,
where either side gives a score above `SCORE_FLOOR`: below it the distribution of the box head is
nearly uniform and its expectation ill-conditioned. Detections are paired one to one within a
class.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ghost_deploy.core.detections import Detections
from ghost_deploy.judge.pairing import pair_boxes, pair_detections

SCORE_FLOOR = 0.05
"""Anchors with a higher score on either side are compared; the figure is LibreYOLO's."""

TOP_ANCHORS = 100
"""Anchors of each image that are compared where no image has one above the floor."""

_FAINTEST = 1e-12
"""Quiet rows with a lower score, or that the reference does not give, are left out."""

_TINY = 1e-6
"""Scores below this are noise: log-odds are taken of scores cut off here."""

Floats = NDArray[np.float64]


def _none() -> Floats:
    return np.zeros(0, np.float64)


def _no_rows() -> NDArray[np.bool_]:
    return np.zeros(0, np.bool_)


@dataclass(frozen=True, eq=False)
class TensorDiff:
    """Raw differences of one image, a value for each compared row.

    Attributes:
        box_px, score, log_odds: (N,) as in `TensorFigures`.
        above_floor: (N,) whether the row's score is above the floor on either side.
        top: (N,) whether it is among the `TOP_ANCHORS` best of the image.
        quiet, quiet_box_px: (M,) log-odds and box differences of the rows that the reference gives
            a score, but neither side one above the floor.
        nonfinite, reference_nonfinite: NaN or infinite numbers in the whole output.
        problem: why nothing could be compared, or an empty string.
    """

    box_px: Floats = field(default_factory=_none)
    score: Floats = field(default_factory=_none)
    log_odds: Floats = field(default_factory=_none)
    above_floor: NDArray[np.bool_] = field(default_factory=_no_rows)
    top: NDArray[np.bool_] = field(default_factory=_no_rows)
    quiet: Floats = field(default_factory=_none)
    quiet_box_px: Floats = field(default_factory=_none)
    nonfinite: int = 0
    reference_nonfinite: int = 0
    problem: str = ""

    @property
    def usable(self) -> bool:
        """Whether both sides could be compared."""
        return not (self.problem or self.nonfinite or self.reference_nonfinite)


@dataclass(frozen=True, eq=False)
class DetectionDiff:
    """Detection differences of one image; the counts are those of `DetectionFigures`.

    `score`, `box_px` and `iou` are (P,), a value for each pair.
    """

    reference: int
    candidate: int
    matched: int
    borderline: int
    displaced: int
    missing: int
    extra: int
    score: Floats
    box_px: Floats
    iou: Floats


def compare_tensors(
    reference: NDArray[Any], candidate: NDArray[Any], *, end_to_end: bool
) -> TensorDiff:
    """Compare the raw outputs for one image.

    Args:
        reference, candidate: (4 + classes, A), centre x, centre y, width, height in letterboxed
            pixels and class scores; or (K, 6), x1 y1 x2 y2, score, class, if `end_to_end`.
        end_to_end: which of the two. Rows of (K, 6) are compared as sets: ties may be sorted
            in another order, and a row may have moved below the K best.
    """
    if reference.shape != candidate.shape:
        return TensorDiff(
            problem=f"output shape {candidate.shape}, the reference gives {reference.shape}"
        )
    bad = [int(np.count_nonzero(~np.isfinite(side))) for side in (reference, candidate)]
    if any(bad):
        return TensorDiff(reference_nonfinite=bad[0], nonfinite=bad[1])
    sides = reference.astype(np.float64), candidate.astype(np.float64)
    return _compare_rows(*sides) if end_to_end else _compare_anchors(*sides)


def _compare_anchors(reference: Floats, candidate: Floats) -> TensorDiff:
    scores = np.stack([reference[4:], candidate[4:]])
    either = scores.max(axis=0)
    best_class = either.argmax(axis=0)
    best = scores[:, best_class, np.arange(scores.shape[2])]
    return _keep(
        box_px=np.abs(reference[:4] - candidate[:4]).max(axis=0),
        score=np.abs(scores[0] - scores[1]).max(axis=0),
        best=best,
    )


def _compare_rows(reference: Floats, candidate: Floats) -> TensorDiff:
    rows, partners, _ = pair_boxes(
        reference[:, :4], reference[:, 4], reference[:, 5].astype(np.int64),
        candidate[:, :4], candidate[:, 4], candidate[:, 5].astype(np.int64),
    )  # fmt: skip
    alone = [
        np.setdiff1d(np.arange(len(reference)), rows),
        np.setdiff1d(np.arange(len(candidate)), partners),
    ]
    # A row without a partner stands against score 0; it has no box to be compared with.
    first = [reference[rows, 4], reference[alone[0], 4], np.zeros(len(alone[1]))]
    second = [candidate[partners, 4], np.zeros(len(alone[0])), candidate[alone[1], 4]]
    best = np.stack([np.concatenate(first), np.concatenate(second)])
    paired = np.abs(reference[rows, :4] - candidate[partners, :4]).max(axis=1, initial=0.0)
    box_px = np.concatenate([paired, np.zeros(len(alone[0]) + len(alone[1]))])
    return _keep(box_px=box_px, score=np.abs(best[0] - best[1]), best=best)


def _keep(box_px: Floats, score: Floats, best: Floats) -> TensorDiff:
    """Keep the rows that count. `best` is (2, N): the score of each side."""
    either = best.max(axis=0)
    above_floor = either > SCORE_FLOOR
    top = np.zeros(len(either), np.bool_)
    top[np.argsort(-either, kind="stable")[:TOP_ANCHORS]] = True
    top &= either > _TINY
    keep = above_floor | top
    quiet = (best[0] > _FAINTEST) & ~above_floor
    return TensorDiff(
        box_px=box_px[keep],
        score=score[keep],
        log_odds=_log_odds_apart(best[:, keep], _TINY),
        quiet=_log_odds_apart(best[:, quiet], _FAINTEST),
        quiet_box_px=box_px[quiet],
        above_floor=above_floor[keep],
        top=top[keep],
    )


def _log_odds_apart(scores: Floats, least: float) -> Floats:
    """Difference of the log-odds of (2, N) scores, of which lower ones count as `least`."""
    cut = np.clip(scores, least, 1 - _TINY)
    log_odds: Floats = np.log(cut) - np.log1p(-cut)
    apart: Floats = np.abs(log_odds[0] - log_odds[1])
    return apart


def compare_detections(
    reference: Detections, candidate: Detections, *, conf: float, margin: float, min_iou: float
) -> DetectionDiff:
    """Pair the detections of one image.

    A score that lies next to the threshold may fall on different sides of it in two correct
    models. Both arguments therefore reach below `conf`; boxes there count only as partners.
    This is exact: NMS works downwards by score, so lowering the threshold never changes what
    it keeps above.

    Args:
        reference, candidate: post-processed with a threshold of `conf - margin` or lower.
        conf: the threshold that both are judged at.
        margin: how far apart the scores of a pair may be that straddles the threshold.
        min_iou: a pair is matched from this IoU on.
    """
    rows, partners, iou = pair_detections(reference, candidate)
    above = reference.score > conf, candidate.score > conf
    both = above[0][rows] & above[1][partners]
    one = above[0][rows] ^ above[1][partners]
    score = np.abs(reference.score[rows].astype(np.float64) - candidate.score[partners])
    borderline = one & (score <= margin)
    pairs = both | borderline
    good = pairs & (iou >= min_iou)
    moved = np.abs(reference.xyxy[rows].astype(np.float64) - candidate.xyxy[partners])
    totals = [int(side.sum()) for side in above]
    paired = [int((pairs & above[0][rows]).sum()), int((pairs & above[1][partners]).sum())]
    return DetectionDiff(
        reference=totals[0],
        candidate=totals[1],
        matched=int(good.sum()),
        borderline=int((good & borderline).sum()),
        displaced=int((pairs & ~good).sum()),
        missing=totals[0] - paired[0],
        extra=totals[1] - paired[1],
        score=score[pairs],
        box_px=moved.max(axis=1, initial=0.0)[pairs],
        iou=iou[pairs],
    )
