"""Which tensors of a graph are quantized, and why each float node stays float."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from onnx import NodeProto

from ghost_deploy.calib.graph.structure import Structure
from ghost_deploy.calib.quantize.conventions import Convention, PlacementOptions
from ghost_deploy.calib.quantize.roles import (
    ghost_primaries,
    int8_nodes,
    kept_float,
    reads_at_inputs,
    reads_at_outputs,
    reads_at_sources,
    why_float,
)
from ghost_deploy.calib.quantize.scale_groups import ScaleGroups, scale_groups
from ghost_deploy.core.errors import UsageError


@dataclass(frozen=True)
class Placement:
    """Which tensors are quantized, for which readers.

    Attributes:
        convention: of the form that it is for.
        reads: by quantized tensor, the names of the nodes that read it quantized; all others read
            the float tensor.
        groups: by tensor, the name of its group; tensors of one group share one scale.
        weights: names of the convolutions with int8 weights, in execution order.
        int8_nodes: names of all nodes that compute or move int8, in execution order.
        float_nodes: why each other node stays float, by name.
        requantized: number of inputs of concatenations that are converted to another scale.
    """

    convention: Convention
    reads: Mapping[str, frozenset[str]]
    groups: Mapping[str, str]
    weights: tuple[str, ...]
    int8_nodes: tuple[str, ...]
    float_nodes: Mapping[str, str] = field(repr=False)
    requantized: int = 0


def place(structure: Structure, convention: Convention, options: PlacementOptions) -> Placement:
    """Decide which nodes of `structure` are int8 and which tensors are quantized.

    Args:
        structure: of the float graph.
        convention: of the form.
        options: what may be int8.

    Raises:
        UsageError: `float_nodes` names a node that the graph does not have.
    """
    graph = structure.graph
    _check_names(options.float_nodes, graph.node)
    at_outputs = convention.rounds == "outputs"
    kept = dict(kept_float(structure, options))
    int8 = int8_nodes(structure, options, kept, at_outputs=at_outputs)
    if convention.convolutions_only:
        int8 = int8.intersection(structure.convs)
    reads = (reads_at_outputs if at_outputs else reads_at_inputs)(structure, int8)
    if options.ghost_primary == "int8" and convention.rounds == "inputs":
        reads = {**reads, **ghost_primaries(structure, int8)}
    if convention.convolutions_only:
        groups = ScaleGroups({name: name for name in reads}, 0)
    else:
        groups = scale_groups(
            structure,
            reads,
            ghost_apart=options.ghost_concat == "apart",
            concat_apart=options.concat == "apart",
        )
    if convention.rounds == "sources":
        reads = reads_at_sources(structure, reads, groups.by_tensor)
    return Placement(
        convention=convention,
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
            "a node named in `float_nodes` is not in the graph",
            got=", ".join(unknown[:3]),
            expected=f"names such as {', '.join(list(known)[:3])}",
            fix="`Placement.float_nodes` and `Placement.int8_nodes` list the names",
        )
