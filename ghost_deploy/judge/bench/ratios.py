"""Which row of a benchmark is compared with which, and the speed ratios."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from ghost_deploy.core.evidence.latency import (
    BenchRow,
    LatencyFigures,
    Ratio,
    RunConfig,
    SpeedComparison,
)
from ghost_deploy.judge.bench.statistics import ratio, round_medians
from ghost_deploy.judge.bench.timer import RUN_ALONE


def compared(rows: Sequence[BenchRow]) -> list[BenchRow]:
    """Add the speed ratios to each measured row.

    With a baseline, a row is compared with the baseline's row of the same runtime, precision,
    batch, threads and streams, or its first measured row if there is none. Without a baseline it
    is compared with the first measured row. The rows compared with have no ratios.
    """
    measured = [index for index, row in enumerate(rows) if row.figures]
    anchors = [index for index in measured if rows[index].baseline] or (
        [] if any(row.baseline for row in rows) else measured[:1]
    )
    result = list(rows)
    for index in measured:
        if anchors and index not in anchors:
            reference = _reference(rows, anchors, rows[index].config)
            comparison = _compare(rows[index], rows[reference], reference)
            result[index] = msgspec.structs.replace(rows[index], comparison=comparison)
    return result


def _reference(rows: Sequence[BenchRow], anchors: Sequence[int], config: RunConfig) -> int:
    bare = msgspec.structs.replace(config, precision="")  # a bare file names no precision
    same = [index for index in anchors if rows[index].config in (config, bare)]
    return (same or anchors)[0]


def _compare(row: BenchRow, other: BenchRow, reference: int) -> SpeedComparison:
    own, theirs = row.figures, other.figures
    assert own is not None
    assert theirs is not None
    end_to_end = bool(own.rates and theirs.rates)
    return SpeedComparison(
        reference=reference,
        run=_speed(RUN_ALONE, row, other),
        end_to_end=_speed("end_to_end", row, other) if end_to_end else None,
        throughput=ratio(_rates(own, end_to_end), _rates(theirs, end_to_end)),
    )


def _speed(stage: str, row: BenchRow, other: BenchRow) -> Ratio:
    return ratio(_per_image(stage, other), _per_image(stage, row))


def _per_image(stage: str, row: BenchRow) -> list[float]:
    """The median time of an image in each round, milliseconds."""
    assert row.figures is not None
    return [time / row.config.batch for time in round_medians(row.figures.samples[stage])]


def _rates(figures: LatencyFigures, end_to_end: bool) -> list[float]:
    return figures.rates if end_to_end else figures.run_rates
