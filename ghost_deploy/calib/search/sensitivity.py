"""Harm of each group of layers: the loss when it alone is int8.

One group is int8 and all others float, rather than the reverse, so that the small change of one
group is not hidden in the noise of the others: mAP on a hundred images moves by tenths of a point
when one rounding is replaced by an equally good one. A cheap and smooth proxy such as
`OutputNoise` preselects the groups that the judge measures.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ghost_deploy.calib.graph.structure import Structure
from ghost_deploy.calib.search.measuring import Measure
from ghost_deploy.core.errors import UsageError
from ghost_deploy.core.progress import Progress, silent
from ghost_deploy.export.onnx_index import OnnxIndex


@dataclass(frozen=True, kw_only=True)
class LayerGroup:
    """Layers that are int8 or float together.

    Attributes:
        name: of the first of them.
        nodes: names of the nodes that stay float when the group does.
        share: of the network's multiply-adds, 0 to 1.
    """

    name: str
    nodes: tuple[str, ...]
    share: float


@dataclass(frozen=True, kw_only=True)
class RankedGroup:
    """A group and its harm.

    Attributes:
        group: the layers.
        proxy: loss by the proxy when this group alone is int8; None without one.
        harm: points lost by the judge when this group alone is int8; None where the proxy found
            others more harmful.
    """

    group: LayerGroup
    proxy: float | None
    harm: float | None


@dataclass(frozen=True, kw_only=True)
class Ranking:
    """All groups, the most harmful first.

    Attributes:
        floor: loss of the model with all groups float, about 0.
        rows: judged ones by harm, then the others by proxy.
    """

    floor: float
    rows: tuple[RankedGroup, ...]

    @property
    def groups(self) -> tuple[LayerGroup, ...]:
        """The groups in order."""
        return tuple(row.group for row in self.rows)


def group_layers(structure: Structure, int8: Sequence[str]) -> tuple[LayerGroup, ...]:
    """The convolutions of a Ghost module together, every other one by itself.

    Args:
        structure: of the float graph.
        int8: names of the int8 convolutions, as in `Placement.weights`.
    """
    graph, wanted = structure.graph, set(int8)
    by_output = {conv.activated: name for name, conv in structure.convs.items()}
    primary_of = {
        by_output[concat.cheap]: by_output[concat.primary]
        for concat in structure.concats.values()
        if concat.ghost
    }
    members: dict[str, list[str]] = {}
    for name in structure.convs:
        if name in wanted:
            head = primary_of.get(name, name)
            members.setdefault(head if head in wanted else name, []).append(name)
    return tuple(_group(graph, names) for names in members.values())


def rank(
    groups: Sequence[LayerGroup],
    judge: Measure,
    *,
    proxy: Measure | None = None,
    judged: int = 24,
    progress: Progress = silent,
) -> Ranking:
    """Order groups by the harm they do.

    Args:
        groups: all that could stay float.
        judge: points lost; measured for `judged` groups and for all-float.
        proxy: a cheap loss, measured for every group; None measures every group by the judge.
        judged: number of groups, the worst by the proxy, that the judge measures.
        progress: receives each measurement.

    Raises:
        UsageError: no groups, or a loss is not a number.
    """
    if not groups:
        raise UsageError(
            "there is no int8 layer to rank", fix="Check the placement: everything is float"
        )
    everything = frozenset(name for group in groups for name in group.nodes)
    alone = [everything - set(group.nodes) for group in groups]
    guesses: list[float] | None = None
    chosen = list(range(len(groups)))
    if proxy is not None:
        guesses = proxy.all(alone, progress, "estimating the harm of layers")
        by_guess = guesses
        chosen = sorted(chosen, key=lambda index: -by_guess[index])[:judged]
    what = "measuring the harm of layers"
    floor, *losses = judge.all([everything, *(alone[i] for i in chosen)], progress, what)
    harm = {index: loss - floor for index, loss in zip(chosen, losses, strict=True)}
    rows = [
        RankedGroup(group=group, proxy=guesses[i] if guesses else None, harm=harm.get(i))
        for i, group in enumerate(groups)
    ]
    return Ranking(floor=floor, rows=tuple(sorted(rows, key=_order)))


def _group(graph: OnnxIndex, names: Sequence[str]) -> LayerGroup:
    total = sum(map(graph.macs, graph.nodes))
    own = sum(graph.macs(graph.node[name]) for name in names)
    return LayerGroup(name=names[0], nodes=tuple(names), share=own / total if total else 0.0)


def _order(row: RankedGroup) -> tuple[bool, float, float]:
    return row.harm is None, -(row.harm or 0.0), -(row.proxy or 0.0)
