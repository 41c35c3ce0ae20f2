"""Accuracy against latency: a point for each row that has both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from ghost_deploy.report.blocks import Cell
from ghost_deploy.report.charts.axes import axes
from ghost_deploy.report.charts.scale import Scale, near
from ghost_deploy.report.charts.style import Style, mark
from ghost_deploy.report.charts.svg import Element, add, add_cell, canvas, for_both_widths, markup

_LEFT, _RIGHT, _TOP, _BOTTOM = 58.0, 18.0, 30.0, 44.0
_LETTER, _LINE = 6.9, 16.0
"""Width and height that a label's letter takes, in the chart's units."""

_LEAST_SPAN = 0.01
"""Of the accuracy axis: one point of mAP, so that no noise is made to look large."""


@dataclass(frozen=True)
class Point:
    """A row in the plane.

    Attributes:
        label: its name.
        x, y: milliseconds an image, and mAP50-95.
        x_at, y_at: their places in the document; the first is of a batch of `batch`.
        x_high: the 90th percentile, milliseconds an image.
        y_range: where the mAP lies when images are drawn again; None where that is not known.
        style: colour and shape.
        hollow: it does not pass, or nothing was judged.
        best: it is recommended.
    """

    label: Cell
    x: float
    y: float
    x_at: str
    y_at: str
    x_high: float
    y_range: tuple[float, float] | None
    style: Style
    batch: int = 1
    hollow: bool = False
    best: bool = False


@dataclass(frozen=True)
class Level:
    """A level of the accuracy axis: the reference's, or the lowest that passes."""

    y: float
    words: str
    kind: str
    cell: Cell | None = None


@dataclass
class _Room:
    """Rectangles that labels must not cover: x1, y1, x2, y2."""

    width: float
    height: float
    taken: list[tuple[float, float, float, float]] = field(default_factory=list)

    def fits(self, box: tuple[float, float, float, float]) -> bool:
        x1, y1, x2, y2 = box
        if x1 < _LEFT or x2 > self.width - 2 or y1 < 2 or y2 > self.height - _BOTTOM:
            return False
        return not any(x1 < c and a < x2 and y1 < d and b < y2 for a, b, c, d in self.taken)


def scatter(points: Sequence[Point], levels: Sequence[Level]) -> str:
    """Draw the chart, as HTML with an SVG for wide screens and one for narrow ones.

    Args:
        points: at least one.
        levels: of the accuracy axis.
    """
    return for_both_widths(
        lambda *size: _scatter(points, levels, *size), wide=(860.0, 430.0), narrow=(400.0, 380.0)
    )


def _scatter(points: Sequence[Point], gates: Sequence[Level], width: float, height: float) -> str:
    svg = canvas(width, height, "Accuracy against latency", class_="chart")
    times = [value for p in points for value in (p.x, p.x_high)]
    ticks = max(3, int(width / 110))
    x = Scale.over(times, _LEFT, width - _RIGHT, ticks=ticks, zero=True)
    y = Scale.over(_shown(points, gates), height - _BOTTOM, _TOP, ticks=5, least=_LEAST_SPAN)
    axes(svg, x, y, ("ms an image, median", "mAP50-95"))
    room = _Room(width, height)
    for gate in gates:
        _gate(svg, gate, x, y, room)
    for point in points:
        _whiskers(svg, point, x, y)
        at = x(point.x), y(point.y)
        room.taken.append((at[0] - 9, at[1] - 9, at[0] + 9, at[1] + 9))
        room.taken.append((at[0], at[1] - 2, x(point.x_high), at[1] + 2))
        if point.y_range:
            room.taken.append((at[0] - 2, y(point.y_range[1]), at[0] + 2, y(point.y_range[0])))
    for point in sorted(points, key=lambda p: p.best):
        _point(svg, point, x, y)
    for point in points:
        _label(svg, point, x(point.x), y(point.y), room)
    return markup(svg)


def _shown(points: Sequence[Point], gates: Sequence[Level]) -> list[float]:
    """What the accuracy axis holds: a point that fails far below the others does not stretch it."""
    kept = [value for p in points if not p.hollow for value in (p.y, *(p.y_range or ()))]
    kept += [gate.y for gate in gates]
    return near((p.y for p in points if p.hollow), kept, _LEAST_SPAN)


def _gate(svg: Element, gate: Level, x: Scale, y: Scale, room: _Room) -> None:
    at = y(gate.y)
    add(svg, "line", class_=f"level {gate.kind}", x1=x.start, x2=x.end, y1=at, y2=at)
    below = gate.kind == "gate"
    top = at + 3 if below else at - _LINE - 1
    name = add(svg, "text", gate.words, class_=f"level-name {gate.kind}", x=x.start + 6,
               y=top + 12)  # fmt: skip
    letters = len(gate.words)
    if gate.cell:
        name.text = f"{gate.words} "
        add_cell(name, "tspan", gate.cell)
        letters += 1 + len(gate.cell.text)
    room.taken.append((x.start, top, x.start + 8 + _LETTER * letters, top + _LINE))
    room.taken.append((x.start, at - 1, x.end, at + 1))


def _whiskers(svg: Element, point: Point, x: Scale, y: Scale) -> None:
    colour = f"whisker {point.style.colour}"
    at_x, at_y = x(point.x), y(point.y)
    add(svg, "line", class_=colour, x1=at_x, x2=x(point.x_high), y1=at_y, y2=at_y)
    if point.y_range:
        low, high = map(y, point.y_range)
        add(svg, "line", class_=colour, x1=at_x, x2=at_x, y1=low, y2=high)


def _point(svg: Element, point: Point, x: Scale, y: Scale) -> None:
    group = add(svg, "g", class_="point")
    at = x(point.x), y(point.y)
    if point.best:
        add(group, "circle", class_="halo", cx=at[0], cy=at[1], r=12)
    classes = f"mark {point.style.colour}{' hollow' if point.hollow else ''}"
    beyond = not y.low <= point.y <= y.high
    mark(group, point.style.shape, *at, 6, class_=classes, data_x=point.x_at,
         data_batch=point.batch)  # fmt: skip
    if not beyond:  # a mark that was moved to the edge does not stand at its value
        group[-1].set("data-y", point.y_at)
    add_cell(group[-1], "title", point.label)
    if beyond:
        tip = 6 if point.y < y.low else -6
        arrow = f"M{at[0] - 4:.2f},{at[1] + 2 * tip:.2f} l4,{tip} l4,{-tip}"
        add(group, "path", class_="leader beyond", d=arrow)


def _label(svg: Element, point: Point, x: float, y: float, room: _Room) -> None:
    """The label beside its point where there is room, else further off with a line to it."""
    width = _LETTER * len(point.label.text)
    places = [
        (x + 13 if right else x - 13 - width, y + step * _LINE)
        for step in (0, -1, 1, -2, 2, -3, 3, -4, 4, -5, 5, -6, 6)
        for right in (True, False)
    ]
    boxes = [(left, at - 8, left + width, at + 8) for left, at in places]
    number = next((i for i, box in enumerate(boxes) if room.fits(box)), None)
    if number is None:
        # Nowhere is room: inside the chart at least.
        left = min(max(x + 13, _LEFT), room.width - width - 2)
        boxes.append((left, y - 8, left + width, y + 8))
        number = -1
    box = boxes[number]
    room.taken.append(box)
    right = box[0] > x
    middle = (box[1] + box[3]) / 2
    if abs(middle - y) > 4:
        end = box[0] - 2 if right else box[2] + 2
        add(svg, "line", class_="leader", x1=x, y1=y, x2=end, y2=middle)
    anchor, at = ("start", box[0]) if right else ("end", box[2])
    weight = "name best" if point.best else "name"
    add_cell(svg, "text", point.label, class_=weight, x=at, y=middle + 4, text_anchor=anchor)
