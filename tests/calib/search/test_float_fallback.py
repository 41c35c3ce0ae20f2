"""Layers that return to float."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from onnx import ModelProto

from ghost_deploy.calib.search.float_fallback import FloatFallback
from tests.support.int8_fakes import FakeJudge, FakeStopwatch, rounded, small_builder
from tests.support.int8_forms import minmax
from tests.support.small_graphs import ghost_net

HARMFUL = "dense"
RECIPE = minmax("tensorrt")


def harmed_by_one(model: ModelProto) -> float:
    return 56.86 - (3.0 if rounded(model, HARMFUL) else 0.1)


def always_poor(model: ModelProto) -> float:
    return 50.0


def fallback(folder: Path, judge: FakeJudge, max_drop: float = 0.5, **more: Any) -> FloatFallback:
    builder = small_builder(folder)
    return FloatFallback(builder, judge, FakeStopwatch(), max_drop, **more)


def files_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_where_returning_layers_does_not_help_it_says_so(tmp_path: Path) -> None:
    found = fallback(tmp_path, FakeJudge(always_poor)).find(RECIPE)
    assert found.recipe is None
    assert "even with every layer float" in found.sensitivity.problem
    assert found.sensitivity.curve == ()
    assert not any(layer.returned for layer in found.sensitivity.layers)


def test_the_harmful_layer_becomes_float_and_no_other(tmp_path: Path) -> None:
    told: list[tuple[str, int, int]] = []
    judge = FakeJudge(harmed_by_one)
    search = fallback(tmp_path, judge, progress=lambda *step: told.append(step))
    found = search.find(RECIPE)
    assert found.recipe is not None
    assert found.recipe.options.float_nodes == {HARMFUL}
    assert found.recipe.name == "minmax, 1 convolution float"
    worst, *others = found.sensitivity.layers
    assert (worst.nodes, worst.returned) == ((HARMFUL,), True)
    assert worst.harm == pytest.approx(2.9)
    assert worst.gain == pytest.approx(2.9)
    assert worst.cost_ms is None, "no runtime here computes the form in int8"
    assert not any(layer.returned or layer.gain for layer in others)
    assert [point.chosen for point in found.sensitivity.curve] == [False, True]
    assert [point.lost for point in found.sensitivity.curve] == pytest.approx([3.0, 0.1])
    assert {what.partition("/")[2] for what, _, _ in told} == {
        "ranking: layer",
        "returning: choice",
    }
    assert files_in(tmp_path) == ["float.onnx"], "files that were judged are removed"


def test_what_a_float_layer_costs_is_timed_where_the_form_runs(tmp_path: Path) -> None:
    watch = FakeStopwatch(lambda files: dict(zip(files, (7.0, 6.5), strict=True)))
    search = replace(fallback(tmp_path, FakeJudge(quantized_outputs)), stopwatch=watch)
    (worst, *_) = search.find(minmax("ort-arm")).sensitivity.layers
    assert (worst.nodes, worst.cost_ms) == ((HARMFUL,), pytest.approx(0.5))


def quantized_outputs(model: ModelProto) -> float:
    return harmed_by_one(model)


def test_measurements_are_not_repeated(tmp_path: Path) -> None:
    journal = tmp_path / "journal" / "x.jsonl"
    first, second = FakeJudge(harmed_by_one), FakeJudge(harmed_by_one)
    found = fallback(tmp_path, first, journal=journal).find(RECIPE)
    assert fallback(tmp_path, second, journal=journal).find(RECIPE) == found
    assert first.asked
    assert not second.asked


def test_only_the_noisiest_are_judged(tmp_path: Path) -> None:
    found = fallback(tmp_path, FakeJudge(harmed_by_one), 5.0, judged=1).find(RECIPE)
    assert [layer.harm is None for layer in found.sensitivity.layers].count(False) == 1
    assert all(layer.noise is not None for layer in found.sensitivity.layers)


def test_a_quiet_builder_goes_to_another_process(tmp_path: Path) -> None:
    loud = replace(small_builder(tmp_path), progress=lambda *step: None)
    with pytest.raises(AttributeError):
        pickle.dumps(loud)
    again = pickle.loads(pickle.dumps(loud.quiet()))
    assert again.model == ghost_net()
    assert again.quantized(RECIPE).model == loud.quantized(RECIPE).model
