"""Whether each artifact computes what the checkpoint computes."""

from __future__ import annotations

from collections.abc import Iterator

from ghost_deploy.core.evidence.parity import ParityReport
from ghost_deploy.report.blocks import At, Block, FactList, Line, Section
from ghost_deploy.report.sections.field_table import Field, field_table, notes, numbered, statuses
from ghost_deploy.report.view import ReportView

_DETECTIONS = (
    Field("artifact", "artifact", "text"),
    Field("parity", "status", "pill"),
    Field("matched", "detections", "matched"),
    Field("score diff", "detections/score/max", "small"),
    Field("box diff", "detections/box_px/max", "px"),
    Field("least IoU", "detections/min_iou", "map", "page"),
    Field("gate of matched", "gate/min_matched", "share", "page"),
    Field("gate of score diff", "gate/max_score", "plain", "page"),
)
_RAW = (
    Field("compared", "tensor/compared", "count"),
    Field("score diff", "tensor/score/max", "small"),
    Field("box diff", "tensor/box_px/max", "px"),
)


def parity(view: ReportView) -> Iterator[Section]:
    """A section for each parity document."""
    for index, report in enumerate(view.report.parity):
        at: At = ("parity", index)
        lead = view.line(
            "Compared with {checkpoint:text} on {reference:text}. {evidence/sentence:text}.", *at
        )
        blocks = list(_blocks(view, index, report))
        title = ("Parity with the checkpoint",)
        yield Section(numbered("parity", index), title, blocks, lead)


def _blocks(view: ReportView, index: int, report: ParityReport) -> Iterator[Block]:
    at: At = ("parity", index)
    rows = view.rows_of("parity", index)
    places, names = [row.at("parity") for row in rows], [row.name for row in rows]
    caption = "Detections; the largest differences of score and box"
    yield field_table(view, places, _DETECTIONS, names=names, caption=caption)
    ran = [i for i, row in enumerate(report.rows) if row.tensor]
    if ran:
        yield field_table(
            view,
            [places[i] for i in ran],
            _RAW,
            names=[names[i] for i in ran],
            caption="Raw outputs on identical tensors; the largest differences",
        )
    failed = any(row.status == "failed" for row in report.rows)
    lines = statuses(view, places, names)
    for place, name, row in zip(places, names, report.rows, strict=True):
        if row.attribution:
            found = "where it comes from: {stage:text}: {sentence:text} ({image:text})"
            lines.append((*name, ": ", *view.line(found, *place, "attribution")))
    yield from notes(lines, "bad" if failed else "")
    simulated: list[Line] = [
        (
            *name,
            *view.line(
                ": simulated by the vendor's toolkit ({version:text}), on no device", *place
            ),
        )
        for place, name, row in zip(places, names, report.rows, strict=True)
        if row.simulated
    ]
    yield from notes(simulated)
    coarse: list[Line] = [
        (*name, *view.line(": {coarse:text}", *place))
        for place, name, row in zip(places, names, report.rows, strict=True)
        if row.coarse
    ]
    yield from notes(coarse)
    yield from notes(view.listed(*at, "warnings"), "warn")
    facts = [
        ("arithmetic", view.line("{semantics:text}", *at)),
        ("images", view.line("{images:count}, detections {detections:count}", *at, "evidence")),
    ]
    yield FactList(facts, "page")
