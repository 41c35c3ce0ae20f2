"""A second look at an fp32 artifact that missed its gate: is it wrong, or is float32 too coarse?

Some networks amplify rounding: PyTorch's own float32 outputs then lie further from the exact
result than the fp32 bars allow, and an artifact that is just as exact misses them by chance. So
both are compared with the same network in float64. The artifact passes if it is within the bars,
or no further from float64 than `SLACK` times what PyTorch in float32 is. A wrong graph is further
off by orders of magnitude. Where all raw outputs are that near, a few detections may still differ:
the NMS decides near ties either way.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import msgspec

from ghost_deploy.core.evidence.parity import DetectionFigures, Gate, TensorFigures
from ghost_deploy.detector import Detector
from ghost_deploy.judge.parity.gate import failures, raw_failures
from ghost_deploy.judge.parity.inputs import Picture
from ghost_deploy.judge.parity.stages import Truth, compare
from ghost_deploy.judge.parity.tally import Tally

__all__ = ["SLACK", "Acquittal", "SecondLook", "widened"]

SLACK = 4.0
"""A choice, not a measured bound: both errors are maxima over few values, and on five networks
with random weights (6 images each) an artifact's was up to 1.7 times PyTorch's."""

MIN_MATCHED = 0.98
"""Least share of matched detections once the raw outputs agree. All sides run one post-processing,
so that what remains are near ties: 0.7 % on the worst of ten networks with random weights, which
fire everywhere. A choice with room above that."""

MIN_IOU = 0.9
"""The bar of a matched pair is never lowered below this."""

MAX_PICTURES = 8
"""float64 is slow, and the outputs are kept; the worst picture is always among them."""


@dataclass(frozen=True)
class Acquittal:
    """Why an artifact passes after all: the bars used, the figures against float64, in words."""

    gate: Gate
    tensor: TensorFigures
    detections: DetectionFigures
    note: str


class SecondLook:
    """Compares with float64; the network is converted when it is first needed.

    Args:
        reference: the module in float32.
        open_exact: gives the module in float64, as a detector that stays open.
        pictures: those of the comparison.
        conf: score threshold.
    """

    def __init__(
        self,
        reference: Detector,
        open_exact: Callable[[], Detector],
        pictures: Sequence[Picture],
        conf: float,
    ) -> None:
        self._reference, self._open_exact = reference, open_exact
        self._pictures, self._conf = pictures, conf
        self._exact: Detector | None = None

    def at(self, candidate: Detector, gate: Gate, worst: str) -> Acquittal | None:
        """Look at a candidate that missed `gate`; None if it is less exact than PyTorch is.

        Args:
            candidate: opened, of float32 arithmetic.
            gate: of fp32.
            worst: name of the picture that agrees least.
        """
        self._exact = self._exact or self._open_exact()
        truths = {
            picture.name: Truth.of(self._exact, picture.read(), picture.size_hw)
            for picture in self._chosen(worst)
        }
        own = self._tally(truths, self._reference, gate)
        bars = widened(gate, own.tensor(), own.detections())
        theirs = self._tally(truths, candidate, bars)
        tensor, found = theirs.tensor(), theirs.detections()
        if raw_failures(bars, tensor):
            return None
        if failures(bars, tensor, found) and found.matched_share < MIN_MATCHED:
            return None
        note = (
            f"float32 is coarse for this network: on {len(truths)} images PyTorch itself is up to "
            f"{own.tensor().box_px.max:.2g} px and {own.tensor().score.max:.2g} in score from "
            f"float64, this artifact {tensor.box_px.max:.2g} px and {tensor.score.max:.2g}; "
            f"{found.matched} of {found.total} detections match"
        )
        return Acquittal(bars, tensor, found, note)

    def _tally(self, truths: Mapping[str, Truth], detector: Detector, gate: Gate) -> Tally:
        tally = Tally()
        for name, truth in truths.items():
            result = compare(truth, detector, gate, self._conf)
            tally.add(name, result.tensor, result.detections, result.input_max)
        return tally

    def _chosen(self, worst: str) -> list[Picture]:
        step = -(-len(self._pictures) // MAX_PICTURES)
        return [
            picture
            for number, picture in enumerate(self._pictures)
            if number % step == 0 or picture.name == worst
        ]


def widened(gate: Gate, tensor: TensorFigures, found: DetectionFigures) -> Gate:
    """The gate with every bar at least `SLACK` times what float32 itself misses float64 by."""

    def bar(value: float | None, own: float) -> float | None:
        return None if value is None else max(value, SLACK * own)

    lost = 1.0 - found.matched_share if found.total else 0.0
    return msgspec.structs.replace(
        gate,
        min_iou=min(gate.min_iou, max(MIN_IOU, 1.0 - SLACK * (1.0 - found.min_iou))),
        min_matched=min(gate.min_matched, max(0.0, 1.0 - SLACK * lost)),
        max_score=max(gate.max_score, SLACK * found.score.max),
        max_box_px=bar(gate.max_box_px, found.box_px.max),
        max_raw_score=bar(gate.max_raw_score, tensor.score.max),
        max_raw_box_px=bar(gate.max_raw_box_px, tensor.box_px.max),
        max_log_odds=bar(gate.max_log_odds, tensor.log_odds.max),
        max_quiet_box_px=bar(gate.max_quiet_box_px, tensor.box_px.mean),
    )
