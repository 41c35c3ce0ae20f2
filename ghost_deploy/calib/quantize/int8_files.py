"""Writers of int8 files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from onnx import ModelProto

from ghost_deploy.calib.graph.index import index_float
from ghost_deploy.calib.graph.structure import find_structure
from ghost_deploy.calib.quantize.channels_last import to_channels_last
from ghost_deploy.calib.quantize.conventions import Convention
from ghost_deploy.calib.quantize.lint import require_clean
from ghost_deploy.calib.quantize.qdq import QdqGraph
from ghost_deploy.calib.quantize.scales import input_range
from ghost_deploy.calib.quantize.strongly_typed import to_strong_fp16
from ghost_deploy.calib.ranges.histogram import TensorStatistics
from ghost_deploy.calib.ranges.methods import Method, activation_range
from ghost_deploy.core.bundle import FORM_KEY, GUARD, GUARD_KEY
from ghost_deploy.core.spec import ModelSpec
from ghost_deploy.export.openvino import write_openvino
from ghost_deploy.runtimes.tensorrt.calibration_cache import CACHE_FILE, write_calibration_cache

STRONG_FORM = "tensorrt-fp16"
"""The form with float16 between the int8 nodes, for strongly typed engines. Other placements have
names such as `tensorrt-depthwise` and `tensorrt-depthwise-fp16`."""


@dataclass(frozen=True)
class BuiltFile:
    """An int8 file.

    Attributes:
        path: the file that a runtime opens.
        extra_files: files that belong to it, in the same folder.
        graph: our own Q/DQ graph; None for NNCF's.
        spec: description of the file where it is not that of the float model.
    """

    path: Path
    extra_files: tuple[Path, ...] = ()
    graph: QdqGraph | None = None
    spec: ModelSpec | None = None

    @property
    def planned_share(self) -> float | None:
        """Share of the multiply-adds, 0 to 1, planned in int8; None where NNCF chose them."""
        return None if self.graph is None else self.graph.macs_planned

    def move(self, target: Path) -> BuiltFile:
        """Move the file, or its folder if it has extra files, to `target`.

        Raises:
            OSError: the disk refuses.
        """
        if not self.extra_files:
            return replace(self, path=self.path.replace(target))
        self.path.parent.replace(target)
        extra = tuple(target / each.name for each in self.extra_files)
        return replace(self, path=target / self.path.name, extra_files=extra)


def write_model(model: ModelProto, path: Path) -> Path:
    """Write a model; equal models give equal bytes."""
    path.write_bytes(model.SerializeToString(deterministic=True))
    return path


def write_onnx_file(graph: QdqGraph, folder: Path, spec: ModelSpec) -> BuiltFile:
    """Write the Q/DQ graph unchanged.

    Args:
        graph: to write.
        folder: an empty one.
        spec: of the model; not used.
    """
    return BuiltFile(write_model(graph.model, folder / "model.onnx"), (), graph)


def write_tensorrt_file(graph: QdqGraph, folder: Path, spec: ModelSpec) -> BuiltFile:
    """Write a Q/DQ graph that TensorRT's parser accepts.

    Args:
        graph: to write.
        folder: an empty one.
        spec: of the model; not used.

    Raises:
        ExportError: it would not accept the graph.
    """
    require_clean(graph.model)
    return write_onnx_file(graph, folder, spec)


def write_channels_last_file(graph: QdqGraph, folder: Path, spec: ModelSpec) -> BuiltFile:
    """Write the graph in ONNX Runtime's own int8 operators.

    Args:
        graph: to write.
        folder: an empty one.
        spec: of the model; not used.

    Raises:
        ExportError: the result is not valid ONNX.
    """
    return BuiltFile(write_model(to_channels_last(graph.model), folder / "model.onnx"), (), graph)


def write_openvino_file(graph: QdqGraph, folder: Path, spec: ModelSpec) -> BuiltFile:
    """Write the graph as an OpenVINO IR.

    Args:
        graph: to write.
        folder: an empty one.
        spec: of the model, written into the IR.

    Raises:
        ExportError: OpenVINO cannot convert the graph.
    """
    source = write_model(graph.model, folder / "model.onnx")
    info = file_info(graph.placement.convention)
    xml, *extra = write_openvino(source, folder / "model_openvino_model", spec, "int8", info=info)
    return BuiltFile(xml, tuple(extra), graph)


def file_info(convention: Convention) -> dict[str, str]:
    """What an int8 file says of itself: its form, and whether it can overflow."""
    guard = {GUARD_KEY: GUARD} if convention.overflow_guard else {}
    return {FORM_KEY: convention.form, **guard}


def write_cache_file(
    model: ModelProto,
    spec: ModelSpec,
    statistics: Mapping[str, TensorStatistics],
    method: Method,
    folder: Path,
) -> Path:
    """Write TensorRT's calibration cache, for builds that choose their own placement.

    Tensors of the decode tail, where pixels and scores share a scale, and outputs of the head's
    last convolutions are left out: a tensor that is not listed runs in float.

    Args:
        model: fp32.
        spec: its description.
        statistics: of all tensors, by name.
        method: of choosing ranges.
        folder: of the bundle.
    """
    graph = index_float(model)
    head = find_structure(graph).head
    tail = {name for node in graph.nodes if node.name in head for name in node.output}
    known = input_range(spec.input)
    scales = {
        name: max(map(abs, known[name])) / 127
        if name in known
        else activation_range(stats, method, symmetric=True)[1] / 127
        for name, stats in statistics.items()
        if name not in tail
    }
    path = folder / CACHE_FILE
    write_calibration_cache(path, scales)
    return path


def strongly_typed_form(model: ModelProto) -> ModelProto:
    """The form with float16 between the int8 nodes of a model of the form `tensorrt`.

    Raises:
        ExportError: it cannot be made, or TensorRT's parser would not accept it.
    """
    strong = to_strong_fp16(model)
    entry = next(each for each in strong.metadata_props if each.key == FORM_KEY)
    entry.value += STRONG_FORM.removeprefix("tensorrt")
    require_clean(strong, strongly_typed=True)
    return strong
