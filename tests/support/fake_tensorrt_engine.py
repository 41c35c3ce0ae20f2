"""The runtime's half of the fake: runtime, engine, context, inspector."""

from __future__ import annotations

import json
from typing import Any

from tests.support.fake_tensorrt_builder import MAGIC, ILogger, emit
from tests.support.fake_tensorrt_strict import Strict, Tensor


class Runtime(Strict):
    def __init__(self, logger: Any) -> None:
        assert isinstance(logger, ILogger)
        assert logger._ready
        self._control.adopt(logger)
        self._logger = logger
        if self._control.cuda_fails:
            emit(self._module, "ERROR", "CUDA initialization failure with error: 35")
            raise TypeError("pybind11::init(): factory function returned nullptr")
        self._core = -1

    @property
    def num_DLA_cores(self) -> int:
        return self._control.dla_cores

    def deserialize_cuda_engine(self, serialized_engine: Any) -> Any:
        data = bytes(serialized_engine)
        self._note("deserialize_cuda_engine", len(data))
        kinds = ("Builder", "INetworkDefinition", "OnnxParser")
        self._control.note("alive when loading", *map(self._control.living, kinds))
        if not data.startswith(MAGIC):
            emit(self._module, "ERROR", "Magic tag does not match")
            return None
        facts = json.loads(data[len(MAGIC) :])
        newer_ok = "VERSION_COMPATIBLE" in facts["flags"]
        allowed = vars(self).get("engine_host_code_allowed") is True
        if newer_ok and not allowed:
            text = "engine contains a lean runtime; host code must be allowed"
            emit(self._module, "ERROR", text)
            return None
        if facts["version"] != self._control.version and not newer_ok:
            text = f"The engine plan file is not compatible: built by {facts['version']}"
            emit(self._module, "ERROR", text)
            return None
        return self._module.ICudaEngine(facts)


class ICudaEngine(Strict):
    def __init__(self, facts: dict[str, Any]) -> None:
        self._facts = facts
        self._tensors = [Tensor(n, i, tuple(s), d) for n, i, s, d in facts["tensors"]]

    def _by_name(self, name: str) -> Tensor:
        return next(tensor for tensor in self._tensors if tensor.name == name)

    @property
    def num_io_tensors(self) -> int:
        return len(self._tensors)

    @property
    def num_optimization_profiles(self) -> int:
        return max(1, len(self._facts["profiles"]))

    def get_tensor_name(self, index: int) -> str:
        return self._tensors[index].name

    def get_tensor_mode(self, name: str) -> Any:
        mode = self._module.TensorIOMode
        return mode.INPUT if self._by_name(name).is_input else mode.OUTPUT

    def get_tensor_shape(self, name: str) -> Any:
        return self._by_name(name).shape

    def get_tensor_dtype(self, name: str) -> Any:
        return getattr(self._module.DataType, self._by_name(name).dtype)

    def get_tensor_location(self, name: str) -> Any:
        return self._module.TensorLocation.DEVICE

    def get_tensor_format(self, name: str) -> Any:
        return self._module.TensorFormat.LINEAR

    def is_shape_inference_io(self, name: str) -> bool:
        return False

    def get_tensor_profile_shape(self, name: str, profile_index: int) -> Any:
        profiles = self._facts["profiles"]
        if not profiles or name not in profiles[profile_index]:
            shape = self._by_name(name).shape
            return [shape, shape, shape]
        return [tuple(shape) for shape in profiles[profile_index][name]]

    @property
    def device_memory_size(self) -> int:
        return self._control.device_memory

    @property
    def device_memory_size_v2(self) -> int:
        return self._control.device_memory

    @property
    def num_layers(self) -> int:
        return len(self._control.layers)

    def create_execution_context(self, *args: Any) -> Any:
        self._note("create_execution_context", *args)
        return self._module.IExecutionContext(self)

    def create_engine_inspector(self) -> Any:
        return self._module.EngineInspector()


class EngineInspector(Strict):
    def get_engine_information(self, format: Any) -> str | None:
        self._note("get_engine_information", format.name)
        return self._control.inspector_json


class IExecutionContext(Strict):
    def __init__(self, engine: Any) -> None:
        self._engine = engine
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._addresses: dict[str, int] = {}

    def set_input_shape(self, name: str, shape: Any) -> bool:
        shape = tuple(shape)
        self._note("set_input_shape", name, shape)
        low, _, high = self._engine.get_tensor_profile_shape(name, 0)
        fits = len(shape) == len(low) and all(
            a <= b <= c for a, b, c in zip(low, shape, high, strict=True)
        )
        if fits:
            self._shapes[name] = shape
        return fits

    def get_tensor_shape(self, name: str) -> Any:
        tensor = self._engine._by_name(name)
        if -1 not in tensor.shape or tensor.is_input:
            return self._shapes.get(name, tensor.shape)
        resolve = self._control.output_shape
        return resolve(dict(self._shapes)) if resolve and self._shapes else tensor.shape

    def infer_shapes(self) -> list[str]:
        return [
            tensor.name
            for tensor in self._engine._tensors
            if tensor.is_input and -1 in tensor.shape and tensor.name not in self._shapes
        ]

    def set_tensor_address(self, name: str, memory: int) -> bool:
        assert isinstance(memory, int)
        self._note("set_tensor_address", name, memory)
        self._engine._by_name(name)
        self._addresses[name] = memory
        return True

    def get_tensor_address(self, name: str) -> int:
        return self._addresses.get(name, 0)

    def set_output_allocator(self, name: str, output_allocator: Any) -> bool:
        self._note("set_output_allocator", name)
        return True

    def set_optimization_profile_async(self, profile_index: int, stream_handle: int) -> bool:
        self._note("set_optimization_profile_async", profile_index, stream_handle)
        return True

    def execute_async_v3(self, stream_handle: int) -> bool:
        assert isinstance(stream_handle, int)
        self._note("execute_async_v3", stream_handle)
        self._stream = stream_handle
        if not self._control.execute_ok:
            return False
        if self._control.on_execute is not None:
            self._control.on_execute(self)
        return True
