"""Ghost convolutions of forks, under any names of their children.

Two convolutions are found by their classes: the second is depthwise and follows the first. Each is
a `Conv`, a Sequential, or a pair of convolution and batch norm beside each other; an activation and
an attention may stand beside them. What `forward` does with the last two and in which order it
joins the halves is not in a file: these definitions compete (`registry.RIVALS`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, ClassVar

import torch
from torch import Tensor, nn

from ghost_deploy.models.activations import Activation
from ghost_deploy.models.block import require
from ghost_deploy.models.conv import Conv, ConvLike
from ghost_deploy.models.feature_gate import FeatureGate, leaves
from ghost_deploy.models.fields import MAX_CHANNELS, integer
from ghost_deploy.models.fold import fold_bn
from ghost_deploy.models.rep_sum import RepSum


@dataclass
class ConvUnit:
    """A convolution and what follows it, by the names of the children that run in succession.

    Attributes:
        parts: the names. in_channels, out_channels: widths. depthwise: one input channel a group.
        normed: whether it has a batch norm, or is a block with one.
        linear: whether it ends without an activation of its own.
    """

    parts: list[str]
    in_channels: int
    out_channels: int
    depthwise: bool
    normed: bool = True
    linear: bool = True
    pairs: list[tuple[str, str]] = field(default_factory=list)


class FreeGhostConv(ConvLike):
    """y = primary(x); g(act(cat(y, cheap(y)))), the attention g and act where present."""

    origin = "fork Ghost convolution: cat(y, cheap(y)), then activation and attention if any"
    free_children: ClassVar[bool] = True
    harmless = frozenset(
        {"c1", "c2", "c_", "k", "s", "ratio", "dw_size", "inp", "init_channels", "new_channels"}
    )
    oup: Annotated[int, integer(0, MAX_CHANNELS)] = 0

    def fit(self) -> None:
        self._act = self._gate = ""
        units: list[ConvUnit] = []
        for name, child in self.named_children():
            if isinstance(child, FeatureGate):
                require(not self._gate, "it must have one attention at most")
                self._gate = name
            elif isinstance(child, nn.Identity | nn.Dropout):
                continue
            elif isinstance(child, Activation):
                require(not self._act, "it must have one activation beside its convolutions")
                self._act = name
            elif isinstance(child, nn.BatchNorm2d):
                _attach(units, name, child)
            else:
                units.append(_unit(name, child))
        require(len(units) == 2, f"it must have two convolutions, got {len(units)}")
        self._primary, self._cheap = units
        follows = self._cheap.in_channels == self._primary.out_channels
        require(follows and self._cheap.depthwise, "the second must be depthwise over the first")
        require(all(unit.normed for unit in units), "its convolutions must have batch norms")
        made = self._primary.out_channels + self._cheap.out_channels
        require(self.oup <= made, f"oup is {self.oup}, but there are {made} channels")
        self._fit_reading()

    def _fit_reading(self) -> None:
        self._require_gate_width(self.out_channels)

    def _require_gate_width(self, width: int) -> None:
        gate = self.get_submodule(self._gate) if self._gate else None
        if isinstance(gate, FeatureGate) and gate.width is not None:
            require(gate.width == width, f"its attention takes {gate.width} channels, not {width}")

    @property
    def in_channels(self) -> int:
        return self._primary.in_channels

    @property
    def out_channels(self) -> int:
        return self.oup or self._primary.out_channels + self._cheap.out_channels

    def forward(self, x: Tensor) -> Tensor:
        y = self._run(self._primary, x)
        return self._gated(self._activated(self._joined(y, self._run(self._cheap, y))))

    def _run(self, unit: ConvUnit, x: Tensor) -> Tensor:
        for name in unit.parts:
            x = self.get_submodule(name)(x)
        return x

    def _joined(self, y: Tensor, z: Tensor) -> Tensor:
        joined = torch.cat((y, z), 1)
        made = self._primary.out_channels + self._cheap.out_channels
        return joined if self.oup in (0, made) else joined[:, : self.oup]

    def _activated(self, x: Tensor) -> Tensor:
        y: Tensor = self.get_submodule(self._act)(x) if self._act else x
        return y

    def _gated(self, x: Tensor) -> Tensor:
        y: Tensor = self.get_submodule(self._gate)(x) if self._gate else x
        return y

    def fold(self) -> None:
        for unit in (self._primary, self._cheap):
            for conv_name, bn_name in unit.pairs:
                conv, bn = self.get_submodule(conv_name), self.get_submodule(bn_name)
                if isinstance(bn, nn.BatchNorm2d):
                    setattr(self, conv_name, fold_bn(conv, bn))  # type: ignore[arg-type]
                    setattr(self, bn_name, nn.Identity())


class FreeGhostExchanged(FreeGhostConv):
    """y = primary(x); g(act(cat(cheap(y), y)))."""

    origin = "fork Ghost convolution: cat(cheap(y), y), the cheap half first"

    def _joined(self, y: Tensor, z: Tensor) -> Tensor:
        return super()._joined(z, y)


class FreeGhostActEach(FreeGhostConv):
    """y = act(primary(x)); g(cat(y, act(cheap(y))))."""

    origin = "fork Ghost convolution: the activation after each half"

    def _fit_reading(self) -> None:
        super()._fit_reading()
        linear = self._primary.linear and self._cheap.linear
        require(bool(self._act) and linear, "it has no activation beside its convolutions")

    def forward(self, x: Tensor) -> Tensor:
        y = self._activated(self._run(self._primary, x))
        return self._gated(self._joined(y, self._activated(self._run(self._cheap, y))))


class _GateInside(FreeGhostConv):
    def _fit_reading(self) -> None:
        require(bool(self._gate), "it has no attention")
        require(not self._act, "it has an activation beside its convolutions")


class FreeGhostGatePrimary(_GateInside):
    """y = g(primary(x)); cat(y, cheap(y))."""

    origin = "fork Ghost convolution: attention after the primary half, before the cheap one"

    def _fit_reading(self) -> None:
        super()._fit_reading()
        self._require_gate_width(self._primary.out_channels)

    def forward(self, x: Tensor) -> Tensor:
        y = self._gated(self._run(self._primary, x))
        return self._joined(y, self._run(self._cheap, y))


class FreeGhostGateBeside(FreeGhostGatePrimary):
    """y = primary(x); cat(g(y), cheap(y))."""

    origin = "fork Ghost convolution: attention on the primary half of the result alone"

    def forward(self, x: Tensor) -> Tensor:
        y = self._run(self._primary, x)
        return self._joined(self._gated(y), self._run(self._cheap, y))


class FreeGhostGateCheap(_GateInside):
    """y = primary(x); cat(y, g(cheap(y)))."""

    origin = "fork Ghost convolution: attention on the cheap half alone"

    def _fit_reading(self) -> None:
        super()._fit_reading()
        self._require_gate_width(self._cheap.out_channels)

    def forward(self, x: Tensor) -> Tensor:
        y = self._run(self._primary, x)
        return self._joined(y, self._gated(self._run(self._cheap, y)))


class FreeGhostGateInput(_GateInside):
    """y = primary(g(x)); cat(y, cheap(y))."""

    origin = "fork Ghost convolution: attention on the input"

    def _fit_reading(self) -> None:
        super()._fit_reading()
        self._require_gate_width(self.in_channels)

    def forward(self, x: Tensor) -> Tensor:
        y = self._run(self._primary, self._gated(x))
        return self._joined(y, self._run(self._cheap, y))


def _unit(name: str, child: nn.Module) -> ConvUnit:
    """The unit of a child; raises `MisfitError` if it is no convolution."""
    if isinstance(child, Conv | RepSum):
        conv, linear = child, _is_linear(child)
    elif isinstance(child, nn.Conv2d):
        normed = child.bias is not None
        return ConvUnit([name], *_widths(child), normed=normed)
    else:
        parts = [leaf for _, leaf in leaves(child)] if isinstance(child, nn.Sequential) else []
        parts = [part for part in parts if not isinstance(part, nn.Dropout)]
        if len(parts) == 1 and isinstance(parts[0], Conv | RepSum):
            return _unit(name, parts[0])
        kinds = [type(part).__name__ for part in parts]
        is_pair = len(parts) in (2, 3) and isinstance(parts[0], nn.Conv2d)
        norm = is_pair and isinstance(parts[1], nn.BatchNorm2d | nn.Identity)
        ends = is_pair and all(isinstance(part, Activation) for part in parts[2:])
        fused = is_pair and len(parts) == 2 and isinstance(parts[1], Activation)
        require(bool((norm and ends) or fused), f"{name} must be a convolution, got {kinds}")
        conv = parts[0]  # type: ignore[assignment]
        linear = all(isinstance(part, nn.Identity | nn.BatchNorm2d) for part in parts[1:])
        if isinstance(parts[1], nn.Identity) or fused:
            require(parts[0].bias is not None, f"{name} must have a batch norm")
    return ConvUnit([name], *_widths(conv), linear=linear)


def _is_linear(unit: Conv | RepSum) -> bool:
    acts = [part for part in unit.children() if isinstance(part, Activation)]
    return all(isinstance(act, nn.Identity) for act in acts)


def _widths(conv: nn.Module) -> tuple[int, int, bool]:
    """(input channels, output channels, whether depthwise)."""
    raw = conv
    if not isinstance(raw, nn.Conv2d):
        raw = next(part for part in conv.modules() if isinstance(part, nn.Conv2d))
    return raw.in_channels, raw.out_channels, raw.groups == raw.in_channels


def _attach(units: list[ConvUnit], name: str, norm: nn.BatchNorm2d) -> None:
    """Let a batch norm follow the first convolution without one."""
    bare = [unit for unit in units if not unit.normed]
    require(bool(bare), f"{name} follows no convolution")
    same = bare[0].out_channels == norm.num_features
    require(same, f"{name} must follow the channels of {bare[0].parts[0]}")
    bare[0].pairs.append((bare[0].parts[0], name))
    bare[0].parts.append(name)
    bare[0].normed = True
