"""Which images are shown first, and what is drawn on them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest

from ghost_deploy.core.detections import Detections
from ghost_deploy.core.evidence.shown_boxes import HardImage
from ghost_deploy.judge.accuracy.choose_hard_images import (
    MOST_IMAGES,
    ImageDetections,
    hard_images,
    small_jpeg,
)
from ghost_deploy.judge.datasets.dataset import DataSet, LabelledImage
from ghost_deploy.judge.datasets.labels import Labels
from tests.support.images import noisy_image, solid_image, write_image

HERE, THERE, FAR = [10.0, 10.0, 30.0, 30.0], [50.0, 50.0, 80.0, 70.0], [5.0, 60.0, 25.0, 90.0]
SIZE_HW = (100, 100)


def dataset(folder: Path, labels: Sequence[Labels]) -> DataSet:
    images = []
    for index, each in enumerate(labels):
        path = folder / f"{index}.png"
        write_image(path, solid_image(SIZE_HW, 90))
        images.append(LabelledImage(path, each, SIZE_HW))
    return DataSet("d", "coco", "", ("a", "b"), tuple(images))


def sight(*boxes: list[float], classes: Sequence[int] = (), score: float = 0.9) -> ImageDetections:
    found = Detections(
        np.array(boxes, np.float32).reshape(-1, 4),
        np.full(len(boxes), score, np.float32),
        np.array(classes or [0] * len(boxes), np.int32),
    )
    return ImageDetections(SIZE_HW, found)


def labels(*boxes: list[float], crowd: Sequence[bool] | None = None) -> Labels:
    return Labels.of(boxes, [0] * len(boxes), crowd)


def states(image: HardImage) -> tuple[list[str], list[str]]:
    return [b.state for b in image.reference], [b.state for b in image.candidate]


def test_nothing_to_show(tmp_path: Path) -> None:
    assert hard_images(dataset(tmp_path, []), [], {}) == ()
    data = dataset(tmp_path, [labels(HERE)])
    assert hard_images(data, [sight(HERE)], {}) == ()
    assert hard_images(data, [sight(HERE)], {0: [sight(HERE)]}) == ()


def test_found_false_and_missed(tmp_path: Path) -> None:
    data = dataset(tmp_path, [labels(HERE, THERE)])
    (image,) = hard_images(data, [sight(HERE, THERE)], {3: [sight(HERE, FAR)]})
    assert (image.name, image.row, image.size_hw) == ("0.png", 3, SIZE_HW)
    assert states(image) == (["found", "found"], ["false", "found", "missed"])
    assert (image.reference_wrong, image.candidate_wrong) == (0, 2)
    assert image.differences == 2
    assert [box.alone for box in image.candidate] == [True, False, False]
    assert image.candidate[0].xyxy == tuple(FAR)
    assert image.candidate[0].score == pytest.approx(0.9)
    assert image.candidate[2].score is None


def test_another_class_is_another_object(tmp_path: Path) -> None:
    data = dataset(tmp_path, [labels(HERE)])
    (image,) = hard_images(data, [sight(HERE)], {0: [sight(HERE, classes=[1])]})
    assert states(image)[1] == ["false", "missed"]
    assert image.differences == 2


def test_a_crowd_neither_counts_nor_is_missed(tmp_path: Path) -> None:
    data = dataset(tmp_path, [labels(HERE, [40.0, 40.0, 100.0, 100.0], crowd=[False, True])])
    (image,) = hard_images(data, [sight(HERE)], {0: [sight(HERE, THERE)]})
    assert states(image) == (["found"], ["found", "ignored"])
    assert (image.candidate_wrong, image.differences) == (0, 1)


def test_departures_go_before_mistakes(tmp_path: Path) -> None:
    data = dataset(tmp_path, [labels(HERE, THERE, FAR), labels(HERE), labels(HERE)])
    reference = [sight(), sight(HERE), sight(HERE)]
    first = [sight(), sight(HERE), sight(HERE)]
    second = [sight(), sight(), sight(HERE)]
    shown = hard_images(data, reference, {0: first, 1: second})
    # The third image has neither; of the second, the row that departs is taken.
    assert [(image.name, image.row) for image in shown] == [("1.png", 1), ("0.png", 0)]
    assert shown[1].differences == 0
    assert shown[1].candidate_wrong == 3


def test_only_a_few_are_shown(tmp_path: Path) -> None:
    count = MOST_IMAGES + 3
    data = dataset(tmp_path, [labels(HERE)] * count)
    shown = hard_images(data, [sight()] * count, {0: [sight()] * count})
    assert len(shown) == MOST_IMAGES


@pytest.mark.parametrize(
    ("size_hw", "expected"), [((30, 40), (30, 40)), ((1500, 2000), (480, 640))]
)
def test_jpegs_are_small(size_hw: tuple[int, int], expected: tuple[int, int]) -> None:
    noise = noisy_image(size_hw)
    data = small_jpeg(noise)
    assert len(data) <= 150_000
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert image is not None
    assert image.shape[:2] == expected
