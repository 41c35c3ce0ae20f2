"""Task-aligned assignment against cases worked by hand."""

from __future__ import annotations

import torch
from torch import Tensor

from tools.training.assign import Truth, assign

# Three anchors in a row, 10 pixels apart.
POINTS = torch.tensor([[5.0, 15.0, 25.0], [5.0, 5.0, 5.0]])


def truth(*rows: tuple[int, list[float], int]) -> Truth:
    return Truth(
        torch.tensor([row[0] for row in rows], dtype=torch.int64),
        torch.tensor([row[1] for row in rows]).reshape(-1, 4),
        torch.tensor([row[2] for row in rows], dtype=torch.int64),
    )


def predictions(
    scores: list[list[float]], boxes: list[list[float]], batch: int = 1
) -> tuple[Tensor, Tensor]:
    """(B, nc, A) and (B, 4, A), the same for every image of the batch."""
    return (
        torch.tensor(scores).T.expand(batch, -1, -1),
        torch.tensor(boxes).T.expand(batch, -1, -1),
    )


def test_nothing_to_assign() -> None:
    scores, boxes = predictions([[0.5]] * 3, [[0, 0, 10, 10.0]] * 3)
    found = assign(scores, boxes, POINTS, truth())
    assert len(found.anchor) == len(found.score) == 0


def test_an_object_between_the_anchors_is_learned_by_none() -> None:
    scores, boxes = predictions([[0.5]] * 3, [[7, 0, 13, 10.0]] * 3)
    found = assign(scores, boxes, POINTS, truth((0, [7, 0, 13, 10], 0)))
    assert found.anchor.tolist() == []


def test_only_anchors_inside_learn_and_the_best_gets_the_best_overlap() -> None:
    # Both anchors inside predict the same half of the object: IoU 0.5, and a CIoU of
    # 0.5 - (5^2 / (20^2 + 10^2)) - alpha v with v = 4 / pi^2 (atan 2 - atan 1)^2.
    scores, boxes = predictions([[0.04], [0.16], [0.9]], [[0, 0, 10, 10.0]] * 3)
    found = assign(scores, boxes, POINTS, truth((0, [0, 0, 20, 10], 0)))
    v = 4 / torch.pi**2 * (torch.atan(torch.tensor(2.0)) - torch.atan(torch.tensor(1.0))) ** 2
    overlap = 0.5 - 25 / 500 - v**2 / (0.5 + v)
    by_anchor = dict(zip(found.anchor.tolist(), found.score.tolist(), strict=True))
    assert sorted(by_anchor) == [0, 1]
    # Metrics s^0.5 u^6 are as 0.2 to 0.4.
    torch.testing.assert_close(torch.tensor(by_anchor[1]), overlap, atol=1e-5, rtol=0)
    torch.testing.assert_close(torch.tensor(by_anchor[0]), overlap / 2, atol=1e-5, rtol=0)


def test_the_score_that_counts_is_that_of_the_objects_class() -> None:
    scores, boxes = predictions([[0.9, 0.01], [0.01, 0.9], [0, 0]], [[0, 0, 20, 10.0]] * 3)
    found = assign(scores, boxes, POINTS, truth((0, [0, 0, 20, 10], 1)), topk=1)
    assert found.anchor.tolist() == [1]


def test_topk_takes_the_largest_metric() -> None:
    scores, boxes = predictions([[0.2], [0.9], [0.5]], [[0, 0, 30, 10.0]] * 3)
    for topk, want in ((1, [1]), (2, [1, 2]), (3, [0, 1, 2]), (10, [0, 1, 2])):
        found = assign(scores, boxes, POINTS, truth((0, [0, 0, 30, 10], 0)), topk=topk)
        assert sorted(found.anchor.tolist()) == want


def test_an_anchor_of_two_objects_learns_the_one_it_overlaps_most() -> None:
    scores, boxes = predictions([[0.5]] * 3, [[0, 0, 20, 10.0], [0, 0, 10, 10], [0, 0, 1, 1]])
    small, large = [0.0, 0, 10, 10], [0.0, 0, 20, 10]
    found = assign(scores, boxes, POINTS, truth((0, small, 0), (0, large, 0)))
    assert dict(zip(found.anchor.tolist(), found.truth.tolist(), strict=True)) == {0: 1, 1: 1}
    found = assign(scores, boxes, POINTS, truth((0, large, 0), (0, small, 0)))
    assert dict(zip(found.anchor.tolist(), found.truth.tolist(), strict=True)) == {0: 0, 1: 0}


def test_images_of_a_batch_are_apart() -> None:
    scores, boxes = predictions([[0.5]] * 3, [[0, 0, 10, 10.0]] * 3, batch=3)
    found = assign(scores, boxes, POINTS, truth((2, [0, 0, 10, 10], 0), (0, [0, 0, 10, 10], 0)))
    assert sorted(zip(found.image.tolist(), found.truth.tolist(), strict=True)) == [(0, 1), (2, 0)]
    assert found.score.tolist() == [1.0, 1.0]


def test_predictions_far_from_the_object_are_assigned_with_a_score_of_zero() -> None:
    scores, boxes = predictions([[0.5]] * 3, [[500, 500, 510, 510.0]] * 3)
    found = assign(scores, boxes, POINTS, truth((0, [0, 0, 30, 10], 0)))
    assert found.score.tolist() == [0.0] * 3


def test_tiny_metrics_of_an_untrained_network_still_give_whole_targets() -> None:
    # Overlaps of about 0.01: u^6 is 1e-12, far below any epsilon that one might add.
    scores, boxes = predictions([[0.01]] * 3, [[0, 0, 30, 0.1]] * 3)
    found = assign(scores, boxes, POINTS, truth((0, [0, 0, 30, 10], 0)))
    if len(found.score) and float(found.score.max()) > 0:
        assert float(found.score.max()) < 0.02
