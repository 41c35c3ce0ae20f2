"""The blocks around Ghost modules against definitions written anew, in float64."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from ghost_deploy.models.area_attention import A2C2f, AAttn, ABlock
from ghost_deploy.models.attention import C2PSA, PSA, Attention, C2fPSA, PSABlock
from ghost_deploy.models.c3k import CIB, C2fCIB, C3k, C3k2, SCDown
from ghost_deploy.models.cbam import CBAM, ChannelAttention, SpatialAttention
from ghost_deploy.models.conv import ConvTranspose
from ghost_deploy.models.csp import C2
from ghost_deploy.models.elan import ELAN1, SPPELAN, AConv, ADown, RepNCSPELAN4
from ghost_deploy.models.fork_hosts import BottleneckHost, C2fHost, C3Host
from ghost_deploy.models.fuse import fuse
from ghost_deploy.models.ghost import GhostBottleneck, GhostConv
from ghost_deploy.models.hgnet import HGBlock, HGStem, LightConv
from ghost_deploy.models.legacy_blocks import C1, SPP, BottleneckCSP, Focus
from ghost_deploy.models.reparam import Conv2, RepBottleneck, RepConv, RepCSP, RepVGGDW
from tests.models.test_blocks import bottleneck, c2f, c3, conv, ghost_bottleneck, ghost_conv
from tests.support.module_trees import randomize

Reference = Callable[[Any, Tensor], Tensor]


def norm(m: Any, x: Tensor) -> Tensor:
    return functional.batch_norm(x, m.running_mean, m.running_var, m.weight, m.bias, eps=m.eps)


def silu(x: Tensor) -> Tensor:
    return x * torch.sigmoid(x)


def relu_conv(m: Any, x: Tensor) -> Tensor:
    c = m.conv
    y = functional.conv2d(x, c.weight, None, c.stride, c.padding, 1, c.groups)
    return norm(m.bn, y).clamp(min=0)


def row(*steps: Reference) -> Reference:
    def reference(m: Any, x: Tensor) -> Tensor:
        for step, part in zip(steps, m, strict=True):
            x = step(part, x)
        return x

    return reference


def attention(m: Any, x: Tensor) -> Tensor:
    """One head and one cell at a time."""
    batch, channels, height, width = x.shape
    joined, heads, key, value = conv(m.qkv, x), m.num_heads, m.key_dim, m.head_dim
    mixed, values = torch.zeros_like(x), torch.zeros_like(x)
    for head in range(heads):
        start = head * (2 * key + value)
        q, k, v = (
            joined[:, start + a : start + b].flatten(2)
            for a, b in ((0, key), (key, 2 * key), (2 * key, 2 * key + value))
        )
        out = torch.zeros_like(v)
        for cell in range(height * width):
            likeness = (q[:, :, cell, None] * k).sum(1) / key**0.5
            share = likeness.exp() / likeness.exp().sum(1, keepdim=True)
            out[:, :, cell] = (share[:, None] * v).sum(2)
        own = slice(head * value, (head + 1) * value)
        mixed[:, own] = out.reshape(batch, value, height, width)
        values[:, own] = v.reshape(batch, value, height, width)
    assert channels == heads * value
    return conv(m.proj, mixed + conv(m.pe, values))


def psa_block(m: Any, x: Tensor) -> Tensor:
    y = attention(m.attn, x) + (x if m.add else 0)
    return row(conv, conv)(m.ffn, y) + (y if m.add else 0)


def psa(m: Any, x: Tensor) -> Tensor:
    a, b = conv(m.cv1, x).chunk(2, 1)
    b = b + attention(m.attn, b)
    b = b + row(conv, conv)(m.ffn, b)
    return conv(m.cv2, torch.cat([a, b], 1))


def c2psa(m: Any, x: Tensor) -> Tensor:
    a, b = conv(m.cv1, x).chunk(2, 1)
    for member in m.m:
        b = psa_block(member, b)
    return conv(m.cv2, torch.cat([a, b], 1))


def rep_vgg_dw(m: Any, x: Tensor) -> Tensor:
    return silu(conv(m.conv, x) + conv(m.conv1, x))


def rep_conv(m: Any, x: Tensor) -> Tensor:
    y = conv(m.conv1, x) + conv(m.conv2, x)
    return silu(y if m.bn is None else y + norm(m.bn, x))


def conv2(m: Any, x: Tensor) -> Tensor:
    y = functional.conv2d(x, m.conv.weight, None, m.conv.stride, m.conv.padding)
    return silu(norm(m.bn, y + functional.conv2d(x, m.cv2.weight, None, m.cv2.stride)))


def rep_bottleneck(m: Any, x: Tensor) -> Tensor:
    y = conv(m.cv2, rep_conv(m.cv1, x))
    return y + x if m.add else y


def cib(m: Any, x: Tensor) -> Tensor:
    large = isinstance(m.cv1[2], RepVGGDW)
    y = row(conv, conv, rep_vgg_dw if large else conv, conv, conv)(m.cv1, x)
    return x + y if m.add else y


def elan(second: Reference) -> Reference:
    def reference(m: Any, x: Tensor) -> Tensor:
        a, b = conv(m.cv1, x).chunk(2, 1)
        c = second(m.cv2, b)
        return conv(m.cv4, torch.cat([a, b, c, second(m.cv3, c)], 1))

    return reference


def mean4(x: Tensor) -> Tensor:
    return (x[..., :-1, :-1] + x[..., 1:, :-1] + x[..., :-1, 1:] + x[..., 1:, 1:]) / 4


def adown(m: Any, x: Tensor) -> Tensor:
    a, b = mean4(x).chunk(2, 1)
    windows = functional.pad(b, [1, 1, 1, 1], value=-torch.inf).unfold(2, 3, 2).unfold(3, 3, 2)
    return torch.cat([conv(m.cv1, a), conv(m.cv2, windows.amax((4, 5)))], 1)


def spp(*sizes: int) -> Reference:
    def reference(m: Any, x: Tensor) -> Tensor:
        z = conv(m.cv1, x)
        pooled = [functional.max_pool2d(z, k, 1, k // 2) for k in sizes]
        last = m.cv5 if isinstance(m, SPPELAN) else m.cv2
        return conv(last, torch.cat([z, *pooled], 1))

    return reference


def c2(m: Any, x: Tensor) -> Tensor:
    a, b = conv(m.cv1, x).chunk(2, 1)
    for member in m.m:
        a = bottleneck(member, a)
    return conv(m.cv2, torch.cat([a, b], 1))


def c1(m: Any, x: Tensor) -> Tensor:
    z = conv(m.cv1, x)
    return row(*[conv] * len(m.m))(m.m, z) + z


def focus(m: Any, x: Tensor) -> Tensor:
    order = ((0, 0), (1, 0), (0, 1), (1, 1))
    return conv(m.conv, torch.cat([x[:, :, top::2, left::2] for top, left in order], 1))


def bottleneck_csp(m: Any, x: Tensor) -> Tensor:
    y = conv(m.cv1, x)
    for member in m.m:
        y = bottleneck(member, y)
    parts = [functional.conv2d(y, m.cv3.weight), functional.conv2d(x, m.cv2.weight)]
    return conv(m.cv4, silu(norm(m.bn, torch.cat(parts, 1))))


def conv_transpose(m: Any, x: Tensor) -> Tensor:
    c = m.conv_transpose
    y = functional.conv_transpose2d(x, c.weight, c.bias, c.stride, c.padding)
    return silu(norm(m.bn, y) if isinstance(m.bn, nn.BatchNorm2d) else y)


def channel_attention(m: Any, x: Tensor) -> Tensor:
    gate = torch.einsum("bc,oc->bo", x.mean((2, 3)), m.fc.weight[:, :, 0, 0]) + m.fc.bias
    return x * torch.sigmoid(gate)[:, :, None, None]


def spatial_attention(m: Any, x: Tensor) -> Tensor:
    summary = torch.stack([x.mean(1), x.max(1).values], 1)
    return x * torch.sigmoid(functional.conv2d(summary, m.cv1.weight, padding=m.cv1.padding))


def light_conv(m: Any, x: Tensor) -> Tensor:
    return relu_conv(m.conv2, conv(m.conv1, x))


def hg_block(member: Reference) -> Reference:
    def reference(m: Any, x: Tensor) -> Tensor:
        maps = [x]
        for each in m.m:
            maps.append(member(each, maps[-1]))
        y = relu_conv(m.ec, relu_conv(m.sc, torch.cat(maps, 1)))
        return y + x if m.add else y

    return reference


def hg_stem(m: Any, x: Tensor) -> Tensor:
    z = functional.pad(relu_conv(m.stem1, x), [0, 1, 0, 1])
    fine = relu_conv(m.stem2b, functional.pad(relu_conv(m.stem2a, z), [0, 1, 0, 1]))
    windows = torch.stack([z[..., :-1, :-1], z[..., 1:, :-1], z[..., :-1, 1:], z[..., 1:, 1:]])
    return relu_conv(m.stem4, relu_conv(m.stem3, torch.cat([windows.amax(0), fine], 1)))


def area_attention(m: Any, x: Tensor) -> Tensor:
    """Each band of cells and each head apart."""
    batch, _, height, width = x.shape
    joined, size = conv(m.qkv, x).flatten(2), m.head_dim
    band = height * width // m.area
    mixed, values = (torch.zeros(batch, m.num_heads * size, height * width).double() for _ in "ab")
    for head in range(m.num_heads):
        own = slice(head * size, (head + 1) * size)
        q, k, v = joined[:, 3 * head * size : 3 * (head + 1) * size].chunk(3, 1)
        for part in range(m.area):
            cells = slice(part * band, (part + 1) * band)
            likeness = torch.einsum("bdi,bdj->bij", q[..., cells], k[..., cells]) / size**0.5
            share = torch.softmax(likeness, 2)
            mixed[:, own, cells] = torch.einsum("bij,bdj->bdi", share, v[..., cells])
        values[:, own] = v
    mixed, values = (t.reshape(batch, -1, height, width) for t in (mixed, values))
    return conv(m.proj, mixed + conv(m.pe, values))


def area_block(m: Any, x: Tensor) -> Tensor:
    z = x + area_attention(m.attn, x)
    return z + row(conv, conv)(m.mlp, z)


def a2c2f(member: Reference) -> Reference:
    def reference(m: Any, x: Tensor) -> Tensor:
        maps = [conv(m.cv1, x)]
        for each in m.m:
            maps.append(member(each, maps[-1]))
        return conv(m.cv2, torch.cat(maps, 1))

    return reference


def joints(member: Reference) -> Reference:
    """A C2f that is Ghost convolutions throughout."""

    def reference(m: Any, x: Tensor) -> Tensor:
        a, b = ghost_conv(m.cv1, x).chunk(2, 1)
        parts = [a, b]
        for each in m.m:
            parts.append(member(each, parts[-1]))
        return ghost_conv(m.cv2, torch.cat(parts, 1))

    return reference


def ghostly(block: Any, **parts: nn.Module) -> Any:
    for name, part in parts.items():
        setattr(block, name, part)
    return block


def attending(block: C3k2) -> C3k2:
    width = block.c
    for index, member in enumerate(block.m):
        block.m[index] = nn.Sequential(member, PSABlock(width, num_heads=1))
    return block


GHOSTS = nn.ModuleList([GhostBottleneck(8, 8), GhostBottleneck(8, 8)])
CASES: list[tuple[nn.Module, Reference]] = [
    (Attention(8, 2), attention),
    (Attention(8, 1, 0.25), attention),
    (PSABlock(8, num_heads=2), psa_block),
    (PSABlock(8, num_heads=2, shortcut=False), psa_block),
    (PSA(8, 8), psa),
    (C2PSA(8, 8, 2), c2psa),
    (C2fPSA(8, 8, 2), c2f(psa_block)),
    (C3k(8, 8, 2), c3(bottleneck)),
    (C3k2(8, 16, 2), c2f(bottleneck)),
    (C3k2(8, 16, 2, True, 0.25), c2f(c3(bottleneck))),
    (attending(C3k2(8, 16, 2)), c2f(row(bottleneck, psa_block))),
    (RepVGGDW(8), rep_vgg_dw),
    (RepConv(8, 12), rep_conv),
    (RepConv(8, 8, s=2, g=2), rep_conv),
    (RepConv(8, 8, bn=True), rep_conv),
    (RepConv(8, 8, g=4, bn=True), rep_conv),
    (Conv2(8, 12), conv2),
    (Conv2(8, 12, 5, 2), conv2),
    (RepBottleneck(8, 8), rep_bottleneck),
    (RepCSP(8, 16, 2), c3(rep_bottleneck)),
    (CIB(8, 8), cib),
    (CIB(8, 12, lk=True), cib),
    (C2fCIB(8, 16, 2, True), c2f(cib)),
    (C2fCIB(8, 16, 2, True, True), c2f(cib)),
    (SCDown(8, 12, 3, 2), lambda m, x: conv(m.cv2, conv(m.cv1, x))),
    (RepNCSPELAN4(8, 12, 16, 8, 2), elan(row(c3(rep_bottleneck), conv))),
    (ELAN1(8, 12, 16, 6), elan(conv)),
    (AConv(8, 12), lambda m, x: conv(m.cv1, mean4(x))),
    (ADown(8, 12), adown),
    (SPPELAN(8, 12, 6), spp(5, 9, 13)),
    (SPP(8, 12, (3, 7)), spp(3, 7)),
    (C1(8, 12, 2), c1),
    (C2(8, 16, 2), c2),
    (Focus(8, 12, 3), focus),
    (BottleneckCSP(8, 16, 2), bottleneck_csp),
    (ConvTranspose(8, 12), conv_transpose),
    (ConvTranspose(8, 12, 4, 2, 1, bn=False), conv_transpose),
    (ChannelAttention(8), channel_attention),
    (SpatialAttention(3), spatial_attention),
    (
        CBAM(8),
        lambda m, x: spatial_attention(
            m.spatial_attention, channel_attention(m.channel_attention, x)
        ),
    ),
    (LightConv(8, 12, 5), light_conv),
    (HGBlock(8, 6, 8, 3, 2, shortcut=True), hg_block(relu_conv)),
    (HGBlock(8, 6, 12, 5, 3, lightconv=True), hg_block(light_conv)),
    (HGStem(8, 6, 12), hg_stem),
    (AAttn(8, 2), area_attention),
    (AAttn(8, 2, 4), area_attention),
    (ABlock(8, 2, 1.5, 2), area_block),
    (A2C2f(8, 64, 2, True, 4), a2c2f(row(area_block, area_block))),
    (A2C2f(8, 16, 2, False), a2c2f(c3(bottleneck))),
    (ghostly(C2fHost(8, 16, 2), m=GHOSTS), c2f(ghost_bottleneck)),
    (
        ghostly(C2fHost(8, 16, 2), m=GHOSTS, cv1=GhostConv(8, 16), cv2=GhostConv(32, 16)),
        joints(ghost_bottleneck),
    ),
    (ghostly(C3Host(8, 16, 2), m=nn.Sequential(*GHOSTS)), c3(ghost_bottleneck)),
    (
        ghostly(BottleneckHost(8, 8), cv1=GhostConv(8, 4, 3), cv2=GhostConv(4, 8, 3)),
        lambda m, x: x + ghost_conv(m.cv2, ghost_conv(m.cv1, x)),
    ),
]


@pytest.mark.parametrize(("block", "reference"), CASES, ids=lambda v: type(v).__name__)
def test_a_block_computes_its_formula(block: nn.Module, reference: Reference) -> None:
    block = randomize(block).double()
    x = torch.randn((2, 8, 8, 12), generator=torch.Generator().manual_seed(1)).double()
    wanted = reference(block, x)
    assert wanted.std() > 0.01
    torch.testing.assert_close(block(x), wanted, rtol=1e-12, atol=1e-12)
    fused = fuse(block)
    torch.testing.assert_close(fused(x), wanted, rtol=1e-10, atol=1e-10)
    # In BottleneckCSP the norm follows a concatenation, which is no convolution.
    left = sum(isinstance(part, nn.BatchNorm2d) for part in fused.modules())
    assert left == isinstance(block, BottleneckCSP)


@pytest.mark.parametrize(
    ("block", "kernel", "groups"),
    [(RepVGGDW(8), 7, 8), (RepConv(8, 8, bn=True), 3, 1), (Conv2(8, 8, 3), 3, 1)],
    ids=lambda v: type(v).__name__,
)
def test_parallel_branches_become_one_convolution(
    block: nn.Module, kernel: int, groups: int
) -> None:
    fused = fuse(randomize(block))
    (conv,) = (part for part in fused.modules() if isinstance(part, nn.Conv2d))
    assert (conv.kernel_size, conv.groups) == ((kernel, kernel), groups)
    assert conv.bias is not None
    assert not any(isinstance(part, nn.BatchNorm2d) for part in fused.modules())
