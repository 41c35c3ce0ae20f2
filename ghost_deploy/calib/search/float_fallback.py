"""Returns layers to float until a form loses little enough: which ones, and what each costs."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from pathlib import Path

from ghost_deploy.calib.graph.index import index_float
from ghost_deploy.calib.graph.structure import Structure, find_structure
from ghost_deploy.calib.search.accuracy_judge import Judge, Progress
from ghost_deploy.calib.search.budget import Budget, FloatGroup, fit_budget, measure_speed
from ghost_deploy.calib.search.builder import Int8Builder, write_model
from ghost_deploy.calib.search.journal import Journal
from ghost_deploy.calib.search.measuring import Build, FloatNodes, Measure
from ghost_deploy.calib.search.measuring import Judge as Loss
from ghost_deploy.calib.search.output_noise import OutputNoise, head_tensors
from ghost_deploy.calib.search.recipes import JUDGES, Recipe
from ghost_deploy.calib.search.sensitivity import Ranking, group_layers, rank
from ghost_deploy.calib.search.sensitivity import Sensitivity as Ranked
from ghost_deploy.calib.search.speed import file_times_ms
from ghost_deploy.core.bundle import sha256_of
from ghost_deploy.core.errors import GateError
from ghost_deploy.core.evidence.int8 import CurvePoint, LayerHarm, Sensitivity

__all__ = ["FallbackOptions", "FallbackResult", "find_float_layers"]

_NOISE_IMAGES = 8
"""Calibration images that the noise of a layer is measured on; it is smooth, so few are enough."""

_JUDGED = 24
"""Groups of layers, the noisiest ones, whose harm is measured by the judge."""


@dataclass(frozen=True)
class FallbackOptions:
    """How long and where it is searched.

    Attributes:
        max_drop: points that may be lost.
        workers: processes that measure side by side.
        journal: file that keeps what was measured; None for memory only.
        judged: groups of layers whose harm is measured.
        images: calibration images that noise is measured on.
    """

    max_drop: float
    workers: int = 1
    journal: Path | None = None
    judged: int = _JUDGED
    images: int = _NOISE_IMAGES


@dataclass(frozen=True)
class FallbackResult:
    """What came of it: the recipe, None where returning layers does not help, and the reasons."""

    recipe: Recipe | None
    sensitivity: Sensitivity


@dataclass(frozen=True)
class _Files:
    """Builds the model whose nodes stay float; picklable."""

    shop: Int8Builder
    recipe: Recipe
    graph_only: bool = False

    def __call__(self, nodes: FloatNodes) -> Path:
        made = self.shop.quantized(self.recipe.without(nodes))
        if not self.graph_only:
            return self.shop.save(made).path
        return write_model(made.model, self.shop.place() / "model.onnx")


@dataclass(frozen=True)
class _Lost:
    """Points lost by a file, which is then removed; picklable."""

    judge: Judge
    recipe: Recipe
    scratch: Path

    def __call__(self, path: Path) -> float:
        points = self.judge.points(JUDGES[self.recipe.form], path)
        return _gone(path, self.scratch, self.judge.facts.reference - points)


@dataclass(frozen=True)
class _Noise:
    """Noise of a file, which is then removed; picklable."""

    noise: OutputNoise
    scratch: Path

    def __call__(self, path: Path) -> float:
        return _gone(path, self.scratch, self.noise(path))


def find_float_layers(
    shop: Int8Builder,
    judge: Judge,
    recipe: Recipe,
    search: FallbackOptions,
    progress: Progress | None = None,
) -> FallbackResult:
    """Find the fewest layers that must be float for a recipe to lose at most `search.max_drop`.

    What was measured is kept in the journal, so that an interrupted search goes on.

    Args:
        shop, judge: of the model.
        recipe: of our own Q/DQ graph, without a correction of biases.
        search: how.
        progress: told after each measurement.

    Raises:
        ExportError: the journal cannot be written.
        BackendError: a runtime refuses a file, or a process died.
    """
    shop = shop.quiet()
    structure = find_structure(index_float(shop.model))
    int8 = shop.quantized(recipe).placement.weights
    build = _Files(shop, recipe)
    measure = _measure(build, _quiet_loss(judge, recipe, shop, search), "lost", judge, search)
    noise = _noise(shop, structure, search)
    proxy = _measure(replace(build, graph_only=True), noise, "noise", judge, search)
    ranking = rank(
        group_layers(structure, int8),
        measure,
        proxy=proxy,
        judged=search.judged,
        progress=_renamed(progress, f"{recipe.form}/ranking: layer"),
    )
    try:
        budget = fit_budget(
            ranking,
            measure,
            search.max_drop,
            progress=_renamed(progress, f"{recipe.form}/returning: choice"),
        )
    except GateError as error:
        problem = f"{error.what}: {error.got}"
        return FallbackResult(None, _sensitivity(recipe, ranking, None, problem))
    if recipe.runs_here:
        budget = _with_costs(budget, build, judge)
    return FallbackResult(recipe.without(budget.float_nodes), _sensitivity(recipe, ranking, budget))


def _quiet_loss(judge: Judge, recipe: Recipe, shop: Int8Builder, search: FallbackOptions) -> Loss:
    """The judge, with one thread for each of several processes."""
    options = judge.options
    if search.workers > 1:
        options = replace(options, threads=1)
    return _Lost(replace(judge, progress=None, options=options), recipe, shop.scratch)


def _noise(shop: Int8Builder, structure: Structure, search: FallbackOptions) -> Loss:
    feeds = list(shop.calibration.subset(search.images).batches(shop.spec.input))
    return _Noise(OutputNoise(shop.model, head_tensors(structure), feeds), shop.scratch)


def _measure(
    build: _Files, loss: Loss, name: str, judge: Judge, search: FallbackOptions
) -> Measure:
    shop, recipe = build.shop, build.recipe
    key = "\n".join(
        (
            sha256_of(shop.source),
            shop.calibration.fingerprint,
            judge.data.facts().fingerprint,
            repr(judge.facts),
            repr(recipe),
            str(search.images),
        )
    )
    journal = Journal(search.journal, key)
    return Measure(build, loss, name=name, journal=journal, workers=search.workers)


def _with_costs(budget: Budget, build: Build, judge: Judge) -> Budget:
    """The budget with what each returned group adds to the time of a run."""
    nodes = budget.float_nodes
    choices = [nodes, *(nodes - set(each.group.nodes) for each in budget.returned)]
    files = {choice: build(choice) for choice in dict.fromkeys(choices)} if nodes else {}
    pictures = [each.path for each in judge.data.images]
    times = file_times_ms(list(files.values()), pictures, judge.options) if files else {}
    if len(times) < len(files):
        return budget
    return measure_speed(budget, files.__getitem__, times.__getitem__)


def _sensitivity(
    recipe: Recipe, ranking: Ranking, budget: Budget | None, problem: str = ""
) -> Sensitivity:
    returned = {each.group: each for each in budget.returned} if budget else {}
    return Sensitivity(
        recipe=recipe.name,
        layers=tuple(_layer(row, returned.get(row.group)) for row in ranking.rows),
        curve=_curve(budget) if budget else (),
        problem=problem,
    )


def _layer(row: Ranked, returned: FloatGroup | None) -> LayerHarm:
    return LayerHarm(
        nodes=row.group.nodes,
        share=row.group.share,
        noise=row.proxy,
        harm=row.harm,
        returned=returned is not None,
        gain=returned.gain if returned else None,
        cost_ms=returned.cost_ms if returned else None,
    )


def _curve(budget: Budget) -> tuple[CurvePoint, ...]:
    return tuple(
        CurvePoint(
            int8_share=point.int8_share,
            lost=point.loss,
            returned=len(point.returned),
            chosen=point.returned == budget.chosen,
        )
        for point in budget.curve
    )


def _renamed(progress: Progress | None, label: str) -> Progress | None:
    if progress is None:
        return None

    def tell(what: str, done: int, total: int) -> None:
        progress(label, done, total)

    return tell


def _gone(path: Path, scratch: Path, value: float) -> float:
    """`value`, after the folder below `scratch` that holds `path` was removed."""
    folder = next(each for each in path.parents if each.parent == scratch)
    shutil.rmtree(folder, ignore_errors=True)
    return value
