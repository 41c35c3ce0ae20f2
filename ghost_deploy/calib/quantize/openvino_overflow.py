"""The overflow guard of `overflow` for a model that NNCF quantized."""

from __future__ import annotations

from typing import Any

import numpy as np

from ghost_deploy.calib.quantize.overflow import HALF_RANGE, overflow_free_scales
from ghost_deploy.calib.quantize.weights import LEVELS, round_weight


def guard_weights(quantized: Any, model: Any) -> tuple[int, int]:
    """Enlarge scales of weights until no pair of int8 products overflows without VNNI.

    Args:
        quantized: an `openvino.Model` that NNCF made of `model`; changed in place.
        model: the float `openvino.Model`, whose convolutions have the same names.

    Returns:
        Output channels whose scale was enlarged, and all output channels of dense convolutions.
    """
    weights = {
        each.get_friendly_name(): each.input_value(1).get_node()
        for each in model.get_ops()
        if each.get_type_name() == "Convolution"
    }
    touched = channels = 0
    for operation in quantized.get_ordered_ops():
        kind = operation.get_type_name()
        source = operation.input_value(1).get_node() if kind in _CONVOLUTIONS else None
        if source is None:
            continue
        if kind == "Convolution" and source.get_type_name() == "Multiply":
            original = weights[operation.get_friendly_name()].get_data()
            touched += _requantize(source, original.astype(np.float32))
            channels += len(original)
        elif source.get_type_name() == "FakeQuantize" and source.output(0).get_shape()[2] > 1:
            _halve(source)  # (groups, out, in, kh, kw)
    return touched, channels


_CONVOLUTIONS = frozenset({"Convolution", "GroupConvolution"})


def _requantize(product: Any, weight: Any) -> int:
    """Replace the int8 levels and scales of `scale * Convert(levels)`; returns changed channels."""
    convert, scale = (product.input_value(index).get_node() for index in (0, 1))
    old = scale.get_data()
    scales = np.broadcast_to(old.ravel(), len(weight)).astype(np.float32)
    safe = overflow_free_scales(weight, scales)
    changed = int((safe > scales).sum())
    if changed:
        shape = (len(weight), *[1] * (weight.ndim - 1))
        _replace_constant(convert.input(0), round_weight(weight, safe))
        _replace_constant(product.input(1), safe.reshape(shape).astype(old.dtype))
    return changed


def _halve(rounding: Any) -> None:
    """Double the ranges of a FakeQuantize, so that its levels use half the range."""
    for index in range(1, 5):
        data = rounding.input_value(index).get_node().get_data()
        _replace_constant(rounding.input(index), data * np.asarray(LEVELS / HALF_RANGE, data.dtype))


def _replace_constant(port: Any, data: Any) -> None:
    from openvino import opset13 as ops

    port.replace_source_output(ops.constant(data).output(0))
