"""Slices of an image: where they lie, how their boxes are merged, and what they gain."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import ghost_deploy as gd
from ghost_deploy.core.detections import Detections
from ghost_deploy.core.errors import UsageError
from ghost_deploy.core.spec import Thresholds
from ghost_deploy.judge.datasets.open_dataset import open_dataset
from ghost_deploy.processing.boxes import iou_matrix
from ghost_deploy.processing.images import read_image
from ghost_deploy.processing.slices import Slicing, detect_in_slices, merge_views
from tests.support.assets import BCCD, GHOST, needs_assets
from tests.support.two_class_model import detections_of

LIMITS = Thresholds()


@pytest.mark.parametrize(
    ("side", "overlap"), [(0, 0.2), (31, 0.2), (-640, 0.2), (640, -0.1), (640, 0.95), (640, 1.0)]
)
def test_slices_that_cannot_be(side: int, overlap: float) -> None:
    with pytest.raises(UsageError, match=r"(slices|overlap) cannot be"):
        Slicing(side, overlap)


@pytest.mark.parametrize(
    ("size_hw", "count"),
    [
        ((1, 1), 1), ((100, 100), 1), ((64, 100), 1), ((100, 101), 3), ((101, 100), 3),
        ((50, 250), 4), ((250, 50), 4), ((180, 180), 5), ((181, 180), 7), ((1000, 700), 118),
    ],
)  # fmt: skip
def test_every_pixel_is_in_a_slice_and_none_reaches_over_the_border(
    size_hw: tuple[int, int], count: int
) -> None:
    windows = Slicing(100, 0.2).windows(size_hw)
    height, width = size_hw
    assert windows[0] == (0, 0, width, height)
    assert len(windows) == len(set(windows)) == count
    covered = np.zeros(size_hw, bool)
    for left, top, right, bottom in windows[1:] or windows:
        assert 0 <= left < right <= width
        assert 0 <= top < bottom <= height
        assert (right - left, bottom - top) == (min(100, width), min(100, height))
        covered[top:bottom, left:right] = True
    assert covered.all()


@pytest.mark.parametrize("overlap", [0.0, 0.2, 0.5, 0.9])
def test_neighbors_overlap_at_least_so_much(overlap: float) -> None:
    windows = Slicing(100, overlap).windows((100, 777))[1:]
    ends = [(left, right) for left, _, right, _ in windows]
    assert ends[-1][1] == 777
    for (_, end), (start, _) in itertools.pairwise(ends):
        assert end - start >= 100 * overlap - 1


SIZE = (100, 180)
WINDOWS = Slicing(100, 0.2).windows(SIZE)
"""The whole, 0 to 100 and 80 to 180 along x."""


def merged(*views: list[tuple[float, ...]], limits: Thresholds = LIMITS) -> list[tuple[float, ...]]:
    """Rows x1 y1 x2 y2 score class; the views are given in pixels of the image."""
    found = []
    for (left, top, _, _), rows in zip(WINDOWS, views, strict=True):
        own = [(a - left, b - top, c - left, d - top, s, k) for a, b, c, d, s, k in rows]
        found.append(detections_of(own))
    result = merge_views(found, WINDOWS, SIZE, limits)
    columns = (result.xyxy, result.score[:, None], result.class_id[:, None])
    return [tuple(np.round(row, 3).tolist()) for row in np.concatenate(columns, axis=1)]


def test_nothing_in_any_view() -> None:
    assert merged([], [], []) == []


def test_an_object_in_the_overlap_counts_once() -> None:
    box = (84, 40, 94, 50)
    assert merged([], [(*box, 0.6, 0)], [(*box, 0.8, 0)]) == [(*box, 0.8, 0)]


def test_an_object_of_two_scales_counts_once() -> None:
    rough, exact = (28, 38, 46, 54), (30, 40, 44, 54)
    assert merged([(*rough, 0.5, 0)], [(*exact, 0.8, 0)], []) == [(*exact, 0.8, 0)]


def test_classes_are_merged_only_when_nms_is_agnostic() -> None:
    box = (84, 40, 94, 50)
    views = ([], [(*box, 0.6, 0)], [(*box, 0.8, 1)])
    assert len(merged(*views)) == 2
    assert merged(*views, limits=Thresholds(agnostic=True)) == [(*box, 0.8, 1)]


def test_a_cut_part_gives_way_to_the_whole_object_whatever_the_scores() -> None:
    whole, part = (85, 40, 115, 60), (85, 40, 100, 60)
    assert merged([], [(*part, 0.9, 0)], [(*whole, 0.5, 0)]) == [(*whole, 0.5, 0)]


def test_an_object_larger_than_a_slice_is_that_of_the_whole_image() -> None:
    large = (20, 10, 170, 90)
    parts = [(20, 10, 100, 90, 0.9, 0)], [(80, 10, 170, 90, 0.95, 0)]
    assert merged([(*large, 0.4, 0)], *parts) == [(*large, 0.4, 0)]


def test_cut_parts_without_a_whole_are_joined() -> None:
    parts = [(78, 40, 100, 60, 0.7, 0)], [(80, 41, 110, 60, 0.6, 0)]
    assert merged([], *parts) == [(78, 40, 110, 60, 0.7, 0)]


def test_a_box_at_the_border_of_the_image_is_not_cut() -> None:
    """A small object before a large one at the border: both were found in one view."""
    at_border = (0, 40, 20, 60), (0, 44, 8, 52)
    rows = [(*at_border[0], 0.9, 0), (*at_border[1], 0.8, 0)]
    assert merged([], rows, []) == rows


def test_what_nms_kept_within_a_view_stays() -> None:
    rows = [(10, 40, 30, 60, 0.9, 0), (13, 40, 33, 60, 0.8, 0)]  # IoU 0.74
    assert merged([], rows, []) == rows


def test_the_best_are_kept() -> None:
    rows = [(10.0 * i, 10, 10.0 * i + 8, 18, 0.9 - i / 100, 0) for i in range(7)]
    assert merged([], rows, [], limits=Thresholds(max_det=3)) == rows[:3]


def test_views_are_run_in_batches_and_a_small_image_once() -> None:
    batches: list[list[tuple[int, ...]]] = []

    def detect(views: Any) -> list[Detections]:
        batches.append([view.shape[:2] for view in views])
        return [Detections.empty() for _ in views]

    slicing = Slicing(100, 0.2)
    detect_in_slices(detect, np.zeros((*SIZE, 3), np.uint8), slicing, LIMITS, 2)
    assert batches == [[(100, 180), (100, 100)], [(100, 100)]]
    batches.clear()
    detect_in_slices(detect, np.zeros((90, 100, 3), np.uint8), slicing, LIMITS, 2)
    assert batches == [[(90, 100)]]


def mosaic(count: int) -> tuple[NDArray[np.uint8], NDArray[np.float64], NDArray[np.int32]]:
    """`count` by `count` images of BCCD as one, and its boxes and classes."""
    data = open_dataset(BCCD / "data.yaml", split="val")
    rows, boxes, labels = [], [], []
    for row in range(count):
        line = []
        for column in range(count):
            image = data.images[row * count + column]
            pixels = read_image(image.path)
            height, width = pixels.shape[:2]
            shift = (column * width, row * height) * 2
            boxes.append(image.boxes_px((height, width)) + np.array(shift))
            labels.append(image.labels.class_id)
            line.append(pixels)
        rows.append(np.hstack(line))
    return np.vstack(rows), np.concatenate(boxes), np.concatenate(labels)


def recall(found: Detections, boxes: NDArray[np.float64], labels: NDArray[np.int32]) -> float:
    """Share of objects with a detection of their class at IoU 0.5."""
    iou = iou_matrix(boxes.astype(np.float32), found.xyxy)
    iou[labels[:, None] != found.class_id[None]] = 0
    return float((iou.max(axis=1, initial=0) >= 0.5).mean())


@needs_assets
def test_slices_find_what_is_too_small_in_the_whole() -> None:
    """16 images as one of 2560 x 1920: a cell of 100 pixels is one of 16 at the model's 416."""
    image, boxes, labels = mosaic(4)
    assert image.shape == (1920, 2560, 3)
    assert len(boxes) > 200
    with gd.load(GHOST, "eager") as plain, gd.load(GHOST, "eager", slices=640) as sliced:
        whole, found = plain(image), sliced(image)
    assert recall(whole, boxes, labels) < 0.05
    assert recall(found, boxes, labels) > 0.7
    assert len(found) < 1.1 * len(boxes), "an object counts once"
