"""The float64 check: a network that float32 is too coarse for, or a wrong artifact."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ghost_deploy.core.evidence.parity import DetectionFigures, Spread, TensorFigures
from ghost_deploy.core.spec import Thresholds
from ghost_deploy.detector import Detector
from ghost_deploy.judge.parity.float64_check import SLACK, Float64Check, widened
from ghost_deploy.judge.parity.gate import gate_for
from ghost_deploy.judge.parity.inputs import demo_images
from ghost_deploy.runtimes.fake import FakeRuntime
from tests.support.two_class_model import raw_output, two_class_spec

FP32 = gate_for("fp32")
SPEC = two_class_spec()
ROWS = [(4, 12, 34, 42, 0.9, 0), (40, 20, 60, 50, 0.6, 1)]
Change = Callable[[NDArray[Any]], None]


def detector(change: Change | None = None) -> Detector:
    output = raw_output(ROWS)
    if change:
        change(output)
    runtime = FakeRuntime.for_spec(SPEC, lambda feeds: {SPEC.head.output: output[None]})
    return Detector(runtime, SPEC, Thresholds(conf=0.24))


def off_by(pixels: float) -> Change:
    def change(output: NDArray[Any]) -> None:
        output[0, : len(ROWS)] += pixels

    return change


def checked(own: Change | None, candidate: Change | None) -> Any:
    check = Float64Check(detector(own), detector, demo_images()[:2], conf=0.25)
    return check.run(detector(candidate), FP32, "scene 0")


def test_nothing_measured_widens_nothing() -> None:
    assert widened(FP32, TensorFigures(), DetectionFigures()) == FP32


def test_limits_follow_the_error_of_float32() -> None:
    tensor = TensorFigures(score=Spread(count=1, max=1e-3), box_px=Spread(count=1, max=1.0))
    found = DetectionFigures(
        matched=99, extra=1, score=Spread(count=99, max=1e-3), box_px=Spread(count=99, max=2.0)
    )
    gate = widened(FP32, tensor, found)
    assert gate.max_raw_box_px == SLACK * 1.0
    assert gate.max_box_px == SLACK * 2.0
    assert gate.max_raw_score == gate.max_score == SLACK * 1e-3
    assert gate.min_matched == pytest.approx(1 - SLACK * 0.01)


@pytest.mark.parametrize(
    ("own", "candidate", "passes"),
    [
        (0.0, 0.2, False),  # float32 is exact here: the artifact is wrong
        (0.1, 0.3, True),  # no further off than SLACK times float32's own error
        (0.1, 0.5, False),
        (0.1, -0.3, True),  # on the other side of the exact result
    ],
)
def test_an_artifact_as_exact_as_pytorch_passes(own: float, candidate: float, passes: bool) -> None:
    assert (checked(off_by(own), off_by(candidate)) is not None) == passes


def test_a_network_that_gives_no_numbers_does_not_pass() -> None:
    def broken(output: NDArray[Any]) -> None:
        output[:] = np.nan

    assert checked(off_by(0.1), broken) is None


def test_the_note_has_the_measured_figures() -> None:
    float64_pass = checked(off_by(0.1), off_by(0.2))
    assert float64_pass.gate.max_raw_box_px == pytest.approx(0.4, abs=1e-3)
    assert float64_pass.tensor.box_px.max == pytest.approx(0.2, abs=1e-3)
    assert "0.1 px" in float64_pass.note
    assert "0.2 px" in float64_pass.note
