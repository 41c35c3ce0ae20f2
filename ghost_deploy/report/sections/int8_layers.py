"""Accuracy against the share of int8: which layers harm, and what their return to float costs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

from ghost_deploy.core.evidence.int8 import CurvePoint, Int8Report, LayerHarm, Sensitivity
from ghost_deploy.report.blocks import (
    At,
    Block,
    DocumentView,
    Drawing,
    Line,
    Notes,
    Section,
    Table,
    TableColumn,
    pointer,
)
from ghost_deploy.report.charts.style import swatches
from ghost_deploy.report.charts.tradeoff import DropLimit, TradeoffPoint, best_so_far, tradeoff
from ghost_deploy.report.sections.field_table import Field, field_table

_AXES = ("share of the multiply-adds in int8, as planned", "points lost against float")
_NAMED = 5
"""Layers that stay int8 and are shown at once, the most harmful ones."""

_LINE = 32
"""Characters of the line on which a terminal shows a point of the curve."""

_LAYERS = (
    Field("layers", "nodes", "list", "page"),
    Field("harmful layers", "nodes", "first", "terminal"),
    Field("now float", "returned", "any"),
    Field("harm, points", "harm", "rate2"),
    Field("noise, %", "noise", "small", "page"),
    Field("multiply-adds", "share", "share"),
    Field("return gains, points", "gain", "rate2"),
    Field("return costs, ms", "cost_ms", "ms"),
)
_CURVE = (
    Field("in int8", "int8_share", "share"),
    Field("points lost", "lost", "rate2"),
    Field("groups now float", "returned", "count"),
    Field("chosen", "chosen", "any"),
)


def layers(view: DocumentView, at: At, report: Int8Report, name: str) -> Iterator[Section]:
    """A section for each form that lost more than it may.

    Args:
        view: has the int8 document.
        at: its place there.
        report: the same as values of its types.
        name: anchor of the first section of that document.
    """
    for number, (form, found) in enumerate(report.sensitivity.items()):
        place: At = (*at, "sensitivity", form)
        title: Line = ("Accuracy against share of int8: ", view.key(*place))
        lead = view.line("Layers returned to float from the recipe {recipe:text}.", *place)
        limits = [
            DropLimit(row.max_drop, view.cell("plain", *at, "rows", i, "max_drop"))
            for i, row in enumerate(report.rows)
            if row.form == form
        ]
        blocks = list(_blocks(view, place, found, limits[0] if limits else None))
        yield Section(f"{name}-layers-{number + 1}", title, blocks, lead)


def _blocks(
    view: DocumentView, place: At, found: Sensitivity, limit: DropLimit | None
) -> Iterator[Block]:
    if found.problem:
        why = "Returning layers to float does not help: {problem:text}"
        yield Notes([view.line(why, *place)], tone="warn")
    if found.curve:
        yield _drawing(place, found.curve, limit)
    if found.layers:
        yield from _harms(view, place, found.layers)
    if found.curve:
        yield _choices(view, place, found.curve, limit)


def _drawing(place: At, curve: Sequence[CurvePoint], limit: DropLimit | None) -> Drawing:
    points = [
        TradeoffPoint(
            point.int8_share,
            point.lost,
            pointer(*place, "curve", i, "int8_share"),
            pointer(*place, "curve", i, "lost"),
            chosen=point.chosen,
        )
        for i, point in enumerate(curve)
    ]
    note = (
        "Each point is a choice of layers that was measured; further right is more int8, further "
        "down is more accurate. The line joins the choices that no other beats in both. On "
        "few images tenths of a point are chance."
    )
    meanings = [("dot c1", "not beaten"), ("dot ring c1", "beaten by another")]
    if any(point.chosen for point in points):
        meanings.append(("dot ring good", "chosen"))
    title = ("Points lost over the share of int8",)
    return Drawing(title, partial(tradeoff, points, limit, _AXES), (note,), swatches(meanings))


def _harms(view: DocumentView, place: At, harms: Sequence[LayerHarm]) -> Iterator[Block]:
    """The returned layers and the most harmful others at once; the rest folded."""
    places: list[At] = [(*place, "layers", i) for i in range(len(harms))]
    first = [i for i, layer in enumerate(harms) if layer.returned or i < _NAMED]
    others = [i for i in range(len(harms)) if i not in first]
    caption = (
        "Harm and noise: what layers do to the float model when they alone are int8. Return: what "
        "it gains and costs that they are float beside the others that were returned."
    )
    yield field_table(view, [places[i] for i in first], _LAYERS, caption=caption)
    if others:
        folded = "Layers that harm less"
        rest = [places[i] for i in others]
        yield field_table(view, rest, _LAYERS, folded=folded, only="page")
    returned = [layer for layer in harms if layer.returned]
    if returned and all(layer.cost_ms is None for layer in returned):
        yield Notes([("What the return of layers costs in time was not measured here.",)])


def _choices(
    view: DocumentView, place: At, curve: Sequence[CurvePoint], limit: DropLimit | None
) -> Table:
    """The measured choices; a terminal has a line with the place of each instead of a chart."""
    places: list[At] = [(*place, "curve", i) for i in range(len(curve))]
    table = field_table(view, places, _CURVE, folded="All choices that were measured")
    best = best_so_far([(point.int8_share, point.lost) for point in curve])
    most = max(0.1, *(point.lost for point in curve), limit.y if limit else 0.0)
    allowed = f", | {limit.y:g} allowed" if limit else ""
    column = TableColumn((f"0 to {most:.2f} points lost{allowed}",), only="terminal")
    lines = []
    for i, point in enumerate(curve):
        line = [" "] * _LINE
        if limit:
            line[_position(limit.y, most)] = "|"
        mark = "*" if point.chosen else "o" if i in best else "."
        line[_position(point.lost, most)] = mark
        lines.append("".join(line).rstrip())
    rows = [[*row, (line,)] for row, line in zip(table.rows, lines, strict=True)]
    return Table([*table.columns, column], rows, folded=table.folded)


def _position(points: float, most: float) -> int:
    return round(min(max(points / most, 0.0), 1.0) * (_LINE - 1))
