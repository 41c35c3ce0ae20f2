"""A runtime without a vendor package, for tests."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ghost_deploy._version import __version__
from ghost_deploy.core.detections import Detections
from ghost_deploy.core.errors import UsageError
from ghost_deploy.core.spec import ModelSpec
from ghost_deploy.runtimes.base import Runtime, RuntimeInfo, TensorSpec
from ghost_deploy.runtimes.vendor import vendor_errors

Function = Callable[[Mapping[str, NDArray[Any]]], Mapping[str, NDArray[Any]]]


class FakeRuntime(Runtime):
    """Runs a Python function instead of a model.

    Args:
        inputs, outputs: inputs and outputs of the simulated graph.
        function: maps feeds by name to outputs by name. It must not modify the feeds.
        metadata: returned by `metadata()`.

    Example:
        >>> double = FakeRuntime(
        ...     inputs=[TensorSpec("x", (-1,), "float32")],
        ...     outputs=[TensorSpec("y", (-1,), "float32")],
        ...     function=lambda feeds: {"y": feeds["x"] * 2},
        ... )
        >>> double.run({"x": np.ones(2, np.float32)})["y"].tolist()
        [2.0, 2.0]
    """

    def __init__(
        self,
        inputs: Sequence[TensorSpec],
        outputs: Sequence[TensorSpec],
        function: Function,
        *,
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        self.inputs = tuple(inputs)
        self.outputs = tuple(outputs)
        self.info = RuntimeInfo("fake", __version__, device="cpu", precision="fp32")
        self._function = function
        self._extra = dict(metadata or {})

    @classmethod
    def for_spec(cls, spec: ModelSpec, found: Detections | Function) -> FakeRuntime:
        """Return a runtime with the graph of `spec` that detects the same boxes in every image.

        Args:
            spec: the simulated model; no raw decoder unless a function is given.
            found: boxes in pixels of the input tensor, not of a source image; a Detector
                rescales them and applies its thresholds and NMS, if any. Or a function of
                the feeds.

        Raises:
            UsageError: boxes for a raw decoder.

        Example:
            >>> from ghost_deploy.core.spec import HeadSpec, InputSpec
            >>> head = HeadSpec(decoder="dfl", strides=(8, 16, 32))
            >>> size = InputSpec(size_hw=(64, 64))
            >>> spec = ModelSpec(name="toy", family="", class_names=("cat",), input=size, head=head)
            >>> cat = Detections([[8, 8, 40, 24]], [0.9], [0])
            >>> with FakeRuntime.for_spec(spec, cat) as fake:
            ...     fake.run({"images": np.zeros((1, 3, 64, 64), np.float32)})["output0"].shape
            (1, 5, 84)
        """
        function = _canned(spec, found) if isinstance(found, Detections) else found
        return cls(
            inputs=[TensorSpec(spec.input.name, spec.input.graph_shape(), spec.input.dtype)],
            outputs=_outputs(spec),
            function=function,
            metadata={ModelSpec.Json: spec.to_json().decode()},
        )

    def _run(self, feeds: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        with vendor_errors("the function of a FakeRuntime failed", "Correct that function"):
            found = self._function(feeds)
            return {spec.name: found[spec.name] for spec in self.outputs}

    def _metadata(self) -> dict[str, str]:
        return dict(self._extra)

    def _close(self) -> None:
        self._extra = {}


def _outputs(spec: ModelSpec) -> list[TensorSpec]:
    if spec.head.maps:
        shapes = spec.output_shapes().items()
        return [TensorSpec(name, shape, "float32") for name, shape in shapes]
    return [TensorSpec(spec.head.output, _output_shape(spec), "float32")]


def _output_shape(spec: ModelSpec) -> tuple[int, ...]:
    shape = spec.input.graph_shape()
    batch, size = shape[0], spec.input.image_size(shape)
    if spec.head.end_to_end:
        return (batch, spec.thresholds.max_det, 6)
    anchors = -1 if -1 in size else spec.head.anchors(spec.input.size_hw)
    return (batch, *spec.head.output_shape(spec.num_classes, anchors))


def _canned(spec: ModelSpec, found: Detections) -> Function:
    """A function that returns the raw output which decodes to `found`."""
    if spec.head.decoder.endswith("-raw"):
        raise UsageError(
            f"canned boxes have no raw form for the decoder {spec.head.decoder!r}",
            expected="dfl, anchors or one2one",
            fix="Pass a function that returns the raw output",
        )

    def function(feeds: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        shape = feeds[spec.input.name].shape
        batch, (height, width) = shape[0], spec.input.image_size(shape)
        if spec.head.end_to_end:
            one = np.zeros((spec.thresholds.max_det, 6), np.float32)
            rows = np.column_stack((found.xyxy, found.score, found.class_id))
            one[: len(rows)] = rows
        else:
            anchors = spec.head.anchors((height, width))
            one = np.zeros(spec.head.output_shape(spec.num_classes, anchors), np.float32)
            low, high = found.xyxy[:, :2], found.xyxy[:, 2:]
            columns = np.arange(len(found))
            by_anchor = one if spec.head.per_row else one.T
            by_anchor[columns, :4] = np.hstack(((low + high) / 2, high - low))
            by_anchor[columns, -spec.num_classes + found.class_id] = found.score
            if spec.head.per_row:
                one[columns, 4] = 1
        return {spec.head.output: np.repeat(one[np.newaxis], batch, axis=0)}

    return function
