"""Build a plan from an ONNX file in memory. Only the timing cache is written: a failed build leaves
no files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ghost_deploy.core.errors import ExportError
from ghost_deploy.core.evidence.build import DlaReport, Hardware
from ghost_deploy.runtimes.tensorrt import compat
from ghost_deploy.runtimes.tensorrt import precision_route as precision
from ghost_deploy.runtimes.tensorrt.build_progress import BuildProgress
from ghost_deploy.runtimes.tensorrt.calibration_cache import CalibrationCache
from ghost_deploy.runtimes.tensorrt.compat import TensorrtApi
from ghost_deploy.runtimes.tensorrt.dla import use_dla
from ghost_deploy.runtimes.tensorrt.input_shapes import InputShapes, add_profile, verify_shapes
from ghost_deploy.runtimes.tensorrt.layer_report import UNKNOWN, LayerReport, inspect_engine
from ghost_deploy.runtimes.tensorrt.logger import TensorrtLog, build_failed, parse_failed
from ghost_deploy.runtimes.tensorrt.precision_route import PrecisionRoute
from ghost_deploy.runtimes.tensorrt.timing_cache import TimingCache


@dataclass(frozen=True)
class BuildSettings:
    """Inputs and settings of one build.

    Attributes:
        onnx: the file's bytes.
        what: name of the file, for messages.
        route: to the precision.
        shapes: of the input.
        workspace_bytes: scratch memory for kernels.
        scales: calibration cache of a calibrated route.
        algorithm: of the calibrator that reads it.
        opt_level: how long the builder searches, 0 to 5; None for its default.
        dla: the DLA core; None builds for the GPU.
        hardware: other GPUs that can run the engine.
        version_compatible: newer versions of the same major TensorRT can run it.
        timing_cache: file of kernel timings; None for none.
    """

    onnx: bytes
    what: str
    route: PrecisionRoute
    shapes: InputShapes
    workspace_bytes: int
    scales: CalibrationCache | None = None
    algorithm: Literal["entropy", "minmax"] = "entropy"
    opt_level: int | None = None
    dla: int | None = None
    hardware: Hardware = ""
    version_compatible: bool = False
    timing_cache: Path | None = None


@dataclass(frozen=True)
class BuiltEngine:
    """An engine.

    Attributes:
        plan: the serialized engine.
        layers: report of the engine inspector.
        dla: the layers that the DLA runs; None on the GPU.
        pinned: number of layers with a fixed type.
        timing_cache: state of the `TimingCache`.
        warnings: of TensorRT.
    """

    plan: bytes
    layers: LayerReport
    dla: DlaReport | None
    pinned: int
    timing_cache: str
    warnings: tuple[str, ...]


def build_plan(
    api: TensorrtApi, settings: BuildSettings, log: TensorrtLog, progress: BuildProgress
) -> BuiltEngine:
    """Build an engine and verify it: all corners of the shapes, and the layers.

    Raises:
        ExportError: the parser rejects the file, the build fails, or the engine is not what was
            requested; the message says what to change.
        DeviceError: no GPU, no such DLA core.
        UnavailableError: this version does not have a requested feature.
        KeyboardInterrupt: the build was interrupted.
    """
    # Builder, network and parser are gone before the engine is loaded: a Jetson has one memory.
    # Not so with 8.5, whose bindings let each of them keep the other alive until the process ends:
    # the weights of a detector, some MB, for each build.
    plan, dla, pinned, timing = _serialize(api, settings, log, progress)
    runtime = compat.new_runtime(api, log.listen(api), log.last)
    engine = compat.deserialize(
        runtime,
        plan,
        what="that was just built",
        dla=settings.dla,
        version_compatible=settings.version_compatible,
        why=log.last,
    )
    verify_shapes(engine, settings.shapes)
    layers = inspect_engine(api, engine)
    _require_precision(settings.route, layers)
    return BuiltEngine(plan, layers, dla, pinned, timing, tuple(log.warnings))


def _serialize(
    api: TensorrtApi, settings: BuildSettings, log: TensorrtLog, progress: BuildProgress
) -> tuple[bytes, DlaReport | None, int, str]:
    logger = log.listen(api)
    builder = compat.new_builder(api, logger, log.last)
    compat.load_plugins(api, logger)
    network = compat.new_network(api, builder, strongly_typed=settings.route.strongly_typed)
    # The parser owns the weights: keep it until the engine is built.
    parser = _parse(api, network, logger, settings, log)
    config = builder.create_builder_config()
    profile = add_profile(builder, config, settings.shapes)
    pinned = precision.apply(api, settings.route, config, network)
    _configure(api, config, settings)
    if settings.scales is not None and settings.route.calibrated:
        scales = compat.calibrator(api, settings.algorithm, settings.scales)
        compat.set_calibrator(api, config, scales, profile)
    dla = None if settings.dla is None else use_dla(api, builder, config, network, settings.dla)
    timing = TimingCache(settings.timing_cache)
    timing.attach(config)
    progress.attach(api, config, network.num_layers)
    with progress.deferred_signals():
        plan = _run(builder, network, config, log, settings)
    del parser
    if progress.interrupted or log.interrupted:
        raise KeyboardInterrupt
    if plan is None:
        raise build_failed(log, settings.workspace_bytes)
    timing.store(config)
    return bytes(plan), dla, pinned, timing.state


def _parse(
    api: TensorrtApi, network: Any, logger: Any, settings: BuildSettings, log: TensorrtLog
) -> Any:
    parser = api.module.OnnxParser(network, logger)
    if not parser.parse(settings.onnx):
        raise parse_failed(compat.parser_faults(parser), log, settings.what)
    return parser


def _configure(api: TensorrtApi, config: Any, settings: BuildSettings) -> None:
    module = api.module
    config.set_memory_pool_limit(module.MemoryPoolType.WORKSPACE, settings.workspace_bytes)
    config.profiling_verbosity = module.ProfilingVerbosity.DETAILED
    compat.drop_external_tactics(api, config)
    if settings.opt_level is not None:
        compat.set_optimization_level(api, config, settings.opt_level)
    if settings.hardware:
        compat.set_hardware_level(api, config, settings.hardware)
    if settings.version_compatible:
        compat.set_flag(api, config, "VERSION_COMPATIBLE")


def _run(builder: Any, network: Any, config: Any, log: TensorrtLog, settings: BuildSettings) -> Any:
    try:
        return builder.build_serialized_network(network, config)
    except (RuntimeError, MemoryError) as error:
        # pybind11 turns std::bad_alloc into MemoryError and all else into RuntimeError.
        log.errors.append(f"{type(error).__name__}: {error}")
        raise build_failed(log, settings.workspace_bytes) from error


def _require_precision(route: PrecisionRoute, layers: LayerReport) -> None:
    """Require at least one layer in the requested precision, if the precisions are known."""
    counts = layers.precisions
    if not counts or UNKNOWN in counts or route.precision in counts:
        return
    raise ExportError(
        f"no layer of the engine runs in {route.precision}",
        got=", ".join(f"{count} layers in {name}" for name, count in counts.items()),
        expected=f"{route.precision}, by the route {route.name}",
        fix="This GPU has no faster kernels in it: build --fp32, or try --opt-level 5",
    )
