"""Verdicts that a bundle keeps against what is to be timed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ghost_deploy.core.bundle import Artifact, Bundle, BundleDocument
from ghost_deploy.judge.bench.failed_verdicts import failed_verdicts
from tests.runtimes.test_opener import SOURCE, SPEC

INT8 = Artifact(format="onnx", precision="int8", path="m", files={"m": "ab"}, parent="", form="x")
ROW = {
    "artifact": INT8.id,
    "sha256": "ab",
    "runtime": "ort",
    "precision": "int8",
    "status": "failed",
    "reasons": ["2 of 9 matched", "and more"],
}
CALIBRATED = {
    "artifact": INT8.id, "sha256": "ab", "status": "failed", "drop": 2.345, "max_drop": 0.5,
}  # fmt: skip


def found(runtime: str = "ort", **evidence: Any) -> tuple[str, ...]:
    document = BundleDocument(
        spec=SPEC, source=SOURCE, artifacts=(INT8,), created_with="test", evidence=evidence
    )
    return failed_verdicts(Bundle(Path("out"), document), INT8, runtime, "int8")


@pytest.mark.parametrize(
    "evidence",
    [
        {},
        {"parity": {}},
        {"parity": {"rows": 3}},
        {"parity": {"rows": [3, None, "failed"]}},
        {"parity": {"rows": [{"status": "failed"}]}},
        {"parity": {"rows": [{**ROW, "status": "passed"}]}},
        {"parity": {"rows": [{**ROW, "sha256": "of an older file"}]}},
        {"parity": {"rows": [{**ROW, "runtime": "openvino"}]}},
        {"parity": {"rows": [{**ROW, "precision": "fp32"}]}},
        {"another": {"rows": [ROW]}},
    ],
)
def test_nothing_is_against_it(evidence: dict[str, Any]) -> None:
    assert found(**evidence) == ()


def test_each_failed_verdict_is_a_sentence() -> None:
    assert found(
        int8={"rows": [CALIBRATED]},
        parity={"rows": [ROW]},
        accuracy={"rows": [{**ROW, "reasons": []}]},
    ) == (
        "failed its comparison with the checkpoint: 2 of 9 matched",
        "lost too much accuracy",
        "lost too much accuracy in calibration: 2.35 points, at most 0.5 allowed",
    )


def test_a_verdict_of_calibration_counts_on_every_runtime() -> None:
    assert len(found("openvino", int8={"rows": [CALIBRATED]})) == 1
