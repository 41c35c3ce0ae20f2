from __future__ import annotations

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ghost_deploy.core.errors import ImageError, ShapeError
from ghost_deploy.core.spec import InputSpec
from ghost_deploy.processing.letterbox import Letterbox
from ghost_deploy.processing.preprocess import Preprocessor, convert_input, pixel_table
from tests.support.assets import BCCD, GHOST, MODELS, needs_assets

DYNAMIC = InputSpec(size_hw=(64, 64), batch=(1, 4), min_hw=(32, 32), max_hw=(128, 128))


def noise(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def plain(image, size_hw, spec=DYNAMIC):
    """The tensor by the shortest way, without any reuse."""
    canvas = Letterbox.fit(image.shape[:2], size_hw).apply(image, pad_value=spec.pad_value)
    rgb = canvas[..., ::-1] if spec.color == "rgb" else canvas
    scaled = rgb.transpose(2, 0, 1).astype(np.float32) / np.float32(spec.divisor)
    mean, std = (np.float32(values)[:, None, None] for values in (spec.mean, spec.std))
    return (scaled - mean) / std


def test_no_image_is_refused():
    with pytest.raises(ShapeError, match="expected 1 to 4"):
        Preprocessor(DYNAMIC)([])


def test_too_many_images_are_refused():
    with pytest.raises(ShapeError, match="got 5, expected 1 to 4"):
        Preprocessor(DYNAMIC)([noise(8, 8)] * 5)


@pytest.mark.parametrize("size_hw", [(48, 64), (160, 64), (64, 16), (0, 64)])
def test_sizes_the_graph_does_not_accept_are_refused(size_hw):
    with pytest.raises(ShapeError, match=r"multiples of 32 from \(32, 32\) to \(128, 128\)"):
        Preprocessor(DYNAMIC)([noise(8, 8)], size_hw)


def test_what_is_no_image_is_refused():
    with pytest.raises(ImageError, match="no batch axis"):
        Preprocessor(DYNAMIC)([np.zeros((1, 3, 8, 8), np.float32)])


def test_every_pixel_value_is_exactly_itself_over_255():
    image = np.arange(256, dtype=np.uint8).repeat(3).reshape(16, 16, 3)
    tensor, _ = Preprocessor(InputSpec(size_hw=(16, 16), stride=16))([image])
    exact = np.arange(256, dtype=np.float32) / np.float32(255)
    for channel in tensor[0]:
        np.testing.assert_array_equal(channel.ravel(), exact)


def test_channels_are_in_the_order_of_the_spec():
    image = np.zeros((32, 32, 3), np.uint8)
    image[...] = (255, 0, 51)  # blue, green, red
    for color, expected in (("rgb", [0.2, 0, 1]), ("bgr", [1, 0, 0.2])):
        tensor, _ = Preprocessor(InputSpec(size_hw=(32, 32), color=color))([image])
        np.testing.assert_array_equal(tensor[0, :, 0, 0], np.float32(expected))


@pytest.mark.parametrize("color", ["rgb", "bgr"])
def test_mean_and_std_are_exact_and_belong_to_the_tensors_channels(color):
    spec = InputSpec(
        size_hw=(64, 64), color=color, divisor=128.0, mean=(0.485, 0.456, 0.406),
        std=(0.229, 0.224, 0.225), pad_value=3,
    )  # fmt: skip
    image = noise(30, 50)
    tensor, _ = Preprocessor(spec)([image])
    np.testing.assert_array_equal(tensor[0], plain(image, (64, 64), spec))
    assert pixel_table(spec).shape == (3, 256)


@given(st.lists(
    st.tuples(st.integers(1, 90), st.integers(1, 90), st.sampled_from([32, 64, 96, 128])),
    min_size=1, max_size=8,
))  # fmt: skip
@settings(deadline=None, max_examples=100)
def test_reused_buffers_never_show_an_earlier_image(calls):
    preprocess = Preprocessor(DYNAMIC)
    for seed, (height, width, side) in enumerate(calls):
        image = noise(height, width, seed)
        tensor, (box,) = preprocess([image], (side, 64))
        assert tensor.shape == (1, 3, side, 64)
        assert box == Letterbox.fit((height, width), (side, 64))
        np.testing.assert_array_equal(tensor[0], plain(image, (side, 64)))


def test_images_of_one_batch_may_differ_in_size():
    images = [noise(20, 64), noise(64, 20, 1), noise(64, 64, 2)]
    tensor, boxes = Preprocessor(DYNAMIC)(images)
    assert [box.src_hw for box in boxes] == [(20, 64), (64, 20), (64, 64)]
    for row, image in zip(tensor, images, strict=True):
        np.testing.assert_array_equal(row, plain(image, (64, 64)))


def test_rows_without_an_image_hold_the_pad_value():
    preprocess = Preprocessor(InputSpec(size_hw=(64, 64), batch=(3, 3)))
    preprocess([noise(64, 64)] * 3)
    tensor, boxes = preprocess([noise(64, 64)])
    assert tensor.shape == (3, 3, 64, 64)
    assert len(boxes) == 1
    assert (tensor[1:] == np.float32(114) / np.float32(255)).all()


def test_the_tensor_is_valid_until_the_next_call():
    preprocess = Preprocessor(DYNAMIC)
    first, _ = preprocess([noise(64, 64)])
    kept = first.copy()
    second, _ = preprocess([noise(64, 64, 1)])
    assert second is first
    assert not np.array_equal(first, kept)
    again, _ = preprocess([noise(64, 64)])
    np.testing.assert_array_equal(again, kept)


def test_images_are_not_changed_and_not_referred_to():
    image = noise(64, 64)
    image.flags.writeable = False
    tensor, _ = Preprocessor(DYNAMIC)([image])
    assert tensor.dtype == np.float32
    assert tensor.flags.c_contiguous
    np.testing.assert_array_equal(image, noise(64, 64))


@pytest.mark.parametrize(
    "view",
    [
        lambda image: image[::2, 3:40],
        lambda image: image[:, ::-1],
        lambda image: image[..., ::-1],
        lambda image: image.transpose(1, 0, 2),
        np.asfortranarray,
    ],
    ids=["crop", "mirrored", "rgb view", "transposed", "fortran"],
)
def test_any_memory_layout_of_an_image_is_read_right(view):
    image = view(noise(64, 64))
    tensor, _ = Preprocessor(DYNAMIC)([image])
    np.testing.assert_array_equal(tensor[0], plain(np.ascontiguousarray(image), (64, 64)))


@needs_assets
def test_the_tensor_equals_the_recorded_reference_input():
    recorded = np.load(MODELS / f"{GHOST.stem}.reference.npz")
    for key in (key for key in recorded if key.startswith("input_")):
        _, size, name = key.split("_", 2)
        preprocess = Preprocessor(InputSpec(size_hw=(int(size), int(size))))
        tensor, _ = preprocess([BCCD / "images" / "val" / name])
        exact = recorded[key].astype(np.float32) / np.float32(255)
        np.testing.assert_array_equal(tensor, exact)


# Uint8 pixels, for a graph that contains the preprocessing

EMBEDDED = msgspec.structs.replace(DYNAMIC, layout="nhwc", dtype="uint8")


def test_pixels_are_the_letterboxed_image():
    pixels = Preprocessor(EMBEDDED)
    for height, width in ((64, 96), (40, 30), (200, 333), (64, 64), (64, 96)):
        image = noise(height, width)
        tensor, (box,) = pixels([image])
        assert (tensor.dtype, tensor.shape) == (np.uint8, (1, 64, 64, 3))
        np.testing.assert_array_equal(tensor[0], box.apply(image))


def test_pixels_without_an_image_are_grey():
    spec = InputSpec(size_hw=(32, 32), batch=(3, 3), layout="nhwc", dtype="uint8", pad_value=7)
    tensor, _ = Preprocessor(spec)([noise(32, 32)])
    assert tensor.shape == (3, 32, 32, 3)
    assert (tensor[1:] == 7).all()


@pytest.mark.parametrize(
    "changes",
    [{}, {"color": "bgr"}, {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}],
    ids=str,
)
def test_pixels_and_numbers_are_exactly_the_same_image(changes):
    have = msgspec.structs.replace(DYNAMIC, **changes)
    want = msgspec.structs.replace(EMBEDDED, **changes)
    images = [noise(50, 70), noise(64, 96)]
    numbers, _ = Preprocessor(have)(images)
    pixels, _ = Preprocessor(want)(images)
    np.testing.assert_array_equal(convert_input(pixels, want, have), numbers)
    np.testing.assert_array_equal(convert_input(numbers, have, want), pixels)
    assert convert_input(numbers, have, have) is numbers
