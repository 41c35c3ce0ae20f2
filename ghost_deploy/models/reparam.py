"""Re-parameterized blocks: several parallel convolutions in training, one in deployment.

Convolution is linear: branches of one input, with their batch norms folded, add up to a single
convolution whose kernel is the sum of theirs, smaller kernels padded with zeros (Ding et al. 2021,
RepVGG, arXiv:2101.03697). A file written after fusion contains only this one.
"""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn

from ghost_deploy.models.activations import Activation
from ghost_deploy.models.block import Block, require
from ghost_deploy.models.conv import Conv, ConvLike
from ghost_deploy.models.csp import C3, Bottleneck
from ghost_deploy.models.fields import MisfitError
from ghost_deploy.models.fold import add_norm, add_up, margins, padding_of


def require_parallel(wide: nn.Conv2d, narrow: nn.Conv2d) -> None:
    """Raise `MisfitError` unless the two add up to one convolution (`fold.add_up`)."""
    for name in ("in_channels", "out_channels", "groups", "stride"):
        same = getattr(wide, name) == getattr(narrow, name)
        require(same, f"the branches must have equal {name}")
    plain = {*wide.dilation, *narrow.dilation} == {1}
    zeros = wide.padding_mode == narrow.padding_mode == "zeros"
    require(plain and zeros, "the branches must pad with zeros and not be dilated")
    for axis, margin in enumerate(margins(wide, narrow)):
        grown = wide.kernel_size[axis] - narrow.kernel_size[axis] == 2 * margin
        require(grown and margin >= 0, "the branches must have the same centre")


class RepVGGDW(Block):
    """y = act(conv(x) + conv1(x)), depthwise 7x7 and 3x3; fused: y = act(conv(x))."""

    origin = "Ultralytics RepVGGDW"
    harmless = frozenset({"dim"})
    conv: Conv | nn.Conv2d
    conv1: Conv | None
    act: Activation

    def __init__(self, ed: int) -> None:
        super().__init__()
        self.conv = Conv(ed, ed, 7, g=ed, act=False)
        self.conv1 = Conv(ed, ed, 3, g=ed, act=False)
        self.act = nn.SiLU()

    def fit(self) -> None:
        if self.conv1 is None:
            fused = isinstance(self.conv, nn.Conv2d) and self.conv.bias is not None
            require(fused, "without conv1, conv must be a fused Conv2d with bias")
            return
        if not isinstance(self.conv, Conv):
            raise MisfitError("beside conv1, conv must be a Conv")
        _require_linear(self.conv, self.conv1)

    def fold(self) -> None:
        if self.conv1 is not None and isinstance(self.conv, Conv):
            self.conv, self.conv1 = add_up(self.conv.conv, self.conv1.conv), None

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x) if self.conv1 is None else self.conv(x) + self.conv1(x)
        result: Tensor = self.act(y)
        return result


class RepConv(ConvLike):
    """y = act(conv1(x) + conv2(x) + bn(x)), 3x3 and 1x1, bn may be absent; fused: act(conv(x))."""

    origin = "Ultralytics RepConv"
    # A `bn` that is None is an attribute of the original, not a child.
    harmless = frozenset({"bn", "c1", "c2", "g"})
    conv: nn.Conv2d | None
    conv1: Conv | None
    conv2: Conv | None
    bn: nn.BatchNorm2d | None
    act: Activation

    def __init__(
        self, c1: int, c2: int, k: int = 3, s: int = 1, g: int = 1, bn: bool = False
    ) -> None:
        super().__init__()
        self.conv = None
        self.conv1 = Conv(c1, c2, k, s, g=g, act=False)
        self.conv2 = Conv(c1, c2, 1, s, g=g, act=False)
        self.bn = nn.BatchNorm2d(c1) if bn and c1 == c2 and s == 1 else None
        self.act = nn.SiLU()

    def fit(self) -> None:
        if self.conv1 is None or self.conv2 is None:
            alone = self.conv1 is None and self.conv2 is None and self.bn is None
            require(alone and self.conv is not None, "it needs conv1 and conv2, or only conv")
            return
        require(self.conv is None, "beside conv1 and conv2 there is no conv")
        _require_linear(self.conv1, self.conv2)
        if self.bn is not None:
            conv = self.conv1.conv
            keeps = conv.in_channels == conv.out_channels == self.bn.num_features
            centred = conv.kernel_size == tuple(2 * side + 1 for side in padding_of(conv))
            same = keeps and centred and set(conv.stride) == {1}
            require(same, "bn needs a convolution that keeps width and size")

    @property
    def in_channels(self) -> int:
        """Channels of the input."""
        return self._any.in_channels

    @property
    def out_channels(self) -> int:
        """Channels of the output."""
        return self._any.out_channels

    @property
    def _any(self) -> nn.Conv2d:
        conv = self.conv if self.conv1 is None else self.conv1.conv
        assert conv is not None
        return conv

    def fold(self) -> None:
        if self.conv1 is None or self.conv2 is None:
            return
        merged = add_up(self.conv1.conv, self.conv2.conv)
        self.conv = merged if self.bn is None else add_norm(merged, self.bn)
        self.conv1 = self.conv2 = self.bn = None

    def forward(self, x: Tensor) -> Tensor:
        if self.conv1 is None or self.conv2 is None:
            assert self.conv is not None
            y = self.conv(x)
        else:
            y = self.conv1(x) + self.conv2(x)
        if self.bn is not None:
            y = y + self.bn(x)
        result: Tensor = self.act(y)
        return result


class Conv2(Conv):
    """y = act(bn(conv(x) + cv2(x))), cv2 a raw 1x1 convolution; fused: y = act(conv(x))."""

    origin = "Ultralytics Conv2"
    cv2: nn.Conv2d | None

    def __init__(self, c1: int, c2: int, k: int = 3, s: int = 1, act: bool = True) -> None:
        super().__init__(c1, c2, k, s, act=act)
        self.cv2 = nn.Conv2d(c1, c2, 1, s, bias=False)

    def fit(self) -> None:
        super().fit()
        if self.cv2 is not None:
            require_parallel(self.conv, self.cv2)

    def fold(self) -> None:
        if self.cv2 is not None:
            self.conv, self.cv2 = add_up(self.conv, self.cv2), None
        super().fold()

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x) if self.cv2 is None else self.conv(x) + self.cv2(x)
        result: Tensor = self.act(self.bn(y))
        return result


class RepBottleneck(Bottleneck):
    """A `Bottleneck` whose first convolution is a `RepConv`."""

    origin = "Ultralytics RepBottleneck"
    cv1: RepConv  # type: ignore[assignment] # it has the parts of a Conv that are used

    def first(self, c1: int, c2: int, k: int) -> RepConv:  # type: ignore[override]
        return RepConv(c1, c2, k)


class RepCSP(C3):
    """A `C3` whose members are `RepBottleneck`."""

    origin = "Ultralytics RepCSP"
    members: ClassVar[tuple[type[nn.Module], ...]] = (RepBottleneck,)

    def member(self, hidden: int, shortcut: bool) -> Block:
        return RepBottleneck(hidden, hidden, shortcut, e=1.0)


def _require_linear(wide: Conv, narrow: Conv) -> None:
    linear = isinstance(wide.act, nn.Identity) and isinstance(narrow.act, nn.Identity)
    require(linear, "the branches must have no activation")
    require_parallel(wide.conv, narrow.conv)
