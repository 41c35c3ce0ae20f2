"""How far an artifact may be from the PyTorch module, by the precision that it runs in.

Differences are measured first, see `tally`; `failures` then compares them with the limits. An
empty comparison fails in any precision.
"""

from __future__ import annotations

from collections.abc import Iterator

from ghost_deploy.core.evidence.parity import DetectionFigures, Gate, TensorFigures
from ghost_deploy.core.lookup import entry_of

# Where nothing is detected, the limits are four times and more the largest difference measured on
# two trained Ghost detectors: log-odds 3e-5 in fp32 and 0.048 in fp16 on anchors above the floor,
# 1.7e-4 and 0.025 with mean boxes 1e-4 and 0.15 px on the best anchors of empty images.
_FP16 = Gate(
    precision="fp16",
    min_iou=0.95,
    min_matched=0.995,
    max_score=0.01,
    max_log_odds=0.2,
    max_quiet_box_px=1.0,
)

# bf16 has 8 bits of significand where fp16 has 11. Limits are at least twice the worst measured
# on OpenVINO 2026.4 on a CPU with AVX512-BF16: two trained Ghost detectors at 416 and 640 on 87
# images each and the embedded detector on 100 scenes (in that order). At IoU >= 0.8 matched
# 99.88, 99.77, 99.94, 99.67 and 99.44 %, in one of a thousand draws of 8 images 98.1 %. Raw
# scores differ by at most 0.037, 0.049, 0.033, 0.047 and 0.049: that limit is the sharp one. A
# pair may differ by more (0.037, 0.199, 0.026, 0.215, 0.115), because NMS decides a near tie the
# other way and a neighbour takes the place. Without detections, on 8 plain and noisy images: log-
# odds 0.41, 0.53, 0.65, 0.64, 0.29 and mean boxes 1.6, 2.0, 1.1, 1.0, 0.45 px.
_BF16 = Gate(
    precision="bf16",
    min_iou=0.8,
    min_matched=0.97,
    max_score=0.45,
    max_borderline=0.1,
    max_raw_score=0.1,
    max_log_odds=1.5,
    max_quiet_box_px=5.0,
)

GATES: dict[str, Gate] = {
    gate.precision: gate
    for gate in (
        Gate(
            precision="fp32",
            min_iou=0.99,
            min_matched=1.0,
            max_score=1e-4,
            max_box_px=0.05,
            max_raw_score=1e-4,
            max_raw_box_px=0.05,
            max_log_odds=0.004,
            max_quiet_box_px=0.05,
        ),
        _FP16,
        _BF16,
        Gate(precision="int8", judged_by="mAP", min_iou=0.5, min_matched=0.0, max_score=0.01),
    )
}
"""The gate of each precision that a model can run in."""


INT8_REPEAT = Gate(
    precision="int8",
    min_iou=0.9,
    min_matched=0.98,
    max_score=0.05,
    max_mean_score=0.001,
    max_quiet_log_odds=0.001,
    max_mean_quiet_box_px=0.01,
)
"""For the outputs of an int8 artifact against its own on another processor, same backend version.

Integer sums are exact, so that only float steps between them may differ. yolov8n-ghost at 320 in
the forms ort-x86 and openvino gave equal bits on AVX512-VNNI and on emulated AVX2 (Haswell). One
scale wrong by 2 % in an early layer moves scores by 0.006 to 0.009 in the mean."""

INT8_OTHER = Gate(
    precision="int8", min_iou=0.8, min_matched=0.9, max_score=0.25, max_mean_score=0.03
)
"""The same where the backend has another version or computes in another arithmetic, x86 without
fused multiply-add among them: a value that is rounded the other way early moves the scores behind
it by as much as rounding itself does, 0.008 in the mean. On emulated Nehalem one such value moved
the form ort-x86 by 0.013 in score at most and 0.03 in the log-odds of one quiet image."""


def gate_for(precision: str) -> Gate:
    """The gate of that precision.

    Raises:
        UsageError: there is none; the message lists those that there are.
    """
    return entry_of(GATES, precision, "parity gate for precision")


def failures(gate: Gate, tensor: TensorFigures, found: DetectionFigures) -> tuple[str, ...]:
    """One sentence for each limit that is missed; none if the gate is passed.

    Args:
        gate: the limits.
        tensor: differences of raw outputs.
        found: differences of detections.
    """
    raw = raw_failures(gate, tensor)
    if gate.judged_by != "parity" or tuple(_unusable(tensor)):
        return raw
    detection_level = _found(gate, found) if found.total else _quiet(gate, tensor)
    return (*raw, *detection_level)


def raw_failures(gate: Gate, tensor: TensorFigures) -> tuple[str, ...]:
    """`failures` of the raw outputs alone; unusable outputs fail any gate."""
    unusable = tuple(_unusable(tensor))
    return unusable if unusable or gate.judged_by != "parity" else tuple(_raw(gate, tensor))


def _unusable(tensor: TensorFigures) -> Iterator[str]:
    if tensor.problem:
        yield tensor.problem
        return
    if tensor.input_max:
        yield f"the artifact's description makes another input tensor: {tensor.input_max:.3g} off"
    if tensor.reference_nonfinite:
        yield f"the reference itself gave {tensor.reference_nonfinite} NaN or infinite numbers"
    if tensor.nonfinite:
        yield f"the outputs hold {tensor.nonfinite} NaN or infinite numbers"
    if not tensor.compared:
        yield "nothing was compared: neither side gives a score on any image"


def _raw(gate: Gate, tensor: TensorFigures) -> Iterator[str]:
    yield from _above("raw score difference", tensor.score.max, gate.max_raw_score, "")
    yield from _above("mean raw score difference", tensor.score.mean, gate.max_mean_score, "")
    yield from _above("raw box difference", tensor.box_px.max, gate.max_raw_box_px, " px")
    quiet = "mean log-odds difference where nothing is found"
    yield from _above(quiet, tensor.quiet_log_odds, gate.max_quiet_log_odds, "")
    quiet = "mean box difference where nothing is found"
    yield from _above(quiet, tensor.quiet_box_px, gate.max_mean_quiet_box_px, " px")


def _quiet(gate: Gate, tensor: TensorFigures) -> Iterator[str]:
    yield from _above("log-odds difference", tensor.log_odds.max, gate.max_log_odds, "")
    yield from _above("mean raw box difference", tensor.box_px.mean, gate.max_quiet_box_px, " px")


def _found(gate: Gate, found: DetectionFigures) -> Iterator[str]:
    if found.matched_share < gate.min_matched:
        yield (
            f"{found.matched} of {found.total} detections matched at IoU >= {gate.min_iou:g} "
            f"({found.matched_share:.2%} < {gate.min_matched:.1%}): {found.missing} missing, "
            f"{found.extra} extra, {found.displaced} displaced"
        )
    yield from _above("score difference", found.score.max, gate.max_score, "")
    yield from _above("box difference", found.box_px.max, gate.max_box_px, " px")


def _above(what: str, value: float, limit: float | None, unit: str) -> Iterator[str]:
    if limit is not None and not value <= limit:
        yield f"{what} {value:.3g}{unit} > {limit:g}{unit}"
