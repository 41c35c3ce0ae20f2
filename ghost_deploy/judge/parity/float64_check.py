"""Float64 check of an fp32 artifact that failed its gate: wrong, or is float32 too coarse?

Some networks amplify rounding: PyTorch's float32 outputs then differ from the float64 result by
more than the fp32 limits, and an artifact of equal exactness fails by chance. The check compares
both with the same network in float64. The artifact passes if it is within the limits, or at most
`SLACK` times as far from float64 as PyTorch in float32. A wrong graph is off by orders of
magnitude. If all raw outputs are that close, a few detections may still differ, because NMS
decides near ties either way.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import msgspec

from ghost_deploy.core.evidence.parity import DetectionFigures, Gate, TensorFigures
from ghost_deploy.detector import Detector
from ghost_deploy.judge.parity.gate import failures, raw_failures
from ghost_deploy.judge.parity.inputs import InputImage
from ghost_deploy.judge.parity.stages import ReferenceResult, accepts_size, compare
from ghost_deploy.judge.parity.tally import Tally

SLACK = 4.0
"""A choice, not a measured bound: both errors are maxima over few values, and on five networks
with random weights (6 images each) an artifact's was up to 1.7 times PyTorch's."""

MIN_MATCHED = 0.98
"""Least share of matched detections once the raw outputs agree. All sides run one post-processing,
so that what remains are near ties: 0.7 % on the worst of ten networks with random weights, which
fire everywhere. A choice with room above that."""

MIN_IOU = 0.9
"""The IoU of a matched pair is never lowered below this."""

MAX_IMAGES = 8
"""float64 is slow and the outputs are kept; the worst image is always among them."""


@dataclass(frozen=True)
class Float64Pass:
    """A passed float64 check: the limits used, the figures against float64, and a sentence."""

    gate: Gate
    tensor: TensorFigures
    detections: DetectionFigures
    note: str


@dataclass
class Float64Check:
    """Compares artifacts with float64; the network is converted when it is first needed.

    Attributes:
        reference: the module in float32.
        open_float64: gives the module in float64, as a detector that stays open.
        images: those of the comparison.
        conf: score threshold.
    """

    reference: Detector
    open_float64: Callable[[], Detector]
    images: Sequence[InputImage]
    conf: float

    @cached_property
    def _float64(self) -> Detector:
        return self.open_float64()

    def run(self, candidate: Detector, gate: Gate, worst: str) -> Float64Pass | None:
        """Check a candidate that failed `gate`; None if it is less exact than PyTorch.

        Args:
            candidate: opened, of float32 arithmetic.
            gate: of fp32.
            worst: name of the image with the largest difference.
        """
        expected = {
            image.name: ReferenceResult.of(self._float64, image.read(), image.size_hw)
            for image in self._chosen(worst)
        }
        own = self._tally(expected, self.reference, gate)
        limits = widened(gate, own.tensor(), own.detections())
        theirs = self._tally(expected, candidate, limits)
        tensor, found = theirs.tensor(), theirs.detections()
        if raw_failures(limits, tensor):
            return None
        if failures(limits, tensor, found) and found.matched_share < MIN_MATCHED:
            return None
        note = (
            f"float32 is coarse for this network: on {len(expected)} images PyTorch itself is up "
            f"to {own.tensor().box_px.max:.2g} px and {own.tensor().score.max:.2g} in score from "
            f"float64, this artifact {tensor.box_px.max:.2g} px and {tensor.score.max:.2g}; "
            f"{found.matched} of {found.total} detections match"
        )
        return Float64Pass(limits, tensor, found, note)

    def _tally(
        self, expected: Mapping[str, ReferenceResult], detector: Detector, gate: Gate
    ) -> Tally:
        tally = Tally()
        for name, result_of in expected.items():
            if not accepts_size(detector.spec.input, result_of.size_hw):
                continue
            result = compare(result_of, detector, gate, self.conf)
            tally.add(name, result.tensor, result.detections, result.input_max)
        return tally

    def _chosen(self, worst: str) -> list[InputImage]:
        step = -(-len(self.images) // MAX_IMAGES)
        return [
            image
            for number, image in enumerate(self.images)
            if number % step == 0 or image.name == worst
        ]


def widened(gate: Gate, tensor: TensorFigures, found: DetectionFigures) -> Gate:
    """The gate with all limits at least `SLACK` times the error of PyTorch's float32.

    Args:
        gate: of fp32.
        tensor, found: PyTorch in float32 against float64.
    """

    def limit(value: float | None, own: float) -> float | None:
        return None if value is None else max(value, SLACK * own)

    lost = 1.0 - found.matched_share if found.total else 0.0
    return msgspec.structs.replace(
        gate,
        min_iou=min(gate.min_iou, max(MIN_IOU, 1.0 - SLACK * (1.0 - found.min_iou))),
        min_matched=min(gate.min_matched, max(0.0, 1.0 - SLACK * lost)),
        max_score=max(gate.max_score, SLACK * found.score.max),
        max_box_px=limit(gate.max_box_px, found.box_px.max),
        max_raw_score=limit(gate.max_raw_score, tensor.score.max),
        max_raw_box_px=limit(gate.max_raw_box_px, tensor.box_px.max),
        max_log_odds=limit(gate.max_log_odds, tensor.log_odds.max),
        max_quiet_box_px=limit(gate.max_quiet_box_px, tensor.box_px.mean),
    )
