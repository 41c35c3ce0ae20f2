"""Makes int8 files of one float model and one calibration set."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from onnx import ModelProto

from ghost_deploy.calib.graph.index import Graph
from ghost_deploy.calib.graph.structure import find_structure
from ghost_deploy.calib.images.collection import CalibrationSet
from ghost_deploy.calib.quantize.bias import correct_bias
from ghost_deploy.calib.quantize.channels_last import to_channels_last
from ghost_deploy.calib.quantize.lint import require_clean
from ghost_deploy.calib.quantize.nncf import quantize_openvino, read_openvino, save_openvino
from ghost_deploy.calib.quantize.openvino_rewrites import approximate_silu
from ghost_deploy.calib.quantize.qdq import QdqGraph, quantize
from ghost_deploy.calib.quantize.scales import input_range
from ghost_deploy.calib.ranges.histogram import TensorStatistics
from ghost_deploy.calib.search.accuracy_judge import Progress
from ghost_deploy.calib.search.recipes import Recipe
from ghost_deploy.core.spec import ModelSpec

__all__ = ["REPAIR_IMAGES", "Made", "Workshop", "write_model"]

REPAIR_IMAGES = 16
"""Calibration images that shifts of means are measured on, spread evenly over the set: thousands
of values of each channel, for about 30 MB of memory an image at 640."""


@dataclass(frozen=True)
class Made:
    """An int8 file.

    Attributes:
        path: what a runtime opens.
        extra_files: what belongs to it.
        planned_share: share of the multiply-adds, 0 to 1, that are meant to be int8; None where
            NNCF chose them.
        quantized: how our own Q/DQ graph was made; None for NNCF's.
    """

    path: Path
    extra_files: tuple[Path, ...] = ()
    planned_share: float | None = None
    quantized: QdqGraph | None = None


@dataclass(frozen=True)
class Workshop:
    """Makes files, each in a new folder. Without `progress` it can be pickled.

    Attributes:
        source: the fp32 ONNX file.
        model: what it holds.
        spec: of the model.
        calibration: the pictures.
        statistics: of the activations of `model` on them.
        scratch: where the folders are made.
        threads: of ONNX Runtime where it computes; 0 for its choice.
        progress: told of long steps.
    """

    source: Path
    model: ModelProto = field(repr=False)
    spec: ModelSpec
    calibration: CalibrationSet = field(repr=False)
    statistics: Mapping[str, TensorStatistics] = field(repr=False)
    scratch: Path
    threads: int = 0
    progress: Progress | None = field(default=None, repr=False)

    def quiet(self) -> Workshop:
        """The same, which tells nobody."""
        return replace(self, progress=None)

    def make(self, recipe: Recipe) -> Made:
        """The file of a recipe.

        Raises:
            ExportError: a step refuses the model.
            MissingExtraError: a package that the recipe needs is not installed.
        """
        if recipe.via == "nncf":
            return self._with_nncf(recipe)
        return self.save(self.quantized(recipe))

    def quantized(self, recipe: Recipe) -> QdqGraph:
        """Our own Q/DQ graph of a recipe."""
        known = input_range(self.spec.input)
        made = quantize(
            self.model,
            self.statistics,
            recipe.form,
            recipe.options,
            method=recipe.method,
            ranges=known,
        )
        if not recipe.correct_bias:
            return made
        feeds = list(self.calibration.subset(REPAIR_IMAGES).batches(self.spec.input))
        corrected = correct_bias(
            self.model, made.model, made.weight_scales, feeds, threads=self.threads
        )
        return quantize(
            corrected,
            self.statistics,
            recipe.form,
            recipe.options,
            method=recipe.method,
            ranges=known,
            weight_scales=made.weight_scales,
        )

    def save(self, made: QdqGraph) -> Made:
        """Write a Q/DQ graph as the file that its runtime opens.

        Raises:
            ExportError: TensorRT would refuse the graph, or it is not valid ONNX.
        """
        form = made.placement.form
        if form == "tensorrt":
            require_clean(made.model)
        model = to_channels_last(made.model) if form == "ort-x86" else made.model
        path = write_model(model, self.place() / "model.onnx")
        if form != "openvino":
            return Made(path, (), made.macs_planned, made)
        from ghost_deploy.export.openvino import write_openvino

        folder = path.parent / "model_openvino_model"
        xml, *others = write_openvino(path, folder, self.spec, "int8")
        return Made(xml, tuple(others), made.macs_planned, made)

    def _with_nncf(self, recipe: Recipe) -> Made:
        from ghost_deploy.export.openvino import write_openvino

        def transform(model: Any) -> Any:
            quantized = self._quantized_by_nncf(model, recipe)
            if recipe.gelu:
                approximate_silu(quantized)
            return quantized

        folder = self.place() / "model_openvino_model"
        xml, *others = write_openvino(self.source, folder, self.spec, "int8", transform=transform)
        return Made(xml, tuple(others))

    def _quantized_by_nncf(self, model: Any, recipe: Recipe) -> Any:
        """What NNCF makes of the converted model; kept, because several recipes start with it."""
        keep = self._kept_float(recipe)
        name = hashlib.sha256("\n".join(sorted(keep)).encode()).hexdigest()[:16]
        path = self.scratch / f"nncf-{name}.xml"
        if path.exists():
            return read_openvino(path)
        quantized = quantize_openvino(
            model,
            self.calibration,
            self.spec.input,
            keep_float=keep,
            progress=self.progress,
            label=recipe.label,
        )
        save_openvino(quantized, path)
        return quantized

    def _kept_float(self, recipe: Recipe) -> set[str]:
        """What NNCF must leave alone besides the head: attention, gates and what was asked."""
        structure = find_structure(Graph(self.model))
        asked = recipe.options.float_nodes if recipe.options else frozenset()
        return {*structure.attention, *structure.gates, *asked}

    def place(self) -> Path:
        """A new folder."""
        return Path(tempfile.mkdtemp(dir=self.scratch))


def write_model(model: ModelProto, path: Path) -> Path:
    """Write a model; equal models give equal bytes."""
    path.write_bytes(model.SerializeToString(deterministic=True))
    return path
