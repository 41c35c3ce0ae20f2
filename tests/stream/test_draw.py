from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from ghost_deploy.core.detections import Detections
from ghost_deploy.stream.draw import class_color, draw

NAMES = ("RBC", "WBC", "Platelets")


def grey(height: int, width: int) -> np.ndarray:
    return np.full((height, width, 3), 128, np.uint8)


def found(*rows: tuple[float, float, float, float, float, int]) -> Detections:
    table = np.array(rows, np.float32).reshape(-1, 6)
    return Detections(table[:, :4], table[:, 4], table[:, 5].astype(np.int32), NAMES)


def test_no_detection_gives_an_equal_copy() -> None:
    image = grey(40, 60)
    annotated = draw(image, Detections.empty(NAMES))
    assert annotated is not image
    assert np.array_equal(annotated, image)


def test_the_image_is_not_changed() -> None:
    image = grey(100, 100)
    image.setflags(write=False)
    annotated = draw(image, found((10, 30, 60, 80, 0.9, 1)))
    assert (image == 128).all()
    assert (annotated != 128).any()


@pytest.mark.parametrize("size_hw", [(1, 1), (8, 8), (3, 500), (500, 3), (120, 160), (2160, 3840)])
@pytest.mark.parametrize(
    "box",
    [
        (0.0, 0.0, 1.0, 1.0),
        (0.5, 0.5, 0.5, 0.5),
        (-10.0, -10.0, 1e5, 1e5),
        (0.0, 0.98, 1.0, 1.0),
        (0.97, 0.0, 1.0, 0.02),
    ],
)
def test_any_size_and_any_place(
    size_hw: tuple[int, int], box: tuple[float, float, float, float]
) -> None:
    height, width = size_hw
    x1, y1, x2, y2 = box
    image = grey(*size_hw)
    annotated = draw(image, found((x1 * width, y1 * height, x2 * width, y2 * height, 0.5, 2)))
    assert annotated.shape == image.shape
    assert annotated.dtype == np.uint8
    assert (annotated != 128).any()


def test_a_box_is_drawn_in_the_colour_of_its_class() -> None:
    annotated = draw(grey(400, 400), found((100, 100, 300, 300, 0.9, 1)))
    assert tuple(annotated[300, 200].tolist()) == class_color(1)
    assert tuple(annotated[200, 300].tolist()) == class_color(1)
    assert (annotated[200, 200] == 128).all()


def test_the_better_of_two_equal_boxes_is_in_front() -> None:
    box = (100.0, 100.0, 300.0, 300.0)
    annotated = draw(grey(400, 400), found((*box, 0.4, 0), (*box, 0.9, 1)))
    assert tuple(annotated[300, 200].tolist()) == class_color(1)


def written(annotated: NDArray[np.uint8]) -> int:
    """Pixels nearly as white or black as the letters, which not every font paints to the full."""
    return int(((annotated < 30) | (annotated > 225)).all(axis=2).sum())


@pytest.mark.parametrize(
    "box", [(0, 0, 60, 60), (340, 0, 399, 60), (0, 340, 60, 399), (340, 340, 399, 399)]
)
def test_a_label_stays_inside_the_image(box: tuple[float, float, float, float]) -> None:
    """The same label is painted in a corner with as many pixels as in the middle."""
    ink = [
        written(draw(grey(400, 400), found((*place, 0.9, 0))))
        for place in (box, (170, 170, 230, 230))
    ]
    assert ink[0] == ink[1] > 0


def test_labels_of_boxes_in_one_place_do_not_cover_each_other() -> None:
    box = (100.0, 100.0, 300.0, 300.0)
    one = draw(grey(400, 400), found((*box, 0.9, 0)))
    three = draw(grey(400, 400), found((*box, 0.9, 0), (*box, 0.8, 0), (*box, 0.7, 0)))
    assert written(three) > 2.5 * written(one) > 0


@pytest.mark.parametrize("name", ["Größe", "赤血球", "", "a\nb", "x" * 500])
def test_any_class_name_can_be_drawn(name: str) -> None:
    detections = Detections([[5, 50, 90, 90]], [0.5], [0], (name,))
    assert (draw(grey(100, 100), detections) != 128).any()


def test_colours_are_stable_and_far_apart() -> None:
    colors = np.array([class_color(i) for i in range(80)], np.int32)
    assert ((colors >= 0) & (colors <= 255)).all()
    apart = np.abs(colors[:, None] - colors[None]).max(axis=2)
    np.fill_diagonal(apart, 255)
    assert apart.min() >= 10
    assert apart[:10, :10].min() >= 50
    assert class_color(0) == class_color(0)
