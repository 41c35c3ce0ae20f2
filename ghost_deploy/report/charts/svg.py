"""Markup without a template: elements that escape whatever they are given."""

from __future__ import annotations

from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from ghost_deploy.report.cells import Cell

__all__ = ["Element", "add", "add_cell", "element", "markup", "picture"]


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


def picture(width: float, height: float, title: str, **attributes: object) -> Element:
    """An `svg` with a title for those who cannot see it; the title is words of ours."""
    svg = element("svg", viewBox=f"0 0 {width:g} {height:g}", role="img", **attributes)
    svg.set("aria-label", title)
    return svg


def markup(root: Element) -> str:
    """The element as HTML."""
    return ElementTree.tostring(root, encoding="unicode", method="html")


def _name(key: str) -> str:
    return key.rstrip("_").replace("_", "-") if key != "viewBox" else key


def _short(value: object) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)
