"""Tiles of the plots that training leaves beside a checkpoint, `train_batch*.jpg`.

They show the network's own training images, though scaled down, with boxes drawn: enough to choose
between readings of a checkpoint, too far from the images for a verdict.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ghost_deploy.checkpoints.norms.witness_images import WitnessImages
from ghost_deploy.core.errors import ImageError
from ghost_deploy.judge.witness import MOST_IMAGES, witness_of_arrays
from ghost_deploy.processing.images import read_image

_GRIDS = (4, 3, 2)
"""Tiles a side; Ultralytics and YOLOv5 plot up to 16 images of a batch."""
_WHITE = 200
"""Mean brightness from which on a line is the white border between tiles."""
_INSET = 0.02
_LEAST_SD = 8.0
"""Grey levels; a tile without an image is plain."""


def training_plots(checkpoint: Path) -> WitnessImages | None:
    """Tiles of the plots in the folder of a checkpoint, or in the run folder above `weights`.

    Args:
        checkpoint: e.g. `runs/detect/train/weights/best.pt`.

    Returns:
        At most `MOST_IMAGES`; None without any.
    """
    folder = checkpoint.absolute().parent
    folders = (folder, folder.parent) if folder.name == "weights" else (folder,)
    files = [file for place in folders for file in sorted(place.glob("train_batch*.jpg"))]
    tiles = list(islice((tile for file in files for tile in _tiles_of(file)), MOST_IMAGES))
    return replace(witness_of_arrays(tiles), source="training plots") if tiles else None


def _tiles_of(file: Path) -> Iterator[NDArray[np.uint8]]:
    """The tiles of a plot that show something; none of one that cannot be read."""
    with contextlib.suppress(ImageError):
        image = read_image(file)
        count = _tiles_a_side(image)
        height, width = image.shape[0] // count, image.shape[1] // count
        y, x = max(1, round(height * _INSET)), max(1, round(width * _INSET))
        for row in range(count):
            for column in range(count):
                top, left = row * height, column * width
                tile = image[top + y : top + height - y, left + x : left + width - x]
                if tile.std() > _LEAST_SD:
                    yield np.ascontiguousarray(tile)


def _tiles_a_side(image: NDArray[np.uint8]) -> int:
    """How many tiles a plot has on each side, by the white lines between them."""
    height, width = image.shape[:2]
    for count in _GRIDS:
        parts = range(1, count)
        lines = [image[height * k // count - 1 :][:2] for k in parts]
        lines += [image[:, width * k // count - 1 :][:, :2] for k in parts]
        if all(line.mean() > _WHITE for line in lines):
            return count
    return 1
