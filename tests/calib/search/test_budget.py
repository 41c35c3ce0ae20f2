from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from ghost_deploy.calib.search.budget import Budget, fit_budget, measure_speed
from ghost_deploy.calib.search.measuring import FloatNodes, Measure
from ghost_deploy.calib.search.sensitivity import LayerGroup, rank
from ghost_deploy.core.errors import GateError, UsageError

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


def test_a_negative_budget_is_refused() -> None:
    with pytest.raises(UsageError, match="--max-drop"):
        fitted(-0.1)


def test_a_loss_within_the_budget_leaves_everything_int8() -> None:
    budget = fitted(1.4)
    assert budget.returned == ()
    assert budget.float_nodes == frozenset()
    assert budget.loss == pytest.approx(1.4)
    assert budget.int8_share == pytest.approx(0.8)
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
    assert budget.loss <= max_drop + 1e-6
    assert budget.int8_share == pytest.approx(0.8 - sum(SHARE[name] for name in float_nodes))


def test_every_measurement_is_a_point_of_the_curve() -> None:
    budget = fitted(0.5)
    points = [(point.returned, round(point.int8_share, 6), round(point.loss, 6))
              for point in budget.curve]  # fmt: skip
    assert points == [
        ((), 0.8, 1.4), (("d",), 0.7, 1.0), (("b",), 0.4, 0.5), (("d", "b"), 0.3, 0.1),
    ]  # fmt: skip


def test_what_the_return_of_each_group_gains_beside_the_others() -> None:
    """`d` gains what it harms; `b` gains less than it harms where others make up for it."""
    gains = {each.group.name: each.gain for each in fitted(0.1 + 1e-9).returned}
    assert gains == pytest.approx({"b": 0.9, "d": 0.4})
    lost = Measure(as_path, lambda path: 0.2 + 0.1 * (loss(path) > 0.5))
    (returned,) = fit_budget(rank(GROUPS, Measure(as_path, loss)), lost, 0.25).returned
    assert (returned.group.name, returned.harm) == ("b", pytest.approx(0.9))
    assert returned.gain == pytest.approx(0.1)


def test_the_chosen_point_is_on_the_curve() -> None:
    for max_drop in (0.0, 0.1, 0.5, 1.0, 2.0):
        budget = fitted(max_drop + 1e-9)
        (point,) = (point for point in budget.curve if point.returned == budget.chosen)
        assert (point.loss, point.int8_share) == (budget.loss, budget.int8_share)


def test_a_judge_of_another_model_is_found_out() -> None:
    with pytest.raises(GateError, match="every layer float") as caught:
        fitted(0.5, Measure(as_path, lambda path: loss(path) + 3))
    assert caught.value.got == "3.00 points"


def test_unmeasured_groups_come_last_in_the_order_of_the_proxy() -> None:
    measure = Measure(as_path, loss)
    ranking = rank(GROUPS, measure, proxy=Measure(as_path, loss, name="proxy"), judged=1)
    budget = fit_budget(ranking, measure, 0.1 + 1e-9)
    assert [each.group.name for each in budget.returned] == ["b", "d"]
    assert [each.harm is None for each in budget.returned] == [False, True]


def test_several_workers_choose_the_same() -> None:
    measure = Measure(as_path, loss, workers=2)
    assert fit_budget(rank(GROUPS, measure), measure, 0.1 + 1e-9).float_nodes == {"b", "d"}


def test_the_time_that_each_returned_group_costs() -> None:
    budget = measure_speed(
        fitted(0.1 + 1e-9), as_path, lambda path: 5 + sum(SHARE[n] for n in str(path).split("-"))
    )
    costs = {each.group.name: each.cost_ms for each in budget.returned}
    assert costs == pytest.approx({"b": 0.4, "d": 0.1})
    assert measure_speed(fitted(2.0), as_path, lambda path: 1.0).returned == ()
    assert msgspec.json.decode(msgspec.json.encode(budget), type=Budget) == budget
