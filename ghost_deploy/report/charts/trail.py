"""A line through measured points: what one figure costs in another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ghost_deploy.report.charts.look import mark
from ghost_deploy.report.charts.scale import Scale, tick_text
from ghost_deploy.report.charts.svg import Element, add, markup, picture

__all__ = ["Stop", "trail"]

_WIDTH, _HEIGHT = 420.0, 240.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 52.0, 16.0, 28.0, 40.0


@dataclass(frozen=True)
class Stop:
    """A point and where its values stand in the document."""

    x: float
    y: float
    x_at: str
    y_at: str


def trail(stops: Sequence[Stop], x_name: str, y_name: str) -> str:
    """The chart; at least one point."""
    svg = picture(_WIDTH, _HEIGHT, f"{y_name} over {x_name}", class_="chart small")
    x = Scale.over([s.x for s in stops], _LEFT, _WIDTH - _RIGHT, ticks=4, least=0.1)
    y = Scale.over([*(s.y for s in stops), 0.0], _HEIGHT - _BOTTOM, _TOP, ticks=4, least=0.5)
    for value in y.ticks:
        add(svg, "line", class_="grid", x1=x.start, x2=x.end, y1=y(value), y2=y(value))
        _tick(svg, "y", value, y(value), x=_LEFT - 6, y=y(value) + 4, text_anchor="end")
    for value in x.ticks:
        bottom = _HEIGHT - _BOTTOM + 16
        _tick(svg, "x", value, x(value), x=x(value), y=bottom, text_anchor="middle")
    add(svg, "text", y_name, class_="axis-name", x=4, y=12)
    add(svg, "text", x_name, class_="axis-name", x=x.end, y=_HEIGHT - 6, text_anchor="end")
    points = " ".join(f"{x(s.x):.2f},{y(s.y):.2f}" for s in stops)
    add(svg, "path", class_="line c1", d=f"M{points.replace(' ', ' L')}")
    for stop in stops:
        mark(svg, "circle", x(stop.x), y(stop.y), 4.5, class_="mark c1", data_x=stop.x_at,
             data_y=stop.y_at)  # fmt: skip
    return markup(svg)


def _tick(svg: Element, axis: str, value: float, place: float, **where: object) -> None:
    text = tick_text(value)
    add(svg, "text", text, class_="tick", data_axis=axis, data_tick=text,
        data_place=f"{place:.4f}", **where)  # fmt: skip
