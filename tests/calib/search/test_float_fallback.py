"""Layers that are returned to float."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
from onnx import ModelProto

from ghost_deploy.calib.recipes import Recipe
from ghost_deploy.calib.search.float_fallback import FallbackOptions, find_float_layers
from tests.support.int8_fakes import FakeJudge, rounded, small_builder

BLAMED = "dense"
RECIPE = Recipe("minmax", "tensorrt")


def harmed_by_one(model: ModelProto) -> float:
    return 56.86 - (3.0 if rounded(model, BLAMED) else 0.1)


def always_poor(model: ModelProto) -> float:
    return 50.0


def files_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_where_returning_layers_does_not_help_it_says_so(tmp_path: Path) -> None:
    found = find_float_layers(
        small_builder(tmp_path), FakeJudge(always_poor), RECIPE, FallbackOptions(0.5)
    )  # type: ignore[arg-type]
    assert found.recipe is None
    assert "even with every layer float" in found.sensitivity.problem
    assert found.sensitivity.curve == ()
    assert not any(layer.returned for layer in found.sensitivity.layers)


def test_the_layer_that_is_to_blame_becomes_float_and_no_other(tmp_path: Path) -> None:
    shop = small_builder(tmp_path)
    judge = FakeJudge(harmed_by_one)
    told: list[tuple[str, int, int]] = []
    found = find_float_layers(
        shop, judge, RECIPE, FallbackOptions(0.5), lambda *step: told.append(step)
    )  # type: ignore[arg-type]
    assert found.recipe is not None
    assert found.recipe.options is not None
    assert found.recipe.options.float_nodes == {BLAMED}
    assert found.recipe.name == "minmax, 1 convolution float"
    worst, *others = found.sensitivity.layers
    assert (worst.nodes, worst.returned) == ((BLAMED,), True)
    assert worst.harm == pytest.approx(2.9)
    assert worst.gain == pytest.approx(2.9)
    assert not any(layer.returned or layer.gain for layer in others)
    assert [point.chosen for point in found.sensitivity.curve] == [False, True]
    assert [point.lost for point in found.sensitivity.curve] == pytest.approx([3.0, 0.1])
    assert {what.partition("/")[2] for what, _, _ in told} == {
        "ranking: layer",
        "returning: choice",
    }
    assert files_in(tmp_path) == ["float.onnx"], "files that were judged are removed"


def test_what_was_measured_is_not_measured_again(tmp_path: Path) -> None:
    shop, search = (
        small_builder(tmp_path),
        FallbackOptions(0.5, journal=tmp_path / "journal" / "x.jsonl"),
    )
    first, second = FakeJudge(harmed_by_one), FakeJudge(harmed_by_one)
    found = find_float_layers(shop, first, RECIPE, search)  # type: ignore[arg-type]
    assert find_float_layers(shop, second, RECIPE, search) == found  # type: ignore[arg-type]
    assert first.asked
    assert not second.asked


def test_only_the_noisiest_are_judged(tmp_path: Path) -> None:
    judge = FakeJudge(harmed_by_one)
    found = find_float_layers(
        small_builder(tmp_path), judge, RECIPE, FallbackOptions(5.0, judged=1)
    )  # type: ignore[arg-type]
    assert [layer.harm is None for layer in found.sensitivity.layers].count(False) == 1
    assert all(layer.noise is not None for layer in found.sensitivity.layers)


def test_a_quiet_workshop_goes_to_another_process(tmp_path: Path) -> None:
    shop = small_builder(tmp_path)
    again = pickle.loads(pickle.dumps(shop.quiet()))
    assert again.quantized(RECIPE).model == shop.quantized(RECIPE).model
