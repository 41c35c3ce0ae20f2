from __future__ import annotations

from pathlib import Path

import pytest

from ghost_deploy.calib.graph.index import index_float
from ghost_deploy.calib.graph.structure import find_structure
from ghost_deploy.calib.search.measuring import FloatNodes, Measure
from ghost_deploy.calib.search.sensitivity import LayerGroup, group_layers, rank
from ghost_deploy.core.errors import UsageError
from tests.support.small_graphs import ghost_net

HARM = {"a": 0.1, "b": 0.9, "c": 0.0, "d": 0.4}
GROUPS = tuple(LayerGroup(name=name, nodes=(name,), share=0.2) for name in HARM)


def as_path(nodes: FloatNodes) -> Path:
    return Path("-".join(sorted(nodes)))


def loss(path: Path) -> float:
    return sum(harm for name, harm in HARM.items() if name not in str(path).split("-"))


def test_nothing_to_rank() -> None:
    with pytest.raises(UsageError, match="no int8 layer"):
        rank([], Measure(as_path, loss))


def test_the_most_harmful_comes_first() -> None:
    ranking = rank(GROUPS, Measure(as_path, loss))
    assert [row.group.name for row in ranking.rows] == ["b", "d", "a", "c"]
    assert [row.harm for row in ranking.rows] == pytest.approx([0.9, 0.4, 0.1, 0.0])
    assert ranking.floor == 0.0


def test_a_judge_with_an_offset_gives_the_same_harm() -> None:
    ranking = rank(GROUPS, Measure(as_path, lambda path: loss(path) + 0.05))
    assert ranking.floor == pytest.approx(0.05)
    assert ranking.rows[0].harm == pytest.approx(0.9)


def test_the_judge_sees_only_what_the_proxy_finds_worst() -> None:
    seen: list[Path] = []

    def judge(path: Path) -> float:
        seen.append(path)
        return loss(path)

    ranking = rank(
        GROUPS, Measure(as_path, judge), proxy=Measure(as_path, lambda p: 7 * loss(p)), judged=2
    )
    assert len(seen) == 3  # all float, b, d
    assert [row.group.name for row in ranking.rows] == ["b", "d", "a", "c"]
    assert [row.harm is None for row in ranking.rows] == [False, False, True, True]
    assert ranking.rows[2].proxy == pytest.approx(0.7)


def test_the_halves_of_a_ghost_module_are_one_group() -> None:
    structure = find_structure(index_float(ghost_net()))
    names = list(structure.convs)
    groups = group_layers(structure, names)
    assert ("one.primary", "one.cheap") in [group.nodes for group in groups]
    assert ("dense",) in [group.nodes for group in groups]
    assert sorted(name for group in groups for name in group.nodes) == sorted(names)
    assert sum(group.share for group in groups) == pytest.approx(1)


def test_a_cheap_half_without_an_int8_primary_stands_alone() -> None:
    structure = find_structure(index_float(ghost_net()))
    groups = group_layers(structure, ["one.cheap", "dense"])
    assert [group.nodes for group in groups] == [("one.cheap",), ("dense",)]
