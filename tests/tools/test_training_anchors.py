"""The loss of heads with anchors: assignment against a plain loop, and what a step learns."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch
from torch import Tensor

from ghost_deploy.models.anchor_head import AnchorDetect
from ghost_deploy.models.network import DetectionNet
from tests.support.anchor_detectors import anchor_net
from tests.support.training_data import OPTIONS, SIDE, scene_samples, small_data
from tools.training import loop
from tools.training.anchor_loss import AnchorLosses, anchor_loss, assign_anchors
from tools.training.assign import Truth
from tools.training.batches import collate
from tools.training.loss import network_loss
from tools.training.network import describe_network, start_network

NET = msgspec.structs.replace(OPTIONS, net="yolov5n-ghost")
SIZES_HW, STRIDES = [(8, 12), (4, 6)], (8, 16)
ANCHORS = torch.tensor([[[10.0, 13.0], [16.0, 30.0]], [[33.0, 23.0], [30.0, 61.0]]])


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def quiet(_: str) -> None:
    pass


def truth_of(boxes: list[list[float]], classes: int = 1) -> Truth:
    count = len(boxes)
    return Truth(
        torch.zeros(count, dtype=torch.int64),
        torch.tensor(boxes).reshape(-1, 4),
        torch.arange(count) % classes,
    )


def wanted(truth: Truth) -> list[tuple[int, int]]:
    """(anchor, object) by the definition, one anchor after another."""
    found, index = [], 0
    for (rows, columns), stride, level in zip(SIZES_HW, STRIDES, ANCHORS.tolist(), strict=True):
        for width, height in level:
            for row, column in itertools.product(range(rows), range(columns)):
                for number, (x1, y1, x2, y2) in enumerate(truth.boxes.tolist()):
                    ratios = ((x2 - x1) / width, (y2 - y1) / height)
                    if not all(0.25 < ratio < 4 for ratio in ratios):
                        continue
                    x, y = (x1 + x2) / 2 / stride, (y1 + y2) / 2 / stride
                    # The centre is in the cell, or within half a cell beside it.
                    apart = (x - column - 0.5, y - row - 0.5)
                    near = [abs(each) <= 0.5 for each in apart]
                    beside = [0.5 < abs(each) < 1 for each in apart]
                    if all(near) or (any(near) and any(beside)):
                        found.append((index, number))
                index += 1
    return sorted(found)


def pairs(truth: Truth) -> list[tuple[int, int]]:
    found = assign_anchors(SIZES_HW, STRIDES, ANCHORS, truth)
    return sorted(zip(found.anchor.tolist(), found.truth.tolist(), strict=True))


def test_nothing_to_assign() -> None:
    assert pairs(truth_of([])) == []
    assert pairs(truth_of([[0, 0, 2.4, 40]])) == [], "too narrow for all anchors"


@pytest.mark.parametrize("seed", range(4))
def test_the_cells_and_anchors_of_the_definition(seed: int) -> None:
    rng = np.random.default_rng(seed)
    centre, half = rng.uniform((0, 0), (96, 64), (9, 2)), rng.uniform(3, 40, (9, 2))
    truth = truth_of(np.concatenate((centre - half, centre + half), 1).tolist())
    found = pairs(truth)
    assert found == wanted(truth)
    assert len(found) > 20


def test_at_the_edge_no_cell_outside_is_taken() -> None:
    truth = truth_of([[-8, -8, 10, 10], [86, 56, 102, 71]])
    assert pairs(truth) == wanted(truth)


def head_and_logits(nc: int = 2) -> tuple[AnchorDetect, Tensor]:
    head = AnchorDetect(nc, (4, 4), ANCHORS.flatten(1).tolist(), STRIDES)
    count = sum(2 * rows * columns for rows, columns in SIZES_HW)
    return head, torch.zeros(1, count, 5 + nc).requires_grad_()


def exact_logits(head: AnchorDetect, logits: Tensor, truth: Truth) -> Tensor:
    """Logits with which each assigned anchor predicts its object."""
    exact = torch.full_like(logits, -20.0).detach()
    index = 0
    found = dict(pairs(truth))
    for (rows, columns), stride, level in zip(SIZES_HW, STRIDES, ANCHORS.tolist(), strict=True):
        for width, height in level:
            for row, column in itertools.product(range(rows), range(columns)):
                if index in found:
                    x1, y1, x2, y2 = truth.boxes[found[index]].tolist()
                    shares = [
                        ((x1 + x2) / 2 / stride - column + 0.5) / 2,
                        ((y1 + y2) / 2 / stride - row + 0.5) / 2,
                        math.sqrt((x2 - x1) / width) / 2,
                        math.sqrt((y2 - y1) / height) / 2,
                    ]
                    exact[0, index, :4] = torch.logit(torch.tensor(shares))
                    exact[0, index, 4] = 20
                    exact[0, index, 5 + int(truth.class_id[found[index]])] = 20
                index += 1
    return exact


def test_the_exact_prediction_has_no_loss() -> None:
    truth = truth_of([[20, 20, 41, 44], [60, 10, 75, 36]], classes=2)
    head, logits = head_and_logits()
    losses = anchor_loss(head, exact_logits(head, logits, truth), SIZES_HW, truth)
    assert float(losses.total) < 1e-4
    worse = anchor_loss(head, logits.detach(), SIZES_HW, truth)
    assert all(float(worse.parts[name]) > 1e-3 for name in losses.parts)


def test_without_objects_only_the_objectness_learns() -> None:
    head, logits = head_and_logits()
    losses = anchor_loss(head, logits, SIZES_HW, truth_of([]))
    assert float(losses.box.detach()) == float(losses.score.detach()) == 0
    torch.autograd.backward(losses.total)
    assert logits.grad is not None
    assert bool((logits.grad[..., 4] > 0).all())
    assert not logits.grad[..., :4].any()


def test_the_target_of_the_objectness_is_the_overlap() -> None:
    """The gradient of the cross-entropy is the probability less the target."""
    truth = truth_of([[20, 20, 41, 44]])
    head, logits = head_and_logits(1)
    losses = anchor_loss(head, logits, SIZES_HW, truth)
    assert float(losses.score.detach()) == 0, "a single class is not trained"
    torch.autograd.backward(losses.objectness)
    assert logits.grad is not None
    taken = [anchor for anchor, _ in pairs(truth)]
    others = np.setdiff1d(np.arange(logits.shape[1]), taken)
    per_level = [2 * rows * columns for rows, columns in SIZES_HW]
    rates = torch.cat([torch.full((n,), 1 / n) for n in per_level])
    gradient = logits.grad[0, :, 4] / rates
    usual = {round(float(value), 6) for value in gradient[others]}
    assert len(usual) == 2, "one value a level"
    assert bool((gradient[taken] < gradient[others].max()).all())


def test_a_few_steps_learn_a_batch() -> None:
    net = anchor_net(6).train().requires_grad_(True)
    images, truth = collate(scene_samples(2, 96))
    optimizer = torch.optim.AdamW(net.parameters(), lr=5e-3)
    seen = []
    for _ in range(25):
        losses = network_loss(net, images, truth)
        assert isinstance(losses, AnchorLosses)
        optimizer.zero_grad()
        torch.autograd.backward(losses.total)
        optimizer.step()
        seen.append({name: float(part.detach()) for name, part in losses.parts.items()})
    # The objectness has the overlap for its target, which grows.
    for name in ("box", "score"):
        assert seen[-1][name] < 0.8 * seen[0][name], name


def test_a_run_is_repeated_exactly_and_describes_its_head(tmp_path: Path) -> None:
    said: list[str] = []
    first, second = (
        loop.train(NET, small_data(), tmp_path / f"{name}.pt", say=said.append)
        for name in ("a", "b")
    )
    assert "objectness" in said[0]
    assert equal(first, second)
    spec = describe_network(first, NET, tuple("abcdef"))
    assert spec.head.decoder == "anchors"
    assert spec.head.anchor_sizes[0][0] == (10.0, 13.0)
    assert spec.thresholds.iou == 0.45
    assert spec.input.size_hw == (SIDE, SIDE)


def equal(a: DetectionNet, b: DetectionNet) -> bool:
    states = zip(a.state_dict().values(), b.state_dict().values(), strict=True)
    return all(torch.equal(x, y) for x, y in states)


@pytest.mark.parametrize("classes", [1, 6])
def test_the_start_expects_few_objects(classes: int) -> None:
    net = start_network(NET, classes).eval()
    with torch.no_grad():
        found = net(torch.rand(1, 3, 640, 640))[0]
    assert 2 < float(found[:, 4].sum()) < 100
    share = found[:, 5:].mean(0)
    if classes == 1:
        assert bool((share > 0.99).all())
    else:
        assert bool((share < 0.5).all())
