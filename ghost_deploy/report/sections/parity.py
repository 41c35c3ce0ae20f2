"""Whether each artifact computes what the checkpoint computes."""

from __future__ import annotations

from collections.abc import Iterator

from ghost_deploy.core.evidence.parity import ParityReport, ParityRow
from ghost_deploy.report.cells import Block, Column, Facts, Line, Notes, Section, Table
from ghost_deploy.report.view import View

__all__ = ["parity"]

_NOTHING: Line = ("-",)
_COLUMNS = (
    Column(("artifact",)),
    Column(("runtime",)),
    Column(("precision",)),
    Column(("parity",)),
    Column(("matched",), right=True),
    Column(("reference found",), right=True),
    Column(("largest score difference",), right=True),
    Column(("largest box difference",), right=True),
    Column(("least IoU",), right=True),
    Column(("bar of matched",), right=True),
    Column(("bar of score",), right=True),
)


def parity(view: View) -> Iterator[Section]:
    """A section for each parity document."""
    for index, report in enumerate(view.report.parity):
        at: tuple[str | int, ...] = ("parity", index)
        look = view.look
        lead: Line = (
            "Held against ", look.cell("text", *at, "checkpoint"), " on ",
            look.cell("text", *at, "reference"), ". ",
            look.cell("text", *at, "evidence", "sentence"), ".",
        )  # fmt: skip
        rows = [_cells(view, (*at, "rows", i), row) for i, row in enumerate(report.rows)]
        blocks: list[Block] = [Table(_COLUMNS, rows)]
        blocks += _notes(view, at, report)
        facts: list[tuple[str, Line]] = [
            ("arithmetic", (look.cell("text", *at, "semantics"),)),
            ("images", (look.cell("count", *at, "evidence", "images"), ", detections ",
                        look.cell("count", *at, "evidence", "detections"))),
        ]  # fmt: skip
        blocks.append(Facts(facts))
        name = f"parity-{index + 1}" if index else "parity"
        yield Section(name, ("Parity with the checkpoint",), blocks, lead)


def _cells(view: View, at: tuple[str | int, ...], row: ParityRow) -> list[Line]:
    look = view.look
    cells: list[Line] = [
        (look.cell("text", *at, "artifact"),),
        (look.cell("runtime", *at, "runtime"),),
        (look.cell("text", *at, "precision"),),
        (look.pill(*at, "status"),),
    ]
    if row.detections is None:
        return [*cells, *[_NOTHING] * 7]
    found = (*at, "detections")
    bars: list[Line] = [_NOTHING, _NOTHING]
    if row.gate.judged_by == "parity":
        bars = [
            (look.cell("share", *at, "gate", "min_matched"),),
            (look.cell("plain", *at, "gate", "max_score"),),
        ]
    return [
        *cells,
        (look.cell("count", *found, "matched"),),
        (look.cell("count", *found, "reference"),),
        (look.cell("small", *found, "score", "max"),),
        (look.cell("px", *found, "box_px", "max"),),
        (look.cell("map", *found, "min_iou"),),
        *bars,
    ]


def _notes(view: View, at: tuple[str | int, ...], report: ParityReport) -> Iterator[Notes]:
    look = view.look
    lines: list[Line] = []
    for i, row in enumerate(report.rows):
        place = (*at, "rows", i)
        name = look.cell("text", *place, "artifact")
        on: Line = (name, " on ", look.cell("runtime", *place, "runtime"), ": ")
        for k in range(len(row.reasons)):
            lines.append((*on, look.cell("text", *place, "reasons", k)))
        if row.coarse:
            lines.append((*on, look.cell("text", *place, "coarse")))
        if row.attribution:
            stage = look.cell("text", *place, "attribution", "stage")
            sentence = look.cell("text", *place, "attribution", "sentence")
            lines.append((*on, "it comes from ", stage, ": ", sentence))
    lines += view.listed(*at, "warnings")
    if lines:
        yield Notes(lines, tone="warn")
