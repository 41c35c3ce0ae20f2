"""What the int8 kernels of a form accept, and which parts of a graph are quantized."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

Choice: TypeAlias = Literal["int8", "float"]
Depthwise: TypeAlias = Literal["int8", "float", "deep"]
Scales: TypeAlias = Literal["shared", "apart"]


@dataclass(frozen=True, kw_only=True)
class Convention:
    """What the kernels of a form accept.

    Attributes:
        form: its name, written into the file.
        signed: activations are s8, else u8.
        symmetric: their zero point is 0: a range is widened to (-a, a).
        rounds: where activations are quantized: at the `inputs` of int8 nodes; at their `sources`,
            before anything that only moves or joins values; or at the `outputs` of int8 nodes,
            the input of the first one included.
        int32_bias: biases are stored as int32 behind a DequantizeLinear.
        stored_weights: weights are stored as int8 behind a DequantizeLinear, else as float32
            in front of Q and DQ.
        overflow_guard: scales of weights are enlarged until no pair of products overflows on an
            x86 processor without VNNI, see `calib.quantize.overflow`.
        convolutions_only: nothing but convolutions computes in int8, each from a float input that
            it rounds on a scale of its own.
    """

    form: str
    signed: bool
    symmetric: bool
    rounds: Literal["inputs", "sources", "outputs"]
    int32_bias: bool
    stored_weights: bool
    overflow_guard: bool = False
    convolutions_only: bool = False


@dataclass(frozen=True)
class PlacementOptions:
    """Which nodes are int8, and which tensors share a scale.

    Attributes:
        first_conv: the convolution that reads the image.
        entry: stride, in pixels of the input; the convolutions before the first one of a larger
            stride stay float. 0 disables this.
        depthwise: convolutions with one input channel a group; `deep` is int8 from a stride of
            `roles.DEEP` on.
        head: the last convolutions and what follows them, except the graph's outputs.
        attention, gates: as in `Structure`.
        ghost_concat: whether the primary half of a Ghost module shares the scale of the
            concatenation or, where a convolution reads it, has its own.
        concat: likewise for the inputs of all other concatenations.
        ghost_primary: the primary half of a Ghost module: `int8` quantizes it once for all its
            readers, a float depthwise convolution included; `float` for its int8 readers only.
            For forms that quantize inputs.
        float_nodes: names of nodes that stay float regardless of the other options.
        per_channel: weights have one scale for each output channel, else one for the tensor.
    """

    first_conv: Choice = "int8"
    entry: int = 0
    depthwise: Depthwise = "int8"
    head: Choice = "float"
    attention: Choice = "float"
    gates: Choice = "float"
    ghost_concat: Scales = "shared"
    ghost_primary: Choice = "float"
    concat: Scales = "shared"
    float_nodes: frozenset[str] = frozenset()
    per_channel: bool = True


NAIVE = PlacementOptions(
    head="int8",
    attention="int8",
    gates="int8",
    ghost_concat="apart",
    concat="apart",
    per_channel=False,
)
"""Everything quantized, one scale for each weight tensor: the baseline of the benchmarks, and the
last recipe of NCNN, where all kernels are exact and it loses little."""
