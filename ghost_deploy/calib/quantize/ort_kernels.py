"""ONNX Runtime's int8 operators with channels last, for the nodes of a Q/DQ graph.

They are documented in ONNX Runtime's docs/ContribOperators.md, domain com.microsoft.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper

from ghost_deploy.export.onnx_index import OnnxIndex

DOMAIN = "com.microsoft"

_AXES = {1: 3, 2: 1, 3: 2, -3: 3, -2: 1, -1: 2}
"""The axis in (N, H, W, C) of an axis of (N, C, H, W)."""

_BOUNDS = {"Relu": (0.0, np.inf), "Clip": (-np.inf, np.inf)}

_MOVES = ("MaxPool", "Resize", "Split")
"""Operators whose result has the scale of their input."""

_POOL = ("auto_pad", "ceil_mode", "dilations", "kernel_shape", "pads", "strides")

_Making: TypeAlias = Callable[[NodeProto, list[str]], Iterator[NodeProto]]


class Kernels:
    """The int8 operators of a Q/DQ graph.

    Attributes:
        lowered: names of the nodes that become int8 operators.
        fused: names of nodes that become part of them: the Q behind each, and an activation
            function that the range of the Q implements.
        constants: new constants, by name.
    """

    def __init__(self, graph: OnnxIndex) -> None:
        """Find the operators of `graph`, which is of the form `ort-x86`."""
        self._graph = graph
        self._how: Mapping[str, _Making] = {
            "Conv": self._convolution,
            "Sigmoid": self._computed,
            "Mul": self._computed,
            "Add": self._computed,
            "Concat": self._joined,
            "MaxPool": self._pooled,
            "Split": self._split,
            "Resize": self._copied,
        }
        self.constants: dict[str, TensorProto] = {}
        self._roundings: dict[str, list[NodeProto]] = {}
        self.fused: set[str] = set()
        for node in graph.nodes:
            behind = self._behind(node) if self._suits(node) else None
            if behind is None:
                continue
            roundings = [each for each in behind if each.op_type == "QuantizeLinear"]
            if node.op_type not in _MOVES or self._keep_scale(node, roundings):
                self._roundings[node.name] = roundings
                self.fused.update(each.name for each in behind)
        self.lowered = self._roundings.keys()

    @staticmethod
    def last(levels: str) -> str:
        """The name of a quantized tensor with its channels last."""
        return f"{levels}/channels_last"

    def results(self, node: NodeProto) -> tuple[str, ...]:
        """The quantized tensors that the operator of a lowered node computes."""
        return tuple(rounding.output[0] for rounding in self._roundings[node.name])

    def lower(self, node: NodeProto) -> Iterator[NodeProto]:
        """The operators that replace a lowered node and the Q nodes behind it."""
        results = [self.last(name) for name in self.results(node)]
        return self._how[node.op_type](node, results)

    def _suits(self, node: NodeProto) -> bool:
        """Whether the inputs of a node allow an int8 operator."""
        graph = self._graph
        if node.op_type not in self._how or any(name in graph.outputs for name in node.output):
            return False
        if node.op_type == "Conv":
            # With a float32 bias or float weights it is a float convolution.
            return all(self._dq(name) is not None for name in node.input) and self._is_map(node, 0)
        sources = range(1 if node.op_type in _MOVES else len(node.input))
        if node.op_type == "Resize" and self._factors(node) is None:
            return False
        return all(self._is_map(node, index) for index in sources)

    def _is_map(self, node: NodeProto, index: int) -> bool:
        """Whether an input is a feature map, quantized with one scale."""
        name = node.input[index]
        dq = self._dq(name)
        scale = None if dq is None else self._graph.constant(dq.input[1])
        return scale is not None and scale.ndim == 0 and len(self._graph.shapes.get(name, ())) == 4

    def _dq(self, name: str) -> NodeProto | None:
        node = self._graph.producer.get(name)
        return node if node is not None and node.op_type == "DequantizeLinear" else None

    def _behind(self, node: NodeProto) -> list[NodeProto] | None:
        """The nodes to fuse behind a node: each output's Q, and an activation function before it
        that the range of the Q implements."""
        found = []
        for name in node.output:
            readers = self._graph.readers(name)
            if len(readers) == 1 and readers[0].op_type in _BOUNDS:
                found.append(readers[0])
                readers = self._graph.readers(readers[0].output[0])
            if len(readers) != 1 or readers[0].op_type != "QuantizeLinear":
                return None
            if found and found[-1].op_type in _BOUNDS and not self._bounds(found[-1], readers[0]):
                return None
            found.append(readers[0])
        return found

    def _bounds(self, activation: NodeProto, rounding: NodeProto) -> bool:
        """Whether the range of the Q implements the activation function."""
        low, high = _BOUNDS[activation.op_type]
        if activation.op_type == "Clip":
            ends = [self._graph.constant(name) for name in activation.input[1:] if name]
            if len(ends) != 2 or any(end is None for end in ends):
                return False
            low, high = (float(end) for end in ends if end is not None)
        scale, zero = (float(self._value(name)) for name in rounding.input[1:3])
        levels = np.iinfo(np.uint8)
        step = scale / 2
        return (levels.min - zero) * scale >= low - step and (
            (levels.max - zero) * scale <= high + step
        )

    def _keep_scale(self, node: NodeProto, roundings: Iterable[NodeProto]) -> bool:
        before = self._rounded(node.input[0])[1:]
        return all(list(each.input[1:3]) == before for each in roundings)

    def _value(self, name: str) -> NDArray[Any]:
        found = self._graph.constant(name)
        assert found is not None, "scales are constants"
        return found

    def _rounded(self, name: str) -> list[str]:
        """Quantized tensor, scale and zero point of a feature map."""
        dq = self._dq(name)
        assert dq is not None, "inputs of lowered nodes come from a DQ"
        return [self.last(dq.input[0]), *dq.input[1:3]]

    def _result(self, node: NodeProto) -> list[str]:
        """Scale and zero point of the result of a node."""
        return list(self._roundings[node.name][0].input[1:3])

    def _convolution(self, node: NodeProto, results: list[str]) -> Iterator[NodeProto]:
        weight, *bias = (self._dq(name) for name in node.input[1:])
        assert weight is not None
        inputs = [*self._rounded(node.input[0]), *weight.input[:3], *self._result(node)]
        inputs += [each.input[0] for each in bias if each is not None]
        made = _own("QLinearConv", inputs, results, node.name)
        made.attribute.extend((*node.attribute, helper.make_attribute("channels_last", 1)))
        yield made

    def _computed(self, node: NodeProto, results: list[str]) -> Iterator[NodeProto]:
        inputs = [each for name in node.input for each in self._rounded(name)]
        yield _own(f"QLinear{node.op_type}", inputs + self._result(node), results, node.name)

    def _joined(self, node: NodeProto, results: list[str]) -> Iterator[NodeProto]:
        inputs = [each for name in node.input for each in self._rounded(name)]
        made = _own("QLinearConcat", self._result(node) + inputs, results, node.name)
        made.attribute.append(helper.make_attribute("axis", self._axis(node)))
        yield made

    def _pooled(self, node: NodeProto, results: list[str]) -> Iterator[NodeProto]:
        made = _own("NhwcMaxPool", self._rounded(node.input[0])[:1], results, node.name)
        made.attribute.extend(each for each in node.attribute if each.name in _POOL)
        yield made

    def _split(self, node: NodeProto, results: list[str]) -> Iterator[NodeProto]:
        made = NodeProto()
        made.CopyFrom(node)
        made.input[0] = self._rounded(node.input[0])[0]
        made.output[:] = results
        made.ClearField("attribute")
        made.attribute.extend(each for each in node.attribute if each.name != "axis")
        made.attribute.append(helper.make_attribute("axis", self._axis(node)))
        yield made

    def _copied(self, node: NodeProto, results: list[str]) -> Iterator[NodeProto]:
        """Nearest neighbours by an integer factor: every pixel, then every row, repeated."""
        factors = self._factors(node)
        assert factors is not None, "other resizes are not lowered"
        high, wide = factors
        _, channels, _, width = self._graph.shapes[node.input[0]]
        rows = self._repeated(node.name, self._rounded(node.input[0])[0], 3, wide)
        yield rows
        shape = self._constant(f"{node.name}/wide", [0, 0, -1, channels])
        yield _reshape(rows.output[0], shape, f"{node.name}/wide/pixels")
        columns = self._repeated(node.name, f"{node.name}/wide/pixels", 2, high)
        yield columns
        shape = self._constant(f"{node.name}/high", [0, -1, width * wide, channels])
        yield _reshape(columns.output[0], shape, results[0])

    @staticmethod
    def _repeated(name: str, source: str, axis: int, times: int) -> NodeProto:
        result = f"{name}/axis{axis}"
        return helper.make_node("Concat", [source] * times, [result], name=result, axis=axis)

    def _factors(self, node: NodeProto) -> tuple[int, int] | None:
        """Integer factors of height and width; None for any other resize and for free sizes."""
        graph = self._graph
        how = [
            graph.attribute(node, "mode", "nearest"),
            graph.attribute(node, "coordinate_transformation_mode", "half_pixel"),
            graph.attribute(node, "nearest_mode", "round_prefer_floor"),
        ]
        before, after = (graph.shapes.get(name) for name in (node.input[0], node.output[0]))
        sides = graph.model.graph.input[0].type.tensor_type.shape.dim[1:]
        if how != ["nearest", "asymmetric", "floor"] or not before or not after:
            return None
        if before[:2] != after[:2] or any(side.dim_value <= 0 for side in sides):
            return None
        if after[2] % before[2] or after[3] % before[3]:
            return None
        return after[2] // before[2], after[3] // before[3]

    def _axis(self, node: NodeProto) -> int:
        return _AXES[self._graph.attribute(node, "axis", 0)]

    def _constant(self, name: str, shape: list[int]) -> str:
        self.constants[name] = numpy_helper.from_array(np.array(shape, np.int64), name)
        return name


def silu(node: NodeProto, source: str) -> NodeProto:
    """x * sigmoid(x) in float, in one kernel; `node` is the product."""
    made = _own("QuickGelu", [source], list(node.output), node.name)
    made.attribute.append(helper.make_attribute("alpha", 1.0))
    return made


def _reshape(source: str, shape: str, result: str) -> NodeProto:
    return helper.make_node("Reshape", [source, shape], [result], name=f"{result}/Reshape")


def _own(operator: str, inputs: list[str], outputs: list[str], name: str) -> NodeProto:
    return helper.make_node(operator, inputs, outputs, name=name, domain=DOMAIN)
