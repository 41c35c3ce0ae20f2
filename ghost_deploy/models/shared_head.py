"""Heads of forks that share convolutions between levels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor, nn

from ghost_deploy.models.activations import Activation
from ghost_deploy.models.block import Block, Names, require
from ghost_deploy.models.conv import ConvLike
from ghost_deploy.models.head import Detect
from ghost_deploy.models.head_base import Branch


class GroupNormConv(ConvLike):
    """y = act(gn(conv(x)))."""

    origin = "fork Conv_GN: convolution and group norm"
    aliases: ClassVar[Names] = {"gn": ("norm", "bn", "group_norm"), "act": ("relu", "activation")}
    conv: nn.Conv2d
    gn: nn.GroupNorm
    act: Activation | None

    def fit(self) -> None:
        same = self.gn.num_channels == self.conv.out_channels
        require(same, "gn must follow conv's channels")

    @property
    def in_channels(self) -> int:
        return self.conv.in_channels

    @property
    def out_channels(self) -> int:
        return self.conv.out_channels

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.gn(self.conv(x))
        return y if self.act is None else self.act(y)


class LearnedFactor(Block):
    """y = scale * x, one learned number."""

    origin = "fork Scale: a learned factor"
    aliases: ClassVar[Names] = {"scale": ("weight", "alpha", "gamma")}
    scale: nn.Parameter

    def fit(self) -> None:
        require(self.scale.numel() == 1, f"it must be one number, got {tuple(self.scale.shape)}")

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = x * self.scale
        return y


class SharedDetect(Detect):
    """A `Detect` whose levels pass a convolution of their own, then shared ones.

    For a level z = share_conv(conv[level](x)): boxes are scale[level](cv2(z)), classes cv3(z).
    Each part may be absent; `cv2` and `cv3` are shared or one for each level. Only the branch
    one2many exists. With group norm known as LSCD, lightweight shared convolutional detection.
    """

    origin = "fork detection head of shared convolutions (LSCD)"
    aliases: ClassVar[Names] = {
        "conv": ("stem", "stems", "conv_in", "proj", "convs", "cv1"),
        "share_conv": ("shared_conv", "share_convs", "shared_convs", "conv_share", "share"),
        "scale": ("scales",),
        "cv2": ("box_conv", "reg", "reg_pred", "bbox", "box", "conv_box"),
        "cv3": ("cls_conv", "cls", "cls_pred", "conv_cls"),
    }
    conv: nn.ModuleList | None
    share_conv: nn.Sequential | ConvLike | None
    scale: nn.ModuleList | None
    cv2: nn.ModuleList | nn.Sequential | nn.Conv2d  # type: ignore[assignment] # no list of levels
    cv3: nn.ModuleList | nn.Sequential | nn.Conv2d  # type: ignore[assignment]

    def fit(self) -> None:
        require(not self.has_one2one, "its branch one2one is not known")
        trunk = self.conv is not None or self.share_conv is not None
        require(trunk, "it must have convolutions before cv2 and cv3")
        for name, parts in (("conv", self.conv), ("scale", self.scale)):
            fits = parts is None or len(parts) == self.nl
            require(fits, f"{name} must have {self.nl} levels")
        scales = self.scale is None or all(isinstance(each, LearnedFactor) for each in self.scale)
        require(scales, "scale must be learned factors")
        for name, width in (("cv2", 4 * self.reg_max), ("cv3", self.nc)):
            part: nn.Module = getattr(self, name)
            levels = list(part) if isinstance(part, nn.ModuleList) else [part] * self.nl
            require(len(levels) == self.nl, f"{name} must have {self.nl} levels")
            self._require_last(name, levels, width)
        self._fit_common()

    def logits(
        self, features: Sequence[Tensor], branch: Branch = "one2many"
    ) -> tuple[list[Tensor], list[Tensor]]:
        if branch != "one2many":
            raise ValueError(f"this head has no {branch} branch")
        boxes, classes = [], []
        for level, x in enumerate(features):
            z = x if self.conv is None else self.conv[level](x)
            z = z if self.share_conv is None else self.share_conv(z)
            box, cls = _of_level(self.cv2, level)(z), _of_level(self.cv3, level)(z)
            boxes.append(box if self.scale is None else self.scale[level](box))
            classes.append(cls)
        return boxes, classes


def _of_level(part: nn.Module, level: int) -> nn.Module:
    return part[level] if isinstance(part, nn.ModuleList) else part
