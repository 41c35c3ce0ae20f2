"""Evidence of parity: how far artifacts are from the checkpoint."""

from __future__ import annotations

from typing import ClassVar, Literal

import msgspec

from ghost_deploy.core.evidence.compared_images import ComparedImage, ParityBasis
from ghost_deploy.core.evidence.json_document import Document, Part, verdict_sentence
from ghost_deploy.core.spec import Thresholds

NOT_JUDGED = "not judged by this gate: int8 is judged by mAP, see ghost-deploy validate"
"""Of a run whose gate is not one of parity."""


class Gate(Part, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The limits of one precision; a figure equal to its limit passes, None sets no limit.

    Attributes:
        precision: of the run.
        judged_by: `parity`, or `mAP` where differences are reported without a limit, because
            quantization moves single boxes without making the detector worse.
        min_iou: a pair of detections is matched from this IoU on.
        min_matched: smallest share of matched detections, 0 to 1.
        max_score: largest difference of the scores of a pair.
        max_borderline: largest difference of the scores of a pair that straddles the score
            threshold; default: `max_score`.
        max_box_px: largest coordinate difference of a pair, source pixels.
        max_raw_score: largest difference of raw scores.
        max_raw_box_px: largest difference of raw boxes, letterboxed pixels.
        max_mean_score: largest mean difference of raw scores.
        max_quiet_log_odds: largest mean difference of the log-odds of quiet anchors, see
            `TensorFigures`.
        max_mean_quiet_box_px: largest mean difference of their boxes, letterboxed pixels.
        max_log_odds: largest difference of the log-odds of raw scores; applies only if neither
            side has a detection.
        max_quiet_box_px: largest mean difference of raw boxes, letterboxed pixels; applies in the
            same case only.
    """

    precision: str
    judged_by: Literal["parity", "mAP"] = "parity"
    min_iou: float
    min_matched: float
    max_score: float
    max_borderline: float | None = None
    max_box_px: float | None = None
    max_raw_score: float | None = None
    max_raw_box_px: float | None = None
    max_mean_score: float | None = None
    max_quiet_log_odds: float | None = None
    max_mean_quiet_box_px: float | None = None
    max_log_odds: float | None = None
    max_quiet_box_px: float | None = None

    @property
    def margin(self) -> float:
        """How near to the score threshold a detection may be that only one side reports."""
        return self.max_score if self.max_borderline is None else self.max_borderline


class Spread(Part, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Distribution of absolute differences over `count` values; all 0.0 when there is none.

    `p99` is rounded up to the next step of a logarithmic scale, at most 2.4 % above the exact
    percentile.
    """

    count: int = 0
    max: float = 0.0
    mean: float = 0.0
    p99: float = 0.0


class TensorFigures(Part, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Raw outputs on identical input tensors.

    Attributes:
        input_max: largest difference between the input tensors that the artifact's description
            and the reference's make of one image; the outputs come from the reference's tensor.
        compared: anchors (or rows of an end-to-end head) that were compared, over all images.
        selection: `score > 0.05` on either side, or `top 100` of each image if none is above.
        box_px: largest difference of an anchor's four box channels, letterboxed pixels.
        score: largest difference of an anchor's class scores.
        log_odds: difference of log(p / (1 - p)) of the anchor's best class.
        quiet_log_odds: the same, as a mean over the anchors that the reference gives but neither
            side scores above 0.05: what a part of the head computes that finds nothing in these
            images.
        quiet_box_px: mean of the box differences of the same anchors, letterboxed pixels.
        nonfinite: NaN or infinite numbers in the candidate's outputs.
        reference_nonfinite: the same in the reference's.
        problem: why outputs could not be compared at all, or an empty string.
    """

    input_max: float = 0.0
    compared: int = 0
    selection: str = ""
    box_px: Spread = Spread()
    score: Spread = Spread()
    log_odds: Spread = Spread()
    quiet_log_odds: float = 0.0
    quiet_box_px: float = 0.0
    nonfinite: int = 0
    reference_nonfinite: int = 0
    problem: str = ""


class WorstImage(Part, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The image with the largest difference: by usability, then detections, scores, boxes.

    Attributes:
        name: of the image.
        unusable: the raw outputs could not be compared.
        unmatched: detections that are displaced, missing or extra.
        max_score: of detections, and of raw outputs where nothing was found.
        max_box_px: of detections, source pixels.
    """

    name: str
    unusable: bool = False
    unmatched: int = 0
    max_score: float = 0.0
    max_box_px: float = 0.0


class DetectionFigures(Part, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Detections after post-processing, paired one to one within a class.

    Attributes:
        reference: detections of the reference above the threshold, over all images.
        candidate: the same of the candidate.
        matched: pairs whose IoU reaches that of the gate; includes the borderline ones.
        borderline: pairs of which one side is above the score threshold and the other below it
            by no more than the margin of the gate.
        displaced: pairs whose IoU is below that of the gate.
        missing: reference detections without a partner.
        extra: candidate detections without a partner.
        score: differences of the pairs' scores.
        box_px: largest coordinate difference of each pair, source pixels.
        min_iou: of all pairs; 1.0 when there is none.
        worst: None when no image was compared.
    """

    reference: int = 0
    candidate: int = 0
    matched: int = 0
    borderline: int = 0
    displaced: int = 0
    missing: int = 0
    extra: int = 0
    score: Spread = Spread()
    box_px: Spread = Spread()
    min_iou: float = 1.0
    worst: WorstImage | None = None

    @property
    def total(self) -> int:
        """Pairs and unpaired detections of both sides: what `matched` is a part of."""
        return self.matched + self.displaced + self.missing + self.extra

    @property
    def matched_share(self) -> float:
        """`matched` over `total`, 0 to 1; 0.0 when nothing was found on either side."""
        return self.matched / self.total if self.total else 0.0


class StageFinding(Part, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One stage swapped alone: whether it agrees, and the figures."""

    stage: str
    ok: bool
    sentence: str


class Attribution(Part, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The stage that causes the difference behind a failed gate.

    Attributes:
        stage: `preprocess`, `graph`, `precision`, `graph or precision`, `decode/NMS`, `descale`,
            or `unclear`.
        sentence: the finding on that stage, with figures.
        image: the image that was run, the worst one.
        findings: of all stages that were swapped, in the order of the pipeline.
    """

    stage: str
    sentence: str
    image: str
    findings: tuple[StageFinding, ...] = ()


class ParityRow(Part, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One artifact on one runtime in one precision.

    Attributes:
        artifact: its id in the bundle, e.g. `onnx-fp16`.
        sha256: of the file that the runtime opens.
        runtime, precision: of the run, as requested.
        status: `skipped` is no verdict: this machine cannot run it; `unjudged` neither: the gate
            has no limits for the differences, see `Gate.judged_by`.
        reasons: why it failed, was skipped or is not judged; empty when it passed.
        gate: the limits.
        coarse: why the limits are wider than those of the precision and the figures are against
            float64: float32 itself is too coarse for the network; else empty.
        tensor, detections: the figures; None when it did not run.
        attribution: the cause of the difference; None unless a comparison failed.
        device, version, compute, notes, simulated: as the runtime reported them.
    """

    artifact: str
    sha256: str
    runtime: str
    precision: str
    status: Literal["passed", "failed", "skipped", "unjudged"]
    gate: Gate
    coarse: str = ""
    reasons: tuple[str, ...] = ()
    tensor: TensorFigures | None = None
    detections: DetectionFigures | None = None
    attribution: Attribution | None = None
    device: str = ""
    version: str = ""
    compute: str = ""
    notes: tuple[str, ...] = ()
    simulated: bool = False

    def __post_init__(self) -> None:
        # Documents of before 0.2 call it passed.
        if self.status == "passed" and self.gate.judged_by != "parity":
            msgspec.structs.force_setattr(self, "status", "unjudged")
            msgspec.structs.force_setattr(self, "reasons", (NOT_JUDGED,))


class ParityReport(Document, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Differences of the artifacts of a bundle from the PyTorch module.

    Attributes:
        model: name of the model.
        checkpoint, checkpoint_sha256: the weights of the reference.
        reference: what the reference ran on, e.g. `eager (PyTorch 2.6.0), fp32`.
        semantics: the implementation that network, pre- and post-processing follow.
        sizes_hw: input sizes (height, width) in pixels; the images took turns where a dynamic
            graph has several.
        thresholds: of the post-processing.
        rows: one for each artifact, runtime and precision.
        evidence: the basis of the verdict.
        images: that were compared.
        tools: versions of the packages used.
        warnings: further notes for the reader.
        key: hash of what was compared and on what, see `judge.parity.comparison_key`; empty where
            it is not known.
    """

    KIND: ClassVar[str] = "parity"

    model: str
    checkpoint: str
    checkpoint_sha256: str
    reference: str
    semantics: str
    sizes_hw: tuple[tuple[int, int], ...]
    thresholds: Thresholds
    rows: tuple[ParityRow, ...]
    evidence: ParityBasis
    images: tuple[ComparedImage, ...]
    tools: dict[str, str]
    warnings: tuple[str, ...] = ()
    key: str = ""

    @property
    def passed(self) -> bool:
        """Whether something ran and nothing failed but bf16 beside others, see `_counted`."""
        states = {row.status for row in self._counted}
        return "passed" in states and "failed" not in states

    @property
    def outcome(self) -> bool:
        """Whether everything passed."""
        return self.passed

    def summary(self) -> str:
        """The verdict in one sentence."""
        sentence = verdict_sentence("Parity", (row.status for row in self._counted))
        refused = "; bf16 is outside its gate, and that precision is refused"
        return sentence + (refused if self._counted != self.rows else "")

    @property
    def _counted(self) -> tuple[ParityRow, ...]:
        """All rows but failed bf16, an arithmetic that some processors add and no artifact."""
        others = [row for row in self.rows if (row.precision, row.status) != ("bf16", "failed")]
        return tuple(others) or self.rows
