"""Replaces weights and biases of a float model's convolutions."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, numpy_helper


def set_parameters(
    model: ModelProto,
    weights: Mapping[str, NDArray[np.float32]],
    biases: Mapping[str, NDArray[np.float32]],
) -> ModelProto:
    """A copy of a float model with other weights and biases.

    A parameter that several nodes share is replaced only for the named one.

    Args:
        model: not changed.
        weights: (out, in / groups, height, width) by the convolution's node name.
        biases: (out,) by the convolution's node name.
    """
    copy = ModelProto()
    copy.CopyFrom(model)
    readers: dict[str, int] = {}
    for node in copy.graph.node:
        for name in node.input:
            readers[name] = readers.get(name, 0) + 1
    tensors = {tensor.name: tensor for tensor in copy.graph.initializer}
    for node in copy.graph.node:
        for position, values in ((1, weights), (2, biases)):
            value = values.get(node.name)
            if value is None:
                continue
            if len(node.input) == position:
                node.input.append("")
            own = readers.get(node.input[position], 0) == 1
            name = node.input[position] if own else f"{node.name}/parameter{position}"
            array = numpy_helper.from_array(np.ascontiguousarray(value, np.float32), name)
            if own:
                tensors[name].CopyFrom(array)
            else:
                copy.graph.initializer.append(array)
                node.input[position] = name
    return copy
