"""What a file loses on the images of the float model, and when fewer images suffice."""

from __future__ import annotations

import math

import numpy as np
import pytest

from ghost_deploy.core.detections import Detections
from ghost_deploy.judge.accuracy.matching import Matches, match
from ghost_deploy.judge.accuracy.paired_loss import LOOK, PairedLoss
from ghost_deploy.judge.datasets.labels import Labels

IMAGES = 2 * LOOK


def image(index: int, shift: float) -> Matches:
    """One object, found with its box moved to the right by `shift` times its width."""
    box = np.array([[10.0, 10.0, 110.0, 60.0]])
    found = Detections(
        (box + np.array([[100 * shift, 0, 100 * shift, 0]])).astype(np.float32),
        np.array([0.9 - index / 1000], np.float32),
        np.zeros(1, np.int64),
    )
    return match(box, Labels.of(box.tolist(), [0]), found, 1)


def matches(shift: float, every: int = 1, images: int = IMAGES) -> list[Matches]:
    return [image(index, shift if index % every == 0 else 0.0) for index in range(images)]


def test_without_objects_nothing_is_known_or_decided() -> None:
    empty = [(None,)] * IMAGES
    paired = PairedLoss(empty, 1)
    assert math.isnan(paired.of(empty[:LOOK]).points)
    assert not paired.decides(empty[:LOOK], 0.5)


def test_the_same_matches_lose_nothing() -> None:
    paired = PairedLoss(matches(0.0), 1)
    loss = paired.of(matches(0.0))
    assert (loss.points, loss.low, loss.high) == (0.0, 0.0, 0.0)


def test_a_loss_lies_within_its_interval_and_is_that_of_the_images_so_far() -> None:
    reference, worse = matches(0.0), matches(0.2, every=4)
    loss = PairedLoss(reference, 1).of(worse[:LOOK])
    assert loss.low < loss.points < loss.high
    assert loss.low > 0
    assert loss == PairedLoss(reference[:LOOK], 1).of(worse[:LOOK])


@pytest.mark.parametrize(
    ("shift", "images", "decided"),
    [
        pytest.param(0.0, LOOK, True, id="nothing-lost"),
        pytest.param(0.2, LOOK, True, id="far-too-much-lost"),
        pytest.param(0.0, LOOK - 1, False, id="between-two-looks"),
        pytest.param(0.0, IMAGES, False, id="all-images-are-no-early-end"),
    ],
)
def test_clear_cases_end_early(shift: float, images: int, decided: bool) -> None:
    paired = PairedLoss(matches(0.0), 1)
    assert paired.decides(matches(shift, images=images), 0.5) is decided


def test_between_half_of_the_limit_and_the_limit_all_images_decide() -> None:
    reference, worse = matches(0.0), matches(0.2, every=4)[:LOOK]
    paired = PairedLoss(reference, 1)
    loss = paired.of(worse)
    assert not paired.decides(worse, (loss.low + loss.high) / 2)
    assert not paired.decides(worse, loss.high)
    assert paired.decides(worse, 2 * loss.high)
    assert paired.decides(worse, loss.low * 0.99)
