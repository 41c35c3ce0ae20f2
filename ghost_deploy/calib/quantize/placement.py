"""Where a graph is rounded to eight bits: by form, with a reason for every node that is not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from onnx import NodeProto

from ghost_deploy.calib.forms import Form, convention
from ghost_deploy.calib.graph.structure import Structure
from ghost_deploy.calib.quantize.roles import (
    int8_nodes,
    kept_float,
    reads_at_inputs,
    reads_at_outputs,
    reads_at_sources,
    why_float,
)
from ghost_deploy.calib.quantize.scale_groups import scale_groups
from ghost_deploy.core.errors import UsageError

__all__ = ["NAIVE", "Placement", "PlacementOptions", "default_options", "place"]

Choice: TypeAlias = Literal["int8", "float"]
Depthwise: TypeAlias = Literal["int8", "float", "deep"]
Scales: TypeAlias = Literal["shared", "apart"]


@dataclass(frozen=True)
class PlacementOptions:
    """What is rounded, and what shares a scale.

    Attributes:
        first_conv: the convolution that reads the image.
        entry: stride, in pixels of the input; the convolutions before the first one beyond it stay
            float. 0 is for none.
        depthwise: convolutions with one input channel a group; `deep` is int8 at a stride of
            `roles.DEEP` and beyond.
        head: the last convolutions and what follows them, except the graph's outputs.
        attention, gates: as `Structure` finds them.
        silu: self-gated activations between int8 nodes; only of forms that round outputs,
            the others compute them in float inside the convolution's kernel.
        ghost_concat: whether the primary half of a Ghost module has the scale of the
            concatenation or, where a convolution reads it, its own.
        concat: likewise for the inputs of all other concatenations.
        float_nodes: names of nodes that stay float whatever the rest says.
        per_channel: weights have one scale for each output channel, else one for the tensor.
    """

    first_conv: Choice = "int8"
    entry: int = 0
    depthwise: Depthwise = "int8"
    head: Choice = "float"
    attention: Choice = "float"
    gates: Choice = "float"
    silu: Choice = "int8"
    ghost_concat: Scales = "shared"
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
"""Everything rounded, one scale for each tensor of weights: what the care is measured against."""

_DEFAULTS: dict[Form, PlacementOptions] = {
    "tensorrt": PlacementOptions(first_conv="float", depthwise="float"),
    "openvino": PlacementOptions(),
    "ort-x86": PlacementOptions(first_conv="float", entry=8, depthwise="deep"),
    "ort-arm": PlacementOptions(first_conv="float", depthwise="float"),
}
"""What measured best on two trained Ghost networks (yolov8n-ghost, yolov8n-ghostnet).

ort-x86 (ONNX Runtime 1.32, AVX512-VNNI, yolov8n-ghost at 640, two threads): the large maps of few
channels at the entry take as long in int8 as in float, and their way back from float costs 1 ms of
19; a depthwise convolution takes four times as long in int8, but in small maps its way into float
and back takes longer. In two runs, of the fp32 time were needed, by the stride until which all is
float and the depthwise convolutions that are: 8 and all 0.70, 8 and the large 0.68, 4 and the large
0.70, 16 and all but the smallest 0.70, 8 and none 0.69; 2 and all 0.80.
tensorrt: float depthwise and first convolutions lose 0.1 and 0.4 points of mAP50-95 at 416, int8
ones 0.2 and 0.6; TensorRT's speed was not measured. openvino: its depthwise int8 kernels are
fast and lose nothing. ort-arm: as ort-x86, not measured.
"""


def default_options(form: Form) -> PlacementOptions:
    """The options of a form that measured best."""
    convention(form)
    return _DEFAULTS[form]


@dataclass(frozen=True)
class Placement:
    """Which tensors are rounded for whom.

    Attributes:
        form: that it was made for.
        reads: by tensor, the names of the nodes that read it rounded; all others read it as it is.
        groups: by tensor, the name of its group; tensors of one group have one scale.
        weights: names of the convolutions whose weights are rounded, in execution order.
        int8_nodes: names of all nodes that compute or move int8, in execution order.
        float_nodes: why each other node stays float, by name.
        requantized: places where int8 values must be brought to another scale before they are
            joined.
    """

    form: Form
    reads: Mapping[str, frozenset[str]]
    groups: Mapping[str, str]
    weights: tuple[str, ...]
    int8_nodes: tuple[str, ...]
    float_nodes: Mapping[str, str] = field(repr=False)
    requantized: int = 0


def place(structure: Structure, form: Form, options: PlacementOptions | None = None) -> Placement:
    """Decide for every node of `structure` whether it is int8, and which tensors are rounded.

    Raises:
        UsageError: there is no such form, or `float_nodes` names a node that is not there.
    """
    options = options or default_options(form)
    graph = structure.graph
    _check_names(options.float_nodes, graph.node)
    rounds = convention(form).rounds
    at_outputs = rounds == "outputs"
    kept = dict(kept_float(structure, options))
    int8 = int8_nodes(structure, options, kept, at_outputs=at_outputs)
    reads = (reads_at_outputs if at_outputs else reads_at_inputs)(structure, int8)
    groups = scale_groups(
        structure,
        reads,
        ghost_apart=options.ghost_concat == "apart",
        concat_apart=options.concat == "apart",
    )
    if rounds == "sources":
        reads = reads_at_sources(structure, reads, groups.by_tensor)
    return Placement(
        form=form,
        reads=reads,
        groups=groups.by_tensor,
        weights=tuple(name for name in structure.convs if name in int8),
        int8_nodes=tuple(node.name for node in graph.nodes if node.name in int8),
        float_nodes={
            node.name: kept.get(node.name) or why_float(structure, node)
            for node in graph.nodes
            if node.name not in int8
        },
        requantized=groups.requantized,
    )


def _check_names(names: frozenset[str], known: Mapping[str, NodeProto]) -> None:
    unknown = sorted(names - known.keys())
    if unknown:
        raise UsageError(
            "a node that should stay float is not in the graph",
            got=", ".join(unknown[:3]),
            expected=f"names such as {', '.join(list(known)[:3])}",
            fix="`Placement.float_nodes` and `Placement.int8_nodes` list the names",
        )
