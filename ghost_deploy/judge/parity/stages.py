"""Runs a detector on one image stage by stage, so that stages can be compared."""

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
from ghost_deploy.core.spec import InputSpec, Thresholds
from ghost_deploy.detector import Detector
from ghost_deploy.judge.parity.differences import (
    DetectionDiff,
    TensorDiff,
    compare_detections,
    compare_tensors,
)
from ghost_deploy.judge.parity.gate import GATES
from ghost_deploy.judge.parity.nms_rows import rows_to_compare
from ghost_deploy.judge.parity.output_forms import canonical_outputs, scored
from ghost_deploy.processing.letterbox import Letterbox
from ghost_deploy.processing.postprocess import output_shapes
from ghost_deploy.processing.preprocess import convert_input

_REACH = max(gate.margin for gate in GATES.values())


def lowered(thresholds: Thresholds) -> Thresholds:
    """Thresholds far enough below `conf` to find the partners of detections near it."""
    return msgspec.structs.replace(thresholds, conf=max(0.0, thresholds.conf - _REACH))


def accepts_size(spec: InputSpec, size_hw: tuple[int, int]) -> bool:
    """Whether a graph takes an input of (height, width) pixels."""
    ranges = zip(spec.min_hw, size_hw, spec.max_hw, strict=True)
    return all(low <= side <= high for low, side, high in ranges)


@dataclass(frozen=True, eq=False)
class StageOutputs:
    """Results of the stages before the post-processing on one image. The arrays are copies.

    Attributes:
        tensor: (B, ...) input tensor of the detector, the image in each row.
        input: description of that tensor.
        letterboxes: one.
        outputs: (1, ...) outputs of the runtime for the last row, by name.
    """

    tensor: NDArray[Any]
    input: InputSpec
    letterboxes: list[Letterbox]
    outputs: dict[str, NDArray[Any]]


@dataclass(frozen=True, eq=False)
class ReferenceResult:
    """Results of the reference on one image.

    Attributes:
        detector: the reference.
        image: (H, W, 3) uint8 BGR.
        stages: input tensor and raw outputs.
        detections: in source pixels, at a `lowered` threshold.
    """

    detector: Detector
    image: NDArray[np.uint8]
    stages: StageOutputs
    detections: Detections

    @classmethod
    def of(
        cls, detector: Detector, image: NDArray[np.uint8], size_hw: tuple[int, int] | None
    ) -> ReferenceResult:
        """Run the reference on an image, (H, W, 3) uint8 BGR; errors as `run_stages`.

        Args:
            detector: the reference.
            image: to run on.
            size_hw: (height, width) of the input, pixels; None for that of the description.
        """
        own = run_stages(detector, image, size_hw)
        return cls(detector, image, own, detect(detector, own.outputs, own.letterboxes))

    @property
    def size_hw(self) -> tuple[int, int]:
        """(height, width) of the input, pixels."""
        return self.stages.letterboxes[0].dst_hw


@dataclass(frozen=True, eq=False)
class ImageComparison:
    """Differences of a candidate from the reference on one image.

    Attributes:
        input_max: see `TensorFigures`.
        tensor: of the raw outputs.
        detections: of the detections.
    """

    input_max: float
    tensor: TensorDiff
    detections: DetectionDiff


def run_stages(
    detector: Detector,
    image: NDArray[np.uint8],
    size_hw: tuple[int, int] | None = None,
    fed: StageOutputs | None = None,
) -> StageOutputs:
    """Run the preprocessing and the runtime of `detector` on one image.

    A graph of fixed batch gets the image in all rows, one of dynamic batch in two rows. The last
    row is compared, where a batch that was frozen by mistake shows.

    Args:
        detector: whose stages are run.
        image: (H, W, 3) uint8 BGR.
        size_hw: (height, width) of the input, pixels; default: that of the description.
        fed: its tensor, converted to the form that the graph takes, is the input of the runtime
            instead of the detector's own.

    Raises:
        ShapeError: the graph does not accept the size, or gives another batch than it is fed.
        BackendError: the runtime failed, or changed its input, which its contract forbids.
    """
    low, high = detector.spec.input.batch
    count = max(low, min(2, high))
    feeds, letterboxes = detector.preprocess([image] * count, size_hw)
    (own,) = (array.copy() for array in feeds.values())
    form = detector.spec.input
    tensor = own
    if fed is not None:
        tensor = np.repeat(convert_input(fed.tensor[-1:], fed.input, form), count, axis=0)
    given = tensor.copy()
    outputs = detector.runtime.run(dict.fromkeys(feeds, given))
    if not np.array_equal(given, tensor):
        raise BackendError(
            f"the {detector.runtime.info.runtime} runtime changed its input tensor",
            fix="Report this: runtimes must leave their inputs alone",
        )
    return StageOutputs(own, form, letterboxes[:1], _last_row(outputs, count))


def input_difference(own: StageOutputs, theirs: StageOutputs) -> float:
    """Largest absolute difference of two input tensors, in the form of the first."""
    # Their last rows: one graph may take more images at once than the other.
    other = convert_input(theirs.tensor[-1:], theirs.input, own.input)
    return largest_difference(own.tensor[-1:], other)


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
    """Run the post-processing of `detector` on the raw outputs for one image.

    Args:
        detector: whose post-processing is run.
        outputs: (1, ...) by name.
        letterboxes: one.
    """
    (found,) = detector.postprocess(outputs, letterboxes)
    return found


def compare(
    reference: ReferenceResult, candidate: Detector, gate: Gate, conf: float
) -> ImageComparison:
    """Compare a candidate with the reference on the input tensor of the reference.

    Args:
        reference: its results on the image.
        candidate: with its own letterbox and post-processing.
        gate: its limits decide which pairs match.
        conf: score threshold, 0 to 1; both detectors work at `lowered` ones.
    """
    theirs = run_stages(candidate, reference.image, reference.size_hw, reference.stages)
    raw = compare_raw(reference, theirs, candidate)
    found = Detections.empty()
    if raw.usable:
        found = detect(candidate, theirs.outputs, theirs.letterboxes)
    return ImageComparison(
        input_max=input_difference(reference.stages, theirs),
        tensor=raw,
        detections=compare_detections(
            reference.detections, found, conf=conf, margin=gate.margin, min_iou=gate.min_iou
        ),
    )


def compare_raw(
    reference: ReferenceResult, theirs: StageOutputs, candidate: Detector
) -> TensorDiff:
    """Compare raw outputs of one image, in the form of the reference's.

    Args:
        reference: its results on the image.
        theirs: the candidate's.
        candidate: whose spec describes them.
    """
    own, spec = reference.detector.spec.head, candidate.spec
    target = reference.stages.outputs[own.output][0]
    embedded = spec.head.embedded_nms and not own.end_to_end
    if own.end_to_end != spec.head.end_to_end and not embedded:
        return TensorDiff(
            problem=f"the artifact's decoder is {spec.head.decoder!r}, "
            f"the reference's {own.decoder!r}"
        )
    for name, expected in output_shapes(spec, reference.size_hw).items():
        output = theirs.outputs.get(name)
        if output is None or not _fits(output, expected):
            got = sorted(theirs.outputs) if output is None else f"{output.dtype} {output.shape}"
            return TensorDiff(problem=f"output {got}, described as float32 (B, {expected})")
    if embedded:
        output = theirs.outputs[spec.head.output]
        rows = rows_to_compare(target, output[0], spec, reference.size_hw)
        return compare_tensors(*rows, end_to_end=True)
    decoded = canonical_outputs(theirs.outputs, spec, reference.size_hw)
    if own.per_row != spec.head.per_row:
        return TensorDiff(
            problem=f"the artifact's decoder is {spec.head.decoder!r}, "
            f"the reference's {own.decoder!r}"
        )
    if own.per_row:
        target, decoded = scored(target), scored(decoded)
    return compare_tensors(target, decoded, end_to_end=own.end_to_end)


def _fits(output: NDArray[Any], expected: tuple[int, ...]) -> bool:
    return (
        output.dtype == np.float32
        and output.ndim == 1 + len(expected)
        and all(want in (-1, have) for want, have in zip(expected, output.shape[1:], strict=True))
    )


def largest_difference(a: NDArray[Any], b: NDArray[Any]) -> float:
    """Largest absolute difference of two arrays of one shape; infinite if the shapes differ."""
    if a.shape != b.shape:
        return float("inf")
    if np.array_equal(a, b):
        return 0.0
    return float(np.abs(a.astype(np.float64) - b).max())
