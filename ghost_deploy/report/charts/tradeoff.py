"""Measured points in a plane: what one figure costs in another."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ghost_deploy.report.cells import Cell
from ghost_deploy.report.charts.scale import Scale, tick_text
from ghost_deploy.report.charts.style import mark
from ghost_deploy.report.charts.svg import Element, add, add_cell, markup, picture

__all__ = ["Bar", "Stop", "best_so_far", "trail"]

_LEFT, _RIGHT, _TOP, _BOTTOM = 46.0, 20.0, 30.0, 44.0
_LEAST_SHARE, _LEAST_POINTS = 0.02, 0.5
"""Smallest range of the axes, so that no noise is made to look large."""


@dataclass(frozen=True)
class Stop:
    """A point: a share from 0 to 1 and a loss, and where they stand in the document."""

    x: float
    y: float
    x_at: str
    y_at: str
    chosen: bool = False


@dataclass(frozen=True)
class Bar:
    """The largest loss that passes, and how it is written."""

    y: float
    cell: Cell


def best_so_far(points: Sequence[tuple[float, float]]) -> list[int]:
    """Indices of the points (x, y) whose y is below that of all with a larger x, by falling x."""
    best: list[int] = []
    for i in sorted(range(len(points)), key=lambda i: (-points[i][0], points[i][1])):
        if not best or points[i][1] < points[best[-1]][1]:
            best.append(i)
    return best


def trail(
    stops: Sequence[Stop], bar: Bar | None, names: tuple[str, str], width: float, height: float
) -> str:
    """The chart as an SVG of that size.

    Args:
        stops: at least one.
        bar: drawn as a line; None where it is not known.
        names: of the axes, x and y.
        width, height: of the picture; letters are 12 units high.
    """
    svg = picture(width, height, f"{names[1]} over {names[0]}", class_="chart")
    shares = [s.x for s in stops]
    x = Scale.over(
        shares, _LEFT, width - _RIGHT, ticks=max(3, int(width / 110)), least=_LEAST_SHARE
    )
    levels = [0.0, *(s.y for s in stops), *([bar.y] if bar else [])]
    y = Scale.over(levels, height - _BOTTOM, _TOP, ticks=5, least=_LEAST_POINTS)
    _axes(svg, x, y, names)
    if bar:
        _bar(svg, bar, x, y)
    best = [stops[i] for i in best_so_far([(s.x, s.y) for s in stops])]
    joined = " L".join(_corners(best, x, y))
    add(svg, "path", class_="line c1", d=f"M{joined}")
    for stop in sorted(stops, key=lambda each: (each.chosen, each in best)):
        _stop(svg, stop, x(stop.x), y(stop.y), hollow=stop not in best)
    return markup(svg)


def _corners(best: Sequence[Stop], x: Scale, y: Scale) -> Iterator[str]:
    """Steps: until the next point is reached, no smaller share loses less."""
    for i, stop in enumerate(best):
        if i:
            yield f"{x(stop.x):.2f},{y(best[i - 1].y):.2f}"
        yield f"{x(stop.x):.2f},{y(stop.y):.2f}"


def _axes(svg: Element, x: Scale, y: Scale, names: tuple[str, str]) -> None:
    for value in y.ticks:
        add(svg, "line", class_="grid", x1=x.start, x2=x.end, y1=y(value), y2=y(value))
        place = {"x": x.start - 8, "y": y(value) + 4, "text_anchor": "end"}
        _tick(svg, "y", tick_text(value), y(value), place)
    for value in x.ticks:
        add(svg, "line", class_="grid", x1=x(value), x2=x(value), y1=y.start, y2=y.start + 4)
        place = {"x": x(value), "y": y.start + 18, "text_anchor": "middle"}
        _tick(svg, "x", f"{tick_text(100 * value)} %", x(value), place)
    add(svg, "text", names[1], class_="axis-name", x=4, y=12)
    add(svg, "text", names[0], class_="axis-name", x=x.end, y=y.start + 38, text_anchor="end")


def _tick(svg: Element, axis: str, text: str, place: float, where: dict[str, object]) -> None:
    add(svg, "text", text, class_="tick", data_axis=axis, data_tick=text,
        data_place=f"{place:.4f}", **where)  # fmt: skip


def _bar(svg: Element, bar: Bar, x: Scale, y: Scale) -> None:
    at = y(bar.y)
    add(svg, "line", class_="level gate", x1=x.start, x2=x.end, y1=at, y2=at, data_y=bar.cell.at,
        data_py=f"{at:.4f}")  # fmt: skip
    name = add(svg, "text", "may be lost: ", class_="level-name gate", x=x.end - 6, y=at - 5,
               text_anchor="end")  # fmt: skip
    add_cell(name, "tspan", bar.cell)


def _stop(svg: Element, stop: Stop, x: float, y: float, *, hollow: bool) -> None:
    group = add(svg, "g", class_="point")
    if stop.chosen:
        add(group, "circle", class_="halo", cx=x, cy=y, r=11.0)
    mark(group, "circle", x, y, 5.0, class_=f"mark c1{' hollow' if hollow else ''}",
         data_x=stop.x_at, data_y=stop.y_at)  # fmt: skip
