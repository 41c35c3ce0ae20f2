from __future__ import annotations

import numpy as np
import onnx
import onnx.reference
from onnx import TensorProto, helper, numpy_helper

from ghost_deploy.calib.graph.parameters import set_parameters
from ghost_deploy.calib.quantize.weights import on_grid
from tests.support.small_graphs import Net, bias_of, ghost_net, weight_of


def test_nothing_to_set_gives_an_equal_copy() -> None:
    model = ghost_net()
    copy = set_parameters(model, {}, {})
    assert copy is not model
    assert copy.SerializeToString() == model.SerializeToString()


def test_only_the_named_convolution_changes() -> None:
    model = ghost_net()
    bias = np.arange(16, dtype=np.float32)
    changed = set_parameters(
        model, {"dense": np.ones_like(weight_of(model, "dense"))}, {"dense": bias}
    )
    np.testing.assert_array_equal(bias_of(changed, "dense"), bias)
    assert (weight_of(changed, "dense") == 1).all()
    np.testing.assert_array_equal(weight_of(changed, "last"), weight_of(model, "last"))
    assert not (weight_of(model, "dense") == 1).all()


def test_a_convolution_without_bias_gets_one() -> None:
    model = ghost_net()
    node = next(node for node in model.graph.node if node.name == "dense")
    del node.input[2:]
    np.testing.assert_array_equal(bias_of(model, "dense"), np.zeros(16, np.float32))
    changed = set_parameters(model, {}, {"dense": np.ones(16, np.float32)})
    np.testing.assert_array_equal(bias_of(changed, "dense"), np.ones(16, np.float32))
    onnx.checker.check_model(changed)


def test_a_shared_parameter_changes_for_one_reader_only() -> None:
    net = Net()
    first = net.conv("images", 3, "a")
    model = net.model(net.node("Conv", [first, "a.weight", "a.bias"], "b", 3))
    changed = set_parameters(model, {}, {"b": np.full(3, 7, np.float32)})
    np.testing.assert_array_equal(bias_of(changed, "a"), bias_of(model, "a"))
    np.testing.assert_array_equal(bias_of(changed, "b"), np.full(3, 7, np.float32))


def test_weights_on_the_grid_are_what_q_and_dq_give() -> None:
    weight = np.random.default_rng(0).normal(size=(4, 3, 3, 3)).astype(np.float32)
    scales = np.array([0.01, 0.02, 0.03, 0.005], np.float32)
    zeros = numpy_helper.from_array(np.zeros(4, np.int8), "z")
    graph = helper.make_graph(
        [
            helper.make_node("QuantizeLinear", ["w", "s", "z"], ["q"], axis=0),
            helper.make_node("DequantizeLinear", ["q", "s", "z"], ["y"], axis=0),
        ],
        "pair",
        [helper.make_tensor_value_info("w", TensorProto.FLOAT, weight.shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, weight.shape)],
        [numpy_helper.from_array(scales, "s"), zeros],
    )
    pair = onnx.reference.ReferenceEvaluator(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)])
    )
    clipped = np.clip(weight, -127 * scales[:, None, None, None], 127 * scales[:, None, None, None])
    np.testing.assert_array_equal(on_grid(weight, scales), pair.run(None, {"w": clipped})[0])
    np.testing.assert_array_equal(on_grid(on_grid(weight, scales), scales), on_grid(weight, scales))
