"""The stage that causes the difference behind a failed gate: one stage swapped at a time.

Each stage gets exactly the input of the reference's stage, so that a finding is about this stage
and nothing before it. The cause is the first stage of the pipeline that does not agree.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ghost_deploy.core.detections import Detections
from ghost_deploy.core.evidence.parity import Attribution, Gate, StageFinding
from ghost_deploy.detector import Detector
from ghost_deploy.judge.parity.differences import DetectionDiff, compare_detections
from ghost_deploy.judge.parity.gate import GATES, failures
from ghost_deploy.judge.parity.inputs import InputImage
from ghost_deploy.judge.parity.output_forms import canonical_outputs
from ghost_deploy.judge.parity.stages import (
    ReferenceResult,
    StageOutputs,
    compare_raw,
    detect,
    input_difference,
    run_stages,
)
from ghost_deploy.judge.parity.tally import Tally
from ghost_deploy.processing.letterbox import Letterbox

_EXACT = GATES["fp32"]
"""The limits of stages that compute in float32 on equal inputs on both sides."""


@dataclass(frozen=True)
class FailedCandidate:
    """A candidate whose gate failed.

    Attributes:
        detector: the candidate.
        gate: the gate that it failed.
        fp32: the fp32 artifact of the same format on the same runtime; None if the candidate is
            that itself, or the bundle has none.
    """

    detector: Detector
    gate: Gate
    fp32: Detector | None = None


def diagnose(
    reference: Detector, failed: FailedCandidate, image: InputImage, conf: float
) -> Attribution:
    """Find the stage that causes the difference between the reference and a candidate.

    Args:
        reference: detector of the PyTorch module.
        failed: the candidate.
        image: the one with the largest difference.
        conf: score threshold, 0 to 1; the detectors work at `lowered` ones.
    """
    truth = ReferenceResult.of(reference, image.read(), image.size_hw)
    theirs = run_stages(failed.detector, truth.image, truth.size_hw, truth.stages)
    findings = [
        _preprocess(truth.stages, theirs),
        *_network(truth, failed, theirs, conf),
        *_postprocess(reference, failed.detector, theirs, conf),
    ]
    cause = next((finding for finding in findings if not finding.ok), None)
    if cause is None:
        sentence = "each stage alone stays within its limits on this image"
        cause = StageFinding(stage="unclear", ok=False, sentence=sentence)
    return Attribution(
        stage=cause.stage, sentence=cause.sentence, image=image.name, findings=tuple(findings)
    )


def _preprocess(own: StageOutputs, theirs: StageOutputs) -> StageFinding:
    apart = input_difference(own, theirs)
    sentence = f"input tensors differ by {apart:.3g}" if apart else "input tensors are equal"
    return StageFinding(stage="preprocess", ok=not apart, sentence=sentence)


def _network(
    truth: ReferenceResult, failed: FailedCandidate, theirs: StageOutputs, conf: float
) -> Iterator[StageFinding]:
    """Raw outputs on the reference's tensor, both through the reference's post-processing."""
    reasons = _raw_failures(truth, failed.detector, theirs, failed.gate, conf)
    precision = failed.detector.runtime.info.precision
    if not reasons:
        sentence = f"raw outputs in {precision} agree within the gate"
        yield StageFinding(stage="graph", ok=True, sentence=sentence)
    elif precision == "fp32":
        sentence = f"the exported graph computes something else: {reasons}"
        yield StageFinding(stage="graph", ok=False, sentence=sentence)
    elif failed.fp32 is None:
        sentence = (
            f"raw outputs in {precision}: {reasons}; no fp32 run separates graph and precision"
        )
        yield StageFinding(stage="graph or precision", ok=False, sentence=sentence)
    else:
        plain = run_stages(failed.fp32, truth.image, truth.size_hw, truth.stages)
        faults = _raw_failures(truth, failed.fp32, plain, _EXACT, conf)
        sentence = f"in fp32 too: {faults}" if faults else "the same graph agrees in fp32"
        yield StageFinding(stage="graph", ok=not faults, sentence=sentence)
        sentence = f"raw outputs in {precision}: {reasons}"
        yield StageFinding(stage="precision", ok=False, sentence=sentence)


def _raw_failures(
    truth: ReferenceResult, candidate: Detector, theirs: StageOutputs, gate: Gate, conf: float
) -> str:
    """What of the gate the raw outputs of one image fail, an empty string if nothing."""
    raw = compare_raw(truth, theirs, candidate)
    found = Detections.empty()
    if raw.usable:
        letterboxes = truth.stages.letterboxes
        found = _reference_detections(truth.detector, candidate, theirs, letterboxes)
    tally = Tally()
    tally.add("", raw, _pairs(truth.detections, found, gate, conf))
    return "; ".join(failures(gate, tally.tensor(), tally.detections()))


def _postprocess(
    reference: Detector, candidate: Detector, theirs: StageOutputs, conf: float
) -> Iterator[StageFinding]:
    """The candidate's raw outputs through both post-processings."""
    if not all(np.isfinite(output).all() for output in theirs.outputs.values()):
        return
    size_hw = theirs.letterboxes[0].dst_hw
    stages = {
        # A letterbox that changes nothing leaves out the way back to the source image.
        "decode/NMS": [Letterbox.fit(size_hw, size_hw)],
        "descale": theirs.letterboxes,
    }
    for stage, letterboxes in stages.items():
        expected = _reference_detections(reference, candidate, theirs, letterboxes)
        found = detect(candidate, theirs.outputs, letterboxes)
        diff = _pairs(expected, found, _EXACT, conf)
        ok, sentence = _describe(diff)
        yield StageFinding(stage=stage, ok=ok, sentence=f"on equal raw outputs {sentence}")
        if not ok:
            return


def _reference_detections(
    reference: Detector, candidate: Detector, theirs: StageOutputs, letterboxes: list[Letterbox]
) -> Detections:
    """What the reference's post-processing makes of the candidate's raw output."""
    size_hw = theirs.letterboxes[0].dst_hw
    decoded = canonical_outputs(theirs.outputs, candidate.spec, size_hw)
    return detect(reference, {reference.spec.head.output: decoded[None]}, letterboxes)


def _pairs(expected: Detections, found: Detections, gate: Gate, conf: float) -> DetectionDiff:
    return compare_detections(
        expected, found, conf=conf, margin=gate.max_score, min_iou=gate.min_iou
    )


def _describe(diff: DetectionDiff) -> tuple[bool, str]:
    """Whether equal inputs gave equal detections, and the figures."""
    score, box_px = float(diff.score.max(initial=0.0)), float(diff.box_px.max(initial=0.0))
    unmatched = diff.displaced + diff.missing + diff.extra
    ok = not unmatched and score <= _EXACT.max_score and box_px <= (_EXACT.max_box_px or 0.0)
    return ok, (
        f"{diff.matched} of {diff.matched + unmatched} detections match, "
        f"scores differ by {score:.3g}, boxes by {box_px:.3g} px"
    )
