"""An int8 OpenVINO model whose first convolution reads the pixels of the image themselves.

Our int8 files begin by rounding the input, values from 0 to 1, to 256 levels. The level of a pixel
is its own value from 0 to 255: a model that is given the pixels has nothing to round, and the host
has nothing to divide. The results are equal to the last bit.
"""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ghost_deploy.core.spec import InputSpec

_LEVELS = 256
_CHANNELS = 3


def with_pixel_input(model: Any, spec: InputSpec, openvino: Any) -> Any | None:
    """Change a model so that its input is (B, H, W, 3) uint8 BGR, as `InputSpec.embedded` says.

    Args:
        model: an `openvino.Model` that was just read, with one input (B, 3, H, W) float32.
        spec: the description of that input.
        openvino: the package.

    Returns:
        The changed model; None where it would compute something else, and is unchanged.
    """
    rounding = _rounding(model, spec)
    constant_of = _operations(openvino).Constant
    weights = [] if rounding is None else _weights_behind(rounding)
    if rounding is None or not weights:
        return None
    if spec.color == "rgb":
        for constant in weights:
            swapped = constant_of(np.ascontiguousarray(constant.data[:, ::-1]))
            constant.output(0).replace(swapped.output(0))
    largest = np.full(rounding.input_value(2).get_shape(), 255, np.float32)
    rounding.input(2).replace_source_output(constant_of(largest).output(0))
    steps = openvino.preprocess.PrePostProcessor(model)
    pixels = steps.input(0)
    pixels.tensor().set_element_type(openvino.Type.u8).set_layout(openvino.Layout("NHWC"))
    pixels.model().set_layout(openvino.Layout("NCHW"))
    return steps.build()


def _operations(openvino: Any) -> Any:
    """The module of the package with the class `Constant`."""
    if hasattr(openvino, "op"):
        return openvino.op
    return importlib.import_module("openvino.runtime.op")  # before 2025.0


def _rounding(model: Any, spec: InputSpec) -> Any | None:
    """The operation that rounds the input to the levels of a pixel, if it is all that reads it."""
    plain = spec.divisor == 255 and not any(spec.mean) and set(spec.std) == {1.0}
    if spec.embedded or not plain or len(model.inputs) != 1:
        return None
    shape = model.input(0).get_partial_shape()
    readers = [each.get_node() for each in model.input(0).get_target_inputs()]
    if len(shape) != 4 or str(shape[1]) != str(_CHANNELS) or len(readers) != 1:
        return None
    node = readers[0]
    if node.get_type_name() != "FakeQuantize" or node.get_levels() != _LEVELS:
        return None
    ranges = [_constant(node, port) for port in range(1, 5)]
    expected = (0.0, 1.0, 0.0, 1.0)
    fits = all(
        have is not None and have.size == 1 and have.item() == want
        for have, want in zip(ranges, expected, strict=True)
    )
    return node if fits else None


def _weights_behind(rounding: Any) -> list[Any]:
    """The constants with the weights of the convolutions that read the rounded input; none if
    anything else reads it, or one shares its weights.
    """
    found = []
    for reader in rounding.output(0).get_target_inputs():
        node = reader.get_node()
        weights = node.get_type_name() == "Convolution" and reader.get_index() == 0
        constant = _weights(node.input_value(1).get_node()) if weights else None
        if constant is None:
            return []
        found.append(constant)
    return found


def _weights(node: Any) -> Any | None:
    """The constant (O, 3, kh, kw) that `node` scales by output channel."""
    while node.get_type_name() in ("Convert", "Multiply", "Subtract"):
        if node.get_input_size() == 2:
            scale = _constant(node, 1)
            if scale is None or (scale.ndim > 1 and scale.shape[1] != 1):
                return None
        node = node.input_value(0).get_node()
    own = node.get_type_name() == "Constant" and len(node.output(0).get_target_inputs()) == 1
    return node if own and node.data.ndim == 4 and node.data.shape[1] == _CHANNELS else None


def _constant(node: Any, port: int) -> NDArray[Any] | None:
    """The values of the constant at an input of `node`."""
    source = node.input_value(port).get_node()
    values: NDArray[Any] | None = source.data if source.get_type_name() == "Constant" else None
    return values
