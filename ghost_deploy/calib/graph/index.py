"""A float ONNX graph as calibration reads it: who makes a tensor, who reads it, what it costs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from math import prod
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

from ghost_deploy.core.errors import InputError
from ghost_deploy.core.spec import ModelSpec

__all__ = ["Graph", "live"]

WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul")


class Graph:
    """A read-only view of a float model; nodes are known by their names.

    Attributes:
        model: as given; never changed.
        spec: the description that the file carries, None for a file that carries none.
        nodes: in execution order.
        node: by name.
        producer: the node that makes a tensor; inputs and constants have none.
        consumers: the nodes that read a tensor, in execution order.
        initializers: constants by name.
        shapes: of all tensors whose shape is known; of a graph with free sizes, at the size that
            its description names and the smallest batch.
        inputs, outputs: names of the graph's own.

    Raises:
        InputError: nodes have no names or share one, or the graph holds Q/DQ already.
    """

    def __init__(self, model: ModelProto, *, quantized: bool = False) -> None:
        """View `model`; Q/DQ nodes are refused unless `quantized`."""
        graph = model.graph
        self.model = model
        self.spec = _spec(model)
        self.nodes: tuple[NodeProto, ...] = tuple(graph.node)
        self.node: Mapping[str, NodeProto] = {node.name: node for node in self.nodes}
        _check(self.nodes, self.node, quantized=quantized)
        self.initializers: Mapping[str, TensorProto] = {
            tensor.name: tensor for tensor in graph.initializer
        }
        self.inputs = tuple(
            value.name for value in graph.input if value.name not in self.initializers
        )
        self.outputs = frozenset(value.name for value in graph.output)
        self.producer: Mapping[str, NodeProto] = {
            name: node for node in self.nodes for name in node.output
        }
        consumers: defaultdict[str, list[NodeProto]] = defaultdict(list)
        for node in self.nodes:
            for name in dict.fromkeys(filter(None, node.input)):
                consumers[name].append(node)
        self.consumers: Mapping[str, tuple[NodeProto, ...]] = {
            name: tuple(nodes) for name, nodes in consumers.items()
        }
        self.shapes, self._types = _shapes_and_types(model, self.spec)

    def readers(self, name: str) -> tuple[NodeProto, ...]:
        """The nodes that read a tensor; none for a tensor that nobody reads."""
        return self.consumers.get(name, ())

    def data_inputs(self, node: NodeProto) -> tuple[str, ...]:
        """The inputs of `node` that are not constants."""
        return tuple(name for name in node.input if name and name not in self.initializers)

    def constant(self, name: str) -> NDArray[Any] | None:
        """The value of a constant; None for any other tensor."""
        tensor = self.initializers.get(name)
        return None if tensor is None else numpy_helper.to_array(tensor)

    def weight(self, node: NodeProto) -> NDArray[np.float32]:
        """The weights of a convolution, (out, in / groups, height, width).

        Raises:
            InputError: they are computed, not constant.
        """
        value = self.constant(node.input[1])
        if value is None:
            raise InputError(
                f"the weights of {node.name} are not constant",
                fix="Export the model again with `ghost-deploy export`",
            )
        return value

    def bias(self, node: NodeProto) -> NDArray[np.float32] | None:
        """The bias of a convolution, (out,); None where it has none."""
        return self.constant(node.input[2]) if len(node.input) > 2 and node.input[2] else None

    @staticmethod
    def attribute(node: NodeProto, name: str, default: Any = None) -> Any:
        """An attribute of `node`; bytes are decoded."""
        for item in node.attribute:
            if item.name == name:
                value = helper.get_attribute_value(item)
                return value.decode() if isinstance(value, bytes) else value
        return default

    def macs(self, node: NodeProto) -> int:
        """Multiply-adds of a convolution or matrix product; 0 of other nodes.

        Those of an output whose shape is unknown are counted for one position.
        """
        if node.op_type not in WEIGHTED:
            return 0
        out = self.shapes.get(node.output[0], ())
        if node.op_type == "Conv":
            weight = self.initializers.get(node.input[1])
            each = prod(weight.dims[1:]) if weight is not None else 0
            return each * (prod(out) if out else 1)
        inner = self.shapes.get(node.input[0], (1,))[-1]
        return inner * prod(out)

    def is_float(self, name: str) -> bool:
        """Whether a tensor is float32, as far as shape inference knows."""
        return self._types.get(name) == TensorProto.FLOAT

    def activations(self) -> tuple[str, ...]:
        """Every float32 tensor that depends on the input, in execution order: all that any form
        may need the range of."""
        made = (name for node in self.nodes for name in node.output)
        return tuple(name for name in (*self.inputs, *made) if self.is_float(name))

    def upstream(self, name: str) -> Iterator[NodeProto]:
        """All nodes that `name` depends on, nearest first."""
        seen: set[str] = set()
        queue = [name]
        while queue:
            node = self.producer.get(queue.pop(0))
            if node is not None and node.name not in seen:
                seen.add(node.name)
                yield node
                queue.extend(filter(None, node.input))

    def downstream(self, name: str) -> Iterator[NodeProto]:
        """All nodes that depend on `name`, nearest first."""
        seen: set[str] = set()
        queue = [name]
        while queue:
            for node in self.readers(queue.pop(0)):
                if node.name not in seen:
                    seen.add(node.name)
                    yield node
                    queue.extend(node.output)


def live(nodes: Iterable[NodeProto], outputs: Collection[str]) -> list[NodeProto]:
    """Those of `nodes`, which are in execution order, that `outputs` depend on."""
    needed = set(outputs)
    kept = []
    for node in reversed(list(nodes)):
        if needed.intersection(node.output):
            kept.append(node)
            needed.update(filter(None, node.input))
    return kept[::-1]


def _spec(model: ModelProto) -> ModelSpec | None:
    for item in model.metadata_props:
        if item.key == ModelSpec.Json:
            return ModelSpec.from_json(item.value)
    return None


def _check(
    nodes: tuple[NodeProto, ...], by_name: Mapping[str, NodeProto], *, quantized: bool
) -> None:
    if not nodes or len(by_name) != len(nodes) or "" in by_name:
        raise InputError(
            "the graph's nodes cannot be told apart by their names",
            got=f"{len(nodes)} nodes, {len(set(by_name) - {''})} names",
            fix="Export the model again with `ghost-deploy export`",
        )
    for node in nodes:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear") and not quantized:
            raise InputError(
                "the graph is quantized already",
                got=f"{node.op_type} {node.name}",
                fix="Calibrate the fp32 artifact",
            )


def _shapes_and_types(
    model: ModelProto, spec: ModelSpec | None
) -> tuple[dict[str, tuple[int, ...]], dict[str, int]]:
    """Shapes that are numbers throughout, and element types, by ONNX shape inference."""
    copy = ModelProto()
    copy.CopyFrom(model)
    if spec is not None and spec.input.dynamic:
        dims = copy.graph.input[0].type.tensor_type.shape.dim
        sizes = spec.input.shape(spec.input.batch[0], spec.input.size_hw)
        for dim, size in zip(dims, sizes, strict=True):
            dim.dim_value = size
        copy.graph.output[0].type.tensor_type.ClearField("shape")
    inferred = onnx.shape_inference.infer_shapes(copy, data_prop=True).graph
    shapes, types = {}, {}
    for value in (*inferred.input, *inferred.value_info, *inferred.output):
        types[value.name] = value.type.tensor_type.elem_type
        shape = _numbers(value)
        if shape is not None:
            shapes[value.name] = shape
    return shapes, types


def _numbers(value: ValueInfoProto) -> tuple[int, ...] | None:
    kind = value.type.tensor_type
    if not kind.HasField("shape") or any(dim.dim_value <= 0 for dim in kind.shape.dim):
        return None
    return tuple(dim.dim_value for dim in kind.shape.dim)
