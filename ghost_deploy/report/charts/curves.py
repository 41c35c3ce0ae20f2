"""Precision against recall, a small chart for each class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ghost_deploy.report.blocks import Cell
from ghost_deploy.report.charts.axes import tick
from ghost_deploy.report.charts.scale import Scale, tick_text
from ghost_deploy.report.charts.style import mark
from ghost_deploy.report.charts.svg import Element, add, add_cell, canvas, element, markup

_WIDTH, _HEIGHT = 260.0, 190.0
_X = Scale(0, 1, 30, 250, 0.5)
_Y = Scale(0, 1, 164, 10, 0.5)


@dataclass(frozen=True)
class Curve:
    """Precision at recall 0, 0.01, ... 1, and its place; `style` and `dash` of its line.

    `point` is a point of it: recall and precision, each with its place.
    """

    precision: Sequence[float]
    at: str
    style: str
    dash: str = ""
    point: tuple[tuple[float, str], tuple[float, str]] | None = None


@dataclass(frozen=True)
class ClassCurves:
    """All curves of one class, and what is written above them."""

    name: Cell
    facts: Sequence[tuple[str, Cell]]
    lines: Sequence[Curve]


def curves(classes: Sequence[ClassCurves]) -> str:
    """The charts side by side."""
    root = element("div", class_="multiples")
    for each in classes:
        figure = add(root, "figure", class_="multiple")
        caption = add(figure, "figcaption")
        add_cell(caption, "b", each.name)
        for number, (words, cell) in enumerate(each.facts):
            caption[-1].tail = f" · {words} " if number else f"{words} "
            add_cell(caption, "data", cell)
        svg = canvas(_WIDTH, _HEIGHT, "Precision against recall", class_="chart")
        figure.append(svg)
        _axes(svg)
        for line in each.lines:
            points = " ".join(
                f"{_X(i / (len(line.precision) - 1)):.1f},{_Y(value):.1f}"
                for i, value in enumerate(line.precision)
            )
            add(svg, "polyline", class_=f"line {line.style}", points=points, data_y=line.at,
                stroke_dasharray=line.dash or "none")  # fmt: skip
            if line.point:
                (recall, x_at), (precision, y_at) = line.point
                mark(svg, "circle", _X(recall), _Y(precision), 4, class_=f"mark {line.style}",
                     data_x=x_at, data_y=y_at)  # fmt: skip
    return markup(root)


def _axes(svg: Element) -> None:
    for value in _Y.ticks:
        add(svg, "line", class_="grid", x1=_X.start, x2=_X.end, y1=_Y(value), y2=_Y(value))
        tick(svg, "y", tick_text(value), _Y(value), x=_X.start - 5, y=_Y(value) + 4, anchor="end")
    for value in _X.ticks:
        tick(svg, "x", tick_text(value), _X(value), x=_X(value), y=_Y.start + 15, anchor="middle")
    name = {"class_": "axis-name"}
    add(svg, "text", "recall", x=_X(0.75), y=_Y.start + 15, text_anchor="middle", **name)
    add(svg, "text", "precision", x=_X.start + 5, y=_Y(0) - 6, **name)
