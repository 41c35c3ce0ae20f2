"""Attention that weighs each cell of a map: coordinate attention, EMA, SimAM."""

from __future__ import annotations

from typing import Annotated, ClassVar

from torch import Tensor, nn

from ghost_deploy.models.activations import Activation, Gate
from ghost_deploy.models.block import Names, require
from ghost_deploy.models.conv import Conv
from ghost_deploy.models.feature_gate import FeatureGate
from ghost_deploy.models.fields import Channels, number


class CoordGate(FeatureGate):
    """y = x * gate(conv_h(z(mean of each row))) * gate(conv_w(z(mean of each column))).

    z(v) = act(bn1(conv1(v))). The original computes z of rows and columns joined, which is the
    same, because the convolutions are 1x1. Coordinate attention (Hou et al. 2021,
    arXiv:2103.02907).
    """

    origin = "coordinate attention (CoordAtt)"
    harmless = frozenset({"inp", "oup", "reduction", "mip", "groups", "c1", "c2", "channel"})
    folds = (("conv1", "bn1"),)
    aliases: ClassVar[Names] = {
        "pool_h": ("avg_pool_h", "avg_pool_x", "pool_x"),
        "pool_w": ("avg_pool_w", "avg_pool_y", "pool_y"),
        "conv1": ("conv_1x1", "conv", "cv1", "conv_reduce", "conv1x1"),
        "bn1": ("bn", "norm", "norm1"),
        "act": ("relu", "activation", "swish", "hswish", "h_swish", "act1", "non_linear"),
        "conv_h": ("F_h", "conv2", "cv_h", "fc_h", "conv_height", "cv2"),
        "conv_w": ("F_w", "conv3", "cv_w", "fc_w", "conv_width", "cv3"),
        "sigmoid_h": ("sigmoid", "gate", "gate_fn", "sig"),
    }
    pool_h: nn.AdaptiveAvgPool2d | None
    pool_w: nn.AdaptiveAvgPool2d | None
    conv1: nn.Conv2d | Conv
    bn1: nn.BatchNorm2d | nn.Identity | None
    act: Activation | None
    conv_h: nn.Conv2d
    conv_w: nn.Conv2d
    sigmoid_h: Gate | None
    sigmoid_w: Gate | None

    def fit(self) -> None:
        for pool, size in ((self.pool_h, (None, 1)), (self.pool_w, (1, None))):
            fits = pool is None or tuple(pool.output_size) == size  # type: ignore[arg-type]
            require(fits, f"a pooling must give {size} cells")
        convs = [self.conv1.conv if isinstance(self.conv1, Conv) else self.conv1]
        convs += [self.conv_h, self.conv_w]
        plain = all(
            (conv.kernel_size, conv.stride, conv.groups) == ((1, 1), (1, 1), 1) for conv in convs
        )
        require(plain, "its convolutions must be 1x1")
        first, *others = convs
        follow = {(first.out_channels, first.in_channels)} == {
            (conv.in_channels, conv.out_channels) for conv in others
        }
        require(follow, "conv_h and conv_w must lead back to the width")
        if isinstance(self.conv1, Conv):
            require(self.bn1 is None and self.act is None, "conv1 has its norm and activation")
        else:
            require(self.act is not None, "it must have an activation")
            normed = self.bn1 is not None or first.bias is not None
            require(normed, "without bn1, conv1 must carry the bias")

    @property
    def width(self) -> int | None:
        return self.conv_h.out_channels

    def forward(self, x: Tensor) -> Tensor:
        rows = self.conv_h(self._reduced(x.mean(3, keepdim=True)))
        columns = self.conv_w(self._reduced(x.mean(2, keepdim=True)))
        gate_h = self.sigmoid_h
        gate_w = gate_h if self.sigmoid_w is None else self.sigmoid_w
        rows = rows.sigmoid() if gate_h is None else gate_h(rows)
        columns = columns.sigmoid() if gate_w is None else gate_w(columns)
        y: Tensor = x * columns * rows
        return y

    def _reduced(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv1(x)
        y = y if self.bn1 is None else self.bn1(y)
        return y if self.act is None else self.act(y)


class CrossSpatialGate(FeatureGate):
    """Efficient multi-scale attention, of each group of channels (Ouyang et al. 2023, EMA).

    With a = gn(x * sigmoid(p(rows)) * sigmoid(p(columns))), p = conv1x1, and b = conv3x3(x):
    y = x * sigmoid(softmax(mean a) . b + softmax(mean b) . a), products over the channels
    (arXiv:2305.13563).
    """

    origin = "efficient multi-scale attention (EMA)"
    harmless = frozenset({"channels", "channel", "c1", "c2"})
    aliases: ClassVar[Names] = {
        "groups": ("group", "factor", "g"),
        "agp": ("avg_pool", "gap", "pool"),
        "gn": ("group_norm", "norm"),
        "conv1x1": ("conv_1x1", "conv1", "cv1"),
        "conv3x3": ("conv_3x3", "conv3", "conv2", "cv2"),
    }
    softmax: nn.Softmax | None
    agp: nn.AdaptiveAvgPool2d | None
    pool_h: nn.AdaptiveAvgPool2d | None
    pool_w: nn.AdaptiveAvgPool2d | None
    gn: nn.GroupNorm
    conv1x1: nn.Conv2d
    conv3x3: nn.Conv2d
    groups: Channels

    def fit(self) -> None:
        c = self.gn.num_channels
        square = all(
            (conv.in_channels, conv.out_channels, conv.groups, conv.stride) == (c, c, 1, (1, 1))
            for conv in (self.conv1x1, self.conv3x3)
        )
        require(square, "its convolutions must keep the channels of a group")
        kernels = (self.conv1x1.kernel_size, self.conv3x3.kernel_size, self.conv3x3.padding)
        require(kernels == ((1, 1), (3, 3), (1, 1)), "its convolutions must be 1x1 and 3x3")
        softmax = self.softmax is None or self.softmax.dim in (-1, 2)
        require(softmax, "softmax must be over the channels")

    @property
    def width(self) -> int | None:
        return self.groups * self.gn.num_channels

    def forward(self, x: Tensor) -> Tensor:
        c, (height, width) = self.gn.num_channels, x.shape[-2:]
        grouped = x.reshape(-1, c, height, width)
        rows = self.conv1x1(grouped.mean(3, keepdim=True)).sigmoid()
        columns = self.conv1x1(grouped.mean(2, keepdim=True)).sigmoid()
        a, b = self.gn(grouped * rows * columns), self.conv3x3(grouped)
        # Channel weights (groups, c, 1, 1): a product and a sum instead of a matrix product.
        weighed = a.mean((2, 3), keepdim=True).softmax(1) * b
        weighed = weighed + b.mean((2, 3), keepdim=True).softmax(1) * a
        y: Tensor = grouped * weighed.sum(1, keepdim=True).sigmoid()
        return y.reshape(-1, self.groups * c, height, width)


class EnergyGate(FeatureGate):
    """y = x * sigmoid(d / (4 * (sum of d / (H * W - 1) + e_lambda)) + 0.5), d = (x - mean)^2.

    SimAM, an attention without weights (Yang et al. 2021).
    """

    origin = "attention without weights (SimAM)"
    harmless = frozenset({"channels", "channel", "c1", "c2"})
    aliases: ClassVar[Names] = {
        "activaton": ("activation", "act", "sigmoid", "gate"),
        "e_lambda": ("lambda_", "e", "eps", "lamb"),
    }
    activaton: nn.Sigmoid | None  # the original's spelling
    e_lambda: Annotated[float, number(1e-12, 1.0)] = 1e-4

    def forward(self, x: Tensor) -> Tensor:
        cells = x.shape[-2] * x.shape[-1] - 1
        d = (x - x.mean((2, 3), keepdim=True)) ** 2
        energy = d / (4 * (d.sum((2, 3), keepdim=True) / cells + self.e_lambda)) + 0.5
        y: Tensor = x * energy.sigmoid()
        return y
