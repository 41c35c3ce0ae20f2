"""How many kernels convert between int8 and float beside the layers themselves, by rule.

TensorRT quantizes inside the kernel of an int8 layer where nothing reads its result as float,
and dequantizes inside one that reads int8. It moves the quantization of a concatenation above it.
What remains are kernels that read and write a whole feature map: in a Ghost network with float
depthwise convolutions they take back much of what int8 gains.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ghost_deploy.calib.graph.structure import Structure
from ghost_deploy.calib.quantize.placement import Placement


@dataclass(frozen=True)
class Conversions:
    """Kernels of their own.

    Attributes:
        quantize: write int8 from float, or from another scale.
        dequantize: write float from int8.
    """

    quantize: int
    dequantize: int

    def __str__(self) -> str:
        return f"{self.quantize} quantize and {self.dequantize} dequantize kernels"


def count_conversions(structure: Structure, placement: Placement) -> Conversions:
    """The conversions that a placement leaves. A count by rule, of no particular TensorRT."""
    written = {
        (source, placement.groups[name])
        for name in placement.reads
        for source in _sources(structure, placement, name, placement.groups[name])
    }
    results = [
        conv.activated for name, conv in structure.convs.items() if name in placement.weights
    ]
    results += [
        structure.graph.node[name].output[0]
        for name in structure.residual_adds | structure.pools
        if name in placement.int8_nodes
    ]
    fused = {name for name in results if not _read_as_float(structure, placement, name)}
    int8 = set(placement.int8_nodes)
    return Conversions(
        quantize=sum(source not in fused for source, _ in written),
        dequantize=sum(bool(readers - int8) for readers in placement.reads.values()),
    )


def _sources(structure: Structure, placement: Placement, name: str, group: str) -> Iterator[str]:
    """The tensors that must be written in int8 for `name`: those before what moves and joins."""
    graph = structure.graph
    node = graph.producer.get(name)
    concat = structure.concats.get(node.name) if node is not None else None
    if (
        node is None
        or node.name not in placement.int8_nodes
        or not (concat or structure.passes(node))
    ):
        yield name
        return
    for source in concat.inputs if concat else node.input[:1]:
        quantized = node.name in placement.reads.get(source, ())
        if not quantized or placement.groups[source] != group:
            yield from _sources(structure, placement, source, group)


def _read_as_float(structure: Structure, placement: Placement, name: str) -> bool:
    """Whether a node reads the float tensor `name`."""
    quantized = placement.reads.get(name, frozenset())
    joins = {
        reader.name
        for reader in structure.graph.readers(name)
        if reader.name in placement.int8_nodes
        and (reader.name in structure.concats or structure.passes(reader))
    }
    readers = {reader.name for reader in structure.graph.readers(name)}
    return bool(readers - quantized - joins) or name in structure.graph.outputs
