"""Bottlenecks of forks over Ghost convolutions, with or without a shortcut child.

Whether `forward` adds its input is not in a file, unless an attribute or a child says so; nor is
the place of an attention. These definitions compete (`registry.RIVALS`).
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from ghost_deploy.models.activations import Activation
from ghost_deploy.models.block import Block, Names, require
from ghost_deploy.models.conv import ConvLike
from ghost_deploy.models.dry_run import DryRun
from ghost_deploy.models.feature_gate import FeatureGate
from ghost_deploy.models.fields import SHORTCUT_FLAGS, MisfitError, OptionalFlag

SHORTCUTS = ("shortcut", "downsample", "skip", "short", "residual", "res", "identity", "proj")
"""Names of the child through which the input is added."""

_PROBE = 32


class FreeBottleneck(Block):
    """y = g(body(x)) + x: body is all children in order, g an attention where present.

    A child named as in `SHORTCUTS` is applied to x; an activation beside the body to the sum,
    unless another definition is chosen.
    """

    origin = "fork bottleneck: body(x) + x"
    free_children: ClassVar[bool] = True
    adds: ClassVar[bool] = True
    harmless = frozenset({"c1", "c2", "c_", "k", "s", "stride", "in_channels", "out_channels"})
    aliases: ClassVar[Names] = {"add": SHORTCUT_FLAGS}
    add: OptionalFlag = None

    def fit(self) -> None:
        self._body: list[str] = []
        self._shortcut = self._gate = self._act = ""
        for name, child in self.named_children():
            if name in SHORTCUTS:
                self._shortcut = self._only(self._shortcut, name)
            elif isinstance(child, FeatureGate):
                self._gate = self._only(self._gate, name)
            elif isinstance(child, Activation) and not isinstance(child, nn.Identity):
                self._act = self._only(self._act, name)
            else:
                fits = isinstance(child, Block | nn.Sequential | nn.Identity | nn.Dropout)
                require(fits, f"{name} is a {type(child).__name__}")
                self._body.append(name)
        convs = [part for part in self.modules() if isinstance(part, ConvLike)]
        require(len(convs) > 1, "it must have two convolutions at least")
        self._fit_reading()

    def _only(self, known: str, name: str) -> str:
        require(not known, f"{known} and {name} have the same role")
        return name

    def _fit_reading(self) -> None:
        require(self.add is not False, "its attribute says that it does not add")
        self._require_sum()

    def _require_sum(self) -> None:
        probe, y = self._probe()
        x = self._run_shortcut(probe)
        require(x.shape == y.shape, "its input has another shape than its output")

    def _probe(self) -> tuple[Tensor, Tensor]:
        """An input without memory, and the output of the body."""
        first = next(part for part in self.modules() if isinstance(part, ConvLike))
        x = torch.empty((1, first.in_channels, _PROBE, _PROBE), device="meta")
        try:
            with DryRun():
                return x, self._run_body(x)
        except Exception as error:  # any operator may refuse the shapes
            raise MisfitError(f"its parts do not follow each other: {error}") from error

    def forward(self, x: Tensor) -> Tensor:
        y = self._gated(self._run_body(x))
        return self._activated(y + self._run_shortcut(x) if self.adds else y)

    def _run_body(self, x: Tensor) -> Tensor:
        for name in self._body:
            x = self.get_submodule(name)(x)
        return x

    def _run_shortcut(self, x: Tensor) -> Tensor:
        y: Tensor = self.get_submodule(self._shortcut)(x) if self._shortcut else x
        return y

    def _gated(self, x: Tensor) -> Tensor:
        y: Tensor = self.get_submodule(self._gate)(x) if self._gate else x
        return y

    def _activated(self, x: Tensor) -> Tensor:
        y: Tensor = self.get_submodule(self._act)(x) if self._act else x
        return y


class ShortcutBottleneck(FreeBottleneck):
    """y = body(x) + shortcut(x), with a shortcut child and without attention."""

    origin = "fork bottleneck: body(x) + shortcut(x)"

    def _fit_reading(self) -> None:
        super()._fit_reading()
        require(bool(self._shortcut), "it has no shortcut child")
        beside = self._gate or self._act
        require(not beside, "it has an attention or activation beside its body")


class UnflaggedBottleneck(FreeBottleneck):
    """y = body(x) + shortcut(x), although an attribute says otherwise."""

    origin = "fork bottleneck: body(x) + shortcut(x), its attribute is not used"

    def _fit_reading(self) -> None:
        require(self.add is False and bool(self._shortcut), "no attribute contradicts a shortcut")
        self._require_sum()


class FlaggedBottleneck(FreeBottleneck):
    """y = g(body(x)) + x, because an attribute says so."""

    origin = "fork bottleneck: body(x) + x, as its attribute says"

    def _fit_reading(self) -> None:
        super()._fit_reading()
        require(self.add is True and not self._gate, "no attribute says that it adds")


class FreeBottleneckNoAddition(FreeBottleneck):
    """y = g(body(x))."""

    origin = "fork bottleneck: body(x), without addition"
    adds: ClassVar[bool] = False

    def _fit_reading(self) -> None:
        require(self.add is not True, "its attribute says that it adds")
        used = self._shortcut and list(self.get_submodule(self._shortcut).parameters())
        require(not used, "its shortcut has weights, so it is used")
        self._probe()


class FreeBottleneckGateLast(FreeBottleneck):
    """y = g(body(x) + x)."""

    origin = "fork bottleneck: attention after the addition"

    def _fit_reading(self) -> None:
        super()._fit_reading()
        require(bool(self._gate), "it has no attention")

    def forward(self, x: Tensor) -> Tensor:
        return self._gated(self._activated(self._run_body(x) + self._run_shortcut(x)))


class FreeBottleneckGateFirst(FreeBottleneck):
    """y = body(g(x)) + x."""

    origin = "fork bottleneck: attention on the input of the body"

    def _fit_reading(self) -> None:
        super()._fit_reading()
        require(bool(self._gate), "it has no attention")

    def forward(self, x: Tensor) -> Tensor:
        return self._activated(self._run_body(self._gated(x)) + self._run_shortcut(x))


class _ActElsewhere(FreeBottleneck):
    def _fit_reading(self) -> None:
        super()._fit_reading()
        require(bool(self._act), "it has no activation beside its body")


class FreeBottleneckActBody(_ActElsewhere):
    """y = act(g(body(x))) + x."""

    origin = "fork bottleneck: act(body(x)) + x"

    def forward(self, x: Tensor) -> Tensor:
        return self._activated(self._gated(self._run_body(x))) + self._run_shortcut(x)


class FreeBottleneckActUnused(_ActElsewhere):
    """y = g(body(x)) + x, the activation is not used."""

    origin = "fork bottleneck: body(x) + x, its activation is not used"

    def forward(self, x: Tensor) -> Tensor:
        return self._gated(self._run_body(x)) + self._run_shortcut(x)


class NoAdditionActUnused(FreeBottleneckNoAddition):
    """y = g(body(x)), the activation is not used."""

    origin = "fork bottleneck: body(x), without addition, its activation is not used"

    def _fit_reading(self) -> None:
        super()._fit_reading()
        require(bool(self._act), "it has no activation beside its body")

    def forward(self, x: Tensor) -> Tensor:
        return self._gated(self._run_body(x))
