"""Everything that was run, in one table and one chart."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

from ghost_deploy.report.blocks import (
    NOTHING,
    Block,
    Cell,
    Drawing,
    Line,
    Section,
    Table,
    TableColumn,
)
from ghost_deploy.report.charts.scatter import Level, Point, scatter
from ghost_deploy.report.sections.accuracy import difference
from ghost_deploy.report.sections.field_table import notes
from ghost_deploy.report.view import ReportView, RowView, run_legend

__all__ = ["Tile", "overview", "tiles"]

_COLUMNS = (
    TableColumn(("run",)),
    TableColumn(("artifact",)),
    TableColumn(("verdict",)),
    TableColumn(("mAP50-95",), right=True),
    TableColumn(("points, interval",), right=True),
    TableColumn(("ms, median",), right=True),
    TableColumn(("p99",), right=True),
    TableColumn(("times as fast",), right=True),
    TableColumn(("size",), right=True),
)


@dataclass(frozen=True)
class Tile:
    """A figure in large type, and what it means."""

    figure: Line
    meaning: Line


def tiles(view: ReportView) -> Iterator[Tile]:
    """The figures of the recommended row."""
    index = view.report.verdict.row
    if index is None:
        return
    row = view.rows[index]
    if row.latency and row.latency.figures:
        what = "an image, file to detections" if row.stage == "end_to_end" else "the model alone"
        batch = row.latency.config.batch
        if batch > 1:
            what = f"a batch, {what}"
        yield Tile((row.time("p50"), " ms"), (what, ", median; p99 ", row.time("p99")))
        if row.latency.comparison:
            yield Tile(
                (_ratio(row, "ratio", "median"), " times"), ("the speed of ", _anchor(view, row))
            )
    if row.accuracy and row.accuracy.accuracy:
        at = row.at("accuracy")
        meaning: Line = ("mAP50-95",)
        if row.accuracy.delta is not None:
            meaning = ("mAP50-95, ", view.cell("points", *at, "delta"), " points")
        yield Tile((view.cell("map", *at, "accuracy", "map50_95"),), meaning)
    if row.latency:
        size = view.cell("mib", *row.at("latency"), "bytes")
        yield Tile((size,), ("on disk, ", view.cell("text", "rows", index, "artifact")))


def overview(view: ReportView) -> Iterator[Section]:
    """The table of all rows, and accuracy against latency."""
    if not view.rows:
        return
    blocks: list[Block] = []
    chart = _scatter(view)
    if chart:
        blocks.append(chart)
    table = Table(
        _COLUMNS, [_cells(view, row) for row in view.rows], marked=view.report.verdict.row
    )
    blocks.append(table)
    reasons = [
        (row.label, ": ", view.cell("text", "rows", row.index, "reasons", i))
        for row in view.rows
        for i in range(len(row.row.reasons))
    ]
    blocks += notes(reasons, "bad")
    yield Section("overview", ("All runs",), blocks)


def _cells(view: ReportView, row: RowView) -> list[Line]:
    artifact: Line = (view.cell("text", "rows", row.index, "artifact"),)
    return [
        (row.label,),
        artifact,
        (row.standing,),
        *_accuracy(view, row),
        *_times(view, row),
        _size(view, row),
    ]


def _accuracy(view: ReportView, row: RowView) -> list[Line]:
    if row.accuracy is None or row.accuracy.accuracy is None:
        return [NOTHING, NOTHING]
    at = row.at("accuracy")
    score: Line = (view.cell("map", *at, "accuracy", "map50_95"),)
    reference = row.accuracy.delta is None
    return [score, ("reference",) if reference else difference(view, at)]


def _times(view: ReportView, row: RowView) -> list[Line]:
    if row.latency is None or row.latency.figures is None:
        status: Line = (view.pill(*row.at("latency"), "status"),) if row.latency else NOTHING
        return [status, NOTHING, NOTHING]
    speed: Line = ("baseline",) if _is_anchor(view, row) else NOTHING
    if row.latency.comparison:
        speed = (_ratio(row, "quartiles"),)
    return [(row.time("p50"),), (row.time("p99"),), speed]


def _size(view: ReportView, row: RowView) -> Line:
    return (view.cell("mib", *row.at("latency"), "bytes"),) if row.latency else NOTHING


def _ratio(row: RowView, form: str, *figure: str) -> Cell:
    assert row.latency is not None
    assert row.latency.comparison is not None
    kind = "end_to_end" if row.latency.comparison.end_to_end else "run"
    return row.view.cell(form, *row.at("latency"), "comparison", kind, *figure)


def _is_anchor(view: ReportView, row: RowView) -> bool:
    """Whether others of its document are compared with it."""
    place = row.row.latency
    assert place is not None
    rows = view.report.latency[place.report].rows
    return any(each.comparison and each.comparison.reference == place.row for each in rows)


def _anchor(view: ReportView, row: RowView) -> Cell | str:
    """The name of the row that this one is compared with."""
    place = row.row.latency
    assert place is not None
    assert row.latency is not None
    assert row.latency.comparison is not None
    wanted = place.report, row.latency.comparison.reference
    for other in view.rows:
        found = other.row.latency
        if found and (found.report, found.row) == wanted:
            return other.label
    return ""


def _scatter(view: ReportView) -> Drawing | None:
    both = [row for row in view.timed() if row in tuple(view.measured())]
    if not both:
        return None
    points = [_point(view, row) for row in both]
    levels = list(_levels(view))
    return Drawing(
        ("Accuracy against latency",),
        partial(scatter, points, levels),
        (
            "Further left is faster, further up is more accurate. Horizontal lines reach to the "
            "90th percentile of the latency, vertical ones over the interval of the mAP. Hollow: "
            "it does not pass, or nothing was judged.",
        ),
        run_legend(both),
    )


def _point(view: ReportView, row: RowView) -> Point:
    assert row.latency is not None
    assert row.accuracy is not None
    batch = row.latency.config.batch
    times = row.figures.stages[row.stage]
    score = row.measured.map50_95
    reach = None
    if row.accuracy.interval and row.accuracy.delta is not None:
        base = score - row.accuracy.delta / 100
        reach = (
            base + row.accuracy.interval.low / 100,
            base + row.accuracy.interval.high / 100,
        )
    return Point(
        label=row.label,
        x=times.p50 / batch,
        y=score,
        x_at=row.time("p50").at,
        y_at=view.cell("map", *row.at("accuracy"), "accuracy", "map50_95").at,
        x_high=times.p90 / batch,
        y_range=reach,
        style=row.style,
        batch=batch,
        hollow=row.row.standing != "passes",
        best=row.index == view.report.verdict.row,
    )


def _levels(view: ReportView) -> Iterator[Level]:
    """The reference and the lowest mAP that passes, of the first accuracy document."""
    report = view.report.accuracy[0]
    if report.reference is None:
        return
    level = report.reference.accuracy.map50_95
    yield Level(level, "reference", "reference")
    drops = {
        row.max_drop: index
        for index, row in enumerate(report.rows)
        if row.accuracy and row.status in ("passed", "failed")
    }
    for drop, index in sorted(drops.items()):
        cell = view.cell("plain", "accuracy", 0, "rows", index, "max_drop")
        yield Level(level - drop / 100, "largest loss that passes, points:", "gate", cell)
