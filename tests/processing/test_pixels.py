from __future__ import annotations

import logging

import numpy as np
import pytest

from ghost_deploy.core import said_once
from ghost_deploy.core.errors import ImageError
from ghost_deploy.processing.images import as_bgr

PIXELS = np.random.default_rng(0).integers(0, 256, (12, 16, 3), np.uint8)
PIXELS[0, 0] = 255
GREY = PIXELS[..., 1]


@pytest.mark.parametrize(
    "wrong",
    [
        np.zeros((0, 4, 3), np.uint8),
        np.zeros((4, 0), np.uint16),
        np.zeros((4, 4, 2), np.uint8),
        np.zeros((4, 4, 5), np.uint8),
        np.zeros((1, 4, 4, 3), np.uint8),
        np.zeros(12, np.uint8),
        np.zeros((), np.uint8),
        np.full((4, 4, 3), np.nan, np.float32),
        np.array([[0.0, np.inf]]),
        np.array([[0.5, -0.5]]),
        np.array([[0, -1]], np.int16),
        np.array([[2**40]], np.int64),
        np.zeros((4, 4, 3), complex),
        np.zeros((4, 4), object),
        np.zeros((4, 4), "S1"),
    ],
    ids=lambda array: f"{array.dtype}{array.shape}",
)
def test_arrays_that_are_no_images_are_refused(wrong):
    with pytest.raises(ImageError, match=r"expected uint8 \(height, width, 3\)") as caught:
        as_bgr(wrong)
    assert f"{wrong.dtype} {wrong.shape}" in str(caught.value)


def test_pixels_as_opencv_reads_them_are_not_copied():
    assert as_bgr(PIXELS) is PIXELS
    crop = PIXELS[2:8, 3:9]
    assert as_bgr(crop) is crop


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
@pytest.mark.parametrize("dtype", [np.uint16, ">u2", np.int32, np.uint32, np.int64, np.float32])
def test_the_range_that_is_used_is_the_depth(bits, dtype):
    """Both ways in which cameras store fewer bits in 16: a pixel of 8 bits comes back exactly."""
    shifted = PIXELS.astype(np.uint16) << (bits - 8)
    full = np.rint(PIXELS / 255 * (2**bits - 1))
    for deep in (shifted, full):
        np.testing.assert_array_equal(as_bgr(deep.astype(dtype)), PIXELS)


def test_a_dark_image_of_sixteen_bits_keeps_its_upper_byte():
    deep = np.array([[0, 255, 256, 2**14]], np.uint16)
    np.testing.assert_array_equal(as_bgr(deep)[..., 0], [[0, 0, 1, 64]])


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_fractions_are_of_the_range(dtype):
    np.testing.assert_array_equal(as_bgr((PIXELS / 255).astype(dtype)), PIXELS)


def test_fractions_of_sixteen_bits_are_those_of_the_file():
    deep = np.random.default_rng(1).integers(0, 2**16, (20, 30), np.uint16)
    np.testing.assert_array_equal(as_bgr(deep / 65535), as_bgr(deep))


def test_a_filter_may_leave_the_range_a_little():
    values = np.array([[-0.05, 0.0, 1.0, 1.05]])
    np.testing.assert_array_equal(as_bgr(values)[..., 0], [[0, 0, 255, 255]])


def test_floating_point_from_0_to_255_is_rounded():
    values = np.array([[0.4, 1.6, 254.7, 255.0]], np.float32)
    np.testing.assert_array_equal(as_bgr(values)[..., 0], [[0, 2, 255, 255]])


def test_bool_is_black_and_white():
    found = as_bgr(GREY > 128)
    np.testing.assert_array_equal(found[..., 0], np.where(GREY > 128, 255, 0))


@pytest.mark.parametrize("shape", [(12, 16), (12, 16, 1)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, bool])
def test_grey_becomes_three_channels(shape, dtype):
    found = as_bgr(GREY.reshape(shape).astype(dtype))
    assert (found.shape, found.dtype) == ((12, 16, 3), np.uint8)
    assert (found == found[..., :1]).all()


@pytest.mark.parametrize("scale", [1, 257])
def test_alpha_is_dropped(scale):
    dtype = np.uint8 if scale == 1 else np.uint16
    alpha = np.full((12, 16, 1), 0, dtype)
    found = as_bgr(np.concatenate((PIXELS.astype(dtype) * dtype(scale), alpha), axis=2))
    assert found.flags.c_contiguous
    np.testing.assert_array_equal(found, PIXELS)


def test_one_pixel():
    np.testing.assert_array_equal(as_bgr(np.array([[7]], np.uint8)), [[[7, 7, 7]]])
    np.testing.assert_array_equal(as_bgr(np.array([[True]])), [[[255, 255, 255]]])


def test_the_scaling_is_said_once_for_each_depth(caplog, monkeypatch):
    monkeypatch.setattr(said_once, "_said", set())
    with caplog.at_level(logging.WARNING, "ghost_deploy"):
        for bits in (8, 12, 12, 16, 12):
            as_bgr(PIXELS.astype(np.uint16) << (bits - 8))
    assert [record.message.split(" bits")[0] for record in caplog.records] == [
        "an image of 12",
        "an image of 16",
    ]
    assert "largest value is 4080, and all are divided by 16" in caplog.records[0].message
