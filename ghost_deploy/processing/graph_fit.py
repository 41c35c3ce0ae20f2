"""Whether a graph has the input and the output that its model description promises."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from ghost_deploy.core.errors import ShapeError
from ghost_deploy.core.spec import ModelSpec
from ghost_deploy.processing.postprocess import output_shapes


class GraphTensor(Protocol):
    """An input or output of a graph; `shape` is -1 on an axis of any size."""

    @property
    def name(self) -> str:
        """Its name in the graph."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Its shape."""

    @property
    def dtype(self) -> str:
        """Its element type, a NumPy name."""


def require_fit(
    inputs: Sequence[GraphTensor], outputs: Sequence[GraphTensor], spec: ModelSpec
) -> None:
    """Require the tensors of `spec`; a fixed side of the graph must be the only one of the spec.

    Raises:
        ShapeError: the graph has another input, or not that output.
    """
    tensor = inputs[0] if len(inputs) == 1 else None
    want = spec.input.graph_shape()
    if (
        tensor is None
        or (tensor.name, tensor.dtype) != (spec.input.name, spec.input.dtype)
        or len(tensor.shape) != len(want)
        or any(have not in (-1, size) for have, size in zip(tensor.shape, want, strict=True))
    ):
        _refuse("input", inputs, f"{spec.input.name} {spec.input.dtype} {want}")
    _require_output(outputs, spec)


def _require_output(outputs: Sequence[GraphTensor], spec: ModelSpec) -> None:
    for name, shape in _wanted(spec).items():
        want = (-1, *shape)
        tensor = next((each for each in outputs if each.name == name), None)
        if (
            tensor is None
            or tensor.dtype != "float32"
            or len(tensor.shape) != len(want)
            or any(
                have != size and -1 not in (have, size)
                for have, size in zip(tensor.shape, want, strict=True)
            )
        ):
            _refuse("output", outputs, f"{name} float32 {want}")


def _wanted(spec: ModelSpec) -> dict[str, tuple[int, ...]]:
    """The outputs without the batch axis; -1 on an axis of any size."""
    head, size = spec.head, spec.input
    shapes = output_shapes(spec, size.size_hw)
    if size.min_hw == size.max_hw:
        return shapes
    if head.maps:
        return {name: (shape[0], -1, -1) for name, shape in shapes.items()}
    return shapes if head.end_to_end else {head.output: head.output_shape(spec.num_classes, -1)}


def _refuse(side: str, have: Sequence[GraphTensor], want: str) -> None:
    raise ShapeError(
        f"the model's {side} does not fit its description (-1 is any size)",
        got=", ".join(f"{each.name} {each.dtype} {each.shape}" for each in have) or "none",
        expected=want,
        fix="The model and its description do not match: export the model again",
    )
