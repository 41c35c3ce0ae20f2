"""Activations that forks define as classes of their own."""

from __future__ import annotations

from typing import Annotated, ClassVar, TypeAlias

from torch import Tensor, nn
from torch.nn import functional

from ghost_deploy.models.block import Block, Names
from ghost_deploy.models.fields import number


class HSigmoid(Block):
    """y = relu6(x + 3) / 6."""

    origin = "fork h_sigmoid: relu6(x + 3) / 6"
    harmless = frozenset({"inplace"})
    aliases: ClassVar[Names] = {"relu": ("relu6", "act")}
    relu: nn.ReLU6 | None

    def forward(self, x: Tensor) -> Tensor:
        return functional.hardsigmoid(x)


class HSwish(Block):
    """y = x * relu6(x + 3) / 6."""

    origin = "fork h_swish: x * relu6(x + 3) / 6"
    harmless = frozenset({"inplace"})
    aliases: ClassVar[Names] = {"sigmoid": ("hsigmoid", "h_sigmoid", "act", "relu", "relu6")}
    sigmoid: HSigmoid | nn.Hardsigmoid | nn.ReLU6 | None

    def forward(self, x: Tensor) -> Tensor:
        return functional.hardswish(x)


class Swish(Block):
    """y = x * sigmoid(x)."""

    origin = "fork Swish: x * sigmoid(x)"
    harmless = frozenset({"inplace"})
    aliases: ClassVar[Names] = {"sigmoid": ("act",)}
    sigmoid: nn.Sigmoid | None
    beta: Annotated[float, number(1.0, 1.0)] = 1.0

    def forward(self, x: Tensor) -> Tensor:
        return functional.silu(x)


class MishFunction(Block):
    """y = x * tanh(softplus(x))."""

    origin = "fork Mish: x * tanh(softplus(x))"
    harmless = frozenset({"inplace"})
    beta: Annotated[float, number(1.0, 1.0)] = 1.0

    def forward(self, x: Tensor) -> Tensor:
        return functional.mish(x)


Gate: TypeAlias = nn.Sigmoid | nn.Hardsigmoid | HSigmoid
"""What turns weights into factors from 0 to 1."""

Activation: TypeAlias = (
    nn.SiLU
    | nn.ReLU
    | nn.ReLU6
    | nn.Hardswish
    | nn.LeakyReLU
    | nn.PReLU
    | nn.ELU
    | nn.SELU
    | nn.CELU
    | nn.GELU
    | nn.Mish
    | nn.Softplus
    | nn.Hardtanh
    | nn.Sigmoid
    | nn.Hardsigmoid
    | nn.Tanh
    | nn.Identity
    | HSigmoid
    | HSwish
    | Swish
    | MishFunction
)
"""What may follow a convolution: a function of each element."""
