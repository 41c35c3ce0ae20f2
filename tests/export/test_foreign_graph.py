"""Graphs from a process that is not trusted: what is refused, and that the rest is finished."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from ghost_deploy.core.errors import ExportError
from ghost_deploy.core.spec import HeadSpec, InputSpec, ModelSpec
from ghost_deploy.export import foreign_graph
from ghost_deploy.export.foreign_graph import onnx_from_fork, read_foreign
from ghost_deploy.export.half_graph import tail_nodes
from tests.support.onnx_sessions import run_onnx

SPEC = ModelSpec(
    name="foreign",
    family="fork",
    class_names=("a", "b"),
    input=InputSpec(size_hw=(32, 32), stride=32, name="images"),
    head=HeadSpec(decoder="dfl", strides=(8,)),
)


def make_graph() -> ModelProto:
    """A convolution of stride 8 to six channels, and something behind it."""
    weights = np.random.default_rng(0).normal(0, 0.05, (6, 3, 8, 8)).astype(np.float32)
    nodes = [
        helper.make_node("Conv", ["images", "w"], ["c"], name="conv", strides=[8, 8]),
        helper.make_node("Reshape", ["c", "shape"], ["r"], name="reshape"),
        helper.make_node("Sigmoid", ["r"], ["output0"], name="tail"),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, 32, 32])],
        [helper.make_tensor_value_info("output0", TensorProto.FLOAT, [1, 6, 16])],
        [
            numpy_helper.from_array(weights, "w"),
            numpy_helper.from_array(np.array([1, 6, 16]), "shape"),
        ],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def external(model: ModelProto) -> None:
    weights = model.graph.initializer[0]
    weights.data_location = TensorProto.EXTERNAL
    weights.external_data.add(key="location", value="/etc/passwd")
    weights.ClearField("raw_data")


def external_attribute(model: ModelProto) -> None:
    constant = helper.make_node("Constant", [], ["k"], value=numpy_helper.from_array(np.ones(1)))
    constant.attribute[0].t.data_location = TensorProto.EXTERNAL
    constant.attribute[0].t.external_data.add(key="location", value="../secret")
    model.graph.node.insert(0, constant)


def endless(model: ModelProto) -> None:
    body = helper.make_graph([], "body", [], [])
    model.graph.node.add().CopyFrom(helper.make_node("Loop", ["", ""], [], body=body))


def nested_endless(model: ModelProto) -> None:
    inner = helper.make_graph([helper.make_node("Loop", [], ["x"])], "inner", [], [])
    branch = helper.make_node("If", ["c"], ["q"], then_branch=inner, else_branch=inner)
    model.graph.node.add().CopyFrom(branch)


def own_domain(model: ModelProto) -> None:
    model.graph.node[0].domain = "evil"
    model.opset_import.add(domain="evil", version=1)


def newer_opset(model: ModelProto) -> None:
    model.opset_import[0].version = 21


def huge(model: ModelProto) -> None:
    shape = numpy_helper.from_array(np.array([1 << 20, 1 << 20]), "huge_shape")
    model.graph.initializer.add().CopyFrom(shape)
    model.graph.node.add().CopyFrom(
        helper.make_node("ConstantOfShape", ["huge_shape"], ["huge"], name="huge")
    )


def other_output(model: ModelProto) -> None:
    model.graph.output[0].CopyFrom(
        helper.make_tensor_value_info("output0", TensorProto.FLOAT, [1, 7, 16])
    )


def two_outputs(model: ModelProto) -> None:
    model.graph.output.add().CopyFrom(
        helper.make_tensor_value_info("r", TensorProto.FLOAT, [1, 6, 16])
    )


def other_input(model: ModelProto) -> None:
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.DOUBLE


def dangling(model: ModelProto) -> None:
    model.graph.node[1].input[0] = "nothing"


FORGED: list[tuple[Callable[[ModelProto], None], str]] = [
    (external, "stored in another file"),
    (external_attribute, "stored in another file"),
    (endless, "the operator :Loop"),
    (nested_endless, "the operator :Loop"),
    (own_domain, "those of ONNX"),
    (newer_opset, "those of ONNX up to opset 17"),
    (huge, "the tensor 'huge'"),
    (other_output, r"'output0' of shape \[1, 7, 16\]"),
    (two_outputs, "inputs or outputs"),
    (other_input, "inputs or outputs"),
    (dangling, "ValidationError"),
]


@pytest.mark.parametrize("data", [b"", b"no onnx", b"PK\x03\x04" * 40])
def test_what_is_no_onnx_is_refused(data: bytes) -> None:
    with pytest.raises(ExportError, match="cannot be used"):
        read_foreign(data, SPEC)


@pytest.mark.parametrize(("forge", "named"), FORGED, ids=lambda v: getattr(v, "__name__", ""))
def test_forged_graphs_are_refused(
    forge: Callable[[ModelProto], None], named: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object) -> None:
        raise AssertionError("a graph that was not checked is run")

    monkeypatch.setattr(foreign_graph, "finish_onnx", never)
    model = make_graph()
    read_foreign(model.SerializeToString(), SPEC)
    forge(model)
    with pytest.raises(ExportError, match=named):
        onnx_from_fork(model.SerializeToString(), SPEC, "fp32")


def test_a_foreign_graph_is_finished_in_both_precisions() -> None:
    data = make_graph().SerializeToString()
    full, half = (onnx_from_fork(data, SPEC, precision) for precision in ("fp32", "fp16"))
    image = np.random.default_rng(1).random((1, 3, 32, 32), dtype=np.float32)
    (expected,) = run_onnx(full, image)
    (found,) = run_onnx(half, image)
    assert found.dtype == np.float32
    assert 0 < np.abs(found - expected).max() < 1e-3
    kinds = {tensor.name: tensor.data_type for tensor in half.graph.initializer}
    assert TensorProto.FLOAT16 in kinds.values()
    assert {each.key for each in half.metadata_props} == {each.key for each in full.metadata_props}
    onnx.checker.check_model(half, full_check=True)


def test_the_tail_is_what_no_convolution_follows() -> None:
    assert tail_nodes(make_graph()) == ["tail", "reshape"]
