"""Warnings; the figures themselves are those of test_run."""

from __future__ import annotations

import msgspec
import pytest

from ghost_deploy.core.evidence.latency import BenchRow, LatencyFigures, RunConfig
from ghost_deploy.core.evidence.machine import Snapshot
from ghost_deploy.judge.bench.snapshot import take_snapshot
from ghost_deploy.judge.bench.summaries import warnings_of


def row(spread: float) -> BenchRow:
    figures = LatencyFigures(
        stages={},
        throughput=None,
        run_throughput=1.0,
        spread=spread,
        cpu_cores=1.0,
        load_ms=1.0,
        first_run_ms=1.0,
        start_bytes=0,
        peak_bytes=0,
    )
    return BenchRow(
        subject="b",
        baseline=False,
        artifact="onnx-fp32",
        sha256="0",
        bytes=1,
        model="m",
        family="f",
        config=RunConfig(runtime="ort"),
        status="measured",
        figures=figures,
    )


def machine(load: float | None, cpus: int = 4) -> Snapshot:
    found = take_snapshot()
    return msgspec.structs.replace(
        found, load_before=load, machine=msgspec.structs.replace(found.machine, cpus=cpus)
    )


@pytest.mark.parametrize("load", [None, 0.0, 1.0])
def test_a_quiet_machine(load: float | None) -> None:
    assert list(warnings_of([row(0.02)], machine(load))) == []
    assert list(warnings_of([], machine(load))) == []


def test_a_busy_machine() -> None:
    (warning,) = warnings_of([row(0.02)], machine(1.1))
    assert "load 1.1 on 4 CPUs" in warning


def test_a_noisy_machine() -> None:
    (warning,) = warnings_of([row(0.02), row(0.4)], machine(0.0))
    assert "noisy" in warning
    assert "40%" in warning


def test_what_failed_a_verdict_is_named_once() -> None:
    failed = msgspec.structs.replace(
        row(0.0), failed_verdicts=("lost too much accuracy: 3 points",)
    )
    other = msgspec.structs.replace(failed, config=RunConfig(runtime="ort", threads=2))
    (warning,) = warnings_of([failed, other, row(0.0)], machine(0.0))
    assert warning == "b onnx-fp32 on ort lost too much accuracy: 3 points"
