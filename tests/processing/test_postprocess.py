from __future__ import annotations

import json

import numpy as np
import pytest

from ghost_deploy.core.errors import ShapeError, UsageError
from ghost_deploy.core.spec import Thresholds
from ghost_deploy.processing.letterbox import Letterbox
from ghost_deploy.processing.postprocess import Postprocessor, output_shapes
from tests.support.assets import CHECKPOINTS, MODELS, needs_assets
from tests.support.model_specs import BCCD_NAMES, make_spec

BOX = Letterbox.fit((32, 64), (64, 64))  # 16 pixels of border above and below


def dfl_output(*boxes, batch=1):
    """(batch, 7, 84) with (x, y, w, h, score, class) in the first anchors of every image."""
    output = np.zeros((batch, 7, 84), np.float32)
    for anchor, (*xywh, score, class_id) in enumerate(boxes):
        output[:, :4, anchor] = xywh
        output[:, 4 + class_id, anchor] = score
    return output


def post(output, boxes=(BOX,), limits=None, *, spec=None, **options):
    process = Postprocessor(spec or make_spec())
    return process({"output0": output}, boxes, limits or Thresholds(), **options)


@pytest.mark.parametrize(
    ("decoder", "shape"), [("dfl", (7, 84)), ("dfl-raw", (67, 84)), ("one2one", (-1, 6))]
)
def test_output_shape(decoder, shape):
    assert output_shapes(make_spec(decoder=decoder), (64, 64)) == {"output0": shape}


@pytest.mark.parametrize(
    ("shape", "decoder"),
    [
        ((1, 6, 84), "dfl"),  # other classes
        ((1, 67, 84), "dfl"),  # another decoder
        ((1, 84, 7), "dfl"),  # transposed
        ((1, 7, 85), "dfl"),  # another input size
        ((0, 7, 84), "dfl"),  # fewer rows than images
        ((7, 84), "dfl"),
        ((1, 7, 84), "dfl-raw"),
        ((1, 300, 7), "one2one"),
    ],
)
def test_an_output_of_the_wrong_shape_is_refused(shape, decoder):
    with pytest.raises(ShapeError) as caught:
        post(np.zeros(shape, np.float32), spec=make_spec(decoder=decoder))
    message = str(caught.value)
    assert "'output0' does not fit" in message
    assert f"float32 {shape}" in message
    assert f"decoder {decoder}, 3 classes and input 64 x 64" in message


def test_an_output_of_another_dtype_is_refused():
    with pytest.raises(ShapeError, match="got float16"):
        post(np.zeros((1, 7, 84), np.float16))


def test_an_absent_output_is_refused():
    with pytest.raises(ShapeError, match=r"no output 'output0': got \['boxes', 'scores'\]"):
        Postprocessor(make_spec())({"scores": BOX, "boxes": BOX}, [BOX], Thresholds())


def test_nothing_found_is_an_empty_value():
    (found,) = post(dfl_output())
    assert len(found) == 0
    assert found.class_names == BCCD_NAMES


def test_boxes_come_back_in_clipped_source_pixels_best_first():
    (found,) = post(dfl_output((32, 32, 20, 10, 0.5, 2), (60, 50, 20, 10, 0.75, 0)))
    assert found.score.tolist() == [0.75, 0.5]
    assert found.names == ["RBC", "Platelets"]
    assert found.xyxy.tolist() == [[50, 29, 64, 32], [22, 11, 42, 21]]


def test_limits_are_applied():
    overlapping = dfl_output(
        (32, 32, 20, 10, 0.5, 1), (33, 32, 20, 10, 0.75, 1), (9, 32, 4, 4, 0.3, 1)
    )
    assert [len(post(overlapping, limits=limits)[0]) for limits in (
        Thresholds(),
        Thresholds(conf=0.4),
        Thresholds(iou=0.95),
        Thresholds(iou=0.95, max_det=1),
    )] == [2, 1, 3, 1]  # fmt: skip


def test_multi_label():
    output = dfl_output((32, 32, 20, 10, 0.5, 1))
    output[0, 4] = output[0, 5] / 2
    assert post(output, limits=Thresholds(conf=0.1))[0].names == ["WBC"]
    (found,) = post(output, limits=Thresholds(conf=0.1), multi_label=True)
    assert found.names == ["WBC", "RBC"]
    assert found.score.tolist() == [0.5, 0.25]


def test_each_image_has_its_own_letterbox_and_spare_rows_are_ignored():
    boxes = (BOX, Letterbox.fit((128, 64), (64, 64)))
    found = post(dfl_output((32, 32, 20, 10, 0.5, 2), batch=3), boxes)
    assert [one.xyxy.tolist() for one in found] == [[[22, 11, 42, 21]], [[12, 54, 52, 74]]]


def test_one2one_is_not_suppressed_but_limited():
    row = [10, 20, 30, 40, 0.5, 1]
    output = np.zeros((1, 300, 6), np.float32)
    output[0, :3] = row
    spec = make_spec(decoder="one2one")
    assert len(post(output, spec=spec)[0]) == 3
    (found,) = post(output, limits=Thresholds(max_det=2), spec=spec)
    assert found.xyxy.tolist() == [[10, 4, 30, 24]] * 2


@pytest.mark.parametrize("decoder", ["dfl", "one2one"])
def test_the_result_does_not_refer_to_the_outputs(decoder):
    output = dfl_output((32, 32, 20, 10, 0.5, 1))
    if decoder == "one2one":
        output = np.array([[[10, 20, 30, 40, 0.5, 1]]], np.float32)
    before = output.copy()
    (found,) = post(output, spec=make_spec(decoder=decoder))
    kept = found.to_dicts()
    assert np.array_equal(output, before)
    output[:] = 0  # what a runtime does at its next run
    assert found.to_dicts() == kept


@needs_assets
@pytest.mark.parametrize("checkpoint", CHECKPOINTS, ids=lambda path: path.stem)
def test_recorded_raw_outputs_give_the_recorded_detections(checkpoint):
    recorded = np.load(MODELS / f"{checkpoint.stem}.reference.npz")
    reference = json.loads((MODELS / f"{checkpoint.stem}.reference.json").read_text())
    compared = 0
    for key in (key for key in recorded if key.startswith("raw_")):
        _, size, name = key.split("_", 2)
        by_image = reference["sizes"][size]["detections_conf0.25_iou0.7_xyxy_score_class"]
        expected = np.array(by_image[name])
        spec = make_spec((int(size), int(size)))
        (found,) = post(recorded[key], [Letterbox.fit((480, 640), spec.input.size_hw)], spec=spec)
        np.testing.assert_array_equal(found.class_id, expected[:, 5])
        # Equal to the last bit where it was written; the slack is for other NumPy builds.
        np.testing.assert_allclose(found.xyxy, expected[:, :4], rtol=0, atol=1e-3)
        np.testing.assert_allclose(found.score, expected[:, 4], rtol=0, atol=1e-6)
        compared += len(expected)
    assert compared > 50


def test_classes_suppress_each_other_only_when_asked():
    """Two boxes at one place, and a third far away: the better one of another class wins."""
    output = dfl_output((32, 32, 20, 10, 0.5, 2), (32, 32, 20, 10, 0.75, 0), (10, 32, 8, 8, 0.3, 1))
    (by_class,) = post(output)
    (over_all,) = post(output, limits=Thresholds(agnostic=True))
    assert by_class.class_id.tolist() == [0, 2, 1]
    assert over_all.class_id.tolist() == [0, 1]


def test_a_head_without_nms_has_none_to_change():
    spec = make_spec(decoder="one2one")
    rows = np.zeros((1, 300, 6), np.float32)
    assert len(post(rows, spec=spec)[0]) == 0
    with pytest.raises(UsageError, match="no NMS that could be class-agnostic"):
        post(rows, spec=spec, limits=Thresholds(agnostic=True))
