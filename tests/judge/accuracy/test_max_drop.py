"""What an artifact may lose."""

from __future__ import annotations

from typing import Any, Literal

import msgspec
import pytest

from ghost_deploy.core.bundle import Artifact
from ghost_deploy.core.errors import UsageError
from ghost_deploy.core.evidence.int8 import Int8Report
from ghost_deploy.judge.accuracy.int8_judge import DEFAULT_DROPS
from ghost_deploy.judge.accuracy.max_drop import MAX_DROP, MaxDrop, max_drop_of
from tests.support.in_memory_bundles import bundle_in_memory
from tests.support.int8_reports import int8_row, small_int8_report

INT8 = Artifact(
    format="onnx", precision="int8", path="m.onnx", files={"m.onnx": "ab"}, parent="ff", form="x"
)
ENGINE = Artifact(
    format="tensorrt", precision="int8", path="m.plan", files={"m.plan": "cd"}, parent="ab"
)


def calibration(by: Literal["labels", "agreement"] = "labels", **change: Any) -> Int8Report:
    other = msgspec.structs.replace(int8_row("onnx-int8-x", 0.0), sha256="99", max_drop=9.0)
    return small_int8_report(other, msgspec.structs.replace(other, **change), by=by)


@pytest.mark.parametrize(
    "calibrated",
    [
        None,
        calibration(sha256="other", max_drop=0.2),
        calibration(by="agreement", sha256="ab", max_drop=3.0),
    ],
)
def test_without_a_bar_in_points_of_map_the_default_holds(calibrated: Int8Report | None) -> None:
    assert max_drop_of(
        bundle_in_memory(INT8, evidence=[calibrated] if calibrated else []), INT8, "int8", None
    ) == MaxDrop(MAX_DROP["int8"])


@pytest.mark.parametrize("artifact", [INT8, ENGINE])
def test_the_bar_of_the_calibration_holds_for_the_file_and_its_engine(artifact: Artifact) -> None:
    bundle = bundle_in_memory(INT8, evidence=[calibration(sha256="ab", max_drop=0.3)])
    found = max_drop_of(bundle, artifact, "int8", None)
    assert found.points == 0.3
    assert "0.3 points: the limit of its calibration" in found.note
    assert max_drop_of(bundle, artifact, "int8", 2.0) == MaxDrop(2.0)
    assert max_drop_of(bundle, artifact, "fp16", None) == MaxDrop(MAX_DROP["fp16"])


def test_a_precision_without_a_bar() -> None:
    with pytest.raises(UsageError, match="fp8"):
        max_drop_of(bundle_in_memory(INT8), INT8, "fp8", None)


def test_calibration_and_validation_have_one_default() -> None:
    assert DEFAULT_DROPS["labels"] == MAX_DROP["int8"]
