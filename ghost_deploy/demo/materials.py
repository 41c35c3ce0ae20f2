"""Backgrounds, surfaces and shadows of the demo scenes.

A canvas is (H, W, 3) float32, BGR, 0 to 1.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Canvas = NDArray[np.float32]


def ground(size_hw: tuple[int, int], rng: np.random.Generator) -> Canvas:
    """Return a random background: wood, woven cloth, tiles, scratched metal or a plain board.

    Args:
        size_hw: (height, width) in pixels.
        rng: source of material and color.

    Returns:
        (H, W, 3) float32, BGR, about 0 to 1.
    """
    height, width = size_hw
    tint = _color(rng, saturation=(0.0, 0.5), value=(0.15, 0.85))
    kind = rng.integers(5)
    if kind == 0:
        level = 0.5 * _noise(size_hw, (int(rng.integers(20, 60)), 3), rng) + 0.4 * _clouds(
            size_hw, rng
        )
    elif kind == 1:
        rows, columns = np.ogrid[0:height, 0:width]
        period = rng.uniform(4, 14)
        weave = np.sin(rows * 2 * np.pi / period) * np.sin(columns * 2 * np.pi / period)
        level = 0.35 * weave + 0.5 * _clouds(size_hw, rng)
    elif kind == 2:
        rows, columns = np.ogrid[0:height, 0:width]
        side = rng.uniform(50, 140)
        joint = (rows % side < 3) | (columns % side < 3)
        level = _clouds(size_hw, rng) - 0.8 * joint
    elif kind == 3:
        level = 0.5 * _clouds(size_hw, rng) + _scratches(size_hw, rng)
    else:
        level = 0.6 * _clouds(size_hw, rng)
    contrast = rng.uniform(0.08, 0.3)
    return np.asarray(tint * (1 + contrast * level[..., None]), np.float32)


def cast_shadow(canvas: Canvas, alpha: NDArray[np.float32], light: float, radius: float) -> None:
    """Darken `canvas` in place by the shadow of an object.

    Args:
        canvas: (H, W, 3) float32, BGR, 0 to 1.
        alpha: (H, W) float32 coverage of the object, 0 to 1.
        light: direction of the light source, radians.
        radius: half the extent of the object, pixels; larger objects are thicker.
    """
    offset, sigma = 0.08 * radius + 1, 0.05 * radius + 1
    window = _window(alpha, reach=int(offset + 4 * sigma))
    height, width = alpha[window].shape
    move = np.array([[1, 0, -offset * np.cos(light)], [0, 1, -offset * np.sin(light)]], np.float32)
    shadow = cv2.warpAffine(alpha[window], move, (width, height))
    shadow = cv2.GaussianBlur(shadow, (0, 0), sigma)
    canvas[window] *= 1 - np.float32(0.45) * shadow[..., None]


def shade(
    canvas: Canvas, alpha: NDArray[np.float32], light: float, rng: np.random.Generator
) -> None:
    """Paint an object onto `canvas` in place: material, bevel, gloss and grain.

    Args:
        canvas: (H, W, 3) float32, BGR, 0 to 1.
        alpha: (H, W) float32 coverage of the object, 0 to 1.
        light: direction of the light source, radians.
        rng: source of material and color.
    """
    window = _window(alpha, reach=0)
    cover = alpha[window]
    height, width = cover.shape
    slope_x, slope_y = _bevel(cover, rng)
    lit = slope_x * np.cos(light) + slope_y * np.sin(light)
    rows, columns = np.ogrid[0:height, 0:width]
    ramp = (columns * np.cos(light) + rows * np.sin(light)) / max(height, width)
    grain = _noise((height, width), (max(2, height // 2), 3), rng)
    level = 1 - 0.35 * ramp - rng.uniform(0.25, 0.7) * lit + rng.uniform(0.02, 0.12) * grain
    surface = _color(rng, saturation=(0.0, 0.75), value=(0.2, 0.95)) * level[..., None]
    surface += rng.uniform(0.0, 0.5) * np.clip(-lit, 0, 1)[..., None] ** 3
    if rng.random() < 0.3:
        rust = np.clip(_clouds((height, width), rng), 0, 1)[..., None]
        surface += rust * (np.array([0.08, 0.2, 0.4]) - surface)
    blend = cover[..., None]
    canvas[window] = blend * surface + (1 - blend) * canvas[window]


def _window(alpha: NDArray[np.float32], reach: int) -> tuple[slice, slice]:
    """Rows and columns of the covered area, extended by `reach` pixels within the image."""
    x, y, width, height = cv2.boundingRect((alpha > 0).astype(np.uint8))
    top, left = max(0, y - reach), max(0, x - reach)
    return slice(top, y + height + reach), slice(left, x + width + reach)


def _bevel(
    cover: NDArray[np.float32], rng: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Slope of the surface along x and y, about -1 to 1: steep at the rim, flat inside."""
    inside = cv2.distanceTransform((cover > 0.5).astype(np.uint8), cv2.DIST_L2, 5)
    rim = max(1.5, float(inside.max()) * rng.uniform(0.15, 0.7))
    height = np.sqrt(np.clip(inside / rim, 0, 1)) * rim
    height = cv2.GaussianBlur(height.astype(np.float32), (0, 0), 1.0)
    slope_x = cv2.Sobel(height, cv2.CV_32F, 1, 0, scale=1 / 8)
    slope_y = cv2.Sobel(height, cv2.CV_32F, 0, 1, scale=1 / 8)
    return np.clip(slope_x, -1, 1), np.clip(slope_y, -1, 1)


def _color(
    rng: np.random.Generator, saturation: tuple[float, float], value: tuple[float, float]
) -> NDArray[np.float32]:
    """A random color, BGR in 0 to 1, of uniform hue."""
    hsv = np.array(
        [[[rng.uniform(0, 360), rng.uniform(*saturation), rng.uniform(*value)]]], np.float32
    )
    return np.asarray(cv2.cvtColor(hsv, cv2.COLOR_HSV2BGR)[0, 0], np.float32)


def _noise(
    size_hw: tuple[int, int], cells: tuple[int, int], rng: np.random.Generator
) -> NDArray[np.float32]:
    """Smooth noise of about unit variance with `cells` (rows, columns) independent values."""
    grid = rng.standard_normal((int(cells[0]), cells[1])).astype(np.float32)
    return np.asarray(cv2.resize(grid, size_hw[::-1], interpolation=cv2.INTER_CUBIC), np.float32)


def _clouds(size_hw: tuple[int, int], rng: np.random.Generator) -> NDArray[np.float32]:
    """Noise of several octaves, about -1 to 1."""
    total = np.zeros(size_hw, np.float32)
    for octave in range(1, 7):
        total += _noise(size_hw, (2**octave, 2**octave), rng) / 1.5**octave
    return total


def _scratches(size_hw: tuple[int, int], rng: np.random.Generator) -> NDArray[np.float32]:
    height, width = size_hw
    level = np.zeros(size_hw, np.float32)
    for _ in range(int(rng.integers(20, 80))):
        start = rng.uniform((0, 0), (width, height))
        end = start + rng.normal(0, 0.2 * width, 2)
        ends = [tuple(int(v) for v in point) for point in (start, end)]
        cv2.line(level, ends[0], ends[1], rng.uniform(-1.5, 1.5), 1, cv2.LINE_AA)
    return level
