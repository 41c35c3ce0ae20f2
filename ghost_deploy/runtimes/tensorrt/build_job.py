"""A request for an engine, resolved for this machine: graph, route and memory."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import msgspec

from ghost_deploy.core.bundle import NMS_FORM, Artifact, Bundle
from ghost_deploy.core.errors import UsageError
from ghost_deploy.core.evidence.build import Fingerprint, Hardware
from ghost_deploy.runtimes.tensorrt.calibration_cache import (
    CACHE_FILE,
    CalibrationCache,
    read_calibration_cache,
)
from ghost_deploy.runtimes.tensorrt.compat import TensorrtApi
from ghost_deploy.runtimes.tensorrt.engine_builder import BuildSettings
from ghost_deploy.runtimes.tensorrt.fingerprint import GpuInfo, this_machine
from ghost_deploy.runtimes.tensorrt.input_shapes import InputShapes
from ghost_deploy.runtimes.tensorrt.precision_route import GraphKind, PrecisionRoute, choose_route
from ghost_deploy.runtimes.tensorrt.releases import EngineUse, check_release
from ghost_deploy.runtimes.tensorrt.timing_cache import cache_path
from ghost_deploy.runtimes.tensorrt.workspace import workspace_bytes

Calibrator = Literal["entropy", "minmax"]
_PRECISIONS = ("fp32", "fp16", "int8")
_TENSORRT, _STRONG = "tensorrt", "-fp16"
"""Forms of INT8 graphs for TensorRT; the ending is that of strongly typed ones."""


@dataclass(frozen=True)
class EngineRequest:
    """A request for an engine; the fields are arguments of `api.build`, and `placement`, one of
    `placements_of`, for INT8 by Q/DQ nodes.

    Raises:
        UsageError: an invalid value, or two that exclude each other.
    """

    precision: str = "fp16"
    strongly_typed: bool = False
    workspace_mib: int | None = None
    opt_level: int | None = None
    dla: int | None = None
    hardware: Hardware = ""
    version_compatible: bool = False
    int8_cache: Path | None = None
    calibrator: Calibrator = "entropy"
    placement: str = ""

    def __post_init__(self) -> None:
        level, on_dla = self.opt_level, self.dla is not None
        checks: tuple[tuple[bool, str, object, str], ...] = (
            (self.precision in _PRECISIONS, "precision", self.precision, ", ".join(_PRECISIONS)),
            (level is None or 0 <= level <= 5, "optimization level", level, "0 to 5"),
            (self.hardware in get_args(Hardware), "hardware level", self.hardware,
             "ampere+, same-compute-capability"),
            (self.calibrator in get_args(Calibrator), "calibrator", self.calibrator,
             "entropy, minmax"),
            (not on_dla or self.precision != "fp32", "precision on a DLA", "fp32", "fp16, int8"),
            (not on_dla or self.calibrator != "minmax", "calibrator for a DLA", "minmax",
             "entropy"),
            (not self.int8_cache or self.precision == "int8", "use of a calibration cache",
             self.precision, "int8"),
        )  # fmt: skip
        for ok, what, got, expected in checks:
            if not ok:
                raise UsageError(
                    f"there is no such {what}", got=got, expected=expected, fix="Name one of those"
                )


@dataclass(frozen=True)
class BuildJob:
    """A request, resolved.

    Attributes:
        request: that was resolved.
        settings: for `engine_builder.build_plan`.
        source: the ONNX artifact.
        fingerprint: of the machine that the engine is for.
        tensorrt: its version.
        notes: known problems of this release, and warnings.
    """

    request: EngineRequest
    settings: BuildSettings
    source: Artifact
    fingerprint: Fingerprint
    tensorrt: str
    notes: tuple[str, ...]


def resolve_job(
    bundle: Bundle,
    request: EngineRequest,
    api: TensorrtApi,
    gpu: GpuInfo,
    beside: Path | None = None,
) -> BuildJob:
    """Choose graph, route and memory for a request.

    Args:
        bundle: with the ONNX artifacts; the one that is used is verified against its hashes.
        request: to resolve.
        api, gpu: of this machine.
        beside: the timing cache is written beside it; None for the bundle.

    Raises:
        UsageError, BundleError: the bundle does not have the graph for the precision, or is
            damaged.
        UnavailableError, DeviceError: this TensorRT or this machine cannot build it.
    """
    _require_no_standard_nms(bundle)
    have = _graphs(bundle, request.placement)
    scales = _scales(bundle, request)
    workspace, warnings = workspace_bytes(gpu, request.workspace_mib)
    route, source = choose_route(
        api,
        request.precision,
        have,
        strongly_typed=request.strongly_typed,
        scales=scales is not None,
        prefer_scales=request.int8_cache is not None,
        dla=request.dla is not None,
    )
    notes = check_release(api.release, _use(bundle, request, route, gpu))
    artifact, machine = have[source], this_machine(api.text, gpu)
    settings = BuildSettings(
        onnx=bundle.verified_path(artifact).read_bytes(),
        what=artifact.path,
        route=route,
        shapes=InputShapes.of(bundle.spec.input),
        workspace_bytes=workspace,
        scales=scales if route.calibrated else None,
        algorithm=request.calibrator,
        opt_level=request.opt_level,
        dla=request.dla,
        hardware=request.hardware,
        version_compatible=request.version_compatible,
        timing_cache=cache_path(beside or bundle.path, machine),
    )
    fingerprint = msgspec.structs.replace(
        machine,
        dla=request.dla,
        hardware=request.hardware,
        version_compatible=request.version_compatible,
    )
    return BuildJob(request, settings, artifact, fingerprint, api.text, (*notes, *warnings))


def _require_no_standard_nms(bundle: Bundle) -> None:
    if bundle.spec.head.decoder != "nms":
        return
    raise UsageError(
        "engines are not built from graphs with NonMaxSuppression: its output depends on the data, "
        "which rules out CUDA graphs, and TensorRT's own plugin is faster",
        got=str(bundle.path),
        fix="Export on this machine with --trt --nms, or export without --nms and build from that",
    )


def placements_of(bundle: Bundle) -> list[str]:
    """Names of the other placements of INT8 graphs in a bundle, such as `depthwise`."""
    forms = [artifact.form for artifact in bundle.artifacts if artifact.format == "onnx"]
    names = [_split(form)[0] for form in forms if form.startswith(f"{_TENSORRT}-")]
    return list(dict.fromkeys(filter(None, names)))


def _split(form: str) -> tuple[str, str]:
    """Placement and ending of a form such as `tensorrt-depthwise-fp16`."""
    name = form.removesuffix(_STRONG)
    return name.removeprefix(_TENSORRT).removeprefix("-"), form[len(name) :]


def _graphs(bundle: Bundle, placement: str) -> dict[GraphKind, Artifact]:
    """The graphs of a bundle by precision and form; of INT8 ones for TensorRT that placement."""
    found = {}
    for artifact in bundle.artifacts:
        form = "" if artifact.form == NMS_FORM else artifact.form
        if form.startswith(_TENSORRT):
            own, end = _split(form)
            form = _TENSORRT + end if own == placement else ""
        if artifact.format == "onnx" and (form or artifact.precision != "int8"):
            found[artifact.precision, form] = artifact
    return found


def _use(bundle: Bundle, request: EngineRequest, route: PrecisionRoute, gpu: GpuInfo) -> EngineUse:
    spec = bundle.spec
    return EngineUse(
        int8=request.precision == "int8",
        calibrated=route.calibrated,
        end_to_end=spec.head.end_to_end,
        dla=request.dla is not None,
        strongly_typed=route.strongly_typed,
        jetson=gpu.integrated,
        agnostic=spec.head.decoder == "efficient-nms" and spec.thresholds.agnostic,
    )


def _scales(bundle: Bundle, request: EngineRequest) -> CalibrationCache | None:
    if request.precision != "int8":
        return None
    if request.int8_cache is not None:
        return read_calibration_cache(request.int8_cache)
    path = bundle.path / CACHE_FILE
    for artifact in bundle.artifacts:
        if CACHE_FILE in artifact.files:
            bundle.verified_path(artifact)
    return read_calibration_cache(path) if path.is_file() else None
