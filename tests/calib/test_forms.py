"""The table of forms and their recipes."""

from __future__ import annotations

import pytest

from ghost_deploy.calib.forms import FORMS, forms_of, int8_form, recipes_for
from ghost_deploy.core.errors import UsageError
from ghost_deploy.runtimes.table import RUNTIMES


@pytest.mark.parametrize("form", FORMS)
def test_every_form_has_recipes_of_its_own_and_a_judge(form: str) -> None:
    recipes = [recipe for variant in recipes_for(FORMS[form]) for recipe in variant]
    assert {recipe.form for recipe in recipes} == {form}
    assert len({recipe.name for recipe in recipes}) == len(recipes)
    assert FORMS[form].name == form
    assert FORMS[form].runtime in RUNTIMES


def test_a_recipe_returns_nodes_to_float() -> None:
    recipe = recipes_for(FORMS["tensorrt"])[0][0].with_float(frozenset({"Conv_3"}))
    assert recipe.options.float_nodes == {"Conv_3"}
    again = recipe.with_float(frozenset({"Conv_5"}))
    assert again.name == "minmax, 2 convolutions float"
    assert again.label == "tensorrt/minmax/2-convolutions-float"


@pytest.mark.parametrize("form", FORMS)
def test_corrections_of_ours_can_be_left_out(form: str) -> None:
    row = FORMS[form]
    names = {recipe.name for variant in recipes_for(row, repair=False) for recipe in variant}
    more = {recipe.name for variant in recipes_for(row) for recipe in variant}
    assert names < more
    assert all("biases corrected" in name for name in more - names)


def test_an_unknown_form_is_refused() -> None:
    with pytest.raises(UsageError, match="tflite"):
        int8_form("tflite")


@pytest.mark.parametrize(("machine", "own"), [("x86_64", "ort-x86"), ("aarch64", "ort-arm")])
def test_of_onnx_runtimes_forms_only_that_of_the_processor_is_made(
    machine: str, own: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("platform.machine", lambda: machine)
    names = [[form.name for form in forms_of(formats)] for formats in (["onnx"], ["openvino"])]
    assert names == [[own, "tensorrt"], ["openvino"]]
    assert [form.name for form in forms_of(["openvino", "onnx"])] == ["openvino", own, "tensorrt"]
    assert forms_of(["tensorrt"]) == []


def test_files_of_the_forms_do_not_collide() -> None:
    paths = [each.path for form in FORMS.values() for each in (form, *form.derived)]
    assert len(set(paths)) == len(paths)
