"""The ONNX graph of a fork's network: from a process that is not trusted, checked, finished."""

from __future__ import annotations

import math
from collections.abc import Iterator

import onnx
from onnx import AttributeProto, GraphProto, ModelProto, TensorProto, ValueInfoProto

from ghost_deploy.core.errors import ExportError
from ghost_deploy.core.spec import ModelSpec
from ghost_deploy.export.half_graph import half_graph
from ghost_deploy.export.opset import OPSET
from ghost_deploy.export.trace import graph_shapes
from ghost_deploy.export.trace_onnx import finish_onnx

MAX_NODES = 50_000
MAX_ELEMENTS = 1 << 30
"""Largest tensor that a graph may make at its usual size; detectors are far below."""

_MAX_DEPTH = 8
# They may run without end, and constant folding runs a graph before anything else does.
_REFUSED = frozenset({"Loop", "Scan", "SequenceMap"})


def onnx_from_fork(data: bytes, spec: ModelSpec, precision: str) -> ModelProto:
    """The finished graph of a fork's network in `precision`, `fp32` or `fp16`.

    Args:
        data: the ONNX file that the fork's process made.
        spec: of the export.
        precision: fp16 is edited into the finished graph, with everything behind the last
            convolutions in float32, as the network itself is out of reach.

    Raises:
        ExportError: it is no graph that can be used, or a step failed.
    """
    model = finish_onnx(read_foreign(data, spec), spec, "fp32")
    return half_graph(model, spec) if precision == "fp16" else model


def read_foreign(data: bytes, spec: ModelSpec) -> ModelProto:
    """Parse and check an ONNX file from a source that is not trusted.

    Raises:
        ExportError: it is no ONNX, refers to files beside it, has operators that are not ONNX's or
            that may run without end, makes huge tensors, or does not fit `spec`.
    """
    try:
        model = onnx.load_model_from_string(data)
    except Exception as error:  # protobuf's error, whose package has no types
        raise _unusable("no ONNX file") from error
    versions = {each.domain: each.version for each in model.opset_import}
    if set(versions) - {"", "ai.onnx"} or not 1 <= versions.get("", 0) <= OPSET:
        raise _unusable(f"operators of {versions}", f"those of ONNX up to opset {OPSET}")
    if model.functions or model.training_info:
        raise _unusable("functions of its own")
    fault = next(_faults(model.graph, 0), "")
    if fault:
        raise _unusable(fault)
    _check_border(model.graph, spec)
    try:
        onnx.checker.check_model(model)
        inferred = onnx.shape_inference.infer_shapes(model, check_type=True, data_prop=True)
    # A damaged graph makes the C++ checker raise several kinds.
    except Exception as error:
        raise _unusable(f"{type(error).__name__}: {str(error)[:500]}") from error
    for value in inferred.graph.value_info:
        if _elements(value) > MAX_ELEMENTS:
            raise _unusable(f"the tensor {value.name[:80]!r} of {_elements(value)} numbers")
    return model


def _faults(graph: GraphProto, depth: int) -> Iterator[str]:
    if depth > _MAX_DEPTH or len(graph.node) > MAX_NODES:
        yield f"{len(graph.node)} nodes, nested {depth} deep"
        return
    if graph.sparse_initializer:
        yield "sparse tensors"
    yield from (fault for tensor in graph.initializer for fault in _tensor_faults(tensor))
    for node in graph.node:
        if node.domain not in ("", "ai.onnx") or node.op_type in _REFUSED:
            yield f"the operator {node.domain[:40]}:{node.op_type[:40]}"
        for attribute in node.attribute:
            yield from _attribute_faults(attribute, depth)


def _attribute_faults(attribute: AttributeProto, depth: int) -> Iterator[str]:
    for tensor in (attribute.t, *attribute.tensors):
        yield from _tensor_faults(tensor)
    if attribute.HasField("sparse_tensor") or attribute.sparse_tensors:
        yield "sparse tensors"
    graphs = [attribute.g] if attribute.HasField("g") else []
    for graph in (*graphs, *attribute.graphs):
        yield from _faults(graph, depth + 1)


def _tensor_faults(tensor: TensorProto) -> Iterator[str]:
    if tensor.external_data or tensor.data_location == TensorProto.EXTERNAL:
        yield f"the tensor {tensor.name[:80]!r}, stored in another file"
    if any(side < 0 for side in tensor.dims) or math.prod(tensor.dims) > MAX_ELEMENTS:
        yield f"the tensor {tensor.name[:80]!r} of shape {list(tensor.dims)[:8]}"


def _check_border(graph: GraphProto, spec: ModelSpec) -> None:
    """Require the one input and the one output that the spec describes."""
    wanted_input, wanted_output = graph_shapes(spec)
    kind = TensorProto.UINT8 if spec.input.embedded else TensorProto.FLOAT
    border = (
        (graph.input, spec.input.name, wanted_input, kind),
        (graph.output, spec.head.output, wanted_output, TensorProto.FLOAT),
    )
    for values, name, shape, wanted_kind in border:
        found = [(each.name, each.type.tensor_type.elem_type) for each in values]
        if found != [(name, wanted_kind)]:
            raise _unusable(f"inputs or outputs {found}"[:300], f"one, {name!r}")
        sides = values[0].type.tensor_type.shape.dim
        numbers = [each.dim_value for each in sides]
        fits = len(numbers) == len(shape) and all(
            have in (0, want) for have, want in zip(numbers, shape, strict=True)
        )
        if not fits and not spec.input.dynamic:
            raise _unusable(f"{name!r} of shape {numbers}", str(shape))


def _elements(value: ValueInfoProto) -> int:
    return math.prod(max(1, side.dim_value) for side in value.type.tensor_type.shape.dim)


def _unusable(got: str, expected: str | None = None) -> ExportError:
    return ExportError(
        "the graph of the fork's network cannot be used",
        got=got,
        expected=expected,
        fix="Its process may give an ordinary ONNX graph of a detector only",
    )
