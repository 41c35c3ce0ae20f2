"""Scale and zero point of every quantized tensor, from its statistics."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ghost_deploy.calib.graph.structure import Structure
from ghost_deploy.calib.quantize.conventions import Convention
from ghost_deploy.calib.quantize.placement import Placement
from ghost_deploy.calib.ranges.histogram import TensorStatistics
from ghost_deploy.calib.ranges.methods import Method, Range, activation_range
from ghost_deploy.core.errors import InputError
from ghost_deploy.core.spec import InputSpec

_SHARES = np.linspace(1.0, 0.02, 50)
"""Shares of the minimum that are tried as the lower end in front of a self-gated activation."""

_SIGMOID_RANGE = (0.0, 1.0)

_SMALLEST = 2.0**-24
"""Smallest scale; a tensor of zeros has no other. It is float16's smallest number, too."""


@dataclass(frozen=True)
class QuantParams:
    """Quantization of a tensor: real = scale * (level - zero_point).

    Attributes:
        scale: above 0, exactly a float32.
        zero_point: the level of 0.
        signed: levels are s8, else u8.
    """

    scale: float
    zero_point: int
    signed: bool

    @classmethod
    def of(cls, low: float, high: float, how: Convention) -> QuantParams:
        """Levels spread over a range.

        Args:
            low: lower end, at most 0.
            high: upper end, at least 0.
            how: what the kernels accept.
        """
        if how.symmetric:
            scale = np.float32(max(-low, high, 127 * _SMALLEST) / 127)
            return cls(float(scale), 0, how.signed)
        scale = np.float32(max(high - low, 255 * _SMALLEST) / 255)
        level = int(np.clip(np.rint(-low / float(scale)), 0, 255))
        return cls(float(scale), level - 128 if how.signed else level, how.signed)


def input_range(spec: InputSpec) -> dict[str, Range]:
    """The exact range of the graph's input by its name; empty for one that takes pixels."""
    if spec.embedded:
        return {}
    ends = [
        (pixel / spec.divisor - mean) / std
        for pixel in (0, 255)
        for mean, std in zip(spec.mean, spec.std, strict=True)
    ]
    return {spec.name: (min(ends), max(ends))}


def activation_scales(
    structure: Structure,
    placement: Placement,
    statistics: Mapping[str, TensorStatistics],
    *,
    method: Method,
    ranges: Mapping[str, Range] | None = None,
) -> dict[str, QuantParams]:
    """The quantization of every tensor that `placement` quantizes, in its order.

    The range of a group is the smallest that contains the ranges of its members. In front of a
    self-gated activation x * sigmoid(x) of quantized values, the lower end minimizes the squared
    error of its result: x far below zero gives about zero.

    Args:
        structure: of the float graph.
        placement: of that graph.
        statistics: of those tensors and the members of their groups, by tensor.
        method: of choosing a range, as in `activation_range`.
        ranges: (low, high) by tensor, used unchanged.

    Raises:
        InputError: a tensor has no statistics.
    """
    how = placement.convention
    chosen = dict(ranges or {})
    nodes = structure.graph.node
    gated = {x for name, (x, _) in structure.silus.items() if nodes[name].op_type == "Sigmoid"}
    sigmoids = {nodes[name].output[0] for name in structure.silus}
    spans: dict[str, Range] = {}
    for name in placement.groups:
        if name in chosen:
            span = chosen[name]
        elif name in sigmoids and name in placement.reads:
            span = _SIGMOID_RANGE
        elif name not in statistics:
            raise InputError(
                f"the statistics lack {name}, a tensor that is quantized",
                fix="Collect the statistics of the same model",
            )
        else:
            span = activation_range(statistics[name], method, symmetric=how.symmetric)
            if name in gated and how.rounds == "outputs":
                span = _before_gate(statistics[name], span)
        low, high = spans.get(placement.groups[name], (0.0, 0.0))
        spans[placement.groups[name]] = (min(low, span[0]), max(high, span[1]))
    return {name: QuantParams.of(*spans[placement.groups[name]], how) for name in placement.reads}


def _before_gate(stats: TensorStatistics, span: Range) -> Range:
    """`span` with the lower end that gives the smallest squared error of x * sigmoid(x)."""
    x, counts = stats.filled()
    wanted = _gated(x)

    def error(low: float) -> float:
        scale = max(span[1] - low, _SMALLEST) / 255
        levels = np.rint(np.clip(x, low, span[1]) / scale)
        return float(np.square(_gated(levels * scale) - wanted) @ counts)

    return float(min(min(stats.minimum, 0.0) * _SHARES, key=error)), span[1]


def _gated(x: NDArray[np.float64]) -> NDArray[np.float64]:
    result: NDArray[np.float64] = x / (1 + np.exp(-x))
    return result
