"""Overlap and distributions against slow re-derivations in NumPy."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from tools.training.geometry import ciou, expectation
from tools.training.loss import distribution_loss

RNG = np.random.default_rng(0)


def slow_ciou(a: list[float], b: list[float]) -> float:
    """Equations 1, 7 and 11 of the paper (arXiv:1911.08287, 2005.03572), one pair at a time."""
    width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    area = [(box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)]
    iou = width * height / (sum(area) - width * height)
    centres = [((box[0] + box[2]) / 2, (box[1] + box[3]) / 2) for box in (a, b)]
    around = (
        max(a[2], b[2]) - min(a[0], b[0]),
        max(a[3], b[3]) - min(a[1], b[1]),
    )
    distance = math.dist(*centres) ** 2 / (around[0] ** 2 + around[1] ** 2)
    turns = [math.atan((box[2] - box[0]) / (box[3] - box[1])) for box in (a, b)]
    v = 4 / math.pi**2 * (turns[0] - turns[1]) ** 2
    return iou - distance - v**2 / (1 - iou + v)


def random_boxes(count: int) -> np.ndarray:  # type: ignore[type-arg]
    corner = RNG.uniform(0, 40, (count, 2))
    return np.concatenate([corner, corner + RNG.uniform(2, 60, (count, 2))], 1)


def test_ciou_is_the_papers() -> None:
    a, b = random_boxes(200), random_boxes(200)
    got = ciou(torch.tensor(a), torch.tensor(b)).numpy()
    want = [slow_ciou(x, y) for x, y in zip(a.tolist(), b.tolist(), strict=True)]
    np.testing.assert_allclose(got, want, atol=1e-6)


def test_equal_boxes_overlap_wholly_and_distant_ones_negatively() -> None:
    boxes = torch.tensor([[0.0, 0, 10, 20], [0, 0, 10, 20]])
    others = torch.tensor([[0.0, 0, 10, 20], [100, 100, 110, 120]])
    same, apart = ciou(boxes, others).tolist()
    assert same == pytest.approx(1, abs=1e-6)
    assert -1 < apart < -0.5


def test_no_boxes_and_boxes_without_area() -> None:
    assert ciou(torch.zeros(0, 4), torch.zeros(0, 4)).shape == (0,)
    points = torch.zeros(1, 4, requires_grad=True)
    value = ciou(points, torch.tensor([[0.0, 0, 4, 4]]))
    (grad,) = torch.autograd.grad(value.sum(), points)
    assert torch.isfinite(value).all()
    assert torch.isfinite(grad).all()


def test_expectation_of_a_sure_and_of_an_even_distribution() -> None:
    logits = torch.zeros(2, 16)
    logits[0, 5] = 100
    assert expectation(logits, 1).tolist() == pytest.approx([5, 7.5])
    assert torch.equal(expectation(logits.T, 0), expectation(logits, 1))


def test_distribution_loss_is_the_equation() -> None:
    logits, distance = RNG.normal(size=(7, 4, 16)), RNG.uniform(0, 14.9, (7, 4))
    got = distribution_loss(torch.tensor(logits), torch.tensor(distance)).numpy()
    for index in np.ndindex(7, 4):
        z, y = logits[index], distance[index]
        low = math.floor(y)
        logp = z - math.log(sum(math.exp(value) for value in z))
        want = -((low + 1 - y) * logp[low] + (y - low) * logp[low + 1])
        assert got[index] == pytest.approx(want, rel=1e-9)


@pytest.mark.parametrize(("distance", "bin_"), [(-3.0, 0), (99.0, 15), (4.0, 4)])
def test_distances_beyond_the_bins_are_clipped(distance: float, bin_: int) -> None:
    sure = torch.full((1, 4, 16), -20.0)
    sure[..., bin_] = 20
    loss = distribution_loss(sure, torch.full((1, 4), distance))
    # The last bin is approached to a hundredth, so that its neighbour above exists.
    assert loss.max() < 0.41
