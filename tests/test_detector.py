from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from ghost_deploy.core.errors import BackendError, ImageError, ShapeError
from ghost_deploy.core.frame import Frame
from ghost_deploy.core.spec import Thresholds
from ghost_deploy.detector import Detector
from ghost_deploy.processing.letterbox import Letterbox
from ghost_deploy.processing.slices import Slicing
from ghost_deploy.runtimes.base import TensorSpec
from ghost_deploy.runtimes.fake import FakeRuntime
from tests.support.model_specs import make_spec

STATIC = make_spec((64, 64))
DYNAMIC = make_spec((64, 64), batch=(1, 4), min_hw=(32, 32), max_hw=(128, 128))


class BrightSpot:
    """A model that finds one box around all red pixels, and remembers what it was fed."""

    def __init__(self):
        self.shapes = []

    def __call__(self, feeds):
        tensor = feeds["images"]
        self.shapes.append(tensor.shape)
        batch, _, height, width = tensor.shape
        output = np.zeros((batch, 7, STATIC.head.anchors((height, width))), np.float32)
        for row, image in zip(output, tensor, strict=True):
            y, x = np.nonzero((image[0] > 0.9) & (image[2] < 0.1))
            if len(x):
                box = x.min(), y.min(), x.max() + 1, y.max() + 1
                row[:4, 7] = (
                    (box[0] + box[2]) / 2,
                    (box[1] + box[3]) / 2,
                    *np.subtract(box[2:], box[:2]),
                )
                row[4:, 7] = 0.1, 0.6, 0.2
        return {"output0": output}


def runtime(function, input_shape=(1, 3, 64, 64), output_shape=(1, 7, 84), **names):
    return FakeRuntime(
        [TensorSpec(names.get("input", "images"), input_shape, names.get("dtype", "float32"))],
        [
            TensorSpec("extra", (1,), "int64"),
            TensorSpec(names.get("output", "output0"), output_shape, names.get("out", "float32")),
        ],
        lambda feeds: {"extra": np.zeros(1, np.int64), **function(feeds)},
    )


def detector(spec=STATIC, thresholds=None):
    """A detector over `BrightSpot` with the graph that `spec` describes."""
    model = BrightSpot()
    shapes = {}
    if spec is not STATIC:
        shapes = {"input_shape": (-1, 3, -1, -1), "output_shape": (-1, 7, -1)}
    return Detector(runtime(model, **shapes), spec, thresholds), model


def spot(height, width, box):
    """A black BGR image with a red box, x1 y1 x2 y2."""
    image = np.zeros((height, width, 3), np.uint8)
    image[box[1] : box[3], box[0] : box[2], 2] = 255
    return image


IMAGE, BOX = spot(32, 64, (10, 4, 30, 24)), [10, 4, 30, 24]


@pytest.mark.parametrize(
    "wrong",
    [
        {"input": "data"},
        {"dtype": "float16"},
        {"input_shape": (1, 1, 64, 64)},
        {"input_shape": (1, 64, 64, 3)},
        {"input_shape": (1, 3, 32, 64)},
        {"input_shape": (2, 3, 64, 64)},
        {"input_shape": (3, 64, 64)},
        {"output": "boxes"},
        {"out": "float16"},
        {"output_shape": (1, 8, 84)},
        {"output_shape": (1, 7, 85)},
        {"output_shape": (1, 84, 7)},
        {"output_shape": (1, 300, 6)},
        {"output_shape": (7, 84)},
    ],
    ids=str,
)
def test_a_runtime_that_does_not_fit_the_spec_is_refused(wrong):
    with pytest.raises(ShapeError, match=r"the model's (in|out)put does not fit") as caught:
        Detector(runtime(BrightSpot(), **wrong), STATIC)
    (value,) = wrong.values()
    assert str(value) in str(caught.value)  # what it got
    assert "images float32 (1, 3, 64, 64)" in str(
        caught.value
    ) or "output0 float32 (-1, 7, 84)" in str(caught.value)


@pytest.mark.parametrize("fixed", [(1, 3, -1, -1), (-1, 3, 64, 64)])
def test_a_graph_more_rigid_than_its_spec_is_refused(fixed):
    with pytest.raises(ShapeError, match=r"expected images float32 \(-1, 3, -1, -1\)"):
        Detector(runtime(BrightSpot(), fixed, (-1, 7, -1)), DYNAMIC)


@pytest.mark.parametrize(
    ("input_shape", "output_shape"),
    [((1, 3, 64, 64), (1, 7, 84)), ((-1, 3, -1, -1), (-1, -1, -1)), ((1, 3, 64, 64), (1, 7, -1))],
)
def test_a_graph_that_tells_less_than_its_spec_is_accepted(input_shape, output_shape):
    found = Detector(runtime(BrightSpot(), input_shape, output_shape), STATIC)(IMAGE)
    assert found.xyxy.tolist() == [BOX]


def test_two_inputs_are_refused():
    two = FakeRuntime(
        [TensorSpec("images", (1, 3, 64, 64), "float32"), TensorSpec("more", (1,), "float32")],
        [TensorSpec("output0", (1, 7, 84), "float32")],
        BrightSpot(),
    )
    with pytest.raises(ShapeError, match="more float32"):
        Detector(two, STATIC)


def test_no_images_give_no_results_and_run_nothing():
    detect, model = detector()
    assert detect.detect([]) == []
    assert model.shapes == []


def test_nothing_found():
    detect, _ = detector()
    found = detect(np.zeros((32, 64, 3), np.uint8))
    assert len(found) == 0
    assert found.class_names == STATIC.class_names


def test_what_is_no_image_is_refused():
    detect, _ = detector()
    with pytest.raises(ImageError, match=r"gone\.jpg"):
        detect("gone.jpg")
    with pytest.raises(ImageError, match="no batch axis"):
        detect.detect(np.zeros((2, 32, 64, 3), np.uint8))


def test_every_kind_of_image_gives_the_same_detections(tmp_path: Path):
    detect, _ = detector()
    path = tmp_path / "spot.png"
    cv2.imwrite(str(path), IMAGE)
    for image in (IMAGE, Frame(IMAGE), path, str(path)):
        for found in (detect(image), *detect.detect(image), *detect.detect((image,))):
            assert found.xyxy.tolist() == [BOX]
            assert found.names == ["WBC"]
            np.testing.assert_array_equal(found.score, np.float32([0.6]))


def test_boxes_come_back_in_source_pixels_of_a_resized_image():
    detect, _ = detector()
    (box,) = detect(spot(256, 512, (80, 40, 240, 200))).xyxy
    np.testing.assert_allclose(box, (80, 40, 240, 200), atol=8)  # one pixel of the input


@pytest.mark.parametrize(("count", "batches"), [(1, [1]), (4, [4]), (5, [4, 1]), (9, [4, 4, 1])])
def test_images_are_run_in_the_largest_batches_that_the_graph_accepts(count, batches):
    detect, model = detector(DYNAMIC)
    boxes = [[5 + i, 4, 30 + i, 24] for i in range(count)]
    found = detect.detect([spot(32, 64, box) for box in boxes])
    assert [one.xyxy[0].tolist() for one in found] == boxes
    assert [shape[0] for shape in model.shapes] == batches


def test_a_static_graph_of_batch_one_takes_images_one_by_one():
    detect, model = detector()
    assert len(detect.detect([IMAGE] * 3)) == 3
    assert model.shapes == [(1, 3, 64, 64)] * 3


def test_a_fixed_larger_batch_is_filled_up():
    model = BrightSpot()
    spec = make_spec((64, 64), batch=(2, 2))
    detect = Detector(runtime(model, (2, 3, 64, 64), (2, 7, 84)), spec)
    found = detect.detect([IMAGE] * 3)
    assert [one.xyxy.tolist() for one in found] == [[BOX]] * 3
    assert model.shapes == [(2, 3, 64, 64)] * 2


def test_the_size_of_a_dynamic_graph_can_be_chosen():
    detect, model = detector(DYNAMIC)
    assert detect(IMAGE).xyxy.tolist() == [BOX]
    assert detect(IMAGE, (32, 64)).xyxy.tolist() == [BOX]
    detect.detect([IMAGE, IMAGE], (128, 96))
    assert [shape[2:] for shape in model.shapes] == [(64, 64), (32, 64), (128, 96)]
    with pytest.raises(ShapeError, match="does not accept this input size"):
        detect(IMAGE, (40, 64))


def test_thresholds_are_the_specs_unless_given():
    assert detector()[0].thresholds == STATIC.thresholds
    strict, _ = detector(thresholds=Thresholds(conf=0.6))
    assert strict.thresholds == Thresholds(conf=0.6)
    assert len(strict(IMAGE)) == 0  # a score must exceed the limit


def test_the_stages_can_be_called_alone():
    detect, _ = detector()
    feeds, letterboxes = detect.preprocess([IMAGE])
    assert letterboxes == [Letterbox.fit((32, 64), (64, 64))]
    assert list(feeds) == ["images"]
    (found,) = detect.postprocess(detect.runtime.run(feeds), letterboxes)
    assert found.xyxy.tolist() == [BOX]
    assert detect.spec is STATIC


def test_the_feeds_are_valid_until_the_next_call():
    detect, _ = detector()
    feeds, _ = detect.preprocess([IMAGE])
    kept = feeds["images"].copy()
    detect(np.zeros((32, 64, 3), np.uint8))
    assert not np.array_equal(feeds["images"], kept)


def test_an_output_that_contradicts_the_spec_names_both():
    shrunk = runtime(
        lambda feeds: {"output0": np.zeros((1, 7, 21), np.float32)}, output_shape=(1, 7, -1)
    )
    with pytest.raises(ShapeError, match=r"got float32 \(1, 7, 21\).*or more, 7, 84"):
        Detector(shrunk, STATIC)(IMAGE)


def test_numbers_that_are_not_finite_are_an_error():
    broken = runtime(lambda feeds: {"output0": np.full((1, 7, 84), np.nan, np.float32)})
    with pytest.raises(BackendError, match="not finite"):
        Detector(broken, STATIC)(IMAGE)


def test_closing_the_detector_closes_the_runtime():
    detect, _ = detector()
    with detect as same:
        assert same is detect
    detect.close()
    with pytest.raises(BackendError, match="closed"):
        detect(IMAGE)


def test_slices_find_each_object_once_in_pixels_of_the_image():
    image = np.zeros((64, 200, 3), np.uint8)
    image[20:40, 150:170, 2] = 255
    plain, _ = detector(DYNAMIC)
    sliced = Detector(plain.runtime, DYNAMIC, slicing=Slicing(64, 0.25))
    assert sliced.slicing == Slicing(64, 0.25)
    first, second = sliced.detect([image, image])
    np.testing.assert_allclose(first.xyxy, [[150, 20, 170, 40]], atol=2)
    np.testing.assert_array_equal(first.xyxy, second.xyxy)


def test_slices_are_run_in_the_largest_batches():
    sliced, model = detector(DYNAMIC)
    sliced = Detector(sliced.runtime, DYNAMIC, slicing=Slicing(64, 0.25))
    sliced(np.zeros((64, 304, 3), np.uint8))
    assert [shape[0] for shape in model.shapes] == [4, 3]
