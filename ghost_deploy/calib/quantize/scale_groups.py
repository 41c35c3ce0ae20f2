"""Which quantized tensors share a scale, so that no kernel has to convert between scales.

A tensor that is only moved keeps its scale. A concatenation costs nothing where all its inputs
have the scale of the result: TensorRT moves the quantization of the result above it, and two
scales there need a kernel that reads and writes the whole map again.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from ghost_deploy.calib.graph.structure import ConcatInfo, Structure


@dataclass(frozen=True)
class ScaleGroups:
    """The result of `scale_groups`.

    Attributes:
        by_tensor: name of the group of each tensor that holds int8 values.
        requantized: inputs of concatenations that have another scale than the result.
    """

    by_tensor: Mapping[str, str]
    requantized: int


class _Sets:
    """Disjoint sets of tensors; each is named after its first member."""

    def __init__(self) -> None:
        self._parent: dict[str, str] = {}

    def find(self, name: str) -> str:
        while (parent := self._parent.setdefault(name, name)) != name:
            name = parent
        return name

    def join(self, first: str, second: str) -> None:
        self._parent[self.find(second)] = self.find(first)


def scale_groups(
    structure: Structure,
    reads: Mapping[str, Collection[str]],
    *,
    ghost_apart: bool,
    concat_apart: bool,
) -> ScaleGroups:
    """Group the tensors that hold int8 values.

    Args:
        structure: of the float graph.
        reads: quantized tensors and their readers.
        ghost_apart: the primary half of a Ghost module keeps a scale of its own.
        concat_apart: so does every input of other concatenations.
    """
    graph, sets = structure.graph, _Sets()
    carried = set(reads)
    for node in reversed(graph.nodes):
        concat = structure.concats.get(node.name)
        if not carried.intersection(node.output) or not (concat or structure.passes(node)):
            continue
        inputs = concat.inputs if concat else node.input[:1]
        for name in inputs:
            apart = concat is not None and _is_apart(concat, name, ghost_apart, concat_apart)
            if not (apart and name in reads):
                carried.add(name)
                for output in node.output:
                    sets.join(name, output)
    requantized = sum(
        sets.find(name) != sets.find(concat.output)
        for concat in structure.concats.values()
        if concat.output in carried
        for name in concat.inputs
        if name in carried
    )
    by_tensor = {name: sets.find(name) for name in graph.activations() if name in carried}
    return ScaleGroups(by_tensor, requantized)


def _is_apart(concat: ConcatInfo, name: str, ghost_apart: bool, concat_apart: bool) -> bool:
    return ghost_apart and name == concat.primary if concat.ghost else concat_apart
