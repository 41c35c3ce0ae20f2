"""How far a deployed model may be from the PyTorch module. The tolerance belongs to the precision.

Figures are measured first (`ghost_deploy.judge.parity.figures`); `failures` then holds them against
the bars. An empty comparison fails, whatever the precision.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from ghost_deploy.core.errors import UsageError
from ghost_deploy.core.evidence.parity import DetectionFigures, Gate, TensorFigures

__all__ = ["GATES", "failures", "gate_for", "raw_failures"]


# Where nothing is detected, the bars are four times and more the largest difference measured on
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
        msgspec.structs.replace(_FP16, precision="bf16"),
        Gate(precision="int8", judged_by="mAP", min_iou=0.5, min_matched=0.0, max_score=0.01),
    )
}
"""The gate of each precision that a model can run in."""


def gate_for(precision: str) -> Gate:
    """The gate of that precision.

    Raises:
        UsageError: there is none; the message lists those that there are.
    """
    try:
        return GATES[precision]
    except KeyError:
        raise UsageError(
            f"there is no parity gate for precision {precision!r}",
            expected=", ".join(GATES),
            fix="Name one of those",
        ) from None


def failures(gate: Gate, tensor: TensorFigures, found: DetectionFigures) -> tuple[str, ...]:
    """One sentence for each bar that the figures miss; none means that the gate is passed."""
    raw = raw_failures(gate, tensor)
    if gate.judged_by != "parity" or tuple(_unusable(tensor)):
        return raw
    detection_level = _found(gate, found) if found.total else _quiet(gate, tensor)
    return (*raw, *detection_level)


def raw_failures(gate: Gate, tensor: TensorFigures) -> tuple[str, ...]:
    """The same for the raw outputs alone; outputs that cannot be used fail under any gate."""
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
        yield "nothing was compared: the model answers no image with any score, on either side"


def _raw(gate: Gate, tensor: TensorFigures) -> Iterator[str]:
    yield from _above("raw score difference", tensor.score.max, gate.max_raw_score, "")
    yield from _above("raw box difference", tensor.box_px.max, gate.max_raw_box_px, " px")


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


def _above(what: str, value: float, bar: float | None, unit: str) -> Iterator[str]:
    if bar is not None and not value <= bar:
        yield f"{what} {value:.3g}{unit} > {bar:g}{unit}"
