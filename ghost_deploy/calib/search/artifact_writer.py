"""Writes the int8 files that were chosen into the bundle, and says of each what it is worth."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec
from onnx import ModelProto

from ghost_deploy.calib.forms import Form
from ghost_deploy.calib.graph.index import Graph
from ghost_deploy.calib.graph.structure import find_structure
from ghost_deploy.calib.quantize.lint import require_clean
from ghost_deploy.calib.quantize.scales import input_range
from ghost_deploy.calib.quantize.strongly_typed import to_strong_fp16
from ghost_deploy.calib.ranges.methods import activation_range
from ghost_deploy.calib.search.accuracy_judge import Judge
from ghost_deploy.calib.search.builder import Made, Workshop, write_model
from ghost_deploy.calib.search.recipes import JUDGES, Recipe
from ghost_deploy.calib.search.tool_versions import versions
from ghost_deploy.core.bundle import FORM_KEY, Artifact, BundleWriter
from ghost_deploy.core.errors import ExportError
from ghost_deploy.core.evidence.int8 import Executed, Int8Row, Trial
from ghost_deploy.runtimes.tensorrt.calibration_cache import CACHE_FILE, write_calibration_cache

__all__ = ["STRONG_FORM", "Deposit", "Kept", "strong_form"]

STRONG_FORM = "tensorrt-fp16"
"""Name of the form with a float16 rest, for strongly typed engines."""


@dataclass(frozen=True)
class Kept:
    """A file that was chosen.

    Attributes:
        trial: how it did.
        recipe: how it was made.
        made: the file.
        ran: what of it ran in int8, where a runtime here runs its form.
    """

    trial: Trial
    recipe: Recipe
    made: Made
    ran: Executed | None = None


@dataclass(frozen=True)
class Deposit:
    """Where chosen files go.

    Attributes:
        writer: of the bundle.
        shop: that made them.
        judge: of their accuracy.
        parent: sha256 of the fp32 ONNX file.
        max_drop: points that may be lost.
    """

    writer: BundleWriter
    shop: Workshop
    judge: Judge
    parent: str
    max_drop: float

    def write(self, form: Form, kept: Kept) -> list[Int8Row]:
        """Write a file of `form` and what else is made of it; a row for each artifact."""
        if form == "openvino":
            return [self._openvino(kept)]
        path = self.writer.folder / f"model.int8.{form}.onnx"
        shutil.move(kept.made.path, path)
        others = (self._cache(kept.recipe),) if form == "tensorrt" else ()
        row = self._row(self._add("onnx", form, path, others), kept)
        if form != "tensorrt":
            return [row]
        try:
            return [row, self._strong(kept)]
        except ExportError as error:
            note = f"there is no strongly typed form: {error.what}: {error.got}"
            return [msgspec.structs.replace(row, notes=(*row.notes, note))]

    def _openvino(self, kept: Kept) -> Int8Row:
        folder = self.writer.folder / "model.int8_openvino_model"
        shutil.move(kept.made.path.parent, folder)
        path = folder / kept.made.path.name
        others = tuple(folder / each.name for each in kept.made.extra_files)
        return self._row(self._add("openvino", "openvino", path, others), kept)

    def _strong(self, kept: Kept) -> Int8Row:
        """The second TensorRT form, which is linted and judged apart."""
        assert kept.made.quantized is not None
        model = strong_form(kept.made.quantized.model)
        path = write_model(model, self.writer.folder / f"model.int8.{STRONG_FORM}.onnx")
        runtime = JUDGES[STRONG_FORM]
        points = self.judge.points(runtime, path, label=f"{STRONG_FORM}/{kept.recipe.name}")
        return self._row(self._add("onnx", STRONG_FORM, path, ()), kept, points)

    def _cache(self, recipe: Recipe) -> Path:
        """Ranges of tensors, for a build on the device that chooses its own placement.

        Those of the decode tail, where pixels and scores share tensors, and of the head's last
        convolutions are left out: what is not listed runs in float.
        """
        graph = Graph(self.shop.model)
        head = find_structure(graph).head
        tail = {name for node in graph.nodes if node.name in head for name in node.output}
        known = input_range(self.shop.spec.input)
        scales = {
            name: max(map(abs, known[name])) / 127
            if name in known
            else activation_range(stats, recipe.method, symmetric=True)[1] / 127
            for name, stats in self.shop.statistics.items()
            if name not in tail
        }
        path = self.writer.folder / CACHE_FILE
        write_calibration_cache(path, scales)
        return path

    def _add(self, format: str, form: str, path: Path, others: tuple[Path, ...]) -> Artifact:
        return self.writer.add(
            format=format,
            precision="int8",
            path=path,
            parent=self.parent,
            tools=versions(),
            options={"size": "{}x{}".format(*self.shop.spec.input.size_hw)},
            extra_files=others,
            form=form,
        )

    def _row(self, artifact: Artifact, kept: Kept, points: float | None = None) -> Int8Row:
        points = kept.trial.points if points is None else points
        drop = None if points is None else self.judge.facts.reference - points
        options = kept.recipe.options
        return Int8Row(
            artifact=artifact.id,
            sha256=artifact.files[artifact.path],
            form=artifact.form,
            judged_on=JUDGES[artifact.form],
            recipe=kept.recipe.name,
            status=_status(drop, self.max_drop),
            points=points,
            drop=drop,
            max_drop=self.max_drop,
            planned_share=kept.made.planned_share,
            executed=kept.ran,
            kept_float=tuple(sorted(options.float_nodes)) if options else (),
            notes=tuple(_notes(artifact.form)),
        )


def strong_form(model: ModelProto) -> ModelProto:
    """The form with a float16 rest of a file of the form `tensorrt`, named as such.

    Raises:
        ExportError: it cannot be made, or TensorRT's parser would refuse it.
    """
    strong = to_strong_fp16(model)
    entry = next(each for each in strong.metadata_props if each.key == FORM_KEY)
    entry.value = STRONG_FORM
    require_clean(strong, strongly_typed=True)
    return strong


def _status(drop: float | None, most: float) -> Literal["passed", "failed", "unjudged"]:
    if drop is None:
        return "unjudged"
    return "passed" if drop <= most else "failed"


def _notes(form: str) -> Iterator[str]:
    if form.startswith("tensorrt"):
        yield "judged for accuracy on ONNX Runtime, which computes the Q/DQ arithmetic as written"
