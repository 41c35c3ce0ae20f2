"""The network at the start of a training, and what its numbers mean."""

from __future__ import annotations

import math
from pathlib import Path

import torch
from torch import nn

from ghost_deploy._version import __version__
from ghost_deploy.checkpoints.checkpoint_info import family_of
from ghost_deploy.checkpoints.loading import load_checkpoint
from ghost_deploy.core.errors import InputError, UsageError
from ghost_deploy.core.spec import HeadSpec, InputSpec, ModelSpec
from ghost_deploy.models.flops import gflops
from ghost_deploy.models.head import DFL
from ghost_deploy.models.network import DetectionNet
from ghost_deploy.models.zoo_yaml import build_zoo
from tools.training.options import Options

__all__ = ["describe_network", "start_network"]

_PRIOR = 0.01
"""Score of every anchor at the start (Lin et al. 2017, RetinaNet, arXiv:1708.02002, section 4)."""

_SMALLEST_STRIDE = 32


def start_network(options: Options, classes: int) -> DetectionNet:
    """The network to train: in training mode, with gradients.

    With `options.init`, tensors of the same name and shape are taken from that checkpoint; for
    another number of classes the last class layers stay random.

    Raises:
        UsageError: no such network, or a head without a box distribution.
        InputError: the checkpoint of `init` has nothing in common with the network.
    """
    torch.manual_seed(options.seed)
    net = build_zoo(options.net, classes)
    if net.head.reg_max < 2:
        raise UsageError(
            "only heads with a box distribution can be trained",
            got=f"{options.net} with reg_max {net.head.reg_max}",
            fix="Choose another --net",
        )
    for branch in (net.head.cv3, net.head.one2one_cv3):
        for level in branch or ():
            _start_low(level)
    if options.init:
        _take(net, Path(options.init))
    # Half as fast again on a CPU as torch's default layout.
    net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    net.train().requires_grad_(True)
    for module in net.modules():
        if isinstance(module, DFL):
            module.requires_grad_(False)
    return net


def describe_network(
    net: DetectionNet, options: Options, class_names: tuple[str, ...], name: str = ""
) -> ModelSpec:
    """The description that goes into the file; `name` is by default that of the network."""
    size_hw = (options.size, options.size)
    family, _ = family_of(options.net, "", ())
    return ModelSpec(
        name=name or options.net,
        family=family,
        class_names=class_names,
        input=InputSpec(size_hw=size_hw, stride=max(_SMALLEST_STRIDE, *net.strides)),
        head=HeadSpec(
            decoder="dfl" if net.branch == "one2many" else "one2one",
            strides=net.strides,
            reg_max=net.head.reg_max,
            branch=net.branch,
        ),
        parameters=sum(weights.numel() for weights in net.parameters()),
        gflops=gflops(net, size_hw),
        trained_with=f"ghost-deploy {__version__}",
    )


def _start_low(level: nn.Module) -> None:
    last = level[-1] if isinstance(level, nn.Sequential) else level
    assert isinstance(last, nn.Conv2d)
    assert last.bias is not None
    nn.init.constant_(last.bias, -math.log((1 - _PRIOR) / _PRIOR))


def _take(net: DetectionNet, file: Path) -> None:
    own = net.state_dict()
    theirs = load_checkpoint(file).net.state_dict()
    fitting = {k: v for k, v in theirs.items() if k in own and own[k].shape == v.shape}
    if len(fitting) < len(own) / 2:
        raise InputError(
            f"{file} is no start for this network",
            got=f"{len(fitting)} of {len(own)} tensors have the name and shape of its own",
            expected="a checkpoint of the same architecture",
            fix="Name another --init or --net",
        )
    net.load_state_dict({**own, **fitting})
