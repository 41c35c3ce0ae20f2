"""Bar charts with one common axis: distributions and stages of the latency of each row.

A bar is HTML with a small SVG that is stretched to the width of the page, so that letters keep
their size on a phone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ghost_deploy.report.blocks import Cell
from ghost_deploy.report.charts.scale import Scale, tick_text
from ghost_deploy.report.charts.svg import Element, add, add_cell, element, markup

_WIDTH, _HEIGHT = 1000.0, 40.0
_BINS = 100
_SMOOTHING = (0.06, 0.24, 0.4, 0.24, 0.06)


@dataclass(frozen=True)
class Distribution:
    """A sample of times of one row.

    Attributes:
        label: of the row.
        samples: milliseconds; none where only the figures were kept.
        marks: `p50`, `p90`, `p99` and their cells.
        values: the same as numbers.
        figure: what is written at the end of the bar.
        colour: class of the style sheet.
    """

    label: Cell
    samples: Sequence[float]
    marks: Sequence[tuple[str, Cell]]
    values: Sequence[float]
    figure: Cell
    colour: str


@dataclass(frozen=True)
class Stack:
    """Parts of one row, one after the other: name, cell, value."""

    label: Cell
    parts: Sequence[tuple[str, Cell, float]]


def distributions(rows: Sequence[Distribution]) -> str:
    """The distribution of the times of each row; the axis ends beyond the last 99th percentile."""
    scale = Scale.over([max(s.values) for s in rows], 0, _WIDTH, ticks=6, zero=True)
    root = element("div", class_="bars", role="img", aria_label="Distributions of latency")
    for row in rows:
        plot = _bar(root, row.label, row.figure)
        svg = _canvas(plot)
        add(svg, "path", class_=f"density {row.colour}", d=_outline(row.samples, scale))
        for (name, cell), value in zip(row.marks, row.values, strict=True):
            at = scale(value)
            add(svg, "line", class_=f"mark-line {name}", x1=at, x2=at, y1=4.0, y2=_HEIGHT,
                data_x=cell.at, data_px=f"{at:.4f}")  # fmt: skip
    _axis(root, scale)
    return markup(root)


def stacks(rows: Sequence[Stack]) -> str:
    """Parts of each row side by side, to one scale."""
    total = max(sum(value for _, _, value in row.parts) for row in rows)
    scale = Scale.over([total], 0, _WIDTH, ticks=6, zero=True)
    root = element("div", class_="bars", role="img", aria_label="Time of each stage")
    for row in rows:
        plot = _bar(root, row.label, None)
        bar = add(plot, "div", class_="bar")
        for name, cell, value in row.parts:
            width = (scale(value) - scale(0)) / _WIDTH
            part = add(bar, "span", class_=f"part {name}", style=f"width:{width:.4%}",
                       data_x=cell.at, data_width=f"{width:.6f}", title=name)  # fmt: skip
            if width > 0.07:
                add_cell(part, "b", cell)
    _axis(root, scale)
    return markup(root)


def _bar(root: Element, label: Cell, figure: Cell | None) -> Element:
    line = add(root, "div", class_="bar-row")
    add_cell(line, "span", label, class_="bar-name")
    plot = add(line, "div", class_="bar-plot")
    end = add(line, "span", class_="bar-figure")
    if figure:
        add_cell(end, "data", figure)
        end[-1].tail = " ms"
    return plot


def _canvas(plot: Element) -> Element:
    return add(plot, "svg", viewBox=f"0 0 {_WIDTH:g} {_HEIGHT:g}", preserveAspectRatio="none",
               aria_hidden="true")  # fmt: skip


def _axis(root: Element, scale: Scale) -> None:
    line = add(root, "div", class_="bar-row axis")
    add(line, "span", class_="bar-name")
    ticks = add(line, "div", class_="ticks")
    for value in scale.ticks:
        share = scale(value) / _WIDTH
        text = tick_text(value)
        add(ticks, "span", text, class_="tick", style=f"left:{share:.4%}", data_axis="x",
            data_tick=text, data_place=f"{share * _WIDTH:.4f}")  # fmt: skip
    add(line, "span", "ms", class_="bar-figure tick")


def _outline(samples: Sequence[float], scale: Scale) -> str:
    """The path of a smoothed histogram; the largest bin is as high as the bar."""
    if not samples:
        return ""
    counts = [0.0] * _BINS
    for sample in samples:
        place = int((sample - scale.low) / (scale.high - scale.low) * _BINS)
        if 0 <= place < _BINS:
            counts[place] += 1
    padded = [0.0, 0.0, *counts, 0.0, 0.0]
    smooth = [
        sum(weight * padded[i + k] for k, weight in enumerate(_SMOOTHING)) for i in range(_BINS)
    ]
    top = max(smooth) or 1.0
    step = _WIDTH / _BINS
    heights = [_HEIGHT - value / top * (_HEIGHT - 4) for value in smooth]
    points = " ".join(f"L{(i + 0.5) * step:.1f} {y:.1f}" for i, y in enumerate(heights))
    return f"M0 {_HEIGHT:g} {points} L{_WIDTH:g} {_HEIGHT:g} Z"
