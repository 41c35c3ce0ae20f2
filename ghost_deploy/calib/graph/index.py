"""The ONNX index of a float or a Q/DQ model, checked for what calibration relies on."""

from __future__ import annotations

from onnx import ModelProto

from ghost_deploy.core.errors import InputError
from ghost_deploy.export.onnx_index import OnnxIndex


def index_float(model: ModelProto) -> OnnxIndex:
    """The index of a float model.

    Raises:
        InputError: node names are missing or repeated, or the model is quantized already.
    """
    graph = index_qdq(model)
    for node in graph.nodes:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            raise InputError(
                "the graph is quantized already",
                got=f"{node.op_type} {node.name}",
                fix="Calibrate the fp32 artifact",
            )
    return graph


def index_qdq(model: ModelProto) -> OnnxIndex:
    """The index of a model with or without Q/DQ nodes.

    Raises:
        InputError: node names are missing or repeated.
    """
    graph = OnnxIndex(model)
    if not graph.nodes or len(graph.node) != len(graph.nodes) or "" in graph.node:
        raise InputError(
            "the nodes of the graph have no unique names",
            got=f"{len(graph.nodes)} nodes, {len(set(graph.node) - {''})} names",
            fix="Export the model again with `ghost-deploy export`",
        )
    return graph
