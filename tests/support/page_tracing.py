"""Compare every number on a page with the document that it was rendered from.

Whatever of a page shows a digit must be a cell that names its place, a tick of an axis, or one of
a few terms of the trade. Marks of charts are held against the ticks beside them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from html.parser import HTMLParser
from typing import Any

import numpy as np

from ghost_deploy.report.blocks import KEY
from ghost_deploy.report.number_format import visible, write

TERMS = re.compile(
    r"m?AP50(-95)?|\bF1\b|\bp(50|90|99)\b|\bIoU 0\.5\b|\b90th\b|\bsha256\b|\bint8\b|\bfp32\b"
)
"""Words of ours that hold digits and are no figures."""

VOID = {"meta", "br", "img", "link", "input", "hr"}


@dataclass(eq=False)
class Node:
    tag: str
    attributes: dict[str, str]
    parent: Node | None = None
    children: list[Node | str] = field(default_factory=list)

    @property
    def classes(self) -> set[str]:
        return set(self.attributes.get("class", "").split())

    def walk(self) -> Iterator[Node]:
        yield self
        for child in self.children:
            if isinstance(child, Node):
                yield from child.walk()

    def text(self) -> str:
        return "".join(c if isinstance(c, str) else c.text() for c in self.children)

    def up(self) -> Iterator[Node]:
        node: Node | None = self
        while node is not None:
            yield node
            node = node.parent


class Parser(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.root = self.here = Node("root", {})

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        node = Node(tag, {name: value or "" for name, value in attrs}, self.here)
        self.here.children.append(node)
        if tag not in VOID:
            self.here = node

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.here.children.append(Node(tag, {n: v or "" for n, v in attrs}, self.here))

    def handle_endtag(self, tag: str) -> None:
        assert self.here.tag == tag, f"</{tag}> closes <{self.here.tag}>"
        assert self.here.parent is not None
        self.here = self.here.parent

    def handle_data(self, data: str) -> None:
        self.here.children.append(data)


def parse(page: str) -> Node:
    parser = Parser()
    parser.feed(page)
    parser.close()
    assert parser.here is parser.root, f"<{parser.here.tag}> is not closed"
    return parser.root


def look_up(document: Any, pointer: str) -> Any:
    """RFC 6901."""
    found = document
    for step in pointer.split("/")[1:]:
        name = step.replace("~1", "/").replace("~0", "~")
        found = found[int(name)] if isinstance(found, list) else found[name]
    return found


def faults(page: str, document: Any) -> list[str]:
    """What on the page is not in the document, or is something else there."""
    root = parse(page)
    return [*_texts(root, document), *_titles(root), *_marks(root, document), *_steps(root),
            *_parts(root, document), *_lines(root, document), *_boxes(root, document)]  # fmt: skip


def cells(root: Node) -> list[Node]:
    return [node for node in root.walk() if "data-json" in node.attributes]


def _texts(root: Node, document: Any) -> Iterator[str]:
    for node in cells(root):
        at, form = node.attributes["data-json"], node.attributes["data-form"]
        try:
            value = look_up(document, at)
        except (KeyError, IndexError, ValueError):
            yield f"{at} is not in the document"
            continue
        last = visible(at.rpartition("/")[2].replace("~1", "/").replace("~0", "~"))
        wanted = last if form == KEY else write(value, form)
        if node.text() != wanted:
            yield f"{at} reads {node.text()!r}, the document says {wanted!r}"
        if node.attributes.get("value", wanted) != wanted:
            yield f"{at} has the value {node.attributes['value']!r}"
    for node in root.walk():
        if node.tag in ("style", "title") and node.parent and node.parent.tag == "head":
            continue
        if any("data-json" in each.attributes or "tick" in each.classes for each in node.up()):
            continue
        for child in node.children:
            if isinstance(child, str) and re.search(r"\d", TERMS.sub("", child)):
                yield f"{child.strip()!r} in <{node.tag}> comes from nowhere"


def _titles(root: Node) -> Iterator[str]:
    """Headings that narrow screens repeat beside each cell are those of the table."""
    for table in (node for node in root.walk() if node.tag == "table"):
        heads = {n.text().strip() for n in table.walk() if n.tag == "th"}
        for node in table.walk():
            if node.attributes.get("data-title", "") not in {*heads, ""}:
                yield f"{node.attributes['data-title']!r} is no heading of its table"


@cache
def _axis(frame: Node, axis: str) -> Any:
    """From a value to a place, by the ticks that are written there."""
    ticks = [n for n in frame.walk() if n.attributes.get("data-axis") == axis]
    values = [_number(tick.text()) for tick in ticks]
    places = [float(tick.attributes["data-place"]) for tick in ticks]
    slope, offset = np.polyfit(values, places, 1)
    return lambda value: slope * value + offset


def _number(tick: str) -> float:
    """The value that a tick stands for; shares are written in per cent."""
    return float(tick[:-2]) / 100 if tick.endswith(" %") else float(tick)


def _frame(node: Node) -> Node:
    """What holds the axes of a mark: bars share one, other charts have their own."""
    return next(n for n in node.up() if "bars" in n.classes or "chart" in n.classes)


def _marks(root: Node, document: Any) -> Iterator[str]:
    for node in root.walk():
        for axis in "xy":
            at, place = (node.attributes.get(name) for name in (f"data-{axis}", f"data-p{axis}"))
            if at is None or place is None:
                continue
            value = look_up(document, at)
            if axis == "x":  # milliseconds an image
                value /= int(node.attributes.get("data-batch", 1))
            wanted = _axis(_frame(node), axis)(value)
            if abs(wanted - float(place)) > 0.6:
                yield f"the mark of {at} is at {place}, its value at {wanted:.2f}"


def _parts(root: Node, document: Any) -> Iterator[str]:
    for node in root.walk():
        if "data-width" in node.attributes:
            axis = _axis(_frame(node), "x")
            value = look_up(document, node.attributes["data-x"])
            wanted = (axis(value) - axis(0)) / 1000
            if abs(wanted - float(node.attributes["data-width"])) > 1e-3:
                yield f"the bar of {node.attributes['data-x']} is too long or too short"


def _lines(root: Node, document: Any) -> Iterator[str]:
    for node in (n for n in root.walk() if n.tag == "polyline"):
        values = look_up(document, node.attributes["data-y"])
        points = [tuple(map(float, p.split(","))) for p in node.attributes["points"].split()]
        x, y = (_axis(_frame(node), axis) for axis in "xy")
        wanted = [(x(i / (len(values) - 1)), y(value)) for i, value in enumerate(values)]
        if np.abs(np.array(points) - wanted).max() > 0.6:
            yield f"the line of {node.attributes['data-y']} is not its curve"


def _steps(root: Node) -> Iterator[str]:
    """A line between marks turns only where a mark is, or level with one and below another."""
    for node in (n for n in root.walk() if n.tag == "path" and "line" in n.classes):
        marks = [n for n in _frame(node).walk() if "mark" in n.classes]
        places = [[float(n.attributes[f"data-p{axis}"]) for n in marks] for axis in "xy"]
        for corner in node.attributes["d"].removeprefix("M").replace(",", " ").split(" L"):
            x, y = map(float, corner.split())
            for axis, at, known in (("x", x, places[0]), ("y", y, places[1])):
                if min(abs(at - place) for place in known) > 0.02:
                    yield f"the line turns at {axis} {at}, where no mark is"


def _boxes(root: Node, document: Any) -> Iterator[str]:
    for node in root.walk():
        if "data-boxes" in node.attributes:
            wanted = [
                tuple(box["xyxy"]) for box in look_up(document, node.attributes["data-boxes"])
            ]
            drawn = []
            for rect in (n for n in node.walk() if "box" in n.classes):
                x, y, width, height = (
                    float(rect.attributes[name]) for name in ("x", "y", "width", "height")
                )
                drawn.append((x, y, x + width, y + height))
            if not np.allclose(sorted(drawn), sorted(wanted), atol=0.02):
                yield f"the boxes of {node.attributes['data-boxes']} are not those drawn"
