"""Times of int8 files and float files, measured in turns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from ghost_deploy.core.bundle import Bundle
from ghost_deploy.core.evidence.int8 import SpeedRow
from ghost_deploy.core.evidence.latency import BenchReport, BenchRow, Settings
from ghost_deploy.core.evidence.run_name import run_name
from ghost_deploy.core.progress import Progress, silent
from ghost_deploy.judge.bench.benchmark import run_bench
from ghost_deploy.judge.bench.read_machine import read_machine
from ghost_deploy.judge.bench.selection import Selection
from ghost_deploy.judge.bench.snapshot import others_load
from ghost_deploy.judge.bench.statistics import ratio, round_medians
from ghost_deploy.judge.bench.summaries import machine_doubts, round_doubt
from ghost_deploy.judge.bench.timer import RUN_ALONE
from ghost_deploy.runtimes.base import RuntimeOptions

TIMED_IMAGES = 16
"""Number of images that suffices."""

_SHORT = Settings(duration_s=2.0, rounds=10, warmup_s=0.3)
_SHORTER = Settings(duration_s=0.75, rounds=6, warmup_s=0.2)


@dataclass(frozen=True)
class Int8Stopwatch:
    """Measures runs of the model alone; see `calib.search.protocols.Stopwatch`.

    Attributes:
        images: files to measure on.
        options: device and threads.
        progress: receives each round.
        short: take a third of the time, for wider quartiles.
        load_before: of other programs, before the calibration; None where unknown.
    """

    images: Sequence[Path]
    options: RuntimeOptions
    progress: Progress = silent
    short: bool = False
    load_before: float | None = field(default_factory=others_load)

    @property
    def machine(self) -> str:
        """Name of the processor."""
        return read_machine().cpu

    def file_times_ms(self, files: Sequence[Path]) -> dict[Path, float]:
        """Milliseconds of one run of each file; files that cannot run are left out.

        The median of the first file, times the ratio to it, which is taken round by round.

        Args:
            files: model files of one form.
        """
        report = self._bench(files)
        rows = {path: row for path, row in zip(files, report.rows, strict=True) if row.figures}
        if files[0] not in rows:
            return {}
        first = rows[files[0]]
        return {
            path: _median(first) * ratio(_medians(row), _medians(first)).median
            for path, row in rows.items()
        }

    def speed_rows(self, bundle: Bundle) -> tuple[tuple[SpeedRow, ...], tuple[str, ...]]:
        """Times of all artifacts of a bundle that run here, fastest first, and doubts of them."""
        report = self._bench([bundle])
        rows = _rows(report)
        # The load right before is that of the calibration itself.
        snapshot = msgspec.structs.replace(report.snapshot, load_before=self.load_before)
        return rows, (*machine_doubts(report.rows, snapshot), *_disagreements(rows))

    def _bench(self, models: Sequence[Path | Bundle]) -> BenchReport:
        selection = Selection(options=self.options, threads=(self.options.threads,))
        self.progress("loading what is timed", 0, 0)

        def rounds(what: str, done: int, total: int) -> None:
            if total:
                self.progress("timing: round", done, total)

        settings = _SHORTER if self.short else _SHORT
        return run_bench(
            models,
            self.images,
            selection=selection,
            settings=settings,
            phases=(RUN_ALONE,),
            progress=rounds,
        )


def _rows(report: BenchReport) -> tuple[SpeedRow, ...]:
    measured = [row for row in report.rows if row.figures]
    floats = [row for row in measured if row.config.precision != "int8"]
    if not floats:
        return ()
    fastest = min(floats, key=_median)
    fp32 = {row.config.runtime: row for row in floats[::-1] if row.config.precision == "fp32"}
    rows = [_row(row, fastest, fp32.get(row.config.runtime)) for row in measured]
    return tuple(sorted(rows, key=lambda row: row.p50_ms))


def _disagreements(rows: Sequence[SpeedRow]) -> Iterator[str]:
    floats = [row for row in rows if row.precision != "int8"]
    for row in rows if floats else ():
        label, other = (
            run_name(each.artifact, each.runtime, each.precision) for each in (row, floats[0])
        )
        quotient = row.p50_ms / floats[0].p50_ms
        yield from round_doubt(label, other, row.over_fastest_float, quotient)


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
    return row.figures.stages[RUN_ALONE].p50


def _medians(row: BenchRow) -> list[float]:
    assert row.figures is not None
    return round_medians(row.figures.samples[RUN_ALONE])
