"""Generated scenes as training data, drawn once and cached in a folder.

Held-out scenes have the seeds 0, 1, 2, ..., training scenes the seeds from `TRAIN_FROM`. Demo,
parity and bench use small seeds, which are never in the training data.
"""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

import numpy as np

from ghost_deploy.core.errors import UsageError
from ghost_deploy.core.files import write_whole
from ghost_deploy.demo.embedded import TRAIN_FROM
from ghost_deploy.demo.scene_files import LABELS, write_scenes
from ghost_deploy.demo.scenes import CLASS_NAMES, make_scene
from ghost_deploy.judge.datasets.dataset import DataSet
from ghost_deploy.judge.datasets.open_dataset import open_dataset
from tools.training.augment import Sample
from tools.training.samples import Data, shrink

__all__ = ["held_out_scenes", "read_scenes", "training_scenes"]

_SHARD = 100


def read_scenes(count: int, held_out: int, side: int, cache: Path) -> Data:
    """Read training and held-out scenes; scenes missing in `cache` are drawn, about 8 per second.

    Args:
        count: number of training scenes.
        held_out: number of scenes for evaluation, at most `TRAIN_FROM`.
        side: of the input, pixels.
        cache: folder of drawn scenes; created if missing.

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
    samples = training_scenes(count, side, cache)
    boxes = sum(len(sample.boxes) for sample in samples)
    description = (
        f"generated scenes: {count} with {boxes} boxes to learn from, seeds {TRAIN_FROM} to "
        f"{TRAIN_FROM + count - 1}; {held_out} with {judged.num_boxes} held out, seeds 0 to "
        f"{held_out - 1}"
    )
    return Data(samples, judged, CLASS_NAMES, description)


def training_scenes(count: int, side: int, cache: Path) -> list[Sample]:
    """Return the scenes from seed `TRAIN_FROM`, scaled to `side`.

    Args:
        count: number of scenes.
        side: of the input, pixels.
        cache: folder of drawn scenes.
    """
    samples: list[Sample] = []
    for first in range(TRAIN_FROM, TRAIN_FROM + count, _SHARD):
        file = cache / f"train-{side}-{first}.npz"
        if not file.is_file():
            _draw_shard(file, range(first, first + _SHARD), side)
        samples += _read_shard(file)
    return samples[:count]


def held_out_scenes(count: int, cache: Path) -> DataSet:
    """Return the scenes of the seeds below `count`, in the form of the demo."""
    folder = cache / f"held-out-{count}"
    # The labels are written last.
    if not (folder / LABELS).is_file():
        write_scenes(folder, range(count))
    return open_dataset(folder / LABELS, images=folder / "images")


def _draw_shard(file: Path, seeds: range, side: int) -> None:
    samples = []
    for seed in seeds:
        scene = make_scene(seed)
        samples.append(shrink(Sample(scene.image, scene.boxes, scene.class_ids), side))

    def save(stream: BinaryIO) -> None:
        np.savez(
            stream,
            images=np.stack([sample.image for sample in samples]),
            boxes=np.concatenate([sample.boxes for sample in samples]),
            class_ids=np.concatenate([sample.class_ids for sample in samples]),
            counts=[len(sample.boxes) for sample in samples],
        )

    write_whole(file, save)


def _read_shard(file: Path) -> list[Sample]:
    with np.load(file) as stored:
        images, boxes, class_ids = stored["images"], stored["boxes"], stored["class_ids"]
        ends = np.cumsum(stored["counts"])[:-1]
    parts = zip(images, np.split(boxes, ends), np.split(class_ids, ends), strict=True)
    return [Sample(*part) for part in parts]
