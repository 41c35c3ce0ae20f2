"""The role of each node of a graph under given options: int8, or float with a reason."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from onnx import NodeProto

from ghost_deploy.calib.graph.structure import ConvInfo, Structure
from ghost_deploy.calib.quantize.conventions import PlacementOptions

DEEP = 16
"""Stride from which on depthwise convolutions are `deep`."""

_COMPUTING = frozenset({"Add", "AveragePool", "GlobalAveragePool", "MatMul", "Mul", "Sigmoid"})
"""Operators besides convolutions that runtimes compute in int8."""

_ROUNDING = frozenset({"Conv", "MaxPool", "Resize"})
"""Other operators whose inputs are quantized, where activations are quantized at inputs."""

_FOLDED = ("relu", "clip")
"""Activation functions that the output range of the convolution implements, so that no pair
stands between the two."""


def kept_float(structure: Structure, options: PlacementOptions) -> Iterator[tuple[str, str]]:
    """(name, reason) of the nodes that the options keep float; earlier reasons take precedence."""
    wanted = dict.fromkeys(sorted(options.float_nodes), "named in float_nodes")
    if options.head == "float":
        wanted.update(
            (name, "last convolution of the head, or behind it") for name in structure.head
        )
    if options.attention == "float":
        wanted.update((name, "attention block") for name in structure.attention)
    if options.gates == "float":
        wanted.update((name, "gate of a product") for name in structure.gates)
    entry = structure.entry(options.entry) if options.entry else frozenset()
    for conv in structure.convs.values():
        if conv.kind == "first" and options.first_conv == "float":
            wanted.setdefault(conv.name, "first convolution")
        if conv.name in entry:
            wanted.setdefault(conv.name, f"before stride {2 * options.entry}")
        if conv.kind == "depthwise" and _stays_float(conv, options):
            wanted.setdefault(conv.name, "depthwise convolution")
    yield from wanted.items()


def _stays_float(depthwise: ConvInfo, options: PlacementOptions) -> bool:
    if options.depthwise == "deep":
        return depthwise.stride < DEEP
    return options.depthwise == "float"


def int8_nodes(
    structure: Structure, options: PlacementOptions, kept: Collection[str], *, at_outputs: bool
) -> frozenset[str]:
    """Names of the nodes that compute or move int8.

    All convolutions that are not kept float; and nodes between them whose result an int8 node
    reads, directly or through other such nodes.

    Args:
        structure: of the float graph.
        options: what may be int8.
        kept: names of nodes that stay float.
        at_outputs: activation functions are separate int8 nodes behind convolutions; else they
            are part of the convolution's kernel.
    """
    graph = structure.graph
    activations = {name for conv in structure.convs.values() for name in conv.activation_nodes}
    activations |= {
        name for sigmoid, (_, mul) in structure.silus.items() for name in (sigmoid, mul)
    }
    found: set[str] = set()
    through: set[str] = set()  # activation functions whose result an int8 node reads
    for node in reversed(graph.nodes):
        if node.name in kept:
            continue
        outputs = [name for name in node.output if name not in graph.outputs]
        readers = {reader.name for name in outputs for reader in graph.readers(name)}
        wanted = bool(readers & (found | through))
        if _is_2d_conv(structure, node) or (_is_apart(structure, node) and outputs):
            found.add(node.name)
        elif wanted and node.name in activations:
            through.add(node.name)
        elif wanted and _moves_or_computes(structure, node):
            found.add(node.name)
    if at_outputs:
        found |= _rounded_activations(structure, found) - set(kept)
    return frozenset(found)


def _is_2d_conv(structure: Structure, node: NodeProto) -> bool:
    """Whether it is a convolution of maps; others, as over channels in ECA, stay float."""
    return node.op_type == "Conv" and structure.graph.weight(node).ndim == 4


def _is_apart(structure: Structure, node: NodeProto) -> bool:
    """Whether it computes in int8 in the head, an attention block or a gate, if asked to."""
    apart = structure.head | structure.attention | structure.gates
    return node.name in apart and (node.op_type in _COMPUTING or structure.passes(node))


def _moves_or_computes(structure: Structure, node: NodeProto) -> bool:
    joins = structure.concats.keys() | structure.residual_adds | structure.pools
    return node.name in joins or structure.passes(node)


def _rounded_activations(structure: Structure, int8: Collection[str]) -> set[str]:
    """Activation functions between int8 nodes, computed on quantized values."""
    graph = structure.graph
    found: set[str] = set()
    for sigmoid, (source, mul) in structure.silus.items():
        made_by = graph.producer.get(source)
        wanted = any(reader.name in int8 for reader in graph.readers(graph.node[mul].output[0]))
        if wanted and made_by and made_by.name in int8:
            found |= {sigmoid, mul}
    for conv in structure.convs.values():
        if conv.activation in _FOLDED and conv.name in int8:
            found.update(conv.activation_nodes)
    return found


def reads_at_inputs(structure: Structure, int8: Collection[str]) -> dict[str, frozenset[str]]:
    """Quantized tensors and their readers, where int8 nodes quantize their inputs."""
    reads: dict[str, set[str]] = {}
    for node in structure.graph.nodes:
        if node.name in int8:
            for name in _rounded_inputs(structure, node):
                reads.setdefault(name, set()).add(node.name)
    return {name: frozenset(names) for name, names in reads.items()}


def ghost_primaries(structure: Structure, int8: Collection[str]) -> dict[str, frozenset[str]]:
    """All readers of the primary half of each Ghost module whose halves are joined in int8.

    With one pair of the concatenation's scale in front of them, the full convolution writes int8
    once; else it writes float, and a kernel of its own quantizes that for the concatenation.
    """
    graph = structure.graph
    return {
        concat.primary: frozenset(reader.name for reader in graph.readers(concat.primary))
        for concat in structure.concats.values()
        if concat.ghost and concat.name in int8
    }


def _rounded_inputs(structure: Structure, node: NodeProto) -> tuple[str, ...]:
    if node.name in structure.residual_adds:
        return _residual_inputs(structure, node)
    if node.op_type in _ROUNDING | _COMPUTING:
        graph = structure.graph
        return tuple(name for name in graph.data_inputs(node) if graph.is_float(name))
    return ()


def _residual_inputs(structure: Structure, node: NodeProto) -> tuple[str, ...]:
    """The inputs of a sum without one that a convolution computes for it alone: TensorRT adds the
    other, quantized one inside that convolution's kernel."""
    graph = structure.graph
    inputs = graph.data_inputs(node)
    made = {conv.activated for conv in structure.convs.values()}
    own = [name for name in inputs if name in made and len(graph.readers(name)) == 1]
    return tuple(name for name in inputs if name not in own[-1:])


def reads_at_sources(
    structure: Structure, reads: Mapping[str, frozenset[str]], groups: Mapping[str, str]
) -> dict[str, frozenset[str]]:
    """`reads_at_inputs` with every Q/DQ pair moved before nodes that only move or join values.

    OpenVINO quantizes inside a convolution's kernel only where its result is quantized once: with
    one pair for the depthwise half of a Ghost module and one behind the concatenation, the
    convolution wrote float32 and two more kernels quantized it. The result of a concatenation of
    several scales is quantized again.

    Args:
        structure: of the float graph.
        reads: of `reads_at_inputs`.
        groups: by tensor, the name of the group of tensors that share a scale.
    """
    found = {name: set(names) for name, names in reads.items()}
    for node in reversed(structure.graph.nodes):
        concat = structure.concats.get(node.name)
        outputs = [name for name in node.output if name in groups]
        if not outputs or not (concat or structure.passes(node)):
            continue
        inputs = concat.inputs if concat else (node.input[0],)
        if {groups.get(name) for name in inputs} == {groups[name] for name in outputs}:
            for name in outputs:
                found.pop(name, None)
            for name in inputs:
                found.setdefault(name, set()).add(node.name)
    return {name: frozenset(found[name]) for name in groups if name in found}


def reads_at_outputs(structure: Structure, int8: Collection[str]) -> dict[str, frozenset[str]]:
    """Quantized tensors and their readers, where int8 nodes quantize their outputs."""
    graph = structure.graph
    folded = {
        conv.output
        for conv in structure.convs.values()
        if conv.activation in _FOLDED and conv.name in int8
    }
    reads = {}
    for name in graph.activations():
        if name in graph.outputs or name in folded:
            continue
        made_by = graph.producer.get(name)
        readers = {node.name for node in graph.readers(name)}
        if made_by is None or made_by.name not in int8:
            readers &= set(int8)
        if readers:
            reads[name] = frozenset(readers)
    return reads


def why_float(structure: Structure, node: NodeProto) -> str:
    """Why a node that no option keeps float is not int8."""
    if any(node.name in (sigmoid, mul) for sigmoid, (_, mul) in structure.silus.items()):
        return "activation, computed in float"
    return "no int8 node reads its result"
