from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime
import pytest
from onnx import ModelProto, NodeProto, TensorProto, checker, helper, numpy_helper

from ghost_deploy.export.upsample import convolve_before_upsampling

RNG = np.random.default_rng(0)


def model(
    *,
    up_first: bool = True,
    kernel: int = 1,
    outputs: int = 4,
    scales: tuple[float, ...] = (1, 1, 2, 2),
    mode: str = "nearest",
    third: bool = False,
    read_again: str = "",
    conv: dict[str, Any] | None = None,
) -> ModelProto:
    """up(a) joined with b (and c), read by two convolutions with and without bias."""
    parts = ["up", "b"] if up_first else ["b", "up"]
    parts += ["c"] if third else []
    channels = 6 + 5 + (2 if third else 0)
    weights = {
        "scales": np.array(scales, np.float32),
        "w0": RNG.normal(size=(outputs, channels, kernel, kernel)).astype(np.float32),
        "w1": RNG.normal(size=(2, channels, kernel, kernel)).astype(np.float32),
        "b0": RNG.normal(size=outputs).astype(np.float32),
    }
    nodes: list[NodeProto] = [
        helper.make_node(
            "Resize",
            ["a", "", "scales"],
            ["up"],
            name="up",
            mode=mode,
            coordinate_transformation_mode="asymmetric",
            nearest_mode="floor",
        ),
        helper.make_node("Concat", parts, ["joined"], name="joined", axis=1),
        helper.make_node("Conv", ["joined", "w0", "b0"], ["y0"], name="conv0", **(conv or {})),
        helper.make_node("Conv", ["joined", "w1"], ["y1"], name="conv1", **(conv or {})),
    ]
    results = ["y0", "y1"]
    if read_again:
        nodes.append(helper.make_node("Relu", [read_again], ["again"], name="again"))
        results.append("again")
    sizes = {"a": (1, 6, 4, 6), "b": (1, 5, 8, 12)} | ({"c": (1, 2, 8, 12)} if third else {})
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info(k, TensorProto.FLOAT, v) for k, v in sizes.items()],
        [helper.make_tensor_value_info(k, TensorProto.FLOAT, [None] * 4) for k in results],
        [numpy_helper.from_array(value, key) for key, value in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def run(net: ModelProto) -> list[Any]:
    feeds = {
        value.name: np.random.default_rng(1)
        .normal(size=[d.dim_value for d in value.type.tensor_type.shape.dim])
        .astype(np.float32)
        for value in net.graph.input
    }
    session = onnxruntime.InferenceSession(net.SerializeToString())
    return list(session.run(None, feeds))


@pytest.mark.parametrize(
    "case",
    [{}, {"up_first": False}, {"third": True}, {"up_first": False, "third": True}],
    ids=str,
)
def test_the_rewritten_graph_computes_the_same(case: dict[str, Any]) -> None:
    net = model(**case)
    before = run(net)
    assert convolve_before_upsampling(net) == 1
    checker.check_model(net, full_check=True)
    for got, expected in zip(run(net), before, strict=True):
        np.testing.assert_allclose(got, expected, atol=1e-5)
    kinds = [node.op_type for node in net.graph.node]
    assert kinds.count("Concat") == int(case.get("third", False))
    assert kinds.count("Resize") == 2
    assert {"w0", "w1"}.isdisjoint(tensor.name for tensor in net.graph.initializer)


@pytest.mark.parametrize(
    "case",
    [
        {"kernel": 3, "conv": {"pads": [1, 1, 1, 1]}},
        {"outputs": 5},  # with the other's 2 more than the 6 channels that are upsampled
        {"scales": (1, 1, 1, 1)},
        {"mode": "linear"},
        {"read_again": "joined"},
        {"read_again": "up"},
        {"conv": {"strides": [2, 2]}},
        {"conv": {"pads": [1, 1, 1, 1]}},
    ],
    ids=str,
)
def test_anything_else_is_left_alone(case: dict[str, Any]) -> None:
    if case.get("scales") == (1, 1, 1, 1):
        net = model(**case)
        net.graph.input[0].type.tensor_type.shape.dim[2].dim_value = 8
        net.graph.input[0].type.tensor_type.shape.dim[3].dim_value = 12
    else:
        net = model(**case)
    before = net.SerializeToString(deterministic=True)
    assert convolve_before_upsampling(net) == 0
    assert net.SerializeToString(deterministic=True) == before
