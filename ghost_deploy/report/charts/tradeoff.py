"""Measured points in a plane: what one figure costs in another."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ghost_deploy.report.blocks import Cell
from ghost_deploy.report.charts.axes import axes
from ghost_deploy.report.charts.scale import Scale
from ghost_deploy.report.charts.style import mark
from ghost_deploy.report.charts.svg import Element, add, add_cell, canvas, for_both_widths, markup

_LEFT, _RIGHT, _TOP, _BOTTOM = 46.0, 20.0, 30.0, 44.0
_LEAST_SHARE, _LEAST_POINTS = 0.02, 0.5
"""Smallest range of the axes, so that noise does not look large."""


@dataclass(frozen=True)
class TradeoffPoint:
    """A point: a share from 0 to 1 and a loss, and their places in the document."""

    x: float
    y: float
    x_at: str
    y_at: str
    chosen: bool = False


@dataclass(frozen=True)
class DropLimit:
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


def tradeoff(
    points: Sequence[TradeoffPoint], limit: DropLimit | None, names: tuple[str, str]
) -> str:
    """Draw the chart, as HTML with an SVG for wide screens and one for narrow ones.

    Args:
        points: at least one.
        limit: drawn as a line; None where it is not known.
        names: of the axes, x and y.
    """
    return for_both_widths(
        lambda *size: _tradeoff(points, limit, names, *size),
        wide=(860.0, 320.0),
        narrow=(400.0, 320.0),
    )


def _tradeoff(
    points: Sequence[TradeoffPoint],
    limit: DropLimit | None,
    names: tuple[str, str],
    width: float,
    height: float,
) -> str:
    svg = canvas(width, height, f"{names[1]} over {names[0]}", class_="chart")
    shares = [p.x for p in points]
    x = Scale.over(
        shares, _LEFT, width - _RIGHT, ticks=max(3, int(width / 110)), least=_LEAST_SHARE
    )
    levels = [0.0, *(p.y for p in points), *([limit.y] if limit else [])]
    y = Scale.over(levels, height - _BOTTOM, _TOP, ticks=5, least=_LEAST_POINTS)
    axes(svg, x, y, names, percent=True)
    if limit:
        _limit(svg, limit, x, y)
    best = [points[i] for i in best_so_far([(p.x, p.y) for p in points])]
    joined = " L".join(_corners(best, x, y))
    add(svg, "path", class_="line c1", d=f"M{joined}")
    for point in sorted(points, key=lambda each: (each.chosen, each in best)):
        _point(svg, point, x(point.x), y(point.y), hollow=point not in best)
    return markup(svg)


def _corners(best: Sequence[TradeoffPoint], x: Scale, y: Scale) -> Iterator[str]:
    """Steps: until the next point is reached, no smaller share loses less."""
    for i, point in enumerate(best):
        if i:
            yield f"{x(point.x):.2f},{y(best[i - 1].y):.2f}"
        yield f"{x(point.x):.2f},{y(point.y):.2f}"


def _limit(svg: Element, limit: DropLimit, x: Scale, y: Scale) -> None:
    at = y(limit.y)
    add(svg, "line", class_="level gate", x1=x.start, x2=x.end, y1=at, y2=at, data_y=limit.cell.at,
        data_py=f"{at:.4f}")  # fmt: skip
    name = add(svg, "text", "may be lost: ", class_="level-name gate", x=x.end - 6, y=at - 5,
               text_anchor="end")  # fmt: skip
    add_cell(name, "tspan", limit.cell)


def _point(svg: Element, point: TradeoffPoint, x: float, y: float, *, hollow: bool) -> None:
    group = add(svg, "g", class_="point")
    if point.chosen:
        add(group, "circle", class_="halo", cx=x, cy=y, r=11.0)
    mark(group, "circle", x, y, 5.0, class_=f"mark c1{' hollow' if hollow else ''}",
         data_x=point.x_at, data_y=point.y_at)  # fmt: skip
