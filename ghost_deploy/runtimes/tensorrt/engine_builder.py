"""From the bytes of an ONNX file to the bytes of a plan, in memory; nothing is written but the
timing cache, so that a build that fails leaves nothing behind."""

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
from ghost_deploy.runtimes.tensorrt.compat import Api
from ghost_deploy.runtimes.tensorrt.dla import use_dla
from ghost_deploy.runtimes.tensorrt.layer_report import UNKNOWN, LayerReport, inspect_engine
from ghost_deploy.runtimes.tensorrt.logger import Log, build_failed, parse_failed
from ghost_deploy.runtimes.tensorrt.precision_route import PrecisionRoute
from ghost_deploy.runtimes.tensorrt.profiles import Shapes, add_profile, verify
from ghost_deploy.runtimes.tensorrt.timing_cache import TimingCache


@dataclass(frozen=True)
class Order:
    """What is to be built.

    Attributes:
        onnx: the file's bytes.
        what: its name, for messages.
        route: how the precision is reached.
        shapes: of the input.
        workspace_bytes: scratch memory that kernels may use.
        scales: the calibration cache of a calibrated route.
        algorithm: the calibrator that hands it over.
        opt_level: how long the builder searches, 0 to 5; its own default when None.
        dla: the DLA core; None builds for the GPU.
        hardware: other GPUs that the engine shall run on.
        version_compatible: newer versions of the same major TensorRT shall run it.
        timing_cache: file of measured kernels; None keeps none.
    """

    onnx: bytes
    what: str
    route: PrecisionRoute
    shapes: Shapes
    workspace_bytes: int
    scales: CalibrationCache | None = None
    algorithm: Literal["entropy", "minmax"] = "entropy"
    opt_level: int | None = None
    dla: int | None = None
    hardware: Hardware = ""
    version_compatible: bool = False
    timing_cache: Path | None = None


@dataclass(frozen=True)
class Built:
    """An engine.

    Attributes:
        plan: what TensorRT deserializes.
        layers: what it does, as the inspector tells.
        dla: what the DLA takes of it; None on the GPU.
        pinned: layers that were held in a type.
        timing_cache: what became of it, a state of `TimingCache`.
        warnings: what TensorRT warned of.
    """

    plan: bytes
    layers: LayerReport
    dla: DlaReport | None
    pinned: int
    timing_cache: str
    warnings: tuple[str, ...]


def build_plan(api: Api, order: Order, log: Log, progress: BuildProgress) -> Built:
    """Build, then look at what was built: every corner of the shapes, and every layer.

    Raises:
        ExportError: the parser refuses the file, the build fails, or the engine does not do what
            was asked; the message says what to lower or change.
        DeviceError: no GPU, no such DLA core.
        UnavailableError: this version lacks something that was asked for.
        KeyboardInterrupt: the user gave up; nothing is left.
    """
    # Builder, network and parser are gone before the engine is loaded: a Jetson has one memory.
    # Not so with 8.5, whose bindings let each of them keep the other alive until the process ends:
    # the weights of a detector, some MB, for each build.
    plan, dla, pinned, timing = _serialize(api, order, log, progress)
    runtime = compat.new_runtime(api, log.listen(api), log.last)
    engine = compat.deserialize(
        runtime,
        plan,
        what="that was just built",
        dla=order.dla,
        version_compatible=order.version_compatible,
        why=log.last,
    )
    verify(engine, order.shapes)
    layers = inspect_engine(api, engine)
    _require_precision(order.route, layers)
    return Built(plan, layers, dla, pinned, timing, tuple(log.warnings))


def _serialize(
    api: Api, order: Order, log: Log, progress: BuildProgress
) -> tuple[bytes, DlaReport | None, int, str]:
    logger = log.listen(api)
    builder = compat.new_builder(api, logger, log.last)
    compat.load_plugins(api, logger)
    network = compat.new_network(api, builder, strongly_typed=order.route.strongly_typed)
    # The parser owns the weights: it must live until the engine is built.
    parser = _parse(api, network, logger, order, log)
    config = builder.create_builder_config()
    profile = add_profile(builder, config, order.shapes)
    pinned = precision.apply(api, order.route, config, network)
    _configure(api, config, order)
    if order.scales is not None and order.route.calibrated:
        scales = compat.calibrator(api, order.algorithm, order.scales)
        compat.set_calibrator(api, config, scales, profile)
    dla = None if order.dla is None else use_dla(api, builder, config, network, order.dla)
    timing = TimingCache(order.timing_cache)
    timing.attach(config)
    progress.attach(api, config, network.num_layers)
    with progress.deferred_signals():
        plan = _run(builder, network, config, log, order)
    del parser
    if progress.interrupted or log.interrupted:
        raise KeyboardInterrupt
    if plan is None:
        raise build_failed(log, order.workspace_bytes)
    timing.store(config)
    return bytes(plan), dla, pinned, timing.state


def _parse(api: Api, network: Any, logger: Any, order: Order, log: Log) -> Any:
    parser = api.module.OnnxParser(network, logger)
    if not parser.parse(order.onnx):
        raise parse_failed(compat.parser_faults(parser), log, order.what)
    return parser


def _configure(api: Api, config: Any, order: Order) -> None:
    module = api.module
    config.set_memory_pool_limit(module.MemoryPoolType.WORKSPACE, order.workspace_bytes)
    config.profiling_verbosity = module.ProfilingVerbosity.DETAILED
    compat.drop_external_tactics(api, config)
    if order.opt_level is not None:
        compat.set_optimization_level(api, config, order.opt_level)
    if order.hardware:
        compat.set_hardware_level(api, config, order.hardware)
    if order.version_compatible:
        compat.set_flag(api, config, "VERSION_COMPATIBLE")


def _run(builder: Any, network: Any, config: Any, log: Log, order: Order) -> Any:
    try:
        return builder.build_serialized_network(network, config)
    except (RuntimeError, MemoryError) as error:
        # pybind11 turns std::bad_alloc into MemoryError and all else into RuntimeError.
        log.errors.append(f"{type(error).__name__}: {error}")
        raise build_failed(log, order.workspace_bytes) from error


def _require_precision(route: PrecisionRoute, layers: LayerReport) -> None:
    """An engine of which no layer has the precision asked for is not what was asked for.

    Only where every layer's precision is known: a silent inspector proves nothing.
    """
    counts = layers.precisions
    if not counts or UNKNOWN in counts or route.precision in counts:
        return
    raise ExportError(
        f"no layer of the engine runs in {route.precision}",
        got=", ".join(f"{count} layers in {name}" for name, count in counts.items()),
        expected=f"{route.precision}, by the route {route.name}",
        fix="This GPU has no faster kernels in it: build --fp32, or try --opt-level 5",
    )
