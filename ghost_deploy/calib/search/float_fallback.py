"""Float fallback: finds the layers that must be float for a form to stay within its limit."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from ghost_deploy.calib.forms import int8_form
from ghost_deploy.calib.graph.index import index_float
from ghost_deploy.calib.graph.structure import find_structure
from ghost_deploy.calib.quantize.int8_files import write_model
from ghost_deploy.calib.recipes import Recipe
from ghost_deploy.calib.search.budget import Budget, fit_budget
from ghost_deploy.calib.search.int8_builder import Int8Builder
from ghost_deploy.calib.search.journal import Journal
from ghost_deploy.calib.search.measuring import Build, FloatNodes, Loss, Measure
from ghost_deploy.calib.search.output_noise import OutputNoise, head_tensors
from ghost_deploy.calib.search.protocols import AccuracyJudge, Stopwatch
from ghost_deploy.calib.search.sensitivity import LayerGroup, Ranking, group_layers, rank
from ghost_deploy.core.bundle import sha256_of
from ghost_deploy.core.evidence.int8 import LayerHarm, Sensitivity
from ghost_deploy.core.gate_error import GateError
from ghost_deploy.core.progress import Progress, silent

_NOISE_IMAGES = 8
"""Calibration images that the noise of a layer is measured on; noise is smooth, so few suffice."""

_JUDGED = 24
"""Groups of layers, the noisiest ones, whose harm the judge measures."""


@dataclass(frozen=True)
class FallbackResult:
    """Result of a search.

    Attributes:
        recipe: with the harmful layers in float; None where that does not help.
        sensitivity: harm of each layer.
    """

    recipe: Recipe | None
    sensitivity: Sensitivity


@dataclass(frozen=True)
class _Files:
    """Builds the model whose named nodes stay float; picklable."""

    builder: Int8Builder
    recipe: Recipe
    graph_only: bool = False

    def __call__(self, nodes: FloatNodes) -> Path:
        graph = self.builder.quantized(self.recipe.with_float(nodes))
        if not self.graph_only:
            return self.builder.write(graph).path
        return write_model(graph.model, self.builder.new_folder() / "model.onnx")


@dataclass(frozen=True)
class _Removing:
    """The loss of a file, which is then removed; picklable if `loss` is.

    Attributes:
        loss: of a file.
        scratch: holds the folder of each file.
    """

    loss: Loss
    scratch: Path

    def __call__(self, path: Path) -> float:
        loss = self.loss(path)
        folder = next(each for each in path.parents if each.parent == self.scratch)
        shutil.rmtree(folder, ignore_errors=True)
        return loss


def _points_lost(judge: AccuracyJudge, runtime: str, path: Path) -> float:
    return judge.facts.reference - judge.points(runtime, path)


@dataclass(frozen=True)
class FloatFallback:
    """Finds the fewest layers that must be float for a recipe to lose at most `max_drop`.

    Measurements are kept in the journal, so that an interrupted search continues.

    Attributes:
        builder: of the files.
        judge: of their accuracy.
        stopwatch: of the time that a float layer adds.
        max_drop: points that may be lost.
        workers: processes that measure in parallel.
        journal: file that keeps measurements; None keeps them in memory.
        judged: number of groups of layers whose harm the judge measures.
        images: number of calibration images that noise is measured on.
        progress: receives each measurement.
    """

    builder: Int8Builder
    judge: AccuracyJudge
    stopwatch: Stopwatch
    max_drop: float
    workers: int = 1
    journal: Path | None = None
    judged: int = _JUDGED
    images: int = _NOISE_IMAGES
    progress: Progress = field(default=silent, repr=False)

    def find(self, recipe: Recipe) -> FallbackResult:
        """Search for the layers.

        Args:
            recipe: of our own Q/DQ graph, without a correction of biases.

        Raises:
            ExportError: the journal cannot be written.
            BackendError: a runtime cannot run a file, or a process died.
        """
        form = int8_form(recipe.form)
        builder = self.builder.quiet()
        build = _Files(builder, recipe)
        judge = self.judge.quiet(threads=1 if self.workers > 1 else None)
        measure = self._measure(build, partial(_points_lost, judge, form.runtime), "lost")
        ranking = self._rank(build, measure)
        progress = self._labelled(f"{form.name}/returning: choice")
        try:
            budget = fit_budget(ranking, measure, self.max_drop, progress=progress)
        except GateError as error:
            layers = _layers(ranking, {}, {})
            problem = f"{error.what}: {error.got}"
            return FallbackResult(
                None, Sensitivity(recipe=recipe.name, layers=layers, problem=problem)
            )
        costs = self._costs(budget, build) if form.executed else {}
        layers = _layers(ranking, budget.gains, costs)
        return FallbackResult(
            recipe.with_float(budget.float_nodes),
            Sensitivity(recipe=recipe.name, layers=layers, curve=budget.curve),
        )

    def _rank(self, build: _Files, measure: Measure) -> Ranking:
        """All groups of layers by their harm: by noise first, the worst by the judge."""
        builder, recipe = build.builder, build.recipe
        structure = find_structure(index_float(builder.model))
        feeds = list(builder.calibration.subset(self.images).batches(builder.spec.input))
        noise = OutputNoise(builder.model, head_tensors(structure), feeds)
        proxy = self._measure(replace(build, graph_only=True), noise, "noise")
        return rank(
            group_layers(structure, builder.quantized(recipe).placement.weights),
            measure,
            proxy=proxy,
            judged=self.judged,
            progress=self._labelled(f"{recipe.form}/ranking: layer"),
        )

    def _measure(self, build: _Files, loss: Loss, name: str) -> Measure:
        builder = build.builder
        key = "\n".join(
            (
                sha256_of(builder.source),
                builder.calibration.fingerprint,
                self.judge.fingerprint,
                repr(self.judge.facts),
                repr(build.recipe),
                str(self.images),
            )
        )
        journal = Journal(self.journal, key)
        loss = _Removing(loss, builder.scratch)
        return Measure(build, loss, name=name, journal=journal, workers=self.workers)

    def _costs(self, budget: Budget, build: Build) -> dict[LayerGroup, float]:
        """Milliseconds that each float group adds to a run; empty where not all were timed."""
        if not budget.groups:
            return {}
        nodes = budget.float_nodes
        base = build(nodes)
        fewer = {group: build(nodes - set(group.nodes)) for group in budget.groups}
        times = self.stopwatch.file_times_ms([base, *fewer.values()])
        if len(times) <= len(fewer):
            return {}
        return {group: times[base] - times[file] for group, file in fewer.items()}

    def _labelled(self, label: str) -> Progress:
        return lambda what, done, total: self.progress(label, done, total)


def _layers(
    ranking: Ranking, gains: Mapping[LayerGroup, float], costs: Mapping[LayerGroup, float]
) -> tuple[LayerHarm, ...]:
    return tuple(
        LayerHarm(
            nodes=row.group.nodes,
            share=row.group.share,
            noise=row.proxy,
            harm=row.harm,
            returned=row.group in gains,
            gain=gains.get(row.group),
            cost_ms=costs.get(row.group),
        )
        for row in ranking.rows
    )
