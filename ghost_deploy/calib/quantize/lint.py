"""What TensorRT's parser takes of a Q/DQ graph, checked on the finished file.

The rules are those of the oldest parser that is supported: onnx-tensorrt, branch release/8.5-GA,
builtin_op_importers.cpp (QuantizeLinear, DequantizeLinear), and TensorRT 8.5.3, NvInfer.h
(IQuantizeLayer, IDequantizeLayer).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from ghost_deploy.core.errors import ExportError
from ghost_deploy.export.efficient_nms import DOMAIN, OPERATOR
from ghost_deploy.export.operators import TENSORRT_8_5

__all__ = ["RULES", "Finding", "lint", "require_clean"]

_PORTABLE_OPSET = 17
_STRONG_OPSET = 19
_Q, _DQ = "QuantizeLinear", "DequantizeLinear"


@dataclass(frozen=True)
class Finding:
    """A rule that a graph breaks.

    Attributes:
        rule: one of `RULES`.
        node: where; empty for the whole graph.
        message: what was found.
    """

    rule: str
    node: str
    message: str

    def __str__(self) -> str:
        return f"{self.rule}: {self.node + ': ' if self.node else ''}{self.message}"


class _View:
    """A graph, ready for questions."""

    def __init__(self, model: ModelProto, *, strongly_typed: bool) -> None:
        graph = model.graph
        self.strongly_typed = strongly_typed
        self.nodes: list[NodeProto] = list(graph.node)
        self.pairs = [node for node in self.nodes if node.op_type in (_Q, _DQ)]
        self.outputs = {value.name for value in graph.output}
        self.opset = max(
            (item.version for item in model.opset_import if item.domain in ("", "ai.onnx")),
            default=0,
        )
        self.constants: dict[str, TensorProto] = {item.name: item for item in graph.initializer}
        self.producer: dict[str, NodeProto] = {}
        self.consumers: defaultdict[str, list[NodeProto]] = defaultdict(list)
        for node in self.nodes:
            if node.op_type == "Constant":
                self.constants.update(
                    (node.output[0], a.t) for a in node.attribute if a.name == "value"
                )
            self.producer.update((name, node) for name in node.output)
            for name in node.input:
                self.consumers[name].append(node)

    def value(self, node: NodeProto, index: int) -> NDArray[Any] | None:
        """A constant input; None where it is missing or computed."""
        tensor = self.constants.get(node.input[index]) if len(node.input) > index else None
        return None if tensor is None else numpy_helper.to_array(tensor)


_Rule = Callable[[_View], Iterator[tuple[str, str]]]


def lint(model: ModelProto, *, strongly_typed: bool = False) -> list[Finding]:
    """Every place where the graph breaks a rule; empty for one that TensorRT parses.

    Args:
        model: with Q/DQ pairs.
        strongly_typed: judge the form with a float16 rest, which TensorRT 10 and 11 parse:
            opset 19 or newer, scales float16 where the tensor is.
    """
    view = _View(model, strongly_typed=strongly_typed)
    return [
        Finding(name, node, message)
        for name, rule in _RULES.items()
        for node, message in rule(view)
    ]


def require_clean(model: ModelProto, *, strongly_typed: bool = False) -> None:
    """Raise unless `lint` finds nothing.

    Raises:
        ExportError: it does; the message has the first three findings.
    """
    findings = lint(model, strongly_typed=strongly_typed)
    if findings:
        raise ExportError(
            f"TensorRT would refuse the int8 graph ({len(findings)} findings)",
            got="; ".join(map(str, findings[:3])),
            fix="Report this with the checkpoint's architecture; nothing was written",
        )


def _opset(view: _View) -> Iterator[tuple[str, str]]:
    if view.strongly_typed and view.opset < _STRONG_OPSET:
        yield "", f"opset {view.opset}; float16 scales need {_STRONG_OPSET}"
    if not view.strongly_typed and view.opset > _PORTABLE_OPSET:
        yield "", f"opset {view.opset}; TensorRT 8.5 reads up to {_PORTABLE_OPSET}"


def _operators(view: _View) -> Iterator[tuple[str, str]]:
    for node in view.nodes:
        known = node.domain in ("", "ai.onnx") and node.op_type in TENSORRT_8_5
        if not known and (node.domain, node.op_type) != (DOMAIN, OPERATOR):
            where = f" in the domain {node.domain}" if node.domain else ""
            yield node.name, f"TensorRT 8.5 has no {node.op_type}{where}"


def _three_inputs(view: _View) -> Iterator[tuple[str, str]]:
    for node in view.pairs:
        if len(node.input) != 3 or not all(node.input):
            yield node.name, f"{len([*filter(None, node.input)])} inputs, not 3"


def _zero_point(view: _View) -> Iterator[tuple[str, str]]:
    for node in view.pairs:
        value = view.value(node, 2)
        if value is None:
            yield node.name, "the zero point is not a constant"
        elif value.dtype != np.int8:
            yield node.name, f"the zero point is {value.dtype}, not int8"
        elif value.any():
            yield node.name, "the zero point is not 0"


def _scale_constant(view: _View) -> Iterator[tuple[str, str]]:
    for node in view.pairs:
        if view.value(node, 1) is None:
            yield node.name, "the scale is not a constant"


def _scale_type(view: _View) -> Iterator[tuple[str, str]]:
    allowed = (np.float16, np.float32) if view.strongly_typed else (np.float32,)
    for node in view.pairs:
        value = view.value(node, 1)
        if value is not None and value.dtype not in allowed:
            yield node.name, f"the scale is {value.dtype}"


def _scale_positive(view: _View) -> Iterator[tuple[str, str]]:
    for node in view.pairs:
        value = view.value(node, 1)
        if value is not None and not (np.isfinite(value).all() and (value > 0).all()):
            yield node.name, "a scale is not above 0 and finite"


def _per_channel(view: _View) -> Iterator[tuple[str, str]]:
    for node in view.pairs:
        scale, zero = view.value(node, 1), view.value(node, 2)
        if scale is None or (scale.size == 1 and (zero is None or zero.size == 1)):
            continue
        weight = _weight_of(view, node)
        axis = _axis(node)
        if weight is None:
            yield node.name, f"{scale.size} scales on an activation"
        elif not -len(weight.dims) <= axis < len(weight.dims) or scale.size != weight.dims[axis]:
            yield node.name, f"{scale.size} scales along axis {axis} of {list(weight.dims)}"
        elif zero is not None and zero.size != scale.size:
            yield node.name, f"{zero.size} zero points for {scale.size} scales"


def _weights(view: _View) -> Iterator[tuple[str, str]]:
    for node in view.pairs:
        tensor = view.constants.get(node.input[0]) if node.input else None
        if tensor is None:
            continue
        if node.op_type == _DQ:
            yield node.name, "a constant is stored quantized; weights are float, then Q, then DQ"
        elif tensor.data_type != TensorProto.FLOAT and not view.strongly_typed:
            yield node.name, f"weights are {TensorProto.DataType.Name(tensor.data_type)}, not FLOAT"


def _pair(view: _View) -> Iterator[tuple[str, str]]:
    for node in view.pairs:
        if node.op_type == _Q:
            readers = view.consumers[node.output[0]]
            if not readers or any(reader.op_type != _DQ for reader in readers):
                yield node.name, "a Q is not followed by a DQ"
            if node.output[0] in view.outputs:
                yield node.name, "a Q makes an output of the graph"
            for reader in readers:
                if reader.op_type == _DQ and not _same_parameters(view, node, reader):
                    yield reader.name, "a DQ has another scale, zero point or axis than its Q"
        elif node.input and node.input[0] not in view.constants:
            source = view.producer.get(node.input[0])
            if source is None or source.op_type != _Q:
                yield node.name, "a DQ does not follow a Q"


def _mixed_output(view: _View) -> Iterator[tuple[str, str]]:
    """Pixels (0 to 640) and scores (0 to 1) of one tensor cannot share a scale."""
    for name in view.outputs:
        if any(reader.op_type == _Q for reader in view.consumers[name]):
            yield "", f"the output {name} is quantized"
        last = view.producer.get(name)
        for tensor in () if last is None else (*last.output, *last.input):
            source = view.producer.get(tensor)
            if source is not None and source.op_type == _DQ and tensor not in view.constants:
                yield source.name, f"the output {name} is made of quantized values"


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


def _weight_of(view: _View, node: NodeProto) -> TensorProto | None:
    """The constant that a pair belongs to; None for an activation."""
    source = node if node.op_type == _Q else view.producer.get(node.input[0], node)
    return view.constants.get(source.input[0])


def _same_parameters(view: _View, first: NodeProto, second: NodeProto) -> bool:
    for index in (1, 2):
        a, b = view.value(first, index), view.value(second, index)
        if a is None or b is None or not np.array_equal(a, b):
            return False
    scale = view.value(first, 1)
    return scale is None or scale.size == 1 or _axis(first) == _axis(second)


def _axis(node: NodeProto) -> int:
    """Where the channels are; 1 when the node does not say."""
    found = [helper.get_attribute_value(item) for item in node.attribute if item.name == "axis"]
    return int(found[0]) if found else 1
