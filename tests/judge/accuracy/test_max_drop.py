"""What an artifact may lose."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ghost_deploy.calib.search.search import DEFAULT_DROPS
from ghost_deploy.core.bundle import Artifact, Bundle, BundleDocument
from ghost_deploy.core.errors import UsageError
from ghost_deploy.core.evidence.accuracy import MAX_DROP
from ghost_deploy.judge.accuracy.max_drop import Bar, bar_of
from tests.runtimes.test_opener import SOURCE, SPEC

INT8 = Artifact(
    format="onnx", precision="int8", path="m.onnx", files={"m.onnx": "ab"}, parent="ff", form="x"
)
ENGINE = Artifact(
    format="tensorrt", precision="int8", path="m.plan", files={"m.plan": "cd"}, parent="ab"
)


def evidence(by: str = "labels", **row: Any) -> dict[str, Any]:
    return {"judged": {"by": by}, "rows": [{"sha256": "99", "max_drop": 9.0}, row]}


def bundle_of(document: Any) -> Bundle:
    kept = {} if document is None else {"int8": document}
    return Bundle(
        Path("out"),
        BundleDocument(
            spec=SPEC, source=SOURCE, artifacts=(INT8,), created_with="test", evidence=kept
        ),
    )


@pytest.mark.parametrize(
    "document",
    [
        None,
        {},
        {"judged": None, "rows": []},
        {"judged": {"by": "labels"}},
        {"judged": {"by": "labels"}, "rows": 3},
        {"judged": {"by": "labels"}, "rows": [3]},
        evidence(sha256="ab"),
        evidence(sha256="ab", max_drop="much"),
        evidence(sha256="other", max_drop=0.2),
        evidence(by="agreement", sha256="ab", max_drop=3.0),
    ],
)
def test_without_a_bar_in_points_of_map_the_default_holds(document: Any) -> None:
    assert bar_of(bundle_of(document), INT8, "int8", None) == Bar(MAX_DROP["int8"])


@pytest.mark.parametrize("artifact", [INT8, ENGINE])
def test_the_bar_of_the_calibration_holds_for_the_file_and_its_engine(artifact: Artifact) -> None:
    bundle = bundle_of(evidence(sha256="ab", max_drop=0.3))
    found = bar_of(bundle, artifact, "int8", None)
    assert found.points == 0.3
    assert "0.3 points: the bar of its calibration" in found.note
    assert bar_of(bundle, artifact, "int8", 2.0) == Bar(2.0)
    assert bar_of(bundle, artifact, "fp16", None) == Bar(MAX_DROP["fp16"])


def test_a_precision_without_a_bar() -> None:
    with pytest.raises(UsageError, match="fp8"):
        bar_of(bundle_of(None), INT8, "fp8", None)


def test_calibration_and_validation_have_one_default() -> None:
    assert DEFAULT_DROPS["labels"] == MAX_DROP["int8"]
