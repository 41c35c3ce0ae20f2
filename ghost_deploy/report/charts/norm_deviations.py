"""Deviation of what arrives at each batch norm from what training recorded, in network order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ghost_deploy.report.blocks import Cell
from ghost_deploy.report.charts.axes import axes
from ghost_deploy.report.charts.scale import Scale
from ghost_deploy.report.charts.style import mark
from ghost_deploy.report.charts.svg import add, add_cell, canvas, markup

_WIDTH, _HEIGHT = 860.0, 240.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 46.0, 10.0, 22.0, 44.0


@dataclass(frozen=True)
class NormPoint:
    """A batch norm: its name, the deviations of mean and sd with their places, and its limit.

    `limit` is 0.0 where it is not judged.
    """

    name: Cell
    mean: Cell
    mean_value: float
    sd: Cell
    sd_value: float
    limit: float


def norm_deviations(points: Sequence[NormPoint]) -> str:
    """Draw the chart; `points` are at least one, in the order in which the norms run."""
    svg = canvas(_WIDTH, _HEIGHT, "Deviation by layer", class_="chart")
    x = Scale.over([0.0, len(points)], _LEFT, _WIDTH - _RIGHT, ticks=8, zero=True)
    values = [value for p in points for value in (p.mean_value, p.sd_value, p.limit)]
    y = Scale.over(values, _HEIGHT - _BOTTOM, _TOP, ticks=4, zero=True, least=0.3)
    axes(svg, x, y, ("batch norm, in the order of the network", "deviation, sd"))
    judged = [(place, p.limit) for place, p in enumerate(points, 1) if p.limit]
    if judged:
        first, limit = judged[0]
        add(svg, "text", "largest deviation of each norm that passes", class_="level-name gate",
            x=x(first), y=y(limit) - 6)  # fmt: skip
    for place, point in enumerate(points, 1):
        if point.limit:
            half = (x(1) - x(0)) / 2
            at = y(point.limit)
            add(svg, "line", class_="level gate", x1=x(place) - half, x2=x(place) + half,
                y1=at, y2=at)  # fmt: skip
        for cell, value, shape, style in (
            (point.mean, point.mean_value, "circle", "c1"),
            (point.sd, point.sd_value, "square", "c2"),
        ):
            hollow = "" if point.limit else " hollow"
            mark(svg, shape, x(place), y(value), 3, class_=f"mark {style}{hollow}",
                 data_y=cell.at)  # fmt: skip
            add_cell(svg[-1], "title", point.name)
    return markup(svg)
