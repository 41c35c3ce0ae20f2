"""Calibration reports made by hand."""

from __future__ import annotations

from typing import Literal

from ghost_deploy.core.evidence.int8 import (
    CalibrationFacts,
    Int8Report,
    Int8Row,
    Judged,
    SpeedRow,
)

CALIBRATION = CalibrationFacts(images=64, fingerprint="f" * 64, preprocessing="0" * 64, seed=0)


def judged(by: Literal["labels", "agreement"] = "labels") -> Judged:
    return Judged(
        by=by, data="data.yaml val", images=87, objects=1137, protocol="COCO", reference=56.86
    )


def int8_row(artifact: str, drop: float, *, max_drop: float = 0.5) -> Int8Row:
    return Int8Row(
        artifact=artifact,
        sha256=artifact,
        form="ort-x86",
        judged_on="ort",
        recipe="minmax",
        status="passed" if drop <= max_drop else "failed",
        points=56.86 - drop,
        drop=drop,
        max_drop=max_drop,
    )


def speed_row(artifact: str, runtime: str, over: float, *, low: float | None = None) -> SpeedRow:
    return SpeedRow(
        artifact=artifact,
        runtime=runtime,
        precision=artifact.split("-")[1],
        p50_ms=10 * over,
        over_fastest_float=over,
        low=over if low is None else low,
        high=over,
    )


def small_int8_report(
    *rows: Int8Row, times: tuple[SpeedRow, ...] = (), by: Literal["labels", "agreement"] = "labels"
) -> Int8Report:
    return Int8Report(
        model="best",
        parent="p",
        calibration=CALIBRATION,
        judged=judged(by),
        rows=rows,
        speed=times,
    )
