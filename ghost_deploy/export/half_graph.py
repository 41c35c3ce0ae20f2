"""Half precision for a finished graph whose network is out of reach.

Our own networks are traced in half precision instead (`precision`).
"""

from __future__ import annotations

import warnings

import numpy as np
import onnx
from onnx import ModelProto, numpy_helper

from ghost_deploy.core.errors import ExportError
from ghost_deploy.core.spec import ModelSpec
from ghost_deploy.export.precision import FLOAT16_MAX
from ghost_deploy.export.simplify import require_same_results

_WEIGHTED = ("Conv", "ConvTranspose", "Gemm")


def half_graph(model: ModelProto, spec: ModelSpec) -> ModelProto:
    """A copy in float16 up to the last convolutions; input, output and the rest stay float32.

    Boxes are decoded behind the last convolutions, and the spacing of float16 at 512 is half a
    pixel.

    Raises:
        ExportError: a weight is too large for float16, or the result differs too much.
    """
    from onnxruntime.transformers.float16 import convert_float_to_float16
    from onnxruntime.transformers.onnx_model import OnnxModel

    _check_weights(model)
    with warnings.catch_warnings():
        # Weights below float16's smallest number become that number, which it warns of.
        warnings.simplefilter("ignore")
        half: ModelProto = convert_float_to_float16(
            model,
            keep_io_types=True,
            disable_shape_infer=False,
            op_block_list=["Resize", "TopK", "NonMaxSuppression"],
            node_block_list=tail_nodes(model),
        )
    OnnxModel(half).topological_sort()  # casts were added at the end
    del half.graph.value_info[:]
    try:
        onnx.checker.check_model(half, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ExportError(
            "the graph in fp16 is not valid ONNX", got=str(error)[:500], fix="Export fp32 alone"
        ) from error
    require_same_results(model, half, spec, "fp16")
    return half


def tail_nodes(model: ModelProto) -> list[str]:
    """Names of the nodes that no convolution follows, except the last convolutions themselves."""
    needed: set[str] = set()
    tail = []
    for node in reversed(model.graph.node):
        if node.op_type in _WEIGHTED or needed & set(node.output):
            needed |= set(node.input)
        else:
            tail.append(node.name)
    return tail


def _check_weights(model: ModelProto) -> None:
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.dtype != np.float32 or not values.size:
            continue
        largest = float(np.abs(values).max())
        if not largest <= FLOAT16_MAX:
            raise ExportError(
                f"the weights {tensor.name[:80]!r} cannot be computed in fp16",
                got=f"{largest:g}",
                expected=f"at most {FLOAT16_MAX:g}",
                fix="Export fp32 alone; a batch norm with a variance near 0 is the usual cause",
            )
