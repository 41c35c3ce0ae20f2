"""Warnings; the figures themselves are those of test_run."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from ghost_deploy.core.evidence.latency import (
    BenchRow,
    LatencyFigures,
    Ratio,
    RunConfig,
    SpeedComparison,
)
from ghost_deploy.core.evidence.machine import Snapshot
from ghost_deploy.judge.bench.snapshot import take_snapshot
from ghost_deploy.judge.bench.statistics import summarize
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
    assert warning == "onnx-fp32 on ort lost too much accuracy: 3 points"


def timed(p50: float, **changes: Any) -> BenchRow:
    """A row with the p50 of its runs, milliseconds."""
    old = row(0.02)
    assert old.figures
    times = msgspec.structs.replace(summarize([p50, p50]), p50=p50)
    figures = msgspec.structs.replace(old.figures, stages={"run_alone": times})
    return msgspec.structs.replace(old, figures=figures, **changes)


@pytest.mark.parametrize(
    ("p50", "of_rounds", "doubted"),
    [
        (20.6, 1.628, True),  # slower by the p50, faster round by round
        (13.0, 0.7, True),
        (13.8 / 1.3, 1.57, True),
        (13.8 / 1.3, 1.4, False),
        (13.8, 1.0, False),
        (14.0, 1.02, False),
        (14.6, 1.02, True),
    ],
)
def test_a_ratio_that_contradicts_the_times_beside_it(
    p50: float, of_rounds: float, doubted: bool
) -> None:
    ratio = Ratio(median=of_rounds, low=of_rounds, high=of_rounds)
    comparison = SpeedComparison(reference=0, run=ratio, end_to_end=None, throughput=ratio)
    rows = [timed(13.8), timed(p50, comparison=comparison)]
    found = list(warnings_of(rows, machine(0.0)))
    assert [text.startswith("the rounds disagree") for text in found] == [True] * doubted
    # One bundle need not be named, and runs of one artifact are told apart.
    assert all("onnx-fp32 on ort (model alone) takes" in text for text in found)
    assert not any(" b onnx" in text for text in found)
