from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper, shape_inference

from ghost_deploy.calib.quantize.lint import lint
from ghost_deploy.calib.quantize.strongly_typed import OPSET, to_strong_fp16
from ghost_deploy.core.errors import ExportError
from tests.support.int8_forms import quantize
from tests.support.small_graphs import Net, ghost_net, random_inputs, run, statistics_of
from tests.support.zoo_networks import GRAPH_SIZE_HW, zoo_graph


def types(model: ModelProto) -> dict[str, int]:
    inferred = shape_inference.infer_shapes(model).graph
    values = (*inferred.input, *inferred.value_info, *inferred.output)
    return {value.name: value.type.tensor_type.elem_type for value in values}


def int8(model: ModelProto) -> ModelProto:
    return quantize(model, statistics_of(model, random_inputs()), "tensorrt", method="minmax").model


def test_a_weight_beyond_float16_is_refused() -> None:
    model = ghost_net()
    for tensor in model.graph.initializer:
        if tensor.name == "last.weight":
            value = np.full(tensor.dims, 1e6, np.float32)
            tensor.CopyFrom(numpy_helper.from_array(value, tensor.name))
    with pytest.raises(ExportError, match="float16"):
        to_strong_fp16(int8(model))


def test_all_is_float16_between_the_input_and_the_tail() -> None:
    before = int8(ghost_net())
    kept = before.SerializeToString()
    model = to_strong_fp16(before)
    assert before.SerializeToString() == kept
    assert {item.version for item in model.opset_import} == {OPSET}
    assert model.metadata_props == before.metadata_props
    found = types(model)
    assert found["images"] == found["output0"] == found["scores:out"] == TensorProto.FLOAT
    assert found["dense:out"] == found["last:out"] == TensorProto.FLOAT16
    half = TensorProto.FLOAT16
    scales = {node.input[1] for node in model.graph.node if node.op_type.endswith("Linear")}
    constants = {item.name: item.data_type for item in model.graph.initializer}
    assert {constants[name] for name in scales} == {half}
    assert lint(model, strongly_typed=True) == []


def test_it_computes_about_what_the_float32_rest_does() -> None:
    before = int8(ghost_net())
    after = to_strong_fp16(before)
    for image in random_inputs(3, seed=7):
        assert np.abs(run(before, image)[0] - run(after, image)[0]).max() < 0.03


def test_an_output_before_the_tail_is_cast() -> None:
    net = Net()
    x = net.silu(net.conv("images", 8, "first"), "first")
    net.nodes.append(helper.make_node("Identity", [x], ["output1"], name="second"))
    model = net.model(net.conv(x, 4, "last"))
    model.graph.output.append(
        helper.make_tensor_value_info("output1", TensorProto.FLOAT, [1, 8, 16, 16])
    )
    after = to_strong_fp16(int8(model))
    assert types(after)["output1"] == TensorProto.FLOAT
    assert len(run(after, random_inputs(1)[0])) == 2


@pytest.mark.parametrize("name", ["yolov10n-ghost", "yolo11n-ghostnetv2"])
def test_boxes_of_an_exported_network_are_decoded_in_float32(name: str) -> None:
    model = zoo_graph(name, "one2one" if name.startswith("yolov10") else "dfl")
    image = np.random.default_rng(0).random((1, 3, *GRAPH_SIZE_HW), np.float32)
    before = quantize(model, statistics_of(model, [image]), "tensorrt", method="minmax").model
    after = to_strong_fp16(before)
    assert lint(after, strongly_typed=True) == []
    assert np.isfinite(run(after, image)[0]).all()
    found = types(after)
    made_by = {
        node.op_type: found[node.output[0]] for node in after.graph.node if "tail" in node.name
    }
    assert {made_by["Exp"], made_by["MatMul"]} == {TensorProto.FLOAT}
    kinds = Counter(node.op_type for node in after.graph.node)
    # One into float16, and one back for each of the six last convolutions.
    assert kinds["Cast"] - Counter(n.op_type for n in before.graph.node)["Cast"] == 7
