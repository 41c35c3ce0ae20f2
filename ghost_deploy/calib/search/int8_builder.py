"""Builds the int8 files of one float model and one calibration set."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from onnx import ModelProto

from ghost_deploy.calib.forms import int8_form
from ghost_deploy.calib.graph.index import index_float
from ghost_deploy.calib.graph.structure import find_structure
from ghost_deploy.calib.images.collection import CalibrationSet
from ghost_deploy.calib.quantize.bias import correct_bias
from ghost_deploy.calib.quantize.conventions import Convention
from ghost_deploy.calib.quantize.int8_files import BuiltFile, file_info
from ghost_deploy.calib.quantize.nncf import quantize_openvino, read_openvino, save_openvino
from ghost_deploy.calib.quantize.openvino_overflow import guard_weights
from ghost_deploy.calib.quantize.openvino_rewrites import approximate_silu
from ghost_deploy.calib.quantize.qdq import QdqGraph, quantize
from ghost_deploy.calib.quantize.scales import input_range
from ghost_deploy.calib.ranges.histogram import TensorStatistics
from ghost_deploy.calib.recipes import Recipe
from ghost_deploy.core.progress import Progress, silent
from ghost_deploy.core.spec import ModelSpec
from ghost_deploy.export.openvino import write_openvino

CORRECTION_IMAGES = 16
"""Calibration images that mean shifts are measured on, spread evenly over the set: thousands of
values of each channel, for about 30 MB of memory an image at 640."""


@dataclass(frozen=True)
class Int8Builder:
    """Builds files, each in a new folder. Picklable without progress reporting.

    Attributes:
        source: the fp32 ONNX file.
        model: its content.
        spec: of the model.
        calibration: the images.
        statistics: of the activations of `model` on them, by tensor.
        scratch: where the folders are made.
        threads: of ONNX Runtime where it computes; 0 for its default.
        progress: receives the steps of NNCF.
    """

    source: Path
    model: ModelProto = field(repr=False)
    spec: ModelSpec
    calibration: CalibrationSet = field(repr=False)
    statistics: Mapping[str, TensorStatistics] = field(repr=False)
    scratch: Path
    threads: int = 0
    progress: Progress = field(default=silent, repr=False)

    def quiet(self) -> Int8Builder:
        """Returns a copy without progress reporting."""
        return replace(self, progress=silent)

    def build(self, recipe: Recipe) -> BuiltFile:
        """The file of a recipe.

        Raises:
            ExportError: a step cannot handle the model.
            MissingExtraError: a package that the recipe needs is not installed.
        """
        if recipe.via == "nncf":
            return self._with_nncf(recipe)
        return self.write(self.quantized(recipe))

    def quantized(self, recipe: Recipe, convention: Convention | None = None) -> QdqGraph:
        """Our own Q/DQ graph of a recipe.

        Args:
            recipe: how to make it.
            convention: of the form; the recipe's own form when None.

        Raises:
            ExportError: the graph is not valid ONNX.
        """
        quantized = partial(
            quantize,
            statistics=self.statistics,
            convention=convention or int8_form(recipe.form).convention,
            options=recipe.options,
            method=recipe.method,
            ranges=input_range(self.spec.input),
        )
        plain = quantized(self.model)
        if not recipe.correct_bias:
            return replace(plain, source=self.source)
        feeds = list(self.calibration.subset(CORRECTION_IMAGES).batches(self.spec.input))
        corrected = correct_bias(
            self.model, plain.model, plain.weight_scales, feeds, threads=self.threads
        )
        graph = quantized(corrected, weight_scales=plain.weight_scales)
        return replace(graph, source=self.source)

    def write(self, graph: QdqGraph) -> BuiltFile:
        """Write a Q/DQ graph as the file of its form.

        Raises:
            ExportError: the form's runtime would not accept the graph.
        """
        form = int8_form(graph.placement.convention.form)
        return form.write(graph, self.new_folder(), self.spec)

    def new_folder(self) -> Path:
        """A new folder for one file."""
        return Path(tempfile.mkdtemp(dir=self.scratch))

    def _with_nncf(self, recipe: Recipe) -> BuiltFile:
        convention = int8_form(recipe.form).convention

        def transform(model: Any) -> Any:
            quantized = self._quantized_by_nncf(model, recipe)
            if convention.overflow_guard:
                guard_weights(quantized, model)
            if recipe.gelu:
                approximate_silu(quantized)
            return quantized

        folder = self.new_folder() / "model_openvino_model"
        xml, *extra = write_openvino(
            self.source, folder, self.spec, "int8", info=file_info(convention), transform=transform
        )
        return BuiltFile(xml, tuple(extra))

    def _quantized_by_nncf(self, model: Any, recipe: Recipe) -> Any:
        """NNCF's result for the converted model; cached, because several recipes share it."""
        structure = find_structure(index_float(self.model))
        keep = {*structure.attention, *structure.gates, *recipe.options.float_nodes}
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
