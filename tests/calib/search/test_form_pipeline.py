"""From recipes to an artifact."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ghost_deploy.calib.forms import FORMS, Int8Form
from ghost_deploy.calib.quantize.int8_files import BuiltFile
from ghost_deploy.calib.recipes import Recipe
from ghost_deploy.calib.search import form_pipeline as room
from ghost_deploy.calib.search.artifact_writer import Int8Candidate
from ghost_deploy.calib.search.float_fallback import FallbackResult
from ghost_deploy.calib.search.form_pipeline import FormPipeline, FormResult, best_trial
from ghost_deploy.core.errors import ExportError, MissingExtraError
from ghost_deploy.core.evidence.int8 import Executed, FileAccuracy, Sensitivity, Trial
from tests.support.int8_fakes import SPEC, FakeStopwatch
from tests.support.int8_reports import judged

RAN = Executed(runtime="ort", version="1", macs=10, int8_macs=9)


@dataclass
class Rig:
    """A pipeline whose files are names, with points by name of the recipe."""

    points: Callable[[str], float]
    times: Callable[[Sequence[Path]], dict[Path, float]] = lambda files: {}
    fallback: Any = None
    repair: bool = True
    search: bool = True
    max_drop: float = 0.5
    made: list[str] = field(default_factory=list)
    written: list[Any] = field(default_factory=list)
    carried: list[str] = field(default_factory=list)

    def result(self, form: str) -> FormResult:
        judge = SimpleNamespace(
            facts=judged(),
            accuracy=lambda runtime, path, max_drop, label="": FileAccuracy(
                points=self.points(str(path)), images=87
            ),
        )
        builder = SimpleNamespace(build=self.build, spec=SPEC)
        artifacts: Any = SimpleNamespace(
            builder=builder,
            judge=judge,
            max_drop=self.max_drop,
            write=self.write,
            write_candidate=lambda form, other: self.carried.append(other.recipe.name),
        )
        watch = FakeStopwatch(self.times)
        pipeline = FormPipeline(artifacts, watch, self.fallback, self.repair, self.search)
        return pipeline.make(FORMS[form])

    def build(self, recipe: Recipe) -> BuiltFile:
        self.made.append(recipe.name)
        return BuiltFile(Path(recipe.name))

    def write(self, form: Int8Form, chosen: Int8Candidate) -> list[Any]:
        self.written.append(chosen)
        return []


@pytest.fixture(autouse=True)
def no_runtime(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "executed", lambda path, size_hw: RAN)


def test_where_nothing_works_the_reasons_are_given() -> None:
    def fail(name: str) -> float:
        raise MissingExtraError(f"no {name.partition(',')[0]}", fix="Install it")

    with pytest.raises(ExportError) as caught:
        Rig(fail).result("openvino")
    assert "no nncf" in str(caught.value)
    assert "no minmax" in str(caught.value)


def test_a_recipe_that_fails_leaves_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    rig = Rig(lambda name: 56.8)

    def without_nncf(recipe: Recipe) -> BuiltFile:
        if recipe.via == "nncf":
            raise MissingExtraError("the Python package 'nncf' is not installed", fix="Install it")
        return BuiltFile(Path(recipe.name))

    monkeypatch.setattr(rig, "build", without_nncf)
    result = rig.result("openvino")
    *first, last = result.trials
    assert [each.recipe for each in first] == ["nncf", "nncf, SiLU by GELU"]
    assert all("nncf" in each.problem for each in first)
    assert (last.recipe, last.chosen) == ("minmax", True)
    assert rig.written[0].trial.points == 56.8


def test_recipes_are_tried_until_one_loses_less_than_half_the_limit() -> None:
    points = {"minmax": 56.5, "minmax, biases corrected": 56.7}
    rig = Rig(lambda name: points[name])
    result = rig.result("tensorrt")
    assert rig.made == list(points)
    assert [each.chosen for each in result.trials] == [False, True]


def test_without_a_search_one_placement_is_tried_and_nothing_else_is_carried() -> None:
    def no_times(files: Sequence[Path]) -> dict[Path, float]:
        raise AssertionError("nothing is timed")

    rig = Rig(lambda name: 56.5 if name == "minmax" else 56.8, times=no_times, search=False)
    rig.result("ort-x86")
    assert rig.made == ["minmax", "minmax, biases corrected"]
    assert rig.carried == []


def test_without_a_search_the_most_accurate_is_taken_if_none_is_very_good() -> None:
    points = {"minmax": 56.7, "minmax, biases corrected": 56.66, "mse": 56.74, "percentile": 56.6}
    rig = Rig(lambda name: points[name], search=False)
    rig.result("ort-x86")
    assert rig.made == list(points)
    assert rig.written[0].recipe.name == "mse"


@pytest.mark.parametrize(
    ("ours", "naive", "chosen"),
    [
        (56.8, 57.2, "minmax"),  # good enough: no further placement is judged
        (56.5, 57.1, "minmax, naive"),
        (56.5, 56.4, "minmax"),
    ],
)
def test_what_is_made_for_ncnn_is_no_worse_than_the_naive_setting(
    ours: float, naive: float, chosen: str
) -> None:
    for search in (False, True):
        rig = Rig(lambda name: naive if "naive" in name else ours, search=search)
        rig.result("ncnn")
        assert ("minmax, naive" in rig.made) is (search or ours < 56.6)
        if not search:
            assert rig.written[0].recipe.name == chosen


def test_without_a_search_other_variants_run_only_where_none_is_good() -> None:
    good = Rig(lambda name: 56.7, search=False)
    good.result("openvino")
    assert "nncf" not in good.made
    bad = Rig(lambda name: 56.8 if name == "nncf" else 56.4, search=False)
    bad.result("openvino")
    assert bad.made == ["minmax", "minmax, biases corrected", "mse", "percentile", "nncf"]
    assert bad.written[0].recipe.name == "nncf"
    entry = Rig(lambda name: 56.8 if "entry" in name else 56.4, search=False)
    entry.result("ort-x86")
    assert entry.written[0].recipe.name == "minmax, entry int8"
    # Other placements are made in the way that was the best so far.
    assert entry.made[4:] == ["minmax, depthwise float", "minmax, entry int8"]
    assert entry.carried == []


def test_without_repairs_none_is_tried() -> None:
    rig = Rig(lambda name: 56.5, repair=False)
    rig.result("tensorrt")
    assert rig.made == ["minmax", "mse", "percentile"]


def test_the_fastest_variant_is_kept() -> None:
    rig = Rig(
        lambda name: 56.7 if "depthwise" in name else 56.8,
        times=lambda files: dict(zip(files, (10.0, 7.0, 8.0), strict=True)),
    )
    result = rig.result("ort-x86")
    times = [(each.recipe, each.time, each.chosen) for each in result.trials]
    assert times == [
        ("minmax", 1.0, False),
        ("minmax, depthwise float", 0.7, True),
        ("minmax, entry int8", 0.8, False),
    ]
    assert rig.written[0].executed == RAN
    assert rig.carried == ["minmax, entry int8"]  # the first took 1.4 times as long as the chosen


def test_other_variants_are_carried_for_the_machine_that_runs_them() -> None:
    rig = Rig(lambda name: 56.9 if name == "minmax" else 56.8)
    rig.result("ort-x86")  # nothing was timed
    assert rig.written[0].recipe.name == "minmax"
    assert rig.carried == ["minmax, depthwise float", "minmax, entry int8"]
    rig = Rig(lambda name: 50.0 if "entry" in name else 56.8)
    rig.result("ort-x86")
    assert rig.carried == ["minmax, depthwise float"]  # the other loses too much
    rig = Rig(lambda name: 56.8)
    rig.result("tensorrt")
    assert rig.carried == []


def test_a_form_of_another_processor_is_neither_timed_nor_profiled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(room, "forms_here", lambda runtime: ("ort-x86",))
    monkeypatch.setattr(room, "executed", lambda *_: pytest.fail("profiled"))
    rig = Rig(lambda name: 56.8, times=lambda files: pytest.fail("timed"))
    rig.result("ort-arm")
    assert rig.carried == ["minmax, depthwise int8"]


def test_what_loses_too_much_is_not_timed() -> None:
    def never(files: Sequence[Path]) -> dict[Path, float]:
        raise AssertionError("one variant is left")

    rig = Rig(lambda name: 56.8 if name == "minmax" else 50.0, times=never)
    result = rig.result("ort-x86")
    assert [each.recipe for each in result.trials if each.chosen] == ["minmax"]


SENSITIVITY = Sensitivity(recipe="minmax", layers=())


class FakeFallback:
    """Returns one convolution to float, or finds that this does not help."""

    def __init__(self, *, helps: bool) -> None:
        self.helps = helps

    def find(self, recipe: Recipe) -> FallbackResult:
        assert not recipe.correct_bias
        found = recipe.with_float(frozenset({"Conv_3"})) if self.helps else None
        return FallbackResult(found, SENSITIVITY)


@pytest.mark.parametrize(
    ("fallback", "kept"),
    [
        (None, "minmax"),
        (FakeFallback(helps=False), "minmax"),
        (FakeFallback(helps=True), "minmax, 1 convolution float"),
    ],
)
def test_layers_are_returned_only_where_that_was_asked_for_and_helps(
    fallback: FakeFallback | None, kept: str
) -> None:
    def points(name: str) -> float:
        return 56.8 if "float" in name else (50.0 if name == "minmax" else 49.0)

    rig = Rig(points, fallback=fallback)
    result = rig.result("tensorrt")
    assert rig.written[0].recipe.name == kept
    assert result.sensitivity == (SENSITIVITY if fallback else None)


def test_no_layer_is_returned_where_the_limit_is_met() -> None:
    assert Rig(lambda name: 56.4, fallback=object()).result("tensorrt").trials


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
    found = best_trial(trials, reference=50.0, max_drop=0.5)
    assert (found and found.recipe) == kept
