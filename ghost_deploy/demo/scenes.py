"""Seeded scenes of mechanical parts with exact labels: images and training data of the demo.

A scene is a textured background with partly overlapping parts and clutter, each with a bevel, a
shadow and its own material, then uneven light, blur and sensor noise. The same seed gives the same
scene; with other builds of NumPy or OpenCV pixels may differ by one level.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from ghost_deploy.demo.camera import expose
from ghost_deploy.demo.materials import cast_shadow, ground, shade
from ghost_deploy.demo.parts import CLASS_NAMES, Step, clutter_steps, part_steps, rotation

__all__ = ["CLASS_NAMES", "Scene", "make_scene"]

_MIN_VISIBLE = 0.55
"""Minimum visible share of a part's area; objects that would hide more are not placed."""

_MIN_SIDE_PX = 8


@dataclass(frozen=True, eq=False)
class Scene:
    """An image with its labels.

    Attributes:
        image: (H, W, 3) uint8, BGR.
        boxes: (N, 4) float32, x1 y1 x2 y2 in pixels, around the visible area of each part.
        class_ids: (N,) int32, indices into `CLASS_NAMES`.
    """

    image: NDArray[np.uint8]
    boxes: NDArray[np.float32]
    class_ids: NDArray[np.int32]


@dataclass
class _Table:
    """The objects placed so far."""

    canvas: NDArray[np.float32]
    light: float
    class_ids: list[int] = field(default_factory=list)
    visible: list[NDArray[np.bool_]] = field(default_factory=list)
    areas: list[int] = field(default_factory=list)


def make_scene(seed: int, size_hw: tuple[int, int] = (480, 640)) -> Scene:
    """Draw one scene.

    Args:
        seed: integer from 0 that determines the scene.
        size_hw: (height, width) in pixels.
    """
    rng = np.random.default_rng(seed)
    table = _Table(ground(size_hw, rng), light=rng.uniform(0, 2 * np.pi))
    parts = rng.integers(0, len(CLASS_NAMES), size=int(rng.integers(2, 13))).tolist()
    clutter = [-1] * int(rng.integers(0, 9))
    order = rng.permutation(np.array(parts + clutter, np.int64))
    for class_id in order.tolist():
        steps = part_steps(class_id, rng) if class_id >= 0 else clutter_steps(rng)
        _place(table, steps, class_id, rng)
    boxes = [_bounds(mask) for mask in table.visible]
    return Scene(
        image=expose(table.canvas, rng),
        boxes=np.array(boxes, np.float32).reshape(-1, 4),
        class_ids=np.array(table.class_ids, np.int32),
    )


def _place(table: _Table, steps: list[Step], class_id: int, rng: np.random.Generator) -> None:
    """Place an object where it hides no part too much; give up after eight attempts."""
    height, width = table.canvas.shape[:2]
    radius = min(height, width) * float(np.exp(rng.uniform(np.log(0.05), np.log(0.24))))
    for _ in range(8):
        centre = rng.uniform((0.04 * width, 0.04 * height), (0.96 * width, 0.96 * height))
        alpha = _raster(steps, _pose(radius, centre, rng), (height, width))
        solid = alpha > 0.5
        if _fits(table, solid, is_part=class_id >= 0):
            break
    else:
        return
    cast_shadow(table.canvas, alpha, table.light, radius)
    shade(table.canvas, alpha, table.light, rng)
    for below in table.visible:
        np.logical_and(below, ~solid, out=below)
    if class_id >= 0:
        table.class_ids.append(class_id)
        table.visible.append(solid)
        table.areas.append(int(solid.sum()))


def _pose(
    radius: float, centre: NDArray[np.float64], rng: np.random.Generator
) -> NDArray[np.float64]:
    """(2, 3) affine map from part coordinates to pixels: rotation, tilt and second rotation."""
    first, second = (rotation(rng.uniform(0, 2 * np.pi)) for _ in range(2))
    tilt = np.diag([1.0, rng.uniform(0.72, 1.0)])
    return np.column_stack([radius * first @ tilt @ second, centre])


def _raster(
    steps: list[Step], pose: NDArray[np.float64], size_hw: tuple[int, int]
) -> NDArray[np.float32]:
    """Coverage (H, W) in 0 to 1, anti-aliased to 1/16 pixel."""
    mask = np.zeros(size_hw, np.uint8)
    for step in steps:
        points = step.points @ pose[:, :2].T + pose[:, 2]
        fixed = np.round(points * 16).astype(np.int32)
        cv2.fillPoly(mask, [fixed], 255 if step.fill else 0, cv2.LINE_AA, shift=4)
    coverage: NDArray[np.float32] = mask.astype(np.float32) / np.float32(255)
    return coverage


def _fits(table: _Table, solid: NDArray[np.bool_], *, is_part: bool) -> bool:
    """Whether the new object is large enough and leaves enough of the other parts visible."""
    if not solid.any():
        return False
    x1, y1, x2, y2 = _bounds(solid)
    if is_part and min(x2 - x1, y2 - y1) < _MIN_SIDE_PX:
        return False
    return all(
        int((mask & ~solid).sum()) >= _MIN_VISIBLE * area
        for mask, area in zip(table.visible, table.areas, strict=True)
    )


def _bounds(mask: NDArray[np.bool_]) -> tuple[float, float, float, float]:
    """x1 y1 x2 y2 around the set pixels, continuous: the right edge of pixel k is k + 1."""
    x, y, width, height = cv2.boundingRect(mask.astype(np.uint8))
    return float(x), float(y), float(x + width), float(y + height)
