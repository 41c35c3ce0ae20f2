"""The detector: a runtime and a model description; images in, detections out."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any

from numpy.typing import NDArray

from ghost_deploy.core.closing import Closing
from ghost_deploy.core.detections import Detections
from ghost_deploy.core.errors import ShapeError
from ghost_deploy.core.own_nms import require_own_nms
from ghost_deploy.core.spec import ModelSpec, Thresholds
from ghost_deploy.processing.images import as_bgr
from ghost_deploy.processing.letterbox import Letterbox
from ghost_deploy.processing.postprocess import Postprocessor, output_shape
from ghost_deploy.processing.preprocess import Preprocessor
from ghost_deploy.processing.slices import Slicing, detect_in_slices
from ghost_deploy.runtimes.base import Runtime, TensorSpec


class Detector(Closing):
    """Preprocesses images, runs the model and postprocesses its output.

    It owns the runtime: closing the detector closes the runtime.

    Threads may share it: `detect`, `__call__` and `close` may be called from any of them. Images
    are preprocessed side by side, the runtime runs one batch at a time, and each call returns what
    it would return alone. For more speed give each thread a detector of its own. `preprocess`,
    `postprocess` and `runtime` are for one thread at a time.

    Args:
        runtime: a loaded model.
        spec: the description of that model.
        thresholds: of the post-processing; default: `spec.thresholds`.
        slicing: `detect` also looks into slices of each image, see `processing.slices`.

    Raises:
        ShapeError: the inputs or outputs of the runtime do not match `spec`.
        UsageError: `thresholds` ask for another NMS than the graph has.
    """

    def __init__(
        self,
        runtime: Runtime,
        spec: ModelSpec,
        thresholds: Thresholds | None = None,
        slicing: Slicing | None = None,
    ) -> None:
        _check_input(runtime.inputs, spec)
        _check_output(runtime.outputs, spec)
        self._runtime = runtime
        self._spec = spec
        self._thresholds = thresholds or spec.thresholds
        require_own_nms(spec, self._thresholds)
        self._slicing = slicing
        self._preprocessor = Preprocessor(spec.input)
        self._postprocessor = Postprocessor(spec)
        # Of `detect`: those that no call is using. Appending and popping are atomic.
        self._idle = [self._preprocessor]
        # Reentrant, so that a signal handler may close what its own thread is running.
        self._lock = threading.RLock()

    @property
    def runtime(self) -> Runtime:
        """The loaded model."""
        return self._runtime

    @property
    def spec(self) -> ModelSpec:
        """The description of the model."""
        return self._spec

    @property
    def thresholds(self) -> Thresholds:
        """The thresholds in use."""
        return self._thresholds

    @property
    def slicing(self) -> Slicing | None:
        """The slices that `detect` looks into."""
        return self._slicing

    def __call__(self, image: object, size_hw: tuple[int, int] | None = None) -> Detections:
        """Detect objects in one image; see `detect`."""
        return self.detect([image], size_hw)[0]

    def detect(self, images: object, size_hw: tuple[int, int] | None = None) -> list[Detections]:
        """Detect objects in each image.

        Args:
            images: a list or tuple of images, or one image: a (H, W, 3) uint8 BGR array as
                returned by `cv2.imread`, or another one that `as_bgr` takes; a PIL image; a
                path; the bytes of an image file; or a `Frame`. They are run in the largest
                batches that the graph accepts.
            size_hw: (height, width) of the model's input in pixels, for a graph with dynamic
                size; default: `spec.input.size_hw`.

        Returns:
            The detections of each image, in order; boxes in pixels of the image.

        Raises:
            ImageError: an image cannot be read or used.
            ShapeError: the graph does not accept `size_hw`, or returned an unexpected output.
            BackendError: the backend failed, or returned values that are not finite.
        """
        batch = images if isinstance(images, (list, tuple)) else [images]
        if self._slicing is None:
            return self._detect(batch, size_hw)
        return [self._detect_in_slices(image, self._slicing, size_hw) for image in batch]

    def _detect_in_slices(
        self, image: object, slicing: Slicing, size_hw: tuple[int, int] | None
    ) -> Detections:
        def detect(views: Sequence[object]) -> list[Detections]:
            return self._detect(views, size_hw)

        batch = self._spec.input.batch[1]
        return detect_in_slices(detect, as_bgr(image), slicing, self._thresholds, batch)

    def _detect(self, batch: Sequence[object], size_hw: tuple[int, int] | None) -> list[Detections]:
        step = self._spec.input.batch[1]
        found: list[Detections] = []
        for start in range(0, len(batch), step):
            found += self._detect_batch(batch[start : start + step], size_hw)
        return found

    def _detect_batch(
        self, images: Sequence[object], size_hw: tuple[int, int] | None
    ) -> list[Detections]:
        try:
            preprocessor = self._idle.pop()
        except IndexError:
            preprocessor = Preprocessor(self._spec.input)
        try:
            tensor, letterboxes = preprocessor(images, size_hw)
            with self._lock:  # the outputs are valid until the next run
                outputs = self._runtime.run({self._spec.input.name: tensor})
                return self.postprocess(outputs, letterboxes)
        finally:
            self._idle.append(preprocessor)

    def preprocess(
        self, images: Sequence[object], size_hw: tuple[int, int] | None = None
    ) -> tuple[dict[str, NDArray[Any]], list[Letterbox]]:
        """Return the feeds of one batch and the letterbox of each image.

        Args:
            images: of one batch, as in `detect`.
            size_hw: (height, width) of the model's input, pixels.

        Returns:
            The input tensor by name, (B, 3, H, W) float32 or (B, H, W, 3) uint8, valid until the
            next call, and the letterboxes.
        """
        tensor, letterboxes = self._preprocessor(images, size_hw)
        return {self._spec.input.name: tensor}, letterboxes

    def postprocess(
        self, outputs: Mapping[str, NDArray[Any]], letterboxes: Sequence[Letterbox]
    ) -> list[Detections]:
        """Return the detections of each image of one batch, boxes in pixels of the image.

        Args:
            outputs: of the runtime, by name, with shapes as in `HeadSpec`.
            letterboxes: of the images, in order.
        """
        return self._postprocessor(outputs, letterboxes, self._thresholds)

    def close(self) -> None:
        """Close the runtime, after a run that is under way; calling it again does nothing.

        Calls of `detect` that come later raise BackendError.
        """
        with self._lock:
            self._runtime.close()


def _check_input(inputs: Sequence[TensorSpec], spec: ModelSpec) -> None:
    """Require the input of `spec`; a fixed side of the graph must be the only one of the spec."""
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
    one = output_shape(spec, spec.input.size_hw)
    if not fixed_size and not spec.head.end_to_end:
        one = spec.head.output_shape(spec.num_classes, -1)
    want = (-1, *one)
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
        fix="The model and its description do not match: export the model again",
    )
