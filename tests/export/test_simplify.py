from __future__ import annotations

import numpy as np
import onnxsim
import pytest
from onnx import ModelProto, numpy_helper

from ghost_deploy.core.errors import ExportError
from ghost_deploy.export import simplify as module
from ghost_deploy.export.trace_onnx import onnx_from_net
from tests.support.tiny_detectors import tiny_net, tiny_spec


@pytest.fixture(scope="module")
def model() -> ModelProto:
    return onnx_from_net(tiny_net(), tiny_spec(), "fp32")


def copy_of(model: ModelProto) -> ModelProto:
    copied = ModelProto()
    copied.CopyFrom(model)
    return copied


def test_no_constant_node_is_left(model: ModelProto) -> None:
    assert "Constant" not in {node.op_type for node in model.graph.node}


def test_a_crash_of_the_simplifier_is_an_error(
    model: ModelProto, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(_: ModelProto) -> None:
        raise RuntimeError("boom")

    monkeypatch.setattr(onnxsim, "simplify", crash)
    with pytest.raises(ExportError, match="boom"):
        module.simplify(model)


def test_a_failed_check_of_the_simplifier_is_an_error(
    model: ModelProto, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnxsim, "simplify", lambda given: (given, False))
    with pytest.raises(ExportError, match="differs"):
        module.simplify(model)


def test_a_lost_output_name_is_an_error(model: ModelProto, monkeypatch: pytest.MonkeyPatch) -> None:
    renamed = copy_of(model)
    renamed.graph.output[0].name = "other"
    monkeypatch.setattr(onnxsim, "simplify", lambda given: (renamed, True))
    with pytest.raises(ExportError, match="other"):
        module.simplify(model)


@pytest.mark.parametrize("value", [1.0, np.nan])
def test_a_changed_weight_is_seen(model: ModelProto, value: float) -> None:
    changed = copy_of(model)
    bias = next(t for t in changed.graph.initializer if t.name.endswith("cv3.0.2.bias"))
    bias.CopyFrom(
        numpy_helper.from_array(numpy_helper.to_array(bias) + np.float32(value), bias.name)
    )
    module.require_same_results(model, copy_of(model), tiny_spec(), "fp32")
    with pytest.raises(ExportError, match="differ"):
        module.require_same_results(model, changed, tiny_spec(), "fp32")


def test_a_graph_that_does_not_run_is_an_error(model: ModelProto) -> None:
    broken = copy_of(model)
    del broken.graph.initializer[0]
    with pytest.raises(ExportError, match="refuses"):
        module.require_same_results(model, broken, tiny_spec(), "fp32")
