"""What calibration found: accuracy, share of int8, times, what was tried."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ghost_deploy.core.evidence.int8 import Int8Report
from ghost_deploy.report.cells import Block, Cell, Facts, Line, Notes, Section
from ghost_deploy.report.sections.int8_layers import layers
from ghost_deploy.report.sections.labelled import At, Field, table
from ghost_deploy.report.view import View

__all__ = ["int8", "int8_sections"]

_ROWS: tuple[Field, ...] = (
    ("artifact", "artifact", "text"),
    ("recipe", "recipe", "text"),
    ("verdict", "status", "pill"),
    ("points", "points", "rate2"),
    ("lost", "drop", "rate2"),
    ("at most", "max_drop", "plain"),
    ("planned in int8", "planned_share", "share"),
)
_TRIALS: tuple[Field, ...] = (
    ("recipe", "recipe", "text"),
    ("form", "form", "text"),
    ("points", "points", "rate2"),
    ("time, of the first", "time", "ratio"),
    ("run in int8", "int8_share", "share"),
    ("chosen", "chosen", "any"),
    ("problem", "problem", "text"),
)
_SPEED: tuple[Field, ...] = (
    ("artifact", "artifact", "text"),
    ("runtime", "runtime", "runtime"),
    ("precision", "precision", "text"),
    ("ms, median", "p50_ms", "ms"),
    ("of the fastest float", "over_fastest_float", "ratio"),
    ("half of the rounds from", "low", "ratio"),
    ("to", "high", "ratio"),
    ("of fp32 there", "over_fp32", "ratio"),
)


def int8(view: View) -> Iterator[Section]:
    """Sections for each bundle with int8 evidence."""
    for index in range(len(view.report.bundles)):
        yield from int8_sections(view, index) or ()


def int8_sections(view: View, index: int) -> list[Section] | None:
    """What is shown of a bundle's int8 evidence.

    Returns:
        One section, and one more for each form whose layers were searched; None where there is no
        such evidence, or it has not the form that is known here.
    """
    at: At = ("bundles", index, "document", "evidence", Int8Report.KIND)
    if view.report.bundles[index].int8 is None:
        return None
    document = view.look.value(*at)
    name = f"int8-{index + 1}" if index else "int8"
    lead: Line = (view.look.cell("text", *at, "verdict"),) if document["verdict"] else ()
    blocks = list(_blocks(view, at, document))
    own = Section(name, ("Calibration to ", view.look.key(*at)), blocks, lead)
    return [own, *layers(view, at, document, name)]


def _blocks(view: View, at: At, document: dict[str, Any]) -> Iterator[Block]:
    yield table(view, (*at, "rows"), document["rows"], _ROWS)
    yield _judged(view, at, document)
    notes: list[Line] = [
        (view.look.cell("text", *at, "rows", i, "artifact"), ": ", line[0])
        for i, row in enumerate(document["rows"])
        for line in view.listed(*at, "rows", i, "notes")
        if row.get("notes")
    ]
    if notes:
        yield Notes(notes, tone="warn")
    if document["speed"]:
        yield table(view, (*at, "speed"), document["speed"], _SPEED)
    if document["trials"]:
        yield table(view, (*at, "trials"), document["trials"], _TRIALS, folded="What was tried")


def _judged(view: View, at: At, document: dict[str, Any]) -> Facts:
    look = view.look
    judged: At = (*at, "judged")
    rows: list[tuple[str | Cell, Line]] = [
        ("judged by", (look.cell("text", *judged, "by"), " on ", look.cell("text", *judged, "data"),
                       ": ", look.cell("count", *judged, "images"), " images, ",
                       look.cell("count", *judged, "objects"), " objects")),
        ("protocol", (look.cell("text", *judged, "protocol"),)),
        ("float model", (look.cell("rate2", *judged, "reference"), " points")),
        ("ranges from", (look.cell("count", *at, "calibration", "images"), " images, fingerprint ",
                         look.cell("hash", *at, "calibration", "fingerprint"))),
    ]  # fmt: skip
    for i, row in enumerate(document["rows"]):
        executed: At = (*at, "rows", i, "executed")
        if row.get("executed"):
            name = look.cell("text", *at, "rows", i, "artifact")
            done = look.cell("giga", *executed, "int8_macs")
            of = look.cell("giga", *executed, "macs")
            where = look.cell("runtime", *executed, "runtime")
            words: Line = (done, " of ", of, " multiply-adds in integers, on ", where)
            rows.append((name, words))
    return Facts(rows)
