"""Differences of one image: what is compared, what is paired, what is borderline."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from ghost_deploy.core.detections import Detections
from ghost_deploy.core.spec import Thresholds
from ghost_deploy.judge.pairing import pair_boxes
from ghost_deploy.judge.parity.differences import (
    TOP_ANCHORS,
    DetectionDiff,
    compare_detections,
    compare_tensors,
)
from ghost_deploy.processing.letterbox import Letterbox
from ghost_deploy.processing.postprocess import Postprocessor
from tests.support.two_class_model import ANCHORS, SIDE, detections_of, raw_output, two_class_spec

BOX = (10.0, 10.0, 30.0, 30.0)


def pairs(
    reference: Detections, candidate: Detections, margin: float = 0.01, min_iou: float = 0.95
) -> DetectionDiff:
    return compare_detections(reference, candidate, conf=0.25, margin=margin, min_iou=min_iou)


# Raw outputs of heads that need NMS.


def test_no_anchor_at_all() -> None:
    diff = compare_tensors(raw_output([], 0), raw_output([], 0), end_to_end=False)
    assert diff.usable
    assert len(diff.score) == 0


def test_anchors_without_any_score_are_not_compared() -> None:
    diff = compare_tensors(raw_output([]), raw_output([]), end_to_end=False)
    assert not diff.above_floor.any()
    assert not diff.top.any()


def test_other_shapes_are_a_problem() -> None:
    diff = compare_tensors(raw_output([]), raw_output([], 5), end_to_end=False)
    assert not diff.usable
    assert "(6, 5)" in diff.problem


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("side", [0, 1])
def test_numbers_that_are_not_finite_are_counted(value: float, side: int) -> None:
    outputs = [raw_output([(*BOX, 0.9, 0)]), raw_output([(*BOX, 0.9, 0)])]
    outputs[side][2, 7] = value
    diff = compare_tensors(outputs[0], outputs[1], end_to_end=False)
    assert (diff.reference_nonfinite, diff.nonfinite) == ((1, 0) if side == 0 else (0, 1))
    assert not diff.usable


def test_differences_of_a_loud_anchor() -> None:
    reference = raw_output([(*BOX, 0.8, 0)])
    candidate = reference.copy()
    candidate[2, 0] += 0.5
    candidate[5, 0] += 0.125
    diff = compare_tensors(reference, candidate, end_to_end=False)
    assert diff.above_floor.tolist() == [True]
    assert diff.box_px.tolist() == [0.5]
    assert diff.score.tolist() == [0.125]
    assert diff.log_odds.tolist() == [0.0]  # of the best class, which did not change


def test_log_odds_mean_the_same_for_small_scores() -> None:
    small = compare_tensors(
        raw_output([(*BOX, 0.001, 0)]), raw_output([(*BOX, 0.0011, 0)]), end_to_end=False
    )
    assert small.log_odds[0] == pytest.approx(np.log(1.1), rel=1e-2)
    assert not small.above_floor[0]
    assert small.top[0]


@pytest.mark.parametrize(("reference", "candidate"), [(0.9, 0.0), (0.0, 0.9)])
def test_an_anchor_that_one_side_alone_is_confident_of_is_seen(
    reference: float, candidate: float
) -> None:
    diff = compare_tensors(
        raw_output([(*BOX, reference, 1)]), raw_output([(*BOX, candidate, 1)]), end_to_end=False
    )
    assert diff.above_floor.tolist() == [True]
    assert diff.score[0] == pytest.approx(0.9)


def test_boxes_of_quiet_anchors_do_not_count_beside_loud_ones() -> None:
    reference = raw_output([(*BOX, 0.8, 0), (*BOX, 0.04, 0)])
    candidate = reference.copy()
    candidate[0, 1] += 20
    diff = compare_tensors(reference, candidate, end_to_end=False)
    assert diff.box_px[diff.above_floor].max() == 0
    assert diff.box_px[diff.top].max() == 20


def test_the_quiet_selection_is_bounded() -> None:
    rows = [(*BOX, 0.01, 0)] * (TOP_ANCHORS + 50)
    diff = compare_tensors(raw_output(rows, 500), raw_output(rows, 500), end_to_end=False)
    assert diff.top.sum() == len(diff.score) == TOP_ANCHORS


# Raw outputs of end-to-end heads: sets of rows.


def rows_of(*rows: tuple[float, ...]) -> NDArray[np.float32]:
    return np.array(rows, np.float32).reshape(-1, 6)


def test_no_row_at_all() -> None:
    diff = compare_tensors(rows_of(), rows_of(), end_to_end=True)
    assert diff.usable
    assert len(diff.score) == 0


def test_the_order_of_ties_does_not_matter() -> None:
    a, b = (*BOX, 0.5, 0.0), (40.0, 40.0, 60.0, 60.0, 0.5, 0.0)
    diff = compare_tensors(rows_of(a, b), rows_of(b, a), end_to_end=True)
    assert diff.score.tolist() == [0.0, 0.0]
    assert diff.box_px.tolist() == [0.0, 0.0]


def test_one_anchor_with_two_classes_is_two_rows() -> None:
    a, b = (*BOX, 0.5, 0.0), (*BOX, 0.4, 1.0)
    diff = compare_tensors(rows_of(a, b), rows_of(b, a), end_to_end=True)
    assert diff.score.max() == 0


def test_duplicates_are_told_apart_by_their_scores() -> None:
    a, b = (*BOX, 0.9, 0.0), (10.0, 10.0, 30.0, 30.05, 0.4, 0.0)
    diff = compare_tensors(rows_of(a, b), rows_of(b, a), end_to_end=True)
    assert diff.score.max() == 0


@pytest.mark.parametrize("swap", [False, True])
def test_a_row_without_partner_stands_against_zero(swap: bool) -> None:
    sides = rows_of((*BOX, 0.7, 0.0)), rows_of((40.0, 40.0, 60.0, 60.0, 0.01, 0.0))
    diff = compare_tensors(*(sides[::-1] if swap else sides), end_to_end=True)
    assert diff.score[diff.above_floor].tolist() == pytest.approx([0.7])


# Detections.


def test_nothing_on_either_side() -> None:
    diff = pairs(Detections.empty(), Detections.empty())
    assert (diff.reference, diff.candidate, diff.matched, diff.missing, diff.extra) == (0,) * 5
    assert len(diff.score) == len(diff.box_px) == len(diff.iou) == 0


# reference rows, candidate rows, (matched, borderline, displaced, missing, extra)
FAR = (40.0, 40.0, 60.0, 60.0)
CASES = {
    "equal": ([(*BOX, 0.9, 0)], [(*BOX, 0.9, 0)], (1, 0, 0, 0, 0)),
    "missing": ([(*BOX, 0.9, 0)], [], (0, 0, 0, 1, 0)),
    "extra": ([], [(*BOX, 0.9, 0)], (0, 0, 0, 0, 1)),
    "another class": ([(*BOX, 0.9, 0)], [(*BOX, 0.9, 1)], (0, 0, 0, 1, 1)),
    "elsewhere": ([(*BOX, 0.9, 0)], [(*FAR, 0.9, 0)], (0, 0, 0, 1, 1)),
    "moved": ([(*BOX, 0.9, 0)], [(10, 10, 30, 33, 0.9, 0)], (0, 0, 1, 0, 0)),
    "one partner for two": (
        [(*BOX, 0.9, 0), (10, 10, 30, 34, 0.8, 0)], [(*BOX, 0.9, 0)], (1, 0, 0, 1, 0)
    ),
    "just below on one side": ([(*BOX, 0.255, 0)], [(*BOX, 0.247, 0)], (1, 1, 0, 0, 0)),
    "just above on one side": ([(*BOX, 0.247, 0)], [(*BOX, 0.255, 0)], (1, 1, 0, 0, 0)),
    "exactly at the threshold": ([(*BOX, 0.25, 0)], [(*BOX, 0.2501, 0)], (1, 1, 0, 0, 0)),
    "below, but elsewhere": ([(*BOX, 0.255, 0)], [(*FAR, 0.247, 0)], (0, 0, 0, 1, 0)),
    "below, but moved": ([(*BOX, 0.255, 0)], [(10, 10, 30, 33, 0.247, 0)], (0, 0, 1, 0, 0)),
    "below, but another class": ([(*BOX, 0.255, 0)], [(*BOX, 0.247, 1)], (0, 0, 0, 1, 0)),
    "too far above": ([(*BOX, 0.27, 0)], [(*BOX, 0.249, 0)], (0, 0, 0, 1, 0)),
    "too far below": ([(*BOX, 0.2, 0)], [(*BOX, 0.251, 0)], (0, 0, 0, 0, 1)),
    "both below": ([(*BOX, 0.247, 0)], [(*BOX, 0.249, 0)], (0, 0, 0, 0, 0)),
    "alone below": ([(*BOX, 0.247, 0)], [], (0, 0, 0, 0, 0)),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_counts(name: str) -> None:
    reference, candidate, expected = CASES[name]
    diff = pairs(detections_of(reference), detections_of(candidate))
    found = (diff.matched, diff.borderline, diff.displaced, diff.missing, diff.extra)
    assert found == expected


def test_the_margin_belongs_to_the_gate() -> None:
    reference, candidate = detections_of([(*BOX, 0.2501, 0)]), detections_of([(*BOX, 0.2495, 0)])
    assert pairs(reference, candidate, margin=0.01).borderline == 1
    assert pairs(reference, candidate, margin=1e-4).missing == 1


def test_differences_of_pairs() -> None:
    diff = pairs(detections_of([(*BOX, 0.9, 0)]), detections_of([(10, 10, 30, 30.5, 0.85, 0)]))
    assert diff.score.tolist() == pytest.approx([0.05])
    assert diff.box_px.tolist() == [0.5]
    assert diff.iou.tolist() == pytest.approx([400 / 410])


def test_a_low_box_does_not_take_the_partner_of_a_high_one() -> None:
    reference = detections_of([(*BOX, 0.9, 0)])
    candidate = detections_of([(*BOX, 0.9, 0), (10, 10, 30, 29, 0.245, 0)])
    diff = pairs(reference, candidate)
    assert (diff.matched, diff.extra) == (1, 0)
    assert diff.score.max() == 0


@pytest.mark.parametrize("height", [0.0, 0.001])
def test_slivers_at_the_border_match_by_their_place(height: float) -> None:
    """A box that was clipped to a line has no area, and no meaningful IoU."""
    line = [(10, 0, 30, height, 0.9, 0)]
    assert pairs(detections_of(line), detections_of([(10, 0, 30, 0.002, 0.9, 0)])).matched == 1
    assert pairs(detections_of(line), detections_of([(10, 5, 30, 5, 0.9, 0)])).matched == 0


def test_pairing_is_one_to_one_and_finds_every_shuffled_box() -> None:
    rng = np.random.default_rng(0)
    corner = rng.uniform(0, 400, (60, 2))
    xyxy = np.concatenate([corner, corner + rng.uniform(5, 60, (60, 2))], axis=1)
    score, class_id = rng.uniform(0.3, 1, 60), rng.integers(0, 3, 60)
    order = rng.permutation(60)
    first, second, iou = pair_boxes(
        xyxy, score, class_id, xyxy[order], score[order], class_id[order]
    )
    assert sorted(first.tolist()) == list(range(60))
    assert np.array_equal(order[second], first)
    assert iou.min() > 0.999


@pytest.mark.parametrize("seed", range(5))
def test_lowering_the_threshold_changes_nothing_above_it(seed: int) -> None:
    """What the comparison relies on, shown with the real post-processing on crowded boxes."""
    rng = np.random.default_rng(seed)
    rows = []
    for _ in range(ANCHORS):
        x, y = rng.uniform(0, SIDE - 8, 2)
        width, height = rng.uniform(4, 30, 2)
        rows.append((x, y, x + width, y + height, rng.uniform(0.2, 0.4), rng.integers(2)))
    spec = two_class_spec()
    box = Letterbox.fit((48, 64), (SIDE, SIDE))
    outputs = {"output0": raw_output(rows)[None]}
    post = Postprocessor(spec)
    for max_det in (3, 300):
        (high,) = post(outputs, [box], Thresholds(conf=0.25, max_det=max_det))
        (low,) = post(outputs, [box], Thresholds(conf=0.24, max_det=max_det))
        assert len(high) > 2
        assert np.array_equal(low[low.score > 0.25].xyxy, high.xyxy)
