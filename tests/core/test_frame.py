from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from ghost_deploy.core.errors import ImageError
from ghost_deploy.core.frame import Frame


@pytest.mark.parametrize(
    ("image", "got"),
    [
        (None, "NoneType"),
        ([[[1, 2, 3]]], "list"),
        (np.zeros((0, 4, 3), np.uint8), r"uint8 \(0, 4, 3\)"),
        (np.zeros((4, 4), np.uint8), r"uint8 \(4, 4\)"),
        (np.zeros((4, 4, 4), np.uint8), r"uint8 \(4, 4, 4\)"),
        (np.zeros((4, 4, 3), np.float32), r"float32 \(4, 4, 3\)"),
    ],
)
def test_what_is_no_image_is_refused_by_name(image, got):
    with pytest.raises(ImageError, match=f"image yard cannot be used: got {got}"):
        Frame(image, source="yard")


def test_without_a_source_the_index_is_named():
    with pytest.raises(ImageError, match="image 7 cannot be used"):
        Frame(np.zeros(3), index=7)


def test_fields():
    image = np.zeros((480, 640, 3), np.uint8)
    frame = Frame(image)
    assert frame.image is image
    assert frame.size_hw == (480, 640)
    assert (frame.color, frame.index, frame.t_capture_ns, frame.source) == ("bgr", 0, 0, "")
    with pytest.raises(dataclasses.FrozenInstanceError):
        frame.index = 1


def test_an_unknown_channel_order_is_refused():
    with pytest.raises(ImageError, match=r"color=0.*'bgr' or 'rgb'"):
        Frame(np.zeros((4, 4, 3), np.uint8), 0)
