"""Exported graphs of the zoo, with small inputs and weights that are not trained."""

from __future__ import annotations

from functools import cache

from onnx import ModelProto

from ghost_deploy.export.onnx import onnx_from_net
from tests.models.test_zoo_export import net_of, spec_of

SIZE_HW = (64, 64)


@cache
def exported(name: str, decoder: str = "dfl") -> ModelProto:
    net = net_of(name)
    return onnx_from_net(net, spec_of(net, SIZE_HW, decoder), "fp32")
