"""Evidence of calibration: its verdict counts, and it is shown; what is not known is listed."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from ghost_deploy.calib.executed import Executed
from ghost_deploy.int8.result import (
    CalibrationFacts,
    CurvePoint,
    Int8Report,
    Int8Row,
    Judged,
    LayerHarm,
    Sensitivity,
    SpeedRow,
    Trial,
)
from ghost_deploy.report.assemble import assemble
from ghost_deploy.report.document import Report
from ghost_deploy.report.html import render_html
from tests.report.made import HOSTILE, Run, material
from tests.report.tracing import faults

INT8 = Run("openvino", "int8", form="openvino", ms=6.0, accuracy=None, parity=None)


def evidence(status: Any = "passed") -> dict[str, Any]:
    return Int8Report(
        model="ghost",
        parent="cd" * 32,
        calibration=CalibrationFacts(images=32, fingerprint="ab" * 32, preprocessing="", seed=0),
        judged=Judged(
            by="labels", data="24 images", images=24, objects=312, protocol="COCO", reference=61.23
        ),
        rows=(
            Int8Row(
                artifact=INT8.artifact, sha256=INT8.sha256, form="openvino", judged_on="openvino",
                recipe=f"histogram {HOSTILE}", status=status, points=60.91, drop=0.32,
                max_drop=1.0, planned_share=0.985, notes=("2 layers stay float",),
                executed=Executed(
                    runtime="openvino", version="1", macs=4_512_000_000, int8_macs=4_500_000_000
                ),
            ),
        ),
        trials=(Trial(form="openvino", recipe="minmax", points=58.1, time=1.0, int8_share=0.99),
                Trial(form="openvino", recipe="broken", problem="it failed")),
        speed=(SpeedRow(artifact=INT8.artifact, runtime="openvino", precision="int8", p50_ms=6.1,
                        over_fastest_float=0.61, low=0.6, high=0.63),),
        sensitivity={
            "openvino": Sensitivity(
                recipe="histogram",
                layers=(LayerHarm(nodes=("model.0", "model.1"), share=0.12, noise=3.0, harm=0.4,
                                  returned=True, cost_ms=0.2),),
                curve=(CurvePoint(int8_share=0.99, lost=1.4, returned=0),
                       CurvePoint(int8_share=0.87, lost=0.32, returned=1)),
            )
        },
        verdict="use OpenVINO INT8 here: 0.61 of the time, -0.32 points",
    ).document()  # fmt: skip


def with_evidence(document: Any, *runs: Run) -> Report:
    found = material([INT8, *runs])
    (facts,) = found.bundles
    changed = msgspec.structs.replace(facts.document, evidence={"int8": document})
    found.bundles = [msgspec.structs.replace(facts, document=changed)]
    return assemble(found)


def test_it_is_shown_and_traced() -> None:
    made = with_evidence(evidence())
    page = render_html(made)
    assert faults(page, json.loads(msgspec.json.encode(made))) == []
    for words in ("Calibration to", "4.500 G", "98.5 %", "Layers by harm", "points lost"):
        assert words in page, words
    assert "Evidence: " not in page
    assert HOSTILE not in page


@pytest.mark.parametrize(
    ("status", "standing"), [("passed", "passes"), ("failed", "fails"), ("unjudged", "unproved")]
)
def test_its_verdict_is_that_of_the_row(status: str, standing: str) -> None:
    made = with_evidence(evidence(status))
    assert made.rows[0].standing == standing
    if status == "failed":
        assert made.rows[0].reasons == ("int8: lost 0.32 points against float, at most 1 allowed",)


def test_int8_is_recommended_on_the_strength_of_it() -> None:
    made = with_evidence(evidence(), Run("openvino", "fp32", ms=12.0))
    assert made.verdict.headline.startswith("Use OpenVINO INT8 here")
    assert "lost 0.32 points against float" in made.verdict.headline


@pytest.mark.parametrize(
    "change",
    [
        {"schema": 2},
        {"rows": 3},
        {"rows": [{"artifact": "x"}]},
        {"judged": {}},
        {"sensitivity": []},
        {"speed": [3]},
        {"calibration": None},
    ],
)
def test_another_form_is_listed_as_it_stands(change: dict[str, Any]) -> None:
    made = with_evidence({**evidence(), **change})
    page = render_html(made)
    assert faults(page, json.loads(msgspec.json.encode(made))) == []
    assert "Evidence: " in page
    assert "Calibration to" not in page
