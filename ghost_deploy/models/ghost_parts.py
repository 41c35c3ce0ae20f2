"""Parts of Huawei's Ghost blocks, and the checks of such parts in a file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from torch import nn

from ghost_deploy.models.block import require

Rectifier: TypeAlias = nn.ReLU | nn.ReLU6 | nn.SiLU | nn.Hardswish | nn.Sequential | nn.Identity
"""Activations after a batch norm; the original writes none as an empty Sequential."""


def shortcut(in_chs: int, out_chs: int, kernel: int, stride: int) -> nn.Sequential:
    """Create the shortcut of a bottleneck; empty where width and size are kept.

    Args:
        in_chs, out_chs: input and output channels.
        kernel, stride: of its depthwise convolution.
    """
    if stride == 1 and in_chs == out_chs:
        return nn.Sequential()
    return nn.Sequential(
        *raw_pair(in_chs, in_chs, kernel, stride, groups=in_chs), *raw_pair(in_chs, out_chs, 1)
    )


def raw_pair(
    inp: int, oup: int, kernel: int, stride: int = 1, *, groups: int = 1
) -> tuple[nn.Conv2d, nn.BatchNorm2d]:
    """Create a convolution without bias, padded by kernel // 2, and a batch norm of torch's eps.

    Args:
        inp, oup: input and output channels.
        kernel, stride, groups: of the convolution.
    """
    conv = nn.Conv2d(inp, oup, kernel, stride, kernel // 2, groups=groups, bias=False)
    return conv, nn.BatchNorm2d(oup)


def conv_bn(
    inp: int, oup: int, kernel: int, stride: int = 1, *, groups: int = 1, relu: bool = True
) -> nn.Sequential:
    """Create convolution, batch norm and activation.

    Args:
        inp, oup, kernel, stride, groups: see `raw_pair`.
        relu: end in ReLU, else in an empty Sequential.
    """
    last = nn.ReLU(inplace=True) if relu else nn.Sequential()
    return nn.Sequential(*raw_pair(inp, oup, kernel, stride, groups=groups), last)


def require_conv_bn(part: nn.Sequential, name: str) -> nn.Conv2d:
    """Require the parts of `conv_bn`; return the convolution.

    A file written after re-parameterization has a convolution with bias and no batch norm.

    Raises:
        MisfitError: the parts are others.
    """
    kinds = [type(member).__name__ for member in part]
    members = list(part)
    conv = members[0] if members else None
    fused = isinstance(conv, nn.Conv2d) and conv.bias is not None
    normed = len(members) == 3 and isinstance(members[1], nn.BatchNorm2d | nn.Identity)
    fits = isinstance(conv, nn.Conv2d) and (normed or (fused and len(members) == 2))
    last_fits = bool(members) and isinstance(members[-1], Rectifier)
    require(fits and last_fits, f"{name} must be Conv2d, BatchNorm2d, activation, got {kinds}")
    if isinstance(members[-1], nn.Sequential):
        require(len(members[-1]) == 0, f"{name} must end in an activation or an empty Sequential")
    assert isinstance(conv, nn.Conv2d)
    return conv


def require_pairs(parts: Sequence[nn.Module], name: str) -> list[nn.Conv2d]:
    """Require pairs of Conv2d and BatchNorm2d; return the convolutions.

    A folded batch norm is replaced by an identity.

    Raises:
        MisfitError: there are other parts.
    """
    kinds = [type(part).__name__ for part in parts]
    convs = [conv for conv in parts[::2] if isinstance(conv, nn.Conv2d)]
    norms = parts[1::2]
    fits = len(convs) == len(norms) == len(parts) / 2 and all(
        isinstance(norm, nn.BatchNorm2d)
        or (isinstance(norm, nn.Identity) and conv.bias is not None)
        for conv, norm in zip(convs, norms, strict=True)
    )
    require(fits, f"{name} must be pairs of Conv2d, BatchNorm2d, got {kinds}")
    return convs


def require_ghost(primary: nn.Conv2d, cheap: nn.Conv2d, oup: int) -> None:
    """Require two convolutions that form a Ghost module.

    Args:
        primary, cheap: its two convolutions.
        oup: channels of its output.

    Raises:
        MisfitError: they do not.
    """
    require(cheap.in_channels == primary.out_channels, "the cheap operation must follow the other")
    require_depthwise(cheap, "the cheap operation")
    total = primary.out_channels + cheap.out_channels
    require(oup <= total, f"oup is {oup}, but there are {total} channels")


def require_depthwise(conv: nn.Conv2d, name: str) -> None:
    """Raise `MisfitError` unless each group of a convolution has one input channel."""
    require(conv.groups == conv.in_channels, f"{name} must be depthwise")


def require_normed_depthwise(conv: nn.Conv2d, bn: nn.Module | None, name: str) -> None:
    """Require a depthwise convolution with a batch norm, folded or not.

    Args:
        conv: the convolution.
        bn: its batch norm; another module or None if it was folded.
        name: of the convolution, for the error message.

    Raises:
        MisfitError: it is not.
    """
    require_depthwise(conv, name)
    normed = isinstance(bn, nn.BatchNorm2d) or conv.bias is not None
    require(normed, f"{name} has no batch norm")


def divisible_by_4(value: float) -> int:
    """Round to the nearest multiple of 4 that is at least 4 and at least 0.9 * value."""
    nearest = max(4, int(value + 2) // 4 * 4)
    return nearest + 4 if nearest < 0.9 * value else nearest
