"""NMS by TensorRT's plugin at the end of a graph: its structure, and what it would compute.

No machine of ours runs the plugin: `Plugin` below is written after NVIDIA's source, box by box, and
stands in its place.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import msgspec
import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun

from ghost_deploy.core.errors import UnavailableError, UsageError
from ghost_deploy.core.own_nms import require_own_nms
from ghost_deploy.core.spec import ModelSpec, Thresholds
from ghost_deploy.export.efficient_nms import DOMAIN, OPERATOR, append_nms, with_nms
from ghost_deploy.export.operators import TENSORRT_8_5
from ghost_deploy.export.plan import plan_spec
from ghost_deploy.export.trace_onnx import onnx_from_net
from ghost_deploy.processing.embedded_nms import embedded_nms
from ghost_deploy.processing.letterbox import Letterbox
from ghost_deploy.processing.postprocess import Postprocessor
from ghost_deploy.runtimes.tensorrt.releases import EngineUse, Release, check_release
from tests.support.images import random_tensor
from tests.support.onnx_sessions import run_onnx
from tests.support.tiny_detectors import tiny_net, tiny_spec

LIMITS = Thresholds(conf=0.25, iou=0.5, max_det=50)


class Plugin(OpRun):
    """EfficientNMS_TRT, after plugin/efficientNMSPlugin/efficientNMSInference.cu."""

    op_domain = DOMAIN
    __qualname__ = OPERATOR

    def _run(self, boxes: Any, scores: Any, **attributes: Any) -> tuple[Any, ...]:
        assert attributes["box_coding"] == 1, "centre and size"
        assert attributes["score_activation"] == 0
        most, floor = attributes["max_output_boxes"], np.float32(attributes["score_threshold"])
        overlap = np.float32(attributes["iou_threshold"])
        agnostic = bool(attributes.get("class_agnostic", 0))
        batch = len(boxes)
        count, label = np.zeros((batch, 1), np.int32), np.zeros((batch, most), np.int32)
        xyxy = np.zeros((batch, most, 4), np.float32)
        score = np.zeros((batch, most), np.float32)
        for image in range(batch):
            kept = one_image(boxes[image], scores[image], floor, overlap, most, agnostic)
            count[image] = len(kept)
            for row, (box, value, class_id) in enumerate(kept):
                xyxy[image, row], score[image, row], label[image, row] = box, value, class_id
        return count, xyxy, score, label


Plugin.__name__ = OPERATOR


def one_image(
    boxes: NDArray[Any],
    scores: NDArray[Any],
    floor: Any,
    overlap: Any,
    most: int,
    agnostic: bool,
) -> list[tuple[NDArray[Any], float, int]]:
    anchor, class_id = np.nonzero(scores >= floor)
    order = np.argsort(-scores[anchor, class_id], kind="stable")[:4096]
    kept: list[tuple[NDArray[Any], float, int]] = []
    for index in order:
        centre, size = boxes[anchor[index], :2], boxes[anchor[index], 2:]
        box = np.concatenate((centre - size / 2, centre + size / 2))
        mine = int(class_id[index])
        rivals = [better for better, _, other in kept if agnostic or other == mine]
        if all(iou(box, better) < overlap for better in rivals):
            kept.append((box, float(scores[anchor[index], mine]), mine))
        if len(kept) == most:
            break
    return kept


def iou(a: NDArray[Any], b: NDArray[Any]) -> np.float32:
    sides = np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])
    if (sides <= 0).any():
        return np.float32(0)
    inside = sides[0] * sides[1]
    return np.float32(inside / (np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2]) - inside))


@pytest.fixture(scope="module")
def plain_spec() -> ModelSpec:
    return msgspec.structs.replace(plan_spec(tiny_spec()), thresholds=LIMITS)


@pytest.fixture(scope="module")
def plain(plain_spec: ModelSpec) -> onnx.ModelProto:
    return onnx_from_net(tiny_net(), plain_spec, "fp32")


def tail_of(model: onnx.ModelProto, raw: NDArray[np.float32]) -> NDArray[np.float32]:
    """The nodes behind the plain graph, with `Plugin` in the place of NVIDIA's."""
    graph = model.graph
    first = next(i for i, node in enumerate(graph.node) if node.name == "nms/Split")
    own = onnx.helper.make_graph(
        graph.node[first:],
        "tail",
        [onnx.helper.make_tensor_value_info("raw", onnx.TensorProto.FLOAT, raw.shape)],
        list(graph.output),
        [each for each in graph.initializer if each.name.startswith("nms/")],
    )
    tail = onnx.helper.make_model(own, opset_imports=list(model.opset_import), ir_version=8)
    (output,) = ReferenceEvaluator(tail, new_ops=[Plugin]).run(None, {"raw": raw})
    return np.asarray(output)


def test_the_structure(plain: onnx.ModelProto, plain_spec: ModelSpec) -> None:
    spec = with_nms(plain_spec)
    model = append_nms(plain, spec)
    onnx.checker.check_model(model)
    (node,) = (node for node in model.graph.node if node.op_type == OPERATOR)
    fields = {item.name: onnx.helper.get_attribute_value(item) for item in node.attribute}
    assert fields.keys() == {
        "plugin_version", "background_class", "box_coding", "score_activation",
        "max_output_boxes", "score_threshold", "iou_threshold",
    }, "class_agnostic came with TensorRT 8.6"  # fmt: skip
    assert len(node.output) == 4
    assert fields["max_output_boxes"] == 50
    others = {node.op_type for node in model.graph.node} - {OPERATOR}
    assert others <= TENSORRT_8_5
    (output,) = model.graph.output
    shape = [dim.dim_value for dim in output.type.tensor_type.shape.dim]
    assert (output.name, shape) == ("output0", [1, 50, 6])
    text = {item.key: item.value for item in model.metadata_props}[ModelSpec.Json]
    assert ModelSpec.from_json(text) == spec


def test_the_plain_graph_is_left_alone(plain: onnx.ModelProto, plain_spec: ModelSpec) -> None:
    before = plain.SerializeToString(deterministic=True)
    append_nms(plain, with_nms(plain_spec))
    assert plain.SerializeToString(deterministic=True) == before


def agnostic_or_not(spec: ModelSpec, agnostic: bool) -> ModelSpec:
    limits = msgspec.structs.replace(spec.thresholds, agnostic=agnostic)
    return msgspec.structs.replace(spec, thresholds=limits)


@pytest.mark.parametrize("agnostic", [False, True])
def test_it_finds_what_nms_on_the_host_finds(
    plain: onnx.ModelProto, plain_spec: ModelSpec, agnostic: bool
) -> None:
    plain_spec = agnostic_or_not(plain_spec, agnostic)
    limits = plain_spec.thresholds
    spec = with_nms(plain_spec)
    raw = run_onnx(plain, random_tensor((1, 3, *spec.input.size_hw), 3))[0]
    rows = tail_of(append_nms(plain, spec), raw)
    size = spec.input.size_hw
    box = [Letterbox.fit(size, size)]
    (expected,) = Postprocessor(plain_spec)({"output0": raw}, box, limits)
    (found,) = Postprocessor(spec)({"output0": rows}, box, limits)
    assert len(expected) > 10
    np.testing.assert_array_equal(found.class_id, expected.class_id)
    np.testing.assert_array_equal(found.score, expected.score)
    np.testing.assert_allclose(found.xyxy, expected.xyxy, atol=1e-4)


@pytest.mark.parametrize("agnostic", [False, True])
def test_numpy_says_the_same_as_the_plugin(
    plain: onnx.ModelProto, plain_spec: ModelSpec, agnostic: bool
) -> None:
    spec = with_nms(agnostic_or_not(plain_spec, agnostic))
    raw = run_onnx(plain, random_tensor((1, 3, *spec.input.size_hw), 3))[0]
    rows = tail_of(append_nms(plain, spec), raw)[0]
    own = embedded_nms(raw[0], spec, spec.input.size_hw)
    assert (own[:, 4] > 0).sum() == (rows[:, 4] > 0).sum() > 10
    np.testing.assert_allclose(own, rows, atol=1e-4)


def test_nothing_found_is_all_zero(plain_spec: ModelSpec) -> None:
    spec = with_nms(plain_spec)
    size = spec.input.size_hw
    raw = np.zeros((4 + spec.num_classes, spec.head.anchors(size)), np.float32)
    assert not embedded_nms(raw, spec, size).any()


def test_an_equal_overlap_is_kept(plain: onnx.ModelProto, plain_spec: ModelSpec) -> None:
    """The plugin drops at the limit, we above it: the limit in the graph is one step higher."""
    node = append_nms(plain, with_nms(plain_spec)).graph.node
    (plugin,) = (each for each in node if each.op_type == OPERATOR)
    fields = {item.name: onnx.helper.get_attribute_value(item) for item in plugin.attribute}
    assert np.float32(fields["iou_threshold"]) > np.float32(0.5)
    assert np.float32(fields["iou_threshold"]) == np.nextafter(np.float32(0.5), np.float32(1))


def test_an_overlap_limit_of_one_s_own_is_refused(plain_spec: ModelSpec) -> None:
    spec = with_nms(plain_spec)
    size = spec.input.size_hw
    rows = np.zeros((1, 50, 6), np.float32)
    other = msgspec.structs.replace(LIMITS, iou=0.6)
    with pytest.raises(UsageError, match="part of this model"):
        Postprocessor(spec)({"output0": rows}, [Letterbox.fit(size, size)], other)


def test_another_choice_of_classes_is_refused(plain_spec: ModelSpec) -> None:
    for own in (False, True):
        spec = with_nms(agnostic_or_not(plain_spec, own))
        other = msgspec.structs.replace(LIMITS, agnostic=not own)
        with pytest.raises(UsageError, match="part of this model"):
            require_own_nms(spec, other)
        require_own_nms(spec, spec.thresholds)


@pytest.mark.parametrize(
    ("release", "refused"),
    [((8, 5, 3), True), ((8, 6, 0), False), ((10, 3, 0), False), ((11, 1, 0), False)],
)
def test_class_agnostic_needs_tensorrt_8_6(release: Release, refused: bool) -> None:
    check_release(release, EngineUse(end_to_end=True))
    with pytest.raises(UnavailableError, match="class_agnostic") if refused else nullcontext():
        check_release(release, EngineUse(end_to_end=True, agnostic=True))


def test_the_field_is_there_only_where_it_is_set(
    plain: onnx.ModelProto, plain_spec: ModelSpec
) -> None:
    node = append_nms(plain, with_nms(agnostic_or_not(plain_spec, True))).graph.node
    (plugin,) = (each for each in node if each.op_type == OPERATOR)
    fields = {item.name: onnx.helper.get_attribute_value(item) for item in plugin.attribute}
    assert fields["class_agnostic"] == 1


def test_what_needs_none_is_refused() -> None:
    with pytest.raises(UsageError, match="one2one"):
        with_nms(tiny_spec(one2one=True))


def test_several_sizes_are_refused() -> None:
    with pytest.raises(UsageError, match="one input size"):
        with_nms(plan_spec(tiny_spec(), dynamic=True))
