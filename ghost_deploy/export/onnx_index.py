"""Index of an ONNX graph: producers and consumers of tensors, constants, shapes, costs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from functools import cached_property
from math import prod
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

from ghost_deploy.core.errors import InputError
from ghost_deploy.core.spec import ModelSpec

_WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul")


class OnnxIndex:
    """Read-only index of a model; later changes of the model are not seen.

    Attributes:
        model: as given; never changed.
        nodes: in execution order.
        node: by name; meaningful only where names are unique.
        producer: the node that computes a tensor; inputs and initializers have none.
        consumers: the nodes that read a tensor, in execution order.
        initializers: constants by name.
        inputs: names of the graph's inputs without initializers, in order.
        outputs: names of the graph's outputs.
    """

    def __init__(self, model: ModelProto) -> None:
        graph = model.graph
        self.model = model
        self.nodes: tuple[NodeProto, ...] = tuple(graph.node)
        self.node: Mapping[str, NodeProto] = {node.name: node for node in self.nodes}
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

    @property
    def opset(self) -> int:
        """Version of the standard operator set; 0 where the model names none."""
        imports = self.model.opset_import
        return max((each.version for each in imports if each.domain in ("", "ai.onnx")), default=0)

    @cached_property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Shapes that are numbers throughout, by tensor.

        Free sizes of the input are set to those that the model's own description names, with the
        smallest batch.
        """
        found = ((name, _numbers(value)) for name, value in self.values.items())
        return {name: shape for name, shape in found if shape is not None}

    @cached_property
    def values(self) -> Mapping[str, ValueInfoProto]:
        """Types and shapes of all tensors, as far as ONNX shape inference finds them."""
        copy = ModelProto()
        copy.CopyFrom(self.model)
        spec = _spec(self.model)
        if spec is not None and spec.input.dynamic:
            dims = copy.graph.input[0].type.tensor_type.shape.dim
            sizes = spec.input.shape(spec.input.batch[0], spec.input.size_hw)
            for dim, size in zip(dims, sizes, strict=True):
                dim.dim_value = size
            copy.graph.output[0].type.tensor_type.ClearField("shape")
        graph = onnx.shape_inference.infer_shapes(copy, data_prop=True).graph
        return {each.name: each for each in (*graph.input, *graph.value_info, *graph.output)}

    def readers(self, name: str) -> tuple[NodeProto, ...]:
        """The nodes that read a tensor; empty for one that no node reads."""
        return self.consumers.get(name, ())

    def data_inputs(self, node: NodeProto) -> tuple[str, ...]:
        """The inputs of `node` that are not constants."""
        return tuple(name for name in node.input if name and name not in self.initializers)

    def constant(self, name: str) -> NDArray[Any] | None:
        """The value of an initializer; None for any other tensor."""
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
        """Multiply-adds of a convolution or matrix product; 0 for other nodes.

        An output of unknown shape counts as one position.
        """
        if node.op_type not in _WEIGHTED:
            return 0
        out = self.shapes.get(node.output[0], ())
        if node.op_type == "Conv":
            weight = self.initializers.get(node.input[1])
            each = prod(weight.dims[1:]) if weight is not None else 0
            return each * (prod(out) if out else 1)
        inner = self.shapes.get(node.input[0], (1,))[-1]
        return inner * prod(out)

    def is_float(self, name: str) -> bool:
        """Whether a tensor is known to be float32."""
        value = self.values.get(name)
        return value is not None and value.type.tensor_type.elem_type == TensorProto.FLOAT

    def activations(self) -> tuple[str, ...]:
        """The float32 inputs and every computed float32 tensor, in execution order."""
        computed = (name for node in self.nodes for name in node.output)
        return tuple(name for name in (*self.inputs, *computed) if self.is_float(name))

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


def live_nodes(
    nodes: Iterable[NodeProto], outputs: Collection[str], known: Collection[str] = ()
) -> list[NodeProto]:
    """The nodes that `outputs` depend on, in execution order.

    Args:
        nodes: in execution order.
        outputs: names of the tensors that are needed.
        known: names of tensors that need not be computed.
    """
    needed = set(outputs)
    kept = []
    for node in reversed(list(nodes)):
        if needed.intersection(node.output):
            kept.append(node)
            needed.update(name for name in node.input if name and name not in known)
    return kept[::-1]


def _spec(model: ModelProto) -> ModelSpec | None:
    for item in model.metadata_props:
        if item.key == ModelSpec.Json:
            return ModelSpec.from_json(item.value)
    return None


def _numbers(value: ValueInfoProto) -> tuple[int, ...] | None:
    kind = value.type.tensor_type
    if not kind.HasField("shape") or any(dim.dim_value <= 0 for dim in kind.shape.dim):
        return None
    return tuple(dim.dim_value for dim in kind.shape.dim)
