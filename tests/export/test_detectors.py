"""Stock detectors of every version, exported: the same numbers, and operators that all take."""

from __future__ import annotations

from typing import Any

import numpy as np
import openvino
import pytest
import torch
from onnx import ModelProto

from ghost_deploy.export.operators import TENSORRT_8_5
from ghost_deploy.export.trace_onnx import onnx_from_net
from ghost_deploy.models.network import DetectionNet
from ghost_deploy.models.zoo_yaml import build_zoo
from tests.models.test_variants import surroundings
from tests.support.module_trees import randomize
from tests.support.onnx_sessions import run_onnx
from tests.support.zoo_networks import spec_of

SIZE_ARITHMETIC = {"Shape", "Gather", "Range", "ConstantOfShape", "If", "Loop"}
BOX_PX, SCORE = 0.05, 1e-4


def network(name: str) -> DetectionNet:
    if name == "surroundings":
        return surroundings()
    net = build_zoo(name, nc=3)
    randomize(net)
    return net


def run_openvino(model: ModelProto, x: np.ndarray) -> Any:
    core = openvino.Core()
    options = {"INFERENCE_PRECISION_HINT": "f32"}
    found = core.read_model(model.SerializeToString())
    return core.compile_model(found, "CPU", options)(x)


@pytest.mark.parametrize("size_hw", [(96, 96), (64, 128)], ids=str)
@pytest.mark.parametrize("name", ["yolov8n", "yolov10n", "yolo11n", "surroundings"])
def test_an_exported_detector_computes_the_same(name: str, size_hw: tuple[int, int]) -> None:
    net = network(name)
    model = onnx_from_net(net, spec_of(net, size_hw), "fp32")
    operators = {node.op_type for node in model.graph.node}
    assert operators <= TENSORRT_8_5
    assert not operators & SIZE_ARITHMETIC
    x = torch.rand((1, 3, *size_hw), generator=torch.Generator().manual_seed(1))
    wanted = net(x).numpy()
    assert wanted[:, 4:].std() > 0.01
    for run in (run_onnx, run_openvino):
        got = run(model, x.numpy())[0]
        np.testing.assert_allclose(got[:, :4], wanted[:, :4], rtol=0, atol=BOX_PX)
        np.testing.assert_allclose(got[:, 4:], wanted[:, 4:], rtol=0, atol=SCORE)


def test_an_exported_one2one_branch_finds_the_same() -> None:
    net = network("yolov10n")
    net.branch = "one2one"
    model = onnx_from_net(net, spec_of(net, (64, 128), "one2one"), "fp32")
    assert {node.op_type for node in model.graph.node} <= TENSORRT_8_5
    x = torch.rand((1, 3, 64, 128), generator=torch.Generator().manual_seed(1))
    wanted, got = net(x)[0].numpy(), run_onnx(model, x.numpy())[0][0]
    assert got.shape == wanted.shape == (168, 6)
    np.testing.assert_allclose(got[:, 4], wanted[:, 4], rtol=0, atol=SCORE)
    # Ties may come in another order, and the last ones may be others: every clear detection of
    # one side must be on the other side, the same class at the same place.
    clear = wanted[wanted[:, 4] > wanted[-1, 4] + SCORE]
    assert len(clear) > 50
    apart = np.abs(clear[:, None] - got[None])
    same = (apart[..., :4].max(2) <= BOX_PX) & (apart[..., 4] <= SCORE) & (apart[..., 5] == 0)
    assert same.any(1).all()
