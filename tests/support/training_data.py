"""Data sets small enough to train on in a test."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from ghost_deploy.demo.scenes import CLASS_NAMES, make_scene
from ghost_deploy.judge.datasets.dataset import DataSet
from tools.training.augment import Sample
from tools.training.options import Options
from tools.training.samples import Data

SIDE = 64
OPTIONS = Options(net="yolov8n-ghost", size=SIDE, epochs=2, plain=1, batch=2)


def scene_samples(count: int, side: int = SIDE) -> list[Sample]:
    """Scenes drawn at the size at which they are used."""
    scenes = [make_scene(seed, (side, side)) for seed in range(count)]
    return [Sample(scene.image, scene.boxes, scene.class_ids) for scene in scenes]


def small_data(count: int = 4) -> Data:
    """Images to train on, and none to validate with."""
    nothing = DataSet("nothing", "scenes", "", CLASS_NAMES, ())
    return Data(scene_samples(count), nothing, CLASS_NAMES, "a few scenes")


def write_yolo(
    folder: Path, *, names: str = "names: [spot]", labels: str = "0 .5 .5 .5 .5"
) -> Path:
    """A data set of the YOLO form with two samples in each split."""
    for split in ("train", "val"):
        (folder / "images" / split).mkdir(parents=True)
        (folder / "labels" / split).mkdir(parents=True)
        for index in range(2):
            image = np.full((30, 40, 3), 100 * index, np.uint8)
            cv2.imwrite(str(folder / "images" / split / f"{index}.png"), image)
            (folder / "labels" / split / f"{index}.txt").write_text(labels)
    file = folder / "data.yaml"
    file.write_text(f"train: images/train\nval: images/val\n{names}\n")
    return file
