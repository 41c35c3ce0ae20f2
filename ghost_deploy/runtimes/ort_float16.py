"""Quantization of float16 tensors by an ONNX Runtime that truncates instead of rounding.

On a CPU ONNX Runtime before 1.30 does (1.17 to 1.28 measured; float32 it rounds). An int8 file of
the form `tensorrt-fp16` loses tens of points by that, which it keeps on TensorRT.
"""

from __future__ import annotations

import base64
import functools
from pathlib import Path
from typing import Any

import numpy as np

from ghost_deploy.core.errors import UnavailableError

# One QuantizeLinear of float16, scale 1, opset 19: `x` (N,) to `y` (N,).
_ONE_NODE = base64.b64decode(
    "CAkSADpaChwKAXgKAXMKAXoSAXkiDlF1YW50aXplTGluZWFyEgFnKgkQCioCgHhCAXMqCBADKgEAQgF6WhAKAXgS"
    "CwoJCAoSBQoDEgFOYhAKAXkSCwoJCAMSBQoDEgFOQgQKABAT"
)


@functools.cache
def truncates_float16(onnxruntime: Any) -> bool:
    """Whether this ONNX Runtime rounds towards zero where it quantizes float16 on a CPU."""
    session = onnxruntime.InferenceSession(_ONE_NODE, providers=["CPUExecutionProvider"])
    result = session.run(None, {"x": np.array([0.75, 1.75, -2.75], np.float16)})[0]
    return [int(each) for each in result] != [1, 2, -3]


def write_rounding_copy(path: Path, copy: Path, version: str) -> None:
    """Write a copy of an ONNX file in which each float16 tensor is quantized as float32.

    Its results are those of an ONNX Runtime that rounds: the conversion of the tensor and of the
    scale to float32 is exact.

    Args:
        path: the file; the scales of its QuantizeLinear nodes are initializers.
        copy: the file to write.
        version: of this ONNX Runtime, for the error.

    Raises:
        UnavailableError: the package onnx is not installed.
    """
    try:
        import onnx
    except ImportError as error:
        raise UnavailableError(
            f"ONNX Runtime {version} does not compute {path.name} rightly",
            got="it rounds float16 towards zero where it quantizes",
            fix="Run: pip install onnx, by which the file is corrected as it is opened; or update "
            "onnxruntime to 1.30 or later, for which Python must be 3.11 or later",
        ) from error
    onnx.save(quantized_from_float32(onnx.load(str(path))), str(copy))


def quantized_from_float32(model: Any) -> Any:
    """A copy of an `onnx.ModelProto` in which each float16 tensor is quantized as float32."""
    import onnx

    result = onnx.ModelProto()
    result.CopyFrom(model)
    initializers = {each.name: each for each in model.graph.initializer}
    nodes, scales = list[Any](), dict[str, Any]()
    for original in model.graph.node:
        node = onnx.NodeProto()
        node.CopyFrom(original)
        scale = initializers.get(node.input[1]) if node.op_type == "QuantizeLinear" else None
        if scale is not None and scale.data_type == onnx.TensorProto.FLOAT16:
            wide, value = f"{scale.name}/float32", f"{node.output[0]}/float32"
            scales[wide] = onnx.numpy_helper.to_array(scale).astype(np.float32)
            to = onnx.TensorProto.FLOAT
            nodes.append(onnx.helper.make_node("Cast", [node.input[0]], [value], to=to))
            node.input[0], node.input[1] = value, wide
        nodes.append(node)
    del result.graph.node[:]
    result.graph.node.extend(nodes)
    made = (onnx.numpy_helper.from_array(value, name) for name, value in scales.items())
    result.graph.initializer.extend(made)
    return result
