from __future__ import annotations

from functools import cache

import msgspec
import numpy as np
import pytest
import torch
from onnx import ModelProto, TensorProto

from ghost_deploy.core.errors import ExportError
from ghost_deploy.core.spec import ModelSpec
from ghost_deploy.export.operators import TENSORRT_8_5
from ghost_deploy.export.plan import plan_spec
from ghost_deploy.export.trace_onnx import onnx_from_net
from tests.support.onnx_sessions import run_onnx
from tests.support.tiny_detectors import tiny_net, tiny_spec


@cache
def exported(precision: str = "fp32", dynamic: bool = False, one2one: bool = False) -> ModelProto:
    spec = plan_spec(tiny_spec(one2one=one2one), dynamic=dynamic)
    return onnx_from_net(tiny_net(one2one=one2one), spec, precision)


def data(model: ModelProto) -> bytes:
    return model.SerializeToString(deterministic=True)


def dims(model: ModelProto) -> list[list[int | str]]:
    return [
        [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim]
        for value in (*model.graph.input, *model.graph.output)
    ]


@pytest.mark.parametrize("one2one", [False, True], ids=["one2many", "one2one"])
@pytest.mark.parametrize("dynamic", [False, True], ids=["static", "dynamic"])
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_form(precision: str, dynamic: bool, one2one: bool) -> None:
    spec = plan_spec(tiny_spec(one2one=one2one), dynamic=dynamic)
    model = exported(precision, dynamic, one2one)
    types = {
        value.type.tensor_type.elem_type for value in (*model.graph.input, *model.graph.output)
    }
    assert types == {TensorProto.FLOAT}
    assert [(o.domain, o.version) for o in model.opset_import] == [("", 17)]
    assert model.ir_version == 8
    operators = {node.op_type for node in model.graph.node}
    assert operators <= TENSORRT_8_5
    assert "Softmax" not in operators
    assert ("Shape" in operators) == dynamic
    properties = {item.key: item.value for item in model.metadata_props}
    assert ModelSpec.from_json(properties[ModelSpec.Json]) == spec


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_two_exports_give_equal_bytes(precision: str) -> None:
    again = onnx_from_net(tiny_net(), tiny_spec(), precision)
    assert data(again) == data(exported(precision))


def test_names_and_axes() -> None:
    assert dims(exported()) == [[1, 3, 96, 128], [1, 7, 240]]
    assert dims(exported(dynamic=True)) == [
        ["batch", 3, "height", "width"],
        ["batch", 7, "anchors"],
    ]
    spec = tiny_spec()
    batches = msgspec.structs.replace(spec.input, batch=(1, 4))
    model = onnx_from_net(tiny_net(), msgspec.structs.replace(spec, input=batches), "fp32")
    assert dims(model) == [["batch", 3, 96, 128], ["batch", 7, 240]]
    image = torch.rand(3, 3, 96, 128)
    np.testing.assert_allclose(run_onnx(model, image.numpy())[0], tiny_net()(image), atol=2e-4)


def test_nothing_of_this_machine_is_in_the_file() -> None:
    model = exported()
    assert model.producer_name == "ghost-deploy"
    assert b"/home" not in data(model)
    assert b".py" not in data(model)
    for part in (*model.graph.node, *model.graph.initializer, model.graph, model):
        assert part.doc_string == ""
        assert part is model or not part.metadata_props


@pytest.mark.parametrize("shape", [(1, 96, 128), (2, 64, 192), (4, 192, 64)])
def test_a_dynamic_graph_takes_any_size(shape: tuple[int, int, int]) -> None:
    net = tiny_net()
    model = exported(dynamic=True)
    batch, height, width = shape
    image = torch.rand(batch, 3, height, width)
    np.testing.assert_allclose(run_onnx(model, image.numpy())[0], net(image), atol=2e-4)


def test_one2one_scores_and_boxes() -> None:
    net = tiny_net(one2one=True)
    image = torch.rand(1, 3, 96, 128)
    got = run_onnx(exported(one2one=True), image.numpy())[0][0]
    expected = net(image)[0].numpy()
    np.testing.assert_allclose(got[:, 4], expected[:, 4], atol=1e-5)
    # Rows of nearly equal score may change places.
    gaps = np.diff(expected[:, 4], prepend=2.0, append=-1.0)
    alone = np.minimum(-gaps[1:], -gaps[:-1]) > 1e-5
    assert alone.sum() > 100
    np.testing.assert_allclose(got[alone], expected[alone], atol=1e-3)


def test_fp16_weights_are_half_and_the_tail_is_not() -> None:
    full, half = exported(), exported("fp16")
    kinds = {t.name: t.data_type for t in half.graph.initializer}
    weights = [kind for name, kind in kinds.items() if ".conv.weight" in name]
    assert len(weights) > 20
    assert set(weights) == {TensorProto.FLOAT16}
    assert kinds["tail.stride"] == TensorProto.FLOAT
    assert len(data(half)) < 0.6 * len(data(full))
    image = torch.rand(1, 3, 96, 128)
    np.testing.assert_allclose(
        run_onnx(half, image.numpy())[0], run_onnx(full, image.numpy())[0], atol=0.1
    )


def test_the_net_is_not_touched() -> None:
    net = tiny_net()
    image = torch.rand(1, 3, 96, 128)
    before = net(image)
    state = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    onnx_from_net(net, tiny_spec(), "fp16")
    assert torch.equal(net(image), before)
    after = net.state_dict()
    assert after.keys() == state.keys()
    assert all(torch.equal(after[name], tensor) for name, tensor in state.items())


class Branching(torch.nn.Module):
    """Asks a tensor's value, which a trace would freeze."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * 2 if x.sum() > 0 else x


class Untraceable(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.linalg.svdvals(x).sum() + x


@pytest.mark.parametrize("part", [Branching(), Untraceable()], ids=["branching", "no operator"])
def test_what_cannot_be_traced_is_an_error(part: torch.nn.Module) -> None:
    net = tiny_net()
    net.model[0] = torch.nn.Sequential(net.model[0], part)
    with pytest.raises(ExportError, match="could not be traced"):
        onnx_from_net(net, tiny_spec(), "fp32")
