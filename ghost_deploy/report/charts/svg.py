"""Markup without a template: elements that escape their texts and attributes."""

from __future__ import annotations

from collections.abc import Callable
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from ghost_deploy.report.blocks import Cell

__all__ = ["Element", "add", "add_cell", "canvas", "element", "for_both_widths", "markup"]


def element(tag: str, text: str = "", /, **attributes: object) -> Element:
    """An element; `class_` and `data_x` become `class` and `data-x`, numbers are shortened."""
    made = Element(tag, {_name(key): _short(value) for key, value in attributes.items()})
    if text:
        made.text = text
    return made


def add(parent: Element, tag: str, text: str = "", /, **attributes: object) -> Element:
    """An element as the last child of another."""
    child = element(tag, text, **attributes)
    parent.append(child)
    return child


def add_cell(parent: Element, tag: str, cell: Cell, **attributes: object) -> Element:
    """An element that shows a cell."""
    return add(parent, tag, cell.text, data_json=cell.at, data_form=cell.form, **attributes)


def canvas(width: float, height: float, title: str, **attributes: object) -> Element:
    """An `svg` with a title for screen readers; the title is fixed words."""
    svg = element("svg", viewBox=f"0 0 {width:g} {height:g}", role="img", **attributes)
    svg.set("aria-label", title)
    return svg


def for_both_widths(
    draw: Callable[[float, float], str], *, wide: tuple[float, float], narrow: tuple[float, float]
) -> str:
    """A chart drawn in two sizes (width, height), of which the style sheet shows one."""
    sizes = (("wide", wide), ("narrow", narrow))
    return "".join(f'<div class="only-{name}">{draw(*size)}</div>' for name, size in sizes)


def markup(root: Element) -> str:
    """The element as HTML."""
    return ElementTree.tostring(root, encoding="unicode", method="html")


def _name(key: str) -> str:
    return key.rstrip("_").replace("_", "-") if key != "viewBox" else key


def _short(value: object) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)
