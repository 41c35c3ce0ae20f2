"""Timed rows and their order by speed, compared round by round."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ghost_deploy.core.evidence.latency import BenchRow, Ratio
from ghost_deploy.report.material import Material
from ghost_deploy.report.report_document import ReportRow

_END_TO_END, _ALONE = "end_to_end", "run_alone"


@dataclass(frozen=True)
class TimedRow:
    """A row that was timed; `ms` is what an image takes, the median."""

    index: int
    row: ReportRow
    figures: BenchRow
    ms: float

    @property
    def label(self) -> str:
        return self.row.label


def timed_rows(material: Material, rows: Sequence[ReportRow]) -> list[TimedRow]:
    """Rows with times of the first latency document.

    Of an artifact that was timed in several ways, those with the fewest streams and the smallest
    batch: the verdict is about the time of one image.
    """
    found = []
    for index, row in enumerate(rows):
        if row.latency and row.latency.report == 0:
            figures = material.latency[0].rows[row.latency.row]
            if figures.figures:
                found.append((index, row, figures))
    least: dict[tuple[str, str, str], tuple[int, int]] = {}
    for _, row, figures in found:
        key, size = _key(row), (figures.config.streams, figures.config.batch)
        least[key] = min(size, least.get(key, size))
    found = [
        (index, row, figures)
        for index, row, figures in found
        if (figures.config.streams, figures.config.batch) == least[_key(row)]
    ]
    # From file to detections where all were timed so, else the model alone.
    every = all(f.figures and _END_TO_END in f.figures.stages for _, _, f in found)
    stage = _END_TO_END if every else _ALONE
    return [TimedRow(index, row, f, _per_image(f, stage)) for index, row, f in found]


def _key(row: ReportRow) -> tuple[str, str, str]:
    return row.sha256, row.runtime, row.precision


def _per_image(row: BenchRow, stage: str) -> float:
    assert row.figures is not None
    return row.figures.stages[stage].p50 / row.config.batch


def fastest(passing: Sequence[TimedRow]) -> TimedRow:
    """The row to use, of those that pass.

    The first row, which the others are compared with, is replaced only by one whose quartiles lie
    above its speed: of several the one with the highest median.
    """
    compared = [each for each in passing if each.figures.comparison]
    anchors = [each for each in passing if each.figures.comparison is None]
    if not compared or len(anchors) > 1:  # timed beside rows that are not here: no ratios
        return min(passing, key=lambda each: each.ms)
    best = max(compared, key=speed_of)
    if not anchors or interval_of(best).low > 1:
        return best
    return max((e for e in compared if interval_of(e).low > 1), key=speed_of, default=anchors[0])


def speed_of(each: TimedRow) -> float:
    """The median of `interval_of`."""
    return interval_of(each).median


def interval_of(each: TimedRow) -> Ratio:
    """The speed beside that of the anchor, whose own is 1."""
    if each.figures.comparison is None:
        return Ratio(median=1.0, low=1.0, high=1.0)
    return each.figures.comparison.end_to_end or each.figures.comparison.run


def anchor_of(best: TimedRow, timed: Sequence[TimedRow]) -> TimedRow | None:
    """The row that `best` is compared with; None where it is not in the document."""
    comparison = best.figures.comparison
    assert comparison is not None
    found = (o for o in timed if o.row.latency and o.row.latency.row == comparison.reference)
    return next(found, None)
