"""A runtime and a model description, put together: images in, detections out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from ghost_deploy.core.detections import Detections
from ghost_deploy.core.errors import ShapeError
from ghost_deploy.core.spec import ModelSpec, Thresholds
from ghost_deploy.processing import Letterbox, Postprocessor, Preprocessor
from ghost_deploy.processing.postprocess import output_shape
from ghost_deploy.runtimes.base import Runtime, TensorSpec

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["Detector"]


class Detector:
    """Preprocess, run, postprocess; nothing else.

    It owns the runtime: closing the detector closes it. One thread at a time may use it.

    Args:
        runtime: a loaded model.
        spec: the description of that model.
        thresholds: of the post-processing; those of `spec` when not given.

    Raises:
        ShapeError: the runtime's inputs or outputs do not fit `spec`.
    """

    def __init__(
        self, runtime: Runtime, spec: ModelSpec, thresholds: Thresholds | None = None
    ) -> None:
        _check_input(runtime.inputs, spec)
        _check_output(runtime.outputs, spec)
        self._runtime = runtime
        self._spec = spec
        self._thresholds = thresholds or spec.thresholds
        self._preprocessor = Preprocessor(spec.input)
        self._postprocessor = Postprocessor(spec)

    @property
    def runtime(self) -> Runtime:
        """The loaded model."""
        return self._runtime

    @property
    def spec(self) -> ModelSpec:
        """What its numbers mean."""
        return self._spec

    @property
    def thresholds(self) -> Thresholds:
        """The limits in use."""
        return self._thresholds

    def __call__(self, image: object, size_hw: tuple[int, int] | None = None) -> Detections:
        """Detections of one image; arguments as in `detect`."""
        return self.detect([image], size_hw)[0]

    def detect(self, images: object, size_hw: tuple[int, int] | None = None) -> list[Detections]:
        """Detections of each image, in order.

        Args:
            images: a list or tuple of images, or one image: a uint8 BGR array as `cv2.imread`
                gives it, a PIL image, a path or a `Frame`. They are run in the largest batches
                that the graph accepts.
            size_hw: (height, width) of the model's input, for a graph with dynamic size;
                `spec.input.size_hw` when not given.

        Raises:
            ImageError: an image cannot be read or used.
            ShapeError: the graph does not accept `size_hw`, or gave an output that does not fit.
            BackendError: the backend failed, or gave numbers that are not finite.
        """
        batch = images if isinstance(images, (list, tuple)) else [images]
        step = self._spec.input.batch[1]
        found: list[Detections] = []
        for start in range(0, len(batch), step):
            feeds, letterboxes = self.preprocess(batch[start : start + step], size_hw)
            found += self.postprocess(self._runtime.run(feeds), letterboxes)
        return found

    def preprocess(
        self, images: Sequence[object], size_hw: tuple[int, int] | None = None
    ) -> tuple[dict[str, NDArray[Any]], list[Letterbox]]:
        """The feeds of one batch, valid until the next call, and each image's letterbox."""
        tensor, letterboxes = self._preprocessor(images, size_hw)
        return {self._spec.input.name: tensor}, letterboxes

    def postprocess(
        self, outputs: Mapping[str, NDArray[Any]], letterboxes: Sequence[Letterbox]
    ) -> list[Detections]:
        """Detections of each image of one batch, from the runtime's outputs."""
        return self._postprocessor(outputs, letterboxes, self._thresholds)

    def close(self) -> None:
        """Close the runtime. Calling it again does nothing."""
        self._runtime.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _check_input(inputs: Sequence[TensorSpec], spec: ModelSpec) -> None:
    """A fixed side of the graph must be the only one that the spec allows."""
    want = spec.input.graph_shape()
    tensor = inputs[0] if len(inputs) == 1 else None
    fits = (
        tensor is not None
        and (tensor.name, tensor.dtype) == (spec.input.name, spec.input.dtype)
        and len(tensor.shape) == len(want)
        and all(have in (-1, size) for have, size in zip(tensor.shape, want, strict=True))
    )
    if not fits:
        _refuse("input", inputs, TensorSpec(spec.input.name, want, spec.input.dtype))


def _check_output(outputs: Sequence[TensorSpec], spec: ModelSpec) -> None:
    fixed_size = spec.input.min_hw == spec.input.max_hw
    channels, anchors = output_shape(spec, spec.input.size_hw)
    want = (-1, channels, anchors if fixed_size or spec.head.end_to_end else -1)
    tensor = next((each for each in outputs if each.name == spec.head.output), None)
    fits = (
        tensor is not None
        and tensor.dtype == "float32"
        and len(tensor.shape) == len(want)
        and all(
            have == size or -1 in (have, size)
            for have, size in zip(tensor.shape, want, strict=True)
        )
    )
    if not fits:
        _refuse("output", outputs, TensorSpec(spec.head.output, want, "float32"))


def _refuse(side: str, have: Sequence[TensorSpec], want: TensorSpec) -> None:
    raise ShapeError(
        f"the model's {side} does not fit its description (-1 is any size)",
        got=", ".join(f"{each.name} {each.dtype} {each.shape}" for each in have) or "none",
        expected=f"{want.name} {want.dtype} {want.shape}",
        fix="The model and its description do not belong together: export the model again",
    )
