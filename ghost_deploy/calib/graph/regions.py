"""The regions of a network, found by its connections.

The head starts with the last convolutions, an attention block surrounds a Softmax, a gate computes
a factor of a product with a sigmoid.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from onnx import NodeProto

from ghost_deploy.export.onnx_index import OnnxIndex

_PASSING = frozenset(
    {
        "DepthToSpace", "Expand", "Flatten", "Gather", "Identity", "MaxPool", "Reshape", "Resize",
        "Slice", "SpaceToDepth", "Split", "Squeeze", "Tile", "Transpose", "Unsqueeze",
    }
)  # fmt: skip
"""Operators that only select or move values, so that their output keeps the scale of their first
input; Resize only in the mode `nearest`, see `passes`."""


SELF_GATED = {"Sigmoid": "silu", "HardSigmoid": "hardswish"}
"""Name of the activation x * operator(x), by operator."""


def find_silus(graph: OnnxIndex) -> Iterator[tuple[str, tuple[str, str]]]:
    """x * sigmoid(x), where nothing else reads the sigmoid."""
    for node in graph.nodes:
        if node.op_type not in SELF_GATED or len(graph.readers(node.output[0])) != 1:
            continue
        (reader,) = graph.readers(node.output[0])
        if reader.op_type == "Mul" and set(reader.input) == {node.input[0], node.output[0]}:
            yield node.name, (node.input[0], reader.name)


def find_head(graph: OnnxIndex) -> frozenset[str]:
    """Names of the convolutions that no other convolution depends on, and of all behind them."""
    found: set[str] = set()
    for conv in filter(_is_conv, graph.nodes):
        behind = list(graph.downstream(conv.output[0]))
        if not any(map(_is_conv, behind)):
            found.add(conv.name)
            found.update(node.name for node in behind)
    return frozenset(found)


def find_attention(graph: OnnxIndex, head: frozenset[str]) -> Iterator[str]:
    """Names of the nodes around each Softmax outside the head, up to the nearest convolutions."""
    for node in graph.nodes:
        if node.op_type != "Softmax" or node.name in head:
            continue
        block = {node.name: node, **_until_conv(graph, [node], down=True)}
        inner = [each for each in block.values() if not _is_conv(each)]
        yield from block
        yield from _until_conv(graph, inner, down=False)


def _until_conv(
    graph: OnnxIndex, start: Iterable[NodeProto], *, down: bool
) -> dict[str, NodeProto]:
    """Nodes reached from `start` up to and including the nearest convolutions."""
    found: dict[str, NodeProto] = {}
    queue = list(start)
    while queue:
        node = queue.pop(0)
        near = (
            [reader for name in node.output for reader in graph.readers(name)]
            if down
            else [graph.producer[name] for name in node.input if name in graph.producer]
        )
        for other in near:
            if other.name not in found:
                found[other.name] = other
                if not _is_conv(other):
                    queue.append(other)
    return found


def find_gates(
    graph: OnnxIndex, silus: Mapping[str, tuple[str, str]], apart: frozenset[str]
) -> Iterator[str]:
    """Names of the products with a sigmoid factor, and of the nodes that compute the factor.

    Args:
        graph: of the float model.
        silus: of `find_silus`; they are no gates.
        apart: names of nodes of other regions.
    """
    own = {mul for _, mul in silus.values()}
    for node in graph.nodes:
        inputs = graph.data_inputs(node)
        if node.op_type != "Mul" or node.name in own | apart or len(inputs) != 2:
            continue
        for name in inputs:
            source = _source(graph, name)
            if source and source.op_type in SELF_GATED and source.name not in silus:
                yield node.name
                yield from _only_for(graph, name)


def _source(graph: OnnxIndex, name: str) -> NodeProto | None:
    """The node that computes the values of `name`, skipping nodes that only move them."""
    node = graph.producer.get(name)
    while node is not None and passes(graph, node):
        node = graph.producer.get(node.input[0])
    return node


def _only_for(graph: OnnxIndex, name: str) -> set[str]:
    """The nodes whose results are used for `name` alone."""
    found = {graph.producer[name].name}
    queue = [graph.producer[name]]
    while queue:
        for tensor in filter(None, queue.pop(0).input):
            node = graph.producer.get(tensor)
            if node is None or node.name in found:
                continue
            if all(reader.name in found for out in node.output for reader in graph.readers(out)):
                found.add(node.name)
                queue.append(node)
    return found


def _is_conv(node: NodeProto) -> bool:
    return bool(node.op_type == "Conv")


def passes(graph: OnnxIndex, node: NodeProto) -> bool:
    """Whether the outputs of `node` keep the scale of its first input."""
    if node.op_type == "Resize":
        return bool(graph.attribute(node, "mode", "nearest") == "nearest")
    return node.op_type in _PASSING
