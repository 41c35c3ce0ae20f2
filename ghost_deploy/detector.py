"""The detector: a runtime and a model description; images in, detections out."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, overload

import msgspec
from numpy.typing import NDArray

from ghost_deploy.core.class_names import Classes, class_ids
from ghost_deploy.core.closing import Closing
from ghost_deploy.core.detections import Detections
from ghost_deploy.core.frame import Frame
from ghost_deploy.core.image_input import ImageInput, PilImage
from ghost_deploy.core.own_nms import require_own_nms
from ghost_deploy.core.spec import ModelSpec, Thresholds
from ghost_deploy.processing.graph_fit import require_fit
from ghost_deploy.processing.images import are_several, as_bgr, as_sequence
from ghost_deploy.processing.letterbox import Letterbox
from ghost_deploy.processing.postprocess import Postprocessor, require_class_conf
from ghost_deploy.processing.preprocess import Preprocessor
from ghost_deploy.processing.slices import Slicing, detect_in_slices
from ghost_deploy.runtimes.base import Runtime


@dataclass(frozen=True)
class _Call:
    """What one call asks for."""

    size_hw: tuple[int, int] | None
    thresholds: Thresholds
    classes: tuple[int, ...]


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
        thresholds: of the post-processing; default: `spec.default_thresholds`.
        slicing: `detect` also looks into slices of each image, see `processing.slices`.
        classes: numbers of the classes to keep, before NMS; all when empty.

    Raises:
        ShapeError: the inputs or outputs of the runtime do not match `spec`.
        UsageError: `thresholds` ask for another NMS than the graph has.
        SpecError: `thresholds.class_conf` has not one score for each class.
    """

    def __init__(
        self,
        runtime: Runtime,
        spec: ModelSpec,
        thresholds: Thresholds | None = None,
        slicing: Slicing | None = None,
        classes: Sequence[int] = (),
    ) -> None:
        if runtime.info.pixel_input:
            spec = msgspec.structs.replace(spec, input=spec.input.as_pixels())
        require_fit(runtime.inputs, runtime.outputs, spec)
        self._runtime = runtime
        self._spec = spec
        self._thresholds = thresholds or spec.default_thresholds
        require_own_nms(spec, self._thresholds)
        require_class_conf(spec, self._thresholds)
        self._slicing = slicing
        self._classes = tuple(classes)
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
        """The description of the model as it runs: its input is pixels where the runtime takes
        them, see `RuntimeInfo.pixel_input`.
        """
        return self._spec

    @property
    def thresholds(self) -> Thresholds:
        """The thresholds in use."""
        return self._thresholds

    @property
    def slicing(self) -> Slicing | None:
        """The slices that `detect` looks into."""
        return self._slicing

    @property
    def classes(self) -> tuple[int, ...]:
        """The classes that are kept, by number; all when empty."""
        return self._classes

    @property
    def names(self) -> dict[int, str]:
        """The class names by class id."""
        return dict(enumerate(self._spec.class_names))

    @overload
    def __call__(
        self,
        image: NDArray[Any] | bytes | bytearray | memoryview | Frame | PilImage,
        size_hw: tuple[int, int] | None = None,
        *,
        conf: float | None = None,
        iou: float | None = None,
        max_det: int | None = None,
        agnostic: bool | None = None,
        classes: Classes = (),
    ) -> Detections: ...
    @overload  # Any: a folder is a path too. mypy: a text is a sequence of texts, but taken here
    def __call__(  # type: ignore[overload-overlap]
        self,
        image: str | os.PathLike[str],
        size_hw: tuple[int, int] | None = None,
        *,
        conf: float | None = None,
        iou: float | None = None,
        max_det: int | None = None,
        agnostic: bool | None = None,
        classes: Classes = (),
    ) -> Detections | Any: ...
    @overload
    def __call__(
        self,
        image: Sequence[ImageInput],
        size_hw: tuple[int, int] | None = None,
        *,
        conf: float | None = None,
        iou: float | None = None,
        max_det: int | None = None,
        agnostic: bool | None = None,
        classes: Classes = (),
    ) -> list[Detections]: ...
    def __call__(
        self,
        image: ImageInput | Sequence[ImageInput],
        size_hw: tuple[int, int] | None = None,
        *,
        conf: float | None = None,
        iou: float | None = None,
        max_det: int | None = None,
        agnostic: bool | None = None,
        classes: Classes = (),
    ) -> Detections | list[Detections]:
        """Detect objects in one image, or in several; arguments and errors as in `detect`.

        Returns:
            The detections of one image; a list, in order, for a sequence of images, a folder or a
            glob pattern.
        """
        found = self.detect(
            image,
            size_hw,
            conf=conf,
            iou=iou,
            max_det=max_det,
            agnostic=agnostic,
            classes=classes,
        )
        return found if are_several(image) else found[0]

    def detect(
        self,
        images: ImageInput | Sequence[ImageInput],
        size_hw: tuple[int, int] | None = None,
        *,
        conf: float | None = None,
        iou: float | None = None,
        max_det: int | None = None,
        agnostic: bool | None = None,
        classes: Classes = (),
    ) -> list[Detections]:
        """Detect objects in each image.

        Args:
            images: a list or another sequence of images, or one image: a (H, W, 3) uint8 BGR array
                as returned by `cv2.imread`, or another one that `as_bgr` takes; a PIL image; a
                path; the bytes of an image file; or a `Frame`. The path of a folder or a glob
                pattern stands for its images in natural order, as `list_images` finds them. They
                are run in the largest batches that the graph accepts.
            size_hw: (height, width) of the model's input in pixels, for a graph with dynamic
                size; default: `spec.input.size_hw`.
            conf, iou, max_det, agnostic: for this call, instead of `thresholds`; `conf` is that
                of all classes.
            classes: names or numbers of the classes to keep, instead of those of the detector;
                those when empty. Others are dropped before NMS: they take no place among the
                `max_det` and suppress no box.

        Returns:
            The detections of each image, in order; boxes in pixels of the image.

        Raises:
            ImageError: an image cannot be read or used, or a folder has none.
            ShapeError: the graph does not accept `size_hw`, or returned an unexpected output.
            SpecError: a threshold is out of range.
            UsageError: the model has no such class, or no NMS that can be changed.
            BackendError: the backend failed, or returned values that are not finite.
        """
        thresholds = self._thresholds.changed(
            conf=conf, iou=iou, max_det=max_det, agnostic=agnostic
        )
        kept = tuple(class_ids(classes, self._spec.class_names)) or self._classes
        call = _Call(size_hw, thresholds, kept)
        batch = as_sequence(images)
        if self._slicing is None:
            return self._detect(batch, call)
        return [self._detect_in_slices(image, self._slicing, call) for image in batch]

    def _detect_in_slices(self, image: ImageInput, slicing: Slicing, call: _Call) -> Detections:
        def detect(views: Sequence[ImageInput]) -> list[Detections]:
            return self._detect(views, call)

        batch = self._spec.input.batch[1]
        return detect_in_slices(detect, as_bgr(image), slicing, call.thresholds, batch)

    def _detect(self, batch: Sequence[ImageInput], call: _Call) -> list[Detections]:
        step = self._spec.input.batch[1]
        found: list[Detections] = []
        for start in range(0, len(batch), step):
            found += self._detect_batch(batch[start : start + step], call)
        return found

    def _detect_batch(self, images: Sequence[ImageInput], call: _Call) -> list[Detections]:
        try:
            preprocessor = self._idle.pop()
        except IndexError:
            preprocessor = Preprocessor(self._spec.input)
        try:
            tensor, letterboxes = preprocessor(images, call.size_hw)
            with self._lock:  # the outputs are valid until the next run
                outputs = self._runtime.run({self._spec.input.name: tensor})
                return self._postprocessor(
                    outputs, letterboxes, call.thresholds, classes=call.classes
                )
        finally:
            self._idle.append(preprocessor)

    def preprocess(
        self, images: Sequence[ImageInput], size_hw: tuple[int, int] | None = None
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
        return self._postprocessor(outputs, letterboxes, self._thresholds, classes=self._classes)

    def close(self) -> None:
        """Close the runtime, after a run that is under way; calling it again does nothing.

        Calls of `detect` that come later raise BackendError.
        """
        with self._lock:
            self._runtime.close()
