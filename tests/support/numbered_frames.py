"""Frames that carry their number as large black and white cells along the top edge.

The cells survive H.264, JPEG and resizing, so that a test can prove that a frame was sent: one
that was invented, mixed or damaged does not read.
"""

from __future__ import annotations

import itertools

import numpy as np
from numpy.typing import NDArray

NUMBER_BITS, CHECK_BITS = 16, 8
CELLS = 2 + NUMBER_BITS + CHECK_BITS


def cells(number: int) -> list[bool]:
    """White cells: a guard, the number, its check value, and the opposite guard."""
    check = (number * 73 + 41) % (1 << CHECK_BITS)
    bits = f"{number % (1 << NUMBER_BITS):0{NUMBER_BITS}b}{check:0{CHECK_BITS}b}"
    return [True, *(bit == "1" for bit in bits), False]


def numbered_frame(number: int, size_hw: tuple[int, int] = (240, 320)) -> NDArray[np.uint8]:
    """(H, W, 3) uint8: the number over a grey ramp that moves with it."""
    height, width = size_hw
    image = np.empty((height, width, 3), np.uint8)
    image[:] = ((np.arange(width) + number) % 200 + 28)[None, :, None]
    edges = np.linspace(0, width, CELLS + 1).round().astype(int)
    for i, white in enumerate(cells(number)):
        image[: height // 8, edges[i] : edges[i + 1]] = 255 if white else 0
    return image


def read_number(image: NDArray[np.uint8]) -> int | None:
    """The number on a frame; None if it carries none."""
    height, width = image.shape[:2]
    band = image[height // 32 : height // 8 - height // 32].mean(axis=(0, 2))
    edges = np.linspace(0, width, CELLS + 1)
    levels = []
    for left, right in itertools.pairwise(edges):
        inset = (right - left) / 4
        levels.append(
            band[round(left + inset) : max(round(right - inset), round(left + inset) + 1)]
        )
    means = np.array([level.mean() for level in levels])
    if ((means > 85) & (means < 170)).any():
        return None
    white = (means > 127).tolist()
    number = int("".join("01"[bit] for bit in white[1 : 1 + NUMBER_BITS]), 2)
    return number if white == cells(number) else None
