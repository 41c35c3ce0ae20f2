"""Every block against a definition written anew from its formula, in float64.

The definitions here use torch's functions on raw tensors only, so that a mistake in a block's
`forward`, in its folding or in its parts cannot cancel out.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from ghost_deploy.models.conv import Concat, Conv, DWConv
from ghost_deploy.models.csp import C3, SPPF, Bottleneck, C2f
from ghost_deploy.models.fuse import fuse
from ghost_deploy.models.ghost import C2fGhost, C3Ghost, GhostBottleneck, GhostConv
from tests.support.module_trees import randomize


def conv(m: Any, x: Tensor) -> Tensor:
    c = m.conv
    y = functional.conv2d(x, c.weight, c.bias, c.stride, c.padding, c.dilation, c.groups)
    if hasattr(m.bn, "running_mean"):
        mean, var = (s.view(1, -1, 1, 1) for s in (m.bn.running_mean, m.bn.running_var))
        gain, shift = (s.view(1, -1, 1, 1) for s in (m.bn.weight, m.bn.bias))
        y = (y - mean) / (var + m.bn.eps) ** 0.5 * gain + shift
    return y if isinstance(m.act, nn.Identity) else y / (1 + (-y).exp())


def ghost_conv(m: Any, x: Tensor) -> Tensor:
    half = conv(m.cv1, x)
    return torch.cat([half, conv(m.cv2, half)], 1)


def bottleneck(m: Any, x: Tensor) -> Tensor:
    y = conv(m.cv2, conv(m.cv1, x))
    return y + x if m.add else y


def ghost_bottleneck(m: Any, x: Tensor) -> Tensor:
    y = ghost_conv(m.conv[0], x)
    if not isinstance(m.conv[1], nn.Identity):
        y = conv(m.conv[1], y)
    y = ghost_conv(m.conv[2], y)
    skip = x
    if not isinstance(m.shortcut, nn.Identity):
        skip = conv(m.shortcut[1], conv(m.shortcut[0], x))
    return y + skip


def c3(member: Callable[[Any, Tensor], Tensor]) -> Callable[[Any, Tensor], Tensor]:
    def reference(m: Any, x: Tensor) -> Tensor:
        y = conv(m.cv1, x)
        for each in m.m:
            y = member(each, y)
        return conv(m.cv3, torch.cat([y, conv(m.cv2, x)], 1))

    return reference


def c2f(member: Callable[[Any, Tensor], Tensor]) -> Callable[[Any, Tensor], Tensor]:
    def reference(m: Any, x: Tensor) -> Tensor:
        y = conv(m.cv1, x)
        half = y.shape[1] // 2
        parts = [y[:, :half], y[:, half:]]
        for each in m.m:
            parts.append(member(each, parts[-1]))
        return conv(m.cv2, torch.cat(parts, 1))

    return reference


def sppf(m: Any, x: Tensor) -> Tensor:
    y = conv(m.cv1, x)
    k = m.m.kernel_size
    # n poolings in a row with size k see windows of k, 2k - 1, 3k - 2, ... cells.
    windows = [i * (k - 1) + 1 for i in range(1, m.n + 1)]
    pooled = [functional.max_pool2d(y, w, 1, w // 2) for w in windows]
    y = conv(m.cv2, torch.cat([y, *pooled], 1))
    return y + x if m.add else y


def grouped(block: Bottleneck) -> Bottleneck:
    """With a second convolution of two groups, as a file may have it."""
    block.cv2 = Conv(block.cv1.out_channels, block.cv2.out_channels, 3, g=2)
    return block


CASES: list[tuple[nn.Module, Callable[[Any, Tensor], Tensor]]] = [
    (Conv(8, 12, 3, 2), conv),
    (Conv(8, 12, act=False), conv),
    (Conv(8, 12, 3, d=2), conv),
    (Conv(8, 12, 3, 1, 0, 4), conv),
    (DWConv(8, 8, 5), conv),
    (DWConv(8, 12, 3, 2, act=False), conv),
    (GhostConv(8, 12, 3, 2), ghost_conv),
    (GhostConv(8, 13), ghost_conv),
    (GhostConv(8, 12, act=False), ghost_conv),
    (Bottleneck(8, 8), bottleneck),
    (Bottleneck(8, 8, shortcut=False), bottleneck),
    (grouped(Bottleneck(8, 12)), bottleneck),
    (GhostBottleneck(8, 8), ghost_bottleneck),
    (GhostBottleneck(8, 16, 5, 2), ghost_bottleneck),
    (C3(8, 16, 2), c3(bottleneck)),
    (C3Ghost(8, 16, 2), c3(ghost_bottleneck)),
    (C2f(8, 16, 2, True), c2f(bottleneck)),
    (C2fGhost(8, 16, 3), c2f(ghost_bottleneck)),
    (SPPF(8, 8), sppf),
    (SPPF(8, 8, 3, 2, True), sppf),
]


@pytest.mark.parametrize(("block", "reference"), CASES, ids=lambda v: getattr(v, "origin", ""))
def test_a_block_computes_its_formula(block: nn.Module, reference: Any) -> None:
    block = randomize(block).double()
    x = torch.randn((2, 8, 11, 12), generator=torch.Generator().manual_seed(1)).double()
    wanted = reference(block, x)
    assert wanted.std() > 0.01
    torch.testing.assert_close(block(x), wanted, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(fuse(block)(x), wanted, rtol=1e-11, atol=1e-11)


def test_an_odd_ghost_conv_has_one_channel_less_as_in_the_original() -> None:
    assert GhostConv(8, 13).out_channels == 12


def test_concat() -> None:
    a, b = torch.ones(1, 2, 3, 3), torch.zeros(1, 1, 3, 3)
    assert Concat()([a, b]).shape == (1, 3, 3, 3)
