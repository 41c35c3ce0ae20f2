"""The graph in ONNX Runtime's own operators against the Q/DQ graph that it was made of."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from functools import cache
from itertools import pairwise

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import ModelProto, helper, numpy_helper

from ghost_deploy.calib.forms import int8_form
from ghost_deploy.calib.quantize.channels_last import to_channels_last
from ghost_deploy.calib.quantize.conventions import NAIVE, PlacementOptions
from ghost_deploy.calib.quantize.ort_kernels import DOMAIN
from ghost_deploy.calib.ranges.histogram import TensorStatistics
from ghost_deploy.core.bundle import FORM_KEY
from ghost_deploy.core.errors import ExportError
from tests.support.int8_forms import quantize
from tests.support.small_graphs import Net, ghost_net, random_inputs, statistics_of
from tests.support.zoo_networks import GRAPH_SIZE_HW, zoo_graph

ALL_INT8 = PlacementOptions()
FLOAT_DEPTHWISE = PlacementOptions(first_conv="float", depthwise="float")


def fused(model: ModelProto, image: NDArray[np.float32]) -> NDArray[np.float32]:
    """What ONNX Runtime makes of a model with all its fusions."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    found: NDArray[np.float32] = session.run(None, {session.get_inputs()[0].name: image})[0]
    return found


def rounded(model: ModelProto, options: PlacementOptions | None = None) -> ModelProto:
    return quantize(model, statistics_of(model, random_inputs()), "ort-x86", options).model


def kinds(model: ModelProto) -> Counter[str]:
    return Counter(node.op_type for node in model.graph.node)


@cache
def measured(name: str) -> tuple[ModelProto, dict[str, TensorStatistics]]:
    """A network of the zoo and statistics of it on one image."""
    model = zoo_graph(name, "one2one" if name.startswith("yolov10") else "dfl")
    image = np.random.default_rng(0).random((1, 3, *GRAPH_SIZE_HW), np.float32)
    return model, statistics_of(model, [image])


def small(*tail: tuple[str, dict[str, object]]) -> ModelProto:
    """Two convolutions with operators of `tail` between them, and a head."""
    net = Net()
    x = net.silu(net.conv("images", 8, "first"), "first")
    for index, (kind, attributes) in enumerate(tail):
        x = net.node(kind, [x], f"tail{index}", 8, **attributes)
    return finished(net, x)


def finished(net: Net, x: str) -> ModelProto:
    """Another convolution and a head, which may be of any size."""
    model = net.model(net.conv(net.silu(net.conv(x, 8, "next"), "next"), 4, "last"))
    for side in model.graph.output[0].type.tensor_type.shape.dim[2:]:
        side.Clear()
    return model


def resized(mode: dict[str, object], factors: list[float]) -> ModelProto:
    net = Net()
    x = net.silu(net.conv("images", 8, "first"), "first")
    net.constants.append(numpy_helper.from_array(np.array([1, 1, *factors], np.float32), "factors"))
    x = net.node("Resize", [x, "", "factors"], "resize", 8, **mode)
    return finished(net, x)


COPIES = {
    "mode": "nearest",
    "coordinate_transformation_mode": "asymmetric",
    "nearest_mode": "floor",
}


@pytest.mark.parametrize("options", [None, ALL_INT8, FLOAT_DEPTHWISE, NAIVE])
def test_a_ghost_network_computes_the_same_bits(options: PlacementOptions | None) -> None:
    model = rounded(ghost_net(), options)
    before = model.SerializeToString()
    found = to_channels_last(model)
    for image in random_inputs(3, seed=7):
        assert np.array_equal(fused(found, image), fused(model, image))
    assert model.SerializeToString() == before
    assert {item.key: item.value for item in found.metadata_props}[FORM_KEY] == "ort-x86"
    assert found.SerializeToString(True) == to_channels_last(model).SerializeToString(True)


def test_no_int8_value_is_transposed_between_int8_operators() -> None:
    found = to_channels_last(rounded(ghost_net(), FLOAT_DEPTHWISE))
    own = {name for node in found.graph.node if node.domain == DOMAIN for name in node.output}
    assert kinds(found)["QLinearConv"] == 3
    assert kinds(found)["QLinearConcat"] == 2
    # Into and out of float: behind the first convolution; twice each way for the depthwise ones;
    # and none for the head, whose activation is float.
    crossing = [node for node in found.graph.node if node.op_type == "Transpose"]
    for node in crossing:
        readers = {
            r.op_type for r in found.graph.node for name in r.input if name == node.output[0]
        }
        maker = node.input[0] in own
        assert readers == {"DequantizeLinear"} if maker else "DequantizeLinear" not in readers
    assert len(crossing) == 6


def test_what_an_activation_of_the_head_reads_is_one_float_kernel() -> None:
    found = to_channels_last(rounded(ghost_net(), FLOAT_DEPTHWISE))
    (gate,) = [node for node in found.graph.node if node.op_type == "QuickGelu"]
    assert gate.name == "dense.mul"
    assert "dense.sigmoid" not in {node.name for node in found.graph.node}


@pytest.mark.parametrize(
    ("model", "operator"),
    [
        (small(("Relu", {})), "QLinearConv"),
        (small(("MaxPool", {"kernel_shape": [3, 3], "pads": [1] * 4})), "NhwcMaxPool"),
        (
            small(("MaxPool", {"kernel_shape": [2, 2], "strides": [2, 2], "ceil_mode": 1})),
            "NhwcMaxPool",
        ),
        (resized(COPIES, [2, 2]), "Concat"),
        (resized(COPIES, [3, 1]), "Concat"),
    ],
)
def test_what_moves_values_computes_the_same_bits(model: ModelProto, operator: str) -> None:
    made = rounded(model)
    found = to_channels_last(made)
    assert kinds(found)[operator] > kinds(made)[operator]
    for image in random_inputs(2, seed=5):
        assert np.array_equal(fused(found, image), fused(made, image))


@pytest.mark.parametrize(
    "model",
    [
        resized({**COPIES, "nearest_mode": "ceil"}, [2, 2]),
        resized({**COPIES, "coordinate_transformation_mode": "half_pixel"}, [2, 2]),
        resized(COPIES, [1.5, 2]),
        resized(COPIES, [0.5, 0.5]),
        small(("AveragePool", {"kernel_shape": [2, 2]})),
        small(("Transpose", {"perm": [0, 1, 3, 2]})),
        small(("LeakyRelu", {"alpha": 0.1})),
        small(("Clip", {})),
    ],
)
def test_what_has_no_operator_stays_and_computes_the_same(model: ModelProto) -> None:
    made = rounded(model)
    found = to_channels_last(made)
    assert kinds(found)["QLinearConv"] >= 1
    for image in random_inputs(2, seed=5):
        assert np.allclose(fused(found, image), fused(made, image), atol=1e-5)


@pytest.mark.parametrize("options", [int8_form("ort-x86").options, NAIVE])
@pytest.mark.parametrize("name", ["yolov8n-ghost", "yolov10n-ghost", "yolo11n-ghostnetv2"])
def test_an_exported_network_computes_the_same(name: str, options: PlacementOptions) -> None:
    model, statistics = measured(name)
    image = np.random.default_rng(1).random((1, 3, *GRAPH_SIZE_HW), np.float32)
    made = quantize(model, statistics, "ort-x86", options).model
    found = to_channels_last(made)
    assert kinds(found)["QLinearConv"] > 10
    assert kinds(found)["QuantizeLinear"] < kinds(made)["QuantizeLinear"] / 2
    assert np.allclose(fused(found, image), fused(made, image), atol=1e-4)


def test_free_sizes_and_batches_are_kept() -> None:
    model = ghost_net()
    for value in (model.graph.input[0], model.graph.output[0]):
        for axis, name in ((0, "batch"), (2, "height"), (3, "width")):
            value.type.tensor_type.shape.dim[axis].dim_param = name
    statistics = statistics_of(ghost_net(), random_inputs())
    made = quantize(model, statistics, "ort-x86", ALL_INT8).model
    found = to_channels_last(made)
    image = np.random.default_rng(3).random((2, 3, 24, 40), np.float32)
    assert np.array_equal(fused(found, image), fused(made, image))


def test_the_entry_and_large_depthwise_convolutions_are_float_by_default() -> None:
    model, statistics = measured("yolov8n-ghost")
    placed = quantize(model, statistics, "ort-x86").placement
    assert "before stride 16" in placed.float_nodes["/model.1/cv1/conv/Conv"]
    assert "/model.5/cv1/conv/Conv" in placed.weights
    assert "/model.5/cv2/conv/Conv" in placed.weights, "a depthwise one at stride 16"
    assert "depthwise" in placed.float_nodes["/model.15/m/m.0/conv/conv.0/cv2/conv/Conv"]
    whole = quantize(
        model, statistics, "ort-x86", replace(int8_form("ort-x86").options, entry=0)
    ).placement
    assert "/model.1/cv1/conv/Conv" in whole.weights


def test_a_graph_that_would_not_be_valid_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise onnx.checker.ValidationError("no such operator")

    made = rounded(ghost_net())
    monkeypatch.setattr(onnx.checker, "check_model", refuse)
    with pytest.raises(ExportError, match="not valid"):
        to_channels_last(made)


def test_operators_come_in_execution_order() -> None:
    found = to_channels_last(rounded(ghost_net()))
    known = {each.name for each in (*found.graph.input, *found.graph.initializer)}
    for node in found.graph.node:
        assert set(filter(None, node.input)) <= known
        known.update(node.output)
    names = sorted(node.name for node in found.graph.node)
    assert all(first != second for first, second in pairwise(names))
    assert helper.make_opsetid(DOMAIN, 1) in found.opset_import
