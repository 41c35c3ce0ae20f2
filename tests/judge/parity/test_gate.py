"""Each limit fails just above it and passes at it; what was not compared never passes."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest

from ghost_deploy.core.errors import UsageError
from ghost_deploy.core.evidence.parity import DetectionFigures, Spread, TensorFigures
from ghost_deploy.judge.parity.gate import GATES, failures, gate_for


def spread(value: float) -> Spread:
    return Spread(count=10, max=value, mean=value, p99=value)


TENSOR = TensorFigures(compared=10, selection="score > 0.05")
FOUND = DetectionFigures(reference=1000, candidate=1000, matched=1000)
NOTHING_FOUND = DetectionFigures()


def with_(figures: Any, **changes: Any) -> Any:
    return msgspec.structs.replace(figures, **changes)


@pytest.mark.parametrize("precision", sorted(GATES))
@pytest.mark.parametrize(
    ("tensor", "found", "why"),
    [
        (TensorFigures(), NOTHING_FOUND, "nothing was compared"),
        (TensorFigures(), FOUND, "nothing was compared"),
        (with_(TENSOR, nonfinite=1), FOUND, "NaN or infinite"),
        (with_(TENSOR, reference_nonfinite=2), FOUND, "reference itself"),
        (with_(TENSOR, problem="output shape (1,)"), FOUND, "output shape"),
        (with_(TENSOR, input_max=1e-7), FOUND, "another input tensor"),
    ],
)
def test_unusable_outputs_fail_every_precision(
    precision: str, tensor: TensorFigures, found: DetectionFigures, why: str
) -> None:
    reasons = failures(gate_for(precision), tensor, found)
    assert any(why in reason for reason in reasons)


@pytest.mark.parametrize("precision", sorted(GATES))
def test_equal_outputs_pass(precision: str) -> None:
    assert failures(gate_for(precision), TENSOR, FOUND) == ()
    assert failures(gate_for(precision), TENSOR, NOTHING_FOUND) == ()


def missing(count: int) -> DetectionFigures:
    return with_(FOUND, matched=1000 - count, missing=count)


# precision, figures exactly at the limit, figures just above it
BARS = [
    ("fp32", TENSOR, missing(0), TENSOR, missing(1)),
    ("fp32", TENSOR, with_(FOUND, score=spread(1e-4)), TENSOR, with_(FOUND, score=spread(1.01e-4))),
    ("fp32", TENSOR, with_(FOUND, box_px=spread(0.05)), TENSOR, with_(FOUND, box_px=spread(0.051))),
    ("fp32", with_(TENSOR, score=spread(1e-4)), FOUND, with_(TENSOR, score=spread(1.01e-4)), FOUND),
    ("fp32", with_(TENSOR, box_px=spread(0.05)), FOUND, with_(TENSOR, box_px=spread(0.051)), FOUND),
    ("fp16", TENSOR, missing(5), TENSOR, missing(6)),
    ("fp16", TENSOR, with_(FOUND, score=spread(0.01)), TENSOR, with_(FOUND, score=spread(0.0101))),
    ("bf16", TENSOR, missing(30), TENSOR, missing(31)),
    ("bf16", TENSOR, with_(FOUND, score=spread(0.45)), TENSOR, with_(FOUND, score=spread(0.451))),
    ("bf16", with_(TENSOR, score=spread(0.1)), FOUND, with_(TENSOR, score=spread(0.101)), FOUND),
]


@pytest.mark.parametrize(("precision", "tensor", "found", "bad_tensor", "bad_found"), BARS)
def test_a_bar_passes_at_it_and_fails_above_it(
    precision: str,
    tensor: TensorFigures,
    found: DetectionFigures,
    bad_tensor: TensorFigures,
    bad_found: DetectionFigures,
) -> None:
    gate = gate_for(precision)
    assert failures(gate, tensor, found) == ()
    assert len(failures(gate, bad_tensor, bad_found)) == 1


@pytest.mark.parametrize("field", ["missing", "extra", "displaced"])
def test_every_kind_of_mismatch_counts(field: str) -> None:
    found = with_(FOUND, matched=999, **{field: 1})
    (reason,) = failures(gate_for("fp32"), TENSOR, found)
    assert "999 of 1000" in reason
    assert f"1 {field}" in reason


@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16"])
def test_without_detections_the_raw_outputs_decide(precision: str) -> None:
    gate = gate_for(precision)
    assert gate.max_log_odds is not None
    assert gate.max_quiet_box_px is not None
    over = with_(TENSOR, log_odds=spread(gate.max_log_odds * 1.01))
    assert len(failures(gate, over, NOTHING_FOUND)) == 1
    assert failures(gate, over, FOUND) == ()
    moved = with_(TENSOR, box_px=spread(gate.max_quiet_box_px * 1.01))
    assert any("mean raw box" in reason for reason in failures(gate, moved, NOTHING_FOUND))


def test_a_nan_figure_fails() -> None:
    found = with_(FOUND, score=spread(float("nan")))
    assert failures(gate_for("fp16"), TENSOR, found)


def test_int8_has_no_bar_on_differences() -> None:
    bad = with_(FOUND, matched=1, missing=999, score=spread(0.9), box_px=spread(50))
    assert failures(gate_for("int8"), with_(TENSOR, score=spread(0.9)), bad) == ()
    assert gate_for("int8").judged_by == "mAP"


def test_only_bf16_has_a_margin_of_its_own() -> None:
    """There a pair may differ by what an NMS near tie does, but not across the threshold."""
    assert gate_for("bf16").margin == 0.1 < gate_for("bf16").max_score
    others = [gate for name, gate in GATES.items() if name != "bf16"]
    assert all(gate.margin == gate.max_score for gate in others)


def test_the_share_is_exact_at_the_bar() -> None:
    for total in np.arange(200, 4000, 200).tolist():
        lost = round(total * 0.005)
        found = DetectionFigures(matched=total - lost, missing=lost)
        assert failures(gate_for("fp16"), TENSOR, found) == ()


def test_an_unknown_precision_is_refused() -> None:
    with pytest.raises(UsageError, match="fp4"):
        gate_for("fp4")
