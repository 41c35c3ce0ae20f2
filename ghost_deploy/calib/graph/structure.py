"""The parts of a graph, found by its connections alone; names differ between forks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

from onnx import NodeProto

from ghost_deploy.calib.graph.regions import (
    SELF_GATED,
    find_attention,
    find_gates,
    find_head,
    find_silus,
    passes,
)
from ghost_deploy.export.onnx_index import OnnxIndex

ConvKind: TypeAlias = Literal["first", "dense", "pointwise", "grouped", "depthwise"]

_POOLS = ("MaxPool", "AveragePool", "GlobalAveragePool")
_ACTIVATIONS = {
    "Relu": "relu", "LeakyRelu": "leaky_relu", "Clip": "clip", "HardSwish": "hardswish",
    "Sigmoid": "sigmoid", "HardSigmoid": "hard_sigmoid", "Tanh": "tanh", "Elu": "elu",
    "PRelu": "prelu", "Softplus": "softplus",
}  # fmt: skip


@dataclass(frozen=True)
class ConvInfo:
    """A convolution and the activation behind it.

    Attributes:
        name: of the node.
        kind: `first` has none before it; `depthwise` has one input channel a group.
        input: the tensor that it reads.
        output: its own output.
        activation: `silu`, `relu`, ...; empty where none follows directly.
        activated: the output of the activation; `output` itself where there is none.
        activation_nodes: names, in execution order.
        stride: rows of the image for one row of its output; 0 where that is not known.
    """

    name: str
    kind: ConvKind
    input: str
    output: str
    activation: str
    activated: str
    activation_nodes: tuple[str, ...]
    stride: int = 0


@dataclass(frozen=True)
class ConcatInfo:
    """A concatenation of feature maps.

    Attributes:
        name: of the node.
        inputs, output: tensors.
        primary: of a Ghost module, the output of its full convolution; empty of any other.
        cheap: of a Ghost module, the output of its depthwise convolution; empty of any other.
    """

    name: str
    inputs: tuple[str, ...]
    output: str
    primary: str = ""
    cheap: str = ""

    @property
    def ghost(self) -> bool:
        """Whether it joins the two halves of a Ghost module."""
        return bool(self.primary)


@dataclass(frozen=True)
class Structure:
    """The parts of a graph, by node name.

    Attributes:
        graph: of the float model.
        convs: every convolution, in execution order.
        concats: those outside the head, attention blocks and gates.
        silus: (input, name of the Mul) of each self-gated activation, by name of its Sigmoid.
        residual_adds: sums of two feature maps, outside the head, attention blocks and gates.
        pools: likewise.
        head: the last convolutions and all that follows them.
        attention: from the convolution of queries, keys and values to the output projection,
            both included.
        gates: nodes that compute a sigmoid factor of a product, and the product.
    """

    graph: OnnxIndex
    convs: Mapping[str, ConvInfo]
    concats: Mapping[str, ConcatInfo]
    silus: Mapping[str, tuple[str, str]]
    residual_adds: frozenset[str]
    pools: frozenset[str]
    head: frozenset[str]
    attention: frozenset[str]
    gates: frozenset[str]

    def entry(self, stride: int) -> frozenset[str]:
        """Names of the convolutions that the first one of a larger stride depends on."""
        deeper = next((conv for conv in self.convs.values() if conv.stride > stride), None)
        if deeper is None:
            return frozenset()
        before = {node.name for node in self.graph.upstream(deeper.input)}
        return frozenset(before & self.convs.keys())

    def passes(self, node: NodeProto) -> bool:
        """Whether the outputs of `node` keep the scale of its first input."""
        return passes(self.graph, node)


def find_structure(graph: OnnxIndex) -> Structure:
    """The parts of `graph`."""
    silus = dict(find_silus(graph))
    head = find_head(graph)
    attention = frozenset(find_attention(graph, head))
    gates = frozenset(find_gates(graph, silus, head | attention))
    apart = head | attention | gates
    found = [_conv(graph, node, silus) for node in graph.nodes if node.op_type == "Conv"]
    rows = next((_rows(graph, conv.input) for conv in found if conv.kind == "first"), 0)
    convs = {
        conv.name: replace(conv, stride=rows // max(_rows(graph, conv.output), 1)) for conv in found
    }
    by_output = {conv.activated: conv for conv in convs.values()}
    trunk = [node for node in graph.nodes if node.name not in apart]
    return Structure(
        graph=graph,
        convs=convs,
        concats={
            node.name: _concat(graph, node, by_output) for node in trunk if node.op_type == "Concat"
        },
        silus=silus,
        residual_adds=frozenset(
            node.name
            for node in trunk
            if node.op_type == "Add" and len(graph.data_inputs(node)) == 2
        ),
        pools=frozenset(node.name for node in trunk if node.op_type in _POOLS),
        head=head,
        attention=attention,
        gates=gates,
    )


def _conv(graph: OnnxIndex, node: NodeProto, silus: Mapping[str, tuple[str, str]]) -> ConvInfo:
    kind, activated, nodes = _activation(graph, node.output[0], silus)
    return ConvInfo(
        name=node.name,
        kind=_kind(graph, node),
        input=node.input[0],
        output=node.output[0],
        activation=kind,
        activated=activated,
        activation_nodes=nodes,
    )


def _rows(graph: OnnxIndex, name: str) -> int:
    """Height of a feature map; 0 where it is not known."""
    shape = graph.shapes.get(name, ())
    return shape[2] if len(shape) == 4 else 0


def _kind(graph: OnnxIndex, node: NodeProto) -> ConvKind:
    if not any(other.op_type == "Conv" for other in graph.upstream(node.input[0])):
        return "first"
    _, a_group, *kernel = graph.weight(node).shape
    if graph.attribute(node, "group", 1) > 1:
        return "depthwise" if a_group == 1 else "grouped"
    return "pointwise" if set(kernel) == {1} else "dense"


def _activation(
    graph: OnnxIndex, name: str, silus: Mapping[str, tuple[str, str]]
) -> tuple[str, str, tuple[str, ...]]:
    """Kind, output and nodes of the activation that alone reads `name`."""
    readers = graph.readers(name)
    if name in graph.outputs or not readers:
        return "", name, ()
    for node in readers:
        if node.name in silus and {reader.name for reader in readers} == {
            node.name,
            silus[node.name][1],
        }:
            mul = graph.node[silus[node.name][1]]
            return SELF_GATED[node.op_type], mul.output[0], (node.name, mul.name)
    if len(readers) == 1 and readers[0].op_type in _ACTIVATIONS:
        return _ACTIVATIONS[readers[0].op_type], readers[0].output[0], (readers[0].name,)
    return "", name, ()


def _concat(graph: OnnxIndex, node: NodeProto, convs: Mapping[str, ConvInfo]) -> ConcatInfo:
    inputs = graph.data_inputs(node)
    for cheap in inputs:
        conv = convs.get(cheap)
        if len(inputs) == 2 and conv and conv.kind in ("depthwise", "grouped"):
            primary = conv.input
            if primary in inputs and primary != cheap:
                return ConcatInfo(node.name, inputs, node.output[0], primary, cheap)
    return ConcatInfo(node.name, inputs, node.output[0])
