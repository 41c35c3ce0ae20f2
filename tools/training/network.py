"""The network at the start of a training, and its description."""

from __future__ import annotations

import math
from pathlib import Path

import torch
from torch import nn

from ghost_deploy._version import __version__
from ghost_deploy.checkpoints.checkpoint_info import family_of
from ghost_deploy.checkpoints.loading import (
    SMALLEST_STRIDE,
    default_thresholds,
    head_spec,
    load_checkpoint,
)
from ghost_deploy.core.errors import InputError, UsageError
from ghost_deploy.core.spec import InputSpec, ModelSpec
from ghost_deploy.models.anchor_head import AnchorDetect
from ghost_deploy.models.flops import gflops
from ghost_deploy.models.head import DFL, Detect
from ghost_deploy.models.network import DetectionNet
from ghost_deploy.models.zoo_yaml import build_zoo
from tools.training.options import Options

__all__ = ["describe_network", "start_network"]

_OBJECTS = 8

_PRIOR = 0.01
"""Initial score of all anchors (Lin et al. 2017, RetinaNet, arXiv:1708.02002, section 4)."""


def start_network(options: Options, classes: int) -> DetectionNet:
    """Create the network to train, in training mode, with gradients.

    With `options.init`, tensors of equal name and shape are loaded from this checkpoint; with
    another number of classes, the last class layers keep their random weights.

    Raises:
        UsageError: unknown network, or a head without anchors and without a box distribution.
        InputError: less than half of the tensors match the checkpoint of `init`.
    """
    torch.manual_seed(options.seed)
    net = build_zoo(options.net, classes)
    head = net.head
    if isinstance(head, AnchorDetect):
        _start_anchors(head)
    elif not isinstance(head, Detect) or head.reg_max < 2:
        raise UsageError(
            "only heads with anchors or with a box distribution can be trained",
            got=options.net,
            fix="Choose another --net",
        )
    else:
        for branch in (head.cv3, head.one2one_cv3):
            for level in branch or ():
                _start_low(level)
    if options.init:
        _take(net, Path(options.init))
    # 1.5 times as fast on a CPU as the default layout.
    net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    net.train().requires_grad_(True)
    for module in net.modules():
        if isinstance(module, DFL):
            module.requires_grad_(False)
    return net


def describe_network(
    net: DetectionNet, options: Options, class_names: tuple[str, ...], name: str = ""
) -> ModelSpec:
    """Return the description for the file.

    Args:
        net: the trained network.
        options: of the run.
        class_names: by class id.
        name: of the model; default: the name of the network.
    """
    size_hw = (options.size, options.size)
    family, _ = family_of(options.net, "", ())
    return ModelSpec(
        name=name or options.net,
        family=family,
        class_names=class_names,
        input=InputSpec(size_hw=size_hw, stride=max(SMALLEST_STRIDE, *net.strides)),
        head=head_spec(net),
        thresholds=default_thresholds(head_spec(net)),
        parameters=sum(weights.numel() for weights in net.parameters()),
        gflops=gflops(net, size_hw),
        trained_with=f"ghost-deploy {__version__}",
    )


def _start_low(level: nn.Module) -> None:
    last = level[-1] if isinstance(level, nn.Sequential) else level
    assert isinstance(last, nn.Conv2d)
    assert last.bias is not None
    nn.init.constant_(last.bias, -math.log((1 - _PRIOR) / _PRIOR))


@torch.no_grad()
def _start_anchors(head: AnchorDetect) -> None:
    """Biases for about eight objects in an image of 640 pixels, and equally likely classes.

    A single class starts as certain, because it is not trained.
    """
    for conv, stride in zip(head.m, head.strides, strict=True):
        assert isinstance(conv, nn.Conv2d)
        assert conv.bias is not None
        bias = conv.bias.view(head.na, head.no)
        bias[:, 4] += math.log(_OBJECTS / (640 / stride) ** 2)
        bias[:, 5:] += math.log(0.6 / (head.nc - 0.99999))


def _take(net: DetectionNet, file: Path) -> None:
    own = net.state_dict()
    theirs = load_checkpoint(file).net.state_dict()
    fitting = {k: v for k, v in theirs.items() if k in own and own[k].shape == v.shape}
    if len(fitting) < len(own) / 2:
        raise InputError(
            f"{file} does not match this network",
            got=f"{len(fitting)} of {len(own)} tensors have an equal name and shape",
            expected="a checkpoint of the same architecture",
            fix="Name another --init or --net",
        )
    net.load_state_dict({**own, **fitting})
