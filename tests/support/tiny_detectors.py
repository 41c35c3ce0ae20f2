"""A small Ghost detector with random weights, for what needs no trained model."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from ghost_deploy.core.bundle import Source
from ghost_deploy.core.spec import HeadSpec, InputSpec, ModelSpec
from ghost_deploy.models.conv import Concat, Conv
from ghost_deploy.models.csp import SPPF
from ghost_deploy.models.ghost import C3Ghost, GhostConv
from ghost_deploy.models.head import Detect
from ghost_deploy.models.network import DetectionNet, LayerInput

NAMES = ("red cell", "white cell", "naïve")
STRIDES = (8, 16)


@dataclass(frozen=True)
class FakeLoaded:
    """What `checkpoints.load_checkpoint` returns, without a file."""

    net: DetectionNet
    spec: ModelSpec
    source: Source


def tiny_net(*, one2one: bool = False, reg_max: int = 16, seed: int = 0) -> DetectionNet:
    """Strides 8 and 16, three classes, an upsampling neck; every batch norm has real statistics."""
    torch.manual_seed(seed)
    head = Detect(len(NAMES), (16, 32), reg_max=reg_max)
    if one2one:
        other = Detect(len(NAMES), (16, 32), reg_max=reg_max)
        head.one2one_cv2, head.one2one_cv3 = other.cv2, other.cv3
    layers: list[tuple[nn.Module, tuple[int, ...]]] = [
        (Conv(3, 8, 3, 2), (-1,)),
        (Conv(8, 16, 3, 2), (0,)),
        (Conv(16, 16, 3, 2), (1,)),
        (C3Ghost(16, 16), (2,)),
        (GhostConv(16, 32, 3, 2), (3,)),
        (SPPF(32, 32), (4,)),
        (nn.Upsample(scale_factor=2.0, mode="nearest"), (5,)),
        (Concat(), (6, 3)),
        (C3Ghost(48, 16), (7,)),
        (GhostConv(16, 16, 3, 2), (8,)),
        (Concat(), (9, 5)),
        (C3Ghost(48, 32), (10,)),
        (head, (8, 11)),
    ]
    layer_inputs = [LayerInput(sources, many=len(sources) > 1) for _, sources in layers]
    net = DetectionNet([layer for layer, _ in layers], layer_inputs)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.2, 0.2)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
            nn.init.uniform_(module.weight, 0.8, 1.6)
    for branch in (head.cv3, head.one2one_cv3):
        for level in branch or ():
            # Scores that lie apart, so that a best one is the same in every runtime.
            nn.init.normal_(level[-1].weight, std=2.0)
    net.check()
    net.branch = "one2one" if one2one else "one2many"
    return net.eval().requires_grad_(False)


def tiny_spec(*, one2one: bool = False, reg_max: int = 16) -> ModelSpec:
    """Of `tiny_net`, at 96x128."""
    return ModelSpec(
        name="tiny",
        family="test-ghost",
        class_names=NAMES,
        input=InputSpec(size_hw=(96, 128), stride=16),
        head=HeadSpec(
            decoder="one2one" if one2one else "dfl",
            branch="one2one" if one2one else "one2many",
            strides=STRIDES,
            reg_max=reg_max,
        ),
        gflops=1.0,
        source_sha256="ab" * 32,
    )


def tiny_loaded(*, one2one: bool = False) -> FakeLoaded:
    """The small detector as if it had been loaded from a checkpoint."""
    spec = tiny_spec(one2one=one2one)
    source = Source(file="tiny.pt", sha256=spec.source_sha256)
    return FakeLoaded(tiny_net(one2one=one2one), spec, source)
