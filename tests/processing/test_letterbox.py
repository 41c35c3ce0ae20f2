from __future__ import annotations

import doctest

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ghost_deploy.core.errors import ShapeError
from ghost_deploy.processing import letterbox
from ghost_deploy.processing.images import read_image
from ghost_deploy.processing.letterbox import Letterbox
from tests.support.assets import BCCD, CHECKPOINTS, MODELS, needs_assets

sides = st.integers(1, 4000)
sizes = st.tuples(sides, sides)


@pytest.mark.parametrize("src_hw", [(0, 5), (5, 0), (-1, 5)])
def test_fit_refuses_no_pixels(src_hw):
    with pytest.raises(ShapeError, match="smaller than one pixel"):
        Letterbox.fit(src_hw, (64, 64))


@pytest.mark.parametrize(
    ("src_hw", "dst_hw", "new_hw", "pad_tl"),
    [
        ((480, 640), (640, 640), (480, 640), (80, 0)),
        ((480, 640), (416, 416), (312, 416), (52, 0)),
        ((333, 500), (640, 640), (426, 640), (107, 0)),
        ((334, 500), (640, 640), (428, 640), (106, 0)),
        ((5, 640), (320, 320), (2, 320), (159, 0)),  # 2.5 rounds to 2
        ((7, 640), (320, 320), (4, 320), (158, 0)),  # 3.5 rounds to 4
        ((10, 10), (64, 64), (64, 64), (0, 0)),  # small images are enlarged
        ((11, 10), (64, 64), (64, 58), (0, 3)),
        ((63, 64), (64, 64), (63, 64), (0, 0)),  # the odd pixel goes to the bottom
        ((4000, 1), (32, 32), (32, 1), (0, 15)),  # never thinner than a pixel
        ((1080, 1920), (384, 640), (360, 640), (12, 0)),
    ],
)
def test_fit(src_hw, dst_hw, new_hw, pad_tl):
    box = Letterbox.fit(src_hw, dst_hw)
    assert (box.new_hw, box.pad_tl) == (new_hw, pad_tl)


@given(sizes, sizes)
@settings(deadline=None, max_examples=300)
def test_fit_equals_an_independent_formula(src_hw, dst_hw):
    box = Letterbox.fit(src_hw, dst_hw)
    gain = np.min(np.float64(dst_hw) / np.float64(src_hw))
    expected = np.maximum(np.rint(np.float64(src_hw) * gain), 1).astype(int)
    assert box.new_hw == tuple(expected)
    assert box.pad_tl == tuple((np.array(dst_hw) - expected) // 2)
    assert all(0 < new <= dst for new, dst in zip(box.new_hw, dst_hw, strict=True))
    assert any(new == dst for new, dst in zip(box.new_hw, dst_hw, strict=True))


@given(sizes, sizes, st.lists(st.tuples(*[st.floats(0, 1)] * 4), max_size=5))
@settings(deadline=None, max_examples=300)
def test_invert_undoes_forward_inside_the_image(src_hw, dst_hw, fractions):
    box = Letterbox.fit(src_hw, dst_hw)
    height, width = src_hw
    source = np.array(fractions, np.float64).reshape(-1, 4) * (width, height, width, height)
    there = box.forward(source)
    back = box.invert(there)
    assert back.dtype == there.dtype == np.float32
    # Coordinates in the input are rounded to float32, and the way back magnifies that.
    magnified = max(src / new for src, new in zip(src_hw, box.new_hw, strict=True))
    rounding = np.finfo(np.float32).eps
    tolerance = 4 * rounding * (max(dst_hw) * magnified + max(src_hw))
    np.testing.assert_allclose(back, source, rtol=0, atol=tolerance)


def test_invert_divides_each_axis_by_its_own_gain():
    box = Letterbox.fit((333, 500), (640, 640))
    back = box.invert([[64, 107 + 213, 640, 107 + 426]])
    np.testing.assert_allclose(back, [[50, 333 / 2, 500, 333]], rtol=1e-6)


def test_invert_clips_to_the_image_inclusive():
    box = Letterbox.fit((480, 640), (640, 640))
    back = box.invert([[-50, 0, 700, 640], [0, 80, 640, 560], [5, 70, 6, 75]])
    assert back.tolist() == [[0, 0, 640, 480], [0, 0, 640, 480], [5, 0, 6, 0]]


@pytest.mark.parametrize("direction", ["forward", "invert"])
def test_no_boxes_stay_no_boxes(direction):
    box = Letterbox.fit((48, 64), (64, 64))
    out = getattr(box, direction)(np.zeros((0, 4), np.float32))
    assert out.shape == (0, 4)
    assert out.dtype == np.float32


@pytest.mark.parametrize("direction", ["forward", "invert"])
def test_boxes_are_not_changed_in_place(direction):
    boxes = np.array([[1, 2, 3, 4]], np.float32)
    getattr(Letterbox.fit((48, 64), (64, 64)), direction)(boxes)
    assert boxes.tolist() == [[1, 2, 3, 4]]


@pytest.mark.parametrize("boxes", [[1, 2, 3, 4], [[1, 2, 3]], [[[1, 2, 3, 4]]]])
def test_boxes_of_the_wrong_shape_are_refused(boxes):
    with pytest.raises(ShapeError, match=r"expected \(N, 4\)"):
        Letterbox.fit((48, 64), (64, 64)).invert(boxes)


def test_apply_refuses_another_image():
    box = Letterbox.fit((48, 64), (64, 64))
    with pytest.raises(ShapeError, match="not the one"):
        box.apply(np.zeros((64, 48, 3), np.uint8))


@given(st.tuples(*[st.integers(1, 90)] * 2), st.tuples(*[st.integers(1, 90)] * 2))
@settings(deadline=None, max_examples=100)
def test_apply_is_resize_then_border(src_hw, dst_hw):
    image = np.random.default_rng(0).integers(0, 256, (*src_hw, 3), np.uint8)
    box = Letterbox.fit(src_hw, dst_hw)
    (new_h, new_w), (top, left) = box.new_hw, box.pad_tl
    resized = cv2.resize(image, (new_w, new_h), interpolation=cv2.INTER_LINEAR)
    border = (top, dst_hw[0] - new_h - top, left, dst_hw[1] - new_w - left)
    grey = (7, 7, 7)
    expected = cv2.copyMakeBorder(resized, *border, cv2.BORDER_CONSTANT, value=grey)
    np.testing.assert_array_equal(box.apply(image, pad_value=7), expected)


def test_apply_gives_the_callers_no_view_of_the_image():
    image = np.zeros((64, 64, 3), np.uint8)
    out = Letterbox.fit((64, 64), (64, 64)).apply(image)
    assert not np.shares_memory(out, image)


@needs_assets
@pytest.mark.parametrize("checkpoint", CHECKPOINTS, ids=lambda path: path.stem)
def test_apply_equals_the_recorded_reference_inputs(checkpoint):
    recorded = np.load(MODELS / f"{checkpoint.stem}.reference.npz")
    inputs = [key for key in recorded if key.startswith("input_")]
    assert len(inputs) == 4
    for key in inputs:
        _, size, name = key.split("_", 2)
        image = read_image(BCCD / "images" / "val" / name)
        box = Letterbox.fit(image.shape[:2], (int(size), int(size)))
        rgb_nchw = box.apply(image)[..., ::-1].transpose(2, 0, 1)[None]
        np.testing.assert_array_equal(rgb_nchw, recorded[key])


def test_examples_in_the_documentation():
    assert doctest.testmod(letterbox).failed == 0
