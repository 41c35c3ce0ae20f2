"""Images and image files made by a test, and tensors of random numbers."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["noisy_image", "random_tensor", "solid_image", "write_image", "write_images"]


def solid_image(size_hw: tuple[int, int] = (40, 60), value: int = 0) -> NDArray[np.uint8]:
    """(H, W, 3) uint8, every byte `value`."""
    return np.full((*size_hw, 3), value, np.uint8)


def noisy_image(size_hw: tuple[int, int] = (48, 64), seed: int = 0) -> NDArray[np.uint8]:
    """(H, W, 3) uint8, every byte random."""
    return np.random.default_rng(seed).integers(0, 256, (*size_hw, 3), np.uint8)


def write_image(path: Path, image: NDArray[np.uint8] | None = None) -> Path:
    """Write `image` (by default a small black one), and make the folders above.

    The suffix says the format; without one it is PNG. Unlike OpenCV alone, it takes any name.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    done, data = cv2.imencode(path.suffix or ".png", solid_image() if image is None else image)
    assert done
    path.write_bytes(data.tobytes())
    return path


def write_images(folder: Path, count: int, size_hw: tuple[int, int] = (48, 64)) -> list[Path]:
    """`count` noisy images, all different, as `0.png`, `1.png`, ..."""
    return [write_image(folder / f"{k}.png", noisy_image(size_hw, k)) for k in range(count)]


def random_tensor(shape: tuple[int, ...], seed: int = 0) -> NDArray[np.float32]:
    """float32 from 0 to 1, as a model takes images."""
    return np.random.default_rng(seed).random(shape, dtype=np.float32)
