"""The report as a document, and what its verdict means."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from ghost_deploy.core.errors import SpecError
from ghost_deploy.core.evidence.parity import ParityReport
from tests.support.parity_reports import parity_row, small_parity_report


def report(*states: Any) -> ParityReport:
    rows = [parity_row(f"onnx-{number}", state) for number, state in enumerate(states)]
    return small_parity_report(*rows)


@pytest.mark.parametrize(
    ("states", "passed"),
    [
        ((), False),
        (("skipped",), False),
        (("failed",), False),
        (("passed",), True),
        (("passed", "skipped"), True),
        (("passed", "failed"), False),
        (("skipped", "failed"), False),
    ],
)
def test_passed_means_something_ran_and_nothing_failed(
    states: tuple[str, ...], passed: bool
) -> None:
    found = report(*states)
    assert found.passed is passed
    assert found.to_document()["passed"] is passed
    assert found.summary().startswith("Parity passed" if passed else "Parity failed")


@pytest.mark.parametrize(
    ("rows", "passed"),
    [
        ([("bf16", "failed")], False),
        ([("bf16", "failed"), ("bf16", "failed")], False),
        ([("fp32", "passed"), ("bf16", "failed")], True),
        ([("fp32", "skipped"), ("bf16", "failed")], False),
        ([("fp32", "failed"), ("bf16", "passed")], False),
        ([("fp32", "passed"), ("bf16", "passed")], True),
    ],
)
def test_bf16_fails_only_on_its_own(rows: list[tuple[str, str]], passed: bool) -> None:
    """It is an arithmetic that a processor adds, not an artifact that was asked for."""
    made = [
        parity_row(f"openvino-{i}", status, precision=precision)
        for i, (precision, status) in enumerate(rows)
    ]
    found = small_parity_report(*made)
    assert found.passed is passed
    refused = ("bf16", "failed") in rows and set(rows) != {("bf16", "failed")}
    assert ("bf16 is outside its gate" in found.summary()) is refused


def test_the_document_is_read_back() -> None:
    found = report("passed", "failed")
    assert ParityReport.from_document(found.to_document()) == found
    text = msgspec.json.encode(found.to_document())
    assert ParityReport.from_document(msgspec.json.decode(text)) == found


@pytest.mark.parametrize("change", [{"schema": 2}, {"surprise": 1}, {"rows": "none"}])
def test_another_form_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(SpecError):
        ParityReport.from_document(report("passed").to_document() | change)
