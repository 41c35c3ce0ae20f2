from __future__ import annotations

from pathlib import Path

import pytest

from ghost_deploy.calib.search.budget import Budget, fit_budget
from ghost_deploy.calib.search.measuring import FloatNodes, Measure
from ghost_deploy.calib.search.sensitivity import LayerGroup, rank
from ghost_deploy.core.errors import UsageError
from ghost_deploy.core.evidence.int8 import CurvePoint
from ghost_deploy.core.gate_error import GateError

HARM = {"a": 0.1, "b": 0.9, "c": 0.0, "d": 0.4}
SHARE = {"a": 0.1, "b": 0.4, "c": 0.2, "d": 0.1}
GROUPS = tuple(LayerGroup(name=name, nodes=(name,), share=SHARE[name]) for name in HARM)


def as_path(nodes: FloatNodes) -> Path:
    return Path("-".join(sorted(nodes)))


def loss(path: Path) -> float:
    return sum(harm for name, harm in HARM.items() if name not in str(path).split("-"))


def fitted(max_drop: float, judge: Measure | None = None) -> Budget:
    measure = judge or Measure(as_path, loss)
    return fit_budget(rank(GROUPS, measure), measure, max_drop)


def chosen(budget: Budget) -> CurvePoint:
    (point,) = (point for point in budget.curve if point.chosen)
    return point


def test_a_negative_budget_is_refused() -> None:
    with pytest.raises(UsageError, match="--max-drop"):
        fitted(-0.1)


def test_a_loss_within_the_budget_leaves_everything_int8() -> None:
    budget = fitted(1.4)
    assert budget.groups == ()
    assert budget.float_nodes == frozenset()
    assert chosen(budget).lost == pytest.approx(1.4)
    assert chosen(budget).int8_share == pytest.approx(0.8)
    assert len(budget.curve) == 1


@pytest.mark.parametrize(
    ("max_drop", "float_nodes"),
    [
        (1.0, {"d"}),  # the best bargain: 0.4 points for a tenth of the work
        (0.5, {"b"}),  # d alone is too little, d and b hold, and then d is not needed
        (0.1, {"b", "d"}),
        (0.0, {"a", "b", "d"}),
    ],
)
def test_the_few_that_keep_the_budget_are_returned(max_drop: float, float_nodes: set[str]) -> None:
    budget = fitted(max_drop + 1e-9)
    assert budget.float_nodes == float_nodes
    assert chosen(budget).lost <= max_drop + 1e-6
    assert chosen(budget).int8_share == pytest.approx(
        0.8 - sum(SHARE[name] for name in float_nodes)
    )


def test_every_measurement_is_a_point_of_the_curve() -> None:
    budget = fitted(0.5)
    points = [(point.returned, round(point.int8_share, 6), round(point.lost, 6), point.chosen)
              for point in budget.curve]  # fmt: skip
    assert points == [  # nothing, d, b, and both are float
        (0, 0.8, 1.4, False), (1, 0.7, 1.0, False), (1, 0.4, 0.5, True), (2, 0.3, 0.1, False),
    ]  # fmt: skip


def test_what_the_return_of_each_group_gains_beside_the_others() -> None:
    """`d` gains what it harms; `b` gains less than it harms where others make up for it."""
    gains = {group.name: gain for group, gain in fitted(0.1 + 1e-9).gains.items()}
    assert gains == pytest.approx({"b": 0.9, "d": 0.4})
    lost = Measure(as_path, lambda path: 0.2 + 0.1 * (loss(path) > 0.5))
    budget = fit_budget(rank(GROUPS, Measure(as_path, loss)), lost, 0.25)
    assert {group.name: gain for group, gain in budget.gains.items()} == {"b": pytest.approx(0.1)}


def test_the_chosen_point_is_on_the_curve() -> None:
    for max_drop in (0.0, 0.1, 0.5, 1.0, 2.0):
        budget = fitted(max_drop + 1e-9)
        (point,) = (point for point in budget.curve if point.chosen)
        assert point == chosen(budget)
        assert point.returned == len(budget.groups)
        assert point.lost <= max_drop + 1e-6


def test_a_judge_of_another_model_is_found_out() -> None:
    with pytest.raises(GateError, match="every layer float") as caught:
        fitted(0.5, Measure(as_path, lambda path: loss(path) + 3))
    assert caught.value.got == "3.00 points"


def test_unmeasured_groups_come_last_in_the_order_of_the_proxy() -> None:
    measure = Measure(as_path, loss)
    ranking = rank(GROUPS, measure, proxy=Measure(as_path, loss, name="proxy"), judged=1)
    budget = fit_budget(ranking, measure, 0.1 + 1e-9)
    assert [group.name for group in budget.groups] == ["b", "d"]
    assert {row.group.name for row in ranking.rows if row.harm is None} >= {"d"}


@pytest.mark.slow
def test_several_workers_choose_the_same() -> None:
    measure = Measure(as_path, loss, workers=2)
    assert fit_budget(rank(GROUPS, measure), measure, 0.1 + 1e-9).float_nodes == {"b", "d"}
