"""Draw detections on an image, legible at any size."""

from __future__ import annotations

import colorsys
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from ghost_deploy.core.detections import Detections
from ghost_deploy.core.image_input import ImageInput
from ghost_deploy.processing.images import as_bgr
from ghost_deploy.stream.lettering import drawable, letters_for

_FONT = cv2.FONT_HERSHEY_SIMPLEX
_LETTERS_PX = 30
"""Size of other fonts that looks like the scale 1 of that one."""
# Successive multiples of the golden ratio fall far apart on the colour circle, however many
# classes there are (three-distance theorem), and a class keeps its colour when others are added.
_GOLDEN = 0.618033988749895
# Alternating levels tell apart hues that come close after a dozen classes.
_SATURATION_VALUE = ((0.85, 0.95), (0.60, 1.00), (0.95, 0.75))
# ITU-R BT.601 luma of B, G, R; above the limit black text reads better than white.
_LUMA_BGR = (0.114, 0.587, 0.299)
_DARK_TEXT_FROM = 140.0

Color = tuple[int, int, int]
Rect = tuple[int, int, int, int]


@dataclass(frozen=True)
class _Pen:
    """Sizes in pixels that suit an image."""

    line: int
    font_scale: float
    letters: int
    text: int
    pad: int

    @classmethod
    def for_size(cls, size_hw: tuple[int, int]) -> _Pen:
        side = (size_hw[0] * size_hw[1]) ** 0.5
        line = max(1, round(side / 320))
        font_scale = max(0.35, side / 1400)
        return cls(
            line=line,
            font_scale=font_scale,
            letters=round(_LETTERS_PX * font_scale),
            text=max(1, round(side / 700)),
            pad=max(2, round(side / 250)),
        )


def class_color(class_id: int) -> Color:
    """The BGR colour (0 to 255) of a class, the same in all images."""
    saturation, value = _SATURATION_VALUE[class_id % len(_SATURATION_VALUE)]
    red, green, blue = colorsys.hsv_to_rgb((class_id * _GOLDEN) % 1.0, saturation, value)
    return round(blue * 255), round(green * 255), round(red * 255)


def draw(image: ImageInput, detections: Detections) -> NDArray[np.uint8]:
    """A copy of `image` with boxes and labels; detections of a higher score are in front.

    Args:
        image: see `as_bgr`; not changed.
        detections: N rows, boxes in pixels of `image`; a `track_id` above 0 is written before the
            name.

    Returns:
        (H, W, 3) uint8 BGR.

    Raises:
        ImageError: the image cannot be read or used.
    """
    canvas: NDArray[np.uint8] = as_bgr(image).copy()
    size_hw = (canvas.shape[0], canvas.shape[1])
    pen = _Pen.for_size(size_hw)
    boxes = [_on_canvas(box, size_hw) for box in detections.xyxy]
    colors = [class_color(class_id) for class_id in detections.class_id.tolist()]
    labels = _labels(detections, boxes, size_hw[1], pen)
    if detections.track_id is not None:
        pairs = zip(labels, detections.track_id.tolist(), strict=True)
        labels = [f"#{number} {label}" if number else label for label, number in pairs]
    places = _place_labels(labels, boxes, size_hw, pen)
    worst_first = range(len(detections) - 1, -1, -1)
    for i in worst_first:
        x1, y1, x2, y2 = boxes[i]
        cv2.rectangle(canvas, (x1, y1), (x2, y2), colors[i], pen.line)
    for i in worst_first:
        _paint_label(canvas, labels[i], places[i], colors[i], pen)
    return canvas


def _on_canvas(box: NDArray[np.float32], size_hw: tuple[int, int]) -> Rect:
    limit = np.array([size_hw[1], size_hw[0], size_hw[1], size_hw[0]]) - 1
    x1, y1, x2, y2 = np.clip(np.rint(box), 0, limit).astype(int).tolist()
    return x1, y1, x2, y2


def _labels(detections: Detections, boxes: list[Rect], width: int, pen: _Pen) -> list[str]:
    """Class and score of each row; the class alone if both would cover a small image."""
    labels = []
    rows = zip(detections.names, detections.class_id, detections.score, boxes, strict=True)
    for name, class_id, score, (x1, _, x2, _) in rows:
        plain = drawable(name, int(class_id))
        full = f"{plain} {score:.2f}"
        room = max(width // 6, (x2 - x1) * 3 // 2)
        labels.append(full if _text_size(full, pen)[0] <= room else plain)
    return labels


def _text_size(text: str, pen: _Pen) -> tuple[int, int, int]:
    """(width, height above the baseline, depth below it) of `text` in pixels."""
    letters = None if text.isascii() else letters_for(text)
    if letters:
        return letters.size(text, pen.letters)
    (width, height), baseline = cv2.getTextSize(text, _FONT, pen.font_scale, pen.text)
    return width, height, baseline


def _place_labels(
    labels: list[str], boxes: list[Rect], size_hw: tuple[int, int], pen: _Pen
) -> list[Rect]:
    """A rectangle inside the image for each label: above its box, below it, or within it.

    The first place that covers no better label is taken; where all are taken, the first.
    """
    taken: list[Rect] = []
    for label, (x1, y1, _, y2) in zip(labels, boxes, strict=True):
        text_width, text_height, depth = _text_size(label, pen)
        width = text_width + 2 * pen.pad
        height = text_height + depth + 2 * pen.pad
        half = pen.line // 2
        tops = [top for top in (y1 - height, y2 + 1) if 0 <= top <= size_hw[0] - height]
        choices = [
            _inside((x1 - half, top, x1 - half + width, top + height), size_hw)
            for top in (*tops, y1, y2 - height)
        ]
        taken.append(
            next((c for c in choices if not any(_overlap(c, t) for t in taken)), choices[0])
        )
    return taken


def _inside(rect: Rect, size_hw: tuple[int, int]) -> Rect:
    """The rectangle moved into the image; its left top corner wins where it is too large."""
    x1, y1, x2, y2 = rect
    dx = max(min(0, size_hw[1] - x2), -x1)
    dy = max(min(0, size_hw[0] - y2), -y1)
    return x1 + dx, y1 + dy, x2 + dx, y2 + dy


def _overlap(a: Rect, b: Rect) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _paint_label(
    canvas: NDArray[np.uint8], text: str, place: Rect, color: Color, pen: _Pen
) -> None:
    x1, y1, x2, y2 = place
    cv2.rectangle(canvas, (x1, y1), (x2 - 1, y2 - 1), color, cv2.FILLED)
    _, _, depth = _text_size(text, pen)
    luma = sum(weight * level for weight, level in zip(_LUMA_BGR, color, strict=True))
    ink = (0, 0, 0) if luma > _DARK_TEXT_FROM else (255, 255, 255)
    origin = (x1 + pen.pad, y2 - pen.pad - depth)
    letters = None if text.isascii() else letters_for(text)
    if letters:
        letters.paint(canvas, text, origin, pen.letters, ink)
        return
    cv2.putText(canvas, text, origin, _FONT, pen.font_scale, ink, pen.text, cv2.LINE_AA)
