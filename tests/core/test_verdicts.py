"""Verdicts that a bundle keeps on what is to be run."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from ghost_deploy.core.bundle import Artifact, Bundle
from ghost_deploy.core.bundle.verdicts import failed_verdicts
from ghost_deploy.core.errors import SpecError
from ghost_deploy.core.evidence.accuracy import AccuracyReport
from ghost_deploy.core.evidence.parity import ParityReport
from tests.support.in_memory_bundles import bundle_in_memory
from tests.support.int8_reports import int8_row, small_int8_report
from tests.support.report_documents import USUAL, accuracy_report, parity_report
from tests.support.stored_evidence import with_plain_evidence

INT8 = Artifact(format="onnx", precision="int8", path="m", files={"m": "ab"}, parent="", form="x")
FAILED = {
    "artifact": INT8.id,
    "sha256": "ab",
    "runtime": "ort",
    "precision": "int8",
    "status": "failed",
    "reasons": ("2 of 9 matched", "and more"),
}
CALIBRATED = small_int8_report(msgspec.structs.replace(int8_row(INT8.id, 2.345), sha256="ab"))


def parity(**change: Any) -> ParityReport:
    made = parity_report(USUAL[:1])
    return msgspec.structs.replace(
        made, rows=(msgspec.structs.replace(made.rows[0], **{**FAILED, **change}),)
    )


def accuracy(**change: Any) -> AccuracyReport:
    made = accuracy_report(USUAL[:1])
    return msgspec.structs.replace(
        made, rows=(msgspec.structs.replace(made.rows[0], **{**FAILED, **change}),)
    )


def sentences(made: Bundle, runtime: str = "ort") -> tuple[str, ...]:
    return tuple(map(str, failed_verdicts(made, INT8, runtime, "int8")))


@pytest.mark.parametrize(
    "change",
    [
        {"status": "passed", "reasons": ()},
        {"sha256": "of an older file"},
        {"runtime": "openvino"},
        {"precision": "fp32"},
        {"artifact": "onnx-fp32"},
    ],
)
def test_other_verdicts_do_not_count(change: dict[str, Any]) -> None:
    assert sentences(bundle_in_memory(INT8, evidence=[parity(**change), accuracy(**change)])) == ()


def test_without_evidence_nothing_failed() -> None:
    assert sentences(bundle_in_memory(INT8)) == ()
    assert sentences(with_plain_evidence(bundle_in_memory(INT8), {"another": {"rows": [3]}})) == ()


def test_evidence_of_another_version_is_an_error() -> None:
    with pytest.raises(SpecError, match="parity evidence of out"):
        sentences(with_plain_evidence(bundle_in_memory(INT8), {"parity": {"schema": 99}}))


def test_each_failed_verdict_is_a_sentence() -> None:
    assert sentences(
        bundle_in_memory(INT8, evidence=[CALIBRATED, parity(), accuracy(reasons=())])
    ) == (
        "failed its comparison with the checkpoint: 2 of 9 matched",
        "lost too much accuracy",
        "lost too much accuracy in calibration: 2.35 points, at most 0.5 allowed",
    )


def test_a_verdict_of_calibration_counts_on_all_runtimes() -> None:
    assert len(sentences(bundle_in_memory(INT8, evidence=[CALIBRATED]), "openvino")) == 1
