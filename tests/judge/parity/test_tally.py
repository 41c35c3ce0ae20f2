"""Figures over many images, in constant memory."""

from __future__ import annotations

import numpy as np
import pytest

from ghost_deploy.core.detections import Detections
from ghost_deploy.core.evidence.parity import Spread
from ghost_deploy.judge.parity.differences import TensorDiff, compare_detections, compare_tensors
from ghost_deploy.judge.parity.tally import SpreadTally, Tally
from tests.support.two_class_model import detections_of, raw_output

BOX = (10.0, 10.0, 30.0, 30.0)


def pairs(reference: Detections, candidate: Detections):  # type: ignore[no-untyped-def]
    return compare_detections(reference, candidate, conf=0.25, margin=0.01, min_iou=0.95)


def test_nothing() -> None:
    tally = SpreadTally()
    assert tally.spread() == Spread()
    tally.add(np.zeros(0))
    assert tally.spread() == Spread()


def test_only_zeros() -> None:
    tally = SpreadTally()
    tally.add(np.zeros(5))
    assert tally.spread() == Spread(count=5)


@pytest.mark.parametrize("scale", [1e-15, 1e-6, 1.0, 1e9])
def test_against_numpy(scale: float) -> None:
    values = np.random.default_rng(0).lognormal(size=5000) * scale
    tally = SpreadTally()
    for part in np.array_split(values, 7):
        tally.add(part)
    found = tally.spread()
    exact = np.quantile(values, 0.99, method="inverted_cdf")
    assert found.count == 5000
    assert found.max == values.max()
    assert found.mean == pytest.approx(values.mean())
    assert exact <= found.p99 <= max(exact * 1.024, 1e-12)


def test_counts_add_up_and_the_worst_image_is_named() -> None:
    tally = Tally()
    good, bad = detections_of([(*BOX, 0.9, 0)]), detections_of([(*BOX, 0.9, 1)])
    tally.add("a", TensorDiff(), pairs(good, good))
    tally.add("b", TensorDiff(), pairs(good, bad))
    tally.add("c", TensorDiff(), pairs(good, detections_of([(*BOX, 0.8, 0)])))
    found = tally.detections()
    assert (found.reference, found.candidate, found.matched) == (3, 3, 2)
    assert (found.missing, found.extra, found.total) == (1, 1, 4)
    assert found.matched_share == 0.5
    assert found.score.max == pytest.approx(0.1)
    assert found.worst is not None
    assert (found.worst.name, found.worst.unmatched) == ("b", 2)


def test_an_unusable_image_is_the_worst() -> None:
    tally = Tally()
    empty = pairs(Detections.empty(), Detections.empty())
    tally.add("a", TensorDiff(), pairs(detections_of([(*BOX, 0.9, 0)]), Detections.empty()))
    tally.add("b", TensorDiff(nonfinite=3), empty)
    tally.add("c", TensorDiff(problem="output shape"), empty)
    worst = tally.detections().worst
    assert worst is not None
    assert worst.name == "b"
    assert tally.tensor().nonfinite == 3
    assert tally.tensor().problem == "c: output shape"


def test_quiet_anchors_count_only_where_no_image_has_a_loud_one() -> None:
    empty = pairs(Detections.empty(), Detections.empty())
    quiet = raw_output([(*BOX, 0.01, 0)])
    moved = quiet.copy()
    moved[0] += 3
    loud = raw_output([(*BOX, 0.8, 0)])
    tally = Tally()
    tally.add("quiet", compare_tensors(quiet, moved, end_to_end=False), empty)
    assert tally.tensor().selection == "top 100"
    assert tally.tensor().box_px.max == 3
    tally.add("loud", compare_tensors(loud, loud, end_to_end=False), empty)
    assert tally.tensor().selection == "score > 0.05"
    assert tally.tensor().box_px.max == 0
    assert tally.tensor().compared == 1
