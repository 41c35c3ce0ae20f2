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


def test_the_document_is_read_back() -> None:
    found = report("passed", "failed")
    assert ParityReport.from_document(found.to_document()) == found
    text = msgspec.json.encode(found.to_document())
    assert ParityReport.from_document(msgspec.json.decode(text)) == found


@pytest.mark.parametrize("change", [{"schema": 2}, {"surprise": 1}, {"rows": "none"}])
def test_another_form_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(SpecError):
        ParityReport.from_document(report("passed").to_document() | change)
