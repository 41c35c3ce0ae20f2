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
from ghost_deploy.report.sections.field_table import notes
from ghost_deploy.report.view import ReportView, RowView, run_legend

_COLUMNS = tuple(
    TableColumn((title,), right=place > 2)
    for place, title in enumerate(
        ("run", "artifact", "verdict", "mAP50-95", "points, interval", "ms, median", "p99",
         "times as fast", "size")
    )
)  # fmt: skip


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
        other = view.reference_of(row)
        if other:
            times = _ratio(row, "ratio", "median")
            yield Tile((times, " times"), ("the speed of ", other.label))
    if row.accuracy and row.accuracy.accuracy:
        at = row.at("accuracy")
        lost = row.accuracy.delta is not None
        delta = view.line(", {delta:points} points", *at) if lost else ()
        yield Tile((view.cell("map", *at, "accuracy", "map50_95"),), ("mAP50-95", *delta))
    if row.latency:
        size = view.cell("mib", *row.at("latency"), "bytes")
        yield Tile((size,), ("on disk, ", view.cell("text", "rows", index, "artifact")))


def overview(view: ReportView) -> Iterator[Section]:
    """The table of all rows, and accuracy against latency."""
    if not view.rows:
        return
    body = [_cells(view, row) for row in view.rows]
    table = Table(_COLUMNS, body, marked=view.report.verdict.row)
    reasons = [
        (row.label, ": ", view.cell("text", "rows", row.index, "reasons", i))
        for row in view.rows
        for i in range(len(row.row.reasons))
    ]
    blocks: list[Block] = [*_scatter(view), table, *notes(reasons, "bad")]
    yield Section("overview", ("All runs",), blocks)


def _cells(view: ReportView, row: RowView) -> list[Line]:
    delta = row.show("accuracy", "difference")
    if row.accuracy and row.accuracy.accuracy and row.accuracy.delta is None:
        delta = ("reference",)
    return [
        (row.label,),
        (row.cell("text", "artifact"),),
        (row.standing,),
        row.show("accuracy", "map", "accuracy", "map50_95"),
        delta,
        *_times(view, row),
        row.show("latency", "mib", "bytes"),
    ]


def _times(view: ReportView, row: RowView) -> list[Line]:
    if row.latency is None or row.latency.figures is None:
        return [row.show("latency", "pill", "status"), NOTHING, NOTHING]
    speed: Line = NOTHING
    if row.latency.comparison:
        speed = (_ratio(row, "quartiles"),)
    elif any(view.reference_of(each) is row for each in view.rows):
        speed = ("baseline",)
    return [(row.time("p50"),), (row.time("p99"),), speed]


def _ratio(row: RowView, form: str, *figure: str) -> Cell:
    assert row.latency is not None
    assert row.latency.comparison is not None
    kind = "end_to_end" if row.latency.comparison.end_to_end else "run"
    return row.view.cell(form, *row.at("latency"), "comparison", kind, *figure)


def _scatter(view: ReportView) -> Iterator[Drawing]:
    both = [row for row in view.timed() if row in tuple(view.measured())]
    if not both:
        return
    points = [_point(view, row) for row in both]
    note = (
        "Further left is faster, further up is more accurate. Horizontal lines reach to the 90th "
        "percentile of the latency, vertical ones over the interval of the mAP. Hollow: it does "
        "not pass, or nothing was judged; with an arrow: it lies beyond the axis."
    )
    draw = partial(scatter, points, list(_levels(view)))
    yield Drawing(("Accuracy against latency",), draw, (note,), run_legend(both))


def _point(view: ReportView, row: RowView) -> Point:
    assert row.latency is not None
    assert row.accuracy is not None
    batch = row.latency.config.batch
    times = row.figures.stages[row.stage]
    score = row.measured.map50_95
    reach = None
    if row.accuracy.interval and row.accuracy.delta is not None:
        interval, base = row.accuracy.interval, score - row.accuracy.delta / 100
        reach = (base + interval.low / 100, base + interval.high / 100)
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
    judged: dict[float, list[int]] = {}
    for index, row in enumerate(report.rows):
        if row.accuracy and row.status in ("passed", "failed"):
            judged.setdefault(row.max_drop, []).append(index)
    for drop, rows in sorted(judged.items()):
        cell = view.cell("plain", "accuracy", 0, "rows", rows[0], "max_drop")
        # Which line is whose: int8 may lose more than the others.
        kinds = {report.rows[index].precision == "int8" for index in rows}
        whose = " and ".join("int8" if each else "float" for each in sorted(kinds))
        of = f" of {whose}" if len(judged) > 1 else ""
        yield Level(level - drop / 100, f"largest loss{of} that passes, points:", "gate", cell)
