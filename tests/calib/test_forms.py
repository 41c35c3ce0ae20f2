"""The table of forms and their recipes."""

from __future__ import annotations

import pytest

from ghost_deploy.calib.forms import FORMS, forms_of, int8_form, recipes_for
from ghost_deploy.calib.quantize.conventions import NAIVE
from ghost_deploy.core.errors import UsageError
from ghost_deploy.export.targets import DEVICES
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


@pytest.mark.parametrize("form", FORMS)
def test_without_a_search_our_own_graphs_of_the_default_placement_come_first(form: str) -> None:
    row = FORMS[form]
    first, *later = recipes_for(row, search=False)
    names = ["minmax", "minmax, biases corrected", "mse", "percentile"]
    if form == "tensorrt":  # signed activations: on trained detectors the others lose more
        names = [names[3], *names[:3]]
    assert [recipe.name for recipe in first] == names
    assert {recipe.options for recipe in first} == {row.options}
    # NNCF's graph needs a further run of the network on all images.
    if row.format == "openvino":
        assert [[recipe.name for recipe in variant] for variant in later] == [["nncf"]]
    elif form == "ncnn":
        assert [recipe.name for recipe in later[-1]] == ["minmax, naive"]
        assert later[-1][0].options == NAIVE
        assert len(later) == len(row.variants) + 1
    else:
        assert len(later) == len(row.variants)


def test_an_unknown_form_is_refused() -> None:
    with pytest.raises(UsageError, match="tflite"):
        int8_form("tflite")


@pytest.mark.parametrize(
    ("targets", "onnx", "openvino"),
    [
        (["x86"], ["ort-x86", "tensorrt"], ["openvino"]),
        (["x86-vnni"], ["ort-x86-vnni", "tensorrt"], ["openvino-vnni"]),
        (["arm64"], ["ort-arm", "tensorrt"], []),
        (["x86", "arm64"], ["ort-x86", "ort-arm", "tensorrt"], ["openvino"]),
    ],
)
def test_forms_are_made_for_the_targets(
    targets: list[str], onnx: list[str], openvino: list[str]
) -> None:
    assert set(targets) <= set(DEVICES)
    made = [[form.name for form in forms_of([f], targets)] for f in ("onnx", "openvino")]
    assert made == [onnx, openvino]
    assert forms_of(["tensorrt"], targets) == []


def test_every_form_of_x86_that_any_processor_may_run_has_the_guard() -> None:
    for form in FORMS.values():
        assert form.convention.overflow_guard == ("x86" in form.targets), form.name


def test_files_of_the_forms_do_not_collide() -> None:
    paths = [each.path for form in FORMS.values() for each in (form, *form.derived)]
    assert len(set(paths)) == len(paths)
