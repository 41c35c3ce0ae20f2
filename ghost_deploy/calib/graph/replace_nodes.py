"""Replaces the nodes of a graph and checks the result."""

from __future__ import annotations

from collections.abc import Iterable

import onnx
from onnx import ModelProto, NodeProto, TensorProto

from ghost_deploy.core.errors import ExportError


def replace_nodes(
    model: ModelProto, nodes: Iterable[NodeProto], constants: Iterable[TensorProto]
) -> None:
    """Give a model other nodes, in place; initializers that no node reads are dropped.

    Args:
        model: to change.
        nodes: in execution order.
        constants: initializers to add.
    """
    graph = model.graph
    nodes = list(nodes)
    used = {name for node in nodes for name in node.input}
    kept = [tensor for tensor in (*graph.initializer, *constants) if tensor.name in used]
    del graph.node[:]
    del graph.initializer[:]
    graph.node.extend(nodes)
    graph.initializer.extend(kept)


def require_valid(model: ModelProto, *, full: bool = True) -> None:
    """Check a finished int8 model with ONNX's checker.

    Args:
        model: to check.
        full: also infer shapes, which fails on operators of other domains.

    Raises:
        ExportError: it is not valid ONNX.
    """
    try:
        onnx.checker.check_model(model, full_check=full)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ExportError(
            "the int8 graph is not valid ONNX", got=str(error), fix="Report this"
        ) from error
