"""Accuracy against the share of int8: which layers harm, and what their return to float costs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from ghost_deploy.report.cells import Block, Drawing, Line, Notes, Section
from ghost_deploy.report.charts.style import swatches
from ghost_deploy.report.charts.tradeoff import Bar, Stop, trail
from ghost_deploy.report.sections.labelled import At, Field, table
from ghost_deploy.report.view import View

__all__ = ["layers"]

_WIDE, _NARROW = (860.0, 340.0), (400.0, 320.0)
_AXES = ("share of the multiply-adds in int8, as planned", "points lost against float")
_NAMED = 5
"""Layers that stay int8 and are shown at once, the most harmful ones."""

_LAYERS: tuple[Field, ...] = (
    ("layers", "nodes", "list"),
    ("now float", "returned", "any"),
    ("harm, points", "harm", "rate2"),
    ("noise, %", "noise", "small"),
    ("multiply-adds", "share", "share"),
    ("return gains, points", "gain", "rate2"),
    ("return costs, ms", "cost_ms", "ms"),
)
_CURVE: tuple[Field, ...] = (
    ("multiply-adds in int8", "int8_share", "share"),
    ("points lost", "lost", "rate2"),
    ("groups of layers now float", "returned", "count"),
    ("chosen", "chosen", "any"),
)


def layers(view: View, at: At, document: dict[str, Any], name: str) -> Iterator[Section]:
    """A section for each form that lost more than it may.

    Args:
        view: of the report.
        at: where the int8 evidence stands.
        document: that evidence.
        name: anchor of its own section.
    """
    for number, (form, found) in enumerate(document["sensitivity"].items()):
        place: At = (*at, "sensitivity", form)
        title: Line = ("Accuracy against share of int8: ", view.look.key(*place))
        recipe = view.look.cell("text", *place, "recipe")
        lead: Line = ("Layers returned to float from the recipe ", recipe, ".")
        bars = (_bar(view, (*at, "rows", i)) for i, row in enumerate(document["rows"])
                if row["form"] == form)  # fmt: skip
        blocks = list(_blocks(view, place, found, next(bars, None)))
        yield Section(f"{name}-layers-{number + 1}", title, blocks, lead)


def _bar(view: View, row: At) -> Bar:
    return Bar(view.look.value(*row, "max_drop"), view.look.cell("plain", *row, "max_drop"))


def _blocks(view: View, place: At, found: dict[str, Any], bar: Bar | None) -> Iterator[Block]:
    if found["problem"]:
        yield Notes([(view.look.cell("text", *place, "problem"),)], tone="warn")
    if found["curve"]:
        yield _drawing(view, place, found["curve"], bar)
    if found["layers"]:
        yield from _harms(view, place, found["layers"])
    if found["curve"]:
        yield table(
            view, (*place, "curve"), found["curve"], _CURVE, folded="Every choice that was measured"
        )


def _drawing(view: View, place: At, curve: Sequence[dict[str, Any]], bar: Bar | None) -> Drawing:
    look = view.look
    stops = [
        Stop(
            point["int8_share"],
            point["lost"],
            look.cell("share", *place, "curve", i, "int8_share").at,
            look.cell("rate2", *place, "curve", i, "lost").at,
            chosen=bool(point.get("chosen")),
        )
        for i, point in enumerate(curve)
    ]
    sizes = (("wide", _WIDE), ("narrow", _NARROW))
    markup = "".join(
        f'<div class="only-{name}">{trail(stops, bar, _AXES, *size)}</div>' for name, size in sizes
    )
    note = (
        "Each point is a choice of layers that was measured; further right is more int8, further "
        "down is more accurate. The line joins the choices that no other beats in both. On "
        "few images tenths of a point are chance."
    )
    meanings = [
        ("dot c1", "not beaten"),
        ("dot ring c1", "beaten by another"),
        *([("dot ring good", "chosen")] if any(stop.chosen for stop in stops) else []),
    ]
    return Drawing(("Points lost over the share of int8",), markup, (note,), swatches(meanings))


def _harms(view: View, place: At, harms: Sequence[dict[str, Any]]) -> Iterator[Block]:
    """What was returned and the most harmful of the rest at once, all others folded."""
    first = [i for i, layer in enumerate(harms) if layer["returned"] or i < _NAMED]
    others = [i for i in range(len(harms)) if i not in first]
    where: At = (*place, "layers")
    caption: Line = (
        "Harm and noise: what layers do to the float model when they alone are int8. Return: what "
        "it gains and costs that they are float beside the others that were returned.",
    )
    yield table(view, where, harms, _LAYERS, only=first, caption=caption)
    if others:
        folded = "Layers that harm less"
        yield table(view, where, harms, _LAYERS, only=others, folded=folded)
    returned = [layer for layer in harms if layer["returned"]]
    if returned and all(layer.get("cost_ms") is None for layer in returned):
        yield Notes([("What the return of layers costs in time was not measured here.",)])
