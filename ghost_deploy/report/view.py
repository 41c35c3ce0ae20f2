"""The report beside its plain form: what sections are made from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import msgspec

from ghost_deploy.core.evidence.accuracy import AccuracyRow
from ghost_deploy.core.evidence.latency import BenchRow
from ghost_deploy.report.blocks import Report, Row
from ghost_deploy.report.cells import Cell, Line, Look, Pill
from ghost_deploy.report.charts.style import Style, styles, swatches

__all__ = ["RowView", "View", "key"]


@dataclass(frozen=True)
class RowView:
    """A row of the report, where its figures stand, and how it looks in charts."""

    index: int
    row: Row
    look: Look
    style: Style
    accuracy: AccuracyRow | None
    latency: BenchRow | None

    @property
    def label(self) -> Cell:
        """Its name."""
        return self.look.cell("text", "rows", self.index, "label")

    @property
    def standing(self) -> Pill:
        """Whether it passes."""
        return self.look.pill("rows", self.index, "standing")

    @property
    def accuracy_at(self) -> tuple[str | int, ...]:
        """Where its accuracy stands."""
        place = self.row.accuracy
        assert place is not None
        return "accuracy", place.report, "rows", place.row

    @property
    def latency_at(self) -> tuple[str | int, ...]:
        """Where its latency stands."""
        place = self.row.latency
        assert place is not None
        return "latency", place.report, "rows", place.row

    @property
    def stage(self) -> str:
        """What its latency is judged by: from file to detections, or the model alone."""
        assert self.latency is not None
        assert self.latency.figures is not None
        return "end_to_end" if "end_to_end" in self.latency.figures.stages else "run_alone"

    def time(self, figure: str, form: str = "ms") -> Cell:
        """A figure of that latency, milliseconds a request."""
        return self.look.cell(form, *self.latency_at, "figures", "stages", self.stage, figure)


class View:
    """A report, its plain form, and its rows.

    Attributes:
        report: as values of its types.
        look: as plain values.
        rows: all rows.
    """

    def __init__(self, report: Report) -> None:
        self.report = report
        # Through JSON, so that what is looked up is what a reader of the file finds.
        self.look = Look(msgspec.json.decode(msgspec.json.encode(report)))
        pairs = zip(report.rows, styles(report.rows), strict=True)
        self.rows = tuple(self._row(i, row, style) for i, (row, style) in enumerate(pairs))

    def timed(self) -> Iterator[RowView]:
        """Rows that were timed."""
        return (row for row in self.rows if row.latency and row.latency.figures)

    def measured(self) -> Iterator[RowView]:
        """Rows whose accuracy was measured."""
        return (row for row in self.rows if row.accuracy and row.accuracy.accuracy)

    def listed(self, *steps: str | int) -> list[Line]:
        """Each text of a list as a line."""
        count = len(self.look.value(*steps))
        return [(self.look.cell("text", *steps, i),) for i in range(count)]

    def _row(self, index: int, row: Row, style: Style) -> RowView:
        report = self.report
        accuracy, latency = None, None
        if row.accuracy:
            accuracy = report.accuracy[row.accuracy.report].rows[row.accuracy.row]
        if row.latency:
            latency = report.latency[row.latency.report].rows[row.latency.row]
        return RowView(index, row, self.look, style, accuracy, latency)


def key(rows: Sequence[RowView], *first: tuple[str, str], lines: bool = False) -> str:
    """A legend of the colours of runtimes and the shapes, or dashes, of precisions.

    Args:
        rows: whose.
        first: other entries: a class of the style sheet and words.
        lines: dashes instead of shapes.
    """
    entries: list[tuple[str, str | Cell]] = list(first)
    for name, row in {row.style.colour: row for row in rows}.items():
        entries.append((f"dot {name}", row.look.cell("runtime", "rows", row.index, "runtime")))
    for name, row in {row.style.shape: row for row in rows}.items():
        words = row.look.cell("upper", "rows", row.index, "precision")
        entries.append((f"{'dash' if lines else 'shape'} {name}", words))
    return swatches(entries)
