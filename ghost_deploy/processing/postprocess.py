"""Post-processing: from output tensors to detections in source pixels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ghost_deploy.core.detections import Detections
from ghost_deploy.core.errors import ShapeError, SpecError
from ghost_deploy.core.own_nms import require_own_nms
from ghost_deploy.core.spec import ModelSpec, Thresholds
from ghost_deploy.processing.candidates import Candidates
from ghost_deploy.processing.decode import DECODERS
from ghost_deploy.processing.decode_maps import MAP_DECODERS
from ghost_deploy.processing.letterbox import Letterbox
from ghost_deploy.processing.nms import nms

_WRONG_SPEC = "The model and its description do not match: export the model again"


def output_shapes(spec: ModelSpec, size_hw: tuple[int, int]) -> dict[str, tuple[int, ...]]:
    """Return the shape of each output without the batch axis; -1 on an axis of any size.

    Args:
        spec: of the model.
        size_hw: (height, width) of the model's input, pixels.
    """
    head = spec.head
    if head.maps:
        return {**head.map_shapes(spec.num_classes, size_hw)}
    if head.end_to_end:
        return {head.output: (-1, 6)}
    return {head.output: head.output_shape(spec.num_classes, head.anchors(size_hw))}


class Postprocessor:
    """Decodes the output, applies NMS unless the head is end-to-end, and maps to source pixels."""

    def __init__(self, spec: ModelSpec) -> None:
        self._spec = spec

    def __call__(
        self,
        outputs: Mapping[str, NDArray[Any]],
        letterboxes: Sequence[Letterbox],
        thresholds: Thresholds,
        *,
        multi_label: bool = False,
        classes: Sequence[int] = (),
    ) -> list[Detections]:
        """Return the detections of each image.

        Args:
            outputs: of the runtime, by name, with shapes as in `HeadSpec`; not modified, and
                not referenced by the result.
            letterboxes: of the images in the batch, in order, all of one input size. Further
                rows of the outputs are ignored.
            thresholds: score, of all classes or by class, IoU and maximum number.
            multi_label: return all classes above the score threshold, as for mAP, instead of
                the best class of each anchor.
            classes: keep those only, before NMS, so that others take no place among the
                `max_det`; all when empty.

        Returns:
            The detections of each image, boxes in source pixels.

        Raises:
            UsageError: as `require_own_nms`.
            ShapeError: the output is missing or does not match the spec.
            BackendError: the output holds values that are not finite.
        """
        require_own_nms(self._spec, thresholds)
        arrays = self._checked(outputs, letterboxes)
        return [
            self._detections(
                [array[row] for array in arrays], box, thresholds, multi_label, classes
            )
            for row, box in enumerate(letterboxes)
        ]

    def _detections(
        self,
        arrays: Sequence[NDArray[np.float32]],
        box: Letterbox,
        limits: Thresholds,
        multi_label: bool,
        classes: Sequence[int],
    ) -> Detections:
        xyxy, score, class_id = self._decode(arrays, box.dst_hw, limits.least_conf, multi_label)
        if limits.class_conf:
            # Before NMS: what is below its own limit suppresses nothing of another class.
            wanted = score > limits.conf_of(class_id)
            xyxy, score, class_id = xyxy[wanted], score[wanted], class_id[wanted]
        if classes:
            wanted = np.isin(class_id, classes)
            xyxy, score, class_id = xyxy[wanted], score[wanted], class_id[wanted]
        kept: NDArray[np.intp] | slice = slice(limits.max_det)
        if not self._spec.head.end_to_end:
            agnostic = limits.agnostic
            kept = nms(xyxy, score, class_id, limits.iou, limits.max_det, agnostic=agnostic)
        names = self._spec.class_names
        return Detections(box.invert(xyxy[kept]), score[kept], class_id[kept], names)

    def _decode(
        self,
        arrays: Sequence[NDArray[np.float32]],
        size_hw: tuple[int, int],
        conf: float,
        multi_label: bool,
    ) -> Candidates:
        spec = self._spec
        if spec.head.maps:
            return MAP_DECODERS[spec.head.decoder](arrays, spec, size_hw, conf, multi_label)
        return DECODERS[spec.head.decoder](arrays[0], spec, size_hw, conf, multi_label)

    def _checked(
        self, outputs: Mapping[str, NDArray[Any]], letterboxes: Sequence[Letterbox]
    ) -> list[NDArray[np.float32]]:
        """The checked outputs of the head, in the order of its description."""
        count, checked = len(letterboxes), {}
        for size_hw in dict.fromkeys(box.dst_hw for box in letterboxes):
            for name, want in output_shapes(self._spec, size_hw).items():
                if name not in outputs:
                    raise ShapeError(
                        f"the model gave no output {name!r}", got=sorted(outputs), fix=_WRONG_SPEC
                    )
                output = checked[name] = outputs[name]
                rows_fit = output.ndim == 1 + len(want) and len(output) >= count
                if rows_fit and output.dtype == np.float32 and _fits(output.shape[1:], want):
                    continue
                raise ShapeError(
                    f"output {name!r} does not fit the model description",
                    got=f"{output.dtype} {output.shape}",
                    expected=f"float32 ({count} or more, {', '.join(map(_size, want))}) for "
                    f"decoder {self._spec.head.decoder}, {self._spec.num_classes} classes and "
                    f"input {size_hw[0]} x {size_hw[1]}",
                    fix=_WRONG_SPEC,
                )
        return list(checked.values())


def require_class_conf(spec: ModelSpec, thresholds: Thresholds) -> None:
    """Require that thresholds by class are those of as many classes as the model has.

    Raises:
        SpecError: they are not.
    """
    count = len(thresholds.class_conf)
    if count not in (0, spec.num_classes):
        raise SpecError(
            "class_conf has not one score for each class",
            got=f"{count} scores",
            expected=f"{spec.num_classes}, or none",
            fix="Give a score for each class of the model",
        )


def _fits(shape: tuple[int, ...], want: tuple[int, ...]) -> bool:
    return all(size in (-1, have) for size, have in zip(want, shape, strict=True))


def _size(size: int) -> str:
    return "any" if size == -1 else str(size)
