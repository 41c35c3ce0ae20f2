"""Constant folding with onnxsim, and the proof that a rewritten graph computes the same."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime
import onnxsim
from numpy.typing import NDArray
from onnx import GraphProto, ModelProto

from ghost_deploy.core.errors import ExportError
from ghost_deploy.core.spec import ModelSpec

TOLERANCE = {"fp32": 1e-4, "fp16": 2e-2}
"""Largest difference of an output channel, relative to its largest value or to 1. Both graphs
hold the same arithmetic; what differs is the rounding of sums that a runtime reorders."""


def simplify(model: ModelProto) -> ModelProto:
    """A copy with constants folded and needless nodes removed.

    Raises:
        ExportError: onnxsim failed, or its result has other inputs or outputs.
    """
    result: ModelProto
    try:
        result, valid = onnxsim.simplify(model)
    # onnxsim raises whatever its C++ core or the ONNX checker raises.
    except Exception as error:
        raise _failed(str(error)) from error
    if not valid:
        raise _failed("onnxsim reports that the result differs from the original")
    if _names(result) != _names(model):
        raise _failed(f"inputs and outputs became {_names(result)}")
    _constants_to_initializers(result.graph)
    return result


def require_same_results(
    before: ModelProto, after: ModelProto, spec: ModelSpec, precision: str
) -> None:
    """Run both graphs on one random image and compare the outputs.

    Of final detections only the sorted scores are compared: equal scores may change places.

    Raises:
        ExportError: they differ by more than the rounding of the precision, or are not finite.
    """
    random = np.random.default_rng(0)
    shape = spec.input.shape(1, spec.input.size_hw)
    image: NDArray[Any] = random.random(shape, dtype=np.float32)
    if spec.input.embedded:
        image = random.integers(0, 256, shape, dtype=np.uint8)
    image = np.repeat(image, spec.input.batch[0], axis=0)
    first, second = _run(before, image), _run(after, image)
    if first.shape != second.shape:
        raise _failed(f"the output's shape went from {first.shape} to {second.shape}")
    if spec.head.end_to_end:
        first, second = first[:, :, 4:5], second[:, :, 4:5]
        axes: tuple[int, ...] = (0, 1)
    else:
        axes = (0, 1) if spec.head.per_row else (0, 2)
    scale = np.maximum(1.0, np.abs(first).max(axis=axes))
    worst = float((np.abs(first - second).max(axis=axes) / scale).max())
    if not worst <= TOLERANCE[precision]:
        raise _failed(f"the outputs differ by {worst:.2g} of their range")


def _run(model: ModelProto, image: NDArray[Any]) -> NDArray[Any]:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(
            model.SerializeToString(),
            options,
            providers=["CPUExecutionProvider"],
            enable_fallback=0,
        )
        (output,) = session.run(None, {model.graph.input[0].name: image})
    # ONNX Runtime's errors have no common base but Exception.
    except Exception as error:
        raise _failed(f"ONNX Runtime refuses the graph: {error}") from error
    return np.asarray(output)


def _constants_to_initializers(graph: GraphProto) -> None:
    """Give every constant one form, the one that the TensorRT parser wants for scales and axes."""
    for node in [node for node in graph.node if node.op_type == "Constant"]:
        (value,) = (item.t for item in node.attribute if item.name == "value")
        value.name = node.output[0]
        graph.initializer.append(value)
        graph.node.remove(node)


def _names(model: ModelProto) -> tuple[list[str], list[str]]:
    graph = model.graph
    return [value.name for value in graph.input], [value.name for value in graph.output]


def _failed(got: str) -> ExportError:
    return ExportError(
        "the exported graph could not be simplified",
        got=got,
        fix="Report this with the checkpoint's architecture; nothing was written",
    )
