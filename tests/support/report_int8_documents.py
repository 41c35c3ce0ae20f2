"""Evidence of a calibration, made by hand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from ghost_deploy.core.evidence.int8 import (
    CalibrationFacts,
    CurvePoint,
    Executed,
    Int8Report,
    Int8Row,
    Judged,
    LayerHarm,
    Sensitivity,
    SpeedRow,
    Trial,
)
from ghost_deploy.report.assemble import assemble
from ghost_deploy.report.report_document import Report
from tests.support.report_documents import HOSTILE, NOW, Run, bench_report, material
from tests.support.stored_evidence import as_json

INT8 = Run("openvino", "int8", form="openvino", ms=6.0, accuracy=None, parity=None)

HARMS = (0.91, 0.4, 0.22, 0.07, 0.05, 0.03, None, None)
LAYERS = tuple(
    LayerHarm(
        nodes=(f"/model.{k}/cv1/conv/Conv", f"/model.{k}/cv1/cheap {HOSTILE}/Conv"),
        share=0.12 / (k + 1),
        noise=3.0 / (k + 1),
        harm=harm,
        returned=k in (0, 2),
        gain={0: 0.82, 2: 0.12}.get(k),
        cost_ms={0: 0.2, 2: -0.001}.get(k),
    )
    for k, harm in enumerate(HARMS)
)
CURVE = tuple(
    CurvePoint(int8_share=share, lost=lost, returned=returned, chosen=chosen)
    for share, lost, returned, chosen in (
        (0.985, 1.4, 0, False),
        (0.945, 1.28, 1, False),
        (0.865, 0.58, 1, False),
        (0.825, 0.46, 2, True),
        (0.805, 0.61, 2, False),
        (0.765, 0.38, 3, False),
    )
)


def int8_document(status: Any = "passed") -> dict[str, Any]:
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
                max_drop=0.5, planned_share=0.985, notes=("2 layers stay float",),
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
            "openvino": Sensitivity(recipe="histogram", layers=LAYERS, curve=CURVE),
            f"tensorrt {HOSTILE}": Sensitivity(
                recipe="minmax",
                layers=(LayerHarm(nodes=("stem",), share=0.02, noise=None, harm=0.4),),
                problem="the loss exceeds the budget even with every layer float: 0.71 points",
            ),
        },
        verdict="use OpenVINO INT8 here: 0.61 of the time, -0.32 points",
    ).to_document()  # fmt: skip


def report_with_int8(document: Any, *runs: Run, timed: Sequence[Run] | None = None) -> Report:
    """A report with that document; `timed` are the runs of the benchmark, by default all."""
    found = material([INT8, *runs])
    if timed is not None:
        found.latency = [bench_report(timed)]
    (facts,) = found.bundles
    changed = msgspec.structs.replace(facts.document, evidence=as_json({"int8": document}))
    found.bundles = [msgspec.structs.replace(facts, document=changed)]
    return assemble(found, now=NOW)
