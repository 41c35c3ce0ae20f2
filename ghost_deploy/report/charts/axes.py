"""Axes of a chart: grid, ticks with their values, names."""

from __future__ import annotations

from ghost_deploy.report.charts.scale import Scale, tick_text
from ghost_deploy.report.charts.svg import Element, add


def axes(
    svg: Element, x: Scale, y: Scale, names: tuple[str, str], *, percent: bool = False
) -> None:
    """Draw both axes.

    Args:
        svg: the chart.
        x, y: their scales, in units of the chart.
        names: of the axes, x and y.
        percent: x values are shares; the ticks show per cent.
    """
    for value in y.ticks:
        add(svg, "line", class_="grid", x1=x.start, x2=x.end, y1=y(value), y2=y(value))
        tick(svg, "y", tick_text(value), y(value), x=x.start - 8, y=y(value) + 4, anchor="end")
    for value in x.ticks:
        add(svg, "line", class_="grid", x1=x(value), x2=x(value), y1=y.start, y2=y.start + 4)
        text = f"{tick_text(100 * value)} %" if percent else tick_text(value)
        tick(svg, "x", text, x(value), x=x(value), y=y.start + 18, anchor="middle")
    add(svg, "text", names[1], class_="axis-name", x=4, y=12)
    add(svg, "text", names[0], class_="axis-name", x=x.end, y=y.start + 38, text_anchor="end")


def tick(
    svg: Element, axis: str, text: str, place: float, *, x: float, y: float, anchor: str
) -> None:
    """Write the value of a tick; `place` is its coordinate on the axis, `x` and `y` the text's."""
    add(svg, "text", text, class_="tick", data_axis=axis, data_tick=text,
        data_place=f"{place:.4f}", x=x, y=y, text_anchor=anchor)  # fmt: skip
