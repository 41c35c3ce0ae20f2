"""Which of the tried files is kept."""

from __future__ import annotations

import pytest

from ghost_deploy.calib.forms import FORMS
from ghost_deploy.calib.recipes import JUDGES, best, recipes_for
from ghost_deploy.core.evidence.int8 import Trial


def trial(name: str, points: float | None, time: float | None = None) -> Trial:
    return Trial(form="ort-x86", recipe=name, points=points, time=time)


CASES = [
    ([], None),
    ([trial("broken", None)], None),
    ([trial("broken", None), trial("poor", 40.0)], "poor"),
    # the fastest of those that lose little enough
    ([trial("a", 49.9, 1.0), trial("b", 49.6, 0.7)], "b"),
    ([trial("a", 49.9, 1.0), trial("b", 49.4, 0.7)], "a"),
    # equally fast: the more accurate
    ([trial("a", 49.6, 0.70), trial("b", 49.9, 0.71)], "b"),
    # no times: the more accurate
    ([trial("a", 49.6), trial("b", 49.9)], "b"),
    # none good enough: the most accurate, however slow
    ([trial("a", 48.0, 0.5), trial("b", 49.0, 2.0)], "b"),
]


@pytest.mark.parametrize(("trials", "kept"), CASES)
def test_the_best_trial(trials: list[Trial], kept: str | None) -> None:
    found = best(trials, reference=50.0, max_drop=0.5)
    assert (found and found.recipe) == kept


@pytest.mark.parametrize("form", FORMS)
def test_every_form_has_recipes_of_its_own_and_a_judge(form: str) -> None:
    recipes = [recipe for variant in recipes_for(form) for recipe in variant]
    assert {recipe.form for recipe in recipes} == {form}
    assert len({recipe.name for recipe in recipes}) == len(recipes)
    assert form in JUDGES


def test_a_recipe_returns_nodes_to_float() -> None:
    recipe = recipes_for("tensorrt")[0][0].without(frozenset({"Conv_3"}))
    assert recipe.options is not None
    assert recipe.options.float_nodes == {"Conv_3"}
    again = recipe.without(frozenset({"Conv_5"}))
    assert again.name == "minmax, 2 convolutions float"
    assert again.label == "tensorrt/minmax/2-convolutions-float"


@pytest.mark.parametrize("form", FORMS)
def test_corrections_of_ours_can_be_left_out(form: str) -> None:
    names = {recipe.name for variant in recipes_for(form, repair=False) for recipe in variant}
    more = {recipe.name for variant in recipes_for(form) for recipe in variant}
    assert names < more
    assert all("biases corrected" in name for name in more - names)
