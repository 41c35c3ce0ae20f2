"""Runtime and engine across versions: named tensors, their types, their shapes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ghost_deploy.core.errors import BackendError
from ghost_deploy.runtimes.tensorrt.compat.api import TensorrtApi, construct

_NUMPY = {
    "FLOAT": "float32",
    "HALF": "float16",
    "INT8": "int8",
    "INT32": "int32",
    "INT64": "int64",
    "BOOL": "bool",
    "UINT8": "uint8",
}
"""Our own table: `tensorrt.nptype` of 8.5 uses a name that numpy 1.24 to 1.26 do not have."""


@dataclass(frozen=True)
class IoTensor:
    """An input or output of an engine; -1 in `shape` is dynamic, `dtype` is a numpy name."""

    name: str
    is_input: bool
    shape: tuple[int, ...]
    dtype: str


def new_runtime(api: TensorrtApi, logger: Any, explain: Callable[[], str] = str) -> Any:
    """A Runtime; DeviceError when CUDA cannot be initialized. Arguments as of `new_builder`."""
    return construct(api.module.Runtime, logger, explain)


def deserialize(
    runtime: Any,
    plan: bytes,
    *,
    what: str,
    dla: int | None = None,
    version_compatible: bool = False,
    why: Callable[[], str] = str,
) -> Any:
    """The engine of a plan.

    Args:
        runtime: of `new_runtime`.
        plan: without any header.
        what: the file, for the message.
        dla: DLA core; None for the GPU.
        version_compatible: the plan contains a runtime whose code is executed: only for a plan
            whose hash was checked.
        why: gives TensorRT's last error line, e.g. `TensorrtLog.last`.

    Raises:
        BackendError: TensorRT rejects the plan.
    """
    if dla is not None:
        runtime.DLA_core = dla
    if version_compatible:
        runtime.engine_host_code_allowed = True
    engine = runtime.deserialize_cuda_engine(plan)
    if engine is None:
        raise BackendError(
            f"TensorRT refuses the engine {what}",
            got=why() or "no reason given",
            fix="Build it again on this device: ghost-deploy build BUNDLE --trt",
        )
    return engine


def io_tensors(engine: Any) -> tuple[IoTensor, ...]:
    """Inputs and outputs in the engine's order; BackendError for a type unknown to numpy."""
    names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
    return tuple(
        IoTensor(
            name=name,
            is_input=engine.get_tensor_mode(name).name == "INPUT",
            shape=sizes(engine.get_tensor_shape(name)),
            dtype=numpy_dtype(engine.get_tensor_dtype(name)),
        )
        for name in names
    )


def numpy_dtype(data_type: Any) -> str:
    """The numpy name of a `tensorrt.DataType`. An int64 of a graph is INT32 in engines of 8.x."""
    if data_type.name not in _NUMPY:
        raise BackendError(
            f"numpy has no type for TensorRT's {data_type.name}",
            expected=", ".join(_NUMPY),
            fix="Export the model with float32 inputs and outputs",
        )
    return _NUMPY[data_type.name]


def sizes(dims: Sequence[int]) -> tuple[int, ...]:
    """The sizes of a `tensorrt.Dims`."""
    return tuple(int(size) for size in dims)


def profile_shapes(engine: Any, name: str, index: int = 0) -> tuple[tuple[int, ...], ...]:
    """Smallest, usual and largest shape of an input in an optimization profile."""
    return tuple(sizes(shape) for shape in engine.get_tensor_profile_shape(name, index))


def num_dla_cores(owner: Any) -> int:
    """Number of DLA cores of this machine, from a Builder or a Runtime."""
    return int(owner.num_DLA_cores)
