"""Accuracy of each run and each class, precision-recall curves, and what was measured on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

from ghost_deploy.core.evidence.accuracy import AccuracyReport
from ghost_deploy.report.blocks import (
    NOTHING,
    At,
    Block,
    Drawing,
    FactList,
    Line,
    Section,
    Table,
    TableColumn,
    plain,
)
from ghost_deploy.report.charts.curves import ClassCurves, Curve, curves
from ghost_deploy.report.sections.field_table import joined, notes, numbered, statuses
from ghost_deploy.report.view import ReportView, RowView, run_legend

__all__ = ["accuracy", "difference"]

_MOST_CURVES = 12
_OPEN_CLASSES = 12
_RUNS = ("run", "artifact", "accuracy", "mAP50-95", "mAP50", "points (interval)")


def accuracy(view: ReportView) -> Iterator[Section]:
    """A section for each accuracy document."""
    for index, report in enumerate(view.report.accuracy):
        data: At = ("accuracy", index, "data")
        split: Line = (" (", view.cell("text", *data, "split"), ")") if report.data.split else ()
        lead: Line = (
            "Measured on ", view.cell("text", *data, "name"), *split, ": ",
            view.cell("count", *data, "images"), " images",
        )  # fmt: skip
        at = _figures(view, index, report)
        if at:
            lead = (
                *lead, ", ", view.cell("count", *at, "boxes"), " boxes. Protocol: ",
                view.cell("text", *at, "protocol"), ".",
            )  # fmt: skip
        blocks = list(_blocks(view, index, report))
        yield Section(numbered("accuracy", index), ("Accuracy",), blocks, lead)


def difference(view: ReportView, at: At) -> Line:
    """What a model gained or lost in points, with the interval; `at` is where both stand."""
    if view.find(*at, "delta") is None:
        return NOTHING
    delta = view.cell("points", *at, "delta")
    if view.find(*at, "interval") is None:
        return (delta,)
    return (delta, " (", view.cell("range", *at, "interval"), ")")


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
    columns = [TableColumn((title,), place > 2) for place, title in enumerate(_RUNS)]
    body: list[list[Line]] = []
    if report.reference and report.reference.kind == "checkpoint":
        place = ("accuracy", index, "reference")
        body.append([("checkpoint",), NOTHING, ("reference",), *_scores(view, place), NOTHING])
    for row in rows:
        at = row.at("accuracy")
        body.append([
            row.name, (view.cell("text", *at, "artifact"),), (view.pill(*at, "status"),),
            *_scores(view, at), difference(view, at),
        ])  # fmt: skip
    return Table(columns, body)


def _scores(view: ReportView, at: At) -> list[Line]:
    if view.find(*at, "accuracy") is None:
        return [NOTHING, NOTHING]
    return [(view.cell("map", *at, "accuracy", key),) for key in ("map50_95", "map50")]


def _row_notes(view: ReportView, rows: Sequence[RowView]) -> list[Line]:
    """Notes of the runtimes, each once with the runs that it is about."""
    found: dict[str, tuple[Line, list[Line]]] = {}
    for row in rows:
        for note in view.listed(*row.at("accuracy"), "notes"):
            about = found.setdefault(plain(note), (note, []))[1]
            about.append(row.name)
    return [(*joined(about), ": ", *note) for note, about in found.values()]


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
    deltas = [
        row.accuracy.classes[k].delta
        for row in rows
        if row.accuracy and k < len(row.accuracy.classes)
    ]
    # Rounded: classes that differ by noise alone are ordered by precision.
    return round(min((delta for delta in deltas if delta is not None), default=0.0), 1)


def _class_curves(
    view: ReportView, index: int, report: AccuracyReport, rows: Sequence[RowView], k: int
) -> ClassCurves:
    at = _figures(view, index, report)
    lines = []
    if report.reference and report.reference.accuracy.classes[k].curve:
        place = view.cell("list", *at, "classes", k, "curve").at
        lines.append(Curve(report.reference.accuracy.classes[k].curve, place, "ref"))
    for row in rows:
        place = view.cell("list", *row.at("accuracy"), "accuracy", "classes", k, "curve").at
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
        return difference(view, (*at, "classes", k))
    return (view.cell("map", *at, "accuracy", "classes", k, "ap50_95"),)


def _facts(view: ReportView, index: int, report: AccuracyReport) -> FactList:
    at: At = ("accuracy", index)
    rows: list[tuple[str, Line]] = []
    if report.reference:
        rows.append(("reference", (view.cell("text", *at, "reference", "name"),)))
    if report.recorded and report.recorded.agrees:
        rows.append(("training", (view.cell("text", *at, "recorded", "sentence"),)))
    confidence = view.cell("percent", *at, "confidence")
    resamples = view.cell("count", *at, "resamples")
    rows.append(
        ("intervals", (confidence, ", ", resamples, " paired bootstrap samples of the images"))
    )
    rows.append(("data", (
        view.cell("count", *at, "data", "images"), " images, of them ",
        view.cell("count", *at, "data", "negatives"), " without an object; crowd regions ",
        view.cell("count", *at, "data", "crowds"), "; fingerprint ",
        view.cell("hash", *at, "data", "fingerprint"),
    )))  # fmt: skip
    return FactList(rows)
