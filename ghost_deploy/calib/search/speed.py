"""How long one run takes: int8 files beside float ones, in one interleaved benchmark."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ghost_deploy.calib.search.accuracy_judge import Progress
from ghost_deploy.core.bundle import Bundle
from ghost_deploy.core.evidence.int8 import SpeedRow
from ghost_deploy.core.evidence.latency import BenchReport, BenchRow, Settings
from ghost_deploy.judge.bench.benchmark import run_bench
from ghost_deploy.judge.bench.selection import Selection
from ghost_deploy.judge.bench.statistics import ratio, round_medians
from ghost_deploy.runtimes import RuntimeOptions

__all__ = ["file_times_ms", "speed_rows"]

_STAGE = "run_alone"
_SHORT = Settings(duration_s=4.0, rounds=10, warmup_s=0.3)


def file_times_ms(
    files: Sequence[Path],
    images: Sequence[Path],
    options: RuntimeOptions,
    progress: Progress | None = None,
) -> dict[Path, float]:
    """Time of each file's run in milliseconds, all taking turns; what could not run is left out.

    It is the median of the first one's, times the ratio to that, which is taken round by round.

    Args:
        files: model files of one form.
        images: to measure on.
        options: device and threads.
        progress: told of each step.
    """
    selection = Selection(options=options, threads=(options.threads,))
    tell = _rounds(progress)
    report = run_bench(files, images, selection=selection, settings=_SHORT, progress=tell)
    rows = {path: row for path, row in zip(files, report.rows, strict=True) if row.figures}
    if files[0] not in rows:
        return {}
    first = rows[files[0]]
    return {
        path: _median(first) * ratio(_medians(row), _medians(first)).median
        for path, row in rows.items()
    }


def speed_rows(
    bundle: Bundle,
    images: Sequence[Path],
    options: RuntimeOptions,
    progress: Progress | None = None,
) -> tuple[SpeedRow, ...]:
    """All artifacts of a bundle that run here, fastest first.

    Args:
        bundle: whose artifacts.
        images: to measure on.
        options: device and threads.
        progress: told of each step.
    """
    selection = Selection(options=options, threads=(options.threads,))
    tell = _rounds(progress)
    report = run_bench([bundle], images, selection=selection, settings=_SHORT, progress=tell)
    return _rows(report)


def _rounds(progress: Progress | None) -> Progress | None:
    """Of a benchmark's steps the rounds, by a name of ours."""
    if progress is None:
        return None
    progress("loading what is timed", 0, 0)

    def tell(what: str, done: int, total: int) -> None:
        if total:
            progress("timing: round", done, total)

    return tell


def _rows(report: BenchReport) -> tuple[SpeedRow, ...]:
    measured = [row for row in report.rows if row.figures]
    floats = [row for row in measured if row.config.precision != "int8"]
    if not floats:
        return ()
    fastest = min(floats, key=_median)
    rows = [_row(row, fastest, _fp32_of(row, floats)) for row in measured]
    return tuple(sorted(rows, key=lambda row: row.p50_ms))


def _fp32_of(row: BenchRow, floats: Sequence[BenchRow]) -> BenchRow | None:
    """The fp32 row on the same runtime."""
    runtime = row.config.runtime
    same = (each for each in floats if each.config.runtime == runtime)
    return next((each for each in same if each.config.precision == "fp32"), None)


def _row(row: BenchRow, fastest: BenchRow, fp32: BenchRow | None) -> SpeedRow:
    over = ratio(_medians(row), _medians(fastest))
    return SpeedRow(
        artifact=row.artifact,
        runtime=row.config.runtime,
        precision=row.config.precision,
        p50_ms=_median(row),
        over_fastest_float=over.median,
        low=over.low,
        high=over.high,
        over_fp32=ratio(_medians(row), _medians(fp32)).median if fp32 else None,
    )


def _median(row: BenchRow) -> float:
    assert row.figures is not None
    return row.figures.stages[_STAGE].p50


def _medians(row: BenchRow) -> list[float]:
    assert row.figures is not None
    return round_medians(row.figures.samples[_STAGE])
