"""Converts a file of the form `tensorrt` to float16 between its int8 nodes.

TensorRT 11 has no precision flags: an engine computes in the types of the graph.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper, version_converter

from ghost_deploy.calib.graph.index import index_qdq
from ghost_deploy.calib.graph.regions import find_head
from ghost_deploy.calib.graph.replace_nodes import replace_nodes, require_valid
from ghost_deploy.core.errors import ExportError

OPSET = 19
"""The first in which Q and DQ take float16."""

_IR_VERSION = 9
"""The one that belongs to opset 19."""

_FLOAT32_INPUTS = {"Resize": (1, 2)}
"""Inputs that are always float32 in ONNX, by operator."""


def to_strong_fp16(model: ModelProto) -> ModelProto:
    """A copy of a Q/DQ model of the form `tensorrt` with float16 in place of float32.

    Inputs, outputs and the nodes behind the last convolutions stay float32: the spacing of float16
    at 512 is half a pixel.

    Raises:
        ExportError: a constant does not fit into float16, or the result is not valid ONNX.
    """
    try:
        result: ModelProto = version_converter.convert_version(model, OPSET)
    # The converter raises plain RuntimeErrors of its C++ core.
    except RuntimeError as error:
        raise _failed(str(error)) from error
    result.ir_version = _IR_VERSION
    result.producer_name, result.producer_version = model.producer_name, model.producer_version
    del result.metadata_props[:]
    result.metadata_props.extend(model.metadata_props)
    for node in result.graph.node:  # constants that the converter creates from attributes
        node.name = node.name or f"{node.output[0]}/{node.op_type}"
    _Typing(result).apply()
    require_valid(result)
    return result


class _Typing:
    """Gives every float tensor before the tail the type float16, in place."""

    def __init__(self, model: ModelProto) -> None:
        self.model = model
        self.graph = index_qdq(model)
        head = find_head(self.graph)
        self.tail = {name for name in head if self.graph.node[name].op_type != "Conv"}
        self.halves: dict[str, TensorProto] = {}
        self.half_tensors = {
            name
            for node in self.graph.nodes
            if node.name not in self.tail
            for name in node.output
            if self.graph.is_float(name)
        }

    def apply(self) -> None:
        """Change the model."""
        nodes = list(self._nodes())
        replace_nodes(self.model, nodes, self.halves.values())
        del self.model.graph.value_info[:]

    def _nodes(self) -> Iterator[NodeProto]:
        for name in self.graph.inputs:
            if self._is_read_in_half(name):
                yield _cast(name, _half(name), TensorProto.FLOAT16)
        for node in self.graph.nodes:
            in_tail = node.name in self.tail
            copy = NodeProto()
            copy.CopyFrom(node)
            for index, name in enumerate(node.input):
                copy.input[index] = self._tail_input(name) if in_tail else self._input(node, index)
            outputs = self.half_tensors.intersection(node.output)
            if node.op_type == "Cast" and outputs:
                copy.ClearField("attribute")
                copy.attribute.append(helper.make_attribute("to", TensorProto.FLOAT16))
            for index, name in enumerate(node.output):
                if name in outputs & self.graph.outputs:
                    copy.output[index] = _half(name)
            yield copy
            for name in node.output:
                if name in outputs and (name in self.graph.outputs or self._is_read_in_tail(name)):
                    yield self._back(name)

    def _back(self, name: str) -> NodeProto:
        """The cast of a tensor to float32, for an output or the tail."""
        if name in self.graph.outputs:
            return _cast(_half(name), name, TensorProto.FLOAT)
        return _cast(name, f"{name}/float32", TensorProto.FLOAT)

    def _input(self, node: NodeProto, index: int) -> str:
        """The tensor that replaces an input of a node before the tail."""
        name = str(node.input[index])
        if index in _FLOAT32_INPUTS.get(node.op_type, ()):
            return name
        if name in self.graph.inputs or name in self.graph.outputs & self.half_tensors:
            return _half(name) if self.graph.is_float(name) else name
        value = self.graph.constant(name)
        if value is None or value.dtype != np.float32:
            return name
        self.halves.setdefault(name, _to_half(_half(name), value))
        return _half(name)

    def _tail_input(self, name: str) -> str:
        if name not in self.half_tensors or name in self.graph.outputs:
            return name
        return f"{name}/float32"

    def _is_read_in_half(self, name: str) -> bool:
        readers: Collection[NodeProto] = self.graph.readers(name)
        return self.graph.is_float(name) and any(r.name not in self.tail for r in readers)

    def _is_read_in_tail(self, name: str) -> bool:
        return any(reader.name in self.tail for reader in self.graph.readers(name))


def _half(name: str) -> str:
    return f"{name}/float16"


def _to_half(name: str, value: NDArray[np.float32]) -> TensorProto:
    if np.abs(value).max(initial=0.0) > np.finfo(np.float16).max:
        raise _failed(f"{name} holds {np.abs(value).max():g}, more than float16 can")
    return numpy_helper.from_array(value.astype(np.float16), name)


def _cast(source: str, result: str, to: int) -> NodeProto:
    return helper.make_node("Cast", [source], [result], name=f"{result}/Cast", to=to)


def _failed(got: str) -> ExportError:
    return ExportError(
        "the float part of the int8 graph cannot be converted to float16",
        got=got,
        fix="Use the form with a float32 part, which TensorRT 8.5 to 10 accepts",
    )
