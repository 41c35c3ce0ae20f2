"""Networks of the zoo with weights as if trained, their specs and their exported graphs."""

from __future__ import annotations

from functools import lru_cache

import torch
from onnx import ModelProto

from ghost_deploy.checkpoints.loading import head_spec
from ghost_deploy.core.spec import ModelSpec
from ghost_deploy.export.trace_onnx import onnx_from_net
from ghost_deploy.models.network import DetectionNet
from ghost_deploy.models.zoo_yaml import build_zoo
from tests.support.model_specs import make_spec
from tests.support.trained_like_weights import condition

GRAPH_SIZE_HW = (64, 64)

_MOST = 24
"""Kept of each: all 77 networks of the zoo take 6 GB."""


@lru_cache(_MOST)
def zoo_net(name: str) -> DetectionNet:
    """Three classes, always the same weights; not to be changed by a test."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return condition(build_zoo(name, nc=3))


def spec_of(net: DetectionNet, size_hw: tuple[int, int], decoder: str = "") -> ModelSpec:
    """What `net` is exported as, at that size; by default with the decoder of its head."""
    head = head_spec(net)
    return make_spec(
        size_hw,
        names=tuple("abc"[: net.nc]),
        decoder=decoder or head.decoder,
        reg_max=head.reg_max,
        anchor_sizes=head.anchor_sizes,
        strides=net.strides,
        stride=max(net.strides),
        source_sha256="ab" * 32,
    )


@lru_cache(_MOST)
def zoo_graph(name: str, decoder: str = "") -> ModelProto:
    """ONNX of `zoo_net(name)` in fp32 for `GRAPH_SIZE_HW`; not to be changed by a test."""
    net = zoo_net(name)
    return onnx_from_net(net, spec_of(net, GRAPH_SIZE_HW, decoder), "fp32")
