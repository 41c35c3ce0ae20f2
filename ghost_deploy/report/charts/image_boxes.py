"""Images with boxes, the reference's and a model's side by side."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass

from ghost_deploy.core.evidence.shown_boxes import HardImage, ShownBox
from ghost_deploy.report.blocks import Cell
from ghost_deploy.report.charts.svg import Element, add, add_cell, element, markup

_JPEG_START = b"\xff\xd8\xff"
_MOST_BYTES = 200_000
_MOST_NAMES = 20


@dataclass(frozen=True)
class Panel:
    """One model's boxes on an image.

    Attributes:
        title: whose they are.
        wrong: how many are false or missed.
        boxes: with the cells of their class and score; the last is None for a label.
        at: their place in the document.
    """

    title: Sequence[str | Cell]
    wrong: Cell
    boxes: Sequence[tuple[ShownBox, Cell, Cell | None]]
    at: str


def image_boxes(image: HardImage, panels: Sequence[Panel], number: str) -> str:
    """Draw the image once for each panel; its data is stored once.

    Args:
        image: its size and pixels.
        panels: what is drawn on it.
        number: distinguishes it from the other images of the page.

    Returns:
        HTML.
    """
    height, width = image.size_hw
    root = element("div", class_="images")
    for panel in panels:
        figure = add(root, "figure", class_="image")
        svg = add(figure, "svg", viewBox=f"0 0 {width} {height}", role="img", data_boxes=panel.at)
        svg.set("aria-label", "An image with the boxes that one model draws")
        _background(svg, image, number, first=panel is panels[0])
        unit = max(width, height) / 640
        wrong = sum(box.state != "found" for box, _, _ in panel.boxes)
        for box, name, score in sorted(panel.boxes, key=lambda each: _depth(each[0])):
            _draw(svg, box, unit)
            # More names would hide the image and each other.
            if box.alone or (box.state != "found" and wrong <= _MOST_NAMES):
                _name(svg, box, name, score, unit, width)
        caption = add(figure, "figcaption")
        _words(caption, panel)
    return markup(root)


def _background(svg: Element, image: HardImage, number: str, *, first: bool) -> None:
    height, width = image.size_hw
    key = f"image-{number}"
    if not image.jpeg.startswith(_JPEG_START) or len(image.jpeg) > _MOST_BYTES:
        add(svg, "rect", class_="no-image", width=width, height=height)
    elif first:
        data = f"data:image/jpeg;base64,{b64encode(image.jpeg).decode()}"
        add(svg, "image", id=key, href=data, width=width, height=height,
            preserveAspectRatio="none")  # fmt: skip
    else:
        add(svg, "use", href=f"#{key}")


def _depth(box: ShownBox) -> tuple[int, float]:
    """Order of drawing: errors last, in front."""
    return ("found", "ignored", "false", "missed").index(box.state) + 4 * box.alone, box.score or 0


def _draw(svg: Element, box: ShownBox, unit: float) -> None:
    x1, y1, x2, y2 = box.xyxy
    shape = {"x": x1, "y": y1, "width": max(x2 - x1, unit), "height": max(y2 - y1, unit)}
    add(svg, "rect", class_="casing", stroke_width=4.6 * unit, **shape)
    add(svg, "rect", class_=_state("box", box), stroke_width=2.2 * unit, **shape)


def _state(kind: str, box: ShownBox) -> str:
    return f"{kind} {box.state}{' alone' if box.alone else ''}"


def _name(
    svg: Element, box: ShownBox, name: Cell, score: Cell | None, unit: float, width: int
) -> None:
    x1, y1, _, y2 = box.xyxy
    size = 13 * unit
    letters = len(name.text) + (len(score.text) + 1 if score else 0)
    left = max(0.0, min(x1, width - 0.7 * size * letters))
    top = y1 - 4 * unit if y1 > 1.5 * size else y2 + size
    text = add(svg, "text", class_=_state("box-name", box), x=left, y=top, font_size=size,
               stroke_width=3 * unit)  # fmt: skip
    add_cell(text, "tspan", name)
    if score:
        text[-1].tail = " "
        add_cell(text, "tspan", score)


def _words(caption: Element, panel: Panel) -> None:
    caption.text = ""
    for piece in panel.title:
        if isinstance(piece, Cell):
            add_cell(caption, "b", piece)
        elif len(caption):
            caption[-1].tail = (caption[-1].tail or "") + piece
        else:
            caption.text += piece
    add(caption, "span", ", wrong: ")
    add_cell(caption, "data", panel.wrong)
