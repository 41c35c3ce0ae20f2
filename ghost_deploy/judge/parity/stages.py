"""One image on the road of a detector, stage by stage, so that stages can be compared."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from ghost_deploy.core.detections import Detections
from ghost_deploy.core.errors import BackendError, ShapeError
from ghost_deploy.core.evidence.parity import Gate
from ghost_deploy.core.spec import InputSpec, ModelSpec, Thresholds
from ghost_deploy.detector import Detector
from ghost_deploy.judge.parity.differences import (
    DetectionDiff,
    TensorDiff,
    compare_detections,
    compare_tensors,
)
from ghost_deploy.judge.parity.gate import GATES
from ghost_deploy.processing.boxes import xyxy_to_xywh
from ghost_deploy.processing.decode import decode_dfl_raw
from ghost_deploy.processing.letterbox import Letterbox
from ghost_deploy.processing.nms_plugin import efficient_nms
from ghost_deploy.processing.postprocess import output_shape
from ghost_deploy.processing.preprocess import convert_input

__all__ = [
    "Comparison",
    "Truth",
    "Walk",
    "canonical",
    "compare",
    "compare_raw",
    "detect",
    "input_difference",
    "largest_difference",
    "lowered",
    "walk",
]

_REACH = max(gate.max_score for gate in GATES.values())


def lowered(thresholds: Thresholds) -> Thresholds:
    """Thresholds that reach far enough below `conf` to find the partners of detections there."""
    return msgspec.structs.replace(thresholds, conf=max(0.0, thresholds.conf - _REACH))


@dataclass(frozen=True, eq=False)
class Walk:
    """What the stages before the post-processing made of one image. The arrays are copies.

    Attributes:
        tensor: input that the detector made, the image in every row.
        input: what that tensor means.
        letterboxes: one.
        outputs: of the runtime for the last row, by name; the batch axis is kept.
    """

    tensor: NDArray[Any]
    input: InputSpec
    letterboxes: list[Letterbox]
    outputs: dict[str, NDArray[Any]]


@dataclass(frozen=True, eq=False)
class Truth:
    """What the reference says of one image.

    Attributes:
        detector: the reference.
        image: (H, W, 3) uint8 BGR.
        walk: its tensor and raw outputs.
        detections: what it makes of them, at a `lowered` threshold.
    """

    detector: Detector
    image: NDArray[np.uint8]
    walk: Walk
    detections: Detections

    @classmethod
    def of(
        cls, detector: Detector, image: NDArray[np.uint8], size_hw: tuple[int, int] | None
    ) -> Truth:
        """Ask the reference; arguments and errors are those of `walk`."""
        own = walk(detector, image, size_hw)
        return cls(detector, image, own, detect(detector, own.outputs, own.letterboxes))

    @property
    def size_hw(self) -> tuple[int, int]:
        """(height, width) of the input, pixels."""
        return self.walk.letterboxes[0].dst_hw


@dataclass(frozen=True, eq=False)
class Comparison:
    """A candidate beside the reference on one image; `input_max` as in `TensorFigures`."""

    input_max: float
    tensor: TensorDiff
    detections: DetectionDiff


def walk(
    detector: Detector,
    image: NDArray[np.uint8],
    size_hw: tuple[int, int] | None = None,
    fed: Walk | None = None,
) -> Walk:
    """Take one image through the preprocessing and the runtime of `detector`.

    A graph of fixed batch is fed the image in every row, one of dynamic batch in two, and the
    last row is looked at: a batch that was frozen by mistake does not go unseen.

    Args:
        detector: whose stages are used.
        image: (H, W, 3) uint8 BGR.
        size_hw: (height, width) of the input, pixels; the description's when None.
        fed: whose tensor the runtime gets instead of the one that `detector` makes, in the form
            that its graph takes.

    Raises:
        ShapeError: the graph does not accept the size, or gives another batch than it is fed.
        BackendError: the runtime failed, or changed its input, which its contract forbids.
    """
    low, high = detector.spec.input.batch
    count = max(low, min(2, high))
    feeds, letterboxes = detector.preprocess([image] * count, size_hw)
    (own,) = (array.copy() for array in feeds.values())
    form = detector.spec.input
    tensor = own if fed is None else convert_input(fed.tensor, fed.input, form)
    given = tensor.copy()
    outputs = detector.runtime.run(dict.fromkeys(feeds, given))
    if not np.array_equal(given, tensor):
        raise BackendError(
            f"the {detector.runtime.info.runtime} runtime changed its input tensor",
            fix="Report this: runtimes must leave their inputs alone",
        )
    return Walk(own, form, letterboxes[:1], _last_row(outputs, count))


def input_difference(own: Walk, theirs: Walk) -> float:
    """Largest absolute difference of two walks' input tensors, in the form of the first."""
    return largest_difference(own.tensor, convert_input(theirs.tensor, theirs.input, own.input))


def _last_row(outputs: Mapping[str, NDArray[Any]], count: int) -> dict[str, NDArray[Any]]:
    for name, array in outputs.items():
        if array.shape[:1] != (count,):
            raise ShapeError(
                f"output {name!r} has another batch than the input",
                got=array.shape,
                expected=f"({count}, ...)",
                fix="Export the model again",
            )
    return {name: array[-1:].copy() for name, array in outputs.items()}


def detect(
    detector: Detector, outputs: dict[str, NDArray[Any]], letterboxes: list[Letterbox]
) -> Detections:
    """The detections that the post-processing of `detector` makes of raw outputs, one image."""
    (found,) = detector.postprocess(outputs, letterboxes)
    return found


def compare(truth: Truth, candidate: Detector, gate: Gate, conf: float) -> Comparison:
    """Compare a candidate with the reference on the reference's own input tensor.

    Args:
        truth: what the reference says of the image.
        candidate: its letterboxes and its post-processing are its own.
        gate: whose bars the pairs are counted by.
        conf: score threshold; both detectors work at `lowered` ones.
    """
    theirs = walk(candidate, truth.image, truth.size_hw, truth.walk)
    raw = compare_raw(truth, theirs, candidate)
    found = Detections.empty()
    if raw.usable:
        found = detect(candidate, theirs.outputs, theirs.letterboxes)
    return Comparison(
        input_max=input_difference(truth.walk, theirs),
        tensor=raw,
        detections=compare_detections(
            truth.detections, found, conf=conf, margin=gate.max_score, min_iou=gate.min_iou
        ),
    )


def compare_raw(truth: Truth, theirs: Walk, candidate: Detector) -> TensorDiff:
    """Compare raw outputs, in the form that the reference gives them."""
    own, spec = truth.detector.spec.head, candidate.spec
    reference = truth.walk.outputs[own.output][0]
    embedded = spec.head.decoder == "efficient-nms" and own.decoder == "dfl"
    if own.end_to_end != spec.head.end_to_end and not embedded:
        return TensorDiff(
            problem=f"the artifact's decoder is {spec.head.decoder!r}, "
            f"the reference's {own.decoder!r}"
        )
    output = theirs.outputs.get(spec.head.output)
    expected = output_shape(spec, truth.size_hw)
    if output is None or not _fits(output, expected):
        got = sorted(theirs.outputs) if output is None else f"{output.dtype} {output.shape}"
        return TensorDiff(problem=f"output {got}, described as float32 (B, {expected})")
    if embedded:
        rows = efficient_nms(reference, spec, truth.size_hw)
        return compare_tensors(rows, output[0], end_to_end=True)
    decoded = canonical(output[0], spec, truth.size_hw)
    return compare_tensors(reference, decoded, end_to_end=own.end_to_end)


def _fits(output: NDArray[Any], expected: tuple[int, int]) -> bool:
    return (
        output.dtype == np.float32
        and output.ndim == 3
        and all(want in (-1, have) for want, have in zip(expected, output.shape[1:], strict=True))
    )


def canonical(
    output: NDArray[np.float32], spec: ModelSpec, size_hw: tuple[int, int]
) -> NDArray[np.float32]:
    """One image's raw output in the form of the eager module: `dfl-raw` becomes `dfl`, and so do
    the rows of `efficient-nms`: one anchor each, the other anchors empty.

    Args:
        output: of the decoder that `spec` names, without the batch axis.
        spec: what `output` means.
        size_hw: (height, width) of the input, pixels.
    """
    if spec.head.decoder == "efficient-nms":
        return _anchors_of(output, spec, size_hw)
    if spec.head.decoder != "dfl-raw" or not np.isfinite(output).all():
        return output
    # The decoder leaves out scores of 0, which float32 gives for logits below -88.
    bins = 4 * spec.head.reg_max
    logits = np.maximum(output[bins:], np.float32(-80))
    boxes = decode_dfl_raw(np.concatenate((output[:bins], logits)), spec, size_hw, 0.0, False)
    scores = np.float32(1) / (np.float32(1) + np.exp(-logits))
    return np.concatenate((xyxy_to_xywh(boxes.xyxy).T, scores))


def _anchors_of(
    rows: NDArray[np.float32], spec: ModelSpec, size_hw: tuple[int, int]
) -> NDArray[np.float32]:
    raw = np.zeros((4 + spec.num_classes, spec.head.anchors(size_hw)), np.float32)
    found = rows[rows[:, 4] > 0][: raw.shape[1]]
    columns = np.arange(len(found))
    raw[:4, columns] = xyxy_to_xywh(found[:, :4]).T
    raw[4 + found[:, 5].astype(np.int64), columns] = found[:, 4]
    return raw


def largest_difference(a: NDArray[Any], b: NDArray[Any]) -> float:
    """Largest absolute difference of two arrays of one shape; infinite if the shapes differ."""
    if a.shape != b.shape:
        return float("inf")
    if np.array_equal(a, b):
        return 0.0
    return float(np.abs(a.astype(np.float64) - b).max())
