"""Which row is compared with which, and how they compare."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from ghost_deploy.core.evidence.latency import BenchRow, Comparison, Figures, Ratio, RunConfig
from ghost_deploy.judge.bench.statistics import ratio, round_medians
from ghost_deploy.judge.bench.timer import RUN_ALONE

__all__ = ["compared"]


def compared(rows: Sequence[BenchRow]) -> list[BenchRow]:
    """Add to each measured row how it compares with its reference.

    With a baseline, the reference is its row of the same runtime, precision, batch, threads and
    streams; for one that has none, the baseline's first measured row. Without a baseline it is
    the first measured row. What is itself such a row is compared with nothing.
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


def _compare(row: BenchRow, other: BenchRow, reference: int) -> Comparison:
    own, theirs = row.figures, other.figures
    assert own is not None
    assert theirs is not None
    both_walk = bool(own.rates and theirs.rates)
    return Comparison(
        reference=reference,
        run=_speed(RUN_ALONE, row, other),
        end_to_end=_speed("end_to_end", row, other) if both_walk else None,
        throughput=ratio(_rates(own, both_walk), _rates(theirs, both_walk)),
    )


def _speed(stage: str, row: BenchRow, other: BenchRow) -> Ratio:
    return ratio(_per_image(stage, other), _per_image(stage, row))


def _per_image(stage: str, row: BenchRow) -> list[float]:
    """The median time of an image in each round, milliseconds."""
    assert row.figures is not None
    return [time / row.config.batch for time in round_medians(row.figures.samples[stage])]


def _rates(figures: Figures, walks: bool) -> list[float]:
    return figures.rates if walks else figures.run_rates
