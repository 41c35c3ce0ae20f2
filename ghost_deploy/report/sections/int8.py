"""What calibration found: accuracy, share of int8, what was tried, which layers are to blame."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from ghost_deploy.report.cells import (
    Block,
    Cell,
    Column,
    Drawing,
    Facts,
    Line,
    Notes,
    Pill,
    Section,
    Table,
)
from ghost_deploy.report.charts.trail import Stop, trail
from ghost_deploy.report.int8_evidence import KIND, is_int8
from ghost_deploy.report.view import View

__all__ = ["int8", "known_blocks"]

_At = tuple[str | int, ...]
_Field = tuple[str, str, str]
"""Title, key and form of a column."""

_ROWS: tuple[_Field, ...] = (
    ("artefact", "artifact", "text"),
    ("recipe", "recipe", "text"),
    ("verdict", "status", "pill"),
    ("points", "points", "rate2"),
    ("lost", "drop", "rate2"),
    ("at most", "max_drop", "plain"),
    ("planned in int8", "planned_share", "share"),
)
_TRIALS: tuple[_Field, ...] = (
    ("recipe", "recipe", "text"),
    ("form", "form", "text"),
    ("points", "points", "rate2"),
    ("time, of the first", "time", "ratio"),
    ("run in int8", "int8_share", "share"),
    ("chosen", "chosen", "any"),
    ("problem", "problem", "text"),
)
_SPEED: tuple[_Field, ...] = (
    ("artefact", "artifact", "text"),
    ("runtime", "runtime", "runtime"),
    ("precision", "precision", "text"),
    ("ms, median", "p50_ms", "ms"),
    ("of the fastest float", "over_fastest_float", "ratio"),
    ("half of the rounds from", "low", "ratio"),
    ("to", "high", "ratio"),
    ("of fp32 there", "over_fp32", "ratio"),
)
_LAYERS: tuple[_Field, ...] = (
    ("layers", "nodes", "list"),
    ("multiply-adds", "share", "share"),
    ("points lost by them alone", "harm", "rate2"),
    ("returned to float", "returned", "any"),
    ("costs, ms", "cost_ms", "ms"),
)
_WORDS = {"text", "runtime", "list", "pill", "any"}


def int8(view: View) -> Iterator[Section]:
    """A section for each bundle with int8 evidence."""
    for index in range(len(view.report.bundles)):
        at: _At = ("bundles", index, "document", "evidence", KIND)
        document = view.look.value(*at[:-1]).get(KIND)
        blocks = known_blocks(view, at, document)
        if document is not None and blocks is not None:
            name = f"int8-{index + 1}" if index else "int8"
            lead: Line = (view.look.cell("text", *at, "verdict"),) if document["verdict"] else ()
            yield Section(name, ("Calibration to ", view.look.key(*at)), blocks, lead)


def known_blocks(view: View, at: _At, document: Any) -> list[Block] | None:
    """What is shown of int8 evidence; None where it has not the form that is known here."""
    if not is_int8(document):
        return None
    try:
        return list(_blocks(view, at, document))
    except (AttributeError, IndexError, KeyError, TypeError, ValueError):
        # Evidence is whatever a bundle holds; the general listing shows it as it stands.
        return None


def _blocks(view: View, at: _At, document: dict[str, Any]) -> Iterator[Block]:
    yield _table(view, (*at, "rows"), document["rows"], _ROWS)
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
        yield _table(view, (*at, "speed"), document["speed"], _SPEED)
    for form, found in document["sensitivity"].items():
        yield from _sensitivity(view, (*at, "sensitivity", form), found)
    if document["trials"]:
        yield _table(view, (*at, "trials"), document["trials"], _TRIALS, "What was tried")


def _judged(view: View, at: _At, document: dict[str, Any]) -> Facts:
    look = view.look
    judged: _At = (*at, "judged")
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
        executed: _At = (*at, "rows", i, "executed")
        if row.get("executed"):
            name = look.cell("text", *at, "rows", i, "artifact")
            done = look.cell("giga", *executed, "int8_macs")
            of = look.cell("giga", *executed, "macs")
            where = look.cell("runtime", *executed, "runtime")
            words: Line = (done, " of ", of, " multiply-adds in integers, on ", where)
            rows.append((name, words))
    return Facts(rows)


def _sensitivity(view: View, at: _At, found: dict[str, Any]) -> Iterator[Block]:
    look = view.look
    stops = [
        Stop(
            point["int8_share"],
            point["lost"],
            look.cell("share", *at, "curve", i, "int8_share").at,
            look.cell("rate2", *at, "curve", i, "lost").at,
        )
        for i, point in enumerate(found["curve"])
    ]
    if stops:
        title: Line = ("Accuracy lost over the share of integers, ", look.key(*at))
        chart = trail(stops, "share of multiply-adds in integers", "points lost")
        yield Drawing(title, chart, ("Each point is a choice of layers that was measured.",))
    if found["problem"]:
        yield Notes([(look.cell("text", *at, "problem"),)], tone="warn")
    if found["layers"]:
        yield _table(view, (*at, "layers"), found["layers"], _LAYERS, "Layers by harm")


def _table(
    view: View, at: _At, rows: Sequence[dict[str, Any]], fields: Sequence[_Field], folded: str = ""
) -> Table:
    body: list[list[Line]] = []
    for i in range(len(rows)):
        line: list[Line] = []
        for _, key, form in fields:
            cell = view.look.cell("text" if form == "pill" else form, *at, i, key)
            line.append((_pill(cell) if form == "pill" else cell,))
        body.append(line)
    columns = [Column((title,), right=form not in _WORDS) for title, _, form in fields]
    return Table(columns, body, folded=folded)


def _pill(cell: Cell) -> Pill:
    tones = {"passed": "good", "failed": "bad", "unjudged": "warn"}
    return Pill(cell, tones.get(cell.text, ""))
