"""Verdicts that a bundle keeps on what is to be run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from ghost_deploy.core.bundle import Artifact, Bundle, BundleDocument
from ghost_deploy.core.bundle.verdicts import failed_verdicts
from ghost_deploy.core.errors import SpecError
from ghost_deploy.core.evidence.accuracy import AccuracyReport
from ghost_deploy.core.evidence.json_document import Document
from ghost_deploy.core.evidence.parity import ParityReport
from tests.runtimes.test_opener import SOURCE, SPEC
from tests.support.int8_reports import report, row
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
CALIBRATED = report(msgspec.structs.replace(row(INT8.id, 2.345), sha256="ab"))


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


def bundle(*documents: Document) -> Bundle:
    document = BundleDocument(spec=SPEC, source=SOURCE, artifacts=(INT8,), created_with="test")
    made = Bundle(Path("out"), document)
    for each in documents:
        made = made.with_evidence(each)
    return made


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
    assert sentences(bundle(parity(**change), accuracy(**change))) == ()


def test_without_evidence_nothing_failed() -> None:
    assert sentences(bundle()) == ()
    assert sentences(with_plain_evidence(bundle(), {"another": {"rows": [3]}})) == ()


def test_evidence_of_another_version_is_an_error() -> None:
    with pytest.raises(SpecError, match="parity evidence of out"):
        sentences(with_plain_evidence(bundle(), {"parity": {"schema": 99}}))


def test_each_failed_verdict_is_a_sentence() -> None:
    assert sentences(bundle(CALIBRATED, parity(), accuracy(reasons=()))) == (
        "failed its comparison with the checkpoint: 2 of 9 matched",
        "lost too much accuracy",
        "lost too much accuracy in calibration: 2.35 points, at most 0.5 allowed",
    )


def test_a_verdict_of_calibration_counts_on_all_runtimes() -> None:
    assert len(sentences(bundle(CALIBRATED), "openvino")) == 1
