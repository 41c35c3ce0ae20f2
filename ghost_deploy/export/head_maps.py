"""Finding the raw maps of a head in an exported graph."""

from __future__ import annotations

from collections import defaultdict
from typing import Literal

import msgspec
import numpy as np
import onnx
from onnx import ModelProto, NodeProto

from ghost_deploy.core.spec import HeadSpec, ModelSpec
from ghost_deploy.export.cut_comparison import cut_failed, run_graph
from ghost_deploy.export.onnx_index import OnnxIndex

RAW_DECODERS: dict[str, Literal["dfl-raw", "one2one-raw", "anchors-raw"]] = {
    "dfl": "dfl-raw",
    "dfl-raw": "dfl-raw",
    "one2one": "one2one-raw",
    "anchors": "anchors-raw",
    "anchors-raw": "anchors-raw",
}
"""Decoder of the maps by that of the whole graph."""

_ELEMENTWISE = ("Mul", "Add", "Div", "Sub")


def find_maps(index: OnnxIndex, spec: ModelSpec) -> dict[int, list[tuple[str, int]]]:
    """What the last convolutions give: name and channels, by stride."""
    last = [node for node in index.nodes if _is_convolution(index, node)]
    last = [
        node
        for node in last
        if not any(_is_convolution(index, later) for later in index.downstream(node.output[0]))
    ]
    found: defaultdict[int, list[tuple[str, int]]] = defaultdict(list)
    for node in last:
        name = _behind_constants(index, node.output[0])
        shape = index.shapes.get(name) or _shape_by_run(index.model, name)
        found[spec.input.size_hw[0] // shape[2]].append((name, shape[1]))
    if sorted(found) != sorted(spec.head.strides):
        raise cut_failed(f"convolutions at strides {sorted(found)}, not {spec.head.strides}")
    return found


def _is_convolution(index: OnnxIndex, node: NodeProto) -> bool:
    """Whether a node is a convolution of the network; a fork's own decoding has one whose fixed
    weights are 0, 1, 2, ..."""
    if node.op_type != "Conv":
        return False
    weight = index.constant(node.input[1])
    return weight is None or not np.array_equal(weight.ravel(), np.arange(weight.size))


def _behind_constants(index: OnnxIndex, name: str) -> str:
    """The last tensor of a chain of products and sums with one constant a channel, or one."""
    while True:
        readers = index.readers(name)
        if len(readers) != 1 or readers[0].op_type not in _ELEMENTWISE:
            return name
        others = [each for each in readers[0].input if each != name]
        value = index.constant(others[0]) if len(others) == 1 else None
        if value is None or value.size not in (1, max(value.shape, default=1)):
            return name
        name = readers[0].output[0]


def map_heads(
    maps: dict[int, list[tuple[str, int]]], spec: ModelSpec
) -> list[tuple[HeadSpec, list[str]]]:
    """What the maps may be: heads with our names, and the names in the graph."""
    head, found = spec.head, []
    kinds = ("map",) if head.anchor_sizes else ("box", "class")
    names = tuple(tuple(f"{kind}{stride}" for kind in kinds) for stride in head.strides)
    raw = msgspec.structs.replace(head, decoder=RAW_DECODERS[head.decoder], maps=names)
    wanted = raw.map_channels(spec.num_classes)
    for flip in (False, True):
        order: list[str] = []
        for stride in head.strides:
            level = maps[stride][::-1] if flip else maps[stride]
            # As many classes as bins: both orders fit, and the comparison decides.
            rest, level_names = list(level), []
            for channels in wanted:
                fitting = [each for each in rest if each[1] == channels]
                if len(rest) > len(wanted) or not fitting:
                    got = [channels for _, channels in maps[stride]]
                    raise cut_failed(f"maps of {got} channels at stride {stride}, not {wanted}")
                level_names.append(fitting[0][0])
                rest.remove(fitting[0])
            order += level_names
        found.append((raw, order))
    return found


def _shape_by_run(model: ModelProto, name: str) -> tuple[int, ...]:
    """The shape of a tensor that shape inference does not find, by running the graph."""
    probe = ModelProto()
    probe.CopyFrom(model)
    del probe.graph.output[:]
    probe.graph.output.append(onnx.ValueInfoProto(name=name))
    sides = probe.graph.input[0].type.tensor_type.shape.dim
    zeros = np.zeros([side.dim_value for side in sides], np.float32)
    return tuple(run_graph(probe, zeros)[name].shape)
