"""Everything that was run, in one table and one chart."""

from __future__ import annotations

from collections.abc import Iterator

from ghost_deploy.report.cells import (
    Block,
    Cell,
    Column,
    Drawing,
    Line,
    Notes,
    Section,
    Table,
    Tile,
)
from ghost_deploy.report.charts.scatter import Gate, Point, scatter
from ghost_deploy.report.view import RowView, View, key

__all__ = ["overview", "tiles"]

_WIDE, _NARROW = (860.0, 430.0), (400.0, 380.0)
_NOTHING: Line = ("-",)
_COLUMNS = (
    Column(("run",)),
    Column(("artifact",)),
    Column(("verdict",)),
    Column(("mAP50-95",), right=True),
    Column(("points, interval",), right=True),
    Column(("ms, median",), right=True),
    Column(("p99",), right=True),
    Column(("times as fast",), right=True),
    Column(("size",), right=True),
)


def tiles(view: View) -> Iterator[Tile]:
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
            yield Tile((_ratio(row), " times"), ("the speed of ", _anchor(view, row)))
    if row.accuracy and row.accuracy.accuracy:
        at = row.accuracy_at
        meaning: Line = ("mAP50-95",)
        if row.accuracy.delta is not None:
            meaning = ("mAP50-95, ", view.look.cell("points", *at, "delta"), " points")
        yield Tile((view.look.cell("map", *at, "accuracy", "map50_95"),), meaning)
    if row.latency:
        size = view.look.cell("mib", *row.latency_at, "bytes")
        yield Tile((size,), ("on disk, ", view.look.cell("text", "rows", index, "artifact")))


def overview(view: View) -> Section:
    """The table of all rows, and accuracy against latency."""
    blocks: list[Block] = []
    chart = _scatter(view)
    if chart:
        blocks.append(chart)
    table = Table(
        _COLUMNS, [_cells(view, row) for row in view.rows], marked=view.report.verdict.row
    )
    blocks.append(table)
    reasons = [
        (row.label, ": ", view.look.cell("text", "rows", row.index, "reasons", i))
        for row in view.rows
        for i in range(len(row.row.reasons))
    ]
    if reasons:
        blocks.append(Notes(reasons, tone="bad"))
    return Section("overview", ("Every run",), blocks)


def _cells(view: View, row: RowView) -> list[Line]:
    artifact: Line = (view.look.cell("text", "rows", row.index, "artifact"),)
    return [
        (row.label,),
        artifact,
        (row.standing,),
        *_accuracy(view, row),
        *_times(view, row),
        _size(view, row),
    ]


def _accuracy(view: View, row: RowView) -> list[Line]:
    if row.accuracy is None or row.accuracy.accuracy is None:
        return [_NOTHING, _NOTHING]
    at, look = row.accuracy_at, view.look
    score: Line = (look.cell("map", *at, "accuracy", "map50_95"),)
    if row.accuracy.delta is None:
        return [score, ("reference",)]
    delta: Line = (look.cell("points", *at, "delta"),)
    if row.accuracy.interval:
        low, high = (look.cell("points", *at, "interval", end) for end in ("low", "high"))
        delta = (*delta, " (", low, " to ", high, ")")
    return [score, delta]


def _times(view: View, row: RowView) -> list[Line]:
    if row.latency is None or row.latency.figures is None:
        status: Line = (view.look.pill(*row.latency_at, "status"),) if row.latency else _NOTHING
        return [status, _NOTHING, _NOTHING]
    speed: Line = ("is the measure",) if _is_anchor(view, row) else _NOTHING
    if row.latency.comparison:
        speed = (_ratio(row), " (", _ratio(row, "low"), " to ", _ratio(row, "high"), ")")
    return [(row.time("p50"),), (row.time("p99"),), speed]


def _size(view: View, row: RowView) -> Line:
    return (view.look.cell("mib", *row.latency_at, "bytes"),) if row.latency else _NOTHING


def _ratio(row: RowView, figure: str = "median") -> Cell:
    assert row.latency is not None
    assert row.latency.comparison is not None
    kind = "end_to_end" if row.latency.comparison.end_to_end else "run"
    return row.look.cell("ratio", *row.latency_at, "comparison", kind, figure)


def _is_anchor(view: View, row: RowView) -> bool:
    """Whether others of its document are compared with it."""
    place = row.row.latency
    assert place is not None
    rows = view.report.latency[place.report].rows
    return any(each.comparison and each.comparison.reference == place.row for each in rows)


def _anchor(view: View, row: RowView) -> Cell | str:
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


def _scatter(view: View) -> Drawing | None:
    both = [row for row in view.timed() if row in tuple(view.measured())]
    if not both:
        return None
    points = [_point(view, row) for row in both]
    gates = list(_gates(view))
    sizes = (("wide", _WIDE), ("narrow", _NARROW))
    markup = "".join(
        f'<div class="only-{name}">{scatter(points, gates, *size)}</div>' for name, size in sizes
    )
    return Drawing(
        ("Accuracy against latency",),
        markup,
        (
            "Further left is faster, further up is more accurate. Horizontal lines reach to the "
            "90th percentile of the latency, vertical ones over the interval of the mAP. Hollow: "
            "it does not pass, or nothing vouches for it.",
        ),
        key(both),
    )


def _point(view: View, row: RowView) -> Point:
    assert row.latency is not None
    assert row.latency.figures is not None
    assert row.accuracy is not None
    assert row.accuracy.accuracy is not None
    batch = row.latency.config.batch
    times = row.latency.figures.stages[row.stage]
    score = row.accuracy.accuracy.map50_95
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
        y_at=view.look.cell("map", *row.accuracy_at, "accuracy", "map50_95").at,
        x_high=times.p90 / batch,
        y_range=reach,
        style=row.style,
        batch=batch,
        hollow=row.row.standing != "passes",
        best=row.index == view.report.verdict.row,
    )


def _gates(view: View) -> Iterator[Gate]:
    """The reference and the lowest mAP that passes, of the first accuracy document."""
    report = view.report.accuracy[0]
    if report.reference is None:
        return
    level = report.reference.accuracy.map50_95
    yield Gate(level, "reference", "reference")
    drops = {
        row.max_drop: index
        for index, row in enumerate(report.rows)
        if row.accuracy and row.status in ("passed", "failed")
    }
    for drop, index in sorted(drops.items()):
        cell = view.look.cell("plain", "accuracy", 0, "rows", index, "max_drop")
        yield Gate(level - drop / 100, "largest loss that passes, points:", "gate", cell)
