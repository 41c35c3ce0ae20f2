"""From recipes to an artifact."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ghost_deploy.calib.search import form_pipeline as room
from ghost_deploy.calib.search.builder import Made
from ghost_deploy.calib.search.float_fallback import Mended, Search
from ghost_deploy.calib.search.form_pipeline import Line
from ghost_deploy.calib.search.recipes import Recipe
from ghost_deploy.core.errors import ExportError, MissingExtraError
from ghost_deploy.core.evidence.int8 import Executed, Sensitivity
from tests.support.int8_fakes import SPEC
from tests.support.int8_reports import judged

RAN = Executed(runtime="ort", version="1", macs=10, int8_macs=9)


@dataclass
class Rig:
    """A deposit whose files are names, with points by name of the recipe."""

    points: Callable[[str], float]
    times: dict[str, float] = field(default_factory=dict)
    made: list[str] = field(default_factory=list)
    written: list[Any] = field(default_factory=list)
    max_drop: float = 0.5

    @property
    def deposit(self) -> Any:
        judge = SimpleNamespace(
            facts=judged(),
            points=lambda runtime, path, label="": self.points(str(path)),
            data=SimpleNamespace(images=()),
            options=None,
        )
        shop = SimpleNamespace(make=self.make, spec=SPEC)
        return SimpleNamespace(shop=shop, judge=judge, max_drop=self.max_drop, write=self.write)

    def make(self, recipe: Recipe) -> Made:
        self.made.append(recipe.name)
        return Made(Path(recipe.name))

    def write(self, form: str, kept: Any) -> list[Any]:
        self.written.append(kept)
        return []


@pytest.fixture(autouse=True)
def no_runtime(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "executed", lambda path, size_hw: RAN)
    monkeypatch.setattr(room, "file_times_ms", lambda files, *rest: {})


def test_where_nothing_works_the_reasons_are_given() -> None:
    def fail(name: str) -> float:
        raise MissingExtraError(f"no {name.partition(',')[0]}", fix="Install it")

    with pytest.raises(ExportError) as caught:
        Line(Rig(fail).deposit).make("openvino")
    assert "no nncf" in str(caught.value)
    assert "no minmax" in str(caught.value)


def test_a_recipe_that_fails_leaves_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    rig = Rig(lambda name: 56.8)

    def without_nncf(recipe: Recipe) -> Made:
        if recipe.via == "nncf":
            raise MissingExtraError("the Python package 'nncf' is not installed", fix="Install it")
        return Made(Path(recipe.name))

    monkeypatch.setattr(rig, "make", without_nncf)
    product = Line(rig.deposit).make("openvino")
    *first, last = product.trials
    assert [each.recipe for each in first] == ["nncf", "nncf, SiLU by GELU"]
    assert all("nncf" in each.problem for each in first)
    assert (last.recipe, last.chosen) == ("minmax", True)
    assert rig.written[0].trial.points == 56.8


def test_recipes_are_tried_until_one_loses_less_than_half_the_bar() -> None:
    points = {"minmax": 56.5, "minmax, biases corrected": 56.7}
    rig = Rig(lambda name: points[name])
    product = Line(rig.deposit).make("tensorrt")
    assert rig.made == list(points)
    assert [each.chosen for each in product.trials] == [False, True]


def test_without_repairs_none_is_tried() -> None:
    rig = Rig(lambda name: 56.5)
    Line(rig.deposit, repair=False).make("tensorrt")
    assert rig.made == ["minmax", "mse", "percentile"]


def test_the_fastest_variant_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        room, "file_times_ms", lambda files, *rest: dict(zip(files, (10.0, 7.0, 9.0), strict=True))
    )
    rig = Rig(lambda name: 56.7 if "depthwise" in name else 56.8)
    product = Line(rig.deposit).make("ort-x86")
    times = [(each.recipe, each.time, each.chosen) for each in product.trials]
    assert times == [
        ("minmax", 1.0, False),
        ("minmax, depthwise float", 0.7, True),
        ("minmax, entry int8", 0.9, False),
    ]
    assert rig.written[0].ran == RAN


def test_what_loses_too_much_is_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "file_times_ms", None)
    rig = Rig(lambda name: 56.8 if name == "minmax" else 50.0)
    product = Line(rig.deposit).make("ort-x86")
    assert [each.recipe for each in product.trials if each.chosen] == ["minmax"]


SENSITIVITY = Sensitivity(recipe="minmax", layers=())


@pytest.mark.parametrize(
    ("search", "found", "kept"),
    [
        (None, True, "minmax"),
        (Search(0.5), False, "minmax"),
        (Search(0.5), True, "minmax, 1 convolution float"),
    ],
)
def test_layers_are_returned_only_where_that_was_asked_for_and_helps(
    monkeypatch: pytest.MonkeyPatch, search: Search | None, found: bool, kept: str
) -> None:
    def fake(shop: Any, judge: Any, recipe: Recipe, *rest: Any) -> Mended:
        assert not recipe.correct_bias
        return Mended(recipe.without(frozenset({"Conv_3"})) if found else None, SENSITIVITY)

    monkeypatch.setattr(room, "mend", fake)
    rig = Rig(lambda name: 56.8 if "float" in name else (50.0 if name == "minmax" else 49.0))
    product = Line(rig.deposit, search=search).make("tensorrt")
    assert rig.written[0].recipe.name == kept
    assert product.sensitivity == (SENSITIVITY if search else None)


def test_no_layer_is_returned_where_the_bar_is_met(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "mend", None)
    assert Line(Rig(lambda name: 56.4).deposit, search=Search(0.5)).make("tensorrt").trials
