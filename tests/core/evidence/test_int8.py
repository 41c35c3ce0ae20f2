"""The calibration document."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from ghost_deploy.core.errors import SpecError
from ghost_deploy.core.evidence.int8 import Int8Report
from tests.support.int8_reports import int8_row, small_int8_report, speed_row


def test_a_report_survives_its_document() -> None:
    found = small_int8_report(int8_row("a", 0.1), times=(speed_row("onnx-fp32", "ort", 1.0),))
    assert Int8Report.from_document(found.to_document(), where="test") == found


@pytest.mark.parametrize("change", [{"schema": 2}, {"surprise": 1}, {"rows": "none"}])
def test_a_foreign_document_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(SpecError):
        Int8Report.from_document(small_int8_report().to_document() | change, where="test")


@pytest.mark.parametrize(("drops", "passed"), [((), False), ((0.5,), True), ((0.1, 0.6), False)])
def test_it_passes_only_with_rows_that_all_do(drops: tuple[float, ...], passed: bool) -> None:
    assert (
        small_int8_report(*(int8_row(str(index), drop) for index, drop in enumerate(drops))).passed
        is passed
    )


def test_a_device_reads_the_verdict_without_what_made_it() -> None:
    probe = (
        "import sys, ghost_deploy.core.evidence.int8\n"
        "print([m for m in ('onnx', 'onnxruntime', 'cv2', 'openvino') if m in sys.modules])"
    )
    result = subprocess.run(
        [sys.executable, "-c", probe], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"
