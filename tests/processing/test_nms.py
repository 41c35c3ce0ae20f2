from __future__ import annotations

import numpy as np
import pytest

from ghost_deploy.processing.nms import MAX_NMS, nms


def brute_force(xyxy, score, class_id, iou, max_det, agnostic):
    """The definition, one float32 scalar at a time."""
    zero, threshold, offset = np.float32(0), np.float32(iou), np.float32(7680)
    shift = [zero if agnostic else np.float32(c) * offset for c in class_id]
    boxes = [[v + s for v in box] for box, s in zip(xyxy, shift, strict=True)]
    kept = []
    for i in sorted(range(len(score)), key=lambda i: (-score[i], i)):
        if len(kept) == max_det:
            break
        if all(overlap(boxes[i], boxes[j], zero) <= threshold for j in kept):
            kept.append(i)
    return kept


def overlap(a, b, zero):
    inter = max(min(a[2], b[2]) - max(a[0], b[0]), zero) * max(
        min(a[3], b[3]) - max(a[1], b[1]), zero
    )
    union = ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1])) - inter
    return inter / union if union > 0 else zero


def check(xyxy, score, class_id, iou, max_det, agnostic):
    xyxy, score = np.asarray(xyxy, np.float32), np.asarray(score, np.float32)
    class_id = np.asarray(class_id, np.int32)
    found = nms(xyxy, score, class_id, iou, max_det, agnostic=agnostic)
    expected = brute_force(xyxy, score, class_id, iou, max_det, agnostic)
    assert found.tolist() == expected


def random_case(rng):
    count = int(rng.integers(0, 25))
    if rng.random() < 0.5:  # whole pixels and few scores: equal boxes, ties, empty boxes
        corner = rng.integers(0, 8, (count, 2))
        xyxy = np.concatenate((corner, corner + rng.integers(0, 8, (count, 2))), axis=1)
        score = rng.integers(1, 5, count) / 4
    else:
        corner = rng.random((count, 2)) * 300
        xyxy = np.concatenate((corner, corner + rng.random((count, 2)) * 300), axis=1)
        score = rng.random(count)
    class_id = rng.integers(0, rng.choice([1, 3, 80]), count)
    iou = float(rng.choice([0, 0.25, 0.45, 0.5, 0.6, 0.7, 1]))
    return xyxy, score, class_id, iou, int(rng.choice([1, 3, 300])), bool(rng.random() < 0.3)


@pytest.mark.parametrize("seed", range(8))
def test_equals_brute_force_on_random_cases(seed):
    rng = np.random.default_rng(seed)
    for _ in range(500):
        check(*random_case(rng))


@pytest.mark.parametrize("iou", [0.1, 0.7])
def test_equals_brute_force_beyond_one_block(iou):
    rng = np.random.default_rng(0)
    corner = rng.random((400, 2)) * 120
    xyxy = np.concatenate((corner, corner + 10 + rng.random((400, 2)) * 30), axis=1)
    score = rng.integers(1, 100, 400) / 100
    for max_det in (1, 20, 128, 300):
        check(xyxy, score, rng.integers(0, 3, 400), iou, max_det, agnostic=False)


def test_nothing_gives_nothing():
    none = nms(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int32), 0.5, 9)
    assert none.tolist() == []
    assert np.issubdtype(none.dtype, np.integer)


SQUARE, SHIFTED, FAR = (0, 0, 10, 10), (1, 0, 11, 10), (50, 50, 60, 60)


@pytest.mark.parametrize(
    ("boxes", "score", "class_id", "limits", "kept"),
    [
        ([SQUARE], [0.9], [0], {}, [0]),
        ([SQUARE, SHIFTED, FAR], [0.5, 0.9, 0.7], [0, 0, 0], {}, [1, 2]),
        ([SQUARE] * 4, [0.5] * 4, [0] * 4, {}, [0]),  # a tie goes to the first
        ([SQUARE] * 3, [0.1, 0.9, 0.9], [2, 1, 0], {}, [1, 2, 0]),  # classes do not meet
        ([SQUARE] * 3, [0.1, 0.9, 0.9], [2, 1, 0], {"agnostic": True}, [1]),
        ([SQUARE, FAR, FAR], [0.5, 0.6, 0.7], [0, 1, 2], {"max_det": 2}, [2, 1]),
        ([(0, 0, 4, 4), (0, 0, 2, 4)], [0.9, 0.8], [0, 0], {"iou": 0.5}, [0, 1]),  # IoU = limit
        ([(0, 0, 5, 1), (0, 0, 3, 1)], [0.9, 0.8], [0, 0], {"iou": 0.6}, [0, 1]),  # in float32
        ([(3, 3, 3, 3)] * 2, [0.9, 0.8], [0, 0], {"iou": 0.0}, [0, 1]),  # no area
    ],
)
def test_cases(boxes, score, class_id, limits, kept):
    limits = {"iou": 0.7, "max_det": 300, **limits}
    columns = (np.array(boxes, np.float32), np.array(score, np.float32), np.array(class_id))
    assert nms(*columns, **limits).tolist() == kept


def test_candidates_beyond_the_limit_are_dropped_by_score():
    # One heap of equal boxes, and two lonely ones: the last in the heap's rank, and one below.
    xyxy = np.full((MAX_NMS + 1, 4), (0, 0, 10, 10), np.float32)
    xyxy[-2:] = FAR, (80, 80, 90, 90)
    score = np.linspace(1, 0.5, MAX_NMS + 1).astype(np.float32)
    kept = nms(xyxy, score, np.zeros(MAX_NMS + 1, np.int32), 0.5, 300)
    assert kept.tolist() == [0, MAX_NMS - 1]


def test_arguments_are_not_changed():
    xyxy = np.array([SQUARE, SHIFTED], np.float32)
    nms(xyxy, np.float32([0.5, 0.6]), np.int32([1, 1]), 0.5, 300)
    assert xyxy.tolist() == [list(SQUARE), list(SHIFTED)]


def test_boxes_of_a_damaged_model_give_no_warning():
    """Finite, but with an area that float32 does not hold."""
    boxes = np.array([[-3e38, -3e38, 3e38, 3e38], [0, 0, 1e30, 1e30], [0, 0, 5, 5]], np.float32)
    kept = nms(boxes, np.float32([0.9, 0.8, 0.7]), np.zeros(3, np.int32), 0.5, 300)
    assert 0 in kept
