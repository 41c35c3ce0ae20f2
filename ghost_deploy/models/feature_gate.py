"""Attention that weighs a map: squeeze and excitation, efficient channel attention, and others.

All blocks here keep the shape of their input and multiply it by factors computed from it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from torch import Tensor, nn

from ghost_deploy.models.activations import Activation, Gate
from ghost_deploy.models.block import Block, require


class FeatureGate(Block):
    """y = x * g(x), of the shape of x."""

    @property
    def width(self) -> int | None:
        """Channels of the map; None if it takes any number."""
        return None


class FreeGate(FeatureGate):
    """A gate whose children are found by their classes, because forks name them freely."""

    free_children: ClassVar[bool] = True

    def sort_children(self, kind: type | tuple[type, ...]) -> tuple[list[str], str, str]:
        """Return the names of the layers of `kind`, and of activation and gate, which may be "".

        Raises:
            MisfitError: there are other layers, or several activations or gates.
        """
        layers, activations, gates = [], [], []
        for name, leaf in leaves(self):
            if isinstance(leaf, kind):
                layers.append(name)
            elif isinstance(leaf, Gate):
                gates.append(name)
            elif isinstance(leaf, nn.AdaptiveAvgPool2d):
                require(leaf.output_size in (1, (1, 1)), f"{name} must pool to one cell")
            elif isinstance(leaf, Activation):
                activations += [name] * (not isinstance(leaf, nn.Identity))
            else:
                require(isinstance(leaf, nn.Dropout), f"{name} is a {type(leaf).__name__}")
        few = len(activations) <= 1 and len(gates) <= 1
        require(few, "it must have one activation and one gate at most")
        return layers, "".join(activations), "".join(gates)

    def gate(self, name: str, factors: Tensor) -> Tensor:
        """Apply the gate of that name; a sigmoid if it has none."""
        y: Tensor = self.get_submodule(name)(factors) if name else factors.sigmoid()
        return y


class ChannelExcitation(FreeGate):
    """y = x * gate(fc2(act(fc1(mean of x)))), fc1 and fc2 linear or 1x1 convolutions.

    Squeeze and excitation (Hu et al. 2018, arXiv:1709.01507).
    """

    origin = "squeeze and excitation of two layers"
    harmless = frozenset({"channel", "channels", "reduction", "ratio", "c1", "c2"})

    def fit(self) -> None:
        layers, self._act, self._gate = self.sort_children((nn.Linear, nn.Conv2d))
        require(len(layers) == 2, f"it must have two layers, got {layers}")
        self._first, self._second = layers
        first, second = (widths_of(self.get_submodule(name)) for name in layers)
        require(first == second[::-1], "its two layers must lead back to the width")
        self._width = first[0]
        require(bool(self._act), "it must have an activation between its layers")

    @property
    def width(self) -> int | None:
        return self._width

    def forward(self, x: Tensor) -> Tensor:
        y = self.get_submodule(self._act)(self._layer(self._first, x.mean((2, 3), keepdim=True)))
        return x * self.gate(self._gate, self._layer(self._second, y))

    def _layer(self, name: str, x: Tensor) -> Tensor:
        layer = self.get_submodule(name)
        if isinstance(layer, nn.Linear):
            return layer(x.flatten(1)).unsqueeze(2).unsqueeze(3)  # type: ignore[no-any-return]
        y: Tensor = layer(x)
        return y


class ChannelConvGate(FreeGate):
    """y = x * gate(conv(mean of x)), a convolution over neighboring channels.

    Efficient channel attention (Wang et al. 2020, ECA-Net, arXiv:1910.03151).
    """

    origin = "efficient channel attention (ECA)"
    harmless = frozenset({"channel", "channels", "k_size", "kernel_size", "k", "b", "gamma", "c1"})

    def fit(self) -> None:
        layers, act, self._gate = self.sort_children(nn.Conv1d)
        require(len(layers) == 1 and not act, "it must have one Conv1d and no activation")
        self._conv = layers[0]
        conv = self.get_submodule(self._conv)
        assert isinstance(conv, nn.Conv1d)
        side = conv.padding[0] if isinstance(conv.padding, tuple) else conv.padding
        centred = side == "same" or conv.kernel_size[0] == 2 * int(side) + 1
        plain = conv.in_channels == conv.out_channels == 1 and conv.stride == (1,)
        require(plain and centred, "its convolution must keep the number of channels")

    def forward(self, x: Tensor) -> Tensor:
        mean = x.mean((2, 3)).unsqueeze(1)
        y = self.get_submodule(self._conv)(mean).squeeze(1).unsqueeze(2).unsqueeze(3)
        return x * self.gate(self._gate, y)


def leaves(module: nn.Module, prefix: str = "") -> Iterator[tuple[str, nn.Module]]:
    """Yield (name, layer) below a module in order of registration, through Sequential only."""
    for name, child in module.named_children():
        if type(child) is nn.Sequential:
            yield from leaves(child, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", child


def widths_of(layer: nn.Module) -> tuple[int, int]:
    """Return (input, output) channels of a linear layer or 1x1 convolution.

    Raises:
        MisfitError: it is another convolution.
    """
    if isinstance(layer, nn.Linear):
        return layer.in_features, layer.out_features
    assert isinstance(layer, nn.Conv2d)
    plain = layer.kernel_size == (1, 1) and layer.groups == 1 and layer.stride == (1, 1)
    require(plain, "its convolutions must be 1x1")
    return layer.in_channels, layer.out_channels
