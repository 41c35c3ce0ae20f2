"""Small parity reports; `report_documents` has one with every field filled."""

from __future__ import annotations

from typing import Any

from ghost_deploy.core.evidence.compared_images import ParityBasis
from ghost_deploy.core.evidence.parity import ParityReport, ParityRow
from ghost_deploy.core.spec import Thresholds
from ghost_deploy.judge.parity.gate import gate_for


def parity_row(artifact: str = "onnx-fp32", status: Any = "failed", **changes: Any) -> ParityRow:
    """A row of ONNX Runtime in fp32."""
    facts: dict[str, Any] = {"sha256": "a" * 64, "runtime": "ort", "precision": "fp32", **changes}
    return ParityRow(artifact=artifact, status=status, gate=gate_for("fp32"), **facts)


def small_parity_report(*rows: ParityRow) -> ParityReport:
    """A report with those rows, compared on one image."""
    return ParityReport(
        model="model",
        checkpoint="best.pt",
        checkpoint_sha256="",
        reference="eager",
        semantics="",
        sizes_hw=((64, 64),),
        thresholds=Thresholds(),
        rows=rows,
        evidence=ParityBasis(source="images", strength="good", images=1, detections=1, sentence=""),
        images=(),
        tools={},
    )
