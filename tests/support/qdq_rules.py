"""What TensorRT's parsers want of Q/DQ nodes, written down once more from their sources and apart
from our own lint: branch release/8.5-GA of onnx-tensorrt, and the operators of TensorRT 11.

8.5 reads opset 17, three inputs for each node, float32 scales above 0, zero points of int8 that are
0, one scale for a tensor except along the output channels of weights, and weights as float32
constants behind a pair of their own. 11 reads float16 scales from opset 19 on.
"""

from __future__ import annotations

import numpy as np
from onnx import ModelProto, NodeProto, numpy_helper


def qdq_faults(model: ModelProto, *, strongly_typed: bool) -> list[str]:
    """Every rule that a node breaks, as `node: fault`."""
    graph = model.graph
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    maker = {name: node for node in graph.node for name in node.output}
    users: dict[str, list[NodeProto]] = {}
    for node in graph.node:
        for name in node.input:
            users.setdefault(name, []).append(node)
    (opset,) = (entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
    found = []
    if (opset < 19) if strongly_typed else (opset != 17):
        found.append(f"graph: opset {opset}")
    for node in graph.node:
        if node.op_type not in ("QuantizeLinear", "DequantizeLinear"):
            continue
        faults = [*_parameters(node, constants, strongly_typed)]
        faults += _neighbours(node, constants, maker, users)
        found += [f"{node.name}: {fault}" for fault in faults]
    return found


def _parameters(
    node: NodeProto, constants: dict[str, np.ndarray], strongly_typed: bool
) -> list[str]:
    if len(node.input) != 3:
        return [f"{len(node.input)} inputs"]
    _, scale_name, zero_name = node.input
    if scale_name not in constants or zero_name not in constants:
        return ["scale or zero point is computed"]
    scale, zero = constants[scale_name], constants[zero_name]
    types = ("float16", "float32") if strongly_typed else ("float32",)
    checks = {
        f"scale of {scale.dtype}": scale.dtype.name in types,
        "scale not above 0": bool((scale > 0).all() and np.isfinite(scale).all()),
        f"zero point of {zero.dtype}": zero.dtype == np.int8,
        "zero point not 0": not zero.any(),
        "shapes differ": zero.size == scale.size,
    }
    return [fault for fault, ok in checks.items() if not ok]


def _neighbours(
    node: NodeProto,
    constants: dict[str, np.ndarray],
    maker: dict[str, NodeProto],
    users: dict[str, list[NodeProto]],
) -> list[str]:
    source, readers = node.input[0], users.get(node.output[0], [])
    if node.op_type == "DequantizeLinear":
        before = maker.get(source)
        if before is None or before.op_type != "QuantizeLinear":
            return ["no Q before it"]
        same = [*before.input[1:]] == [*node.input[1:]] and before.attribute == node.attribute
        return [] if same else ["another scale than its Q"]
    if [reader.op_type for reader in readers] != ["DequantizeLinear"]:
        return ["not one DQ behind it"]
    scales = constants[node.input[1]].size
    if source not in constants:
        return [] if scales == 1 else ["several scales of an activation"]
    (conv,) = users[readers[0].output[0]]
    axis = next((entry.i for entry in node.attribute if entry.name == "axis"), 1)
    weights = constants[source]
    checks = {
        "weights that are not float": weights.dtype.name in ("float16", "float32"),
        "not the weights of a convolution": conv.op_type == "Conv",
        "scales along another axis": scales == 1 or (axis == 0 and scales == weights.shape[0]),
    }
    return [fault for fault, ok in checks.items() if not ok]
