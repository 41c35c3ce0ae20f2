"""Images for the comparison with recorded statistics: chosen, letterboxed, in batches."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ghost_deploy.checkpoints.norms.witness_images import View, WitnessImages
from ghost_deploy.core.spec import InputSpec
from ghost_deploy.processing.images import read_image
from ghost_deploy.processing.preprocess import Preprocessor

MOST_IMAGES = 32
_BATCH = 8
_SEED = 0


def witness_of_files(files: Sequence[Path]) -> WitnessImages | None:
    """Up to `MOST_IMAGES` of the files, always the same ones; None without any."""
    chosen = list(files)
    random.Random(_SEED).shuffle(chosen)
    return witness_of_arrays(_Files(chosen[:MOST_IMAGES])) if chosen else None


def witness_of_arrays(images: Sequence[NDArray[np.uint8]]) -> WitnessImages:
    """Images (H, W, 3) uint8 BGR of the kind that a checkpoint was trained on."""

    def views(size_hw: tuple[int, int], stride: int) -> Iterator[View]:
        square = _rounded(size_hw, stride)
        yield _view(images, square, stride)
        tight = _tight(images, square, stride)
        if tight != square:
            yield _view(images, tight, stride)

    return WitnessImages("images", len(images), views)


class _Files(Sequence[NDArray[np.uint8]]):
    """Images that are read when they are needed, and not kept."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths = paths

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, index):  # type: ignore[no-untyped-def]
        return read_image(self._paths[index])


def _rounded(size_hw: tuple[int, int], stride: int) -> tuple[int, int]:
    height, width = (-(-side // stride) * stride for side in size_hw)
    return height, width


def _tight(
    images: Sequence[NDArray[np.uint8]], size_hw: tuple[int, int], stride: int
) -> tuple[int, int]:
    """The smallest size that most images fill, at the same scale."""
    counts: Counter[tuple[int, int]] = Counter()
    for image in images:
        height, width = image.shape[:2]
        gain = min(size_hw[0] / height, size_hw[1] / width)
        counts[_rounded((round(height * gain), round(width * gain)), stride)] += 1
    return counts.most_common(1)[0][0]


def _view(images: Sequence[NDArray[np.uint8]], size_hw: tuple[int, int], stride: int) -> View:
    spec = InputSpec(size_hw=size_hw, stride=stride, batch=(1, _BATCH))
    parts = np.array_split(np.arange(len(images)), -(-len(images) // _BATCH))
    letterbox = Preprocessor(spec)
    batches = [letterbox([images[i] for i in part])[0].copy() for part in parts]
    return View(size_hw, tuple(batches))
