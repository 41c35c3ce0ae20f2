"""Builder, network, configuration and parser across versions."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from ghost_deploy.core.errors import UnavailableError
from ghost_deploy.runtimes.tensorrt.calibration_cache import Algorithm, CalibrationCache
from ghost_deploy.runtimes.tensorrt.compat.api import (
    TensorrtApi,
    construct,
    derive,
    missing_feature,
)

_HARDWARE_LEVELS = {
    "ampere+": "AMPERE_PLUS",
    "same-compute-capability": "SAME_COMPUTE_CAPABILITY",
}
_CALIBRATORS = {"entropy": "IInt8EntropyCalibrator2", "minmax": "IInt8MinMaxCalibrator"}
_ALGORITHMS: dict[str, Algorithm] = {
    "entropy": "EntropyCalibration2",
    "minmax": "MinMaxCalibration",
}


@dataclass(frozen=True)
class ParserFault:
    """An error of the ONNX parser; `node` is the index of the node in the graph."""

    text: str
    node: int
    name: str = ""
    operator: str = ""


def new_builder(api: TensorrtApi, logger: Any, explain: Callable[[], str] = str) -> Any:
    """A Builder; DeviceError when CUDA cannot be initialized.

    Args:
        logger: of `process_logger`.
        explain: gives TensorRT's newest error line.
    """
    return construct(api.module.Builder, logger, explain)


def load_plugins(api: TensorrtApi, logger: Any) -> None:
    """Register NVIDIA's own plugins, such as EfficientNMS_TRT: before parsing or deserializing."""
    api.module.init_libnvinfer_plugins(logger, "")


def drop_external_tactics(api: TensorrtApi, config: Any) -> None:
    """Exclude kernels of cuBLAS and cuDNN, so that an engine needs neither.

    TensorRT's own kernels cover all layers of a detector; only 8.5 uses these libraries by
    default, and loads hundreds of MB. From 11 on the names do not exist.
    """
    sources = int(config.get_tactic_sources())
    for name in ("CUBLAS", "CUBLAS_LT", "CUDNN"):
        source = getattr(api.module.TacticSource, name, None)
        if source is not None:
            sources &= ~(1 << int(source))
    config.set_tactic_sources(sources)


def new_network(api: TensorrtApi, builder: Any, *, strongly_typed: bool) -> Any:
    """An empty network with explicit batch.

    Raises:
        UnavailableError: this version has no strong typing.
    """
    flag = api.module.NetworkDefinitionCreationFlag
    # From 10 on the batch is always explicit; on 11 the bit has another meaning.
    names = ["EXPLICIT_BATCH"] if api.release[0] < 10 else []
    if strongly_typed:
        names.append("STRONGLY_TYPED")
        if not api.strong_typing:
            raise UnavailableError(
                f"TensorRT {api.text} has no strongly typed networks",
                expected="10 or newer",
                fix="Leave out --strongly-typed",
            )
    return builder.create_network(sum(1 << int(getattr(flag, name)) for name in names))


def set_flag(api: TensorrtApi, config: Any, name: str, *, on: bool = True) -> None:
    """Set or clear a builder flag by its name.

    Raises:
        UnavailableError: this version has no such flag.
    """
    flag = getattr(api.module.BuilderFlag, name, None)
    if flag is None:
        raise missing_feature(api, f"the builder flag {name}")
    (config.set_flag if on else config.clear_flag)(flag)


def set_optimization_level(api: TensorrtApi, config: Any, level: int) -> None:
    """Set how long the builder searches, 0 to 5; UnavailableError below 8.6."""
    if not hasattr(config, "builder_optimization_level"):
        raise missing_feature(api, "builder optimization levels (--opt-level)")
    config.builder_optimization_level = level


def set_hardware_level(api: TensorrtApi, config: Any, level: str) -> None:
    """Allow other GPUs: `ampere+`, or `same-compute-capability` from 10.13."""
    levels = getattr(api.module, "HardwareCompatibilityLevel", None)
    value = getattr(levels, _HARDWARE_LEVELS[level], None)
    if value is None:
        raise missing_feature(api, f"engines for other GPUs ({level})")
    config.hardware_compatibility_level = value


def calibrator(api: TensorrtApi, algorithm: str, cache: CalibrationCache) -> Any:
    """A calibrator that only hands over a cache, under the header of this version and algorithm.

    TensorRT refuses the cache of another one and would then ask for images.

    Args:
        algorithm: `entropy`, or `minmax`.
        cache: of any version.

    Raises:
        UnavailableError: this version has no calibrators.
    """
    base = getattr(api.module, _CALIBRATORS[algorithm], None)
    if base is None:
        raise missing_feature(api, "calibration caches")
    table = cache.to_bytes(api.text, _ALGORITHMS[algorithm])
    return derive(
        base,
        get_batch_size=lambda self: 1,
        get_batch=lambda self, names: None,
        read_calibration_cache=lambda self: table,
        write_calibration_cache=lambda self, cache: None,
    )


def set_calibrator(api: TensorrtApi, config: Any, scales: Any, profile: Any) -> None:
    """Set the calibrator, and the calibration profile where the version needs one.

    From 10 on, a calibration profile leads to internal errors (ultralytics, exporter.py).
    """
    config.int8_calibrator = scales
    if profile is not None and api.release[0] < 10:
        config.set_calibration_profile(profile)


def pin_layer(api: TensorrtApi, layer: Any, data_type: str) -> None:
    """Fix the type of a layer and its outputs, by name; only in a weakly typed network."""
    value = getattr(api.module.DataType, data_type)
    layer.precision = value
    for number in range(layer.num_outputs):
        layer.set_output_type(number, value)


def release_quantization_types(api: TensorrtApi, layers: Iterable[Any]) -> None:
    """Reset the types that the ONNX importer of 10 sets on Q and DQ layers.

    It sets float32 as precision of each Q and as output type of each DQ. By themselves these are
    hints; with PREFER_PRECISION_CONSTRAINTS, which the decode tail needs, they would pull
    everything that is not quantized to float32.
    """
    if api.release[0] < 10:
        return
    for layer in layers:
        if layer.type.name in ("QUANTIZE", "DEQUANTIZE"):
            layer.reset_precision()
            for number in range(layer.num_outputs):
                layer.reset_output_type(number)


def parser_faults(parser: Any) -> tuple[ParserFault, ...]:
    """The errors of a failed parse; node names are available from 10 on."""
    return tuple(
        ParserFault(
            text=str(fault.desc()),
            node=int(fault.node()),
            name=str(fault.node_name()) if hasattr(fault, "node_name") else "",
            operator=str(fault.node_operator()) if hasattr(fault, "node_operator") else "",
        )
        for fault in (parser.get_error(index) for index in range(parser.num_errors))
    )
