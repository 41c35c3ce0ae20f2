"""`tensorrt` for processes of a machine without a GPU: the strict fake, whose engines compute with
ONNX Runtime what the graph that they were built from computes.

For `tools/gpu_check.py --dry-run`, which puts this folder first on the path and names version and
folder of the graphs in the environment.
"""

from __future__ import annotations

import functools
import hashlib
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.support.fake_cuda import FakeCuda, compute
from tests.support.fake_tensorrt import Layer, Tensor, make_fake

_TYPES = {"Conv": "CONVOLUTION", "QuantizeLinear": "QUANTIZE", "DequantizeLinear": "DEQUANTIZE"}
_ELEMENTS = {1: "FLOAT", 2: "UINT8", 10: "HALF"}


def _describe(model: bytes) -> tuple[list[Tensor], list[Layer]]:
    """Inputs and outputs of a graph and a layer for each of its nodes."""
    import onnx

    graph = onnx.load_from_string(model).graph
    tensors = []
    for values, is_input in ((graph.input, True), (graph.output, False)):
        for value in values:
            kind = value.type.tensor_type
            shape = tuple(axis.dim_value or -1 for axis in kind.shape.dim)
            tensors.append(Tensor(value.name, is_input, shape, _ELEMENTS[kind.elem_type]))
    layers = [
        Layer(n.name, _TYPES.get(n.op_type, "ELEMENTWISE"), tuple(n.input), tuple(n.output))
        for n in graph.node
        if n.op_type != "Constant"
    ]
    return tensors, layers


@functools.cache
def _session(sha256: str) -> Any:
    import onnxruntime

    folder = Path(os.environ["GHOST_DEPLOY_DRY_FOLDER"])
    for path in folder.rglob("*.onnx"):
        if hashlib.sha256(path.read_bytes()).hexdigest() == sha256:
            return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    raise FileNotFoundError(f"no graph with the hash {sha256} in {folder}")


def _execute(context: Any) -> None:
    session = _session(context._engine._facts["source"])

    def function(images: NDArray[Any]) -> NDArray[Any]:
        feeds = {session.get_inputs()[0].name: np.array(images)}
        result: NDArray[Any] = session.run(None, feeds)[0]
        return result

    _cuda.enqueue(context._stream, lambda: compute(context, function))


_cuda = FakeCuda(Path("libcudart.so.13"))
_fake = make_fake(os.environ["GHOST_DEPLOY_DRY_TENSORRT"])
_fake.__fake__.on_parse = _describe
_fake.__fake__.on_execute = _execute
sys.modules[__name__] = _fake
