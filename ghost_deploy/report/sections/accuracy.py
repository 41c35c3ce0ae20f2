"""How accurate: each class, its curves, and what the figures rest on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ghost_deploy.core.evidence.accuracy import AccuracyReport
from ghost_deploy.report.cells import Block, Column, Drawing, Facts, Line, Notes, Section, Table
from ghost_deploy.report.charts.curves import ClassCurves, Curve, curves
from ghost_deploy.report.view import RowView, View, key

__all__ = ["accuracy"]

_MOST_CURVES = 12
_OPEN_CLASSES = 12
_NOTHING: Line = ("-",)


def accuracy(view: View) -> Iterator[Section]:
    """A section for each accuracy document."""
    for index, report in enumerate(view.report.accuracy):
        rows = [row for row in view.measured() if row.accuracy_at[1] == index]
        rows = list({row.accuracy_at: row for row in rows}.values())
        if rows:
            yield _section(view, index, report, rows)


def _section(view: View, index: int, report: AccuracyReport, rows: list[RowView]) -> Section:
    look = view.look
    at: tuple[str | int, ...] = ("accuracy", index)
    lead: Line = (
        "On ", look.cell("text", *at, "data", "name"), ": ",
        look.cell("count", *at, "data", "images"), " images. Protocol: ",
        look.cell("text", *rows[0].accuracy_at, "accuracy", "protocol"), ".",
    )  # fmt: skip
    blocks: list[Block] = []
    notes = [*view.listed(*at, "warnings"), *view.listed(*at, "data", "notes")]
    if report.recorded and not report.recorded.agrees:
        notes.append((look.cell("text", *at, "recorded", "sentence"),))
    if notes:
        blocks.append(Notes(notes, tone="warn"))
    drawing = _curves(view, index, report, rows)
    if drawing:
        blocks.append(drawing)
    blocks += [_classes(view, index, report, rows), _facts(view, index, report)]
    return Section(f"accuracy{f'-{index + 1}' if index else ''}", ("Accuracy",), blocks, lead)


def _reference(index: int) -> tuple[str | int, ...]:
    return "accuracy", index, "reference", "accuracy"


def _curves(
    view: View, index: int, report: AccuracyReport, rows: Sequence[RowView]
) -> Drawing | None:
    """The classes that lost most come first, then those with the lowest precision."""
    shown = []
    for k, one in enumerate(report.rows[_first(rows)].accuracy.classes):  # type: ignore[union-attr]
        if one.curve:
            shown.append((_loss(rows, k), one.ap50_95 or 0.0, k))
    if not shown:
        return None
    chosen = [k for *_, k in sorted(shown)[:_MOST_CURVES]]
    left_out = len(shown) - len(chosen)
    note: Line = (
        "Precision at IoU 0.5 over recall. Where lines cover each other, the runs agree.",
        " Only the classes that lost most are drawn; all are in the table." if left_out else "",
    )
    first = [("wide ref", "reference")] if report.reference else []
    return Drawing(
        ("Precision and recall of each class",),
        curves([_class_curves(view, index, report, rows, k) for k in chosen]),
        note,
        key(rows, *first, lines=True),
    )


def _first(rows: Sequence[RowView]) -> int:
    return int(rows[0].accuracy_at[3])


def _loss(rows: Sequence[RowView], k: int) -> float:
    """The largest loss of a class, negative."""
    deltas = [
        row.accuracy.classes[k].delta
        for row in rows
        if row.accuracy and k < len(row.accuracy.classes)
    ]
    # Rounded: what only rounding noise tells apart is ordered by precision.
    return round(min((delta for delta in deltas if delta is not None), default=0.0), 1)


def _class_curves(
    view: View, index: int, report: AccuracyReport, rows: Sequence[RowView], k: int
) -> ClassCurves:
    look, lines = view.look, []
    if report.reference and report.reference.accuracy.classes[k].curve:
        place = look.cell("list", *_reference(index), "classes", k, "curve").at
        lines.append(Curve(report.reference.accuracy.classes[k].curve, place, "ref"))
    for row in rows:
        assert row.accuracy is not None
        assert row.accuracy.accuracy is not None
        place = look.cell("list", *row.accuracy_at, "accuracy", "classes", k, "curve").at
        curve = row.accuracy.accuracy.classes[k].curve
        lines.append(Curve(curve, place, row.style.colour, row.style.dash))
    at = _reference(index) if report.reference else (*rows[0].accuracy_at, "accuracy")
    return ClassCurves(
        name=look.cell("text", *at, "classes", k, "name"),
        facts=[
            ("objects", look.cell("count", *at, "classes", k, "boxes")),
            ("AP50", look.cell("map", *at, "classes", k, "ap50")),
        ],
        lines=lines,
    )


def _classes(view: View, index: int, report: AccuracyReport, rows: Sequence[RowView]) -> Table:
    """AP50-95 of each class: the reference's, and what each run gained or lost."""
    look = view.look
    at = _reference(index) if report.reference else (*rows[0].accuracy_at, "accuracy")
    columns = [Column(("class",)), Column(("objects",), right=True)]
    columns += [Column(("AP50-95, reference",), right=True)] if report.reference else []
    columns += [Column((row.label,), right=True) for row in rows]
    names = look.value(*at, "classes")
    body = [
        [
            (look.cell("text", *at, "classes", k, "name"),),
            (look.cell("count", *at, "classes", k, "boxes"),),
            *([(look.cell("map", *at, "classes", k, "ap50_95"),)] if report.reference else []),
            *(_class_cell(view, row, k) for row in rows),
        ]
        for k in range(len(names))
    ]
    folded = "Every class" if len(names) > _OPEN_CLASSES else ""
    caption: Line = (
        "AP50-95 of each class; of a run the points it gained or lost, and the interval",
    )
    return Table(columns, body, caption if report.reference else ("AP50-95 of each class",),
                 folded=folded)  # fmt: skip


def _class_cell(view: View, row: RowView, k: int) -> Line:
    assert row.accuracy is not None
    at, classes = row.accuracy_at, row.accuracy.classes
    if k >= len(classes):
        return (view.look.cell("map", *at, "accuracy", "classes", k, "ap50_95"),)
    if classes[k].delta is None:
        return _NOTHING
    delta = view.look.cell("points", *at, "classes", k, "delta")
    if classes[k].interval is None:
        return (delta,)
    low, high = (
        view.look.cell("points", *at, "classes", k, "interval", end) for end in ("low", "high")
    )
    return (delta, " (", low, " to ", high, ")")


def _facts(view: View, index: int, report: AccuracyReport) -> Facts:
    look = view.look
    at: tuple[str | int, ...] = ("accuracy", index)
    rows: list[tuple[str, Line]] = []
    if report.reference:
        rows.append(("reference", (look.cell("text", *at, "reference", "name"),)))
    if report.recorded and report.recorded.agrees:
        rows.append(("training", (look.cell("text", *at, "recorded", "sentence"),)))
    confidence = look.cell("percent", *at, "confidence")
    resamples = look.cell("count", *at, "resamples")
    rows.append(
        ("intervals", (confidence, ", ", resamples, " paired bootstrap samples of the images"))
    )
    facts: Line = (
        look.cell("count", *at, "data", "images"), " images, of them ",
        look.cell("count", *at, "data", "negatives"), " without an object; crowd regions ",
        look.cell("count", *at, "data", "crowds"), "; fingerprint ",
        look.cell("hash", *at, "data", "fingerprint"),
    )  # fmt: skip
    rows.append(("data", facts))
    return Facts(rows)
