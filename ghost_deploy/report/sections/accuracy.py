"""Accuracy of each run and each class, precision-recall curves, and what was measured on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

from ghost_deploy.core.evidence.accuracy import AccuracyReport
from ghost_deploy.report.blocks import (
    At,
    Block,
    Drawing,
    FactList,
    Line,
    Section,
    Table,
    TableColumn,
    plain,
    pointer,
)
from ghost_deploy.report.charts.curves import ClassCurves, Curve, curves
from ghost_deploy.report.sections.field_table import (
    Field,
    field_table,
    joined,
    notes,
    numbered,
    statuses,
)
from ghost_deploy.report.view import ReportView, RowView, run_legend

_MOST_CURVES = 12
_OPEN_CLASSES = 12
_RUNS = (
    Field("artifact", "artifact", "text"),
    Field("accuracy", "status", "pill"),
    Field("mAP50-95", "accuracy/map50_95", "map"),
    Field("mAP50", "accuracy/map50", "map"),
    Field("points (interval)", "", "difference"),
)


def accuracy(view: ReportView) -> Iterator[Section]:
    """A section for each accuracy document."""
    for index, report in enumerate(view.report.accuracy):
        data: At = ("accuracy", index, "data")
        split = " ({split:text})" if report.data.split else ""
        lead = view.line(f"Measured on {{name:text}}{split}: {{images:count}} images", *data)
        at = _figures(view, index, report)
        if at:
            lead = (*lead, *view.line(", {boxes:count} boxes. Protocol: {protocol:text}.", *at))
        blocks = list(_blocks(view, index, report))
        yield Section(numbered("accuracy", index), ("Accuracy",), blocks, lead)


def _blocks(view: ReportView, index: int, report: AccuracyReport) -> Iterator[Block]:
    at: At = ("accuracy", index)
    rows = view.rows_of("accuracy", index)
    measured = [row for row in rows if row.accuracy and row.accuracy.accuracy]
    yield _runs(view, index, report, rows)
    failed = any(row.accuracy and row.accuracy.status == "failed" for row in rows)
    reasons = statuses(view, [row.at("accuracy") for row in rows], [row.name for row in rows])
    yield from notes(reasons, "bad" if failed else "")
    warnings = view.listed(*at, "warnings")
    if report.recorded and not report.recorded.agrees:
        warnings.append((view.cell("text", *at, "recorded", "sentence"),))
    yield from notes(warnings, "warn")
    yield from notes([*view.listed(*at, "data", "notes"), *_row_notes(view, rows)])
    if measured:
        yield from _curves(view, index, report, measured)
        yield _classes(view, index, report, measured)
    yield _facts(view, index, report)


def _figures(view: ReportView, index: int, report: AccuracyReport) -> At:
    """The place of the reference's figures, else of the first run's; empty where nothing ran."""
    if report.reference:
        return "accuracy", index, "reference", "accuracy"
    ran = [i for i, row in enumerate(report.rows) if row.accuracy]
    return ("accuracy", index, "rows", ran[0], "accuracy") if ran else ()


def _runs(view: ReportView, index: int, report: AccuracyReport, rows: Sequence[RowView]) -> Table:
    places, names = [row.at("accuracy") for row in rows], [row.name for row in rows]
    reference = report.reference
    if reference and reference.kind == "checkpoint":
        places.insert(0, ("accuracy", index, "reference"))
        names.insert(0, ("checkpoint",))
    elif reference and all(row.accuracy != reference.accuracy for row in report.rows):
        # Not one of the runs, but the old model of a comparison.
        places.insert(0, ("accuracy", index, "reference"))
        names.insert(0, view.line("{reference/name:text}", "accuracy", index))
    return field_table(view, places, _RUNS, names=names)


def _row_notes(view: ReportView, rows: Sequence[RowView]) -> list[Line]:
    """Notes of the runtimes, each once with the runs that it is about."""
    found: dict[str, tuple[Line, list[Line]]] = {}
    for row in rows:
        for note in view.listed(*row.at("accuracy"), "notes"):
            about = found.setdefault(plain(note), (note, []))[1]
            about.append(row.name)
    return [(*joined(about, "; "), ": ", *note) for note, about in found.values()]


def _curves(
    view: ReportView, index: int, report: AccuracyReport, rows: Sequence[RowView]
) -> Iterator[Drawing]:
    """The classes that lost most first, then those with the lowest precision."""
    shown = [
        (_loss(rows, k), one.ap50_95 or 0.0, k)
        for k, one in enumerate(rows[0].measured.classes)
        if one.curve
    ]
    if not shown:
        return
    chosen = [k for *_, k in sorted(shown)[:_MOST_CURVES]]
    note: Line = (
        "Precision at IoU 0.5 over recall. Where lines cover each other, the runs agree.",
    )
    if len(chosen) < len(shown):
        note = (*note, " Only the classes that lost most are drawn; all are in the table.")
    first = [("wide ref", "reference")] if report.reference else []
    yield Drawing(
        ("Precision and recall of each class",),
        partial(curves, [_class_curves(view, index, report, rows, k) for k in chosen]),
        note,
        run_legend(rows, *first, lines=True),
    )


def _loss(rows: Sequence[RowView], k: int) -> float:
    """The largest loss of a class, negative."""
    found = [row.accuracy.classes[k : k + 1] for row in rows if row.accuracy]
    deltas = [each.delta for classes in found for each in classes if each.delta is not None]
    # Rounded: classes that differ by noise alone are ordered by precision.
    return round(min(deltas, default=0.0), 1)


def _class_curves(
    view: ReportView, index: int, report: AccuracyReport, rows: Sequence[RowView], k: int
) -> ClassCurves:
    at = _figures(view, index, report)
    lines = []
    if report.reference and report.reference.accuracy.classes[k].curve:
        place = pointer(*at, "classes", k, "curve")
        lines.append(Curve(report.reference.accuracy.classes[k].curve, place, "ref"))
    for row in rows:
        place = pointer(*row.at("accuracy"), "accuracy", "classes", k, "curve")
        curve = row.measured.classes[k].curve
        lines.append(Curve(curve, place, row.style.colour, row.style.dash))
    return ClassCurves(
        name=view.cell("text", *at, "classes", k, "name"),
        facts=[
            ("objects", view.cell("count", *at, "classes", k, "boxes")),
            ("AP50", view.cell("map", *at, "classes", k, "ap50")),
        ],
        lines=lines,
    )


def _classes(
    view: ReportView, index: int, report: AccuracyReport, rows: Sequence[RowView]
) -> Table:
    """AP50-95 of each class: the reference's, and what each run gained or lost."""
    at = _figures(view, index, report)
    columns = [TableColumn(("class",)), TableColumn(("objects",), right=True)]
    caption = "AP50-95 of each class"
    if report.reference:
        columns.append(TableColumn(("reference",), right=True))
        caption += "; of a run the points it gained or lost, and the interval"
    columns += [TableColumn(row.name, right=True) for row in rows]
    body: list[list[Line]] = []
    for k in range(len(view.value(*at, "classes"))):
        place = (*at, "classes", k)
        line: list[Line] = [(view.cell("text", *place, "name"),)]
        line.append((view.cell("count", *place, "boxes"),))
        if report.reference:
            line.append((view.cell("map", *place, "ap50_95"),))
        body.append([*line, *(_class_cell(view, row, k) for row in rows)])
    folded = "All classes" if len(body) > _OPEN_CLASSES else ""
    return Table(columns, body, (caption,), folded=folded)


def _class_cell(view: ReportView, row: RowView, k: int) -> Line:
    at = row.at("accuracy")
    if row.accuracy and k < len(row.accuracy.classes):
        return (view.cell("difference", *at, "classes", k),)
    return (view.cell("map", *at, "accuracy", "classes", k, "ap50_95"),)


def _facts(view: ReportView, index: int, report: AccuracyReport) -> FactList:
    at: At = ("accuracy", index)
    rows: list[tuple[str, Line]] = []
    if report.reference:
        rows.append(("reference", view.line("{reference/name:text}", *at)))
    if report.recorded and report.recorded.agrees:
        rows.append(("training", view.line("{recorded/sentence:text}", *at)))
    intervals = "{confidence:percent}, {resamples:count} paired bootstrap samples of the images"
    data = (
        "{images:count} images, of them {negatives:count} without an object; crowd regions "
        "{crowds:count}; fingerprint {fingerprint:hash}"
    )
    rows.append(("intervals", view.line(intervals, *at)))
    rows.append(("data", view.line(data, *at, "data")))
    return FactList(rows)
