"""The camera of the demo scenes: uneven light, exposure, blur and sensor noise."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray


def expose(canvas: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Return the camera image of `canvas`.

    Args:
        canvas: (H, W, 3) float32, BGR, 0 to 1.
        rng: source of light, blur and noise.

    Returns:
        (H, W, 3) uint8, BGR.
    """
    image = canvas * _light(canvas.shape[:2], rng)
    image *= rng.uniform(0.92, 1.08, 3).astype(np.float32)
    image = _blur(np.clip(image, 0, 1), rng)
    image **= np.float32(rng.uniform(0.75, 1.3))
    # Read noise is constant; shot noise grows with the square root of the light.
    read, shot = rng.uniform(0.002, 0.03), rng.uniform(0.0, 0.03)
    sigma = np.float32(read) + np.float32(shot) * np.sqrt(image)
    image += sigma * rng.standard_normal(image.shape, dtype=np.float32)
    return np.asarray(np.clip(np.round(image * 255), 0, 255), np.uint8)


def _light(size_hw: tuple[int, ...], rng: np.random.Generator) -> NDArray[np.float32]:
    """(H, W, 1) gain of a lamp at a random position and of random strength."""
    height, width = size_hw
    rows = np.arange(height, dtype=np.float32)[:, None]
    columns = np.arange(width, dtype=np.float32)
    x, y = rng.uniform((-0.2, -0.2), (1.2, 1.2)) * (width, height)
    distance = np.hypot(columns - x, rows - y) / max(height, width)
    falloff = 1 / (1 + rng.uniform(0.0, 1.4) * distance**2)
    return np.asarray(rng.uniform(0.85, 1.6) * falloff[..., None], np.float32)


def _blur(image: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """Defocus blur, motion blur, or none."""
    kind = rng.random()
    if kind < 0.3:
        return np.asarray(cv2.GaussianBlur(image, (0, 0), rng.uniform(0.5, 1.8)), np.float32)
    if kind < 0.45:
        length = int(rng.integers(2, 5)) * 2 + 1
        kernel = np.zeros((length, length), np.float32)
        kernel[length // 2] = 1 / length
        middle = (length / 2 - 0.5, length / 2 - 0.5)
        turn = cv2.getRotationMatrix2D(middle, rng.uniform(0, 180), 1.0)
        shaken = cv2.warpAffine(kernel, turn, (length, length))
        return np.asarray(cv2.filter2D(image, -1, shaken / shaken.sum()), np.float32)
    return image
