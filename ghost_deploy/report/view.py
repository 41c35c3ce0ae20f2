"""The report as typed values beside its plain form: what sections are built from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from ghost_deploy.core.evidence.accuracy import Accuracy, AccuracyRow
from ghost_deploy.core.evidence.latency import BenchRow, LatencyFigures
from ghost_deploy.report.blocks import NOTHING, At, Cell, DocumentView, Line, Pill
from ghost_deploy.report.charts.style import Style, styles, swatches
from ghost_deploy.report.report_document import Report, ReportRow, RowRef


@dataclass(frozen=True)
class RowView:
    """A row of the report, where its figures are, and its style in charts.

    Attributes:
        index, row: of the report.
        view: the document.
        style: in charts.
        accuracy, latency: its figures' rows; None where it has none.
        shared: other rows, timed in other ways, have the same figures.
    """

    index: int
    row: ReportRow
    view: ReportView
    style: Style
    accuracy: AccuracyRow | None
    latency: BenchRow | None
    shared: bool = False

    @property
    def label(self) -> Cell:
        """Its name among all rows."""
        return self.cell("text", "label")

    @property
    def name(self) -> Line:
        """Its label, or runtime and precision alone where several rows share the figures."""
        if self.shared:
            return self.view.line("{runtime:runtime} {precision:upper}", "rows", self.index)
        return (self.label,)

    @property
    def standing(self) -> Pill:
        """Whether it passes."""
        return self.view.pill("rows", self.index, "standing")

    @property
    def measured(self) -> Accuracy:
        """Its accuracy, which is there."""
        assert self.accuracy is not None
        assert self.accuracy.accuracy is not None
        return self.accuracy.accuracy

    @property
    def figures(self) -> LatencyFigures:
        """Its times, which are there."""
        assert self.latency is not None
        assert self.latency.figures is not None
        return self.latency.figures

    def at(self, kind: Literal["parity", "accuracy", "latency"]) -> At:
        """The place of its figures of a kind, which are there."""
        ref: RowRef | None = getattr(self.row, kind)
        assert ref is not None
        return kind, ref.report, "rows", ref.row

    def cell(self, form: str, *steps: str | int) -> Cell:
        """A value of the row itself."""
        return self.view.cell(form, "rows", self.index, *steps)

    def show(self, kind: Literal["parity", "accuracy", "latency"], form: str, *steps: str) -> Line:
        """One of its figures, or a status (`pill`), as a line; `NOTHING` where it has none."""
        if getattr(self.row, kind) is None or self.view.find(*self.at(kind), *steps) is None:
            return NOTHING
        place = (*self.at(kind), *steps)
        return (self.view.pill(*place) if form == "pill" else self.view.cell(form, *place),)

    @property
    def stage(self) -> str:
        """What its latency is judged by: from file to detections, or the model alone."""
        return "end_to_end" if "end_to_end" in self.figures.stages else "run_alone"

    def time(self, figure: str) -> Cell:
        """A figure of that latency, milliseconds a request."""
        return self.view.cell("ms", *self.at("latency"), "figures", "stages", self.stage, figure)


class ReportView(DocumentView):
    """A report, its plain form, and its rows.

    Attributes:
        report: as values of its types.
        rows: all rows.
    """

    def __init__(self, report: Report) -> None:
        super().__init__(report.to_document())
        self.report = report
        pairs = zip(report.rows, styles(report.rows), strict=True)
        self.rows = tuple(self._row(i, row, style) for i, (row, style) in enumerate(pairs))

    def timed(self) -> Iterator[RowView]:
        """Rows that were timed."""
        return (row for row in self.rows if row.latency and row.latency.figures)

    def measured(self) -> Iterator[RowView]:
        """Rows whose accuracy was measured."""
        return (row for row in self.rows if row.accuracy and row.accuracy.accuracy)

    def rows_of(self, kind: Literal["parity", "accuracy", "latency"], index: int) -> list[RowView]:
        """The rows with figures in one document, each of its rows once, in its order."""
        found: dict[int, RowView] = {}
        for row in self.rows:
            ref: RowRef | None = getattr(row.row, kind)
            if ref and ref.report == index:
                first = found.get(ref.row)
                found[ref.row] = replace(first, shared=True) if first else row
        return [found[number] for number in sorted(found)]

    def reference_of(self, row: RowView) -> RowView | None:
        """The row that the times of another are compared with."""
        if row.row.latency is None or row.latency is None or row.latency.comparison is None:
            return None
        wanted = RowRef(report=row.row.latency.report, row=row.latency.comparison.reference)
        return next((other for other in self.rows if other.row.latency == wanted), None)

    def _row(self, index: int, row: ReportRow, style: Style) -> RowView:
        report = self.report
        accuracy, latency = None, None
        if row.accuracy:
            accuracy = report.accuracy[row.accuracy.report].rows[row.accuracy.row]
        if row.latency:
            latency = report.latency[row.latency.report].rows[row.latency.row]
        return RowView(index, row, self, style, accuracy, latency)


def run_legend(rows: Sequence[RowView], *first: tuple[str, str], lines: bool = False) -> str:
    """A legend of the colours of runtimes and the shapes, or dashes, of precisions.

    Args:
        rows: what is drawn.
        first: other entries: a class of the style sheet and words.
        lines: dashes instead of shapes.

    Returns:
        HTML.
    """
    entries: list[tuple[str, str | Cell]] = list(first)
    for name, row in {row.style.colour: row for row in rows}.items():
        entries.append((f"dot {name}", row.cell("runtime", "runtime")))
    for name, row in {row.style.shape: row for row in rows}.items():
        entries.append((f"{'dash' if lines else 'shape'} {name}", row.cell("upper", "precision")))
    return swatches(entries)
