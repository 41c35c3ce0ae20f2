"""The style of rows in all charts: colour by runtime, shape and dash by precision."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ghost_deploy.report.blocks import Cell
from ghost_deploy.report.charts.svg import Element, add, add_cell, element, markup
from ghost_deploy.report.report_document import ReportRow

_COLOURS = 6
_SHAPES = ("circle", "square", "triangle", "diamond", "hourglass")
_DASHES = ("", "6 3", "2 3", "8 3 2 3", "1 4")
_CORNERS = {
    "square": ((-1, -1), (1, -1), (1, 1), (-1, 1)),
    "triangle": ((0, -1.25), (1.2, 0.95), (-1.2, 0.95)),
    "diamond": ((0, -1.4), (1.4, 0), (0, 1.4), (-1.4, 0)),
    "hourglass": ((-1.2, -1.1), (1.2, -1.1), (-1.2, 1.1), (1.2, 1.1)),
}


@dataclass(frozen=True)
class Style:
    """Of one row: `colour` is a class of the page's style sheet."""

    colour: str
    shape: str
    dash: str


def styles(rows: Sequence[ReportRow]) -> list[Style]:
    """A style for each row. A baseline has a colour of its own."""
    runtimes = list(dict.fromkeys(row.runtime for row in rows if not row.baseline))
    precisions = list(dict.fromkeys(row.precision for row in rows))
    return [
        Style(
            "c0" if row.baseline else f"c{1 + runtimes.index(row.runtime) % _COLOURS}",
            _SHAPES[precisions.index(row.precision) % len(_SHAPES)],
            _DASHES[precisions.index(row.precision) % len(_DASHES)],
        )
        for row in rows
    ]


def mark(
    parent: Element, shape: str, x: float, y: float, size: float, **attributes: object
) -> None:
    """A point; `data-px` and `data-py` repeat its coordinates."""
    attributes = {**attributes, "data_px": f"{x:.4f}", "data_py": f"{y:.4f}"}
    if shape == "circle":
        add(parent, "circle", cx=x, cy=y, r=size, **attributes)
        return
    corners = _CORNERS[shape]
    points = " ".join(f"{x + 0.92 * size * a:.2f},{y + 0.92 * size * b:.2f}" for a, b in corners)
    add(parent, "polygon", points=points, **attributes)


def swatches(meanings: Sequence[tuple[str, str | Cell]]) -> str:
    """A legend: classes of the style sheet and what they mean."""
    root = element("p", class_="legend")
    for style, words in meanings:
        item = add(root, "span")
        add(item, "i", class_=f"swatch {style}")
        if isinstance(words, Cell):
            add_cell(item, "span", words)
        else:
            item[-1].tail = words
    return markup(root)
