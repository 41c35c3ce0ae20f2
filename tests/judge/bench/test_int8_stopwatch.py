"""Times of files and of a bundle's artifacts, as calibration asks for them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ghost_deploy.core.evidence.int8 import SpeedRow
from ghost_deploy.core.evidence.latency import Settings
from ghost_deploy.judge.bench import int8_stopwatch
from ghost_deploy.judge.bench.int8_stopwatch import Int8Stopwatch
from ghost_deploy.runtimes.base import RuntimeOptions
from tests.support.constant_model import write_constant_bundle, write_constant_onnx
from tests.support.images import write_image


@pytest.fixture
def stopwatch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Int8Stopwatch:
    monkeypatch.setattr(int8_stopwatch, "_SHORT", Settings(duration_s=0.2, rounds=2, warmup_s=0.0))
    image = tmp_path / "image.png"
    write_image(image)
    return Int8Stopwatch([image], RuntimeOptions(threads=1), load_before=99.0)


def test_files_are_timed_and_those_that_fail_are_left_out(
    stopwatch: Int8Stopwatch, tmp_path: Path
) -> None:
    files = [write_constant_onnx(tmp_path / "a.onnx"), write_constant_onnx(tmp_path / "b.onnx")]
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"no model")
    times = stopwatch.file_times_ms([*files, broken])
    assert list(times) == files
    assert all(time > 0 for time in times.values())


def test_artifacts_of_a_bundle_are_compared_with_the_fastest_float(
    stopwatch: Int8Stopwatch, tmp_path: Path
) -> None:
    rows, doubts = stopwatch.speed_rows(write_constant_bundle(tmp_path / "bundle"))
    assert rows[0].over_fastest_float == 1.0
    assert [row.p50_ms for row in rows] == sorted(row.p50_ms for row in rows)
    assert {row.precision for row in rows} == {"fp32"}
    assert stopwatch.machine
    assert "the machine was busy before: load 99.0" in doubts[0]
    assert all(text.startswith(("the machine", "the rounds")) for text in doubts)


def test_times_that_contradict_their_ratio_are_doubted() -> None:
    """145 and 190 ms beside 1.57."""
    base: Any = {"precision": "fp32", "low": 1.0, "high": 1.0, "runtime": "ort"}
    fast = SpeedRow(artifact="onnx-fp32", p50_ms=145, over_fastest_float=1.0, **base)
    slow = SpeedRow(
        artifact="onnx-int8", p50_ms=190, over_fastest_float=1.57, **base | {"precision": "int8"}
    )
    (doubt,) = int8_stopwatch._disagreements((fast, slow))
    assert "1.57 times" in doubt
    assert "1.31 times" in doubt
    assert list(int8_stopwatch._disagreements((slow,))) == []
