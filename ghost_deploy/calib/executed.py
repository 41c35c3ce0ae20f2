"""Share of a network that a runtime executes in int8, measured on this machine.

Q/DQ nodes only request int8. Whether a kernel uses it depends on the placement, the processor and
the runtime's version, so every int8 result reports the measured share.
"""

from __future__ import annotations

import importlib.metadata
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np

from ghost_deploy.core.errors import BackendError, UsageError
from ghost_deploy.core.evidence.int8 import Executed
from ghost_deploy.core.scratch import scratch_folder
from ghost_deploy.runtimes.vendor import vendor_errors

# Index of the weights among the inputs, by operator.
_CONVOLUTIONS = {"Conv": 1, "FusedConv": 1, "NhwcFusedConv": 1, "QLinearConv": 3, "ConvInteger": 1}
_PRODUCTS = {"MatMul": 1, "FusedMatMul": 1, "Gemm": 1, "QLinearMatMul": 3, "MatMulInteger": 1}
_INTEGER = frozenset({"int8", "uint8"})
_OV_CONVOLUTIONS = frozenset({"Convolution", "Deconvolution"})
_OV_PRODUCTS = frozenset({"MatMul", "FullyConnected"})
_OV_INTEGER = frozenset({"i8", "u8"})

_Kernel = tuple[str, bool, int]
"""Name of the kernel, whether it computes in int8, its multiply-adds."""


def executed(path: str | Path, size_hw: tuple[int, int]) -> Executed:
    """The arithmetic that a runtime uses for a file on this machine's CPU.

    An ONNX file is run once under ONNX Runtime's profiler, which lists the kernels after all
    fusions with the shapes and types of their inputs. An OpenVINO IR is compiled for the CPU, and
    the executable graph is read back. The layers of an NCNN network say which of them NCNN computes
    in int8.

    Args:
        path: `.onnx` for ONNX Runtime, `.xml` for OpenVINO, `.param` for NCNN.
        size_hw: (height, width) of the input in pixels, for dynamic graphs.

    Raises:
        UsageError: the file has another suffix.
        BackendError: the runtime cannot run the file, or it has no convolution.
    """
    suffix = Path(path).suffix.lower()
    if suffix == ".onnx":
        return _in_onnxruntime(path, size_hw)
    if suffix == ".xml":
        return _in_openvino(path, size_hw)
    if suffix == ".param":
        return _in_ncnn(path)
    raise UsageError(
        f"the executed kernels of {path} cannot be read",
        got=suffix or "no suffix",
        expected=".onnx, .xml, .param",
        fix="Give an ONNX file, an OpenVINO IR or an NCNN network",
    )


def _in_onnxruntime(path: str | Path, size_hw: tuple[int, int]) -> Executed:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.enable_profiling = True
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    # The profile has no shape of packed weights.
    options.add_session_config_entry("session.disable_prepacking", "1")
    with scratch_folder() as folder:
        options.profile_file_prefix = str(folder / "profile")
        with _vendor_errors("ONNX Runtime", path):
            session = onnxruntime.InferenceSession(
                str(path), options, providers=["CPUExecutionProvider"], enable_fallback=0
            )
            inputs = session.get_inputs()
            session.run(None, {each.name: _blank(each, size_hw) for each in inputs})
            profile = Path(session.end_profiling()).read_text()
    return _sum("ort", onnxruntime.__version__, _ort_kernels(json.loads(profile)), path)


def _in_openvino(path: str | Path, size_hw: tuple[int, int]) -> Executed:
    import openvino

    with _vendor_errors("OpenVINO", path):
        core = openvino.Core()
        model = core.read_model(str(path))
        model.reshape({port.any_name: _ov_shape(port, size_hw) for port in model.inputs})
        compiled = core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        kernels = list(_ov_kernels(compiled.get_runtime_model().get_ordered_ops()))
    return _sum("openvino", openvino.__version__.split("-")[0], kernels, path)


def _in_ncnn(path: str | Path) -> Executed:
    from ghost_deploy.calib.executed_ncnn import ncnn_kernels

    with _vendor_errors("NCNN", path):
        kernels = list(ncnn_kernels(Path(path)))
    return _sum("ncnn", importlib.metadata.version("ncnn"), kernels, path)


def _ort_kernels(events: Sequence[Mapping[str, Any]]) -> Iterator[_Kernel]:
    """Every convolution and matrix product among the events of a profile."""
    for event in events:
        if event.get("cat") != "Node" or not event["name"].endswith("kernel_time"):
            continue
        facts = event["args"]
        kernel = facts["op_name"]
        inputs: list[tuple[str, list[int]]] = [
            next(iter(each.items()), ("", [])) for each in facts["input_type_shape"]
        ]
        output = next(iter(facts["output_type_shape"][0].values()))
        if kernel in _CONVOLUTIONS:
            dtype, weight = inputs[_CONVOLUTIONS[kernel]]
            macs = _convolution_macs(weight, weight[0], output)
        elif kernel in _PRODUCTS:
            dtype = inputs[_PRODUCTS[kernel]][0]
            macs = math.prod(output) * int(inputs[0][1][-1])
        else:
            continue
        yield f"{kernel} {dtype}", dtype in _INTEGER, macs


def _ov_kernels(operations: Iterable[Any]) -> Iterator[_Kernel]:
    """Every convolution and matrix product of a runtime model, by its rt_info."""
    for operation in operations:
        info = operation.get_rt_info()
        layer = str(info["layerType"].astype(str))
        if layer not in _OV_CONVOLUTIONS | _OV_PRODUCTS:
            continue  # some have no output at all
        output = operation.output(0).get_shape()
        if layer in _OV_CONVOLUTIONS:
            macs = _convolution_macs(operation.input(1).get_shape(), output[1], output)
        else:
            macs = math.prod(output) * operation.input(0).get_shape()[-1]
        precision = str(info["runtimePrecision"].astype(str))
        yield str(info["primitiveType"].astype(str)), precision in _OV_INTEGER, macs


def _convolution_macs(weight: Sequence[int], channels: int, output: Sequence[int]) -> int:
    """Multiply-adds: each output element uses the weights of one output channel once."""
    return math.prod(weight) // int(channels) * math.prod(output)


def _sum(runtime: str, version: str, kernels: Iterable[_Kernel], path: str | Path) -> Executed:
    total = int8 = 0
    by_kernel: dict[str, int] = {}
    for kernel, is_int8, macs in kernels:
        total += macs
        int8 += macs if is_int8 else 0
        by_kernel[kernel] = by_kernel.get(kernel, 0) + macs
    if not total:
        raise BackendError(
            f"{runtime} executed no convolution of {path}",
            fix="Give the model of a detector",
        )
    return Executed(
        runtime=runtime,
        version=version,
        macs=total,
        int8_macs=int8,
        kernels=dict(sorted(by_kernel.items(), key=lambda item: -item[1])),
    )


def _blank(value: Any, size_hw: tuple[int, int]) -> Any:
    """Zeros for `value`, an onnxruntime NodeArg."""
    shape = [side if isinstance(side, int) else -1 for side in value.shape]
    dtype = np.uint8 if value.type == "tensor(uint8)" else np.float32
    return np.zeros(_concrete(shape, size_hw), dtype)


def _ov_shape(port: Any, size_hw: tuple[int, int]) -> list[int]:
    sides = port.get_partial_shape()
    return _concrete([side.get_length() if side.is_static else -1 for side in sides], size_hw)


def _concrete(shape: Sequence[int], size_hw: tuple[int, int]) -> list[int]:
    """`shape` with batch 1 and `size_hw` in place of -1; channels are last where that side is 3."""
    height, width = size_hw
    wanted = (1, height, width, 3) if shape[-1] == 3 else (1, 3, height, width)
    return [want if side < 0 else side for side, want in zip(shape, wanted, strict=True)]


def _vendor_errors(runtime: str, path: str | Path) -> AbstractContextManager[None]:
    return vendor_errors(f"{runtime} cannot run {path}", "Make the file again")
