"""Parallel branches under any names that add up to one convolution, as in RepVGG and RepGhost."""

from __future__ import annotations

from typing import Annotated, ClassVar

from torch import Tensor, nn

from ghost_deploy.models.activations import Activation
from ghost_deploy.models.block import require
from ghost_deploy.models.conv import Conv, ConvLike
from ghost_deploy.models.fields import one_of
from ghost_deploy.models.fold import add_norm, add_up, fold_bn, padding_of
from ghost_deploy.models.reparam import require_parallel


class RepSum(ConvLike):
    """y = act(b1(x) + b2(x) + ...); a branch is a convolution with batch norm, or a norm alone.

    Branches are `Conv` without activation, or a Sequential of `Conv2d` and `BatchNorm2d`. A norm
    alone, of which there may be one, needs a sum that keeps width and size. Training form; an
    export merges them (Ding et al. 2021, arXiv:2101.03697).
    """

    origin = "fork sum of parallel branches, re-parameterizable"
    free_children: ClassVar[bool] = True
    harmless = frozenset(
        {"c1", "c2", "g", "s", "k", "groups", "in_channels", "kernel_size", "stride", "dim"}
    )
    deploy: Annotated[bool, one_of(False)] = False
    infer_mode: Annotated[bool, one_of(False)] = False
    inference_mode: Annotated[bool, one_of(False)] = False
    fused: Annotated[bool, one_of(False)] = False
    mode: Annotated[str, one_of("train", "training", "rep")] = "train"

    def fit(self) -> None:
        self._branches: list[str] = []
        self._norm = self._act = ""
        for name, child in self.named_children():
            if isinstance(child, nn.BatchNorm2d):
                require(not self._norm, "it must have one norm without convolution at most")
                self._norm = name
            elif isinstance(child, Activation):
                require(not self._act, "it must have one activation at most")
                self._act = name
            else:
                self._fit_branch(name, child)
        require(bool(self._branches), "it must have a branch with a convolution")
        merged = [self.get_submodule(name) for name in self._branches if not self._norm]
        alone = len(merged) == 1 and type(merged[0]) is nn.Conv2d and merged[0].bias is not None
        several = len(self._branches) + bool(self._norm) > 1
        require(several or alone, "it must have two branches at least")
        # The widest first: the others are added in its middle.
        self._branches.sort(key=lambda name: -_conv(self.get_submodule(name)).weight.numel())
        wide = _conv(self.get_submodule(self._branches[0]))
        for name in self._branches[1:]:
            require_parallel(wide, _conv(self.get_submodule(name)))
        if self._norm:
            norm = self.get_submodule(self._norm)
            assert isinstance(norm, nn.BatchNorm2d)
            keeps = wide.in_channels == wide.out_channels == norm.num_features
            sides = zip(wide.kernel_size, padding_of(wide), strict=True)
            centred = all(kernel == 2 * padding + 1 for kernel, padding in sides)
            plain = set(wide.stride) == {1}
            require(keeps and centred and plain, "a norm alone must keep width and size")

    def _fit_branch(self, name: str, child: nn.Module) -> None:
        linear = isinstance(child, Conv) and isinstance(child.act, nn.Identity)
        kinds = [type(part) for part in child] if isinstance(child, nn.Sequential) else []
        pair = kinds in ([nn.Conv2d, nn.BatchNorm2d], [nn.Conv2d, nn.Identity])
        require(linear or pair or type(child) is nn.Conv2d, f"{name} is no branch")
        require(_conv(child).padding_mode == "zeros", "a branch must pad with zeros")
        self._branches.append(name)

    @property
    def in_channels(self) -> int:
        return _conv(self.get_submodule(self._branches[0])).in_channels

    @property
    def out_channels(self) -> int:
        return _conv(self.get_submodule(self._branches[0])).out_channels

    def forward(self, x: Tensor) -> Tensor:
        names = [*self._branches, *([self._norm] if self._norm else [])]
        y: Tensor = self.get_submodule(names[0])(x)
        for name in names[1:]:
            y = y + self.get_submodule(name)(x)
        return self.get_submodule(self._act)(y) if self._act else y

    def fold(self) -> None:
        merged, *others = (_merged(self.get_submodule(name)) for name in self._branches)
        for other in others:
            merged = add_up(merged, other)
        if self._norm:
            merged = add_norm(merged, self.get_submodule(self._norm))  # type: ignore[arg-type]
            delattr(self, self._norm)
        first, *rest = self._branches
        setattr(self, first, merged)
        for name in rest:
            delattr(self, name)
        self._branches, self._norm = [first], ""


def _conv(branch: nn.Module) -> nn.Conv2d:
    conv = branch.conv if isinstance(branch, Conv) else next(branch.modules())
    if isinstance(conv, nn.Sequential):
        conv = conv[0]
    assert isinstance(conv, nn.Conv2d)
    return conv


def _merged(branch: nn.Module) -> nn.Conv2d:
    """One convolution with bias of a branch."""
    if isinstance(branch, nn.Sequential) and isinstance(branch[1], nn.BatchNorm2d):
        folded = fold_bn(branch[0], branch[1])  # type: ignore[arg-type]
        assert isinstance(folded, nn.Conv2d)
        return folded
    if isinstance(branch, Conv):
        branch.fold()
    return _conv(branch)
