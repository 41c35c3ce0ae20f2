"""Classes as forks write them: plain torch modules, for definitions to be compared with.

Their arithmetic is written out here once more, as forks do; nothing of the package is used.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional


class Conv(nn.Module):
    def __init__(self, c1: int, c2: int, k: int = 1, s: int = 1, g: int = 1, act: Any = True):
        super().__init__()
        self.conv = nn.Conv2d(c1, c2, k, s, k // 2, groups=g, bias=False)
        self.bn = nn.BatchNorm2d(c2, eps=1e-3)
        self.act = nn.SiLU() if act is True else act or nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.bn(self.conv(x)))


class GhostConv(nn.Module):
    def __init__(self, c1: int, c2: int, k: int = 1, s: int = 1, act: Any = True):
        super().__init__()
        self.cv1 = Conv(c1, c2 // 2, k, s, act=act)
        self.cv2 = Conv(c2 // 2, c2 // 2, 5, 1, c2 // 2, act)

    def forward(self, x: Tensor) -> Tensor:
        y = self.cv1(x)
        return torch.cat([y, self.cv2(y)], 1)


class GhostConvFlat(nn.Module):
    """Pairs of convolution and norm beside each other, and one activation."""

    def __init__(self, c1: int, c2: int, last: bool = False, exchanged: bool = False):
        super().__init__()
        half = c2 // 2
        self.primary_conv = nn.Conv2d(c1, half, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(half)
        self.cheap_conv = nn.Conv2d(half, half, 3, 1, 1, groups=half, bias=False)
        self.bn2 = nn.BatchNorm2d(half)
        self.relu = nn.ReLU()
        self.last, self.exchanged = last, exchanged

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn1(self.primary_conv(x))
        y = y if self.last else self.relu(y)
        z = self.bn2(self.cheap_conv(y))
        z = z if self.last else self.relu(z)
        out = torch.cat([z, y] if self.exchanged else [y, z], 1)
        return self.relu(out) if self.last else out


class GhostModuleX(nn.Module):
    """Huawei's parts, cut to an odd width."""

    def __init__(self, inp: int, oup: int):
        super().__init__()
        half = -(-oup // 2)
        self.oup = oup
        self.primary = nn.Sequential(
            nn.Conv2d(inp, half, 1, bias=False), nn.BatchNorm2d(half), nn.Hardswish()
        )
        self.cheap_operation = nn.Sequential(
            nn.Conv2d(half, half, 3, 1, 1, groups=half, bias=False),
            nn.BatchNorm2d(half),
            nn.Hardswish(),
        )

    def forward(self, x: Tensor) -> Tensor:
        y = self.primary(x)
        return torch.cat([y, self.cheap_operation(y)], 1)[:, : self.oup]


class SELayer(nn.Module):
    def __init__(self, c: int, r: int = 4):
        super().__init__()
        self.avg_pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Sequential(
            nn.Linear(c, c // r, bias=False),
            nn.ReLU(),
            nn.Linear(c // r, c, bias=False),
            nn.Sigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:
        b, c = x.shape[:2]
        return x * self.fc(self.avg_pool(x).view(b, c)).view(b, c, 1, 1)


class SE(nn.Module):
    """The names of a much copied YOLOv5 fork; with 1x1 convolutions on request."""

    def __init__(self, c: int, convs: bool = False):
        super().__init__()
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.l1: nn.Module = nn.Conv2d(c, 2, 1) if convs else nn.Linear(c, 2, bias=False)
        self.relu = nn.SiLU()
        self.l2: nn.Module = nn.Conv2d(2, c, 1) if convs else nn.Linear(2, c, bias=False)
        self.sig = nn.Hardsigmoid()
        self.convs = convs

    def forward(self, x: Tensor) -> Tensor:
        b, c = x.shape[:2]
        y = self.avgpool(x) if self.convs else self.avgpool(x).view(b, c)
        return x * self.sig(self.l2(self.relu(self.l1(y)))).view(b, c, 1, 1)


class ECAAttention(nn.Module):
    def __init__(self, k: int = 3):
        super().__init__()
        self.gap = nn.AdaptiveAvgPool2d(1)
        self.conv = nn.Conv1d(1, 1, k, padding=k // 2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(self.gap(x).squeeze(-1).transpose(-1, -2)).transpose(-1, -2).unsqueeze(-1)
        return x * y.sigmoid()


class HSig(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.relu = nn.ReLU6()

    def forward(self, x: Tensor) -> Tensor:
        return self.relu(x + 3) / 6


class HSwishAct(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.sigmoid = HSig()

    def forward(self, x: Tensor) -> Tensor:
        return x * self.sigmoid(x)


class CABlock(nn.Module):
    """Coordinate attention under the names of a tutorial, joined and split as written there."""

    def __init__(self, c: int, r: int = 2):
        super().__init__()
        self.conv_1x1 = nn.Conv2d(c, c // r, 1, bias=False)
        self.relu = HSwishAct()
        self.bn = nn.BatchNorm2d(c // r)
        self.F_h = nn.Conv2d(c // r, c, 1, bias=False)
        self.F_w = nn.Conv2d(c // r, c, 1, bias=False)
        self.sigmoid_h = nn.Sigmoid()
        self.sigmoid_w = nn.Sigmoid()

    def forward(self, x: Tensor) -> Tensor:
        h, w = x.shape[2:]
        rows = x.mean(3, keepdim=True).permute(0, 1, 3, 2)
        both = self.relu(self.bn(self.conv_1x1(torch.cat([rows, x.mean(2, keepdim=True)], 3))))
        rows, columns = both.split([h, w], 3)
        gate_h = self.sigmoid_h(self.F_h(rows.permute(0, 1, 3, 2)))
        return x * gate_h.expand_as(x) * self.sigmoid_w(self.F_w(columns)).expand_as(x)


class EMA(nn.Module):
    def __init__(self, c: int, factor: int = 4):
        super().__init__()
        self.groups = factor
        self.softmax = nn.Softmax(-1)
        self.agp = nn.AdaptiveAvgPool2d((1, 1))
        self.pool_h = nn.AdaptiveAvgPool2d((None, 1))
        self.pool_w = nn.AdaptiveAvgPool2d((1, None))
        n = c // factor
        self.gn = nn.GroupNorm(n, n)
        self.conv1x1 = nn.Conv2d(n, n, 1)
        self.conv3x3 = nn.Conv2d(n, n, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        b, c, h, w = x.shape
        g = self.groups
        z = x.reshape(b * g, -1, h, w)
        hw = self.conv1x1(torch.cat([self.pool_h(z), self.pool_w(z).permute(0, 1, 3, 2)], 2))
        rows, columns = hw.split([h, w], 2)
        p = self.gn(z * rows.sigmoid() * columns.permute(0, 1, 3, 2).sigmoid())
        q = self.conv3x3(z)
        p1 = self.softmax(self.agp(p).reshape(b * g, -1, 1).permute(0, 2, 1))
        q1 = self.softmax(self.agp(q).reshape(b * g, -1, 1).permute(0, 2, 1))
        weights = p1 @ q.reshape(b * g, c // g, -1) + q1 @ p.reshape(b * g, c // g, -1)
        return (z * weights.reshape(b * g, 1, h, w).sigmoid()).reshape(b, c, h, w)


class SimAM(nn.Module):
    def __init__(self, e_lambda: float = 1e-3):
        super().__init__()
        self.activaton = nn.Sigmoid()
        self.e_lambda = e_lambda

    def forward(self, x: Tensor) -> Tensor:
        n = x.shape[2] * x.shape[3] - 1
        d = (x - x.mean(dim=[2, 3], keepdim=True)).pow(2)
        y = d / (4 * (d.sum(dim=[2, 3], keepdim=True) / n + self.e_lambda)) + 0.5
        return x * self.activaton(y)


class ChannelAttention(nn.Module):
    def __init__(self, c: int, r: int = 4):
        super().__init__()
        self.avg_pool, self.max_pool = nn.AdaptiveAvgPool2d(1), nn.AdaptiveMaxPool2d(1)
        self.f1 = nn.Conv2d(c, c // r, 1, bias=False)
        self.relu = nn.ReLU()
        self.f2 = nn.Conv2d(c // r, c, 1, bias=False)
        self.sigmoid = nn.Sigmoid()

    def forward(self, x: Tensor) -> Tensor:
        mean = self.f2(self.relu(self.f1(self.avg_pool(x))))
        return self.sigmoid(mean + self.f2(self.relu(self.f1(self.max_pool(x)))))


class SpatialAttention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 1, 7, padding=3, bias=False)
        self.sigmoid = nn.Sigmoid()

    def forward(self, x: Tensor) -> Tensor:
        both = [torch.mean(x, 1, keepdim=True), torch.max(x, 1, keepdim=True)[0]]
        return self.sigmoid(self.conv(torch.cat(both, 1)))


class CBAM(nn.Module):
    def __init__(self, c: int):
        super().__init__()
        self.channel_attention, self.spatial_attention = ChannelAttention(c), SpatialAttention()

    def forward(self, x: Tensor) -> Tensor:
        x = self.channel_attention(x) * x
        return self.spatial_attention(x) * x


class GhostConvGate(nn.Module):
    """A Ghost convolution with an attention at one of its places."""

    def __init__(self, c1: int, c2: int, gate: nn.Module, place: str):
        super().__init__()
        self.cv1 = Conv(c1, c2 // 2)
        self.cv2 = Conv(c2 // 2, c2 // 2, 5, 1, c2 // 2)
        self.att = gate
        self.place_of_gate = place

    def forward(self, x: Tensor) -> Tensor:
        place, g = self.place_of_gate, self.att
        y = self.cv1(g(x) if place == "input" else x)
        y = g(y) if place == "primary" else y
        z = self.cv2(y)
        z = g(z) if place == "cheap" else z
        out = torch.cat([g(y) if place == "beside" else y, z], 1)
        return g(out) if place == "last" else out


class GhostBottleneck(nn.Module):
    """Without shortcut child; `flag` is the name of the attribute that decides, if any."""

    def __init__(self, c: int, adds: bool, flag: str = "", gate: Any = None, place: str = ""):
        super().__init__()
        self.conv = nn.Sequential(GhostConv(c, c // 2), nn.Identity(), GhostConv(c // 2, c, act=0))
        if flag:
            setattr(self, flag, adds)
        if gate is not None:
            self.attention = gate
        self._adds, self._place = adds, place

    def forward(self, x: Tensor) -> Tensor:
        gate = self.attention if self._place else None
        y = self.conv(gate(x) if self._place == "first" else x)
        y = gate(y) if self._place == "body" else y
        y = x + y if self._adds else y
        return gate(y) if self._place == "last" else y


class GhostBottleneckAct(GhostBottleneck):
    """With an activation beside its body: after the addition, before it, or not used."""

    def __init__(self, c: int, adds: bool, act: str):
        super().__init__(c, adds, "add")
        self.relu = nn.ReLU()
        self._act = act

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        y = self.relu(y) if self._act == "body" else y
        y = x + y if self._adds else y
        return self.relu(y) if self._act == "last" else y


class GhostBottleneckBoth(nn.Module):
    """With a shortcut child, and a flag that says that it is not used."""

    def __init__(self, c: int, flag: str, adds: bool):
        super().__init__()
        self.ghost1, self.ghost2 = GhostConv(c, c // 2), GhostConv(c // 2, c, act=0)
        self.shortcut = nn.Identity()
        setattr(self, flag, False)
        self._adds = adds

    def forward(self, x: Tensor) -> Tensor:
        y = self.ghost2(self.ghost1(x))
        return y + self.shortcut(x) if self._adds else y


class GhostBottleneckDown(nn.Module):
    """It halves the size, so that there is nothing to add."""

    def __init__(self, c: int):
        super().__init__()
        self.ghost1, self.dw = GhostConv(c, c), Conv(c, c, 3, 2, c, 0)
        self.ghost2 = GhostConv(c, 2 * c, act=0)

    def forward(self, x: Tensor) -> Tensor:
        return self.ghost2(self.dw(self.ghost1(x)))


class RepDWBlock(nn.Module):
    """Parallel depthwise branches as `Conv`, a norm alone, under names of its own."""

    def __init__(self, c: int, act: Any = None):
        super().__init__()
        self.conv7 = Conv(c, c, 7, 1, c, 0)
        self.conv3 = Conv(c, c, 3, 1, c, 0)
        self.conv1 = nn.Sequential(nn.Conv2d(c, c, 1, groups=c, bias=False), nn.BatchNorm2d(c))
        self.bn_identity = nn.BatchNorm2d(c)
        self.nonlinearity = act or nn.ReLU()
        self.deploy = False

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv7(x) + self.conv3(x) + self.conv1(x) + self.bn_identity(x)
        return self.nonlinearity(y)


class GhostConvRep(nn.Module):
    def __init__(self, c1: int, c2: int):
        super().__init__()
        self.primary_conv = Conv(c1, c2 // 2)
        self.cheap_operation = RepDWBlock(c2 // 2, nn.SiLU())

    def forward(self, x: Tensor) -> Tensor:
        y = self.primary_conv(x)
        return torch.cat([y, self.cheap_operation(y)], 1)


class GSConv(nn.Module):
    def __init__(self, c1: int, c2: int, k: int = 1, s: int = 1, act: Any = True):
        super().__init__()
        self.cv1 = Conv(c1, c2 // 2, k, s, act=act)
        self.cv2 = Conv(c2 // 2, c2 // 2, 5, 1, c2 // 2, act)

    def forward(self, x: Tensor) -> Tensor:
        y = self.cv1(x)
        y = torch.cat([y, self.cv2(y)], 1)
        b, n, h, w = y.shape
        z = y.reshape(b * n // 2, 2, h * w).permute(1, 0, 2).reshape(2, -1, n // 2, h, w)
        return torch.cat([z[0], z[1]], 1)


class GSBottleneck(nn.Module):
    def __init__(self, c: int):
        super().__init__()
        self.conv_lighting = nn.Sequential(GSConv(c, c), GSConv(c, c, 3, act=0))
        self.shortcut = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.conv_lighting(x) + self.shortcut(x)


class VoVGSCSPC(nn.Module):
    def __init__(self, c1: int, c2: int):
        super().__init__()
        c = c2 // 2
        self.cv1, self.cv2, self.gsb = Conv(c1, c), Conv(c1, c), GSBottleneck(c)
        self.cv3 = Conv(2 * c, c2)

    def forward(self, x: Tensor) -> Tensor:
        return self.cv3(torch.cat([self.cv2(x), self.gsb(self.cv1(x))], 1))


class GhostC3k(nn.Module):
    def __init__(self, c: int, gate: Any = None):
        super().__init__()
        half = c // 2
        self.cv1, self.cv2, self.cv3 = Conv(c, half), Conv(c, half), Conv(2 * half, c)
        self.m = nn.Sequential(*(GhostBottleneck(half, True, "add") for _ in range(2)))
        if gate is not None:
            self.ca = gate

    def forward(self, x: Tensor) -> Tensor:
        y = self.cv3(torch.cat([self.m(self.cv1(x)), self.cv2(x)], 1))
        return self.ca(y) if hasattr(self, "ca") else y


class GhostC3k2(nn.Module):
    """A C2f of Ghost C3k, with Ghost convolutions, its members in a Sequential."""

    def __init__(self, c1: int, c2: int, n: int = 2):
        super().__init__()
        self.c = c2 // 2
        self.cv1, self.cv2 = GhostConv(c1, 2 * self.c), GhostConv((2 + n) * self.c, c2)
        self.m = nn.Sequential(*(GhostC3k(self.c) for _ in range(n)))

    def forward(self, x: Tensor) -> Tensor:
        y = list(self.cv1(x).chunk(2, 1))
        for member in self.m:
            y.append(member(y[-1]))
        return self.cv2(torch.cat(y, 1))


class C2fZero(nn.Module):
    """A C2f with a convolution `cv0`: before cv1, or for the first half."""

    def __init__(self, c1: int, c2: int, two_paths: bool):
        super().__init__()
        c = c2 // 2
        self.c, self.two = c, two_paths
        self.cv0 = Conv(c1, c if two_paths else c1)
        self.cv1 = Conv(c1, c if two_paths else 2 * c)
        self.cv2 = Conv(3 * c, c2)
        self.m = nn.ModuleList([GhostBottleneck(c, True, "use_shortcut")])

    def forward(self, x: Tensor) -> Tensor:
        y = [self.cv0(x), self.cv1(x)] if self.two else list(self.cv1(self.cv0(x)).chunk(2, 1))
        y.append(self.m[0](y[-1]))
        return self.cv2(torch.cat(y, 1))


class LightConv(nn.Module):
    def __init__(self, c1: int, c2: int, k: int):
        super().__init__()
        self.conv1, self.conv2 = Conv(c1, c2, act=0), Conv(c2, c2, k, 1, c2, nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        return self.conv2(self.conv1(x))


class HGBlockGhost(nn.Module):
    def __init__(self, c: int):
        super().__init__()
        self.m = nn.ModuleList([GhostConv(c, 8, 3), LightConv(8, 8, 5)])
        self.sc, self.ec = Conv(c + 16, c // 2, act=nn.ReLU()), GhostConv(c // 2, c)
        self.add = True

    def forward(self, x: Tensor) -> Tensor:
        y = [x]
        for member in self.m:
            y.append(member(y[-1]))
        return self.ec(self.sc(torch.cat(y, 1))) + x


class ConcatBiFPN3(nn.Module):
    def __init__(self, n: int = 3):
        super().__init__()
        self.d, self.eps = 1, 1e-4
        self.weights = nn.Parameter(torch.linspace(0.5, 1.5, n))

    def forward(self, x: list[Tensor]) -> Tensor:
        w = self.weights / (self.weights.sum() + self.eps)
        return torch.cat([w[i] * each for i, each in enumerate(x)], self.d)


class BiFPNAdd(nn.Module):
    def __init__(self, c: int, n: int = 3):
        super().__init__()
        self.w = nn.Parameter(torch.linspace(0.5, 1.5, n))
        self.epsilon = 0.0001
        self.conv = nn.Conv2d(c, c, 1)
        self.silu = nn.SiLU()

    def forward(self, x: list[Tensor]) -> Tensor:
        w = self.w / (torch.sum(self.w, dim=0) + self.epsilon)
        y = w[0] * x[0]
        for i in range(1, len(x)):
            y = y + w[i] * x[i]
        return self.conv(self.silu(y))


class ConvGN(nn.Module):
    def __init__(self, c1: int, c2: int, k: int = 1):
        super().__init__()
        self.conv = nn.Conv2d(c1, c2, k, padding=k // 2, bias=False)
        self.gn = nn.GroupNorm(4, c2)
        self.act = nn.SiLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.gn(self.conv(x)))


class GhostV2Gate(nn.Module):
    """GhostNet V2 with options: gate function, pooling, interpolation, place."""

    def __init__(
        self, inp: int, oup: int, gate: nn.Module, pool: str = "avg", before: bool = False
    ):
        super().__init__()
        half = oup // 2
        width = half if before else oup
        self.mode, self.oup, self.gate_fn = "attn", oup, gate
        self.primary_conv = nn.Sequential(
            nn.Conv2d(inp, half, 1, bias=False), nn.BatchNorm2d(half), nn.ReLU()
        )
        self.cheap_operation = nn.Sequential(
            nn.Conv2d(half, half, 3, 1, 1, groups=half, bias=False), nn.BatchNorm2d(half), nn.ReLU()
        )
        self.short_conv = nn.Sequential(
            nn.Conv2d(inp, width, 1, bias=False),
            nn.BatchNorm2d(width),
            nn.Conv2d(width, width, (1, 5), 1, (0, 2), groups=width, bias=False),
            nn.BatchNorm2d(width),
            nn.Conv2d(width, width, (5, 1), 1, (2, 0), groups=width, bias=False),
            nn.BatchNorm2d(width),
        )
        self._pool, self._before = pool, before

    def forward(self, x: Tensor) -> Tensor:
        pooled = {"avg": functional.avg_pool2d, "max": functional.max_pool2d}.get(self._pool)
        r = self.gate_fn(self.short_conv(pooled(x, 2, 2) if pooled else x))
        y = self.primary_conv(x)
        if pooled:
            r = functional.interpolate(r, size=y.shape[-2:], mode="nearest")
        if self._before:
            y = y * r
            return torch.cat([y, self.cheap_operation(y)], 1)
        return torch.cat([y, self.cheap_operation(y)], 1) * r
