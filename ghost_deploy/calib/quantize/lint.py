"""Checks a finished Q/DQ graph against the rules of TensorRT's parser.

The rules are those of the oldest supported parser: onnx-tensorrt, branch release/8.5-GA,
builtin_op_importers.cpp (QuantizeLinear, DequantizeLinear), and TensorRT 8.5.3, NvInfer.h
(IQuantizeLayer, IDequantizeLayer).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, numpy_helper

from ghost_deploy.core.errors import ExportError
from ghost_deploy.export.efficient_nms import DOMAIN, OPERATOR
from ghost_deploy.export.onnx_index import OnnxIndex
from ghost_deploy.export.operators import TENSORRT_8_5

_PORTABLE_OPSET = 17
_STRONG_OPSET = 19
_Q, _DQ = "QuantizeLinear", "DequantizeLinear"


@dataclass(frozen=True)
class Finding:
    """A violation of a rule.

    Attributes:
        rule: one of `RULES`.
        node: its name; empty for the whole graph.
        message: description.
    """

    rule: str
    node: str
    message: str

    def __str__(self) -> str:
        return f"{self.rule}: {self.node + ': ' if self.node else ''}{self.message}"


class _QdqIndex(OnnxIndex):
    """The index of the graph, with its Q and DQ nodes and the values of Constant nodes."""

    def __init__(self, model: ModelProto, *, strongly_typed: bool) -> None:
        super().__init__(model)
        self.strongly_typed = strongly_typed
        self.pairs = [node for node in self.nodes if node.op_type in (_Q, _DQ)]
        self.constants: dict[str, TensorProto] = dict(self.initializers)
        for node in self.nodes:
            if node.op_type == "Constant":
                self.constants[node.output[0]] = self.attribute(node, "value")

    def value(self, node: NodeProto, index: int) -> NDArray[Any] | None:
        """A constant input; None where it is missing or computed."""
        tensor = self.constants.get(node.input[index]) if len(node.input) > index else None
        return None if tensor is None else numpy_helper.to_array(tensor)


_Rule = Callable[[_QdqIndex], Iterator[tuple[str, str]]]


def lint(model: ModelProto, *, strongly_typed: bool = False) -> list[Finding]:
    """All violations of a graph; empty for one that TensorRT parses.

    Args:
        model: with Q/DQ pairs.
        strongly_typed: apply the rules of the form with float16, which TensorRT 10 and 11 parse:
            opset 19 or newer, scales float16 where the tensor is.
    """
    graph = _QdqIndex(model, strongly_typed=strongly_typed)
    return [
        Finding(name, node, message)
        for name, rule in _RULES.items()
        for node, message in rule(graph)
    ]


def require_clean(model: ModelProto, *, strongly_typed: bool = False) -> None:
    """Raise an error if `lint` finds violations.

    Args:
        model: with Q/DQ pairs.
        strongly_typed: as in `lint`.

    Raises:
        ExportError: the message has the first three findings.
    """
    findings = lint(model, strongly_typed=strongly_typed)
    if findings:
        raise ExportError(
            f"TensorRT would refuse the int8 graph ({len(findings)} findings)",
            got="; ".join(map(str, findings[:3])),
            fix="Report this with the checkpoint's architecture; nothing was written",
        )


def _opset(graph: _QdqIndex) -> Iterator[tuple[str, str]]:
    if graph.strongly_typed and graph.opset < _STRONG_OPSET:
        yield "", f"opset {graph.opset}; float16 scales need {_STRONG_OPSET}"
    if not graph.strongly_typed and graph.opset > _PORTABLE_OPSET:
        yield "", f"opset {graph.opset}; TensorRT 8.5 reads up to {_PORTABLE_OPSET}"


def _operators(graph: _QdqIndex) -> Iterator[tuple[str, str]]:
    for node in graph.nodes:
        known = node.domain in ("", "ai.onnx") and node.op_type in TENSORRT_8_5
        if not known and (node.domain, node.op_type) != (DOMAIN, OPERATOR):
            where = f" in the domain {node.domain}" if node.domain else ""
            yield node.name, f"TensorRT 8.5 has no {node.op_type}{where}"


def _three_inputs(graph: _QdqIndex) -> Iterator[tuple[str, str]]:
    for node in graph.pairs:
        if len(node.input) != 3 or not all(node.input):
            yield node.name, f"{len([*filter(None, node.input)])} inputs, not 3"


def _zero_point(graph: _QdqIndex) -> Iterator[tuple[str, str]]:
    for node in graph.pairs:
        value = graph.value(node, 2)
        if value is None:
            yield node.name, "the zero point is not a constant"
        elif value.dtype != np.int8:
            yield node.name, f"the zero point is {value.dtype}, not int8"
        elif value.any():
            yield node.name, "the zero point is not 0"


def _scale_constant(graph: _QdqIndex) -> Iterator[tuple[str, str]]:
    for node in graph.pairs:
        if graph.value(node, 1) is None:
            yield node.name, "the scale is not a constant"


def _scale_type(graph: _QdqIndex) -> Iterator[tuple[str, str]]:
    allowed = (np.float16, np.float32) if graph.strongly_typed else (np.float32,)
    for node in graph.pairs:
        value = graph.value(node, 1)
        if value is not None and value.dtype not in allowed:
            yield node.name, f"the scale is {value.dtype}"


def _scale_positive(graph: _QdqIndex) -> Iterator[tuple[str, str]]:
    for node in graph.pairs:
        value = graph.value(node, 1)
        if value is not None and not (np.isfinite(value).all() and (value > 0).all()):
            yield node.name, "a scale is not above 0 and finite"


def _per_channel(graph: _QdqIndex) -> Iterator[tuple[str, str]]:
    for node in graph.pairs:
        scale, zero = graph.value(node, 1), graph.value(node, 2)
        if scale is None or (scale.size == 1 and (zero is None or zero.size == 1)):
            continue
        weight = _weight_of(graph, node)
        axis = _axis(node)
        if weight is None:
            yield node.name, f"{scale.size} scales on an activation"
        elif not -len(weight.dims) <= axis < len(weight.dims) or scale.size != weight.dims[axis]:
            yield node.name, f"{scale.size} scales along axis {axis} of {list(weight.dims)}"
        elif zero is not None and zero.size != scale.size:
            yield node.name, f"{zero.size} zero points for {scale.size} scales"


def _weights(graph: _QdqIndex) -> Iterator[tuple[str, str]]:
    for node in graph.pairs:
        tensor = graph.constants.get(node.input[0]) if node.input else None
        if tensor is None:
            continue
        if node.op_type == _DQ:
            yield node.name, "a constant is stored quantized; weights are float, then Q, then DQ"
        elif tensor.data_type != TensorProto.FLOAT and not graph.strongly_typed:
            yield node.name, f"weights are {TensorProto.DataType.Name(tensor.data_type)}, not FLOAT"


def _pair(graph: _QdqIndex) -> Iterator[tuple[str, str]]:
    for node in graph.pairs:
        if node.op_type == _Q:
            readers = graph.readers(node.output[0])
            if not readers or any(reader.op_type != _DQ for reader in readers):
                yield node.name, "a Q is not followed by a DQ"
            if node.output[0] in graph.outputs:
                yield node.name, "a Q computes an output of the graph"
            for reader in readers:
                if reader.op_type == _DQ and not _same_parameters(graph, node, reader):
                    yield reader.name, "a DQ has another scale, zero point or axis than its Q"
        elif node.input and node.input[0] not in graph.constants:
            source = graph.producer.get(node.input[0])
            if source is None or source.op_type != _Q:
                yield node.name, "a DQ does not follow a Q"


def _mixed_output(graph: _QdqIndex) -> Iterator[tuple[str, str]]:
    """Pixels (0 to 640) and scores (0 to 1) of one tensor cannot share a scale."""
    for name in graph.outputs:
        if any(reader.op_type == _Q for reader in graph.readers(name)):
            yield "", f"the output {name} is quantized"
        last = graph.producer.get(name)
        for tensor in () if last is None else (*last.output, *last.input):
            source = graph.producer.get(tensor)
            if source is not None and source.op_type == _DQ and tensor not in graph.constants:
                yield source.name, f"the output {name} is computed from quantized values"


_RULES: dict[str, _Rule] = {
    "opset": _opset,
    "operators": _operators,
    "three-inputs": _three_inputs,
    "zero-point": _zero_point,
    "scale-constant": _scale_constant,
    "scale-type": _scale_type,
    "scale-positive": _scale_positive,
    "per-channel": _per_channel,
    "weights": _weights,
    "pair": _pair,
    "mixed-output": _mixed_output,
}

RULES = tuple(_RULES)
"""Names of the rules, in the order in which they are checked."""


def _weight_of(graph: _QdqIndex, node: NodeProto) -> TensorProto | None:
    """The constant that a pair belongs to; None for an activation."""
    source = node if node.op_type == _Q else graph.producer.get(node.input[0], node)
    return graph.constants.get(source.input[0])


def _same_parameters(graph: _QdqIndex, first: NodeProto, second: NodeProto) -> bool:
    for index in (1, 2):
        a, b = graph.value(first, index), graph.value(second, index)
        if a is None or b is None or not np.array_equal(a, b):
            return False
    scale = graph.value(first, 1)
    return scale is None or scale.size == 1 or _axis(first) == _axis(second)


def _axis(node: NodeProto) -> int:
    """The channel axis of a Q or DQ; ONNX's default is 1."""
    return int(OnnxIndex.attribute(node, "axis", 1))
