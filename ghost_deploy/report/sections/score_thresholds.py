"""Score thresholds by class, and the curves that they were chosen from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

from ghost_deploy.core.evidence.threshold_report import ThresholdReport
from ghost_deploy.report.blocks import At, Block, DocumentView, Drawing, Line, Section, pointer
from ghost_deploy.report.charts.curves import ClassCurves, Curve, curves
from ghost_deploy.report.charts.style import swatches
from ghost_deploy.report.sections.field_table import Field, field_table, notes, numbered
from ghost_deploy.report.view import ReportView

_MOST_CURVES = 12
_OPEN_CLASSES = 12
_CLASSES = (
    Field("class", "name", "text"),
    Field("objects", "boxes", "count"),
    Field("threshold", "conf", "conf"),
    Field("interval", "interval", "between"),
    Field("precision", "precision", "figure"),
    Field("interval", "precision_interval", "between"),
    Field("recall", "recall", "figure"),
    Field("interval", "recall_interval", "between"),
    Field("F1", "f1", "figure"),
)
_NOTE = (
    "Precision over recall at IoU 0.5, of the detections that infer gives; the point is the "
    "threshold."
)


def thresholds(view: ReportView) -> Iterator[Section]:
    """A section for each choice: in documents of accuracy, and in bundles."""
    found: list[tuple[ThresholdReport, At]] = []
    for index, accuracy in enumerate(view.report.accuracy):
        if accuracy.thresholds:
            found.append((accuracy.thresholds, ("accuracy", index, "thresholds")))
    for index, bundle in enumerate(view.report.bundles):
        own = bundle.read(ThresholdReport)
        if own and all(own != other for other, _ in found):
            found.append((own, ("bundles", index, "document", "evidence", ThresholdReport.KIND)))
    for number, (report, at) in enumerate(found):
        lead = view.line(
            "Chosen by {chosen/metric:text} on {chosen/data:text}: {chosen/images:count} images, "
            "{chosen/boxes:count} objects, measured with {chosen/run:text}, {chosen/date:date} "
            "UTC. Intervals: {confidence:percent}, {resamples:count} bootstrap samples of the "
            "images.",
            *at,
        )
        title = ("Score thresholds",)
        yield Section(numbered("thresholds", number), title, list(_blocks(view, report, at)), lead)


def _blocks(view: DocumentView, report: ThresholdReport, at: At) -> Iterator[Block]:
    places: list[At] = [(*at, "classes", k) for k in range(len(report.classes))]
    folded = "All classes" if len(places) > _OPEN_CLASSES else ""
    yield field_table(view, places, _CLASSES, folded=folded)
    kept: list[Line] = [
        view.line("{name:text} keeps the default {conf:conf}: {reason:text}", *place)
        for place, each in zip(places, report.classes, strict=True)
        if each.reason
    ]
    yield from notes(kept, "warn")
    drawn = [k for k, each in enumerate(report.classes) if each.curve]
    if drawn:
        # The classes with most objects first: theirs are the surest.
        drawn.sort(key=lambda k: -report.classes[k].boxes)
        yield Drawing(
            ("Precision and recall of each class",),
            partial(_draw, view, report, at, drawn[:_MOST_CURVES]),
            (_NOTE,),
            swatches([("dot c1", "threshold")]),
        )


def _draw(view: DocumentView, report: ThresholdReport, at: At, drawn: Sequence[int]) -> str:
    charts = []
    for k in drawn:
        here, each = (*at, "classes", k), report.classes[k]
        point = None
        if each.precision is not None and each.recall is not None:
            places = (pointer(*here, "recall"), pointer(*here, "precision"))
            point = (each.recall, places[0]), (each.precision, places[1])
        facts = [
            ("objects", view.cell("count", *here, "boxes")),
            ("threshold", view.cell("conf", *here, "conf")),
        ]
        line = Curve(each.curve, pointer(*here, "curve"), "c1", point=point)
        charts.append(ClassCurves(view.cell("text", *here, "name"), facts, [line]))
    return curves(charts)
