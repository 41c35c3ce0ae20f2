"""Generated scenes as training data, drawn once and kept in a folder.

Held-out scenes have the seeds 0, 1, 2, ..., training scenes those from `TRAIN_FROM`: whatever
else is shown to the embedded model (demo, parity, bench) uses small seeds and was never learned.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np

from ghost_deploy.core.errors import UsageError
from ghost_deploy.demo.embedded import TRAIN_FROM
from ghost_deploy.demo.scene_files import LABELS, write_scenes
from ghost_deploy.demo.scenes import CLASS_NAMES, make_scene
from ghost_deploy.judge.datasets.dataset import DataSet
from ghost_deploy.judge.datasets.open_dataset import open_dataset
from tools.training.augment import Picture
from tools.training.samples import Data, shrink

__all__ = ["held_out_scenes", "read_scenes", "training_scenes"]

_SHARD = 100


def read_scenes(count: int, held_out: int, side: int, cache: Path) -> Data:
    """Training and held-out scenes; those that `cache` lacks are drawn, about 8 a second.

    Args:
        count: scenes to learn from.
        held_out: scenes to judge by, at most `TRAIN_FROM`.
        side: of the input, pixels.
        cache: folder of what was drawn before; made when absent.

    Raises:
        UsageError: a count is out of range.
    """
    if count < 1 or not 1 <= held_out <= TRAIN_FROM:
        raise UsageError(
            "the number of scenes is out of range",
            got=f"{count} to learn from, {held_out} held out",
            expected=f"at least 1, and 1 to {TRAIN_FROM}",
            fix="Correct --scenes or --held-out",
        )
    cache.mkdir(parents=True, exist_ok=True)
    judged = held_out_scenes(held_out, cache)
    pictures = training_scenes(count, side, cache)
    boxes = sum(len(picture.boxes) for picture in pictures)
    description = (
        f"generated scenes: {count} with {boxes} boxes to learn from, seeds {TRAIN_FROM} to "
        f"{TRAIN_FROM + count - 1}; {held_out} with {judged.num_boxes} held out, seeds 0 to "
        f"{held_out - 1}"
    )
    return Data(pictures, judged, CLASS_NAMES, description)


def training_scenes(count: int, side: int, cache: Path) -> list[Picture]:
    """Scenes from seed `TRAIN_FROM` on, scaled to `side`."""
    pictures: list[Picture] = []
    for first in range(TRAIN_FROM, TRAIN_FROM + count, _SHARD):
        file = cache / f"train-{side}-{first}.npz"
        if not file.is_file():
            _draw_shard(file, range(first, first + _SHARD), side)
        pictures += _read_shard(file)
    return pictures[:count]


def held_out_scenes(count: int, cache: Path) -> DataSet:
    """The scenes of the seeds below `count`, as the demo writes them."""
    folder = cache / f"held-out-{count}"
    # The labels are written last.
    if not (folder / LABELS).is_file():
        write_scenes(folder, range(count))
    return open_dataset(folder / LABELS, images=folder / "images")


def _draw_shard(file: Path, seeds: range, side: int) -> None:
    pictures = []
    for seed in seeds:
        scene = make_scene(seed)
        pictures.append(shrink(Picture(scene.image, scene.boxes, scene.class_ids), side))

    def save(part: Path) -> None:
        with part.open("wb") as stream:
            np.savez(
                stream,
                images=np.stack([picture.image for picture in pictures]),
                boxes=np.concatenate([picture.boxes for picture in pictures]),
                class_ids=np.concatenate([picture.class_ids for picture in pictures]),
                counts=[len(picture.boxes) for picture in pictures],
            )

    _write(file, save)


def _read_shard(file: Path) -> list[Picture]:
    with np.load(file) as stored:
        images, boxes, class_ids = stored["images"], stored["boxes"], stored["class_ids"]
        ends = np.cumsum(stored["counts"])[:-1]
    parts = zip(images, np.split(boxes, ends), np.split(class_ids, ends), strict=True)
    return [Picture(*part) for part in parts]


def _write(file: Path, write: Callable[[Path], object]) -> None:
    """Write beside the file and rename, so that an interrupted run leaves no half of it."""
    part = file.with_suffix(".part")
    write(part)
    os.replace(part, file)
