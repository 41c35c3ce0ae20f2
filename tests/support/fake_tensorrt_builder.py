"""The builder's half of the fake: logger, network, parser, configuration, builder."""

from __future__ import annotations

import hashlib
import json
import signal
from typing import Any

from tests.support.fake_tensorrt_strict import Enum, Layer, ParserFault, Strict, Tensor

MAGIC = b"ftrt"


class ILogger(Strict):
    """A test's or our logger derives from it and must call its constructor."""

    def __init__(self) -> None:
        self._ready = True


class IProfiler(Strict):
    def __init__(self) -> None:
        self._ready = True


class IProgressMonitor(Strict):
    def __init__(self) -> None:
        self._ready = True


class IInt8Calibrator(Strict):
    def __init__(self) -> None:
        self._ready = True


class IInt8EntropyCalibrator2(IInt8Calibrator):
    _algorithm = "EntropyCalibration2"


class IInt8MinMaxCalibrator(IInt8Calibrator):
    _algorithm = "MinMaxCalibration"


class ITimingCache(Strict):
    def __init__(self, data: bytes) -> None:
        self._data = data

    def serialize(self) -> Any:
        return self._module.IHostMemory(self._data)


class IHostMemory(Strict):
    def __init__(self, data: bytes) -> None:
        self._data = bytes(data)

    @property
    def nbytes(self) -> int:
        return len(self._data)

    def __bytes__(self) -> bytes:
        return self._data


class IOptimizationProfile(Strict):
    def __init__(self) -> None:
        self._shapes: dict[str, tuple[tuple[int, ...], ...]] = {}

    def set_shape(self, input: str, min: Any, opt: Any, max: Any) -> None:
        self._note("set_shape", input, tuple(min), tuple(opt), tuple(max))
        if not all(a <= b <= c for a, b, c in zip(min, opt, max, strict=True)):
            raise ValueError("min <= opt <= max")
        self._shapes[input] = (tuple(min), tuple(opt), tuple(max))


class ITensor(Strict):
    def __init__(self, tensor: Tensor) -> None:
        self._tensor = tensor

    @property
    def name(self) -> str:
        return self._tensor.name

    @property
    def dtype(self) -> Any:
        return getattr(self._module.DataType, self._tensor.dtype)

    @property
    def shape(self) -> Any:
        return self._tensor.shape

    @property
    def is_network_input(self) -> bool:
        return self._tensor.is_input


class ILayer(Strict):
    def __init__(self, layer: Layer, network: Any) -> None:
        self._layer, self._network = layer, network

    @property
    def name(self) -> str:
        return self._layer.name

    @property
    def type(self) -> Any:
        return getattr(self._module.LayerType, self._layer.type)

    @property
    def num_inputs(self) -> int:
        return len(self._layer.inputs)

    @property
    def num_outputs(self) -> int:
        return len(self._layer.outputs)

    def get_input(self, index: int) -> Any:
        return self._network._tensor(self._layer.inputs[index], "FLOAT")

    def get_output(self, index: int) -> Any:
        return self._network._tensor(self._layer.outputs[index], self._layer.dtype)

    @property
    def precision(self) -> Any:
        return self._network._precisions[self._layer.name]

    @property
    def precision_is_set(self) -> bool:
        return self._layer.name in self._network._precisions

    def reset_precision(self) -> None:
        self._network._precisions.pop(self._layer.name, None)

    def output_type_is_set(self, index: int) -> bool:
        return (self._layer.name, index) in self._network._output_types

    def reset_output_type(self, index: int) -> None:
        self._network._output_types.pop((self._layer.name, index), None)

    @precision.setter
    def precision(self, value: Any) -> None:
        assert isinstance(value, Enum)
        self._network._precisions[self._layer.name] = value.name

    def set_output_type(self, index: int, dtype: Any) -> None:
        self._note("set_output_type", self._layer.name, index, dtype.name)
        self._network._output_types[self._layer.name, index] = dtype.name


class INetworkDefinition(Strict):
    def __init__(self, flags: int) -> None:
        self._watch()
        self._flags = flags
        self._layers: list[Layer] = []
        self._tensors: list[Tensor] = []
        self._precisions: dict[str, str] = {}
        self._output_types: dict[tuple[str, int], str] = {}

    @property
    def _explicit(self) -> bool:
        bit = getattr(self._module.NetworkDefinitionCreationFlag, "EXPLICIT_BATCH", None)
        major = int(self._control.version.split(".")[0])
        return major >= 10 or bool(bit is not None and self._flags & (1 << int(bit)))

    @property
    def _strong(self) -> bool:
        bit = getattr(self._module.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
        if bit is None:
            return False
        return int(self._control.version.split(".")[0]) >= 11 or bool(self._flags & (1 << int(bit)))

    def _tensor(self, name: str, dtype: str) -> Any:
        known = next((t for t in self._tensors if t.name == name), None)
        return self._module._ITensor(known or Tensor(name, False, (), dtype))

    def _side(self, is_input: bool) -> list[Tensor]:
        return [tensor for tensor in self._tensors if tensor.is_input == is_input]

    @property
    def num_inputs(self) -> int:
        return len(self._side(True))

    @property
    def num_outputs(self) -> int:
        return len(self._side(False))

    @property
    def num_layers(self) -> int:
        return len(self._layers)

    def get_input(self, index: int) -> Any:
        return self._module._ITensor(self._side(True)[index])

    def get_output(self, index: int) -> Any:
        return self._module._ITensor(self._side(False)[index])

    def get_layer(self, index: int) -> Any:
        return self._module.ILayer(self._layers[index], self)


class IPluginRegistry(Strict):
    def get_plugin_creator(self, type: str, version: str, plugin_namespace: str = "") -> Any:
        self._note("get_plugin_creator", type, version, plugin_namespace)
        return object() if (type, version) in self._control.plugins else None

    def get_creator(self, type: str, version: str, plugin_namespace: str = "") -> Any:
        self._note("get_creator", type, version, plugin_namespace)
        return object() if (type, version) in self._control.plugins else None


class ParserError(Strict):
    def __init__(self, fault: ParserFault) -> None:
        self._fault = fault

    def desc(self) -> str:
        return self._fault.desc

    def node(self) -> int:
        return self._fault.node

    def code(self) -> Any:
        return getattr(self._module.ErrorCode, self._fault.code)

    def node_name(self) -> str:
        return self._fault.name

    def node_operator(self) -> str:
        return self._fault.operator

    def func(self) -> str:
        return "importModel"

    def file(self) -> str:
        return "ModelImporter.cpp"

    def line(self) -> int:
        return 1


class OnnxParser(Strict):
    def __init__(self, network: Any, logger: Any) -> None:
        assert isinstance(logger, ILogger)
        self._watch()
        if not network._explicit:
            raise RuntimeError("the parser needs a network with explicit batch")
        self._network = network
        if self._control.version == "8.5.3":
            self._control.kept.append(self)
        self._errors: list[ParserFault] = []

    def parse(self, model: bytes, path: str | None = None) -> bool:
        self._note("parse", hashlib.sha256(bytes(model)).hexdigest(), path)
        self._errors = list(self._control.parser_errors)
        if self._errors:
            return False
        tensors, layers = self._control.tensors, self._control.layers
        if self._control.on_parse is not None:
            tensors, layers = self._control.on_parse(bytes(model))
        self._network._layers, self._network._tensors = list(layers), list(tensors)
        self._network._source = hashlib.sha256(bytes(model)).hexdigest()
        if not self._control.version.startswith("8"):
            self._hint_types()
        return True

    def _hint_types(self) -> None:
        """What the importer of 10 asks for; on 11 the network is strongly typed."""
        for layer in self._network._layers:
            if layer.type == "QUANTIZE":
                self._network._precisions[layer.name] = "FLOAT"
            elif layer.type == "DEQUANTIZE":
                self._network._output_types[layer.name, 0] = "FLOAT"

    @property
    def num_errors(self) -> int:
        return len(self._errors)

    def get_error(self, index: int) -> Any:
        return self._module.ParserError(self._errors[index])


class IBuilderConfig(Strict):
    def __init__(self) -> None:
        self._flags: set[str] = {"TF32"}
        self._profiles: list[Any] = []
        self._pools: dict[str, int] = {}
        self._cache: Any = None

    def set_flag(self, flag: Any) -> None:
        assert isinstance(flag, Enum)
        self._note("set_flag", flag.name)
        self._flags.add(flag.name)

    def clear_flag(self, flag: Any) -> None:
        assert isinstance(flag, Enum)
        self._note("clear_flag", flag.name)
        self._flags.discard(flag.name)

    def get_flag(self, flag: Any) -> bool:
        return flag.name in self._flags

    def get_tactic_sources(self) -> int:
        members = vars(self._module.TacticSource)["__members__"].values()
        return sum(1 << int(member) for member in members)

    def set_tactic_sources(self, tactic_sources: int) -> bool:
        self._note("set_tactic_sources", tactic_sources)
        return True

    def set_memory_pool_limit(self, pool: Any, pool_size: int) -> None:
        self._note("set_memory_pool_limit", pool.name, pool_size)
        self._pools[pool.name] = pool_size

    def get_memory_pool_limit(self, pool: Any) -> int:
        return self._pools.get(pool.name, 0)

    def add_optimization_profile(self, profile: Any) -> int:
        self._note("add_optimization_profile", dict(profile._shapes))
        self._profiles.append(profile)
        return len(self._profiles) - 1

    def set_calibration_profile(self, profile: Any) -> bool:
        self._note("set_calibration_profile", dict(profile._shapes))
        return True

    def create_timing_cache(self, serialized_timing_cache: bytes) -> Any:
        self._note("create_timing_cache", bytes(serialized_timing_cache))
        return self._module.ITimingCache(bytes(serialized_timing_cache))

    def set_timing_cache(self, cache: Any, ignore_mismatch: bool) -> bool:
        self._note("set_timing_cache", cache._data, ignore_mismatch)
        if cache._data and self._control.foreign_timing_cache:
            return False
        self._cache = cache
        return True

    def get_timing_cache(self) -> Any:
        return self._cache

    def can_run_on_DLA(self, layer: Any) -> bool:
        self._note("can_run_on_DLA", layer.name)
        return layer.name not in self._control.no_dla


class Builder(Strict):
    def __init__(self, logger: Any) -> None:
        assert isinstance(logger, ILogger)
        assert logger._ready
        self._control.adopt(logger)
        self._logger = logger
        self._watch()
        if self._control.cuda_fails:
            emit(self._module, "ERROR", "CUDA initialization failure with error: 35")
            raise TypeError("pybind11::init(): factory function returned nullptr")

    @property
    def num_DLA_cores(self) -> int:
        return self._control.dla_cores

    def create_network(self, flags: int = 0) -> Any:
        assert isinstance(flags, int)
        self._note("create_network", flags)
        known = [int(e) for e in self._module.NetworkDefinitionCreationFlag.__members__.values()]
        if flags >> (max(known) + 1):
            raise ValueError(f"creation flags {flags:#b} hold a bit that is not known")
        return self._tied(self._module.INetworkDefinition(flags))

    def _tied(self, network: Any) -> Any:
        """8.5's bindings keep builder and network alive by each other, beyond the collector."""
        if self._control.version == "8.5.3":
            self._control.kept += (self, network)
        return network

    def create_builder_config(self) -> Any:
        self._note("create_builder_config")
        return self._module.IBuilderConfig()

    def create_optimization_profile(self) -> Any:
        return self._module.IOptimizationProfile()

    def build_serialized_network(self, network: Any, config: Any) -> Any:
        self._note("build_serialized_network", sorted(config._flags), network._strong)
        self._control.built_with = dict(network._precisions), dict(network._output_types)
        control = self._control
        if control.interrupt:  # Ctrl-C while Python code runs within the build
            control.callback(signal.raise_signal, signal.SIGINT)
        for severity, line in control.build_log:
            emit(self._module, severity, line)
        wrong = _profile_fault(network, config)
        if wrong:
            emit(self._module, "ERROR", wrong)
            return None
        if network._strong and config._flags & {"FP16", "INT8", "BF16", "FP8"}:
            emit(self._module, "ERROR", "precision flags in a strongly typed network")
            return None
        if "INT8" in config._flags and not self._calibrated(network, config):
            return None
        if not self._monitored(config) or control.build_fails:
            return None
        if config._cache is not None:
            config._cache._data += b"timings"
        return self._module.IHostMemory(_plan(self._control, network, config))

    def _calibrated(self, network: Any, config: Any) -> bool:
        if any(layer.type == "QUANTIZE" for layer in network._layers):
            return True
        calibrator = vars(config).get("int8_calibrator")
        if calibrator is None:
            emit(self._module, "ERROR", "calibration: no calibrator, no scales")
            return False
        table = calibrator.read_calibration_cache()
        header = bytes(table).partition(b"\n")[0].decode() if table else ""
        self._note("calibrated_with", header)
        if not header.endswith(calibrator._algorithm):
            text = "Calibration table does not match calibrator algorithm type."
            emit(self._module, "ERROR", text)
            return False
        return True

    def _monitored(self, config: Any) -> bool:
        """Report two phases; False when the monitor cancels."""
        monitor = vars(config).get("progress_monitor")
        if monitor is None:
            return True
        call = self._control.callback
        call(monitor.phase_start, "Building Engine", None, 2)
        call(monitor.phase_start, "Tactic selection", "Building Engine", 3)
        for step in range(3):
            if not call(monitor.step_complete, "Tactic selection", step):
                return False
        call(monitor.phase_finish, "Tactic selection")
        call(monitor.phase_finish, "Building Engine")
        return True


def _profile_fault(network: Any, config: Any) -> str:
    """What the builder says of profiles that do not fit the inputs."""
    for tensor in network._tensors:
        if not tensor.is_input:
            continue
        shapes = [p._shapes[tensor.name] for p in config._profiles if tensor.name in p._shapes]
        if -1 in tensor.shape and not shapes:
            return "Network has dynamic inputs, but no optimization profile has been defined"
        fixed = [
            all(want in (-1, have) for want, have in zip(tensor.shape, shape, strict=True))
            for ends in shapes
            for shape in ends
        ]
        if not all(fixed):
            return f"static dimensions of {tensor.name} do not match the profile"
    return ""


def _plan(control: Any, network: Any, config: Any) -> bytes:
    profiles = [{n: list(map(list, s)) for n, s in p._shapes.items()} for p in config._profiles]
    facts = {
        "version": control.version,
        "source": getattr(network, "_source", ""),
        "flags": sorted(config._flags),
        "profiles": profiles,
        "tensors": [[t.name, t.is_input, list(t.shape), t.dtype] for t in network._tensors],
    }
    return MAGIC + json.dumps(facts, sort_keys=True).encode()


def emit(module: Any, severity: str, line: str) -> None:
    """Log a line where TensorRT logs: with the first logger of the process."""
    control = module.__fake__
    logger = control.first_logger()
    assert logger is not None, "TensorRT's first logger was freed"
    control.callback(logger.log, getattr(module.ILogger.Severity, severity), line)
