"""The report as a document, and what its verdict means."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from ghost_deploy.core.errors import SpecError
from ghost_deploy.core.evidence.parity import ParityBasis, ParityReport, ParityRow
from ghost_deploy.core.spec import Thresholds
from ghost_deploy.judge.parity.gate import gate_for


def report(*states: Any) -> ParityReport:
    rows = tuple(
        ParityRow(
            artifact=f"onnx-{number}",
            sha256="",
            runtime="ort",
            precision="fp32",
            status=status,
            gate=gate_for("fp32"),
        )
        for number, status in enumerate(states)
    )
    evidence = ParityBasis(source="images", strength="good", images=1, detections=1, sentence="")
    return ParityReport(
        model="toy",
        checkpoint="toy.pt",
        checkpoint_sha256="",
        reference="eager",
        semantics="",
        sizes_hw=((64, 64),),
        thresholds=Thresholds(),
        rows=rows,
        evidence=evidence,
        images=(),
        tools={},
    )


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
