"""Whether each artifact computes what the checkpoint computes."""

from __future__ import annotations

from collections.abc import Iterator

from ghost_deploy.core.evidence.parity import ParityReport
from ghost_deploy.report.blocks import At, Block, FactList, Line, Section
from ghost_deploy.report.sections.field_table import Field, field_table, notes, numbered, statuses
from ghost_deploy.report.view import ReportView

__all__ = ["parity"]

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
        lead: Line = (
            "Compared with ", view.cell("text", *at, "checkpoint"), " on ",
            view.cell("text", *at, "reference"), ". ",
            view.cell("text", *at, "evidence", "sentence"), ".",
        )  # fmt: skip
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
            found = (*place, "attribution")
            lines.append((
                *name, ": where it comes from: ", view.cell("text", *found, "stage"), ": ",
                view.cell("text", *found, "sentence"), " (", view.cell("text", *found, "image"),
                ")",
            ))  # fmt: skip
    yield from notes(lines, "bad" if failed else "")
    coarse = [
        (*name, ": ", view.cell("text", *place, "coarse"))
        for place, name, row in zip(places, names, report.rows, strict=True)
        if row.coarse
    ]
    yield from notes(coarse)
    yield from notes(view.listed(*at, "warnings"), "warn")
    found = (*at, "evidence")
    facts: list[tuple[str, Line]] = [
        ("arithmetic", (view.cell("text", *at, "semantics"),)),
        ("images", (view.cell("count", *found, "images"), ", detections ",
                    view.cell("count", *found, "detections"))),
    ]  # fmt: skip
    yield FactList(facts, "page")
