"""Sampling of calibration images: reproducibly at random, or as different as possible."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from ghost_deploy.calib.images.sources import ImageLocation

AnyImage = TypeVar("AnyImage", bound=ImageLocation)

_COLOUR_SIDE = 16
_EDGE_SIDE = 64
_CELL = 4


def ranked(images: Iterable[AnyImage], seed: int) -> list[AnyImage]:
    """The images in a random order that depends on their names and the seed alone.

    Sorted by the sha256 of seed and name: the same on every machine and in every folder; adding
    or removing an image does not move the others. Files of equal names keep their order.

    Args:
        images: to sort.
        seed: of the order.
    """

    def rank(image: AnyImage) -> bytes:
        return hashlib.sha256(f"{seed}/{image.name}".encode()).digest()

    return sorted(images, key=rank)


def features(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Coarse appearance of an image, (1024,) float32, each value 0 to 1.

    Args:
        image: (H, W, 3) uint8 BGR.

    Returns:
        A thumbnail of 16 x 16 pixels in colour, then the strength of the edges in 16 x 16 cells,
        from a grey one of 64 x 64; the aspect ratio is not kept.
    """
    colour = cv2.resize(image, (_COLOUR_SIDE, _COLOUR_SIDE), interpolation=cv2.INTER_AREA)
    small = cv2.resize(image, (_EDGE_SIDE, _EDGE_SIDE), interpolation=cv2.INTER_AREA)
    grey = cv2.cvtColor(small, cv2.COLOR_BGR2GRAY).astype(np.float32) / 255
    down, across = np.gradient(grey)
    cells = _EDGE_SIDE // _CELL
    edges = np.hypot(down, across).reshape(cells, _CELL, cells, _CELL).mean(axis=(1, 3))
    return np.concatenate([colour.ravel().astype(np.float32) / 255, edges.ravel()])


def farthest(rows: Sequence[NDArray[np.float32]], count: int) -> list[int]:
    """Indices of `count` rows that cover all rows: greedy k-centre, in the order of choice.

    The first is the one nearest to the mean; each next one is the farthest from those chosen (T.
    Gonzalez, Theoretical Computer Science 38, 1985: within twice the best possible radius). The
    lower index wins a tie. Colours and edges count equally: each block of features is scaled to
    the same spread.

    Args:
        rows: (1024,) float32 each, from `features`.
        count: number of rows to choose.
    """
    if count >= len(rows):
        return list(range(len(rows)))
    table = np.stack(rows).astype(np.float64)
    table -= table.mean(axis=0)
    split = 3 * _COLOUR_SIDE**2
    for columns in (slice(None, split), slice(split, None)):
        spread = np.sqrt(np.square(table[:, columns]).sum(axis=1).mean())
        table[:, columns] /= spread or 1.0
    chosen = [int(np.square(table).sum(axis=1).argmin())]
    distance = np.full(len(table), np.inf)
    while len(chosen) < count:
        np.minimum(distance, np.square(table - table[chosen[-1]]).sum(axis=1), out=distance)
        distance[chosen[-1]] = -1.0
        chosen.append(int(distance.argmax()))
    return chosen
