"""One image stage by stage: batches, buffers and the forms of raw outputs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from ghost_deploy.core.errors import BackendError, ShapeError
from ghost_deploy.core.spec import HeadSpec, InputSpec, ModelSpec, Thresholds
from ghost_deploy.detector import Detector
from ghost_deploy.judge.parity.gate import GATES, gate_for
from ghost_deploy.judge.parity.output_forms import canonical
from ghost_deploy.judge.parity.stages import (
    ReferenceResult,
    compare,
    largest_difference,
    lowered,
    run_stages,
)
from ghost_deploy.processing.embedded_nms import embedded_nms
from ghost_deploy.runtimes.fake import FakeRuntime
from tests.support.images import noisy_image
from tests.support.two_class_model import ANCHORS, SIDE, STRIDES, raw_output, two_class_spec

IMAGE = noisy_image()
ROWS = [(4, 12, 34, 42, 0.9, 0), (40, 20, 60, 50, 0.6, 1)]
REG_MAX = 16
RAW = HeadSpec(decoder="dfl-raw", strides=STRIDES, reg_max=REG_MAX)


def detector(spec: ModelSpec, function: Any) -> Detector:
    return Detector(FakeRuntime.for_spec(spec, function), spec, lowered(spec.thresholds))


def repeat(output: NDArray[Any]) -> Any:
    """A model that answers every image with `output`."""

    def function(feeds: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        return {"output0": np.repeat(output[None], len(feeds["images"]), axis=0)}

    return function


@pytest.mark.parametrize(("conf", "low"), [(0.25, 0.15), (0.005, 0.0), (0.0, 0.0)])
def test_lowered_reaches_as_far_as_any_gate(conf: float, low: float) -> None:
    found = lowered(Thresholds(conf=conf, iou=0.6, max_det=9))
    assert (found.conf, found.iou, found.max_det) == (pytest.approx(low), 0.6, 9)
    assert all(conf - gate.margin >= found.conf - 1e-12 or low == 0 for gate in GATES.values())


@pytest.mark.parametrize(("batch", "count"), [((1, 1), 1), ((1, 8), 2), ((4, 4), 4), ((2, 8), 2)])
def test_the_image_is_in_every_row_and_the_last_is_looked_at(
    batch: tuple[int, int], count: int
) -> None:
    spec = two_class_spec(input=InputSpec(size_hw=(SIDE, SIDE), batch=batch))

    def numbered(feeds: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        output = repeat(raw_output(ROWS))(feeds)["output0"]
        output[:, 0, 0] = np.arange(len(output))
        return {"output0": output}

    found = run_stages(detector(spec, numbered), IMAGE)
    assert len(found.tensor) == count
    assert all(np.array_equal(row, found.tensor[0]) for row in found.tensor)
    assert found.outputs["output0"].shape == (1, 6, ANCHORS)
    assert found.outputs["output0"][0, 0, 0] == count - 1
    assert len(found.letterboxes) == 1


def test_a_batch_that_was_frozen_is_refused() -> None:
    spec = two_class_spec(input=InputSpec(size_hw=(SIDE, SIDE), batch=(1, 8)))
    with pytest.raises(ShapeError, match="another batch"):
        run_stages(detector(spec, lambda feeds: {"output0": raw_output(ROWS)[None]}), IMAGE)


def test_the_given_tensor_is_fed_and_the_own_one_is_told() -> None:
    seen = []

    def remember(feeds: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        seen.append(feeds["images"].copy())
        return {"output0": raw_output(ROWS)[None]}

    own = detector(two_class_spec(), remember)
    other = run_stages(own, np.full_like(IMAGE, 7))
    found = run_stages(own, IMAGE, fed=other)
    assert np.array_equal(seen[-1], other.tensor)
    assert not np.array_equal(found.tensor, other.tensor)


def test_buffers_that_a_runtime_reuses_are_copied() -> None:
    buffer = raw_output(ROWS)[None]
    reused = detector(two_class_spec(), lambda feeds: {"output0": buffer})
    found = run_stages(reused, IMAGE)
    before = found.outputs["output0"].copy(), found.tensor.copy()
    buffer[...] = 0
    run_stages(reused, np.zeros_like(IMAGE))
    assert np.array_equal(found.outputs["output0"], before[0])
    assert np.array_equal(found.tensor, before[1])


def test_a_runtime_that_changes_its_input_is_refused() -> None:
    def meddle(feeds: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        feeds["images"][0, 0, 0, 0] += 1
        return {"output0": raw_output(ROWS)[None]}

    with pytest.raises(BackendError, match="changed its input"):
        run_stages(detector(two_class_spec(), meddle), IMAGE)


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        (np.zeros(0), np.zeros(0), 0.0),
        (np.zeros(2), np.zeros(3), np.inf),
        (np.array([1.0, 2.0]), np.array([1.0, 2.5]), 0.5),
    ],
)
def test_largest_difference(a: NDArray[Any], b: NDArray[Any], expected: float) -> None:
    assert largest_difference(a, b) == expected


def raw_logits(seed: int, spread: float) -> NDArray[np.float32]:
    rng = np.random.default_rng(seed)
    return (spread * rng.standard_normal((4 * REG_MAX + 2, ANCHORS))).astype(np.float32)


def decoded(raw: NDArray[np.float32]) -> NDArray[np.float64]:
    """The definition, anchor by anchor in float64: an independent decoder."""
    result = []
    grid = [
        (x + 0.5, y + 0.5, stride)
        for stride in STRIDES
        for y in range(SIDE // stride)
        for x in range(SIDE // stride)
    ]
    for column, (x, y, stride) in zip(raw.astype(np.float64).T, grid, strict=True):
        weights = np.exp(column[:64].reshape(4, REG_MAX))
        left, top, right, bottom = (weights * np.arange(REG_MAX)).sum(1) / weights.sum(1)
        box = np.array([(right - left) / 2 + x, (bottom - top) / 2 + y, left + right, top + bottom])
        result.append(np.concatenate([box * stride, 1 / (1 + np.exp(-column[64:]))]))
    return np.array(result).T


@pytest.mark.parametrize("spread", [0.1, 3.0, 60.0])
def test_raw_distributions_are_brought_to_the_form_of_the_module(spread: float) -> None:
    raw = raw_logits(0, spread)
    found = canonical(raw, two_class_spec(head=RAW), (SIDE, SIDE))
    assert found.shape == (6, ANCHORS)
    assert np.allclose(found, decoded(raw), rtol=1e-5, atol=2e-4)


def test_raw_outputs_that_are_not_finite_stay_so() -> None:
    raw = raw_logits(0, 1.0)
    raw[3, 3] = np.nan
    assert np.isnan(canonical(raw, two_class_spec(head=RAW), (SIDE, SIDE))).any()


def test_a_raw_head_is_compared_with_a_decoded_one() -> None:
    spec, raw = two_class_spec(), raw_logits(1, 2.0)
    truth = ReferenceResult.of(detector(spec, repeat(decoded(raw).astype(np.float32))), IMAGE, None)
    candidate = detector(two_class_spec(head=RAW), repeat(raw))
    found = compare(truth, candidate, gate_for("fp32"), 0.25)
    assert found.tensor.usable
    assert found.tensor.box_px.max() < 1e-3
    assert found.detections.matched == found.detections.reference > 10
    assert found.detections.missing == found.detections.extra == 0


def test_another_kind_of_head_is_a_problem_not_a_comparison() -> None:
    truth = ReferenceResult.of(detector(two_class_spec(), repeat(raw_output(ROWS))), IMAGE, None)
    spec = two_class_spec(head=HeadSpec(decoder="one2one", strides=STRIDES, branch="one2one"))
    rows = np.zeros((300, 6), np.float32)
    found = compare(truth, detector(spec, repeat(rows)), gate_for("fp32"), 0.25)
    assert "'one2one'" in found.tensor.problem
    assert found.detections.missing == 2


def test_an_end_to_end_head_is_compared_as_a_set() -> None:
    spec = two_class_spec(head=HeadSpec(decoder="one2one", strides=STRIDES, branch="one2one"))
    rows = np.zeros((300, 6), np.float32)
    rows[:3] = [(4, 12, 34, 42, 0.5, 0), (40, 20, 60, 50, 0.5, 1), (4, 12, 34, 42, 0.4, 1)]
    shuffled = rows.copy()
    shuffled[[0, 1]] = rows[[1, 0]]
    truth = ReferenceResult.of(detector(spec, repeat(rows)), IMAGE, None)
    found = compare(truth, detector(spec, repeat(shuffled)), gate_for("fp32"), 0.25)
    assert found.tensor.above_floor.sum() == 3
    assert found.tensor.score.max() == 0
    assert found.detections.matched == 3


def test_the_input_made_by_another_description_is_noticed() -> None:
    spec = two_class_spec()
    other = two_class_spec(input=msgspec.structs.replace(spec.input, pad_value=113))
    truth = ReferenceResult.of(detector(spec, repeat(raw_output(ROWS))), IMAGE, None)
    found = compare(truth, detector(other, repeat(raw_output(ROWS))), gate_for("fp32"), 0.25)
    assert found.input_max == pytest.approx(1 / 255)


# Graphs that contain the preprocessing or the NMS


def test_a_graph_of_pixels_is_fed_the_reference_s_image() -> None:
    seen = []

    def remember(feeds: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        seen.append(feeds["images"].copy())
        return {"output0": raw_output(ROWS)[None]}

    pixels = two_class_spec(input=InputSpec(size_hw=(SIDE, SIDE), layout="nhwc", dtype="uint8"))
    truth = ReferenceResult.of(detector(two_class_spec(), repeat(raw_output(ROWS))), IMAGE, None)
    found = compare(truth, detector(pixels, remember), gate_for("fp32"), 0.25)
    assert seen[0].dtype == np.uint8
    np.testing.assert_array_equal(seen[0][0, 8:56], IMAGE)
    assert found.input_max == 0.0
    assert found.detections.matched == len(ROWS)


NMS = HeadSpec(decoder="efficient-nms", strides=STRIDES)
OVERLAPPING = [*ROWS, (5, 13, 34, 42, 0.8, 0), (40, 20, 60, 51, 0.5, 1)]


@pytest.mark.parametrize("lost", [False, True])
def test_nms_inside_the_graph_is_compared_after_it(lost: bool) -> None:
    spec = two_class_spec(head=NMS)
    rows = embedded_nms(raw_output(OVERLAPPING), spec, (SIDE, SIDE))
    assert (rows[:, 4] > 0).sum() == 2
    if lost:
        rows[1] = 0
    truth = ReferenceResult.of(
        detector(two_class_spec(), repeat(raw_output(OVERLAPPING))), IMAGE, None
    )
    found = compare(truth, detector(spec, repeat(rows)), gate_for("fp32"), 0.25)
    assert found.tensor.problem == ""
    assert found.detections.matched == (1 if lost else 2)
    assert found.detections.missing == (1 if lost else 0)
    assert float(found.tensor.score.max()) == pytest.approx(0.6 if lost else 0.0)


@pytest.mark.parametrize("decoder", ["efficient-nms", "nms"])
def test_another_choice_of_nms_between_near_equals_is_no_difference(decoder: Any) -> None:
    """Scores 0.8 and 0.7999 of overlapping boxes: rounding decides which of the two is kept."""
    near = [(4, 12, 34, 42, 0.8, 0), (5, 13, 35, 43, 0.7999, 0)]
    spec = two_class_spec(head=msgspec.structs.replace(NMS, decoder=decoder))
    rows = embedded_nms(raw_output(near[::-1][:1]), spec, (SIDE, SIDE))
    truth = ReferenceResult.of(detector(two_class_spec(), repeat(raw_output(near))), IMAGE, None)
    found = compare(truth, detector(spec, repeat(rows)), gate_for("fp32"), 0.25)
    assert float(found.tensor.box_px.max()) == 0.0
    assert float(found.tensor.score.max()) == 0.0


@pytest.mark.parametrize("change", [(0, 4.0), (4, 0.05), (5, 1.0)])
def test_a_row_that_the_module_does_not_have_is_a_difference(change: tuple[int, float]) -> None:
    spec = two_class_spec(head=NMS)
    rows = embedded_nms(raw_output(ROWS), spec, (SIDE, SIDE))
    rows[0, change[0]] += change[1] if rows[0, 5] == 0 or change[0] < 5 else -change[1]
    truth = ReferenceResult.of(detector(two_class_spec(), repeat(raw_output(ROWS))), IMAGE, None)
    found = compare(truth, detector(spec, repeat(rows)), gate_for("fp32"), 0.25).tensor
    assert max(found.box_px.max(), found.score.max()) > 0.04


def test_rows_of_an_nms_in_the_form_of_the_module() -> None:
    spec = two_class_spec(head=NMS)
    rows = embedded_nms(raw_output(ROWS), spec, (SIDE, SIDE))
    raw = canonical(rows, spec, (SIDE, SIDE))
    np.testing.assert_allclose(raw, raw_output(ROWS), atol=1e-5)
