from __future__ import annotations

import numpy as np
import pytest

from ghost_deploy.processing.boxes import iou_matrix, xywh_to_xyxy, xyxy_to_xywh

NONE = np.zeros((0, 4), np.float32)


@pytest.mark.parametrize("convert", [xywh_to_xyxy, xyxy_to_xywh])
def test_no_boxes(convert):
    assert convert(NONE).shape == (0, 4)


def test_centre_and_corners():
    xyxy = np.array([[0, 0, 4, 2], [-1, 3, 2, 3]], np.float32)
    xywh = np.array([[2, 1, 4, 2], [0.5, 3, 3, 0]], np.float32)
    np.testing.assert_array_equal(xyxy_to_xywh(xyxy), xywh)
    np.testing.assert_array_equal(xywh_to_xyxy(xywh), xyxy)
    assert xywh_to_xyxy(xywh).dtype == xyxy_to_xywh(xyxy).dtype == np.float32


def test_iou_with_no_boxes():
    some = np.array([[0, 0, 1, 1]], np.float32)
    assert iou_matrix(NONE, some).shape == (0, 1)
    assert iou_matrix(some, NONE).shape == (1, 0)
    assert iou_matrix(NONE, NONE).shape == (0, 0)


@pytest.mark.parametrize(
    ("a", "b", "iou"),
    [
        ((0, 0, 4, 4), (0, 0, 4, 4), 1),
        ((0, 0, 4, 4), (4, 0, 8, 4), 0),  # edges that touch
        ((0, 0, 4, 4), (9, 9, 10, 10), 0),
        ((0, 0, 4, 4), (2, 0, 6, 4), np.float32(8) / np.float32(24)),
        ((0, 0, 4, 4), (1, 1, 3, 3), 0.25),
        ((1, 1, 1, 1), (1, 1, 1, 1), 0),  # no area: not even with itself, and no warning
        ((0, 0, 4, 4), (2, 2, 2, 3), 0),
    ],
)
def test_iou(a, b, iou):
    a, b = (np.array([box], np.float32) for box in (a, b))
    assert iou_matrix(a, b).tolist() == iou_matrix(b, a).tolist() == [[float(np.float32(iou))]]


def test_iou_rows_are_the_first_argument():
    a = np.array([[0, 0, 1, 1], [0, 0, 2, 2], [0, 0, 4, 4]], np.float32)
    assert iou_matrix(a, a[:1]).tolist() == [[1], [0.25], [0.0625]]
    assert iou_matrix(a, a).dtype == np.float32
